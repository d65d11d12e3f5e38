//! Files and folders that are not what they should be, and that somebody else may have put there.

#![cfg(unix)]
#![expect(clippy::expect_used, reason = "helpers of tests, outside of test functions")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use common::{Ended, Workspace};

const DONE_TWO: &str = "2 prompts = 2 done + 0 up to date + 0 failed + 0 pending";

fn fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(made.success(), "{}", path.display());
}

/// What may stand where a small text file should.
const THINGS: [(&str, &str); 4] = [
    ("fifo", "it is a FIFO"),
    ("endless", "it is a device"),
    ("folder", "it is a folder"),
    ("long", "it is larger than"),
];

fn put(thing: &str, path: &Path) {
    match thing {
        "fifo" => fifo(path),
        "endless" => symlink("/dev/zero", path).expect("a link"),
        "folder" => fs::create_dir(path).expect("a folder"),
        "long" => fs::File::create(path).and_then(|file| file.set_len(3_000_000_000)).expect("a sparse file"),
        _ => unreachable!(),
    }
}

fn take(path: &Path) {
    fs::remove_file(path).or_else(|_| fs::remove_dir(path)).expect("removed");
}

/// Runs the binary where it cannot have much memory: reading something endless fails instead of filling the machine.
fn run_in_4_gb(workspace: &Workspace, args: &[&str]) -> Ended {
    let command = workspace.command(args);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -v 4000000; exec \"$0\" \"$@\""]).arg(command.get_program()).args(args);
    shell.current_dir(workspace.folder()).env_clear().stdin(std::process::Stdio::null());
    shell.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    Ended::of(shell.spawn().expect("it starts"))
}

#[test]
fn what_is_no_regular_file_is_named_and_not_read() {
    let workspace = Workspace::with_prompts(2);
    let offline = ["--offline", "--system-file", "system.txt"];
    workspace.write("system.txt", "Be brief.");
    for name in
        ["promptmill.toml", ".env", "api_key.txt", ".openai_key", "gpt_model_type.txt", "usage.md", "system.txt"]
    {
        let is_key = [".env", "api_key.txt", ".openai_key"].contains(&name);
        for (thing, said) in THINGS {
            let path = workspace.path(name);
            let _ = fs::remove_file(&path);
            put(thing, &path);
            if (thing, is_key) == ("folder", true) {
                // Python's virtual environments are folders named `.env`.
                run_in_4_gb(&workspace, &["plan", "--offline"]);
            } else {
                for args in [offline.as_slice(), &["plan", "--system-file", "system.txt"]] {
                    let ended = run_in_4_gb(&workspace, args);
                    assert_eq!(ended.code, Some(2), "{name} is {thing}: {ended:#?}");
                    ended.says(&[name, said]);
                }
            }
            take(&path);
        }
        workspace.write("system.txt", "Be brief.");
    }
    // Links to regular files are files.
    workspace.write("elsewhere", "model = 'gpt-4o'");
    symlink("elsewhere", workspace.path("promptmill.toml")).expect("a link");
    assert!(workspace.run_to(0, &["settings"]).stdout.contains("gpt-4o  (promptmill.toml:1)"));
    workspace.run_to(0, &offline).closes(DONE_TWO);
}

#[test]
fn a_prompt_too_long_for_any_model_fails_alone() {
    let workspace = Workspace::with_prompts(2);
    put("long", &workspace.path("prompts/3_prompt.txt"));
    let ended = run_in_4_gb(&workspace, &["--offline"]);
    ended.says(&["prompts/3_prompt.txt cannot be read: it is larger than 256 MB", "shorten it"]);
    ended.closes("3 prompts = 2 done + 0 up to date + 1 failed + 0 pending");
    assert!(workspace.read("outputs/3_output.txt").starts_with("ERROR: unreadable: "));
}

