//! A pretended API with a judgement of its own: it bills, refuses, fails and forgets, all from the seed.

use std::time::Duration;

use promptmill::admit::hint::{ServerHint, Source, Span, Unit};
use promptmill::model::{Class, FinishReason, RunStop, Usage};
use promptmill::send::answer::Answer;
use promptmill::send::classify::{Billed, Failure, Kind, Verdict};

use super::limiter::Limiter;

/// How the server behaves in one seed. The chances are of 1.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    pub(crate) transient: f64,
    /// Requests that do not reach it.
    pub(crate) unreached: f64,
    /// Of those, how many may ask for a wait of hours.
    pub(crate) long_waits: f64,
    pub(crate) unknown: f64,
    pub(crate) fatal: f64,
    /// Failures that are said to be of no use to try again, and refusals that would end a run if they were meant.
    pub(crate) hopeless: f64,
    pub(crate) stray: f64,
    pub(crate) malformed: f64,
    /// Answers without a usage.
    pub(crate) silent: f64,
    /// Its own limit, which the client is not told of, or is told of wrongly.
    pub(crate) limiter: Option<Limiter>,
    /// How many times our count of a prompt's tokens it counts.
    pub(crate) counts: f64,
    /// When it fails every request: from and to, in nanoseconds after the first arrival. In the second half nothing reaches it.
    pub(crate) outage: Option<(u64, u64)>,
    /// From this arrival on the quota is used up, until it is raised, or so many nanoseconds have passed.
    pub(crate) quota_after: Option<usize>,
    pub(crate) quota_lasts: u64,
    /// From this arrival on the day's limit is used up, for so many nanoseconds.
    pub(crate) day_after: Option<(usize, u64)>,
}

/// What the server makes of one arrival: what it says, and the tokens that it bills.
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) billed: u64,
    pub(crate) hints: Vec<ServerHint>,
    pub(crate) in_outage: bool,
    pub(crate) reached: bool,
}

#[derive(Debug)]
pub(crate) struct Server {
    manner: Manner,
    random: fastrand::Rng,
    quota_since: Option<u64>,
    day_since: Option<u64>,
    first: Option<u64>,
    /// Requests that it refused for its limit, and that it failed in its outage.
    pub(crate) refused: usize,
    pub(crate) in_outage: usize,
    pub(crate) arrivals: usize,
}

/// The one right answer to a prompt, as it was edited so many times.
pub(crate) fn right_answer(prompt: u64, version: u8) -> String {
    format!("the answer to {prompt}, version {version}\n")
}

/// The requests of its day's limit.
pub(crate) const OF_DAY: u64 = 10_000;

/// What a refusal says of a day's limit.
fn of_day(full_in: Duration) -> ServerHint {
    let day = Duration::from_secs(86_400);
    ServerHint {
        unit: Unit::Requests,
        group: None,
        size: Some(OF_DAY),
        left: Some(0),
        full_in: Some(full_in),
        window: Some(Span { least: day, most: day }),
        charged: Some(1),
        refused: true,
        source: Source::Refusal,
    }
}

impl Server {
    pub(crate) fn new(manner: Manner, seed: u64) -> Self {
        Self {
            manner,
            random: fastrand::Rng::with_seed(seed),
            quota_since: None,
            day_since: None,
            first: None,
            refused: 0,
            in_outage: 0,
            arrivals: 0,
        }
    }

    /// The share of its limit that was used, where it has one.
    pub(crate) fn utilisation(&self) -> Option<f64> {
        self.manner.limiter.as_ref().map(Limiter::utilisation)
    }

    pub(crate) fn raise_quota(&mut self) {
        self.manner.quota_after = None;
    }

    /// From now on it answers. A limit of its own it keeps, at its full size.
    pub(crate) fn calm(&mut self) {
        let mut limiter = self.manner.limiter.take();
        if let Some(limiter) = &mut limiter {
            limiter.slump = None;
        }
        self.manner = Manner { limiter, counts: self.manner.counts, silent: self.manner.silent, ..Manner::default() };
    }

    /// Its limit, and how many times our count of a prompt's tokens it counts.
    pub(crate) fn limiter(&self) -> Option<(&Limiter, f64)> {
        self.manner.limiter.as_ref().map(|limiter| (limiter, self.manner.counts))
    }

