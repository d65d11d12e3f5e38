//! The outputs folder: names and contents.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::atomic;
use crate::model::PromptId;
use crate::model::text::one_line;
use crate::run::Content;

/// How the output of a failed prompt starts.
const ERROR: &str = "ERROR: ";

/// The name of a prompt's output.
#[must_use]
pub fn file_name(id: PromptId) -> String {
    format!("{id}_output.txt")
}

fn id_of(file_name: &str) -> Option<PromptId> {
    let digits = file_name.strip_suffix("_output.txt")?;
    let id = PromptId(digits.parse().ok()?);
    (id.to_string() == digits).then_some(id)
}

/// What an output holds: an answer byte for byte, or one line.
#[must_use]
pub fn bytes(content: &Content) -> Vec<u8> {
    match content {
        Content::Answer(text) => text.clone().into_bytes(),
        Content::Error { class, message } => format!("{ERROR}{class}: {}\n", one_line(message)).into_bytes(),
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

/// An output on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputFile {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its last change, in milliseconds since 1970.
    pub modified_ms: i64,
}

/// The outputs on disk that hold something, by prompt; none where there is no folder.
pub fn list(folder: &Path) -> Result<HashMap<PromptId, OutputFile>, OutputsError> {
    let unusable = unusable(folder);
    let mut outputs = HashMap::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(outputs),
        Err(error) => return Err(unusable(error)),
    };
    for entry in entries {
        let entry = entry.map_err(&unusable)?;
        if let Some(id) = entry.file_name().to_str().and_then(id_of) {
            let metadata = fs::metadata(entry.path()).map_err(&unusable)?;
            if metadata.is_file() && metadata.len() > 0 {
                let modified_ms = atomic::FileIdentity::of(&metadata).modified_ns / 1_000_000;
                outputs.insert(id, OutputFile { bytes: metadata.len(), modified_ms });
            }
        }
    }
    Ok(outputs)
}

/// Whether the output on disk is the line of a failed prompt. Asked only where the journal does not know.
#[must_use]
pub fn is_error(folder: &Path, id: PromptId) -> bool {
    let mut start = [0; ERROR.len()];
    File::open(folder.join(file_name(id))).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && start == *ERROR.as_bytes()
}

/// Writes an output; returns its length in bytes. Its rename survives a power cut once the folder is flushed.
///
/// A failed prompt's line never replaces an answer: that is moved to `N_output.previous.txt` first.
pub fn write(folder: &Path, id: PromptId, content: &Content) -> io::Result<u64> {
    let path = folder.join(file_name(id));
    let bytes = bytes(content);
    if matches!(content, Content::Error { .. }) && path.exists() && !is_error(folder, id) {
        fs::rename(&path, folder.join(format!("{id}_output.previous.txt")))?;
    }
    atomic::replace(&path, &bytes)?;
    Ok(bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error() -> Content {
        Content::Error { class: "too_large".to_owned(), message: "shorten it".to_owned() }
    }

    #[test]
    fn an_answer_is_written_byte_for_byte_and_a_failure_in_one_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = "größe\n\n  no newline at the end".to_owned();
        assert_eq!(
            write(folder.path(), PromptId(7), &Content::Answer(text.clone())).expect("written"),
            text.len() as u64
        );
        assert_eq!(fs::read_to_string(folder.path().join("7_output.txt")).expect("read"), text);
        write(folder.path(), PromptId(8), &error()).expect("written");
        assert_eq!(
            fs::read_to_string(folder.path().join("8_output.txt")).expect("read"),
            "ERROR: too_large: shorten it\n"
        );
        assert!(is_error(folder.path(), PromptId(8)) && !is_error(folder.path(), PromptId(7)));
        let listed = list(folder.path()).expect("listed");
        assert_eq!((listed.len(), listed[&PromptId(7)].bytes), (2, text.len() as u64));
    }

    #[test]
    fn a_failure_never_replaces_an_answer() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), PromptId(1), &Content::Answer("paid for".to_owned())).expect("written");
        write(folder.path(), PromptId(1), &error()).expect("written");
        write(folder.path(), PromptId(1), &error()).expect("written");
        assert_eq!(fs::read_to_string(folder.path().join("1_output.previous.txt")).expect("kept"), "paid for");
        assert!(is_error(folder.path(), PromptId(1)));
    }
}
