//! The limits of a server together: requests and tokens a minute, requests a day, and the slices in which a minute may be enforced.
//!
//! It decides and counts; the words and headers that a client reads are made elsewhere. Time comes in as nanoseconds.

use std::time::Duration;

use super::bucket::{Bucket, Level, Shortage};
use super::count::{Count, Refill};
use crate::clock::nanos;

/// What a [`Limiter`] keeps to; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Requests in a window.
    pub requests_per_minute: Option<u64>,
    /// Tokens in a window.
    pub tokens_per_minute: Option<u64>,
    /// The time in which an empty bucket of a minute fills, or the window in which it is counted.
    pub window: Duration,
    /// How the limits of a minute are kept.
    pub refill: Refill,
    /// Whether a request that is refused counts as one that is admitted does, in every limit.
    pub count_refused: bool,
    /// How much of a minute's limit may come at once: as much as refills in this time. `None`: all of it.
    pub burst: Option<Duration>,
    /// Requests in a day.
    pub requests_per_day: Option<u64>,
    /// The time in which an empty bucket of a day fills.
    pub day: Duration,
}

/// Which limit refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dimension {
    /// Requests in a window.
    Requests,
    /// Tokens in a window.
    Tokens,
    /// Requests in a day.
    RequestsPerDay,
}

/// A request refused, by which limit and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The limit that frees last.
    pub dimension: Dimension,
    pub shortage: Shortage,
}

/// The levels of the buckets after a request was admitted; `None` where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Levels {
    /// Requests in a window.
    pub requests: Option<Level>,
    /// Tokens in a window.
    pub tokens: Option<Level>,
    /// Requests in a day.
    pub requests_per_day: Option<Level>,
    /// Tokens that the request took.
    pub taken: u64,
}

/// One limit: its bucket, and the smaller bucket of the slice where it is enforced in slices.
#[derive(Clone, Debug)]
struct Limit {
    whole: Count,
    slice: Option<Bucket>,
}

impl Limit {
    /// Sets `limit` to these numbers: a new one starts full, a changed one keeps its used share.
    fn set(limit: &mut Option<Self>, size: Option<u64>, window: Duration, kept: (Refill, Option<Duration>), now: u64) {
        let (refill, burst) = kept;
        let Some(size) = size else {
            *limit = None;
            return;
        };
        let old = limit.take();
        let (old_whole, old_slice) = old.map_or((None, None), |old| (Some(old.whole), old.slice));
        let old_whole = old_whole.filter(|old: &Count| old.is(refill));
        let mut whole = old_whole.unwrap_or_else(|| Count::new(refill, size, window, now));
        whole.set(size, window, now);
        let slice = burst.and_then(|burst| slice(size, window, burst)).map(|(size, window)| {
            let mut slice = old_slice.unwrap_or_else(|| Bucket::new(size, window, now));
            slice.set(size, window, now);
            slice
        });
        *limit = Some(Self { whole, slice });
    }

    /// Whether `amount` can be taken at `now`. What is larger than a slice needs a full one: a slice alone refuses nothing for good.
    fn fits(&mut self, amount: u64, now: u64) -> Result<(), Shortage> {
        let whole = self.whole.fits(amount, now);
        let Some(slice) = &mut self.slice else { return whole };
        let Err(of_slice) = slice.fits(amount.min(slice.limit()), now) else { return whole };
        Err(match whole {
            Err(of_whole) if of_whole.used.is_none() => of_whole,
            Err(of_whole) => Shortage { wait: of_whole.wait.max(of_slice.wait), ..of_whole },
            // A client is told of the minute's numbers, by which its request would fit: the slice is not named.
            Ok(()) => {
                let level = self.whole.level(now);
                let used = Some(level.limit - level.remaining);
                Shortage { limit: level.limit, used, requested: amount, wait: of_slice.wait }
            }
        })
    }

