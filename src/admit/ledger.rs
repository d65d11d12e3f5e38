//! The ledger: what was admitted, and whether more fits now.
//!
//! A sliding window: in any span as long as [`Limits::span`] the admitted amounts are at most the limit. An amount counts from the moment it is
//! admitted, at first as reserved, later as settled. A day's use is kept by the quarter of an hour, and is the sum of those since the day began:
//! whose midnight that is may change, and grants nothing twice. The ledger is a value; keeping it durable and sharing it between processes is the
//! business of a store.

use std::collections::{BTreeMap, VecDeque};

use chrono::NaiveDate;

use crate::clock::{Mono, Now, Quarter};
use crate::model::{LimitName, Limits, TooLarge};

/// What a request takes from the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Input and output tokens.
    pub tokens: u64,
    pub requests: u64,
}

impl Amount {
    /// One request of `tokens`.
    #[must_use]
    pub fn request(tokens: u64) -> Self {
        Self { tokens, requests: 1 }
    }

    /// The larger of the two, tokens and requests each.
    #[must_use]
    pub fn at_least(self, other: Self) -> Self {
        Self { tokens: self.tokens.max(other.tokens), requests: self.requests.max(other.requests) }
    }

    fn add(&mut self, other: Self) {
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.requests = self.requests.saturating_add(other.requests);
    }

    fn remove(&mut self, other: Self) {
        self.tokens = self.tokens.saturating_sub(other.tokens);
        self.requests = self.requests.saturating_sub(other.requests);
    }
}

/// The three answers of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It fits, and is entered.
    Now,
    /// It does not fit before the moment named.
    NotBefore(Wait),
    /// It can never fit.
    Never(TooLarge),
}

/// A wait: for which limit, and until when at the latest (a settlement below its reservation may end it earlier).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The limit that frees last.
    pub limit: LimitName,
    pub until: Mono,
}

/// One amount in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key that settles it.
    pub id: u64,
    /// When it was admitted.
    pub at: Mono,
    pub amount: Amount,
    /// Requests of it that are not settled.
    pub open: u64,
    /// When the last of those settled was answered; `at` where none is.
    pub heard: Mono,
}

impl Entry {
    /// An amount that has arrived where it counts.
    #[must_use]
    pub fn settled(id: u64, at: Mono, amount: Amount) -> Self {
        Self { id, at, amount, open: 0, heard: at }
    }

    /// When it leaves the window: see [`Limits::guard`].
    fn leaves(&self, limits: &Limits) -> Mono {
        let latest = self.at.plus(limits.guard());
        let arrived = if self.open > 0 { latest } else { self.heard.min(latest) };
        arrived.plus(limits.window)
    }
}

/// The end of a request, for the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Tokens that were reserved.
    pub reserved: u64,
    /// What it used: one request with its tokens, or nothing where it never left.
    pub used: Amount,
    /// When its answer, or its failure, came.
    pub heard: Mono,
}

/// What is used up at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// In the window that ends now.
    pub minute: Amount,
    pub day: Amount,
    pub date: NaiveDate,
}

/// Amounts of the running window and day.
#[derive(Clone, Debug)]
pub struct Ledger {
    limits: Limits,
    /// Sorted by `at`.
    entries: VecDeque<Entry>,
    minute: Amount,
    /// What was admitted in each quarter of an hour.
    quarters: BTreeMap<Quarter, Amount>,
}

