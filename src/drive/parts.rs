//! The threads and tasks of a run, and how it is heard of when one of them ends.

use std::fmt;
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};

use crate::model::text::one_line;

/// A thread or a task without which a run cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The one event loop.
    Loop,
    Keeper,
    /// A thread that reads prompts and writes outputs.
    Disk,
    /// The thread that reads the input on.
    Reader,
    /// A task that sends a request.
    Request,
    /// A task that listens for signals.
    Signals,
    /// The server of `--offline`.
    Standin,
    /// The thread that loads the tokenizer's tables.
    Tokenizer,
    /// The command that was asked for.
    Command,
    /// The thread that writes to stdout.
    Stdout,
    /// The thread that writes to stderr.
    Stderr,
    /// A task of a library.
    Other,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loop => "the event loop",
            Self::Keeper => "the thread that keeps the state file",
            Self::Disk => "a thread that reads prompts and writes outputs",
            Self::Reader => "the thread that reads the input on",
            Self::Request => "a task that sends a request",
            Self::Signals => "the task that listens for signals",
            Self::Standin => "the built-in stand-in",
            Self::Tokenizer => "the thread that loads the tokenizer",
            Self::Command => "promptmill",
            Self::Stdout => "the thread that writes to stdout",
            Self::Stderr => "the thread that writes to stderr",
            Self::Other => "a helper task",
        })
    }
}

/// A part has ended, in whatever way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    pub part: Part,
    /// Whether it panicked, rather than returned.
    pub panicked: bool,
}

/// Tells that a part has ended: at the end of the scope that it lives in, also by a panic, and when a task is dropped.
pub struct Vigil<F: FnMut(Gone)> {
    part: Part,
    tell: F,
}

impl<F: FnMut(Gone)> Vigil<F> {
    /// Watches over `part`.
    pub fn over(part: Part, tell: F) -> Self {
        Self { part, tell }
    }
}

impl<F: FnMut(Gone)> Drop for Vigil<F> {
    fn drop(&mut self) {
        (self.tell)(Gone { part: self.part, panicked: thread::panicking() });
    }
}

/// A thread that the system does not start.
#[derive(Debug, thiserror::Error)]
#[error("the system does not start {part}: {source}; end other programs, or raise the limit of processes (ulimit -u)")]
pub struct Unstarted {
    /// What it was for.
    pub part: Part,
    /// What the system says.
    pub source: std::io::Error,
}

/// Starts a thread that does `work`; `tell` hears of its end.
pub fn start<T: Send + 'static>(
    part: Part,
    tell: impl FnMut(Gone) + Send + 'static,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Unstarted> {
    let watched = move || {
        let _vigil = Vigil::over(part, tell);
        work()
    };
    thread::Builder::new().spawn(watched).map_err(|source| Unstarted { part, source })
}

/// Where and why the first panic of the process happened.
static FIRST: OnceLock<String> = OnceLock::new();
/// A message may quote a whole text: so many characters of it are kept.
const MESSAGE_MOST: usize = 200;

/// From now on a panic is noted instead of printed: whoever hears of it says it in a sentence.
pub fn note_panics() {
    panic::set_hook(Box::new(|info| {
        let _ = FIRST.set(noted(info));
    }));
}

/// Where and why the process panicked first, if it did.
#[must_use]
pub fn first_panic() -> Option<&'static str> {
    FIRST.get().map(String::as_str)
}

/// What is said of a part that has ended though nobody asked it to.
#[must_use]
pub fn ended_unexpectedly(part: Part) -> String {
    let place = first_panic().map_or(String::new(), |panic| format!(" ({panic})"));
    format!("{part} ended unexpectedly{place}")
}

fn noted(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let text: String = one_line(text.unwrap_or("no message")).chars().take(MESSAGE_MOST).collect();
    info.location().map_or_else(|| text.clone(), |place| format!("{place}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn every_end_of_a_thread_is_told() {
        for panics in [false, true] {
            let (told, ends) = channel();
            let tell = move |gone| told.send(gone).expect("the test listens");
            let thread = start(Part::Disk, tell, move || assert!(!panics, "this test wants it"));
            assert_eq!(ends.recv(), Ok(Gone { part: Part::Disk, panicked: panics }));
            assert_eq!(thread.expect("started").join().is_err(), panics);
            // Once.
            assert!(ends.recv().is_err());
        }
    }

    #[tokio::test]
    async fn a_task_that_is_dropped_has_ended_too() {
        let (told, ends) = channel();
        let task = tokio::spawn(async move {
            let _vigil = Vigil::over(Part::Signals, move |gone| told.send(gone).expect("the test listens"));
            std::future::pending::<()>().await;
        });
        tokio::task::yield_now().await;
        task.abort();
        assert!(task.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(ends.recv(), Ok(Gone { part: Part::Signals, panicked: false }));
    }
}
