//! Whether a prompt has its answer, and if not, why it is sent.

use std::fmt;

use serde::Serialize;

use crate::model::{Fingerprint, Form, Known, Status};

/// Whether a prompt has its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its answer is on disk, for the same request.
    UpToDate,
    /// An answer is on disk that the journal does not know (its history is lost): it is kept, for it may have been paid for.
    Unknown,
    /// A real API's answer is on disk, and this is a rehearsal: it is kept.
    Protected,
    Send(Why),
}

/// Why a prompt is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It has no answer yet.
    New,
    /// Its text, the model or a parameter has changed since it was answered.
    Changed,
    /// It failed in an earlier run.
    FailedBefore,
    /// It was answered, and the output is gone.
    OutputMissing,
    /// Only the stand-in has answered it.
    Rehearsed,
    /// It was in flight when a run died.
    Lost,
    /// `--force`.
    Forced,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "new",
            Self::Changed => "text, model or a parameter changed",
            Self::FailedBefore => "failed before",
            Self::OutputMissing => "its output is gone",
            Self::Rehearsed => "answered by the stand-in only",
            Self::Lost => "was in flight when a run died",
            Self::Forced => "forced",
        })
    }
}

/// What stands in the way of sending a prompt, and what speaks for it.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// What the journal knows.
    pub known: Option<&'a Known>,
    /// Whether it was in flight when a run died, with the same request, and what became of it is not known.
    pub lost: bool,
    /// What is on disk: an answer that the journal knows is one, whatever its text.
    pub stands: Option<Form>,
    /// The request of now.
    pub fingerprint: Fingerprint,
}

/// Decides whether a prompt is sent.
#[must_use]
pub fn standing(evidence: Evidence<'_>, force: bool, rehearsal: bool) -> Standing {
    let Evidence { known, lost, stands, fingerprint } = evidence;
    // The stand-in's text is an answer in a rehearsal alone; it may be replaced.
    let answer_on_disk = stands == Some(Form::Answer) || (rehearsal && stands == Some(Form::Standin));
    if stands == Some(Form::Answer)
        && rehearsal
        && known.is_none_or(|known| known.status == Status::Done && !known.rehearsal)
    {
        return Standing::Protected;
    }
    let why = match known {
        _ if force => Why::Forced,
        // Its answer stands, though it was asked for once more.
        Some(known) if known.status == Status::Done && known.fingerprint == fingerprint && answer_on_disk => {
            return Standing::UpToDate;
        }
        _ if lost => Why::Lost,
        None if answer_on_disk => return Standing::Unknown,
        None if stands == Some(Form::Standin) => Why::Rehearsed,
        None => Why::New,
        Some(known) if known.status != Status::Done => Why::FailedBefore,
        Some(known) if known.fingerprint == fingerprint => Why::OutputMissing,
        Some(known) if known.rehearsal && !rehearsal => Why::Rehearsed,
        Some(_) => Why::Changed,
    };
    Standing::Send(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Usage;

    const SAME: Fingerprint = Fingerprint([1; 16]);
    const OTHER: Fingerprint = Fingerprint([2; 16]);

    fn known(fingerprint: Fingerprint, status: Status, rehearsal: bool) -> Known {
        let (run, bytes, unsettled, output, usage) = (1, 3, false, None, Usage::default());
        Known { run, fingerprint, status, bytes, unsettled, output, rehearsal, usage }
    }

    #[test]
    fn only_what_is_not_up_to_date_is_sent() {
        use Standing::{Protected, Send, Unknown, UpToDate};
        let done = known(SAME, Status::Done, false);
        let failed = known(SAME, Status::Failed, false);
        let changed = known(OTHER, Status::Done, false);
        let rehearsed = known(OTHER, Status::Done, true);
        let (answer, standin, failure) = (Some(Form::Answer), Some(Form::Standin), Some(Form::Failure));
        // known, lost, what is on disk, forced, a rehearsal
        let table = [
            (None, false, None, false, false, Send(Why::New)),
            (None, true, None, false, false, Send(Why::Lost)),
            (None, false, answer, false, false, Unknown),
            // An older answer stands there; what was asked for since is not known to have come.
            (None, true, answer, false, false, Send(Why::Lost)),
            (Some(&changed), true, answer, false, false, Send(Why::Lost)),
            (Some(&failed), true, None, false, false, Send(Why::Lost)),
            // Forced, and killed: its answer stands, or a failure's line does.
            (Some(&done), true, answer, false, false, UpToDate),
            (Some(&done), true, None, false, false, Send(Why::Lost)),
            (Some(&done), true, failure, false, false, Send(Why::Lost)),
            (Some(&done), false, failure, false, false, Send(Why::OutputMissing)),
            (None, false, failure, false, false, Send(Why::New)),
            // The stand-in's text is no real answer, and in a rehearsal it is not protected.
            (None, false, standin, false, false, Send(Why::Rehearsed)),
            (None, true, standin, false, false, Send(Why::Lost)),
            (None, false, standin, false, true, Unknown),
            (None, false, standin, true, true, Send(Why::Forced)),
            (Some(&done), false, standin, false, false, Send(Why::OutputMissing)),
            (Some(&changed), false, standin, false, true, Send(Why::Changed)),
            (None, false, answer, true, false, Send(Why::Forced)),
            (Some(&done), false, answer, false, false, UpToDate),
            (Some(&done), false, answer, true, false, Send(Why::Forced)),
            (Some(&done), false, None, false, false, Send(Why::OutputMissing)),
            (Some(&failed), false, None, false, false, Send(Why::FailedBefore)),
            (Some(&changed), false, answer, false, false, Send(Why::Changed)),
            (Some(&rehearsed), false, answer, false, false, Send(Why::Rehearsed)),
            (Some(&rehearsed), false, answer, false, true, Send(Why::Changed)),
            // A rehearsal never replaces an answer that may have been paid for, forced or not.
            (Some(&done), false, answer, true, true, Protected),
            (Some(&changed), false, answer, false, true, Protected),
            (None, false, answer, false, true, Protected),
            (Some(&done), false, None, false, true, Send(Why::OutputMissing)),
        ];
        for (row, (known, lost, stands, force, rehearsal, expected)) in table.into_iter().enumerate() {
            let evidence = Evidence { known, lost, stands, fingerprint: SAME };
            assert_eq!(standing(evidence, force, rehearsal), expected, "row {row}");
        }
    }
}
