//! Lists the prompts folder.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use super::folder::Folder;
use super::prompt::{self, Name};
use super::range::Range;
use crate::regular;

/// The prompts folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// There is none.
    #[error(
        "folder `{0}` not found: create it and put 1_prompt.txt, 2_prompt.txt, ... in it, or name another with --prompts"
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
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It has files, and none is a prompt by its name.
    #[error("no file in {path} has the name of a prompt: rename `{name}` to `{right}`{}", likewise(*.others))]
    NoneNamed {
        path: PathBuf,
        /// One of the names,
        name: String,
        /// and what it could be.
        right: String,
        /// How many more there are.
        others: usize,
    },
    /// Two files are one prompt.
    #[error("{one} and {other} in {path} are both prompt {id}: remove or rename one of them")]
    Twice {
        path: PathBuf,
        id: u64,
        one: String,
        /// The other one.
        other: String,
    },
}

fn likewise(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => ", and the other file likewise".to_owned(),
        _ => format!(", and the other {others} likewise"),
    }
}

/// What a prompts folder holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The folder, which knows the names of the prompts' files.
    pub folder: Folder,
    /// The prompts meant, in order. Some may have no text.
    pub prompts: Vec<u64>,
    /// Prompts outside the range.
    pub out_of_range: Vec<u64>,
    /// Names whose number is too large.
    pub too_large: Vec<String>,
    /// Names of prompts in range that are no files, and what they are.
    pub irregular: Vec<(String, &'static str)>,
    /// Names that do not fit.
    pub misnamed: Vec<String>,
    /// The prompts that are links to files outside the folder, and those files.
    pub elsewhere: Vec<(u64, PathBuf)>,
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
    let mut scan = Scan { folder: Folder::new(folder), ..Scan::default() };
    let mut is_named = false;
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        match prompt::name(&name) {
            Name::Prompt(id) => {
                is_named = true;
                if !range.contains(id) {
                    scan.out_of_range.push(id);
                } else if only.is_none_or(|only| only.contains(id)) {
                    scan.take(id, &name, &entry)?;
                }
            }
            Name::TooLarge => scan.too_large.push(name.into_owned()),
            Name::Other if name.starts_with('.') || entry.file_type().is_ok_and(|kind| kind.is_dir()) => {}
            Name::Other => scan.misnamed.push(name.into_owned()),
        }
    }
    scan.sort();
    if let Some(pair) = scan.prompts.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(scan.twice(pair[0], prompt::file_name(pair[0])));
    }
    match scan.misnamed.iter().chain(&scan.too_large).next() {
        Some(name) if !is_named => Err(ScanError::NoneNamed {
            path: folder.to_owned(),
            name: name.clone(),
            right: prompt::nearest_name(name),
            others: scan.misnamed.len() + scan.too_large.len() - 1,
        }),
        _ => Ok(scan),
    }
}

impl Scan {
    /// Takes in a prompt that is meant.
    fn take(&mut self, id: u64, name: &str, entry: &DirEntry) -> Result<(), ScanError> {
        let path = entry.path();
        // A link counts as what it leads to; one that leads nowhere is reported when it is read.
        match fs::metadata(&path) {
            Ok(metadata) if !metadata.is_file() => {
                self.irregular.push((name.to_owned(), regular::kind(metadata.file_type())));
                return Ok(());
            }
            _ => self.prompts.push(id),
        }
        if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            self.elsewhere.extend(regular::outside(self.folder.path(), &path).map(|target| (id, target)));
        }
        match self.folder.add_name(id, name) {
            Some(other) => Err(self.twice(id, other)),
            None => Ok(()),
        }
    }

    /// The folder's own order is any.
    fn sort(&mut self) {
        for ids in [&mut self.prompts, &mut self.out_of_range] {
            ids.sort_unstable();
        }
        for names in [&mut self.too_large, &mut self.misnamed] {
            names.sort_unstable();
        }
        self.irregular.sort_unstable();
        self.elsewhere.sort_unstable();
    }

    fn twice(&self, id: u64, other: String) -> ScanError {
        let one = self.folder.file_name(id);
        let (one, other) = if one < other { (one, other) } else { (other, one) };
        ScanError::Twice { path: self.folder.path().to_owned(), id, one, other }
    }

    /// Whether there is anything to send: a prompt with text, or one that cannot be read, which is said when it is.
    #[must_use]
    pub fn has_text(&self) -> bool {
        self.prompts.iter().any(|id| self.folder.read(*id).map_or(true, |text| !prompt::is_blank(&text)))
    }

    /// What a person should know of the folder: what is left out, and what leads out of it.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let irregular: Vec<_> = self.irregular.iter().map(|(name, what)| format!("{name} ({what})")).collect();
        let out_of_range: Vec<_> = self.out_of_range.iter().map(|id| prompt::file_name(*id)).collect();
        let most = prompt::MOST;
        let left_out = [
            ("the name is not of the form N_prompt.txt".to_owned(), &self.misnamed),
            (format!("the number is over {most}"), &self.too_large),
            ("it is not a regular file".to_owned(), &irregular),
            ("the number is out of range (see --range)".to_owned(), &out_of_range),
        ];
        let mut warnings: Vec<_> = left_out
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(why, names)| format!("left out, because {why}: {}", some_of(names)))
            .collect();
        if let Some((first, target)) = self.elsewhere.first() {
            let (first, target, path) = (self.folder.file_name(*first), target.display(), self.folder.path().display());
            warnings.push(match self.elsewhere.len() {
                1 => format!("{first} is a link out of {path}, to {target}; the text there is sent"),
                count => format!(
                    "{count} prompts are links out of {path}, {first} to {target} first; the texts there are sent"
                ),
            });
        }
        warnings
    }
}

