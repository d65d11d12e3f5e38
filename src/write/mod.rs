//! Where an answer goes, and how it gets there whole.
//!
//! A [`Sink`] takes the answers of a run. [`files`] is the only one: a folder with a file for each.

mod error;
pub mod files;
mod hold;
mod name;

pub use error::{OutputsError, WriteError};

use std::io;

use crate::model::{Content, Key, Put};
use crate::plan::Outputs;

/// Takes answers, and shows what stands there. Several threads share one.
pub trait Sink: Outputs {
    /// Puts an output in its place. It survives a power cut once [`Sink::flush`] has returned.
    ///
    /// A failed prompt's line never replaces an answer: that is moved aside first. `answered` says that the journal knows what stands there as an
    /// answer; where it does not, the text has to say what it is.
    fn put(&self, key: &Key, content: &Content, answered: bool) -> Result<Put, WriteError>;

    /// Makes all that was put survive a power cut.
    fn flush(&self) -> Result<(), WriteError>;

    /// The text of the output of `key`.
    fn text(&self, key: &Key) -> io::Result<String>;
}
