//! Runs that are ended from outside: killed, interrupted, interrupted twice.
#![cfg(unix)]
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Ended, Workspace, always, billed, in_flight_at_the_kill, serve, until};
use promptmill::standin::{FaultKind, Options};

/// What `kill` calls a signal, and the exit code of a run that it ends.
const SIGNALS: [(&str, i32); 3] = [("INT", 130), ("TERM", 143), ("HUP", 129)];

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
}

/// The command with the signal HUP as it stands here: `env` gives or takes what whoever started these tests had, as `nohup` does.
fn with_hangup(how: &str, command: &Command) -> Command {
    let mut through = Command::new("env");
    through.arg(format!("--{how}-signal=HUP")).arg(command.get_program()).args(command.get_args()).env_clear();
    through.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    through.current_dir(command.get_current_dir().expect("a folder"));
    through.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    through
}

const PROMPTS: u64 = 300;
const KILLS: usize = 50;
const CONCURRENCY: u64 = 8;

#[test]
fn killed_at_fifty_moments_nothing_is_lost_and_only_what_was_in_flight_is_sent_again() {
    let pace = Options { latency: Duration::from_millis(20), jitter: Duration::from_millis(40), ..Options::default() };
    let server = serve(pace);
    let workspace = Workspace::with_prompts(PROMPTS);
    let concurrency = CONCURRENCY.to_string();
    let args = ["--concurrency", &concurrency, "--requests-per-minute", "0"];
    let mut random = fastrand::Rng::with_seed(20_261_122);
    let (mut sent_again, mut told) = (0, 0);
    let mut tell = |ended: &Ended| {
        if let Some([lost, on_disk, again]) = in_flight_at_the_kill(ended) {
            assert_eq!(lost, on_disk + again);
            assert!(lost <= CONCURRENCY * 2 && again <= CONCURRENCY, "{lost} lost, {again} to be sent again");
            sent_again += again;
            told += 1;
        }
    };
    for kill in 0..KILLS {
        let before = server.log().len();
        // Some moments lie before the first request, some in its crowd, most in the stream behind it.
        let more = random.usize(0..22);
        let delay = Duration::from_micros(random.u64(0..3_000));
        let mut child = workspace.command_against(&server, &args).spawn().expect("started");
        until("the server's log to grow", || {
            let ended = child.try_wait().expect("a state");
            assert!(ended.is_none(), "run {kill} ended by itself: {ended:?}");
            server.log().len() >= before + more
        });
        std::thread::sleep(delay);
        child.kill().expect("killed");
        let ended = Ended::of_killed(child);
        tell(&ended);
    }
    let last = workspace.run_against(&server, &args);
    tell(&last);
    assert_eq!(last.code, Some(0), "{}", last.stderr);
    let [done, up_to_date, ..] = last.counts();
    assert_eq!(done + up_to_date, PROMPTS);

    workspace.assert_answered(1..=PROMPTS);
    assert_eq!(workspace.leftovers_of_answers(), Vec::<std::path::PathBuf>::new());
    let log = server.log();
    let requests = log.len() as u64;
    println!("{requests} requests; {told} runs told of lost ones, {sent_again} in all; {done} done by the last run");
    assert!(told > KILLS / 2, "only {told} runs told of what was in flight");
    assert!(requests <= PROMPTS + sent_again, "{requests} requests, {sent_again} were in flight");
    let used = workspace.usage().day_tokens;
    assert!(used >= billed(&log), "usage.md says {used}, the server {}", billed(&log));
    workspace.run_against(&server, &args).assert_ended(0, [0, PROMPTS, 0, 0]);
    assert_eq!(server.log().len() as u64, requests);
}

#[test]
fn a_run_that_is_told_to_end_lets_what_is_in_flight_finish() {
    for (signal, code) in SIGNALS {
        let server = serve(Options { latency: Duration::from_millis(200), ..Options::default() });
        let workspace = Workspace::with_prompts(32);
        let command = workspace.command_against(&server, &["--concurrency", "8"]);
        let child = with_hangup("default", &command).spawn().expect("started");
        until("a full house", || server.log().len() >= 8);
        send(signal, &child);
        let ended = Ended::of(child);
        let sent = server.log().len() as u64;
        ended.assert_ended(code, [sent, 0, 0, 32 - sent]);
        assert!(sent < 32, "it was not stopped by {signal}");
        assert_eq!(ended.events("stopping").len(), 1, "{:?}", ended.events);
        ended.says(&["in flight; a second ", " stops at once"]);
        workspace.assert_answered(1..=sent);
        assert_eq!(workspace.usage().day_tokens, billed(&server.log()));
        workspace.run_against(&server, &[]).assert_ended(0, [32 - sent, sent, 0, 0]);
        workspace.assert_answered(1..=32);
        assert_eq!(server.log().len(), 32);
    }
}

