//! The limits of a pretended server, and what it tells of them. It shares nothing with the picture that the client has of it.

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
}

/// A limit, its books, and what it tells.
#[derive(Clone, Debug)]
pub(crate) struct Limiter {
    pub(crate) unit: Unit,
    pub(crate) size: f64,
    pub(crate) window_seconds: f64,
    pub(crate) enforced: Enforced,
    pub(crate) tells: Tells,
    /// From, to (nanoseconds after the first arrival), and the share of the limit that holds meanwhile.
    pub(crate) slump: Option<(u64, u64, f64)>,
    level: f64,
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
            slump: None,
            level: 0.0,
            at: 0,
            first: None,
            offered: 0.0,
            used: 0.0,
            offered_at_last: 0.0,
        }
    }

    fn share(&self, at: u64) -> f64 {
        let since = at - self.first.unwrap_or(at);
        self.slump.map_or(1.0, |(from, to, share)| if (from..to).contains(&since) { share } else { 1.0 })
    }

    fn depth(&self, at: u64) -> f64 {
        match self.enforced {
            Enforced::Bucket { depth_seconds } => {
                (self.size * depth_seconds / self.window_seconds).max(1.0) * self.share(at)
            }
            Enforced::Windows => self.size * self.share(at),
        }
    }

    /// Lets time pass, in steps that no slump's edge lies within by much.
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
            }
        }
    }

    /// A request arrives at `at` that takes `amount`.
    pub(crate) fn take(&mut self, at: u64, amount: f64) -> Result<(), Refusal> {
        self.pass(at);
        let needed = amount.min(self.depth(at));
        let missing = needed - self.level;
        if missing > 0.0 {
            let seconds = match self.enforced {
                Enforced::Bucket { .. } => missing / (self.size * self.share(at)) * self.window_seconds,
                Enforced::Windows => {
                    let window = (self.window_seconds * SECOND) as u64;
                    (window - (at - self.first.unwrap_or(at)) % window) as f64 / SECOND
                }
            };
            let exact = Duration::from_secs_f64(seconds) + MS;
            let coarse = Duration::from_secs(seconds.ceil() as u64);
            let wait = match (self.tells.text, self.tells.wait) {
                (true, _) => Some(exact),
                (false, true) => Some(coarse),
                (false, false) => None,
            };
            return Err(Refusal { wait });
        }
        self.level -= amount;
        self.used += amount;
        // Of a fixed window that is not over, what is left may still be used.
        self.offered_at_last = match self.enforced {
            Enforced::Bucket { .. } => self.offered,
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
        let size = self.size * self.share(at) * self.tells.lie;
        let left = if sliced { size * 0.7 } else { (self.level * self.tells.lie).max(0.0) }.floor();
        let full = Duration::from_secs_f64(((size - left) / size * self.window_seconds).max(0.0));
        let printed = Duration::from_millis(full.as_millis() as u64);
        let scale = |span: Duration| span.mul_f64(size / (size - left).max(1e-9)).min(Duration::from_secs(1_000_000));
        let window = (size - left >= 1.0 && !printed.is_zero() && matches!(self.enforced, Enforced::Bucket { .. }))
            .then(|| Span { least: scale(printed), most: scale(printed + MS) });
        vec![ServerHint {
            unit: self.unit,
            group: None,
            size: Some(size as u64),
            left: Some(left as u64),
            full_in: Some(printed),
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
