//! Outages, accounts that are used up for a while, deadlines, and what binds a run: judged by the server's own log.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]
#![allow(clippy::unchecked_time_subtraction, reason = "moments of one log, the later less the earlier")]

mod common;

use std::time::Duration;

use common::{Ended, QUOTA_CODES, Workspace, always, billed, most_within, serve, until};
use promptmill::clock::Clock;
use promptmill::standin::{FaultKind, Logged, Options, Span};

/// No limits of our own: what binds is what the test is about.
const UNLIMITED: [&str; 4] = ["--requests-per-minute", "0", "--tokens-per-minute", "0"];

const SECOND: Duration = Duration::from_secs(1);

/// The requests that arrived in `span`, which counts from the first of them.
fn within(log: &[Logged], span: Span) -> Vec<&Logged> {
    log.iter().filter(|logged| span.contains(logged.arrived - log[0].arrived)).collect()
}

/// So many prompts, and an outage of six seconds in their middle: first 503s, then connections that are cut and refused.
#[track_caller]
fn an_outage(prompts: u64, latency: Duration, concurrency: &[&str]) {
    let outage = Span { from: SECOND, lasts: 6 * SECOND };
    let server = serve(Options { outages: vec![outage], latency, ..Options::default() });
    let workspace = Workspace::with_prompts(prompts);
    // With one attempt, a prompt that is charged for the outage fails.
    let ended = workspace.run_against(&server, &[&["--attempts", "1"], concurrency].concat());
    ended.assert_ended(0, [prompts, 0, 0, 0]);
    workspace.assert_answered(1..=prompts);
    let log = server.log();
    let during = within(&log, outage);
    let before = log.iter().position(|logged| logged.status != 200).unwrap_or(log.len());
    // It was in the middle.
    assert!(before > 20 && (before as u64) < prompts / 2, "{before} before the outage");
    assert!((1..=45).contains(&during.len()), "{} requests in the outage", during.len());
    assert!(during.iter().all(|logged| logged.status == 503));
    // What was answered before the cut arrived before the cut: nothing is paid twice.
    assert_eq!(log.len() as u64, prompts + during.len() as u64);
    // A probe whose connection is cut may have been billed, and counts as if it were.
    let unknown = ended.summary()["unknown_tokens"].as_u64().expect("a number");
    assert_eq!(workspace.usage().day_tokens, billed(&log) + unknown);
    let paused = ended.events("paused");
    assert!(!paused.is_empty() && paused.iter().all(|event| event["cause"] == "outage"), "{paused:?}");
    let resumed = ended.events("resumed");
    assert!(resumed.len() == 1 && resumed[0]["cause"] == "outage", "{resumed:?}");
}

#[test]
fn an_outage_costs_a_few_requests_and_no_attempt() {
    an_outage(2_000, Duration::from_millis(25), &[&UNLIMITED[..], &["--concurrency", "20"]].concat());
}

#[test]
fn an_outage_costs_a_few_requests_where_concurrency_is_found() {
    // 100 a second of 10 ms each are one in flight, and room for slower ones.
    let paced = ["--requests-per-minute", "100", "--window", "1s", "--pacing", "smooth"];
    an_outage(600, Duration::from_millis(10), &paced);
}

#[test]
fn a_server_that_is_back_is_met_softly_though_it_is_known() {
    let known = Options { requests_per_minute: Some(10_000), ..Options::default() };
    let server = serve(known.clone());
    let workspace = Workspace::with_prompts(201);
    workspace.run_against(&server, &[&UNLIMITED[..], &["--only", "201"]].concat()).assert_ended(0, [1, 0, 0, 0]);
    let away = Options { faults: always(FaultKind::Overloaded), ..known.clone() };
    server.set_options(away);
    let child = workspace.command_against(&server, &UNLIMITED).spawn().expect("started");
    until("a crowd", || server.log().len() > 200);
    server.set_options(known);
    Ended::of(child).assert_ended(0, [200, 1, 0, 0]);
    workspace.assert_answered(1..=201);
    let log = server.log();
    let answered = log.iter().skip(1).filter(|logged| logged.status == 200);
    let back: Vec<_> = answered.map(|logged| logged.arrived).collect();
    assert_eq!(back.len(), 200);
    // When the first, which asks whether it is back, is answered, one follows, then two, and so on: no crowd of 199.
    let crowd = most_within(&back[..100], Duration::from_millis(50));
    assert!(crowd <= 90, "{crowd} at once");
}

