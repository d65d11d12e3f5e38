//! An input that is longer than what is drawn at a time: it is read on while the run goes on, and the sums are true.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{Workspace, serve};
use promptmill::standin::Options;

/// More than a first draw brings, where a few requests are in flight.
const PROMPTS: u64 = 1_100;

/// No limit of ours.
const UNLIMITED: &[&str] = &[
    "--concurrency",
    "50",
    "--tokens-per-batch",
    "0",
    "--requests-per-minute",
    "0",
    "--tokens-per-minute",
    "0",
    "--tokens-per-day",
    "0",
];

#[test]
fn what_is_found_late_in_the_input_is_told_and_counted() {
    let (mut workspace, server) = (Workspace::with_prompts(PROMPTS), serve(Options::default()));
    workspace.write_prompt(1_070, " \n");
    workspace.write("prompts/1080_prompt.txt", b"\xff");
    std::fs::create_dir(workspace.path("outputs")).expect("made");
    workspace.write("outputs/1090_output.txt", "an answer that nobody knows of");
    let ended = workspace.run_against(&server, UNLIMITED);
    let started = &ended.events("started")[0];
    assert_eq!(
        (&started["reading"], &started["prompts"], &started["to_send"]),
        (&true.into(), &PROMPTS.into(), &1_024.into())
    );
    ended.says(&["left out, because there is no text in it: 1070_prompt.txt"]);
    assert_eq!(ended.events("without_history")[0]["answers"], 1);
    assert_eq!(ended.events("failed")[0]["key"], "1080");
    ended.assert_ended(1, [PROMPTS - 3, 1, 1, 0]);
    workspace.assert_answered((1..=PROMPTS).filter(|prompt| ![1_070, 1_080, 1_090].contains(prompt)));
    // It is known from now on, and nothing is sent again.
    let again = workspace.run_against(&server, UNLIMITED);
    again.assert_ended(1, [0, PROMPTS - 2, 1, 0]);
    assert_eq!((again.events("without_history").len(), server.log().len() as u64), (0, PROMPTS - 3));
}

#[test]
fn a_run_that_ends_early_looks_at_the_rest() {
    let (workspace, server) = (Workspace::with_prompts(PROMPTS), serve(Options::default()));
    workspace.run_against(&server, &[UNLIMITED, &["--only", "1051-1100"]].concat()).assert_ended(0, [50, 0, 0, 0]);
    let ended =
        workspace.run_against(&server, &[UNLIMITED, &["--requests-per-day", "53", "--on-day-limit", "exit"]].concat());
    let started = &ended.events("started")[0];
    assert_eq!((&started["reading"], &started["up_to_date"]), (&true.into(), &0.into()));
    ended.assert_ended(5, [3, 50, 0, PROMPTS - 53]);
    let plan = workspace.run(&["plan", "--range", "all", "--base-url", &server.base_url(), "--tokens-per-batch", "0"]);
    assert!(plan.stdout.contains("1,100 prompts = 53 up to date + 1,047 to send"), "{plan:#?}");
}
