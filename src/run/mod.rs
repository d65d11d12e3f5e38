//! The machine: what a run does next, as a value that time and answers are put into.
//!
//! [`Machine::handle`] takes one [`Input`] and the time, and returns [`Action`]s. It reads no clock, touches no file and sends nothing; whoever drives
//! it carries the actions out, feeds what comes of them back as inputs, and calls again with [`Input::Wake`] at the moment of the last
//! [`Action::WakeAt`]. So a run can be replayed in virtual time, with a crash after any action.
//!
//! The order of effects for one attempt: `Begin` (reserve and journal) → `Send` → `Write` → `Finish` (journal and settle). The next step is asked for
//! only when the one before it is reported as carried out.
//!
//! `machine` holds the state and takes the inputs. What may be sent next is for `admission`, which asks in turn `breaker` (is the server there?),
//! `throttle` (does it want a pause?), `patience` (for how long?), `soft_start` (has it shown anything yet?), `in_flight` (how many at a time?) and
//! the limits. What comes of an attempt is for `outcome`, how an answer is kept for `keep`; `estimate` says what output to reserve. What a run that
//! died leaves is for `recover`.

mod admission;
mod breaker;
mod estimate;
mod in_flight;
mod keep;
mod machine;
#[cfg(test)]
mod machine_tests;
mod outcome;
mod patience;
pub mod recover;
mod soft_start;
mod throttle;

pub use estimate::OutputEstimate;
pub use in_flight::Concurrency;
pub use machine::Machine;

use std::time::Duration;

use crate::admit::hint::{LearnedLimit, ServerHint};
use crate::clock::Mono;
use crate::model::{
    Content, ContentId, Doom, Ending, Fingerprint, Key, Limits, OnDayLimit, OnQuota, Place, Signal, Spot,
};
use crate::record::{Begun, Claim, Finished};
use crate::report::event::Event;
use crate::send::classify::Verdict;

/// A job's place in the run, from 0; smaller goes first.
pub type JobIndex = u32;

/// A prompt that this run has to bring to an end.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its prompt.
    pub key: Key,
    /// Where its text stands.
    pub spot: Spot,
    /// The request to send.
    pub fingerprint: Fingerprint,
    /// Input tokens, counted.
    pub input_tokens: u64,
    /// Its batch, from 0. A batch starts when the one before it has ended.
    pub batch: u32,
    /// Why it fails without being sent.
    pub doomed: Option<Box<Doom>>,
    /// What stands at its output's place.
    pub place: Place,
}

/// What a run keeps to.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Requests in flight.
    pub concurrency: Concurrency,
    /// Whether a server whose limits are not known is met softly.
    pub soft_start: bool,
    /// How often a prompt is tried before it fails for good; attempts that were throttled, or that fell into an outage, do not count.
    pub attempts: u32,
    /// The most output tokens of an answer, where the request says so.
    pub max_output_tokens: Option<u64>,
    /// What a day limit does to the run.
    pub on_day_limit: OnDayLimit,
    /// What an account that is used up does to the run.
    pub on_quota: OnQuota,
    /// How long such an account is left alone before it is asked for the first time; doubled each time, up to an hour.
    pub quota_wait: Duration,
    /// An outage of this length ends the run.
    pub give_up_after: Duration,
    /// When nothing more is sent.
    pub deadline: Option<Mono>,
    /// The limits, for what a reservation may be at the most. The store admits.
    pub limits: Limits,
}

/// What has happened.
#[derive(Debug)]
pub enum Input {
    /// The run starts.
    Start,
    /// The moment of the last `WakeAt` has come, or any other moment.
    Wake,
    /// What `Begin` answered.
    Begun(Begun),
    /// What came back for a `Send`, with what it says of the server's limits. An answer's usage is filled in, counted where the server
    /// reported none.
    Heard(JobIndex, Verdict, Vec<ServerHint>),
    /// A `Write` was carried out, or failed for this reason. The content comes back.
    Written(JobIndex, Content, Result<ContentId, Unwritten>),
    /// A `Finish` was carried out.
    Recorded,
    /// `Begin` failed, and nothing has begun.
    Unbegun(String),
    /// `Finish` failed, and nothing is recorded. What was to be comes back.
    Unrecorded(Vec<Finished>, NotRecorded),
    /// What the store is told is not there for the next run.
    StoreGone(String),
    /// A person wants the run to end; the second time, at once.
    Interrupt(Signal),
    /// What is told of the run is read too slowly (`true`), or fast enough again (`false`).
    Behind(bool),
    /// Something without which the run cannot go on has ended unexpectedly; this is what.
    Broken(String),
}

/// Why ends are not recorded.
#[derive(Debug)]
pub enum NotRecorded {
    /// The outputs' folder cannot be flushed; the store was not asked.
    Unflushed(String),
    /// The store fails.
    Store(String),
}

/// Why an output could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwritten {
    /// What is wrong, and what to do.
    pub why: String,
    /// Whether it is this output's place alone: the others can be written, and the run goes on.
    pub alone: bool,
}

/// What keeps an output from its place, where its answer is not lost by it.
#[must_use]
pub fn answer_is_kept(why: &str) -> String {
    format!("{why}; its answer is kept, and is written then")
}

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// Take the claims to the store, in order. Answered by `Begun` or `Unbegun`; one is under way at a time.
    Begin(Vec<Claim>),
    /// Send the request. Answered by `Heard`.
    Send(JobIndex),
    /// Write the output. Answered by `Written`.
    Write(JobIndex, Content),
    /// Take the ends to the store, when the outputs' folder is flushed. Answered by `Recorded` or `Unrecorded`; one is under way at a time.
    Finish(Vec<Finished>),
    /// Keep what is known of the server's limits for later runs. Nothing waits for it.
    Learn(Vec<LearnedLimit>),
    /// Give `Wake` at this moment; it replaces an earlier one.
    WakeAt(Mono),
    /// Tell whoever watches.
    Say(Event),
    /// The run has ended; nothing follows.
    End(Ending),
}
