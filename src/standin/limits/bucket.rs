//! A continuous token bucket, exact to the nanosecond. Time comes in as nanoseconds; nothing here reads a clock.
//!
//! A bucket of a limit `L` and a window `W` holds at most `L` and refills at `L / W`. The level is kept in units of
//! 1 / `W` of a token, so that refilling is a whole number each nanosecond and no rounding gathers.

use std::time::Duration;

use crate::clock::nanos;

/// One continuous token bucket.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    limit: u64,
    /// Nanoseconds; at least 1.
    window: u64,
    /// Used up and not refilled yet, times `window`. More than `limit * window` is a debt.
    used: u128,
    /// When `used` was true, in nanoseconds.
    at: u64,
}

/// Why an amount does not fit, in the numbers that the API's message names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub limit: u64,
    /// What is used up, rounded up to whole units; `None` where the amount is over the capacity and no wait helps.
    pub used: Option<u64>,
    /// The amount asked for.
    pub requested: u64,
    /// `(used + requested - limit) / limit * window` of the whole numbers above, as the API computes it: after it the amount fits.
    /// Zero where no wait helps.
    pub wait: Duration,
}

/// The bucket's numbers for the `x-ratelimit` headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub limit: u64,
    /// What can be taken now, rounded down.
    pub remaining: u64,
    /// `(limit - remaining) / limit * window`: until the bucket is full, not until something fits.
    pub reset: Duration,
}

impl Level {
    /// Whether a smaller share remains of this than of `other`.
    #[must_use]
    pub(crate) fn is_tighter_than(&self, other: &Self) -> bool {
        u128::from(self.remaining) * u128::from(other.limit) < u128::from(other.remaining) * u128::from(self.limit)
    }
}

impl Bucket {
    /// A full bucket of `limit` units that refills in `window`, at `now` nanoseconds.
    #[must_use]
    pub(crate) fn new(limit: u64, window: Duration, now: u64) -> Self {
        Self { limit, window: nanos(window).max(1), used: 0, at: now }
    }

    /// The capacity.
    #[must_use]
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether `amount` can be taken at `now`. A clock that steps back refills nothing.
    pub(crate) fn fits(&mut self, amount: u64, now: u64) -> Result<(), Shortage> {
        if amount > self.limit {
            return Err(Shortage { limit: self.limit, used: None, requested: amount, wait: Duration::ZERO });
        }
        self.refill(now);
        let window = u128::from(self.window);
        if self.used + u128::from(amount) * window <= u128::from(self.limit) * window {
            return Ok(());
        }
        let used = self.used_units();
        // At least 1: `used` is rounded up.
        let over = u128::from(used) + u128::from(amount) - u128::from(self.limit);
        Err(Shortage { limit: self.limit, used: Some(used), requested: amount, wait: self.time_of(over) })
    }

    /// Takes `amount`. The caller has asked whether it [`fits`](Self::fits); what does not fit leaves the bucket in debt, and nothing
    /// fits until that is refilled.
    pub(crate) fn take(&mut self, amount: u64) {
        self.used = self.used.saturating_add(u128::from(amount) * u128::from(self.window));
    }

    /// The numbers for the headers at `now`.
    pub(crate) fn level(&mut self, now: u64) -> Level {
        self.refill(now);
        let used = self.used_units();
        let remaining = self.limit.saturating_sub(used);
        Level { limit: self.limit, remaining, reset: self.time_of(u128::from(used)) }
    }

    /// Changes its capacity and window at `now`. What is used up stays the same share of the capacity.
    pub(crate) fn set(&mut self, limit: u64, window: Duration, now: u64) {
        self.refill(now);
        let window = nanos(window).max(1);
        let used = in_proportion(self.used, limit, self.limit);
        *self = Self { limit, window, used: in_proportion(used, window, self.window), at: self.at };
    }

