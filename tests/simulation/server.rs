//! A pretended API with a judgement of its own: it bills, refuses, fails and forgets, all from the seed.

use std::time::Duration;

use promptmill::model::Usage;
use promptmill::send::answer::{Answer, Finish};
use promptmill::send::classify::{Billed, Failure, Kind, RunStop, Verdict};

const SECOND: f64 = 1e9;

/// How the server behaves in one seed. The chances are of 1.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    pub(crate) transient: f64,
    pub(crate) unknown: f64,
    pub(crate) fatal: f64,
    pub(crate) malformed: f64,
    /// Answers without a usage.
    pub(crate) silent: f64,
    /// Its own limits, below those that the client knows: tokens and requests a second, and how many seconds' worth may come at once.
    pub(crate) bucket: Option<Bucket>,
    /// Whether a 429 names a wait.
    pub(crate) tells_wait: bool,
    /// From this arrival on the quota is used up, until it is raised.
    pub(crate) quota_after: Option<usize>,
}

/// A token bucket, which the client's sliding window is not.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) tokens_per_second: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) depth_seconds: f64,
    tokens: f64,
    requests: f64,
    filled: u64,
}

impl Bucket {
    pub(crate) fn new(tokens_per_second: f64, requests_per_second: f64, depth_seconds: f64) -> Self {
        let tokens = tokens_per_second * depth_seconds;
        let requests = requests_per_second * depth_seconds;
        Self { tokens_per_second, requests_per_second, depth_seconds, tokens, requests, filled: 0 }
    }

    /// Takes the amounts out, or says how long it takes until they are there. What is over the depth is let in when the bucket is full.
    fn take(&mut self, at: u64, tokens: f64) -> Result<(), Duration> {
        let passed = (at.saturating_sub(self.filled)) as f64 / SECOND;
        self.filled = self.filled.max(at);
        let (most_tokens, most_requests) =
            (self.tokens_per_second * self.depth_seconds, (self.requests_per_second * self.depth_seconds).max(1.0));
        self.tokens = (self.tokens + passed * self.tokens_per_second).min(most_tokens);
        self.requests = (self.requests + passed * self.requests_per_second).min(most_requests);
        let missing = ((tokens.min(most_tokens) - self.tokens) / self.tokens_per_second)
            .max((1.0 - self.requests) / self.requests_per_second);
        if missing > 0.0 {
            return Err(Duration::from_secs_f64(missing + 0.001));
        }
        self.tokens -= tokens.min(most_tokens);
        self.requests -= 1.0;
        Ok(())
    }
}

/// What the server makes of one arrival: what it says, and the tokens that it bills.
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) billed: u64,
}

#[derive(Debug)]
pub(crate) struct Server {
    manner: Manner,
    random: fastrand::Rng,
    pub(crate) arrivals: usize,
}

/// The one right answer to a prompt.
pub(crate) fn right_answer(prompt: u64) -> String {
    format!("the answer to {prompt}\n")
}

impl Server {
    pub(crate) fn new(manner: Manner, seed: u64) -> Self {
        Self { manner, random: fastrand::Rng::with_seed(seed), arrivals: 0 }
    }

    pub(crate) fn raise_quota(&mut self) {
        self.manner.quota_after = None;
    }

    /// A request arrives at `at`; an answer to it would have `usage`.
    pub(crate) fn judge(&mut self, at: u64, prompt: u64, usage: Usage) -> Judgement {
        self.arrivals += 1;
        let failure = |kind, class, wait, billed, usage| {
            Verdict::Failure(Failure { kind, class, message: "the server says so".into(), wait, billed, usage })
        };
        if self.manner.quota_after.is_some_and(|after| self.arrivals > after) {
            let verdict = failure(Kind::Run(RunStop::Quota), "insufficient_quota", None, Billed::No, None);
            return Judgement { verdict, billed: 0 };
        }
        if let Some(bucket) = &mut self.manner.bucket
            && let Err(wait) = bucket.take(at, usage.total() as f64)
        {
            let wait = self.manner.tells_wait.then_some(wait);
            return Judgement { verdict: failure(Kind::Throttled, "rate_limit", wait, Billed::No, None), billed: 0 };
        }
        let mut chance = self.random.f64();
        let mut falls = |share: f64| {
            chance -= share;
            chance < 0.0
        };
        if falls(self.manner.transient) {
            let wait = self.random.bool().then(|| Duration::from_secs_f64(self.random.f64() * 8.0));
            return Judgement { verdict: failure(Kind::Transient, "server_error", wait, Billed::No, None), billed: 0 };
        }
        if falls(self.manner.unknown) {
            let billed = if self.random.bool() { usage.total() } else { 0 };
            return Judgement { verdict: failure(Kind::Unknown, "timeout", None, Billed::Maybe, None), billed };
        }
        if falls(self.manner.fatal) {
            return Judgement { verdict: failure(Kind::Prompt, "bad_request", None, Billed::No, None), billed: 0 };
        }
        let billed = usage.total();
        if falls(self.manner.malformed) {
            let verdict = failure(Kind::Transient, "malformed", None, Billed::Yes, Some(usage));
            return Judgement { verdict, billed };
        }
        let finish = *self.random.choice(&[Finish::Complete, Finish::Truncated, Finish::Refused]).expect("not empty");
        let told = (self.random.f64() >= self.manner.silent).then_some(usage);
        Judgement { verdict: Verdict::Answer(Answer { text: right_answer(prompt), usage: told, finish }), billed }
    }
}