/// What is noted for a later moment than this was noted by a clock that was wrong: it counts as used then. A clock that steps back by less grants
/// nothing twice; one that was years ahead costs two days at the most.
#[must_use]
pub fn latest_quarter(now: &Now) -> Quarter {
    Quarter(Quarter::of(now.wall).0 + Quarter::PER_DAY)
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, entries: VecDeque::new(), minute: Amount::default(), quarters: BTreeMap::new() }
    }

    /// The limits that it keeps.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Answers whether `asked` fits at `now`, without entering it.
    pub fn would_admit(&mut self, asked: Amount, now: &Now) -> Admission {
        if let Some(too_large) = self.limits.too_large(asked.tokens) {
            return Admission::Never(too_large);
        }
        self.turn_to(now);
        let day = self.day(now);
        let daily = [
            (LimitName::TokensPerDay, day.tokens, asked.tokens),
            (LimitName::RequestsPerDay, day.requests, asked.requests),
        ];
        for (limit, used, more) in daily {
            if self.limits.day_most(limit).is_some_and(|most| used.saturating_add(more) > most) {
                let until_midnight = (now.day.ends - now.wall).to_std().unwrap_or_default();
                return Admission::NotBefore(Wait { limit, until: now.mono.plus(until_midnight) });
            }
        }
        let tokens = self.frees(LimitName::TokensPerMinute, self.limits.tokens_per_minute, asked, |a| a.tokens);
        let requests = self.frees(LimitName::RequestsPerMinute, self.limits.requests_per_minute, asked, |a| a.requests);
        match tokens.into_iter().chain(requests).max_by_key(|wait| wait.until) {
            Some(wait) => Admission::NotBefore(wait),
            None => Admission::Now,
        }
    }

    /// Enters `asked` under the key `id` if it fits at `now`. Amounts admitted under one key at one moment are one entry.
    pub fn admit(&mut self, id: u64, asked: Amount, now: &Now) -> Admission {
        let answer = self.would_admit(asked, now);
        if answer == Admission::Now {
            self.quarters.entry(Quarter::of(now.wall)).or_default().add(asked);
            match self.entries.back_mut() {
                Some(last) if last.id == id && last.at == now.mono => {
                    last.amount.add(asked);
                    last.open += asked.requests;
                    self.minute.add(asked);
                }
                _ => self.enter(Entry { id, at: now.mono, amount: asked, open: asked.requests, heard: now.mono }),
            }
        }
        answer
    }

    /// Enters one request under the key `id` if it fits at `now`: with so many of `tokens` as there is room for, with `least` of them at the least.
    /// Says how many these are.
    pub fn reserve(&mut self, id: u64, least: u64, tokens: u64, now: &Now) -> (Admission, u64) {
        self.turn_to(now);
        let left = |most: Option<u64>, used: u64| most.map_or(u64::MAX, |most| most.saturating_sub(used));
        let minute = left(self.limits.tokens_per_minute, self.minute.tokens);
        let day = left(self.limits.day_most(LimitName::TokensPerDay), self.day(now).tokens);
        let tokens = minute.min(day).min(tokens).max(least);
        (self.admit(id, Amount::request(tokens), now), tokens)
    }

    /// Puts an entry of the window in its place, whether it fits or not: one read from the store, or one that another process made.
    /// An entry with the same `id` is replaced. The day is not touched.
    pub fn enter(&mut self, entry: Entry) {
        let mut place = self.entries.partition_point(|other| other.at <= entry.at);
        if let Some(known) =
            (0..place).rev().take_while(|&i| self.entries[i].at == entry.at).find(|&i| self.entries[i].id == entry.id)
        {
            self.minute.remove(self.entries[known].amount);
            self.entries.remove(known);
            place -= 1;
        }
        self.minute.add(entry.amount);
        self.entries.insert(place, entry);
    }

    /// Takes the entry `id` out of the window, wherever it stands. It looks at every entry; the day is not touched.
    pub fn remove(&mut self, id: u64) {
        if let Some(place) = self.entries.iter().position(|entry| entry.id == id)
            && let Some(entry) = self.entries.remove(place)
        {
            self.minute.remove(entry.amount);
        }
    }

    /// Settles one request of the entry `id`, admitted in `quarter`: what it used takes the place of what was reserved, and the entry counts from
    /// `heard` at the latest.
    pub fn settle(&mut self, id: u64, at: Mono, quarter: Quarter, settled: Settled) {
        let Settled { reserved, used, heard } = settled;
        // Where a quarter is gone, its numbers were replaced by others: nothing is taken off those.
        let replace = |amount: &mut Amount| {
            amount.add(used);
            amount.remove(Amount::request(reserved));
        };
        replace(self.quarters.entry(quarter).or_default());
        let first = self.entries.partition_point(|entry| entry.at < at);
        let entry = self.entries.range_mut(first..).take_while(|entry| entry.at == at).find(|entry| entry.id == id);
        if let Some(entry) = entry {
            replace(&mut entry.amount);
            entry.open = entry.open.saturating_sub(1);
            entry.heard = entry.heard.max(heard);
            replace(&mut self.minute);
        }
    }

    /// Takes the quarters as the store has them.
    pub fn set_quarters(&mut self, quarters: BTreeMap<Quarter, Amount>) {
        self.quarters = quarters;
    }

    /// Replaces all that the day has used: `amount` was used just now.
    pub fn replace_day(&mut self, amount: Amount, now: &Now) {
        let _ = self.quarters.split_off(&Quarter::of(now.day.starts));
        self.quarters.insert(Quarter::of(now.wall), amount);
    }

    /// Forgets the window.
    pub fn clear_window(&mut self) {
        self.entries.clear();
        self.minute = Amount::default();
    }

    /// What is used up at `now`.
    pub fn used(&mut self, now: &Now) -> Used {
        self.turn_to(now);
        Used { minute: self.minute, day: self.day(now), date: now.day.date }
    }

    /// What the day of `now` has used, what was noted for later moments included: the clock has stepped back since.
    fn day(&self, now: &Now) -> Amount {
        let mut day = Amount::default();
        for (_, amount) in self.quarters.range(Quarter::of(now.day.starts)..) {
            day.add(*amount);
        }
        day
    }

    /// The amounts of the window with the moment each leaves it at the latest, in the order in which they leave.
    #[must_use]
    pub fn leaving(&self) -> Vec<(Mono, Amount)> {
        let mut leaving: Vec<_> = self.entries.iter().map(|entry| (entry.leaves(&self.limits), entry.amount)).collect();
        leaving.sort_by_key(|(leaves, _)| *leaves);
        leaving
    }

    /// The amounts of the window with the moment each was admitted, in that order; [`Self::used`] lets go of those that have left it.
    pub fn recent(&self) -> impl Iterator<Item = (Mono, Amount)> {
        self.entries.iter().map(|entry| (entry.at, entry.amount))
    }

    /// Lets go of what has left the window.
    fn turn_to(&mut self, now: &Now) {
        let window = self.limits.window;
        // An entry leaves a window after its admission at the earliest; the few that are past that are looked at one by one.
        let past = self.entries.partition_point(|entry| entry.at.plus(window) <= now.mono);
        for place in (0..past).rev() {
            if self.entries[place].leaves(&self.limits) <= now.mono
                && let Some(left) = self.entries.remove(place)
            {
                self.minute.remove(left.amount);
            }
        }
        let latest = latest_quarter(now);
        if self.quarters.last_key_value().is_some_and(|(last, _)| *last > latest) {
            let wrong = self.quarters.split_off(&Quarter(latest.0 + 1));
            let at_the_latest = self.quarters.entry(latest).or_default();
            for amount in wrong.into_values() {
                at_the_latest.add(amount);
            }
        }
    }

    /// When `most` next has room for `asked`; `None` if it has room now.
    fn frees(&self, limit: LimitName, most: Option<u64>, asked: Amount, of: impl Fn(Amount) -> u64) -> Option<Wait> {
        let most = most?;
        let over = of(self.minute).saturating_add(of(asked)).checked_sub(most).filter(|&over| over > 0)?;
        let leaving = self.leaving();
        let mut freed = 0;
        let enough = leaving.iter().find(|(_, amount)| {
            freed = of(*amount).saturating_add(freed);
            freed >= over
        });
        // What alone is over the limit was answered with `Never`, so there is enough; a wait for the last entry is safe.
        enough.or(leaving.last()).map(|(until, _)| Wait { limit, until: *until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Day, nanos};
    use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
    use proptest::prelude::*;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;

    fn now(mono: u64) -> Now {
        let start: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().expect("a date");
        let wall = start + TimeDelta::nanoseconds(i64::try_from(mono).expect("a test's span"));
        Now { mono: Mono(mono), wall, day: Day::of(wall, &Utc) }
    }

    /// The same moment of the steady clock, where the wall clock shows what it shows at `shown`.
    fn shows(mono: u64, shown: u64) -> Now {
        Now { mono: Mono(mono), ..now(shown) }
    }

    fn limits(tokens: u64, requests: u64) -> Limits {
        Limits { tokens_per_minute: Some(tokens), requests_per_minute: Some(requests), ..Limits::default() }
    }

    #[test]
    fn refused_a_nanosecond_before_and_admitted_on_time() {
        let limits = limits(100, 10);
        let mut ledger = Ledger::new(limits);
        assert_eq!(ledger.admit(1, Amount::request(60), &now(0)), Admission::Now);
        assert_eq!(ledger.admit(2, Amount::request(40), &now(SECOND)), Admission::Now);
        let free = Mono(0).plus(limits.span());
        let wait = Wait { limit: LimitName::TokensPerMinute, until: free };
        assert_eq!(ledger.admit(3, Amount::request(1), &now(2 * SECOND)), Admission::NotBefore(wait));
        assert_eq!(ledger.admit(3, Amount::request(60), &now(free.0 - 1)), Admission::NotBefore(wait));
        assert_eq!(ledger.admit(3, Amount::request(60), &now(free.0)), Admission::Now);
        assert_eq!(ledger.used(&now(free.0)).minute, Amount { tokens: 100, requests: 2 });
    }

    #[test]
    fn the_limit_that_frees_last_is_named() {
        let mut ledger = Ledger::new(limits(100, 2));
        let _ = ledger.admit(1, Amount::request(90), &now(0));
        let _ = ledger.admit(2, Amount::request(10), &now(SECOND));
        let Admission::NotBefore(wait) = ledger.admit(3, Amount::request(95), &now(2 * SECOND)) else {
            panic!("it fits")
        };
        assert_eq!(
            (wait.limit, wait.until.0),
            (LimitName::TokensPerMinute, now(SECOND).mono.plus(Limits::default().span()).0)
        );
    }

    #[test]
    fn too_large_is_never_with_both_numbers() {
        let most = 100;
        let answer = Ledger::new(limits(most, 10)).admit(1, Amount::request(101), &now(0));
        assert_eq!(answer, Admission::Never(TooLarge { limit: LimitName::TokensPerMinute, asked: 101, most }));
    }

    #[test]
    fn the_day_waits_for_midnight_and_starts_afresh() {
        let limits = Limits { tokens_per_day: Some(100), ..Limits::default() };
        let mut ledger = Ledger::new(limits);
        assert_eq!(ledger.admit(1, Amount::request(80), &now(0)), Admission::Now);
        let midnight = 12 * 3600 * SECOND;
        let answer = ledger.admit(2, Amount::request(30), &now(7 * SECOND));
        assert_eq!(answer, Admission::NotBefore(Wait { limit: LimitName::TokensPerDay, until: Mono(midnight) }));
        assert!(matches!(ledger.admit(2, Amount::request(30), &now(midnight - 1)), Admission::NotBefore(_)));
        assert_eq!(ledger.admit(2, Amount::request(30), &now(midnight)), Admission::Now);
        assert_eq!(ledger.used(&now(midnight)).day, Amount::request(30));
        // The wall clock steps back over midnight: the new day's tokens stay counted, in the old day too, and in the new one when it comes again.
        let both = Amount { tokens: 110, requests: 2 };
        assert_eq!(ledger.used(&shows(midnight + 1, midnight - 1)).day, both);
        assert!(matches!(
            ledger.admit(3, Amount::request(1), &shows(midnight + 1, midnight - 1)),
            Admission::NotBefore(_)
        ));
        assert_eq!(ledger.used(&shows(midnight + 2, midnight)).day, Amount::request(30));
    }

    #[test]
    fn another_midnight_grants_nothing_twice() {
        let limits = Limits { tokens_per_day: Some(100), ..Limits::default() };
        let mut ledger = Ledger::new(limits);
        let in_zone = |hours: i32, at: u64| {
            let zone = FixedOffset::east_opt(hours * 3_600).expect("an offset");
            Now { day: Day::of(now(at).wall, &zone), ..now(at) }
        };
        assert_eq!(ledger.admit(1, Amount::request(100), &in_zone(9, 0)), Admission::Now);
        // It is noon in Greenwich, and the next day in Auckland; Tokyo's midnight is three hours off.
        for hours in [9, 0, -8, 13] {
            let answer = ledger.admit(2, Amount::request(1), &in_zone(hours, SECOND));
            let until = in_zone(hours, SECOND).day.ends - now(SECOND).wall;
            let until = Mono(SECOND).plus(until.to_std().expect("ahead"));
            assert_eq!(answer, Admission::NotBefore(Wait { limit: LimitName::TokensPerDay, until }), "{hours}");
        }
        let midnight = 3 * 3_600 * SECOND;
        assert_eq!(ledger.used(&in_zone(0, midnight)).day, Amount::request(100));
        assert_eq!(ledger.admit(3, Amount::request(60), &in_zone(9, midnight)), Admission::Now);
        assert_eq!(ledger.used(&in_zone(0, midnight)).day, Amount { tokens: 160, requests: 2 });
    }

    #[test]
    fn what_a_clock_that_was_years_ahead_has_noted_is_over_in_two_days() {
        const DAY: u64 = 86_400 * SECOND;
        let mut ledger = Ledger::new(Limits { tokens_per_day: Some(100), ..Limits::default() });
        assert_eq!(ledger.admit(1, Amount::request(70), &shows(0, 100 * DAY)), Admission::Now);
        // It is set right: what was used is used, today and tomorrow.
        assert!(matches!(ledger.admit(2, Amount::request(31), &now(1)), Admission::NotBefore(_)));
        assert_eq!(ledger.admit(2, Amount::request(30), &now(1)), Admission::Now);
        assert_eq!(ledger.used(&now(DAY)).day, Amount::request(70));
        assert_eq!(ledger.used(&now(2 * DAY)).day, Amount::default());
    }

    #[test]
    fn numbers_that_replace_a_day_s_are_no_less_for_what_was_in_flight() {
        let mut ledger = Ledger::new(Limits::default());
        let _ = ledger.admit(1, Amount::request(60), &now(0));
        let later = 3_600 * SECOND;
        ledger.replace_day(Amount { tokens: 20, requests: 3 }, &now(later));
        for (tokens, day) in [(10, 20), (90, 50)] {
            let settled = Settled { reserved: 60, used: Amount::request(tokens), heard: Mono(later) };
            ledger.settle(1, Mono(0), Quarter::of(now(0).wall), settled);
            assert_eq!(ledger.used(&now(later)).day, Amount { tokens: day, requests: 3 });
        }
    }

    #[test]
    fn a_share_of_the_day_pauses_until_midnight() {
        let limits = Limits { tokens_per_day: Some(100), day_share_ppm: 800_000, ..Limits::default() };
        let mut ledger = Ledger::new(limits);
        let wait = Wait { limit: LimitName::TokensPerDay, until: Mono(12 * 3600 * SECOND) };
        assert_eq!(ledger.admit(1, Amount::request(79), &now(0)), Admission::Now);
        assert_eq!(ledger.admit(2, Amount::request(2), &now(1)), Admission::NotBefore(wait));
        assert_eq!(ledger.admit(2, Amount::request(1), &now(1)), Admission::Now);
        assert_eq!(ledger.admit(3, Amount::request(1), &now(wait.until.0 - 1)), Admission::NotBefore(wait));
        assert_eq!(ledger.admit(3, Amount::request(80), &now(wait.until.0)), Admission::Now);
    }

    #[test]
    fn the_window_is_told_in_the_order_of_admission() {
        let mut ledger = Ledger::new(limits(100, 10));
        let _ = ledger.admit(1, Amount::request(60), &now(0));
        let _ = ledger.admit(2, Amount::request(30), &now(SECOND));
        ledger.enter(Entry::settled(3, Mono(7), Amount { tokens: 5, requests: 2 }));
        ledger.settle(
            1,
            Mono(0),
            Quarter::of(now(0).wall),
            Settled { reserved: 60, used: Amount::request(10), heard: Mono(1) },
        );
        let expected =
            [(0, Amount::request(10)), (7, Amount { tokens: 5, requests: 2 }), (SECOND, Amount::request(30))];
        assert_eq!(ledger.recent().collect::<Vec<_>>(), expected.map(|(at, amount)| (Mono(at), amount)));
        ledger.used(&now(62 * SECOND));
        assert_eq!(ledger.recent().count(), 0);
    }

    #[test]
    fn settling_frees_what_was_not_used() {
        let mut ledger = Ledger::new(limits(100, 10));
        let _ = ledger.admit(1, Amount::request(60), &now(0));
        let _ = ledger.admit(1, Amount::request(40), &now(0));
        ledger.settle(
            1,
            Mono(0),
            Quarter::of(now(0).wall),
            Settled { reserved: 60, used: Amount::request(10), heard: Mono(1) },
        );
        assert_eq!(ledger.used(&now(1)).minute, Amount { tokens: 50, requests: 2 });
        assert_eq!(ledger.used(&now(1)).day, Amount { tokens: 50, requests: 2 });
        assert_eq!(ledger.admit(2, Amount::request(50), &now(1)), Admission::Now);
    }

    #[test]
    fn what_never_left_gives_its_request_back_too() {
        let limits = Limits { requests_per_day: Some(2), ..limits(100, 2) };
        let mut ledger = Ledger::new(limits);
        let _ = ledger.admit(1, Amount::request(60), &now(0));
        let _ = ledger.admit(1, Amount::request(40), &now(0));
        let unsent = Settled { reserved: 60, used: Amount::default(), heard: Mono(1) };
        ledger.settle(1, Mono(0), Quarter::of(now(0).wall), unsent);
        let used = ledger.used(&now(1));
        assert_eq!((used.minute, used.day), (Amount::request(40), Amount::request(40)));
        assert_eq!(ledger.admit(2, Amount::request(60), &now(1)), Admission::Now);
    }

    #[test]
    fn a_reservation_takes_what_is_left_if_that_is_enough() {
        let limits = Limits { tokens_per_day: Some(150), ..limits(100, 10) };
        let mut ledger = Ledger::new(limits);
        assert_eq!(ledger.reserve(1, 20, 60, &now(0)), (Admission::Now, 60));
        assert_eq!(ledger.reserve(2, 20, 60, &now(1)), (Admission::Now, 40));
        let until = Mono(0).plus(limits.span());
        let wait = Admission::NotBefore(Wait { limit: LimitName::TokensPerMinute, until });
        assert_eq!(ledger.reserve(3, 20, 60, &now(2)), (wait, 20));
        // The day has room for 50, the minute for 60.
        assert_eq!(ledger.reserve(3, 20, 60, &now(until.0)), (Admission::Now, 50));
        assert!(matches!(ledger.reserve(4, 20, 60, &now(2 * until.0)), (Admission::NotBefore(_), 20)));
        assert!(matches!(ledger.reserve(5, 101, 200, &now(0)), (Admission::Never(_), 101)));
    }

    proptest! {
        /// Law 1 and law 2, judged by an oracle that knows only the list of what was admitted when.
        #[test]
        fn never_over_and_never_late(
            asks in prop::collection::vec((0u64..3_000, 1u64..70, 0u64..100, 0u64..200_000_000), 1..120),
            tokens in 70u64..200, requests in 1u64..6,
        ) {
            let limits = Limits { window: Duration::from_millis(640), ..limits(tokens, requests) };
            let (window, guard) = (limits.window, nanos(limits.guard()));
            let mut ledger = Ledger::new(limits);
            let mut admitted: Vec<(u64, Amount)> = Vec::new();
            let mut at = 0;
            for (id, (pause, ask, share, heard)) in asks.into_iter().enumerate() {
                let id = id as u64;
                at += pause * 100_000;
                let in_window = |admitted: &[(u64, Amount)], at: u64| {
                    admitted.iter().filter(|(then, _)| Mono(*then).plus(window).0 > at).fold((0, 0), |(t, r), (_, a)| (t + a.tokens, r + a.requests))
                };
                let fits = |admitted: &[(u64, Amount)], at: u64| {
                    let (t, r) = in_window(admitted, at);
                    t + ask <= tokens && r < requests
                };
                match ledger.admit(id, Amount::request(ask), &now(at)) {
                    Admission::Now => {
                        prop_assert!(fits(&admitted, at), "over the limit at {at}");
                        // Settled at or below the reservation, as an answer within its estimate is.
                        let used = ask * share / 100;
                        ledger.settle(id, Mono(at), Quarter::of(now(at).wall), Settled { reserved: ask, used: Amount::request(used), heard: Mono(at + heard) });
                        admitted.push((at + heard.min(guard), Amount::request(used)));
                    }
                    Admission::NotBefore(wait) => {
                        prop_assert!(!fits(&admitted, at), "late for nothing at {at}");
                        prop_assert!(!fits(&admitted, wait.until.0 - 1), "the wait is too long");
                        prop_assert!(fits(&admitted, wait.until.0), "the wait is too short");
                    }
                    Admission::Never(too_large) => prop_assert!(false, "{too_large:?}"),
                }
            }
        }
    }
}
