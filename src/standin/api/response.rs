//! Answer bodies of both endpoints, member by member in the API's order.

use serde::Serialize;

use crate::model::Usage;

/// What an answer says, and why it ended there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::standin) enum Ending {
    /// The whole answer.
    Stop,
    /// The most output tokens were reached.
    Length,
    /// The content filter took the answer away.
    Filtered,
    /// The text is a refusal.
    Refused,
}

/// What both bodies are made of.
pub(in crate::standin) struct Parts<'a> {
    /// Without prefix.
    pub(in crate::standin) id: &'a str,
    /// Seconds since 1970.
    pub(in crate::standin) created: i64,
    pub(in crate::standin) model: &'a str,
    pub(in crate::standin) text: &'a str,
    pub(in crate::standin) ending: Ending,
    pub(in crate::standin) usage: Usage,
    pub(in crate::standin) choices: u64,
    pub(in crate::standin) max_output_tokens: Option<u64>,
    pub(in crate::standin) instructions: Option<&'a str>,
    pub(in crate::standin) store: Option<bool>,
    pub(in crate::standin) temperature: Option<f64>,
}

#[derive(Serialize)]
struct Chat<'a> {
    id: Prefixed<'a>,
    object: &'a str,
    created: i64,
    model: &'a str,
    choices: Vec<Choice<'a>>,
    usage: ChatUsage,
    service_tier: &'a str,
    system_fingerprint: &'a str,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u64,
    message: ChatMessage<'a>,
    logprobs: Option<()>,
    finish_reason: &'a str,
}

#[derive(Serialize)]
struct ChatMessage<'a> {
    role: &'a str,
    content: Option<&'a str>,
    refusal: Option<&'a str>,
    annotations: [(); 0],
}

#[derive(Serialize)]
struct ChatUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Default, Serialize)]
struct PromptDetails {
    cached_tokens: u64,
    audio_tokens: u64,
}

#[derive(Default, Serialize)]
#[expect(clippy::struct_field_names, reason = "the API's names")]
struct CompletionDetails {
    reasoning_tokens: u64,
    audio_tokens: u64,
    accepted_prediction_tokens: u64,
    rejected_prediction_tokens: u64,
}

#[derive(Serialize)]
struct Responses<'a> {
    id: Prefixed<'a>,
    object: &'a str,
    created_at: i64,
    status: &'a str,
    background: bool,
    error: Option<()>,
    incomplete_details: Option<Incomplete<'a>>,
    instructions: Option<&'a str>,
    max_output_tokens: Option<u64>,
    max_tool_calls: Option<u64>,
    model: &'a str,
    output: Vec<Output<'a>>,
    parallel_tool_calls: bool,
    previous_response_id: Option<()>,
    prompt_cache_key: Option<()>,
    reasoning: Reasoning,
    safety_identifier: Option<()>,
    service_tier: &'a str,
    store: bool,
    temperature: f64,
    text: TextSettings<'a>,
    tool_choice: &'a str,
    tools: [(); 0],
    top_logprobs: u64,
    top_p: f64,
    truncation: &'a str,
    usage: ResponsesUsage,
    user: Option<()>,
    metadata: Empty,
}

#[derive(Serialize)]
struct Incomplete<'a> {
    reason: &'a str,
}

#[derive(Serialize)]
struct Output<'a> {
    id: Prefixed<'a>,
    r#type: &'a str,
    status: &'a str,
    role: &'a str,
    content: [Content<'a>; 1],
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content<'a> {
    OutputText { text: &'a str, annotations: [(); 0], logprobs: [(); 0] },
    Refusal { refusal: &'a str },
}

#[derive(Default, Serialize)]
struct Reasoning {
    effort: Option<()>,
    summary: Option<()>,
}

#[derive(Serialize)]
struct TextSettings<'a> {
    format: Format<'a>,
    verbosity: &'a str,
}

#[derive(Serialize)]
struct Format<'a> {
    r#type: &'a str,
}

#[derive(Serialize)]
struct ResponsesUsage {
    input_tokens: u64,
    input_tokens_details: InputDetails,
    output_tokens: u64,
    output_tokens_details: OutputDetails,
    total_tokens: u64,
}

#[derive(Default, Serialize)]
struct InputDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Default, Serialize)]
struct OutputDetails {
    reasoning_tokens: u64,
}

/// `{}`.
#[derive(Serialize)]
struct Empty {}

/// An id of two parts, written without a string of its own.
struct Prefixed<'a>(&'a str, &'a str);

impl Serialize for Prefixed<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{}{}", self.0, self.1))
    }
}

/// The body of a chat completion.
pub(in crate::standin) fn chat(parts: &Parts<'_>) -> Vec<u8> {
    let refused = parts.ending == Ending::Refused;
    let choice = |index| Choice {
        index,
        message: ChatMessage {
            role: "assistant",
            content: (!refused).then_some(parts.text),
            refusal: refused.then_some(parts.text),
            annotations: [],
        },
        logprobs: None,
        finish_reason: match parts.ending {
            Ending::Stop | Ending::Refused => "stop",
            Ending::Length => "length",
            Ending::Filtered => "content_filter",
        },
    };
    write(&Chat {
        id: Prefixed("chatcmpl-", parts.id),
        object: "chat.completion",
        created: parts.created,
        model: parts.model,
        choices: (0..parts.choices).map(choice).collect(),
        usage: ChatUsage {
            prompt_tokens: parts.usage.input_tokens,
            completion_tokens: parts.usage.output_tokens,
            total_tokens: parts.usage.total(),
            prompt_tokens_details: PromptDetails::default(),
            completion_tokens_details: CompletionDetails::default(),
        },
        service_tier: "default",
        system_fingerprint: "fp_fc9f1d7035",
    })
}

