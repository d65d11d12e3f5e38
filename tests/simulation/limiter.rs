//! The limits of a pretended server, and what it tells of them. It shares nothing with the picture that the client has of it.

use std::collections::VecDeque;
use std::time::Duration;

use promptmill::admit::hint::{ServerHint, Source, Span, Unit};

const SECOND: f64 = 1e9;
const MS: Duration = Duration::from_millis(1);

/// How a limit is enforced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Enforced {
    /// A bucket that refills all the time and holds so many seconds' worth.
    Bucket { depth_seconds: f64 },
    /// Counted in windows that begin one after the other.
    Windows,
    /// All that was let in counts for a window from then on.
    Sliding,
}

/// What a server's header says of time, beside the limit and what is left of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Reset {
    /// When a bucket that refills is full.
    #[default]
    Refill,
    /// When the window ends, which is no time in which a part of it refills.
    WindowEnd,
    /// How long the window is.
    Named,
    Untold,
}

/// What the server says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tells {
    pub(crate) headers: bool,
    /// A 429 names its numbers.
    pub(crate) text: bool,
    /// A 429 names a wait, in whole seconds where it stands alone.
    pub(crate) wait: bool,
    /// It says so many times what it enforces.
    pub(crate) lie: f64,
    pub(crate) reset: Reset,
}

/// A limit, its books, and what it tells.
#[derive(Clone, Debug)]
pub(crate) struct Limiter {
    pub(crate) unit: Unit,
    pub(crate) size: f64,
    pub(crate) window_seconds: f64,
    pub(crate) enforced: Enforced,
    pub(crate) tells: Tells,
    /// From when on (nanoseconds after the first arrival) which share of the limit holds; in order.
    pub(crate) shares: Vec<(u64, f64)>,
    /// What is missing is used by somebody else who shares the limit: its size is told as it is.
    pub(crate) neighbour: bool,
    /// The wait that every refusal names, whatever the limit.
    pub(crate) names: Option<Duration>,
    /// What it refuses counts as well.
    pub(crate) counts_refused: bool,
    /// What is larger than the whole limit is never let in; else it is when nothing is used.
    pub(crate) strict: bool,
    level: f64,
    /// What counts now of a sliding window, and when it came.
    inside: VecDeque<(u64, f64)>,
    at: u64,
    first: Option<u64>,
    /// What could have been taken and what was, from the first arrival to the last admission.
    offered: f64,
    used: f64,
    offered_at_last: f64,
}

pub(crate) struct Refusal {
    pub(crate) wait: Option<Duration>,
}

impl Limiter {
    pub(crate) fn new(unit: Unit, size: f64, window_seconds: f64, enforced: Enforced, tells: Tells) -> Self {
        Self {
            unit,
            size,
            window_seconds,
            enforced,
            tells,
            shares: Vec::new(),
            neighbour: false,
            names: None,
            counts_refused: false,
            strict: false,
            level: 0.0,
            inside: VecDeque::new(),
            at: 0,
            first: None,
            offered: 0.0,
            used: 0.0,
            offered_at_last: 0.0,
        }
    }

    fn share(&self, at: u64) -> f64 {
        let since = at - self.first.unwrap_or(at);
        self.shares.iter().rev().find(|(from, _)| *from <= since).map_or(1.0, |(_, share)| *share)
    }

    fn depth(&self, at: u64) -> f64 {
        match self.enforced {
            Enforced::Bucket { depth_seconds } => {
                (self.size * depth_seconds / self.window_seconds).max(1.0) * self.share(at)
            }
            Enforced::Windows | Enforced::Sliding => self.size * self.share(at),
        }
    }

    /// Lets time pass, in steps that no change lies within by much.
    fn pass(&mut self, at: u64) {
        if self.first.is_none() {
            self.first = Some(at);
            self.at = at;
            self.level = self.depth(at);
            self.offered = self.level;
        }
        let window = (self.window_seconds * SECOND) as u64;
        while self.at < at {
            match self.enforced {
                Enforced::Bucket { .. } => {
                    let to = at.min(self.at + window / 64);
                    let filled = self.size * self.share(self.at) * (to - self.at) as f64 / window as f64;
                    self.offered += filled;
                    self.level = (self.level + filled).min(self.depth(to));
                    self.at = to;
                }
                Enforced::Windows => {
                    let first = self.first.unwrap_or(at);
                    let next = first + ((self.at - first) / window + 1) * window;
                    if next <= at {
                        self.level = self.depth(next);
                        self.offered += self.level;
                    }
                    self.at = next.min(at);
                }
                Enforced::Sliding => {
                    self.offered += self.size * self.share(self.at) * (at - self.at) as f64 / window as f64;
                    self.at = at;
                    while self.inside.front().is_some_and(|(came, _)| came + window <= at) {
                        self.inside.pop_front();
                    }
                    self.level = self.depth(at) - self.inside.iter().map(|(_, amount)| amount).sum::<f64>();
                }
            }
        }
    }

