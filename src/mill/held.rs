//! Waits for the state file, where another program holds it.

use std::time::Duration;

use super::run::Run;
use crate::clock::{Clock, Mono, Now};
use crate::record::{StoreError, UsageFileError};
use crate::report::wording::{held, works_again};

/// It is asked again this often.
const AGAIN: Duration = Duration::from_millis(250);

/// An error that may pass by itself.
pub(super) trait Busy: std::fmt::Display {
    fn is_busy(&self) -> bool;
}

impl Busy for StoreError {
    fn is_busy(&self) -> bool {
        StoreError::is_busy(self)
    }
}

impl Busy for UsageFileError {
    fn is_busy(&self) -> bool {
        UsageFileError::is_busy(self)
    }
}

impl Run<'_> {
    /// Does `work` on the store, again and again while another program holds it, at most for as long as `give_up_after` and until a signal comes.
    pub(super) fn patiently<T, E: Busy>(&mut self, work: impl FnMut(&Now) -> Result<T, E>) -> Result<T, E> {
        let (clock, most) = (self.clock, self.mill.settings.give_up_after);
        let (control, watch) = (&mut *self.control, &mut self.watch);
        let mut pause = || {
            std::thread::sleep(AGAIN);
            control.is_signalled();
            control.signal().is_none()
        };
        patiently(clock, most, &mut pause, &mut |line| watch.say(&line), work)
    }
}

/// `pause` waits for a moment, and says whether to go on.
fn patiently<T, E: Busy>(
    clock: Clock,
    most: Duration,
    pause: &mut dyn FnMut() -> bool,
    say: &mut dyn FnMut(String),
    mut work: impl FnMut(&Now) -> Result<T, E>,
) -> Result<T, E> {
    let mut until: Option<Mono> = None;
    loop {
        let now = clock.now();
        match work(&now) {
            Err(error) if error.is_busy() => {
                let last = *until.get_or_insert_with(|| {
                    let last = now.mono.plus(most);
                    say(held(&error.to_string(), now.wall + most));
                    last
                });
                if clock.mono() >= last || !pause() {
                    return Err(error);
                }
            }
            done => {
                if until.is_some() && done.is_ok() {
                    say(works_again().to_owned());
                }
                return done;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, thiserror::Error)]
    #[error("the state file is held")]
    struct Held(bool);

    impl Busy for Held {
        fn is_busy(&self) -> bool {
            self.0
        }
    }

    /// What came of work that finds the file held so many times, how often it was tried, and what was said.
    fn tried(
        busy: usize,
        end: Result<u32, Held>,
        pauses: usize,
        most: Duration,
    ) -> (Result<u32, Held>, usize, Vec<String>) {
        let (mut tries, mut waits, mut said, mut end) = (0, 0, Vec::new(), Some(end));
        let mut pause = || {
            waits += 1;
            waits < pauses
        };
        let mut say = |line: String| said.push(line.split(';').next().unwrap_or_default().to_owned());
        let work = |_: &Now| {
            tries += 1;
            if tries <= busy { Err(Held(true)) } else { end.take().expect("it ends once") }
        };
        let result = patiently(Clock::default(), most, &mut pause, &mut say, work);
        (result, tries, said)
    }

    #[test]
    fn what_is_held_is_waited_for_and_that_is_said_once() {
        const LONG: Duration = Duration::from_secs(3_600);
        let held = "the state file is held".to_owned();
        assert_eq!(tried(0, Ok(7), 9, LONG), (Ok(7), 1, vec![]));
        assert_eq!(tried(3, Ok(7), 9, LONG), (Ok(7), 4, vec![held.clone(), works_again().to_owned()]));
        // Another error is no wait.
        assert_eq!(tried(0, Err(Held(false)), 9, LONG), (Err(Held(false)), 1, vec![]));
        assert_eq!(tried(2, Err(Held(false)), 9, LONG), (Err(Held(false)), 3, vec![held.clone()]));
        // A signal ends it, and so does the time.
        assert_eq!(tried(99, Ok(7), 3, LONG), (Err(Held(true)), 3, vec![held.clone()]));
        assert_eq!(tried(99, Ok(7), 9, Duration::ZERO), (Err(Held(true)), 1, vec![held]));
    }
}
