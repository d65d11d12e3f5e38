//! How an answer ended, and what is odd about it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model came to its end.
    Complete,
    /// The answer reached `max_output_tokens`, or the context window.
    Truncated,
    /// The model refused to answer; the text says why.
    Refused,
    /// The content filter cut the answer.
    Filtered,
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Complete => "complete",
            Self::Truncated => "truncated",
            Self::Refused => "refused",
            Self::Filtered => "filtered",
        })
    }
}

/// What is odd about an answer, and was put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Oddity {
    /// Something in it was no text: U+FFFD stands there now.
    Text,
    /// The usage that came with it cannot be true: its tokens were counted instead.
    Usage,
}
