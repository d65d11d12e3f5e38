//! The server's own limits as we picture them: told by headers and refusals, estimated where it says nothing.
//!
//! The ledger keeps the limits that a person sets; this keeps us off those that the server has. Admission obeys both. It is a value of one run: what
//! other programs take from the same account shows in the hints.

use std::time::Duration;

use super::bucket::{Anchor, Bucket, Told};
use super::hint::{LearnedLimit, ServerHint, Source, Span, Unit};
use super::ledger::Amount;
use super::limits::Limits;
use crate::clock::{Mono, Now};

/// What most servers count for the answer of a request that names no most (FACTS A.5).
const UNNAMED_OUTPUT: u64 = 16;
/// Windows that a server may mean; the person's own comes before them.
const WINDOWS: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(86_400),
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(3_600),
];
/// A minute's limit that is enforced in slices is enforced in sixty.
const SLICES: u32 = 60;
/// What a server says that it counts for one request tells this much of what it counts for others.
const TOLD_WEIGHT: f64 = 0.25;
/// A limit is saved again when it was confirmed so long ago.
const STALE: Duration = Duration::from_secs(300);

/// How a minute's limit is spread over the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pacing {
    /// At once, until the server shows that it enforces its limit in slices; then evenly.
    Auto,
    /// At once.
    Burst,
    /// Evenly, from the start.
    Smooth,
}

/// What a request takes from the server's limits, as the server counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Charge {
    requests: f64,
    tokens: f64,
}

impl Charge {
    /// A request of `input_tokens`, with the most output that it names.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "tokens of a request are far below 2^52")]
    pub fn request(input_tokens: u64, max_output_tokens: Option<u64>) -> Self {
        let tokens = input_tokens.saturating_add(max_output_tokens.unwrap_or(UNNAMED_OUTPUT));
        Self { requests: 1.0, tokens: tokens as f64 }
    }

    fn of(self, unit: Unit) -> f64 {
        match unit {
            Unit::Requests => self.requests,
            Unit::Tokens => self.tokens,
        }
    }
}

impl std::ops::AddAssign for Charge {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.tokens += other.tokens;
    }
}

impl std::ops::Sub for Charge {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { requests: self.requests - other.requests, tokens: self.tokens - other.tokens }
    }
}

/// A request at the server: what is needed to read the hint that comes back with its answer.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    /// When it was sent.
    pub sent: Mono,
    charge: Charge,
    /// What had been sent in all before it.
    sent_before: Charge,
    /// What had been heard of before it was sent: that reached the server before it.
    heard_before: Charge,
}

/// What became of a request, as far as limits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was let in.
    Admitted,
    /// A limit refused it. `signal` says that it is the first of a burst of refusals.
    Refused {
        /// Whether it starts a burst.
        signal: bool,
    },
    /// The server wants slower growth.
    SlowDown {
        /// Whether it starts a burst.
        signal: bool,
    },
    /// Something else, which says nothing of limits.
    Other,
}

/// A wait for room in the server's limit.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerWait {
    /// The limit.
    pub limit: LearnedLimit,
    /// When it frees, as far as we can tell.
    pub until: Mono,
}

/// What a person should be told of the picture.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// A limit is new, or its size has changed.
    Learned(LearnedLimit),
    /// The rate is cut, because the server refused what should have fitted.
    Cut(LearnedLimit),
    /// Less than a tenth of the limit is left; told once.
    NearlyUsed {
        /// The limit.
        limit: LearnedLimit,
        /// What is left of it.
        left: u64,
    },
}

/// The picture.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    pacing: Pacing,
    limits: Limits,
    buckets: Vec<Bucket>,
    sent: Charge,
    heard: Charge,
    /// What was refused of what was sent.
    refused: Charge,
    /// When the last refusal that we could not explain had been sent, and what had been let in by then.
    emptied: Option<(Mono, Charge)>,
    history: History,
    /// Limits that were said to be nearly used up.
    warned: Vec<(Unit, Duration)>,
    changed: bool,
}

