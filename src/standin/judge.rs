//! What happens to a request for an answer, by its number and its moment. Nothing here reads a clock or waits.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::api::error::ApiError;
use super::api::request::Ask;
use super::faults::at;
use super::faults::fault::{self, FaultKind};
use super::faults::schedule;
use super::limits::bucket::Shortage;
use super::limits::crowd::{Crowd, Full};
use super::limits::limiter::{Dimension, Levels, Limiter, Refused};
use super::options::Options;
use crate::clock::nanos;

/// A request on its arrival: its number, its moment, and the options that hold for it.
pub(super) struct Arrival {
    /// From 1.
    pub(super) number: u64,
    /// Since the server's start.
    pub(super) at: Duration,
    /// Since the first request.
    pub(super) since_first: Duration,
    /// The wall clock then.
    pub(super) wall: DateTime<Utc>,
    /// As they were at that moment.
    pub(super) options: Arc<Options>,
    /// How long it takes, unless it is turned away.
    pub(super) latency: Duration,
    /// The request's own random numbers.
    pub(super) rng: fastrand::Rng,
}

/// What happens to a request for an answer.
pub(super) struct Verdict {
    /// The fault that was drawn.
    pub(super) fault: Option<FaultKind>,
    /// The levels after it was admitted, or why it is turned away.
    pub(super) outcome: Result<Levels, ApiError>,
    /// Whether it is worked on.
    pub(super) works: bool,
}

/// The parts of a window in which neighbours take their share.
const STEPS: u32 = 60;

/// Limits, room and account as the requests so far have left them.
pub(super) struct Judge {
    limiter: Limiter,
    crowd: Crowd,
    /// The limiter has followed its changing limits up to then, since the first request.
    followed: Duration,
    /// Answers so far, whatever their fate on the way.
    answers: u64,
}

impl Judge {
    pub(super) fn new(options: &Options) -> Self {
        let mut limiter = Limiter::default();
        limiter.set(&options.limits(Duration::ZERO), 0);
        Self { limiter, crowd: Crowd::default(), followed: Duration::ZERO, answers: 0 }
    }

    /// What holds from `now`, since the server's start, on, in place of `old`.
    pub(super) fn set(&mut self, old: &Options, new: &Options, now: Duration, since_first: Duration) {
        self.follow(old, now, since_first);
        self.limiter.set(&new.limits(since_first), nanos(now));
    }

    /// A request that was worked on is so no more.
    pub(super) fn leave(&mut self) {
        self.crowd.leave();
    }

    /// Applies each change of the limits at its own moment, so that what refills between two of them refills at the rate of then, and what
    /// neighbours take meanwhile.
    fn follow(&mut self, options: &Options, now: Duration, since_first: Duration) {
        let first = now.saturating_sub(since_first);
        let changes =
            schedule::changes(&options.slumps, self.followed, since_first).into_iter().map(|change| (change, None));
        // What was taken two windows ago is back in any case.
        let recent = self.followed.max(since_first.saturating_sub(2 * options.window));
        let steps = schedule::steps(&options.neighbours, options.window / STEPS, recent, since_first);
        let mut events: Vec<_> = changes.chain(steps.into_iter().map(|(at, step)| (at, Some(step)))).collect();
        events.sort_unstable();
        for (moment, step) in events {
            let now = nanos(first.saturating_add(moment));
            match step {
                None => self.limiter.set(&options.limits(moment), now),
                Some(step) => self.limiter.lose(schedule::taken(&options.neighbours, moment), (step, STEPS), now),
            }
        }
        self.followed = self.followed.max(since_first);
    }

