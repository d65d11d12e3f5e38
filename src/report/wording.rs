//! An event as a line for people, and from which verbosity on it is worth one. Pure.
//!
//! It looks at one event alone; what repeats what was said before is for `said` to keep back.

use std::time::Duration;

use chrono::{DateTime, Local, Utc};

use super::event::Event;
use super::learned::{learned_at, line_at, of_server, rate};
use crate::admit::hint::{LearnedLimit, Source, Unit, is_daily};
use crate::clock::DayZone;
use crate::model::text::{count, counted, dollars, span};
use crate::model::{Cause, FinishReason, LimitName, Limits, Oddity, Signal};
use crate::report::waits::WaitFor;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Warnings and failures.
    Quiet,
    /// Progress and waits too.
    Normal,
    /// Each answer and each retry too.
    Verbose,
}

/// A shorter wait is worth no line, but to those who want every one.
const LONG_WAIT: f64 = 2.0;
const DAY: Duration = Duration::from_secs(86_400);

/// The line that tells of an event at `now`, and from which verbosity on; `limits` are those that are set. `None` for what others tell.
#[must_use]
pub fn line_of(event: &Event, limits: &Limits, now: DateTime<Utc>) -> Option<(Verbosity, String)> {
    Some(match event {
        Event::Started { prompts, up_to_date, to_send, input_tokens, model, concurrency, reading } => {
            let (prompts, tokens) = (counted(*prompts, "prompt"), count(*input_tokens));
            let (up_to_date, number) = (count(*up_to_date as u64), count(*to_send as u64));
            let how = format!(" ({tokens} input tokens, {model}, at most {concurrency} at a time)");
            let how = if *to_send == 0 { "" } else { &how };
            let so_far = if *reading { ", and reading on" } else { "" };
            (Verbosity::Normal, format!("{prompts}: {up_to_date} up to date, {number} to send{how}{so_far}"))
        }
        Event::Recovered { requests, answered, sent_again, most_tokens, most_cost_usd } => {
            let lost = recovered([*requests, *answered, *sent_again], *most_tokens, *most_cost_usd);
            (Verbosity::Quiet, format!("warning: {lost}"))
        }
        Event::WithoutHistory { answers } => (Verbosity::Quiet, format!("warning: {}", without_history(*answers))),
        Event::Warning { message } => (Verbosity::Quiet, format!("warning: {message}")),
        Event::Batch { batch, batches, prompts, input_tokens } => {
            let (prompts, tokens) = (counted(*prompts, "prompt"), count(*input_tokens));
            let of = batches.map_or(String::new(), |batches| format!(" of {batches}"));
            (Verbosity::Normal, format!("batch {batch}{of}: {prompts}, {tokens} input tokens"))
        }
        Event::Done { key, usage, finish } => {
            let mark = if *finish == FinishReason::Complete { String::new() } else { format!(", {finish}") };
            let line = format!("prompt {key}: answered, {} + {} tokens{mark}", usage.input_tokens, usage.output_tokens);
            (Verbosity::Verbose, line)
        }
        Event::Odd { key, what } => (Verbosity::Verbose, format!("prompt {key}: {}", odd(*what))),
        Event::Failed { key, class, message } => (Verbosity::Quiet, format!("prompt {key} failed: {class}: {message}")),
        Event::Retrying { key, class, message, attempt, attempts, seconds } => {
            let (message, pause) = (unstopped(message), seconds_span(*seconds));
            let line = format!("prompt {key}: {class}: {message}; attempt {attempt} of {attempts}, again in {pause}");
            (Verbosity::Verbose, line)
        }
        Event::Throttled { class, message, seconds, .. } => {
            let (message, pause) = (unstopped(message), seconds_span(*seconds));
            (if_long(*seconds), format!("the server limits the rate; pausing for {pause} ({class}: {message})"))
        }
        Event::Waiting { wait_for, seconds, until } => {
            let (pause, what) = (seconds_span(*seconds), wait_for_what(wait_for, limits, now));
            (if_long(*seconds), format!("waiting {pause} for {what}, until {}", clock_time(*until)))
        }
        Event::LimitLearned { limit } => {
            // One that is no stricter than the settings changes nothing.
            let from = if is_stricter(limit, limits) { Verbosity::Normal } else { Verbosity::Verbose };
            let verb = if limit.unit == Unit::InFlight { "takes" } else { "allows" };
            (from, format!("the server {verb} {}", line_at(limit, &Local, now)))
        }
        Event::RateCut { limit } => (Verbosity::Normal, cut(limit)),
        Event::NearlyUsed { limit, left } => {
            (Verbosity::Quiet, format!("warning: only {} left of the server's {}", count(*left), rate(limit)))
        }
        Event::Paused { cause, class, message, seconds, until } => {
            let what = paused(*cause);
            let (message, pause) = (unstopped(message), seconds_span(*seconds));
            let line =
                format!("{what} ({class}: {message}); retrying with one request in {pause}, at {}", clock_time(*until));
            (Verbosity::Quiet, line)
        }
        Event::Resumed { cause } => (Verbosity::Quiet, resumed(*cause).to_owned()),
        Event::LimitNearlyUsed { limit, used, most } => {
            // A minute's limit is there to be used; a day's is gone until midnight.
            let from = if limit.is_daily() { Verbosity::Quiet } else { Verbosity::Normal };
            (from, format!("warning: less than a tenth of {limit} is left: {} of {} used", count(*used), count(*most)))
        }
        Event::Usage { answers, tokens_within_min, requests_within_min, tokens_within_day, requests_within_day } => {
            let minute =
                used(*tokens_within_min, limits.tokens_per_minute, *requests_within_min, limits.requests_per_minute);
            let day = used(*tokens_within_day, limits.tokens_per_day, *requests_within_day, limits.requests_per_day);
            (Verbosity::Normal, format!("{}: {minute} in this minute, {day} today", counted(*answers, "answer")))
        }
        Event::Stopping { reason, in_flight, held, signal } => {
            (Verbosity::Quiet, stopping(reason, *in_flight, *held, *signal))
        }
        Event::Abandoned { in_flight, tokens, at_most } => (Verbosity::Quiet, abandoned(*in_flight, *tokens, *at_most)),
        Event::Holding { reason, answers, in_flight, until, .. } => {
            let (answers, requests) = (counted(*answers, "answer"), counted(*in_flight, "request"));
            let line = format!(
                "{reason}. Nothing is sent until it works again, at the latest until {}; {answers} held, {requests} in flight",
                clock_time(*until)
            );
            (Verbosity::Quiet, line)
        }
        Event::Released {} => (Verbosity::Quiet, works_again().to_owned()),
        Event::Summary(_) => return None,
    })
}

