//! The picture of the server's limits: what each hint and each refusal makes of it.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test's amounts are small"
)]

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::{Charge, News, Outcome, Pacing, ServerLimits, Ticket};
use crate::admit::hint::{LearnedLimit, ServerHint, Source, Span, Unit};
use crate::admit::ledger::Amount;
use crate::clock::{Day, Mono, Now};
use crate::model::Limits;

const SECOND: u64 = 1_000_000_000;
const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: f64) -> Now {
    let start: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().expect("a date");
    let mono = Mono(1_000 * SECOND).plus(Duration::from_secs_f64(seconds));
    let wall = start + TimeDelta::from_std(Duration::from_secs_f64(seconds)).expect("a test's span");
    Now { mono, wall, day: Day::of(wall, &Utc) }
}

fn server(pacing: Pacing) -> ServerLimits {
    ServerLimits::new(pacing, Limits::default(), Vec::new(), [], &at(0.0))
}

fn requests(size: u64, left: u64) -> ServerHint {
    ServerHint {
        unit: Unit::Requests,
        group: None,
        size: Some(size),
        left: Some(left),
        full_in: None,
        window: Some(Span::exactly(MINUTE)),
        charged: None,
        refused: false,
        source: Source::Headers,
    }
}

fn refusal(size: u64, used: u64) -> ServerHint {
    ServerHint {
        left: Some(size.saturating_sub(used)),
        charged: Some(1),
        refused: true,
        source: Source::Refusal,
        ..requests(size, 0)
    }
}

const ONE: fn() -> Charge = || Charge::request(100, None);
const SIGNAL: Outcome = Outcome::Refused { signal: true };

/// Sends as many as fit at `now`, at most `most`.
fn send(server: &mut ServerLimits, most: usize, now: &Now) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    while tickets.len() < most && server.frees(Charge::default(), ONE(), now.mono).is_none() {
        tickets.push(server.take(ONE(), 1, now.mono));
    }
    tickets
}

#[test]
fn a_server_that_says_nothing_binds_nothing() {
    let mut server = server(Pacing::Auto);
    let tickets = send(&mut server, 10_000, &at(0.0));
    assert_eq!(tickets.len(), 10_000);
    for ticket in tickets {
        assert_eq!(server.heard(ticket, &[], Outcome::Admitted, &at(1.0)), []);
    }
    assert!(!server.is_known() && !server.take_changed());
}

#[test]
fn what_left_before_a_limit_was_told_counts_in_it() {
    let mut server = server(Pacing::Auto);
    let tickets = send(&mut server, 60, &at(0.0));
    // It tells the size of its limit, and not what is left of it.
    let told = ServerHint { left: None, ..requests(100, 0) };
    server.heard(tickets[0], &[told], Outcome::Admitted, &at(0.1));
    let more = send(&mut server, 1_000, &at(0.1)).len();
    assert!((35..=40).contains(&more), "{more} more than 60 of 100");
}

#[test]
fn headers_of_the_first_answer_bound_all_that_follows() {
    let mut server = server(Pacing::Auto);
    let first = send(&mut server, 1, &at(0.0));
    let news = server.heard(first[0], &[requests(100, 99)], Outcome::Admitted, &at(0.1));
    assert!(
        matches!(&news[..], [News::Learned(limit)] if (limit.size - 100.0).abs() < 0.1 && limit.window == MINUTE),
        "{news:?}"
    );
    assert!(server.take_changed() && server.learned().len() == 1);
    // 99 are left, of which a quarter of a second's worth is kept for requests that arrive together.
    assert_eq!(send(&mut server, 1_000, &at(0.1)).len(), 98);
    let wait = server.frees(Charge::default(), ONE(), at(0.1).mono).expect("it waits");
    assert_eq!((wait.limit.unit, wait.limit.source), (Unit::Requests, Source::Headers));
    assert!(at(0.1).mono.until(wait.until) < Duration::from_millis(600), "{wait:?}");
    // The rate is the server's: 100 a minute.
    let mut sent = 0;
    for tenth in 1..=600 {
        sent += send(&mut server, 1_000, &at(0.1 + f64::from(tenth) * 0.1)).len();
    }
    assert!((99..=101).contains(&sent), "{sent} in a minute");
}

