//! What comes of an attempt: answers, failures, and what the journal is told.

use std::cmp::Reverse;

use super::machine::{Active, End, Machine, Recorded};
use super::{Action, Content, Ending, Job, JobIndex, Unwritten};
use crate::clock::{Mono, Now};
use crate::model::{PromptId, Usage};
use crate::record::{Ended, Finished, Reservation, Settlement};
use crate::report::event::Event;
use crate::send::answer::Answer;
use crate::send::backoff::backoff;
use crate::send::classify::{Billed, Failure, Kind, RunStop, Verdict};

impl Machine {
    pub(super) fn heard(&mut self, now: &Now, job: JobIndex, verdict: Verdict, actions: &mut Vec<Action>) {
        let Some(Active::Sending(reservation)) = self.active.remove(&job) else { return };
        match verdict {
            Verdict::Answer(answer) => self.answered(now, job, reservation, answer, actions),
            Verdict::Failure(failure) => self.failed(now, job, reservation, failure, actions),
        }
    }

    fn answered(
        &mut self,
        now: &Now,
        job: JobIndex,
        reservation: Reservation,
        answer: Answer,
        actions: &mut Vec<Action>,
    ) {
        let Answer { text, usage, finish } = answer;
        // Where nothing was reported or counted, what was reserved is the safe number.
        let input_tokens = self.jobs[job as usize].input_tokens;
        let usage =
            usage.unwrap_or(Usage { input_tokens, output_tokens: reservation.tokens().saturating_sub(input_tokens) });
        self.throttle.answered(reservation.at());
        self.estimate.learn(usage.output_tokens);
        let settled = Some(Settlement { reservation, tokens: usage.total(), heard: now.mono });
        self.active.insert(job, Active::Writing { settled, end: End::Answered { usage, finish } });
        actions.push(Action::Write(job, Content::Answer(text)));
    }

    fn failed(
        &mut self,
        now: &Now,
        job: JobIndex,
        reservation: Reservation,
        failure: Failure,
        actions: &mut Vec<Action>,
    ) {
        let Failure { kind, class, message, wait, billed, usage } = failure;
        let spent = match billed {
            Billed::No => 0,
            Billed::Maybe => usage.map_or(reservation.tokens(), |usage| usage.total().max(reservation.tokens())),
            Billed::Yes => usage.map_or(reservation.tokens(), Usage::total),
        };
        if billed == Billed::Maybe {
            self.tally.unknown_requests += 1;
            self.tally.unknown_tokens += spent;
        }
        let began = reservation.at();
        let settled = Settlement { reservation, tokens: spent, heard: now.mono };
        let prompt = self.jobs[job as usize].prompt;
        match kind {
            Kind::Prompt => self.write_error(job, Some(settled), usage.unwrap_or_default(), class, message, actions),
            Kind::Run(stop) => {
                self.again(job, settled, class, now.mono);
                self.stop(stop, class, message, actions);
            }
            Kind::Throttled => {
                self.tally.throttled += 1;
                if self.throttle.refused(began, now.mono, wait, self.random.f64()) {
                    let until = self.throttle.until(now.mono).unwrap_or(now.mono);
                    actions.push(Action::Say(Event::Throttled {
                        prompt,
                        class,
                        message,
                        seconds: now.mono.until(until).as_secs_f64(),
                    }));
                }
                self.again(job, settled, class, now.mono);
            }
            Kind::Transient | Kind::Unknown => {
                let tries = self.tries.entry(job).or_default();
                tries.failed += 1;
                let failed = tries.failed;
                if failed >= self.rules.attempts {
                    let message =
                        if failed > 1 { format!("{message} (attempt {failed} of {failed})") } else { message };
                    self.write_error(job, Some(settled), usage.unwrap_or_default(), class, message, actions);
                    return;
                }
                let pause = backoff(failed, wait, self.random.f64());
                self.tally.retried += 1;
                let (attempt, attempts) = (failed, self.rules.attempts);
                let seconds = pause.as_secs_f64();
                actions.push(Action::Say(Event::Retrying { prompt, class, message, attempt, attempts, seconds }));
                self.again(job, settled, class, now.mono.plus(pause));
            }
        }
    }

    /// Journals that the job is to be sent again; its place in the run is kept. It is begun when that is journalled, at the moment `at` or later.
    pub(super) fn again(&mut self, job: JobIndex, settled: Settlement, class: &'static str, at: Mono) {
        self.in_flight -= 1;
        self.record(job, Some(settled), Ended::Again { class: class.to_owned() }, Recorded::Again(job, at));
    }

