//! How often a run says how far it is where there is no bar. Pure.

use std::time::Duration;

use crate::clock::Mono;

/// Between two lines while prompts end.
const EVERY: Duration = Duration::from_secs(10);
/// While none does the time between two lines doubles, up to this: a wait for midnight is no reason for thousands of them.
const MOST: Duration = Duration::from_secs(3_600);

/// When the next line is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cadence {
    last: Mono,
    /// The time to the next line, if no prompt ends before it.
    gap: Duration,
    /// Prompts that had ended at the last line.
    ended: usize,
}

impl Cadence {
    /// That of a run which starts now.
    pub(super) fn new(started: Mono) -> Self {
        Self { last: started, gap: EVERY, ended: 0 }
    }

    /// Whether a line is due at `now`, when so many prompts have ended; it counts as said then.
    pub(super) fn is_due(&mut self, now: Mono, ended: usize) -> bool {
        let gap = if ended == self.ended { self.gap } else { EVERY };
        if now < self.last.plus(gap) {
            return false;
        }
        let next = if ended == self.ended { (gap * 2).min(MOST) } else { EVERY };
        *self = Self { last: now, gap: next, ended };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds at which a line is said, asked ten times a second, where so many prompts have ended by then.
    fn lines(seconds: u64, ended: impl Fn(u64) -> usize) -> Vec<u64> {
        let mut cadence = Cadence::new(Mono(0));
        let ticks = (1..=seconds * 10).filter(|tick| cadence.is_due(Mono(tick * 100_000_000), ended(tick / 10)));
        ticks.map(|tick| tick / 10).collect()
    }

    #[test]
    fn a_wait_is_told_less_and_less_often() {
        let day = lines(86_400, |_| 0);
        assert_eq!(day[..10], [10, 30, 70, 150, 310, 630, 1_270, 2_550, 5_110, 8_710]);
        assert!(day.windows(2).all(|pair| pair[1] - pair[0] <= 3_600), "{day:?}");
        assert_eq!(day.len(), 31);
    }

    #[test]
    fn what_goes_on_is_told_every_ten_seconds() {
        assert_eq!(lines(60, |second| usize::try_from(second).expect("few")), [10, 20, 30, 40, 50, 60]);
    }

    #[test]
    fn what_goes_on_after_a_wait_is_told_at_once() {
        let ended = |second| usize::try_from(u64::saturating_sub(second, 20_000)).expect("few");
        let lines = lines(20_050, ended);
        let place = lines.partition_point(|&second| second <= 20_000);
        assert_eq!(lines[place - 1..], [19_510, 20_001, 20_011, 20_021, 20_031, 20_041]);
    }
}
