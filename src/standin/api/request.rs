//! What a client asks for: request bodies of both endpoints, checked as the API checks them.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::error::ApiError;
use crate::count::tokenizer::Tokenizer;
use crate::model::Api;

/// Output tokens that are reserved where a request names no most.
const DEFAULT_RESERVED_OUTPUT: u64 = 16;
/// The smallest `max_output_tokens` of the Responses API.
const LEAST_OUTPUT: i64 = 16;
/// The largest `n`.
const MOST_CHOICES: i64 = 128;

/// A request for an answer, of either endpoint.
#[derive(Debug, PartialEq)]
pub(in crate::standin) struct Ask {
    pub(in crate::standin) api: Api,
    pub(in crate::standin) model: String,
    pub(in crate::standin) messages: Vec<Message>,
    /// The most output tokens of one choice.
    pub(in crate::standin) max_output_tokens: Option<u64>,
    /// How many choices; at least 1.
    pub(in crate::standin) choices: u64,
    /// Echoed by the Responses API.
    pub(in crate::standin) instructions: Option<String>,
    pub(in crate::standin) store: Option<bool>,
    pub(in crate::standin) temperature: Option<f64>,
}

/// One message, its content parts put together.
#[derive(Debug, PartialEq, Deserialize)]
pub(in crate::standin) struct Message {
    #[serde(default)]
    pub(in crate::standin) role: String,
    #[serde(default)]
    pub(in crate::standin) content: Text,
    pub(in crate::standin) name: Option<String>,
}

/// A string, or the texts of a list of parts; parts without text (images) count for nothing.
#[derive(Debug, Default, PartialEq)]
pub(in crate::standin) struct Text(pub(in crate::standin) String);

#[derive(Deserialize)]
struct ChatBody {
    model: Option<String>,
    messages: Option<Vec<Message>>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    n: Option<i64>,
    stream: Option<bool>,
}

#[derive(Deserialize)]
struct ResponsesBody {
    model: Option<String>,
    input: Option<Input>,
    instructions: Option<String>,
    max_output_tokens: Option<i64>,
    stream: Option<bool>,
    store: Option<bool>,
    temperature: Option<f64>,
}

/// A string, which is one message of the user, or a list of items.
struct Input(Vec<Message>);

impl Ask {
    /// Reads the body of `POST /v1/chat/completions`.
    pub(in crate::standin) fn chat(body: &[u8]) -> Result<Self, ApiError> {
        let body: ChatBody = parse(body)?;
        let model = body.model.filter(|model| !model.is_empty()).ok_or_else(ApiError::no_model)?;
        let messages = body.messages.ok_or_else(|| ApiError::missing("messages"))?;
        if messages.is_empty() {
            return Err(ApiError::empty_array("messages"));
        }
        refuse_stream(body.stream)?;
        let newer = at_least("max_completion_tokens", 1, body.max_completion_tokens)?;
        let older = at_least("max_tokens", 1, body.max_tokens)?;
        let choices = at_least("n", 1, body.n)?.unwrap_or(1);
        if let Some(n) = body.n.filter(|&n| n > MOST_CHOICES) {
            return Err(ApiError::above_maximum("n", MOST_CHOICES, n));
        }
        Ok(Self {
            api: Api::Chat,
            model,
            messages,
            max_output_tokens: newer.or(older),
            choices,
            instructions: None,
            store: None,
            temperature: None,
        })
    }

    /// Reads the body of `POST /v1/responses`, and of the count of its input.
    pub(in crate::standin) fn responses(body: &[u8]) -> Result<Self, ApiError> {
        let body: ResponsesBody = parse(body)?;
        let model = body.model.filter(|model| !model.is_empty()).ok_or_else(|| ApiError::missing("model"))?;
        let Input(messages) = body.input.ok_or_else(|| ApiError::missing("input"))?;
        refuse_stream(body.stream)?;
        let max_output_tokens = at_least("max_output_tokens", LEAST_OUTPUT, body.max_output_tokens)?;
        Ok(Self {
            api: Api::Responses,
            model,
            messages,
            max_output_tokens,
            choices: 1,
            instructions: body.instructions,
            store: body.store,
            temperature: body.temperature,
        })
    }

    /// What is answered: the last message of the user, or the last message where none is the user's.
    pub(in crate::standin) fn prompt(&self) -> &str {
        let of_user = self.messages.iter().rev().find(|message| message.role == "user");
        of_user.or(self.messages.last()).map_or("", |message| &message.content.0)
    }

    /// What the limiter takes, before anything is tokenized: a quarter of the characters and the most output.
    pub(in crate::standin) fn reservation(&self) -> u64 {
        let contents = self.messages.iter().map(|message| message.content.0.as_str());
        let characters: usize = contents.chain(self.instructions.as_deref()).map(|text| text.chars().count()).sum();
        let output = self.max_output_tokens.unwrap_or(DEFAULT_RESERVED_OUTPUT);
        (characters as u64).div_ceil(4).saturating_add(output.saturating_mul(self.choices))
    }

    /// Input tokens as they are billed: 3 a message, its role and content, and 3 for the reply.
    pub(in crate::standin) fn input_tokens(&self, tokenizer: Tokenizer) -> u64 {
        let message = |role: &str, content: &str| 3 + tokenizer.count(role) + tokenizer.count(content);
        let named = |name: &str| 1 + tokenizer.count(name);
        let instructions = self.instructions.as_deref().map_or(0, |text| message("system", text));
        let messages =
            self.messages.iter().map(|m| message(&m.role, &m.content.0) + m.name.as_deref().map_or(0, named));
        3 + instructions + messages.sum::<u64>()
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| match serde_json::from_slice::<IgnoredAny>(body) {
        Ok(_) => ApiError::wrong_type(&error),
        Err(_) => ApiError::not_json(),
    })
}

