//! What a run says when it has ended: each prompt in one count, each token in the sum.
#![allow(clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{Workspace, billed, serve};
use promptmill::standin::Options;

#[test]
fn an_answer_that_cannot_be_written_is_pending_paid_and_not_lost() {
    let server = serve(Options::default());
    let workspace = Workspace::with_prompts(3);
    // No file can take the place of a folder that holds something.
    let in_the_way = workspace.path("outputs/2_output.txt");
    std::fs::create_dir_all(in_the_way.join("inner")).expect("made");
    let ended = workspace.run_against(&server, &["--concurrency", "1"]);
    ended.assert_ended(1, [1, 0, 0, 2]);
    let summary = ended.summary();
    let used = summary["usage"]["input_tokens"].as_u64().zip(summary["usage"]["output_tokens"].as_u64());
    assert_eq!(used.map(|(input, output)| input + output), Some(billed(&server.log())), "{summary}");
    assert_eq!((summary["kept"].as_u64(), summary["requests"].as_u64()), (Some(1), Some(2)), "{summary}");
    assert_eq!(workspace.usage().day_tokens, billed(&server.log()));

    std::fs::remove_dir_all(&in_the_way).expect("removed");
    let next = workspace.run(&["run", "--base-url", &server.base_url()]);
    next.closes("3 prompts = 1 done + 2 up to date + 0 failed + 0 pending");
    assert_eq!(server.log().len(), 3, "an answer was paid for twice");
    workspace.assert_answered(1..=3);
}

#[test]
fn the_closing_line_counts_an_answer_that_cannot_be_written() {
    let workspace = Workspace::with_prompts(3);
    std::fs::create_dir_all(workspace.path("outputs/1_output.txt/inner")).expect("made");
    let ended = workspace.run_to(1, &["--offline", "--concurrency", "1"]);
    ended.closes("3 prompts = 0 done + 0 up to date + 0 failed + 3 pending");
    ended.says(&["1 request", "1 answer could not be written; the next run writes them, nothing is paid twice"]);
}
