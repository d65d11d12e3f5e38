//! Ids, units and the request: the words that every stage shares.
//!
//! Tokens are `u64` and named so (`input_tokens`); durations are [`std::time::Duration`].

mod address;
mod cause;
mod class;
mod content;
mod doom;
mod ending;
mod exit;
mod fingerprint;
mod finish;
mod key;
mod known;
mod limits;
mod policy;
mod signal;
pub mod text;
mod work;

pub(crate) use address::is_local_host;
pub use address::is_loopback;
pub use cause::Cause;
pub use class::Class;
pub(crate) use content::ERROR;
pub use content::{Content, ContentHash, ContentId, Form, Put, STANDIN_MARK};
pub use doom::Doom;
pub use ending::{Ending, RunStop};
pub use exit::Exit;
pub use fingerprint::{Fingerprint, Fingerprinter};
pub use finish::{FinishReason, Oddity};
pub use key::Key;
pub use known::{Before, Known, Status};
pub(crate) use limits::guard;
pub use limits::{LimitName, Limits, TooLarge, WHOLE_PPM};
pub use policy::{OnDayLimit, OnQuota};
pub use signal::Signal;
pub use work::{Drawn, Ordinal, Place, Portion, Spot, Supply, Work};

use std::fmt;

use serde::{Deserialize, Serialize};

/// The endpoint that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// `POST /chat/completions`.
    #[default]
    Chat,
    /// `POST /responses`.
    Responses,
}

impl Api {
    /// The members of a request by which it says how many tokens the answer may have; the first is the one that we write.
    #[must_use]
    pub fn output_limit_members(self) -> &'static [&'static str] {
        match self {
            // `max_tokens` is deprecated, and reasoning models refuse it; some servers know no other.
            Api::Chat => &["max_completion_tokens", "max_tokens"],
            Api::Responses => &["max_output_tokens"],
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Api::Chat => "chat",
            Api::Responses => "responses",
        })
    }
}

/// Everything of a request but its prompt: the same for all requests of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestTemplate {
    /// The endpoint.
    pub api: Api,
    /// The model's name, as the API knows it.
    pub model: String,
    /// Text of the system message; none is sent when absent.
    pub system: Option<String>,
    /// The most tokens that an answer may have, reasoning included; not sent when absent.
    pub max_output_tokens: Option<u64>,
    /// Sampling temperature, 0 to 2; not sent when absent.
    pub temperature: Option<f64>,
    /// `none`, `minimal`, `low`, `medium`, `high`, ...: passed on as it stands; not sent when absent.
    pub reasoning_effort: Option<String>,
    /// Members put into the request body as they stand, over ours where both name one.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl RequestTemplate {
    /// A request to `model` with no parameters.
    #[must_use]
    pub fn new(api: Api, model: impl Into<String>) -> Self {
        Self {
            api,
            model: model.into(),
            system: None,
            max_output_tokens: None,
            temperature: None,
            reasoning_effort: None,
            extra: serde_json::Map::new(),
        }
    }

    /// The most tokens that an answer may have, whether a setting or `extra` says so; `None` where the request does not say it.
    #[must_use]
    pub fn output_limit(&self) -> Option<u64> {
        let of_extra = || self.api.output_limit_members().iter().find_map(|member| self.extra.get(*member)?.as_u64());
        self.max_output_tokens.or_else(of_extra)
    }
}

/// Tokens of one request, as the API bills them (or as we count them where it says nothing).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Prompt tokens, cached ones included.
    pub input_tokens: u64,
    /// Completion tokens, reasoning included.
    pub output_tokens: u64,
    /// Input tokens that the server had in its cache; 0 too where it does not say.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached_tokens: u64,
    /// Output tokens of reasoning, which no answer shows; 0 too where the server does not say.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning_tokens: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Usage {
    /// Input and output together: what the token limits count.
    #[must_use]
    pub fn total(self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(other.reasoning_tokens);
    }
}

/// An API key. It has no `Display` and its `Debug` hides it; [`Secret::reveal`] is called where a request is signed, and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `key`, white space around it dropped; `None` where nothing is left.
    #[must_use]
    pub fn new(key: &str) -> Option<Self> {
        let key = key.trim();
        (!key.is_empty()).then(|| Self(key.to_owned()))
    }

    /// The key itself, for the `Authorization` header.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// `text` with every occurrence of the key replaced by `[key]`.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        text.replace(&self.0, "[key]")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

/// Spans as seconds in JSON: `"window_seconds": 60.0`.
pub mod seconds {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes `span` as a number of seconds.
    pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(span.as_secs_f64())
    }

    /// Reads a number of seconds, from 0.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
