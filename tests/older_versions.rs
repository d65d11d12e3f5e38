//! The state of an older version is taken over: nothing is sent again, what was lost is found, and what was used counts.
#![expect(clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::fs;

use chrono::{DateTime, Utc};
use common::{MODEL, Workspace, in_flight_at_the_kill, serve};
use promptmill::clock::{Day, Mono, Now};
use promptmill::model::Limits;
use promptmill::record;
use promptmill::standin::{Options, answer};

/// What was used when the run of 0.1.0 was killed, in its window and in its day.
const USED: (u64, u64) = (2_797, 8);

/// The folder that 0.1.0 left: 1 to 3 answered, 4 failed, 5 not text, 6 to 8 in flight when their run was killed.
fn left_by_0_1_0() -> Workspace {
    let mut workspace = Workspace::with_prompts(0);
    for prompt in 1..=3 {
        workspace.write_prompt(prompt, &format!("What is {prompt} times seven?\n"));
    }
    workspace.write_prompt(4, "Say four.\n");
    workspace.write("prompts/5_prompt.txt", b"caf\xe9\n");
    for prompt in 6..=8 {
        workspace.write_prompt(prompt, &format!("Tell a story of {prompt} words.\n"));
    }
    fs::create_dir(workspace.path("outputs")).expect("made");
    for prompt in 1..=3 {
        workspace.write(&format!("outputs/{prompt}_output.txt"), answer(MODEL, workspace.prompt(prompt)));
    }
    workspace.write("outputs/4_output.txt", "ERROR: server_error: HTTP 500: The server had an error\n");
    workspace.write("outputs/5_output.txt", "ERROR: not_text: prompts/5_prompt.txt: it is not UTF-8\n");
    fs::create_dir(workspace.path(".promptmill")).expect("made");
    let outputs = fs::canonicalize(workspace.path("outputs")).expect("there");
    let dump = include_str!("data/state-0.1.0.sql").replace("{OUTPUTS}", outputs.to_str().expect("a plain path"));
    let state = rusqlite::Connection::open(workspace.path(".promptmill/usage.db")).expect("a file");
    state.execute_batch(&dump).expect("the state of 0.1.0");
    workspace
}

/// A second after the kill, by the clocks of the machine that 0.1.0 ran on.
fn then() -> Now {
    let wall: DateTime<Utc> = "2026-11-25T03:56:28Z".parse().expect("a date");
    Now { mono: Mono(15_714_000_000_000), wall, day: Day::of(wall, &Utc) }
}

#[test]
fn nothing_is_sent_again_and_what_was_lost_is_told() {
    let server = serve(Options::default());
    let workspace = left_by_0_1_0();
    let next = workspace.run_against(&server, &[]);
    next.assert_ended(1, [4, 3, 1, 0]);
    assert_eq!(in_flight_at_the_kill(&next), Some([3, 0, 3]), "{}", next.stderr);
    next.says(&["at most 1,581 tokens"]);
    let mut sent = workspace.prompts_of(&server.log());
    sent.sort_unstable();
    assert_eq!(sent, [4, 6, 7, 8]);
    workspace.assert_answered([1, 2, 3, 4, 6, 7, 8]);
    workspace.run_against(&server, &[]).assert_ended(1, [0, 7, 1, 0]);
    assert_eq!(server.log().len(), 4);
}

#[test]
fn what_only_looks_leaves_the_file_as_it_is() {
    let workspace = left_by_0_1_0();
    let state = || fs::read(workspace.path(".promptmill/usage.db")).expect("there");
    let before = state();
    let plan = workspace.run(&["plan", "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).expect("JSON");
    assert_eq!((plan["up_to_date"].as_u64(), plan["to_send"].as_u64()), (Some(3), Some(4)), "{plan}");
    let whys: Vec<_> = plan["each"].as_array().expect("lines").iter().map(|line| line["why"].as_str()).collect();
    let lost = Some("lost");
    assert_eq!(whys, [Some("failed_before"), Some("new"), lost, lost, lost], "{plan}");
    let status = workspace.run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).expect("JSON");
    assert_eq!(status["last_run"]["model"], MODEL);
    assert!(state() == before, "the file was changed");
    assert_eq!(fs::read_dir(workspace.path(".promptmill")).expect("a folder").count(), 1);
}

#[test]
fn what_was_used_counts_in_window_and_day_and_what_is_done_is_known() {
    let workspace = left_by_0_1_0();
    let (ledger, now, boot) = (workspace.path("usage.md"), then(), "another start of the machine");
    let used = |mut store: Box<dyn record::Store>| {
        let used = store.used(&now).expect("used");
        [used.minute, used.day].map(|amount| (amount.tokens, amount.requests))
    };
    let done = |store: &dyn record::Store| {
        let outputs = fs::canonicalize(workspace.path("outputs")).expect("there");
        let mut history = store.history(outputs.to_str().expect("a plain path")).expect("read");
        [false, true].map(|rehearsal| history.done(rehearsal).expect("read").len())
    };
    let looked = record::open_to_read(&ledger, Limits::default(), boot.to_owned(), &now).expect("it opens");
    let looked = looked.expect("it is there");
    assert_eq!(done(looked.as_ref()), [3, 0]);
    assert_eq!(used(looked), [USED; 2]);
    for _ in 0..2 {
        let opened = record::open(&ledger, Limits::default(), boot.to_owned(), &now).expect("it opens");
        assert_eq!(done(opened.as_ref()), [3, 0]);
        assert_eq!(used(opened), [USED; 2]);
    }
}
