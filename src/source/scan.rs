//! Reads the prompts folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::prompt::{self, NotText};
use super::range::Range;
use crate::model::PromptId;
use crate::regular::{self, Unread};

/// The most bytes of a prompt: far more than any model's context window holds.
const MOST: u64 = 256_000_000;

/// The prompts folder cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// There is none.
    #[error(
        "there is no folder {0} with prompts: make it, put 1_prompt.txt, 2_prompt.txt, ... in it, or name another with --prompts"
    )]
    Missing(PathBuf),
    /// It is no folder.
    #[error("{0} is a file, not a folder with prompts: name the folder with --prompts")]
    NotAFolder(PathBuf),
    /// The system does not let us.
    #[error(
        "the prompts folder {path} cannot be read: {source}; let this user read it, or name another with --prompts"
    )]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What a prompts folder holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The prompts meant, in order: those in range whose files are not empty.
    pub prompts: Vec<PromptId>,
    /// Files in range that are empty.
    pub empty: Vec<PromptId>,
    /// Prompts outside the range.
    pub out_of_range: Vec<PromptId>,
    /// Names that do not fit.
    pub misnamed: Vec<String>,
}

/// Lists the prompts of `folder` that are in `range` and, where given, in `only`.
///
/// Hidden files and folders are passed over in silence; other names that do not fit are in [`Scan::misnamed`].
pub fn scan(folder: &Path, range: &Range, only: Option<&Range>) -> Result<Scan, ScanError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ScanError::Missing(folder.to_owned()),
        io::ErrorKind::NotADirectory => ScanError::NotAFolder(folder.to_owned()),
        _ => ScanError::Unreadable { path: folder.to_owned(), source },
    };
    let mut scan = Scan::default();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Some(id) = prompt::id_of(&name) else {
            if !name.starts_with('.') && entry.file_type().is_ok_and(|kind| !kind.is_dir()) {
                scan.misnamed.push(name.into_owned());
            }
            continue;
        };
        if !range.contains(id) {
            scan.out_of_range.push(id);
        } else if only.is_none_or(|only| only.contains(id)) {
            // A link counts as what it leads to; one that leads nowhere is reported when it is read.
            match fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_file() && metadata.len() == 0 => scan.empty.push(id),
                Ok(metadata) if !metadata.is_file() => scan.misnamed.push(name.into_owned()),
                _ => scan.prompts.push(id),
            }
        }
    }
    scan.prompts.sort_unstable();
    scan.empty.sort_unstable();
    scan.out_of_range.sort_unstable();
    scan.misnamed.sort_unstable();
    Ok(scan)
}

/// A prompt's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is no regular file, too long, or the system does not let us.
    #[error("{path} cannot be read: {source}; {}", source.advice())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Unread,
    },
    /// It is not text.
    #[error("{path}: {source}")]
    NotText {
        /// The file.
        path: PathBuf,
        /// Where.
        source: NotText,
    },
}

/// Reads the text of one prompt.
pub fn read(folder: &Path, id: PromptId) -> Result<String, ReadError> {
    let path = folder.join(prompt::file_name(id));
    match regular::read(&path, MOST) {
        Ok(bytes) => prompt::text(bytes).map_err(|source| ReadError::NotText { path, source }),
        Err(source) => Err(ReadError::Unreadable { path, source }),
    }
}

impl Scan {
    /// What a person should know of the folder: names that do not fit, empty files, prompts out of range.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let names = |ids: &[PromptId]| some_of(ids.iter().map(|id| prompt::file_name(*id)), ids.len());
        if !self.misnamed.is_empty() {
            let names = some_of(self.misnamed.iter().cloned(), self.misnamed.len());
            warnings.push(format!("left out, because the name is not of the form N_prompt.txt: {names}"));
        }
        if !self.empty.is_empty() {
            warnings.push(format!("left out, because the file is empty: {}", names(&self.empty)));
        }
        if !self.out_of_range.is_empty() {
            warnings.push(format!(
                "left out, because the number is out of range (see --range): {}",
                names(&self.out_of_range)
            ));
        }
        warnings
    }
}

/// The first few of `names`, and how many more there are.
fn some_of(names: impl Iterator<Item = String>, count: usize) -> String {
    const SHOWN: usize = 5;
    let mut text = names.take(SHOWN).collect::<Vec<_>>().join(", ");
    if count > SHOWN {
        use std::fmt::Write;
        // Writing to a string does not fail.
        let _ = write!(text, " and {} more", count - SHOWN);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_sorted_into_what_is_meant_and_what_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
        for (name, text) in
            [("10_prompt.txt", "x"), ("9_prompt.txt", " "), ("2_prompt.txt", ""), ("101_prompt.txt", "x")]
        {
            write(name, text);
        }
        for name in ["notes.txt", "01_prompt.txt", ".gitkeep"] {
            write(name, "x");
        }
        fs::create_dir(folder.path().join("old")).expect("made");
        fs::create_dir(folder.path().join("3_prompt.txt")).expect("made");
        let range = "1-100".parse().expect("a range");
        let scan = scan(folder.path(), &range, None).expect("scanned");
        assert_eq!(scan.prompts, [PromptId(9), PromptId(10)]);
        assert_eq!(
            (scan.empty.as_slice(), scan.out_of_range.as_slice()),
            ([PromptId(2)].as_slice(), [PromptId(101)].as_slice())
        );
        assert_eq!(scan.misnamed, ["01_prompt.txt", "3_prompt.txt", "notes.txt"]);
        assert_eq!(scan.warnings().len(), 3);
        let only = "10-20".parse().expect("a range");
        assert_eq!(super::scan(folder.path(), &range, Some(&only)).expect("scanned").prompts, [PromptId(10)]);
    }

    #[test]
    fn a_missing_folder_is_named_with_what_to_do() {
        let error = scan(Path::new("no/such/prompts"), &Range::all(), None).expect_err("it is missing").to_string();
        assert!(error.contains("no/such/prompts") && error.contains("--prompts"), "{error}");
    }

    #[test]
    fn long_lists_are_cut() {
        let misnamed = (0..12).map(|n| format!("{n}.txt")).collect();
        let scan = Scan { misnamed, ..Scan::default() };
        assert!(scan.warnings()[0].ends_with("4.txt and 7 more"), "{:?}", scan.warnings());
    }
}
