//! The machine itself: takes each input to the part that it is for, and what comes of it to the others. See [`super`] for how it is driven.

use super::action::{Action, Stop};
use super::books::{Books, Note};
use super::input::Input;
use super::pace::{Heard, Load, OutputEstimate, Pace, Reply};
use super::queue::Queue;
use super::rules::Rules;
use crate::admit::hint::{ServerHint, in_short};
use crate::admit::server::ServerLimits;
use crate::clock::{Mono, Now};
use crate::model::{Doom, Drawn, Ending, Ordinal, Portion, Signal, Work};
use crate::record::{Begun, Claim, Refusal};
use crate::report::event::Event;
use crate::report::summary::Progress;
use crate::report::waits::WaitFor;
use crate::send::classify::Verdict;

/// So many prompts that fail without being sent are on their way to the disk at a time.
const DOOMED_AT_ONCE: usize = 64;

/// Brings the work of a run to its ends.
#[derive(Debug)]
pub struct Machine {
    rules: Rules,
    random: fastrand::Rng,
    queue: Queue,
    pace: Pace,
    books: Books,
    /// Work whose claims are at the store.
    claimed: Option<Vec<Work>>,
    /// Why it ends, once it is to.
    stopping: Option<Ending>,
    /// The first signal that came.
    signal: Option<Signal>,
    /// Whether what is told of the run is not read.
    is_behind: bool,
    ended: bool,
    /// What is to be done, so far.
    actions: Vec<Action>,
}

