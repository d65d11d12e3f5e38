//! `usage.md` while a run goes on: what it counts, and what happens when it cannot be written.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use common::{Ended, Watchdog, Workspace, always, billed, serve, until};
use promptmill::admit::ledger::Amount;
use promptmill::admit::usage_md::Face;
use promptmill::clock::Clock;
use promptmill::standin::{FaultKind, Options, Server};
use serde_json::Value;

#[test]
fn a_prompt_that_was_never_sent_is_no_request() {
    let server = serve(Options { latency: Duration::from_millis(300), ..Options::default() });
    let mut workspace = Workspace::with_prompts(2);
    let child = workspace.command_against(&server, &["--concurrency", "1"]).spawn().expect("started");
    until("the first request", || server.log().len() == 1);
    workspace.write_prompt(2, "Something else.\n");
    let ended = Ended::of(child);
    ended.assert_ended(1, [1, 0, 1, 0]);
    assert_eq!((ended.events("failed")[0]["class"].as_str(), server.log().len()), (Some("changed"), 1));
    assert_eq!(ended.summary()["requests"], 1);
    let usage = workspace.usage();
    assert_eq!((usage.minute.requests, usage.day_tokens), (1, billed(&server.log())));
}

/// A run with one request that is never answered, and what it says.
struct Hanging {
    child: std::process::Child,
    events: std::io::Lines<BufReader<std::process::ChildStdout>>,
    _watchdog: Watchdog,
}

impl Hanging {
    fn start(workspace: &Workspace, server: &Server, args: &[&str]) -> Self {
        let mut child = workspace.command_against(server, args).spawn().expect("started");
        let events = BufReader::new(child.stdout.take().expect("piped")).lines();
        until("the request", || server.log().len() == 1);
        until("usage.md", || workspace.path("usage.md").exists());
        Self { _watchdog: Watchdog::over(&child), child, events }
    }

    /// The next warning that the run gives.
    fn warning(&mut self) -> String {
        let is_warning = |event: &Value| event["event"] == "warning";
        let mut events =
            self.events.by_ref().map(|line| serde_json::from_str(&line.expect("a line")).expect("an event"));
        let warning = events.find(is_warning).expect("a warning");
        warning["message"].as_str().expect("text").to_owned()
    }

    /// Kills it; the warnings that were left.
    fn end(mut self) -> Vec<String> {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
        let rest = self.events.filter_map(|line| serde_json::from_str(&line.ok()?).ok());
        rest.filter(|event: &Value| event["event"] == "warning").map(|event| event["message"].to_string()).collect()
    }
}

#[test]
fn a_usage_md_that_cannot_be_written_is_written_again_as_soon_as_it_can() {
    let server = serve(Options { faults: always(FaultKind::Hang), ..Options::default() });
    let workspace = Workspace::with_prompts(1);
    let mut run = Hanging::start(&workspace, &server, &[]);
    let usage = workspace.path("usage.md");
    let is_there = || fs::read_to_string(&usage).is_ok_and(|text| text.contains("requests_within_min = 1\n"));
    until("the request in usage.md", is_there);
    for _ in 0..2 {
        until("a folder in its place", || fs::remove_file(&usage).and_then(|()| fs::create_dir(&usage)).is_ok());
        let said = run.warning();
        assert!(said.starts_with("usage.md cannot be read: "), "{said}");
        fs::remove_dir(&usage).expect("removed");
        until("usage.md again", is_there);
    }
    assert_eq!(run.end(), Vec::<String>::new());
}

#[test]
fn a_usage_md_that_is_damaged_in_a_run_is_left_alone_until_it_is_mended() {
    let server = serve(Options { faults: always(FaultKind::Hang), ..Options::default() });
    let workspace = Workspace::with_prompts(1);
    let mut run = Hanging::start(&workspace, &server, &["--window", "1s"]);
    let usage = workspace.path("usage.md");
    until("the request in usage.md", || workspace.usage().day_tokens > 0);
    let before = workspace.usage();
    workspace.write("usage.md", "my notes\n");
    let said = run.warning();
    assert!(said.contains("usage.md is damaged") && said.contains("line 1"), "{said}");
    assert_eq!(workspace.read("usage.md"), "my notes\n");
    // All at once, as an editor does it.
    let mended = Face { day_tokens: 4_000, minute: Amount::request(70), ..before };
    workspace.write("mended", mended.to_string());
    fs::rename(workspace.path("mended"), &usage).expect("placed");
    // They hold, and are written again as soon as their minute is over.
    until("the mended numbers", || {
        let usage = workspace.usage();
        (usage.minute, usage.day_tokens) == (Amount::default(), 4_000)
    });
    assert_eq!(run.end(), Vec::<String>::new());
}

#[test]
fn the_numbers_of_an_edit_count_from_the_time_of_the_edit() {
    let server = serve(Options::default());
    let used_up = "tokens_within_min = 0\nrequests_within_min = 500\ntokens_within_day = 0\n\
        minute_token_limit_reached = 0\nday_token_limit_reached = 0\nDate = 2026-01-01\n";
    let args = ["--requests-per-minute", "500", "--for", "1s"];
    // Seconds since the edit, and those that are left of its minute.
    for (age, left) in [(0, 61), (45, 16)] {
        let workspace = Workspace::with_prompts(3);
        workspace.write("usage.md", used_up);
        set_age(&workspace, age);
        let plan = workspace.run_to(0, &["plan", "--json", "--base-url", &server.base_url()]).stdout;
        let ended = workspace.run_against(&server, &args);
        ended.assert_ended(5, [0, 0, 0, 3]);
        let plan: Value = serde_json::from_str(&plan).expect("JSON");
        for seconds in [&plan["last_request_in_seconds"], &ended.events("waiting")[0]["seconds"]] {
            let seconds = seconds.as_f64().expect("a number");
            // However slow this machine is, the wait becomes only shorter.
            assert!(seconds <= f64::from(left) && seconds > f64::from(left) - 15.0, "{seconds} s after {age} s");
        }
    }
    let workspace = Workspace::with_prompts(3);
    workspace.write("usage.md", used_up);
    set_age(&workspace, 120);
    let ended = workspace.run_against(&server, &args);
    ended.assert_ended(0, [3, 0, 0, 0]);
    assert!(ended.events("waiting").is_empty(), "{}", ended.stdout);
}

fn set_age(workspace: &Workspace, seconds: i64) {
    let edited = Clock::default().now().wall - chrono::TimeDelta::seconds(seconds);
    let file = fs::File::options().write(true).open(workspace.path("usage.md")).expect("there");
    file.set_modified(edited.into()).expect("dated");
}
