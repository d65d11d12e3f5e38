//! Why a run ends.

use std::time::Duration;

use super::{Class, Signal};

/// Why a run has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every job has ended.
    Complete,
    /// The account or the request stops every prompt.
    Stopped {
        /// What kind of stop.
        stop: RunStop,
        class: Class,
        /// What the server says.
        message: String,
    },
    /// The server, or the network, failed for as long as the rules bear.
    Outage {
        /// The error class of the latest failure.
        class: Class,
        message: String,
        /// The wait that the server asks for, where that is more than the rules bear.
        asked: Option<Duration>,
    },
    /// The time that the run was given is over.
    Deadline,
    /// A day limit is reached, and the run is not to wait.
    DayLimit,
    /// A day limit of the server is reached, and the run is not to wait.
    ServerDayLimit {
        /// Which, as far as the server says.
        what: String,
        /// How long until it has room again.
        wait: Duration,
    },
    /// A person ended it, with this signal first.
    Interrupted(Signal),
    /// An output cannot be written.
    Disk(String),
    /// The store cannot be used.
    Store(String),
    /// The input cannot be read on.
    Source(String),
    /// A part of the program ended unexpectedly: this says which, and where.
    Broken(String),
}

/// What a run that cannot go on lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunStop {
    /// A key that the API accepts and allows to do this.
    Key,
    /// Credit, or room under a spend limit.
    Quota,
    /// A model that exists for the account.
    Model,
    /// A base URL that leads to the API.
    Endpoint,
    /// Parameters that the model takes.
    Request,
}