    /// A request arrives at `at`, with `charge` input and named output tokens; an answer to it would have `usage`.
    pub(crate) fn judge(&mut self, at: u64, answer: String, usage: Usage, charge: u64) -> Judgement {
        self.arrivals += 1;
        if self.manner.quota_after.is_some_and(|after| self.arrivals > after)
            && at > *self.quota_since.get_or_insert(at) + self.manner.quota_lasts
        {
            self.raise_quota();
        }
        if self.manner.quota_after.is_some_and(|after| self.arrivals > after) {
            return Judgement::failed(Kind::Run(RunStop::Quota), Class::Quota);
        }
        let first = *self.first.get_or_insert(at);
        if let Some((from, to)) = self.manner.outage
            && (first + from..first + to).contains(&at)
        {
            self.in_outage += 1;
            let class = if at < first + from / 2 + to / 2 { Class::Overloaded } else { Class::Connection };
            let reached = class != Class::Connection;
            return Judgement { in_outage: true, reached, ..Judgement::failed(Kind::Transient, class) };
        }
        if let Some(wait) = self.day_is_over(at) {
            let refused = Judgement::failed(Kind::Throttled, Class::RateLimited).wait(Some(wait));
            return Judgement { hints: vec![of_day(wait)], ..refused };
        }
        let mut hints = Vec::new();
        if let Some(limiter) = &mut self.manner.limiter {
            let amount = match limiter.unit {
                Unit::Requests | Unit::InFlight => 1.0,
                Unit::Tokens => (charge as f64 * self.manner.counts).round(),
            };
            let taken = limiter.take(at, amount);
            hints = limiter.hints(at, taken.is_err().then_some(amount));
            if let Err(refusal) = taken {
                self.refused += 1;
                return Judgement { hints, ..Judgement::failed(Kind::Throttled, Class::RateLimited) }
                    .wait(refusal.wait);
            }
        }
        self.work(usage).unwrap_or_else(|| {
            let finishes = [FinishReason::Complete, FinishReason::Truncated, FinishReason::Refused];
            let finish = *self.random.choice(&finishes).expect("not empty");
            let told = (self.random.f64() >= self.manner.silent).then_some(usage);
            let answer = Answer { text: answer, usage: told, model: None, finish, odd: Vec::new() };
            let verdict = Verdict::Answer(answer);
            Judgement { verdict, billed: usage.total(), hints, in_outage: false, reached: true }
        })
    }

    /// How long the day's limit is used up from now on; `None` where it is not.
    fn day_is_over(&mut self, at: u64) -> Option<Duration> {
        let (_, lasts) = self.manner.day_after.filter(|(after, _)| self.arrivals > *after)?;
        let until = *self.day_since.get_or_insert(at) + lasts;
        if at >= until {
            self.manner.day_after = None;
            return None;
        }
        Some(Duration::from_nanos(until - at))
    }

    /// What fails while it works; `None` where nothing does.
    fn work(&mut self, usage: Usage) -> Option<Judgement> {
        let manner = &self.manner;
        let mut chance = self.random.f64();
        let mut falls = |share: f64| {
            chance -= share;
            chance < 0.0
        };
        Some(if falls(manner.unreached) {
            Judgement { reached: false, ..Judgement::failed(Kind::Transient, Class::Connection) }
        } else if falls(manner.transient) {
            let most = if self.random.f64() < manner.long_waits { 7_200.0 } else { 8.0 };
            let wait = self.random.bool().then(|| Duration::from_secs_f64(self.random.f64() * most));
            Judgement::failed(Kind::Transient, Class::ServerError).wait(wait)
        } else if falls(manner.unknown) {
            let billed = if self.random.bool() { usage.total() } else { 0 };
            Judgement { billed, ..Judgement::failed(Kind::Unknown, Class::Timeout) }.costs(Billed::Maybe, None)
        } else if falls(manner.hopeless) {
            Judgement::failed(Kind::Last, Class::ServerError)
        } else if falls(manner.stray) {
            Judgement::failed(Kind::Run(RunStop::Key), Class::BadKey)
        } else if falls(manner.fatal) {
            Judgement::failed(Kind::Prompt, Class::BadRequest)
        } else if falls(manner.malformed) {
            let judgement = Judgement::failed(Kind::Transient, Class::BadResponse);
            Judgement { billed: usage.total(), ..judgement }.costs(Billed::Yes, Some(usage))
        } else {
            return None;
        })
    }
}

impl Judgement {
    /// A failure that costs nothing.
    fn failed(kind: Kind, class: Class) -> Self {
        let (message, wait, billed, usage) = ("the server says so".to_owned(), None, Billed::No, None);
        let verdict = Verdict::Failure(Failure { kind, class, message, wait, billed, usage });
        Self { verdict, billed: 0, hints: Vec::new(), in_outage: false, reached: true }
    }

    fn wait(mut self, asked: Option<Duration>) -> Self {
        if let Verdict::Failure(failure) = &mut self.verdict {
            failure.wait = asked;
        }
        self
    }

    fn costs(mut self, billed: Billed, usage: Option<Usage>) -> Self {
        if let Verdict::Failure(failure) = &mut self.verdict {
            (failure.billed, failure.usage) = (billed, usage);
        }
        self
    }
}
