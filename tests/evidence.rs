//! What an output on disk proves: a new answer is told from an old one by its content, an answer from a failure's line by the journal.
#![cfg(unix)]
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use common::{Ended, MODEL, Workspace, always, in_flight_at_the_kill, serve, until};
use promptmill::standin::{FaultKind, Options, Server, answer};

/// Changes what every prompt asks.
fn reword(workspace: &mut Workspace, prompts: u64) {
    for prompt in 1..=prompts {
        workspace.write_prompt(prompt, &format!("Say something else about the number {prompt}.\n"));
    }
}

/// Runs with `args` until `requests` are at a server that never answers, and kills the run.
fn kill_in_flight(workspace: &Workspace, server: &Server, requests: usize, args: &[&str]) {
    server.set_options(Options { faults: always(FaultKind::Hang), ..Options::default() });
    let before = server.log().len();
    let concurrency = requests.to_string();
    let args = [&["--concurrency", &concurrency], args].concat();
    let mut child = workspace.command_against(server, &args).spawn().expect("started");
    until("a full house", || server.log().len() == before + requests);
    child.kill().expect("killed");
    Ended::of_killed(child);
    server.set_options(Options::default());
}

/// Sets the time of every output's last change.
fn date_outputs(workspace: &Workspace, at: SystemTime) {
    for entry in fs::read_dir(workspace.path("outputs")).expect("a folder") {
        let file = fs::File::options().write(true).open(entry.expect("an entry").path()).expect("there");
        file.set_modified(at).expect("dated");
    }
}

#[test]
fn an_old_answer_is_not_a_new_one_whenever_it_was_touched() {
    let server = serve(Options::default());
    let mut workspace = Workspace::with_prompts(40);
    workspace.run_against(&server, &[]).assert_ended(0, [40, 0, 0, 0]);
    reword(&mut workspace, 40);
    kill_in_flight(&workspace, &server, 8, &[]);
    // As a checkout does, or a sync, or a clock that was set back.
    date_outputs(&workspace, SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000));
    let sent = server.log().len();
    let next = workspace.run_against(&server, &[]);
    next.assert_ended(0, [40, 0, 0, 0]);
    assert_eq!(in_flight_at_the_kill(&next), Some([8, 0, 8]), "{}", next.stderr);
    workspace.assert_answered(1..=40);
    assert_eq!(server.log().len(), sent + 40);
    let last = workspace.run_against(&server, &[]);
    last.assert_ended(0, [0, 40, 0, 0]);
    assert_eq!(in_flight_at_the_kill(&last), None);
}

