//! Limits as the real API keeps them, continuous token buckets, and as others do, counts in windows; how many requests there may be at a time; and
//! Go's way to write a duration.

pub(super) mod bucket;
pub(super) mod count;
pub(super) mod crowd;
pub(super) mod go_duration;
pub(super) mod limiter;
mod tally;

pub use count::Refill;
