//! What has ended and is not journalled yet. What is paid for is held as long as the process lives.
//!
//! An answer that cannot be written is kept by the store. Where the store fails too, nothing more is sent, what is in flight is awaited, and all that
//! has ended is held here and tried again, writing first, until it works or the run gives up.

use std::time::Duration;

use crate::clock::{Mono, Now};
use crate::model::{Class, Content, FinishReason, Ordinal, Usage, Work};
use crate::record::{Ended, Finished, Settlement};
use crate::run::input::Unwritten;

/// The wait before the first trial, doubled each time, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// Ends on their way to the store.
#[derive(Debug)]
pub(super) struct Shelf {
    /// So long it is tried while the store fails.
    give_up_after: Duration,
    /// Those that wait for it, each with what it means.
    waiting: Vec<(Finished, End)>,
    /// What those mean that are at the store.
    at_store: Option<Vec<End>>,
    /// Outputs that could not be written, and are not recorded.
    unwritten: usize,
    trouble: Option<Trouble>,
}

/// What an end means, once it is journalled.
#[derive(Debug)]
pub(super) enum End {
    /// The text is needed until the answer is recorded: it may have to be written again.
    Done { work: Work, usage: Usage, finish: FinishReason, text: String },
    /// The prompt has failed for good.
    Failed {
        work: Work,
        usage: Usage,
        class: Class,
        message: String,
        /// Why its output could not be written.
        unwritten: Option<Unwritten>,
    },
    /// The answer could not be written, for this reason.
    Kept { work: Work, usage: Usage, why: Unwritten },
    /// Nothing yet: it may be final.
    Held(Ordinal),
    /// It may be begun again from this moment on.
    Again(Work, Mono),
}

/// An answer that is to be written once more.
#[derive(Debug)]
pub(super) struct Rewrite {
    pub(super) work: Work,
    pub(super) settled: Option<Settlement>,
    pub(super) usage: Usage,
    pub(super) finish: FinishReason,
    /// Whether it was more than its own place that could not be written.
    pub(super) counted: bool,
    pub(super) content: Content,
}

/// The store fails.
#[derive(Debug)]
struct Trouble {
    /// When the run gives up.
    until: Mono,
    /// Why, as it was told.
    reason: String,
    wait: Duration,
    /// The next trial; `None` while one is under way.
    again: Option<Mono>,
}

/// What a failure of the store leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fails {
    /// It is tried again, which is known.
    Known,
    /// It is tried again until then, which is news.
    News(Mono),
    /// The run gives up.
    GivesUp,
}

impl Shelf {
    pub(super) fn new(give_up_after: Duration) -> Self {
        Self { give_up_after, waiting: Vec::new(), at_store: None, unwritten: 0, trouble: None }
    }

    /// Puts an end down for the store.
    pub(super) fn put(&mut self, finished: Finished, end: End) {
        self.waiting.push((finished, end));
    }

