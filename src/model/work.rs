//! A run's work as it is drawn from its input, chunk by chunk.

use std::fmt;

use super::{Before, Doom, Fingerprint, Key};

/// The place of a piece of work in the order of its run, from 0; the smaller goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u32);

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a row stands in its input: the number of a prompt's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot(pub u64);

/// What stands at the place of an output when its work is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its content, which the journal notes when the request leaves.
    pub before: Before,
    /// Whether the journal knows it as an answer.
    pub answered: bool,
}

/// A prompt that a run has to bring to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Its place in the order of the run.
    pub ordinal: Ordinal,
    /// What it is called.
    pub key: Key,
    /// Where its text stands, which is read again at the moment it is sent.
    pub spot: Spot,
    /// The request to send.
    pub fingerprint: Fingerprint,
    /// Input tokens, counted.
    pub input_tokens: u64,
    /// The number of its portion, which begins when the one before it has ended.
    pub portion: u32,
    /// Why it fails without being sent.
    pub doomed: Option<Box<Doom>>,
    /// What stands at its output's place.
    pub place: Place,
}

/// What a draw brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The next pieces of work, in order.
    pub work: Vec<Work>,
    /// The portions that begin in it. Each is told once, whole, with the first of its work or before; none where nothing is split.
    pub portions: Vec<Portion>,
    /// What is known now.
    pub supply: Supply,
}

/// A part of a run that begins when the one before it has ended: a batch of `--split`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// Its place among the portions, from 0.
    pub number: u32,
    /// Prompts of it that can be sent.
    pub prompts: usize,
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