/// The state file is held by another program, which is waited for before and after a run.
#[must_use]
pub fn held(reason: &str, until: DateTime<Utc>) -> String {
    format!("{reason}; waiting for it, at the latest until {}", clock_time(until))
}

/// The state file can be used again.
#[must_use]
pub fn works_again() -> &'static str {
    "the state file works again"
}

/// That less is sent. How much less is not said where it is a guess, which is wrong at first.
fn cut(limit: &LearnedLimit) -> String {
    match limit {
        LearnedLimit { group: Some(group), .. } if group == LearnedLimit::RAMP => {
            format!("the server wants slower growth; slowing to {}", rate(limit))
        }
        LearnedLimit { unit: Unit::InFlight, .. } => {
            "the server refuses what is too many at a time; sending fewer".to_owned()
        }
        LearnedLimit { source: Source::Estimate, .. } => {
            "the server refuses more than expected; slowing down".to_owned()
        }
        _ => format!("the server refuses more than expected; slowing to {}", rate(limit)),
    }
}

fn paused(cause: Cause) -> &'static str {
    match cause {
        Cause::Outage => "the server is failing",
        Cause::Quota => "the account's quota is used up",
        Cause::Refused => "a request is refused, though others were answered",
    }
}

fn resumed(cause: Cause) -> &'static str {
    match cause {
        Cause::Outage => "the server answers again; continuing",
        Cause::Quota => "the account works again; continuing",
        Cause::Refused => "the request that was refused is answered now; continuing",
    }
}

