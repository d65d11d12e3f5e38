//! The journal's entries: what a prompt's row says, and which step may follow which.

use crate::model::{ContentId, Fingerprint, PromptId, Usage};

/// Where a prompt stands in one run. The numbers are the journal's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// A request may be at the server, and may be paid for.
    Sending = 1,
    /// An attempt has ended, and another is to follow.
    Waiting = 2,
    /// The answer is on disk.
    Done = 3,
    /// It failed for good; the output says why.
    Failed = 4,
    /// The answer is kept in the store, because it could not be written.
    Unwritten = 5,
    /// It was in flight when its run died; what became of it is not known.
    Lost = 6,
}

impl Status {
    /// Reads the journal's number.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        [Self::Sending, Self::Waiting, Self::Done, Self::Failed, Self::Unwritten, Self::Lost]
            .into_iter()
            .find(|status| *status as i64 == number)
    }
}

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

/// What the journal knows of a prompt from earlier runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The run that says so.
    pub run: i64,
    /// The request that the output on disk answers (or that failed).
    pub fingerprint: Fingerprint,
    /// `Done`, `Failed` or `Unwritten`.
    pub status: Status,
    /// Length of the output that was written, in bytes.
    pub bytes: u64,
    /// Whether a later attempt has left no end: what it wrote is not known.
    pub unsettled: bool,
    /// The output that was written, read where it is unsettled; `None` too where the journal was of a format before 3.
    pub output: Option<ContentId>,
    /// Whether the stand-in gave the answer.
    pub rehearsal: bool,
    /// What the request cost.
    pub usage: Usage,
}

impl Known {
    /// What is known once `output` is on disk as the answer to this request.
    #[must_use]
    pub fn answered(self, output: ContentId) -> Self {
        Self { status: Status::Done, bytes: output.bytes, output: Some(output), unsettled: false, ..self }
    }
}

/// What stood at the place of a request's output when the request left. The journal notes it, to tell the answer from it later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Before {
    /// Nothing, or an empty file.
    #[default]
    Nothing,
    /// This output.
    Output(ContentId),
    /// It could not be read, or the journal is of a format before 3.
    Unknown,
}

/// A request that was in flight when its run died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRequest {
    /// The run that sent it.
    pub run: i64,
    /// Its prompt.
    pub prompt: PromptId,
    /// What was sent.
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
            run: self.run,
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
        Usage { input_tokens: self.input_tokens, output_tokens: self.reserved_tokens.saturating_sub(self.input_tokens) }
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

    #[test]
    fn numbers_are_read_back() {
        for status in [Status::Sending, Status::Waiting, Status::Done, Status::Failed, Status::Unwritten, Status::Lost]
        {
            assert_eq!(Status::from_number(status as i64), Some(status));
        }
        assert_eq!(Status::from_number(0), None);
    }
}
