//! `usage.md` while a run goes on: what it counts, and what happens when it cannot be written.

mod common;

use std::time::Duration;

use common::{Ended, Workspace, billed, serve, until};
use promptmill::standin::Options;

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
