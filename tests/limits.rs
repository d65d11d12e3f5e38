//! The limits, by the server's own log: never over, never late for nothing.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::time::Duration;

use chrono::Timelike as _;
use common::{Ended, MODEL, Workspace, assert_within, billed, serve};
use promptmill::clock::Clock;
use promptmill::count::Tokenizer;
use promptmill::model::{Usage, text as format};
use promptmill::standin::{Logged, Options, RateLimitHeaders};

#[test]
fn what_fits_is_sent_in_one_wave_to_a_server_that_is_known() {
    let latency = Duration::from_secs(2);
    let server = serve(Options { latency, requests_per_minute: Some(500), ..Options::default() });
    let workspace = Workspace::with_prompts(101);
    let limits = ["--requests-per-minute", "500", "--tokens-per-minute", "500000"];
    workspace.run_against(&server, &[&limits[..], &["--only", "101"]].concat()).assert_ended(0, [1, 0, 0, 0]);
    let ended = workspace.run_against(&server, &limits);
    ended.assert_ended(0, [100, 1, 0, 0]);
    assert!(ended.events("waiting").is_empty(), "{:?}", ended.events("waiting"));
    workspace.assert_answered(1..=101);
    let log = server.log();
    assert_eq!(log.len(), 101);
    // The last one came before the first answer left.
    assert!(log[100].arrived < log[1].arrived + latency, "{:?} to {:?}", log[1].arrived, log[100].arrived);
    let usage = workspace.usage();
    assert_eq!((usage.day_tokens, usage.minute.tokens), (billed(&log), billed(&log)));
    assert_eq!(usage.minute.requests, 101);
}

#[test]
fn a_server_that_is_not_known_gets_a_few_and_as_it_refuses_none_the_rest() {
    let latency = Duration::from_secs(5);
    let server = serve(Options { latency, requests_per_minute: Some(500), ..Options::default() });
    let workspace = Workspace::with_prompts(100);
    workspace.run_against(&server, &[]).assert_ended(0, [100, 0, 0, 0]);
    workspace.assert_answered(1..=100);
    let log = server.log();
    // Silence says that they were let in: the last one came before the first answer left.
    assert!(log[99].arrived < log[0].arrived + latency, "{:?} to {:?}", log[0].arrived, log[99].arrived);
}

#[test]
fn no_window_holds_more_than_the_limit_and_no_wait_is_for_nothing() {
    let server = serve(Options::default());
    let workspace = Workspace::with_prompts(121);
    let ended = workspace.run_against(&server, &["--requests-per-minute", "40", "--window", "2s"]);
    ended.assert_ended(0, [121, 0, 0, 0]);
    workspace.assert_answered(1..=121);
    let log = server.log();
    assert_eq!(log.len(), 121);
    let window = Duration::from_secs(2);
    assert_within(40, window, &workspace.path("usage.md"), &log);
    // The 121st has to wait for three windows.
    let took = log[120].arrived.saturating_sub(log[0].arrived);
    assert!(took <= 4 * window, "{took:?}");
    let waiting = ended.events("waiting");
    assert!(!waiting.is_empty() && waiting.iter().all(|event| event["wait_for"]["limit"] == "requests_per_minute"));
}

#[test]
fn a_prompt_that_never_fits_fails_at_once_and_alone() {
    // Long enough that a failure which waits for an answer is seen to come after it.
    let server = serve(Options { latency: Duration::from_secs(1), ..Options::default() });
    let mut workspace = Workspace::with_prompts(10);
    workspace.write_prompt(4, &"word ".repeat(6_000));
    let ended = workspace.run_against(&server, &["--tokens-per-minute", "6000"]);
    ended.assert_ended(1, [9, 0, 1, 0]);
    workspace.assert_answered([1, 2, 3, 5, 6, 7, 8, 9, 10]);
    let of_ends: Vec<_> =
        ended.events.iter().filter(|event| event["event"] == "failed" || event["event"] == "done").collect();
    assert_eq!((&of_ends[0]["event"], of_ends[0]["key"].as_str()), (&"failed".into(), Some("4")), "{of_ends:?}");
    assert!(ended.events("waiting").is_empty());
    let error = workspace.output(4).expect("a line");
    assert!(error.starts_with("ERROR: too_large: ") && error.contains(" 6,000"), "{error}");
    let asked = error.split_whitespace().find_map(|word| word.replace(',', "").parse::<u64>().ok()).expect("its size");
    let text = Tokenizer::for_model(MODEL).count(&"word ".repeat(6_000));
    assert!((text..text + 20).contains(&asked), "{error}");
    assert_eq!(server.log().len(), 9);
    assert_eq!(workspace.usage().day_tokens, billed(&server.log()));
}

