//! The pause after a refusal for rate: one burst of them is one signal.

use std::time::Duration;

use crate::clock::Mono;
use crate::send::backoff::throttle_pause;

/// The first pause of our own where nothing is known of the rate.
const FIRST: Duration = Duration::from_millis(250);
/// Where it is, it is the time of so many requests, within these bounds: a server has room again for a few.
const REQUESTS: f64 = 2.0;
const SHORTEST: f64 = 0.05;
const LONGEST: f64 = 4.0;

/// The end of a window is waited for no longer than this.
const LONGEST_WINDOW: Duration = Duration::from_secs(60);
/// What is refused with nothing else in flight may be refused for its own sake: the pause grows up to this level, which is 16 s.
const MOST_ALONE: u32 = 7;

/// Whether admission pauses because the server asked for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Throttle {
    /// Pauses in a row with nothing let in between them.
    level: u32,
    /// When the running burst began.
    since: Option<Mono>,
    /// Until when nothing is sent.
    until: Mono,
}

/// A refusal for rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    /// When the request had left.
    pub(super) began: Mono,
    /// What the server asks for.
    pub(super) wait: Option<Duration>,
    /// Whether anything was let in since the refusal before it.
    pub(super) lets_in: bool,
    /// Whether nothing else was in flight.
    pub(super) alone: bool,
    /// How many requests a second the server lets in, as far as that is known.
    pub(super) held: Option<f64>,
    /// When a window that is used up may end, as far as that is known.
    pub(super) may_open: Option<Mono>,
}

impl Throttle {
    /// Until when nothing is sent; `None` where that has passed.
    pub(super) fn until(&self, now: Mono) -> Option<Mono> {
        (self.until > now).then_some(self.until)
    }

    /// A request was refused. Returns whether this starts a new pause.
    pub(super) fn refused(&mut self, refusal: Refusal, now: Mono, random: f64) -> bool {
        let Refusal { began, wait, lets_in, alone, held, may_open } = refusal;
        // What was under way when the burst began belongs to it: it may lengthen the pause to what the server says, and no more.
        if self.since.is_some_and(|since| began <= since) {
            self.until = self.until.max(now.plus(wait.unwrap_or_default()));
            return false;
        }
        self.since = Some(now);
        self.level = match (lets_in, alone) {
            (true, _) => 1,
            (false, false) => self.level.saturating_add(1),
            (false, true) => (self.level + 1).min(MOST_ALONE),
        };
        let first = held.map_or(FIRST, |held| Duration::from_secs_f64((REQUESTS / held).clamp(SHORTEST, LONGEST)));
        // What is known is not enough where nothing was let in after it.
        let first = if self.level > 1 { first.max(FIRST) } else { first };
        self.until = self.until.max(now.plus(throttle_pause(first, self.level, wait, random)));
        if let (2, Some(opens)) = (self.level, may_open) {
            self.until = self.until.max(opens.min(now.plus(LONGEST_WINDOW)));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn refusal(began: u64, wait: Option<Duration>) -> Refusal {
        Refusal { began: Mono(began * MS), wait, lets_in: false, alone: false, held: None, may_open: None }
    }

    #[test]
    fn a_burst_is_one_signal_and_a_servers_wait_is_a_minimum() {
        let mut throttle = Throttle::default();
        assert!(throttle.refused(refusal(0, None), Mono(10 * MS), 0.0));
        let first = throttle.until(Mono(10 * MS)).expect("it pauses");
        assert!(!throttle.refused(refusal(5, None), Mono(12 * MS), 0.0));
        assert_eq!(throttle.until(Mono(12 * MS)), Some(first));
        let wait = Duration::from_secs(30);
        assert!(!throttle.refused(refusal(6, Some(wait)), Mono(13 * MS), 0.0));
        assert_eq!(throttle.until(Mono(13 * MS)), Some(Mono(13 * MS).plus(wait)));
    }

    #[test]
    fn pauses_grow_until_something_is_let_in_even_beside_a_wait_that_is_too_short() {
        for wait in [None, Some(Duration::from_millis(1))] {
            let mut throttle = Throttle::default();
            let mut now = Mono(MS);
            let mut pauses = Vec::new();
            for _ in 0..10 {
                assert!(throttle.refused(
                    Refusal { began: now, ..refusal(0, wait) },
                    now.plus(Duration::from_millis(1)),
                    0.0
                ));
                let until = throttle.until(now).expect("it pauses");
                pauses.push(now.until(until));
                now = until;
            }
            assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]), "{pauses:?}");
            assert!(pauses[0] <= Duration::from_millis(400) && pauses[9] >= Duration::from_secs(45), "{pauses:?}");
            assert!(throttle.refused(Refusal { began: now, lets_in: true, ..refusal(0, wait) }, now, 0.0));
            assert!(now.until(throttle.until(now).expect("it pauses")) <= Duration::from_millis(400));
        }
    }

    #[test]
    fn where_the_rate_is_known_the_pause_is_the_time_of_a_few_requests() {
        for (shown, pause) in [(1_000.0, 50), (10.0, 200), (0.01, 4_000)] {
            let mut throttle = Throttle::default();
            throttle.refused(Refusal { held: Some(shown), ..refusal(0, None) }, Mono(0), 0.0);
            assert_eq!(throttle.until(Mono(0)), Some(Mono(pause * MS)), "{shown} a second");
        }
    }
}
