//! A thread or task that dies in the middle of a run is heard of: the run ends at once with a sentence, code 1 and a sum that is true, and the next
//! run completes it.
#![cfg(all(unix, debug_assertions))]
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::Command;
use std::time::Duration;

use common::{Ended, Watchdog, Workspace, serve, signal, stopped, until};
use promptmill::standin::{Options, Server};
use rustix::process::Signal;

const PROMPTS: u64 = 40;
const IN_FLIGHT: u64 = 8;

/// Long enough for a run of all prompts to last some ticks.
fn slow() -> Server {
    serve(Options { latency: Duration::from_millis(100), ..Options::default() })
}

fn panicking(workspace: &Workspace, server: &Server, at: &str) -> Command {
    let mut command = workspace.command_against(server, &["-v", "--concurrency", &IN_FLIGHT.to_string()]);
    command.env("TEST_PANIC", at);
    command
}

/// The run has ended as one ends whose `part` has died, and a next run completes it.
#[track_caller]
fn assert_heard_of(workspace: &Workspace, server: &Server, ended: &Ended, part: &str) {
    let [done, up_to_date, failed, pending] = ended.counts();
    assert_eq!((ended.code, up_to_date, failed), (Some(1), 0, 0), "{part}: {ended:#?}");
    assert!(pending > 0, "it was over before: {ended:#?}");
    ended.says(&[
        "ended early: ",
        part,
        "ended unexpectedly (src/",
        ": a test wants it): this is a bug, please report it",
        "run again",
    ]);
    assert!(!ended.stderr.contains("panicked at") && !ended.stderr.contains("RUST_BACKTRACE"), "{ended:#?}");
    assert_eq!(ended.events("done").len() as u64, done, "{ended:#?}");
    let next = workspace.run_against(server, &[]);
    let [more, kept, ..] = next.counts();
    // What was written and not recorded is found.
    assert!(next.code == Some(0) && more + kept == PROMPTS && kept >= done, "{part}: {ended:#?}\n{next:#?}");
    workspace.assert_answered(1..=PROMPTS);
    let sent = server.log().len() as u64;
    assert!(sent <= PROMPTS + IN_FLIGHT, "{part}: {sent} requests for {PROMPTS} prompts");
    // What was paid for twice counts twice.
    assert!(workspace.usage().day_tokens >= common::billed(&server.log()), "{part}");
}

#[test]
fn each_part_that_panics_ends_the_run() {
    for (at, part) in [
        ("keeper:4", "the thread that keeps the state file"),
        ("disk:10", "a thread that reads prompts and writes outputs"),
        ("request:10", "a task that sends a request"),
        ("loop:3", "the event loop"),
    ] {
        let (workspace, server) = (Workspace::with_prompts(PROMPTS), slow());
        let ended = Ended::run(&mut panicking(&workspace, &server, at));
        assert_heard_of(&workspace, &server, &ended, part);
    }
}

/// It is asked for more when what was drawn first is nearly used up.
#[test]
fn the_reader_of_a_long_input_is_missed_too() {
    const LONG: u64 = 1_100;
    let (workspace, server) = (Workspace::with_prompts(LONG), serve(Options::default()));
    let limits = ["--tokens-per-batch", "0", "--requests-per-minute", "0", "--tokens-per-minute", "0"];
    let ended = Ended::run(panicking(&workspace, &server, "reader").args(limits));
    let [done, _, _, pending] = ended.counts();
    assert!(ended.code == Some(1) && done > 0 && pending > 0 && done + pending == LONG, "{ended:#?}");
    ended.says(&["the thread that reads the input on ended unexpectedly (src/", "this is a bug, please report it"]);
    let next = workspace.run_against(&server, &limits);
    assert_eq!((next.code, next.counts()[0] + next.counts()[1]), (Some(0), LONG), "{next:#?}");
}

#[test]
fn a_writer_that_panics_still_says_so() {
    for (at, part) in
        [("stdout:4", "the thread that writes to stdout"), ("stderr:4", "the thread that writes to stderr")]
    {
        let (workspace, server) = (Workspace::with_prompts(PROMPTS), slow());
        let ended = Ended::run(&mut panicking(&workspace, &server, at));
        let [done, _, _, pending] = ended.counts();
        assert!(ended.code == Some(1) && pending > 0, "{part}: {ended:#?}");
        ended.says(&[part, " ended unexpectedly (src/report/", "this is a bug, please report it", "not written"]);
        let next = workspace.run_against(&server, &[]);
        let [more, kept, ..] = next.counts();
        // What was written and not recorded is found.
        assert!(next.code == Some(0) && more + kept == PROMPTS && kept >= done, "{part}: {ended:#?}\n{next:#?}");
        assert!(server.log().len() as u64 <= PROMPTS + IN_FLIGHT, "{part}");
    }
}

