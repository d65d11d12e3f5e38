//! Now, not before T, or never.
//!
//! A person's limits ([`Limits`](crate::model::Limits)) are kept by the [`ledger`], which several processes share. The server's own limits are known only as far as it tells
//! them: [`hint`] is what one response says, [`server`] the picture that all of them give. Admission obeys both. [`usage_md`] is the ledger's face.

pub mod forecast;
pub mod hint;
pub mod ledger;
pub mod server;
pub mod usage_md;
pub mod widening;
pub mod within;
