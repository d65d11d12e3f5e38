//! Readers of stdout and stderr that do not read: they slow a run at most, and never what is in flight, a signal, or the journal.
#![cfg(unix)]
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Command};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use common::{Ended, Watchdog, Workspace, serve, until};
use promptmill::standin::{Options, Server};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// More events than a pipe and the queue before it hold.
const MANY: u64 = 2_000;
/// More than a pipe holds, and fewer than make a run wait.
const SOME: u64 = 900;

fn server() -> Server {
    serve(Options { latency: Duration::from_millis(5), ..Options::default() })
}

/// A run that no limit holds.
fn command(workspace: &Workspace, server: &Server, args: &[&str]) -> Command {
    let free = ["--requests-per-minute", "1000000", "--tokens-per-minute", "100000000", "--concurrency", "100"];
    workspace.command_against(server, &[&free, args].concat())
}

/// What a run has said so far, read while it goes on.
struct Said {
    text: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Said {
    fn by(stderr: ChildStderr) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let theirs = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let mut text = theirs.lock().expect("no panic");
                text.push_str(&line.expect("UTF-8"));
                text.push('\n');
            }
        });
        Self { text, reader }
    }

    fn has(&self, part: &str) -> bool {
        self.text.lock().expect("no panic").contains(part)
    }

    fn all(self) -> String {
        self.reader.join().expect("read to its end");
        self.text.lock().expect("no panic").clone()
    }
}

/// A run of which nobody reads stdout.
struct Unread {
    child: Child,
    said: Said,
    _watchdog: Watchdog,
}

impl Unread {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("it starts");
        let said = Said::by(child.stderr.take().expect("piped"));
        Self { _watchdog: Watchdog::over(&child), child, said }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a signal");
    }

    /// Waits for its end without reading; then the code, the whole lines that the pipe holds, and what was said.
    fn end(mut self) -> (Option<i32>, Vec<Value>, String) {
        let code = self.child.wait().expect("it ends").code();
        let mut text = String::new();
        self.child.stdout.take().expect("piped").read_to_string(&mut text).expect("UTF-8");
        assert!(text.ends_with('\n'), "a line is cut");
        (code, text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect(), self.said.all())
    }
}

/// How many lines a run says that it did not write.
fn unwritten(said: &str) -> usize {
    let line = said.lines().find(|line| line.contains("not written: stdout was not read"));
    let number = line.and_then(|line| line.split(' ').next()).unwrap_or_else(|| panic!("nothing unwritten: {said}"));
    number.replace(',', "").parse().expect("a number")
}

fn outputs(workspace: &Workspace) -> u64 {
    MANY - workspace.without_output().len() as u64
}

#[test]
fn a_stdout_that_is_not_read_holds_admission_and_no_signal() {
    let (workspace, server) = (Workspace::with_prompts(MANY), server());
    let run = Unread::start(command(&workspace, &server, &[]));
    until("the wait", || run.said.has("waiting for standard output to be read"));
    let sent = server.log().len();
    assert!(sent < 1_900, "{sent} requests sent, and nobody reads");
    run.signal(Signal::INT);
    let (code, events, said) = run.end();
    assert_eq!(code, Some(130), "{said}");
    let answered = outputs(&workspace);
    assert_eq!((sent, answered), (server.log().len(), sent as u64), "{said}");
    // Each answer has an event, and the run has some more.
    let others = events.iter().filter(|event| event["event"] != "done").count();
    let all = events.len() + unwritten(&said);
    assert!(all > others + sent && all < others + sent + 20, "{} read, {said}", events.len());
    // Nothing is lost.
    Ended::run(&mut command(&workspace, &server, &[])).assert_ended(0, [MANY - answered, answered, 0, 0]);
    assert_eq!(server.log().len() as u64, MANY);
}

#[test]
fn a_reader_that_reads_again_gets_every_event() {
    let (workspace, server) = (Workspace::with_prompts(MANY), server());
    let mut run = Unread::start(command(&workspace, &server, &[]));
    until("the wait", || run.said.has("waiting for standard output to be read"));
    let mut text = String::new();
    run.child.stdout.as_mut().expect("piped").read_to_string(&mut text).expect("UTF-8");
    let (code, rest, said) = {
        let code = run.child.wait().expect("it ends").code();
        (code, run.child.stdout.take().is_some(), run.said.all())
    };
    assert!(code == Some(0) && rest && !said.contains("not written"), "{said}");
    assert_eq!(text.lines().filter(|line| line.contains("\"event\":\"done\"")).count() as u64, MANY);
    assert!(text.lines().last().is_some_and(|line| line.contains("\"event\":\"summary\"")));
}

#[test]
fn a_run_waits_for_its_reader_at_the_end_until_a_signal_comes() {
    for interrupted in [false, true] {
        let (workspace, server) = (Workspace::with_prompts(SOME), server());
        let mut run = Unread::start(command(&workspace, &server, &[]));
        until("the wait", || run.said.has("Ctrl-C ends the wait"));
        assert!(workspace.without_output().is_empty() && run.child.try_wait().expect("asked").is_none());
        if interrupted {
            run.signal(Signal::TERM);
            let (code, events, said) = run.end();
            assert_eq!(code, Some(143), "{said}");
            assert!(events.len() + unwritten(&said) > 900, "{said}");
        } else {
            let mut text = String::new();
            run.child.stdout.as_mut().expect("piped").read_to_string(&mut text).expect("UTF-8");
            assert_eq!(run.child.wait().expect("it ends").code(), Some(0));
            assert!(
                text.contains("\"event\":\"summary\"") && text.matches("\"event\":\"done\"").count() as u64 == SOME
            );
            assert!(!run.said.all().contains("not written"));
        }
    }
}

#[test]
fn a_stderr_that_is_not_read_changes_nothing_but_what_is_said() {
    for interrupted in [false, true] {
        let (workspace, server) = (Workspace::with_prompts(MANY), server());
        let mut command = command(&workspace, &server, &["-vv"]);
        let mut child = command.spawn().expect("it starts");
        let _watchdog = Watchdog::over(&child);
        let stdout = child.stdout.take().expect("piped");
        let events =
            std::thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).collect::<Vec<_>>());
        if interrupted {
            until("many answers", || server.log().len() > 1_000);
            kill_process(Pid::from_child(&child), Signal::INT).expect("a signal");
            let events = events.join().expect("read");
            assert_eq!(child.wait().expect("it ends").code(), Some(130));
            let done = events.iter().filter(|line| line.contains("\"event\":\"done\"")).count() as u64;
            assert!(done == outputs(&workspace) && done < MANY, "{done} done");
            assert!(events.last().is_some_and(|line| line.contains("\"event\":\"summary\"")));
        } else {
            until("the answers", || workspace.without_output().is_empty());
            let mut said = String::new();
            child.stderr.take().expect("piped").read_to_string(&mut said).expect("UTF-8");
            assert_eq!(child.wait().expect("it ends").code(), Some(0));
            assert!(said.contains("lines were not written here: stderr was not read"), "{}", said.len());
            assert!(events.join().expect("read").len() as u64 > MANY);
        }
    }
}
