//! Tells a person how a run goes: a bar on a terminal, plain lines elsewhere. What is said is written by [`Stderr`].

use std::io::Write as _;
use std::time::Duration;

use super::cadence::Cadence;
use super::event::Event;
use super::left::TimeLeft;
use super::said::Said;
use super::stderr::{Bar, Stderr};
use super::summary::Progress;
use super::wording::{Verbosity, in_short, line_of};
use crate::admit::ledger::Used;
use crate::clock::{Clock, Mono};
use crate::model::Limits;
use crate::model::text::{count, one_line, span};
use crate::report::waits::{Binds, WaitFor};

/// A shorter wait for a limit is a pace,
const SHORT: Duration = Duration::from_secs(1);
/// which holds as long as such a wait was seen so short a time ago.
const PACE_SEEN: Duration = Duration::from_secs(2);
/// That stdout is not read is said when it has lasted so long.
const UNREAD: Duration = Duration::from_secs(1);

/// Prints a line to stderr: one, and nothing hidden in it, whatever names and messages it holds. That nobody reads there any more (`2>&1 | head`) is no reason to end a run that costs money.
pub fn tell(line: &str) {
    // There is nowhere left to say it.
    let _ = writeln!(std::io::stderr().lock(), "{}", one_line(line));
}

/// The person's view of a run.
pub struct Terminal {
    verbosity: Verbosity,
    stderr: Stderr,
    has_bar: bool,
    limits: Limits,
    clock: Clock,
    cadence: Cadence,
    left: TimeLeft,
    used: Option<Used>,
    pace: Option<Pace>,
    /// Whether nothing more is sent.
    is_stopping: bool,
    /// Since when stdout is not read.
    unread: Option<Mono>,
    said: Said,
}

impl Terminal {
    /// A view with a bar where `bar` says that stderr is a terminal.
    #[must_use]
    pub fn new(stderr: Stderr, verbosity: Verbosity, bar: bool, limits: Limits, clock: Clock) -> Self {
        let started = clock.mono();
        let has_bar = bar && verbosity == Verbosity::Normal;
        Self {
            verbosity,
            stderr,
            has_bar,
            limits,
            clock,
            cadence: Cadence::new(started),
            left: TimeLeft::new(started),
            used: None,
            pace: None,
            is_stopping: false,
            unread: None,
            said: Said::new(),
        }
    }

    /// Says something that is worth a line.
    pub fn say(&self, line: &str) {
        self.stderr.say(line);
    }

    /// Takes the bar away: the run has ended.
    pub fn end(&self) {
        self.stderr.clear();
    }

    /// Waits until all is said, at most for so long; says how many lines are not.
    #[must_use]
    pub fn wait(&self, at_most: Duration) -> usize {
        self.stderr.wait(at_most)
    }

    /// Takes in the counters.
    pub fn used(&mut self, used: Used) {
        self.used = Some(used);
    }

    /// Shows how far the run is.
    pub fn tick(&mut self, progress: Progress<'_>) {
        let now = self.clock.now().mono;
        // Asked for at every tick: a pace is what was seen a moment ago.
        let why = binding(progress.binds, &mut self.pace, &self.limits, now);
        let left = self.left.tell(&progress, &self.limits, now);
        let due = self.said.due(progress.binds, now);
        if self.verbosity >= Verbosity::Normal
            && let Some((_, line)) = due.and_then(|event| line_of(&event, &self.limits, self.clock.now().wall))
        {
            self.say(&line);
        }
        let news = self.is_unread(progress.binds, now);
        let ended = progress.tally.done + progress.tally.failed;
        // While it stops, what is in flight is all that is left.
        let (left, why) = if self.is_stopping { (None, Some("stopping".to_owned())) } else { (left, why) };
        if self.has_bar {
            let text = one_line(&status(&progress, left, why, self.tokens())).into_owned();
            self.stderr.bar(Bar { ended, all: progress.jobs, text });
        } else if self.verbosity >= Verbosity::Normal && (news || self.cadence.is_due(now, ended)) {
            self.say(&status(&progress, left, why, self.tokens()));
        }
    }

    /// What is used of the minute.
    fn tokens(&self) -> Option<String> {
        let of = self.limits.tokens_per_minute.map_or(String::new(), |most| format!(" of {}", count(most)));
        self.used.map(|used| format!("{}{of} tokens in this minute", count(used.minute.tokens)))
    }

    /// Whether it is to be said now that stdout is not read: once for each time that this lasts for a moment.
    fn is_unread(&mut self, binds: Option<&Binds>, now: Mono) -> bool {
        if binds.is_none_or(|binds| binds.what != WaitFor::Reader) {
            self.unread = None;
            return false;
        }
        let since = self.unread.get_or_insert(now);
        // Beyond all time: it was said.
        let is_news = *since <= now && since.until(now) >= UNREAD;
        if is_news {
            *since = Mono(u64::MAX);
        }
        is_news
    }

