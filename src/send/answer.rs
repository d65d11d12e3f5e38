//! Reads a successful response: the text, why it ends, and what it used. It judges nothing.

use serde_json::Value;

pub use crate::model::FinishReason as Finish;
use crate::model::{Api, Usage};

/// A model's answer to one prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The text, byte for byte; a refusal's text where the model refused.
    pub text: String,
    /// What the API says it used, if it says so.
    pub usage: Option<Usage>,
    /// How the answer ended.
    pub finish: Finish,
}

/// The JSON of a body; `None` where it is something else.
///
/// Some servers send blank lines or `: keep-alive` comments while they work, before the JSON.
#[must_use]
pub fn json(body: &[u8]) -> Option<Value> {
    let mut rest = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    while rest.first() == Some(&b':') {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        rest = rest[end..].trim_ascii_start();
    }
    serde_json::from_slice(rest).ok()
}

/// The answer in a response of `api`; `None` where the JSON holds none. The text may be empty.
#[must_use]
pub fn read(api: Api, json: &Value) -> Option<Answer> {
    let (text, finish) = match api {
        Api::Chat => chat(json)?,
        Api::Responses => responses(json)?,
    };
    Some(Answer { text, usage: usage(json), finish })
}

fn chat(json: &Value) -> Option<(String, Finish)> {
    let choice = json.get("choices")?.get(0)?;
    let message = choice.get("message")?.as_object()?;
    let text = message.get("content").map(content).unwrap_or_default();
    let refusal = message.get("refusal").and_then(Value::as_str).filter(|refusal| !refusal.is_empty());
    let finish = match choice.get("finish_reason").and_then(Value::as_str) {
        Some("length") => Finish::Truncated,
        Some("content_filter") => Finish::Filtered,
        _ => Finish::Complete,
    };
    Some(match refusal {
        Some(refusal) if text.is_empty() => (refusal.to_owned(), Finish::Refused),
        _ => (text, finish),
    })
}

/// A message's content: a string, or (some servers) parts, of which the texts are joined.
fn content(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part.get("text")?.as_str()).collect(),
        _ => String::new(),
    }
}

fn responses(json: &Value) -> Option<(String, Finish)> {
    let parts = || {
        let items = json.get("output").and_then(Value::as_array).into_iter().flatten();
        // Reasoning items and tool calls are no part of the answer.
        let messages = items.filter(|item| item.get("type").is_some_and(|kind| kind == "message"));
        messages.filter_map(|item| item.get("content")?.as_array()).flatten()
    };
    let texts = |kind: &str, member: &str| -> String {
        parts().filter(|part| part["type"] == kind).filter_map(|part| part.get(member)?.as_str()).collect()
    };
    let finish = match json.get("status").and_then(Value::as_str) {
        // Some servers that speak this API leave the status out.
        None | Some("completed") => Finish::Complete,
        Some("incomplete") if json["incomplete_details"]["reason"] == "content_filter" => Finish::Filtered,
        Some("incomplete") => Finish::Truncated,
        Some(_) => return None,
    };
    json.get("output")?.as_array()?;
    let text = texts("output_text", "text");
    let refusal = texts("refusal", "refusal");
    Some(if text.is_empty() && !refusal.is_empty() { (refusal, Finish::Refused) } else { (text, finish) })
}

