//! Limits as the real API keeps them: continuous token buckets, and Go's way to write a duration.

pub(super) mod bucket;
pub(super) mod go_duration;
pub(super) mod limiter;
