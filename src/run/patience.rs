//! How long the server may keep a run waiting: since when it has only failed and refused, and what it asked for.
//!
//! What a person's own limits make a run wait for does not count, nor a wait that a setting asks for.

use std::cmp::Reverse;
use std::time::Duration;

use super::Action;
use super::breaker::Gate;
use super::machine::Machine;
use crate::admit::hint::{ServerHint, is_daily};
use crate::clock::{Mono, Now};
use crate::model::{Cause, Class, Ending, OnDayLimit};
use crate::report::event::{Binds, WaitFor};
use crate::send::classify::{Failure, Kind, Verdict};

/// What is left of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Patience {
    /// When the first failure since the latest answer was heard of; later by all that does not count.
    since: Option<Mono>,
    /// Time has been counted up to here.
    counted: Mono,
    /// Until when a wait is none of the server's failures.
    excused: Mono,
    latest: Option<Failed>,
    /// The failure that asks for the wait with the latest end.
    longest: Option<Failed>,
}

#[derive(Clone, Debug)]
struct Failed {
    class: Class,
    message: String,
    asked: Duration,
    until: Mono,
}

impl Patience {
    /// Time has passed until `now`; `counts` says whether the server was waited for.
    pub(super) fn pass(&mut self, now: Mono, counts: bool) {
        if !counts || self.counted < self.excused {
            let passed = self.counted.until(now);
            self.since = self.since.map(|since| since.plus(passed));
        }
        self.counted = now;
    }

    /// The server answered.
    pub(super) fn answered(&mut self) {
        self.since = None;
    }

    /// It failed, or refused. `wait` is what it asks for.
    pub(super) fn failed(&mut self, now: Mono, class: Class, message: &str, wait: Option<Duration>) {
        self.since.get_or_insert(now);
        let asked = wait.unwrap_or_default();
        let failed = Failed { class, message: message.to_owned(), asked, until: now.plus(asked) };
        if self.longest.as_ref().is_none_or(|longest| longest.until <= failed.until) {
            self.longest = Some(failed.clone());
        }
        self.latest = Some(failed);
    }

    /// What is waited for until then is none of the server's failures.
    pub(super) fn excuse(&mut self, until: Mono) {
        self.excused = self.excused.max(until);
    }

    /// How the run ends, if nothing can be sent before `until` and the server may keep it waiting for `most`; `None` where it waits.
    pub(super) fn runs_out(&self, now: Mono, until: Mono, most: Duration) -> Option<Ending> {
        let silent = self.since.map_or(Duration::ZERO, |since| since.until(now));
        let left = most.saturating_sub(silent);
        if until <= self.excused || (!left.is_zero() && now.until(until) <= left) {
            return None;
        }
        let asks = |failed: &&Failed| failed.until <= until && now.until(failed.until) > left;
        let asked = self.longest.as_ref().filter(asks);
        let Failed { class, message, .. } = asked.or(self.latest.as_ref())?.clone();
        Some(Ending::Outage { class, message, asked: asked.map(|failed| failed.asked) })
    }
}

impl Machine {
    /// Time has passed since the machine was last called.
    pub(super) fn pass(&mut self, now: Mono) {
        let counts = match self.binds.as_ref().map(|Binds { what, .. }| what) {
            Some(WaitFor::Limit(_) | WaitFor::Account | WaitFor::Disk | WaitFor::Reader) => false,
            Some(WaitFor::ServerLimit(limit)) => !is_daily(limit.window),
            _ => true,
        };
        self.patience.pass(now, counts);
    }

    /// What a verdict means for the patience with the server: how the run ends, if it runs out. A day limit of the server is a day limit, and no
    /// failure.
    pub(super) fn patience_with(&mut self, now: &Now, verdict: &Verdict, hints: &[ServerHint]) -> Option<Ending> {
        let Verdict::Failure(Failure { kind, class, message, wait, .. }) = verdict else {
            self.patience.answered();
            return None;
        };
        let of_day = |hint: &ServerHint| hint.refused && hint.window.is_some_and(|window| is_daily(window.least));
        match kind {
            Kind::Prompt if class.is_local() => None,
            Kind::Prompt => {
                self.patience.answered();
                None
            }
            Kind::Run(_) => None,
            Kind::Throttled if hints.iter().any(of_day) => {
                let until = self.throttle.until(now.mono).unwrap_or(now.mono);
                self.patience.excuse(until);
                let wait = wait.unwrap_or_else(|| now.mono.until(until));
                let ending = Ending::ServerDayLimit { what: format!("{class}: {message}"), wait };
                (self.rules.on_day_limit == OnDayLimit::Exit).then_some(ending)
            }
            Kind::Throttled | Kind::Transient | Kind::Unknown | Kind::Last => {
                self.patience.failed(now.mono, *class, message, *wait);
                self.patience.runs_out(now.mono, now.mono, self.rules.give_up_after)
            }
        }
    }

