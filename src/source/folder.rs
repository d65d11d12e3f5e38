//! The prompts folder: a file a prompt, found by its number.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::priority::Priorities;
use super::prompt::{self, NotText};
use super::{Row, Source, SourceError, Texts};
use crate::model::{Class, Doom, Key, Spot};
use crate::regular::{self, Unread};

/// The most bytes of a prompt: far more than any model's context window holds.
const MOST: u64 = 256_000_000;

/// A prompts folder, and how its files are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
    /// The names that are not the plain ones: `007_prompt.txt`.
    others: HashMap<u64, String>,
}

/// A prompt's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is no regular file, too long, or the system does not let us.
    #[error("{path} cannot be read: {source}; {}", source.advice())]
    Unreadable { path: PathBuf, source: Unread },
    /// It is not text.
    #[error("{path}: {source}")]
    NotText { path: PathBuf, source: NotText },
}

impl From<ReadError> for Doom {
    fn from(error: ReadError) -> Self {
        let class = match error {
            ReadError::Unreadable { .. } => Class::Unreadable,
            ReadError::NotText { .. } => Class::NotText,
        };
        Self { class, message: error.to_string() }
    }
}

impl Folder {
    /// The folder at `path`, with plain names.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), others: HashMap::new() }
    }

    /// Takes in the name of a prompt's file; where another one is known that is not plain, that is returned.
    pub(super) fn add_name(&mut self, number: u64, name: &str) -> Option<String> {
        if name == prompt::file_name(number) { None } else { self.others.insert(number, name.to_owned()) }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of a prompt's file.
    #[must_use]
    pub fn file_name(&self, number: u64) -> String {
        self.others.get(&number).cloned().unwrap_or_else(|| prompt::file_name(number))
    }

    /// Reads the text of one prompt.
    pub fn read(&self, number: u64) -> Result<String, ReadError> {
        let path = self.path.join(self.file_name(number));
        match regular::read(&path, MOST) {
            Ok(bytes) => prompt::text(bytes).map_err(|source| ReadError::NotText { path, source }),
            Err(source) => Err(ReadError::Unreadable { path, source }),
        }
    }
}

/// A spot is a prompt's number.
impl Texts for Folder {
    fn again(&self, spot: Spot) -> Result<String, Doom> {
        Ok(self.read(spot.0)?)
    }

    fn name(&self, spot: Spot) -> String {
        self.file_name(spot.0)
    }
}

/// The prompts of a folder, in their order. It holds 8 bytes of each.
#[derive(Debug)]
pub struct FolderSource {
    folder: Arc<Folder>,
    numbers: Vec<u64>,
    next: usize,
}

impl FolderSource {
    /// The prompts `numbers` of `folder`, which are sorted: those of a higher priority first.
    #[must_use]
    pub fn new(folder: Folder, mut numbers: Vec<u64>, priorities: &Priorities) -> Self {
        if !priorities.is_empty() {
            numbers.sort_by_cached_key(|number| Reverse(priorities.of(&Key::from(*number))));
        }
        Self { folder: Arc::new(folder), numbers, next: 0 }
    }
}

impl Source for FolderSource {
    /// Files are read on any thread, and what has become of the folder is seen by each.
    fn next(&mut self, most: usize) -> Result<Vec<Row>, SourceError> {
        let rest = &self.numbers[self.next..];
        let rows = rest[..most.min(rest.len())].iter();
        let rows: Vec<_> = rows.map(|&number| Row { key: Key::from(number), spot: Spot(number), text: None }).collect();
        self.next += rows.len();
        Ok(rows)
    }

    fn len_hint(&self) -> Option<usize> {
        Some(self.numbers.len() - self.next)
    }

    fn texts(&self) -> Arc<dyn Texts> {
        Arc::clone(&self.folder) as Arc<dyn Texts>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(source: &mut dyn Source, mut most: impl FnMut() -> usize) -> Vec<u64> {
        let mut all = Vec::new();
        loop {
            let (most, left) = (most(), source.len_hint().expect("a folder knows it"));
            let rows = source.next(most).expect("a folder can always be read on");
            assert_eq!(rows.len(), most.min(left));
            if rows.is_empty() {
                return all;
            }
            assert!(rows.iter().all(|row| row.key.as_str() == row.spot.0.to_string() && row.text.is_none()));
            all.extend(rows.iter().map(|row| row.spot.0));
        }
    }

    #[test]
    fn a_higher_priority_goes_first_and_within_one_the_numbers_decide() {
        let priorities = "4=2;2,5=7;1=-1".parse().expect("priorities");
        let mut source = FolderSource::new(Folder::default(), (1..=6).collect(), &priorities);
        assert_eq!(drain(&mut source, || 2), [2, 5, 4, 3, 6, 1]);
    }

    #[test]
    fn a_text_is_read_as_it_is_now_and_what_cannot_be_read_says_why() {
        let path = tempfile::tempdir().expect("a folder");
        let mut folder = Folder::new(path.path());
        assert_eq!(folder.add_name(7, "007_prompt.txt"), None);
        let texts = FolderSource::new(folder, vec![7, 8], &Priorities::default()).texts();
        assert_eq!(
            (texts.name(Spot(7)), texts.name(Spot(8))),
            ("007_prompt.txt".to_owned(), "8_prompt.txt".to_owned())
        );
        let write = |text: &[u8]| std::fs::write(path.path().join("007_prompt.txt"), text).expect("written");
        write(b"one");
        assert_eq!(texts.again(Spot(7)).as_deref(), Ok("one"));
        write(b"two");
        assert_eq!(texts.again(Spot(7)).as_deref(), Ok("two"));
        write(b"\xff");
        assert_eq!(texts.again(Spot(7)).map_err(|doom| doom.class), Err(Class::NotText));
        assert_eq!(texts.again(Spot(8)).map_err(|doom| doom.class), Err(Class::Unreadable));
    }

    proptest! {
        #[test]
        fn how_much_is_asked_for_never_changes_what_comes(count in 0u64..50, asked in prop::collection::vec(1usize..9, 1..9)) {
            let mut source = FolderSource::new(Folder::default(), (1..=count).collect(), &Priorities::default());
            let mut asked = asked.into_iter().cycle();
            prop_assert_eq!(drain(&mut source, || asked.next().expect("a cycle")), (1..=count).collect::<Vec<_>>());
        }
    }
}
