//! A run's work as it is drawn from its input, chunk by chunk.

use std::fmt;

/// The place of a piece of work in the order of its run, from 0; the smaller goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u32);

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A part of a run that begins when the one before it has ended: a batch of `--split`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// Its place among the portions, from 0.
    pub number: u32,
    /// Prompts of it that can be sent.
    pub prompts: usize,
    /// Their input tokens.
    pub input_tokens: u64,
}

/// What is known so far of all that a run has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supply {
    /// Prompts selected: those read, and those yet to be read where their number is known.
    pub prompts: usize,
    /// Of those read, the ones that have their answer.
    pub up_to_date: usize,
    /// How many portions there are; `None` while that is not known.
    pub portions: Option<u32>,
    /// Whether more can be drawn.
    pub left: bool,
}

impl Supply {
    /// Prompts that the run has to bring to an end, as far as is known.
    #[must_use]
    pub fn to_do(&self) -> usize {
        self.prompts.saturating_sub(self.up_to_date)
    }
}
