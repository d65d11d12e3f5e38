//! Servers whose limits differ from the settings: found by the run itself, kept to, remembered. Judged by the server's own log.
//!
//! A minute is two seconds here. How long a run takes is not asserted as speed: it is the span of the server's log against the least that the
//! server's own bucket allows, with room for a machine that has other work.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]
#![allow(clippy::unchecked_time_subtraction, reason = "moments of one log, the later less the earlier")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{Ended, Workspace, serve};
use promptmill::standin::{Logged, On429, Options, RateLimitHeaders, Server, Slump, Span};

/// What "a minute" is to both sides.
const WINDOW: Duration = Duration::from_secs(2);
/// The server's limits where a test does not say otherwise.
const REQUESTS: u64 = 100;
const TOKENS: u64 = 10_000;
/// A server of requests that tells its limit in 429s alone, as `on_429` says.
fn requests_told_by(on_429: On429) -> Options {
    let rate_limit_headers = RateLimitHeaders::None;
    Options { requests_per_minute: Some(REQUESTS), window: WINDOW, on_429, rate_limit_headers, ..Options::default() }
}

/// A server of requests that tells its limit in headers.
fn requests_in_headers() -> Options {
    Options { requests_per_minute: Some(REQUESTS), window: WINDOW, ..Options::default() }
}

/// A server of tokens; the limit stands in the headers, or in its 429s alone.
fn tokens(headers: bool) -> Options {
    let rate_limit_headers = if headers { RateLimitHeaders::OpenAi } else { RateLimitHeaders::None };
    let on_429 = On429::Text;
    Options { tokens_per_minute: Some(TOKENS), window: WINDOW, on_429, rate_limit_headers, ..Options::default() }
}

/// Prompts that the server counts as 300 to 500 tokens, and what it counts for all of them.
fn long_prompts(number: u64) -> (Workspace, u64) {
    let mut workspace = Workspace::with_prompts(0);
    let mut counted = 0;
    for prompt in 1..=number {
        // A quarter of the characters, and 16 for an answer that names no most.
        let words = usize::try_from(227 + prompt * 61 % 160).expect("a small one");
        let text = format!("{prompt:04} {}\n", "word ".repeat(words));
        let counts = (text.len() as u64).div_ceil(4) + 16;
        assert!((300..=500).contains(&counts), "{counts}");
        counted += counts;
        workspace.write_prompt(prompt, &text);
    }
    (workspace, counted)
}

/// A run with settings that say five times and more of what the server allows.
fn run(workspace: &Workspace, server: &Server, more: &[&str]) -> Ended {
    workspace.run_against(server, &[&["--window", "2s", "--requests-per-minute", "500"], more].concat())
}

fn refused(log: &[Logged]) -> usize {
    refusals(log).len()
}

/// When requests were refused, since the first one arrived.
fn refusals(log: &[Logged]) -> Vec<Duration> {
    let of_429s = log.iter().filter(|logged| logged.status == 429);
    of_429s.map(|logged| logged.arrived.saturating_sub(log[0].arrived)).collect()
}

/// How many were refused when the limit was met, with those that were on their way then; and how many later.
fn met_and_tried(log: &[Logged]) -> (usize, usize) {
    let refusals = refusals(log);
    let met = refusals.iter().filter(|at| **at < refusals[0] + WINDOW / 4).count();
    (met, refusals.len() - met)
}

/// The least time between the first arrival and the last of `amount`, of which a full bucket of `size` has the first.
fn least(amount: u64, size: u64) -> Duration {
    let over = amount.saturating_sub(size);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    WINDOW.mul_f64(over as f64 / size as f64)
}

/// The span of `log` is hardly longer than `least`: a tenth, and a second for a machine that has other work.
#[track_caller]
fn assert_hardly_longer(log: &[Logged], least: Duration) {
    let span = log[log.len() - 1].arrived - log[0].arrived;
    assert!(span <= least.mul_f64(1.1) + Duration::from_secs(1), "{span:?} for {least:?}");
}

/// What is on its way when a limit is met is refused. On a machine that has other work that is more than the few that it is else.
const MOST_NOT_TOLD: usize = 600;

/// 500 prompts against a server that allows 100 requests in a window: all are answered, by at most `most` requests.
#[track_caller]
fn five_hundred_prompts(options: Options, most: usize) -> Ended {
    let server = serve(options);
    let workspace = Workspace::with_prompts(500);
    let ended = run(&workspace, &server, &["--attempts", "1"]);
    ended.assert_ended(0, [500, 0, 0, 0]);
    workspace.assert_answered(1..=500);
    let log = server.log();
    assert!(log.len() <= most, "{} requests, refused {:?}", log.len(), refusals(&log));
    assert_eq!(log.len(), 500 + refused(&log));
    assert_hardly_longer(&log, least(500, REQUESTS));
    ended
}

