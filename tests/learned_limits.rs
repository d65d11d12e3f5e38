//! The commands around learned limits, deadlines and priorities, as a person uses them.

#![expect(clippy::expect_used, reason = "helpers of tests, outside of test functions")]

mod common;

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use common::{Ended, Workspace};
use promptmill::admit::hint::{LearnedLimit, Source, Unit};
use promptmill::clock::{Day, Mono, Now};
use promptmill::model::{Limits, Secret};
use promptmill::record::{self, RunInfo, Store};
use promptmill::record::{Endpoint, endpoint};
use promptmill::report::event::Event;
use promptmill::standin::{Options, Server};
use serde_json::Value;

const URL: &str = "http://127.0.0.1:9/v1";

fn now() -> Now {
    let wall: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().expect("a date");
    Now { mono: Mono(7), wall, day: Day::of(wall, &Utc) }
}

fn store(workspace: &Workspace) -> Box<dyn Store> {
    record::open(&workspace.path("usage.md"), Limits::default(), "boot".to_owned(), &now()).expect("a store")
}

fn limit(size: f64) -> LearnedLimit {
    LearnedLimit {
        unit: Unit::Tokens,
        group: None,
        size,
        window: Duration::from_secs(60),
        burst: Duration::from_secs(60),
        source: Source::Refusal,
        learned: now().wall,
    }
}

/// A workspace whose state knows a limit of `URL` without a key, and one of another model.
fn learned() -> (Workspace, Endpoint) {
    let workspace = Workspace::with_prompts(1);
    let here = endpoint(URL, None, "gpt-4o-mini");
    let mut store = store(&workspace);
    store.learn(&here, &[limit(10_000.0)]).expect("learned");
    store.learn(&endpoint(URL, None, "gpt-4o"), &[limit(20_000.0)]).expect("learned");
    (workspace, here)
}

#[test]
fn limits_are_shown_and_forgotten() {
    let (workspace, _) = learned();
    let run = |args: &[&str]| workspace.run_to(0, &[args, &["--base-url", URL]].concat()).stdout;
    let shown = run(&["limits"]);
    assert!(shown.starts_with(
        "gpt-4o-mini at http://127.0.0.1:9/v1 without a key\n  10,000 tokens a minute, learned 2026-11-2"
    ));
    assert!(shown.ends_with(" from a 429\n") && !shown.contains("20,000"), "{shown}");
    assert!(run(&["limits", "--model", "gpt-4o"]).contains("20,000 tokens a minute"));
    assert!(run(&["limits", "--model", "o3"]).contains("nothing learned"));
    let all = run(&["limits", "--all"]);
    assert!(all.contains("10,000") && all.contains("20,000"), "{all}");

    assert!(run(&["limits", "forget"]).starts_with("1 learned limit forgotten of gpt-4o-mini at"));
    assert!(run(&["limits"]).contains("nothing learned"));
    assert_eq!(run(&["limits", "forget", "--all"]), "1 learned limit forgotten\n");
    assert_eq!(run(&["limits", "forget", "--all"]), "0 learned limits forgotten\n");
    workspace.run_to(2, &["limits", "remember"]);
}

#[test]
fn limits_belong_to_their_key_which_is_not_kept() {
    let workspace = Workspace::with_prompts(0);
    let with_key = |key: &str, args: &[&str]| Ended::run(workspace.command(args).env("OPENAI_API_KEY", key)).stdout;
    let key = Secret::new("sk-verysecret");
    let mut store = store(&workspace);
    store.learn(&endpoint(URL, key.as_ref(), "gpt-4o-mini"), &[limit(10_000.0)]).expect("learned");
    drop(store);
    let shown = with_key("sk-verysecret", &["limits", "--base-url", URL]);
    assert!(shown.contains("10,000") && !shown.contains("verysecret"), "{shown}");
    assert!(with_key("sk-other", &["limits", "--base-url", URL]).contains("nothing learned"));
    for (path, bytes) in workspace.everything() {
        let holds = bytes.is_some_and(|bytes| bytes.windows(10).any(|part| part == b"verysecret"));
        assert!(!holds, "the key is in {}", path.display());
    }
}

