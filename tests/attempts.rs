//! Law 6: what uses up an attempt of a prompt, and what does not.
#![allow(clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

use common::scripted::{Scripted, USAGE, answer, error};
use common::{Ended, Workspace};
use serde_json::Value;

/// Prompts that a machine sends at once to a server that it does not know.
const AT_ONCE: u64 = 8;

#[test]
fn an_outage_gives_back_the_attempts_that_it_took() {
    /// What has become of the server and of the prompts.
    #[derive(Default)]
    struct Seen {
        failed: BTreeSet<String>,
        is_back: bool,
        failed_again: BTreeSet<String>,
    }
    let seen = Mutex::new(Seen::default());
    let broken = || error(503, &[], "server_error", "later");
    let server = Scripted::start(move |_, body| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if (seen.failed.len() as u64) < AT_ONCE {
            seen.failed.insert(body.to_owned());
            return broken();
        }
        // The one request that asks whether it is back is answered; then each of the others fails once more, for a reason of its own.
        if !std::mem::replace(&mut seen.is_back, true) {
            seen.failed_again.insert(body.to_owned());
        }
        if seen.failed_again.insert(body.to_owned()) { broken() } else { answer(b"yes", USAGE) }
    });
    let workspace = Workspace::with_prompts(AT_ONCE);
    let ended = workspace.run(&["run", "--json", "--attempts", "2", "--base-url", &server.base_url]);
    ended.assert_ended(0, [AT_ONCE, 0, 0, 0]);
    assert!(!ended.events("paused").is_empty(), "it was no outage: {}", ended.stdout);
    assert_eq!(server.bodies().len() as u64, AT_ONCE + 1 + 2 * (AT_ONCE - 1));
}

#[test]
fn a_request_that_reached_nobody_uses_up_no_attempt() {
    // A port that is free, and at which nobody listens yet.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let workspace = Workspace::with_prompts(1);
    let base_url = format!("http://{address}/v1");
    let mut command = workspace.command(&["run", "--json", "--attempts", "2", "--base-url", &base_url]);
    let mut child = command.spawn().expect("started");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut told = String::new();
    while !told.contains("\"retrying\"") {
        assert_ne!(stdout.read_line(&mut told).expect("a line"), 0, "it ended: {told}");
    }
    let listener = TcpListener::bind(address).expect("still free");
    let server = Scripted::start_on(listener, |number, _| {
        if number == 0 { error(500, &[], "server_error", "sorry") } else { answer(b"yes", USAGE) }
    });
    stdout.read_to_string(&mut told).expect("the rest");
    let ended = Ended::of(child);
    let events: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let attempts: Vec<_> = events.iter().filter(|event| event["event"] == "retrying").collect();
    // One failure of two is the server's; those before it are nobody's.
    assert_eq!(attempts.last().map(|event| event["attempt"].as_u64()), Some(Some(1)), "{told}");
    assert_eq!((ended.code, server.bodies().len()), (Some(0), 2), "{told}");
}