    /// Ends the run where nothing can be sent before the patience with the server runs out.
    pub(super) fn give_up(&mut self, now: &Now, actions: &mut Vec<Action>) {
        if let Some(until) = self.kept_waiting(now.mono)
            && let Some(ending) = self.patience.runs_out(now.mono, until, self.rules.give_up_after)
        {
            self.end_for_server(ending, actions);
        }
    }

    /// Ends the run for what the server does.
    pub(super) fn end_for_server(&mut self, ending: Ending, actions: &mut Vec<Action>) {
        let reason = match &ending {
            Ending::Outage { class, message, .. } => format!("{class}: {message}"),
            Ending::ServerDayLimit { what, .. } => format!("a day limit of the server is reached: {what}"),
            _ => return,
        };
        self.stop(ending, reason, actions);
    }

    /// Until when the server keeps all that is left to do from being sent; `None` where it does not, or where something is under way.
    fn kept_waiting(&mut self, now: Mono) -> Option<Mono> {
        if !self.is_idle() || self.trouble.is_some() || self.unwritten > 0 || self.open == 0 {
            return None;
        }
        if !self.has_ready() {
            return self.delayed.peek().map(|Reverse((at, _))| *at);
        }
        let probe = match self.breaker.gate(now) {
            Gate::NotBefore(_) if self.breaker.open() == Some(Cause::Quota) => return None,
            Gate::NotBefore(until) => Some(until),
            Gate::Open | Gate::Probe | Gate::Probing => None,
        };
        probe.max(self.throttle.until(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MOST: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Mono {
        Mono(0).plus(SECOND * u32::try_from(seconds).expect("few"))
    }

    fn failing(now: u64, wait: u64) -> Patience {
        let mut patience = Patience::default();
        patience.pass(at(now), true);
        patience.failed(at(now), Class::Overloaded, "busy", Some(SECOND * u32::try_from(wait).expect("few")));
        patience
    }

    fn outage(asked: Option<Duration>) -> Ending {
        Ending::Outage { class: Class::Overloaded, message: "busy".to_owned(), asked }
    }

    #[test]
    fn a_wait_that_is_longer_than_what_is_left_ends_it_at_once() {
        let mut patience = failing(100, 60);
        assert_eq!(patience.runs_out(at(100), at(160), MOST), None);
        let hour = Duration::from_secs(3_600);
        patience.failed(at(101), Class::Overloaded, "busy", Some(hour));
        assert_eq!(patience.runs_out(at(101), at(3_701), MOST), Some(outage(Some(hour))));
        // The spread that is added to it is ours.
        assert_eq!(patience.runs_out(at(101), at(3_702), MOST), Some(outage(Some(hour))));
        // What is tried earlier does not wait for it.
        assert_eq!(patience.runs_out(at(101), at(110), MOST), None);
        // A wait of our own that is longer is no wish of the server.
        assert_eq!(failing(100, 1).runs_out(at(100), at(161), MOST), Some(outage(None)));
    }

    #[test]
    fn it_runs_out_when_only_failures_came() {
        let mut patience = failing(100, 0);
        patience.pass(at(130), true);
        patience.failed(at(130), Class::Overloaded, "busy", None);
        assert_eq!(patience.runs_out(at(159), at(159), MOST), None);
        assert_eq!(patience.runs_out(at(159), at(161), MOST), Some(outage(None)));
        assert_eq!(patience.runs_out(at(160), at(160), MOST), Some(outage(None)));
        patience.answered();
        assert_eq!(patience.runs_out(at(160), at(220), MOST), None);
        // After an answer one prompt alone may still be told to wait for too long.
        assert_eq!(patience.runs_out(at(160), at(221), MOST), Some(outage(None)));
    }

    #[test]
    fn other_waits_do_not_count() {
        let mut patience = failing(100, 0);
        patience.pass(at(130), true);
        patience.pass(at(1_000), false);
        assert_eq!(patience.runs_out(at(1_000), at(1_030), MOST), None);
        assert_eq!(patience.runs_out(at(1_000), at(1_031), MOST), Some(outage(None)));
        // The server's day, which a setting says is to be waited for.
        patience.excuse(at(9_000));
        assert_eq!(patience.runs_out(at(1_000), at(9_000), MOST), None);
        patience.pass(at(9_000), true);
        assert_eq!(patience.runs_out(at(9_000), at(9_030), MOST), None);
        assert_eq!(patience.runs_out(at(9_000), at(9_031), MOST), Some(outage(None)));
    }

    #[test]
    fn nothing_has_failed_yet() {
        assert_eq!(Patience::default().runs_out(at(0), at(9_999), MOST), None);
    }
}
