//! What comes out of the machine.

use std::time::Duration;

use crate::admit::hint::LearnedLimit;
use crate::clock::Mono;
use crate::model::{Class, Content, Ending, Ordinal};
use crate::record::{Claim, Finished};
use crate::report::event::Event;

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// Read on in the input, about so many prompts. Answered by `Drawn` or `Undrawn`; one is under way at a time.
    Draw(usize),
    /// Take the claims to the store, in order. Answered by `Begun` or `Unbegun`; one is under way at a time.
    Begin(Vec<Claim>),
    /// Send the request. Answered by `Heard`.
    Send(Ordinal),
    /// Write the output. Answered by `Written`.
    Write(Ordinal, Content),
    /// Take the ends to the store, when the outputs' folder is flushed. Answered by `Recorded` or `Unrecorded`; one is under way at a time.
    Finish(Vec<Finished>),
    /// Keep what is known of the server's limits for later runs. Nothing waits for it.
    Learn(Vec<LearnedLimit>),
    /// Give `Wake` at this moment; it replaces an earlier one.
    WakeAt(Mono),
    Say(Event),
    /// The run has ended; nothing follows.
    End(Ending),
}

/// Why a run is to end early.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) ending: Ending,
    /// The same for the people who wait for what is in flight.
    pub(super) reason: String,
}

impl Stop {
    /// The server, or its network, fails for too long.
    pub(super) fn outage(class: Class, message: String, asked: Option<Duration>) -> Self {
        Self { reason: format!("{class}: {message}"), ending: Ending::Outage { class, message, asked } }
    }

    /// A day limit of the server is reached.
    pub(super) fn server_day_limit(what: String, wait: Duration) -> Self {
        let reason = format!("a day limit of the server is reached: {what}");
        Self { reason, ending: Ending::ServerDayLimit { what, wait } }
    }

    /// The disk, or the store, fails: the reason is the whole story.
    pub(super) fn because(reason: String, ending: impl FnOnce(String) -> Ending) -> Self {
        Self { ending: ending(reason.clone()), reason }
    }
}
