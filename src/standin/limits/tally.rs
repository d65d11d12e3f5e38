//! A count in windows: windows that begin anew one after another, or one that slides. Time comes in as nanoseconds; nothing here reads a clock.
//!
//! What is counted is kept with the moment at which it counts no more: the end of the window it lies in, or its own moment and a window.

use std::collections::VecDeque;
use std::time::Duration;

use super::bucket::{Level, Shortage};
use crate::clock::nanos;

/// One limit, kept by counting.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    limit: u64,
    /// Nanoseconds; at least 1.
    window: u64,
    /// Whether the window slides.
    slides: bool,
    /// When it counts no more, in nanoseconds, and how much: in the order of these moments.
    counted: VecDeque<(u64, u64)>,
    /// The sum of what is counted.
    used: u64,
}

impl Tally {
    /// An empty count. Windows that do not slide begin at zero and at each multiple of `window`.
    #[must_use]
    pub(crate) fn new(limit: u64, window: Duration, slides: bool) -> Self {
        Self { limit, window: nanos(window).max(1), slides, counted: VecDeque::new(), used: 0 }
    }

    /// The most that is counted in a window.
    #[must_use]
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether the window slides.
    #[must_use]
    pub(crate) fn slides(&self) -> bool {
        self.slides
    }

    /// Whether `amount` is within the limit at `now`. The wait is until it is.
    pub(crate) fn fits(&mut self, amount: u64, now: u64) -> Result<(), Shortage> {
        let shortage = |used, wait| Err(Shortage { limit: self.limit, used, requested: amount, wait });
        if amount > self.limit {
            return shortage(None, Duration::ZERO);
        }
        self.forget(now);
        let mut over = self.used.saturating_add(amount).saturating_sub(self.limit);
        if over == 0 {
            return Ok(());
        }
        // All that is counted is as much as is over, at least, so that one of them is found.
        let freeing = self.counted.iter().find(|(_, counted)| {
            over = over.saturating_sub(*counted);
            over == 0
        });
        let wait = freeing.map_or(Duration::ZERO, |&(end, _)| Duration::from_nanos(end.saturating_sub(now)));
        Err(Shortage { limit: self.limit, used: Some(self.used), requested: amount, wait })
    }

    /// Counts `amount` at `now`, within the limit or not.
    pub(crate) fn take(&mut self, amount: u64, now: u64) {
        let begins = if self.slides { now } else { now - now % self.window };
        // A window that became shorter does not end before those it follows.
        let end = begins.saturating_add(self.window).max(self.counted.back().map_or(0, |&(end, _)| end));
        self.used = self.used.saturating_add(amount);
        match self.counted.back_mut() {
            Some((last, counted)) if *last == end => *counted = counted.saturating_add(amount),
            _ => self.counted.push_back((end, amount)),
        }
    }

    /// The numbers for the headers at `now`; the reset is when nothing is counted any more.
    pub(crate) fn level(&mut self, now: u64) -> Level {
        self.forget(now);
        let reset = self.counted.back().map_or(0, |&(end, _)| end.saturating_sub(now));
        Level { limit: self.limit, remaining: self.limit.saturating_sub(self.used), reset: Duration::from_nanos(reset) }
    }

    /// Changes its limit and window. What is counted stays so, until the end that it has.
    pub(crate) fn set(&mut self, limit: u64, window: Duration) {
        (self.limit, self.window) = (limit, nanos(window).max(1));
    }

    fn forget(&mut self, now: u64) {
        while let Some(&(end, amount)) = self.counted.front()
            && end <= now
        {
            self.counted.pop_front();
            self.used = self.used.saturating_sub(amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> u64 {
        nanos(Duration::from_millis(millis))
    }

    fn wait(tally: &mut Tally, amount: u64, now: u64) -> Duration {
        tally.fits(amount, now).expect_err("it does not fit").wait
    }

    #[test]
    fn a_window_that_does_not_slide_begins_anew() {
        let mut tally = Tally::new(3, SECOND, false);
        for millis in [700, 800, 999] {
            assert_eq!(tally.fits(1, at(millis)), Ok(()));
            tally.take(1, at(millis));
        }
        let full = Level { limit: 3, remaining: 0, reset: Duration::from_millis(1) };
        assert_eq!(tally.level(at(999)), full);
        let shortage = Shortage { limit: 3, used: Some(3), requested: 1, wait: Duration::from_millis(1) };
        assert_eq!(tally.fits(1, at(999)), Err(shortage));
        // All three at once, a millisecond later.
        assert_eq!(tally.fits(3, at(1_000)), Ok(()));
        assert_eq!(tally.level(at(1_000)), Level { limit: 3, remaining: 3, reset: Duration::ZERO });
        assert_eq!(tally.fits(4, at(1_000)).map_err(|short| short.used), Err(None), "larger than a window");
    }

    #[test]
    fn a_window_that_slides_frees_each_when_it_is_a_window_old() {
        let mut tally = Tally::new(10, SECOND, true);
        for (millis, amount) in [(0, 4), (300, 4), (600, 2)] {
            assert_eq!(tally.fits(amount, at(millis)), Ok(()));
            tally.take(amount, at(millis));
        }
        assert_eq!(wait(&mut tally, 1, at(600)), Duration::from_millis(400));
        assert_eq!(wait(&mut tally, 5, at(600)), Duration::from_millis(700));
        assert_eq!(wait(&mut tally, 10, at(600)), SECOND);
        assert_eq!(tally.level(at(600)), Level { limit: 10, remaining: 0, reset: SECOND });
        assert!(tally.fits(4, at(1_000) - 1).is_err());
        assert_eq!(tally.fits(4, at(1_000)), Ok(()));
    }

    #[test]
    fn a_change_of_the_limit_keeps_the_count() {
        let mut tally = Tally::new(10, SECOND, true);
        tally.take(8, 0);
        tally.set(4, SECOND);
        assert_eq!(tally.level(0).remaining, 0);
        assert_eq!(wait(&mut tally, 1, 0), SECOND);
        tally.set(20, SECOND / 2);
        assert_eq!(tally.level(0), Level { limit: 20, remaining: 12, reset: SECOND });
    }

    proptest! {
        /// No window, sliding or not, holds more than the limit, and the wait named is exact.
        #[test]
        fn no_window_holds_more_and_the_wait_is_exact(
            limit in 1u64..20, slides: bool, steps in prop::collection::vec((0u64..400, 1u64..8), 1..100),
        ) {
            let mut tally = Tally::new(limit, SECOND, slides);
            let mut taken: Vec<(u64, u64)> = Vec::new();
            let mut now = 0;
            for (pause, amount) in steps {
                now += at(pause);
                match tally.fits(amount, now) {
                    Ok(()) => {
                        tally.take(amount, now);
                        taken.push((now, amount));
                        let begins = if slides { now.saturating_sub(at(1_000) - 1) } else { now - now % at(1_000) };
                        let sum: u64 = taken.iter().filter(|(at, _)| *at >= begins).map(|(_, amount)| amount).sum();
                        prop_assert!(sum <= limit, "{sum} of {limit}");
                    }
                    Err(Shortage { used: None, .. }) => prop_assert!(amount > limit),
                    Err(shortage) => {
                        let wait = nanos(shortage.wait);
                        prop_assert!(tally.clone().fits(amount, now + wait - 1).is_err());
                        prop_assert!(tally.clone().fits(amount, now + wait).is_ok());
                    }
                }
            }
        }
    }
}
