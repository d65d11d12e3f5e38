//! A key from outside goes to a server that the folder names only after consent. The server is a stand-in behind `http_proxy`: whatever host is
//! named, nothing leaves this machine.

#![cfg(unix)]
#![expect(clippy::expect_used, reason = "helpers of tests, outside of test functions")]

mod common;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;

use common::{Ended, Workspace, serve};
use promptmill::standin::{Options, Server};

const KEY: &str = "k-test-4711";
const GATEWAY: &str = "base_url = \"http://gw.test/v1\"\n";
const DONE: &str = "1 prompt = 1 done + 0 up to date + 0 failed + 0 pending";

/// A folder that names a gateway, a key outside of it, and the user's configuration.
struct Cloned {
    workspace: Workspace,
    home: tempfile::TempDir,
    server: Server,
}

impl Cloned {
    fn new(file: &str, text: &str) -> Self {
        let workspace = Workspace::with_prompts(1);
        workspace.write(file, text);
        let server = serve(Options { key: Some(KEY.to_owned()), ..Options::default() });
        Self { workspace, home: tempfile::tempdir().expect("a folder"), server }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.workspace.command(args);
        let proxy = self.server.base_url().trim_end_matches("/v1").to_owned();
        command.env("HOME", self.home.path()).env("http_proxy", proxy).env("OPENAI_API_KEY", KEY);
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        Ended::of(self.command(args).spawn().expect("it starts"))
    }

    /// Runs it on a terminal on which `answer` is typed; what it said there is its stderr.
    fn on_a_terminal(&self, answer: &str) -> Ended {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a terminal");
        let name = ptsname(&ours, Vec::new()).expect("its name").into_string().expect("text");
        let open = || File::options().read(true).write(true).open(&name).expect("its other end");
        let mut ours = File::from(ours);
        ours.write_all(answer.as_bytes()).expect("typed");
        let mut command = self.command(&["--quiet"]);
        let child = command.stdin(open()).stderr(open()).spawn().expect("it starts");
        // The ends that are kept for the child would keep the reader waiting.
        drop(command);
        let reader = std::thread::spawn(move || {
            let (mut said, mut part) = (Vec::new(), [0; 1024]);
            // An error says that the other end is closed.
            while let Ok(read @ 1..) = ours.read(&mut part) {
                said.extend_from_slice(&part[..read]);
            }
            String::from_utf8_lossy(&said).into_owned()
        });
        let ended = Ended::of(child);
        Ended { stderr: reader.join().expect("no panic"), ..ended }
    }

    fn asked(&self) -> usize {
        self.server.log().len()
    }

    fn kept(&self) -> PathBuf {
        self.home.path().join(".config/promptmill/consent.toml")
    }
}

#[test]
fn a_key_from_outside_goes_to_no_server_that_a_file_names() {
    for (file, text, line) in [
        ("promptmill.toml", GATEWAY, "promptmill.toml:1"),
        (".env", "# a gateway\nOPENAI_BASE_URL=http://gw.test/v1\n", ".env:2"),
        (".env", "PROMPTMILL_BASE_URL=http://gw.test/v1\nOPENAI_API_KEY=own\n", ".env:1"),
    ] {
        let cloned = Cloned::new(file, text);
        for args in [["run"].as_slice(), &["--json", "--quiet"], &["--force"]] {
            let ran = cloned.run(args);
            assert_eq!((ran.code, cloned.asked()), (Some(2), 0), "{ran:#?}");
            ran.says(&[line, "gw.test", "the environment variable OPENAI_API_KEY", "--base-url http://gw.test/v1"]);
            assert!(!ran.stderr.contains(KEY), "{ran:#?}");
        }
    }
}

#[test]
fn what_sends_nothing_needs_no_consent() {
    let cloned = Cloned::new("promptmill.toml", GATEWAY);
    for args in [["plan"].as_slice(), &["status"], &["limits"], &["--offline"]] {
        let ran = cloned.run(args);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
    }
    let shown = cloned.run(&["settings"]).stdout;
    assert!(shown.contains("consent") && shown.contains("needed before anything is sent"), "{shown}");
    assert_eq!(cloned.asked(), 0);
}

#[test]
fn the_address_as_a_flag_or_variable_is_consent_and_a_key_in_the_folder_needs_none() {
    let cloned = Cloned::new("promptmill.toml", GATEWAY);
    let ran = cloned.run(&["--base-url", "http://gw.test/v1"]);
    ran.says(&["http://gw.test/v1 is not encrypted"]).closes(DONE);
    for name in ["OPENAI_BASE_URL", "PROMPTMILL_BASE_URL"] {
        let mut command = cloned.command(&["--force"]);
        let ran = Ended::of(command.env(name, "http://gw.test/v1").spawn().expect("it starts"));
        ran.closes(DONE);
    }
    cloned.workspace.write("api_key.txt", KEY);
    let mut command = cloned.command(&["--force"]);
    Ended::of(command.env_remove("OPENAI_API_KEY").spawn().expect("it starts")).closes(DONE);
    assert_eq!(cloned.asked(), 4);
    assert!(!cloned.kept().exists());
}