    /// Whether `amount` would be let in at `at`; `None` where it never is.
    pub(crate) fn fits(&mut self, at: u64, amount: f64) -> Option<bool> {
        self.pass(at);
        let never = self.strict && amount > self.size;
        (!never).then(|| amount.min(self.depth(at)) <= self.level)
    }

    fn count(&mut self, at: u64, amount: f64) {
        self.level -= amount;
        if self.enforced == Enforced::Sliding {
            self.inside.push_back((at, amount));
        }
    }

    /// A request arrives at `at` that takes `amount`.
    pub(crate) fn take(&mut self, at: u64, amount: f64) -> Result<(), Refusal> {
        self.pass(at);
        let needed = if self.strict { amount } else { amount.min(self.depth(at)) };
        let missing = needed - self.level;
        if missing > 0.0 {
            let seconds = match self.enforced {
                Enforced::Bucket { .. } => missing / (self.size * self.share(at)) * self.window_seconds,
                Enforced::Windows => {
                    let window = (self.window_seconds * SECOND) as u64;
                    (window - (at - self.first.unwrap_or(at)) % window) as f64 / SECOND
                }
                Enforced::Sliding => {
                    let mut freed = 0.0;
                    let last = self.inside.iter().find(|(_, amount)| {
                        freed += amount;
                        freed >= missing
                    });
                    let leaves = last.map_or(at, |(came, _)| *came) as f64 / SECOND + self.window_seconds;
                    leaves - at as f64 / SECOND
                }
            };
            let exact = Duration::from_secs_f64(seconds) + MS;
            let coarse = Duration::from_secs(seconds.ceil() as u64);
            let wait = match (self.tells.text, self.tells.wait) {
                (true, _) => Some(exact),
                (false, true) => Some(coarse),
                (false, false) => None,
            };
            if self.counts_refused {
                self.count(at, amount);
            }
            return Err(Refusal { wait: self.names.or(wait) });
        }
        self.count(at, amount);
        self.used += amount;
        // Of a fixed window that is not over, what is left may still be used.
        self.offered_at_last = match self.enforced {
            Enforced::Bucket { .. } | Enforced::Sliding => self.offered,
            Enforced::Windows => self.offered - self.level.max(0.0),
        };
        Ok(())
    }

    /// The hints of an answer, or of a refusal of `refused`.
    pub(crate) fn hints(&self, at: u64, refused: Option<f64>) -> Vec<ServerHint> {
        let source = match refused {
            None if self.tells.headers => Source::Headers,
            Some(_) if self.tells.text => Source::Refusal,
            _ => return Vec::new(),
        };
        let sliced = matches!(self.enforced, Enforced::Bucket { depth_seconds } if depth_seconds < self.window_seconds);
        // A server that enforces slices tells of the whole window, in which there is room.
        let share = if self.neighbour { 1.0 } else { self.share(at) };
        let size = self.size * share * self.tells.lie;
        let left = if sliced { size * 0.7 } else { (self.level * self.tells.lie).max(0.0) }.floor();
        let full = match self.tells.reset {
            Reset::WindowEnd => {
                let window = (self.window_seconds * SECOND) as u64;
                Duration::from_nanos(window - (at - self.first.unwrap_or(at)) % window)
            }
            Reset::Refill | Reset::Named | Reset::Untold => {
                Duration::from_secs_f64(((size - left) / size * self.window_seconds).max(0.0))
            }
        };
        let printed = Duration::from_millis(full.as_millis() as u64);
        let scale = |span: Duration| span.mul_f64(size / (size - left).max(1e-9)).min(Duration::from_secs(1_000_000));
        let is_bucket = matches!(self.enforced, Enforced::Bucket { .. });
        let works_out = self.tells.reset == Reset::Refill && is_bucket && size - left >= 1.0 && !printed.is_zero();
        let exact = Duration::from_secs_f64(self.window_seconds);
        let window = match self.tells.reset {
            Reset::Named => Some(Span { least: exact, most: exact }),
            _ => works_out.then(|| Span { least: scale(printed), most: scale(printed + MS) }),
        };
        vec![ServerHint {
            unit: self.unit,
            group: None,
            size: Some(size as u64),
            left: Some(left as u64),
            full_in: matches!(self.tells.reset, Reset::Refill | Reset::WindowEnd).then_some(printed),
            window,
            charged: refused.map(|amount| amount as u64),
            refused: refused.is_some(),
            source,
        }]
    }

    /// The share of what could have been used until the last admission that was used.
    pub(crate) fn utilisation(&self) -> f64 {
        self.used / self.offered_at_last
    }
}
