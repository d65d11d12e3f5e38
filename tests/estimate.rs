//! What an answer is expected to take, where its request does not say: as much as those of its own model.
#![allow(clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::{Workspace, serve};
use promptmill::standin::Options;
use serde_json::Value;

#[test]
fn answers_of_another_model_say_nothing() {
    let server = serve(Options { answer_tokens: Some(900), ..Options::default() });
    let url = server.base_url();
    let (workspace, fresh) = (Workspace::with_prompts(10), Workspace::with_prompts(10));
    let expected = |workspace: &Workspace, model: &str| {
        let plan = workspace.run_to(0, &["plan", "--json", "--force", "--base-url", &url, "--model", model]).stdout;
        let plan: Value = serde_json::from_str(&plan).expect("JSON");
        plan["expected_output_tokens"].as_u64().expect("a number")
    };
    workspace.run_against(&server, &["--model", "gpt-4o-mini"]).assert_ended(0, [10, 0, 0, 0]);
    assert_eq!(expected(&workspace, "gpt-4o"), expected(&fresh, "gpt-4o"));
    assert_ne!(expected(&workspace, "gpt-4o-mini"), expected(&fresh, "gpt-4o-mini"));
    assert!((9_000..10_000).contains(&expected(&workspace, "gpt-4o-mini")));
}
