//! What a request says: the JSON body made of the run's template and one prompt.
//!
//! It does not send, and it does not know which parameters a model takes: the API says so itself.

use serde_json::{Map, Value, json};

use crate::model::{Api, RequestTemplate};

/// Why a template cannot be used: each of these would lose answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `stream = true`.
    #[error("[request.extra] asks for a stream; promptmill reads whole answers: remove `stream`")]
    Stream,
    /// `background = true`.
    #[error("[request.extra] asks for background mode, whose answers have to be fetched later: remove `background`")]
    Background,
    /// `n` over 1.
    #[error("[request.extra] asks for {0} answers to each prompt, and only one would be kept: remove `n`")]
    SeveralAnswers(String),
    /// `messages`, or `input` with the Responses API.
    #[error("[request.extra] sets `{0}`, which would take the place of every prompt: remove it")]
    ReplacesPrompt(&'static str),
}

/// Refuses a template whose `extra` members would lose answers or prompts.
pub fn check(template: &RequestTemplate) -> Result<(), TemplateError> {
    let asks = |member: &str| template.extra.get(member).is_some_and(|value| value != false && !value.is_null());
    if asks("stream") {
        return Err(TemplateError::Stream);
    }
    if asks("background") {
        return Err(TemplateError::Background);
    }
    if let Some(n) = template.extra.get("n").filter(|n| !n.is_null() && n.as_f64() != Some(1.0)) {
        return Err(TemplateError::SeveralAnswers(n.to_string()));
    }
    let prompt = prompt_member(template.api);
    if template.extra.contains_key(prompt) {
        return Err(TemplateError::ReplacesPrompt(prompt));
    }
    Ok(())
}

/// The member that holds the prompt.
fn prompt_member(api: Api) -> &'static str {
    match api {
        Api::Chat => "messages",
        Api::Responses => "input",
    }
}

/// The body of the request for `prompt`. The members of `extra` stand over ours.
#[must_use]
pub fn body(template: &RequestTemplate, prompt: &str) -> Value {
    let mut body = Map::new();
    let mut put = |member: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(member.to_owned(), value);
        }
    };
    let system = template.system.as_deref();
    let effort = template.reasoning_effort.as_deref();
    let limit = template.max_output_tokens.map(Value::from);
    put("model", Some(template.model.as_str().into()));
    match template.api {
        Api::Chat => {
            let system = system.map(|text| json!({ "role": "system", "content": text }));
            let user = json!({ "role": "user", "content": prompt });
            put("messages", Some(system.into_iter().chain([user]).collect()));
            // `max_tokens` is deprecated, and reasoning models refuse it. A server that knows only the old name gets it from `extra`.
            put("max_completion_tokens", limit);
            put("reasoning_effort", effort.map(Value::from));
        }
        Api::Responses => {
            put("input", Some(prompt.into()));
            put("instructions", system.map(Value::from));
            put("max_output_tokens", limit);
            put("reasoning", effort.map(|effort| json!({ "effort": effort })));
            // The default keeps every prompt and answer on the server for at least 30 days.
            put("store", Some(false.into()));
        }
    }
    put("temperature", template.temperature.map(Value::from));
    for (member, value) in &template.extra {
        put(member, Some(value.clone()));
    }
    Value::Object(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(api: Api) -> RequestTemplate {
        RequestTemplate {
            system: Some("Be brief.".into()),
            max_output_tokens: Some(64),
            temperature: Some(0.5),
            reasoning_effort: Some("low".into()),
            ..RequestTemplate::new(api, "gpt-5.4")
        }
    }

    fn extra(api: Api, members: Value) -> RequestTemplate {
        let Value::Object(extra) = members else { panic!("an object") };
        RequestTemplate { extra, ..RequestTemplate::new(api, "m") }
    }

    #[test]
    fn only_what_is_set_is_sent() {
        assert_eq!(
            body(&RequestTemplate::new(Api::Chat, "m"), "Hi\n"),
            json!({ "model": "m", "messages": [{ "role": "user", "content": "Hi\n" }] })
        );
        assert_eq!(
            body(&RequestTemplate::new(Api::Responses, "m"), "Hi\n"),
            json!({ "model": "m", "input": "Hi\n", "store": false })
        );
    }

    #[test]
    fn every_parameter_has_its_place() {
        assert_eq!(
            body(&full(Api::Chat), "Hi"),
            json!({
                "model": "gpt-5.4",
                "messages": [{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Hi" }],
                "max_completion_tokens": 64, "temperature": 0.5, "reasoning_effort": "low",
            })
        );
        assert_eq!(
            body(&full(Api::Responses), "Hi"),
            json!({
                "model": "gpt-5.4", "input": "Hi", "instructions": "Be brief.", "max_output_tokens": 64,
                "temperature": 0.5, "reasoning": { "effort": "low" }, "store": false,
            })
        );
    }

    #[test]
    fn extra_stands_over_ours() {
        let chat = body(&extra(Api::Chat, json!({ "max_tokens": 5, "model": "other", "stop": ["\n"] })), "Hi");
        assert_eq!((&chat["max_tokens"], &chat["model"], &chat["stop"][0]), (&json!(5), &json!("other"), &json!("\n")));
        assert_eq!(body(&extra(Api::Responses, json!({ "store": true })), "Hi")["store"], true);
    }

    #[test]
    fn what_would_lose_answers_is_refused() {
        let cases = [
            (json!({ "stream": true }), Err(TemplateError::Stream)),
            (json!({ "stream": false, "n": 1, "background": null }), Ok(())),
            (json!({ "n": 2 }), Err(TemplateError::SeveralAnswers("2".into()))),
            (json!({ "n": "3" }), Err(TemplateError::SeveralAnswers("\"3\"".into()))),
            (json!({ "background": true }), Err(TemplateError::Background)),
            (json!({ "messages": [] }), Err(TemplateError::ReplacesPrompt("messages"))),
            (json!({ "input": "x", "max_tokens": 9 }), Ok(())),
        ];
        for (members, expected) in cases {
            assert_eq!(check(&extra(Api::Chat, members.clone())), expected, "{members}");
        }
        assert_eq!(check(&extra(Api::Responses, json!({ "input": "x" }))), Err(TemplateError::ReplacesPrompt("input")));
    }
}
