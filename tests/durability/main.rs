//! Law 4 and law 3 across a power cut: the built binary is traced, and after each flush the power is cut. What the disk has kept by then is given to
//! the next run, which must know every request that left and every answer that was told.
//!
//! The n-th file operation that fails is in `nth`.
//!
//! It needs `strace`. Where that is missing or not allowed, nothing is tested and the test says so; with `CI` set, as `.ci/run` sets it, that fails.
//! Not judged: whether the folders themselves survive.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

#[path = "../common/mod.rs"]
mod common;
mod disk;
mod nth;
mod trace;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::{MODEL, Workspace, serve};
use disk::{Cut, Disk, Files};
use promptmill::standin::{Options, answer};
use serde_json::Value;
use trace::Call;

const PROMPTS: u64 = 5;

/// What others know by some moment: the prompts whose request may have reached the server, and those of which the program said that they are done.
#[derive(Clone, Debug, Default)]
struct Known {
    sent: BTreeSet<u64>,
    done: BTreeSet<u64>,
}

impl Known {
    fn take(&mut self, workspace: &Workspace, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let is_sent = |prompt: &u64| text.contains(workspace.prompt(*prompt).trim());
        self.sent.extend((1..=PROMPTS).filter(is_sent));
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        self.done.extend(
            events
                .filter(|event| event["event"] == "done")
                .filter_map(|event| event["key"].as_str()?.parse::<u64>().ok()),
        );
    }
}

#[test]
fn a_power_cut_after_any_flush_loses_no_answer_and_forgets_no_request() {
    if let Some(why) = trace::missing() {
        #[expect(clippy::disallowed_methods, reason = "whether a test may be left out is said by its environment")]
        let required = std::env::var_os("CI").is_some();
        assert!(!required, "strace is needed here: {why}");
        eprintln!("nothing is tested: {why}");
        return;
    }
    let server = serve(Options::default());
    let workspace = Workspace::with_prompts(PROMPTS);
    let elsewhere = tempfile::tempdir().expect("a folder");
    let args = ["--concurrency", "2"];
    let (ended, calls) = trace::run(&workspace.command_against(&server, &args), &elsewhere.path().join("trace"));
    ended.assert_ended(0, [PROMPTS, 0, 0, 0]);

    let (mut disk, mut known, mut cuts) = (Disk::default(), Known::default(), Vec::new());
    for call in &calls {
        if let Call::Sends { bytes } = call {
            known.take(&workspace, bytes);
        }
        if matches!(call, Call::Flushed { .. }) {
            // Until this moment no more is kept than after the flush before it.
            cuts.push((disk.after(Cut::Forgetful), disk.after(Cut::NamesFirst), known.clone()));
        }
        disk.take(call);
    }
    cuts.push((disk.after(Cut::Forgetful), disk.after(Cut::NamesFirst), known.clone()));
    let all: BTreeSet<u64> = (1..=PROMPTS).collect();
    assert_eq!((&known.sent, &known.done), (&all, &all), "the trace was not understood");
    assert_is_what_is_there(&disk);

    let mut judged: u64 = 0;
    for (forgetful, names_first, known) in cuts.into_iter().filter(|(.., known)| !known.sent.is_empty()) {
        for files in [&names_first, &forgetful] {
            assert_whole_or_absent(&workspace, files);
        }
        put(&workspace, &forgetful);
        let plan = workspace.run_to(0, &["plan", "--json", "--range", "all", "--base-url", &server.base_url()]);
        let plan: Value = serde_json::from_str(&plan.stdout).expect("JSON");
        for prompt in &known.sent {
            let each = plan["each"].as_array().expect("prompts");
            let why = each
                .iter()
                .find(|each| each["key"].as_str() == Some(prompt.to_string().as_str()))
                .map(|each| &each["why"]);
            let is_known = match why {
                // Its answer is kept.
                None => true,
                // What may be paid for a second time, the next run names.
                Some(why) => why == "lost" && !known.done.contains(prompt),
            };
            assert!(is_known, "prompt {prompt} is {why:?} after a power cut when this was known: {known:?}");
        }
        judged += 1;
    }
    // Each prompt takes a flush of the store, of its output, of the folder, and of the store.
    assert!(judged >= 2 * PROMPTS, "{judged} cuts");
}

/// The simulated disk and the real one hold the same: no way to write was overlooked.
fn assert_is_what_is_there(disk: &Disk) {
    let mut looked: u64 = 0;
    for (path, bytes) in disk.now() {
        // The index of the log is in shared memory, and is made anew.
        if !path.to_string_lossy().ends_with("-shm") {
            let there = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(there == bytes, "{} holds something else", path.display());
            looked += 1;
        }
    }
    assert!(looked > PROMPTS, "{looked} files");
}

fn assert_whole_or_absent(workspace: &Workspace, files: &Files) {
    for prompt in 1..=PROMPTS {
        let output = Path::new("outputs").join(format!("{prompt}_output.txt"));
        let found = files.iter().find(|(path, _)| path.ends_with(&output));
        if let Some((path, bytes)) = found {
            let whole = answer(MODEL, workspace.prompt(prompt));
            assert!(*bytes == whole.as_bytes(), "{} is torn: {} bytes", path.display(), bytes.len());
        }
    }
}

/// Puts the folder into the state that the disk has kept.
fn put(workspace: &Workspace, files: &Files) {
    for folder in ["outputs", ".promptmill"] {
        let _ = fs::remove_dir_all(workspace.path(folder));
        fs::create_dir(workspace.path(folder)).expect("made");
    }
    let _ = fs::remove_file(workspace.path("usage.md"));
    for (path, bytes) in files {
        fs::write(path, bytes).expect("written");
    }
}
