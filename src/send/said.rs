//! What an error body says, whatever its form: the official one, a look-alike's, a page, plain text or nothing.

use serde_json::Value;

use super::decode::decode;
use super::{answer, message};
use crate::model::Usage;

/// Gateways put so much before another's words: a status, an exception's name, a route.
const OPENING: usize = 64;

/// The words of an error body, raw: [`message::tidy`] makes them fit to print.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// What it says to people; empty where it says nothing.
    pub(super) message: String,
    /// A moment or wait in the body: a gateway's `retry_after`, or an upstream's header that a router puts there.
    pub(super) reset: Option<String>,
    /// Whether a moderation flagged the prompt.
    pub(super) flagged: bool,
    /// Whether the body is an HTML page.
    pub(super) page: bool,
    /// What the failed request used all the same.
    pub(super) usage: Option<Usage>,
    code: String,
    kind: String,
    param: String,
}

impl Said {
    /// Reads the body of a response whose status is an error.
    pub(super) fn in_error(body: &[u8]) -> Self {
        if let Some(json) = decode(body).map(|decoded| decoded.json) {
            return Self { usage: answer::usage(&json), ..Self::read(&json) };
        }
        let text = String::from_utf8_lossy(body).into_owned();
        Self { page: message::is_page(&text), message: text, ..Self::default() }
    }

    /// The error in a response whose status is a success, if it holds one.
    pub(super) fn in_success(json: &Value) -> Option<Self> {
        let first = json.get("choices").and_then(|choices| choices.get(0));
        let in_choice = first.filter(|choice| choice.get("error").is_some_and(is_error));
        if let Some(error) = in_choice.or_else(|| Some(json).filter(|json| json.get("error").is_some_and(is_error))) {
            return Some(Self::read(error));
        }
        // `error: null` and no answer at all: a response that failed or was cancelled without a reason.
        let status = json.get("status").and_then(Value::as_str);
        let in_words = matches!(status, Some("failed" | "cancelled"))
            || first.is_some_and(|choice| choice.get("finish_reason").is_some_and(|reason| reason == "error"))
            || json.get("object").is_some_and(|object| object == "error");
        in_words.then(|| Self::read(json))
    }

    fn read(json: &Value) -> Self {
        // Google's look-alike wraps the error in an array.
        let json = json.get(0).unwrap_or(json);
        let (error, flat) = match json.get("error") {
            Some(Value::String(text)) => return Self { message: text.clone(), ..Self::flat(json) },
            Some(error) if error.is_object() => (error, false),
            _ => (json, true),
        };
        let metadata = error.get("metadata");
        let said = Self::flat(error);
        let header = |name: &str| Some(text(metadata?.get("headers")?.get(name)?));
        Self {
            message: if flat && said.message.is_empty() { detail(json) } else { said.message },
            reset: header("X-RateLimit-Reset")
                .or_else(|| header("Retry-After"))
                .or_else(|| error.get("retry_after").map(text)),
            flagged: metadata.is_some_and(|metadata| metadata.get("flagged_input").is_some()),
            ..said
        }
    }

    /// The members of the error itself.
    fn flat(error: &Value) -> Self {
        let member =
            |names: [&str; 2]| names.into_iter().find_map(|name| error.get(name)).map(text).unwrap_or_default();
        Self {
            message: member(["message", "msg"]),
            code: member(["code", "code"]),
            kind: member(["type", "error_type"]),
            param: member(["param", "param"]),
            ..Self::default()
        }
    }

    /// Whether the error's code or type is one of `words`.
    pub(super) fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.code == *word || self.kind == *word)
    }

    /// The message, and on lines of their own the code and the type: some say in them what their message leaves out.
    pub(super) fn words(&self) -> String {
        let told = [&self.message, &self.code, &self.kind].map(String::as_str);
        told.into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join("\n")
    }

    /// Whether the message holds `words` (lower case).
    pub(super) fn says(&self, words: &str) -> bool {
        self.message.to_ascii_lowercase().contains(words)
    }

    /// Whether the message holds `words` (lower case) so near its beginning that they are not a prompt's, echoed.
    pub(super) fn opens_with(&self, words: &str) -> bool {
        let start: String = self.message.chars().take(OPENING + words.len()).collect();
        start.to_ascii_lowercase().contains(words)
    }

    /// Whether the prompt is too long for the model's context window: by `OpenAI`'s code, llama.cpp's type, litellm's exception or vLLM's words.
    pub(super) fn is_too_long(&self) -> bool {
        self.is_any(&["context_length_exceeded", "exceed_context_size_error"])
            || self.says("contextwindowexceedederror")
            || self.says("maximum context length")
    }

    /// Whether the message says that the model is missing: vLLM, Ollama and others have no code for it.
    pub(super) fn names_missing_model(&self) -> bool {
        self.says("model") && (self.says("does not exist") || self.says("not found"))
    }

    /// Whether the parameter that the error names is the one with the prompt.
    pub(super) fn param_holds_prompt(&self) -> bool {
        ["messages", "input", "prompt"].iter().any(|member| {
            // `prompt_cache_key` is another parameter, `messages[0].content` is not.
            self.param.strip_prefix(member).is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
        })
    }

    /// The message, or `default` where there is none.
    pub(super) fn message_or(&self, default: &str) -> String {
        if self.message.trim().is_empty() { default.to_owned() } else { self.message.clone() }
    }

    /// The status that an error inside a 200 stands for.
    pub(super) fn status_meant(&self) -> u16 {
        match self.code.parse() {
            Ok(status @ 400..=599) => status,
            _ if self.is_any(&["rate_limit_exceeded", "rate_limit_error", "slow_down"]) => 429,
            _ if self.is_any(&[
                "invalid_prompt",
                "bio_policy",
                "cyber_policy",
                "context_length_exceeded",
                "invalid_request_error",
            ]) =>
            {
                400
            }
            _ => 500,
        }
    }
}

/// Whether an `error` member is one: some servers send `null` or an empty one with every answer.
fn is_error(error: &Value) -> bool {
    match error {
        Value::Object(members) => !members.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => false,
    }
}

/// `detail` as Mistral and Python servers send it: a text, an object with a message, or a list of such.
fn detail(json: &Value) -> String {
    let Some(detail) = json.get("detail") else { return String::new() };
    let first = detail.get(0).unwrap_or(detail);
    ["message", "msg"].iter().find_map(|name| first.get(name)).map_or_else(|| text(first), text)
}

/// A value as text: strings bare, `null` as nothing.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
