//! The binary as a person uses it: run, run again, plan, status, help; what goes to stdout, and what it exits with.

#![expect(clippy::expect_used, reason = "helpers of tests, outside of test functions")]

mod common;

use std::fs;
use std::process::Stdio;

use common::{Ended, Workspace, serve};
use promptmill::standin::{Options, Server};
use serde_json::Value;

/// A `usage.md` that nothing is used up by.
const FRESH_USAGE: &str = "\
tokens_within_min = 0
requests_within_min = 0
tokens_within_day = 0
minute_token_limit_reached = 0
day_token_limit_reached = 0
Date = 2026-11-22
";

fn server() -> Server {
    serve(Options::default())
}

#[test]
fn the_shipped_prompts_are_answered_once_and_again_with_force() {
    let workspace = Workspace::with_prompts(0);
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/prompts")).expect("sample prompts") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), workspace.path("prompts").join(entry.file_name())).expect("copied");
    }
    // As it is shipped. The one in the checkout is rewritten by the README's first command.
    workspace.write("usage.md", FRESH_USAGE);
    workspace
        .run_to(0, &["--offline"])
        .says(&["5 requests", "278 input"])
        .closes("5 prompts = 5 done + 0 up to date + 0 failed + 0 pending");
    for prompt in 1..=5 {
        assert!(workspace.read(&format!("outputs/{prompt}_output.txt")).contains("stand-in"), "prompt {prompt}");
    }
    let (tokens, requests) = (workspace.usage().day_tokens, workspace.usage().minute.requests);
    assert!(tokens > 278 && requests == 5, "{tokens} tokens, {requests} requests");
    workspace.run_to(0, &["--offline"]).closes("5 prompts = 0 done + 5 up to date + 0 failed + 0 pending");
    assert_eq!(workspace.usage().day_tokens, tokens);
    workspace.run_to(0, &["--offline", "--force"]).closes("5 prompts = 5 done + 0 up to date + 0 failed + 0 pending");
    assert_eq!((workspace.usage().day_tokens, workspace.usage().minute.requests), (2 * tokens, 10));
}

#[test]
fn what_changed_is_sent_again_and_plan_says_why() {
    let workspace = Workspace::with_prompts(3);
    workspace.run_to(0, &["--offline"]);
    for flags in [["--model", "gpt-4o"], ["--temperature", "0.5"], ["--system", "be brief"]] {
        let plan = workspace.run_to(0, &[&["plan", "--offline"], flags.as_slice()].concat());
        assert!(plan.stdout.contains("3: text, model or a parameter changed"), "{plan:#?}");
    }
    workspace.write("prompts/2_prompt.txt", "another text");
    let plan = workspace.run_to(0, &["plan", "--offline", "-v"]);
    assert!(plan.stdout.contains("2 up to date + 1 to send"), "{plan:#?}");
    assert!(plan.stdout.contains("prompt 2: 9 input tokens, text, model or a parameter changed"), "{plan:#?}");
    let server = server();
    let url = server.base_url();
    workspace.run_to(0, &["--offline"]).closes("3 prompts = 1 done + 2 up to date + 0 failed + 0 pending");
    assert!(workspace.run_to(0, &["plan", "--base-url", &url]).stdout.contains("3: answered by the stand-in only"));
    workspace.run_to(0, &["--base-url", &url]).closes("3 prompts = 3 done + 0 up to date + 0 failed + 0 pending");
    workspace.run_to(0, &["--base-url", &url, "--temperature", "0.5"]);
    assert_eq!(server.log().len(), 6);
}

#[test]
fn a_lost_history_loses_no_answer_and_a_lost_output_is_sent() {
    let workspace = Workspace::with_prompts(3);
    let server = server();
    let url = server.base_url();
    workspace.run_to(0, &["--base-url", &url]);
    let used = workspace.read("usage.md");
    fs::remove_file(workspace.path("outputs/2_output.txt")).expect("removed");
    workspace.run_to(0, &["--base-url", &url]).closes("3 prompts = 1 done + 2 up to date + 0 failed + 0 pending");
    assert_ne!(workspace.read("usage.md"), used);
    let used = workspace.read("usage.md");
    fs::remove_file(workspace.path("usage.md")).expect("removed");
    workspace.run_to(0, &["--base-url", &url]);
    assert_eq!(workspace.read("usage.md"), used);
    fs::remove_dir_all(workspace.path(".promptmill")).expect("removed");
    // Those of a stand-in would be told from real ones.
    for prompt in 1..=3 {
        workspace.write(&format!("outputs/{prompt}_output.txt"), format!("A real answer, number {prompt}."));
    }
    for _ in 0..2 {
        workspace.run_to(0, &["--base-url", &url]).closes("3 prompts = 0 done + 3 up to date + 0 failed + 0 pending");
    }
    assert_eq!((server.log().len(), workspace.output(1).as_deref()), (4, Some("A real answer, number 1.")));
    assert_eq!(workspace.read("usage.md"), used);
}

#[test]
fn a_rehearsal_leaves_paid_answers_alone() {
    let workspace = Workspace::with_prompts(2);
    let server = server();
    workspace.run_to(0, &["--base-url", &server.base_url()]);
    workspace.write("outputs/1_output.txt", "paid for");
    for args in [["--offline"].as_slice(), &["--offline", "--force"], &["--offline", "--model", "gpt-4o"]] {
        let ran = workspace.run_to(0, args);
        ran.says(&["2 answers", "leaves them alone"])
            .closes("2 prompts = 0 done + 2 up to date + 0 failed + 0 pending");
    }
    assert_eq!(workspace.read("outputs/1_output.txt"), "paid for");
}

