//! Servers that fail: what is tried again, what stops the run, what is an answer of its own kind.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::time::Duration;

use common::{MODEL, QUOTA_CODES, Workspace, always, billed, serve};
use promptmill::standin::{Fault, FaultKind, Options, answer};

/// Outputs that hold the line of a failure.
fn error_outputs(workspace: &Workspace, prompts: u64) -> Vec<u64> {
    (1..=prompts).filter(|&prompt| workspace.output(prompt).is_some_and(|text| text.starts_with("ERROR"))).collect()
}

#[test]
fn a_tenth_of_faults_costs_no_answer() {
    let kinds =
        [FaultKind::ServerError, FaultKind::BadGateway, FaultKind::Reset, FaultKind::CutBody, FaultKind::MalformedJson];
    let faults = kinds.map(|kind| Fault { kind, share: 0.02 }).to_vec();
    let server = serve(Options { faults, seed: 3, ..Options::default() });
    let workspace = Workspace::with_prompts(200);
    // With the 3 attempts of the default one prompt in 1,000 would fail; with 8 it is one in 100,000,000.
    let ended = workspace.run_against(&server, &["--attempts", "8"]);
    ended.assert_ended(0, [200, 0, 0, 0]);
    workspace.assert_answered(1..=200);
    let log = server.log();
    for kind in kinds {
        assert!(log.iter().any(|logged| logged.fault == Some(kind)), "{kind} was not drawn");
    }
    let faults = log.iter().filter(|logged| logged.fault.is_some()).count() as u64;
    assert_eq!(ended.summary()["retried"].as_u64(), Some(faults));
    assert_eq!(log.len() as u64, 200 + faults);
    assert!(workspace.usage().day_tokens >= billed(&log), "{} of {}", workspace.usage().day_tokens, billed(&log));
}

#[test]
fn a_prompt_that_fails_alone_fails_after_its_attempts_without_a_page_in_its_output() {
    let server = serve(Options { faults: always(FaultKind::BadGateway), ..Options::default() });
    let workspace = Workspace::with_prompts(1);
    let ended = workspace.run_against(&server, &["--attempts", "2"]);
    ended.assert_ended(1, [0, 0, 1, 0]);
    assert_eq!(server.log().len(), 2);
    let text = workspace.output(1).expect("a line");
    assert!(text.starts_with("ERROR: bad_gateway: ") && text.ends_with('\n'), "{text}");
    assert!(text.lines().count() == 1 && !text.contains('<'), "{text}");
    // A failed prompt is not up to date: the next run sends it.
    server.set_options(Options::default());
    workspace.run_against(&server, &[]).assert_ended(0, [1, 0, 0, 0]);
    workspace.assert_answered([1]);
}

#[test]
fn prompts_that_fail_among_answers_fail_after_their_attempts() {
    let faults = vec![Fault { kind: FaultKind::BadGateway, share: 0.1 }];
    let server = serve(Options { faults, ..Options::default() });
    let workspace = Workspace::with_prompts(100);
    let ended = workspace.run_against(&server, &["--attempts", "1", "--concurrency", "4"]);
    let failed = error_outputs(&workspace, 100);
    assert!(!failed.is_empty() && failed.len() < 50, "{failed:?}");
    ended.assert_ended(1, [100 - failed.len() as u64, 0, failed.len() as u64, 0]);
    workspace.assert_answered((1..=100).filter(|prompt| !failed.contains(prompt)));
    assert!(ended.events("paused").is_empty(), "{}", ended.stdout);
    // What fails beside another that is not judged yet is tried again, and is nobody's attempt.
    let retried = ended.summary()["retried"].as_u64().expect("a number");
    assert_eq!(server.log().len() as u64, 100 + retried);
}

#[test]
fn an_empty_account_stops_the_run_and_a_later_one_finishes_it() {
    let latency = Duration::from_millis(20);
    let server = serve(Options { answers_before_quota: Some(20), latency, ..Options::default() });
    let workspace = Workspace::with_prompts(100);
    let ended = workspace.run_against(&server, &["--concurrency", "10"]);
    ended.assert_ended(4, [20, 0, 0, 80]);
    let log = server.log();
    let refused = log.iter().filter(|logged| logged.status == 429).count();
    assert!((1..=10).contains(&refused) && log.len() == 20 + refused, "{refused} of {}", log.len());
    assert!(ended.summary()["stopped_by"].as_str().is_some_and(|why| why.starts_with("quota: ")), "{}", ended.stderr);
    assert_eq!((workspace.without_output().len(), error_outputs(&workspace, 100)), (80, vec![]));
    assert_eq!(workspace.usage().day_tokens, billed(&log));

    server.set_options(Options::default());
    let finished = workspace.run_against(&server, &[]);
    finished.assert_ended(0, [80, 20, 0, 0]);
    workspace.assert_answered(1..=100);
    assert_eq!(server.log().len(), log.len() + 80);
}

#[test]
fn every_billing_error_stops_the_run() {
    for code in QUOTA_CODES {
        for api in ["chat", "responses"] {
            let quota_code = code.to_owned();
            let server = serve(Options { answers_before_quota: Some(0), quota_code, ..Options::default() });
            let workspace = Workspace::with_prompts(5);
            let ended = workspace.run_against(&server, &["--concurrency", "2", "--api", api]);
            ended.assert_ended(4, [0, 0, 0, 5]);
            assert!((1..=2).contains(&server.log().len()), "{code}: {} requests", server.log().len());
            assert!(ended.stderr.contains("quota"), "{code}: {}", ended.stderr);
            assert_eq!(workspace.without_output().len(), 5, "{code}");
            assert_eq!(workspace.usage().day_tokens, 0, "{code}");
        }
    }
}

