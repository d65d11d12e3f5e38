//! The tables of the state file, and how a connection to it is set up.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::super::StoreError;
use super::formats::{FORMAT, NO_LONGER, TABLES, missing};
use super::private::beside;
use crate::regular::kind;

/// So long another program may hold the file before that is an error.
const BUSY: Duration = Duration::from_secs(2);

/// Opens the state file, making its tables where it is new and adding what an older one lacks.
///
/// One transaction. Dies before it: the file is as it was.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let database = |source| super::database(path, source);
    let mut connection = Connection::open(path).map_err(database)?;
    set_up(&connection).map_err(database)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(database)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(database)?;
    if found > FORMAT {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT });
    }
    if found == 0 {
        transaction.execute_batch(TABLES).map_err(database)?;
    }
    if found < FORMAT {
        for upgrade in missing(found) {
            transaction.execute_batch(upgrade).map_err(database)?;
        }
        if found < 4 {
            transaction.execute_batch(NO_LONGER).map_err(database)?;
        }
        transaction.pragma_update(None, "user_version", FORMAT).map_err(database)?;
    }
    transaction.commit().map_err(database)?;
    Ok(connection)
}

/// Whether the state file is there, which must be a file: `SQLite` follows a link, and makes its tables in any empty file or database there.
pub(super) fn is_there(path: &Path) -> Result<bool, StoreError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(true),
        Ok(metadata) => Err(StoreError::Irregular { path: path.to_owned(), what: kind(metadata.file_type()) }),
        // What else may be wrong, SQLite says when it opens it.
        Err(_) => Ok(false),
    }
}

/// Opens the state file for reading only; `None` where there is none.
pub(super) fn open_to_read(path: &Path) -> Result<Option<Connection>, StoreError> {
    if !is_there(path)? {
        return Ok(None);
    }
    let database = |source| super::database(path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match untouched(path) {
        Some(uri) => Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI),
        None => Connection::open_with_flags(path, flags),
    };
    let connection = connection.map_err(database)?;
    connection.busy_timeout(BUSY).map_err(database)?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(database)?;
    match found {
        0 => Ok(None),
        1..=FORMAT => {
            pretend(&connection, found).map_err(database)?;
            Ok(Some(connection))
        }
        _ => Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT }),
    }
}

/// Gives a file of an older format, which is only read, what it lacks as empty tables of this connection. They are in memory.
fn pretend(connection: &Connection, found: i64) -> rusqlite::Result<()> {
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    missing(found)
        .try_for_each(|upgrade| connection.execute_batch(&upgrade.replace("CREATE TABLE", "CREATE TEMP TABLE")))
}