/// The body of a response.
pub(in crate::standin) fn responses(parts: &Parts<'_>) -> Vec<u8> {
    let (status, reason) = match parts.ending {
        Ending::Stop | Ending::Refused => ("completed", None),
        Ending::Length => ("incomplete", Some("max_output_tokens")),
        Ending::Filtered => ("incomplete", Some("content_filter")),
    };
    let content = match parts.ending {
        Ending::Refused => Content::Refusal { refusal: parts.text },
        _ => Content::OutputText { text: parts.text, annotations: [], logprobs: [] },
    };
    write(&Responses {
        id: Prefixed("resp_", parts.id),
        object: "response",
        created_at: parts.created,
        status,
        background: false,
        error: None,
        incomplete_details: reason.map(|reason| Incomplete { reason }),
        instructions: parts.instructions,
        max_output_tokens: parts.max_output_tokens,
        max_tool_calls: None,
        model: parts.model,
        output: vec![Output {
            id: Prefixed("msg_", parts.id),
            r#type: "message",
            status,
            role: "assistant",
            content: [content],
        }],
        parallel_tool_calls: true,
        previous_response_id: None,
        prompt_cache_key: None,
        reasoning: Reasoning::default(),
        safety_identifier: None,
        service_tier: "default",
        store: parts.store.unwrap_or(true),
        temperature: parts.temperature.unwrap_or(1.0),
        text: TextSettings { format: Format { r#type: "text" }, verbosity: "medium" },
        tool_choice: "auto",
        tools: [],
        top_logprobs: 0,
        top_p: 1.0,
        truncation: "disabled",
        usage: ResponsesUsage {
            input_tokens: parts.usage.input_tokens,
            input_tokens_details: InputDetails::default(),
            output_tokens: parts.usage.output_tokens,
            output_tokens_details: OutputDetails::default(),
            total_tokens: parts.usage.total(),
        },
        user: None,
        metadata: Empty {},
    })
}

/// The list of models.
pub(in crate::standin) fn models(names: &[String], created: i64) -> Vec<u8> {
    #[derive(Serialize)]
    struct List<'a> {
        object: &'a str,
        data: Vec<Model<'a>>,
    }
    #[derive(Serialize)]
    struct Model<'a> {
        id: &'a str,
        object: &'a str,
        created: i64,
        owned_by: &'a str,
    }
    let data = names.iter().map(|id| Model { id, object: "model", created, owned_by: "promptmill-standin" }).collect();
    write(&List { object: "list", data })
}

/// The count of a response's input.
pub(in crate::standin) fn input_tokens(tokens: u64) -> Vec<u8> {
    #[derive(Serialize)]
    struct Count<'a> {
        object: &'a str,
        input_tokens: u64,
    }
    write(&Count { object: "response.input_tokens", input_tokens: tokens })
}

fn write(body: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2_048);
    // Strings and numbers written to memory: nothing in it can fail.
    let _ = serde_json::to_writer(&mut bytes, body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(ending: Ending) -> Parts<'static> {
        Parts {
            id: "B9MH",
            created: 1_741_570_283,
            model: "gpt-4o",
            text: "hi",
            ending,
            usage: Usage { input_tokens: 8, output_tokens: 1, ..Usage::default() },
            choices: 1,
            max_output_tokens: None,
            instructions: None,
            store: None,
            temperature: None,
        }
    }

    #[test]
    fn a_chat_completion_is_byte_for_byte_the_apis() {
        assert_eq!(
            String::from_utf8(chat(&parts(Ending::Stop))).expect("text"),
            concat!(
                r#"{"id":"chatcmpl-B9MH","object":"chat.completion","created":1741570283,"model":"gpt-4o","choices":[{"index":0,"#,
                r#""message":{"role":"assistant","content":"hi","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"#,
                r#""usage":{"prompt_tokens":8,"completion_tokens":1,"total_tokens":9,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"#,
                r#""completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"#,
                r#""service_tier":"default","system_fingerprint":"fp_fc9f1d7035"}"#
            )
        );
    }

    #[test]
    fn endings_are_said_by_both_endpoints() {
        let read = |bytes: Vec<u8>| serde_json::from_slice::<serde_json::Value>(&bytes).expect("JSON");
        for (ending, finish, status, reason) in [
            (Ending::Stop, "stop", "completed", None),
            (Ending::Refused, "stop", "completed", None),
            (Ending::Length, "length", "incomplete", Some("max_output_tokens")),
            (Ending::Filtered, "content_filter", "incomplete", Some("content_filter")),
        ] {
            let body = read(chat(&parts(ending)));
            assert_eq!(body["choices"][0]["finish_reason"], finish);
            let body = read(responses(&parts(ending)));
            assert_eq!(body["status"], status);
            assert_eq!(body["incomplete_details"]["reason"].as_str(), reason);
        }
        let refused = read(chat(&parts(Ending::Refused)));
        assert!(refused["choices"][0]["message"]["content"].is_null());
        assert_eq!(refused["choices"][0]["message"]["refusal"], "hi");
        let refused = read(responses(&parts(Ending::Refused)));
        assert_eq!(refused["output"][0]["content"][0], serde_json::json!({"type": "refusal", "refusal": "hi"}));
    }
}