    /// Model, quota, fault, room, limits: in this order.
    pub(super) fn decide(&mut self, ask: &Ask, arrival: &mut Arrival) -> Verdict {
        let options = Arc::clone(&arrival.options);
        let refused = |fault, error| Verdict { fault, outcome: Err(error), works: false };
        if options.known_models.as_ref().is_some_and(|known| !known.contains(&ask.model)) {
            return refused(None, ApiError::no_such_model(&ask.model));
        }
        let dry = options.answers_before_quota.is_some_and(|most| self.answers >= most);
        if dry || options.quota_outages.iter().any(|span| span.contains(arrival.since_first)) {
            return refused(None, ApiError::quota(&options.quota_code));
        }
        let drawn = fault::draw(&options.faults, &mut arrival.rng);
        let fault = at::planned(&options.faults_at, arrival.number).or(drawn);
        match fault {
            Some(FaultKind::RateLimit) => return refused(fault, pretended_limit(ask, &options)),
            Some(FaultKind::MisstatedLimit) => return refused(fault, ApiError::misstated_limit(&ask.model)),
            Some(FaultKind::Quota) => return refused(fault, ApiError::quota(&options.quota_code)),
            Some(FaultKind::SlowDown) => return refused(fault, ApiError::slow_down()),
            _ => {}
        }
        // A request that is refused from here on does not live to see its fault.
        match self.crowd.room(options.parallel, options.slots) {
            Ok(()) => {}
            Err(Full::Parallel(most)) => {
                let wait = options.told_wait.unwrap_or(options.window);
                return refused(None, ApiError::too_many(most, wait, arrival.wall, options.on_429));
            }
            Err(Full::Slots) => {
                arrival.latency = Duration::ZERO;
                return refused(None, ApiError::overloaded());
            }
        }
        self.follow(&options, arrival.at, arrival.since_first);
        let levels = match self.limiter.take(ask.reservation(), nanos(arrival.at)) {
            Ok(levels) => levels,
            Err(by) => return refused(None, rate_limited(ask, by, &options)),
        };
        self.crowd.enter();
        let fault = self.wait_in_line(arrival).or(fault);
        if fault.is_none_or(FaultKind::is_billed) {
            self.answers += 1;
        }
        Verdict { fault, outcome: Ok(levels), works: true }
    }

    /// Behind a gateway a request takes as long as those before it and itself, and that is too long where the gateway waits no longer.
    fn wait_in_line(&mut self, arrival: &mut Arrival) -> Option<FaultKind> {
        let patience = arrival.options.gateway?;
        let takes = self.crowd.queue(nanos(arrival.at), arrival.latency);
        arrival.latency = takes.min(patience);
        (takes > patience).then_some(FaultKind::GatewayTimeout)
    }
}

/// A refusal by the limiter, with the wait that is told.
fn rate_limited(ask: &Ask, by: Refused, options: &Options) -> ApiError {
    let told = options.told_wait.filter(|_| by.shortage.used.is_some());
    let shortage = Shortage { wait: told.unwrap_or(by.shortage.wait), ..by.shortage };
    ApiError::rate_limited(&ask.model, &Refused { shortage, ..by }, options.on_429)
}