#[test]
fn a_hidden_limit_of_requests_is_found_in_headers() {
    five_hundred_prompts(requests_in_headers(), 505);
}

#[test]
fn a_hidden_limit_of_requests_is_found_in_the_text_of_429s() {
    five_hundred_prompts(requests_told_by(On429::Text), MOST_NOT_TOLD);
}

#[test]
fn a_hidden_limit_of_requests_is_found_from_their_waits_alone() {
    five_hundred_prompts(requests_told_by(On429::RetryAfter), MOST_NOT_TOLD);
}

#[test]
fn a_hidden_limit_of_requests_is_found_from_429s_that_say_nothing() {
    five_hundred_prompts(requests_told_by(On429::Nothing), MOST_NOT_TOLD);
}

/// 100 prompts of 300 to 500 tokens against a server that allows 10,000 in a window: all are answered. Returns the server's log.
#[track_caller]
fn a_hundred_long_prompts(options: Options) -> Vec<Logged> {
    let server = serve(options);
    let (workspace, counted) = long_prompts(100);
    run(&workspace, &server, &["--attempts", "1"]).assert_ended(0, [100, 0, 0, 0]);
    workspace.assert_answered(1..=100);
    let log = server.log();
    assert_eq!(log.len(), 100 + refused(&log));
    assert_hardly_longer(&log, least(counted, TOKENS));
    log
}

#[test]
fn a_hidden_limit_of_tokens_is_found_in_headers() {
    let log = a_hundred_long_prompts(tokens(true));
    assert!(log.len() <= 101, "{} requests, refused {:?}", log.len(), refusals(&log));
}

#[test]
fn a_hidden_limit_of_tokens_is_found_in_the_text_of_429s() {
    let log = a_hundred_long_prompts(tokens(false));
    // Those on their way when the limit is met, once, however long the run, eight and on a slow machine a few more; and then a trial of more every one and a half windows. Of 500 prompts, which
    // take 40 s here, it is 514 requests.
    let (met, tried) = met_and_tried(&log);
    assert!((1..=12).contains(&met), "{met} and {tried}: {:?}", refusals(&log));
    assert!(tried <= 3, "{met} and {tried}: {:?}", refusals(&log));
}

/// The server halves its limit of tokens for two windows.
#[track_caller]
fn a_slump(headers: bool) {
    let slump = Span { from: Duration::from_secs(2), lasts: 2 * WINDOW };
    let options = Options { slumps: vec![Slump { span: slump, share: 0.5 }], ..tokens(headers) };
    let server = serve(options);
    let (workspace, counted) = long_prompts(150);
    run(&workspace, &server, &["--attempts", "1"]).assert_ended(0, [150, 0, 0, 0]);
    workspace.assert_answered(1..=150);
    let log = server.log();
    let began = log[0].arrived;
    let within =
        |from: Duration, to: Duration| log.iter().filter(move |logged| (from..to).contains(&(logged.arrived - began)));
    let answered = |from, to| within(from, to).filter(|logged| logged.status == 200).count() as u64;
    let second = Duration::from_secs(1);
    // A handful where the limit is lowered, and none from a second on.
    assert!(within(slump.from, slump.from + second).filter(|logged| logged.status == 429).count() <= 5);
    let later = within(slump.from + second, slump.end()).filter(|logged| logged.status == 429).count();
    assert!(later <= 1, "{later} refused when the limit was known");
    // Two windows after the slump, a window's worth is let in within a window again; less the room for one large request.
    let mean = counted / 150;
    let up = answered(slump.end() + WINDOW, slump.end() + 2 * WINDOW);
    assert!(up * mean >= TOKENS * 8 / 10, "{up} requests of {mean} tokens in a window");
}

#[test]
fn a_limit_that_is_halved_for_a_while_is_followed_by_headers() {
    a_slump(true);
}

#[test]
fn a_limit_that_is_halved_for_a_while_is_followed_by_the_text_of_429s() {
    a_slump(false);
}

