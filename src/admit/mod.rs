//! Now, not before T, or never: the limits and the ledger that keeps them.

pub mod hint;
pub mod ledger;
pub mod limits;
pub mod server;
pub mod usage_md;