impl ServerLimits {
    /// The picture at the start of a run: what was learned before, and what the ledger says was sent in the window that ends now.
    #[must_use]
    pub fn new(
        pacing: Pacing,
        limits: Limits,
        learned: Vec<LearnedLimit>,
        recent: impl IntoIterator<Item = (Mono, Amount)>,
        now: &Now,
    ) -> Self {
        let mut server = Self {
            pacing,
            limits,
            buckets: Vec::new(),
            sent: Charge::default(),
            heard: Charge::default(),
            refused: Charge::default(),
            emptied: None,
            history: History::new(limits.window),
            warned: Vec::new(),
            changed: false,
        };
        let recent: Vec<(Mono, Amount)> = recent.into_iter().collect();
        for limit in learned {
            let begins = Mono(now.mono.0.saturating_sub(crate::clock::nanos(limit.window)));
            let mut bucket = Bucket::remembered(limit, begins, now.mono);
            for (at, amount) in recent.iter().filter(|(at, _)| *at > begins) {
                bucket.take(of_amount(bucket.unit, *amount), *at);
            }
            server.buckets.push(bucket);
        }
        if pacing == Pacing::Smooth {
            server.smooth_settings(now);
        }
        server.cap_estimates();
        server
    }

    /// The person's own limits, spread evenly.
    fn smooth_settings(&mut self, now: &Now) {
        let window = self.limits.window;
        for (unit, most) in
            [(Unit::Requests, self.limits.requests_per_minute), (Unit::Tokens, self.limits.tokens_per_minute)]
        {
            if let Some(most) = most {
                let limit = LearnedLimit {
                    unit,
                    group: Some(OWN.to_owned()),
                    size: to_f64(most),
                    window,
                    burst: window / SLICES,
                    source: Source::Headers,
                    learned: now.wall,
                };
                self.buckets.push(Bucket::new(limit, now.mono));
            }
        }
        for bucket in &mut self.buckets {
            if !bucket.is_daily() {
                bucket.burst = bucket.window / SLICES;
            }
        }
    }

