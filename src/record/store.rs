//! The store: all that is kept, and the only way to it.
//!
//! It is one trait in five parts, each of which a room of its own carries out. Methods that change something are each one durable transaction: where
//! the process dies before its end, nothing has happened; where one fails, the same, and it may be asked again.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::entry::LostRequest;
use super::{
    Begun, Claim, Endpoint, FaceFound, Finished, Found, KeptAnswer, LastRun, RunInfo, StoreError, UsageFileError,
};
use crate::admit::hint::LearnedLimit;
use crate::admit::ledger::{Amount, Ledger, Used};
use crate::admit::usage_md::Face;
use crate::clock::{Mono, Now};
use crate::model::{ContentId, Fingerprint, Key, Usage};
use crate::plan::History;

/// Everything that is kept.
pub trait Store: Admissions + Journal + Notes + Learned + UsageFile + Send {
    /// Whether the store is where it was opened. One that is not goes on as if nothing had happened, and nobody finds what is noted there.
    fn is_there(&self) -> Result<(), StoreError>;
}

/// The ledger, and the attempts that go through it.
pub trait Admissions {
    /// Admits the first of `claims` that fit, in order, up to the first that does not, and journals them as being sent.
    ///
    /// Dies before its end: nothing has happened. Dies after it: the requests count as spent, and the journal says that they were in flight, and
    /// what stood where their answers are to be. `now` is asked once, when the store is held against others.
    fn begin(&mut self, claims: &[Claim], now: &dyn Fn() -> Now) -> Result<Begun, StoreError>;

    /// Journals how attempts ended and settles their reservations. The answers of those done are on disk already.
    ///
    /// Dies before its end: the attempts still count as in flight, with what was reserved. Dies after it: nothing is to be done again.
    fn finish(&mut self, finished: &[Finished], now: &Now) -> Result<(), StoreError>;

    /// What is used up at `now`, by all who share the store.
    fn used(&mut self, now: &Now) -> Result<Used, StoreError>;

    /// The amounts of the window that ends at `now`, each with the moment it was admitted, in that order: those of all processes.
    fn recent(&mut self, now: &Now) -> Result<Vec<(Mono, Amount)>, StoreError>;
}

/// What runs leave for those after them.
pub trait Journal {
    /// What earlier runs left of the folder `outputs`, for requests to `model`.
    fn find(&self, outputs: &str, model: &str) -> Result<Found, StoreError>;

    /// What is known of the prompts of the folder `outputs`, to be asked while the store itself is elsewhere.
    fn history(&self, outputs: &str) -> Result<Box<dyn History>, StoreError>;

    /// Starts a run. Call it while the outputs folder is locked: requests of the folder that are still "sending" have lost their run, and are marked so.
    fn start_run(&mut self, info: &RunInfo, now: &Now) -> Result<(), StoreError>;

    /// Ends the run with its closing line.
    fn end_run(&mut self, summary: &str, now: &Now) -> Result<(), StoreError>;

    /// Journals that the answers of lost requests stand on disk after all: their run wrote them and died before it could say so.
    fn recover_lost(&mut self, found: &[(LostRequest, Usage, ContentId)], now: &Now) -> Result<(), StoreError>;

    /// Journals that a kept answer is written now.
    fn recover_kept(&mut self, answer: &KeptAnswer, now: &Now) -> Result<(), StoreError>;

    /// Journals that an output which the journal did not know answers `fingerprint`: its history was lost, and the answer is kept.
    fn adopt(&mut self, adopted: &[(Key, Fingerprint, u64)], now: &Now) -> Result<(), StoreError>;

    /// The last run of the folder `outputs`.
    fn last_run(&self, outputs: &str) -> Result<Option<LastRun>, StoreError>;
}

/// What a run leaves for people and for later plans.
pub trait Notes {
    /// Journals what happened in the run that goes on, in this order.
    fn note(&mut self, events: &[(DateTime<Utc>, String)]) -> Result<(), StoreError>;

    /// The last `most` notes of the last run of the folder `outputs`, the oldest first.
    fn last_notes(&self, outputs: &str, most: usize) -> Result<Vec<(DateTime<Utc>, String)>, StoreError>;

    /// The mean time from a request's admission to its answer's record, of the model's latest answers; those of the stand-in or of a real API.
    /// `None` where there are none.
    fn mean_answer(&self, model: &str, rehearsal: bool) -> Result<Option<Duration>, StoreError>;
}

/// What is known of servers.
pub trait Learned {
    /// The limits learned for `endpoint`.
    fn learned(&self, endpoint: &Endpoint) -> Result<Vec<LearnedLimit>, StoreError>;

    /// All limits that were learned, sorted by endpoint.
    fn all_learned(&self) -> Result<Vec<(Endpoint, LearnedLimit)>, StoreError>;

    /// Keeps `limits` as what is known of `endpoint`; what was known before is replaced. Limits without a size or a window are left out.
    fn learn(&mut self, endpoint: &Endpoint, limits: &[LearnedLimit]) -> Result<(), StoreError>;

    /// Forgets what was learned for `endpoint`, or for all where none is named, and tells how many limits that were.
    fn forget(&mut self, endpoint: Option<&Endpoint>) -> Result<usize, StoreError>;
}

/// `usage.md`: the ledger's face.
pub trait UsageFile {
    /// Reads `usage.md`; where it was edited since it was last written, its numbers win.
    ///
    /// The window's numbers count from the time of the edit, the day's only where its date is today.
    fn take_edit(&mut self, now: &Now) -> Result<FaceFound, UsageFileError>;

    /// The ledger as the next run will see it, an edit of `usage.md` taken in, without writing anything.
    fn preview(&mut self, now: &Now) -> Result<Ledger, UsageFileError>;

    /// Writes `usage.md` if what it says has changed, and says what it says now.
    ///
    /// A file that was edited or damaged since is never overwritten: its numbers are taken first, or the error is returned.
    fn write_face(&mut self, now: &Now) -> Result<Face, UsageFileError>;

    /// Starts afresh: all counters are zero, and the old file, whatever is in it, is kept beside. Returns where.
    fn reset_usage(&mut self, now: &Now) -> Result<Option<PathBuf>, UsageFileError>;
}
