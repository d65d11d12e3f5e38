//! Tells a person how a run goes, on stderr: a bar on a terminal, plain lines elsewhere. The one owner of stderr while a run goes on.

use std::io::Write as _;
use std::time::Duration;

use chrono::{DateTime, Local, Utc};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::event::{Binds, Event, WaitFor};
use super::format::{count, counted, server_limit, span};
use super::summary::Progress;
use crate::admit::limits::Limits;
use crate::admit::usage_md::Face;
use crate::clock::{Clock, Mono};
use crate::model::PromptId;
use crate::run::Cause;
use crate::send::answer::Finish;

/// Between two lines of progress where there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(10);

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

/// Prints a line to stderr. That nobody reads there any more (`2>&1 | head`) is no reason to end a run that costs money.
pub fn tell(line: &str) {
    // There is nowhere left to say it.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// The person's view of a run.
pub struct Terminal {
    verbosity: Verbosity,
    bar: Option<ProgressBar>,
    limits: Limits,
    clock: Clock,
    started: Mono,
    next_line: Mono,
    face: Option<Face>,
}

impl Terminal {
    /// A view with a bar where `bar` says that stderr is a terminal.
    #[must_use]
    pub fn new(verbosity: Verbosity, bar: bool, limits: Limits, clock: Clock) -> Self {
        let started = clock.mono();
        let bar = (bar && verbosity == Verbosity::Normal).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            // A template that does not parse would be found by the tests below.
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            bar
        });
        Self { verbosity, bar, limits, clock, started, next_line: started.plus(LINE_EVERY), face: None }
    }

    /// Says something that is worth a line.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| tell(line)),
            None => tell(line),
        }
    }

    /// Takes the bar away: what follows is printed by others.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Takes in the counters.
    pub fn face(&mut self, face: Face) {
        self.face = Some(face);
    }

    /// Shows how far the run is.
    pub fn tick(&mut self, progress: Progress<'_>) {
        let now = self.clock.mono();
        if let Some(bar) = &self.bar {
            let tally = progress.tally;
            bar.set_length(progress.jobs as u64);
            bar.set_position((tally.done + tally.failed) as u64);
            bar.set_message(self.status(progress, now));
        } else if self.verbosity >= Verbosity::Normal && now >= self.next_line {
            self.next_line = now.plus(LINE_EVERY);
            let tally = progress.tally;
            tell(&format!("{}/{} {}", tally.done + tally.failed, progress.jobs, self.status(progress, now)));
        }
    }

    fn status(&self, progress: Progress<'_>, now: Mono) -> String {
        let tally = progress.tally;
        let ended = tally.done + tally.failed;
        let mut parts = Vec::new();
        // What matters most stands first: a narrow terminal cuts the end.
        match progress.binds {
            Some(Binds { what, until: Some(until) }) => {
                parts.push(format!("waiting {} for {}", span(now.until(*until)), wait_for_what(what, &self.limits)));
            }
            Some(Binds { what, until: None }) => {
                parts.push(format!("waiting for {}", wait_for_what(what, &self.limits)));
            }
            None if ended > 0 && ended < progress.jobs => {
                let elapsed = self.started.until(now);
                #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
                let left = elapsed.mul_f64((progress.jobs - ended) as f64 / ended as f64);
                parts.push(format!("about {} left", span(left)));
            }
            None => {}
        }
        if tally.failed > 0 {
            parts.push(format!("{} failed", tally.failed));
        }
        parts.push(format!("{} in flight", progress.in_flight));
        if let Some(face) = self.face {
            let of = self.limits.tokens_per_minute.map_or(String::new(), |most| format!(" of {}", count(most)));
            parts.push(format!("{}{of} tokens in this minute", count(face.minute.tokens)));
        }
        parts.join(", ")
    }

    /// Tells of an event, if the verbosity asks for it.
    pub fn event(&mut self, event: &Event) {
        if let Some((from, line)) = self.line(event)
            && self.verbosity >= from
        {
            self.say(&line);
        }
    }

    fn line(&self, event: &Event) -> Option<(Verbosity, String)> {
        Some(match event {
            Event::Started { prompts, up_to_date, to_send, input_tokens, model, concurrency } => {
                let how = if *to_send == 0 {
                    String::new()
                } else {
                    let tokens = count(*input_tokens);
                    format!(" with {tokens} input tokens to {model}, at most {concurrency} at a time")
                };
                let line = format!(
                    "{}: {} up to date, {} to send{how}",
                    counted(*prompts, "prompt"),
                    count(*up_to_date as u64),
                    count(*to_send as u64),
                );
                (Verbosity::Normal, line)
            }
            Event::Warning { message } => (Verbosity::Quiet, format!("warning: {message}")),
            Event::Batch { batch, batches, prompts, input_tokens } => {
                let line = format!(
                    "batch {batch} of {batches}: {}, {} input tokens",
                    counted(*prompts, "prompt"),
                    count(*input_tokens)
                );
                (Verbosity::Normal, line)
            }
            Event::Done { prompt, usage, finish } => {
                let mark = if *finish == Finish::Complete { String::new() } else { format!(", {finish}") };
                (
                    Verbosity::Verbose,
                    format!("prompt {prompt}: answered, {} + {} tokens{mark}", usage.input_tokens, usage.output_tokens),
                )
            }
            Event::Failed { prompt, class, message } => (Verbosity::Quiet, failed(*prompt, class, message)),
            Event::Retrying { prompt, class, message, attempt, attempts, seconds } => {
                let pause = span(Duration::from_secs_f64(*seconds));
                (
                    Verbosity::Verbose,
                    format!("prompt {prompt}: {class}: {message}; attempt {attempt} of {attempts}, again in {pause}"),
                )
            }
            Event::Throttled { class, message, seconds, .. } => {
                let pause = span(Duration::from_secs_f64(*seconds));
                (Verbosity::Normal, format!("the server limits the rate; pausing {pause} ({class}: {message})"))
            }
            Event::Waiting { wait_for, seconds, until } => {
                // The bar shows it; short waits are not worth a line.
                let verbosity =
                    if *seconds < 2.0 || self.bar.is_some() { Verbosity::Verbose } else { Verbosity::Normal };
                let pause = span(Duration::from_secs_f64(*seconds));
                (
                    verbosity,
                    format!(
                        "waiting {pause} for {}, until {}",
                        wait_for_what(wait_for, &self.limits),
                        clock_time(*until)
                    ),
                )
            }
            Event::LimitLearned { limit } => {
                (Verbosity::Verbose, format!("the server allows {} ({})", server_limit(limit), limit.source))
            }
            Event::RateCut { limit } => (
                Verbosity::Normal,
                format!("the server takes less than it says: going on with {}", server_limit(limit)),
            ),
            Event::NearlyUsed { limit, left } => {
                let line = format!("warning: {} left of the server's {}", count(*left), server_limit(limit));
                (Verbosity::Quiet, line)
            }
            Event::Paused { cause, class, message, seconds, until } => {
                let (what, pause) = (caused_by(*cause), span(Duration::from_secs_f64(*seconds)));
                let line = format!("{what}: {class}: {message}; asking again in {pause}, at {}", clock_time(*until));
                (Verbosity::Quiet, line)
            }
            Event::Resumed { cause } => (Verbosity::Quiet, format!("{}: over, going on", caused_by(*cause))),
            Event::ConcurrencyBinds { concurrency, automatic, needed, latency_seconds } => {
                let which = if *automatic { "the most that are opened by themselves" } else { "as set" };
                let latency = span(Duration::from_secs_f64(*latency_seconds));
                let line = format!(
                    "{} requests in flight ({which}) bind, not a limit: answers take {latency}, and the limits would let {} be in flight (--concurrency {needed})",
                    count(*concurrency as u64),
                    count(*needed as u64)
                );
                (Verbosity::Normal, line)
            }
            Event::LimitNearlyUsed { limit, used, most } => {
                // A minute's limit is there to be used; a day's is gone until midnight.
                let verbosity = if limit.is_daily() { Verbosity::Quiet } else { Verbosity::Normal };
                let line =
                    format!("warning: less than a tenth of {limit} is left: {} of {} used", count(*used), count(*most));
                (verbosity, line)
            }
            Event::Usage { answers, tokens_within_min, requests_within_min, tokens_within_day } => {
                let of = |most: Option<u64>| most.map_or(String::new(), |most| format!(" of {}", count(most)));
                let line = format!(
                    "{}: {}{} tokens and {}{} requests in this minute, {}{} tokens today",
                    counted(*answers, "answer"),
                    count(*tokens_within_min),
                    of(self.limits.tokens_per_minute),
                    count(*requests_within_min),
                    of(self.limits.requests_per_minute),
                    count(*tokens_within_day),
                    of(self.limits.tokens_per_day),
                );
                (Verbosity::Normal, line)
            }
            Event::Stopping { reason, in_flight } => {
                (Verbosity::Quiet, format!("stopping: {reason}; {} in flight", counted(*in_flight, "request")))
            }
            Event::Summary(_) => return None,
        })
    }
}

