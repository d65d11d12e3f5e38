use std::time::Duration;

use super::*;
use crate::admit::hint::{ServerHint, Source, Span, Unit};
use crate::admit::server::Pacing;
use crate::model::{Cause, Class, LimitName, Limits, OnQuota, RunStop};
use crate::run::rules::Concurrency;
use crate::run::tests::{answer, at, failure, rules, work};
use crate::send::classify::{Billed, Failure, Kind};

const SECOND: Duration = Duration::from_secs(1);

fn now(seconds: u64) -> Now {
    at(Mono(0).plus(SECOND * u32::try_from(seconds).expect("few")))
}

fn pace(rules: &Rules) -> Pace {
    let server = ServerLimits::new(Pacing::Auto, rules.limits, Vec::new(), [], &now(0));
    Pace::new(rules, OutputEstimate::default(), server)
}

fn works(count: u32) -> Vec<Work> {
    (0..count).map(|ordinal| work(ordinal, 10)).collect()
}

fn idle(open: usize) -> Load {
    Load { in_flight: 0, open, is_idle: true, is_at_last: false }
}

fn busy(in_flight: usize, open: usize) -> Load {
    Load { in_flight, open, is_idle: false, is_at_last: false }
}

fn admit(pace: &mut Pace, seconds: u64, load: Load, work: &[Work]) -> Vec<u32> {
    assert!(!pace.is_blocked(now(seconds).mono));
    let admission = pace.admit(&now(seconds), load, work.iter());
    assert!(admission.stop.is_none(), "{admission:?}");
    admission.claims.iter().map(|room| room.ordinal.0).collect()
}

fn binds(pace: &Pace) -> Option<WaitFor> {
    pace.binds().map(|binds| binds.what.clone())
}

/// Sends `work` at a moment, and hears this of it a second later, beside so many others.
fn hear(pace: &mut Pace, work: &Work, sent: u64, verdict: &Verdict, others: usize) -> Heard {
    let ticket = pace.sent(work, others + 1, now(sent).mono);
    pace.heard(&now(sent + 1), Reply { work, ticket, verdict, hints: &[], others, open: 5 }, 0.0)
}

fn failed(kind: Kind, class: Class) -> Verdict {
    Verdict::Failure(failure(kind, class))
}

fn asking(kind: Kind, class: Class, wait: u64) -> Verdict {
    Verdict::Failure(Failure { wait: Some(Duration::from_secs(wait)), ..failure(kind, class) })
}

#[test]
fn as_many_leave_as_may_be_in_flight_and_the_first_go_first() {
    let mut pace = pace(&Rules { concurrency: Concurrency::Fixed(3), ..rules() });
    let work = works(5);
    assert_eq!(admit(&mut pace, 0, idle(5), &work), [0, 1, 2]);
    assert_eq!(admit(&mut pace, 0, busy(2, 5), &work), [0]);
    assert_eq!((admit(&mut pace, 0, busy(3, 5), &work), binds(&pace)), (vec![], Some(WaitFor::Answers)));
    // It is asked again as soon as there is room.
    assert_eq!((admit(&mut pace, 0, busy(2, 5), &work), binds(&pace)), (vec![0], None));
}

#[test]
fn a_server_that_is_not_known_is_met_softly() {
    let mut pace = pace(&Rules { soft_start: true, ..rules() });
    let work = works(20);
    pace.drawn(&work, 20, Mono(0));
    let first = admit(&mut pace, 0, idle(20), &work);
    assert!(first.len() < 20, "{first:?}");
    let tickets: Vec<_> = first.iter().map(|ordinal| pace.sent(&work[*ordinal as usize], 1, Mono(0))).collect();
    let left = &work[first.len()..];
    assert_eq!((admit(&mut pace, 0, busy(8, 20), left), binds(&pace)), (vec![], Some(WaitFor::FirstAnswers)));
    // It goes on by itself: what is not refused was let in.
    assert!(pace.next().is_some_and(|at| at < Mono(20_000_000)) && tickets.len() == 8);
    assert!(!admit(&mut pace, 1, busy(8, 20), left).is_empty());
}

