//! What came of it: the work in play, from the moment its request leaves until its end is journalled, and the counts of the run.
//!
//! `in_play` says what is at the server and on its way to the disk; `trials` counts each prompt's attempts, and holds the failures that may turn out
//! to be the server's; `shelf` holds what has ended until the store has it. An answer that cannot be written is kept by the store, and the run ends, unless it is this one's place alone that is taken: then the prompt
//! fails.

mod in_play;
mod shelf;
#[cfg(test)]
mod tests;
mod trials;

pub(super) use in_play::Sent;

use super::action::Stop;
use super::input::{NotRecorded, Unwritten, answer_is_kept};
use super::pace::Means;
use super::rules::Rules;
use crate::admit::ledger::Amount;
use crate::admit::server::Ticket;
use crate::clock::{Mono, Now};
use crate::model::{Class, Content, ContentId, Doom, Ending, Key, Ordinal, Usage, Work};
use crate::record::{Ended, Finished, Reservation, Settlement, Told};
use crate::report::event::Event;
use crate::report::summary::Tally;
use crate::send::answer::Answer;
use crate::send::backoff::backoff;
use crate::send::classify::{Billed, Failure, Kind};
use in_play::{Answered, Failed, InPlay, Output};
use shelf::{Due, End, Fails, Rewrite, Shelf};
use trials::{LastFailure, Trials};

/// What follows from what the books took in.
#[derive(Debug)]
pub(super) enum Note {
    /// The output is to be written.
    Write(Ordinal, Content),
    /// These go to the store.
    Finish(Vec<Finished>),
    /// The work has its end.
    Ended(Work),
    /// The work is to be begun again, at this moment or later.
    Again(Work, Mono),
    /// For whoever watches.
    Say(Event),
    /// An output cannot be written, for this reason, and the store has what should stand there.
    Unwritten(String),
    Stop(Stop),
}

/// The books.
#[derive(Debug)]
pub(super) struct Books {
    /// How often a prompt is tried.
    attempts: u32,
    play: InPlay,
    trials: Trials,
    shelf: Shelf,
    tally: Tally,
}

impl Books {
    pub(super) fn new(rules: &Rules) -> Self {
        Self {
            attempts: rules.attempts,
            play: InPlay::default(),
            trials: Trials::default(),
            shelf: Shelf::new(rules.give_up_after),
            tally: Tally::default(),
        }
    }

    /// The counts.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Requests at the server, and answers on their way to the disk.
    pub(super) fn in_flight(&self) -> usize {
        self.play.in_flight()
    }

    /// Prompts on their way to the disk that fail without being sent.
    pub(super) fn doomed(&self) -> usize {
        self.play.doomed()
    }

    /// Work whose request is at the server, or whose output is on its way to the disk.
    pub(super) fn work(&self, ordinal: Ordinal) -> Option<&Work> {
        self.play.work(ordinal)
    }

    /// Whether nothing is under way: neither at the server, nor on its way to the disk, nor to the store.
    pub(super) fn is_idle(&self) -> bool {
        self.play.is_empty() && self.shelf.is_empty()
    }

    /// Whether any failure waits for what is heard of the server next.
    pub(super) fn holds_failures(&self) -> bool {
        self.trials.holds()
    }

    /// Whether the store or the outputs' disk fails.
    pub(super) fn is_troubled(&self) -> bool {
        self.shelf.is_troubled()
    }

    /// Whether nothing is to be begun because of what is not kept.
    pub(super) fn hold_back(&self) -> bool {
        // What is written once more in a trial is not kept yet.
        self.shelf.holds_back() || (self.shelf.store_fails() && self.play.writes())
    }

    /// When the store is tried again, where it fails.
    pub(super) fn next_trial(&self) -> Option<Mono> {
        self.shelf.next_trial()
    }

    /// Answers that are paid for and held, because the store fails. What is on its way to it is none.
    pub(super) fn held_answers(&self) -> usize {
        if self.shelf.store_fails() { self.shelf.answers() } else { 0 }
    }

    /// The number of the attempt that is next for this piece of work, from 1.
    pub(super) fn next_attempt(&self, ordinal: Ordinal) -> u32 {
        self.trials.next(ordinal)
    }

