//! The prompts folder: a file a prompt, found by its number.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::prompt::{self, NotText};
use crate::model::Key;
use crate::regular::{self, Unread};

/// The most bytes of a prompt: far more than any model's context window holds.
const MOST: u64 = 256_000_000;

/// A prompts folder, and how its files are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
    /// The names that are not the plain ones: `007_prompt.txt`.
    others: HashMap<Key, String>,
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

impl Folder {
    /// The folder at `path`, with plain names.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), others: HashMap::new() }
    }

    /// Takes in the name of a prompt's file; where another one is known that is not plain, that is returned.
    pub(super) fn name(&mut self, key: &Key, name: &str) -> Option<String> {
        if name == prompt::file_name(key) { None } else { self.others.insert(key.clone(), name.to_owned()) }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of a prompt's file.
    #[must_use]
    pub fn file_name(&self, key: &Key) -> String {
        self.others.get(key).cloned().unwrap_or_else(|| prompt::file_name(key))
    }

    /// Reads the text of one prompt.
    pub fn read(&self, key: &Key) -> Result<String, ReadError> {
        let path = self.path.join(self.file_name(key));
        match regular::read(&path, MOST) {
            Ok(bytes) => prompt::text(bytes).map_err(|source| ReadError::NotText { path, source }),
            Err(source) => Err(ReadError::Unreadable { path, source }),
        }
    }
}
