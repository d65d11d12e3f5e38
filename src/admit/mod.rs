//! Now, not before T, or never: the limits and the ledger that keeps them.

pub mod limits;
pub mod ledger;