fn caused_by(cause: Cause) -> &'static str {
    match cause {
        Cause::Outage => "the server fails",
        Cause::Quota => "the account is used up",
    }
}

fn failed(prompt: PromptId, class: &str, message: &str) -> String {
    format!("prompt {prompt} failed: {class}: {message}")
}

fn wait_for_what(wait_for: &WaitFor, limits: &Limits) -> String {
    match wait_for {
        WaitFor::Limit(limit) => {
            let most = limits.of(*limit).map_or(String::new(), |most| format!(" of {}", count(most)));
            format!("{limit}{most}")
        }
        WaitFor::ServerLimit(limit) => {
            let learned = limit.learned.with_timezone(&Local).format("%H:%M");
            format!("the server's {}, learned {learned} {}", server_limit(limit), limit.source)
        }
        WaitFor::Server => "the end of the server's pause".to_owned(),
        WaitFor::FirstAnswers => "the first answers of a server whose limits are not known".to_owned(),
        WaitFor::Answers => "answers: as many requests as may be are in flight".to_owned(),
        WaitFor::Outage => "the server, which fails".to_owned(),
        WaitFor::Account => "the account, which is used up".to_owned(),
    }
}

/// A moment by the wall clock here; with its date unless it is near.
fn clock_time(at: DateTime<Utc>) -> String {
    at.with_timezone(&Local).format("%a %H:%M:%S").to_string()
}
