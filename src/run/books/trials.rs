//! How often each prompt was tried, and the last failures that may turn out to be the server's.

use std::collections::HashMap;

use crate::clock::Mono;
use crate::model::{Class, Ordinal, Usage, Work};

/// The attempts of the prompts that have been begun and have no end.
#[derive(Debug, Default)]
pub(super) struct Trials {
    tries: HashMap<Ordinal, Tries>,
    held: Vec<Held>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    begun: u32,
    failed: u32,
}

/// The last failure of a prompt. It is final, unless the server turns out to fail.
#[derive(Debug)]
pub(super) struct LastFailure {
    pub(super) work: Work,
    /// When it was heard of.
    pub(super) heard: Mono,
    pub(super) class: Class,
    pub(super) message: String,
    pub(super) usage: Usage,
    /// The end of the wait that the server asks for.
    pub(super) not_before: Mono,
}

#[derive(Debug)]
struct Held {
    failure: LastFailure,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The journal does not have the attempt's end yet.
    Recording,
    /// It has; the prompt may be begun again.
    Recorded,
    /// The failure is the server's, and the prompt is tried again as soon as the journal has the end.
    Released,
}

impl Trials {
    /// The number of the attempt that would be next, from 1; attempts that were throttled count too.
    pub(super) fn next(&self, ordinal: Ordinal) -> u32 {
        self.tries.get(&ordinal).map_or(0, |tries| tries.begun) + 1
    }

    /// An attempt begins.
    pub(super) fn begin(&mut self, ordinal: Ordinal) {
        self.tries.entry(ordinal).or_default().begun += 1;
    }

    /// An attempt has failed, and counts if the server was reached. Returns how many that makes.
    pub(super) fn fail(&mut self, ordinal: Ordinal, counts: bool) -> u32 {
        let tries = self.tries.entry(ordinal).or_default();
        tries.failed += u32::from(counts);
        tries.failed
    }

    /// These failures were the server's: each gives an attempt back.
    pub(super) fn refund(&mut self, ordinals: &[Ordinal]) {
        for ordinal in ordinals {
            if let Some(tries) = self.tries.get_mut(ordinal) {
                tries.failed = tries.failed.saturating_sub(1);
            }
        }
    }

    /// The prompt has its end.
    pub(super) fn end(&mut self, ordinal: Ordinal) {
        self.tries.remove(&ordinal);
    }

    /// Holds a last failure until it is known whose it is.
    pub(super) fn hold(&mut self, failure: LastFailure) {
        self.held.push(Held { failure, stage: Stage::Recording });
    }

    /// Whether any failure is held.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// The journal has the end of an attempt whose failure is held. Returns the work that may be begun again at that moment.
    pub(super) fn recorded(&mut self, ordinal: Ordinal) -> Option<(Work, Mono)> {
        let place = self.held.iter().position(|held| held.failure.work.ordinal == ordinal)?;
        if self.held[place].stage == Stage::Released {
            let LastFailure { work, not_before, .. } = self.held.swap_remove(place).failure;
            return Some((work, not_before));
        }
        self.held[place].stage = Stage::Recorded;
        None
    }

    /// The server fails others too: what is held is tried again. Returns how many failures that frees, and what may be begun again at which moment.
    pub(super) fn release(&mut self) -> (usize, Vec<(Work, Mono)>) {
        let freed = self.held.iter().filter(|held| held.stage != Stage::Released).count();
        let (recorded, rest): (Vec<_>, _) =
            std::mem::take(&mut self.held).into_iter().partition(|held| held.stage == Stage::Recorded);
        self.held = rest;
        self.held.iter_mut().for_each(|held| held.stage = Stage::Released);
        (freed, recorded.into_iter().map(|Held { failure, .. }| (failure.work, failure.not_before)).collect())
    }

    /// The server answers a request that left at `sent`: returns the failures that were heard of by then, which are final.
    pub(super) fn take_final(&mut self, sent: Mono) -> Vec<LastFailure> {
        if self.held.is_empty() {
            return Vec::new();
        }
        let (last, rest): (Vec<_>, _) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| held.failure.heard <= sent && held.stage != Stage::Released);
        self.held = rest;
        last.into_iter().map(|held| held.failure).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Ordinal;
    use crate::run::tests::work;

    fn failure(ordinal: u32, heard: u64) -> LastFailure {
        LastFailure {
            work: work(ordinal, 1),
            heard: Mono(heard),
            class: Class::ServerError,
            message: String::new(),
            usage: Usage::default(),
            not_before: Mono(heard + 100),
        }
    }

    fn ordinals(failures: Vec<LastFailure>) -> Vec<u32> {
        failures.into_iter().map(|failure| failure.work.ordinal.0).collect()
    }

    #[test]
    fn attempts_are_counted_and_given_back() {
        let mut trials = Trials::default();
        let ordinal = Ordinal(7);
        assert_eq!(trials.next(ordinal), 1);
        trials.begin(ordinal);
        assert_eq!((trials.fail(ordinal, true), trials.next(ordinal)), (1, 2));
        trials.begin(ordinal);
        // It never reached the server.
        assert_eq!((trials.fail(ordinal, false), trials.next(ordinal)), (1, 3));
        assert_eq!(trials.fail(ordinal, true), 2);
        trials.refund(&[ordinal, ordinal, ordinal, Ordinal(9)]);
        assert_eq!(trials.fail(ordinal, true), 1);
        trials.end(ordinal);
        assert_eq!(trials.next(ordinal), 1);
    }

    #[test]
    fn what_an_answer_to_a_later_request_proves_is_final() {
        let mut trials = Trials::default();
        for ordinal in [1, 2, 3] {
            trials.hold(failure(ordinal, u64::from(ordinal) * 10));
        }
        assert!(trials.take_final(Mono(9)).is_empty());
        // Whether the journal has it makes no difference.
        assert_eq!(trials.recorded(Ordinal(1)), None);
        assert_eq!(ordinals(trials.take_final(Mono(20))), [1, 2]);
        assert_eq!(ordinals(trials.take_final(Mono(u64::MAX))), [3]);
        assert!(!trials.holds());
    }

    #[test]
    fn what_is_the_servers_is_tried_again_once_the_journal_has_it() {
        let mut trials = Trials::default();
        trials.hold(failure(1, 10));
        trials.hold(failure(2, 20));
        assert_eq!(trials.recorded(Ordinal(1)), None);
        let (freed, again) = trials.release();
        assert_eq!((freed, again.len(), again[0].0.ordinal, again[0].1), (2, 1, Ordinal(1), Mono(110)));
        // The other is not final any more, and waits for the journal.
        assert!(trials.holds() && trials.take_final(Mono(u64::MAX)).is_empty());
        assert_eq!(trials.release().0, 0);
        assert_eq!(trials.recorded(Ordinal(2)).map(|(work, at)| (work.ordinal, at)), Some((Ordinal(2), Mono(120))));
        assert!(!trials.holds());
    }
}