#[test]
fn a_hint_of_an_answer_among_others_moves_the_level_only_where_it_is_surely_wrong() {
    let mut server = server(Pacing::Auto);
    let first = send(&mut server, 1, &at(0.0));
    server.heard(first[0], &[requests(100, 99)], Outcome::Admitted, &at(0.1));
    let burst = send(&mut server, 1_000, &at(0.1));
    // The answers come in another order than the requests left; whatever they say, nothing more fits.
    for (left, ticket) in burst.iter().enumerate() {
        server.heard(*ticket, &[requests(100, left as u64)], Outcome::Admitted, &at(0.2));
        assert!(send(&mut server, 1, &at(0.2)).is_empty());
    }
    // Somebody else uses the account: half a minute later there should be 50, and there are 20.
    let alone = send(&mut server, 1, &at(30.2));
    server.heard(alone[0], &[requests(100, 20)], Outcome::Admitted, &at(30.2));
    let sent = send(&mut server, 1_000, &at(30.2));
    // It is also taken for a sign that our requests count for more.
    assert!((14..=19).contains(&sent.len()), "{}", sent.len());
    for ticket in sent {
        server.heard(ticket, &[], Outcome::Admitted, &at(30.3));
    }
    // And the other way round: an answer that came alone says that all of it is there.
    let alone = send(&mut server, 1, &at(40.0));
    server.heard(alone[0], &[requests(100, 99)], Outcome::Admitted, &at(40.0));
    let sent = send(&mut server, 1_000, &at(40.0)).len();
    assert!((80..=98).contains(&sent), "{sent}");
}

#[test]
fn a_lowered_limit_is_followed_at_once_and_a_raised_one_too() {
    let mut server = server(Pacing::Auto);
    let first = send(&mut server, 1, &at(0.0));
    server.heard(first[0], &[requests(100, 99)], Outcome::Admitted, &at(0.0));
    let next = send(&mut server, 1, &at(0.0));
    let news = server.heard(next[0], &[requests(50, 40)], Outcome::Admitted, &at(0.0));
    assert!(matches!(&news[..], [News::Learned(limit)] if (limit.size - 50.0).abs() < 0.1), "{news:?}");
    let all = send(&mut server, 1_000, &at(0.0));
    assert!((38..=40).contains(&all.len()), "{}", all.len());
    for ticket in all {
        server.heard(ticket, &[], Outcome::Admitted, &at(0.1));
    }
    let later = send(&mut server, 1, &at(70.0));
    server.heard(later[0], &[requests(100, 99)], Outcome::Admitted, &at(70.0));
    assert_eq!(send(&mut server, 1_000, &at(70.0)).len(), 98);
}

#[test]
fn a_refusal_tells_the_limit_and_is_tried_with_more_after_a_while() {
    let mut server = server(Pacing::Auto);
    let burst = send(&mut server, 110, &at(0.0));
    for (index, ticket) in burst.iter().enumerate() {
        let refused = index >= 100;
        let outcome = if refused { Outcome::Refused { signal: index == 100 } } else { Outcome::Admitted };
        let hints = if refused { vec![refusal(100, 100)] } else { Vec::new() };
        server.heard(*ticket, &hints, outcome, &at(0.1));
    }
    assert!(send(&mut server, 1, &at(0.1)).is_empty());
    let mut sent_until = |seconds: f64, from: f64| {
        let (mut now, mut sent) = (from, 0);
        while now < seconds {
            sent += send(&mut server, 1_000, &at(now)).len();
            now += 0.05;
        }
        sent
    };
    let quiet = sent_until(30.0, 0.1);
    assert!((48..=51).contains(&quiet), "{quiet} in half a minute");
    // A minute later more than the known rate is tried.
    let more = sent_until(90.0, 30.0);
    assert!(more > 115, "{more} in a minute");
}

#[test]
fn a_refusal_although_there_is_room_means_slices_until_a_trial_is_not_refused() {
    for (pacing, evenly) in [(Pacing::Auto, true), (Pacing::Burst, false)] {
        let mut server = server(pacing);
        let first = send(&mut server, 1, &at(0.0));
        server.heard(first[0], &[requests(600, 599)], Outcome::Admitted, &at(0.0));
        let burst = send(&mut server, 20, &at(0.0));
        for (index, ticket) in burst.iter().enumerate() {
            let outcome = if index < 10 { Outcome::Admitted } else { Outcome::Refused { signal: index == 10 } };
            server.heard(*ticket, &[], outcome, &at(0.1));
        }
        // 600 a minute, one second's worth at the most at a time.
        let most = (2..6).map(|tenth| send(&mut server, 1_000, &at(f64::from(tenth) / 10.0)).len()).max();
        assert_eq!(most <= Some(10), evenly, "{most:?} at once");
        if evenly {
            // It is tried without them; as that is not refused, there are none.
            (0..500).for_each(|tick| drop(send(&mut server, 1_000, &at(1.0 + f64::from(tick) / 50.0))));
            assert!(server.guess.is_none());
        }
    }
}

