//! Limits as the real API keeps them: continuous token buckets, and Go's way to write a duration. And how many requests there may be at a time.

pub(super) mod bucket;
pub(super) mod crowd;
pub(super) mod go_duration;
pub(super) mod limiter;
