//! The order in which prompts leave, whatever their sizes: nobody starves.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::{Action, Concurrency, Input, Job, Machine, OutputEstimate, Rules};
use crate::admit::ledger::Ledger;
use crate::admit::server::{Pacing, ServerLimits};
use crate::clock::{Day, Mono, Now};
use crate::model::{ContentId, Fingerprint, FinishReason, Key, Limits, OnDayLimit, OnQuota, Place, Spot, Usage};
use crate::record::Admissions as _;
use crate::record::memory::MemoryStore;
use crate::report::event::Event;
use crate::send::answer::Answer;
use crate::send::classify::Verdict;

const WINDOW: Duration = Duration::from_secs(60);

fn at(mono: Mono) -> Now {
    let start: DateTime<Utc> = "2026-11-22T09:00:00Z".parse().expect("a date");
    let wall = start + TimeDelta::nanoseconds(i64::try_from(mono.0).expect("a test's span"));
    Now { mono, wall, day: Day::of(wall, &Utc) }
}

/// Prompts of so many input tokens each.
fn jobs(sizes: &[u64]) -> Vec<Job> {
    let job = |(index, &input_tokens): (usize, &u64)| Job {
        key: Key::from(index as u64 + 1),
        spot: Spot::default(),
        fingerprint: Fingerprint([0; 16]),
        input_tokens,
        batch: 0,
        doomed: None,
        place: Place::default(),
    };
    sizes.iter().enumerate().map(job).collect()
}

fn rules(limits: Limits) -> Rules {
    Rules {
        concurrency: Concurrency::Fixed(1_000),
        soft_start: false,
        attempts: 1,
        max_output_tokens: Some(1),
        on_day_limit: OnDayLimit::Wait,
        on_quota: OnQuota::Stop,
        quota_wait: WINDOW,
        give_up_after: WINDOW,
        deadline: None,
        limits,
    }
}

/// Runs prompts of these sizes to their end; each answer takes a second, and has `output` tokens, which is said beforehand or is to be found out.
/// Says when each left.
fn run(sizes: &[u64], tokens_per_minute: u64, output: u64, is_said: bool) -> Vec<(u64, Duration)> {
    let limits = Limits {
        tokens_per_minute: Some(tokens_per_minute),
        requests_per_minute: None,
        window: WINDOW,
        ..Limits::default()
    };
    let rules = Rules { max_output_tokens: is_said.then_some(output), ..rules(limits) };
    let mut now = Mono(0);
    let mut store = MemoryStore::new(Ledger::new(limits));
    let server = ServerLimits::new(Pacing::Auto, limits, Vec::new(), [], &at(now));
    let mut machine = Machine::new(jobs(sizes), rules, OutputEstimate::default(), server, 1);
    let (mut left, mut inputs, mut wake) = (Vec::new(), vec![(now, Input::Start)], None);
    loop {
        // The earliest thing that happens, or the alarm.
        inputs.sort_by_key(|(when, _)| std::cmp::Reverse(*when));
        let input = match (inputs.last().map(|(when, _)| *when), wake) {
            (Some(when), alarm) if alarm.is_none_or(|alarm| when <= alarm) => inputs.pop(),
            (_, Some(alarm)) => Some((alarm, Input::Wake)),
            (_, None) => None,
        };
        let (when, input) = input.expect("it goes on until it ends");
        now = now.max(when);
        wake = None;
        for action in machine.handle(&at(now), input) {
            match action {
                Action::Begin(claims) => {
                    let begun = store.begin(&claims, &|| at(now)).expect("a store in memory");
                    inputs.push((now, Input::Begun(begun)));
                }
                Action::Send(job) => {
                    let size = sizes[job as usize];
                    left.push((u64::from(job), Mono(0).until(now)));
                    let usage = Some(Usage { input_tokens: size, output_tokens: output });
                    let answer =
                        Answer { text: "yes".to_owned(), usage, finish: FinishReason::Complete, odd: Vec::new() };
                    let heard = Input::Heard(job, Verdict::Answer(answer), Vec::new());
                    inputs.push((now.plus(Duration::from_secs(1)), heard));
                }
                Action::Write(job, content) => {
                    let written = Ok(ContentId::of(b"yes"));
                    inputs.push((now, Input::Written(job, content, written)));
                }
                Action::Finish(finished) => {
                    store.finish(&finished, &at(now)).expect("a store in memory");
                    inputs.push((now, Input::Recorded));
                }
                Action::WakeAt(alarm) => wake = Some(alarm),
                Action::Say(_) | Action::Learn(_) => {}
                Action::End(_) => return left,
            }
        }
    }
}