#[test]
fn what_was_learned_holds_at_the_next_start_with_what_the_ledger_remembers() {
    let learned = LearnedLimit {
        unit: Unit::Requests,
        group: None,
        size: 100.0,
        window: MINUTE,
        burst: MINUTE,
        source: Source::Refusal,
        learned: at(0.0).wall,
    };
    let start = |recent: Vec<(Mono, Amount)>| {
        let mut server = ServerLimits::new(Pacing::Auto, Limits::default(), vec![learned.clone()], recent, &at(60.0));
        assert!(server.is_known());
        assert_eq!(server.learned(), vec![learned.clone()]);
        send(&mut server, 1_000, &at(60.0)).len()
    };
    assert_eq!(start(Vec::new()), 99);
    // 90 of them left in this window: it may have been empty when that began.
    assert_eq!(start(vec![(at(30.0).mono, Amount { tokens: 9_000, requests: 90 })]), 9);
    assert_eq!(start(vec![(at(0.0).mono, Amount { tokens: 9_000, requests: 90 })]), 99);
}

#[test]
fn a_refusal_costs_no_tokens() {
    let mut server = server(Pacing::Auto);
    let limit = ServerHint { unit: Unit::Tokens, ..requests(100_000, 99_884) };
    let first = send(&mut server, 1, &at(0.0));
    server.heard(first[0], &[limit], Outcome::Admitted, &at(0.0));
    let room = |server: &ServerLimits| send(&mut server.clone(), 10_000, &at(0.0)).len();
    let before = room(&server);
    // Refused for requests: the tokens were not taken.
    for ticket in send(&mut server, 100, &at(0.0)) {
        server.heard(ticket, &[refusal(500, 500)], Outcome::Refused { signal: false }, &at(0.0));
    }
    let tokens_left =
        ServerLimits { buckets: server.buckets.iter().filter(|b| b.unit == Unit::Tokens).cloned().collect(), ..server };
    assert_eq!(room(&tokens_left), before);
}

#[test]
fn tokens_are_counted_as_the_server_counts_them() {
    let mut server = server(Pacing::Auto);
    let hint = |left: f64| ServerHint { unit: Unit::Tokens, ..requests(100_000, left.max(0.0) as u64) };
    // It counts 1.5 times our charge of 116, and refills 1,667 a second.
    let (mut left, mut now) = (100_000.0 - 174.0, 0.0);
    let first = send(&mut server, 1, &at(now));
    server.heard(first[0], &[hint(left)], Outcome::Admitted, &at(now));
    let mut over = 0;
    for _ in 0..4_000 {
        now += 0.05;
        left = (left + 100_000.0 / 60.0 * 0.05_f64).min(100_000.0);
        for ticket in send(&mut server, 20, &at(now)) {
            if left < 174.0 {
                over += 1;
                server.heard(ticket, &[], Outcome::Refused { signal: true }, &at(now));
                continue;
            }
            left -= 174.0;
            server.heard(ticket, &[hint(left)], Outcome::Admitted, &at(now));
        }
    }
    assert!(over <= 1, "{over} refused");
    assert!(left < 5_000.0, "{left} unused");
}

