//! Whole runs of the machine against a server that answers in time: the order in which prompts leave, how much work is held, and how a run ends.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::{Action, Concurrency, Input, Machine, OutputEstimate, Rules};
use crate::admit::ledger::{Amount, Ledger};
use crate::admit::server::{Charge, Pacing, ServerLimits, Ticket};
use crate::clock::{Day, Mono, Now};
use crate::model::{
    Class, Content, ContentId, Doom, Drawn, Ending, Fingerprint, FinishReason, Key, Limits, OnDayLimit, OnQuota,
    Ordinal, Place, Portion, Signal, Spot, Supply, Usage, Work,
};
use crate::record::memory::MemoryStore;
use crate::record::{Admissions as _, Begun, Claim, Reservation};
use crate::report::event::Event;
use crate::report::waits::WaitFor;
use crate::send::answer::Answer;
use crate::send::classify::{Billed, Failure, Kind, Verdict};

const WINDOW: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

pub(super) fn at(mono: Mono) -> Now {
    let start: DateTime<Utc> = "2026-11-22T09:00:00Z".parse().expect("a date");
    let wall = start + TimeDelta::nanoseconds(i64::try_from(mono.0).expect("a test's span"));
    Now { mono, wall, day: Day::of(wall, &Utc) }
}

pub(super) fn work(ordinal: u32, input_tokens: u64) -> Work {
    Work {
        ordinal: Ordinal(ordinal),
        key: Key::from(u64::from(ordinal) + 1),
        spot: Spot(u64::from(ordinal) + 1),
        fingerprint: Fingerprint([0; 16]),
        input_tokens,
        portion: 0,
        doomed: None,
        place: Place::default(),
    }
}

pub(super) fn doomed(ordinal: u32) -> Work {
    let doom = Doom { class: Class::NotText, message: "it is no text".to_owned() };
    Work { doomed: Some(Box::new(doom)), ..work(ordinal, 0) }
}

/// Work that is all there is.
pub(super) fn all(work: Vec<Work>) -> Drawn {
    let supply = Supply { prompts: work.len(), up_to_date: 0, portions: Some(1), left: false };
    Drawn { work, portions: Vec::new(), supply }
}

pub(super) fn rules() -> Rules {
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
        limits: no_limits(),
    }
}

fn no_limits() -> Limits {
    Limits { tokens_per_minute: None, requests_per_minute: None, tokens_per_day: None, ..Limits::default() }
}

/// What a store gives for a request of so many tokens.
pub(super) fn reservation(tokens: u64) -> Reservation {
    let Work { key, fingerprint, place, .. } = work(0, 0);
    let before = place.before;
    let claim = Claim { key, fingerprint, attempt: 1, input_tokens: 0, tokens, least: tokens, before };
    let begun = MemoryStore::new(Ledger::new(no_limits())).begin(&[claim], &|| at(Mono(0)));
    begun.expect("a store in memory").admitted.remove(0)
}

/// The request of something that left at this moment.
pub(super) fn ticket(sent: u64) -> Ticket {
    let limits = no_limits();
    let mut server = ServerLimits::new(Pacing::Auto, limits, Vec::new(), [], &at(Mono(0)));
    server.take(Charge::request(10, Some(1)), 1, Mono(sent))
}

pub(super) fn answer(input_tokens: u64, output_tokens: u64) -> Verdict {
    let usage = Some(Usage { input_tokens, output_tokens, ..Usage::default() });
    Verdict::Answer(Answer {
        text: "yes".to_owned(),
        usage,
        model: None,
        finish: FinishReason::Complete,
        odd: Vec::new(),
    })
}

pub(super) fn failure(kind: Kind, class: Class) -> Failure {
    Failure { kind, class, message: "no".to_owned(), wait: None, billed: Billed::No, usage: None }
}

fn machine(rules: Rules) -> Machine {
    let server = ServerLimits::new(Pacing::Auto, rules.limits, Vec::new(), [], &at(Mono(0)));
    Machine::new(rules, OutputEstimate::default(), server, 1)
}

/// The world of one run: a store in memory, a disk that writes at once, and a server that does what it is told to.
struct World {
    machine: Machine,
    store: MemoryStore,
    now: Mono,
    due: BTreeMap<(Mono, u64), Input>,
    order: u64,
    alarm: Option<Mono>,
    events: Vec<Event>,
    /// Outputs on their way to the disk.
    writing: usize,
}