/// The address of a state file that nobody has open, to be read as it stands; `None` where there is a log to be read too.
///
/// Even a reader makes the log's files, and cannot remove them; a look should leave nothing behind. A run that starts in the meantime writes to its
/// log, and to this file only at its end or after a thousand pages.
fn untouched(path: &Path) -> Option<String> {
    if beside(path, "-wal").exists() {
        return None;
    }
    let path = path.to_str()?.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    Some(format!("file:{path}?immutable=1"))
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    // Who asks waits for longer, and says so.
    connection.busy_timeout(BUSY)?;
    // A write-ahead log lets others read while one writes; FULL makes each commit survive a power cut.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::formats::UPGRADES;
    use super::*;
    use crate::model::{Before, Limits};
    use crate::record::endpoint::endpoint;
    use crate::record::sqlite::tests::{at, claim, open as open_store};
    use crate::record::sqlite::{SqliteStore, state_file};
    use crate::record::{Admissions as _, Journal as _, Learned as _, Notes as _};

    /// A state file of format 1, with a run, an entry in the window and the day, and a request in flight.
    fn of_format_1() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = folder.path().join("usage.md");
        let path = state_file(&ledger);
        std::fs::create_dir(path.parent().expect("a parent")).expect("made");
        let connection = Connection::open(&path).expect("a database");
        connection.execute_batch(TABLES).expect("tables");
        let wall_ms = at(0).wall.timestamp_millis();
        let at_ns = at(0).mono.0;
        let rows = format!(
            "INSERT INTO runs (outputs, model, rehearsal, pid, started_ms) VALUES ('out', 'm', 0, 1, {wall_ms});
             INSERT INTO entries VALUES (1, 7, zeroblob(16), 1, 1, 5, 0, 30, 0, {wall_ms}, NULL, NULL, NULL, NULL);
             INSERT INTO ledger (at, boot, wall_ms, tokens, requests, rev, open, heard) VALUES ({at_ns}, 'boot', {wall_ms}, 30, 1, 1, 1, {at_ns});
             UPDATE counters SET value = 1 WHERE name = 'rev';
             INSERT INTO days VALUES ('2026-11-22', 77, 3);",
        );
        connection.execute_batch(&rows).expect("rows");
        connection.pragma_update(None, "user_version", 1).expect("format 1");
        (folder, ledger)
    }

    #[test]
    fn the_upgrades_lead_to_the_format() {
        assert_eq!(i64::try_from(UPGRADES.len()).expect("few") + 1, FORMAT);
        assert_eq!((missing(0).count(), missing(1).count(), missing(FORMAT).count()), (3, 3, 0));
    }

    #[test]
    fn a_file_of_format_1_opens_and_keeps_its_data() {
        let (_folder, ledger) = of_format_1();
        for _ in 0..2 {
            let mut store = open_store(&ledger);
            let used = store.used(&at(1)).expect("used");
            assert_eq!((used.minute.tokens, used.day.tokens, used.day.requests), (30, 77, 3));
            let lost = store.find("out", "m").expect("found").lost;
            assert_eq!(lost.iter().map(|lost| lost.before).collect::<Vec<_>>(), [Before::Unknown]);
            assert_eq!(store.learned(&endpoint("u", None, "m")).expect("read"), []);
        }
        let mut store = open_store(&ledger);
        store.start_run(&crate::record::sqlite::tests::info("out"), &at(2)).expect("a run");
        store.note(&[(at(2).wall, "a note".to_owned())]).expect("noted");
        assert_eq!(store.begin(&[claim(8, 5)], &|| at(2)).expect("begun").admitted.len(), 1);
        assert_eq!(store.used(&at(2)).expect("used").minute.tokens, 35);
    }

    #[test]
    fn a_file_of_format_1_is_read_as_it_stands() {
        let (_folder, ledger) = of_format_1();
        let path = state_file(&ledger);
        let before = std::fs::read(&path).expect("there");
        for _ in 0..2 {
            let store = SqliteStore::open_to_read(&ledger, Limits::default(), "boot".to_owned(), &at(1));
            let mut store = store.expect("it opens").expect("it is there");
            assert_eq!(store.used(&at(1)).expect("used").day.tokens, 77);
            assert_eq!(store.all_learned().expect("read"), []);
            assert_eq!(store.last_notes("out", 5).expect("read"), []);
            assert_eq!(store.find("out", "m").expect("found").lost.len(), 1);
            assert_eq!(store.last_run("out").expect("read").map(|run| run.pid), Some(1));
        }
        assert!(std::fs::read(&path).expect("there") == before, "the file was changed");
        assert_eq!(std::fs::read_dir(path.parent().expect("a parent")).expect("a folder").count(), 1);
    }

    #[test]
    fn a_file_of_a_later_format_is_refused() {
        let (_folder, ledger) = of_format_1();
        let path = state_file(&ledger);
        Connection::open(&path)
            .and_then(|c| c.pragma_update(None, "user_version", FORMAT + 1))
            .expect("a later format");
        for error in [open(&path).err(), open_to_read(&path).err()] {
            let message = error.expect("refused").to_string();
            assert!(message.contains("newer promptmill (format 5, this one supports 4)"), "{message}");
        }
    }
}