/// What the response says it used, in either API's words.
///
/// Some servers leave hidden reasoning out of the output but not out of the total; the larger number is taken, so that nothing is under-counted.
#[must_use]
pub fn usage(json: &Value) -> Option<Usage> {
    let usage = json.get("usage")?;
    let number = |names: [&str; 2]| names.into_iter().find_map(|name| usage.get(name)?.as_u64());
    let input = number(["prompt_tokens", "input_tokens"])?;
    let output = number(["completion_tokens", "output_tokens"]);
    let rest = number(["total_tokens", "total_tokens"]).and_then(|total| total.checked_sub(input));
    Some(Usage { input_tokens: input, output_tokens: output.max(rest)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn comments_and_blank_lines_before_the_json_are_skipped() {
        for body in ["{\"a\":1}", "\n\n{\"a\":1}\n", ": keep-alive\n\n: keep-alive\r\n{\"a\":1}", "\u{feff}{\"a\":1}"] {
            assert_eq!(json(body.as_bytes()), Some(json!({ "a": 1 })), "{body:?}");
        }
        for body in ["", ": keep-alive", "{\"a\":1", "data: {}", "<html>", "{} {}"] {
            assert_eq!(json(body.as_bytes()), None, "{body:?}");
        }
    }

    #[test]
    fn usage_in_both_words_and_never_less_than_the_total() {
        let table = [
            (json!({ "prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9 }), Some((8, 1))),
            (json!({ "input_tokens": 8, "output_tokens": 1 }), Some((8, 1))),
            (json!({ "prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 109 }), Some((8, 101))),
            (json!({ "prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 9 }), Some((8, 5))),
            (json!({ "prompt_tokens": 8, "total_tokens": 9 }), Some((8, 1))),
            (json!({ "prompt_tokens": 8, "total_tokens": 3 }), None),
            (json!({ "prompt_tokens": 8 }), None),
            (json!({ "prompt_tokens": -1, "completion_tokens": 1 }), None),
            (json!(null), None),
        ];
        for (given, expected) in table {
            let got = usage(&json!({ "usage": given })).map(|usage| (usage.input_tokens, usage.output_tokens));
            assert_eq!(got, expected, "{given}");
        }
    }

    #[test]
    fn chat_answers() {
        let table = [
            (json!({ "content": "hi", "refusal": null }), "stop", "hi", Finish::Complete),
            (json!({ "content": " \nhi\r\n" }), "length", " \nhi\r\n", Finish::Truncated),
            (json!({ "content": "hi" }), "content_filter", "hi", Finish::Filtered),
            (json!({ "content": null, "refusal": "I can't." }), "stop", "I can't.", Finish::Refused),
            (
                json!({ "content": [{ "type": "thinking" }, { "type": "text", "text": "a" }, { "text": "b" }] }),
                "stop",
                "ab",
                Finish::Complete,
            ),
            (json!({ "content": null, "tool_calls": [{}] }), "tool_calls", "", Finish::Complete),
        ];
        for (message, reason, text, finish) in table {
            let body = json!({ "choices": [{ "message": message, "finish_reason": reason }] });
            assert_eq!(read(Api::Chat, &body), Some(Answer { text: text.into(), usage: None, finish }), "{body}");
        }
        for body in [json!({}), json!({ "choices": [] }), json!({ "choices": [{ "message": "hi" }] }), json!([1])] {
            assert_eq!(read(Api::Chat, &body), None, "{body}");
        }
    }

    #[test]
    fn responses_answers() {
        let message = |parts: Value| json!({ "type": "message", "content": parts });
        let text = |text: &str| json!({ "type": "output_text", "text": text });
        let reasoning =
            json!({ "type": "reasoning", "content": [{ "type": "output_text", "text": "hidden" }], "summary": [] });
        let table = [
            (
                json!({ "status": "completed", "output": [reasoning, message(json!([text("a"), text("b")])), message(json!([text("c")]))] }),
                "abc",
                Finish::Complete,
            ),
            (json!({ "output": [message(json!([text("a")]))] }), "a", Finish::Complete),
            (
                json!({ "status": "incomplete", "incomplete_details": { "reason": "max_output_tokens" }, "output": [message(json!([text("a")]))] }),
                "a",
                Finish::Truncated,
            ),
            (
                json!({ "status": "incomplete", "incomplete_details": { "reason": "content_filter" }, "output": [] }),
                "",
                Finish::Filtered,
            ),
            (
                json!({ "status": "completed", "output": [message(json!([{ "type": "refusal", "refusal": "No." }]))] }),
                "No.",
                Finish::Refused,
            ),
        ];
        for (body, text, finish) in table {
            assert_eq!(read(Api::Responses, &body), Some(Answer { text: text.into(), usage: None, finish }), "{body}");
        }
        for body in [
            json!({ "status": "failed", "output": [] }),
            json!({ "status": "queued", "output": [] }),
            json!({ "status": "completed" }),
        ] {
            assert_eq!(read(Api::Responses, &body), None, "{body}");
        }
    }
}
