//! The n-th operation on a file of ours fails, for every n of a small run: the run says so and ends as it should, and the next one repairs all.
//!
//! `nth.c`, which is preloaded into the program, counts what opens, writes, flushes, renames, removes or cuts a file of outputs, state or `usage.md`,
//! and fails one of them: the disk is full, or broken, in turns. It needs a C compiler, as the build does. What reads an open file never fails here.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use promptmill::standin::Options;

use super::common::{Ended, Workspace, billed, serve};

const PROMPTS: u64 = 3;
/// So many are tried at a time: some of them wait for a moment until a file is written again.
const AT_ONCE: usize = 6;
const NO_SPACE: i32 = 28;
const IO_ERROR: i32 = 5;
/// What the system and the database say then.
const SENTENCES: [&str; 6] = [
    "No space left on device",
    "Input/output error",
    "database or disk is full",
    "disk I/O error",
    "unable to open database file",
    "attempt to write a readonly database",
];

/// The compiled `nth.c`.
fn preload(folder: &Path) -> PathBuf {
    let library = folder.join("nth.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/durability/nth.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(source).arg("-ldl");
    let built = compiler.output().expect("a C compiler, which the build needs too");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    library
}

/// A run in which the `nth` operation fails, and the next one. Returns whether there are so many.
fn try_one(library: &Path, nth: u64) -> bool {
    let (server, workspace) = (serve(Options::default()), Workspace::with_prompts(PROMPTS));
    let (told, error) = (workspace.path("told"), if nth.is_multiple_of(2) { NO_SPACE } else { IO_ERROR });
    let mut command = workspace.command_against(&server, &[]);
    command.env("LD_PRELOAD", library).env("NTH", nth.to_string()).env("NTH_ERROR", error.to_string());
    let first = Ended::run(command.env("NTH_TOLD", &told));
    let before = server.log();
    let told = fs::read_to_string(&told).expect("an operation has failed, or all were counted");
    if told.contains("of all") {
        first.assert_ended(0, [PROMPTS, 0, 0, 0]);
        return false;
    }

    let sent = workspace.prompts_of(&before);
    let number = |key: &str| key.parse().expect("a number");
    let done: Vec<u64> =
        first.events("done").iter().map(|event| number(event["key"].as_str().expect("a key"))).collect();
    let what = || format!("{told} (error {error}): {first:#?}");
    match first.code {
        Some(0) => assert_eq!(first.counts(), [PROMPTS, 0, 0, 0], "{}", what()),
        Some(1) => assert_eq!(first.counts()[0], done.len() as u64, "{}", what()),
        // It never began.
        Some(2) => assert!(sent.is_empty() && first.events.is_empty(), "{}", what()),
        _ => panic!("{}", what()),
    }
    let is_said = SENTENCES.iter().any(|sentence| first.stderr.contains(sentence));
    assert!(is_said || first.code == Some(0), "it is not told: {}", what());

    let second = workspace.run_against(&server, &[]);
    let what = || format!("{}, and then {second:#?}", what());
    let [finished, up_to_date, failed, pending] = second.counts();
    let is_repaired = (finished + up_to_date, failed, pending) == (PROMPTS, 0, 0);
    assert!(is_repaired && second.code == Some(0), "{}", what());
    workspace.assert_answered(1..=PROMPTS);

    // What is paid for a second time was in flight, as far as anybody can know, and is named.
    let log = server.log();
    let again = workspace.prompts_of(&log[before.len()..]);
    let twice = again.iter().filter(|prompt| sent.contains(prompt)).count() as u64;
    let named: u64 = second.events("recovered").iter().map(|event| event["sent_again"].as_u64().expect("one")).sum();
    assert_eq!(twice, named, "{}", what());
    assert!(!again.iter().any(|prompt| done.contains(prompt)), "{again:?} again: {}", what());
    let (counted, billed) = (workspace.usage().day_tokens, billed(&log));
    let adds_up = if twice == 0 { counted == billed } else { counted >= billed };
    assert!(adds_up, "{counted} tokens are counted, {billed} billed: {}", what());
    true
}

#[test]
fn the_nth_file_operation_fails_and_the_next_run_repairs() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = preload(folder.path());
    let (next, over, broken) = (AtomicU64::new(1), AtomicU64::new(u64::MAX), Mutex::new(Vec::new()));
    let one_after_the_other = || {
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            if nth >= over.load(Ordering::Relaxed) {
                return;
            }
            match catch_unwind(AssertUnwindSafe(|| try_one(&library, nth))) {
                Ok(true) => {}
                Ok(false) => drop(over.fetch_min(nth, Ordering::Relaxed)),
                // Why was printed when it panicked.
                Err(_) => broken.lock().expect("not poisoned").push(nth),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(one_after_the_other);
        }
    });
    let broken = broken.into_inner().expect("not poisoned");
    let tried = over.into_inner() - 1;
    assert!(broken.is_empty(), "of {tried} operations, these may not fail: {broken:?}");
    // The state is made, each output is written, flushed and renamed, and each end is journalled.
    assert!(tried > 20 * PROMPTS, "{tried} operations were seen");
    println!("{tried} operations failed, one after the other");
}