    /// A request leaves.
    pub(super) fn sent(&mut self, work: Work, reservation: Reservation, ticket: Ticket) {
        self.trials.begin(work.ordinal);
        self.tally.requests += 1;
        self.play.send(Sent { work, ticket, reservation, told: Told::default() });
    }

    /// A request was admitted, and does not leave after all.
    pub(super) fn give_back(&mut self, work: Work, reservation: Reservation, now: Mono) {
        let settled = Settlement { reservation, used: Amount::default(), heard: now, told: Told::default() };
        self.again(work, settled, None, now);
    }

    /// Work that cannot be sent fails.
    pub(super) fn fail_unsent(&mut self, work: Work, doom: Doom) -> Note {
        let Doom { class, message } = doom;
        self.write_failure(work, None, Failed { class, message, usage: Usage::default(), is_doomed: true })
    }

    /// Something came back for a request; `None` where it is not under way.
    pub(super) fn take_sent(&mut self, ordinal: Ordinal) -> Option<Sent> {
        self.play.take_sent(ordinal)
    }

    /// A prompt has its answer. Returns what it used as well.
    pub(super) fn answered(&mut self, now: Mono, sent: Sent, answer: Answer) -> (Usage, Vec<Note>) {
        let Sent { work, reservation, told, .. } = sent;
        let Answer { text, usage, model, finish, odd } = answer;
        let mut notes = Vec::new();
        for what in odd {
            self.tally.odd(what);
            notes.push(Note::Say(Event::Odd { key: work.key.clone(), what }));
        }
        // Where nothing was reported or counted, what was reserved is the safe number.
        let input_tokens = work.input_tokens;
        let usage = usage.unwrap_or(Usage {
            input_tokens,
            output_tokens: reservation.tokens().saturating_sub(input_tokens),
            ..Usage::default()
        });
        let settled = Some(Settlement {
            reservation,
            used: Amount::request(usage.total()),
            heard: now,
            told: Told { model, ..told },
        });
        let result = Ok(Answered { usage, finish });
        notes.push(self.write(Output { work, settled, result, again: false }, Content::Answer(text)));
        (usage, notes)
    }

    /// A request has failed. `random`, from 0 to 1, spreads the retries.
    pub(super) fn failed(&mut self, now: Mono, sent: Sent, failure: Failure, means: Means, random: f64) -> Vec<Note> {
        let Sent { work, reservation, told, .. } = sent;
        let Failure { kind, class, message, wait, billed, usage } = failure;
        let tokens = match billed {
            Billed::No => 0,
            Billed::Maybe => usage.map_or(reservation.tokens(), |usage| usage.total().max(reservation.tokens())),
            Billed::Yes => usage.map_or(reservation.tokens(), Usage::total),
        };
        if billed == Billed::Maybe {
            self.tally.unknown_requests += 1;
            self.tally.unknown_tokens = self.tally.unknown_tokens.saturating_add(tokens);
        }
        let used = if class.is_local() {
            // It never left.
            self.tally.requests -= 1;
            Amount::default()
        } else {
            Amount::request(tokens)
        };
        let settled = Settlement { reservation, used, heard: now, told: Told { wait, ..told } };
        let usage = usage.unwrap_or_default();
        match means {
            Means::Own => {
                vec![self.write_failure(work, Some(settled), Failed { class, message, usage, is_doomed: false })]
            }
            Means::Stops => {
                self.again(work, settled, Some(class), now);
                Vec::new()
            }
            Means::Again(at) => {
                match kind {
                    Kind::Throttled => self.tally.throttled += 1,
                    _ => self.tally.retried += 1,
                }
                self.again(work, settled, Some(class), at);
                Vec::new()
            }
            Means::Outage { at, refunds } => {
                self.tally.retried += 1;
                self.again(work, settled, Some(class), at);
                self.trials.refund(&refunds);
                // Nobody's attempts are used up by it.
                let (freed, again) = self.trials.release();
                self.tally.retried += freed;
                again.into_iter().map(|(work, at)| Note::Again(work, at)).collect()
            }
            Means::Tried { unsent, last, class, not_before } => {
                let failed = self.trials.fail(work.ordinal, !unsent);
                if last || (failed >= self.attempts && !unsent) {
                    let message = match self.attempts {
                        attempts @ 2.. if failed >= attempts => {
                            format!("{message} (attempt {attempts} of {attempts})")
                        }
                        _ => message,
                    };
                    // What is heard of the server next says whether it is this prompt's, or the beginning of an outage.
                    let ended = finished(&work, Some(settled), Ended::Again { class: Some(class) });
                    self.shelf.put(ended, End::Held(work.ordinal));
                    self.trials.hold(LastFailure { work, heard: now, class, message, usage, not_before });
                    return Vec::new();
                }
                let pause = backoff(failed.max(1), wait, random);
                self.tally.retried += 1;
                let retrying = Event::Retrying {
                    key: work.key.clone(),
                    class,
                    message,
                    attempt: failed,
                    attempts: self.attempts,
                    seconds: pause.as_secs_f64(),
                };
                self.again(work, settled, Some(class), now.plus(pause));
                vec![Note::Say(retrying)]
            }
        }
    }

