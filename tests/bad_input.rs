//! What goes wrong on a tired person's machine: each time one clear sentence, the right exit code, and nothing lost.

#![expect(clippy::expect_used, reason = "helpers of tests, outside of test functions")]

mod common;

use std::fs;

use common::{Ended, Workspace, billed, serve};
use promptmill::standin::Options;

const DONE_TWO: &str = "2 prompts = 2 done + 0 up to date + 0 failed + 0 pending";

#[cfg(unix)]
fn chmod(workspace: &Workspace, name: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(workspace.path(name), fs::Permissions::from_mode(mode)).expect("changed");
}

#[test]
fn edited_usage_wins() {
    let workspace = Workspace::with_prompts(2);
    workspace.run_to(0, &["--offline"]);
    workspace.edit_usage("tokens_within_day", "4999999");
    let flags = ["--offline", "--force", "--on-day-limit", "exit"];
    assert!(workspace.run_to(0, &["status"]).stdout.contains("4,999,999 of 5,000,000"));
    let plan = workspace.run_to(5, &[&["plan"], flags.as_slice()].concat());
    assert!(plan.stdout.contains("a day limit leaves 2 pending"), "{plan:#?}");
    let plan = workspace.run_to(0, &["plan", "--offline", "--force"]);
    assert!(plan.stdout.contains("tokens_per_day is the limit, 1 wait"), "{plan:#?}");
    let ran = workspace.run_to(5, &flags);
    ran.says(&["usage.md was edited", "4,999,999", "tokens_per_day"])
        .closes("2 prompts = 0 done + 0 up to date + 0 failed + 2 pending");
    assert_eq!(workspace.usage().day_tokens, 4_999_999);
    workspace.edit_usage("tokens_within_day", "7");
    workspace.run_to(0, &flags).closes(DONE_TWO);
    assert!(workspace.usage().day_tokens > 7);
}

#[test]
fn damaged_usage_is_left_alone_until_it_is_reset() {
    let lots: &[u8] = b"tokens_within_min = 0\nrequests_within_min = 0\ntokens_within_day = lots\n\
        minute_token_limit_reached = 0\nday_token_limit_reached = 0\nDate = 2026-11-22\n";
    let damages = [
        (lots, "`tokens_within_day = lots`"),
        (b"tokens_within_min = 3\n", "`Date` is missing"),
        (b"", "missing"),
        (b"my notes\n", "line 1"),
        (b"\xff\xfe", "cannot be read"),
    ];
    for (text, named) in damages {
        let workspace = Workspace::with_prompts(2);
        workspace.write("usage.md", text);
        for args in [["--offline"].as_slice(), &["plan", "--offline"], &["status"]] {
            workspace.run_to(2, args).says(&["usage.md", named, "--reset-usage"]);
            assert_eq!(fs::read(workspace.path("usage.md")).expect("there"), text);
        }
        workspace.run_to(0, &["--offline", "--reset-usage"]).says(&["usage.md.old"]).closes(DONE_TWO);
        assert_eq!(fs::read(workspace.path("usage.md.old")).expect("kept"), text);
        assert_eq!(workspace.usage().minute.requests, 2);
    }
}

#[cfg(unix)]
#[test]
fn what_is_read_only_is_not_written() {
    let workspace = Workspace::with_prompts(2);
    workspace.run_to(0, &["--offline"]);
    for (name, mode, back) in [("usage.md", 0o444, 0o644), (".promptmill", 0o555, 0o755), ("outputs", 0o555, 0o755)] {
        chmod(&workspace, name, mode);
        let before = workspace.read("usage.md");
        workspace.run_to(2, &["--offline", "--force"]).says(&[name, "read-only", "writable"]);
        assert_eq!(workspace.read("usage.md"), before);
        // A look is no change.
        workspace.run_to(0, &["status"]);
        workspace.run_to(0, &["plan", "--offline"]);
        chmod(&workspace, name, back);
    }
    workspace.run_to(0, &["--offline", "--force"]).closes(DONE_TWO);
}

#[test]
fn a_file_for_a_folder_and_a_folder_for_a_file() {
    let workspace = Workspace::with_prompts(2);
    fs::create_dir(workspace.path("outputs")).expect("made");
    fs::create_dir(workspace.path("usage.md")).expect("made");
    workspace.run_to(2, &["--offline"]).says(&["usage.md", "it is a folder", "--reset-usage"]);
    fs::remove_dir(workspace.path("usage.md")).expect("removed");
    fs::remove_dir_all(workspace.path("outputs")).expect("removed");
    workspace.write("outputs", "x");
    workspace.run_to(2, &["--offline"]).says(&["outputs is a file", "--outputs"]);
    workspace.run_to(2, &["plan"]).says(&["outputs is a file", "--outputs"]);
    fs::remove_file(workspace.path("outputs")).expect("removed");
    fs::remove_dir_all(workspace.path(".promptmill"))
        .or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })
        .expect("removed");
    workspace.write(".promptmill", "x");
    workspace.run_to(2, &["--offline"]).says(&[".promptmill", "--ledger"]);
    fs::remove_file(workspace.path(".promptmill")).expect("removed");
    fs::remove_dir_all(workspace.path("prompts")).expect("removed");
    workspace.run_to(2, &["--offline"]).says(&["folder `prompts` not found", "1_prompt.txt", "--prompts"]);
    workspace.write("prompts", "x");
    workspace.run_to(2, &["--offline"]).says(&["prompts is a file", "--prompts"]);
}

