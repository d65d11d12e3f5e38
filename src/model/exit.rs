//! Exit codes, which are part of the contract.

use super::{Ending, Signal};

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Every selected prompt has its answer; also: there was nothing to do.
    Done = 0,
    /// The run ended; some prompts failed for good, or the disk, standard output or promptmill itself failed.
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
        (
            Self::SomeFailed,
            "the run ended; some prompts failed for good, or the disk, standard output or promptmill itself failed",
        ),
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
            Ending::Complete | Ending::Disk(_) | Ending::Store(_) | Ending::Source(_) | Ending::Broken(_) => {
                Self::SomeFailed
            }
            Ending::Stopped { .. } | Ending::Outage { .. } => Self::Account,
            Ending::DayLimit | Ending::ServerDayLimit { .. } | Ending::Deadline => Self::DayLimit,
            Ending::Interrupted(Signal::HangUp) => Self::HungUp,
            Ending::Interrupted(Signal::Interrupt) => Self::Interrupted,
            Ending::Interrupted(Signal::Terminate) => Self::Terminated,
        }
    }
}
