//! Reads a successful response: the text, why it ends, and what it used. It judges nothing.

use serde_json::Value;

use crate::model::{Api, FinishReason, Oddity, Usage};

/// A model's answer to one prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The text, byte for byte; a refusal's text where the model refused.
    pub text: String,
    /// What the API says it used, if it says so; `u64::MAX` of what is no number of tokens.
    pub usage: Option<Usage>,
    /// The model that gave it, as the server names it; `None` where it does not say.
    pub model: Option<String>,
    /// How the answer ended.
    pub finish: FinishReason,
    /// What was put right in it.
    pub odd: Vec<Oddity>,
}

impl Answer {
    /// Says that the body was repaired, where the text shows it.
    #[must_use]
    pub fn repaired(mut self) -> Self {
        if self.text.contains(char::REPLACEMENT_CHARACTER) {
            self.odd.push(Oddity::Text);
        }
        self
    }

    /// Takes `count`, the tokens of its text, where the API reports no usage, or more than `most` in all.
    pub fn settle_usage(&mut self, most: u64, count: impl FnOnce(&str) -> Usage) {
        if self.usage.is_some_and(|usage| usage.total() > most) {
            self.odd.push(Oddity::Usage);
            self.usage = None;
        }
        self.usage.get_or_insert_with(|| count(&self.text));
    }
}

/// The answer in a response of `api`; `None` where the JSON holds none. The text may be empty.
#[must_use]
pub fn read(api: Api, json: &Value) -> Option<Answer> {
    let (text, finish) = match api {
        Api::Chat => chat(json)?,
        Api::Responses => responses(json)?,
    };
    Some(Answer { text, usage: usage(json), model: model(json), finish, odd: Vec::new() })
}

