//! The store's own thread: one transaction after the other, and `usage.md` a few times a second.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::Back;
use crate::atomic::sync_folder;
use crate::clock::{Clock, Mono};
use crate::record::sqlite::SqliteStore;
use crate::record::{Claim, Finished, Store};
use crate::run::Input;

/// `usage.md` is written at most this often while it changes, and looked at this often while it does not.
const FACE_EVERY: Duration = Duration::from_millis(250);

enum Ask {
    Begin(Vec<Claim>),
    Finish(Vec<Finished>),
}

/// Keeps the store on its thread.
pub(super) struct Keeper {
    asks: Sender<Ask>,
    thread: JoinHandle<SqliteStore>,
}

impl Keeper {
    pub(super) fn start(store: SqliteStore, outputs: PathBuf, clock: Clock, back: UnboundedSender<Back>) -> Self {
        let (asks, queue) = channel();
        let thread = thread::spawn(move || keep(store, &outputs, clock, &queue, &back));
        Self { asks, thread }
    }

    pub(super) fn begin(&self, claims: Vec<Claim>) {
        // A thread that has died is found out when it is joined.
        let _ = self.asks.send(Ask::Begin(claims));
    }

    pub(super) fn finish(&self, finished: Vec<Finished>) {
        let _ = self.asks.send(Ask::Finish(finished));
    }

    /// Lets the thread do what it was asked, and takes the store back.
    pub(super) fn stop(self) -> Option<SqliteStore> {
        drop(self.asks);
        self.thread.join().ok()
    }
}

fn keep(
    mut store: SqliteStore,
    outputs: &Path,
    clock: Clock,
    queue: &Receiver<Ask>,
    back: &UnboundedSender<Back>,
) -> SqliteStore {
    let mut next_face = clock.mono().plus(FACE_EVERY);
    let mut face_is_ours = true;
    loop {
        let input = match queue.recv_timeout(clock.mono().until(next_face)) {
            Ok(Ask::Begin(claims)) => match store.begin(&claims, &|| clock.now()) {
                Ok(begun) => Some(Input::Begun(begun)),
                Err(error) => Some(Input::StoreFailed(error.to_string())),
            },
            Ok(Ask::Finish(finished)) => Some(finish(&mut store, outputs, clock, finished)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return store,
        };
        if let Some(input) = input {
            // The loop ends before the keeper only when nobody waits for the answer.
            let _ = back.send(Back::Input(input));
        }
        if face_is_ours && clock.mono() >= next_face {
            match store.write_face(&clock.now()) {
                Ok(face) => drop(back.send(Back::Face(face))),
                Err(error) => {
                    // Damaged by somebody while we run: it is left as it is, and refused at the next start.
                    face_is_ours = false;
                    let _ = back.send(Back::Warning(format!("{error}. This run goes on without writing it")));
                }
            }
            next_face = clock.mono().plus(FACE_EVERY);
        } else if !face_is_ours {
            next_face = Mono(u64::MAX);
        }
    }
}

/// The answers are on disk for good before they count as done.
fn finish(store: &mut SqliteStore, outputs: &Path, clock: Clock, finished: Vec<Finished>) -> Input {
    if let Err(error) = sync_folder(outputs) {
        return Input::StoreFailed(format!(
            "the outputs folder {} cannot be flushed to disk: {error}",
            outputs.display()
        ));
    }
    match store.finish(finished, &clock.now()) {
        Ok(()) => Input::Recorded,
        Err(error) => Input::StoreFailed(error.to_string()),
    }
}