#[test]
fn what_is_reserved_is_what_may_be_used_and_less_only_where_it_is_an_estimate_and_nothing_is_under_way() {
    let limits = Limits { tokens_per_minute: Some(10_000), ..rules().limits };
    let work = works(2);
    let mut said = pace(&Rules { max_output_tokens: Some(90), limits, ..rules() });
    let claims = said.admit(&now(0), idle(2), work.iter()).claims;
    assert!(claims.iter().all(|room| (room.tokens, room.least) == (100, 100)), "{claims:?}");
    let mut found = pace(&Rules { max_output_tokens: None, limits, ..rules() });
    let claims = found.admit(&now(0), idle(2), work.iter()).claims;
    let [first, second] = &claims[..] else { panic!("{claims:?}") };
    assert!(first.least < first.tokens && second.least == second.tokens, "{claims:?}");
    let claims = found.admit(&now(0), busy(1, 2), work.iter()).claims;
    assert!(claims.iter().all(|room| room.least == room.tokens), "{claims:?}");
    // What the answers need is learned.
    for _ in 0..100 {
        found.learn(20);
    }
    assert_eq!(found.admit(&now(0), busy(1, 2), work.iter()).claims[0].tokens, 30);
}

#[test]
fn what_a_limit_of_the_server_has_no_room_for_is_not_overtaken() {
    let mut pace = pace(&rules());
    let hint = ServerHint {
        unit: Unit::Requests,
        group: None,
        size: Some(2),
        left: Some(0),
        charged: None,
        window: Some(Span { least: SECOND * 60, most: SECOND * 60 }),
        full_in: None,
        refused: false,
        source: Source::Headers,
    };
    let work = works(3);
    let ticket = pace.sent(&work[0], 1, Mono(0));
    let verdict = answer(10, 1);
    let heard = pace.heard(
        &now(1),
        Reply { work: &work[0], ticket, verdict: &verdict, hints: &[hint], others: 0, open: 5 },
        0.0,
    );
    assert!(heard.learned.is_some() && heard.is_there, "{heard:?}");
    let admission = pace.admit(&now(1), idle(2), work[1..].iter());
    assert!(admission.claims.is_empty() && matches!(admission.event, Some(Event::Waiting { .. })), "{admission:?}");
    assert!(matches!(binds(&pace), Some(WaitFor::ServerLimit(_))));
    assert!(pace.next().is_some_and(|at| at > now(1).mono && at <= now(2).mono));
}

fn wait(limit: LimitName, until: u64) -> Wait {
    Wait { limit, until: now(until).mono }
}

#[test]
fn a_limit_that_is_full_is_asked_again_soon_and_at_once_where_room_came_meanwhile() {
    let mut pace = pace(&rules());
    let work = works(1);
    let minute = wait(LimitName::TokensPerMinute, 50);
    let (event, stop) = pace.refused(&now(0), minute, true);
    assert!(matches!(event, Some(Event::Waiting { .. })) && stop.is_none());
    assert!(pace.is_blocked(Mono(now(1).mono.0 - 1)) && !pace.is_blocked(now(1).mono));
    // Amounts were settled while it was asked: what it says is out of date.
    admit(&mut pace, 1, idle(1), &work);
    pace.settled();
    assert!(pace.refused(&now(1), minute, true).0.is_none() && !pace.is_blocked(now(1).mono));
    // Settled before it is asked is no reason.
    pace.settled();
    admit(&mut pace, 2, idle(1), &work);
    pace.refused(&now(2), minute, true);
    assert!(pace.is_blocked(now(2).mono));
    pace.settled();
    assert!(!pace.is_blocked(now(2).mono));
}

#[test]
fn a_day_limit_ends_the_run_where_it_is_to_and_nothing_under_way_can_give_room_back() {
    let day = wait(LimitName::TokensPerDay, 50_000);
    for (on_day_limit, is_idle, stops, told) in [
        (OnDayLimit::Exit, true, true, false),
        (OnDayLimit::Exit, false, false, false),
        (OnDayLimit::Wait, true, false, true),
        (OnDayLimit::Wait, false, false, false),
    ] {
        let mut pace = pace(&Rules { on_day_limit, ..rules() });
        let (event, stop) = pace.refused(&now(0), day, is_idle);
        assert_eq!((stop.is_some(), event.is_some()), (stops, told), "{on_day_limit:?} {is_idle}");
        if !stops {
            assert!(pace.is_blocked(now(59).mono) && binds(&pace) == Some(WaitFor::Limit(day.limit)));
            assert!(!pace.is_blocked(now(60).mono));
        }
    }
}

