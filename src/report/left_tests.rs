//! What is told of the time left, against series of which the end is known.

use super::left::TimeLeft;
use super::summary::{Progress, Tally};
use super::waits::{Binds, WaitFor};
use crate::admit::hint::{LearnedLimit, Source, Unit};
use crate::clock::Mono;
use crate::model::{LimitName, Limits};
use std::time::Duration;

/// A run as it is seen: what had ended, and what binds and until when, by the second.
struct Run<'a> {
    jobs: usize,
    in_flight: usize,
    ended: &'a dyn Fn(f64) -> f64,
    binds: &'a dyn Fn(f64) -> Option<(WaitFor, Option<f64>)>,
}

fn mono(second: f64) -> Mono {
    Mono(0).plus(Duration::from_secs_f64(second))
}

impl Run<'_> {
    /// What is told at each tenth of a second, with the truth.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few prompts, and few seconds")]
    fn told(&self) -> Vec<(f64, Option<f64>, f64)> {
        let ended = |second: f64| ((self.ended)(second).floor() as usize).min(self.jobs);
        let end =
            (1..100_000).map(|tick| f64::from(tick) / 10.0).find(|second| ended(*second) == self.jobs).expect("an end");
        let mut left = TimeLeft::new(mono(0.0));
        let mut told = Vec::new();
        for tick in 0..(end * 10.0).round() as u32 {
            let second = f64::from(tick) / 10.0;
            let tally = Tally { done: ended(second), ..Tally::default() };
            let binds = (self.binds)(second).map(|(what, until)| Binds { what, until: until.map(mono) });
            let progress =
                Progress { jobs: self.jobs, in_flight: self.in_flight, tally: &tally, binds: binds.as_ref() };
            let says = left.tell(&progress, &Limits::default(), mono(second));
            told.push((second, says.map(|left| left.as_secs_f64()), end - second));
        }
        told
    }

    /// After a tenth of the run what is told is right within a fifth and a second and a half: it is worked out once a second.
    #[track_caller]
    fn is_right(&self) {
        let told = self.told();
        let end = told[0].2;
        for (second, says, truth) in told {
            let is_near = says.is_some_and(|says| (says - truth).abs() <= 0.2 * truth + 1.5);
            assert!(is_near || second < end / 10.0, "at {second} of {end} s: {says:?}, but {truth} s are left");
        }
    }
}

fn limit(size: f64, window: u64, source: Source) -> WaitFor {
    let window = Duration::from_secs(window);
    let learned = "2026-11-22T11:01:59Z".parse().expect("a date");
    WaitFor::ServerLimit(LearnedLimit {
        unit: Unit::Requests,
        group: None,
        size,
        window,
        burst: window,
        source,
        learned,
    })
}

#[test]
fn a_steady_rate() {
    for (jobs, rate) in [(500, 50.0), (500, 1.3), (60, 1.0), (20, 0.1), (100_000, 2_000.0)] {
        Run { jobs, in_flight: 8, ended: &|second| second * rate, binds: &|_| None }.is_right();
    }
}

#[test]
fn answers_that_come_together() {
    for (jobs, at_once, takes) in [(100, 8_u8, 3.0), (30, 2, 1.5), (400, 4, 0.7), (50, 1, 20.0)] {
        let ended = |second: f64| f64::from(at_once) * (second / takes).floor();
        let binds = |_| Some((WaitFor::Answers, None));
        Run { jobs, in_flight: usize::from(at_once), ended: &ended, binds: &binds }.is_right();
    }
    // They begin together, and come one by one.
    let ended = |second: f64| (second - 3.0).max(0.0) * 20.0 / 3.0;
    Run { jobs: 400, in_flight: 20, ended: &ended, binds: &|_| Some((WaitFor::Answers, None)) }.is_right();
}

#[test]
fn a_burst_and_then_the_pace_of_a_limit() {
    let ended = |second: f64| (second * 200.0).min(100.0) + (second - 0.5).max(0.0) * 10.0;
    // It is known, it is estimated (and too low at first), and nobody knows of it.
    Run {
        jobs: 500,
        in_flight: 3,
        ended: &ended,
        binds: &|second| (second > 0.5).then(|| (limit(100.0, 10, Source::Headers), Some(second + 0.1))),
    }
    .is_right();
    Run {
        jobs: 500,
        in_flight: 3,
        ended: &ended,
        binds: &|second| {
            let size = if second < 5.0 { 70.0 } else { 100.0 };
            (second > 0.5).then(|| (limit(size, 10, Source::Estimate), Some(second + 0.1)))
        },
    }
    .is_right();
    Run { jobs: 500, in_flight: 3, ended: &ended, binds: &|_| None }.is_right();
    // Where the burst takes its time, what is known of the limit outweighs it.
    let ended = |second: f64| (second * 20.0).min(60.0 + second);
    Run {
        jobs: 100,
        in_flight: 20,
        ended: &ended,
        binds: &|second| (second > 3.1).then(|| (limit(60.0, 60, Source::Headers), Some(second + 0.5))),
    }
    .is_right();
}

