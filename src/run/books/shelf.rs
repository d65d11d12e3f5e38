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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ContentId;
    use crate::run::tests::{at, reservation, work};

    const SECOND: Duration = Duration::from_secs(1);

    fn now(seconds: u32) -> Now {
        at(Mono(0).plus(SECOND * seconds))
    }

    fn put(shelf: &mut Shelf, ended: Ended, end: End) {
        let Work { key, fingerprint, .. } = work(0, 1);
        let settled = Settlement {
            reservation: reservation(5),
            used: crate::admit::ledger::Amount::request(5),
            heard: Mono(0),
            told: crate::record::Told::default(),
        };
        shelf.put(Finished { key, fingerprint, settled: Some(settled), ended }, end);
    }

    fn done(shelf: &mut Shelf, ordinal: u32) {
        let (usage, finish) = (Usage { input_tokens: 1, output_tokens: 4, ..Usage::default() }, FinishReason::Complete);
        let ended = Ended::Done { usage, finish, output: ContentId::of(b"yes") };
        put(shelf, ended, End::Done { work: work(ordinal, 1), usage, finish, text: "yes".to_owned() });
    }

    fn kept(shelf: &mut Shelf, ordinal: u32, alone: bool) {
        let (usage, finish) = (Usage { input_tokens: 1, output_tokens: 4, ..Usage::default() }, FinishReason::Complete);
        let why = Unwritten { why: "full".to_owned(), alone };
        if !alone {
            shelf.is_unwritten();
        }
        let ended = Ended::Unwritten { usage, finish, text: "yes".to_owned() };
        put(shelf, ended, End::Kept { work: work(ordinal, 1), usage, why });
    }

    #[test]
    fn one_lot_is_at_the_store_at_a_time() {
        let mut shelf = Shelf::new(SECOND * 60);
        assert!(shelf.send().is_none() && shelf.is_empty());
        done(&mut shelf, 1);
        put(&mut shelf, Ended::Again { class: None }, End::Again(work(2, 1), Mono(9)));
        assert_eq!(shelf.send().map(|lot| lot.len()), Some(2));
        done(&mut shelf, 3);
        assert!(shelf.send().is_none() && !shelf.is_empty());
        assert_eq!(shelf.answers(), 2);
        assert_eq!(shelf.recorded().len(), 2);
        assert_eq!(shelf.send().map(|lot| lot.len()), Some(1));
        shelf.recorded();
        assert!(shelf.is_empty());
    }

    #[test]
    fn what_comes_back_from_the_store_goes_first_and_nothing_is_forgotten() {
        let mut shelf = Shelf::new(SECOND * 60);
        done(&mut shelf, 1);
        let lot = shelf.send().expect("one waits");
        done(&mut shelf, 2);
        shelf.unrecorded(lot);
        assert_eq!(shelf.send().map(|lot| lot.len()), Some(2));
        let ordinals: Vec<u32> = shelf
            .recorded()
            .iter()
            .map(|end| if let End::Done { work, .. } = end { work.ordinal.0 } else { panic!("{end:?}") })
            .collect();
        assert_eq!(ordinals, [1, 2]);
    }

    #[test]
    fn a_store_that_fails_is_tried_again_after_twice_the_time_until_the_patience_ends() {
        let mut shelf = Shelf::new(SECOND * 20);
        assert!(shelf.due(Mono(0), true) == Due::Store && !shelf.is_troubled());
        assert_eq!(shelf.fails(&now(0), "full", true), Fails::News(now(20).mono));
        let (mut tried, mut clock) = (Vec::new(), 0);
        while let Some(again) = shelf.next_trial() {
            assert!(shelf.holds_back() && shelf.store_fails());
            assert_eq!(shelf.due(Mono(again.0 - 1), true), Due::Nothing);
            assert_eq!((shelf.due(again, true), shelf.next_trial()), (Due::Write, None));
            // A trial with nothing held is a claim.
            assert!(!shelf.holds_back());
            clock = again.0 / 1_000_000_000;
            tried.push(clock);
            if shelf.fails(&at(again), "full", true) == Fails::GivesUp {
                break;
            }
        }
        assert_eq!((tried, clock), (vec![1, 3, 7, 15, 20], 20));
        assert!(!shelf.store_fails());
    }

    #[test]
    fn what_is_in_flight_is_awaited_longer_than_that() {
        let mut shelf = Shelf::new(SECOND * 2);
        shelf.fails(&now(0), "full", false);
        shelf.due(now(1).mono, false);
        assert_eq!(shelf.fails(&now(3), "full", false), Fails::Known);
        // As soon as nothing is, the last trial is due.
        assert_eq!(shelf.due(now(3).mono, false), Due::Nothing);
        assert_eq!(shelf.due(now(3).mono, true), Due::Write);
        assert_eq!(shelf.fails(&now(3), "another", true), Fails::GivesUp);
        // Another reason is news.
        shelf.fails(&now(4), "full", false);
        shelf.due(now(5).mono, false);
        assert_eq!(shelf.fails(&now(5), "gone", false), Fails::News(now(6).mono));
        assert!(shelf.works() && !shelf.works() && !shelf.is_troubled());
    }

    #[test]
    fn what_could_not_be_written_is_written_again_and_the_rest_waits() {
        let mut shelf = Shelf::new(SECOND * 60);
        done(&mut shelf, 1);
        kept(&mut shelf, 2, false);
        kept(&mut shelf, 3, true);
        assert!(shelf.is_troubled() && shelf.holds_back() && !shelf.store_fails());
        let again: Vec<_> =
            shelf.take_unwritten().into_iter().map(|rewrite| (rewrite.work.ordinal.0, rewrite.counted)).collect();
        assert_eq!(again, [(2, true), (3, false)]);
        assert_eq!(shelf.answers(), 1);
        shelf.is_settled();
        assert!(!shelf.is_troubled());
    }

    #[test]
    fn where_the_folder_is_not_flushed_the_store_keeps_the_texts() {
        let mut shelf = Shelf::new(SECOND * 60);
        done(&mut shelf, 1);
        put(&mut shelf, Ended::Again { class: None }, End::Again(work(2, 1), Mono(9)));
        shelf.take_back("the folder is gone");
        let lot = shelf.send().expect("two wait");
        let text = |finished: &Finished| matches!(&finished.ended, Ended::Unwritten { text, .. } if text == "yes");
        assert_eq!(lot.iter().map(text).collect::<Vec<_>>(), [true, false]);
        let ends = shelf.recorded();
        assert!(matches!(&ends[0], End::Kept { why: Unwritten { why, alone: false }, .. } if why.contains("gone")));
        assert!(shelf.is_troubled());
    }

    #[test]
    fn a_process_that_ends_loses_what_is_here_and_what_is_at_the_store() {
        let mut shelf = Shelf::new(SECOND * 60);
        done(&mut shelf, 1);
        let _ = shelf.send();
        kept(&mut shelf, 2, true);
        assert_eq!(shelf.lose().len(), 2);
        assert!(shelf.is_empty());
    }
}
