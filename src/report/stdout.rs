//! A run's results on stdout: lines for programs, written by a thread of their own.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::outlet::{self, Outlet};
use crate::tripwire;

/// Where more lines wait, nothing new is begun. What is in flight ends, and tells of it.
const MANY: usize = 1_000;
/// Where no more wait, it goes on.
const FEW: usize = MANY / 2;
/// A pipe takes so many bytes whole or not at all, so that what was not read is known to the line.
const AT_ONCE: usize = 4_096;

/// What the writer tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Few lines wait again.
    Free,
    /// Nothing can be written any more, for this reason.
    Failed(String),
    Died,
}

/// stdout.
#[derive(Debug)]
pub struct Stdout {
    outlet: Outlet<String>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    behind: AtomicBool,
    lost: AtomicUsize,
    failed: OnceLock<(io::ErrorKind, String)>,
}

impl Stdout {
    /// Starts its thread.
    pub fn start(notice: impl Fn(Notice) + Clone + Send + 'static) -> io::Result<Self> {
        let state = Arc::new(State::default());
        let died = {
            let notice = notice.clone();
            move || notice(Notice::Died)
        };
        let outlet = Outlet::start(Lines { state: Arc::clone(&state), notice }, died)?;
        Ok(Self { outlet, state })
    }

    /// Writes a line, later.
    pub fn line(&self, line: String) {
        if self.outlet.put(line, usize::MAX) > MANY {
            self.state.behind.store(true, Ordering::Relaxed);
        }
    }

    /// Whether so many lines wait that nothing new should be begun.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        // All may have been written before it was noted that much waits.
        if self.state.behind.load(Ordering::Relaxed) && self.outlet.wait(Duration::ZERO) <= FEW {
            self.state.behind.store(false, Ordering::Relaxed);
        }
        self.state.behind.load(Ordering::Relaxed)
    }

    /// Waits until all is written, at most for so long; says how many lines are not.
    #[must_use]
    pub fn wait(&self, at_most: Duration) -> usize {
        self.outlet.wait(at_most)
    }

    /// Lines that will never be written, because the writer panicked over them.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.state.lost.load(Ordering::Relaxed)
    }

    /// Why nothing can be written any more. A reader that has read enough is no failure.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        let failed = self.state.failed.get().filter(|(kind, _)| *kind != io::ErrorKind::BrokenPipe);
        failed.map(|(_, message)| message.as_str())
    }
}

struct Lines<N> {
    state: Arc<State>,
    notice: N,
}

impl<N: Fn(Notice) + Send + 'static> outlet::Write<String> for Lines<N> {
    fn take(lines: &mut VecDeque<String>) -> Vec<String> {
        batch(lines)
    }

    fn write(&mut self, lines: Vec<String>, left: usize, lost: usize) {
        self.state.lost.fetch_add(lost, Ordering::Relaxed);
        if self.state.failed.get().is_none() {
            tripwire::here("stdout");
            let text: String = lines.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect();
            let mut stdout = io::stdout().lock();
            if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
                // The reader has gone away; the run, which costs money, is worth more than its report.
                let _ = self.state.failed.set((error.kind(), error.to_string()));
                (self.notice)(Notice::Failed(error.to_string()));
            }
        }
        if left <= FEW && self.state.behind.swap(false, Ordering::Relaxed) {
            (self.notice)(Notice::Free);
        }
    }
}

/// The first lines that are written at once.
fn batch(lines: &mut VecDeque<String>) -> Vec<String> {
    let mut bytes = 0;
    let fits = |line: &&String| {
        bytes += line.len() + 1;
        bytes <= AT_ONCE
    };
    let number = lines.iter().take_while(fits).count();
    lines.drain(..number.max(1).min(lines.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_at_once_fits_a_pipe() {
        let mut lines: VecDeque<String> = [1_000, 1_000, 2_000, 95, 5_000, 4_095, 4_096].map(|n| "x".repeat(n)).into();
        let mut next = || batch(&mut lines).iter().map(String::len).collect::<Vec<_>>();
        let batches: Vec<_> = std::iter::from_fn(|| Some(next()).filter(|batch| !batch.is_empty())).collect();
        assert_eq!(batches, [vec![1_000, 1_000, 2_000], vec![95], vec![5_000], vec![4_095], vec![4_096]]);
    }
}