#[test]
fn a_pause_that_the_server_asks_for_is_taken_and_told() {
    let mut pace = pace(&rules());
    let work = works(3);
    let heard = hear(&mut pace, &work[0], 0, &asking(Kind::Throttled, Class::RateLimited, 20), 2);
    assert_eq!((heard.means, heard.is_there, heard.stop), (Means::Again(now(1).mono), true, None));
    assert!(matches!(&heard.events[..], [Event::Throttled { .. }, ..]), "{:?}", heard.events);
    assert!(!pace.lets_go(Ordinal(1), now(1).mono));
    let admission = pace.admit(&now(1), idle(3), work.iter());
    assert!(admission.claims.is_empty() && matches!(admission.event, Some(Event::Waiting { .. })), "{admission:?}");
    let until = pace.next().expect("it ends");
    assert!(until >= now(21).mono && pace.keeps_waiting(now(1).mono) == Some(until));
    assert!(pace.lets_go(Ordinal(1), until) && pace.keeps_waiting(until).is_none());
}

#[test]
fn failures_of_many_are_the_servers_and_one_request_asks_whether_it_is_back() {
    let mut pace = pace(&rules());
    let work = works(9);
    let verdict = failed(Kind::Transient, Class::ServerError);
    let mut means = Vec::new();
    let early = pace.sent(&work[8], 1, now(1).mono);
    for work in &work[..8] {
        means.push(hear(&mut pace, work, 1, &verdict, 5).means);
    }
    assert!(
        means[..7].iter().all(|means| matches!(means, Means::Tried { unsent: false, last: false, .. })),
        "{means:?}"
    );
    let Means::Outage { refunds, .. } = &means[7] else { panic!("{means:?}") };
    assert_eq!(refunds.len(), 8);
    assert_eq!((admit(&mut pace, 2, busy(1, 9), &work), binds(&pace)), (vec![], Some(WaitFor::Outage)));
    let until = pace.next().expect("it is tried again");
    assert!(!pace.lets_go(Ordinal(8), now(2).mono) && pace.lets_go(Ordinal(8), until));
    let later = until.0.div_ceil(1_000_000_000);
    // One of what is ready.
    assert_eq!(admit(&mut pace, later, busy(1, 9), &work), [0]);
    // What was under way before fails without being held against it, and gives nobody an attempt back.
    let reply = Reply { work: &work[8], ticket: early, verdict: &verdict, hints: &[], others: 1, open: 5 };
    assert_eq!(pace.heard(&now(later), reply, 0.0).means, Means::Again(now(later).mono));
    let heard = hear(&mut pace, &work[0], later, &answer(10, 1), 1);
    assert!(matches!(heard.events[..], [Event::Resumed { cause: Cause::Outage }]), "{heard:?}");
    // It is met softly again.
    assert_eq!(admit(&mut pace, later + 1, busy(0, 9), &work), [0]);
}

#[test]
fn what_a_failure_means_for_its_prompt() {
    let connect = || Verdict::Failure(Failure { billed: Billed::No, ..failure(Kind::Transient, Class::Connection) });
    let read = || Verdict::Failure(Failure { billed: Billed::Maybe, ..failure(Kind::Unknown, Class::Timeout) });
    let tried = |unsent, last, class| Means::Tried { unsent, last, class, not_before: now(1).mono };
    for (verdict, means, is_there, stops) in [
        (answer(10, 1), Means::Own, true, false),
        (failed(Kind::Prompt, Class::BadRequest), Means::Own, true, false),
        // Nothing is heard of the server by it.
        (failed(Kind::Prompt, Class::Changed), Means::Own, false, false),
        (failed(Kind::Transient, Class::ServerError), tried(false, false, Class::ServerError), false, false),
        (failed(Kind::Last, Class::ServerError), tried(false, true, Class::ServerError), false, false),
        (connect(), tried(true, false, Class::Connection), false, false),
        (read(), tried(false, false, Class::Timeout), false, false),
        (failed(Kind::Throttled, Class::RateLimited), Means::Again(now(1).mono), true, false),
        (failed(Kind::Run(RunStop::Key), Class::BadKey), Means::Stops, false, true),
        (failed(Kind::Run(RunStop::Quota), Class::Quota), Means::Stops, false, true),
    ] {
        let mut pace = pace(&rules());
        let heard = hear(&mut pace, &work(0, 10), 0, &verdict, 3);
        let got = (heard.means, heard.is_there, heard.stop.is_some());
        assert_eq!(got, (means, is_there, stops), "{verdict:?}");
    }
}