    /// Whether anything is known of the server: then it is not met softly.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.buckets.iter().any(|bucket| bucket.group.as_deref() != Some(OWN))
    }

    /// When a request of `charge` fits after `before` was claimed; `None` if now.
    pub fn frees(&mut self, before: Charge, charge: Charge, now: Mono) -> Option<ServerWait> {
        let mut latest: Option<(Mono, usize)> = None;
        for (index, bucket) in self.buckets.iter_mut().enumerate() {
            if let Some(until) = bucket.frees(before.of(bucket.unit), charge.of(bucket.unit), now)
                && latest.is_none_or(|(known, _)| until > known)
            {
                latest = Some((until, index));
            }
        }
        latest.map(|(until, index)| ServerWait { limit: self.buckets[index].learned(), until })
    }

    /// A request leaves.
    pub fn take(&mut self, charge: Charge, now: Mono) -> Ticket {
        let ticket = Ticket { sent: now, charge, sent_before: self.sent, heard_before: self.heard };
        self.history.note(self.sent, now);
        self.sent += charge;
        for bucket in &mut self.buckets {
            bucket.take(charge.of(bucket.unit), now);
        }
        ticket
    }

    /// A request was heard of at `now`, with what the server says of its limits.
    pub fn heard(&mut self, ticket: Ticket, hints: &[ServerHint], outcome: Outcome, now: &Now) -> Vec<News> {
        let mut news = Vec::new();
        let signal = matches!(outcome, Outcome::Refused { signal: true } | Outcome::SlowDown { signal: true });
        // What may have been taken after this request arrived: all that was sent but not heard of when it left.
        let others = self.sent - ticket.charge - ticket.heard_before;
        self.heard += ticket.charge;
        let refused = matches!(outcome, Outcome::Refused { .. } | Outcome::SlowDown { .. });
        if refused {
            self.refused += ticket.charge;
            // Nobody says that a refusal costs tokens; unsuccessful requests do count.
            for bucket in self.buckets.iter_mut().filter(|bucket| bucket.unit == Unit::Tokens) {
                bucket.give_back(ticket.charge.tokens);
            }
        }
        for hint in hints {
            self.hint(hint, others, &ticket, signal, now, &mut news);
        }
        match outcome {
            Outcome::Refused { signal } => self.refusal(hints, &ticket, signal, now, &mut news),
            Outcome::SlowDown { signal: true } => self.slow_down(now, &mut news),
            Outcome::SlowDown { signal: false } | Outcome::Admitted | Outcome::Other => {}
        }
        self.cap_estimates();
        news
    }

    /// What is to be kept between runs, if that has changed since it was last asked for.
    pub fn take_changed(&mut self) -> Option<Vec<LearnedLimit>> {
        std::mem::take(&mut self.changed).then(|| self.learned())
    }

    /// What is known of the server's limits.
    #[must_use]
    pub fn learned(&self) -> Vec<LearnedLimit> {
        let kept = self.buckets.iter().filter(|bucket| !bucket.is_ramp() && bucket.group.as_deref() != Some(OWN));
        kept.map(Bucket::learned).collect()
    }

    /// Requests a second that the server's limits let through in the long run, at `tokens` each, and how many at once; `None` where nothing is known.
    #[must_use]
    pub fn sustained(&self, mean: Charge, now: Mono) -> Option<Sustained> {
        let of = |bucket: &Bucket| {
            let each = mean.of(bucket.unit).max(1.0);
            Sustained { per_second: bucket.rate(now) / each, at_once: bucket.depth(now) / each }
        };
        self.buckets.iter().map(of).reduce(Sustained::min)
    }

    fn hint(
        &mut self,
        hint: &ServerHint,
        others: Charge,
        ticket: &Ticket,
        signal: bool,
        now: &Now,
        news: &mut Vec<News>,
    ) {
        let Some(index) = self.bucket_of(hint, ticket, signal, now, news) else { return };
        let bucket = &mut self.buckets[index];
        if let (Some(charged), Unit::Tokens) = (hint.charged, hint.unit) {
            bucket.count(to_f64(charged) / ticket.charge.tokens.max(1.0), TOLD_WEIGHT);
        }
        let Some(left) = hint.left else { return };
        // A refusal that names more room than was asked for is of a part of the window: it says nothing of the level.
        if hint.refused && hint.charged.is_some_and(|charged| charged <= left) {
            return;
        }
        let told = Anchor {
            left: to_f64(left),
            sent: ticket.sent,
            sent_before: ticket.sent_before.of(hint.unit),
            // What came after a request that was refused is most likely refused too.
            others: if hint.refused { 0.0 } else { others.of(hint.unit) },
        };
        bucket.hint_level(told, now.mono);
        if !hint.refused && hint.window.is_some() {
            bucket.compare(told, now.mono);
        }
        let size = bucket.size;
        if to_f64(left) < size / 10.0 && bucket.is_daily() && !self.warned.contains(&(hint.unit, bucket.window)) {
            self.warned.push((hint.unit, bucket.window));
            news.push(News::NearlyUsed { limit: bucket.learned(), left });
        }
    }

    /// The bucket that a hint is of, made or brought up to it.
    fn bucket_of(
        &mut self,
        hint: &ServerHint,
        ticket: &Ticket,
        signal: bool,
        now: &Now,
        news: &mut Vec<News>,
    ) -> Option<usize> {
        let window = hint.window.and_then(|span| self.window(hint, span));
        let daily = window.map(|window| window >= Duration::from_secs(3_600));
        let size = hint.size.filter(|size| *size > 0).map(to_f64);
        let same = |bucket: &Bucket| {
            bucket.unit == hint.unit && bucket.group == hint.group && bucket.source != Source::Estimate
        };
        let index = self.buckets.iter().position(|bucket| {
            same(bucket)
                && daily
                    .map_or_else(|| size.is_none_or(|size| near(size, bucket.size)), |daily| daily == bucket.is_daily())
        });
        // A window that is not told is that of the bucket that there is, if it is one of a minute.
        let index = index
            .or_else(|| self.buckets.iter().position(|bucket| same(bucket) && daily.is_none() && !bucket.is_daily()));
        let Some(index) = index else {
            let window = window.unwrap_or(self.limits.window);
            let limit = LearnedLimit {
                unit: hint.unit,
                group: hint.group.clone(),
                size: size?,
                window,
                burst: self.burst(window),
                source: hint.source,
                learned: now.wall,
            };
            let mut bucket = Bucket::new(limit, ticket.sent);
            // Until a hint says what is left, all that we sent in its window counts.
            bucket.take((self.sent - self.history.before(window, now.mono)).of(hint.unit), now.mono);
            news.push(News::Learned(bucket.learned()));
            self.changed = true;
            self.buckets.push(bucket);
            return Some(self.buckets.len() - 1);
        };
        let bucket = &mut self.buckets[index];
        if let Some(size) = size {
            let window = window.unwrap_or(bucket.window);
            let stale = (now.wall - bucket.learned).to_std().unwrap_or_default() > STALE;
            // Headers are surer than the text of a refusal of the same limit.
            let source = if bucket.source == Source::Headers { Source::Headers } else { hint.source };
            if bucket.confirm(Told { size, window, source }, signal, now) {
                news.push(News::Learned(bucket.learned()));
                self.changed = true;
            } else if stale {
                self.changed = true;
            }
        }
        Some(index)
    }

    /// The window that is meant by one known within bounds; `None` where too many could be.
    fn window(&self, hint: &ServerHint, span: Span) -> Option<Duration> {
        let known = self
            .buckets
            .iter()
            .find(|bucket| bucket.unit == hint.unit && bucket.group == hint.group && span.holds(bucket.window));
        let named = std::iter::once(self.limits.window).chain(WINDOWS).find(|window| span.holds(*window));
        let narrow = span.most <= span.least + span.least / 4;
        known.map(|bucket| bucket.window).or(named).or_else(|| narrow.then(|| (span.least + span.most) / 2))
    }

    fn burst(&self, window: Duration) -> Duration {
        if self.pacing == Pacing::Smooth && window < Duration::from_secs(3_600) { window / SLICES } else { window }
    }

    /// A limit refused a request. Where the picture has room for it, the picture is wrong.
    fn refusal(&mut self, hints: &[ServerHint], ticket: &Ticket, signal: bool, now: &Now, news: &mut Vec<News>) {
        let told = hints.iter().find(|hint| hint.refused);
        let explained = match told {
            Some(ServerHint { size: Some(_), left: Some(left), charged: Some(charged), .. }) => left < charged,
            _ => {
                let charge = ticket.charge;
                let mut explained = false;
                for bucket in &mut self.buckets {
                    // The refused tokens have been given back; the level is judged with them.
                    let charge = charge.of(bucket.unit);
                    let taken = if bucket.unit == Unit::Tokens { charge } else { 0.0 };
                    if !bucket.is_ramp()
                        && bucket.explains(taken, now.mono)
                        && told.is_none_or(|hint| hint.unit == bucket.unit)
                    {
                        if signal {
                            bucket.drain(now.mono);
                        }
                        explained = true;
                    }
                }
                // An estimate is drained and still cut: that it was reached is how it is found to be too large.
                explained && !self.buckets.iter().any(|bucket| bucket.source == Source::Estimate && !bucket.is_ramp())
            }
        };
        if explained || !signal {
            return;
        }
        let unit = told.map_or_else(|| self.likely_unit(now.mono), |hint| hint.unit);
        self.cut(unit, ticket, now, news);
    }

    /// The limit that was most likely meant by a refusal that does not say: the one of which more is used, by the person's own limits.
    fn likely_unit(&self, now: Mono) -> Unit {
        let used = self.sent - self.history.before(self.limits.window, now);
        let share = |most: Option<u64>, used: f64| most.map_or(0.0, |most| used / to_f64(most));
        let requests = share(self.limits.requests_per_minute, used.requests);
        if share(self.limits.tokens_per_minute, used.tokens) > requests { Unit::Tokens } else { Unit::Requests }
    }

    /// Cuts the rate, or begins to keep one.
    fn cut(&mut self, unit: Unit, ticket: &Ticket, now: &Now, news: &mut Vec<News>) {
        self.changed = true;
        // The refused request itself is not part of what had been sent before it.
        let admitted = ticket.sent_before - (self.refused - ticket.charge);
        let before = self.emptied.replace((ticket.sent, admitted));
        let estimate = self.buckets.iter_mut().find(|bucket| bucket.source == Source::Estimate && !bucket.is_ramp());
        if let Some(bucket) = estimate {
            let since = before.map(|(at, before)| ((admitted - before).of(bucket.unit), at.until(ticket.sent)));
            bucket.cut(since, now);
            news.push(News::Cut(bucket.learned()));
            return;
        }
        let told = self.buckets.iter().filter(|bucket| bucket.unit == unit && !bucket.is_daily() && !bucket.is_ramp());
        let limit = if let Some(told) = told.min_by(|a, b| a.rate(now.mono).total_cmp(&b.rate(now.mono))) {
            // There should have been room in the minute: it is enforced in slices.
            let burst = if self.pacing == Pacing::Burst { told.window } else { told.window / SLICES };
            let size =
                if self.pacing == Pacing::Burst || told.burst < told.window { told.size * 0.8 } else { told.size };
            LearnedLimit { group: None, size, burst, source: Source::Estimate, learned: now.wall, ..told.learned() }
        } else {
            // All that was sent before it in a window went in: a bucket's depth, and what refilled meanwhile.
            let window = self.limits.window;
            let (before, passed) = self.history.since(window, ticket.sent);
            let took = (ticket.sent_before - before).of(unit).max(1.0);
            // Some of them are on their way to a refusal of their own.
            let size = 0.9 * took / (1.0 + passed.as_secs_f64() / window.as_secs_f64());
            LearnedLimit {
                unit,
                group: None,
                size,
                window,
                burst: self.burst(window),
                source: Source::Estimate,
                learned: now.wall,
            }
        };
        let mut bucket = Bucket::new(limit, now.mono);
        bucket.drain(now.mono);
        news.push(News::Cut(bucket.learned()));
        self.buckets.push(bucket);
    }

    /// The server wants slower growth: a cut to 70 %, and a slow way back.
    fn slow_down(&mut self, now: &Now, news: &mut Vec<News>) {
        let minute = Duration::from_secs(60);
        let (before, passed) = self.history.since(self.limits.window, now.mono);
        let sent = (self.sent - before).tokens;
        let per_minute =
            (sent / passed.max(Duration::from_secs(1)).as_secs_f64() * minute.as_secs_f64() * 0.7).max(1.0);
        self.buckets.retain(|bucket| !bucket.is_ramp());
        let bucket = Bucket::ramp(per_minute, now.mono, now.wall);
        news.push(News::Cut(bucket.learned()));
        self.buckets.push(bucket);
    }

    /// What is estimated grows no further than what is told.
    fn cap_estimates(&mut self) {
        for unit in [Unit::Requests, Unit::Tokens] {
            let told = self
                .buckets
                .iter()
                .filter(|bucket| bucket.unit == unit && bucket.source != Source::Estimate && !bucket.is_daily());
            let rate = told.map(|bucket| bucket.size / bucket.window.as_secs_f64()).min_by(f64::total_cmp);
            for bucket in
                self.buckets.iter_mut().filter(|bucket| bucket.unit == unit && bucket.source == Source::Estimate)
            {
                bucket.most = rate.map_or(f64::INFINITY, |rate| rate * bucket.window.as_secs_f64());
            }
        }
    }
}

