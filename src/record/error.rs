//! Why the store cannot be used.

use std::path::Path;

/// The store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder of the state file cannot be made.
    #[error(
        "cannot make the state folder {path}: {source}; make room for it there, or name another place with --ledger"
    )]
    Folder {
        path: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Something else has the state file's name. What a link leads to is not ours to make tables in.
    #[error("the state file {path} is {what}, not a regular file; take it away, or name another place with --ledger")]
    Irregular { path: std::path::PathBuf, what: &'static str },
    /// The state folder or file is marked read-only.
    #[error(
        "{path} is read-only, and promptmill must write there; make it writable (chmod u+w), or name another place with --ledger"
    )]
    ReadOnly {
        /// The folder or file.
        path: std::path::PathBuf,
    },
    /// The database answers with an error.
    #[error("{}", unusable(path, *fault, source))]
    Database {
        path: std::path::PathBuf,
        /// What is wrong with it.
        fault: Fault,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database is not where it was opened.
    #[error(
        "the state file {path} is gone: it was moved or deleted while the run went on. Put it back if you can, and run again: answers in the outputs folder stay"
    )]
    Gone { path: std::path::PathBuf },
    /// The database was made by a later version.
    #[error(
        "the state file {path} was made by a newer promptmill (format {found}, this one supports {known}); use that one, or name another ledger with --ledger"
    )]
    Newer {
        path: std::path::PathBuf,
        found: i64,
        /// Ours.
        known: i64,
    },
}

/// What is wrong with the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Another process holds it: it may be asked again.
    Busy,
    /// There is no space left.
    Full,
    /// What stands there is no database of ours.
    Damaged,
    /// It cannot be opened, or not be written.
    ReadOnly,
    /// Anything else.
    Other,
}

impl Fault {
    fn hint(self) -> &'static str {
        match self {
            Self::Full => "; free some space",
            Self::Damaged => {
                "; it is damaged: move it away to start with an empty history (answers stay where they are)"
            }
            Self::ReadOnly => "; make its folder writable, or name another place with --ledger",
            Self::Busy | Self::Other => "",
        }
    }
}

fn unusable(path: &Path, fault: Fault, source: &dyn std::fmt::Display) -> String {
    match fault {
        Fault::Busy => format!("the state file {} is held by another program", path.display()),
        _ => format!("the state file {} cannot be used: {source}{}", path.display(), fault.hint()),
    }
}

impl StoreError {
    /// Whether another process holds the store, so that asking again is all that is to be done.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Database { fault: Fault::Busy, .. })
    }
}