impl World {
    fn new(rules: Rules) -> Self {
        let store = MemoryStore::new(Ledger::new(rules.limits));
        let (now, due) = (Mono(0), BTreeMap::from([((Mono(0), 0), Input::Start)]));
        let machine = machine(rules);
        Self { machine, store, now, due, order: 0, alarm: None, events: Vec::new(), writing: 0 }
    }

    fn later(&mut self, delay: Duration, input: Input) {
        self.order += 1;
        self.due.insert((self.now.plus(delay), self.order), input);
    }

    /// Gives the machine what happens next, and carries out what it says; returns what is left to its caller: draws and requests, and the end.
    fn step(&mut self) -> Vec<Action> {
        let next = self.due.keys().next().copied();
        let input = match (next, self.alarm) {
            (Some(key), alarm) if alarm.is_none_or(|alarm| key.0 <= alarm) => {
                self.now = key.0.max(self.now);
                self.due.remove(&key).expect("it is due")
            }
            (_, Some(alarm)) => {
                self.now = alarm.max(self.now);
                Input::Wake
            }
            (_, None) => panic!("nothing is under way, and it has not ended"),
        };
        self.alarm = None;
        if matches!(input, Input::Written(..)) {
            self.writing -= 1;
        }
        let mut rest = Vec::new();
        for action in self.machine.handle(&at(self.now), input) {
            let now = self.now;
            match action {
                Action::Begin(claims) => {
                    let begun = self.store.begin(&claims, &|| at(now)).expect("a store in memory");
                    self.later(Duration::ZERO, Input::Begun(begun));
                }
                Action::Write(ordinal, content) => {
                    self.writing += 1;
                    let written = Ok(ContentId::of(b"yes"));
                    self.later(Duration::ZERO, Input::Written(ordinal, content, written));
                }
                Action::Finish(finished) => {
                    self.store.finish(&finished, &at(now)).expect("a store in memory");
                    self.later(Duration::ZERO, Input::Recorded);
                }
                Action::WakeAt(alarm) => self.alarm = Some(alarm),
                Action::Say(event) => self.events.push(event),
                Action::Learn(_) => {}
                other => rest.push(other),
            }
        }
        rest
    }

    /// Runs to the end; `draw` gives work, and `serve` says after how long a request is answered, and what comes back.
    fn run(
        &mut self,
        mut draw: impl FnMut(usize) -> Drawn,
        mut serve: impl FnMut(Ordinal, Mono) -> (Duration, Verdict),
    ) -> Ending {
        loop {
            for action in self.step() {
                match action {
                    Action::Draw(most) => self.later(Duration::ZERO, Input::Drawn(draw(most))),
                    Action::Send(ordinal) => {
                        let (delay, verdict) = serve(ordinal, self.now);
                        self.later(delay, Input::Heard(ordinal, verdict, Vec::new()));
                    }
                    Action::End(ending) => return ending,
                    other => panic!("{other:?} is carried out by itself"),
                }
            }
        }
    }

    fn count(&self, what: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| what(event)).count()
    }
}

/// Runs prompts of these sizes to their end; each answer takes a second, and has `output` tokens, which is said beforehand or is to be found out.
/// Says when each left.
fn run(sizes: &[u64], tokens_per_minute: u64, output: u64, is_said: bool) -> Vec<(u64, Duration)> {
    let limits = Limits { tokens_per_minute: Some(tokens_per_minute), window: WINDOW, ..no_limits() };
    let mut world = World::new(Rules { max_output_tokens: is_said.then_some(output), limits, ..rules() });
    let mut left = Vec::new();
    let mut prompts = (0..).zip(sizes).map(|(ordinal, size)| work(ordinal, *size)).collect();
    let ending = world.run(
        |_| all(std::mem::take(&mut prompts)),
        |ordinal, now| {
            left.push((u64::from(ordinal.0), Mono(0).until(now)));
            (SECOND, answer(sizes[ordinal.0 as usize], output))
        },
    );
    assert_eq!(ending, Ending::Complete);
    left
}

