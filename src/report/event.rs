//! What happens in a run, for whoever watches: the bar, the JSON lines, the log.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::summary::Summary;
use super::waits::WaitFor;
use crate::admit::hint::LearnedLimit;
use crate::model::text::json_line;
use crate::model::{Cause, Class, FinishReason, Key, LimitName, Oddity, Signal, Usage};

/// One thing that has happened. In `--json` it is one line, `{"event": "done", ...}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
        /// Whether the input is still being read: then the numbers are those that are known so far.
        reading: bool,
    },
    /// An earlier run was killed while requests were in flight.
    Recovered {
        /// Requests that were in flight.
        requests: usize,
        /// Of them, those whose answer is on disk.
        answered: usize,
        /// Of the others, those that are sent again now. The rest has an older answer that counts, or is not selected.
        sent_again: usize,
        /// The most tokens that the others can have used.
        most_tokens: u64,
        /// What those cost in US dollars, where the model's price is known.
        most_cost_usd: Option<f64>,
    },
    /// Answers are on disk of which the journal knows nothing; they count as up to date.
    WithoutHistory {
        /// How many.
        answers: usize,
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
        /// How many there are; left out while that is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        batches: Option<u32>,
        /// Its prompts.
        prompts: usize,
        /// Their input tokens.
        input_tokens: u64,
    },
    /// An answer is on disk.
    #[serde(skip_deserializing)]
    Done {
        /// Whose.
        key: Key,
        /// Its tokens.
        #[serde(flatten)]
        usage: Usage,
        /// Whether it is whole.
        finish: FinishReason,
    },
    /// An answer came with something odd that was put right.
    Odd {
        /// Whose.
        key: Key,
        /// What.
        what: Oddity,
    },
    /// A prompt failed for good.
    Failed {
        /// Which.
        key: Key,
        /// The error class.
        class: Class,
        /// What happened.
        message: String,
    },
    /// An attempt failed; another follows.
    Retrying {
        /// Whose.
        key: Key,
        /// The error class.
        class: Class,
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
        #[serde(alias = "prompt")]
        key: Key,
        /// The error class.
        class: Class,
        /// What the server says.
        message: String,
        /// How long.
        seconds: f64,
    },
    /// A limit of the server is new, or has changed.
    LimitLearned {
        /// The limit.
        limit: LearnedLimit,
    },
    /// The server refused what should have fitted: the rate is cut to this.
    RateCut {
        /// What is kept to from now on.
        limit: LearnedLimit,
    },
    /// Less than a tenth of a limit of the server is left.
    NearlyUsed {
        /// The limit.
        limit: LearnedLimit,
        /// What is left of it.
        left: u64,
    },
    /// The server fails, or refuses: nothing is sent but a probe at this moment.
    Paused {
        /// Which of them.
        cause: Cause,
        /// The error class.
        class: Class,
        /// What happened.
        message: String,
        /// How long until the probe.
        seconds: f64,
        /// When it leaves, by the wall clock.
        until: DateTime<Utc>,
    },
    /// A probe was answered: the run goes on, softly.
    Resumed {
        /// What is over.
        cause: Cause,
    },
    /// Less than a tenth of a limit that is set is left; told once for each.
    LimitNearlyUsed {
        /// The limit.
        limit: LimitName,
        /// What is used of it.
        used: u64,
        /// Its size, with the share at which a day pauses.
        most: u64,
    },
    /// What is used of the limits; told every so many answers.
    Usage {
        /// Answers of this run so far.
        answers: usize,
        /// Tokens in the window that ends now.
        tokens_within_min: u64,
        /// Requests in the window that ends now.
        requests_within_min: u64,
        /// Tokens in the day.
        tokens_within_day: u64,
        /// Requests in the day.
        requests_within_day: u64,
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
        /// The signal that asks for it; a second one ends the run at once.
        #[serde(default)]
        signal: Option<Signal>,
        /// Answers that are paid for and wait to be kept.
        #[serde(default)]
        held: usize,
    },
    /// The run ends at once, without waiting for what is in flight.
    Abandoned {
        /// Requests that may have been billed.
        in_flight: usize,
        /// What was reserved for them, which stays counted as used.
        tokens: u64,
        /// Whether they cannot have used more, because the requests say so; else it is an estimate.
        at_most: bool,
    },
    /// The state file fails: nothing is sent, and what is paid for is held until it works again.
    Holding {
        /// Why, and what to do.
        reason: String,
        /// Answers that are held.
        answers: usize,
        /// Requests that are waited for.
        in_flight: usize,
        /// How long it is tried at the most.
        seconds: f64,
        /// Until when, by the wall clock.
        until: DateTime<Utc>,
    },
    /// The state file works again.
    Released {},
    /// The run has ended. The last event of every run.
    #[serde(skip_deserializing)]
    Summary(Summary),
}

