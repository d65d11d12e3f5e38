//! Disks that fail while a run goes on: what is paid for is kept, and it is said once what to do.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Ended, SmallDisk, Watchdog, Workspace, always, billed, serve, until};
use promptmill::standin::{FaultKind, Options, Server};

/// A server that takes long enough for a disk to fail in between.
fn slow() -> Server {
    serve(Options { latency: Duration::from_millis(800), ..Options::default() })
}

/// Reads what `child` says up to the event `name`.
fn read_to(child: &mut Child, name: &str) -> String {
    let _watchdog = Watchdog::over(child);
    let stdout = child.stdout.as_mut().expect("piped");
    let (mut said, mut byte) = (String::new(), [0]);
    // Byte by byte: what follows is for others to read.
    let mut line = Vec::new();
    loop {
        assert_eq!(stdout.read(&mut byte).expect("read"), 1, "it ended before {name}: {said}");
        line.push(byte[0]);
        if byte[0] == b'\n' {
            let text = String::from_utf8(std::mem::take(&mut line)).expect("UTF-8");
            said.push_str(&text);
            if text.contains(&format!("\"event\":\"{name}\"")) {
                return said;
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn answers_that_find_the_disk_full_are_kept_and_not_paid_again() {
    let workspace = Workspace::with_prompts(10);
    fs::create_dir(workspace.path("outputs")).expect("made");
    let disk = SmallDisk::mount(&workspace, "outputs", "24k");
    let server = serve(Options::default());
    let url = server.base_url();
    let ran = workspace.run_to(1, &["--base-url", &url, "--concurrency", "10"]);
    ran.says(&["outputs/", "cannot be written", "No space left", "could not be written; the next run writes them"]);
    assert!(!ran.stderr.contains(".tmp"), "{ran:#?}");
    let sent = server.log().len();
    let plan = workspace.run_to(0, &["plan", "--base-url", &url]);
    assert!(plan.stdout.contains(&format!("{sent} up to date + {} to send", 10 - sent)), "{plan:#?}");
    disk.resize("1m");
    workspace.run_to(0, &["--base-url", &url]).says(&["of an earlier run written now"]);
    assert_eq!(server.log().len(), 10, "an answer was paid for twice");
    for prompt in 1..=10 {
        assert!(workspace.read(&format!("outputs/{prompt}_output.txt")).contains("stand-in"));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_the_state_stops_the_run_and_loses_no_answer() {
    let workspace = Workspace::with_prompts(10);
    fs::create_dir(workspace.path("state")).expect("made");
    let disk = SmallDisk::mount(&workspace, "state", "64k");
    let server = serve(Options::default());
    let flags = ["--base-url", &server.base_url(), "--ledger", "state/usage.md"];
    workspace.run_to(2, &flags).says(&["state/.promptmill/usage.db", "disk is full", "free some space"]);
    assert!(server.log().is_empty());
    disk.resize("160k");
    let ran = workspace.run_to(1, &[&flags[..], &["--give-up-after", "1s"]].concat());
    ran.says(&["disk is full", "free some space"]);
    let sent = server.log().len();
    disk.resize("4m");
    workspace.run_to(0, &flags);
    assert!(server.log().len() <= 10.max(sent), "{sent} requests, then {}", server.log().len() - sent);
    for prompt in 1..=10 {
        assert!(workspace.read(&format!("outputs/{prompt}_output.txt")).contains("stand-in"));
    }
}

#[test]
fn an_outputs_folder_that_is_moved_away_and_put_back_costs_no_answer() {
    let server = slow();
    let workspace = Workspace::with_prompts(8);
    let child = workspace.command_against(&server, &["--concurrency", "5"]).spawn().expect("started");
    until("requests in flight", || server.log().len() == 5);
    fs::rename(workspace.path("outputs"), workspace.path("away")).expect("moved");
    let ended = Ended::of(child);
    ended.assert_ended(1, [0, 0, 0, 8]);
    let stopping = ended.events("stopping");
    assert_eq!((stopping.len(), ended.events("warning").len()), (1, 0), "{}", ended.stdout);
    assert_eq!(stopping[0]["reason"].as_str().map(|reason| reason.contains("outputs is gone")), Some(true));
    assert_eq!(ended.stderr.matches("outputs folder").count(), 1, "{}", ended.stderr);
    assert!(!ended.stderr.contains("space"), "{}", ended.stderr);
    assert_eq!(ended.summary()["kept"], 5);
    fs::rename(workspace.path("away"), workspace.path("outputs")).expect("put back");
    let next = workspace.run_against(&server, &[]);
    next.assert_ended(0, [3, 5, 0, 0]);
    assert_eq!(server.log().len(), 8);
    workspace.assert_answered(1..=8);
}

#[test]
fn an_outputs_folder_that_is_deleted_is_named_once() {
    let server = slow();
    let workspace = Workspace::with_prompts(4);
    let mut command = workspace.command(&["--base-url", &server.base_url(), "--concurrency", "2", "--quiet"]);
    let child = command.spawn().expect("started");
    until("requests in flight", || server.log().len() == 2);
    fs::remove_dir_all(workspace.path("outputs")).expect("deleted");
    let ended = Ended::of(child);
    assert_eq!(ended.code, Some(1));
    ended.closes("4 prompts = 0 done + 0 up to date + 0 failed + 4 pending");
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let sentence =
        "the outputs folder outputs is gone: it was moved or deleted. Put it back, or make it, and run again";
    assert_eq!(lines[0].split("; ").next(), Some(&*format!("stopping: {sentence}")));
    assert_eq!(lines[1], format!("ended early: {sentence}"));
    workspace.run_against(&server, &[]).assert_ended(0, [2, 2, 0, 0]);
    assert_eq!(server.log().len(), 4);
}

/// Where outputs and state lie on one small disk.
const ON_DISK: [&str; 4] = ["--outputs", "disk/outputs", "--ledger", "disk/usage.md"];

/// A run of 8 prompts on one disk, which fills up while 5 of them are in flight; it holds their answers.
fn holding(workspace: &Workspace, server: &Server, args: &[&str]) -> (SmallDisk, Child) {
    fs::create_dir(workspace.path("disk")).expect("made");
    let disk = SmallDisk::mount(workspace, "disk", "1m");
    let flags = [&ON_DISK[..], &["--concurrency", "5"], args].concat();
    let mut child = workspace.command_against(server, &flags).spawn().expect("started");
    until("requests in flight", || server.log().len() == 5);
    disk.fill();
    let said = read_to(&mut child, "holding");
    assert!(said.contains("disk is full; free some space"), "{said}");
    (disk, child)
}

#[test]
fn answers_that_find_outputs_and_state_on_a_full_disk_are_held_until_there_is_room() {
    let server = slow();
    let workspace = Workspace::with_prompts(8);
    let (disk, mut child) = holding(&workspace, &server, &[]);
    disk.empty();
    read_to(&mut child, "released");
    let ended = Ended::of(child);
    ended.assert_ended(0, [8, 0, 0, 0]);
    assert_eq!(server.log().len(), 8);
    for prompt in 1..=8 {
        assert!(workspace.read(&format!("disk/outputs/{prompt}_output.txt")).contains("stand-in"));
    }
    let said = ended.stderr.lines().filter(|line| line.contains(".promptmill/usage.db")).count();
    assert_eq!(said, 1, "{}", ended.stderr);
    workspace.run_against(&server, &ON_DISK).assert_ended(0, [0, 8, 0, 0]);
}

#[test]
fn a_run_that_gives_up_on_a_full_disk_says_what_is_lost() {
    let server = slow();
    let workspace = Workspace::with_prompts(8);
    let (disk, child) = holding(&workspace, &server, &["--give-up-after", "2s"]);
    let ended = Ended::of(child);
    ended.assert_ended(1, [0, 0, 0, 8]);
    assert_eq!((ended.summary()["lost"].as_u64(), server.log().len()), (Some(5), 5));
    ended.says(&["5 paid answers could be kept nowhere"]);
    disk.empty();
    // Their prompts, and no others, are sent again.
    workspace.run_against(&server, &ON_DISK).assert_ended(0, [8, 0, 0, 0]);
    assert_eq!(server.log().len(), 13);
}

#[test]
fn a_second_interrupt_ends_a_run_that_holds_and_says_what_is_lost() {
    let server = slow();
    let workspace = Workspace::with_prompts(8);
    let (_disk, mut child) = holding(&workspace, &server, &[]);
    let interrupt = |child: &Child| {
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs").success());
    };
    interrupt(&child);
    let said = read_to(&mut child, "stopping");
    assert!(said.contains("\"held\":"), "{said}");
    assert!(child.try_wait().expect("a state").is_none(), "the first one ended it");
    interrupt(&child);
    let ended = Ended::of(child);
    ended.assert_ended(130, [0, 0, 0, 8]);
    let summary = ended.summary();
    let (lost, in_flight) = (summary["lost"].as_u64().expect("a number"), server.log().len() as u64);
    assert!(lost > 0 && lost <= in_flight, "{summary}");
    ended.says(&["could be kept nowhere"]);
}

#[test]
fn a_state_file_that_fails_for_a_while_loses_nothing_and_the_run_goes_on() {
    let server = slow();
    let workspace = Workspace::with_prompts(8);
    fs::create_dir(workspace.path("state")).expect("made");
    let disk = SmallDisk::mount(&workspace, "state", "1m");
    let flags = ["--ledger", "state/usage.md", "--concurrency", "5"];
    let mut child = workspace.command_against(&server, &flags).spawn().expect("started");
    until("requests in flight", || server.log().len() == 5);
    disk.fill();
    read_to(&mut child, "holding");
    until("the answers", || workspace.without_output().len() == 3);
    disk.empty();
    let ended = Ended::of(child);
    ended.assert_ended(0, [8, 0, 0, 0]);
    assert_eq!(server.log().len(), 8);
    workspace.assert_answered(1..=8);
    let usage = promptmill::admit::usage_md::Face::parse(&workspace.read("state/usage.md")).expect("six lines");
    assert_eq!((usage.day_tokens, usage.minute.requests), (billed(&server.log()), 8));
}

#[test]
fn a_state_folder_that_is_deleted_in_a_run_ends_it_and_nothing_is_paid_twice() {
    let server = slow();
    let workspace = Workspace::with_prompts(8);
    let child = workspace.command_against(&server, &["--concurrency", "5"]).spawn().expect("started");
    until("requests in flight", || server.log().len() == 5);
    fs::remove_dir_all(workspace.path(".promptmill")).expect("deleted");
    let ended = Ended::of(child);
    ended.assert_ended(1, [5, 0, 0, 3]);
    assert_eq!(ended.events("stopping").len(), 1, "{}", ended.stdout);
    assert_eq!(ended.stderr.matches(".promptmill/usage.db is gone").count(), 1, "{}", ended.stderr);
    let reason = ended.summary()["stopped_by"].as_str().expect("why");
    assert!(reason.contains(".promptmill/usage.db is gone"), "{reason}");
    assert_eq!((server.log().len(), workspace.usage().day_tokens), (5, billed(&server.log())));
    workspace.assert_answered(1..=5);
    // Without its history a stand-in's answer does not count. These are real ones.
    (1..=5).for_each(|prompt| workspace.write(&format!("outputs/{prompt}_output.txt"), "It was paid for."));
    let next = workspace.run_against(&server, &[]);
    next.assert_ended(0, [3, 5, 0, 0]);
    workspace.assert_answered(6..=8);
    assert_eq!((server.log().len(), workspace.usage().day_tokens), (8, billed(&server.log())));
}

#[test]
fn a_state_folder_that_is_deleted_during_a_long_wait_is_noticed() {
    let server = serve(Options { faults: always(FaultKind::Hang), ..Options::default() });
    let workspace = Workspace::with_prompts(1);
    let mut child = workspace.command_against(&server, &[]).spawn().expect("started");
    until("the request", || server.log().len() == 1);
    fs::remove_dir_all(workspace.path(".promptmill")).expect("deleted");
    let said = read_to(&mut child, "stopping");
    assert!(said.contains("usage.db is gone"), "{said}");
    child.kill().expect("killed");
    child.wait().expect("ended");
}

/// Runs with stdout on the device that is always full.
fn with_full_stdout(workspace: &Workspace, args: &[&str]) -> Ended {
    let full = fs::File::options().write(true).open("/dev/full").expect("it is there");
    Ended::run(workspace.command(args).stdout(full))
}

#[test]
fn a_stdout_that_cannot_be_written_is_said_and_is_no_success() {
    let workspace = Workspace::with_prompts(2);
    for args in [
        ["--offline", "--json"].as_slice(),
        &["--offline", "--force"],
        &["plan", "--offline"],
        &["status", "--json"],
        &["settings"],
        &["--help"],
        &["--version"],
    ] {
        let ended = with_full_stdout(&workspace, args);
        assert_eq!(ended.code, Some(1), "{args:?}: {ended:#?}");
        ended.says(&["standard output", "No space left"]);
    }
    assert_eq!(workspace.without_output(), Vec::<u64>::new());
    // The graver end wins.
    assert_eq!(with_full_stdout(&workspace, &["--offline", "--modle", "x"]).code, Some(2));
}

#[test]
fn a_reader_that_has_read_enough_is_no_failure() {
    let server = serve(Options { latency: Duration::from_millis(100), ..Options::default() });
    let workspace = Workspace::with_prompts(3);
    let mut child = workspace.command_against(&server, &["--concurrency", "1"]).spawn().expect("started");
    let watchdog = Watchdog::over(&child);
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    stdout.read_line(&mut String::new()).expect("a line");
    drop((stdout, watchdog));
    let ended = Ended::of(child);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    workspace.assert_answered(1..=3);
    let mut closed = workspace.command(&["--offline", "--force"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    assert_eq!(Ended::run(closed.stdout(Stdio::from(writer))).code, Some(0));
}
