//! Tells a person how a run goes: a bar on a terminal, plain lines elsewhere. What is said is written by [`Stderr`].

use std::io::Write as _;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::cadence::Cadence;
use super::event::Event;
use super::stderr::{Bar, Stderr};
use super::summary::Progress;
use super::wording::{Verbosity, line_of, wait_for_what};
use crate::admit::hint::LearnedLimit;
use crate::admit::ledger::Used;
use crate::clock::{Clock, Mono};
use crate::model::text::{count, one_line, span};
use crate::model::{Cause, Limits};
use crate::report::waits::{Binds, WaitFor};

/// A shorter wait for a limit is a pace,
const SHORT: Duration = Duration::from_secs(1);
/// which holds as long as such a wait was seen so short a time ago.
const PACE_SEEN: Duration = Duration::from_secs(2);
/// Through a longer wait the time left is not told: what was done before says nothing of it.
const FORESEEN: Duration = Duration::from_secs(60);
/// That stdout is not read is said when it has lasted so long.
const UNREAD: Duration = Duration::from_secs(1);
/// A limit that is told is not told again while its size stays within this part of it.
const TOLD_WITHIN: f64 = 0.1;

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
    started: Mono,
    cadence: Cadence,
    used: Option<Used>,
    pace: Option<Pace>,
    /// Since when stdout is not read.
    unread: Option<Mono>,
    told: Said,
}

impl Terminal {
    /// A view with a bar where `bar` says that stderr is a terminal.
    #[must_use]
    pub fn new(stderr: Stderr, verbosity: Verbosity, bar: bool, limits: Limits, clock: Clock) -> Self {
        let started = clock.mono();
        let has_bar = bar && verbosity == Verbosity::Normal;
        let cadence = Cadence::new(started);
        let (used, pace, unread, told) = (None, None, None, Said::default());
        Self { verbosity, stderr, has_bar, limits, clock, started, cadence, used, pace, unread, told }
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
        let now = self.clock.now();
        // Asked for at every tick: a pace is what was seen a moment ago.
        let (binds, foreseen) = binding(progress.binds, &mut self.pace, &self.limits, (now.mono, now.wall));
        let tally = progress.tally;
        let ended = tally.done + tally.failed;
        let news = self.is_unread(progress.binds, now.mono);
        if self.has_bar {
            let status = self.status(progress, binds, foreseen, now.mono);
            let message = one_line(&status).into_owned();
            self.stderr.bar(Bar { length: progress.jobs as u64, position: ended as u64, message });
        } else if self.verbosity >= Verbosity::Normal && (news || self.cadence.is_due(now.mono, ended)) {
            let status = self.status(progress, binds, foreseen, now.mono);
            self.say(&format!("{ended}/{} {status}", progress.jobs));
        }
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

    fn status(&self, progress: Progress<'_>, binds: Option<String>, foreseen: bool, now: Mono) -> String {
        let tally = progress.tally;
        let ended = tally.done + tally.failed;
        // What matters most stands first: a narrow terminal cuts the end.
        let mut parts: Vec<String> = binds.into_iter().collect();
        if foreseen && ended > 0 && ended < progress.jobs {
            let elapsed = self.started.until(now);
            #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
            let left = elapsed.mul_f64((progress.jobs - ended) as f64 / ended as f64);
            parts.push(format!("about {} left", span(left)));
        }
        if tally.failed > 0 {
            parts.push(format!("{} failed", tally.failed));
        }
        parts.push(format!("{} in flight", progress.in_flight));
        if let Some(used) = self.used {
            let of = self.limits.tokens_per_minute.map_or(String::new(), |most| format!(" of {}", count(most)));
            parts.push(format!("{}{of} tokens in this minute", count(used.minute.tokens)));
        }
        parts.join(", ")
    }

    /// Tells of an event, if the verbosity asks for it.
    pub fn event(&mut self, event: &Event) {
        let Some((from, line)) = line_of(event, &self.limits, self.clock.now().wall) else { return };
        let from = if self.told.is_told(event) { from.max(Verbosity::Verbose) } else { from };
        // The bar shows each wait while it lasts.
        let shown = self.has_bar && matches!(event, Event::Waiting { .. });
        if !shown && self.verbosity >= from {
            self.say(&line);
        }
    }
}

/// What was said, as far as later events only repeat it.
#[derive(Debug, Default)]
struct Said {
    /// Why the run pauses.
    paused: Option<Cause>,
    /// Seconds of the latest pause after a 429.
    throttled: f64,
    /// The server's limits, as they were last told.
    limits: Vec<LearnedLimit>,
}

impl Said {
    /// Takes in an event, and says whether it is no news after those before it.
    fn is_told(&mut self, event: &Event) -> bool {
        match event {
            // A probe that fails too is no news; the wait that follows is shown as it lasts.
            Event::Paused { cause, .. } => self.paused.replace(*cause) == Some(*cause),
            Event::Resumed { .. } => {
                self.paused = None;
                false
            }
            Event::Throttled { seconds, .. } => {
                self.throttled = *seconds;
                false
            }
            Event::Waiting { wait_for: WaitFor::Server, seconds, .. } => *seconds <= self.throttled,
            Event::LimitLearned { limit } | Event::RateCut { limit } => self.is_near(limit),
            _ => false,
        }
    }