    /// Whether nothing waits for the store, nor is there.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.at_store.is_none()
    }

    /// Answers that are paid for and not kept yet, those on their way to the store included.
    pub(super) fn answers(&self) -> usize {
        let all = self.waiting.iter().map(|(_, end)| end).chain(self.at_store.iter().flatten());
        all.filter(|end| matches!(end, End::Done { .. } | End::Kept { .. })).count()
    }

    /// One more output cannot be written.
    pub(super) fn is_unwritten(&mut self) {
        self.unwritten += 1;
    }

    /// An output that could not be written is, or is recorded.
    pub(super) fn is_settled(&mut self) {
        self.unwritten -= 1;
    }

    /// Whether the store or the outputs' disk fails.
    pub(super) fn is_troubled(&self) -> bool {
        self.trouble.is_some() || self.unwritten > 0
    }

    /// Whether the store fails.
    pub(super) fn store_fails(&self) -> bool {
        self.trouble.is_some()
    }

    /// Whether nothing is to be begun because of what is not kept. A trial with nothing held is a claim.
    pub(super) fn holds_back(&self) -> bool {
        self.unwritten > 0 || self.trouble.as_ref().is_some_and(|trouble| trouble.again.is_some() || !self.is_empty())
    }

    /// When the store is tried again.
    pub(super) fn next_trial(&self) -> Option<Mono> {
        self.trouble.as_ref().and_then(|trouble| trouble.again)
    }

    /// What is due at `now`. The last trial waits for nothing but what is in flight: `alone` where nothing is.
    pub(super) fn due(&mut self, now: Mono, alone: bool) -> Due {
        let Some(trouble) = &mut self.trouble else { return Due::Store };
        let is_last = now >= trouble.until && alone;
        match trouble.again {
            Some(again) if now < again && !is_last => Due::Nothing,
            Some(_) => {
                trouble.again = None;
                Due::Write
            }
            None => Due::Store,
        }
    }

    /// What could not be written may be written now.
    pub(super) fn take_unwritten(&mut self) -> Vec<Rewrite> {
        let mut rewrites = Vec::new();
        for (finished, end) in std::mem::take(&mut self.waiting) {
            match (finished, end) {
                (
                    Finished { ended: Ended::Unwritten { usage, finish, text }, settled, .. },
                    End::Kept { work, why, .. },
                ) => {
                    let content = Content::Answer(text);
                    rewrites.push(Rewrite { work, settled, usage, finish, counted: !why.alone, content });
                }
                other => self.waiting.push(other),
            }
        }
        rewrites
    }

    /// All that waits goes to the store, at once and one lot after the other; `None` where nothing does, or where a lot is there.
    pub(super) fn send(&mut self) -> Option<Vec<Finished>> {
        if self.at_store.is_some() || self.waiting.is_empty() {
            return None;
        }
        let (finished, ends) = std::mem::take(&mut self.waiting).into_iter().unzip();
        self.at_store = Some(ends);
        Some(finished)
    }

    /// What was at the store is journalled.
    pub(super) fn recorded(&mut self) -> Vec<End> {
        self.at_store.take().unwrap_or_default()
    }

    /// What was at the store comes back, and nothing is forgotten.
    pub(super) fn unrecorded(&mut self, finished: Vec<Finished>) {
        let mut back: Vec<_> = finished.into_iter().zip(self.recorded()).collect();
        back.append(&mut self.waiting);
        self.waiting = back;
    }

    /// Whether the answers are on the disk for good is not known: the store keeps them.
    pub(super) fn take_back(&mut self, why: &str) {
        for (mut finished, mut end) in std::mem::take(&mut self.waiting) {
            (finished.ended, end) = match (finished.ended, end) {
                (Ended::Done { usage, finish, .. }, End::Done { work, text, .. }) => {
                    self.unwritten += 1;
                    let why = Unwritten { why: why.to_owned(), alone: false };
                    (Ended::Unwritten { usage, finish, text }, End::Kept { work, usage, why })
                }
                other => other,
            };
            self.waiting.push((finished, end));
        }
    }

    /// The store fails. Nothing else is under way where `alone`: then it is not tried for longer than it is borne.
    pub(super) fn fails(&mut self, now: &Now, reason: &str, alone: bool) -> Fails {
        let is_news = self.trouble.as_ref().is_none_or(|trouble| trouble.reason != reason);
        let (until, wait) = match &self.trouble {
            Some(trouble) => (trouble.until, (trouble.wait * 2).min(LONGEST_WAIT)),
            None => (now.mono.plus(self.give_up_after), FIRST_WAIT),
        };
        if now.mono >= until && alone {
            self.trouble = None;
            return Fails::GivesUp;
        }
        // What is in flight is awaited however long that takes.
        let last = if now.mono < until { until } else { Mono(u64::MAX) };
        let again = now.mono.plus(wait).min(last);
        self.trouble = Some(Trouble { until, reason: reason.to_owned(), wait, again: Some(again) });
        if is_news { Fails::News(until) } else { Fails::Known }
    }

    /// The store has done what it was asked for. Returns whether that is news.
    pub(super) fn works(&mut self) -> bool {
        self.trouble.take().is_some()
    }

    /// The process ends with what it holds.
    pub(super) fn lose(&mut self) -> Vec<End> {
        let mut lost = self.recorded();
        lost.extend(std::mem::take(&mut self.waiting).into_iter().map(|(_, end)| end));
        lost
    }
}

/// What is due for what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing: the store is left alone for now.
    Nothing,
    /// The way to the store.
    Store,
    /// The same, and what could not be written is tried once more.
    Write,
}