/// A refusal that is drawn, in the words of a full request limit.
fn pretended_limit(ask: &Ask, options: &Options) -> ApiError {
    let limit = options.requests_per_minute.unwrap_or(500).max(1);
    let wait = Duration::from_nanos(nanos(options.window) / limit);
    let shortage = Shortage { limit, used: Some(limit), requested: 1, wait };
    rate_limited(ask, Refused { dimension: Dimension::Requests, shortage }, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standin::faults::Fault;
    use crate::standin::faults::{Slump, Span};

    use crate::standin::limits::Refill;

    fn ask() -> Ask {
        Ask::chat(br#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}"#).expect("a request")
    }

    /// A server whose first request comes at its start.
    struct Trial {
        judge: Judge,
        options: Arc<Options>,
        number: u64,
    }

    impl Trial {
        fn new(options: Options) -> Self {
            Self { judge: Judge::new(&options), options: Arc::new(options), number: 0 }
        }

        fn set(&mut self, options: Options) {
            self.judge.set(&self.options, &options, Duration::ZERO, Duration::ZERO);
            self.options = Arc::new(options);
        }

        /// What happens to a request so long after the first, and how long it takes.
        fn judged(&mut self, at: Duration) -> (Verdict, Duration) {
            self.number += 1;
            let (number, options) = (self.number, Arc::clone(&self.options));
            let (latency, rng) = (options.latency, fault::rng(options.seed, number));
            let mut arrival =
                Arrival { number, at, since_first: at, wall: DateTime::UNIX_EPOCH, options, latency, rng };
            (self.judge.decide(&ask(), &mut arrival), arrival.latency)
        }

        fn at(&mut self, at: Duration) -> Result<Levels, ApiError> {
            self.judged(at).0.outcome
        }

        fn decide(&mut self) -> Verdict {
            self.judged(Duration::ZERO).0
        }
    }

    #[test]
    fn the_account_runs_dry_after_so_many_answers_and_a_fault_is_none() {
        let always = |kind| vec![Fault { kind, share: 1.0 }];
        let options = Options {
            answers_before_quota: Some(2),
            quota_code: "credit_balance_exhausted".into(),
            ..Options::default()
        };
        let mut trial = Trial::new(Options { faults: always(FaultKind::ServerError), ..options.clone() });
        for _ in 0..5 {
            assert!(trial.decide().outcome.is_ok());
        }
        trial.set(Options { faults: always(FaultKind::Reset), ..options.clone() });
        assert!(trial.decide().outcome.is_ok());
        trial.set(options);
        assert!(trial.decide().outcome.is_ok());
        assert_eq!(trial.decide().outcome.expect_err("dry").code.as_deref(), Some("credit_balance_exhausted"));
    }

    #[test]
    fn a_drawn_refusal_takes_nothing_from_the_limits() {
        let options = Options { requests_per_minute: Some(1), ..Options::default() };
        let faults = vec![Fault { kind: FaultKind::RateLimit, share: 1.0 }];
        let mut trial = Trial::new(Options { faults, ..options.clone() });
        let verdict = trial.decide();
        assert_eq!(verdict.fault, Some(FaultKind::RateLimit));
        assert!(
            verdict
                .outcome
                .expect_err("refused")
                .message
                .contains("Limit 1, Used 1, Requested 1. Please try again in 1m0s.")
        );
        trial.set(options);
        assert!(trial.decide().outcome.is_ok());
        assert!(trial.decide().outcome.is_err());
    }

    #[test]
    fn a_full_house_refuses_and_takes_nothing_from_the_limits() {
        let options = Options { requests_per_minute: Some(4), parallel: Some(2), ..Options::default() };
        let mut trial = Trial::new(options.clone());
        assert!((0..2).all(|_| trial.decide().works));
        let refused = trial.decide();
        let code = refused.outcome.expect_err("two at a time").code;
        assert_eq!((refused.works, code.as_deref()), (false, Some("429")));
        trial.judge.leave();
        let level = trial.decide().outcome.expect("room").requests.expect("a limit");
        assert_eq!(level.remaining, 1);

        trial.set(Options { parallel: None, slots: Some(2), latency: Duration::from_secs(1), ..options });
        let (verdict, latency) = trial.judged(Duration::ZERO);
        assert_eq!((verdict.outcome.expect_err("two slots").status, latency), (503, Duration::ZERO));
        trial.judge.leave();
        let verdict = trial.decide();
        assert!(verdict.works && verdict.outcome.is_ok());
    }

    #[test]
    fn what_the_limits_refuse_takes_no_room() {
        let mut trial = Trial::new(Options { requests_per_minute: Some(1), parallel: Some(2), ..Options::default() });
        assert!(trial.decide().works);
        assert!((0..3).all(|_| !trial.decide().works));
        trial.set(Options { parallel: Some(2), ..Options::default() });
        assert!(trial.decide().works);
    }

    #[test]
    fn a_gateway_gives_up_what_waits_too_long_and_it_is_worked_on_all_the_same() {
        let (gateway, latency) = (Some(Duration::from_secs(2)), Duration::from_millis(700));
        let mut trial = Trial::new(Options { gateway, latency, ..Options::default() });
        let mut took = |millis| {
            let (verdict, latency) = trial.judged(Duration::from_millis(millis));
            assert!(verdict.works && verdict.outcome.is_ok());
            (latency.as_millis(), verdict.fault)
        };
        let timeout = Some(FaultKind::GatewayTimeout);
        assert_eq!([0, 0, 0, 0].map(&mut took), [(700, None), (1_400, None), (2_000, timeout), (2_000, timeout)]);
        // All four are worked on until 2.8 s.
        assert_eq!([1_500, 2_000].map(&mut took), [(2_000, None), (2_000, timeout)]);
        assert_eq!(took(10_000), (700, None));
    }

    #[test]
    fn faults_come_at_given_requests_and_tell_the_wait_that_is_set() {
        let faults_at = vec!["rate-limit:1-2".parse().expect("a fault"), "overloaded:3".parse().expect("a fault")];
        let told_wait = Some(Duration::from_secs(3));
        let mut trial = Trial::new(Options { faults_at, told_wait, ..Options::default() });
        for _ in 0..2 {
            let error = trial.decide().outcome.expect_err("a planned refusal");
            assert_eq!((error.status, error.retry_after), (429, told_wait));
            assert!(error.message.contains("Please try again in 3s."), "{}", error.message);
        }
        assert_eq!([trial.decide().fault, trial.decide().fault], [Some(FaultKind::Overloaded), None]);
    }

    fn span(from: u64, lasts: u64) -> Span {
        Span { from: Duration::from_secs(from), lasts: Duration::from_secs(lasts) }
    }

    #[test]
    fn a_slump_lowers_the_limits_for_a_while_and_keeps_the_used_share() {
        let slumps = vec![Slump { span: span(6, 12), share: 0.5 }];
        let options = Options { requests_per_minute: Some(10), slumps, ..Options::default() };
        let mut trial = Trial::new(options.clone());
        let at = Duration::from_secs;
        for _ in 0..10 {
            assert!(trial.at(at(0)).is_ok());
        }
        assert!(trial.at(at(0)).is_err());
        // One of ten is back at 6 s, which is half of one of five; the other half comes in 6 s.
        let refused = trial.at(at(6)).expect_err("a half");
        assert!(refused.message.contains("Limit 5, Used 5, Requested 1."), "{}", refused.message);
        let level = trial.at(at(12)).expect("a whole one").requests.expect("a limit");
        assert_eq!((level.limit, level.remaining), (5, 0));
        // Half of one of five comes until 18 s, and is one of ten.
        let level = trial.at(at(18)).expect("a whole one").requests.expect("a limit");
        assert_eq!((level.limit, level.remaining), (10, 0));
        // Nothing depends on a request being there when the limits change: 1 + 0.5 * 2 + 0.5 * 2 are back.
        let mut trial = Trial::new(options);
        for _ in 0..10 {
            assert!(trial.at(at(0)).is_ok());
        }
        let level = trial.at(at(18)).expect("three").requests.expect("a limit");
        assert_eq!((level.limit, level.remaining), (10, 2));
    }

    #[test]
    fn a_limit_may_be_raised_and_counted_windows_keep_their_count() {
        let slumps = vec![Slump { span: span(60, 60), share: 2.0 }];
        let options = Options { requests_per_minute: Some(10), slumps, refill: Refill::Fixed, ..Options::default() };
        let mut trial = Trial::new(options);
        let mut admitted = |at| (0..30).filter(|_| trial.at(Duration::from_secs(at)).is_ok()).count();
        assert_eq!([0, 60, 119, 120].map(&mut admitted), [10, 20, 0, 10]);
    }

    #[test]
    fn a_neighbour_takes_a_share_for_a_while_and_the_limit_is_told_as_it_was() {
        let neighbours = vec![Slump { span: span(10, 60), share: 0.5 }];
        let options = Options { requests_per_minute: Some(120), neighbours, ..Options::default() };
        let mut trial = Trial::new(options.clone());
        for _ in 0..120 {
            assert!(trial.at(Duration::ZERO).is_ok());
        }
        // Two come back in a second; from 10 s on one of them is the neighbour's.
        let mut remaining = |at| {
            let level = trial.at(Duration::from_secs(at)).expect("there is room").requests.expect("a limit");
            assert_eq!(level.limit, 120);
            level.remaining
        };
        assert_eq!([9, 19, 29, 69, 79].map(&mut remaining), [17, 26, 35, 74, 93]);
        // However long nobody asked: what he took long ago is back.
        let mut late = Trial::new(options);
        assert!(late.at(Duration::ZERO).is_ok());
        let level = late.at(Duration::from_secs(86_400)).expect("there is room").requests.expect("a limit");
        assert_eq!(level.remaining, 119);
    }

    #[test]
    fn in_a_quota_outage_the_account_is_used_up_and_then_it_is_back() {
        let quota_outages = vec![span(5, 3)];
        let quota_code = "credit_balance_exhausted".to_owned();
        let mut trial = Trial::new(Options { quota_outages, quota_code, ..Options::default() });
        for (at, dry) in [(0, false), (4, false), (5, true), (7, true), (8, false)] {
            let outcome = trial.at(Duration::from_secs(at));
            let code = outcome.err().and_then(|error| error.code);
            assert_eq!(code.as_deref(), dry.then_some("credit_balance_exhausted"), "at {at} s");
        }
    }

    #[test]
    fn options_that_change_in_a_slump_are_lowered_too() {
        let slumps = vec![Slump { span: span(0, 3_600), share: 0.5 }];
        let mut trial =
            Trial::new(Options { requests_per_minute: Some(10), slumps: slumps.clone(), ..Options::default() });
        let limit = |trial: &mut Trial| trial.decide().outcome.map(|levels| levels.requests.map(|level| level.limit));
        assert_eq!(limit(&mut trial), Ok(Some(5)));
        trial.set(Options { requests_per_minute: Some(20), slumps, ..Options::default() });
        assert_eq!(limit(&mut trial), Ok(Some(10)));
    }
}