/// 300 prompts against a server of 500 a minute that takes a second's worth at once, four times as fast. No header tells of the slices.
#[track_caller]
fn slices(rate_limit_headers: RateLimitHeaders) {
    let window = Duration::from_secs(15);
    let (requests_per_minute, burst, on_429) = (Some(500), Some(window / 60), On429::Text);
    let server =
        serve(Options { requests_per_minute, window, burst, on_429, rate_limit_headers, ..Options::default() });
    let workspace = Workspace::with_prompts(300);
    let ended = workspace.run_against(&server, &["--window", "15s", "--requests-per-minute", "500", "--attempts", "1"]);
    ended.assert_ended(0, [300, 0, 0, 0]);
    workspace.assert_answered(1..=300);
    let log = server.log();
    // A slice has eight at once.
    let least = (window / 500) * (300 - 8);
    let span = log[log.len() - 1].arrived - log[0].arrived;
    assert!(span <= least.mul_f64(1.0 / 0.95) + Duration::from_secs(1), "{span:?} for {least:?}");
    // What is on its way when the first slice is full is refused; after that it is paced, and tried with more now and then.
    let (met, tried) = met_and_tried(&log);
    assert!((1..=16).contains(&met), "{met} and {tried}: {:?}", refusals(&log));
    assert!(tried <= 6, "{met} and {tried}: {:?}", refusals(&log));
}

#[test]
fn a_minute_that_is_enforced_in_slices_is_paced_for_by_headers() {
    slices(RateLimitHeaders::OpenAi);
}

#[test]
fn a_minute_that_is_enforced_in_slices_is_paced_for_by_the_text_of_429s() {
    slices(RateLimitHeaders::None);
}

/// What was let go before a 429 is heard cannot know of it. On a loaded machine it arrives within this time after the refused request's own arrival.
const ON_THE_WAY: Duration = Duration::from_millis(150);

/// No request arrives between a 429 and the end of the wait that it told, but those that were under way when it was decided: `wave`, which was let go
/// at once before any refusal, and what was on its way.
#[track_caller]
fn assert_waits_are_kept(wave: &[&Logged], rest: &[&Logged]) {
    let told = |logged: &Logged| Some((logged.arrived, logged.arrived + logged.wait?));
    let of_wave = wave.iter().filter_map(|logged| told(logged));
    let later = rest.iter().filter_map(|logged| told(logged)).map(|(at, end)| (at + ON_THE_WAY, end));
    let waits: Vec<_> = of_wave.chain(later).filter(|(at, end)| at < end).collect();
    assert!(!waits.is_empty(), "no wait is long enough to be judged");
    for (at, end) in waits {
        let early = rest.iter().find(|logged| at < logged.arrived && logged.arrived < end);
        let arrivals = || rest.iter().map(|logged| (logged.arrived, logged.status)).collect::<Vec<_>>();
        assert!(early.is_none(), "nothing was to come from {at:?} to {end:?}: {early:?} of {:?}", arrivals());
    }
}

#[test]
fn a_wait_that_the_server_names_is_never_cut_short() {
    for on_429 in [On429::Text, On429::RetryAfter, On429::Both] {
        let server = serve(Options { requests_per_minute: Some(6), ..requests_told_by(on_429) });
        let workspace = Workspace::with_prompts(14);
        run(&workspace, &server, &["--attempts", "1"]).assert_ended(0, [14, 0, 0, 0]);
        workspace.assert_answered(1..=14);
        assert_waits_are_kept(&[], &server.log().iter().collect::<Vec<_>>());
    }
}

#[test]
fn those_that_wait_do_not_return_in_the_same_millisecond() {
    // A run that knows a limit of 500 and meets one of 40: all that is sent at once is refused at once.
    let server = serve(Options { requests_per_minute: Some(500), ..requests_in_headers() });
    let workspace = Workspace::with_prompts(100);
    run(&workspace, &server, &[]).assert_ended(0, [100, 0, 0, 0]);
    let before = server.log().len();
    server.set_options(Options { requests_per_minute: Some(40), on_429: On429::RetryAfter, ..requests_in_headers() });
    run(&workspace, &server, &["--force", "--attempts", "1"]).assert_ended(0, [100, 0, 0, 0]);
    workspace.assert_answered(1..=100);
    let log = &server.log()[before..];
    // All fit by what is known: the first request of each prompt is part of one wave.
    let mut prompts = BTreeSet::new();
    let (wave, back): (Vec<&Logged>, Vec<&Logged>) = log.iter().partition(|logged| prompts.insert(logged.prompt));
    assert_waits_are_kept(&wave, &back);
    assert!(back.len() >= 20, "{} refused at once", back.len());
    let took = back[19].arrived - back[0].arrived;
    assert!(took >= Duration::from_millis(100), "twenty are back within {took:?}");
}