#[test]
fn forgetting_makes_no_state() {
    let workspace = Workspace::with_prompts(0);
    let before = workspace.everything();
    assert_eq!(workspace.run_to(0, &["limits", "forget", "--all"]).stdout, "0 learned limits forgotten\n");
    assert!(workspace.run_to(0, &["limits", "--all"]).stdout.contains("nothing learned"));
    assert!(workspace.everything() == before);
}

#[test]
fn status_shows_learned_limits_and_the_last_notes() {
    let (workspace, _) = learned();
    std::fs::create_dir(workspace.path("outputs")).expect("made");
    let outputs = std::fs::canonicalize(workspace.path("outputs")).expect("there").to_string_lossy().into_owned();
    let mut store = store(&workspace);
    let info = RunInfo { outputs, model: "gpt-4o-mini".to_owned(), rehearsal: false, pid: 1 };
    store.start_run(&info, &now()).expect("a run");
    let notes: Vec<_> = (1..=25).map(|number| (now().wall, format!("cut number {number}"))).collect();
    store.note(&notes).expect("noted");
    let learned = Event::LimitLearned { limit: limit(10_000.0) }.to_json();
    store.note(&[(now().wall, learned.clone())]).expect("noted");
    drop(store);
    let run = |args: &[&str]| workspace.run_to(0, &[args, &["--base-url", URL]].concat()).stdout;
    let text = run(&["status"]);
    assert!(text.contains("server: 10,000 tokens a minute, learned 2026-11-2"), "{text}");
    assert!(!text.contains("cut number"), "{text}");
    let text = run(&["status", "-v"]);
    // What this version has noted reads as the run told it; the rest stands as it is.
    assert!(text.contains("cut number 7\n") && text.contains("cut number 25\n"), "{text}");
    assert!(!text.contains("cut number 6\n"), "{text}");
    let last = text.lines().last().expect("a line");
    assert!(
        last.contains(" the server allows 10,000 tokens a minute, learned ") && last.ends_with("from a 429"),
        "{text}"
    );
    let json: Value = serde_json::from_str(&run(&["status", "-v", "--json"])).expect("JSON");
    assert_eq!((&json["learned"][0]["size"], &json["learned"][0]["unit"]), (&10_000.0.into(), &"tokens".into()));
    assert_eq!((&json["learned"][0]["window_seconds"], &json["learned"][1]), (&60.0.into(), &Value::Null));
    assert_eq!((json["notes"].as_array().map(Vec::len), &json["notes"][19]["event"]), (Some(20), &learned.into()));
}

#[test]
fn a_share_of_the_day_ends_the_run_and_the_messages_say_so() {
    let workspace = Workspace::with_prompts(2);
    let flags = ["--offline", "--requests-per-day", "2", "--pause-at", "0.5", "--on-day-limit", "exit"];
    let ran = workspace.run_to(5, &flags);
    ran.says(&["a day limit is reached (paused at 50 %)"]);
    ran.closes("2 prompts = 1 done + 0 up to date + 0 failed + 1 pending");
    let status = workspace.run_to(0, &["status", "--requests-per-day", "2", "--pause-at", "0.5"]).stdout;
    assert!(status.contains("requests_per_day                1 of 2, pausing at 1, free in"), "{status}");
}

#[test]
fn a_higher_priority_is_sent_first_and_the_plan_shows_it() {
    let workspace = Workspace::with_prompts(4);
    let priorities = ["--priorities", "3=5;1=-1"];
    let plan = workspace.run_to(0, &[&["plan", "--offline", "-v"], priorities.as_slice()].concat()).stdout;
    let order: Vec<_> = plan.lines().filter(|line| line.starts_with("  prompt ")).collect();
    let begins = ["  prompt 3: ", "  prompt 2: ", "  prompt 4: ", "  prompt 1: "];
    assert!(order.len() == 4 && order.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)), "{plan}");
    assert!(order[0].ends_with("new, priority 5") && order[1].ends_with("new") && order[3].ends_with(", priority -1"));

    // Only the first two may be sent.
    let limit = ["--offline", "--requests-per-day", "2", "--on-day-limit", "exit"];
    workspace.run_to(5, &[limit.as_slice(), &priorities].concat());
    let sent = [1, 2, 3, 4].map(|prompt| workspace.path(&format!("outputs/{prompt}_output.txt")).exists());
    assert_eq!(sent, [false, true, true, false]);
}