#[test]
fn a_large_prompt_is_not_overtaken_and_holds_the_small_ones_for_one_window_at_most() {
    // A large one between many small ones, which could always fill its room.
    let sizes: Vec<u64> = (0..200).map(|index| if index == 50 { 990 } else { 19 }).collect();
    let left = run(&sizes, 1_000, 1, true);
    let order: Vec<u64> = left.iter().map(|(ordinal, _)| *ordinal).collect();
    assert_eq!(order, (0..200).collect::<Vec<_>>());
    let (before, large, after) = (left[49].1, left[50].1, left[51].1);
    let window = WINDOW + SECOND * 2;
    assert!(large <= before + window && after <= large + window, "{before:?} {large:?} {after:?}");
}

#[test]
fn an_estimate_of_the_output_wastes_no_window() {
    // Three prompts fit into a window, as soon as it is known how long their answers are; far less than is assumed.
    let left = run(&[15; 10], 200, 40, false);
    for (ordinal, at) in left {
        let windows = u32::try_from(ordinal / 3).expect("few");
        let expected = WINDOW * windows..WINDOW * windows + SECOND * 10;
        assert!(expected.contains(&at), "{ordinal} leaves at {at:?}, not in {expected:?}");
    }
}

/// When it asks to be woken.
fn alarm(actions: &[Action]) -> Option<Mono> {
    actions.iter().rev().find_map(|action| if let Action::WakeAt(at) = action { Some(*at) } else { None })
}

