//! How a limit is kept: as a bucket that refills all the time, or by counting in windows.

use std::time::Duration;

use clap::ValueEnum;

use super::bucket::{Bucket, Level, Shortage};
use super::tally::Tally;

/// How what is used up of a limit of a minute comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Refill {
    /// Little by little, as in a bucket.
    #[default]
    Steady,
    /// All of it at the end of each window; the windows lie end to end from the server's start.
    Fixed,
    /// Each request's share when it is as old as the window, so that no span as long as the window has more than the limit.
    Sliding,
}

/// One limit, kept in one of these ways.
#[derive(Clone, Debug)]
pub(super) enum Count {
    Bucket(Bucket),
    Tally(Tally),
}

impl Count {
    /// Full, at `now` nanoseconds.
    pub(super) fn new(refill: Refill, limit: u64, window: Duration, now: u64) -> Self {
        match refill {
            Refill::Steady => Self::Bucket(Bucket::new(limit, window, now)),
            Refill::Fixed => Self::Tally(Tally::new(limit, window, false)),
            Refill::Sliding => Self::Tally(Tally::new(limit, window, true)),
        }
    }

    /// Whether it is kept in that way.
    pub(super) fn is(&self, refill: Refill) -> bool {
        match self {
            Self::Bucket(_) => refill == Refill::Steady,
            Self::Tally(tally) => refill == if tally.slides() { Refill::Sliding } else { Refill::Fixed },
        }
    }

    /// The most there is.
    pub(super) fn limit(&self) -> u64 {
        match self {
            Self::Bucket(bucket) => bucket.limit(),
            Self::Tally(tally) => tally.limit(),
        }
    }

    /// Whether `amount` can be taken at `now`.
    pub(super) fn fits(&mut self, amount: u64, now: u64) -> Result<(), Shortage> {
        match self {
            Self::Bucket(bucket) => bucket.fits(amount, now),
            Self::Tally(tally) => tally.fits(amount, now),
        }
    }

    /// Takes `amount` at `now`, for which it has been asked, whether it fits or not.
    pub(super) fn take(&mut self, amount: u64, now: u64) {
        match self {
            Self::Bucket(bucket) => bucket.take(amount),
            Self::Tally(tally) => tally.take(amount, now),
        }
    }

    /// The numbers for the headers at `now`.
    pub(super) fn level(&mut self, now: u64) -> Level {
        match self {
            Self::Bucket(bucket) => bucket.level(now),
            Self::Tally(tally) => tally.level(now),
        }
    }

    /// Changes its limit and window at `now`.
    pub(super) fn set(&mut self, limit: u64, window: Duration, now: u64) {
        match self {
            Self::Bucket(bucket) => bucket.set(limit, window, now),
            Self::Tally(tally) => tally.set(limit, window),
        }
    }
}
