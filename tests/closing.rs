//! What a run says when it has ended: each prompt in one count, each token in the sum.
#![allow(clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::scripted::{Scripted, USAGE, answer, error};
#[cfg(target_os = "linux")]
use common::{SmallDisk, billed};
use common::{Workspace, serve};
use promptmill::standin::Options;
use serde_json::Value;

/// What is billed for each answer of [`USAGE`].
const BILLED: u64 = 25;

#[cfg(target_os = "linux")]
#[test]
fn answers_that_cannot_be_written_are_pending_and_paid() {
    let workspace = Workspace::with_prompts(10);
    std::fs::create_dir(workspace.path("outputs")).expect("made");
    let disk = SmallDisk::mount(&workspace, "outputs", "24k");
    let server = serve(Options::default());
    let ended = workspace.run_against(&server, &["--concurrency", "10"]);
    let [done, up_to_date, failed, pending] = ended.counts();
    let summary = ended.summary();
    let kept = summary["kept"].as_u64().expect("a number");
    assert!((ended.code, up_to_date, failed) == (Some(1), 0, 0) && kept > 0 && pending >= kept, "{summary}");
    let (sent, paid) = (server.log().len() as u64, billed(&server.log()));
    assert_eq!((done + kept, summary["requests"].as_u64()), (sent, Some(sent)), "{summary}");
    let used = summary["usage"]["input_tokens"].as_u64().zip(summary["usage"]["output_tokens"].as_u64());
    assert_eq!((used.map(|(input, output)| input + output), workspace.usage().day_tokens), (Some(paid), paid));
    disk.resize("1m");
    let next = workspace.run_against(&server, &[]);
    next.assert_ended(0, [10 - sent, sent, 0, 0]);
    workspace.assert_answered(1..=10);
    assert_eq!(server.log().len(), 10, "an answer was paid for twice");
}

#[test]
fn an_answer_whose_place_is_taken_is_paid_and_not_lost() {
    let workspace = Workspace::with_prompts(3);
    let in_the_way = workspace.path("outputs/2_output.txt");
    let taken = in_the_way.join("inner");
    let server = Scripted::start(move |_, body| {
        if body.contains("number 2.") {
            std::fs::create_dir_all(&taken).expect("made");
        }
        answer(b"yes", USAGE)
    });
    let run = ["run", "--json", "--base-url", &server.base_url];
    let ended = workspace.run(&run);
    ended.assert_ended(1, [2, 0, 1, 0]);
    let summary = ended.summary();
    let used = summary["usage"]["input_tokens"].as_u64().zip(summary["usage"]["output_tokens"].as_u64());
    assert_eq!(used.map(|(input, output)| input + output), Some(3 * BILLED), "{summary}");
    assert_eq!(workspace.usage().day_tokens, 3 * BILLED);
    std::fs::remove_dir_all(&in_the_way).expect("removed");
    workspace.run(&run).assert_ended(0, [0, 3, 0, 0]);
    assert_eq!((server.bodies().len(), workspace.output(2).as_deref()), (3, Some("yes")));
}

#[test]
fn what_may_have_been_billed_counts_as_used_and_is_told() {
    // The first is worked on for all that anybody knows.
    let server =
        Scripted::start(
            |number, _| {
                if number == 0 { error(500, &[], "server_error", "sorry") } else { answer(b"yes", USAGE) }
            },
        );
    let workspace = Workspace::with_prompts(1);
    let ended = workspace.run(&["run", "--json", "--max-output-tokens", "100", "--base-url", &server.base_url]);
    ended.assert_ended(0, [1, 0, 0, 0]);
    let summary = ended.summary();
    let unknown = summary["unknown_tokens"].as_u64().expect("a number");
    // Its input, some 16 tokens, and all the output that it may have had.
    assert!((110..130).contains(&unknown), "{summary}");
    assert_eq!(summary["unknown_requests"], 1, "{summary}");
    assert_eq!(workspace.usage().day_tokens, BILLED + unknown);
}

#[test]
fn status_tells_of_the_last_run_and_of_what_happened_in_it() {
    let server = serve(Options { requests_per_minute: Some(500), ..Options::default() });
    let workspace = Workspace::with_prompts(2);
    let url = server.base_url();
    let status = || {
        let status = workspace.run_to(0, &["status", "-v", "--json", "--base-url", &url]).stdout;
        serde_json::from_str::<Value>(&status).expect("JSON")
    };
    for (only, line) in [("1", "1 prompt = 1 done"), ("2", "1 prompt = 1 done"), ("1-2", "2 prompts = 0 done + 2 up")] {
        let ended = workspace.run_against(&server, &["--only", only]);
        let status = status();
        // Where nothing is to be done no run begins.
        let told = status["last_run"]["summary"].as_str().expect("a line");
        let expected = if only == "1-2" { "1 prompt = 1 done" } else { line };
        assert!(told.starts_with(expected), "{told}");
        let learned = ended.events("limit_learned").len();
        let noted = status["notes"].as_array().expect("notes").len();
        assert!(only == "1-2" || noted == learned, "{noted} of {learned} in {status}");
        assert_eq!(learned, usize::from(only == "1"), "{}", ended.stdout);
    }
}
