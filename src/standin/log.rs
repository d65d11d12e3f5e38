//! What the stand-in remembers of a request: enough to judge a client by, and neither prompt nor key.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::faults::FaultKind;
use crate::model::Usage;

/// One request as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    /// Counts requests, from 1, in the order of their arrival.
    pub number: u64,
    /// When it was decided on, since the server's start. In the JSON: whole nanoseconds.
    #[serde(rename = "arrived_ns", with = "in_nanos")]
    pub arrived: Duration,
    /// The path that was asked for, at most 64 bytes of it.
    pub path: Cow<'static, str>,
    /// The HTTP status; 0 where there is no response.
    pub status: u16,
    /// The fault that was drawn.
    pub fault: Option<FaultKind>,
    /// [`digest`](super::digest) of model and prompt; `None` where there was no prompt to read.
    #[serde(with = "in_hex")]
    pub prompt: Option<u64>,
    /// What was billed; `None` where nothing was.
    pub usage: Option<Usage>,
    /// The wait that a 429 told: the longest, where its text and its `Retry-After` differ. `None` where it told none. In the JSON: whole
    /// nanoseconds.
    #[serde(rename = "wait_ns", with = "in_nanos_or_null", default)]
    pub wait: Option<Duration>,
    /// Whether there was an `Authorization` header. What it said is not kept.
    pub authorization_present: bool,
}

mod in_nanos {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(crate::clock::nanos(*span))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_nanos)
    }
}

mod in_nanos_or_null {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "serde asks for this form")]
    pub(super) fn serialize<S: Serializer>(span: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        span.map(crate::clock::nanos).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_nanos))
    }
}

/// As the answer shows it: 16 hexadecimal digits.
mod in_hex {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[expect(clippy::ref_option, reason = "serde asks for this form")]
    pub(super) fn serialize<S: Serializer>(digest: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        match digest {
            Some(digest) => to.collect_str(&format_args!("{digest:016x}")),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| u64::from_str_radix(&text, 16)).transpose().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back() {
        let logged = Logged {
            number: 3,
            arrived: Duration::from_nanos(1_500_000_001),
            path: "/v1/chat/completions".into(),
            status: 200,
            fault: Some(FaultKind::CutBody),
            prompt: Some(0xab),
            usage: Some(Usage { input_tokens: 9, output_tokens: 4, ..Usage::default() }),
            wait: Some(Duration::from_millis(132)),
            authorization_present: true,
        };
        let line = serde_json::to_string(&logged).expect("a line");
        assert_eq!(
            line,
            r#"{"number":3,"arrived_ns":1500000001,"path":"/v1/chat/completions","status":200,"fault":"cut-body","prompt":"00000000000000ab","usage":{"input_tokens":9,"output_tokens":4},"wait_ns":132000000,"authorization_present":true}"#
        );
        assert_eq!(serde_json::from_str::<Logged>(&line).expect("the same"), logged);
    }
}