fn at_least(param: &'static str, minimum: i64, got: Option<i64>) -> Result<Option<u64>, ApiError> {
    match got {
        Some(got) if got < minimum => Err(ApiError::below_minimum(param, minimum, got)),
        // Not negative: it is at least `minimum`.
        got => Ok(got.and_then(|got| u64::try_from(got).ok())),
    }
}

fn refuse_stream(stream: Option<bool>) -> Result<(), ApiError> {
    if stream == Some(true) { Err(ApiError::streaming()) } else { Ok(()) }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Parts;

        #[derive(Deserialize)]
        struct Part {
            text: Option<String>,
        }

        impl<'de> Visitor<'de> for Parts {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of content parts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Text, E> {
                Ok(Text(text))
            }

            fn visit_unit<E>(self) -> Result<Text, E> {
                Ok(Text::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Text, A::Error> {
                let mut whole = String::new();
                while let Some(Part { text }) = parts.next_element()? {
                    whole.push_str(text.as_deref().unwrap_or_default());
                }
                Ok(Text(whole))
            }
        }

        from.deserialize_any(Parts)
    }
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Items;

        impl<'de> Visitor<'de> for Items {
            type Value = Input;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of input items")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Input, E> {
                self.visit_string(text.to_owned())
            }

            fn visit_string<E>(self, text: String) -> Result<Input, E> {
                Ok(Input(vec![Message { role: "user".to_owned(), content: Text(text), name: None }]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Input, A::Error> {
                let mut messages = Vec::new();
                while let Some(message) = items.next_element()? {
                    messages.push(message);
                }
                Ok(Input(messages))
            }
        }

        from.deserialize_any(Items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_is_the_users_last_message() {
        let ask = Ask::chat(
            br#"{"model":"m","messages":[{"role":"user","content":"first"},{"role":"assistant","content":null},
                {"role":"user","content":[{"type":"text","text":"sec"},{"type":"image_url"},{"type":"text","text":"ond"}]},
                {"role":"system","content":"be brief"}]}"#,
        );
        assert_eq!(ask.expect("a request").prompt(), "second");
        let ask = Ask::responses(br#"{"model":"m","input":[{"role":"user","content":"a"}],"instructions":"b"}"#);
        assert_eq!(ask.expect("a request").prompt(), "a");
    }

    #[test]
    fn a_reservation_is_a_quarter_of_the_characters_and_the_most_output() {
        let reserved = |rest: &str| {
            let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"äöüßé"}}]{rest}}}"#);
            Ask::chat(body.as_bytes()).expect("a request").reservation()
        };
        assert_eq!(reserved(""), 2 + 16);
        assert_eq!(reserved(r#","max_tokens":100"#), 2 + 100);
        assert_eq!(reserved(r#","max_tokens":100,"max_completion_tokens":50,"n":3"#), 2 + 150);
    }

    #[test]
    fn input_tokens_are_those_that_were_billed() {
        let ask = Ask::chat(br#"{"model":"gpt-4o","messages":[{"role":"system","content":"hello world"},{"role":"user","content":"hello","name":"bob"}]}"#)
            .expect("a request");
        let tokenizer = Tokenizer::for_model("gpt-4o");
        assert_eq!(ask.input_tokens(tokenizer), 3 + (3 + 1 + 2) + (3 + 1 + 1) + 1 + tokenizer.count("bob"));
    }

    #[test]
    fn bad_requests_are_refused_in_the_apis_words() {
        let chat = |body: &str| Ask::chat(body.as_bytes()).expect_err("refused");
        let responses = |body: &str| Ask::responses(body.as_bytes()).expect_err("refused");
        let table = [
            (chat("{\"model\":"), "We could not parse the JSON body of your request.", None, None),
            (chat(r#"{"messages":[]}"#), "you must provide a model parameter", None, None),
            (
                chat(r#"{"model":"m"}"#),
                "Missing required parameter: 'messages'.",
                Some("messages"),
                Some("missing_required_parameter"),
            ),
            (
                chat(r#"{"model":"m","messages":[]}"#),
                "Invalid 'messages': empty array.",
                Some("messages"),
                Some("empty_array"),
            ),
            (chat(r#"{"model":5}"#), "Invalid type in the request", None, Some("invalid_type")),
            (
                chat(r#"{"model":"m","messages":[{"role":"user","content":""}],"max_tokens":0}"#),
                "Invalid 'max_tokens': integer below minimum value. Expected a value >= 1, but got 0 instead.",
                Some("max_tokens"),
                Some("integer_below_min_value"),
            ),
            (
                chat(r#"{"model":"m","messages":[{"role":"user","content":""}],"stream":true}"#),
                "Streaming is not supported",
                Some("stream"),
                Some("unsupported_value"),
            ),
            (
                responses(r#"{"input":"a"}"#),
                "Missing required parameter: 'model'.",
                Some("model"),
                Some("missing_required_parameter"),
            ),
            (
                responses(r#"{"model":"m"}"#),
                "Missing required parameter: 'input'.",
                Some("input"),
                Some("missing_required_parameter"),
            ),
            (
                responses(r#"{"model":"m","input":"a","max_output_tokens":15}"#),
                "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 15 instead.",
                Some("max_output_tokens"),
                Some("integer_below_min_value"),
            ),
        ];
        for (error, message, param, code) in table {
            assert!(error.message.starts_with(message), "{}", error.message);
            assert_eq!((error.status, error.param, error.code.as_deref()), (400, param, code), "{message}");
        }
    }
}
