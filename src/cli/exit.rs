//! Exit codes, which are part of the contract, and the errors that end a command before anything is sent.

use super::consent::ConsentError;
use super::deadline::DeadlineError;
use crate::config::ConfigError;
use crate::config::consent::Question;
use crate::model::{Ending, Signal};
use crate::plan::OverBatch;
use crate::record::{StoreError, UsageFileError};
use crate::send::attempt::TemplateError;
use crate::send::client::ClientError;
use crate::source::scan::ScanError;
use crate::standin::args::StandinError;
use crate::write::WriteError;
use crate::write::target::OutputsError;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Every selected prompt has its answer; also: there was nothing to do.
    Done = 0,
    /// The run ended; some prompts failed for good, or the disk or standard output failed.
    SomeFailed = 1,
    /// Bad usage, settings or input; nothing was sent.
    BadInput = 2,
    /// The batch is over the batch limit; nothing was sent.
    OverBatch = 3,
    /// The account stopped the run (key, quota, billing, a model or an address that it does not have), or an outage that lasts longer than
    /// `give_up_after`; the rest is pending.
    Account = 4,
    /// A day limit stopped the run, or its time was over (`--until`, `--for`); the rest is pending.
    DayLimit = 5,
    /// Hung up (SIGHUP); the rest is pending.
    HungUp = 129,
    /// Interrupted (SIGINT); the rest is pending.
    Interrupted = 130,
    /// Terminated (SIGTERM); the rest is pending.
    Terminated = 143,
}

impl Exit {
    /// Every code with its meaning, in order; the README's table is checked against it.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Done, "every selected prompt has its answer (also: nothing to do)"),
        (Self::SomeFailed, "the run ended; some prompts failed for good, or the disk or standard output failed"),
        (Self::BadInput, "bad usage, settings or input; nothing was sent"),
        (Self::OverBatch, "refused: the batch is over the batch limit; nothing was sent"),
        (
            Self::Account,
            "the account stopped it (key, quota, billing, model or address), or an outage did; the rest is pending",
        ),
        (Self::DayLimit, "a day limit (`--on-day-limit exit`) or `--until` or `--for` stopped it; the rest is pending"),
        (Self::HungUp, "the terminal was closed or the connection lost (SIGHUP); the rest is pending"),
        (Self::Interrupted, "interrupted (Ctrl-C); the rest is pending"),
        (Self::Terminated, "terminated (SIGTERM); the rest is pending"),
    ];

    /// The code.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The code of a run that ended like this, with so many prompts failed.
    #[must_use]
    pub fn of(ending: &Ending, failed: usize) -> Self {
        match ending {
            Ending::Complete if failed == 0 => Self::Done,
            Ending::Complete | Ending::Disk(_) | Ending::Store(_) => Self::SomeFailed,
            Ending::Stopped { .. } | Ending::Outage { .. } => Self::Account,
            Ending::DayLimit | Ending::ServerDayLimit { .. } | Ending::Deadline => Self::DayLimit,
            Ending::Interrupted(Signal::HangUp) => Self::HungUp,
            Ending::Interrupted(Signal::Interrupt) => Self::Interrupted,
            Ending::Interrupted(Signal::Terminate) => Self::Terminated,
        }
    }
}

/// Why a command did not do what it was asked for. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The request's parameters.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// When the run is to end.
    #[error(transparent)]
    Deadline(#[from] DeadlineError),
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
    /// The consents that were given before.
    #[error(transparent)]
    Consent(#[from] ConsentError),
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
    /// The batch limit.
    #[error(transparent)]
    OverBatch(#[from] OverBatch),
    /// The HTTP client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The stand-in.
    #[error(transparent)]
    Standin(#[from] StandinError),
    /// The stand-in of `--offline`.
    #[error("the built-in stand-in cannot be started: {0}")]
    Offline(std::io::Error),
    /// The runtime.
    #[error("cannot start: {0}")]
    Runtime(std::io::Error),
    /// stdout.
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::OverBatch(_) => Exit::OverBatch,
            Self::Output(_) => Exit::SomeFailed,
            _ => Exit::BadInput,
        }
    }
}
