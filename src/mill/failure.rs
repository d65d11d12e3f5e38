//! The errors that end a run before anything is sent.

use crate::config::ConfigError;
use crate::config::consent::Question;
use crate::drive::parts::Unstarted;
use crate::model::Exit;
use crate::plan::{FeedError, HistoryError, OverBatch};
use crate::record::{StoreError, UsageFileError};
use crate::send::attempt::TemplateError;
use crate::send::client::ClientError;
use crate::source::scan::ScanError;
use crate::write::{OutputsError, WriteError};

/// Why a run did not begin. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The request's parameters.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// No key.
    #[error(
        "no API key for {base_url}: set OPENAI_API_KEY, or put the key into api_key.txt, .openai_key or .env here. \
         To try without a key: promptmill --offline"
    )]
    NoKey {
        /// Where it is wanted.
        base_url: String,
    },
    /// A secret from outside the folder, and a server that a file in it names.
    #[error(
        "{0}: that needs your consent, and nothing was sent. To consent: --base-url {base_url}",
        base_url = .0.base_url
    )]
    NoConsent(Box<Question>),
    /// The prompts folder.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The outputs folder.
    #[error(transparent)]
    Outputs(#[from] OutputsError),
    /// An answer that an earlier run could not write, and this one cannot either.
    #[error("an answer is kept from an earlier run, and {source}")]
    Kept {
        /// What the system says.
        source: WriteError,
    },
    /// The state file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `usage.md`.
    #[error(transparent)]
    UsageFile(#[from] UsageFileError),
    /// The input.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// What is known of it.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The batch limit.
    #[error(transparent)]
    OverBatch(#[from] OverBatch),
    /// The HTTP client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The stand-in of `--offline`.
    #[error("the built-in stand-in cannot be started: {0}")]
    Offline(std::io::Error),
    /// A thread.
    #[error(transparent)]
    Unstarted(#[from] Unstarted),
    /// The runtime.
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::OverBatch(_) => Exit::OverBatch,
            _ => Exit::BadInput,
        }
    }
}
