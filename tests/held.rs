//! Another program holds the state file: a run waits for it visibly, before, while and after it sends, and keeps what is finished meanwhile.
#![cfg(all(unix, debug_assertions))]
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command};
use std::time::Duration;

use common::{Ended, Watchdog, Workspace, serve, signal, stopped, until};
use promptmill::standin::{Options, Server};
use rusqlite::Connection;
use rustix::process::Signal;

const PROMPTS: u64 = 20;

fn server() -> Server {
    serve(Options { latency: Duration::from_millis(50), ..Options::default() })
}

/// Holds the state file until it is dropped.
struct Held(Connection);

impl Held {
    fn take(workspace: &Workspace) -> Self {
        let connection = Connection::open(workspace.path(".promptmill/usage.db")).expect("the state file");
        connection.busy_timeout(Duration::from_secs(30)).expect("set");
        connection.execute_batch("BEGIN IMMEDIATE").expect("held");
        Self(connection)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.execute_batch("ROLLBACK").expect("given back");
    }
}

/// Reads stderr up to a line that has `part` in it.
fn says(stderr: &mut impl BufRead, part: &str) -> String {
    let mut said = String::new();
    loop {
        let before = said.len();
        assert_ne!(stderr.read_line(&mut said).expect("UTF-8"), 0, "it ended before {part:?}: {said}");
        if said[before..].contains(part) {
            return said;
        }
    }
}

/// Starts `command`, does `meanwhile` to it when it has said that the file is held, and waits for its end.
fn held_then(command: &mut Command, before: impl FnOnce(&Child), meanwhile: impl FnOnce(&Child)) -> Ended {
    let mut child = command.spawn().expect("it starts");
    let watchdog = Watchdog::over(&child);
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    before(&child);
    let mut said = says(&mut stderr, "is held by another program");
    meanwhile(&child);
    for line in stderr.lines() {
        said.push_str(&line.expect("UTF-8"));
        said.push('\n');
    }
    drop(watchdog);
    let mut ended = Ended::of(child);
    ended.stderr = said;
    ended
}

#[test]
fn it_is_waited_for_before_anything_is_sent() {
    let (workspace, server) = (Workspace::with_prompts(PROMPTS), server());
    workspace.run_against(&server, &["--only", "1"]).assert_ended(0, [1, 0, 0, 0]);
    let mut held = Some(Held::take(&workspace));
    let ended = held_then(&mut workspace.command_against(&server, &[]), |_| (), |_| drop(held.take()));
    ended.says(&[
        "usage.db is held by another program; waiting for it, at the latest until ",
        "the state file works again",
    ]);
    ended.assert_ended(0, [PROMPTS - 1, 1, 0, 0]);
    // As long as it may be.
    let _held = Held::take(&workspace);
    let ended = workspace.run_against(&server, &["--give-up-after", "1s"]);
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    ended.says(&["error: the state file", "usage.db is held by another program"]);
    assert_eq!(server.log().len() as u64, PROMPTS);
}

#[test]
fn it_is_waited_for_at_the_end_and_no_longer_than_a_signal_comes() {
    for interrupted in [false, true] {
        let (workspace, server) = (Workspace::with_prompts(3), server());
        let mut command = workspace.command_against(&server, &[]);
        let held = RefCell::new(None);
        let take = |child: &Child| {
            stopped(child);
            held.replace(Some(Held::take(&workspace)));
            signal(child, Signal::CONT);
        };
        let ended = held_then(command.env("TEST_STOP", "end"), take, |child| {
            if interrupted {
                signal(child, Signal::INT);
            } else {
                drop(held.take());
            }
        });
        assert_eq!(ended.code, Some(if interrupted { 130 } else { 0 }), "{ended:#?}");
    }
}

#[test]
fn another_run_that_is_stopped_while_it_writes_is_waited_for() {
    let (workspace, server) = (Workspace::with_prompts(PROMPTS), server());
    let args = ["--concurrency", "4"];
    let other = ["--outputs", "others", "--concurrency", "4"];
    let mut other =
        workspace.command_against(&server, &other).env("TEST_STOP", "transaction:6").spawn().expect("it starts");
    let _watchdog = Watchdog::over(&other);
    stopped(&other);
    let ended = held_then(&mut workspace.command_against(&server, &args), |_| (), |_| signal(&other, Signal::CONT));
    ended.assert_ended(0, [PROMPTS, 0, 0, 0]);
    workspace.assert_answered(1..=PROMPTS);
    let mut rest = Vec::new();
    std::io::Read::read_to_end(other.stdout.as_mut().expect("piped"), &mut rest).expect("read");
    assert!(other.wait().expect("it ends").success());
}

#[test]
fn what_is_finished_is_kept_while_another_holds_the_file() {
    let (workspace, server) = (Workspace::with_prompts(PROMPTS), server());
    let held = RefCell::new(None);
    let mut command = workspace.command_against(&server, &["--concurrency", "4"]);
    let take = |_: &Child| {
        until("requests", || server.log().len() >= 6);
        held.replace(Some(Held::take(&workspace)));
    };
    let ended = held_then(&mut command, take, |child| {
        // Told to end, it still keeps what is paid for.
        signal(child, Signal::INT);
        until("the answers", || workspace.without_output().len() as u64 + server.log().len() as u64 == PROMPTS);
        drop(held.take());
    });
    let sent = server.log().len() as u64;
    ended.assert_ended(130, [sent, 0, 0, PROMPTS - sent]);
    workspace.run_against(&server, &[]).assert_ended(0, [PROMPTS - sent, sent, 0, 0]);
    assert_eq!(server.log().len() as u64, PROMPTS);
}

#[test]
fn what_is_learned_and_noted_meanwhile_is_kept_too() {
    let (latency, requests_per_minute) = (Duration::from_millis(500), Some(500));
    let workspace = Workspace::with_prompts(4);
    let server = serve(Options { latency, requests_per_minute, ..Options::default() });
    let held = RefCell::new(None);
    let take = |_: &Child| {
        // The limit is told by the answers.
        until("requests", || server.log().len() == 4);
        held.replace(Some(Held::take(&workspace)));
    };
    let url = server.base_url();
    let ended = held_then(&mut workspace.command_against(&server, &[]), take, |_| drop(held.take()));
    ended.assert_ended(0, [4, 0, 0, 0]);
    let limits = workspace.run_to(0, &["limits", "--base-url", &url]).stdout;
    assert!(limits.contains("500 requests a minute"), "{limits}");
    let status = workspace.run_to(0, &["status", "-v", "--json", "--base-url", &url]).stdout;
    for name in ["limit_learned", "holding", "released"] {
        assert_eq!(ended.events(name).len(), 1, "{}", ended.stdout);
        assert!(status.contains(&format!("\\\"event\\\":\\\"{name}\\\"")), "no {name} in {status}");
    }
}