impl Machine {
    /// A run against a server of which `server` is known. `estimate` says what output to expect, and `seed` gives the jitter.
    #[must_use]
    pub fn new(rules: Rules, estimate: OutputEstimate, server: ServerLimits, seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            queue: Queue::new(rules.concurrency.most()),
            pace: Pace::new(&rules, estimate, server),
            books: Books::new(&rules),
            rules,
            claimed: None,
            stopping: None,
            signal: None,
            is_behind: false,
            ended: false,
            actions: Vec::new(),
        }
    }

    /// A piece of work whose request is at the server, or whose output is on its way to the disk.
    #[must_use]
    pub fn work(&self, ordinal: Ordinal) -> Option<&Work> {
        self.books.work(ordinal)
    }

    /// How far the run is.
    #[must_use]
    pub fn progress(&self) -> Progress<'_> {
        Progress {
            jobs: self.queue.to_do(),
            in_flight: self.books.in_flight(),
            tally: self.books.tally(),
            binds: self.pace.binds(),
        }
    }

    /// Takes in what has happened at `now`, and says what to do.
    #[must_use]
    pub fn handle(&mut self, now: &Now, input: Input) -> Vec<Action> {
        if self.ended {
            return Vec::new();
        }
        self.pace.pass(now.mono);
        match input {
            Input::Start | Input::Wake => {}
            Input::Drawn(drawn) => self.drawn(now, drawn),
            Input::Undrawn(reason) => {
                self.queue.undrawn();
                self.stop(Stop::because(reason, Ending::Source));
            }
            Input::Begun(begun) => self.begun(now, begun),
            Input::Heard(ordinal, verdict, hints) => self.heard(now, ordinal, verdict, &hints),
            Input::Written(ordinal, content, result) => self.books.written(ordinal, content, result),
            Input::Recorded => self.recorded(),
            Input::Unbegun(reason) => self.unbegun(now, reason),
            Input::Unrecorded(finished, why) => {
                let note = self.books.unrecorded(now, finished, why, self.claimed.is_some());
                self.follow(note);
            }
            // What is under way comes to its end, and nothing more is sent, for nobody would know of it.
            Input::StoreGone(reason) => self.stop(Stop::because(reason, Ending::Store)),
            Input::Interrupt(signal) => self.interrupt(signal),
            Input::Behind(is_behind) => self.is_behind = is_behind,
            Input::Broken(what) => self.end_at_once(Ending::Broken(what)),
        }
        if !self.ended {
            self.go_on(now);
        }
        std::mem::take(&mut self.actions)
    }

    /// Asks for whatever can be done now.
    fn go_on(&mut self, now: &Now) {
        let notes = self.books.keep(now.mono);
        self.follow(notes);
        if self.stopping.is_none() {
            if self.queue.wake(now.mono) {
                // It goes before what was refused, and may be smaller.
                self.pace.unblock();
            }
            self.begin_portion();
            self.fail_doomed();
            self.actions.extend(self.queue.draw().map(Action::Draw));
            self.fail_held();
        }
        if self.stopping.is_none() && self.is_out_of_time(now) && !self.is_over() {
            let reason = "the time that the run was given is over".to_owned();
            self.stop(Stop { ending: Ending::Deadline, reason });
        }
        self.give_up(now);
        if self.stopping.is_none() {
            self.begin(now);
        }
        if self.is_idle() && (self.is_over() || self.stopping.is_some()) {
            self.ended = true;
            self.actions.push(Action::End(self.stopping.take().unwrap_or(Ending::Complete)));
        } else if let Some(at) = self.next_wake() {
            self.actions.push(Action::WakeAt(at));
        }
    }

    /// Whether the time that the run was given is over.
    fn is_out_of_time(&self, now: &Now) -> bool {
        self.rules.deadline.is_some_and(|deadline| deadline <= now.mono)
    }

    /// Whether nothing is under way: neither at the store, nor at the server, nor on the way to the disk.
    fn is_idle(&self) -> bool {
        self.books.is_idle() && self.claimed.is_none()
    }

    /// Whether all that the run had to do has its end, or is on its way to the store with it.
    fn is_over(&self) -> bool {
        self.queue.is_empty() && self.is_idle() && !self.books.holds_failures()
    }

    fn drawn(&mut self, now: &Now, drawn: Drawn) {
        self.pace.drawn(&drawn.work, drawn.supply.to_do(), now.mono);
        self.queue.drawn(drawn);
    }

    fn begin_portion(&mut self) {
        let batches = self.queue.portions();
        // One that is all there is needs no word.
        if let Some(Portion { number, prompts, input_tokens }) = self.queue.begin_portion()
            && batches != Some(1)
        {
            self.say(Event::Batch { batch: number + 1, batches, prompts, input_tokens });
        }
    }

    /// Prompts that cannot be sent fail at once, whatever the others wait for.
    fn fail_doomed(&mut self) {
        while self.books.doomed() < DOOMED_AT_ONCE
            && !self.is_behind
            && !self.books.hold_back()
            && let Some((work, doom)) = self.queue.take_doomed()
        {
            let note = self.books.fail_unsent(work, doom);
            self.follow([note]);
        }
    }

    /// Where nothing else will be heard of the server, what has failed for the last time has failed for good.
    fn fail_held(&mut self) {
        if self.books.holds_failures() && self.is_idle() && self.queue.is_dry() {
            let notes = self.books.fail_held(Mono(u64::MAX));
            self.follow(notes);
        }
    }

    /// Claims as much as may be in flight; the store admits what fits.
    fn begin(&mut self, now: &Now) {
        if self.claimed.is_some() || self.pace.is_blocked(now.mono) {
            return;
        }
        if self.books.hold_back() {
            self.pace.bind(WaitFor::Disk, self.books.next_trial());
            return;
        }
        let is_idle = self.is_idle();
        if !self.queue.has_ready() {
            if self.queue.is_drawing() && (is_idle || self.queue.has_last()) {
                self.pace.bind(WaitFor::Prompts, None);
            } else if is_idle && let Some(at) = self.queue.next_delayed() {
                let event = self.pace.wait_to_retry(now, at);
                self.say(event);
            }
            return;
        }
        if self.is_behind {
            self.pace.bind(WaitFor::Reader, None);
            return;
        }
        let load = Load {
            in_flight: self.books.in_flight(),
            open: self.queue.open(),
            is_idle,
            is_at_last: self.queue.is_at_last(),
        };
        // The one that is asked again alone leaves before the rest, even if it goes behind it else.
        let mut admission = match self.pace.wanted() {
            Some(wanted) => self.pace.admit(now, Load { is_at_last: true, ..load }, self.queue.get(wanted).into_iter()),
            None => self.pace.admit(now, load, self.queue.ready()),
        };
        if !admission.behind.is_empty() {
            admission.behind.drain(..).for_each(|ordinal| self.queue.put_behind(ordinal));
            self.actions.extend(self.queue.draw().map(Action::Draw));
            if admission.claims.is_empty() && admission.event.is_none() && admission.stop.is_none() {
                // What is left may begin, or be drawn.
                return self.begin(now);
            }
        }
        self.say(admission.event);
        if let Some(stop) = admission.stop {
            self.stop(stop);
        }
        let (mut claims, mut claimed) = (Vec::new(), Vec::new());
        for room in admission.claims {
            let Some(work) = self.queue.take(room.ordinal) else { continue };
            claims.push(Claim {
                key: work.key.clone(),
                fingerprint: work.fingerprint,
                attempt: self.books.next_attempt(work.ordinal),
                input_tokens: work.input_tokens,
                tokens: room.tokens,
                least: room.least,
                before: work.place.before,
            });
            claimed.push(work);
        }
        if !claims.is_empty() {
            self.actions.push(Action::Begin(claims));
            self.claimed = Some(claimed);
        }
    }

    fn begun(&mut self, now: &Now, begun: Begun) {
        let mut claimed = self.claimed.take().unwrap_or_default().into_iter();
        let event = self.books.admitted();
        self.say(event);
        let is_held = self.stopping.is_some() || self.is_out_of_time(now) || self.books.hold_back();
        for (reservation, work) in begun.admitted.into_iter().zip(claimed.by_ref()) {
            // A stop or a pause that came while the store was asked holds for these too: they are given back unsent.
            if is_held || !self.pace.lets_go(work.ordinal, now.mono) {
                self.books.give_back(work, reservation, now.mono);
                continue;
            }
            let ticket = self.pace.sent(&work, self.books.in_flight() + 1, now.mono);
            self.actions.push(Action::Send(work.ordinal));
            self.books.sent(work, reservation, ticket);
        }
        match begun.refused {
            Some(Refusal::NotBefore(wait)) => {
                let (event, stop) = self.pace.refused(now, wait, self.is_idle());
                self.say(event);
                if let Some(stop) = stop {
                    self.stop(stop);
                }
            }
            Some(Refusal::Never(too_large)) => {
                if let Some(work) = claimed.next() {
                    self.pace.not_sent(work.ordinal);
                    self.queue.doom(work, Doom::too_large(&too_large));
                }
            }
            None => {}
        }
        claimed.for_each(|work| self.queue.put_back(work));
    }

    /// The store could not begin what was claimed. Nothing was sent.
    fn unbegun(&mut self, now: &Now, reason: String) {
        self.claimed.take().unwrap_or_default().into_iter().for_each(|work| self.queue.put_back(work));
        if self.stopping.is_none() {
            let note = self.books.store_fails(now, reason, false);
            self.follow(note);
        }
    }

    fn heard(&mut self, now: &Now, ordinal: Ordinal, verdict: Verdict, hints: &[ServerHint]) {
        let Some(mut sent) = self.books.take_sent(ordinal) else { return };
        sent.told.hints = in_short(hints);
        let (others, open, ticket) = (self.books.in_flight(), self.queue.open(), sent.ticket);
        let reply = Reply { work: &sent.work, ticket, verdict: &verdict, hints, others, open };
        let Heard { means, is_there, behind, events, learned, stop } = self.pace.heard(now, reply, self.random.f64());
        for event in events {
            self.say(event);
        }
        self.actions.extend(learned.map(Action::Learn));
        if behind {
            self.queue.put_behind(ordinal);
        }
        if is_there {
            let notes = self.books.fail_held(ticket.sent);
            self.follow(notes);
        }
        let notes = match verdict {
            Verdict::Answer(answer) => {
                let (usage, notes) = self.books.answered(now.mono, sent, answer);
                self.pace.learn(usage.output_tokens);
                notes
            }
            Verdict::Failure(failure) => self.books.failed(now.mono, sent, failure, means, self.random.f64()),
        };
        self.follow(notes);
        if let Some(stop) = stop {
            self.stop(stop);
        }
    }

    fn recorded(&mut self) {
        self.pace.settled();
        let event = self.books.store_works();
        self.say(event);
        let notes = self.books.recorded();
        self.follow(notes);
    }

    fn interrupt(&mut self, signal: Signal) {
        if let Some(first) = self.signal {
            return self.end_at_once(Ending::Interrupted(first));
        }
        self.signal = Some(signal);
        // An interrupt wins over a slower end that is under way.
        self.say_stopping(signal.to_string(), Some(signal));
        self.stopping = Some(Ending::Interrupted(signal));
    }

    /// Ends with what is kept by now, and says what is not waited for.
    fn end_at_once(&mut self, ending: Ending) {
        self.ended = true;
        self.books.lose();
        let (in_flight, tokens) = self.books.abandoned();
        if in_flight > 0 {
            let at_most = self.rules.max_output_tokens.is_some();
            self.say(Event::Abandoned { in_flight, tokens, at_most });
        }
        self.actions.push(Action::End(ending));
    }

    /// Does what follows from the books.
    fn follow(&mut self, notes: impl IntoIterator<Item = Note>) {
        for note in notes {
            match note {
                Note::Write(ordinal, content) => self.actions.push(Action::Write(ordinal, content)),
                Note::Finish(finished) => self.actions.push(Action::Finish(finished)),
                Note::Ended(work) => self.queue.ended(&work),
                Note::Again(work, at) => self.queue.again(work, at),
                Note::Say(event) => self.say(event),
                Note::Unwritten(why) => self.unwritten(why),
                Note::Stop(stop) => self.stop(stop),
            }
        }
    }

    /// An output cannot be written, and the store has what should stand there: the run ends.
    fn unwritten(&mut self, why: String) {
        match self.stopping {
            None => self.stop(Stop::because(why, Ending::Disk)),
            Some(Ending::Disk(_)) => {}
            // It ends for another reason, and one such sentence is enough.
            Some(_) if self.books.tally().kept > 1 => {}
            Some(_) => self.say(Event::Warning { message: why }),
        }
    }

    /// Ends the run where nothing can be sent before the patience with the server runs out.
    fn give_up(&mut self, now: &Now) {
        if self.stopping.is_some() || !self.is_idle() || self.books.is_troubled() {
            return;
        }
        let until = match self.queue.has_ready() {
            true => self.pace.keeps_waiting(now.mono),
            false if self.queue.is_drawing() => None,
            false => self.queue.next_delayed(),
        };
        if let Some(stop) = until.and_then(|until| self.pace.runs_out(now.mono, until)) {
            self.stop(stop);
        }
    }

    /// What is in flight is awaited, and nothing more is begun. The first reason counts.
    fn stop(&mut self, Stop { ending, reason }: Stop) {
        if self.stopping.is_none() {
            self.say_stopping(reason, None);
            self.stopping = Some(ending);
        }
    }

    fn say_stopping(&mut self, reason: String, signal: Option<Signal>) {
        let (in_flight, held) = (self.books.in_flight(), self.books.held_answers());
        self.say(Event::Stopping { reason, in_flight, held, signal });
    }

    fn say(&mut self, events: impl Into<Option<Event>>) {
        self.actions.extend(events.into().map(Action::Say));
    }

    /// The next moment at which something can change by itself.
    fn next_wake(&self) -> Option<Mono> {
        let trial = self.books.next_trial();
        if self.stopping.is_some() {
            return trial;
        }
        let admission = if self.claimed.is_none() && self.queue.has_ready() { self.pace.next() } else { None };
        self.queue.next_delayed().into_iter().chain(admission).chain(self.rules.deadline).chain(trial).min()
    }
}
