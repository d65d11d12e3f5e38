//! What a request says on its way through the store: what it asks for, what it is given, and how it ended.

use std::time::Duration;

use crate::admit::ledger::{Amount, Wait};
use crate::clock::Mono;
use crate::model::{Before, Class, ContentId, Fingerprint, FinishReason, Key, TooLarge, Usage};

/// One request that wants to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub key: Key,
    /// What would be sent.
    pub fingerprint: Fingerprint,
    /// Which attempt this is, from 1; attempts that were throttled count here too.
    pub attempt: u32,
    /// Input tokens, counted.
    pub input_tokens: u64,
    /// Input and expected output tokens: what is reserved, where there is room for it.
    pub tokens: u64,
    /// What is reserved at the least; at most `tokens`, and less only where these are an estimate.
    pub least: u64,
    /// What stands at its output's place.
    pub before: Before,
}

/// Names an attempt in the store that began it: later ones of a run, and those of later runs, are larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(i64);

impl AttemptId {
    /// Attempts that a run may have.
    const IN_RUN: i64 = 1 << 32;

    /// The attempt with this place in its run, from 0.
    #[must_use]
    pub fn of(run: i64, place: u64) -> Self {
        Self(run.saturating_mul(Self::IN_RUN).saturating_add(i64::try_from(place).unwrap_or(i64::MAX)))
    }

    /// Its run.
    #[must_use]
    pub fn run(self) -> i64 {
        self.0 / Self::IN_RUN
    }

    /// Its number in the file.
    pub(super) fn number(self) -> i64 {
        self.0
    }

    pub(super) fn from_number(number: i64) -> Self {
        Self(number)
    }
}

/// An admitted request's tokens. It is given back with [`Finished`]; one that never is stays counted as spent.
#[must_use = "a reservation that is not finished stays counted as spent"]
#[derive(Debug, PartialEq, Eq)]
pub struct Reservation {
    /// By which the store knows the rest.
    pub(super) attempt: AttemptId,
    /// Tokens reserved.
    pub(super) tokens: u64,
}

impl Reservation {
    /// Tokens reserved.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.tokens
    }
}

/// The answer to [`Admissions::begin`](super::Admissions::begin).
#[derive(Debug, PartialEq, Eq)]
pub struct Begun {
    /// Reservations for the first claims, in their order.
    pub admitted: Vec<Reservation>,
    /// Why the next claim was not admitted; `None` where all were.
    pub refused: Option<Refusal>,
}

/// Why a claim was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It may be asked for again then.
    NotBefore(Wait),
    /// It never fits.
    Never(TooLarge),
}

/// A reservation with what the request really used.
#[derive(Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Its place in the ledger.
    pub reservation: Reservation,
    /// What it used: one request with its input and output tokens, or nothing where it never left.
    pub used: Amount,
    /// When its answer, or its failure, came.
    pub heard: Mono,
    /// What came with it.
    pub told: Told,
}

/// What a server tells beside an answer or a failure, for the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The model that answered.
    pub model: Option<String>,
    /// How long it asks to be left alone.
    pub wait: Option<Duration>,
    /// What it says of its limits, in short.
    pub hints: Option<String>,
}

/// The end of one attempt, or of a prompt that was never sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Finished {
    pub key: Key,
    /// What would have been sent.
    pub fingerprint: Fingerprint,
    /// What becomes of its reservation; `None` for a prompt that was never sent.
    pub settled: Option<Settlement>,
    pub ended: Ended,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The answer is on disk.
    Done {
        /// What the API reports, or what was counted where it reports nothing.
        usage: Usage,
        /// Whether the answer is whole.
        finish: FinishReason,
        output: ContentId,
    },
    /// It failed for good.
    Failed {
        class: Class,
        message: String,
        /// Tokens that were billed all the same.
        usage: Usage,
    },
    /// It is to be sent again, in this run or a later one.
    Again {
        /// The error class; `None` where the request never left.
        class: Option<Class>,
    },
    /// The answer came and could not be written: the store keeps its text until a later run writes it.
    Unwritten {
        usage: Usage,
        /// Whether the answer is whole.
        finish: FinishReason,
        text: String,
    },
}
