//! What is sent, why, and what it costs.
//!
//! A [`Feed`] reads an input on and turns its rows into work, a few at a time. `survey` looks at a chunk of rows on all cores, [`standing`] decides
//! whether one is sent, `cut` makes the portions of `--split`. It is given the source, and what it asks of outputs and journal is said here:
//! [`Outputs`] and [`History`] are carried out by the stages after this one.

mod cut;
mod feed;
#[cfg(test)]
mod feed_tests;
mod history;
mod outputs;
pub mod price;
mod rules;
pub mod standing;
mod survey;

pub use feed::{Adopted, Draft, Feed, FeedError};
pub use history::{DoneSet, History, HistoryError, NoHistory};
pub use outputs::Outputs;
pub use rules::{OverBatch, PlanRules};
pub use survey::Survey;