#[test]
fn a_new_answer_is_a_new_one_however_old_it_looks() {
    let server = serve(Options::default());
    let mut workspace = Workspace::with_prompts(8);
    workspace.run_against(&server, &[]).assert_ended(0, [8, 0, 0, 0]);
    reword(&mut workspace, 8);
    kill_in_flight(&workspace, &server, 8, &[]);
    // Five answers had reached the disk, and one was about to.
    for prompt in 1..=5 {
        workspace.write(&format!("outputs/{prompt}_output.txt"), answer(MODEL, workspace.prompt(prompt)));
    }
    workspace.write("outputs/6_output.txt", "");
    date_outputs(&workspace, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let plan = workspace.run_to(0, &["plan", "--base-url", &server.base_url()]);
    assert!(plan.stdout.contains("5 up to date + 3 to send"), "{plan:#?}");
    let next = workspace.run_against(&server, &[]);
    next.assert_ended(0, [3, 5, 0, 0]);
    assert_eq!(in_flight_at_the_kill(&next), Some([8, 5, 3]), "{}", next.stderr);
    workspace.assert_answered(1..=8);
    workspace.run_against(&server, &[]).assert_ended(0, [0, 8, 0, 0]);
}

#[test]
fn a_forced_run_that_was_killed_leaves_the_answers_that_stand() {
    let server = serve(Options::default());
    let workspace = Workspace::with_prompts(5);
    workspace.run_against(&server, &[]).assert_ended(0, [5, 0, 0, 0]);
    kill_in_flight(&workspace, &server, 3, &["--force"]);
    let sent = server.log().len();
    let next = workspace.run_against(&server, &[]);
    next.assert_ended(0, [0, 5, 0, 0]);
    assert_eq!(in_flight_at_the_kill(&next), Some([3, 0, 0]), "{}", next.stderr);
    next.says(&["3 requests were in flight when the last run was killed", "may have been paid for"]);
    assert!(!next.stderr.contains("sent again"), "{}", next.stderr);
    let last = workspace.run_against(&server, &[]);
    assert_eq!((in_flight_at_the_kill(&last), server.log().len()), (None, sent));
}

#[test]
fn a_failure_written_by_a_killed_run_is_sent_again_once() {
    let server = serve(Options::default());
    let workspace = Workspace::with_prompts(2);
    workspace.run_against(&server, &[]).assert_ended(0, [2, 0, 0, 0]);
    kill_in_flight(&workspace, &server, 2, &["--force"]);
    workspace.write("outputs/1_output.txt", "ERROR: server_error: HTTP 500: it broke\n");
    let next = workspace.run_against(&server, &[]);
    next.assert_ended(0, [1, 1, 0, 0]);
    assert_eq!(in_flight_at_the_kill(&next), Some([2, 0, 1]), "{}", next.stderr);
    workspace.assert_answered(1..=2);
    let last = workspace.run_against(&server, &[]);
    last.assert_ended(0, [0, 2, 0, 0]);
    assert_eq!(last.stderr, workspace.run_against(&server, &[]).stderr);
    assert!(!last.stderr.contains("warning"), "{}", last.stderr);
}

#[test]
fn what_an_older_version_began_is_sent_again() {
    let server = serve(Options::default());
    let mut workspace = Workspace::with_prompts(4);
    workspace.run_against(&server, &[]).assert_ended(0, [4, 0, 0, 0]);
    reword(&mut workspace, 4);
    kill_in_flight(&workspace, &server, 4, &[]);
    // It had no note of what stood there: the old answer, the new one, or nothing.
    let state = rusqlite::Connection::open(workspace.path(".promptmill/usage.db")).expect("the journal");
    let forget =
        "UPDATE attempts SET before_bytes = NULL, before_hash = NULL, hash = NULL; UPDATE items SET hash = NULL;";
    state.execute_batch(forget).expect("as after an upgrade");
    drop(state);
    workspace.write("outputs/2_output.txt", answer(MODEL, workspace.prompt(2)));
    fs::remove_file(workspace.path("outputs/3_output.txt")).expect("removed");
    let next = workspace.run_against(&server, &[]);
    next.assert_ended(0, [4, 0, 0, 0]);
    assert_eq!(in_flight_at_the_kill(&next), Some([4, 0, 4]), "{}", next.stderr);
    workspace.assert_answered(1..=4);
    workspace.run_against(&server, &[]).assert_ended(0, [0, 4, 0, 0]);
}

/// A server that gives this answer to everything.
fn serve_text(text: &str) -> String {
    let message = serde_json::json!({ "role": "assistant", "content": text });
    let choice = serde_json::json!({ "index": 0, "message": message, "finish_reason": "stop" });
    let usage = serde_json::json!({ "prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16 });
    let answer = serde_json::json!({ "id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage });
    let body = answer.to_string();
    let length = body.len();
    let response = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let base_url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.expect("accepted"));
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).is_ok_and(|read| read > 0) && line != "\r\n" {
                let header = line.to_ascii_lowercase();
                if let Some(value) = header.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                line.clear();
            }
            // One that is cut off is the client's affair.
            let _ = reader.read_exact(&mut vec![0; length]);
            let _ = reader.get_mut().write_all(response.as_bytes());
        }
    });
    base_url
}

#[test]
fn an_answer_that_reads_like_a_failure_is_an_answer() {
    // The second has the very form of our own line.
    for text in ["ERROR: the quick brown fox\nover the lazy dog", "ERROR: timeout: it took too long\n"] {
        let url = serve_text(text);
        let workspace = Workspace::with_prompts(1);
        let flags = ["--base-url", &url];
        workspace.run_to(0, &flags).closes("1 prompt = 1 done + 0 up to date + 0 failed + 0 pending");
        assert_eq!(workspace.output(1).as_deref(), Some(text));
        workspace.run_to(0, &flags).closes("1 prompt = 0 done + 1 up to date + 0 failed + 0 pending");
        // It has been paid for: a failure does not take its place.
        let failed = workspace.run_to(1, &[&flags[..], &["--force", "--context-window", "1"]].concat());
        failed.closes("1 prompt = 0 done + 0 up to date + 1 failed + 0 pending");
        assert_eq!(workspace.read("outputs/1_output.previous.txt"), text);
        assert!(workspace.output(1).is_some_and(|line| line.starts_with("ERROR: too_large: ")));
    }
}

