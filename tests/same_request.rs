//! Law 3: an answer is one to its request, which is text, model and all parameters; what is sent is what was planned.
#![allow(clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::scripted::{Scripted, USAGE, answer};
use common::{Ended, Workspace, serve, until};
use promptmill::standin::Options;
use serde_json::Value;

#[test]
fn each_part_of_a_request_makes_it_another_one() {
    let server = serve(Options::default());
    let workspace = Workspace::with_prompts(1);
    workspace.run_against(&server, &[]).assert_ended(0, [1, 0, 0, 0]);
    let url = server.base_url();
    let up_to_date = |args: &[&str]| {
        let plan = workspace.run_to(0, &[&["plan", "--json", "--base-url", &url], args].concat());
        let plan: Value = serde_json::from_str(&plan.stdout).expect("JSON");
        let changed = plan["each"].as_array().expect("prompts").iter().all(|each| each["why"] == "changed");
        assert!(changed, "{plan}");
        plan["up_to_date"] == 1
    };
    let parts: [&[&str]; 8] = [
        &["--model", "gpt-4o"],
        &["--api", "responses"],
        &["--system", "Be brief."],
        &["--max-output-tokens", "100"],
        &["--temperature", "0.5"],
        &["--reasoning-effort", "low"],
        &["--reasoning-effort", "high"],
        &["--extra", "{\"seed\": 7}"],
    ];
    for part in parts {
        assert!(!up_to_date(part), "{part:?} is not seen");
        // Each is another one than that before it, too.
        workspace.run_against(&server, part).assert_ended(0, [1, 0, 0, 0]);
        assert!(up_to_date(part), "{part:?} is forgotten");
    }
    // What is no part of it.
    workspace.run_against(&server, &[]).assert_ended(0, [1, 0, 0, 0]);
    for other in [["--concurrency", "3"], ["--attempts", "7"], ["--priorities", "1=5"], ["--tokens-per-minute", "0"]] {
        assert!(up_to_date(&other), "{other:?}");
    }
}

#[test]
fn a_prompt_that_is_edited_before_it_leaves_is_not_sent_under_its_old_name() {
    let (go_on, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let server = Scripted::start(move |number, _| {
        if number == 0 {
            // A test that has failed waits for nothing.
            let _ = wait.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(Duration::from_secs(30));
        }
        answer(b"yes", USAGE)
    });
    let mut workspace = Workspace::with_prompts(3);
    let run = ["run", "--json", "--concurrency", "1", "--base-url", &server.base_url];
    let child = workspace.command(&run).spawn().expect("started");
    until("the first request", || server.bodies().len() == 1);
    workspace.write_prompt(2, "Something else.\n");
    go_on.send(()).expect("it waits");
    let ended = Ended::of(child);
    ended.assert_ended(1, [2, 0, 1, 0]);
    let failed = ended.events("failed")[0];
    assert_eq!((failed["class"].as_str(), failed["key"].as_str()), (Some("changed"), Some("2")));
    assert!(workspace.output(2).expect("a line").starts_with("ERROR: changed: "));
    let sent = server.bodies();
    assert!(sent.len() == 2 && sent.iter().all(|body| !body.contains("Something else.")), "{sent:?}");
    workspace.run(&run).assert_ended(0, [1, 2, 0, 0]);
    assert!(server.bodies()[2].contains("Something else."));
    assert_eq!(workspace.output(2).as_deref(), Some("yes"));
}