    /// The server answers a request that left at `sent`: what had failed for the last time by then has failed for good.
    pub(super) fn fail_held(&mut self, sent: Mono) -> Vec<Note> {
        let last = self.trials.take_final(sent);
        last.into_iter()
            .map(|LastFailure { work, class, message, usage, .. }| {
                self.write_failure(work, None, Failed { class, message, usage, is_doomed: false })
            })
            .collect()
    }

    /// An output is written, or cannot be.
    pub(super) fn written(&mut self, ordinal: Ordinal, content: Content, result: Result<ContentId, Unwritten>) {
        let Some(Output { work, settled, result: ended, again }) = self.play.take_output(ordinal) else { return };
        match (result.as_ref().is_err_and(|unwritten| !unwritten.alone), again) {
            (false, true) => self.shelf.is_settled(),
            (true, false) => self.shelf.is_unwritten(),
            _ => {}
        }
        match (ended, content, result) {
            (Ok(Answered { usage, finish }), Content::Answer(text), Ok(output)) => {
                let ended = finished(&work, settled, Ended::Done { usage, finish, output });
                self.shelf.put(ended, End::Done { work, usage, finish, text });
            }
            (Ok(Answered { usage, finish }), Content::Answer(text), Err(why)) => {
                let ended = finished(&work, settled, Ended::Unwritten { usage, finish, text });
                self.shelf.put(ended, End::Kept { work, usage, why });
            }
            // The journal says what the output cannot.
            (Err(Failed { class, message, usage, .. }), _, result) => {
                let ended = finished(&work, settled, Ended::Failed { class, message: message.clone(), usage });
                self.shelf.put(ended, End::Failed { work, usage, class, message, unwritten: result.err() });
            }
            // What comes back is what was given out.
            (Ok(_), Content::Error { .. }, _) => {}
        }
    }

    /// What has ended goes to the store, if it is there for it.
    pub(super) fn keep(&mut self, now: Mono) -> Vec<Note> {
        let mut notes = Vec::new();
        match self.shelf.due(now, self.play.is_empty()) {
            Due::Nothing => return notes,
            Due::Store => {}
            Due::Write => {
                for Rewrite { work, settled, usage, finish, counted, content } in self.shelf.take_unwritten() {
                    let result = Ok(Answered { usage, finish });
                    notes.push(self.write(Output { work, settled, result, again: counted }, content));
                }
            }
        }
        notes.extend(self.shelf.send().map(Note::Finish));
        notes
    }

    /// The store has what it was given.
    pub(super) fn recorded(&mut self) -> Vec<Note> {
        let mut notes = Vec::new();
        for end in self.shelf.recorded() {
            match end {
                End::Done { work, usage, finish, .. } => {
                    self.tally.answered(usage, finish);
                    self.end(work, &mut notes, |key| Event::Done { key, usage, finish });
                }
                End::Failed { work, usage, class, message, unwritten } => {
                    self.tally.failed(usage);
                    self.end(work, &mut notes, |key| Event::Failed { key, class, message });
                    match unwritten {
                        // It is what this failure says.
                        Some(Unwritten { alone: true, .. }) if class == Class::OutputBlocked => {}
                        Some(Unwritten { why, alone: true }) => notes.push(Note::Say(Event::Warning { message: why })),
                        Some(Unwritten { why, alone: false }) => notes.push(self.unwritten(why)),
                        None => {}
                    }
                }
                // It has an answer and no output: the prompt fails, and the others go on.
                End::Kept { work, usage, why: Unwritten { why, alone: true } } => {
                    self.tally.kept(usage);
                    self.tally.failed(Usage::default());
                    let (class, message) = (Class::OutputBlocked, answer_is_kept(&why));
                    self.end(work, &mut notes, |key| Event::Failed { key, class, message });
                }
                End::Kept { usage, why: Unwritten { why, alone: false }, .. } => {
                    self.tally.kept(usage);
                    notes.push(self.unwritten(why));
                }
                End::Held(ordinal) => {
                    notes.extend(self.trials.recorded(ordinal).map(|(work, at)| Note::Again(work, at)));
                }
                End::Again(work, at) => notes.push(Note::Again(work, at)),
            }
        }
        notes
    }

