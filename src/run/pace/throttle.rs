//! The pause after a 429: one burst of them is one signal.

use std::time::Duration;

use crate::clock::Mono;
use crate::send::backoff::throttle_pause;

/// Whether admission pauses because the server asked for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Throttle {
    /// Pauses in a row without an answer between them.
    level: u32,
    /// When the running burst began.
    since: Option<Mono>,
    /// Until when nothing is sent.
    until: Mono,
}

impl Throttle {
    /// Until when nothing is sent; `None` where that has passed.
    pub(super) fn until(&self, now: Mono) -> Option<Mono> {
        (self.until > now).then_some(self.until)
    }

    /// A request begun at `began` was refused at `now`. Returns whether this starts a new pause.
    pub(super) fn refused(&mut self, began: Mono, now: Mono, wait: Option<Duration>, random: f64) -> bool {
        // What was under way when the burst began belongs to it: it may lengthen the pause to what the server says, and no more.
        if self.since.is_some_and(|since| began <= since) {
            self.until = self.until.max(now.plus(wait.unwrap_or_default()));
            return false;
        }
        self.since = Some(now);
        self.level = self.level.saturating_add(1);
        self.until = self.until.max(now.plus(throttle_pause(self.level, wait, random)));
        true
    }

    /// A request begun at `began` was answered.
    pub(super) fn answered(&mut self, began: Mono) {
        if began >= self.until {
            self.level = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_burst_is_one_signal_and_a_servers_wait_is_a_minimum() {
        let mut throttle = Throttle::default();
        assert!(throttle.refused(Mono(0), Mono(10 * MS), None, 0.0));
        let first = throttle.until(Mono(10 * MS)).expect("it pauses");
        assert!(!throttle.refused(Mono(5 * MS), Mono(12 * MS), None, 0.0));
        assert_eq!(throttle.until(Mono(12 * MS)), Some(first));
        let wait = Duration::from_secs(30);
        assert!(!throttle.refused(Mono(6 * MS), Mono(13 * MS), Some(wait), 0.0));
        assert_eq!(throttle.until(Mono(13 * MS)), Some(Mono(13 * MS).plus(wait)));
    }

    #[test]
    fn pauses_grow_until_an_answer_comes() {
        let mut throttle = Throttle::default();
        let mut now = Mono(MS);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert!(throttle.refused(now, now.plus(Duration::from_millis(1)), None, 0.0));
            let until = throttle.until(now).expect("it pauses");
            pauses.push(now.until(until));
            now = until;
        }
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]), "{pauses:?}");
        assert!(pauses[0] <= Duration::from_millis(1_600) && pauses[7] >= Duration::from_secs(45), "{pauses:?}");
        throttle.answered(now);
        assert!(throttle.refused(now, now, None, 0.0));
        assert!(now.until(throttle.until(now).expect("it pauses")) <= Duration::from_millis(1_600));
    }
}