#[test]
fn an_answer_that_begins_like_a_failure_is_found_without_its_history() {
    let server = serve(Options::default());
    let workspace = Workspace::with_prompts(3);
    let url = server.base_url();
    kill_in_flight(&workspace, &server, 3, &[]);
    workspace.write("outputs/1_output.txt", "ERROR: the quick brown fox");
    workspace.write("outputs/2_output.txt", "ERROR: timeout: it took too long\nERROR: timeout: it took too long\n");
    workspace.write("outputs/3_output.txt", "ERROR: timeout: it took too long\n");
    let next = workspace.run_against(&server, &[]);
    next.assert_ended(0, [1, 2, 0, 0]);
    assert_eq!(in_flight_at_the_kill(&next), Some([3, 2, 1]), "{}", next.stderr);
    assert_eq!(workspace.output(1).as_deref(), Some("ERROR: the quick brown fox"));
    fs::remove_dir_all(workspace.path(".promptmill")).expect("removed");
    workspace.write("outputs/3_output.txt", "ERROR: timeout: it took too long\n");
    workspace.run_to(0, &["--base-url", &url]).closes("3 prompts = 1 done + 2 up to date + 0 failed + 0 pending");
}

#[test]
fn answers_without_a_history_are_told_once() {
    let server = serve(Options::default());
    let url = server.base_url();
    let workspace = Workspace::with_prompts(4);
    fs::create_dir(workspace.path("outputs")).expect("made");
    // As in a fresh clone with its outputs.
    for prompt in 1..=3 {
        workspace.write(&format!("outputs/{prompt}_output.txt"), format!("A real answer, number {prompt}."));
    }
    let said = "3 answers have no history";
    let plan = workspace.run_to(0, &["plan", "--base-url", &url]);
    plan.says(&[said, "--force"]);
    assert!(plan.stdout.contains("4 prompts = 3 up to date + 1 to send"), "{plan:#?}");
    let plan = workspace.run_to(0, &["plan", "--json", "--base-url", &url]);
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).expect("JSON");
    assert_eq!((plan["up_to_date"].as_u64(), plan["without_history"].as_u64()), (Some(3), Some(3)));
    let first = workspace.run_against(&server, &["--quiet"]);
    first.assert_ended(0, [1, 3, 0, 0]);
    first.says(&[said, "--force"]);
    let events = first.events("without_history");
    assert_eq!((events.len(), events[0]["answers"].as_u64()), (1, Some(3)));
    let second = workspace.run_against(&server, &[]);
    second.assert_ended(0, [0, 4, 0, 0]);
    assert!(second.events("without_history").is_empty() && !second.stderr.contains("history"), "{second:#?}");
    assert_eq!(workspace.output(2).as_deref(), Some("A real answer, number 2."));
    // It is not said of what is sent again all the same.
    fs::remove_dir_all(workspace.path(".promptmill")).expect("removed");
    let forced = workspace.run_against(&server, &["--force"]);
    forced.assert_ended(0, [4, 0, 0, 0]);
    assert!(forced.events("without_history").is_empty(), "{forced:#?}");
}

#[test]
fn a_stand_ins_answer_is_told_from_a_real_one_without_its_history() {
    let server = serve(Options::default());
    let url = server.base_url();
    let workspace = Workspace::with_prompts(3);
    workspace.run_to(0, &["--offline"]);
    workspace.write("outputs/3_output.txt", "A real answer.");
    fs::remove_dir_all(workspace.path(".promptmill")).expect("removed");
    let plan = workspace.run_to(0, &["plan", "--base-url", &url]);
    assert!(plan.stdout.contains("2: answered by the stand-in only"), "{plan:#?}");
    // A rehearsal takes them as what they are, and leaves the other alone.
    let rehearsed = workspace.run_to(0, &["--offline"]);
    rehearsed.says(&["2 answers have no history", "1 answer is not the stand-in's"]);
    rehearsed.closes("3 prompts = 0 done + 3 up to date + 0 failed + 0 pending");
    fs::remove_dir_all(workspace.path(".promptmill")).expect("removed");
    let ran = workspace.run_against(&server, &[]);
    ran.assert_ended(0, [2, 1, 0, 0]);
    ran.says(&["1 answer has no history"]);
    assert_eq!((server.log().len(), workspace.output(3).as_deref()), (2, Some("A real answer.")));
}