#[test]
fn plan_within_recommends_a_number_or_names_the_limit() {
    let workspace = Workspace::with_prompts(3);
    let plan = |args: &[&str]| workspace.run_to(0, &[&["plan", "--within"], args].concat()).stdout;
    let text = plan(&["10s", "--offline"]);
    // 0.3 a second, each 5 s, and a fifth more.
    let expected =
        "within 10 s: 0.30 requests a second, which --concurrency 2 gives (no answers yet; assuming 5.0 s)\n";
    assert!(text.ends_with(expected), "{text}");
    let slow = ["1m", "--offline", "--requests-per-minute", "1"];
    let text = plan(&slow);
    assert!(text.contains("within 1m 0s: not possible under requests_per_minute of 1; it takes 2m 5s"), "{text}");
    let json: Value = serde_json::from_str(&plan(&[slow.as_slice(), &["--json"]].concat())).expect("JSON");
    assert_eq!(json["within"]["impossible"]["limit"], "requests_per_minute");

    // Once there are answers, their mean is taken: at least what the server waits.
    let options = Options { latency: Duration::from_millis(150), ..Options::default() };
    let server = Server::start_thread(options).expect("a server");
    let url = server.base_url();
    workspace.run_to(0, &["--base-url", &url]);
    let json: Value = serde_json::from_str(&plan(&["10s", "--base-url", &url, "--force", "--json"])).expect("JSON");
    assert_eq!(json["within"]["answer_is_known"], true);
    assert!(json["within"]["answer_seconds"].as_f64().expect("seconds") >= 0.15, "{json}");
}

#[test]
fn a_deadline_that_is_none_is_refused_before_anything_is_sent() {
    let workspace = Workspace::with_prompts(1);
    for (flags, says) in
        [(["--until", "25:00"], "07:00"), (["--until", "2020-01-01T07:00"], "has passed"), (["--for", "0s"], "over 0")]
    {
        workspace.run_to(2, &[["--offline"].as_slice(), &flags].concat()).says(&[says]);
        assert!(!Path::new(&workspace.path("outputs/1_output.txt")).exists());
    }
    workspace.run_to(0, &["--offline", "--for", "2h"]);
}

#[test]
fn a_plan_goes_by_what_is_known_of_the_server() {
    let workspace = Workspace::with_prompts(70);
    let here = endpoint(URL, None, "gpt-4o-mini");
    let plan = |args: &[&str]| workspace.run_to(0, &[&["plan", "--base-url", URL], args].concat()).stdout;
    let thirty = |source| LearnedLimit { unit: Unit::Requests, source, ..limit(30.0) };
    assert!(plan(&[]).contains("no limit applies"));
    store(&workspace).learn(&here, &[thirty(Source::Headers)]).expect("learned");
    let text = plan(&["--within", "1m"]);
    assert!(
        text.contains(
            "time:   the server's 30 requests a minute is the limit, 40 waits; the last request is sent after 1m 20s "
        ),
        "{text}"
    );
    assert!(
        text.contains(
            "within 1m 0s: not possible under the server's 30 requests a minute; it takes 1m 25s (no answers"
        ),
        "{text}"
    );
    let json: Value = serde_json::from_str(&plan(&["--within", "1m", "--json"])).expect("JSON");
    let known = serde_json::to_value(thirty(Source::Headers)).expect("JSON");
    assert_eq!((&json["waits_for"], &json["within"]["impossible"]["limit"]), (&known, &known));
    let json: Value = serde_json::from_str(&plan(&["--requests-per-minute", "9", "--json"])).expect("JSON");
    assert_eq!(json["waits_for"], "requests_per_minute");
    // A guess is said to be one, and a bound on requests at a time goes by the time of an answer.
    store(&workspace).learn(&here, &[thirty(Source::Estimate)]).expect("learned");
    assert!(plan(&[]).contains("time:   the server's estimated 30 requests a minute is the limit, "));
    let two = LearnedLimit { unit: Unit::InFlight, ..limit(2.0) };
    store(&workspace).learn(&here, &[two]).expect("learned");
    let text = plan(&[]);
    assert!(
        text.contains(
            "time:   the server's 2 requests at a time is the limit, 34 waits; the last request is sent after 2m 50s "
        ),
        "{text}"
    );
}
