//! What a run says of itself, and what the runs before it have left.

use chrono::{DateTime, Utc};

use super::AttemptId;
use super::entry::LostRequest;
use crate::model::{ContentId, Key};

/// How many of the latest answers tell what a model's answers need.
pub(super) const LATEST_ANSWERS: usize = 256;

/// What a run says of itself.
#[derive(Clone, Debug)]
pub struct RunInfo {
    /// The outputs folder, as an absolute path: what prompts are kept by.
    pub outputs: String,
    pub model: String,
    /// Whether the stand-in answers.
    pub rehearsal: bool,
    pub pid: u32,
}

/// What earlier runs left of an outputs folder.
#[derive(Debug, Default)]
pub struct Found {
    /// Requests that were in flight when their run died.
    pub lost: Vec<LostRequest>,
    /// Answers that could not be written.
    pub kept: Vec<KeptAnswer>,
    /// Output tokens of the model's latest answers.
    pub latest_output_tokens: Vec<u64>,
}

/// An answer that a run could not write.
#[derive(Clone, Debug)]
pub struct KeptAnswer {
    pub(super) attempt: AttemptId,
    pub key: Key,
    pub text: String,
}

impl KeptAnswer {
    /// What it is once it is written.
    #[must_use]
    pub fn content(&self) -> ContentId {
        ContentId::of(self.text.as_bytes())
    }
}

/// The last run of a folder, for `status`.
#[derive(Clone, Debug)]
pub struct LastRun {
    pub model: String,
    /// Whether the stand-in answered.
    pub rehearsal: bool,
    pub pid: u32,
    pub started: DateTime<Utc>,
    /// When it ended; `None` while it runs, and for one that died.
    pub ended: Option<DateTime<Utc>>,
    pub summary: Option<String>,
}