#[test]
fn a_limit_that_binds_is_surer_than_what_came_in_a_moment() {
    // A burst, a gap, and then one a second.
    let ended = |second: f64| (second * 20.0).min(60.0) + (second - 4.5).max(0.0);
    let binds = |second: f64| (second > 3.1).then(|| (limit(60.0, 60, Source::Headers), Some(second + 0.5)));
    Run { jobs: 100, in_flight: 1, ended: &ended, binds: &binds }.is_right();
    // What was sent before it bound is still being answered.
    let ended = |second: f64| ((second - 2.0).max(0.0) * 44.0).min(132.0) + (second - 5.0).max(0.0) * 10.0;
    let binds = |second: f64| (second > 3.0).then(|| (limit(100.0, 10, Source::Estimate), Some(second + 0.1)));
    let run = Run { jobs: 400, in_flight: 20, ended: &ended, binds: &binds };
    for (second, says, truth) in run.told().into_iter().filter(|(second, ..)| *second > 4.5) {
        let says = says.expect("it is known");
        assert!((says - truth).abs() <= 0.25 * truth + 1.5, "at {second} s: {says}, but {truth} s are left");
    }
    // Where a neighbour has half of it, what comes is the surer number.
    let binds = |second: f64| Some((limit(120.0, 60, Source::Headers), Some(second + 0.5)));
    Run { jobs: 100, in_flight: 1, ended: &|second| second, binds: &binds }.is_right();
}

/// 100 at the beginning of each minute, within half a second.
fn minutes(second: f64) -> f64 {
    (second / 60.0).floor() * 100.0 + (second % 60.0 * 200.0).min(100.0)
}

#[test]
fn bursts_with_a_minute_between_them_count_as_whole_windows() {
    let begins = |second: f64| ((second / 60.0).floor() + 1.0) * 60.0;
    for limit in [limit(100.0, 60, Source::Refusal), limit(100.0, 60, Source::Estimate)] {
        let binds = |second: f64| (second % 60.0 >= 0.5).then(|| (limit.clone(), Some(begins(second))));
        for jobs in [101, 200, 450, 1_000] {
            Run { jobs, in_flight: 0, ended: &minutes, binds: &binds }.is_right();
        }
    }
    // The server says how long to wait, and no more: it is known once two windows were seen.
    let binds = |second: f64| (second % 60.0 >= 0.5).then(|| (WaitFor::Server, Some(begins(second))));
    let run = Run { jobs: 1_000, in_flight: 0, ended: &minutes, binds: &binds };
    for (second, says, truth) in run.told().into_iter().filter(|(second, ..)| *second > 62.0) {
        let says = says.expect("it is known");
        assert!((says - truth).abs() <= 0.2 * truth + 2.0, "at {second} s: {says}, but {truth} s are left");
    }
}

#[test]
fn a_pause_that_the_server_asks_for_is_added() {
    let ended = |second: f64| second.min(10.0) * 10.0 + (second - 30.0).max(0.0) * 10.0;
    let binds = |second: f64| (10.0..30.0).contains(&second).then_some((WaitFor::Server, Some(30.0)));
    let run = Run { jobs: 400, in_flight: 0, ended: &ended, binds: &binds };
    for (second, says, truth) in run.told().into_iter().filter(|(second, ..)| (10.0..30.0).contains(second)) {
        let says = says.expect("it is known");
        assert!((says - truth).abs() <= 2.5, "at {second} s: {says}, but {truth} s are left");
    }
}

#[test]
fn a_rate_that_halves_is_followed() {
    let ended = |second: f64| second.min(30.0) * 10.0 + (second - 30.0).max(0.0) * 5.0;
    let run = Run { jobs: 600, in_flight: 8, ended: &ended, binds: &|_| None };
    // Half of the time again, and it is forgotten.
    for (second, says, truth) in run.told().into_iter().filter(|(second, ..)| *second > 46.0) {
        let says = says.expect("it is known");
        assert!((says - truth).abs() <= 0.2 * truth + 1.5, "at {second} s: {says}, but {truth} s are left");
    }
}

#[test]
fn through_what_nobody_can_foresee_nothing_is_told() {
    let daily = WaitFor::Limit(LimitName::TokensPerDay);
    for (what, until) in [
        (WaitFor::Outage, Some(6.0)),
        (WaitFor::Account, Some(300.0)),
        (WaitFor::FirstAnswers, None),
        (WaitFor::Disk, Some(8.0)),
        (WaitFor::Reader, None),
        (daily, Some(7_200.0)),
        (limit(1e6, 86_400, Source::Headers), Some(7_200.0)),
    ] {
        let binds = |second: f64| (second >= 5.0).then(|| (what.clone(), until));
        let run = Run { jobs: 100, in_flight: 1, ended: &|second| second * 10.0, binds: &binds };
        let told = run.told();
        assert!(told[49].1.is_some() && told[50].1.is_none(), "{what:?}");
    }
    // Nor where nothing has ended yet.
    let run = Run { jobs: 9, in_flight: 9, ended: &|second| if second < 5.0 { 0.0 } else { 9.0 }, binds: &|_| None };
    assert!(run.told().iter().all(|(_, says, _)| says.is_none()));
}