impl Event {
    /// Whether the journal keeps it: waits, hints and cuts, and what they lead to.
    #[must_use]
    pub fn is_noted(&self) -> bool {
        match self {
            Self::Throttled { .. }
            | Self::LimitLearned { .. }
            | Self::RateCut { .. }
            | Self::NearlyUsed { .. }
            | Self::Paused { .. }
            | Self::Resumed { .. }
            | Self::Waiting { .. }
            | Self::Stopping { .. }
            | Self::Abandoned { .. }
            | Self::Holding { .. }
            | Self::Released {} => true,
            Self::Started { .. }
            | Self::Recovered { .. }
            | Self::WithoutHistory { .. }
            | Self::Warning { .. }
            | Self::Batch { .. }
            | Self::Done { .. }
            | Self::Odd { .. }
            | Self::Failed { .. }
            | Self::Retrying { .. }
            | Self::LimitNearlyUsed { .. }
            | Self::Usage { .. }
            | Self::Summary(_) => false,
        }
    }

    /// A note of the journal; `None` where a version of this program wrote it that says it in another way.
    #[must_use]
    pub fn from_json(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    /// One line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Its keys are strings and its numbers finite, so it cannot fail; an error would be seen where it is read.
        let json = serde_json::to_string(self)
            .unwrap_or_else(|error| format!("{{\"event\":\"error\",\"message\":\"{error}\"}}"));
        json_line(&json).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::hint::{Source, Unit};
    use std::time::Duration;

    /// `status -v` reads what a run has noted.
    #[test]
    fn every_note_is_read_back_as_it_was_written() {
        let at: DateTime<Utc> = "2026-11-22T11:01:59Z".parse().expect("a date");
        let limit = LearnedLimit {
            unit: Unit::Tokens,
            group: Some("project".to_owned()),
            size: 94.191_535_468_898_22,
            window: Duration::from_secs(60),
            burst: Duration::from_millis(500),
            source: Source::Refusal,
            learned: at,
        };
        let waits = [WaitFor::Limit(LimitName::TokensPerDay), WaitFor::ServerLimit(limit.clone()), WaitFor::Server];
        let waits = waits.map(|wait_for| Event::Waiting { wait_for, seconds: 3.25, until: at });
        let (key, class, message) = (Key::from(7), Class::RateLimited, "HTTP 429: \"slow\"".to_owned());
        let others = [
            Event::Throttled { key, class, message: message.clone(), seconds: 0.5 },
            Event::LimitLearned { limit: limit.clone() },
            Event::RateCut { limit: limit.clone() },
            Event::NearlyUsed { limit, left: 3 },
            Event::Paused { cause: Cause::Quota, class: Class::Quota, message, seconds: 300.0, until: at },
            Event::Resumed { cause: Cause::Outage },
            Event::Stopping {
                reason: "interrupted".to_owned(),
                in_flight: 2,
                signal: Some(Signal::Interrupt),
                held: 1,
            },
            Event::Abandoned { in_flight: 2, tokens: 1_054, at_most: false },
            Event::Holding { reason: "full".to_owned(), answers: 1, in_flight: 2, seconds: 60.0, until: at },
            Event::Released {},
        ];
        for event in waits.into_iter().chain(others) {
            let line = event.to_json();
            assert!(event.is_noted(), "{line}");
            assert_eq!(Event::from_json(&line).map(|event| event.to_json()), Some(line));
        }
        assert!(Event::from_json(r#"{"event":"resumed","cause":"rain"}"#).is_none());
        let of_0_1_0 = r#"{"event":"throttled","prompt":7,"class":"rate_limited","message":"","seconds":1.0}"#;
        assert!(matches!(Event::from_json(of_0_1_0), Some(Event::Throttled { key, .. }) if key == Key::from(7)));
        let unknown = r#"{"event":"throttled","key":1,"class":"rain","message":"","seconds":1.0}"#;
        assert!(Event::from_json(unknown).is_none());
    }
}
