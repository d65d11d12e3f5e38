//! What is said of a run: one stream of events, and those who show it.

mod cadence;
pub mod closing;
pub mod event;
pub mod learned;
pub mod meter;
pub mod summary;
pub mod terminal;
pub mod wording;