    /// Tells of an event, if the verbosity asks for it.
    pub fn event(&mut self, event: &Event) {
        if matches!(event, Event::Stopping { .. }) {
            self.is_stopping = true;
            // What stands there is no longer true.
            self.stderr.clear();
        }
        let Some((from, line)) = line_of(event, &self.limits, self.clock.now().wall) else { return };
        let from = self.said.from(event, from, self.clock.mono());
        // The bar shows each wait while it lasts.
        let shown = self.has_bar && matches!(event, Event::Waiting { .. });
        if !shown && self.verbosity >= from {
            self.say(&line);
        }
    }
}

/// How far a run is. What matters most stands first: a narrow terminal cuts the end.
fn status(progress: &Progress<'_>, left: Option<Duration>, why: Option<String>, tokens: Option<String>) -> String {
    let Progress { jobs, in_flight, tally, .. } = progress;
    let failed = if tally.failed > 0 { format!(" ({} failed)", count(tally.failed)) } else { String::new() };
    let mut parts = vec![format!("{}/{jobs}{failed}", tally.done + tally.failed)];
    parts.extend(left.map(|left| format!("{} left", span(left))));
    parts.extend(why);
    parts.push(format!("{} in flight", count(*in_flight)));
    parts.extend(tokens);
    parts.join(", ")
}

/// What keeps a run to its pace, as long as it was seen a moment ago.
#[derive(Debug)]
struct Pace {
    what: String,
    seen: Mono,
}

/// What binds now, for the bar and the lines of progress. At an even pace there is a short wait before each request, and none for a moment after it:
/// then the limit is named that sets the pace.
fn binding(binds: Option<&Binds>, pace: &mut Option<Pace>, limits: &Limits, now: Mono) -> Option<String> {
    let Some(Binds { what, until }) = binds else {
        let pace = pace.as_ref().filter(|pace| now <= pace.seen.plus(PACE_SEEN));
        return pace.map(|pace| format!("at {}", pace.what));
    };
    let text = in_short(what, limits);
    let limit = matches!(what, WaitFor::Limit(_) | WaitFor::ServerLimit(_));
    Some(match until.map(|until| now.until(until)) {
        Some(wait) if limit && wait < SHORT => {
            let line = format!("at {text}");
            *pace = Some(Pace { what: text, seen: now });
            line
        }
        // It is over in milliseconds, and there again as often.
        Some(_) if *what == WaitFor::FirstAnswers => "starting softly".to_owned(),
        Some(wait) => format!("waiting {} for {text}", span(wait)),
        None => format!("waiting for {text}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LimitName;
    use crate::report::summary::Tally;

    #[test]
    fn what_binds_is_steady_at_an_even_pace() {
        let mut pace = None;
        let limits = Limits::default();
        let mut at = |ms: u64, binds: Option<(WaitFor, Option<u64>)>| {
            let moment = |ms: u64| Mono(ms * 1_000_000);
            let binds = binds.map(|(what, until)| Binds { what, until: until.map(moment) });
            binding(binds.as_ref(), &mut pace, &limits, moment(ms)).unwrap_or_default()
        };
        let requests = || WaitFor::Limit(LimitName::RequestsPerMinute);
        let paced = "at requests_per_minute of 500";
        assert_eq!(at(0, None), "");
        assert_eq!(at(100, Some((requests(), Some(3_300)))), "waiting 3.2 s for requests_per_minute of 500");
        assert_eq!(at(3_000, Some((requests(), Some(3_300)))), paced);
        // The request leaves; nothing binds until the next one is asked for.
        assert_eq!(at(3_300, None), paced);
        assert_eq!(at(3_400, Some((requests(), Some(3_420)))), paced);
        assert_eq!(at(5_400, None), paced);
        assert_eq!(at(5_500, None), "");
        assert_eq!(at(6_000, Some((WaitFor::Outage, Some(6_500)))), "waiting 500 ms for the server to recover");
        assert_eq!(at(6_000, Some((WaitFor::Answers, None))), "waiting for answers");
        let first = |until| Some((WaitFor::FirstAnswers, until));
        assert_eq!(at(6_000, first(None)), "waiting for the first answers");
        assert_eq!(at(6_000, first(Some(6_003))), "starting softly");
    }

    #[test]
    fn what_matters_most_stands_first() {
        let tally = Tally { done: 120, failed: 3, ..Tally::default() };
        let progress = Progress { jobs: 500, in_flight: 8, tally: &tally, binds: None };
        let left = Some(Duration::from_secs(200));
        let (why, tokens) = (Some("at requests_per_minute of 500".to_owned()), Some("7 tokens".to_owned()));
        assert_eq!(
            status(&progress, left, why, tokens),
            "123/500 (3 failed), 3m 20s left, at requests_per_minute of 500, 8 in flight, 7 tokens"
        );
        assert_eq!(status(&progress, None, None, None), "123/500 (3 failed), 8 in flight");
    }
}