#[test]
fn a_second_signal_ends_it_at_once_and_says_what_may_have_been_billed() {
    // The first one says how the run has ended, whichever comes after it.
    for ((first, code), second) in SIGNALS.into_iter().zip(["INT", "INT", "TERM"]) {
        let server = serve(Options { faults: always(FaultKind::Hang), ..Options::default() });
        let workspace = Workspace::with_prompts(20);
        let command = workspace.command_against(&server, &["--concurrency", "5", "--max-output-tokens", "100"]);
        let mut child = with_hangup("default", &command).spawn().expect("started");
        until("a full house", || server.log().len() == 5);
        send(first, &child);
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("\"stopping\"") {
            line.clear();
            assert_ne!(stdout.read_line(&mut line).expect("a line"), 0, "it ended before it said that it stops");
        }
        send(second, &child);
        until("its end", || child.try_wait().expect("a state").is_some());
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).expect("the rest");
        let ended = Ended { stdout: rest, ..Ended::of(child) };
        assert_eq!(ended.code, Some(code), "{first}, {second}");
        let events: Vec<serde_json::Value> =
            ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let summary = events.last().expect("a summary");
        assert_eq!((summary["pending"].as_u64(), summary["exit_code"].as_i64()), (Some(20), Some(i64::from(code))));
        // They may have been billed: they count as used, and the next run says so.
        let used = workspace.usage().day_tokens;
        assert!(used >= billed(&server.log()));
        let abandoned = events.iter().find(|event| event["event"] == "abandoned").expect("said");
        assert_eq!((abandoned["in_flight"].as_u64(), abandoned["tokens"].as_u64()), (Some(5), Some(used)));
        ended.says(&["5 requests in flight may have been billed, at most ", " tokens"]);
        server.set_options(Options::default());
        let next = workspace.run_against(&server, &[]);
        next.assert_ended(0, [20, 0, 0, 0]);
        assert_eq!(in_flight_at_the_kill(&next), Some([5, 0, 5]), "{}", next.stderr);
        assert_eq!(server.log().len(), 25);
        workspace.assert_answered(1..=20);
    }
}

#[test]
fn a_hangup_that_is_ignored_at_the_start_stays_ignored() {
    let server = serve(Options { latency: Duration::from_millis(200), ..Options::default() });
    let workspace = Workspace::with_prompts(12);
    let command = workspace.command_against(&server, &["--concurrency", "4"]);
    let child = with_hangup("ignore", &command).spawn().expect("started");
    until("a full house", || server.log().len() >= 4);
    send("HUP", &child);
    Ended::of(child).assert_ended(0, [12, 0, 0, 0]);
}

#[test]
fn what_a_killed_writer_of_usage_md_left_is_removed_once_it_is_old() {
    let server = serve(Options::default());
    let workspace = Workspace::with_prompts(1);
    let (old, new) = (workspace.path(".promptmill-old.tmp"), workspace.path(".promptmill-new.tmp"));
    std::fs::write(&new, "another process is about to rename it").expect("written");
    let file = std::fs::File::create(&old).expect("made");
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).expect("set");
    workspace.run_against(&server, &[]).assert_ended(0, [1, 0, 0, 0]);
    assert_eq!(workspace.leftovers(), [new]);
}

#[test]
fn what_a_killed_run_left_beside_its_outputs_is_removed_by_the_next() {
    let server = serve(Options::default());
    let workspace = Workspace::with_prompts(1);
    std::fs::create_dir(workspace.path("outputs")).expect("made");
    // Nobody else writes there while a run holds the folder: it need not be old.
    workspace.write("outputs/.promptmill-left.tmp", "half of an ans");
    workspace.write("outputs/somebody-elses.tmp", "theirs");
    workspace.run_against(&server, &[]).assert_ended(0, [1, 0, 0, 0]);
    assert_eq!(workspace.leftovers(), [workspace.path("outputs/somebody-elses.tmp")]);
}
