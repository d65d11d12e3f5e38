//! What keeps the next request back, until when it is not asked about again, and what was told of it.

use std::time::Duration;

use crate::clock::{Mono, Now};
use crate::report::event::Event;
use crate::report::waits::{Binds, WaitFor};

/// A wait that moves by less than this is not told again.
const SAME_WAIT: Duration = Duration::from_secs(5);
/// A shorter wait is not told again within [`TOLD_FOR`]: at an even pace there is one before each request.
const SHORT_WAIT: Duration = Duration::from_secs(1);
const TOLD_FOR: Duration = Duration::from_secs(60);

/// The wait of the moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits {
    binds: Option<Binds>,
    told: Option<Told>,
    /// The ledger said "not before": when it is asked again.
    blocked: Option<Mono>,
    /// When anything else that is waited for may be over.
    next_try: Option<Mono>,
}

/// A wait that was told.
#[derive(Clone, Debug)]
struct Told {
    wait_for: WaitFor,
    until: Mono,
    at: Mono,
}

impl Waits {
    /// What keeps the next request back; `None` where nothing does.
    pub(super) fn binds(&self) -> Option<&Binds> {
        self.binds.as_ref()
    }

    /// Whether the ledger is not to be asked at `now`.
    pub(super) fn is_blocked(&self, now: Mono) -> bool {
        self.blocked.is_some_and(|ask_again| now < ask_again)
    }

    /// When something may change by itself.
    pub(super) fn next(&self) -> Option<Mono> {
        self.blocked.or(self.next_try)
    }

    /// All is asked about anew.
    pub(super) fn clear(&mut self) {
        (self.blocked, self.next_try, self.binds) = (None, None, None);
    }

    /// There may be room in the ledger again.
    pub(super) fn unblock(&mut self) {
        self.blocked = None;
    }

    /// The ledger is not asked before then.
    pub(super) fn block(&mut self, ask_again: Mono) {
        self.blocked = Some(ask_again);
    }

    /// It is tried again then.
    pub(super) fn try_at(&mut self, at: Option<Mono>) {
        self.next_try = at;
    }

    /// Waits for something that is told already, or needs no word.
    pub(super) fn bind(&mut self, what: WaitFor, until: Option<Mono>) {
        self.binds = Some(Binds { what, until });
    }

    /// Waits, and tells of it once, and again only when it is for something else or for a good deal longer.
    pub(super) fn wait(&mut self, now: &Now, wait_for: WaitFor, until: Mono) -> Option<Event> {
        self.bind(wait_for.clone(), Some(until));
        let span = now.mono.until(until);
        let known = self.told.as_ref().is_some_and(|told| {
            let same = told.wait_for.is_like(&wait_for);
            let goes_on = now.mono < told.until && until <= told.until.plus(SAME_WAIT);
            let again = span < SHORT_WAIT && now.mono < told.at.plus(TOLD_FOR);
            same && (goes_on || again)
        });
        if known {
            return None;
        }
        self.told = Some(Told { wait_for: wait_for.clone(), until, at: now.mono });
        let until = now.wall + chrono::TimeDelta::from_std(span).unwrap_or_default();
        Some(Event::Waiting { wait_for, seconds: span.as_secs_f64(), until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Day;
    use chrono::Utc;

    fn at(seconds: f64) -> Now {
        let wall = "2026-11-22T09:00:00Z".parse().expect("a date");
        Now { mono: Mono(0).plus(Duration::from_secs_f64(seconds)), wall, day: Day::of(wall, &Utc) }
    }

    #[test]
    fn a_wait_is_told_once_and_again_where_it_grows_or_is_another() {
        let mut waits = Waits::default();
        // When, what for, until when, and whether it is told.
        for (now, what, until, told) in [
            (0.0, WaitFor::Server, 30.0, true),
            (1.0, WaitFor::Server, 30.0, false),
            (2.0, WaitFor::Server, 34.9, false),
            (3.0, WaitFor::Server, 36.0, true),
            (4.0, WaitFor::Retry, 36.0, true),
            (5.0, WaitFor::Server, 36.0, true),
            // It is over, and another one of its kind begins.
            (36.0, WaitFor::Server, 40.0, true),
            // At an even pace.
            (50.0, WaitFor::Server, 50.5, false),
            (60.0, WaitFor::Server, 60.5, false),
            (97.0, WaitFor::Server, 97.5, true),
        ] {
            let said = waits.wait(&at(now), what.clone(), at(until).mono);
            assert_eq!(said.is_some(), told, "{what:?} at {now} until {until}");
            assert_eq!(waits.binds(), Some(&Binds { what, until: Some(at(until).mono) }));
        }
    }

    #[test]
    fn the_ledger_is_not_asked_before_its_moment_unless_room_is_given_back() {
        let mut waits = Waits::default();
        waits.try_at(Some(Mono(7)));
        waits.block(Mono(9));
        assert!(waits.is_blocked(Mono(8)) && !waits.is_blocked(Mono(9)));
        assert_eq!(waits.next(), Some(Mono(9)));
        waits.unblock();
        assert!(!waits.is_blocked(Mono(8)));
        assert_eq!(waits.next(), Some(Mono(7)));
        waits.clear();
        assert_eq!((waits.next(), waits.binds()), (None, None));
    }
}
