//! Two processes at once: one ledger for two folders, and one folder for one run.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::time::Duration;

use common::{Ended, Workspace, always, assert_within, billed, in_flight_at_the_kill, serve, until};
use promptmill::standin::{FaultKind, Options};

#[test]
fn two_processes_with_one_ledger_keep_its_limits_together() {
    let server = serve(Options::default());
    let (first, second) = (Workspace::with_prompts(50), Workspace::with_prompts(50));
    let ledger = first.path("usage.md");
    let ledger = ledger.to_str().expect("a path");
    let args = ["--ledger", ledger, "--requests-per-minute", "25", "--window", "2s"];
    let children =
        [&first, &second].map(|workspace| workspace.command_against(&server, &args).spawn().expect("started"));
    for child in children {
        Ended::of(child).assert_ended(0, [50, 0, 0, 0]);
    }
    first.assert_answered(1..=50);
    second.assert_answered(1..=50);
    let log = server.log();
    assert_eq!(log.len(), 100);
    assert_within(25, Duration::from_secs(2), &first.path("usage.md"), &log);
    assert_eq!(first.usage().day_tokens, billed(&log));
    assert!(!second.path("usage.md").exists() && !second.path(".promptmill").exists());
}

#[test]
fn a_second_run_in_one_folder_is_told_who_holds_it() {
    let server = serve(Options { faults: always(FaultKind::Hang), ..Options::default() });
    let workspace = Workspace::with_prompts(3);
    let mut holder = workspace.command_against(&server, &[]).spawn().expect("started");
    until("the first run's requests", || server.log().len() == 3);
    let refused = workspace.run_against(&server, &[]);
    let process = format!("process {}", holder.id());
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains(&process) && refused.stderr.contains("--outputs"), "{}", refused.stderr);
    // The folder is locked, and not the file that names the holder.
    std::fs::remove_file(workspace.path("outputs/.promptmill.lock")).expect("removed");
    let refused = workspace.run_against(&server, &[]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    holder.kill().expect("killed");
    holder.wait().expect("ended");
    assert_eq!(server.log().len(), 3);
    // A dead holder holds nothing.
    server.set_options(Options::default());
    workspace.run_against(&server, &[]).assert_ended(0, [3, 0, 0, 0]);
    workspace.assert_answered(1..=3);
}

#[test]
fn a_run_that_starts_beside_another_forgets_nothing_that_the_other_has_in_flight() {
    let server = serve(Options { faults: always(FaultKind::Hang), ..Options::default() });
    let (first, second) = (Workspace::with_prompts(3), Workspace::with_prompts(2));
    let ledger = first.path("usage.md");
    let ledger = ["--ledger", ledger.to_str().expect("a path")];
    let mut child = first.command_against(&server, &ledger).spawn().expect("started");
    until("the first run's requests", || server.log().len() == 3);
    server.set_options(Options::default());
    second.run_against(&server, &ledger).assert_ended(0, [2, 0, 0, 0]);
    child.kill().expect("killed");
    child.wait().expect("ended");
    let next = first.run_against(&server, &ledger);
    next.assert_ended(0, [3, 0, 0, 0]);
    assert_eq!(in_flight_at_the_kill(&next), Some([3, 0, 3]), "{}", next.stderr);
    assert_eq!(server.log().len(), 3 + 2 + 3);
    // Both runs know what is theirs.
    for (workspace, prompts) in [(&first, 3), (&second, 2)] {
        workspace.run_against(&server, &ledger).assert_ended(0, [0, prompts, 0, 0]);
        workspace.assert_answered(1..=prompts);
    }
}
