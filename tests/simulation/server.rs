//! A pretended API with a judgement of its own: it bills, refuses, fails and forgets, all from the seed.

use std::ops::RangeInclusive;
use std::time::Duration;

use promptmill::admit::hint::{ServerHint, Source, Span, Unit};
use promptmill::model::{Class, FinishReason, RunStop, Usage};
use promptmill::send::answer::Answer;
use promptmill::send::classify::{Billed, Failure, Kind, Verdict};

use super::limiter::Limiter;
use super::setting::MS;

/// How soon a server turns away what it does not work on.
const AT_ONCE: u64 = 1_000_000;

/// Something that turns requests away, whatever the limit says.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) stops: Stops,
    pub(crate) says: Says,
}

/// Whom a gate turns away.
#[derive(Clone, Debug)]
pub(crate) enum Stops {
    /// Arrivals by their number; the first is 1.
    Arrivals(RangeInclusive<usize>),
    /// Such a share of all, at random.
    Share(f64),
    /// Who comes while so many are at work.
    Above(usize),
    All,
}

/// What a gate says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Says {
    /// A 429, perhaps with a wait, and nothing of any limit.
    Refused(Option<Duration>),
    /// A 429 for too many at a time, which may name how many may be.
    TooMany(Option<u64>),
    /// A 503 that says that too many are at work.
    Crowded,
    /// A 503.
    Overloaded(Billed),
    /// A 500.
    Failed,
}

/// What works on one request after the other, behind a gateway that does not wait for ever.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    /// Nanoseconds that it works on each, and after which the gateway answers in its place.
    pub(crate) service: u64,
    pub(crate) patience: u64,
    /// Whether it drops what the gateway has given up.
    pub(crate) drops: bool,
    pub(crate) free_at: u64,
}

impl Upstream {
    /// A request comes at `at`: how long until something is heard of it, and whether it is the answer.
    fn work(&mut self, at: u64) -> (u64, bool) {
        let (begins, gives_up) = (self.free_at.max(at), at + self.patience);
        let ends = begins + self.service;
        if ends <= gives_up {
            self.free_at = ends;
            return (ends - at, true);
        }
        if !self.drops {
            self.free_at = ends;
        } else if begins < gives_up {
            self.free_at = gives_up;
        }
        (self.patience, false)
    }
}

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
    /// The first that stops a request speaks.
    pub(crate) gates: Vec<Gate>,
    pub(crate) upstream: Option<Upstream>,
}

