//! What a run waits for.

use serde::{Deserialize, Serialize};

use crate::admit::hint::LearnedLimit;
use crate::clock::Mono;
use crate::model::LimitName;

/// What a wait is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitFor {
    /// Room under a limit that is set.
    Limit(LimitName),
    /// Room under a limit of the server, as far as it is known.
    ServerLimit(LearnedLimit),
    /// The end of a pause after a 429.
    Server,
    /// The first answers of a server that is not known, or that has just come back.
    FirstAnswers,
    /// Answers: as many requests as may be are in flight.
    Answers,
    /// The server or the network, which fails.
    Outage,
    /// The account, which is used up.
    Account,
    /// A request that was refused, and is asked again alone.
    Refused,
    /// The next prompts, which are being read.
    Prompts,
    /// The disk: what is paid for cannot be kept.
    Disk,
    /// Who reads stdout, where much waits to be written.
    Reader,
    /// The next try of what has failed, which is all that is left to do.
    Retry,
}

impl WaitFor {
    /// Whether it is the same wait to a person: a limit of the server stays the same when its size is corrected.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::ServerLimit(one), Self::ServerLimit(other)) => {
                (one.unit, &one.group, one.window) == (other.unit, &other.group, other.window)
            }
            _ => self == other,
        }
    }
}

/// What keeps the next request back at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Binds {
    pub what: WaitFor,
    /// Until when, as far as that is known.
    pub until: Option<Mono>,
}