    fn refill(&mut self, now: u64) {
        let refilled = u128::from(now.saturating_sub(self.at)) * u128::from(self.limit);
        self.used = self.used.saturating_sub(refilled);
        self.at = self.at.max(now);
    }

    /// Used up, in whole units, rounded up.
    fn used_units(&self) -> u64 {
        u64::try_from(self.used.div_ceil(u128::from(self.window))).unwrap_or(self.limit)
    }

    /// The time in which `units` refill, rounded up to whole nanoseconds.
    fn time_of(&self, units: u128) -> Duration {
        let time = (units * u128::from(self.window)).div_ceil(u128::from(self.limit.max(1)));
        Duration::from_nanos(u64::try_from(time).unwrap_or(u64::MAX))
    }
}

/// `amount * new / old`, rounded up; where that is too large to compute, rounded to a multiple of `new`.
fn in_proportion(amount: u128, new: u64, old: u64) -> u128 {
    let (new, old) = (u128::from(new), u128::from(old.max(1)));
    amount.checked_mul(new).map_or((amount / old).saturating_mul(new), |product| product.div_ceil(old))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(86_400);

    fn used(limit: u64, used: u64, window: Duration) -> Bucket {
        let mut bucket = Bucket::new(limit, window, 0);
        bucket.take(used);
        bucket
    }

    #[test]
    fn waits_are_those_of_real_messages() {
        let table = [
            (10_000, 9_689, 333, MINUTE, "132ms"),
            (10_000, 8_554, 3_082, MINUTE, "9.816s"),
            (30_000, 29_937, 385, MINUTE, "644ms"),
            (500_000, 442_231, 249_686, MINUTE, "23.03s"),
            (500_000, 396_582, 249_686, MINUTE, "17.552s"),
            (3, 3, 1, MINUTE, "20s"),
            (500, 500, 1, MINUTE, "120ms"),
            (200, 200, 1, DAY, "7m12s"),
            (2_000, 2_000, 1, DAY, "43.2s"),
            (50, 50, 1, DAY, "28m48s"),
            (100_000, 99_996, 484, DAY, "6m54.72s"),
            (200_000, 197_494, 4_035, DAY, "11m0.528s"),
        ];
        for (limit, taken, requested, window, printed) in table {
            let shortage = used(limit, taken, window).fits(requested, 0).expect_err("it does not fit");
            assert_eq!((shortage.limit, shortage.used, shortage.requested), (limit, Some(taken), requested));
            assert_eq!(super::super::go_duration::go_duration(shortage.wait), printed);
        }
    }

    #[test]
    fn resets_are_those_of_real_headers() {
        for (limit, remaining, printed) in
            [(10_000, 9_481, "3.114s"), (200_000, 199_978, "6ms"), (30_000, 29_996, "8ms")]
        {
            let level = used(limit, limit - remaining, MINUTE).level(0);
            assert_eq!((level.limit, level.remaining), (limit, remaining));
            assert_eq!(super::super::go_duration::go_duration(level.reset), printed);
        }
        assert_eq!(used(10, 0, MINUTE).level(0), Level { limit: 10, remaining: 10, reset: Duration::ZERO });
    }

    #[test]
    fn what_is_over_the_capacity_never_fits() {
        let shortage = Bucket::new(30_000, MINUTE, 0).fits(31_538, 0).expect_err("too large");
        assert_eq!(shortage, Shortage { limit: 30_000, used: None, requested: 31_538, wait: Duration::ZERO });
        assert!(Bucket::new(0, MINUTE, 0).fits(1, u64::MAX).is_err());
    }

    #[test]
    fn a_change_keeps_the_used_share() {
        let mut bucket = used(100, 40, MINUTE);
        bucket.set(50, MINUTE, 0);
        assert_eq!(bucket.level(0), Level { limit: 50, remaining: 30, reset: Duration::from_secs(24) });
        // Six seconds refill five of the fifty, which are ten of the hundred.
        bucket.set(100, MINUTE, nanos(Duration::from_secs(6)));
        assert_eq!(bucket.level(nanos(Duration::from_secs(6))).remaining, 70);
        bucket.set(100, DAY, nanos(Duration::from_secs(6)));
        assert_eq!(bucket.level(nanos(Duration::from_secs(6))).remaining, 70);
        let mut large = used(u64::MAX, u64::MAX, DAY);
        large.set(u64::MAX - 1, DAY, 0);
        assert_eq!(large.level(0).remaining, 0);
    }

    #[test]
    fn a_debt_is_refilled_before_anything_fits() {
        let mut bucket = Bucket::new(10, Duration::from_secs(10), 0);
        bucket.take(25);
        assert_eq!(bucket.level(0).remaining, 0);
        assert_eq!(bucket.fits(1, 0).map_err(|short| short.wait), Err(Duration::from_secs(16)));
        assert!(bucket.fits(1, nanos(Duration::from_secs(16))).is_ok());
    }

    #[test]
    fn tighter_is_the_smaller_share() {
        let level = |limit, remaining| Level { limit, remaining, reset: Duration::ZERO };
        assert!(level(10_000, 10).is_tighter_than(&level(500, 499)));
        assert!(!level(10_000, 9_999).is_tighter_than(&level(500, 499)));
        assert!(!level(500, 250).is_tighter_than(&level(10_000, 5_000)));
    }

    proptest! {
        /// From a level of whole units the wait is exact: refused a nanosecond before, admitted then.
        #[test]
        fn refused_a_nanosecond_before_and_admitted_on_time(
            limit in 1u64..200_000_000, first in 0.0f64..=1.0, second in 0.0f64..=1.0, window in 1u64..86_400_000,
        ) {
            let share = |share: f64| {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of a small number")]
                let units = (limit as f64 * share).ceil() as u64;
                units.min(limit)
            };
            let mut bucket = used(limit, share(first), Duration::from_millis(window));
            let amount = share(second);
            if let Err(shortage) = bucket.fits(amount, 0) {
                let wait = nanos(shortage.wait);
                prop_assert!(bucket.clone().fits(amount, wait - 1).is_err());
                prop_assert!(bucket.fits(amount, wait).is_ok());
            } else {
                prop_assert!(share(first) + amount <= limit);
            }
        }

        /// At any moment: the wait named is enough, and never longer than one unit's time too long; the level adds up.
        #[test]
        fn the_wait_is_enough_and_the_limit_holds(
            limit in 1u64..500, steps in prop::collection::vec((0u64..400_000_000, 1u64..600), 1..100),
        ) {
            let window = Duration::from_secs(2);
            let mut bucket = Bucket::new(limit, window, 0);
            let (mut now, mut taken) = (0u64, 0u128);
            for (pause, amount) in steps {
                now += pause;
                match bucket.fits(amount, now) {
                    Ok(()) => {
                        bucket.take(amount);
                        taken += u128::from(amount);
                        let most = u128::from(limit) + u128::from(limit) * u128::from(now) / u128::from(nanos(window));
                        prop_assert!(taken <= most, "{taken} taken, {most} allowed");
                    }
                    Err(Shortage { used: None, .. }) => prop_assert!(amount > limit),
                    Err(shortage) => {
                        let wait = nanos(shortage.wait);
                        prop_assert!(bucket.clone().fits(amount, now + wait).is_ok());
                        let unit = nanos(window).div_ceil(limit);
                        if let Some(before) = wait.checked_sub(unit + 1) {
                            prop_assert!(bucket.clone().fits(amount, now + before).is_err());
                        }
                    }
                }
                let level = bucket.level(now);
                prop_assert!(level.remaining <= limit);
                let reset = (u128::from(limit - level.remaining) * u128::from(nanos(window))).div_ceil(u128::from(limit));
                prop_assert_eq!(u128::from(nanos(level.reset)), reset);
                prop_assert!(bucket.clone().fits(limit, now + nanos(level.reset)).is_ok(), "full after its reset");
            }
        }
    }
}
