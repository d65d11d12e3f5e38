//! What keeps an answer from its place, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::name::file_name;
use crate::atomic::advice;
use crate::model::Key;

/// The outputs folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutputsError {
    /// It cannot be made or written to.
    #[error(
        "the outputs folder {path} cannot be used: {source}; make it writable, free some space, or name another with --outputs"
    )]
    Unusable {
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is no folder.
    #[error("{path} is a file, not a folder for outputs: move it away, or name another folder with --outputs")]
    NotAFolder {
        /// What stands in its place.
        path: PathBuf,
    },
    /// It is marked read-only.
    #[error("the outputs folder {path} is read-only; make it writable (chmod u+w), or name another with --outputs")]
    ReadOnly { path: PathBuf },
    /// Another run writes there.
    #[error("another run writes to {path}: {holder}. Wait until it has ended, or name another folder with --outputs")]
    Held { path: PathBuf, holder: String },
}

pub(super) fn unusable(folder: &Path) -> impl Fn(io::Error) -> OutputsError {
    move |source| match source.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            OutputsError::NotAFolder { path: folder.to_owned() }
        }
        _ => OutputsError::Unusable { path: folder.to_owned(), source },
    }
}

/// An output cannot be written, or is not on the disk for good.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The outputs folder is not there any more.
    #[error("the outputs folder {folder} is gone: it was moved or deleted. Put it back, or make it, and run again")]
    Gone { folder: PathBuf },
    /// Something else stands where the output is to be. The other outputs can be written.
    #[error("{path} is {what}, not a file; move it away and run again")]
    Blocked { path: PathBuf, what: &'static str },
    /// The output cannot be written.
    #[error("{path} cannot be written: {source}; {} and run again", advice(source))]
    Output {
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The folder cannot be flushed.
    #[error("the outputs folder {folder} cannot be flushed to disk: {source}; {} and run again", advice(source))]
    Flush {
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl WriteError {
    /// Of an output of `folder`.
    pub(super) fn output(folder: &Path, key: &Key, source: io::Error) -> Self {
        let path = folder.join(file_name(key));
        Self::gone(folder, &source).unwrap_or(Self::Output { path, source })
    }

    /// Of the place of an output of `folder`, where `what` stands.
    pub(super) fn blocked(folder: &Path, key: &Key, what: &'static str) -> Self {
        Self::Blocked { path: folder.join(file_name(key)), what }
    }

    /// Whether only this one output cannot be written.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        matches!(self, Self::Blocked { .. })
    }

    /// Of `folder` itself.
    pub(super) fn flush(folder: &Path, source: io::Error) -> Self {
        let folder = folder.to_owned();
        Self::gone(&folder, &source).unwrap_or(Self::Flush { folder, source })
    }

    fn gone(folder: &Path, source: &io::Error) -> Option<Self> {
        let is_gone = source.kind() == io::ErrorKind::NotFound && !folder.exists();
        is_gone.then(|| Self::Gone { folder: folder.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let output = |kind: io::ErrorKind| WriteError::output(path, &Key::from(7), kind.into()).to_string();
        assert!(output(io::ErrorKind::StorageFull).contains("7_output.txt cannot be written"));
        assert!(output(io::ErrorKind::StorageFull).ends_with("free some space and run again"));
        assert!(output(io::ErrorKind::PermissionDenied).ends_with("make its folder writable and run again"));
        assert!(output(io::ErrorKind::NotFound).contains("7_output.txt cannot be written"));
        let gone = path.join("gone");
        for error in [
            WriteError::output(&gone, &Key::from(7), io::ErrorKind::NotFound.into()),
            WriteError::flush(&gone, io::ErrorKind::NotFound.into()),
        ] {
            assert!(error.to_string().contains("is gone"), "{error}");
        }
    }
}
