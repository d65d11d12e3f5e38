//! What the requests share: options, limiter, counters and log, behind one lock that is never held while anything is waited for.

use std::collections::VecDeque;
use std::future::pending;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;

use super::api::error::ApiError;
use super::api::request::Ask;
use super::faults::fault::{self, FaultKind};
use super::faults::schedule::{self, Door};
use super::limits::bucket::Shortage;
use super::limits::limiter::{Dimension, Levels, Limiter, Refused};
use super::log::Logged;
use super::options::Options;
use crate::clock::{Clock, Mono, nanos};

/// Where the log goes besides memory: one line of JSON a request.
pub(super) type Sink = Box<dyn Write + Send>;

/// The state of one server.
pub(super) struct Shared {
    state: Mutex<State>,
    sink: Option<Mutex<Sink>>,
    /// Told of the first request and of new options: what is planned from then on is another.
    replanned: Notify,
    started: Mono,
    /// The wall clock at the start.
    epoch: DateTime<Utc>,
}

struct State {
    options: Arc<Options>,
    limiter: Limiter,
    /// When the first request arrived, since the server's start.
    first: Option<Duration>,
    /// The limiter has followed its changing limits up to then, since the first request.
    followed: Duration,
    /// Requests so far.
    number: u64,
    /// Answers so far, whatever their fate on the way.
    answers: u64,
    log: VecDeque<Logged>,
}

/// A request on its arrival: its number, its moment, and the options that hold for it.
pub(super) struct Arrival {
    /// From 1.
    pub(super) number: u64,
    /// Since the server's start.
    pub(super) at: Duration,
    /// Since the first request.
    pub(super) since_first: Duration,
    /// As they were at that moment.
    pub(super) options: Arc<Options>,
    /// The request's own random numbers.
    pub(super) rng: fastrand::Rng,
}

/// What happens to a request for an answer.
pub(super) struct Verdict {
    /// The fault that was drawn.
    pub(super) fault: Option<FaultKind>,
    /// The levels after it was admitted, or why it is turned away.
    pub(super) outcome: Result<Levels, ApiError>,
}

impl Shared {
    pub(super) fn new(options: Options, sink: Option<Sink>) -> Self {
        let now = Clock::default().now();
        let mut limiter = Limiter::default();
        limiter.set(&options.limits(Duration::ZERO), 0);
        let state = State {
            options: Arc::new(options),
            limiter,
            first: None,
            followed: Duration::ZERO,
            number: 0,
            answers: 0,
            log: VecDeque::new(),
        };
        Self {
            state: Mutex::new(state),
            sink: sink.map(Mutex::new),
            replanned: Notify::new(),
            started: now.mono,
            epoch: now.wall,
        }
    }

    /// Counts a request that arrives now.
    pub(super) fn arrive(&self) -> Arrival {
        let mut state = self.lock();
        state.number += 1;
        let options = Arc::clone(&state.options);
        let rng = fault::rng(options.seed, state.number);
        // The clock is read under the lock, so that the order of numbers is the order of time.
        let at = self.elapsed();
        if state.first.is_none() {
            self.replanned.notify_one();
        }
        let since_first = at.saturating_sub(*state.first.get_or_insert(at));
        Arrival { number: state.number, at, since_first, options, rng }
    }

    /// Decides on a request for an answer.
    pub(super) fn decide(&self, ask: &Ask, arrival: &mut Arrival) -> Verdict {
        self.lock().decide(ask, arrival)
    }

    /// Remembers a request.
    pub(super) fn remember(&self, logged: Logged) {
        if let Some(sink) = &self.sink {
            let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
            let written = serde_json::to_writer(&mut *sink, &logged).map_err(Into::into);
            if let Err(error) = written.and_then(|()| sink.write_all(b"\n")).and_then(|()| sink.flush()) {
                tracing::warn!("the stand-in cannot write its log: {error}");
            }
        }
        let mut state = self.lock();
        let most = state.options.remember;
        if most > 0 {
            state.log.push_back(logged);
        }
        while state.log.len() > most {
            state.log.pop_front();
        }
    }

    /// What is remembered, in the order of arrival.
    pub(super) fn log(&self) -> Vec<Logged> {
        let mut log: Vec<_> = self.lock().log.iter().cloned().collect();
        // Entries are made when the answer is ready, which may be in another order.
        log.sort_by_key(|logged| logged.number);
        log
    }

    pub(super) fn set_options(&self, options: Options) {
        let mut state = self.lock();
        let now = self.elapsed();
        let since_first = state.since_first(now);
        state.follow(since_first);
        state.limiter.set(&options.limits(since_first), nanos(now));
        state.options = Arc::new(options);
        self.replanned.notify_one();
    }

    /// Waits until connections are to be refused.
    pub(super) async fn until_closed(&self) {
        self.until_door(true).await;
    }

    /// Waits until connections are to be taken.
    pub(super) async fn until_open(&self) {
        self.until_door(false).await;
    }