#[test]
fn an_account_that_is_used_up_is_asked_by_one_probe_at_a_time() {
    for code in QUOTA_CODES {
        let used_up = Span { from: Duration::from_millis(300), lasts: Duration::from_millis(1_200) };
        let latency = Duration::from_millis(50);
        let quota_code = code.to_owned();
        let server = serve(Options { quota_outages: vec![used_up], quota_code, latency, ..Options::default() });
        let workspace = Workspace::with_prompts(100);
        let args = ["--concurrency", "10", "--attempts", "1", "--on-quota", "wait", "--quota-wait", "200ms"];
        let ended = workspace.run_against(&server, &args);
        ended.assert_ended(0, [100, 0, 0, 0]);
        workspace.assert_answered(1..=100);
        let log = server.log();
        let during = within(&log, used_up);
        assert!(during.iter().all(|logged| logged.status == 429), "{code}");
        let first = during.first().expect("it was asked").arrived;
        // At the most those in flight come before the first refusal is heard; no probe leaves before the first wait is over.
        let wait = Duration::from_millis(200);
        let burst = during.iter().filter(|logged| logged.arrived < first + wait).count();
        assert!(burst <= 10, "{code}: {burst} requests at once");
        // Then one at a time, each after twice the wait of the one before it.
        let asked: Vec<_> = during.iter().map(|logged| logged.arrived).skip(burst - 1).collect();
        assert!(asked.len() >= 2, "{code}: no probe while it was used up");
        let mut least = wait;
        for pair in asked.windows(2) {
            // That of the first probe counts from the first refusal.
            let since = if least == wait { first } else { pair[0] };
            assert!(pair[1] - since >= least, "{code}: {asked:?}");
            least *= 2;
        }
        // The probe that is answered is alone too, until its answer.
        let after: Vec<_> = log.iter().filter(|logged| logged.arrived - log[0].arrived >= used_up.end()).collect();
        assert!(after[1].arrived - after[0].arrived >= latency, "{code}");
        assert!(after.iter().all(|logged| logged.status == 200));
        let causes = |name| ended.events(name).iter().map(|event| event["cause"].clone()).collect::<Vec<_>>();
        assert!(causes("paused").len() >= 2 && causes("paused").iter().all(|cause| cause == "quota"), "{code}");
        assert_eq!(causes("resumed"), ["quota"], "{code}");
        assert_eq!(workspace.usage().day_tokens, billed(&log), "{code}");
    }
}

#[test]
fn pauses_and_their_ends_are_journalled() {
    let used_up = Span { from: Duration::from_millis(50), lasts: Duration::from_millis(400) };
    let server =
        serve(Options { quota_outages: vec![used_up], latency: Duration::from_millis(40), ..Options::default() });
    let workspace = Workspace::with_prompts(40);
    let args = ["--concurrency", "5", "--on-quota", "wait", "--quota-wait", "200ms"];
    let ended = workspace.run_against(&server, &args);
    ended.assert_ended(0, [40, 0, 0, 0]);
    let text = workspace.run_to(0, &["status", "-v", "--base-url", &server.base_url()]).stdout;
    for (name, said) in [("paused", "the account's quota is used up"), ("resumed", "continuing")] {
        let events = ended.events(name);
        assert!(!events.is_empty(), "{name}");
        assert!(text.contains(said), "{name}: {text}");
    }
}