/// What the server makes of one arrival: what it says, and the tokens that it bills.
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) billed: u64,
    pub(crate) hints: Vec<ServerHint>,
    pub(crate) in_outage: bool,
    pub(crate) reached: bool,
    /// In nanoseconds, how long it takes to say so, where that is the server's own affair.
    pub(crate) takes: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Server {
    manner: Manner,
    random: fastrand::Rng,
    quota_since: Option<u64>,
    day_since: Option<u64>,
    first: Option<u64>,
    /// When each that is at work is done.
    at_work: Vec<u64>,
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

/// What a refusal says of a bound on the requests at a time.
fn at_a_time(size: Option<u64>) -> ServerHint {
    ServerHint {
        unit: Unit::InFlight,
        group: None,
        size,
        left: None,
        full_in: None,
        window: None,
        charged: None,
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
            at_work: Vec::new(),
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

    /// Another server takes its place, which knows nothing of what was.
    pub(crate) fn replace(&mut self, manner: Manner) {
        *self = Self::new(manner, self.random.u64(..));
    }

    /// It works until then on what it has let in.
    pub(crate) fn works(&mut self, until: u64) {
        self.at_work.push(until);
    }

    /// In nanoseconds from `at` on, how long it takes at the least to answer requests of these `charges`, each of which is `work` and goes the `way` to
    /// it and back: for one who knows all of its rules, and sends each at the first moment at which it is let in.
    pub(crate) fn least(&self, at: u64, charges: &[u64], work: u64, way: u64) -> u64 {
        let mut server = self.clone();
        let mut last = at;
        for charge in charges {
            let Some(limiter) = &mut server.manner.limiter else { break };
            let amount = match limiter.unit {
                Unit::Requests | Unit::InFlight => 1.0,
                Unit::Tokens => (*charge as f64 * server.manner.counts).round(),
            };
            let (mut step, longest) = (MS, MS.max((limiter.window_seconds * MS as f64 * 2.0) as u64));
            loop {
                match limiter.fits(last, amount) {
                    None => break,
                    Some(true) => {
                        let _ = limiter.take(last, amount);
                        break;
                    }
                    Some(false) => {
                        last += step;
                        step = (step * 2).min(longest);
                    }
                }
            }
        }
        let through = last - at;
        let requests = charges.len() as u64;
        let slots = self.manner.gates.iter().find_map(|gate| match gate.stops {
            Stops::Above(slots) => Some(requests.div_ceil(slots as u64) * (work + way)),
            _ => None,
        });
        let upstream = self.manner.upstream.as_ref().map(|upstream| requests * upstream.service);
        through.max(slots.unwrap_or(0)).max(upstream.unwrap_or(0)) + if slots.is_none() { work + way } else { way }
    }

    /// From now on it answers. A limit of its own it keeps, at its full size, and counts what it lets in.
    pub(crate) fn calm(&mut self) {
        let mut limiter = self.manner.limiter.take();
        if let Some(limiter) = &mut limiter {
            limiter.shares = Vec::new();
            limiter.counts_refused = false;
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
        if let Some(judgement) = self.turns_away(at) {
            return judgement;
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
        let takes = match self.manner.upstream.as_mut().map(|upstream| upstream.work(at)) {
            Some((takes, false)) => {
                let judgement = Judgement::failed(Kind::Transient, Class::Timeout).costs(Billed::Maybe, None);
                return Judgement { takes: Some(takes), ..judgement };
            }
            Some((takes, true)) => Some(takes),
            None => None,
        };
        self.work(usage).unwrap_or_else(|| {
            let finishes = [FinishReason::Complete, FinishReason::Truncated, FinishReason::Refused];
            let finish = *self.random.choice(&finishes).expect("not empty");
            let told = (self.random.f64() >= self.manner.silent).then_some(usage);
            let answer = Answer { text: answer, usage: told, model: None, finish, odd: Vec::new() };
            let verdict = Verdict::Answer(answer);
            Judgement { verdict, billed: usage.total(), hints, in_outage: false, reached: true, takes }
        })
    }

    /// What the first gate says that stops it.
    fn turns_away(&mut self, at: u64) -> Option<Judgement> {
        self.at_work.retain(|until| *until > at);
        let (arrival, at_work) = (self.arrivals, self.at_work.len());
        let random = &mut self.random;
        let gate = self.manner.gates.iter().find(|gate| match &gate.stops {
            Stops::Arrivals(stopped) => stopped.contains(&arrival),
            Stops::Share(share) => random.f64() < *share,
            Stops::Above(slots) => at_work >= *slots,
            Stops::All => true,
        })?;
        let refused = Judgement::failed(Kind::Throttled, Class::RateLimited);
        let judgement = match gate.says {
            Says::Refused(wait) => refused.wait(wait),
            Says::TooMany(size) => Judgement { hints: vec![at_a_time(size)], ..refused },
            Says::Crowded => {
                let hints = vec![at_a_time(None)];
                Judgement { hints, ..Judgement::failed(Kind::Throttled, Class::Overloaded) }
            }
            Says::Overloaded(billed) => Judgement::failed(Kind::Transient, Class::Overloaded).costs(billed, None),
            Says::Failed => Judgement::failed(Kind::Transient, Class::ServerError).costs(Billed::Maybe, None),
        };
        Some(Judgement { takes: Some(AT_ONCE), ..judgement })
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
        Self { verdict, billed: 0, hints: Vec::new(), in_outage: false, reached: true, takes: None }
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
