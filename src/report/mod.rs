//! What is said of a run: one stream of events, and those who show it.

mod cadence;
pub mod closing;
pub mod event;
pub mod learned;
mod left;
#[cfg(test)]
mod left_tests;
pub mod meter;
mod outlet;
mod said;
pub mod stderr;
pub mod stdout;
pub mod summary;
pub mod terminal;
pub mod waits;
pub mod wording;
