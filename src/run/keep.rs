//! How answers are kept: written, then journalled. What is paid for is held as long as the process lives.
//!
//! An answer that cannot be written is kept by the store, and the run ends, unless it is this one's place alone that is taken: then the prompt fails.
//! Where the store fails too, nothing more is sent, what is in flight is awaited, and all that has ended is held here and tried again, writing first,
//! until it works or the run gives up.

use std::cmp::Reverse;
use std::time::Duration;

use super::machine::{Active, End, Machine, Recorded};
use super::{Action, Job, JobIndex, NotRecorded, Unwritten, answer_is_kept};
use crate::clock::{Mono, Now};
use crate::model::{Class, Content, ContentId, Ending, Key, Usage};
use crate::record::{Ended, Finished, Settlement};
use crate::report::event::{Binds, Event, WaitFor};

/// The wait before the first trial, doubled each time, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(8);

/// The store fails.
#[derive(Debug)]
pub(super) struct Trouble {
    /// When the run gives up.
    until: Mono,
    /// Why, as it was told.
    reason: String,
    wait: Duration,
    /// The next trial; `None` while one is under way.
    again: Option<Mono>,
}

impl Machine {
    pub(super) fn write_error(
        &mut self,
        job: JobIndex,
        settled: Option<Settlement>,
        usage: Usage,
        class: Class,
        message: String,
        actions: &mut Vec<Action>,
    ) {
        if settled.is_none() {
            // It was not in flight before; its output is now.
            self.in_flight += 1;
        }
        let end = End::Failed { class, message: message.clone(), usage };
        self.active.insert(job, Active::Writing { settled, end, again: false });
        actions.push(Action::Write(job, Content::Error { class, message }));
    }

    pub(super) fn written(&mut self, job: JobIndex, content: Content, result: Result<ContentId, Unwritten>) {
        let Some(Active::Writing { settled, end, again }) = self.active.remove(&job) else { return };
        self.in_flight -= 1;
        match (result.as_ref().is_err_and(|unwritten| !unwritten.alone), again) {
            (false, true) => self.unwritten -= 1,
            (true, false) => self.unwritten += 1,
            _ => {}
        }
        let (ended, recorded) = match (end, content, result) {
            (End::Answered { usage, finish }, Content::Answer(text), Ok(output)) => {
                (Ended::Done { usage, finish, output }, Recorded::Done { job, usage, finish, text })
            }
            (End::Answered { usage, finish }, Content::Answer(text), Err(why)) => {
                (Ended::Unwritten { usage, finish, text }, Recorded::Kept { job, usage, why })
            }
            // The journal says what the output cannot.
            (End::Failed { class, message, usage }, _, result) => {
                let (failed, unwritten) = ((class, message.clone()), result.err());
                (Ended::Failed { class, message, usage }, Recorded::Failed { job, usage, failed, unwritten })
            }
            // What comes back is what was given out.
            (End::Answered { .. }, Content::Error { .. }, _) => return,
        };
        self.record(job, settled, ended, recorded);
    }

    pub(super) fn record(&mut self, job: JobIndex, settled: Option<Settlement>, ended: Ended, recorded: Recorded) {
        let Job { key, fingerprint, .. } = &self.jobs[job as usize];
        let (key, fingerprint) = (key.clone(), *fingerprint);
        self.finished.push((Finished { key, fingerprint, settled, ended }, recorded));
    }

    /// Takes what has ended to the store: all at once, and one after the other.
    pub(super) fn keep(&mut self, now: &Now, actions: &mut Vec<Action>) {
        if let Some(trouble) = &mut self.trouble {
            // The last trial does not wait any longer than for what is in flight.
            let is_last = now.mono >= trouble.until && self.in_flight == 0;
            match trouble.again {
                Some(again) if now.mono < again && !is_last => return,
                Some(_) => {
                    trouble.again = None;
                    self.write_again(actions);
                }
                None => {}
            }
        }
        if self.recording.is_none() && !self.finished.is_empty() {
            let (finished, recorded) = std::mem::take(&mut self.finished).into_iter().unzip();
            self.recording = Some(recorded);
            actions.push(Action::Finish(finished));
        }
    }

