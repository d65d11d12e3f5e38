//! The requests that are being worked on: how many there may be, and the one after another of a slow upstream.
//!
//! It decides and counts; time comes in as nanoseconds.

use std::time::Duration;

use crate::clock::nanos;

/// Why there is no room for one more request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// As many as the key may have at a time.
    Parallel(u64),
    /// As many as the server has slots.
    Slots,
}

/// The requests that are being worked on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crowd {
    in_flight: u64,
    /// When an upstream that works on one at a time is done with all it has, in nanoseconds.
    done: u64,
}

impl Crowd {
    /// Whether there is room for one more; `None` is no bound.
    pub(crate) fn room(&self, parallel: Option<u64>, slots: Option<u64>) -> Result<(), Full> {
        match (parallel, slots) {
            (Some(most), _) if self.in_flight >= most => Err(Full::Parallel(most)),
            (_, Some(most)) if self.in_flight >= most => Err(Full::Slots),
            _ => Ok(()),
        }
    }

    /// One more is worked on.
    pub(crate) fn enter(&mut self) {
        self.in_flight += 1;
    }

    /// One is done with.
    pub(crate) fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// How long a request of `now` takes, whose work takes `work` and begins when all that came before it is done.
    pub(crate) fn queue(&mut self, now: u64, work: Duration) -> Duration {
        self.done = self.done.max(now).saturating_add(nanos(work));
        Duration::from_nanos(self.done.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_let_in_and_one_that_leaves_makes_room() {
        let mut crowd = Crowd::default();
        crowd.enter();
        assert_eq!(crowd.room(Some(2), Some(2)), Ok(()));
        crowd.enter();
        assert_eq!(crowd.room(None, None), Ok(()));
        assert_eq!(crowd.room(Some(2), Some(2)), Err(Full::Parallel(2)));
        assert_eq!(crowd.room(Some(3), Some(2)), Err(Full::Slots));
        crowd.leave();
        assert_eq!(crowd.room(Some(2), Some(2)), Ok(()));
        assert_eq!(crowd.room(Some(0), None), Err(Full::Parallel(0)), "none at all");
    }

    #[test]
    fn an_upstream_works_on_one_at_a_time() {
        let mut crowd = Crowd::default();
        let millis = Duration::from_millis;
        let at = |at| nanos(millis(at));
        assert_eq!([0, 0, 100].map(|now| crowd.queue(at(now), millis(700))), [700, 1_400, 2_000].map(millis));
        // It is done at 2.1 s, and rests until 3 s.
        assert_eq!(crowd.queue(at(3_000), millis(700)), millis(700));
    }
}
