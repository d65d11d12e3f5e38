//! The tables of the state file, and how a connection to it is set up.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::super::StoreError;

/// The format of the tables; raised with each change that an older promptmill could not read.
const FORMAT: i64 = 1;

/// `ledger`: amounts of the window, one row for each group of requests begun together, `open` of them not settled, the others heard of until `heard`;
/// `at` and `heard` are comparable within one `boot`, `wall_ms` across them.
/// `days`: amounts of a local day. `counters`: `rev` numbers the changes of `ledger`, `epoch` the times it was replaced as a whole.
/// `faces`: the latest writings of `usage.md`, by which an edit is told from them.
/// `runs` and `entries`: the journal, one entry a prompt and run; `kept`: answers that could not be written.
const TABLES: &str = "
CREATE TABLE ledger (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL, boot TEXT NOT NULL, wall_ms INTEGER NOT NULL,
    tokens INTEGER NOT NULL, requests INTEGER NOT NULL, rev INTEGER NOT NULL,
    open INTEGER NOT NULL, heard INTEGER NOT NULL
);
CREATE INDEX ledger_rev ON ledger (rev);
CREATE TABLE days (date TEXT PRIMARY KEY, tokens INTEGER NOT NULL, requests INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters VALUES ('rev', 0), ('epoch', 0);
CREATE TABLE faces (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL, inode INTEGER NOT NULL, modified_ns INTEGER NOT NULL);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    outputs TEXT NOT NULL, model TEXT NOT NULL, rehearsal INTEGER NOT NULL, pid INTEGER NOT NULL,
    started_ms INTEGER NOT NULL, ended_ms INTEGER, summary TEXT
);
CREATE INDEX runs_outputs ON runs (outputs);
CREATE TABLE entries (
    run INTEGER NOT NULL REFERENCES runs (id), prompt INTEGER NOT NULL,
    fingerprint BLOB NOT NULL, status INTEGER NOT NULL, attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, reserved_tokens INTEGER NOT NULL,
    bytes INTEGER NOT NULL, begun_ms INTEGER, ended_ms INTEGER, class TEXT, message TEXT, finish TEXT,
    PRIMARY KEY (run, prompt)
) WITHOUT ROWID;
CREATE TABLE kept (run INTEGER NOT NULL, prompt INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (run, prompt)) WITHOUT ROWID;
";

/// Opens the state file, making its tables where it is new.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let database = |source| StoreError::Database { path: path.to_owned(), source };
    let mut connection = Connection::open(path).map_err(database)?;
    set_up(&connection).map_err(database)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(database)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(database)?;
    if found > FORMAT {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT });
    }
    if found == 0 {
        transaction.execute_batch(TABLES).map_err(database)?;
        transaction.pragma_update(None, "user_version", FORMAT).map_err(database)?;
    }
    transaction.commit().map_err(database)?;
    Ok(connection)
}

/// Opens the state file for reading only; `None` where there is none.
pub(super) fn open_to_read(path: &Path) -> Result<Option<Connection>, StoreError> {
    if !path.exists() {
        return Ok(None);
    }
    let database = |source| StoreError::Database { path: path.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match untouched(path) {
        Some(uri) => Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI),
        None => Connection::open_with_flags(path, flags),
    };
    let connection = connection.map_err(database)?;
    connection.busy_timeout(Duration::from_secs(10)).map_err(database)?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(database)?;
    match found {
        0 => Ok(None),
        FORMAT => Ok(Some(connection)),
        _ => Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT }),
    }
}

/// The address of a state file that nobody has open, to be read as it stands; `None` where there is a log to be read too.
///
/// Even a reader makes the log's files, and cannot remove them; a look should leave nothing behind. A run that starts in the meantime writes to its
/// log, and to this file only at its end or after a thousand pages.
fn untouched(path: &Path) -> Option<String> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    if Path::new(&log).exists() {
        return None;
    }
    let path = path.to_str()?.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    Some(format!("file:{path}?immutable=1"))
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(30))?;
    // A write-ahead log lets others read while one writes; FULL makes each commit survive a power cut.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}