    /// What could not be written may be written now.
    fn write_again(&mut self, actions: &mut Vec<Action>) {
        for (finished, recorded) in std::mem::take(&mut self.finished) {
            match (finished, recorded) {
                (
                    Finished { ended: Ended::Unwritten { usage, finish, text }, settled, .. },
                    Recorded::Kept { job, why, .. },
                ) => {
                    self.in_flight += 1;
                    let end = End::Answered { usage, finish };
                    self.active.insert(job, Active::Writing { settled, end, again: !why.alone });
                    actions.push(Action::Write(job, Content::Answer(text)));
                }
                other => self.finished.push(other),
            }
        }
    }

    pub(super) fn recorded(&mut self, actions: &mut Vec<Action>) {
        // Settled amounts may have made room.
        self.blocked = None;
        self.settled_since = true;
        self.store_works(actions);
        for recorded in self.recording.take().unwrap_or_default() {
            match recorded {
                Recorded::Done { job, usage, finish, .. } => {
                    self.tally.answered(usage, finish);
                    let key = self.end(job);
                    actions.push(Action::Say(Event::Done { key, usage, finish }));
                }
                Recorded::Failed { job, usage, failed: (class, message), unwritten } => {
                    self.tally.failed(usage);
                    let key = self.end(job);
                    // It is what this failure says.
                    let is_told = class == Class::OutputBlocked;
                    actions.push(Action::Say(Event::Failed { key, class, message }));
                    match unwritten {
                        None => {}
                        Some(Unwritten { alone: true, .. }) if is_told => {}
                        Some(Unwritten { why, alone: true }) => {
                            actions.push(Action::Say(Event::Warning { message: why }));
                        }
                        Some(Unwritten { why, alone: false }) => self.not_written(why, actions),
                    }
                }
                Recorded::Held(job) => self.held_journalled(job),
                Recorded::Kept { usage, why: Unwritten { why, alone: false }, .. } => {
                    self.tally.kept(usage);
                    self.not_written(why, actions);
                }
                // It has an answer and no output: the prompt fails, and the others go on.
                Recorded::Kept { job, usage, why: Unwritten { why, alone: true } } => {
                    self.tally.kept(usage);
                    self.tally.failed(Usage::default());
                    let (key, class) = (self.end(job), Class::OutputBlocked);
                    actions.push(Action::Say(Event::Failed { key, class, message: answer_is_kept(&why) }));
                }
                Recorded::Again(job, at) => self.delayed.push(Reverse((at, job))),
            }
        }
    }

    /// An output cannot be written, and the store has what should stand there: the run ends.
    fn not_written(&mut self, why: String, actions: &mut Vec<Action>) {
        self.unwritten -= 1;
        match self.stopping {
            None => self.stop(Ending::Disk(why.clone()), why, actions),
            Some(Ending::Disk(_)) => {}
            // It ends for another reason, and one such sentence is enough.
            Some(_) if self.tally.kept > 1 => {}
            Some(_) => actions.push(Action::Say(Event::Warning { message: why })),
        }
    }

    /// Counts a job as ended.
    fn end(&mut self, index: JobIndex) -> Key {
        let job = &self.jobs[index as usize];
        self.tries.remove(&index);
        self.open -= 1;
        if job.doomed.is_none() {
            self.open_in_batch[job.batch as usize] -= 1;
        }
        job.key.clone()
    }

    /// What was to be recorded is held, and nothing is forgotten.
    pub(super) fn unrecorded(
        &mut self,
        now: &Now,
        finished: Vec<Finished>,
        why: NotRecorded,
        actions: &mut Vec<Action>,
    ) {
        let recording = self.recording.take().unwrap_or_default();
        let mut held: Vec<_> = finished.into_iter().zip(recording).collect();
        held.append(&mut self.finished);
        self.finished = held;
        match why {
            // Whether they are on the disk for good is not known: the store keeps them.
            NotRecorded::Unflushed(why) => self.take_back(&why),
            NotRecorded::Store(reason) => self.hold(now, reason, actions),
        }
    }

    fn take_back(&mut self, why: &str) {
        for (finished, recorded) in &mut self.finished {
            if let (Ended::Done { usage, finish, .. }, Recorded::Done { job, text, .. }) =
                (&finished.ended, &mut *recorded)
            {
                let (job, usage, text) = (*job, *usage, std::mem::take(text));
                finished.ended = Ended::Unwritten { usage, finish: *finish, text };
                let why = Unwritten { why: why.to_owned(), alone: false };
                *recorded = Recorded::Kept { job, usage, why };
                self.unwritten += 1;
            }
        }
    }