#[test]
fn a_refusal_after_answers_is_asked_again_alone_before_it_is_believed() {
    let mut pace = pace(&rules());
    let work = works(4);
    hear(&mut pace, &work[0], 0, &answer(10, 1), 3);
    let verdict = failed(Kind::Run(RunStop::Key), Class::BadKey);
    let heard = hear(&mut pace, &work[1], 2, &verdict, 2);
    assert!(
        heard.stop.is_none() && matches!(heard.events[..], [Event::Paused { cause: Cause::Refused, .. }]),
        "{heard:?}"
    );
    // Only it, however many are ready before it.
    assert_eq!((admit(&mut pace, 3, busy(2, 4), &work), binds(&pace)), (vec![], Some(WaitFor::Refused)));
    let until = pace.next().expect("it is asked again");
    assert!(!pace.lets_go(Ordinal(0), until) && pace.lets_go(Ordinal(1), until));
    let seconds = until.0.div_ceil(1_000_000_000);
    assert_eq!(admit(&mut pace, seconds, busy(1, 4), &work), [1]);
    let heard = hear(&mut pace, &work[1], seconds, &verdict, 1);
    let Some(Stop { ending: Ending::Stopped { stop: RunStop::Key, .. }, .. }) = heard.stop else { panic!("{heard:?}") };
}

#[test]
fn an_account_that_is_used_up_is_waited_for_where_a_setting_says_so() {
    let mut pace = pace(&Rules { on_quota: OnQuota::Wait, quota_wait: SECOND * 300, ..rules() });
    let work = works(2);
    let heard = hear(&mut pace, &work[0], 0, &failed(Kind::Run(RunStop::Quota), Class::Quota), 1);
    assert!(
        heard.stop.is_none() && matches!(heard.events[..], [Event::Paused { cause: Cause::Quota, .. }]),
        "{heard:?}"
    );
    assert_eq!((admit(&mut pace, 2, idle(2), &work), binds(&pace)), (vec![], Some(WaitFor::Account)));
    // The server does not keep it waiting: a setting does.
    assert_eq!(pace.keeps_waiting(now(2).mono), None);
}

#[test]
fn patience_ends_where_the_server_only_fails_and_what_else_is_waited_for_does_not_count() {
    let rules = Rules { give_up_after: SECOND * 60, ..rules() };
    let verdict = failed(Kind::Transient, Class::ServerError);
    // What is waited for in between, and whether the next failure is one too many.
    for (binds, gives_up) in [
        (Some(WaitFor::Outage), true),
        (None, true),
        (Some(WaitFor::Disk), false),
        (Some(WaitFor::Reader), false),
        (Some(WaitFor::Prompts), false),
        (Some(WaitFor::Account), false),
        (Some(WaitFor::Limit(LimitName::TokensPerDay)), false),
    ] {
        let mut pace = pace(&rules);
        pace.pass(now(1).mono);
        assert!(hear(&mut pace, &work(0, 10), 0, &verdict, 1).stop.is_none());
        if let Some(what) = binds.clone() {
            pace.bind(what, None);
        }
        pace.pass(now(100).mono);
        let stop = hear(&mut pace, &work(1, 10), 99, &verdict, 1).stop;
        let outage = matches!(stop, Some(Stop { ending: Ending::Outage { .. }, .. }));
        assert_eq!(outage, gives_up, "{binds:?}: {stop:?}");
    }
}