fn odd(what: Oddity) -> &'static str {
    match what {
        Oddity::Text => "characters of the answer are no text; U+FFFD (\u{fffd}) stands in their place",
        Oddity::Usage => "the usage that the server reports cannot be true; the tokens are counted instead",
    }
}

/// Of answers on disk the journal knows nothing.
#[must_use]
pub fn without_history(answers: usize) -> String {
    let whatever = "whatever the prompt and the model are now; --force";
    match answers {
        1 => format!("1 answer has no history: it counts as up to date, {whatever} sends it again"),
        _ => format!(
            "{} answers have no history: they count as up to date, {whatever} sends them again",
            count(answers as u64)
        ),
    }
}

/// Tokens and requests that are used, of so many.
fn used(tokens: u64, most_tokens: Option<u64>, requests: u64, most_requests: Option<u64>) -> String {
    let of =
        |used: u64, most: Option<u64>| count(used) + &most.map_or(String::new(), |most| format!(" of {}", count(most)));
    format!("{} tokens and {} requests", of(tokens, most_tokens), of(requests, most_requests))
}

/// What was in flight when a run was killed: all, those of them whose answer is on disk, and those of the others that are sent again.
fn recovered([requests, answered, again]: [usize; 3], most_tokens: u64, most_cost_usd: Option<f64>) -> String {
    let number = |number: usize| count(number as u64);
    let were = if requests == 1 { "request was" } else { "requests were" };
    let found = match answered {
        0 => String::new(),
        1 => "; 1 answer is on disk".to_owned(),
        _ => format!("; {} answers are on disk", number(answered)),
    };
    let rest = requests.saturating_sub(answered);
    let cost = most_cost_usd.map_or(String::new(), |cost| format!(", {}", dollars(cost)));
    let paid = format!("{} may have been paid for (at most {} tokens{cost})", number(rest), count(most_tokens));
    let fate = match (again, rest.saturating_sub(again)) {
        (_, _) if rest == 0 => String::new(),
        (_, 0) => format!("; {paid} and will be sent again"),
        (0, _) => format!("; {paid} and will not be sent: an older answer counts, or the prompt is not selected"),
        (_, left) => format!(
            "; {paid}: {} will be sent again, {} have an older answer that counts or are not selected",
            number(again),
            number(left)
        ),
    };
    format!("{} {were} in flight when the last run was killed{found}{fate}", number(requests))
}

/// That no more is sent, and what a second signal does after a first.
fn stopping(reason: &str, in_flight: usize, held: usize, signal: Option<Signal>) -> String {
    let again = match signal.filter(|_| in_flight + held > 0) {
        Some(Signal::Interrupt) => "; a second Ctrl-C stops at once",
        Some(Signal::HangUp | Signal::Terminate) => "; a second signal stops at once",
        None => "",
    };
    let held = if held > 0 { format!(", {} held", counted(held, "answer")) } else { String::new() };
    format!("stopping: {reason}; {} in flight{held}{again}", counted(in_flight, "request"))
}

/// What is not waited for.
fn abandoned(in_flight: usize, tokens: u64, at_most: bool) -> String {
    let (requests, tokens) = (counted(in_flight, "request"), count(tokens));
    let about = if at_most { "at most" } else { "about" };
    format!("stopped at once: {requests} in flight may have been billed, {about} {tokens} tokens, counted as used")
}

