//! The outputs folder: names and contents.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::WriteError;
use super::on_disk::{self, Form};
use crate::atomic;
use crate::model::{Content, ContentId, Key};

/// The name of a prompt's output.
#[must_use]
pub fn file_name(key: &Key) -> String {
    format!("{key}_output.txt")
}

pub(super) fn id_of(file_name: &str) -> Option<Key> {
    let digits = file_name.strip_suffix("_output.txt")?;
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then(|| Key::from(digits))
}

/// What an output holds: an answer byte for byte, or one line.
#[must_use]
pub fn bytes(content: &Content) -> Vec<u8> {
    match content {
        Content::Answer(text) => text.clone().into_bytes(),
        Content::Error { class, message } => on_disk::failure_line(*class, message).into_bytes(),
    }
}

/// The outputs folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutputsError {
    /// It cannot be made or written to.
    #[error(
        "the outputs folder {path} cannot be used: {source}; make it writable, free some space, or name another with --outputs"
    )]
    Unusable {
        /// The folder.
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
    ReadOnly {
        /// The folder.
        path: PathBuf,
    },
    /// Another run writes there.
    #[error("another run writes to {path}: {holder}. Wait until it has ended, or name another folder with --outputs")]
    Held {
        /// The folder.
        path: PathBuf,
        /// Who.
        holder: String,
    },
}

pub(super) fn unusable(folder: &Path) -> impl Fn(io::Error) -> OutputsError {
    move |source| match source.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            OutputsError::NotAFolder { path: folder.to_owned() }
        }
        _ => OutputsError::Unusable { path: folder.to_owned(), source },
    }
}

/// Writes an output. Its rename survives a power cut once the folder is flushed.
///
/// A failed prompt's line never replaces an answer: that is moved to `N_output.previous.txt` first. `answered` says that the journal knows what
/// stands there as an answer; where it does not, the text has to say what it is.
pub fn write(folder: &Path, key: &Key, content: &Content, answered: bool) -> Result<ContentId, WriteError> {
    let path = folder.join(file_name(key));
    let failed = |source| WriteError::output(folder, key, source);
    let stands = on_disk::occupant(&path).map_err(|what| WriteError::blocked(folder, key, what))?;
    // What cannot be read is kept.
    let is_answer = || answered || on_disk::form(folder, key).unwrap_or(Form::Answer) != Form::Failure;
    if matches!(content, Content::Error { .. }) && stands > 0 && is_answer() {
        let previous = folder.join(format!("{key}_output.previous.txt"));
        if let Err(what) = on_disk::occupant(&previous) {
            return Err(WriteError::Blocked { path: previous, what });
        }
        fs::rename(&path, previous).map_err(failed)?;
    }
    let bytes = bytes(content);
    atomic::replace(&path, &bytes).map_err(failed)?;
    Ok(ContentId::of(&bytes))
}

/// Makes the outputs of `folder` survive a power cut.
pub fn flush(folder: &Path) -> Result<(), WriteError> {
    atomic::sync_folder(folder).map_err(|source| WriteError::flush(folder, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Class;

    fn error() -> Content {
        Content::Error { class: Class::TooLarge, message: "shorten it".to_owned() }
    }

    fn answer(text: &str) -> Content {
        Content::Answer(text.to_owned())
    }

    #[test]
    fn an_answer_is_written_byte_for_byte_and_a_failure_in_one_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = "größe\n\n  no newline at the end";
        let written = write(folder.path(), &Key::from(7), &answer(text), false).expect("written");
        assert_eq!(written, ContentId::of(text.as_bytes()));
        assert_eq!(fs::read_to_string(folder.path().join("7_output.txt")).expect("read"), text);
        write(folder.path(), &Key::from(8), &error(), false).expect("written");
        assert_eq!(
            fs::read_to_string(folder.path().join("8_output.txt")).expect("read"),
            "ERROR: too_large: shorten it\n"
        );
    }

    #[test]
    fn a_failure_never_replaces_an_answer() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("there");
        let line = "ERROR: too_large: shorten it\n";
        // The third is an answer because the journal says so.
        for (text, answered) in [("paid for", false), ("ERROR: paid for", false), (line, true)] {
            write(folder.path(), &Key::from(1), &answer(text), false).expect("written");
            write(folder.path(), &Key::from(1), &error(), answered).expect("written");
            write(folder.path(), &Key::from(1), &error(), false).expect("written");
            assert_eq!((read("1_output.previous.txt").as_str(), read("1_output.txt").as_str()), (text, line));
        }
    }
}