/// What limits let through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sustained {
    /// Requests a second in the long run.
    pub per_second: f64,
    /// Requests at once, from rest.
    pub at_once: f64,
}

impl Sustained {
    /// What both let through.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self { per_second: self.per_second.min(other.per_second), at_once: self.at_once.min(other.at_once) }
    }
}

/// The group under which the person's own limits are spread.
const OWN: &str = "settings";

/// What was sent until when, over the last window, in 32 steps.
#[derive(Clone, Debug)]
struct History {
    step: Duration,
    /// What had been sent in all at these moments, oldest first.
    marks: std::collections::VecDeque<(Mono, Charge)>,
}

impl History {
    fn new(window: Duration) -> Self {
        Self { step: (window / 32).max(Duration::from_millis(1)), marks: std::collections::VecDeque::new() }
    }

    /// `sent` had been sent in all when another request left at `now`.
    fn note(&mut self, sent: Charge, now: Mono) {
        if self.marks.back().is_some_and(|(at, _)| at.until(now) < self.step) {
            return;
        }
        self.marks.push_back((now, sent));
        while self.marks.len() > 34 {
            self.marks.pop_front();
        }
    }

    /// What had been sent in all when the `window` that ends at `now` began.
    fn before(&self, window: Duration, now: Mono) -> Charge {
        self.since(window, now).0
    }

    /// The same, and how long the part of that window is in which anything was sent.
    fn since(&self, window: Duration, now: Mono) -> (Charge, Duration) {
        let begins = self.marks.iter().find(|(at, _)| at.plus(window) > now);
        begins.map_or((Charge::default(), Duration::ZERO), |(at, sent)| (*sent, at.until(now)))
    }
}

fn of_amount(unit: Unit, amount: Amount) -> f64 {
    to_f64(match unit {
        Unit::Requests => amount.requests,
        Unit::Tokens => amount.tokens,
    })
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 0.01 * b
}

#[expect(clippy::cast_precision_loss, reason = "limits are far below 2^52")]
fn to_f64(number: u64) -> f64 {
    number as f64
}