fn chat(json: &Value) -> Option<(String, FinishReason)> {
    let choice = json.get("choices")?.get(0)?;
    let message = choice.get("message")?.as_object()?;
    let text = message.get("content").map(content).unwrap_or_default();
    let refusal = message.get("refusal").and_then(Value::as_str).filter(|refusal| !refusal.is_empty());
    let finish = match choice.get("finish_reason").and_then(Value::as_str) {
        Some("length") => FinishReason::Truncated,
        Some("content_filter") => FinishReason::Filtered,
        _ => FinishReason::Complete,
    };
    Some(match refusal {
        Some(refusal) if text.is_empty() => (refusal.to_owned(), FinishReason::Refused),
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

fn responses(json: &Value) -> Option<(String, FinishReason)> {
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
        None | Some("completed") => FinishReason::Complete,
        Some("incomplete") if json["incomplete_details"]["reason"] == "content_filter" => FinishReason::Filtered,
        Some("incomplete") => FinishReason::Truncated,
        Some(_) => return None,
    };
    json.get("output")?.as_array()?;
    let text = texts("output_text", "text");
    let refusal = texts("refusal", "refusal");
    Some(if text.is_empty() && !refusal.is_empty() { (refusal, FinishReason::Refused) } else { (text, finish) })
}

/// What the response says it used, in either API's words.
///
/// Some servers leave hidden reasoning out of the output but not out of the total; the larger number is taken, so that nothing is under-counted.
/// What is no number of tokens (negative, a text, a float) is `u64::MAX`, which nobody believes.
#[must_use]
pub fn usage(json: &Value) -> Option<Usage> {
    let usage = json.get("usage")?;
    let number = |names: [&str; 2]| {
        let given = |name| usage.get(name).filter(|number| !number.is_null());
        names.into_iter().find_map(given).map(|number| number.as_u64().unwrap_or(u64::MAX))
    };
    let input = number(["prompt_tokens", "input_tokens"])?;
    let output = number(["completion_tokens", "output_tokens"]);
    let rest = number(["total_tokens", "total_tokens"]).and_then(|total| total.checked_sub(input));
    let output = output.max(rest)?;
    // They are parts of the others, and are believed as far as they can be.
    let part = |of: [&str; 2], name: &str, most: u64| {
        let given = |of| usage.get(of)?.get(name)?.as_u64();
        of.into_iter().find_map(given).map_or(0, |part| part.min(most))
    };
    Some(Usage {
        input_tokens: input,
        output_tokens: output,
        cached_tokens: part(["prompt_tokens_details", "input_tokens_details"], "cached_tokens", input),
        reasoning_tokens: part(["completion_tokens_details", "output_tokens_details"], "reasoning_tokens", output),
    })
}

/// The model that answered, as the response names it. No name of one is long.
fn model(json: &Value) -> Option<String> {
    const LONGEST: usize = 200;
    let name = json.get("model")?.as_str()?;
    (!name.is_empty() && name.len() <= LONGEST).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(text: &str, finish: FinishReason) -> Answer {
        Answer { text: text.into(), usage: None, model: None, finish, odd: Vec::new() }
    }

    #[test]
    fn cached_and_reasoning_tokens_and_the_model_are_read_in_both_words() {
        let chat = json!({ "prompt_tokens": 9, "completion_tokens": 7, "prompt_tokens_details": { "cached_tokens": 5 },
            "completion_tokens_details": { "reasoning_tokens": 6 } });
        let responses = json!({ "input_tokens": 9, "output_tokens": 7, "input_tokens_details": { "cached_tokens": 5 },
            "output_tokens_details": { "reasoning_tokens": 6 } });
        let expected = Usage { input_tokens: 9, output_tokens: 7, cached_tokens: 5, reasoning_tokens: 6 };
        for told in [chat, responses] {
            assert_eq!(usage(&json!({ "usage": told })), Some(expected));
        }
        // A part is no more than the whole, and what is no number is none.
        let odd = json!({ "usage": { "prompt_tokens": 9, "completion_tokens": 7, "prompt_tokens_details": { "cached_tokens": 50 },
            "completion_tokens_details": null, "output_tokens_details": { "reasoning_tokens": "many" } } });
        assert_eq!(usage(&odd), Some(Usage { cached_tokens: 9, reasoning_tokens: 0, ..expected }));
        for (name, expected) in [
            (json!("gpt-4o-mini-2024-07-18"), true),
            (json!(""), false),
            (json!(4), false),
            (json!("x".repeat(300)), false),
        ] {
            assert_eq!(model(&json!({ "model": name })).is_some(), expected, "{name}");
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
            (json!({ "prompt_tokens": -1, "completion_tokens": 1 }), Some((u64::MAX, 1))),
            (json!({ "prompt_tokens": 8, "completion_tokens": 1e12 }), Some((8, u64::MAX))),
            (json!({ "prompt_tokens": 8, "completion_tokens": "1" }), Some((8, u64::MAX))),
            (
                json!({ "prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 1u64 << 63 }),
                Some((8, (1 << 63) - 8)),
            ),
            (json!({ "prompt_tokens": null, "input_tokens": 8, "output_tokens": 1 }), Some((8, 1))),
            (json!(null), None),
        ];
        for (given, expected) in table {
            let got = usage(&json!({ "usage": given })).map(|usage| (usage.input_tokens, usage.output_tokens));
            assert_eq!(got, expected, "{given}");
        }
    }

    #[test]
    fn usage_that_is_absurd_or_missing_is_counted() {
        let counted = Usage { input_tokens: 7, output_tokens: 2, ..Usage::default() };
        let of = |input_tokens, output_tokens| Some(Usage { input_tokens, output_tokens, ..Usage::default() });
        for (reported, settled, odd) in [
            (None, counted, false),
            (of(8, 1), Usage { input_tokens: 8, output_tokens: 1, ..Usage::default() }, false),
            // Hidden reasoning.
            (of(8, 127_992), Usage { input_tokens: 8, output_tokens: 127_992, ..Usage::default() }, false),
            (of(8, 127_993), counted, true),
            (of(u64::MAX, u64::MAX), counted, true),
        ] {
            let mut answer = Answer { usage: reported, ..answer("hi", FinishReason::Complete) };
            answer.settle_usage(128_000, |_| counted);
            assert_eq!((answer.usage, answer.odd.contains(&Oddity::Usage)), (Some(settled), odd), "{reported:?}");
        }
    }

    #[test]
    fn chat_answers() {
        let table = [
            (json!({ "content": "hi", "refusal": null }), "stop", "hi", FinishReason::Complete),
            (json!({ "content": " \nhi\r\n" }), "length", " \nhi\r\n", FinishReason::Truncated),
            (json!({ "content": "hi" }), "content_filter", "hi", FinishReason::Filtered),
            (json!({ "content": null, "refusal": "I can't." }), "stop", "I can't.", FinishReason::Refused),
            (
                json!({ "content": [{ "type": "thinking" }, { "type": "text", "text": "a" }, { "text": "b" }] }),
                "stop",
                "ab",
                FinishReason::Complete,
            ),
            (json!({ "content": null, "tool_calls": [{}] }), "tool_calls", "", FinishReason::Complete),
        ];
        for (message, reason, text, finish) in table {
            let body = json!({ "choices": [{ "message": message, "finish_reason": reason }] });
            assert_eq!(read(Api::Chat, &body), Some(answer(text, finish)), "{body}");
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
                FinishReason::Complete,
            ),
            (json!({ "output": [message(json!([text("a")]))] }), "a", FinishReason::Complete),
            (
                json!({ "status": "incomplete", "incomplete_details": { "reason": "max_output_tokens" }, "output": [message(json!([text("a")]))] }),
                "a",
                FinishReason::Truncated,
            ),
            (
                json!({ "status": "incomplete", "incomplete_details": { "reason": "content_filter" }, "output": [] }),
                "",
                FinishReason::Filtered,
            ),
            (
                json!({ "status": "completed", "output": [message(json!([{ "type": "refusal", "refusal": "No." }]))] }),
                "No.",
                FinishReason::Refused,
            ),
        ];
        for (body, text, finish) in table {
            assert_eq!(read(Api::Responses, &body), Some(answer(text, finish)), "{body}");
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