#[test]
fn a_server_that_stays_away_ends_the_run_with_the_rest_pending() {
    for kind in [FaultKind::ServerError, FaultKind::Overloaded] {
        let server = serve(Options { faults: always(kind), ..Options::default() });
        let workspace = Workspace::with_prompts(200);
        let ended = workspace.run_against(&server, &["--give-up-after", "2s", "--attempts", "2"]);
        ended.assert_ended(4, [0, 0, 0, 200]);
        let why = ended.summary()["stopped_by"].as_str().expect("why").to_owned();
        assert!(why.contains("give_up_after"), "{why}");
        assert_eq!(workspace.without_output().len(), 200, "{kind}");
        assert!(server.log().len() <= 30, "{kind}: {} requests", server.log().len());
        if kind == FaultKind::Overloaded {
            // A 500 may have been billed; a 503 has not.
            assert_eq!(workspace.usage().day_tokens, 0, "{kind}");
        }
        // It is back: no attempt was used up.
        server.set_options(Options::default());
        workspace.run_against(&server, &["--attempts", "1"]).assert_ended(0, [200, 0, 0, 0]);
        workspace.assert_answered(1..=200);
    }
}

#[test]
fn nobody_there_at_all_ends_the_run_with_the_rest_pending() {
    let server = serve(Options::default());
    let base_url = server.base_url();
    server.stop();
    let workspace = Workspace::with_prompts(20);
    let args = ["run", "--json", "--base-url", &base_url, "--give-up-after", "2s", "--attempts", "1"];
    let ended = workspace.run(&args);
    ended.assert_ended(4, [0, 0, 0, 20]);
    assert!(
        ended.summary()["stopped_by"].as_str().is_some_and(|why| why.contains("give_up_after")),
        "{}",
        ended.stderr
    );
    assert_eq!((workspace.without_output().len(), workspace.usage().day_tokens), (20, 0));
}

#[test]
fn a_run_ends_at_its_deadline_with_the_rest_pending() {
    for flag in ["--for", "--until"] {
        let until = (Clock::default().now().wall + chrono::TimeDelta::seconds(2)).to_rfc3339();
        let deadline = [flag, if flag == "--for" { "1s" } else { &until }];
        let latency = Duration::from_millis(200);
        let server = serve(Options { latency, ..Options::default() });
        let workspace = Workspace::with_prompts(500);
        let ended = workspace.run_against(&server, &[&deadline[..], &["--concurrency", "4"]].concat());
        let log = server.log();
        let done = log.len() as u64;
        ended.assert_ended(5, [done, 0, 0, 500 - done]);
        assert!(done > 0 && done < 500, "{deadline:?}: {done}");
        // What was in flight was waited for, and is not paid for again.
        workspace.assert_answered(1..=done);
        assert_eq!(workspace.without_output().len() as u64, 500 - done);
        assert_eq!(workspace.usage().day_tokens, billed(&log));
        assert!(
            ended.summary()["stopped_by"].as_str().is_some_and(|why| why.contains("--until or --for")),
            "{}",
            ended.stderr
        );
        assert_eq!(ended.events("stopping").len(), 1);
        server.set_options(Options::default());
        workspace.run_against(&server, &UNLIMITED).assert_ended(0, [500 - done, done, 0, 0]);
        workspace.assert_answered(1..=500);
    }
}

#[test]
fn a_deadline_ends_a_run_that_waits() {
    let server = serve(Options::default());
    let workspace = Workspace::with_prompts(20);
    let ended = workspace.run_against(&server, &["--requests-per-minute", "5", "--for", "1s"]);
    ended.assert_ended(5, [5, 0, 0, 15]);
    assert_eq!(server.log().len(), 5);
    workspace.assert_answered(1..=5);
}

#[test]
fn no_more_are_in_flight_than_are_set() {
    let latency = Duration::from_millis(100);
    let server = serve(Options { latency, ..Options::default() });
    let workspace = Workspace::with_prompts(60);
    workspace.run_against(&server, &["--concurrency", "5"]).assert_ended(0, [60, 0, 0, 0]);
    // A place is free when an answer has left: no span as short as an answer has six arrivals.
    let log = server.log();
    for six in log.windows(6) {
        assert!(six[5].arrived - six[0].arrived >= latency, "{six:?}");
    }
}
