//! The counts of a run, and its closing line.

use std::fmt;

use serde::Serialize;

use crate::model::{FinishReason, Oddity, Usage};
use crate::report::waits::Binds;

/// Counts of what this run did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Answers on disk.
    pub done: usize,
    /// Prompts that failed for good.
    pub failed: usize,
    /// Answers that could not be written; the store keeps them.
    pub kept: usize,
    /// Answers on disk that the journal could not be told of; the next run finds them.
    pub unrecorded: usize,
    /// Answers that could be kept nowhere.
    pub lost: usize,
    /// Answers cut off by a token limit.
    pub truncated: usize,
    /// Answers that are refusals.
    pub refused: usize,
    /// Answers cut off by a content filter.
    pub filtered: usize,
    /// Answers with something in them that was no text; U+FFFD stands there.
    pub repaired: usize,
    /// Answers that came with a usage that cannot be true; their tokens were counted instead.
    pub recounted: usize,
    /// Requests sent, all attempts.
    pub requests: usize,
    /// Attempts that failed and were repeated.
    pub retried: usize,
    /// Attempts that the server refused for its rate limit.
    pub throttled: usize,
    /// Tokens of answers, and of failures that were billed.
    pub usage: Usage,
    /// Failed attempts that may have been billed.
    pub unknown_requests: usize,
    /// The most tokens that those may have cost.
    pub unknown_tokens: u64,
}

impl Tally {
    pub(crate) fn answered(&mut self, usage: Usage, finish: FinishReason) {
        self.done += 1;
        self.usage += usage;
        match finish {
            FinishReason::Complete => {}
            FinishReason::Truncated => self.truncated += 1,
            FinishReason::Refused => self.refused += 1,
            FinishReason::Filtered => self.filtered += 1,
        }
    }

    pub(crate) fn odd(&mut self, what: Oddity) {
        match what {
            Oddity::Text => self.repaired += 1,
            Oddity::Usage => self.recounted += 1,
        }
    }

    pub(crate) fn failed(&mut self, usage: Usage) {
        self.failed += 1;
        self.usage += usage;
    }

    pub(crate) fn kept(&mut self, usage: Usage) {
        self.kept += 1;
        self.usage += usage;
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Prompts that it has to bring to an end.
    pub jobs: usize,
    /// Requests at the server, and answers on their way to the disk.
    pub in_flight: usize,
    /// What it has done.
    pub tally: &'a Tally,
    /// What keeps the next request back; `None` where nothing does.
    pub binds: Option<&'a Binds>,
}

/// How a run ended: every selected prompt is in one of four counts.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Prompts selected.
    pub prompts: usize,
    /// Those that had their answer before.
    pub up_to_date: usize,
    /// Those without an end.
    pub pending: usize,
    /// What this run did.
    #[serde(flatten)]
    pub tally: Tally,
    /// What it cost in US dollars, where the model's price is known.
    pub cost_usd: Option<f64>,
    /// How long it took.
    pub seconds: f64,
    /// The process's exit code.
    pub exit_code: u8,
    /// Why it ended early; `None` where it did not.
    pub stopped_by: Option<String>,
}

impl fmt::Display for Summary {
    /// The closing line, which adds up: `100 prompts = 97 done + 1 up to date + 1 failed + 1 pending`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prompts, up_to_date, pending, tally, .. } = self;
        let plural = if *prompts == 1 { "" } else { "s" };
        write!(
            f,
            "{prompts} prompt{plural} = {} done + {up_to_date} up to date + {} failed + {pending} pending",
            tally.done, tally.failed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_has_its_form() {
        let mut tally = Tally::default();
        (0..97).for_each(|_| {
            tally.answered(Usage { input_tokens: 3, output_tokens: 4, ..Usage::default() }, FinishReason::Complete);
        });
        tally.failed(Usage::default());
        let summary = Summary {
            prompts: 100,
            up_to_date: 1,
            pending: 1,
            tally,
            cost_usd: None,
            seconds: 1.0,
            exit_code: 1,
            stopped_by: None,
        };
        assert_eq!(summary.to_string(), "100 prompts = 97 done + 1 up to date + 1 failed + 1 pending");
        assert_eq!(summary.tally.usage.total(), 97 * 7);
    }
}