#[test]
fn a_large_prompt_is_not_overtaken_and_holds_the_small_ones_for_one_window_at_most() {
    // A large one between many small ones, which could always fill its room.
    let sizes: Vec<u64> = (0..200).map(|index| if index == 50 { 990 } else { 19 }).collect();
    let left = run(&sizes, 1_000, 1, true);
    let order: Vec<u64> = left.iter().map(|(job, _)| *job).collect();
    assert_eq!(order, (0..200).collect::<Vec<_>>());
    let (before, large, after) = (left[49].1, left[50].1, left[51].1);
    let window = WINDOW + Duration::from_secs(2);
    assert!(large <= before + window && after <= large + window, "{before:?} {large:?} {after:?}");
}

#[test]
fn an_estimate_of_the_output_wastes_no_window() {
    // Three prompts fit into a window, as soon as it is known how long their answers are; far less than is assumed.
    let left = run(&[15; 10], 200, 40, false);
    for (job, at) in left {
        let windows = u32::try_from(job / 3).expect("few");
        let expected = WINDOW * windows..WINDOW * windows + Duration::from_secs(10);
        assert!(expected.contains(&at), "{job} leaves at {at:?}, not in {expected:?}");
    }
}

/// When it asks to be woken.
fn alarm(actions: &[Action]) -> Option<Mono> {
    actions.iter().rev().find_map(|action| if let Action::WakeAt(at) = action { Some(*at) } else { None })
}

#[test]
fn a_deadline_wakes_a_run_that_waits_for_nothing_else() {
    let deadline = Mono(0).plus(Duration::from_secs(100));
    let limits = Limits { tokens_per_minute: None, requests_per_minute: None, ..Limits::default() };
    let rules = Rules { deadline: Some(deadline), concurrency: Concurrency::Fixed(1), ..rules(limits) };
    let mut store = MemoryStore::new(Ledger::new(limits));
    let server = ServerLimits::new(Pacing::Auto, limits, Vec::new(), [], &at(Mono(0)));
    let mut machine = Machine::new(jobs(&[5, 5]), rules, OutputEstimate::default(), server, 1);
    let actions = machine.handle(&at(Mono(0)), Input::Start);
    let claims =
        actions.into_iter().find_map(|action| if let Action::Begin(claims) = action { Some(claims) } else { None });
    let begun = store.begin(&claims.expect("one is begun"), &|| at(Mono(0))).expect("a store in memory");
    // The first is at the server, which never answers; the second waits for its place.
    let actions = machine.handle(&at(Mono(0)), Input::Begun(begun));
    assert_eq!(alarm(&actions), Some(deadline), "{actions:?}");
    let stops = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Say(Event::Stopping { .. })));
    let early = Mono(deadline.0 - 1);
    let actions = machine.handle(&at(early), Input::Wake);
    assert!(alarm(&actions) == Some(deadline) && !stops(&actions), "{actions:?}");
    let actions = machine.handle(&at(deadline), Input::Wake);
    assert!(stops(&actions) && !actions.iter().any(|action| matches!(action, Action::Begin(_))), "{actions:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// The rule: prompts leave in their order, so each waits at the most until the one before it fits.
    #[test]
    fn prompts_leave_in_their_order(sizes in prop::collection::vec(1u64..900, 1..60), limit in 901u64..3_000) {
        let left = run(&sizes, limit, 1, true);
        let order: Vec<u64> = left.iter().map(|(job, _)| *job).collect();
        prop_assert_eq!(order, (0..sizes.len() as u64).collect::<Vec<_>>());
        for pair in left.windows(2) {
            prop_assert!(pair[1].1 <= pair[0].1 + WINDOW + Duration::from_secs(2));
        }
    }
}