#[test]
fn a_deadline_wakes_a_run_that_waits_for_nothing_else() {
    let deadline = Mono(0).plus(SECOND * 100);
    let rules = Rules { deadline: Some(deadline), concurrency: Concurrency::Fixed(1), ..rules() };
    let mut store = MemoryStore::new(Ledger::new(rules.limits));
    let mut machine = machine(rules);
    let actions = machine.handle(&at(Mono(0)), Input::Start);
    assert!(actions.iter().any(|action| matches!(action, Action::Draw(_))), "{actions:?}");
    let actions = machine.handle(&at(Mono(0)), Input::Drawn(all(vec![work(0, 5), work(1, 5)])));
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

#[test]
fn what_is_admitted_at_the_deadline_or_later_is_given_back() {
    let deadline = Mono(0).plus(SECOND * 100);
    for (late, sent) in [(false, true), (true, false)] {
        let rules = Rules { deadline: Some(deadline), ..rules() };
        let mut store = MemoryStore::new(Ledger::new(rules.limits));
        let mut machine = machine(rules);
        let before = at(Mono(deadline.0 - 1));
        let _ = machine.handle(&before, Input::Start);
        let actions = machine.handle(&before, Input::Drawn(all(vec![work(0, 5)])));
        let claims =
            actions.into_iter().find_map(|action| if let Action::Begin(claims) = action { Some(claims) } else { None });
        let begun = store.begin(&claims.expect("it is begun"), &|| before).expect("a store in memory");
        // The store took its time, and the alarm of the deadline has not been heard.
        let now = if late { at(deadline) } else { before };
        let actions = machine.handle(&now, Input::Begun(begun));
        assert_eq!(actions.iter().any(|action| matches!(action, Action::Send(_))), sent, "{actions:?}");
        let used = actions
            .iter()
            .find_map(|action| if let Action::Finish(all) = action { all[0].settled.as_ref() } else { None });
        assert_eq!(used.map(|settled| settled.used), late.then(Amount::default), "{actions:?}");
    }
}

/// Runs so many prompts, drawn in chunks, against a server that answers each in the same time; says how much work was held at the most.
fn most_held(prompts: u32, concurrency: usize) -> usize {
    // A window is short beside it, so that the ledger has little to look through.
    let limits = Limits { window: SECOND, ..no_limits() };
    let mut world = World::new(Rules { concurrency: Concurrency::Fixed(concurrency), limits, ..rules() });
    let (mut drawn, mut most) = (0, 0);
    loop {
        for action in world.step() {
            match action {
                Action::Draw(chunk) => {
                    let from = u32::try_from(drawn).expect("few");
                    let to = prompts.min(from + u32::try_from(chunk).expect("few"));
                    drawn = to as usize;
                    let supply =
                        Supply { prompts: prompts as usize, up_to_date: 0, portions: None, left: to < prompts };
                    let work = (from..to).map(|ordinal| work(ordinal, 1)).collect();
                    world.later(Duration::ZERO, Input::Drawn(Drawn { work, portions: Vec::new(), supply }));
                }
                Action::Send(ordinal) => world.later(SECOND * 10, Input::Heard(ordinal, answer(1, 1), Vec::new())),
                Action::End(ending) => {
                    assert_eq!((ending, drawn), (Ending::Complete, prompts as usize));
                    assert_eq!(world.machine.progress().tally.done, prompts as usize);
                    return most;
                }
                other => panic!("{other:?} is carried out by itself"),
            }
        }
        // What is done is told, and nothing else is to be known of it.
        most = most.max(drawn - world.machine.progress().tally.done);
    }
}

#[test]
fn the_work_that_is_held_follows_what_is_in_flight_however_much_there_is() {
    for (prompts, concurrency, bound) in [(10_000, 1, 2_000), (100_000, 500, 3_000), (20_000, 2_000, 10_000)] {
        let most = most_held(prompts, concurrency);
        assert!(most <= bound, "{most} pieces of work at {concurrency} in flight");
    }
}

#[test]
fn a_prompt_that_is_not_sent_is_not_in_flight_and_few_of_them_are_written_at_a_time() {
    const DOOMED: usize = 1_000;
    let mut world = World::new(rules());
    let mut prompts: Vec<Work> = (0..u32::try_from(DOOMED).expect("few")).map(doomed).collect();
    prompts.push(work(5_000, 1));
    let (mut most_written, mut most_in_flight) = (0, 0);
    loop {
        for action in world.step() {
            match action {
                Action::Draw(_) => world.later(Duration::ZERO, Input::Drawn(all(std::mem::take(&mut prompts)))),
                Action::Send(ordinal) => world.later(SECOND, Input::Heard(ordinal, answer(1, 1), Vec::new())),
                Action::End(ending) => {
                    assert_eq!(ending, Ending::Complete);
                    let tally = world.machine.progress().tally.clone();
                    assert_eq!((tally.done, tally.failed, tally.requests), (1, DOOMED, 1));
                    assert_eq!(world.count(|event| matches!(event, Event::Failed { .. })), DOOMED);
                    assert!(most_written <= 100 && most_written > 1, "{most_written} at a time");
                    assert_eq!(most_in_flight, 1);
                    return;
                }
                other => panic!("{other:?} is carried out by itself"),
            }
        }
        most_written = most_written.max(world.writing);
        most_in_flight = most_in_flight.max(world.machine.progress().in_flight);
    }
}

#[test]
fn a_portion_waits_for_the_end_of_the_one_before_it_over_all_chunks() {
    let mut world = World::new(rules());
    // The first portion is in two chunks, of which the second brings the second portion; its own prompts that are doomed are no part of it.
    let portion = |number, prompts: usize| Portion { number, prompts, input_tokens: prompts as u64 };
    let piece = |ordinal, portion| Work { portion, ..work(ordinal, 1) };
    let supply = |left: bool| Supply { prompts: 6, up_to_date: 0, portions: (!left).then_some(2), left };
    let mut chunks = vec![
        Drawn {
            work: vec![piece(3, 0), piece(4, 1), piece(5, 1)],
            portions: vec![portion(1, 2)],
            supply: supply(false),
        },
        Drawn { work: vec![], portions: vec![], supply: supply(true) },
        Drawn { work: vec![piece(0, 0), doomed(1), piece(2, 0)], portions: vec![portion(0, 3)], supply: supply(true) },
    ];
    let mut left = Vec::new();
    let ending = world.run(
        |_| chunks.pop().expect("no more is drawn than there is"),
        |ordinal, now| {
            left.push((ordinal.0, Mono(0).until(now).as_secs()));
            (SECOND * (ordinal.0 + 1), answer(1, 1))
        },
    );
    assert_eq!(ending, Ending::Complete);
    // The slowest of the first portion takes four seconds.
    assert_eq!(left, [(0, 0), (2, 0), (3, 0), (4, 4), (5, 4)]);
    let told: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Batch { batch, batches, prompts, .. } => Some((*batch, *batches, *prompts)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(1, None, 3), (2, Some(2), 2)]);
}