    /// Loses to somebody else what falls to step `step` of `steps` in a window, where `share` of the limit is lost evenly. It may be in debt then.
    fn lose(&mut self, share: f64, (step, steps): (u64, u32), now: u64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a limit of our own choice"
        )]
        let lost = |step: u64| (self.whole.limit() as f64 * share * step as f64 / f64::from(steps)) as u64;
        let amount = lost(step).saturating_sub(lost(step.saturating_sub(1)));
        // What has refilled before is there first.
        self.whole.level(now);
        if let Some(slice) = &mut self.slice {
            slice.level(now);
        }
        self.take(amount, now);
    }

    fn take(&mut self, amount: u64, now: u64) {
        self.whole.take(amount, now);
        if let Some(slice) = &mut self.slice {
            slice.take(amount);
        }
    }
}

/// Size and window of the bucket that refills as fast as `limit` in `window` and holds what refills in `burst`, at least 1. `None` where
/// it would be no further limit.
fn slice(limit: u64, window: Duration, burst: Duration) -> Option<(u64, Duration)> {
    if limit == 0 || burst >= window {
        return None;
    }
    let (limit, window) = (u128::from(limit), u128::from(nanos(window)));
    let size = (limit * u128::from(nanos(burst)) / window).max(1);
    let fills = (size * window).div_ceil(limit);
    // Both are less than the whole, which was given in 64 bits.
    Some((u64::try_from(size).unwrap_or(u64::MAX), Duration::from_nanos(u64::try_from(fills).unwrap_or(u64::MAX))))
}

/// All limits of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limiter {
    requests: Option<Limit>,
    tokens: Option<Limit>,
    requests_per_day: Option<Limit>,
    count_refused: bool,
}

impl Limiter {
    /// Sets the limits at `now`: a new one starts full, one that was there keeps its used share.
    pub(crate) fn set(&mut self, limits: &Limits, now: u64) {
        let kept = (limits.refill, limits.burst);
        Limit::set(&mut self.requests, limits.requests_per_minute, limits.window, kept, now);
        Limit::set(&mut self.tokens, limits.tokens_per_minute, limits.window, kept, now);
        Limit::set(&mut self.requests_per_day, limits.requests_per_day, limits.day, (Refill::Steady, None), now);
        self.count_refused = limits.count_refused;
    }

    /// Takes one request and `tokens` tokens at `now`, or says which limit refuses.
    ///
    /// A refused request takes no tokens. It counts as a request if there was room for it, as unsuccessful requests do. Where refused requests
    /// count, it takes all that it asks for, and its wait is until it fits after that.
    pub(crate) fn take(&mut self, tokens: u64, now: u64) -> Result<Levels, Refused> {
        let [by_requests, by_day, by_tokens] = self.refusals(tokens, now);
        let has_room = by_requests.is_none() && by_day.is_none();
        if has_room || self.count_refused {
            for limit in [&mut self.requests, &mut self.requests_per_day].into_iter().flatten() {
                limit.take(1, now);
            }
        }
        let fits_never = by_tokens.is_some_and(|by| by.shortage.used.is_none());
        let takes_tokens = (has_room && by_tokens.is_none()) || (self.count_refused && !fits_never);
        if let Some(limit) = self.tokens.as_mut().filter(|_| takes_tokens) {
            limit.take(tokens, now);
        }
        let mut refusals = [by_requests, by_day, by_tokens];
        if self.count_refused && refusals.iter().any(Option::is_some) {
            refusals = self.refusals(tokens, now);
        }
        // What no wait helps is said first; then the limit that frees last.
        if let Some(refused) =
            refusals.into_iter().flatten().max_by_key(|r| (r.shortage.used.is_none(), r.shortage.wait))
        {
            return Err(refused);
        }
        let level = |limit: &mut Option<Limit>| limit.as_mut().map(|limit| limit.whole.level(now));
        Ok(Levels {
            requests: level(&mut self.requests),
            tokens: level(&mut self.tokens),
            requests_per_day: level(&mut self.requests_per_day),
            taken: tokens,
        })
    }

