//! The formats of the state file, from the first to ours.

/// The format of the tables; raised with each change that an older promptmill could not read.
pub(super) const FORMAT: i64 = 4;

/// The tables of format 1, which stay as they are; [`UPGRADES`] adds the others.
///
/// `ledger`: amounts of the window, one row for each group of requests begun together, `open` of them not settled, the others heard of until `heard`;
/// `at` and `heard` are comparable within one `boot`, `wall_ms` across them.
/// `days`: amounts of a local day, up to format 2. `counters`: `rev` numbers the changes of `ledger`, `epoch` the times it was replaced as a whole.
/// `faces`: the writings of `usage.md`, from the one that stands there on, by which an edit is told from them.
/// `runs` and `entries`: the journal, one entry a prompt and run; `kept`: answers that could not be written.
pub(super) const TABLES: &str = "
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

/// What makes each format from the one before it, from format 1 on. They make tables and indexes only, and fill the new ones from the old:
/// [`pretend`] relies on it.
///
/// Format 2: `learned`: limits of servers, `grp` empty for a model's plain one; `notes`: what happened in a run, for people.
///
/// Format 3: `quarters`: amounts of a quarter of an hour of UTC, numbered from 1970. The use of a day is put to noon, which lies in that day nearly
/// everywhere. `places`: what stood at an output's place when its request left (`before_bytes` 0: nothing; NULL: not noted), and what was written.
///
/// Format 4: `outs`: outputs folders. `items`: where each prompt stands: in `run` with `status` (0: nothing goes on) by `attempt`, its last one; and how
/// it ended last, in `ended_run` by `ended_by` (NULL: the output was found there), `unsettled` where a later attempt has left no end. `attempts`: each
/// request, `id` its run and its place in that, `previous` the one before it of the same prompt, `number` 0 for an end without a request. `answers`:
/// those that could not be written. They take over what `entries`, `places` and `kept` have, which go.
pub(super) const UPGRADES: [&str; 3] = [
    "
CREATE TABLE learned (
    endpoint TEXT NOT NULL, unit TEXT NOT NULL, grp TEXT NOT NULL, size REAL NOT NULL, window_ns INTEGER NOT NULL,
    burst_ns INTEGER NOT NULL, source TEXT NOT NULL, learned_ms INTEGER NOT NULL,
    PRIMARY KEY (endpoint, unit, grp, window_ns, source)
) WITHOUT ROWID;
CREATE TABLE notes (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, at_ms INTEGER NOT NULL, event TEXT NOT NULL);
CREATE INDEX notes_run ON notes (run);
",
    "
CREATE TABLE quarters (quarter INTEGER PRIMARY KEY, tokens INTEGER NOT NULL, requests INTEGER NOT NULL);
INSERT INTO quarters SELECT unixepoch(date || ' 12:00') / 900, tokens, requests FROM days;
CREATE TABLE places (
    run INTEGER NOT NULL, prompt INTEGER NOT NULL, before_bytes INTEGER, before_hash BLOB, hash BLOB,
    PRIMARY KEY (run, prompt)
) WITHOUT ROWID;
",
    "
CREATE TABLE outs (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE items (
    out INTEGER NOT NULL, key TEXT NOT NULL, run INTEGER NOT NULL, status INTEGER NOT NULL, attempt INTEGER,
    unsettled INTEGER NOT NULL DEFAULT 0, ended_run INTEGER, ended_by INTEGER, ended_status INTEGER, fingerprint BLOB, bytes INTEGER, hash BLOB,
    PRIMARY KEY (out, key)
) WITHOUT ROWID;
CREATE INDEX items_open ON items (out) WHERE status IN (1, 2);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, run INTEGER GENERATED ALWAYS AS (id >> 32) VIRTUAL, key TEXT NOT NULL, number INTEGER NOT NULL, previous INTEGER,
    fingerprint BLOB NOT NULL, status INTEGER NOT NULL, begun_ms INTEGER, heard_ms INTEGER, ended_ms INTEGER, wait_ms INTEGER, hints TEXT,
    model TEXT, counted_tokens INTEGER NOT NULL, reserved_tokens INTEGER NOT NULL, input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0, cached_tokens INTEGER NOT NULL DEFAULT 0, reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    class TEXT, message TEXT, finish TEXT, before_bytes INTEGER, before_hash BLOB, bytes INTEGER NOT NULL DEFAULT 0, hash BLOB
);
CREATE TABLE answers (attempt INTEGER PRIMARY KEY, text TEXT NOT NULL);
INSERT INTO outs (name) SELECT DISTINCT outputs FROM runs;
INSERT INTO attempts (
    id, key, number, previous, fingerprint, status, begun_ms, ended_ms, counted_tokens, reserved_tokens, input_tokens, output_tokens,
    class, message, finish, before_bytes, before_hash, bytes, hash
) SELECT
    e.id, CAST(e.prompt AS TEXT), e.attempts, lag(e.id) OVER (PARTITION BY e.outputs, e.prompt ORDER BY e.run), e.fingerprint, e.status,
    e.begun_ms, e.ended_ms, e.input_tokens, e.reserved_tokens, e.input_tokens, e.output_tokens, e.class, e.message, e.finish,
    p.before_bytes, p.before_hash, e.bytes, p.hash
FROM (
    SELECT r.outputs, f.*, (f.run << 32) + row_number() OVER (PARTITION BY f.run ORDER BY f.begun_ms, f.prompt) - 1 AS id
    FROM entries f JOIN runs r ON r.id = f.run
) e LEFT JOIN places p ON p.run = e.run AND p.prompt = e.prompt;
WITH of AS (SELECT o.id AS out, a.* FROM attempts a JOIN runs r ON r.id = a.id >> 32 JOIN outs o ON o.name = r.outputs),
    last AS (SELECT out, key, max(id) AS id, status FROM of GROUP BY out, key),
    ended AS (
        SELECT out, key, max(id) AS id, status, fingerprint, bytes, hash FROM of
        WHERE status IN (3, 4, 5) AND class IS NOT 'output_blocked' GROUP BY out, key
    ),
    left AS (SELECT out, key, max(id) AS id FROM of WHERE status IN (1, 2, 6) GROUP BY out, key)
INSERT INTO items (out, key, run, status, attempt, unsettled, ended_run, ended_by, ended_status, fingerprint, bytes, hash)
SELECT last.out, last.key, last.id >> 32, last.status, last.id, coalesce(left.id > ended.id, 0), ended.id >> 32, ended.id, ended.status,
    ended.fingerprint, ended.bytes, ended.hash
FROM last LEFT JOIN ended USING (out, key) LEFT JOIN left USING (out, key);
INSERT INTO answers SELECT a.id, k.text FROM kept k JOIN attempts a
    ON a.id BETWEEN k.run << 32 AND (k.run << 32) + 4294967295 AND a.key = CAST(k.prompt AS TEXT);
",
];

/// Tables of earlier formats, whose rows format 4 has taken over. A process of an earlier version that still runs fails loudly.
pub(super) const NO_LONGER: &str = "DROP TABLE entries; DROP TABLE places; DROP TABLE kept;";

/// The upgrades that a file of the format `found` has not had.
pub(super) fn missing(found: i64) -> impl Iterator<Item = &'static str> {
    let had = usize::try_from(found - 1).unwrap_or(0);
    UPGRADES.into_iter().skip(had)
}
