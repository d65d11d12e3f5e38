//! What is known of a prompt from earlier runs.

use super::{ContentId, Fingerprint, Usage};

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
    /// Whether its answer is known to the last byte: one of the stand-in (`rehearsal`), or of a real API.
    #[must_use]
    pub fn is_settled(&self, rehearsal: bool) -> bool {
        self.status == Status::Done && !self.unsettled && self.rehearsal == rehearsal
    }

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
    Output(ContentId),
    /// It could not be read, or the journal is of a format before 3.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_back() {
        for status in [Status::Sending, Status::Waiting, Status::Done, Status::Failed, Status::Unwritten, Status::Lost]
        {
            assert_eq!(Status::from_number(status as i64), Some(status));
        }
        assert_eq!(Status::from_number(0), None);
    }
}
