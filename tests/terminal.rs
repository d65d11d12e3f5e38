//! What comes from outside is shown on one line and escaped: no file's name, setting or message forges a line or moves the cursor. And the line that
//! shows how far a run is.

#![cfg(unix)]
#![expect(clippy::expect_used, reason = "helpers of tests, outside of test functions")]

mod common;

use std::fs::{self, File};
use std::io::Read as _;
use std::time::Duration;

use common::{Ended, Watchdog, Workspace, serve};
use promptmill::standin::Options;
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

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

/// Begins each drawing of the line: what stood at the cursor and after it goes, and that is all of the line before.
const CLEAR: &str = "\r \u{1b}[J\r";

#[test]
fn the_progress_line_fits_the_terminal_and_leaves_nothing_behind_where_that_gets_narrower() {
    let workspace = Workspace::with_prompts(2_000);
    let server = serve(Options { latency: Duration::from_millis(300), ..Options::default() });
    let mut ours = File::from(openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal"));
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a terminal");
    let name = ptsname(&ours, Vec::new()).expect("its name").into_string().expect("text");
    let terminal = ours.try_clone().expect("another end");
    let resize = |columns| {
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).expect("a size");
    };
    resize(120);
    let mut command = workspace.command_against(&server, &["--concurrency", "1"]);
    let theirs = File::options().read(true).write(true).open(&name).expect("its other end");
    let child = command.stderr(theirs).spawn().expect("it starts");
    // The end that is kept for the child would keep the reader waiting.
    drop(command);
    let _watchdog = Watchdog::over(&child);
    let (mut said, mut part) = (Vec::new(), [0; 1024]);
    let mut until = |seen: &dyn Fn(&str) -> bool| {
        while !seen(&String::from_utf8_lossy(&said)) {
            // An error says that the other end is closed.
            let read = ours.read(&mut part).unwrap_or_else(|_| panic!("it ended: {}", String::from_utf8_lossy(&said)));
            said.extend_from_slice(&part[..read]);
        }
        String::from_utf8_lossy(&said).into_owned()
    };
    // Drawings whose line has a count and the time left, and no more of it than fits.
    let drawn = |said: &str, columns: usize| {
        let lines = said.split(CLEAR).filter(|line| line.contains("/2000, ") && line.contains(" left, "));
        lines.filter(|line| line.trim_end_matches('\r').chars().count() == columns - 1).count()
    };
    until(&|said| said.contains(" left, waiting for answers, 1 in flight, "));
    resize(50);
    let narrow = until(&|said| drawn(said, 50) > 1);
    let last = narrow.rsplit(CLEAR).nth(1).expect("a drawing");
    assert!(last.chars().count() <= 50 && last.ends_with("\u{2026}\r"), "{last:?}");
    // Each leaves the cursor at the beginning of its line, whatever the terminal makes of the line then.
    let lines: Vec<&str> = narrow.split(CLEAR).collect();
    for line in &lines[1..lines.len() - 1] {
        assert!(
            line.ends_with('\r') && !line.trim_end_matches('\r').rsplit('\n').next().expect("text").contains('\r'),
            "{line:?}"
        );
    }
    common::signal(&child, Signal::INT);
    // What is in flight is all that is left.
    let stopped = until(&|said| said.contains("/2000, stopping, "));
    let after = stopped.rsplit("stopping: interrupted").next().expect("text");
    assert!(!after.contains(" left, "), "{after:?}");
    assert_eq!(Ended::of(child).code, Some(130));
}
