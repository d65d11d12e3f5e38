//! What the requests share: options, what is judged by, counters and log, behind one lock that is never held while anything is waited for.

use std::collections::VecDeque;
use std::future::pending;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;

use super::api::request::Ask;
use super::faults::fault;
use super::faults::schedule::{self, Door};
use super::judge::{Arrival, Judge, Verdict};
use super::log::Logged;
use super::options::Options;
use crate::clock::{Clock, Mono};

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
    judge: Judge,
    /// When the first request arrived, since the server's start.
    first: Option<Duration>,
    /// Requests so far.
    number: u64,
    log: VecDeque<Logged>,
}

impl Shared {
    pub(super) fn new(options: Options, sink: Option<Sink>) -> Self {
        let now = Clock::default().now();
        let judge = Judge::new(&options);
        let state = State { options: Arc::new(options), judge, first: None, number: 0, log: VecDeque::new() };
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
        // Of a copy, so that faults do not depend on the jitter.
        let latency = options.latency + options.jitter.mul_f64(rng.clone().f64());
        Arrival { number: state.number, at, since_first, wall: self.wall(at), options, latency, rng }
    }

    /// Decides on a request for an answer.
    pub(super) fn decide(&self, ask: &Ask, arrival: &mut Arrival) -> Verdict {
        self.lock().judge.decide(ask, arrival)
    }

    /// A request that was worked on is so no more.
    pub(super) fn leave(&self) {
        self.lock().judge.leave();
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
        let old = std::mem::replace(&mut state.options, Arc::new(options));
        let new = Arc::clone(&state.options);
        state.judge.set(&old, &new, now, since_first);
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
    fn wall(&self, at: Duration) -> DateTime<Utc> {
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
}

#[cfg(test)]
mod tests {
    use super::*;

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
