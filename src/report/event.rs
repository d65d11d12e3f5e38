//! What happens in a run, for whoever watches: the bar, the JSON lines, the log.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::summary::Summary;
use crate::admit::limits::LimitName;
use crate::model::{PromptId, Usage};
use crate::send::answer::Finish;

/// One thing that has happened. In `--json` it is one line, `{"event": "done", ...}`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run starts.
    Started {
        /// Prompts selected.
        prompts: usize,
        /// Of them, those that have their answer.
        up_to_date: usize,
        /// Those to be sent.
        to_send: usize,
        /// Input tokens of those to be sent.
        input_tokens: u64,
        /// The model.
        model: String,
        /// The most requests in flight.
        concurrency: usize,
    },
    /// Something that a person should know, and that does not stop the run.
    Warning {
        /// What.
        message: String,
    },
    /// A batch starts.
    Batch {
        /// Its number, from 1.
        batch: u32,
        /// How many there are.
        batches: usize,
        /// Its prompts.
        prompts: usize,
        /// Their input tokens.
        input_tokens: u64,
    },
    /// An answer is on disk.
    Done {
        /// Whose.
        prompt: PromptId,
        /// Its tokens.
        #[serde(flatten)]
        usage: Usage,
        /// Whether it is whole.
        finish: Finish,
    },
    /// A prompt failed for good.
    Failed {
        /// Which.
        prompt: PromptId,
        /// The error class.
        class: String,
        /// What happened.
        message: String,
    },
    /// An attempt failed; another follows.
    Retrying {
        /// Whose.
        prompt: PromptId,
        /// The error class.
        class: &'static str,
        /// What happened.
        message: String,
        /// Attempts that have failed.
        attempt: u32,
        /// The most that may.
        attempts: u32,
        /// The wait before the next one.
        seconds: f64,
    },
    /// The server asks for a pause; the whole run takes it.
    Throttled {
        /// Whose request was refused first.
        prompt: PromptId,
        /// The error class.
        class: &'static str,
        /// What the server says.
        message: String,
        /// How long.
        seconds: f64,
    },
    /// Nothing more is sent before a moment.
    Waiting {
        /// What for.
        wait_for: WaitFor,
        /// How long from now, at the most.
        seconds: f64,
        /// Until when, by the wall clock.
        until: DateTime<Utc>,
    },
    /// No more is sent; what is in flight is waited for.
    Stopping {
        /// Why.
        reason: String,
        /// Requests that are waited for.
        in_flight: usize,
    },
    /// The run has ended. The last event of every run.
    Summary(Summary),
}

/// What a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitFor {
    /// Room under a limit.
    Limit(LimitName),
    /// The end of a pause that the server asked for.
    Server,
}

impl fmt::Display for WaitFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(limit) => limit.fmt(f),
            Self::Server => f.write_str("the server's rate limit"),
        }
    }
}