#[test]
fn a_last_failure_waits_for_what_is_still_drawn() {
    // The first prompt fails for the last time while the next is being read: whose fault it was is told by the next one's answer.
    let mut world = World::new(rules());
    let supply = |left: bool| Supply { prompts: 2, up_to_date: 0, portions: None, left };
    let (mut ended, mut waited_for) = (None, None);
    let mut reads = 0;
    while ended.is_none() {
        for action in world.step() {
            match action {
                Action::Draw(_) => {
                    reads += 1;
                    let (work, delay) =
                        if reads == 1 { (work(0, 1), Duration::ZERO) } else { (work(1, 1), SECOND * 9) };
                    let drawn = Drawn { work: vec![work], portions: vec![], supply: supply(reads == 1) };
                    world.later(delay, Input::Drawn(drawn));
                }
                Action::Send(Ordinal(0)) => {
                    let verdict = Verdict::Failure(failure(Kind::Transient, Class::ServerError));
                    world.later(SECOND, Input::Heard(Ordinal(0), verdict, Vec::new()));
                }
                Action::Send(ordinal) => world.later(SECOND, Input::Heard(ordinal, answer(1, 1), Vec::new())),
                Action::End(ending) => ended = Some(ending),
                other => panic!("{other:?} is carried out by itself"),
            }
        }
        let is_early = world.now < Mono(0).plus(SECOND * 9);
        if is_early {
            waited_for = world.machine.progress().binds.map(|binds| binds.what.clone());
        }
        assert!(!is_early || world.count(|event| matches!(event, Event::Failed { .. })) == 0);
    }
    assert_eq!(waited_for, Some(WaitFor::Prompts));
    assert_eq!(ended, Some(Ending::Complete));
    assert_eq!(world.count(|event| matches!(event, Event::Failed { .. })), 1);
}

#[test]
fn an_input_that_cannot_be_read_on_ends_the_run_when_what_is_in_flight_has_ended() {
    let mut world = World::new(rules());
    let mut reads = 0;
    let ending = loop {
        let mut end = None;
        for action in world.step() {
            match action {
                Action::Draw(_) => {
                    reads += 1;
                    let supply = Supply { prompts: 9, up_to_date: 0, portions: None, left: true };
                    let drawn = Drawn { work: vec![work(reads, 1)], portions: vec![], supply };
                    let input = if reads == 1 { Input::Drawn(drawn) } else { Input::Undrawn("line 2".to_owned()) };
                    world.later(Duration::ZERO, input);
                }
                Action::Send(ordinal) => world.later(SECOND, Input::Heard(ordinal, answer(1, 1), Vec::new())),
                Action::End(ending) => end = Some(ending),
                other => panic!("{other:?} is carried out by itself"),
            }
        }
        if let Some(ending) = end {
            break ending;
        }
    };
    assert_eq!((ending, reads), (Ending::Source("line 2".to_owned()), 2));
    assert_eq!((world.machine.progress().tally.done, world.machine.progress().jobs), (1, 9));
}

#[test]
fn a_wait_for_one_prompt_is_no_end_while_more_is_being_read() {
    let wait = Some(SECOND * 3_600);
    let mut world = World::new(Rules { attempts: 2, ..rules() });
    let supply = |left: bool| Supply { prompts: 2, up_to_date: 0, portions: None, left };
    let (mut reads, mut sent, mut ended) = (0, Vec::new(), None);
    while ended.is_none() {
        for action in world.step() {
            match action {
                Action::Draw(_) => {
                    reads += 1;
                    let (work, delay) =
                        if reads == 1 { (work(0, 1), Duration::ZERO) } else { (work(1, 1), SECOND * 9) };
                    world.later(
                        delay,
                        Input::Drawn(Drawn { work: vec![work], portions: vec![], supply: supply(reads == 1) }),
                    );
                }
                Action::Send(ordinal) => {
                    sent.push(ordinal.0);
                    let failure = Failure { wait, ..failure(Kind::Transient, Class::ServerError) };
                    let verdict = if ordinal.0 == 0 { Verdict::Failure(failure) } else { answer(1, 1) };
                    world.later(SECOND, Input::Heard(ordinal, verdict, Vec::new()));
                }
                Action::End(ending) => ended = Some(ending),
                other => panic!("{other:?} is carried out by itself"),
            }
        }
    }
    // Nothing else is left then, and that is longer than is borne.
    assert!(sent == [0, 1] && matches!(ended, Some(Ending::Outage { .. })), "{sent:?}, {ended:?}");
}