#[test]
fn over_the_batch_limit_it_refuses_or_sends_one_batch_after_the_other() {
    let server = serve(Options { jitter: Duration::from_millis(100), ..Options::default() });
    let mut workspace = Workspace::with_prompts(0);
    for prompt in 1..=12 {
        workspace.write_prompt(prompt, &format!("{prompt} {}", "word ".repeat(300)));
    }
    let limit = ["--tokens-per-batch", "1000"];
    let refused = workspace.run_against(&server, &limit);
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    let total = 12 * (Tokenizer::for_model(MODEL).count(&format!("1 {}", "word ".repeat(300))) + 7);
    for part in ["1,000", "--split", &format::count(total)] {
        assert!(refused.stderr.contains(part), "{part} in {}", refused.stderr);
    }
    assert!(server.log().is_empty() && workspace.without_output().len() == 12);

    let ended = workspace.run_against(&server, &["--tokens-per-batch", "1000", "--split"]);
    ended.assert_ended(0, [12, 0, 0, 0]);
    workspace.assert_answered(1..=12);
    let batches = ended.events("batch");
    assert_eq!(batches.len(), 4, "{batches:?}");
    let arrived = workspace.prompts_of(&server.log());
    let mut first = 0;
    for (number, batch) in batches.iter().enumerate() {
        assert_eq!(batch["batch"], number + 1);
        assert!(batch["input_tokens"].as_u64().is_some_and(|tokens| tokens <= 1_000), "{batch}");
        let size = usize::try_from(batch["prompts"].as_u64().expect("a number")).expect("a small one");
        let mut sent = arrived[first..first + size].to_vec();
        sent.sort_unstable();
        let expected: Vec<u64> = (first as u64 + 1..=(first + size) as u64).collect();
        assert_eq!(sent, expected, "batch {} of {arrived:?}", number + 1);
        first += size;
    }
    assert_eq!(first, arrived.len());
}