    async fn until_door(&self, closed: bool) {
        loop {
            let (door, now) = {
                let state = self.lock();
                let now = state.since_first(self.elapsed());
                // Without a first request there is no time to count from.
                let outages = if state.first.is_some() { &*state.options.outages } else { &[] };
                (schedule::door(outages, now), now)
            };
            let next = match door {
                Door::Open(next) if closed => next,
                Door::Closed(end) if !closed => Some(end),
                Door::Open(_) | Door::Closed(_) => return,
            };
            let wait = async {
                match next {
                    Some(next) => tokio::time::sleep(next.saturating_sub(now)).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = wait => {}
                // A notice given since we looked is kept for us: we are the only one who waits for it.
                () = self.replanned.notified() => {}
            }
        }
    }

    /// The wall clock at `at`. It does not step.
    pub(super) fn wall(&self, at: Duration) -> DateTime<Utc> {
        TimeDelta::from_std(at).ok().and_then(|at| self.epoch.checked_add_signed(at)).unwrap_or(self.epoch)
    }

    fn elapsed(&self) -> Duration {
        self.started.until(Clock::default().mono())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is whole; a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How long before `now`, since the server's start, the first request came; zero where none did.
    fn since_first(&self, now: Duration) -> Duration {
        self.first.map_or(Duration::ZERO, |first| now.saturating_sub(first))
    }

    /// Applies each change of the limits at its own moment, so that what refills between two of them refills at the rate of then.
    fn follow(&mut self, since_first: Duration) {
        let first = self.first.unwrap_or_default();
        for change in schedule::changes(&self.options.slumps, self.followed, since_first) {
            self.limiter.set(&self.options.limits(change), nanos(first.saturating_add(change)));
        }
        self.followed = self.followed.max(since_first);
    }

    /// Model, quota, fault, limits: in this order.
    fn decide(&mut self, ask: &Ask, arrival: &mut Arrival) -> Verdict {
        let options = &arrival.options;
        if options.known_models.as_ref().is_some_and(|known| !known.contains(&ask.model)) {
            return Verdict { fault: None, outcome: Err(ApiError::no_such_model(&ask.model)) };
        }
        let dry = options.answers_before_quota.is_some_and(|most| self.answers >= most);
        if dry || options.quota_outages.iter().any(|span| span.contains(arrival.since_first)) {
            return Verdict { fault: None, outcome: Err(ApiError::quota(&options.quota_code)) };
        }
        let fault = fault::draw(&options.faults, &mut arrival.rng);
        match fault {
            Some(FaultKind::RateLimit) => {
                return Verdict { fault, outcome: Err(pretended_limit(ask, options)) };
            }
            Some(FaultKind::Quota) => {
                return Verdict { fault, outcome: Err(ApiError::quota(&options.quota_code)) };
            }
            Some(FaultKind::SlowDown) => return Verdict { fault, outcome: Err(ApiError::slow_down()) },
            _ => {}
        }
        self.follow(arrival.since_first);
        let outcome = self.limiter.take(ask.reservation(), nanos(arrival.at));
        let outcome = outcome.map_err(|refused| ApiError::rate_limited(&ask.model, &refused, options.on_429));
        // A request that the limits refuse does not live to see its fault.
        let fault = fault.filter(|_| outcome.is_ok());
        if outcome.is_ok() && fault.is_none_or(FaultKind::is_billed) {
            self.answers += 1;
        }
        Verdict { fault, outcome }
    }
}

/// A refusal that is drawn, in the words of a full request limit.
fn pretended_limit(ask: &Ask, options: &Options) -> ApiError {
    let limit = options.requests_per_minute.unwrap_or(500).max(1);
    let wait = Duration::from_nanos(nanos(options.window) / limit);
    let shortage = Shortage { limit, used: Some(limit), requested: 1, wait };
    ApiError::rate_limited(&ask.model, &Refused { dimension: Dimension::Requests, shortage }, options.on_429)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standin::faults::Fault;
    use crate::standin::faults::{Slump, Span};

    fn ask() -> Ask {
        Ask::chat(br#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}"#).expect("a request")
    }

    fn decide(shared: &Shared) -> Verdict {
        shared.decide(&ask(), &mut shared.arrive())
    }

    #[test]
    fn the_account_runs_dry_after_so_many_answers_and_a_fault_is_none() {
        let always = |kind| vec![Fault { kind, share: 1.0 }];
        let options = Options {
            answers_before_quota: Some(2),
            quota_code: "credit_balance_exhausted".into(),
            ..Options::default()
        };
        let shared = Shared::new(Options { faults: always(FaultKind::ServerError), ..options.clone() }, None);
        for _ in 0..5 {
            assert!(decide(&shared).outcome.is_ok());
        }
        shared.set_options(Options { faults: always(FaultKind::Reset), ..options.clone() });
        assert!(decide(&shared).outcome.is_ok());
        shared.set_options(options);
        assert!(decide(&shared).outcome.is_ok());
        assert_eq!(decide(&shared).outcome.expect_err("dry").code.as_deref(), Some("credit_balance_exhausted"));
    }

    #[test]
    fn a_drawn_refusal_takes_nothing_from_the_limits() {
        let options = Options { requests_per_minute: Some(1), ..Options::default() };
        let faults = vec![Fault { kind: FaultKind::RateLimit, share: 1.0 }];
        let shared = Shared::new(Options { faults, ..options.clone() }, None);
        let verdict = decide(&shared);
        assert_eq!(verdict.fault, Some(FaultKind::RateLimit));
        assert!(
            verdict
                .outcome
                .expect_err("refused")
                .message
                .contains("Limit 1, Used 1, Requested 1. Please try again in 1m0s.")
        );
        shared.set_options(options);
        assert!(decide(&shared).outcome.is_ok());
        assert!(decide(&shared).outcome.is_err());
    }

    /// Decides on a request that arrives so long after the first one, which comes at the server's start.
    fn decide_at(shared: &Shared, at: Duration) -> Result<Levels, ApiError> {
        let options = Arc::clone(&shared.lock().options);
        let mut arrival = Arrival { number: 1, at, since_first: at, options, rng: fault::rng(0, 1) };
        shared.decide(&ask(), &mut arrival).outcome
    }

    fn span(from: u64, lasts: u64) -> Span {
        Span { from: Duration::from_secs(from), lasts: Duration::from_secs(lasts) }
    }

    #[test]
    fn a_slump_lowers_the_limits_for_a_while_and_keeps_the_used_share() {
        let slumps = vec![Slump { span: span(6, 12), share: 0.5 }];
        let options = Options { requests_per_minute: Some(10), slumps, ..Options::default() };
        let shared = Shared::new(options.clone(), None);
        let at = Duration::from_secs;
        for _ in 0..10 {
            assert!(decide_at(&shared, at(0)).is_ok());
        }
        assert!(decide_at(&shared, at(0)).is_err());
        // One of ten is back at 6 s, which is half of one of five; the other half comes in 6 s.
        let refused = decide_at(&shared, at(6)).expect_err("a half");
        assert!(refused.message.contains("Limit 5, Used 5, Requested 1."), "{}", refused.message);
        let level = decide_at(&shared, at(12)).expect("a whole one").requests.expect("a limit");
        assert_eq!((level.limit, level.remaining), (5, 0));
        // Half of one of five comes until 18 s, and is one of ten.
        let level = decide_at(&shared, at(18)).expect("a whole one").requests.expect("a limit");
        assert_eq!((level.limit, level.remaining), (10, 0));
        // Nothing depends on a request being there when the limits change: 1 + 0.5 * 2 + 0.5 * 2 are back.
        let shared = Shared::new(options, None);
        for _ in 0..10 {
            assert!(decide_at(&shared, at(0)).is_ok());
        }
        let level = decide_at(&shared, at(18)).expect("three").requests.expect("a limit");
        assert_eq!((level.limit, level.remaining), (10, 2));
    }

    #[test]
    fn in_a_quota_outage_the_account_is_used_up_and_then_it_is_back() {
        let quota_outages = vec![span(5, 3)];
        let quota_code = "credit_balance_exhausted".to_owned();
        let shared = Shared::new(Options { quota_outages, quota_code, ..Options::default() }, None);
        for (at, dry) in [(0, false), (4, false), (5, true), (7, true), (8, false)] {
            let outcome = decide_at(&shared, Duration::from_secs(at));
            let code = outcome.err().and_then(|error| error.code);
            assert_eq!(code.as_deref(), dry.then_some("credit_balance_exhausted"), "at {at} s");
        }
    }

    #[test]
    fn options_that_change_in_a_slump_are_lowered_too() {
        let slumps = vec![Slump { span: span(0, 3_600), share: 0.5 }];
        let shared =
            Shared::new(Options { requests_per_minute: Some(10), slumps: slumps.clone(), ..Options::default() }, None);
        let limit = |shared: &Shared| decide(shared).outcome.map(|levels| levels.requests.map(|level| level.limit));
        assert_eq!(limit(&shared), Ok(Some(5)));
        shared.set_options(Options { requests_per_minute: Some(20), slumps, ..Options::default() });
        assert_eq!(limit(&shared), Ok(Some(10)));
    }

    #[test]
    fn the_log_forgets_the_oldest_and_is_in_order() {
        let shared = Shared::new(Options { remember: 2, ..Options::default() }, None);
        for number in [1, 3, 2] {
            shared.remember(Logged {
                number,
                arrived: Duration::ZERO,
                path: "/".into(),
                status: 200,
                fault: None,
                prompt: None,
                usage: None,
                wait: None,
                authorization_present: false,
            });
        }
        assert_eq!(shared.log().iter().map(|logged| logged.number).collect::<Vec<_>>(), [2, 3]);
    }
}
