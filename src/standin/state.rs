//! What the requests share: options, limiter, counters and log, behind one lock that is never held while anything is waited for.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::bucket::{Dimension, Levels, Limiter, Refused, Shortage};
use super::error::ApiError;
use super::fault::{self, FaultKind};
use super::log::Logged;
use super::options::Options;
use super::request::Ask;
use crate::clock::{Clock, Mono};

/// Where the log goes besides memory: one line of JSON a request.
pub(super) type Sink = Box<dyn Write + Send>;

/// The state of one server.
pub(super) struct Shared {
    state: Mutex<State>,
    sink: Option<Mutex<Sink>>,
    started: Mono,
    /// Seconds since 1970 at the start.
    epoch: i64,
}

struct State {
    options: Arc<Options>,
    limiter: Limiter,
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
        let now = Clock.now();
        let mut limiter = Limiter::default();
        limiter.set(options.requests_per_minute, options.tokens_per_minute, options.window, 0);
        let state = State { options: Arc::new(options), limiter, number: 0, answers: 0, log: VecDeque::new() };
        Self { state: Mutex::new(state), sink: sink.map(Mutex::new), started: now.mono, epoch: now.wall.timestamp() }
    }

    /// Counts a request that arrives now.
    pub(super) fn arrive(&self) -> Arrival {
        let mut state = self.lock();
        state.number += 1;
        let options = Arc::clone(&state.options);
        let rng = fault::rng(options.seed, state.number);
        // The clock is read under the lock, so that the order of numbers is the order of time.
        Arrival { number: state.number, at: self.elapsed(), options, rng }
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
        let now = crate::clock::nanos(self.elapsed());
        let mut state = self.lock();
        state.limiter.set(options.requests_per_minute, options.tokens_per_minute, options.window, now);
        state.options = Arc::new(options);
    }

    /// The wall clock at `at`, in seconds since 1970. It does not step.
    pub(super) fn created(&self, at: Duration) -> i64 {
        self.epoch.saturating_add_unsigned(at.as_secs())
    }

    fn elapsed(&self) -> Duration {
        self.started.until(Clock.mono())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is whole; a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Model, quota, fault, limits: in this order.
    fn decide(&mut self, ask: &Ask, arrival: &mut Arrival) -> Verdict {
        let options = &arrival.options;
        if options.known_models.as_ref().is_some_and(|known| !known.contains(&ask.model)) {
            return Verdict { fault: None, outcome: Err(ApiError::no_such_model(&ask.model)) };
        }
        if options.answers_before_quota.is_some_and(|most| self.answers >= most) {
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
            _ => {}
        }
        let outcome = self.limiter.take(ask.reservation(), crate::clock::nanos(arrival.at));
        let outcome = outcome.map_err(|refused| ApiError::rate_limited(&ask.model, &refused));
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
    let wait = Duration::from_nanos(crate::clock::nanos(options.window) / limit);
    let shortage = Shortage { limit, used: Some(limit), requested: 1, wait };
    ApiError::rate_limited(&ask.model, &Refused { dimension: Dimension::Requests, shortage })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standin::fault::Fault;

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
                authorization_present: false,
            });
        }
        assert_eq!(shared.log().iter().map(|logged| logged.number).collect::<Vec<_>>(), [2, 3]);
    }
}