#[test]
fn what_is_no_file_in_an_outputs_place_fails_that_prompt_alone() {
    let server = serve(Options::default());
    let url = server.base_url();
    let workspace = Workspace::with_prompts(5);
    fs::create_dir_all(workspace.path("outputs/2_output.txt")).expect("made");
    workspace.write("outputs/2_output.txt/a_file", "so that it is not empty");
    fifo(&workspace, "outputs/3_output.txt");
    // One that leads nowhere is replaced.
    symlink("nowhere", workspace.path("outputs/4_output.txt")).expect("linked");
    let plan = workspace.run_to(1, &["plan", "--base-url", &url]);
    assert!(plan.stdout.contains("5 prompts = 0 up to date + 3 to send + 2 that will fail"), "{plan:#?}");
    assert!(plan.stdout.contains("outputs/2_output.txt is a folder") && plan.stdout.contains("is a FIFO"), "{plan:#?}");
    for up_to_date in [0, 3] {
        let ran = workspace.run_against(&server, &[]);
        ran.assert_ended(1, [3 - up_to_date, up_to_date, 2, 0]);
        ran.says(&["prompt 2 failed: output_blocked: outputs/2_output.txt is a folder", "run again"]);
        let failed: Vec<_> = ran.events("failed").into_iter().map(|event| event["class"].clone()).collect();
        assert_eq!(failed, ["output_blocked", "output_blocked"]);
        // Neither was paid for.
        assert_eq!(server.log().len(), 3);
    }
    fs::remove_dir_all(workspace.path("outputs/2_output.txt")).expect("moved away");
    fs::remove_file(workspace.path("outputs/3_output.txt")).expect("moved away");
    workspace.run_against(&server, &[]).assert_ended(0, [2, 3, 0, 0]);
    workspace.assert_answered(1..=5);
}

#[test]
fn an_answer_whose_place_is_taken_meanwhile_is_kept_and_not_paid_again() {
    let server = serve(Options { latency: Duration::from_millis(300), ..Options::default() });
    let workspace = Workspace::with_prompts(4);
    let child = workspace.command_against(&server, &["--concurrency", "2"]).spawn().expect("started");
    until("the first requests", || server.log().len() >= 2);
    fs::create_dir(workspace.path("outputs/1_output.txt")).expect("made");
    let ran = Ended::of(child);
    ran.assert_ended(1, [3, 0, 1, 0]);
    ran.says(&["prompt 1 failed: output_blocked: outputs/1_output.txt is a folder", "its answer is kept"]);
    workspace.assert_answered(2..=4);
    for flags in [&[][..], &["--force", "--only", "1"]] {
        let blocked = workspace.run_against(&server, flags);
        let [done, _, failed, pending] = blocked.counts();
        assert_eq!((blocked.code, done, failed, pending), (Some(1), 0, 1, 0), "{blocked:#?}");
        blocked.says(&["outputs/1_output.txt is a folder", "its answer is kept"]);
    }
    fs::remove_dir(workspace.path("outputs/1_output.txt")).expect("moved away");
    let next = workspace.run_against(&server, &[]);
    next.assert_ended(0, [0, 4, 0, 0]);
    workspace.assert_answered(1..=4);
    workspace.run_against(&server, &[]).assert_ended(0, [0, 4, 0, 0]);
    assert_eq!(server.log().len(), 4);
}

#[test]
fn a_failure_whose_line_finds_no_place_fails_that_prompt_alone() {
    let server = serve(Options::default());
    let workspace = Workspace::with_prompts(3);
    workspace.run_against(&server, &[]).assert_ended(0, [3, 0, 0, 0]);
    let answer = workspace.output(2).expect("an answer");
    // Its old answer cannot make room for the line.
    fs::create_dir(workspace.path("outputs/2_output.previous.txt")).expect("made");
    workspace.write("prompts/2_prompt.txt", b"\xff");
    let ran = workspace.run_against(&server, &[]);
    ran.assert_ended(1, [0, 2, 1, 0]);
    ran.says(&["prompt 2 failed: not_text", "2_output.previous.txt is a folder"]);
    assert_eq!(workspace.output(2), Some(answer));
}

fn fifo(workspace: &Workspace, name: &str) {
    let made = std::process::Command::new("mkfifo").arg(workspace.path(name)).status().expect("mkfifo runs");
    assert!(made.success());
}