    /// The store could not begin what was claimed. Nothing was sent.
    pub(super) fn unbegun(&mut self, now: &Now, reason: String, actions: &mut Vec<Action>) {
        self.ready.extend(self.claimed.take().unwrap_or_default());
        if self.stopping.is_none() {
            self.hold(now, reason, actions);
        }
    }

    /// The store's file is gone: what is under way comes to its end, and nothing more is sent, for nobody would know of it.
    pub(super) fn store_gone(&mut self, reason: String, actions: &mut Vec<Action>) {
        self.stop(Ending::Store(reason.clone()), reason, actions);
    }

    /// The store fails: it is tried again.
    fn hold(&mut self, now: &Now, reason: String, actions: &mut Vec<Action>) {
        let is_news = self.trouble.as_ref().is_none_or(|trouble| trouble.reason != reason);
        let (until, wait) = match &self.trouble {
            Some(trouble) => (trouble.until, (trouble.wait * 2).min(LONGEST_WAIT)),
            None => (now.mono.plus(self.rules.give_up_after), FIRST_WAIT),
        };
        if now.mono >= until && self.in_flight == 0 && self.claimed.is_none() {
            self.lose();
            self.trouble = None;
            self.stop(Ending::Store(reason.clone()), reason, actions);
            return;
        }
        // What is in flight is awaited however long that takes.
        let last = if now.mono < until { until } else { Mono(u64::MAX) };
        let again = now.mono.plus(wait).min(last);
        self.trouble = Some(Trouble { until, reason: reason.clone(), wait, again: Some(again) });
        if is_news {
            let left = now.mono.until(until);
            actions.push(Action::Say(Event::Holding {
                reason,
                answers: self.held_answers(),
                in_flight: self.in_flight,
                seconds: left.as_secs_f64(),
                until: now.wall + chrono::TimeDelta::from_std(left).unwrap_or_default(),
            }));
        }
    }

    /// The store has done what it was asked for.
    pub(super) fn store_works(&mut self, actions: &mut Vec<Action>) {
        if self.trouble.take().is_some() {
            actions.push(Action::Say(Event::Released {}));
        }
    }

    /// Answers that are paid for and not kept yet, those on their way to the store included.
    pub(super) fn held_answers(&self) -> usize {
        let recording = self.recording.iter().flatten();
        let all = self.finished.iter().map(|(_, recorded)| recorded).chain(recording);
        all.filter(|recorded| matches!(recorded, Recorded::Done { .. } | Recorded::Kept { .. })).count()
    }

    /// Whether nothing is to be begun because of what is not kept. A trial with nothing held is a claim.
    pub(super) fn is_holding(&mut self) -> bool {
        let is_written = |active: &Active| matches!(active, Active::Writing { .. });
        let all_kept = self.recording.is_none() && self.finished.is_empty();
        let trouble = self.trouble.as_ref();
        // What is written once more in a trial is not kept yet.
        let holding = self.unwritten > 0
            || trouble
                .is_some_and(|trouble| trouble.again.is_some() || !all_kept || self.active.values().any(is_written));
        if holding {
            let until = trouble.and_then(|trouble| trouble.again);
            self.binds = Some(Binds { what: WaitFor::Disk, until });
        }
        holding
    }

    /// When the store is tried again.
    pub(super) fn next_trial(&self) -> Option<Mono> {
        self.trouble.as_ref().and_then(|trouble| trouble.again)
    }

    /// The process ends with what it holds. An output on disk is found by the next run; an answer that is nowhere is lost.
    pub(super) fn lose(&mut self) {
        let recording = self.recording.take().unwrap_or_default();
        let finished = std::mem::take(&mut self.finished).into_iter().map(|(_, recorded)| recorded);
        for recorded in recording.into_iter().chain(finished) {
            match recorded {
                Recorded::Done { .. } => self.tally.unrecorded += 1,
                Recorded::Kept { .. } => self.tally.lost += 1,
                Recorded::Failed { .. } | Recorded::Held(_) | Recorded::Again(..) => {}
            }
        }
    }
}