#[test]
fn secret_headers_from_outside_need_consent_too() {
    let cloned = Cloned::new("promptmill.toml", GATEWAY);
    let mut command = cloned.command(&[]);
    command.env_remove("OPENAI_API_KEY").env("PROMPTMILL_HEADERS", format!("Authorization=Bearer {KEY}"));
    let ran = Ended::of(command.spawn().expect("it starts"));
    assert_eq!((ran.code, cloned.asked()), (Some(2), 0), "{ran:#?}");
    ran.says(&["the headers from PROMPTMILL_HEADERS"]);
    assert!(!ran.stderr.contains(KEY), "{ran:#?}");
}

#[test]
fn no_is_no_and_is_not_kept() {
    let cloned = Cloned::new("promptmill.toml", GATEWAY);
    for answer in ["\n", "n\n", "what\n", "\u{4}"] {
        let ran = cloned.on_a_terminal(answer);
        assert_eq!((ran.code, cloned.asked()), (Some(2), 0), "{answer:?}: {ran:#?}");
        ran.says(&["promptmill.toml:1 names the server http://gw.test", "[y/N]", "--base-url"]);
    }
    assert!(!cloned.kept().exists());
}

#[test]
fn yes_is_kept_for_this_folder_and_this_server() {
    let cloned = Cloned::new("promptmill.toml", GATEWAY);
    let ran = cloned.on_a_terminal("y\n");
    ran.says(&["[y/N]", "consent.toml"]).closes(DONE);
    let mode = |path: &std::path::Path| fs::metadata(path).expect("there").mode() & 0o7777;
    assert_eq!((mode(&cloned.kept()), mode(cloned.kept().parent().expect("a folder"))), (0o600, 0o700));
    let text = fs::read_to_string(cloned.kept()).expect("text");
    assert!(text.contains("http://gw.test") && !text.contains(KEY), "{text}");
    // From now on nothing is asked, with a terminal and without one.
    cloned.run(&["--force"]).closes(DONE);
    assert!(cloned.run(&["settings"]).stdout.contains("given: promptmill.toml:1"));
    let asked = cloned.asked();
    cloned.workspace.write("promptmill.toml", "base_url = \"http://other.test/v1\"\n");
    assert_eq!(cloned.run(&["--force"]).code, Some(2));
    let elsewhere = Cloned { workspace: Workspace::with_prompts(1), ..cloned };
    elsewhere.workspace.write("promptmill.toml", GATEWAY);
    assert_eq!((elsewhere.run(&[]).code, elsewhere.asked()), (Some(2), asked));
    elsewhere.on_a_terminal("yes\n").closes(DONE);
    assert_eq!(fs::read_to_string(elsewhere.kept()).expect("text").matches("[[consent]]").count(), 2);
}

#[test]
fn the_file_of_consents_follows_no_link_and_a_damaged_one_is_left_alone() {
    let cloned = Cloned::new("promptmill.toml", GATEWAY);
    let target = cloned.home.path().join("mine");
    fs::write(&target, "# mine\n").expect("written");
    fs::create_dir_all(cloned.kept().parent().expect("a folder")).expect("made");
    symlink(&target, cloned.kept()).expect("a link");
    cloned.on_a_terminal("y\n").closes(DONE);
    assert_eq!(fs::read_to_string(&target).expect("text"), "# mine\n");
    assert!(fs::symlink_metadata(cloned.kept()).expect("there").is_file());
    fs::write(cloned.kept(), "my notes").expect("written");
    let ran = cloned.run(&["--force"]);
    assert_eq!((ran.code, cloned.asked()), (Some(2), 1), "{ran:#?}");
    ran.says(&["consent.toml", "not valid TOML"]);
    assert_eq!(fs::read_to_string(cloned.kept()).expect("text"), "my notes");
    // A folder of configuration that leads elsewhere is not written to; the yes holds for this run.
    fs::remove_dir_all(cloned.kept().parent().expect("a folder")).expect("removed");
    let elsewhere = cloned.home.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("made");
    symlink(&elsewhere, cloned.kept().parent().expect("a folder")).expect("a link");
    fs::remove_dir_all(cloned.workspace.path("outputs")).expect("removed");
    cloned.on_a_terminal("y\n").says(&["cannot be kept", "is a link"]).closes(DONE);
    assert_eq!(fs::read_dir(&elsewhere).expect("listed").count(), 0);
}
