//! Settings as a person hands them over: what is taken, what is refused and why, and what `settings` says of it.

mod common;

use common::{Workspace, serve};
use promptmill::standin::Options;
use serde_json::Value;

#[test]
fn extra_members_change_nothing_behind_the_plan() {
    let workspace = Workspace::with_prompts(2);
    let server = serve(Options::default());
    let url = server.base_url();
    for (extra, named) in [
        (r#"{"model":"gpt-5.4-pro"}"#, "`model`"),
        (r#"{"instructions":"Write a long poem."}"#, "`request.system`"),
        (r#"{"max_tokens":"5"}"#, "`max_tokens`"),
        (r#"{"max_tokens":5,"max_completion_tokens":5000}"#, "keep one"),
    ] {
        for command in ["plan", "run"] {
            workspace.run_to(2, &[command, "--base-url", &url, "--extra", extra]).says(&["[request.extra]", named]);
        }
    }
    assert!(server.log().is_empty());
    // Where the server knows only the old name, the plan knows the number too.
    let plan = workspace.run_to(0, &["plan", "--base-url", &url, "--extra", r#"{"max_tokens":50}"#, "--json"]);
    let plan: Value = serde_json::from_str(&plan.stdout).expect("JSON");
    assert_eq!(plan["expected_output_tokens"], 100);
}