#[test]
fn an_outage_that_is_longer_than_the_patience_is_not_begun_if_nothing_under_way_can_change_that() {
    for (wait, others, is_told) in [(10, 0, true), (3_600, 1, true), (3_600, 0, false)] {
        let mut pace = pace(&Rules { give_up_after: SECOND * 60, ..rules() });
        let work = works(8);
        for work in &work[..7] {
            hear(&mut pace, work, 1, &failed(Kind::Transient, Class::ServerError), others);
        }
        let heard = hear(&mut pace, &work[7], 1, &asking(Kind::Transient, Class::ServerError, wait), others);
        let told = matches!(heard.events[..], [Event::Paused { cause: Cause::Outage, .. }]);
        assert_eq!(told, is_told, "{wait} s beside {others}: {heard:?}");
    }
}

#[test]
fn a_day_limit_of_the_server_is_a_day_limit_and_no_failure() {
    let day = Duration::from_secs(86_400);
    for (on_day_limit, stops) in [(OnDayLimit::Exit, true), (OnDayLimit::Wait, false)] {
        let mut pace = pace(&Rules { on_day_limit, give_up_after: SECOND * 60, ..rules() });
        hear(&mut pace, &work(7, 10), 0, &failed(Kind::Transient, Class::ServerError), 1);
        let hint = ServerHint {
            unit: Unit::Requests,
            group: None,
            size: Some(100),
            left: Some(0),
            charged: None,
            window: Some(Span { least: day, most: day }),
            full_in: None,
            refused: true,
            source: Source::Refusal,
        };
        let (work, verdict) = (work(0, 10), asking(Kind::Throttled, Class::RateLimited, 9_000));
        let ticket = pace.sent(&work, 1, Mono(0));
        let heard = pace.heard(
            &now(1),
            Reply { work: &work, ticket, verdict: &verdict, hints: &[hint], others: 0, open: 5 },
            0.0,
        );
        let stopped = matches!(heard.stop, Some(Stop { ending: Ending::ServerDayLimit { wait, .. }, .. }) if wait == SECOND * 9_000);
        assert_eq!(stopped, stops, "{heard:?}");
        assert!(stops || pace.runs_out(now(1).mono, now(9_001).mono).is_none());
    }
}

#[test]
fn one_that_is_refused_alone_uses_an_attempt_and_goes_behind_the_rest() {
    let refused = failed(Kind::Throttled, Class::RateLimited);
    let class = |heard: &Heard| match heard.means {
        Means::Tried { last, class, .. } => Some((class, last)),
        _ => None,
    };
    let mut pace = pace(&rules());
    let work = works(3);
    // Among others it is the rate's.
    let heard = hear(&mut pace, &work[0], 0, &refused, 1);
    assert!(matches!(heard.means, Means::Again(_)) && !heard.behind, "{heard:?}");
    // Where all are refused, it is none of theirs.
    let heard = hear(&mut pace, &work[0], 10, &refused, 0);
    assert!(matches!(heard.means, Means::Again(_)) && heard.behind, "{heard:?}");
    // Others are answered: they may have used the window up,
    hear(&mut pace, &work[1], 20, &answer(10, 1), 0);
    let heard = hear(&mut pace, &work[0], 30, &refused, 0);
    assert!(matches!(heard.means, Means::Again(_)), "{heard:?}");
    // until it is over.
    let heard = hear(&mut pace, &work[0], 90, &refused, 0);
    assert_eq!((class(&heard), heard.behind), (Some((Class::RateLimited, false)), true));
    // It is larger than what the server says of its limit, and says so itself.
    let hint = ServerHint {
        unit: Unit::Tokens,
        group: None,
        size: Some(9),
        left: Some(9),
        charged: Some(26),
        window: None,
        full_in: None,
        refused: true,
        source: Source::Refusal,
    };
    let ask = |pace: &mut Pace, hints: &[ServerHint]| {
        let ticket = pace.sent(&work[0], 1, now(40).mono);
        pace.heard(&now(41), Reply { work: &work[0], ticket, verdict: &refused, hints, others: 0, open: 5 }, 0.0)
    };
    let heard = ask(&mut pace, std::slice::from_ref(&hint));
    assert_eq!(class(&heard), Some((Class::TooLarge, true)));
    // Where only its headers tell of the limit, an attempt is used.
    let mut pace = self::pace(&rules());
    ask(&mut pace, &[ServerHint { charged: None, refused: false, source: Source::Headers, ..hint }]);
    let heard = ask(&mut pace, &[]);
    assert_eq!((class(&heard), heard.behind), (Some((Class::TooLarge, false)), true));
}
