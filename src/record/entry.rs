//! The journal's entries: what a prompt's row says, and which step may follow which.

use super::AttemptId;
use crate::model::{Before, ContentId, Fingerprint, Key, Known, Status, Usage};

/// What happens to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A request is about to leave.
    Begin,
    /// It is to be sent again.
    Again,
    /// Its answer is on disk.
    Done,
    /// It failed for good.
    Fail,
    /// Its answer cannot be written.
    Keep,
    /// Its run is found dead.
    Lose,
    /// A kept answer is written by a later run, or an answer is found on disk that its dead run wrote.
    Recover,
}

/// A step that cannot follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step:?} cannot follow {from:?}")]
pub struct IllegalStep {
    from: Option<Status>,
    step: Step,
}

/// The status after `step`; `from` is `None` for a prompt that the run has not touched yet.
///
/// Used by the live run and by recovery alike.
pub fn next_status(from: Option<Status>, step: Step) -> Result<Status, IllegalStep> {
    use Status::{Done, Failed, Lost, Sending, Unwritten, Waiting};
    match (from, step) {
        (None | Some(Waiting), Step::Begin) => Ok(Sending),
        (Some(Sending), Step::Again) => Ok(Waiting),
        (Some(Sending), Step::Done) | (Some(Unwritten | Lost), Step::Recover) => Ok(Done),
        // A prompt that is too large, or not text, fails without being sent.
        (None | Some(Sending | Waiting), Step::Fail) => Ok(Failed),
        (Some(Sending), Step::Keep) => Ok(Unwritten),
        (Some(Sending), Step::Lose) => Ok(Lost),
        _ => Err(IllegalStep { from, step }),
    }
}

/// A request that was in flight when its run died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRequest {
    /// Which attempt it was.
    pub attempt: AttemptId,
    pub key: Key,
    pub fingerprint: Fingerprint,
    /// Input tokens, counted.
    pub input_tokens: u64,
    /// Input and expected output tokens, which stay counted as spent.
    pub reserved_tokens: u64,
    /// Whether it went to the stand-in.
    pub rehearsal: bool,
    /// What stood at its output's place.
    pub before: Before,
    /// Outputs of its prompt that the journal has seen in earlier runs.
    pub earlier: Vec<ContentId>,
}

impl LostRequest {
    /// What is known once its answer is found on disk. What it used is not: the answer did not come to its end.
    #[must_use]
    pub fn answered(&self, output: ContentId) -> Known {
        Known {
            run: self.attempt.run(),
            fingerprint: self.fingerprint,
            status: Status::Done,
            bytes: output.bytes,
            unsettled: false,
            output: Some(output),
            rehearsal: self.rehearsal,
            usage: Usage::default(),
        }
    }

    /// The most that it can have used.
    #[must_use]
    pub fn most_usage(&self) -> Usage {
        Usage {
            input_tokens: self.input_tokens,
            output_tokens: self.reserved_tokens.saturating_sub(self.input_tokens),
            ..Usage::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_an_end() {
        for ended in [Status::Done, Status::Failed] {
            for step in [Step::Begin, Step::Again, Step::Done, Step::Fail, Step::Keep, Step::Lose, Step::Recover] {
                assert!(next_status(Some(ended), step).is_err(), "{step:?} after {ended:?}");
            }
        }
    }
}