#[test]
fn a_slow_down_grows_by_half_in_a_quarter_of_an_hour_above_a_million() {
    let mut server = server(Pacing::Auto);
    let charge = Charge::request(40_000 - 16, None);
    // 2,000,000 tokens in the last minute.
    let mut last = None;
    for second in 0..50 {
        last = Some(server.take(charge, 1, at(f64::from(second) * 1.2).mono));
    }
    let news = server.heard(last.expect("sent"), &[], Outcome::SlowDown { signal: true }, &at(60.0));
    let [News::Cut(cut)] = &news[..] else { panic!("{news:?}") };
    assert!((1.3e6..1.5e6).contains(&cut.size), "{cut:?}");
    let per_minute = |server: &mut ServerLimits, from: f64| {
        let mut sent = 0.0;
        for tick in 0..600 {
            let now = at(from + f64::from(tick) * 0.1);
            while server.frees(Charge::default(), charge, now.mono).is_none() {
                server.take(charge, 1, now.mono);
                sent += 40_000.0;
            }
        }
        sent
    };
    let first = per_minute(&mut server, 61.0);
    for minute in 1..15 {
        per_minute(&mut server, 61.0 + f64::from(minute) * 60.0);
    }
    let later = per_minute(&mut server, 61.0 + 900.0);
    assert!((1.2e6..1.6e6).contains(&first), "{first}");
    assert!((1.35..1.65).contains(&(later / first)), "{first}, then {later}");
    // It is no limit of the account: the next run does not know of it.
    assert_eq!(server.learned(), []);
}

#[test]
fn a_day_and_a_minute_are_two_limits_and_little_of_a_day_is_told_once() {
    let mut server = server(Pacing::Auto);
    let day = |left| ServerHint { window: Some(Span::exactly(MINUTE * 1_440)), ..requests(200, left) };
    let tickets = send(&mut server, 3, &at(0.0));
    let news = server.heard(tickets[0], &[day(25)], Outcome::Admitted, &at(0.0));
    assert!(matches!(&news[..], [News::Learned(_)]), "{news:?}");
    let news = server.heard(tickets[1], &[requests(100, 99), day(15)], Outcome::Admitted, &at(0.0));
    assert!(matches!(&news[..], [News::Learned(_), News::NearlyUsed { left: 15, .. }]), "{news:?}");
    assert_eq!(server.heard(tickets[2], &[day(14)], Outcome::Admitted, &at(0.0)), []);
    // What would come in a quarter of a second is kept.
    assert_eq!(send(&mut server, 1_000, &at(0.0)).len(), 13);
}

proptest! {
    /// Whatever the limit: a wait is long enough, and nothing fits a good deal before its end.
    #[test]
    fn a_wait_is_neither_short_nor_long(size in 1u64..5_000, taken in 0u64..6_000, tokens in 1u64..3_000, later in 0.0f64..30.0) {
        let learned = LearnedLimit {
            unit: Unit::Tokens, group: None, size: size as f64, window: MINUTE, burst: MINUTE, source: Source::Headers, learned: at(0.0).wall,
        };
        let mut server = ServerLimits::new(Pacing::Auto, Limits::default(), vec![learned], [], &at(0.0));
        server.take(Charge::request(taken, Some(0)), 1, at(0.0).mono);
        let charge = Charge::request(tokens, Some(0));
        if let Some(wait) = server.frees(Charge::default(), charge, at(later).mono) {
            prop_assert!(wait.until > at(later).mono);
            let before = Mono(wait.until.0 - 1_000_000);
            prop_assert!(before <= at(later).mono || server.clone().frees(Charge::default(), charge, before).is_some());
            prop_assert!(server.frees(Charge::default(), charge, wait.until).is_none());
        }
    }

    /// No hints, however mad, stop a run for ever or make it panic.
    #[test]
    fn no_hints_stop_a_run(hints in prop::collection::vec((any::<bool>(), prop::option::of(1u64..u64::MAX / 2), prop::option::of(any::<u64>()), prop::option::of(1u64..2_000_000), any::<bool>()), 0..12)) {
        let mut server = server(Pacing::Auto);
        for (step, (tokens, size, left, window, refused)) in hints.into_iter().enumerate() {
            let now = at(step as f64);
            let ticket = server.take(ONE(), 1, now.mono);
            let hint = ServerHint {
                unit: if tokens { Unit::Tokens } else { Unit::Requests },
                size, left,
                window: window.map(|seconds| Span::exactly(Duration::from_secs(seconds))),
                refused,
                source: if refused { Source::Refusal } else { Source::Headers },
                ..requests(1, 0)
            };
            let outcome = if refused { SIGNAL } else { Outcome::Admitted };
            let _ = server.heard(ticket, &[hint], outcome, &now);
            let _ = server.frees(Charge::default(), ONE(), now.mono);
        }
        // 31 days are the longest window that a hint may have.
        prop_assert!(server.frees(Charge::default(), ONE(), Mono(u64::MAX / 2)).is_none());
    }
}
