//! The store's own thread: one transaction after the other, and `usage.md` a few times a second.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc::UnboundedSender;

use super::back::Back;
use super::parts::{Part, Unstarted, start};
use crate::admit::hint::LearnedLimit;
use crate::clock::Clock;
use crate::plan::Adopted;
use crate::record::{Claim, Ended, Endpoint, Finished, Store, StoreError, UsageFileError};
use crate::run::{Input, NotRecorded};
use crate::tripwire;
use crate::write::Sink;

/// `usage.md` is written at most this often while it changes, and looked at this often while it does not.
const FACE_EVERY: Duration = Duration::from_millis(250);

/// Where another program holds the store, what can wait is tried again after so long.
const HELD_AGAIN: Duration = Duration::from_secs(2);

enum Ask {
    Begin(Vec<Claim>),
    Finish(Vec<Finished>),
    Learn(Vec<LearnedLimit>),
    Adopt(Vec<Adopted>),
    Note(DateTime<Utc>, String),
}

/// Keeps the store on its thread.
pub(super) struct Keeper {
    /// `None` once nothing more is asked.
    asks: Option<Sender<Ask>>,
    thread: JoinHandle<Box<dyn Store>>,
    /// Whether the thread has told of its end.
    ended: bool,
}

impl Keeper {
    pub(super) fn start(
        store: Box<dyn Store>,
        sink: Arc<dyn Sink>,
        endpoint: Option<Endpoint>,
        clock: Clock,
        back: UnboundedSender<Back>,
    ) -> Result<Self, Unstarted> {
        let (asks, queue) = channel();
        let keeping = Keeping {
            store,
            sink,
            endpoint,
            clock,
            notes: Vec::new(),
            learned: Vec::new(),
            adopted: Vec::new(),
            is_failing: false,
            is_gone: false,
            face_is_wrong: None,
        };
        let tell = {
            let back = back.clone();
            move |gone| drop(back.send(Back::Gone(gone)))
        };
        let thread = start(Part::Keeper, tell, move || keeping.keep(&queue, &back))?;
        Ok(Self { asks: Some(asks), thread, ended: false })
    }

    pub(super) fn begin(&self, claims: Vec<Claim>) {
        self.ask(Ask::Begin(claims));
    }

    pub(super) fn finish(&self, finished: Vec<Finished>) {
        self.ask(Ask::Finish(finished));
    }

    /// Keeps what is known of the server's limits.
    pub(super) fn learn(&self, limits: Vec<LearnedLimit>) {
        self.ask(Ask::Learn(limits));
    }

    /// Journals answers of which it knows nothing.
    pub(super) fn adopt(&self, adopted: Vec<Adopted>) {
        self.ask(Ask::Adopt(adopted));
    }

    /// Journals an event, with others, a few times a second.
    pub(super) fn note(&self, at: DateTime<Utc>, event: String) {
        self.ask(Ask::Note(at, event));
    }

    fn ask(&self, ask: Ask) {
        if let Some(asks) = &self.asks {
            // Where the thread has died, that is heard of.
            let _ = asks.send(ask);
        }
    }

    /// Lets the thread end, when it has done what it was asked.
    pub(super) fn close(&mut self) {
        self.asks = None;
    }

    /// The thread has told of its end.
    pub(super) fn has_ended(&mut self) {
        self.ended = true;
    }

    /// Takes the store back; `None` where the thread died, or has not ended.
    pub(super) fn join(self) -> Option<Box<dyn Store>> {
        if self.ended { self.thread.join().ok() } else { None }
    }
}

/// The thread's own.
struct Keeping {
    store: Box<dyn Store>,
    sink: Arc<dyn Sink>,
    /// Whose limits are learned; `None` where they are not kept.
    endpoint: Option<Endpoint>,
    clock: Clock,
    /// Events that wait to be journalled.
    notes: Vec<(DateTime<Utc>, String)>,
    /// Limits that wait to be kept.
    learned: Vec<LearnedLimit>,
    /// Answers that wait to be journalled.
    adopted: Vec<Adopted>,
    /// Whether the store failed the last time it was asked for something that counts.
    is_failing: bool,
    /// Whether it was said that the store is gone.
    is_gone: bool,
    /// Why `usage.md` could not be written the last time, which is said once.
    face_is_wrong: Option<String>,
}

