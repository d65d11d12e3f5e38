//! A disk that forgets, when the power goes, all that it was not told to keep: what was written to a file until that is flushed, and the names in a
//! folder until that is.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::trace::Call;

type Names = BTreeMap<PathBuf, usize>;

/// Files by their paths.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Two of the many states in which a power cut may leave the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing survives that was not flushed.
    Forgetful,
    /// All names survive, as they do where the system writes them first; of what files hold only what was flushed.
    NamesFirst,
}

#[derive(Default)]
pub(crate) struct Disk {
    /// What each file holds, and what of it is flushed.
    files: Vec<(Vec<u8>, Vec<u8>)>,
    names: Names,
    flushed_names: Names,
    /// What flushes that are under way cover.
    flushes: HashMap<u32, Flush>,
}

enum Flush {
    File(usize, Vec<u8>),
    Folder(PathBuf, Names),
}

impl Disk {
    /// Takes in a call. Files that were there before the trace began are none of its.
    pub(crate) fn take(&mut self, call: &Call) {
        match call {
            Call::Opened { path, made, emptied } => {
                if *made && !self.names.contains_key(path) {
                    self.names.insert(path.clone(), self.files.len());
                    self.files.push(<_>::default());
                } else if *emptied && let Some(file) = self.file(path) {
                    file.0.clear();
                }
            }
            Call::Wrote { path, at, bytes } => {
                let file = self.file(path).unwrap_or_else(|| panic!("{} was not opened", path.display()));
                // Who names no place writes from the first byte to the last.
                let at = at.unwrap_or(file.0.len());
                let end = at + bytes.len();
                file.0.resize(file.0.len().max(end), 0);
                file.0[at..end].copy_from_slice(bytes);
            }
            Call::Cut { path, length } => {
                if let Some(file) = self.file(path) {
                    file.0.resize(*length, 0);
                }
            }
            Call::Renamed { from, to } => {
                if let Some(file) = self.names.remove(from) {
                    self.names.insert(to.clone(), file);
                }
            }
            Call::Removed { path } => {
                self.names.remove(path);
            }
            Call::Flushes { path, thread } => {
                let flush = match self.names.get(path) {
                    Some(&file) => Flush::File(file, self.files[file].0.clone()),
                    None => Flush::Folder(path.clone(), of_folder(&self.names, path)),
                };
                self.flushes.insert(*thread, flush);
            }
            Call::Flushed { thread, .. } => match self.flushes.remove(thread) {
                Some(Flush::File(file, bytes)) => self.files[file].1 = bytes,
                Some(Flush::Folder(folder, names)) => {
                    self.flushed_names.retain(|path, _| path.parent() != Some(&folder));
                    self.flushed_names.extend(names);
                }
                None => panic!("a flush ends that did not begin"),
            },
            Call::Sends { .. } => {}
        }
    }

    fn file(&mut self, path: &Path) -> Option<&mut (Vec<u8>, Vec<u8>)> {
        self.names.get(path).map(|&file| &mut self.files[file])
    }

    /// All files as the processes see them.
    pub(crate) fn now(&self) -> Files {
        self.names.iter().map(|(path, &file)| (path.clone(), self.files[file].0.clone())).collect()
    }

    /// What is left after the power is cut.
    pub(crate) fn after(&self, cut: Cut) -> Files {
        let names = if cut == Cut::Forgetful { &self.flushed_names } else { &self.names };
        names.iter().map(|(path, &file)| (path.clone(), self.files[file].1.clone())).collect()
    }
}

fn of_folder(names: &Names, folder: &Path) -> Names {
    names.iter().filter(|(path, _)| path.parent() == Some(folder)).map(|(path, file)| (path.clone(), *file)).collect()
}
