//! Answers that were paid for and are odd: text that is no text, and usage that cannot be true.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use common::scripted::{Scripted, USAGE, answer, response};
use common::{Ended, Workspace};

/// Runs all prompts against `server`.
fn run(workspace: &Workspace, server: &Scripted, args: &[&str]) -> Ended {
    workspace.run(&[&["run", "--json", "--on-day-limit", "exit", "--base-url", &server.base_url], args].concat())
}

#[test]
fn an_answer_with_broken_characters_is_kept_and_said() {
    let server = Scripted::start(|_, body| match body {
        _ if body.contains("number 1.") => answer(br"half a pair: \ud83d!", USAGE),
        _ if body.contains("number 2.") => answer(b"Latin-1: caf\xe9", USAGE),
        _ if body.contains("number 3.") => answer(br"whole: \ud83d\ude00", USAGE),
        _ => response(200, &[], [b"\0\xef\xbb\xbf", &answer_body("plain")[..], b"\0"].concat()),
    });
    let workspace = Workspace::with_prompts(4);
    let ended = run(&workspace, &server, &[]);
    ended.assert_ended(0, [4, 0, 0, 0]);
    let outputs = [1, 2, 3, 4].map(|prompt| workspace.output(prompt).expect("an answer"));
    assert_eq!(outputs, ["half a pair: \u{fffd}!", "Latin-1: caf\u{fffd}", "whole: \u{1f600}", "plain"]);
    // Nothing is paid twice for it.
    assert_eq!(server.bodies().len(), 4);
    let odd = ended.events("odd");
    let mut told: Vec<_> = odd.iter().map(|event| event["key"].as_str()).collect();
    told.sort_unstable();
    assert_eq!(told, [Some("1"), Some("2")]);
    assert_eq!(ended.summary()["repaired"], 2);
    let text = workspace.run(&["run", "--force", "--base-url", &server.base_url]);
    text.says(&["2 answers with characters that are not text; U+FFFD (�) stands in their place"]);
}

fn answer_body(text: &str) -> Vec<u8> {
    let whole = answer(text.as_bytes(), USAGE);
    let start = whole.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    whole[start..].to_vec()
}

#[test]
fn an_error_with_broken_characters_is_judged_by_its_code() {
    let body = b"{\"error\":{\"message\":\"caf\xe9 \\ud83d\",\"code\":\"context_length_exceeded\"}}";
    let server = Scripted::start(move |_, _| response(400, &[], body));
    let workspace = Workspace::with_prompts(1);
    let ended = run(&workspace, &server, &[]);
    ended.assert_ended(1, [0, 0, 1, 0]);
    assert_eq!(ended.events("failed")[0]["class"], "context_length");
}

#[test]
fn usage_that_cannot_be_true_is_counted_instead_and_said() {
    for usage in [
        r#"{"prompt_tokens":20,"completion_tokens":1000000000000,"total_tokens":1000000000020}"#,
        r#"{"prompt_tokens":20,"completion_tokens":5,"total_tokens":9223372036854775808}"#,
        r#"{"prompt_tokens":18446744073709551615,"completion_tokens":18446744073709551615}"#,
        r#"{"prompt_tokens":9223372036854775807,"completion_tokens":9223372036854775807}"#,
        r#"{"prompt_tokens":20,"completion_tokens":1e12}"#,
        r#"{"prompt_tokens":-5,"completion_tokens":5}"#,
        r#"{"prompt_tokens":"20","completion_tokens":"5"}"#,
    ] {
        let server = Scripted::start(move |_, _| answer(b"one two three", usage));
        let workspace = Workspace::with_prompts(12);
        let ended = run(&workspace, &server, &["--concurrency", "4"]);
        ended.assert_ended(0, [12, 0, 0, 0]);
        let summary = ended.summary();
        assert_eq!((&summary["recounted"], ended.events("odd").len()), (&12.into(), 12), "{usage}");
        // Neither the day nor what the next run expects is spoilt.
        assert!((12 * 10..12 * 40).contains(&workspace.usage().day_tokens), "{usage}: {}", workspace.usage());
        let again = run(&workspace, &server, &["--force", "--concurrency", "4"]);
        again.assert_ended(0, [12, 0, 0, 0]);
        assert!((24 * 10..24 * 40).contains(&workspace.usage().day_tokens), "{usage}: {}", workspace.usage());
    }
}

#[test]
fn hidden_reasoning_is_believed() {
    let server = Scripted::start(|_, _| {
        answer(b"yes", r#"{"prompt_tokens":20,"completion_tokens":60000,"total_tokens":60020}"#)
    });
    let workspace = Workspace::with_prompts(3);
    let ended = run(&workspace, &server, &[]);
    ended.assert_ended(0, [3, 0, 0, 0]);
    assert_eq!(ended.summary()["recounted"], 0);
    assert_eq!(workspace.usage().day_tokens, 3 * 60_020);
}