#[test]
fn no_prompt_is_nothing_to_do() {
    let workspace = Workspace::with_prompts(0);
    let nothing = "0 prompts = 0 done + 0 up to date + 0 failed + 0 pending";
    // Without a key too.
    workspace.run_to(0, &[]).says(&["no prompts in prompts", "1_prompt.txt"]).closes(nothing);
    workspace.write("prompts/7_prompt.txt", "x");
    workspace.run_to(0, &["--only", "8"]).says(&["--only 8"]).closes(nothing);
}

#[test]
fn a_bad_prompt_fails_alone() {
    let workspace = Workspace::with_prompts(2);
    workspace.write("prompts/3_prompt.txt", b"ab\xffcd");
    workspace.write("prompts/4_prompt.txt", "\u{feff}Say something short about the number 1.\n");
    workspace.write("prompts/5_prompt.txt", "    ");
    workspace.write("prompts/6_prompt.txt", " ".repeat(1_000_000) + "?");
    workspace.write("prompts/7_prompt.txt", "a few words ".repeat(170_000));
    workspace.write("prompts/8_prompt.txt", "");
    workspace.write("prompts/notes.txt", "x");
    workspace.write("prompts/101_prompt.txt", "x");
    let server = serve(Options::default());
    let url = server.base_url();
    let ran = workspace.run_to(1, &["--base-url", &url]);
    ran.says(&[
        "notes.txt",
        "no text in it: 5_prompt.txt, 8_prompt.txt",
        "101_prompt.txt",
        "prompts/3_prompt.txt",
        "byte 2",
        "context window of 128,000",
    ])
    .closes("6 prompts = 4 done + 0 up to date + 2 failed + 0 pending");
    assert!(workspace.read("outputs/3_output.txt").starts_with("ERROR: not_text: prompts/3_prompt.txt"));
    assert!(workspace.read("outputs/7_output.txt").starts_with("ERROR: too_large: "));
    // Without its mark, the fourth is the same request as the first.
    assert_eq!(workspace.read("outputs/4_output.txt"), workspace.read("outputs/1_output.txt"));
    assert_eq!((server.log().len(), workspace.usage().day_tokens), (4, billed(&server.log())));
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let workspace = Workspace::with_prompts(1);
    for (text, parts) in [
        ("modle = \"x\"", ["promptmill.toml:1", "`modle`", "`model`"]),
        ("[limits]\ntoken_per_minute = 3", ["promptmill.toml:2", "limits.token_per_minute", "`tokens_per_minute`"]),
        ("tokens_per_minute = 3", ["promptmill.toml:1", "`tokens_per_minute`", "[limits]"]),
        ("[limits]\ntokens_per_minute = -3", ["promptmill.toml:2", "`-3`", "whole number"]),
        ("[limits]\nwindow = \"0s\"", ["promptmill.toml:2", "`0s`", "`60s`"]),
        ("[request]\ntemperature = 9", ["promptmill.toml:2", "`9`", "0 to 2"]),
        ("range = \"5-1\"", ["promptmill.toml:1", "5 is after 1", "`1-100`"]),
        ("model = ", ["promptmill.toml:1", "TOML", "quoted"]),
        ("[request]\nsystem_file = \"nope.txt\"", ["nope.txt", "promptmill.toml:2", "no such file"]),
    ] {
        workspace.write("promptmill.toml", text);
        for args in [["--offline"].as_slice(), &["plan"], &["settings"]] {
            workspace.run_to(2, args).says(&parts);
        }
    }
    fs::remove_file(workspace.path("promptmill.toml")).expect("removed");
    workspace.run_to(2, &["--offline", "--modle", "x"]).says(&["--modle", "--model"]);
    workspace.run_to(2, &["--offline", "--api", "foo"]).says(&["from --api", "`chat` or `responses`"]);
    workspace.run_to(2, &["--offline", "--config", "no.toml"]).says(&["no.toml", "--config"]);
    workspace.run_to(2, &["plna"]).says(&["plna", "plan"]);
    let misspelt = Ended::run(workspace.command(&["--offline"]).env("PROMPTMILL_MODLE", "x"));
    misspelt.says(&["warning", "PROMPTMILL_MODLE", "PROMPTMILL_MODEL"]);
}

#[test]
fn a_state_file_that_is_not_ours_is_left_alone() {
    let workspace = Workspace::with_prompts(2);
    workspace.run_to(0, &["--offline"]);
    let good = fs::read(workspace.path(".promptmill/usage.db")).expect("there");
    let garbage = b"not a database, ".repeat(3_000);
    // The format's number stands at byte 60 of an SQLite file, big-endian.
    let mut newer = good.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    for (bytes, said) in [(garbage, "it is damaged: move it away"), (newer, "newer promptmill (format 99")] {
        workspace.write(".promptmill/usage.db", &bytes);
        for args in [["--offline"].as_slice(), &["plan"], &["status"]] {
            workspace.run_to(2, args).says(&[".promptmill/usage.db", said]);
            assert!(fs::read(workspace.path(".promptmill/usage.db")).expect("there") == bytes, "it was changed");
        }
    }
    workspace.write(".promptmill/usage.db", good);
    workspace.run_to(0, &["--offline"]).closes("2 prompts = 0 done + 2 up to date + 0 failed + 0 pending");
}
