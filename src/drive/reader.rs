//! Reads the input on, on a thread of its own: looking at many rows takes a while, and the event loop never waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use tokio::sync::mpsc::UnboundedSender;

use super::back::Back;
use super::parts::{Part, Unstarted, start};
use crate::plan::{Draft, Feed};
use crate::run::Input;
use crate::source::Texts;
use crate::tripwire;

/// The feed, on its thread.
pub(super) struct Reader {
    /// How much is to be drawn; `None` once nothing more is.
    asks: Option<Sender<usize>>,
    closed: Arc<AtomicBool>,
    texts: Arc<dyn Texts>,
    thread: JoinHandle<Feed>,
    ended: bool,
}

impl Reader {
    pub(super) fn start(feed: Feed, back: UnboundedSender<Back>) -> Result<Self, Unstarted> {
        let (asks, queue) = channel();
        let closed = Arc::new(AtomicBool::new(false));
        let texts = feed.texts();
        let tell = {
            let back = back.clone();
            move |gone| drop(back.send(Back::Gone(gone)))
        };
        let thread = {
            let closed = Arc::clone(&closed);
            start(Part::Reader, tell, move || read(feed, &queue, &closed, &back))?
        };
        Ok(Self { asks: Some(asks), closed, texts, thread, ended: false })
    }

    pub(super) fn draw(&self, most: usize) {
        if let Some(asks) = &self.asks {
            // Where the thread has died, that is heard of.
            let _ = asks.send(most);
        }
    }

    /// What a person should know of what was read.
    pub(super) fn warnings(&self, draft: &Draft) -> Vec<String> {
        draft.warnings(&*self.texts)
    }

    /// Lets the thread end after the rows that it is looking at.
    pub(super) fn close(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        self.asks = None;
    }

    /// The thread has told of its end.
    pub(super) fn has_ended(&mut self) {
        self.ended = true;
    }

    /// Takes the feed back; `None` where the thread died, or has not ended.
    pub(super) fn join(self) -> Option<Feed> {
        if self.ended { self.thread.join().ok() } else { None }
    }
}

fn read(mut feed: Feed, queue: &Receiver<usize>, closed: &AtomicBool, back: &UnboundedSender<Back>) -> Feed {
    while let Ok(most) = queue.recv() {
        tripwire::here("reader");
        let read = match feed.draw(most, || !closed.load(Ordering::Relaxed)) {
            Ok(draft) => Back::Read(draft),
            Err(error) => Back::Input(Input::Undrawn(error.to_string())),
        };
        // Nobody listens when the run is over.
        let _ = back.send(read);
    }
    feed
}
