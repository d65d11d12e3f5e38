//! Reads prompts and writes outputs on a few threads, so that a slow disk never holds the event loop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::UnboundedSender;

use super::back::Back;
use super::parts::{Part, Unstarted, start};
use crate::model::{Class, Content, Doom, Fingerprint, Fingerprinter, Key, Ordinal, RequestTemplate, Spot};
use crate::run::{Input, Unwritten};
use crate::send::attempt;
use crate::source::Texts;
use crate::tripwire;
use crate::write::Sink;

/// Flushes of several files go on at once: about 8 of them keep a disk busy, more only queue.
pub(super) const THREADS: usize = 8;

enum Task {
    Read(Ordinal, Spot, Fingerprint),
    /// The last says whether an answer stands in its place.
    Write(Ordinal, Key, Content, bool),
}

/// The pool. Its threads end when it is closed and what they were asked to write is written.
pub(super) struct Disk {
    tasks: Option<Sender<Task>>,
    closed: Arc<AtomicBool>,
}

struct Worker {
    texts: Arc<dyn Texts>,
    sink: Arc<dyn Sink>,
    template: Arc<RequestTemplate>,
    fingerprinter: Fingerprinter,
    /// Nothing more is sent, so that nothing needs to be read.
    closed: Arc<AtomicBool>,
    back: UnboundedSender<Back>,
}

impl Disk {
    pub(super) fn start(
        texts: Arc<dyn Texts>,
        sink: Arc<dyn Sink>,
        template: Arc<RequestTemplate>,
        fingerprinter: Fingerprinter,
        back: &UnboundedSender<Back>,
    ) -> Result<Self, Unstarted> {
        let (tasks, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let closed = Arc::new(AtomicBool::new(false));
        let worker = Worker { texts, sink, template, fingerprinter, closed: Arc::clone(&closed), back: back.clone() };
        let worker = Arc::new(worker);
        for _ in 0..THREADS {
            let (queue, worker, back) = (Arc::clone(&queue), Arc::clone(&worker), back.clone());
            let tell = move |gone| drop(back.send(Back::Gone(gone)));
            start(Part::Disk, tell, move || worker.work(&queue))?;
        }
        Ok(Self { tasks: Some(tasks), closed })
    }

    pub(super) fn read(&self, ordinal: Ordinal, spot: Spot, fingerprint: Fingerprint) {
        self.ask(Task::Read(ordinal, spot, fingerprint));
    }

    pub(super) fn write(&self, ordinal: Ordinal, key: Key, content: Content, answered: bool) {
        self.ask(Task::Write(ordinal, key, content, answered));
    }

    fn ask(&self, task: Task) {
        if let Some(tasks) = &self.tasks {
            // Where all threads have died, that is heard of.
            let _ = tasks.send(task);
        }
    }

    /// Lets the threads end. What waits to be written is written first, what waits to be read is not.
    pub(super) fn close(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        self.tasks = None;
    }
}

impl Worker {
    fn work(&self, queue: &Mutex<Receiver<Task>>) {
        loop {
            // A panic of another worker leaves the queue as it was.
            let task = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let done = match task {
                Ok(Task::Read(..)) if self.closed.load(Ordering::Relaxed) => continue,
                Ok(Task::Read(ordinal, spot, planned)) => Back::Ready(ordinal, self.request(spot, planned)),
                Ok(Task::Write(ordinal, key, content, answered)) => {
                    tripwire::here("disk");
                    let written = self.sink.put(&key, &content, answered).map(|put| put.content);
                    let written =
                        written.map_err(|error| Unwritten { why: error.to_string(), alone: error.is_alone() });
                    Back::Input(Input::Written(ordinal, content, written))
                }
                Err(_) => return,
            };
            if self.back.send(done).is_err() {
                return;
            }
        }
    }

    fn request(&self, spot: Spot, planned: Fingerprint) -> Result<serde_json::Value, Doom> {
        let text = self.texts.again(spot)?;
        if self.fingerprinter.of(&text) != planned {
            let message = format!(
                "{} was changed while the run went on; run again to send it as it is now",
                self.texts.name(spot)
            );
            return Err(Doom { class: Class::Changed, message });
        }
        Ok(attempt::body(&self.template, &text))
    }
}