/// A machine with one request at the server and another one's claim at the store, and what that store answers.
fn between(rules: &Rules) -> (Machine, Begun) {
    let mut store = MemoryStore::new(Ledger::new(rules.limits));
    let mut machine = machine(Rules { concurrency: Concurrency::Fixed(2), ..rules.clone() });
    let mut ask = |actions: Vec<Action>| {
        let claims = actions.into_iter().find_map(|action| match action {
            Action::Begin(claims) => Some(claims),
            _ => None,
        });
        store.begin(&claims.expect("more is begun"), &|| at(Mono(0))).expect("a store in memory")
    };
    let _ = machine.handle(&at(Mono(0)), Input::Start);
    let begun = ask(machine.handle(&at(Mono(0)), Input::Drawn(all(vec![work(0, 1), work(1, 1), work(2, 1)]))));
    let _ = machine.handle(&at(Mono(0)), Input::Begun(begun));
    let _ = machine.handle(&at(Mono(1)), Input::Heard(Ordinal(0), answer(1, 1), Vec::new()));
    let written = Input::Written(Ordinal(0), Content::Answer("yes".to_owned()), Ok(ContentId::of(b"yes")));
    let begun = ask(machine.handle(&at(Mono(1)), written));
    (machine, begun)
}

#[test]
fn what_was_admitted_leaves_unless_a_pause_or_the_deadline_came_meanwhile() {
    let sends = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Send(Ordinal(2))));
    let (mut machine, begun) = between(&rules());
    assert!(sends(&machine.handle(&at(Mono(2)), Input::Begun(begun))));
    let (mut machine, begun) = between(&rules());
    let throttled = Verdict::Failure(failure(Kind::Throttled, Class::RateLimited));
    let _ = machine.handle(&at(Mono(2)), Input::Heard(Ordinal(1), throttled, Vec::new()));
    assert!(!sends(&machine.handle(&at(Mono(2)), Input::Begun(begun))));
    let deadline = Mono(0).plus(SECOND);
    let (mut machine, begun) = between(&Rules { deadline: Some(deadline), ..rules() });
    assert!(!sends(&machine.handle(&at(deadline), Input::Begun(begun))));
    assert_eq!(machine.progress().in_flight, 1);
}

#[test]
fn a_portion_that_is_all_there_is_needs_no_word() {
    let mut world = World::new(rules());
    let portions = vec![Portion { number: 0, prompts: 1, input_tokens: 1 }];
    let mut drawn = Some(Drawn { portions, ..all(vec![work(0, 1)]) });
    let ending = world.run(|_| drawn.take().expect("it is drawn once"), |_, _| (SECOND, answer(1, 1)));
    assert_eq!((ending, world.count(|event| matches!(event, Event::Batch { .. }))), (Ending::Complete, 0));
}

#[test]
fn an_interrupt_does_not_wait_for_what_is_being_read() {
    let mut machine = machine(rules());
    let ends = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::End(_)));
    assert!(!ends(&machine.handle(&at(Mono(0)), Input::Start)));
    assert!(ends(&machine.handle(&at(Mono(1)), Input::Interrupt(Signal::Interrupt))));
    assert!(machine.handle(&at(Mono(2)), Input::Drawn(all(vec![work(0, 1)]))).is_empty());
}

#[test]
fn nothing_to_do_ends_at_once() {
    let mut world = World::new(rules());
    let ending = world.run(|_| all(Vec::new()), |_, _| unreachable!("nothing is sent"));
    assert_eq!(ending, Ending::Complete);
}

#[test]
fn what_the_store_says_never_fits_fails_alone() {
    let limits = Limits { tokens_per_minute: Some(100), window: WINDOW, ..no_limits() };
    let mut world = World::new(Rules { limits, ..rules() });
    let mut prompts = vec![work(0, 10), work(1, 1_000), work(2, 10)];
    let ending = world.run(|_| all(std::mem::take(&mut prompts)), |_, _| (SECOND, answer(10, 1)));
    let failed =
        |event: &Event| matches!(event, Event::Failed { key, class: Class::TooLarge, .. } if key.as_str() == "2");
    assert_eq!((ending, world.count(failed)), (Ending::Complete, 1));
    assert_eq!(world.machine.progress().tally.done, 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// The rule: prompts leave in their order, so each waits at the most until the one before it fits.
    #[test]
    fn prompts_leave_in_their_order(sizes in prop::collection::vec(1u64..900, 1..60), limit in 901u64..3_000) {
        let left = run(&sizes, limit, 1, true);
        let order: Vec<u64> = left.iter().map(|(ordinal, _)| *ordinal).collect();
        prop_assert_eq!(order, (0..sizes.len() as u64).collect::<Vec<_>>());
        for pair in left.windows(2) {
            prop_assert!(pair[1].1 <= pair[0].1 + WINDOW + SECOND * 2);
        }
    }
}
