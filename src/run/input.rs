//! What goes into the machine.

use crate::admit::hint::ServerHint;
use crate::model::{Content, ContentId, Drawn, Ordinal, Signal};
use crate::record::{Begun, Finished};
use crate::send::classify::Verdict;

/// What has happened.
#[derive(Debug)]
pub enum Input {
    Start,
    /// The moment of the last `WakeAt` has come, or any other moment.
    Wake,
    /// What `Draw` brought.
    Drawn(Drawn),
    /// `Draw` failed, for this reason, and no more can be drawn.
    Undrawn(String),
    /// What `Begin` answered.
    Begun(Begun),
    /// What came back for a `Send`, with what it says of the server's limits. An answer's usage is filled in, counted where the server
    /// reported none.
    Heard(Ordinal, Verdict, Vec<ServerHint>),
    /// A `Write` was carried out, or failed for this reason. The content comes back.
    Written(Ordinal, Content, Result<ContentId, Unwritten>),
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
