//! Refusals that would end a run, and failures that are not to be tried again: one stray one is neither, an outage is not the prompts' fault.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::scripted::{Scripted, USAGE, answer, error, response};
use common::{Ended, Workspace};

fn run(workspace: &Workspace, server: &Scripted, args: &[&str]) -> Ended {
    workspace.run(&[&["run", "--json", "--base-url", &server.base_url], args].concat())
}

/// One refusal of each kind that would fail every prompt, if it were true.
fn refusal(kind: u16) -> Vec<u8> {
    match kind {
        401 => error(401, &[], "invalid_api_key", "Incorrect API key provided."),
        404 => response(404, &[], "<html><title>404 page not found</title></html>"),
        307 => response(307, &["location: /elsewhere"], ""),
        _ => panic!("no such refusal"),
    }
}

#[test]
fn a_stray_refusal_after_good_answers_is_asked_again_alone() {
    for kind in [401, 404, 307] {
        let server = Scripted::start(move |number, _| if number == 10 { refusal(kind) } else { answer(b"yes", USAGE) });
        let workspace = Workspace::with_prompts(40);
        let ended = run(&workspace, &server, &["--concurrency", "4"]);
        ended.assert_ended(0, [40, 0, 0, 0]);
        let bodies = server.bodies();
        assert_eq!(bodies.len(), 41, "{kind}");
        // What was in flight came with it or before it, and what left until it was heard of; the next one asks for the same prompt.
        let again = bodies.iter().rposition(|body| *body == bodies[10]).expect("asked again");
        assert!((11..=18).contains(&again), "{kind}: {again}");
        let told = |name: &str| ended.events(name).iter().map(|event| event["cause"].clone()).collect::<Vec<_>>();
        assert_eq!((told("paused"), told("resumed")), (vec!["refused".into()], vec!["refused".into()]), "{kind}");
    }
}

#[test]
fn a_refusal_that_stays_ends_the_run_with_one_more_request() {
    for kind in [401, 404, 307] {
        let server = Scripted::start(move |number, _| if number < 10 { answer(b"yes", USAGE) } else { refusal(kind) });
        let workspace = Workspace::with_prompts(40);
        let ended = run(&workspace, &server, &["--concurrency", "4"]);
        ended.assert_ended(4, [10, 0, 0, 30]);
        // The first one, what was in flight beside it, and the one that asked again.
        assert!((12..=15).contains(&server.bodies().len()), "{kind}: {}", server.bodies().len());
    }
}

#[test]
fn before_any_answer_the_first_refusal_ends_the_run() {
    for kind in [401, 404, 307] {
        let server = Scripted::start(move |_, _| refusal(kind));
        let workspace = Workspace::with_prompts(10);
        run(&workspace, &server, &["--concurrency", "1"]).assert_ended(4, [0, 0, 0, 10]);
        assert_eq!(server.bodies().len(), 1, "{kind}");
    }
}

#[test]
fn a_model_that_a_gateway_does_not_know_ends_the_run() {
    let message = "{'error': '/chat/completions: Invalid model name passed in model=gpt-4o-mini. Call `/v1/models` to view available models for your key.'}";
    let server = Scripted::start(move |_, _| error(400, &[], "400", message));
    let workspace = Workspace::with_prompts(10);
    let ended = run(&workspace, &server, &["--concurrency", "1"]);
    ended.assert_ended(4, [0, 0, 0, 10]);
    let why = ended.summary()["stopped_by"].as_str().expect("why").to_owned();
    assert!(why.starts_with("model_not_found: "), "{why}");
    assert_eq!(server.bodies().len(), 1);
}

/// 500 with the header that the official clients obey.
fn not_again() -> Vec<u8> {
    error(500, &["x-should-retry: false"], "server_error", "The server had an error.")
}

#[test]
fn an_outage_that_asks_for_no_retry_fails_nothing() {
    // The breaker opens at the 8th failure, and the first probe fails too.
    let server =
        Scripted::start(|number, _| if (20..29).contains(&number) { not_again() } else { answer(b"yes", USAGE) });
    let workspace = Workspace::with_prompts(60);
    let ended = run(&workspace, &server, &["--concurrency", "1"]);
    ended.assert_ended(0, [60, 0, 0, 0]);
    assert_eq!(server.bodies().len(), 60 + 9);
}

#[test]
fn a_failure_among_answers_that_is_not_to_be_tried_again_is_not() {
    let server =
        Scripted::start(|_, body| if body.contains("number 3.") { not_again() } else { answer(b"yes", USAGE) });
    let workspace = Workspace::with_prompts(10);
    let ended = run(&workspace, &server, &["--concurrency", "2"]);
    ended.assert_ended(1, [9, 0, 1, 0]);
    assert_eq!(server.bodies().len(), 10);
    assert_eq!(workspace.output(3).as_deref(), Some("ERROR: server_error: HTTP 500: The server had an error.\n"));
}
