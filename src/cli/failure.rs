//! The errors that end a command before anything is sent.

use super::consent::ConsentError;
use super::deadline::DeadlineError;
use crate::mill;
use crate::model::Exit;
use crate::standin::args::StandinError;

/// Why a command did not do what it was asked for. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Settings, input, or what a run works with.
    #[error(transparent)]
    Mill(mill::Failure),
    /// When the run is to end.
    #[error(transparent)]
    Deadline(#[from] DeadlineError),
    /// The consents that were given before.
    #[error(transparent)]
    Consent(#[from] ConsentError),
    #[error(transparent)]
    Standin(#[from] StandinError),
    /// A part of the program ended unexpectedly.
    #[error("{0}")]
    Broken(String),
    /// The runtime of the stand-in.
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
}

impl<E> From<E> for Failure
where
    mill::Failure: From<E>,
{
    fn from(error: E) -> Self {
        Self::Mill(error.into())
    }
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Mill(failure) => failure.exit(),
            Self::Output(_) | Self::Broken(_) => Exit::SomeFailed,
            _ => Exit::BadInput,
        }
    }
}
