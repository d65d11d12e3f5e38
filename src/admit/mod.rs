//! Now, not before T, or never: the limits and the ledger that keeps them.

mod bucket;
pub mod hint;
pub mod ledger;
pub mod limits;
pub mod server;
#[cfg(test)]
mod server_tests;
pub mod usage_md;