#[test]
fn a_day_limit_stops_the_run_where_it_is_told_to_exit() {
    let server = serve(Options::default());
    let workspace = Workspace::with_prompts(100);
    let ended = workspace.run_against(&server, &["--tokens-per-day", "3000", "--on-day-limit", "exit"]);
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    let [done, up_to_date, failed, pending] = ended.counts();
    assert!(up_to_date == 0 && failed == 0 && done > 0 && pending > 0, "{:?}", ended.counts());
    workspace.assert_answered(1..=done);
    assert_eq!(workspace.without_output().len() as u64, pending);
    let used = workspace.usage().day_tokens;
    assert_eq!(used, billed(&server.log()));
    // What was reserved and not used is given back before the run gives up: hardly more than one request is left.
    assert!((3_000 - 200..=3_000).contains(&used), "{used} of 3000 tokens, {done} done");
    // Nothing more fits today: again exit 5 at once, or a few smaller ones, never over.
    let again = workspace.run_against(&server, &["--tokens-per-day", "3000", "--on-day-limit", "exit"]);
    assert_eq!(again.code, Some(5), "{}", again.stderr);
    assert!(workspace.usage().day_tokens <= 3_000);
    let finished = workspace.run_against(&server, &["--tokens-per-day", "0"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(server.log().len(), 100);
    workspace.assert_answered(1..=100);
}

#[test]
fn a_server_with_lower_limits_is_waited_for_and_uses_up_no_attempt() {
    let window = Duration::from_secs(1);
    let rate_limit_headers = RateLimitHeaders::None;
    let server = serve(Options { requests_per_minute: Some(20), window, rate_limit_headers, ..Options::default() });
    let workspace = Workspace::with_prompts(60);
    let ended = workspace.run_against(&server, &["--attempts", "1"]);
    ended.assert_ended(0, [60, 0, 0, 0]);
    workspace.assert_answered(1..=60);
    let log = server.log();
    let refused = log.iter().filter(|logged| logged.status == 429).count();
    assert!(refused > 0);
    let summary = ended.summary();
    assert_eq!((summary["throttled"].as_u64(), summary["retried"].as_u64()), (Some(refused as u64), Some(0)));
    assert_eq!(workspace.usage().day_tokens, billed(&log));
}

#[test]
fn an_estimate_of_the_output_wastes_no_limit() {
    let server = serve(Options::default());
    let workspace = Workspace::with_prompts(100);
    let most_of_one = |log: &[Logged]| log.iter().filter_map(|logged| logged.usage).map(Usage::total).max();
    let plan = |args: &[&str]| workspace.run(&[&["plan", "--on-day-limit", "exit"], args].concat());
    let assumed = "512 an answer are assumed, too few of gpt-4o-mini are known";
    let planned = plan(&["--tokens-per-day", "200"]);
    assert!(planned.code == Some(5) && planned.stdout.contains(assumed), "{planned:?}");
    assert!(!plan(&["--max-output-tokens", "20"]).stdout.contains("assumed"));
    for (limit, least) in [("200", 3), ("400", 3)] {
        // No answer of the model is known at first: its output is estimated at far more than the limit.
        let ended = workspace.run_against(&server, &["--tokens-per-day", limit, "--on-day-limit", "exit"]);
        assert_eq!(ended.code, Some(5), "{}", ended.stderr);
        let (used, limit) = (workspace.usage().day_tokens, limit.parse::<u64>().expect("a number"));
        assert_eq!(used, billed(&server.log()));
        let largest = most_of_one(&server.log()).expect("some");
        assert!(
            ended.counts()[0] >= least && (limit - largest..=limit).contains(&used),
            "{used} of {limit}, {ended:?}"
        );
    }
    // Eight answers are enough to know better.
    assert_eq!(workspace.run_against(&server, &["--only", "90-97"]).code, Some(0));
    assert!(!plan(&[]).stdout.contains("assumed"));
}

/// Two time zones, as `TZ` names them, in which it is 22 o'clock of one day and 2 o'clock of the next: midnight is far from both.
fn zones_of_two_days() -> [String; 2] {
    let hour = i64::from(Clock::default().now().wall.hour());
    // What POSIX calls an offset is west of Greenwich.
    let first = if hour < 12 { hour + 2 } else { hour - 22 };
    [first, first - 4].map(|west| format!("AAA{west:+}"))
}

#[test]
fn a_day_is_not_granted_again_where_its_zone_is_another() {
    let server = serve(Options::default());
    let workspace = Workspace::with_prompts(100);
    let limit = ["--tokens-per-day", "1500", "--on-day-limit", "exit"];
    let [first, second] = zones_of_two_days();
    let run = |zone: &str, args: &[&str]| {
        let args = [&limit[..], args].concat();
        let ended = Ended::of(workspace.command_against(&server, &args).env("TZ", zone).spawn().expect("started"));
        assert_eq!(ended.code, Some(5), "{}", ended.stderr);
        (workspace.usage(), billed(&server.log()))
    };
    let (before, _) = run(&first, &[]);
    assert!((1_300..=1_500).contains(&before.day_tokens), "{before:?}");
    let (after, used) = run(&second, &[]);
    let mut status = workspace.command(&["status", "--json", "--tokens-per-day", "1500"]);
    let status = Ended::run(status.env("TZ", &second)).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!((&status["limits"][2]["limit"], &status["limits"][2]["used"]), (&"tokens_per_day".into(), &used.into()));
    assert_eq!(after.date, before.date.succ_opt().expect("a date"));
    assert!(after.day_tokens == used && used <= 1_500, "{after:?}, {used} billed");
    // The setting says whose midnight it is, whatever the zone of the machine.
    for day in ["local", "utc", "+02:00", "-08:00", "+05:45"] {
        let (face, used) = run(&first, &["--day", day]);
        let starts = face.date == before.date || face.date == after.date;
        assert!(starts && used <= 1_500, "{day}: {face:?}, {used} billed");
    }
}