    /// Somebody else takes, in step `step` of `steps` in a window, what falls to it of `share` of the limits of a minute.
    pub(crate) fn lose(&mut self, share: f64, step: (u64, u32), now: u64) {
        for limit in [&mut self.requests, &mut self.tokens].into_iter().flatten() {
            limit.lose(share, step, now);
        }
    }

    /// What requests, a day and tokens say of one request.
    fn refusals(&mut self, tokens: u64, now: u64) -> [Option<Refused>; 3] {
        [
            refusal(&mut self.requests, Dimension::Requests, 1, now),
            refusal(&mut self.requests_per_day, Dimension::RequestsPerDay, 1, now),
            refusal(&mut self.tokens, Dimension::Tokens, tokens, now),
        ]
    }
}

fn refusal(limit: &mut Option<Limit>, dimension: Dimension, amount: u64, now: u64) -> Option<Refused> {
    let shortage = limit.as_mut()?.fits(amount, now).err()?;
    Some(Refused { dimension, shortage })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const SECOND: u64 = 1_000_000_000;
    const NONE: Limits = Limits {
        requests_per_minute: None,
        tokens_per_minute: None,
        window: MINUTE,
        refill: Refill::Steady,
        count_refused: false,
        burst: None,
        requests_per_day: None,
        day: Duration::from_secs(86_400),
    };

    fn limiter(limits: Limits) -> Limiter {
        let mut limiter = Limiter::default();
        limiter.set(&limits, 0);
        limiter
    }

    fn refused(limiter: &mut Limiter, tokens: u64, now: u64) -> Refused {
        limiter.take(tokens, now).expect_err("it does not fit")
    }

    #[test]
    fn a_request_refused_for_tokens_counts_as_a_request_and_takes_no_tokens() {
        let mut limiter = limiter(Limits { requests_per_minute: Some(3), tokens_per_minute: Some(100), ..NONE });
        assert!(limiter.take(90, 0).is_ok());
        assert_eq!(refused(&mut limiter, 20, 0).dimension, Dimension::Tokens);
        let levels = limiter.take(10, 0).expect("there is room for ten");
        assert_eq!(levels.requests.map(|l| l.remaining), Some(0));
        assert_eq!(levels.tokens.map(|l| l.remaining), Some(0));
        assert_eq!(refused(&mut limiter, 1, 0).dimension, Dimension::Requests);
        assert_eq!(refused(&mut limiter, 101, 0).dimension, Dimension::Tokens, "too large is said first");
    }

    #[test]
    fn a_limit_that_is_set_again_keeps_its_used_share() {
        let mut limiter = limiter(Limits { requests_per_minute: Some(1), ..NONE });
        assert!(limiter.take(1_000_000, 0).is_ok());
        let both = Limits { requests_per_minute: Some(1), tokens_per_minute: Some(50), ..NONE };
        limiter.set(&both, 0);
        assert!(limiter.take(1, 0).is_err());
        limiter.set(&Limits { requests_per_minute: Some(2), ..both }, 0);
        assert!(limiter.take(1, 0).is_err(), "all of one is all of two");
        limiter.set(&Limits { requests_per_minute: None, ..both }, 0);
        assert!(limiter.take(50, 0).is_ok());
    }

    #[test]
    fn a_slice_refuses_what_comes_at_once_in_the_minutes_numbers() {
        let limits = Limits { requests_per_minute: Some(600), burst: Some(Duration::from_secs(1)), ..NONE };
        let mut limiter = limiter(limits);
        for used in 1..=10 {
            let level = limiter.take(0, 0).expect("ten at once").requests.expect("a limit");
            assert_eq!((level.limit, level.remaining), (600, 600 - used));
        }
        let shortage = Shortage { limit: 600, used: Some(10), requested: 1, wait: Duration::from_millis(100) };
        assert_eq!(refused(&mut limiter, 0, 0), Refused { dimension: Dimension::Requests, shortage });
        assert!(limiter.take(0, SECOND / 10 - 1).is_err());
        assert!(limiter.take(0, SECOND / 10).is_ok());
        // A second refills ten, never more.
        for _ in 0..10 {
            assert!(limiter.take(0, 30 * SECOND).is_ok());
        }
        assert!(limiter.take(0, 30 * SECOND).is_err());
    }

    #[test]
    fn a_slice_holds_one_request_however_large_and_then_owes_for_it() {
        let limits = Limits { tokens_per_minute: Some(600), burst: Some(Duration::from_secs(1)), ..NONE };
        let mut limiter = limiter(limits);
        assert!(limiter.take(400, 0).is_ok());
        let shortage = Shortage { limit: 600, used: Some(400), requested: 50, wait: Duration::from_secs(40) };
        assert_eq!(refused(&mut limiter, 50, 0).shortage, shortage);
        assert!(limiter.take(50, 40 * SECOND).is_ok());
        let too_large = refused(&mut limiter, 601, 0).shortage;
        assert_eq!((too_large.used, too_large.limit), (None, 600));
        // One of a window of its own: 60 a minute in slices of a second.
        assert_eq!(slice(60, MINUTE, Duration::from_secs(1)), Some((1, Duration::from_secs(1))));
        assert_eq!(slice(6, MINUTE, Duration::from_secs(1)), Some((1, Duration::from_secs(10))));
        assert_eq!(slice(600, MINUTE, MINUTE), None);
    }

    #[test]
    fn a_day_refuses_beside_the_minute() {
        let mut limiter = limiter(Limits { requests_per_minute: Some(500), requests_per_day: Some(3), ..NONE });
        for remaining in [2, 1, 0] {
            let levels = limiter.take(0, 0).expect("three a day");
            assert_eq!(levels.requests_per_day.map(|level| level.remaining), Some(remaining));
        }
        let shortage = Shortage { limit: 3, used: Some(3), requested: 1, wait: Duration::from_secs(28_800) };
        assert_eq!(refused(&mut limiter, 0, 0), Refused { dimension: Dimension::RequestsPerDay, shortage });
        assert!(limiter.take(0, 28_800 * SECOND).is_ok());
    }

    #[test]
    fn a_minute_may_be_counted_and_its_day_is_a_bucket_still() {
        let sliding =
            Limits { requests_per_minute: Some(2), requests_per_day: Some(2), refill: Refill::Sliding, ..NONE };
        let mut limiter = limiter(sliding);
        assert!(limiter.take(0, 0).is_ok());
        assert!(limiter.take(0, 20 * SECOND).is_ok());
        let shortage = Shortage { limit: 2, used: Some(2), requested: 1, wait: Duration::from_secs(40) };
        limiter.set(&Limits { requests_per_day: None, ..sliding }, 20 * SECOND);
        assert_eq!(refused(&mut limiter, 0, 20 * SECOND), Refused { dimension: Dimension::Requests, shortage });
        limiter.set(&Limits { requests_per_day: None, refill: Refill::Fixed, ..sliding }, 20 * SECOND);
        assert!(limiter.take(0, 59 * SECOND).is_ok(), "kept in another way, it begins anew");
        assert!(limiter.take(0, 59 * SECOND).is_ok());
        assert_eq!(refused(&mut limiter, 0, 59 * SECOND).shortage.wait, Duration::from_secs(1));
        assert!(limiter.take(0, 60 * SECOND).is_ok());
    }

    #[test]
    fn refused_requests_may_count_too() {
        for refill in [Refill::Steady, Refill::Sliding] {
            let limits = Limits { requests_per_minute: Some(2), refill, count_refused: true, ..NONE };
            let mut limiter = limiter(limits);
            assert!(limiter.take(0, 0).is_ok());
            assert!(limiter.take(0, 0).is_ok());
            // Each that is refused adds its own minute's half, or stands in the window.
            let waits: Vec<_> = (0..3).map(|_| refused(&mut limiter, 0, 0).shortage.wait.as_secs()).collect();
            let expected = if refill == Refill::Steady { [60, 90, 120] } else { [60, 60, 60] };
            assert_eq!(waits, expected, "{refill:?}");
            let wait = waits[2] * SECOND;
            assert!(limiter.clone().take(0, wait - 1).is_err(), "{refill:?}");
            assert!(limiter.take(0, wait).is_ok(), "{refill:?}");
        }
        // One that can never fit takes no tokens, and counts as a request.
        let tokens = Limits { requests_per_minute: Some(9), tokens_per_minute: Some(100), count_refused: true, ..NONE };
        let mut limiter = limiter(tokens);
        assert_eq!(refused(&mut limiter, 101, 0).shortage.used, None);
        let levels = limiter.take(40, 0).expect("there is room");
        assert_eq!(levels.tokens.map(|level| level.remaining), Some(60));
        assert_eq!(levels.requests.map(|level| level.remaining), Some(7));
        assert_eq!(refused(&mut limiter, 70, 0).shortage.used, Some(110));
        assert_eq!(refused(&mut limiter, 10, 0).shortage.used, Some(120));
    }

    #[test]
    fn what_somebody_else_takes_is_missing_evenly() {
        for refill in [Refill::Steady, Refill::Fixed, Refill::Sliding] {
            let limits = Limits { requests_per_minute: Some(100), tokens_per_minute: Some(1_000), refill, ..NONE };
            let mut limiter = limiter(limits);
            let end = 59 * SECOND;
            for step in 1..=59 {
                limiter.lose(0.5, (step, 60), step * SECOND);
            }
            // 49 of the 50 that make half of a minute; a bucket refills meanwhile, and stays as full as a second leaves it.
            let levels = limiter.take(0, end).expect("there is room");
            let left = [levels.requests, levels.tokens].map(|level| level.expect("a limit").remaining);
            let expected = if refill == Refill::Steady { [98, 992] } else { [50, 509] };
            assert_eq!(left, expected, "{refill:?}");
        }
        let mut limiter = limiter(Limits { requests_per_minute: Some(1), ..NONE });
        limiter.lose(3.0, (60, 60), 0);
        limiter.lose(3.0, (61, 60), 0);
        assert!(limiter.take(0, 0).is_err());
    }

    proptest! {
        /// In slices too the wait named is enough, and no span admits more than it refills and a slice holds.
        #[test]
        fn the_wait_is_enough_and_a_slice_bounds_every_span(
            limit in 1u64..5_000, burst in 1u64..2_000, steps in prop::collection::vec((0u64..400_000_000, 1u64..60), 1..100),
        ) {
            let window = Duration::from_secs(2);
            let burst = Duration::from_millis(burst);
            let mut limiter = limiter(Limits { tokens_per_minute: Some(limit), window, burst: Some(burst), ..NONE });
            let size = slice(limit, window, burst).map_or(limit, |(size, _)| size);
            let (mut now, mut taken, mut largest) = (0u64, 0u128, 0u64);
            for (pause, amount) in steps {
                now += pause;
                match limiter.take(amount, now) {
                    Ok(_) => {
                        taken += u128::from(amount);
                        largest = largest.max(amount);
                        let refilled = u128::from(limit) * u128::from(now) / u128::from(nanos(window));
                        let most = u128::from(size.max(largest)) + refilled;
                        prop_assert!(taken <= most, "{taken} taken, {most} allowed");
                    }
                    Err(Refused { shortage: Shortage { used: None, .. }, .. }) => prop_assert!(amount > limit),
                    Err(refused) => {
                        let then = now + nanos(refused.shortage.wait);
                        prop_assert!(limiter.clone().take(amount, then).is_ok());
                    }
                }
            }
        }
    }
}
