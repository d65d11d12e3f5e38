//! Files that are whole or absent: written beside their place, flushed, then renamed.
//!
//! The only writer of outputs, of `usage.md` and of the user's consents.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use crate::tripwire;

const PREFIX: &str = ".promptmill-";
const SUFFIX: &str = ".tmp";

/// Tells one writing of a file from every other one, also from an edit that leaves its length alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// The inode, 0 where the system has none.
    pub inode: u64,
    /// Time of the last change, in nanoseconds since 1970.
    pub modified_ns: i64,
}

impl FileIdentity {
    /// Of a file's metadata.
    #[must_use]
    pub fn of(metadata: &fs::Metadata) -> Self {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        let modified = metadata.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        Self { inode, modified_ns: modified.map_or(0, |at| i64::try_from(at.as_nanos()).unwrap_or(i64::MAX)) }
    }
}

/// A file that is written and flushed, and not yet in its place. Dropped instead of placed, it is removed.
#[must_use = "the file is removed unless it is placed"]
#[derive(Debug)]
pub struct Prepared {
    file: tempfile::NamedTempFile,
    identity: FileIdentity,
}

impl Prepared {
    /// Writes `contents` beside `path` and flushes it to the disk. Dies here: a temporary file is left, `path` is as it was.
    pub fn new(path: &Path, contents: &[u8]) -> io::Result<Self> {
        Self::with_mode(path, contents, 0o666)
    }

    fn with_mode(path: &Path, contents: &[u8], mode: u32) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX).suffix(SUFFIX);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
        #[cfg(not(unix))]
        let _ = mode;
        let mut file = builder.tempfile_in(folder_of(path)).map_err(plain)?;
        file.write_all(contents).map_err(plain)?;
        tripwire::here("write");
        file.as_file().sync_all()?;
        let identity = FileIdentity::of(&file.as_file().metadata()?);
        Ok(Self { file, identity })
    }

    /// The identity that the file keeps in its place.
    #[must_use]
    pub fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// Renames the file to `path`. After this `path` is whole; it survives a power cut once [`sync_folder`] has returned.
    pub fn place(self, path: &Path) -> io::Result<()> {
        self.file.persist(path).map(drop).map_err(|error| error.error)
    }
}

/// The system's error alone: tempfile adds the temporary file's path, which tells a person nothing.
fn plain(error: io::Error) -> io::Error {
    match error.to_string().split_once(" at path ") {
        Some((text, _)) => io::Error::new(error.kind(), text),
        None => error,
    }
}

/// Writes the whole of `contents` to `path`, or leaves `path` as it was.
pub fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    Prepared::new(path, contents)?.place(path)
}

/// What to do about a file that cannot be written.
#[must_use]
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "make its folder writable",
        _ => "look after the disk",
    }
}

/// The same for a file that its owner alone may read. A link at `path` is replaced, and what it leads to stays.
pub fn replace_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    Prepared::with_mode(path, contents, 0o600)?.place(path)
}

/// Makes a folder that its owner alone may look into, where there is none.
pub fn make_private_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    // What lies above it is not ours alone.
    folder.parent().map_or(Ok(()), fs::create_dir_all)?;
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => made,
    }
}

/// Makes the renames in `folder` survive a power cut.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    // A folder can be opened as a file only on Unix; elsewhere the rename itself is as durable as it gets.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Removes temporary files that a killed process left in `folder`; says how many.
///
/// Where other processes may write there, `before` spares what is younger: it is about to be renamed.
pub fn remove_leftovers(folder: &Path, before: Option<SystemTime>) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_old = || match before {
            // Its owner may have renamed it in the meantime.
            Some(before) => entry.metadata().and_then(|file| file.modified()).is_ok_and(|at| at < before),
            None => true,
        };
        // A link is removed, not what it leads to; a folder is nobody's leftover.
        let is_file = entry.file_type().is_ok_and(|kind| !kind.is_dir());
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) && is_file && is_old() {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// The folder that holds `path`: `.` for a bare name.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("1_output.txt");
        replace(&path, b"first").expect("written");
        let prepared = Prepared::new(&path, b"second, never placed").expect("prepared");
        assert_eq!(fs::read(&path).expect("read"), b"first");
        drop(prepared);
        replace(&path, "größer".as_bytes()).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("read"), "größer");
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
    }

    #[test]
    fn the_identity_outlives_the_rename() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("usage.md");
        let prepared = Prepared::new(&path, b"a").expect("prepared");
        let identity = prepared.identity();
        prepared.place(&path).expect("placed");
        assert_eq!(FileIdentity::of(&fs::metadata(&path).expect("there")), identity);
        replace(&path, b"a").expect("written");
        assert_ne!(FileIdentity::of(&fs::metadata(&path).expect("there")), identity);
    }

    #[test]
    fn leftovers_go_and_other_files_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [".promptmill-abc.tmp", "1_output.txt", "notes.tmp"] {
            fs::write(folder.path().join(name), b"x").expect("written");
        }
        fs::create_dir(folder.path().join(".promptmill-folder.tmp")).expect("made");
        let written =
            fs::metadata(folder.path().join(".promptmill-abc.tmp")).expect("there").modified().expect("a time");
        assert_eq!(remove_leftovers(folder.path(), Some(written)).expect("none is older"), 0);
        assert_eq!(remove_leftovers(folder.path(), None).expect("removed"), 1);
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 3);
    }
}
