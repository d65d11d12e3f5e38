//! The outputs folder is held by one run. The folder itself is locked; a file in it says who holds it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;

use super::OutputsError;
use super::error::unusable;
use crate::{atomic, regular};

/// The file that says who holds the folder. Where a folder cannot be locked, it is what is locked.
const HOLDER: &str = ".promptmill.lock";
/// The most bytes of it that are read.
const HOLDER_MOST: u64 = 1_000;

/// The outputs folder, held by this run until dropped: the lock goes when its file is closed, also by a kill.
#[derive(Debug)]
pub(super) struct Hold {
    _lock: File,
}

/// What is locked.
enum Lock {
    /// The folder: whatever becomes of the files in it.
    Folder(File),
    /// The file in it. It stays after the run: were it removed, a process that has just opened it and one that makes it anew would both hold the
    /// folder.
    File(File),
}

impl Hold {
    /// Makes the folder where there is none, and keeps other runs out. Leftovers of a killed run are removed; `says` is how this run is named
    /// to a second one.
    pub(super) fn take(folder: &Path, says: &str) -> Result<Self, OutputsError> {
        let unusable = unusable(folder);
        fs::create_dir_all(folder).map_err(&unusable)?;
        if fs::metadata(folder).map_err(&unusable)?.permissions().readonly() {
            return Err(OutputsError::ReadOnly { path: folder.to_owned() });
        }
        let lock = match lock(folder) {
            Ok(lock) => lock,
            Err(TryLockError::WouldBlock) => {
                return Err(OutputsError::Held { path: folder.to_owned(), holder: holder(folder) });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        };
        atomic::remove_leftovers(folder, None).map_err(&unusable)?;
        // What cannot be written now is found out before anything is paid for.
        let path = folder.join(HOLDER);
        let text = atomic::Prepared::new(&path, format!("{says}\n").as_bytes()).map_err(&unusable)?;
        match lock {
            Lock::Folder(lock) => {
                // A link there is replaced, never followed. A folder there stays, and a second run is not told who holds this one.
                let _ = text.place(&path);
                Ok(Self { _lock: lock })
            }
            Lock::File(mut lock) => {
                lock.set_len(0).and_then(|()| writeln!(lock, "{says}")).map_err(&unusable)?;
                Ok(Self { _lock: lock })
            }
        }
    }
}

fn lock(folder: &Path) -> Result<Lock, TryLockError> {
    match File::open(folder).map_err(TryLockError::Error).and_then(locked) {
        // Windows opens no folder, and some network drives lock none.
        Err(TryLockError::Error(_)) => lock_file(folder).map(Lock::File),
        tried => tried.map(Lock::Folder),
    }
}

fn lock_file(folder: &Path) -> Result<File, TryLockError> {
    let path = folder.join(HOLDER);
    if let Ok(metadata) = fs::symlink_metadata(&path)
        && !metadata.is_file()
    {
        let what = regular::kind(metadata.file_type());
        return Err(TryLockError::Error(io::Error::other(format!("{HOLDER} in it is {what}; take it away"))));
    }
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
    file.map_err(TryLockError::Error).and_then(locked)
}

fn locked(file: File) -> Result<File, TryLockError> {
    file.try_lock().map(|()| file)
}

/// Who holds the folder. A holder that cannot be read is still a holder.
fn holder(folder: &Path) -> String {
    let bytes = regular::read(&folder.join(HOLDER), HOLDER_MOST).unwrap_or_default();
    let holder = String::from_utf8_lossy(&bytes);
    match holder.trim() {
        "" => "a process that does not say which it is".to_owned(),
        holder => holder.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_told_who_holds_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let held = Hold::take(folder.path(), "process 42, since 12:00").expect("held");
        let refused = || Hold::take(folder.path(), "another").expect_err("it is held").to_string();
        assert!(refused().contains("process 42, since 12:00") && refused().contains("--outputs"), "{}", refused());
        fs::remove_file(folder.path().join(HOLDER)).expect("removed");
        assert!(refused().contains("does not say"), "{}", refused());
        drop(held);
        Hold::take(folder.path(), "another").expect("free again");
    }

    #[test]
    fn where_a_folder_cannot_be_locked_the_file_in_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let held = lock_file(folder.path()).expect("held");
        assert!(matches!(lock_file(folder.path()), Err(TryLockError::WouldBlock)));
        drop(held);
        drop(lock_file(folder.path()).expect("free again"));
        #[cfg(unix)]
        {
            let path = folder.path().join(HOLDER);
            fs::remove_file(&path).expect("removed");
            std::os::unix::fs::symlink("elsewhere", &path).expect("a link");
            let Err(TryLockError::Error(error)) = lock_file(folder.path()) else { panic!("it was followed") };
            assert!(error.to_string().contains("is a link") && !folder.path().join("elsewhere").exists(), "{error}");
        }
    }
}
