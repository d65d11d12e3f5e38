//! Which prompts are meant, and what they say.
//!
//! A [`Source`] yields its rows in order, a few at a time, and never holds their texts: what is sent is read again at the moment it is sent, through
//! [`Texts`]. [`folder`] is the only one.

pub mod folder;
pub mod priority;
pub mod prompt;
pub mod range;
pub mod scan;

use std::sync::Arc;

use crate::model::{Doom, Key, Spot};

/// One row of an input: a prompt, as far as it has text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is called.
    pub key: Key,
    pub spot: Spot,
    /// Its text, or why it has none. `None` where it is yet to be read at its spot, by whoever wants to, on any thread.
    pub text: Option<Result<String, Doom>>,
}

/// An input that cannot be read on.
#[derive(Debug, thiserror::Error)]
#[error("the input cannot be read on: {why}")]
pub struct SourceError {
    /// What is wrong, and what to do.
    pub why: String,
}

/// An input, read once from its beginning to its end.
pub trait Source: Send {
    /// The next rows in order, at most `most`; none where there are no more.
    fn next(&mut self, most: usize) -> Result<Vec<Row>, SourceError>;

    /// How many rows are left at the most, where that is known.
    fn len_hint(&self) -> Option<usize>;

    /// What reads a row again, also when this one is gone.
    fn texts(&self) -> Arc<dyn Texts>;
}

/// The texts of an input, by the spots of its rows.
pub trait Texts: Send + Sync {
    /// The text at `spot`, as it is now, or why it cannot be sent.
    fn again(&self, spot: Spot) -> Result<String, Doom>;

    /// How a person finds it.
    fn name(&self, spot: Spot) -> String;
}
