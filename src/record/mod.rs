//! What is remembered: the ledger's entries and the journal of prompts, behind one trait.
//!
//! A request goes through the store twice. [`Admissions::begin`] reserves its tokens and journals "sending" before it leaves;
//! [`Admissions::finish`] journals its end and settles the reservation after the answer is on disk. Each is one transaction for many requests.
//! Who asks never sees how it is kept: `sqlite` keeps it in a file that several processes share, [`memory`] in a value that a simulation can crash.

mod attempt;
pub mod endpoint;
pub mod entry;
mod error;
mod found;
pub mod memory;
pub mod sqlite;
mod store;
mod usage_file;

use std::path::Path;

pub use attempt::{AttemptId, Begun, Claim, Ended, Finished, Refusal, Reservation, Settlement, Told};
pub use endpoint::{Endpoint, endpoint};
pub use error::{Fault, StoreError};
use found::LATEST_ANSWERS;
pub use found::{Found, KeptAnswer, LastRun, RunInfo};
pub use sqlite::state_file;
pub use store::{Admissions, Journal, Learned, Notes, Store, UsageFile};
pub use usage_file::{FaceFound, UsageFileError, ledger_of_face};

use crate::clock::Now;
use crate::model::Limits;

/// Opens the store of the ledger `ledger_file`, making it where there is none.
///
/// `boot` names this start of the machine ([`Clock::boot`](crate::clock::Clock::boot)): entries of an earlier one are as old as the wall clock says.
pub fn open(ledger_file: &Path, limits: Limits, boot: String, now: &Now) -> Result<Box<dyn Store>, StoreError> {
    Ok(Box::new(sqlite::SqliteStore::open(ledger_file, limits, boot, now)?))
}

/// Opens the store of `ledger_file` for reading; `None` where there is none.
pub fn open_to_read(
    ledger_file: &Path,
    limits: Limits,
    boot: String,
    now: &Now,
) -> Result<Option<Box<dyn Store>>, StoreError> {
    let store = sqlite::SqliteStore::open_to_read(ledger_file, limits, boot, now)?;
    Ok(store.map(|store| Box::new(store) as Box<dyn Store>))
}
