//! Reads prompts and writes outputs on a few threads, so that a slow disk never holds the event loop.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::mpsc::UnboundedSender;

use super::Back;
use crate::model::{Class, Content, Doom, Fingerprint, Fingerprinter, Key, RequestTemplate};
use crate::plan::survey::fault;
use crate::run::{Input, JobIndex, Unwritten};
use crate::send::attempt;
use crate::source::folder::Folder;
use crate::write::target;

/// Flushes of several files go on at once: about 8 of them keep a disk busy, more only queue.
const THREADS: usize = 8;

enum Task {
    Read(JobIndex, Key, Fingerprint),
    /// The last says whether an answer stands in its place.
    Write(JobIndex, Key, Content, bool),
}

/// The pool. Its threads end when it is dropped and their tasks are done.
pub(super) struct Disk {
    tasks: Sender<Task>,
}

struct Worker {
    prompts: Folder,
    outputs: PathBuf,
    template: Arc<RequestTemplate>,
    fingerprinter: Fingerprinter,
    back: UnboundedSender<Back>,
}

impl Disk {
    pub(super) fn start(
        prompts: Folder,
        outputs: PathBuf,
        template: Arc<RequestTemplate>,
        fingerprinter: Fingerprinter,
        back: UnboundedSender<Back>,
    ) -> Self {
        let (tasks, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let worker = Arc::new(Worker { prompts, outputs, template, fingerprinter, back });
        for _ in 0..THREADS {
            let (queue, worker) = (Arc::clone(&queue), Arc::clone(&worker));
            thread::spawn(move || worker.work(&queue));
        }
        Self { tasks }
    }

    pub(super) fn read(&self, job: JobIndex, key: Key, fingerprint: Fingerprint) {
        // The threads live as long as the pool.
        let _ = self.tasks.send(Task::Read(job, key, fingerprint));
    }

    pub(super) fn write(&self, job: JobIndex, key: Key, content: Content, answered: bool) {
        let _ = self.tasks.send(Task::Write(job, key, content, answered));
    }
}

impl Worker {
    fn work(&self, queue: &Mutex<Receiver<Task>>) {
        loop {
            // A panic of another worker leaves the queue as it was.
            let task = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let done = match task {
                Ok(Task::Read(job, key, planned)) => Back::Ready(job, self.request(&key, planned)),
                Ok(Task::Write(job, key, content, answered)) => {
                    let written = target::write(&self.outputs, &key, &content, answered);
                    let written =
                        written.map_err(|error| Unwritten { why: error.to_string(), alone: error.is_alone() });
                    Back::Input(Input::Written(job, content, written))
                }
                Err(_) => return,
            };
            if self.back.send(done).is_err() {
                return;
            }
        }
    }

    fn request(&self, key: &Key, planned: Fingerprint) -> Result<serde_json::Value, Doom> {
        let text = self.prompts.read(key).map_err(|error| fault(&error))?;
        if self.fingerprinter.of(&text) != planned {
            let message = format!(
                "{} was changed while the run went on; run again to send it as it is now",
                self.prompts.file_name(key)
            );
            return Err(Doom { class: Class::Changed, message });
        }
        Ok(attempt::body(&self.template, &text))
    }
}
