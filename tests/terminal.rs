//! What comes from outside is shown on one line and escaped: no file's name, setting or message forges a line or moves the cursor.

#![cfg(unix)]
#![expect(clippy::expect_used, reason = "helpers of tests, outside of test functions")]

mod common;

use std::fs;

use common::{Ended, Workspace};

/// Begins a line of its own, erases the screen, rings the bell and turns the line's direction; the third escape has 8 bits.
const EVIL: &str = "x\nFORGED\r\tFORGED\u{1b}[2J\u{7}\u{9b}31m\u{202e}\u{2028}FORGED";

/// Its text as it is shown: the beginning of it.
const SHOWN: &str = r"x\nFORGED\r\tFORGED\u{1b}[2J\u{7}\u{9b}31m\u{202e}\u{2028}FORGED";

#[track_caller]
fn assert_harmless(ended: &Ended) {
    for text in [&ended.stderr, &ended.stdout] {
        let forged = text.lines().any(|line| line.trim_start().starts_with("FORGED"));
        let raw = text.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}' || c == '\u{2028}');
        assert!(!forged && !raw, "{ended:#?}");
    }
}

fn quoted(text: &str) -> String {
    // A JSON string is a TOML string too.
    serde_json::to_string(text).expect("JSON")
}

#[test]
fn names_of_files_and_folders_are_escaped() {
    let workspace = Workspace::with_prompts(1);
    workspace.write(&format!("prompts/{EVIL}.txt"), "x");
    fs::create_dir(workspace.path(EVIL)).expect("made");
    workspace.write(&format!("{EVIL}/1_prompt.txt"), b"\xff");
    workspace.write(&format!("{EVIL}.toml"), "model = \"gpt-4o\"");
    for (code, args) in [
        (0, ["--offline"].as_slice()),
        (0, &["plan"]),
        (1, &["--offline", "--force", "--prompts", EVIL]),
        (1, &["plan", "--prompts", EVIL]),
        (2, &["--offline", "--prompts", &format!("{EVIL}2")]),
        (2, &["--offline", "--ledger", &format!("{EVIL}/no/usage.md"), "--outputs", &format!("{EVIL}/1_prompt.txt")]),
        (0, &["settings", "--config", &format!("{EVIL}.toml")]),
        (2, &["--config", &format!("{EVIL}2.toml")]),
        (2, &["--system-file", &format!("{EVIL}.md")]),
    ] {
        let ended = workspace.run_to(code, args);
        assert_harmless(&ended);
        assert!((ended.stderr.clone() + &ended.stdout).contains(SHOWN), "{args:?}: {ended:#?}");
    }
    // An output's ERROR is one line, and so are the events.
    let line = workspace.read("outputs/1_output.txt");
    assert!(line.starts_with("ERROR: not_text: ") && line.contains(SHOWN) && line.lines().count() == 1, "{line:?}");
    let ended = workspace.run_to(1, &["--offline", "--json", "--prompts", EVIL]);
    assert_harmless(&ended);
    assert!(ended.events("failed")[0]["message"].as_str().expect("a message").contains(EVIL));
}

#[test]
fn settings_and_arguments_are_escaped() {
    let workspace = Workspace::with_prompts(1);
    for (code, text) in [
        (2, format!("{} = 1", quoted(EVIL))),
        (2, format!("[limits]\n{} = 1", quoted(EVIL))),
        (2, format!("api = {}", quoted(EVIL))),
        (2, format!("range = {}", quoted(EVIL))),
        (2, format!("base_url = {}", quoted(EVIL))),
        (2, format!("model = {}", quoted(EVIL))),
        (0, format!("[request]\nsystem = {}", quoted(EVIL))),
    ] {
        workspace.write("promptmill.toml", &text);
        for command in ["settings", "plan"] {
            let ended = workspace.run(&[command]);
            assert!(command == "plan" || ended.code == Some(code) || text.starts_with("model"), "{text}: {ended:#?}");
            assert_harmless(&ended);
        }
    }
    fs::remove_file(workspace.path("promptmill.toml")).expect("removed");
    for args in [
        [EVIL].as_slice(),
        &[&format!("--{EVIL}")],
        &["plan", &format!("--{EVIL}=1")],
        &["--for", EVIL],
        &["--until", EVIL],
        &["status", "--json", EVIL],
        &["standin", "--fault", EVIL],
        &["--api", EVIL],
        &["--only", EVIL],
    ] {
        let ended = workspace.run_to(2, args);
        assert_harmless(&ended);
        assert!(ended.stderr.contains("FORGED") && ended.stderr.contains(r"\u{1b}"), "{args:?}: {ended:#?}");
    }
    let named = workspace.command(&["plan"]).env(format!("PROMPTMILL_{EVIL}"), "1").output().expect("it starts");
    let ended = Ended::from(named);
    assert_harmless(&ended);
    ended.says(&["PROMPTMILL_x\\nFORGED"]);
}

#[test]
fn the_locks_text_is_escaped() {
    let workspace = Workspace::with_prompts(1);
    fs::create_dir(workspace.path("outputs")).expect("made");
    workspace.write("outputs/.promptmill.lock", EVIL);
    let folder = fs::File::open(workspace.path("outputs")).expect("a folder");
    folder.try_lock().expect("locked");
    let ended = workspace.run_to(2, &["--offline"]);
    assert_harmless(&ended);
    ended.says(&[SHOWN]);
}