/// The warning of prompts without text, whose files have these names.
#[must_use]
pub fn without_text(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| format!("left out, because there is no text in it: {}", some_of(names)))
}

/// The first few of `names`, and how many more there are.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let text = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_sorted_into_what_is_meant_and_what_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
        for (name, text) in
            [("10_prompt.txt", "x"), ("009_prompt.txt", " "), ("2_prompt.txt", ""), ("101_prompt.txt", "x")]
        {
            write(name, text);
        }
        for name in ["notes.txt", "9223372036854775808_prompt.txt", ".gitkeep"] {
            write(name, "x");
        }
        fs::create_dir(folder.path().join("old")).expect("made");
        fs::create_dir(folder.path().join("3_prompt.txt")).expect("made");
        let range = "1-100".parse().expect("a range");
        let scanned = scan(folder.path(), &range, None).expect("scanned");
        assert_eq!(
            (scanned.prompts.as_slice(), scanned.out_of_range.as_slice()),
            ([2, 9, 10].as_slice(), [101].as_slice())
        );
        assert_eq!((scanned.misnamed.as_slice(), scanned.too_large.len()), (["notes.txt".to_owned()].as_slice(), 1));
        assert_eq!(scanned.irregular, [("3_prompt.txt".to_owned(), "a folder")]);
        assert_eq!(scanned.warnings().len(), 4);
        assert_eq!(scanned.folder.read(9).expect("read"), " ");
        let names = [2, 9].map(|number| scanned.folder.file_name(number));
        let said = without_text(&names).expect("a warning");
        assert!(said.ends_with(": 2_prompt.txt, 009_prompt.txt"), "{said}");
        assert!(scanned.has_text());
        let only = "9-9".parse().expect("a range");
        let scanned = scan(folder.path(), &range, Some(&only)).expect("scanned");
        assert!(scanned.prompts == [9] && !scanned.has_text());
    }

    #[cfg(unix)]
    #[test]
    fn links_out_of_the_folder_are_counted_and_the_first_is_named() {
        use std::os::unix::fs::symlink;
        let outside = tempfile::tempdir().expect("a folder");
        let folder = outside.path().join("prompts");
        fs::create_dir(&folder).expect("made");
        fs::write(outside.path().join("secret"), "x").expect("written");
        fs::write(folder.join("1_prompt.txt"), "x").expect("written");
        symlink("1_prompt.txt", folder.join("2_prompt.txt")).expect("linked");
        let warnings = || scan(&folder, &Range::all(), None).expect("scanned").warnings();
        assert_eq!(warnings(), [""; 0]);
        symlink("../secret", folder.join("7_prompt.txt")).expect("linked");
        assert!(warnings()[0].contains("7_prompt.txt is a link out of ") && warnings()[0].contains("/secret; "));
        symlink(outside.path().join("secret"), folder.join("8_prompt.txt")).expect("linked");
        let said = &warnings()[0];
        assert!(said.contains("2 prompts are links out of ") && said.contains("7_prompt.txt to "), "{said}");
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