/// What is waited for, after "waiting for", in a line of its own: with when and how a limit was learned.
#[must_use]
pub fn wait_for_what(wait_for: &WaitFor, limits: &Limits, now: DateTime<Utc>) -> String {
    let what = in_short(wait_for, limits);
    match wait_for {
        WaitFor::ServerLimit(limit) if !is_own(limit) => format!("{what}, {}", learned_at(limit, &Local, now)),
        WaitFor::FirstAnswers => format!("{what} before sending more"),
        WaitFor::Answers => format!("{what}; as many requests as allowed are in flight"),
        WaitFor::Refused => format!("{what}, and is asked again alone"),
        WaitFor::Prompts => format!("{what}, which are being read"),
        WaitFor::Disk => format!("{what}, to keep what is paid for"),
        _ => what,
    }
}

/// What is waited for, after "waiting for", as short as it can be said.
#[must_use]
pub fn in_short(wait_for: &WaitFor, limits: &Limits) -> String {
    let what = match wait_for {
        WaitFor::Limit(limit) => return limits.named(*limit),
        WaitFor::ServerLimit(limit) if is_own(limit) => {
            let own =
                if limit.unit == Unit::Tokens { LimitName::TokensPerMinute } else { LimitName::RequestsPerMinute };
            return format!("{}, evenly spread", limits.named(own));
        }
        WaitFor::ServerLimit(limit) if limit.unit == Unit::InFlight => {
            return format!("an answer: the server takes {}", rate(limit));
        }
        WaitFor::ServerLimit(limit) => return of_server(limit),
        WaitFor::Server => "the end of the pause that the server asked for",
        WaitFor::FirstAnswers => "the first answers",
        WaitFor::Answers => "answers",
        WaitFor::Outage => "the server to recover",
        WaitFor::Account => "the account's quota",
        WaitFor::Reader => "standard output to be read",
        WaitFor::Retry => "the next try of what has failed",
        WaitFor::Refused => "a request that was refused",
        WaitFor::Prompts => "the next prompts",
        WaitFor::Disk => "the disk",
    };
    what.to_owned()
}

/// Whether it is one of the limits that are set, which is spread over the minute: the server has no part in it.
fn is_own(limit: &LearnedLimit) -> bool {
    limit.group.as_deref() == Some(LearnedLimit::SETTINGS)
}

/// The end of a day: `midnight`, and whose where that is not the machine's.
#[must_use]
pub fn midnight(day: DayZone) -> String {
    match day {
        DayZone::Local => "midnight".to_owned(),
        DayZone::Fixed(offset) if offset.local_minus_utc() == 0 => "midnight UTC".to_owned(),
        DayZone::Fixed(offset) => format!("midnight at {offset}"),
    }
}

/// Whether a limit of the server lets less through than the one that is set beside it.
fn is_stricter(limit: &LearnedLimit, limits: &Limits) -> bool {
    let daily = is_daily(limit.window);
    let own = match (limit.unit, daily) {
        (Unit::Requests, false) => limits.requests_per_minute,
        (Unit::Tokens, false) => limits.tokens_per_minute,
        (Unit::Requests, true) => limits.requests_per_day,
        (Unit::Tokens, true) => limits.tokens_per_day,
        (Unit::InFlight, _) => None,
    };
    let window = if daily { DAY } else { limits.window };
    #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^52")]
    own.is_none_or(|own| limit.size / limit.window.as_secs_f64() < own as f64 / window.as_secs_f64())
}

fn if_long(seconds: f64) -> Verbosity {
    if seconds < LONG_WAIT { Verbosity::Verbose } else { Verbosity::Normal }
}