#[test]
fn a_wrong_key_and_an_unknown_model_stop_the_run() {
    let wrong_key = Options { key: Some("the-right-one".to_owned()), ..Options::default() };
    let unknown_model = Options { known_models: Some(vec!["another".to_owned()]), ..Options::default() };
    for (options, class) in [(wrong_key, "bad_key"), (unknown_model, "model_not_found")] {
        let server = serve(options);
        let workspace = Workspace::with_prompts(30);
        let mut command = workspace.command_against(&server, &["--concurrency", "4"]);
        let key = "sk-test-wrong-0123456789abcdef";
        let ended = common::Ended::run(command.env("OPENAI_API_KEY", key));
        ended.assert_ended(4, [0, 0, 0, 30]);
        assert!((1..=4).contains(&server.log().len()), "{class}: {} requests", server.log().len());
        let why = ended.summary()["stopped_by"].as_str().expect("why").to_owned();
        assert!(why.starts_with(class), "{why}");
        assert!(!why.contains(key) && !ended.stderr.contains(key));
        assert_eq!(workspace.without_output().len(), 30, "{class}");
    }
}

#[test]
fn answers_of_their_own_kind_are_counted_and_written() {
    for api in ["chat", "responses"] {
        for (kind, count) in [(FaultKind::Refusal, "refused"), (FaultKind::Truncated, "truncated")] {
            let server = serve(Options { faults: always(kind), ..Options::default() });
            let workspace = Workspace::with_prompts(3);
            let ended = workspace.run_against(&server, &["--api", api]);
            ended.assert_ended(0, [3, 0, 0, 0]);
            assert_eq!(ended.summary()[count], 3, "{api} {kind}: {}", ended.summary());
            for event in ended.events("done") {
                assert_eq!(event["finish"], count, "{api}");
            }
            let text = workspace.output(1).expect("an answer");
            let whole = answer(MODEL, "Say something short about the number 1.\n");
            match kind {
                FaultKind::Refusal => assert_eq!(text, "I’m sorry, but I can’t help with that.", "{api}"),
                _ => assert!(whole.starts_with(&text) && text.len() < whole.len(), "{api}: {text}"),
            }
            assert_eq!(workspace.usage().day_tokens, billed(&server.log()), "{api} {kind}");
            // It is the answer: nothing is sent again.
            workspace.run_against(&server, &["--api", api]).assert_ended(0, [0, 3, 0, 0]);
        }
    }
}

#[test]
fn answers_without_text_are_failures_and_are_paid_for() {
    for api in ["chat", "responses"] {
        for (kind, class) in [(FaultKind::Empty, "empty_answer"), (FaultKind::Filtered, "content_filter")] {
            let server = serve(Options { faults: always(kind), ..Options::default() });
            let workspace = Workspace::with_prompts(3);
            let ended = workspace.run_against(&server, &["--api", api]);
            ended.assert_ended(1, [0, 0, 3, 0]);
            assert_eq!(server.log().len(), 3, "{api} {kind}: tried again");
            for event in ended.events("failed") {
                assert_eq!(event["class"], class, "{api}");
            }
            let text = workspace.output(2).expect("a line");
            assert!(text.starts_with(&format!("ERROR: {class}: ")), "{api}: {text}");
            assert_eq!(workspace.usage().day_tokens, billed(&server.log()), "{api} {kind}");
        }
    }
}

#[test]
fn the_responses_endpoint_works_from_end_to_end() {
    let server = serve(Options::default());
    let workspace = Workspace::with_prompts(20);
    let ended = workspace.run_against(&server, &["--api", "responses"]);
    ended.assert_ended(0, [20, 0, 0, 0]);
    workspace.assert_answered(1..=20);
    let log = server.log();
    assert!(log.iter().all(|logged| logged.path == "/v1/responses" && logged.status == 200));
    assert_eq!((log.len(), workspace.usage().day_tokens), (20, billed(&log)));
    workspace.run_against(&server, &["--api", "responses"]).assert_ended(0, [0, 20, 0, 0]);
    assert_eq!(server.log().len(), 20);
}

#[test]
fn parameters_reach_the_server_and_change_the_request() {
    for api in ["chat", "responses"] {
        let server = serve(Options::default());
        let workspace = Workspace::with_prompts(1);
        workspace.run_against(&server, &["--api", api]).assert_ended(0, [1, 0, 0, 0]);
        let system = "You answer in one plain sentence, and you never use a list.";
        workspace.run_against(&server, &["--api", api, "--system", system]).assert_ended(0, [1, 0, 0, 0]);
        let cut = workspace.run_against(&server, &["--api", api, "--system", system, "--max-output-tokens", "16"]);
        cut.assert_ended(0, [1, 0, 0, 0]);
        assert_eq!(cut.summary()["truncated"], 1, "{api}: {}", cut.summary());
        let usages: Vec<_> = server.log().iter().map(|logged| logged.usage.expect("billed")).collect();
        assert_eq!(usages.len(), 3, "{api}");
        assert!(usages[1].input_tokens > usages[0].input_tokens + 10, "{api}: {usages:?}");
        assert!(usages[2].output_tokens <= 16 && usages[1].output_tokens > 16, "{api}: {usages:?}");
        assert_eq!(workspace.usage().day_tokens, billed(&server.log()), "{api}");
    }
}