#[test]
fn a_link_in_place_of_an_own_file_harms_nothing_outside() {
    let outside = tempfile::tempdir().expect("a folder");
    let targets = ["text", "empty", "nothing", "folder"].map(|name| outside.path().join(name));
    fs::write(&targets[0], "precious\n").expect("written");
    fs::write(&targets[1], "").expect("written");
    fs::create_dir(&targets[3]).expect("made");
    // Those of a group do not keep each other from being reached.
    let groups: [&[&str]; 5] = [
        &["outputs/.promptmill.lock", "outputs/.promptmill-a.tmp", ".promptmill-a.tmp"],
        &["outputs/2_output.txt"],
        &["outputs/1_output.previous.txt", "usage.md", "usage.md.old"],
        &[".promptmill/usage.db"],
        &[".promptmill/usage.db-wal", ".promptmill/usage.db-shm", ".promptmill/usage.db-journal"],
    ];
    for group in groups {
        // A database makes its tables in an empty file; to the others it is a text.
        for target in targets.iter().filter(|target| group == groups[3] || !target.ends_with("empty")) {
            let workspace = Workspace::with_prompts(2);
            // What fails replaces an answer, which is moved aside.
            workspace.write("prompts/1_prompt.txt", b"\xff");
            fs::create_dir(workspace.path("outputs")).expect("made");
            fs::create_dir(workspace.path(".promptmill")).expect("made");
            workspace.write("outputs/1_output.txt", "an answer");
            for name in group {
                let _ = fs::remove_file(workspace.path(name));
                symlink(target, workspace.path(name)).expect("a link");
            }
            for more in [[].as_slice(), &["--force", "--reset-usage"]] {
                let ended = workspace.run(&[["--offline"].as_slice(), more].concat());
                if group == groups[1] {
                    assert_eq!(ended.code, Some(1), "{}: {ended:#?}", target.display());
                } else if group == groups[0] {
                    assert_eq!(ended.code, Some(1), "{ended:#?}");
                    assert!(workspace.read("outputs/.promptmill.lock").starts_with("process "));
                } else if group == groups[2] && target.ends_with("nothing") {
                    assert_eq!(ended.stderr.contains("usage.md is a link to "), more.is_empty(), "{ended:#?}");
                    assert!(!workspace.path("usage.md").is_symlink());
                } else if group == groups[3] {
                    assert_eq!(ended.code, Some(2), "{ended:#?}");
                    ended.says(&[".promptmill/usage.db is a link", "take it away", "--ledger"]);
                }
            }
            assert_eq!(fs::read_dir(outside.path()).expect("a folder").count(), 3, "{group:?}");
            assert_eq!(fs::read_to_string(&targets[0]).expect("read"), "precious\n", "{group:?}");
            assert_eq!(fs::read_to_string(&targets[1]).expect("read"), "", "{group:?}");
            assert_eq!(fs::read_dir(&targets[3]).expect("a folder").count(), 0, "{group:?}");
        }
    }
}

#[test]
fn the_lock_says_who_holds_the_folder_whatever_stood_in_its_place() {
    for (thing, _) in THINGS {
        let workspace = Workspace::with_prompts(2);
        fs::create_dir(workspace.path("outputs")).expect("made");
        put(thing, &workspace.path("outputs/.promptmill.lock"));
        workspace.run_to(0, &["--offline"]).closes(DONE_TWO);
        if thing != "folder" {
            assert!(workspace.read("outputs/.promptmill.lock").starts_with("process "));
        }
    }
}

#[test]
fn what_leads_out_of_the_folder_is_said_once_and_used() {
    let workspace = Workspace::with_prompts(1);
    let outside = tempfile::tempdir().expect("a folder");
    let secret = outside.path().join("secret");
    fs::write(&secret, "A secret.").expect("written");
    let secret = secret.canonicalize().expect("a path");
    let secret = secret.to_str().expect("UTF-8");
    workspace.write("here.txt", "Be brief.");
    symlink(secret, workspace.path("link.txt")).expect("a link");
    for number in [7, 9] {
        symlink(secret, workspace.path(&format!("prompts/{number}_prompt.txt"))).expect("a link");
    }
    let prompts = "2 prompts are links out of prompts, 7_prompt.txt to ";
    let system =
        |line: &str| format!("warning: `request.system_file` (from {line}) leads out of its folder, to {secret}");
    let settings = |file: &str| format!("[request]\nsystem_file = {file:?}\n");
    for (file, said) in [("here.txt", false), ("link.txt", true), (secret, true)] {
        workspace.write("promptmill.toml", settings(file));
        for args in [["--offline", "--force"].as_slice(), &["plan"]] {
            let ended = workspace.run_to(0, args);
            ended.says(&[prompts, "the texts there are sent"]);
            assert_eq!(ended.stderr.matches(prompts).count(), 1, "{ended:#?}");
            let said = usize::from(said);
            assert_eq!(ended.stderr.matches(&system("promptmill.toml:2")).count(), said, "{ended:#?}");
            assert_eq!(ended.stderr.matches("out of its folder").count(), said, "{ended:#?}");
        }
    }
    workspace.write(".env", format!("PROMPTMILL_SYSTEM_FILE={secret}\n"));
    workspace.run_to(0, &["settings"]).says(&[&system(".env:1")]);
    // A person's own word needs none.
    let ended = workspace.run_to(0, &["settings", "--system-file", secret]);
    assert!(!ended.stderr.contains("out of its folder"), "{ended:#?}");
    // One file serves two folders: what stands beside it is in its folder, and so is what stands here.
    fs::create_dir(workspace.path("shared")).expect("made");
    fs::rename(workspace.path(".env"), workspace.path("env")).expect("renamed");
    for file in ["here.txt", "shared/there.txt"] {
        workspace.write("shared/there.txt", "Be brief.");
        workspace.write("shared/my.toml", settings(file));
        let ended = workspace.run_to(0, &["settings", "--config", "shared/my.toml"]);
        assert!(!ended.stderr.contains("out of its folder"), "{ended:#?}");
    }
}