/// A run finds the limit; the next one starts at it, with at most so many refusals; and what is forgotten is learned again.
#[track_caller]
fn limits_survive(options: Options, prompts: u64, most: usize) -> Ended {
    let server = serve(options);
    let base_url = server.base_url();
    let workspace = Workspace::with_prompts(prompts);
    run(&workspace, &server, &[]).assert_ended(0, [prompts, 0, 0, 0]);
    let first = server.log().len();
    // Shorter than the time after which more is tried.
    let again = run(&workspace, &server, &["--force", "--only", "1-80"]);
    again.assert_ended(0, [80, 0, 0, 0]);
    let log = &server.log()[first..];
    assert!(refused(log) <= most, "{:?} refused of {}", refusals(log), log.len());
    // The bucket was empty at its start, so that all of it is refilled; and where the limit is an estimate, it is a little lower.
    assert_hardly_longer(log, WINDOW.mul_f64(0.8));
    let flags = ["--base-url", &base_url];
    let shown = workspace.run_to(0, &[&["limits"], flags.as_slice()].concat()).stdout;
    assert!(shown.contains(" requests in 2.0 s, learned ") || shown.contains("about "), "{shown}");
    let forgotten = workspace.run_to(0, &[&["limits", "forget"], flags.as_slice()].concat()).stdout;
    assert!(forgotten.starts_with("1 learned limit forgotten of "), "{forgotten}");
    let status = workspace.run_to(0, &[&["status"], flags.as_slice()].concat()).stdout;
    assert!(!status.contains("server: "), "{status}");
    let anew = run(&workspace, &server, &["--force"]);
    anew.assert_ended(0, [prompts, 0, 0, 0]);
    anew
}

#[test]
fn limits_learned_from_headers_survive_a_restart() {
    let anew = limits_survive(requests_in_headers(), 200, 0);
    assert_eq!(anew.events("limit_learned").len(), 1);
}

#[test]
fn limits_learned_from_the_text_of_429s_survive_a_restart() {
    let anew = limits_survive(requests_told_by(On429::Text), 200, 0);
    assert!(!anew.events("limit_learned").is_empty());
}

/// A guess is tried soon, for it may not be true any more: that costs a few.
#[test]
fn limits_estimated_from_429s_that_say_nothing_survive_a_restart() {
    let anew = limits_survive(requests_told_by(On429::Nothing), 400, 12);
    assert!(!anew.events("rate_cut").is_empty());
}

/// The names of the events in the journal of the last run, oldest first, and what they say.
fn journal(workspace: &Workspace, server: &Server) -> Vec<(String, serde_json::Value)> {
    let report = workspace.run_to(0, &["status", "-v", "--json", "--base-url", &server.base_url()]).stdout;
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    let notes = report["notes"].as_array().expect("notes");
    let notes = notes.iter().map(|note| {
        let event: serde_json::Value = serde_json::from_str(note["event"].as_str().expect("text")).expect("JSON");
        (event["event"].as_str().expect("a name").to_owned(), event)
    });
    notes.collect()
}

#[test]
fn waits_hints_and_cuts_are_events_and_are_journalled() {
    for (options, prompts, learned) in [
        (requests_in_headers(), 200, "limit_learned"),
        (requests_told_by(On429::Text), 200, "limit_learned"),
        // It takes some refusals to show a rate.
        (requests_told_by(On429::Nothing), 400, "rate_cut"),
    ] {
        let server = serve(options);
        let workspace = Workspace::with_prompts(prompts);
        let ended = run(&workspace, &server, &[]);
        ended.assert_ended(0, [prompts, 0, 0, 0]);
        let journal = journal(&workspace, &server);
        for name in [learned, "waiting"] {
            let told = ended.events(name);
            assert!(!told.is_empty(), "no {name}: {}", ended.stdout);
            for event in told {
                assert!(journal.iter().any(|(_, noted)| noted == event), "{event} is not in {journal:?}");
            }
        }
        let limit = &ended.events(learned)[0]["limit"];
        assert_eq!(limit["unit"], "requests", "{limit}");
        let waits = ended.events("waiting");
        let for_limit = waits.iter().any(|event| event["wait_for"]["server_limit"]["unit"] == "requests");
        let for_pause = waits.iter().any(|event| event["wait_for"] == "server");
        assert!(for_limit || (learned == "rate_cut" && for_pause), "{waits:?}");
        assert_eq!(ended.events("throttled").is_empty(), refused(&server.log()) == 0);
    }
}
