//! kill -9 at random moments in five kinds of run: nothing is torn, lost or swapped, at most what was in flight is sent twice, and the ledger is never
//! below what the server billed.
//!
//! Each kind is killed at a few moments here. For more of them, and the figures: `PROMPTMILL_TEST_KILLS=200 cargo test --release --test kill_kinds --
//! --nocapture --test-threads 1`.
#![cfg(unix)]
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::collections::BTreeMap;
use std::process::Child;
use std::time::Duration;

use common::{Ended, MODEL, Workspace, billed, in_flight_at_the_kill, serve, until};
use promptmill::standin::{Fault, FaultKind, Options, Server, answer};

/// Requests in flight of each run.
const CONCURRENCY: u64 = 8;
/// Requests that a run sees at most before it is killed.
const MOST: u64 = 22;

/// How often a run of each kind is killed.
#[expect(clippy::disallowed_methods, reason = "a tester's wish for more of them")]
fn kills() -> u64 {
    std::env::var("PROMPTMILL_TEST_KILLS").map_or(8, |number| number.parse().expect("a number of kills"))
}

/// One folder of prompts whose runs are killed, and what they said of it.
struct Killed {
    workspace: Workspace,
    prompts: u64,
    /// Requests that the runs said may be paid for twice.
    sent_again: u64,
    told: u64,
}

impl Killed {
    fn new(prompts: u64) -> Self {
        Self { workspace: Workspace::with_prompts(prompts), prompts, sent_again: 0, told: 0 }
    }

    fn start(&self, server: &Server, args: &[&str]) -> Child {
        let concurrency = CONCURRENCY.to_string();
        let all = [&["--concurrency", &concurrency, "--tokens-per-minute", "0"], args].concat();
        self.workspace.command_against(server, &all).spawn().expect("started")
    }

    /// Takes in what a run said, and looks at every output: an answer of its own prompt, a failure's line, or nothing.
    fn look(&mut self, ended: &Ended) {
        if let Some([lost, on_disk, again]) = in_flight_at_the_kill(ended) {
            assert_eq!(lost, on_disk + again, "{}", ended.stderr);
            // An attempt whose end is not journalled yet is in flight to the journal, while the next one is already at the server.
            assert!(lost <= 2 * CONCURRENCY, "{lost} lost, {again} to be sent again");
            self.sent_again += again;
            self.told += 1;
        }
        for prompt in 1..=self.prompts {
            let Some(text) = self.workspace.output(prompt) else { continue };
            let failed = text.starts_with("ERROR: ") && text.ends_with('\n') && text.lines().count() == 1;
            assert!(failed || text == answer(MODEL, self.workspace.prompt(prompt)), "output {prompt}: {text}");
        }
    }

    /// Runs to the end, and holds what came of it against the server's log.
    fn finish(&mut self, server: &Server, args: &[&str], name: &str) {
        let last = Ended::of(self.start(server, args));
        self.look(&last);
        last.assert_ended(0, [last.counts()[0], last.counts()[1], 0, 0]);
        self.workspace.assert_answered(1..=self.prompts);
        assert_eq!(self.workspace.leftovers_of_answers(), Vec::<std::path::PathBuf>::new());
        let log = server.log();
        let requests = log.len();
        Ended::of(self.start(server, args)).assert_ended(0, [0, self.prompts, 0, 0]);
        assert_eq!(server.log().len(), requests, "an answer that was up to date was sent again");
        // Answers, not requests: what failed is rightly asked for again.
        let mut answers: BTreeMap<u64, u64> = BTreeMap::new();
        let answered = log.iter().filter(|logged| logged.status == 200 && logged.fault.is_none());
        for prompt in self.workspace.prompts_of(&answered.cloned().collect::<Vec<_>>()) {
            *answers.entry(prompt).or_default() += 1;
        }
        let twice: u64 = answers.values().map(|times| times - 1).sum();
        println!(
            "{name}: {requests} requests for {} prompts, {twice} answered twice; {} runs told of {} in flight",
            self.prompts, self.told, self.sent_again
        );
        assert!(twice <= self.sent_again, "{twice} answered twice, {} were in flight", self.sent_again);
        let used = self.workspace.usage().day_tokens;
        assert!(used >= billed(&log), "usage.md says {used}, the server {}", billed(&log));
    }
}

fn pace() -> Options {
    Options { latency: Duration::from_millis(10), jitter: Duration::from_millis(30), ..Options::default() }
}

/// Lets the server see some requests more, and the runs a moment more.
fn some_moment(server: &Server, random: &mut fastrand::Rng, runs: &mut [Child]) {
    let more = server.log().len() + random.usize(0..usize::try_from(MOST).expect("few"));
    let delay = Duration::from_micros(random.u64(0..3_000));
    until("the server's log to grow", || {
        let all_ended = runs.iter_mut().all(|run| run.try_wait().expect("a state").is_some());
        all_ended || server.log().len() >= more
    });
    std::thread::sleep(delay);
}

