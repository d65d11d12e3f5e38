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
    /// A member that a setting is for, and that the plan reads there.
    #[error("[request.extra] sets `{member}` behind the plan's back: remove it, and set `{setting}`")]
    BehindThePlan {
        member: &'static str,
        /// The setting that stands for it.
        setting: &'static str,
    },
    /// A second limit of an answer's tokens.
    #[error("the answer's tokens are limited twice, by `{0}` and by `{1}` in [request.extra]: keep one")]
    TwoLimits(&'static str, &'static str),
    /// A limit of an answer's tokens that cannot be planned with.
    #[error("[request.extra] sets `{member}` to {value}: write a whole number over 0, without quotes")]
    BadLimit { member: &'static str, value: String },
}

/// Refuses a template whose `extra` members would lose answers or prompts, or send something else than what is planned.
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
    let planned = [("model", "model"), ("instructions", "request.system")];
    if let Some((member, setting)) = planned.into_iter().find(|(member, _)| template.extra.contains_key(*member)) {
        return Err(TemplateError::BehindThePlan { member, setting });
    }
    check_output_limit(template)
}

/// At most one number says how many tokens an answer may have, so that what is reserved is what is asked for.
fn check_output_limit(template: &RequestTemplate) -> Result<(), TemplateError> {
    let mut set = template.max_output_tokens.map(|_| "request.max_output_tokens");
    for member in template.api.output_limit_members() {
        let Some(value) = template.extra.get(*member).filter(|value| !value.is_null()) else { continue };
        if let Some(first) = set.replace(member) {
            return Err(TemplateError::TwoLimits(first, member));
        }
        if value.as_u64().is_none_or(|most| most == 0) {
            return Err(TemplateError::BadLimit { member, value: value.to_string() });
        }
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
    let limit_member = template.api.output_limit_members()[0];
    put("model", Some(template.model.as_str().into()));
    match template.api {
        Api::Chat => {
            let system = system.map(|text| json!({ "role": "system", "content": text }));
            let user = json!({ "role": "user", "content": prompt });
            put("messages", Some(system.into_iter().chain([user]).collect()));
            put(limit_member, limit);
            put("reasoning_effort", effort.map(Value::from));
        }
        Api::Responses => {
            put("input", Some(prompt.into()));
            put("instructions", system.map(Value::from));
            put(limit_member, limit);
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
        let chat = body(&extra(Api::Chat, json!({ "max_tokens": 5, "temperature": 1, "stop": ["\n"] })), "Hi");
        assert_eq!((&chat["max_tokens"], &chat["temperature"], &chat["stop"][0]), (&json!(5), &json!(1), &json!("\n")));
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

    #[test]
    fn what_would_change_the_plan_is_refused() {
        let behind = |member, setting| Err(TemplateError::BehindThePlan { member, setting });
        assert_eq!(check(&extra(Api::Chat, json!({ "model": "m" }))), behind("model", "model"));
        let instructions = json!({ "instructions": "Be brief." });
        assert_eq!(check(&extra(Api::Responses, instructions)), behind("instructions", "request.system"));
    }

    #[test]
    fn the_limit_of_an_answer_is_one_number_that_the_plan_knows() {
        let limits = |api, members| {
            let template = extra(api, members);
            check(&template).map(|()| template.output_limit())
        };
        assert_eq!(limits(Api::Chat, json!({ "max_tokens": 9 })), Ok(Some(9)));
        assert_eq!(limits(Api::Chat, json!({ "max_completion_tokens": 9, "max_tokens": null })), Ok(Some(9)));
        assert_eq!(limits(Api::Responses, json!({ "max_output_tokens": 16 })), Ok(Some(16)));
        let twice = json!({ "max_completion_tokens": 9, "max_tokens": 9 });
        assert_eq!(limits(Api::Chat, twice), Err(TemplateError::TwoLimits("max_completion_tokens", "max_tokens")));
        for bad in [json!(0), json!(-1), json!(1.5), json!("9")] {
            let found = limits(Api::Chat, json!({ "max_tokens": bad }));
            assert_eq!(found, Err(TemplateError::BadLimit { member: "max_tokens", value: bad.to_string() }));
        }
        let ours = |members| RequestTemplate { max_output_tokens: Some(64), ..extra(Api::Chat, members) };
        assert_eq!(ours(json!({})).output_limit(), Some(64));
        let both = check(&ours(json!({ "max_tokens": 9 }))).expect_err("two limits").to_string();
        assert!(both.contains("`request.max_output_tokens`") && both.contains("`max_tokens`"), "{both}");
    }
}