#[test]
fn over_the_batch_limit_nothing_is_sent_unless_split() {
    let workspace = Workspace::with_prompts(0);
    for prompt in 1..=10 {
        workspace.write(&format!("prompts/{prompt}_prompt.txt"), "word ".repeat(40_000));
    }
    let server = server();
    let url = server.base_url();
    let flags = ["--base-url", &url, "--tokens-per-minute", "0"];
    let ran = workspace.run_to(3, &flags);
    ran.says(&["400,080 input tokens", "300,000", "--split"]);
    let planned = workspace.run_to(3, &[&["plan"], flags.as_slice()].concat());
    assert_eq!(planned.stderr, ran.stderr);
    assert!(planned.stdout.contains("400,080 tokens") && planned.stdout.contains("batches: 2"), "{planned:#?}");
    assert!(server.log().is_empty());
    let ran = workspace.run_to(0, &[flags.as_slice(), &["--split"]].concat());
    ran.says(&["batch 1 of 2: 7 prompts, 280,056 input tokens", "batch 2 of 2: 3 prompts, 120,024 input tokens"]);
    assert_eq!(server.log().len(), 10);
}

#[test]
fn json_is_one_event_a_line_and_ends_with_the_summary() {
    let workspace = Workspace::with_prompts(3);
    workspace.write("prompts/4_prompt.txt", b"\xff");
    workspace.write("prompts/notes.txt", "x");
    let ran = workspace.run_to(1, &["--offline", "--json", "-vv"]);
    let names: Vec<&str> = ran.events.iter().map(|event| event["event"].as_str().expect("a name")).collect();
    assert_eq!(names.iter().filter(|name| **name == "done").count(), 3);
    assert!(names.contains(&"failed") && names.contains(&"warning"), "{names:?}");
    let [done, _, failed, _] = ran.counts();
    assert_eq!((done, failed), (3, 1));
    for command in [["plan", "--json"].as_slice(), &["status", "--json"], &["plan", "--json", "--force", "--offline"]] {
        let ran = workspace.run(command);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(lines.len(), 1, "{ran:#?}");
        assert!(serde_json::from_str::<Value>(lines[0]).expect("JSON").is_object());
    }
}

#[test]
fn quiet_is_quiet_and_stdout_is_for_the_closing_line() {
    let workspace = Workspace::with_prompts(3);
    let ran = workspace.run_to(0, &["--offline", "--quiet"]);
    ran.closes("3 prompts = 3 done + 0 up to date + 0 failed + 0 pending");
    assert_eq!(ran.stderr, "");
    let loud = workspace.run_to(0, &["--offline", "-vv", "--force"]);
    loud.says(&["prompt 2: answered", "DEBUG"]).closes("3 prompts = 3 done + 0 up to date + 0 failed + 0 pending");
    assert!(!loud.stderr.contains('\u{1b}'), "{loud:#?}");
}

/// A pipe whose reader has gone away before anything was written to it.
#[cfg(unix)]
fn nobody() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

#[cfg(unix)]
#[test]
fn readers_that_go_away_do_not_stop_a_run() {
    for args in [["--offline", "-vv"].as_slice(), &["--offline", "--json"]] {
        let workspace = Workspace::with_prompts(5);
        let ran = Ended::run(workspace.command(args).stdout(nobody()));
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        let ran = Ended::run(workspace.command(args).arg("--force").stderr(nobody()));
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        assert!(workspace.path("outputs/5_output.txt").exists());
    }
    let workspace = Workspace::with_prompts(1);
    for args in [["plan"].as_slice(), &["status"], &["settings"]] {
        let ran = Ended::run(workspace.command(args).stdout(nobody()));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn plan_status_and_settings_write_nothing() {
    let workspace = Workspace::with_prompts(3);
    let look = |workspace: &Workspace| {
        let before = workspace.everything();
        for args in [
            ["plan"].as_slice(),
            &["plan", "--offline", "--force"],
            &["run", "--dry-run"],
            &["status"],
            &["limits"],
            &["settings"],
        ] {
            workspace.run_to(0, args);
            assert!(workspace.everything() == before, "{args:?} changed a file");
        }
    };
    look(&workspace);
    workspace.run_to(0, &["--offline"]);
    workspace.edit_usage("tokens_within_day", "77");
    look(&workspace);
    assert!(workspace.run_to(0, &["status"]).stdout.contains("tokens_per_day                 77 of 5,000,000"));
}

#[test]
fn help_of_every_command_fits_80_columns_and_explains_every_flag() {
    let workspace = Workspace::with_prompts(0);
    for command in ["", "run", "plan", "status", "limits", "settings", "standin"] {
        for flag in ["--help", "-h"] {
            let args: Vec<&str> = [command, flag].into_iter().filter(|arg| !arg.is_empty()).collect();
            let ran = Ended::run(workspace.command(&args).env("COLUMNS", "200"));
            assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
            let lines: Vec<&str> = ran.stdout.lines().collect();
            for (index, line) in lines.iter().enumerate() {
                assert!(line.chars().count() <= 80, "{args:?}: {line}");
                if line.trim_start().starts_with("--") {
                    // Its help stands behind it, or on the next line, further in.
                    let behind = line.trim_start().split("  ").nth(1).is_some();
                    let below = lines.get(index + 1).is_some_and(|next| next.starts_with("          "));
                    assert!(behind || below, "{args:?}: no help for {line}");
                }
            }
        }
    }
}
