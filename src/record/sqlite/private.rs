//! The state is for its owner alone: it holds the history, and answers that could not be written yet.
//!
//! Modes are changed through an open file that is no link, so that what stands elsewhere keeps its own. What cannot be changed stays as it is:
//! another user's file, and a file system without modes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Takes the state's folder and files from everybody but their owner, those of an older version too, and makes the file where there is none:
/// `SQLite` gives its logs the mode of the file beside them.
pub(super) fn tighten(folder: &Path, file: &Path) {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // One that is there, or that cannot be made, is for SQLite to open, and to say what is wrong with it.
    drop(options.open(file));
    for path in [folder.to_owned(), file.to_owned(), beside(file, "-wal"), beside(file, "-shm")] {
        // A file that is not there needs nothing.
        let _ = take_from_others(&path);
    }
}

/// A file that `SQLite` keeps beside the state file.
pub(super) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

#[cfg(unix)]
fn take_from_others(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

    use rustix::fs::OFlags;

    // Nothing but a file or a folder of that very name: no link is followed, no pipe is waited for.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    let mode = metadata.permissions().mode() & 0o7777;
    let ours = mode & !0o077;
    if ours != mode && (metadata.is_file() || metadata.is_dir()) {
        file.set_permissions(fs::Permissions::from_mode(ours))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn take_from_others(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::super::tests::open;
    use super::*;
    use crate::record::sqlite::state_file;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("there").permissions().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
    }

    #[test]
    fn the_state_is_for_its_owner_alone_also_that_of_an_older_version() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = folder.path().join("usage.md");
        let file = state_file(&ledger);
        let state = file.parent().expect("a folder");
        let all = [state.to_owned(), file.clone(), beside(&file, "-wal"), beside(&file, "-shm")];
        for _ in 0..2 {
            let store = open(&ledger);
            assert_eq!(all.each_ref().map(|path| mode(path)), [0o700, 0o600, 0o600, 0o600]);
            // What 0.1.0 made had the modes of everybody's files, while others have it open too.
            set_mode(state, 0o755);
            all[1..].iter().for_each(|path| set_mode(path, 0o644));
            let _second = open(&ledger);
            assert_eq!(all.each_ref().map(|path| mode(path)), [0o700, 0o600, 0o600, 0o600]);
            set_mode(state, 0o755);
            set_mode(&file, 0o644);
            drop(store);
        }
    }

    #[test]
    fn what_a_link_leads_to_keeps_its_mode() {
        let folder = tempfile::tempdir().expect("a folder");
        let elsewhere = folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).expect("made");
        fs::write(elsewhere.join("shared.db"), "").expect("written");
        set_mode(&elsewhere, 0o755);
        set_mode(&elsewhere.join("shared.db"), 0o644);
        symlink("elsewhere", folder.path().join(".promptmill")).expect("linked");
        symlink("shared.db", elsewhere.join("usage.db")).expect("linked");
        let state = folder.path().join(".promptmill");
        tighten(&state, &state.join("usage.db"));
        assert_eq!((mode(&elsewhere), mode(&elsewhere.join("shared.db"))), (0o755, 0o644));
    }
}