impl Keeping {
    fn keep(mut self, queue: &Receiver<Ask>, back: &UnboundedSender<Back>) -> Box<dyn Store> {
        let clock = self.clock;
        let mut next_face = clock.mono().plus(FACE_EVERY);
        loop {
            let asked = queue.recv_timeout(clock.mono().until(next_face));
            if asked.is_ok() {
                tripwire::here("keeper");
            }
            let input = match asked {
                Ok(Ask::Begin(claims)) => Some(self.begin(&claims, back)),
                Ok(Ask::Finish(finished)) => Some(self.finish(finished)),
                Ok(Ask::Learn(limits)) => {
                    self.learned.extend(limits);
                    if self.learn(back) {
                        next_face = clock.mono().plus(HELD_AGAIN);
                    }
                    None
                }
                Ok(Ask::Adopt(adopted)) => {
                    self.adopted.extend(adopted);
                    if self.adopt(back) {
                        next_face = clock.mono().plus(HELD_AGAIN);
                    }
                    None
                }
                Ok(Ask::Note(at, event)) => {
                    self.notes.push((at, event));
                    None
                }
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    self.learn(back);
                    self.adopt(back);
                    self.write_notes(back);
                    return self.store;
                }
            };
            if let Some(input) = input {
                // The loop ends before the keeper only when nobody waits for the answer.
                let _ = back.send(Back::Input(input));
            }
            if clock.mono() < next_face {
                continue;
            }
            let pause = if self.tick(back) { HELD_AGAIN } else { FACE_EVERY };
            next_face = clock.mono().plus(pause);
        }
    }

    /// Says whether another program holds the file. What counts waits behind this: one try is enough then.
    fn tick(&mut self, back: &UnboundedSender<Back>) -> bool {
        // What is wrong with it is told where it counts.
        let _ = self.look_for_the_store(back);
        if self.is_failing {
            return false;
        }
        let held = self.learn(back) || self.adopt(back) || self.write_notes(back);
        if let Ok(used) = self.store.used(&self.clock.now()) {
            let _ = back.send(Back::Used(used));
        }
        held || self.write_face(back)
    }

    /// Whether the store's file is there. Says once that it is not.
    fn look_for_the_store(&mut self, back: &UnboundedSender<Back>) -> Result<(), StoreError> {
        self.store.is_there().inspect_err(|gone| {
            if !std::mem::replace(&mut self.is_gone, true) {
                let _ = back.send(Back::Input(Input::StoreGone(gone.to_string())));
            }
        })
    }

    /// Nothing is begun that the next run does not find.
    fn begin(&mut self, claims: &[Claim], back: &UnboundedSender<Back>) -> Input {
        let clock = self.clock;
        let there = self.look_for_the_store(back);
        let begun = there.and_then(|()| self.store.begin(claims, &|| clock.now()));
        self.is_failing = begun.is_err();
        begun.map_or_else(|error| Input::Unbegun(error.to_string()), Input::Begun)
    }

    /// The answers are on disk for good before they count as done.
    fn finish(&mut self, finished: Vec<Finished>) -> Input {
        let is_written = finished.iter().any(|end| matches!(end.ended, Ended::Done { .. }));
        if is_written && let Err(error) = self.sink.flush() {
            return Input::Unrecorded(finished, NotRecorded::Unflushed(error.to_string()));
        }
        // An answer that stands nowhere else is not kept in a file that nobody finds.
        let is_kept = finished.iter().any(|end| matches!(end.ended, Ended::Unwritten { .. }));
        let there = if is_kept { self.store.is_there() } else { Ok(()) };
        let recorded = there.and_then(|()| self.store.finish(&finished, &self.clock.now()));
        self.is_failing = recorded.is_err();
        match recorded {
            Ok(()) => Input::Recorded,
            Err(error) => Input::Unrecorded(finished, NotRecorded::Store(error.to_string())),
        }
    }

    /// One that somebody has damaged is left as it is, and what is mended, or can be written again, is written again: each time is another trial.
    fn write_face(&mut self, back: &UnboundedSender<Back>) -> bool {
        let wrong = self.store.write_face(&self.clock.now()).err();
        if wrong.as_ref().is_some_and(UsageFileError::is_busy) {
            return true;
        }
        let wrong = wrong.map(|error| error.to_string());
        if let Some(message) = wrong.as_ref().filter(|_| wrong != self.face_is_wrong) {
            let _ = back.send(Back::Warning(format!("{message}. The run goes on and tries again")));
        }
        self.face_is_wrong = wrong;
        false
    }

    /// Dies before it: a later run learns it anew.
    fn learn(&mut self, back: &UnboundedSender<Back>) -> bool {
        let limits = std::mem::take(&mut self.learned);
        let Some(endpoint) = self.endpoint.as_ref().filter(|_| !limits.is_empty()) else { return false };
        if let Err(error) = self.store.learn(endpoint, &limits) {
            if error.is_busy() {
                self.learned = limits;
                return true;
            }
            let _ = back.send(Back::Warning(format!("what is known of the server's limits is not kept: {error}")));
        }
        false
    }

    /// Dies before it: a later run finds them again.
    fn adopt(&mut self, back: &UnboundedSender<Back>) -> bool {
        let adopted = std::mem::take(&mut self.adopted);
        if adopted.is_empty() {
            return false;
        }
        if let Err(error) = self.store.adopt(&adopted, &self.clock.now()) {
            if error.is_busy() {
                self.adopted = adopted;
                return true;
            }
            let _ = back.send(Back::Warning(format!("answers without a history are not journalled: {error}")));
        }
        false
    }

    /// The journal of waits, hints and cuts is for people: a run goes on without it.
    fn write_notes(&mut self, back: &UnboundedSender<Back>) -> bool {
        let notes = std::mem::take(&mut self.notes);
        if let Err(error) = self.store.note(&notes) {
            if error.is_busy() {
                self.notes = notes;
                return true;
            }
            let _ = back.send(Back::Warning(format!("the run's waits are not journalled: {error}")));
        }
        false
    }
}