fn seconds_span(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// What a server says, without the full stop: more follows.
fn unstopped(message: &str) -> &str {
    message.trim_end_matches('.')
}

/// A moment by the wall clock here, with its day of the week.
fn clock_time(at: DateTime<Utc>) -> String {
    at.with_timezone(&Local).format("%a %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Class, Key};

    fn now() -> DateTime<Utc> {
        "2026-11-22T11:01:59Z".parse().expect("a date")
    }

    fn limit(size: f64) -> LearnedLimit {
        let window = Duration::from_secs(60);
        let (unit, source) = (Unit::Tokens, Source::Refusal);
        LearnedLimit { unit, group: None, size, window, burst: window, source, learned: now() }
    }

    fn told(event: &Event) -> (Verbosity, String) {
        line_of(event, &Limits::default(), now()).expect("a line")
    }

    #[test]
    fn a_wait_says_what_binds_and_why() {
        let hours = now().with_timezone(&Local).format("%H:%M").to_string();
        for (wait_for, what) in [
            (WaitFor::Limit(LimitName::TokensPerMinute), "tokens_per_minute of 500,000".to_owned()),
            (
                WaitFor::ServerLimit(limit(10_000.0)),
                format!("the server's 10,000 tokens a minute, learned {hours} from a 429"),
            ),
            (
                // It is no limit of the server, and was not learned.
                WaitFor::ServerLimit(LearnedLimit {
                    group: Some(LearnedLimit::SETTINGS.to_owned()),
                    burst: Duration::from_secs(1),
                    ..limit(200.0)
                }),
                "tokens_per_minute of 500,000, evenly spread".to_owned(),
            ),
        ] {
            assert_eq!(wait_for_what(&wait_for, &Limits::default(), now()), what);
        }
        let share = Limits { day_share_ppm: 800_000, ..Limits::default() };
        let what = wait_for_what(&WaitFor::Limit(LimitName::TokensPerDay), &share, now());
        assert_eq!(what, "tokens_per_day of 5,000,000 (paused at 80 %)");
    }

    #[test]
    fn a_limit_on_requests_at_a_time_reads_well() {
        let hours = now().with_timezone(&Local).format("%H:%M").to_string();
        let two = LearnedLimit { unit: Unit::InFlight, ..limit(2.0) };
        let line = told(&Event::LimitLearned { limit: two.clone() });
        let expected = format!("the server takes 2 requests at a time, learned {hours} from a 429");
        assert_eq!(line, (Verbosity::Normal, expected));
        let line = told(&Event::RateCut { limit: two.clone() }).1;
        assert_eq!(line, "the server refuses what is too many at a time; sending fewer");
        let wait = WaitFor::ServerLimit(two);
        assert_eq!(in_short(&wait, &Limits::default()), "an answer: the server takes 2 requests at a time");
    }

    #[test]
    fn a_cut_says_a_number_where_that_is_no_guess() {
        let ramp = LearnedLimit { group: Some(LearnedLimit::RAMP.to_owned()), source: Source::Estimate, ..limit(7e5) };
        for (limit, line) in [
            (ramp, "the server wants slower growth; slowing to 700,000 tokens a minute and slowly more"),
            (
                LearnedLimit { source: Source::Estimate, ..limit(7.0) },
                "the server refuses more than expected; slowing down",
            ),
            (limit(7.0), "the server refuses more than expected; slowing to 7 tokens a minute"),
        ] {
            assert_eq!(told(&Event::RateCut { limit }).1, line);
        }
    }

    #[test]
    fn midnight_says_whose_it_is() {
        let fixed = |hours: i32| DayZone::Fixed(chrono::FixedOffset::east_opt(hours * 3_600).expect("an offset"));
        let told = [DayZone::Local, fixed(0), fixed(-8)].map(midnight);
        assert_eq!(told, ["midnight", "midnight UTC", "midnight at -08:00"]);
    }

    #[test]
    fn short_waits_and_limits_that_change_nothing_are_not_worth_a_line() {
        for (seconds, from) in [(0.02, Verbosity::Verbose), (1.9, Verbosity::Verbose), (2.0, Verbosity::Normal)] {
            assert_eq!(told(&Event::Waiting { wait_for: WaitFor::Server, seconds, until: now() }).0, from);
            let (key, message) = (Key::from(1), "Slow down.".to_owned());
            let (told, line) = told(&Event::Throttled { key, class: Class::RateLimited, message, seconds });
            assert_eq!(told, from);
            assert!(line.ends_with("(rate_limited: Slow down)"), "{line}");
        }
        for (size, from) in [(499_999.0, Verbosity::Normal), (500_000.0, Verbosity::Verbose), (2e6, Verbosity::Verbose)]
        {
            assert_eq!(told(&Event::LimitLearned { limit: limit(size) }).0, from, "{size}");
        }
        // A day's limit is held against the day's setting; where none is set it is always news.
        let daily = |unit, size| Event::LimitLearned { limit: LearnedLimit { unit, window: DAY, ..limit(size) } };
        assert_eq!(told(&daily(Unit::Tokens, 6e6)).0, Verbosity::Verbose);
        assert_eq!(told(&daily(Unit::Tokens, 4e6)).0, Verbosity::Normal);
        assert_eq!(told(&daily(Unit::Requests, 1e9)).0, Verbosity::Normal);
    }

    #[test]
    fn what_was_in_flight_reads_well() {
        let begins = "5 requests were in flight when the last run was killed; ";
        for (numbers, line) in [
            ([5, 0, 5], "5 may have been paid for (at most 2,640 tokens, $0.2500) and will be sent again"),
            ([5, 5, 0], "5 answers are on disk"),
            (
                [5, 1, 4],
                "1 answer is on disk; 4 may have been paid for (at most 2,640 tokens, $0.2500) and will be sent again",
            ),
            (
                [5, 0, 0],
                "5 may have been paid for (at most 2,640 tokens, $0.2500) and will not be sent: an older answer counts, or the prompt is \
                 not selected",
            ),
            (
                [5, 2, 1],
                "2 answers are on disk; 3 may have been paid for (at most 2,640 tokens, $0.2500): 1 will be sent again, 2 have an older \
                 answer that counts or are not selected",
            ),
        ] {
            assert_eq!(recovered(numbers, 2_640, Some(0.25)), format!("{begins}{line}"));
        }
        assert_eq!(
            recovered([1, 1, 0], 0, None),
            "1 request was in flight when the last run was killed; 1 answer is on disk"
        );
    }

    #[test]
    fn a_signal_says_what_a_second_one_does() {
        let stopping = |in_flight, signal: Option<Signal>| {
            let reason = signal.map_or("a day limit is reached".to_owned(), |signal| signal.to_string());
            told(&Event::Stopping { reason, in_flight, held: 0, signal }).1
        };
        for (line, expected) in [
            (
                stopping(8, Some(Signal::Interrupt)),
                "stopping: interrupted; 8 requests in flight; a second Ctrl-C stops at once",
            ),
            (
                stopping(1, Some(Signal::Terminate)),
                "stopping: terminated; 1 request in flight; a second signal stops at once",
            ),
            (stopping(0, Some(Signal::HangUp)), "stopping: hung up; 0 requests in flight"),
            (stopping(2, None), "stopping: a day limit is reached; 2 requests in flight"),
        ] {
            assert_eq!(line, expected);
        }
        for (at_most, about) in [(true, "at most"), (false, "about")] {
            let (from, line) = told(&Event::Abandoned { in_flight: 5, tokens: 2_635, at_most });
            let expected = format!(
                "stopped at once: 5 requests in flight may have been billed, {about} 2,635 tokens, counted as used"
            );
            assert_eq!((from, line), (Verbosity::Quiet, expected));
        }
    }

    #[test]
    fn an_outage_reads_well() {
        let message = "HTTP 503: Try again later.".to_owned();
        let paused =
            Event::Paused { cause: Cause::Outage, class: Class::Overloaded, message, seconds: 3.9, until: now() };
        let (from, line) = told(&paused);
        let begins =
            "the server is failing (overloaded: HTTP 503: Try again later); retrying with one request in 3.9 s, at ";
        assert!(from == Verbosity::Quiet && line.starts_with(begins), "{line}");
    }
}