/// Kills one run after the other, each with the arguments of its turn, and then lets one end with `at_last`.
fn kill_and_finish(
    name: &str,
    options: Options,
    mut args: impl FnMut(&Server, &Workspace) -> Vec<String>,
    at_last: (Options, &[&str]),
) {
    let server = serve(options);
    let mut random = fastrand::Rng::with_seed(20_261_124);
    let mut folder = Killed::new(30 + kills() * MOST / 2);
    for _ in 0..kills() {
        let args = args(&server, &folder.workspace);
        let mut run = folder.start(&server, &args.iter().map(String::as_str).collect::<Vec<_>>());
        some_moment(&server, &mut random, std::slice::from_mut(&mut run));
        run.kill().expect("killed");
        folder.look(&Ended::of_killed(run));
    }
    let (options, args) = at_last;
    server.set_options(options);
    folder.finish(&server, args, name);
    assert!(folder.told * 2 > kills(), "only {} runs told of what was in flight", folder.told);
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_plain_run() {
    let args = ["--requests-per-minute", "0", "--tokens-per-day", "0", "--tokens-per-batch", "0"];
    kill_and_finish("plain", pace(), |_, _| words(&args.join(" ")), (pace(), &args));
}

#[test]
fn a_run_in_batches() {
    let args = ["--requests-per-minute", "0", "--tokens-per-day", "0", "--tokens-per-batch", "300", "--split"];
    kill_and_finish("split", pace(), |_, _| words(&args.join(" ")), (pace(), &args));
}

#[test]
fn a_run_at_its_day_limit() {
    let rest = "--requests-per-minute 0 --tokens-per-day 0 --tokens-per-batch 0 --on-day-limit exit";
    let limit = std::cell::Cell::new(0);
    let args = |server: &Server, workspace: &Workspace| {
        // The day's limit was never passed, and is now a little higher than what is used of it, which is more than the server saw.
        let sent = server.log().len() as u64;
        assert!(sent <= limit.get(), "{sent} requests, the day's limit was {}", limit.get());
        let status: serde_json::Value =
            serde_json::from_str(&workspace.run(&["status", "--json"]).stdout).expect("JSON");
        let lines = status["limits"].as_array().expect("limits");
        let day = lines.iter().find(|line| line["limit"] == "requests_per_day").expect("the day's requests");
        limit.set(day["used"].as_u64().expect("a number") + MOST + 8);
        words(&format!("{rest} --requests-per-day {}", limit.get()))
    };
    let at_last = ["--requests-per-minute", "0", "--tokens-per-day", "0", "--tokens-per-batch", "0"];
    kill_and_finish("day limit", pace(), args, (pace(), &at_last));
}

#[test]
fn a_run_with_faults_and_failing_prompts() {
    let kinds = [FaultKind::ServerError, FaultKind::Reset, FaultKind::MalformedJson, FaultKind::Empty];
    let faults = kinds.map(|kind| Fault { kind, share: 0.05 }).to_vec();
    let args = ["--requests-per-minute", "0", "--tokens-per-day", "0", "--tokens-per-batch", "0", "--attempts", "2"];
    kill_and_finish("faults", Options { faults, ..pace() }, |_, _| words(&args.join(" ")), (pace(), &args));
}

#[test]
fn two_processes_on_one_ledger() {
    const LIMIT: usize = 60;
    const WINDOW: Duration = Duration::from_secs(1);
    let server = serve(pace());
    let mut random = fastrand::Rng::with_seed(20_261_125);
    let prompts = 20 + kills() * MOST / 4;
    let mut folders = [Killed::new(prompts), Killed::new(prompts)];
    let ledger = folders[0].workspace.path("usage.md").display().to_string();
    let limit = LIMIT.to_string();
    let rest = ["--tokens-per-day", "0", "--tokens-per-batch", "0", "--ledger", &ledger, "--window", "1s"];
    let args = [rest.as_slice(), &["--requests-per-minute", &limit]].concat();
    let mut runs = folders.each_ref().map(|folder| folder.start(&server, &args));
    for _ in 0..kills() {
        some_moment(&server, &mut random, &mut runs);
        let victim = random.usize(0..2);
        let fresh = folders[victim].start(&server, &args);
        let mut killed = std::mem::replace(&mut runs[victim], fresh);
        // It may find its folder held while the other dies; the next one does not.
        killed.kill().expect("killed");
        folders[victim].look(&Ended::of_killed(killed));
    }
    for (folder, mut run) in folders.iter_mut().zip(runs) {
        run.kill().expect("killed");
        folder.look(&Ended::of_killed(run));
        let last = Ended::of(folder.start(&server, &args));
        folder.look(&last);
        last.assert_ended(0, [last.counts()[0], last.counts()[1], 0, 0]);
        folder.workspace.assert_answered(1..=prompts);
    }
    let log = server.log();
    let again: u64 = folders.iter().map(|folder| folder.sent_again).sum();
    let requests = log.len() as u64;
    let twice = requests - 2 * prompts;
    let arrived: Vec<_> = log.iter().map(|logged| logged.arrived).collect();
    let most = common::most_within(&arrived, WINDOW);
    println!(
        "two processes: {requests} requests for {} prompts, {twice} sent twice, {again} in flight; {most} in one window of {LIMIT}",
        2 * prompts
    );
    assert!(twice <= again, "{twice} sent twice, {again} were in flight");
    assert!(most <= LIMIT, "{most} in one window");
    let used = folders[0].workspace.usage().day_tokens;
    assert!(used >= billed(&log), "usage.md says {used}, the server {}", billed(&log));
}
