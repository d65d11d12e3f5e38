//! What ends a run from outside.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A signal that asks a run to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// SIGHUP: the terminal is closed, the connection to the machine is lost.
    HangUp,
    /// SIGINT: a person presses Ctrl-C.
    Interrupt,
    /// SIGTERM: another program, or the system, wants it to end.
    Terminate,
}

impl fmt::Display for Signal {
    /// What has happened to the run.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HangUp => "hung up",
            Self::Interrupt => "interrupted",
            Self::Terminate => "terminated",
        })
    }
}