    /// Whether a limit is about what was last told of it: an estimate moves a little with every trial.
    fn is_near(&mut self, limit: &LearnedLimit) -> bool {
        let key = |limit: &LearnedLimit| (limit.unit, limit.group.clone(), limit.window, limit.burst);
        match self.limits.iter_mut().find(|told| key(told) == key(limit)) {
            Some(told) if (told.size - limit.size).abs() <= TOLD_WITHIN * told.size => true,
            Some(told) => {
                told.clone_from(limit);
                false
            }
            None => {
                self.limits.push(limit.clone());
                false
            }
        }
    }
}

/// What keeps a run to its pace, as long as it was seen a moment ago.
#[derive(Debug)]
struct Pace {
    what: String,
    seen: Mono,
}

/// What binds now, for the bar and the lines of progress, and whether the time left can be told. At an even pace there is a short wait before each
/// request, and none for a moment after it: then the limit is named that sets the pace.
fn binding(
    binds: Option<&Binds>,
    pace: &mut Option<Pace>,
    limits: &Limits,
    (now, wall): (Mono, DateTime<Utc>),
) -> (Option<String>, bool) {
    let Some(Binds { what, until }) = binds else {
        let pace = pace.as_ref().filter(|pace| now <= pace.seen.plus(PACE_SEEN));
        return (pace.map(|pace| format!("at the pace of {}", pace.what)), true);
    };
    let text = wait_for_what(what, limits, wall);
    let limit = matches!(what, WaitFor::Limit(_) | WaitFor::ServerLimit(_));
    match until.map(|until| now.until(until)) {
        Some(wait) if limit && wait < SHORT => {
            let line = format!("at the pace of {text}");
            *pace = Some(Pace { what: text, seen: now });
            (Some(line), true)
        }
        // It is over in milliseconds, and there again as often.
        Some(_) if *what == WaitFor::FirstAnswers => (Some("starting softly".to_owned()), false),
        Some(wait) => (Some(format!("waiting {} for {text}", span(wait))), limit && wait < FORESEEN),
        None => (Some(format!("waiting for {text}")), *what == WaitFor::Answers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::hint::{Source, Unit};
    use crate::model::{Class, Key, LimitName};

    fn wall() -> DateTime<Utc> {
        "2026-11-22T11:01:59Z".parse().expect("a date")
    }

    fn limit(size: f64) -> LearnedLimit {
        let window = Duration::from_secs(60);
        let (unit, source) = (Unit::Requests, Source::Estimate);
        LearnedLimit { unit, group: None, size, window, burst: window, source, learned: wall() }
    }

    #[test]
    fn what_binds_is_steady_at_an_even_pace() {
        let mut pace = None;
        let limits = Limits::default();
        let mut at = |ms: u64, binds: Option<(WaitFor, Option<u64>)>| {
            let moment = |ms: u64| Mono(ms * 1_000_000);
            let binds = binds.map(|(what, until)| Binds { what, until: until.map(moment) });
            let (text, foreseen) = binding(binds.as_ref(), &mut pace, &limits, (moment(ms), wall()));
            (text.unwrap_or_default(), foreseen)
        };
        let requests = || WaitFor::Limit(LimitName::RequestsPerMinute);
        let paced = ("at the pace of requests_per_minute of 500".to_owned(), true);
        assert_eq!(at(0, None), (String::new(), true));
        assert_eq!(
            at(100, Some((requests(), Some(3_300)))),
            ("waiting 3.2 s for requests_per_minute of 500".to_owned(), true)
        );
        assert_eq!(at(3_000, Some((requests(), Some(3_300)))), paced);
        // The request leaves; nothing binds until the next one is asked for.
        assert_eq!(at(3_300, None), paced);
        assert_eq!(at(3_400, Some((requests(), Some(3_420)))), paced);
        assert_eq!(at(5_400, None), paced);
        assert_eq!(at(5_500, None), (String::new(), true));
        // How long an outage or a day's wait takes is not to be told from what was done before it.
        assert!(!at(6_000, Some((requests(), Some(7_200_000)))).1);
        assert_eq!(
            at(6_000, Some((WaitFor::Outage, Some(6_500)))),
            ("waiting 500 ms for the server to recover".to_owned(), false)
        );
        assert_eq!(
            at(6_000, Some((WaitFor::Answers, None))),
            ("waiting for answers; as many requests as allowed are in flight".to_owned(), true)
        );
        let first = |until| Some((WaitFor::FirstAnswers, until));
        assert_eq!(at(6_000, first(None)), ("waiting for the first answers before sending more".to_owned(), false));
        assert_eq!(at(6_000, first(Some(6_003))), ("starting softly".to_owned(), false));
    }

    #[test]
    fn what_was_said_is_not_said_again() {
        let mut said = Said::default();
        let mut told = |event: &Event| said.is_told(event);
        let paused =
            |cause| Event::Paused { cause, class: Class::Busy, message: String::new(), seconds: 1.0, until: wall() };
        assert_eq!(
            [Cause::Outage, Cause::Outage, Cause::Quota].map(|cause| told(&paused(cause))),
            [false, true, false]
        );
        assert!(!told(&Event::Resumed { cause: Cause::Quota }));
        assert!(!told(&paused(Cause::Quota)));

        let (key, message) = (Key::from(1), String::new());
        let waiting = |seconds| Event::Waiting { wait_for: WaitFor::Server, seconds, until: wall() };
        assert!(!told(&waiting(1.0)));
        assert!(!told(&Event::Throttled { key, class: Class::RateLimited, message, seconds: 5.0 }));
        assert!(told(&waiting(4.9)) && !told(&waiting(30.0)));

        let sizes = [100.0, 95.0, 109.0, 80.0, 100.0];
        assert_eq!(sizes.map(|size| told(&Event::RateCut { limit: limit(size) })), [false, true, true, false, false]);
        let other = LearnedLimit { burst: Duration::from_secs(1), ..limit(100.0) };
        assert!(!told(&Event::RateCut { limit: other }));
    }
}