    /// What the store was given comes back. `others` where claims are at the store.
    pub(super) fn unrecorded(
        &mut self,
        now: &Now,
        finished: Vec<Finished>,
        why: NotRecorded,
        others: bool,
    ) -> Option<Note> {
        self.shelf.unrecorded(finished);
        match why {
            NotRecorded::Unflushed(why) => {
                self.shelf.take_back(&why);
                None
            }
            NotRecorded::Store(reason) => self.store_fails(now, reason, others),
        }
    }

    /// The store fails: it is tried again. `others` where claims are there.
    pub(super) fn store_fails(&mut self, now: &Now, reason: String, others: bool) -> Option<Note> {
        match self.shelf.fails(now, &reason, self.play.is_empty() && !others) {
            Fails::Known => None,
            Fails::News(until) => {
                let left = now.mono.until(until);
                Some(Note::Say(Event::Holding {
                    reason,
                    answers: self.shelf.answers(),
                    in_flight: self.in_flight(),
                    seconds: left.as_secs_f64(),
                    until: now.wall + chrono::TimeDelta::from_std(left).unwrap_or_default(),
                }))
            }
            Fails::GivesUp => {
                self.lose();
                Some(Note::Stop(Stop::because(reason, Ending::Store)))
            }
        }
    }

    /// The store has done what it was asked for.
    pub(super) fn store_works(&mut self) -> Option<Event> {
        self.shelf.works().then_some(Event::Released {})
    }

    /// Claims were admitted: if nothing else waits for the store, it works.
    pub(super) fn admitted(&mut self) -> Option<Event> {
        if self.shelf.is_empty() { self.store_works() } else { None }
    }

    /// The process ends with what it holds. An output on disk is found by the next run; an answer that is nowhere is lost.
    pub(super) fn lose(&mut self) {
        for end in self.shelf.lose() {
            match end {
                End::Done { .. } => self.tally.unrecorded += 1,
                End::Kept { .. } => self.tally.lost += 1,
                End::Failed { .. } | End::Held(_) | End::Again(..) => {}
            }
        }
    }

    /// Requests that are not waited for, and the tokens that stay counted for them.
    pub(super) fn abandoned(&self) -> (usize, u64) {
        (self.in_flight(), self.play.tokens())
    }

    fn end(&mut self, work: Work, notes: &mut Vec<Note>, event: impl FnOnce(Key) -> Event) {
        self.trials.end(work.ordinal);
        notes.push(Note::Say(event(work.key.clone())));
        notes.push(Note::Ended(work));
    }

    fn unwritten(&mut self, why: String) -> Note {
        self.shelf.is_settled();
        Note::Unwritten(why)
    }

    /// Journals that it is to be sent again; its place in the run is kept. It is begun when that is journalled, at the moment `at` or later.
    fn again(&mut self, work: Work, settled: Settlement, class: Option<Class>, at: Mono) {
        self.shelf.put(finished(&work, Some(settled), Ended::Again { class }), End::Again(work, at));
    }

    fn write_failure(&mut self, work: Work, settled: Option<Settlement>, failed: Failed) -> Note {
        let content = Content::Error { class: failed.class, message: failed.message.clone() };
        self.write(Output { work, settled, result: Err(failed), again: false }, content)
    }

    fn write(&mut self, output: Output, content: Content) -> Note {
        let ordinal = output.work.ordinal;
        self.play.write(output);
        Note::Write(ordinal, content)
    }
}

fn finished(work: &Work, settled: Option<Settlement>, ended: Ended) -> Finished {
    Finished { key: work.key.clone(), fingerprint: work.fingerprint, settled, ended }
}