    fn stop(&mut self, stop: RunStop, class: &'static str, message: String, actions: &mut Vec<Action>) {
        if self.stopping.is_none() {
            actions.push(Action::Say(Event::Stopping {
                reason: format!("{class}: {message}"),
                in_flight: self.in_flight,
            }));
            self.stopping = Some(Ending::Stopped { stop, class, message });
        }
    }

    pub(super) fn write_error(
        &mut self,
        job: JobIndex,
        settled: Option<Settlement>,
        usage: Usage,
        class: &str,
        message: String,
        actions: &mut Vec<Action>,
    ) {
        if settled.is_none() {
            // It was not in flight before; its output is now.
            self.in_flight += 1;
        }
        let end = End::Failed { class: class.to_owned(), message: message.clone(), usage };
        self.active.insert(job, Active::Writing { settled, end });
        actions.push(Action::Write(job, Content::Error { class: class.to_owned(), message }));
    }

    pub(super) fn written(&mut self, job: JobIndex, result: Result<u64, Unwritten>, actions: &mut Vec<Action>) {
        let Some(Active::Writing { settled, end }) = self.active.remove(&job) else { return };
        self.in_flight -= 1;
        let unwritten = match &result {
            Ok(_) => None,
            Err(unwritten) => Some(unwritten.message.clone()),
        };
        let (ended, recorded) = match (end, result) {
            (End::Answered { usage, finish }, Ok(bytes)) => {
                (Ended::Done { usage, finish, bytes }, Recorded::Done(job, usage, finish))
            }
            (End::Answered { usage, finish }, Err(Unwritten { content: Content::Answer(text), .. })) => {
                (Ended::Unwritten { usage, finish, text }, Recorded::Kept(usage))
            }
            // The journal says what the output cannot.
            (End::Failed { class, message, usage }, _) => {
                let recorded = Recorded::Failed { job, usage, class: class.clone(), message: message.clone() };
                (Ended::Failed { class, message, usage }, recorded)
            }
            // What comes back unwritten is what was given out.
            (End::Answered { .. }, Err(_)) => return,
        };
        self.record(job, settled, ended, recorded);
        if let Some(message) = unwritten
            && !matches!(self.stopping, Some(Ending::Disk(_)))
        {
            actions.push(Action::Say(Event::Stopping { reason: message.clone(), in_flight: self.in_flight }));
            self.stopping = Some(Ending::Disk(message));
        }
    }

    fn record(&mut self, job: JobIndex, settled: Option<Settlement>, ended: Ended, recorded: Recorded) {
        let Job { prompt, fingerprint, .. } = self.jobs[job as usize];
        self.finished.push((Finished { prompt, fingerprint, settled, ended }, recorded));
    }

    pub(super) fn recorded(&mut self, actions: &mut Vec<Action>) {
        // Settled amounts may have made room.
        self.blocked = None;
        self.settled_since = true;
        for recorded in self.recording.take().unwrap_or_default() {
            match recorded {
                Recorded::Done(job, usage, finish) => {
                    self.tally.answered(usage, finish);
                    let prompt = self.end(job);
                    actions.push(Action::Say(Event::Done { prompt, usage, finish }));
                }
                Recorded::Failed { job, usage, class, message } => {
                    self.tally.failed(usage);
                    let prompt = self.end(job);
                    actions.push(Action::Say(Event::Failed { prompt, class, message }));
                }
                Recorded::Kept(usage) => self.tally.kept(usage),
                Recorded::Again(job, at) => self.delayed.push(Reverse((at, job))),
            }
        }
    }

    /// Counts a job as ended.
    fn end(&mut self, index: JobIndex) -> PromptId {
        let job = &self.jobs[index as usize];
        self.tries.remove(&index);
        self.open -= 1;
        if job.doomed.is_none() {
            self.open_in_batch[job.batch as usize] -= 1;
        }
        job.prompt
    }

    pub(super) fn store_failed(&mut self, message: String, actions: &mut Vec<Action>) {
        // What was to be journalled is lost; the outputs on disk are found by the next run.
        self.claimed = None;
        self.recording = None;
        self.finished.clear();
        if !matches!(self.stopping, Some(Ending::Store(_))) {
            actions.push(Action::Say(Event::Stopping { reason: message.clone(), in_flight: self.in_flight }));
            self.stopping = Some(Ending::Store(message));
        }
    }
}
