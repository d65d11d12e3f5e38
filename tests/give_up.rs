//! `give_up_after` holds whatever a run waits for, but what it was told to wait for.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::scripted::{Scripted, USAGE, answer, error};
use common::{Ended, Workspace};

fn run(workspace: &Workspace, server: &Scripted, args: &[&str]) -> Ended {
    workspace.run(&[&["run", "--json", "--base-url", &server.base_url], args].concat())
}

/// An error that asks for a wait of an hour.
fn in_an_hour(status: u16) -> Vec<u8> {
    error(status, &["retry-after: 3600"], "overloaded", "Come back later.")
}

#[track_caller]
fn says_why(ended: &Ended, parts: &[&str]) {
    let why = ended.summary()["stopped_by"].as_str().expect("why");
    assert!(parts.iter().all(|part| why.contains(part)), "{why}");
}

#[test]
fn a_wait_that_outlasts_it_ends_the_run_at_once() {
    for status in [429, 500, 503] {
        for prompts in [1, 20] {
            let server = Scripted::start(move |_, _| in_an_hour(status));
            let workspace = Workspace::with_prompts(prompts);
            let ended = run(&workspace, &server, &["--give-up-after", "30m", "--concurrency", "20"]);
            ended.assert_ended(4, [0, 0, 0, prompts]);
            says_why(&ended, &["the server asks to wait 1h 0m", "give_up_after"]);
            assert_eq!(workspace.without_output().len() as u64, prompts);
        }
    }
}

#[test]
fn a_server_that_only_refuses_ends_the_run() {
    let server = Scripted::start(|_, _| error(429, &[], "rate_limit_exceeded", "Slow down."));
    let workspace = Workspace::with_prompts(20);
    let ended = run(&workspace, &server, &["--give-up-after", "2s", "--concurrency", "4"]);
    ended.assert_ended(4, [0, 0, 0, 20]);
    says_why(&ended, &["give_up_after", "rate_limited"]);
}

#[test]
fn one_prompt_that_is_to_wait_holds_nobody() {
    for status in [503, 500] {
        let server =
            Scripted::start(
                move |_, body| {
                    if body.contains("number 3.") { in_an_hour(status) } else { answer(b"yes", USAGE) }
                },
            );
        let workspace = Workspace::with_prompts(20);
        let ended = run(&workspace, &server, &["--give-up-after", "30m"]);
        ended.assert_ended(4, [19, 0, 0, 1]);
        says_why(&ended, &["the server asks to wait 1h 0m"]);
        assert_eq!(server.bodies().len(), 20);
    }
}

/// What `OpenAI` says when the requests of a day are used up.
fn day_is_over() -> Vec<u8> {
    let message = "Rate limit reached for m in organization o on requests per day (RPD): Limit 50, Used 50, Requested 1. Please try again in 28m48s.";
    error(429, &[], "rate_limit_exceeded", message)
}

#[test]
fn a_days_limit_of_the_server_follows_on_day_limit() {
    let script = |number: usize, _: &str| if number < 5 { answer(b"yes", USAGE) } else { day_is_over() };
    let server = Scripted::start(script);
    let workspace = Workspace::with_prompts(20);
    let args = ["--concurrency", "1", "--give-up-after", "1s", "--on-day-limit"];
    let ended = run(&workspace, &server, &[&args[..], &["exit"]].concat());
    ended.assert_ended(5, [5, 0, 0, 15]);
    says_why(&ended, &["a day limit of the server", "requests per day", "28m 48s"]);
    assert_eq!(server.bodies().len(), 6);
    // Told to wait, it waits, and says so; nothing but its own deadline ends it.
    let server = Scripted::start(script);
    let workspace = Workspace::with_prompts(20);
    let ended = run(&workspace, &server, &[&args[..], &["wait", "--for", "3s"]].concat());
    ended.assert_ended(5, [5, 0, 0, 15]);
    says_why(&ended, &["--for"]);
    assert!(ended.events("waiting").iter().any(|event| event["seconds"].as_f64() > Some(1_000.0)), "{}", ended.stderr);
}

#[test]
fn waiting_for_a_limit_of_ones_own_is_not_waiting_for_the_server() {
    let server =
        Scripted::start(
            |number, _| {
                if number == 0 { error(500, &[], "server_error", "Sorry.") } else { answer(b"yes", USAGE) }
            },
        );
    let workspace = Workspace::with_prompts(2);
    let limits = ["--requests-per-minute", "1", "--window", "2s"];
    let ended = run(&workspace, &server, &[&limits[..], &["--give-up-after", "1s"]].concat());
    ended.assert_ended(0, [2, 0, 0, 0]);
}