#[test]
fn the_listener_for_signals_is_missed_too() {
    let (workspace, server) = (Workspace::with_prompts(PROMPTS), slow());
    let child = panicking(&workspace, &server, "signals").spawn().expect("it starts");
    until("a request", || !server.log().is_empty());
    signal(&child, Signal::INT);
    let ended = Ended::of(child);
    assert_heard_of(&workspace, &server, &ended, "the task that listens for signals");
}

#[test]
fn the_stand_in_that_dies_ends_its_rehearsal() {
    let workspace = Workspace::with_prompts(PROMPTS);
    let rehearse = || workspace.command(&["--offline", "--json", "--concurrency", "4"]);
    let ended = Ended::run(rehearse().env("TEST_PANIC", "standin:10"));
    ended.says(&["the built-in stand-in ended unexpectedly (src/standin/"]);
    assert!(ended.code == Some(1) && ended.counts()[3] > 0, "{ended:#?}");
    let next = Ended::run(&mut rehearse());
    assert_eq!(next.code, Some(0), "{next:#?}");
    workspace.assert_answered(1..=PROMPTS);
}

#[test]
fn the_stand_in_of_its_own_command_ends_with_it() {
    let workspace = Workspace::with_prompts(1);
    let mut child =
        workspace.command(&["standin", "--port", "0"]).env("TEST_PANIC", "standin").spawn().expect("it starts");
    let _watchdog = Watchdog::over(&child);
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("UTF-8");
    let url = line.trim().rsplit(' ').next().expect("an address");
    let run = workspace.run(&["--base-url", url, "--give-up-after", "1s"]);
    assert_eq!(run.code, Some(4), "{run:#?}");
    let ended = Ended::of(child);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    ended.says(&["error: the built-in stand-in ended unexpectedly (src/standin/server.rs:", "this is a bug"]);
}

#[test]
fn what_dies_before_anything_is_sent_ends_it_with_a_sentence() {
    for at in ["tokenizer", "survey", "command"] {
        let (workspace, server) = (Workspace::with_prompts(2), serve(Options::default()));
        let ended = Ended::run(&mut panicking(&workspace, &server, at));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:#?}");
        ended.says(&["error: promptmill ended unexpectedly (src/", "this is a bug, please report it"]);
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:#?}");
        assert!(server.log().is_empty());
        workspace.run_against(&server, &[]).assert_ended(0, [2, 0, 0, 0]);
    }
}

/// Both signals come while a thread is in the middle of writing a file, which takes it so many milliseconds more.
fn interrupted_twice(workspace: &Workspace, server: &Server, slow: &str) -> Ended {
    let mut command = workspace.command_against(server, &["--concurrency", &IN_FLIGHT.to_string()]);
    let child = command.env("TEST_STOP", format!("write:12:{slow}")).spawn().expect("it starts");
    let _watchdog = Watchdog::over(&child);
    stopped(&child);
    assert!(!workspace.leftovers().is_empty(), "no file is being written");
    for which in [Signal::INT, Signal::TERM, Signal::CONT] {
        signal(&child, which);
    }
    let ended = Ended::of(child);
    // Which of them is heard of first is not known.
    assert!([Some(130), Some(143)].contains(&ended.code), "{ended:#?}");
    ended
}

#[test]
fn a_second_interrupt_leaves_nothing_half_written() {
    let (workspace, server) = (Workspace::with_prompts(PROMPTS), slow());
    let ended = interrupted_twice(&workspace, &server, "200");
    assert!(workspace.leftovers().is_empty(), "{ended:#?}");
    assert!(!ended.stderr.contains("has not ended"), "{ended:#?}");
    let next = workspace.run_against(&server, &[]);
    assert_eq!(next.code, Some(0), "{next:#?}");
    workspace.assert_answered(1..=PROMPTS);
    assert!(server.log().len() as u64 <= PROMPTS + IN_FLIGHT);
}

#[test]
fn a_thread_that_does_not_end_is_not_waited_for() {
    let (workspace, server) = (Workspace::with_prompts(PROMPTS), slow());
    let ended = interrupted_twice(&workspace, &server, "3600000");
    ended.says(&["has not ended"]);
    let next = workspace.run_against(&server, &[]);
    assert_eq!(next.code, Some(0), "{next:#?}");
    workspace.assert_answered(1..=PROMPTS);
    assert!(workspace.leftovers_of_answers().is_empty(), "{next:#?}");
}
