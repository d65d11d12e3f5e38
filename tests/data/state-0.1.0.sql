-- The state of promptmill 0.1.0: three prompts answered, one failed, one not text, three in flight when their run was killed.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE ledger (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL, boot TEXT NOT NULL, wall_ms INTEGER NOT NULL,
    tokens INTEGER NOT NULL, requests INTEGER NOT NULL, rev INTEGER NOT NULL,
    open INTEGER NOT NULL, heard INTEGER NOT NULL
);
INSERT INTO ledger VALUES(1,15710886310962,'fa7f404f-89b9-4a66-8f46-d5573bc176ba',1795578984907,172,3,4,0,15710936241161);
INSERT INTO ledger VALUES(2,15711892309234,'fa7f404f-89b9-4a66-8f46-d5573bc176ba',1795578985913,522,1,6,0,15711899685781);
INSERT INTO ledger VALUES(3,15712316117965,'fa7f404f-89b9-4a66-8f46-d5573bc176ba',1795578986336,522,1,8,0,15712328934000);
INSERT INTO ledger VALUES(4,15713396472042,'fa7f404f-89b9-4a66-8f46-d5573bc176ba',1795578987417,1581,3,9,3,15713396472042);
CREATE TABLE days (date TEXT PRIMARY KEY, tokens INTEGER NOT NULL, requests INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO days VALUES('2026-11-25',2797,8);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters VALUES('epoch',0);
INSERT INTO counters VALUES('rev',9);
CREATE TABLE faces (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL, inode INTEGER NOT NULL, modified_ns INTEGER NOT NULL);
INSERT INTO faces VALUES(1,replace('tokens_within_min = 172\nrequests_within_min = 3\ntokens_within_day = 172\nminute_token_limit_reached = 0\nday_token_limit_reached = 0\nDate = 2026-11-25\n','\n',char(10)),10117197,1795578984995642319);
INSERT INTO faces VALUES(2,replace('tokens_within_min = 694\nrequests_within_min = 4\ntokens_within_day = 694\nminute_token_limit_reached = 0\nday_token_limit_reached = 0\nDate = 2026-11-25\n','\n',char(10)),10117200,1795578986151642349);
INSERT INTO faces VALUES(3,replace('tokens_within_min = 1216\nrequests_within_min = 5\ntokens_within_day = 1216\nminute_token_limit_reached = 0\nday_token_limit_reached = 0\nDate = 2026-11-25\n','\n',char(10)),10117201,1795578986379642355);
INSERT INTO faces VALUES(4,replace('tokens_within_min = 2797\nrequests_within_min = 8\ntokens_within_day = 2797\nminute_token_limit_reached = 0\nday_token_limit_reached = 0\nDate = 2026-11-25\n','\n',char(10)),10117172,1795578987663642389);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    outputs TEXT NOT NULL, model TEXT NOT NULL, rehearsal INTEGER NOT NULL, pid INTEGER NOT NULL,
    started_ms INTEGER NOT NULL, ended_ms INTEGER, summary TEXT
);
INSERT INTO runs VALUES(1,'{OUTPUTS}','gpt-4o-mini',0,24989,1795578984891,1795578984999,'3 prompts = 3 done + 0 up to date + 0 failed + 0 pending');
INSERT INTO runs VALUES(2,'{OUTPUTS}','gpt-4o-mini',0,25064,1795578985893,1795578986415,'5 prompts = 0 done + 3 up to date + 2 failed + 0 pending');
INSERT INTO runs VALUES(3,'{OUTPUTS}','gpt-4o-mini',0,25239,1795578987397,NULL,NULL);
CREATE TABLE entries (
    run INTEGER NOT NULL REFERENCES runs (id), prompt INTEGER NOT NULL,
    fingerprint BLOB NOT NULL, status INTEGER NOT NULL, attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, reserved_tokens INTEGER NOT NULL,
    bytes INTEGER NOT NULL, begun_ms INTEGER, ended_ms INTEGER, class TEXT, message TEXT, finish TEXT,
    PRIMARY KEY (run, prompt)
) WITHOUT ROWID;
INSERT INTO entries VALUES(1,1,X'ee283dc233a027118079ef98afe2102d',3,1,14,43,526,134,1795578984907,1795578984985,NULL,NULL,'complete');
INSERT INTO entries VALUES(1,2,X'854d9f446e68b7a551d9dae8e894a005',3,1,14,45,526,134,1795578984907,1795578984970,NULL,NULL,'complete');
INSERT INTO entries VALUES(1,3,X'eaaf7f0719673491851ac5309c946071',3,1,14,42,526,134,1795578984907,1795578984948,NULL,NULL,'complete');
INSERT INTO entries VALUES(2,4,X'acc633d1dc748d6611c6e2b47556fc08',4,2,10,0,522,0,1795578986336,1795578986376,'server_error','HTTP 500: The server had an error processing your request. Sorry about that! You can retry your request, or contact us through our help center at help.openai.com if you keep seeing this error. (Please include the request ID req_5f9b246ee13b877406773392acbaeab1 in your email.) (attempt 2 of 2)',NULL);
INSERT INTO entries VALUES(2,5,X'00000000000000000000000000000000',4,0,0,0,0,0,NULL,1795578985908,'not_text','prompts/5_prompt.txt: it is not UTF-8: byte 3 (line 1) is 0xe9; save the file as UTF-8',NULL);
INSERT INTO entries VALUES(3,6,X'ec7462ff63beff186a2b778db46603ce',1,1,15,0,527,0,1795578987417,NULL,NULL,NULL,NULL);
INSERT INTO entries VALUES(3,7,X'b01bfce7ccf5d8eea2c381c3c2aafe79',1,1,15,0,527,0,1795578987417,NULL,NULL,NULL,NULL);
INSERT INTO entries VALUES(3,8,X'34ef8fe3b021543db4b9975e6293f87a',1,1,15,0,527,0,1795578987417,NULL,NULL,NULL,NULL);
CREATE TABLE kept (run INTEGER NOT NULL, prompt INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (run, prompt)) WITHOUT ROWID;
CREATE TABLE learned (
    endpoint TEXT NOT NULL, unit TEXT NOT NULL, grp TEXT NOT NULL, size REAL NOT NULL, window_ns INTEGER NOT NULL,
    burst_ns INTEGER NOT NULL, source TEXT NOT NULL, learned_ms INTEGER NOT NULL,
    PRIMARY KEY (endpoint, unit, grp, window_ns, source)
) WITHOUT ROWID;
CREATE TABLE notes (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, at_ms INTEGER NOT NULL, event TEXT NOT NULL);
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('runs',3);
INSERT INTO sqlite_sequence VALUES('ledger',4);
INSERT INTO sqlite_sequence VALUES('faces',4);
CREATE INDEX ledger_rev ON ledger (rev);
CREATE INDEX runs_outputs ON runs (outputs);
CREATE INDEX notes_run ON notes (run);
PRAGMA user_version = 2;
COMMIT;
