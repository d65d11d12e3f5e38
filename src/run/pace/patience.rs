//! How long the server may keep a run waiting: since when it has only failed and refused, and what it asked for.
//!
//! What a person's own limits make a run wait for does not count, nor a wait that a setting asks for.

use std::time::Duration;

use crate::clock::Mono;
use crate::model::Class;
use crate::run::action::Stop;

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
    pub(super) fn runs_out(&self, now: Mono, until: Mono, most: Duration) -> Option<Stop> {
        let silent = self.since.map_or(Duration::ZERO, |since| since.until(now));
        let left = most.saturating_sub(silent);
        if until <= self.excused || (!left.is_zero() && now.until(until) <= left) {
            return None;
        }
        let asks = |failed: &&Failed| failed.until <= until && now.until(failed.until) > left;
        let asked = self.longest.as_ref().filter(asks);
        let Failed { class, message, .. } = asked.or(self.latest.as_ref())?.clone();
        Some(Stop::outage(class, message, asked.map(|failed| failed.asked)))
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

    fn outage(asked: Option<Duration>) -> Stop {
        Stop::outage(Class::Overloaded, "busy".to_owned(), asked)
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
