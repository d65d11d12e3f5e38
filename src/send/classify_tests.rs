//! The table of verdicts. Each kind and class is written down, so that no change goes unseen.

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::json;

use super::answer::Answer;
use super::classify;
use super::classify::{Billed, Failure, Kind, Verdict, classify};
use super::message::MESSAGE_LIMIT;
use super::reply::{Reply, TimeoutKind, TransportError};
use crate::model::{Api, Class, FinishReason, RunStop, Usage};

use Kind::{Last, Prompt, Run, Throttled, Transient, Unknown};

fn wall() -> DateTime<Utc> {
    "2026-11-22T12:00:00Z".parse().expect("a date")
}

fn reply(status: u16, body: impl Into<bytes::Bytes>) -> Reply {
    Reply { status, headers: HeaderMap::new(), body: body.into() }
}

fn failure_of(api: Api, reply: &Reply) -> Failure {
    match classify(api, Ok(reply), wall()) {
        Verdict::Failure(failure) => failure,
        Verdict::Answer(answer) => panic!("an answer: {answer:?}"),
    }
}

fn failure(status: u16, body: impl Into<bytes::Bytes>) -> Failure {
    failure_of(Api::Chat, &reply(status, body))
}

#[test]
fn every_status_with_an_empty_body() {
    let table: &[(u16, u16, Kind, &str, Billed)] = &[
        (100, 299, Unknown, "bad_response", Billed::Maybe),
        (300, 399, Run(RunStop::Endpoint), "bad_endpoint", Billed::No),
        (400, 400, Prompt, "bad_request", Billed::No),
        (401, 401, Run(RunStop::Key), "bad_key", Billed::No),
        (402, 402, Run(RunStop::Quota), "quota", Billed::No),
        (403, 403, Run(RunStop::Key), "forbidden", Billed::No),
        (404, 405, Run(RunStop::Endpoint), "bad_endpoint", Billed::No),
        (406, 406, Prompt, "bad_request", Billed::No),
        (407, 407, Run(RunStop::Endpoint), "bad_endpoint", Billed::No),
        (408, 408, Transient, "timeout", Billed::Maybe),
        (409, 409, Transient, "busy", Billed::No),
        (410, 410, Run(RunStop::Endpoint), "bad_endpoint", Billed::No),
        (411, 412, Prompt, "bad_request", Billed::No),
        (413, 413, Prompt, "too_large", Billed::No),
        (414, 424, Prompt, "bad_request", Billed::No),
        (425, 425, Transient, "busy", Billed::No),
        (426, 428, Prompt, "bad_request", Billed::No),
        (429, 429, Throttled, "rate_limited", Billed::No),
        (430, 497, Prompt, "bad_request", Billed::No),
        (498, 498, Throttled, "overloaded", Billed::No),
        (499, 499, Transient, "timeout", Billed::Maybe),
        (500, 501, Transient, "server_error", Billed::Maybe),
        (502, 502, Transient, "bad_gateway", Billed::Maybe),
        (503, 503, Transient, "overloaded", Billed::Maybe),
        (504, 504, Transient, "timeout", Billed::Maybe),
        (505, 519, Transient, "server_error", Billed::Maybe),
        (520, 521, Transient, "bad_gateway", Billed::Maybe),
        (522, 522, Transient, "timeout", Billed::Maybe),
        (523, 523, Transient, "bad_gateway", Billed::Maybe),
        (524, 524, Transient, "timeout", Billed::Maybe),
        (525, 528, Transient, "bad_gateway", Billed::Maybe),
        (529, 529, Transient, "overloaded", Billed::No),
        (530, 530, Transient, "bad_gateway", Billed::Maybe),
        (531, 599, Transient, "server_error", Billed::Maybe),
    ];
    let mut seen = 100;
    for (first, last, kind, class, billed) in table {
        assert_eq!(*first, seen, "the table has no gap");
        for status in *first..=*last {
            let got = failure(status, "");
            assert_eq!((got.kind, got.class.word(), got.billed, got.wait), (*kind, *class, *billed, None), "{status}");
            assert!(!got.message.is_empty(), "{status}");
        }
        seen = last + 1;
    }
    assert_eq!(seen, 600);
}

#[test]
fn every_transport_error() {
    let table = [
        (TransportError::Connect("refused".into()), Transient, "connection", Billed::No),
        (TransportError::NotSent("closed".into()), Transient, "connection", Billed::No),
        (TransportError::Closed("reset".into()), Unknown, "connection", Billed::Maybe),
        (TransportError::Timeout(TimeoutKind::Connect), Transient, "timeout", Billed::No),
        (TransportError::Timeout(TimeoutKind::FirstByte), Unknown, "timeout", Billed::Maybe),
        (TransportError::Timeout(TimeoutKind::Total), Unknown, "timeout", Billed::Maybe),
        (TransportError::Oversize, Prompt, "bad_response", Billed::Maybe),
    ];
    for (error, kind, class, billed) in table {
        let Verdict::Failure(got) = classify(Api::Chat, Err(&error), wall()) else { panic!("{error}") };
        assert_eq!((got.kind, got.class.word(), got.billed), (kind, class, billed), "{error}");
    }
}

/// Bodies of real servers, from published traffic.
#[expect(clippy::too_many_lines, reason = "a table")]
#[test]
fn every_known_error_body() {
    const TPM: &str = "Rate limit reached for gpt-5.4 in organization org-XXX on tokens per min (TPM): Limit 500000, Used 442231, Requested 249686. Please try again in 23.03s. Visit https://platform.openai.com/account/rate-limits to learn more.";
    const RPM: &str = "Rate limit reached for gpt-4o-mini in organization org-jJt5lM8FaKdWJ4oweGjSLl9K on requests per min (RPM): Limit 500, Used 500, Requested 1. Please try again in 120ms. Visit https://platform.openai.com/account/rate-limits to learn more.";
    const RPD: &str = "Rate limit reached for m in organization o on requests per day (RPD): Limit 50, Used 50, Requested 1. Please try again in 28m48s. Visit https://platform.openai.com/account/rate-limits to learn more. You can increase your rate limit by adding a payment method to your account at https://platform.openai.com/account/billing.";
    const SHARED: &str = "Rate limit reached for gpt-image-2-codex (for limit gpt-image) in organization org-... on input-images per min: Limit 4000, Used 4000, Requested 1. Please try again in 15ms. ...";
    const OLD: &str = "Rate limit reached for 10KTPM-200RPM in organization org-... on tokens per min. Limit: 10000 / min. Please try again in 6ms. Contact us ...";
    const GROQ: &str = "Rate limit reached for model `llama` in organization `org_x` service tier `on_demand` on tokens per day (TPD): Limit 100000, Used 99999, Requested 400. Please try again in 6m 11.52s.";
    const TOO_LARGE: &str = "Request too large for gpt-4o in organization org-... on tokens per min (TPM): Limit 30000, Requested 31538. The input or output tokens must be reduced in order to run successfully. Visit https://platform.openai.com/account/rate-limits to learn more.";
    const LONG_CONTEXT: &str = "Request too large for gpt-4.1 (for limit gpt-4.1-long-context) in organization org-abc on tokens per min (TPM): Limit 1000000, Requested 1101959. ...";
    const NO_ACCESS: &str = "Request too large for gpt-6 in organization org-... on tokens per min (TPM): Limit 0, Requested 1. The input or output tokens must be reduced in order to run successfully.";
    const NO_CREDIT: &str = "You have no credits remaining. Add credits to continue using the API at https://platform.openai.com/settings/organization/billing/.";
    const QUOTA: &str = "You exceeded your current quota, please check your plan and billing details. For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.";
    const FLEX: &str = "The flex processing tier is currently unavailable. Please try again later.";
    const CONTEXT: &str = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens. Please reduce the length of the messages.";
    const CONTEXT_NEW: &str =
        "Your input exceeds the context window of this model. Please adjust your input and try again.";
    const PARALLEL: &str = "Rate limit exceeded for api_key: 88dc28d0. Limit type: max_parallel_requests. Current limit: 2, Remaining: 0. Limit resets at: 2026-11-29 21:01:00 UTC";
    const DEEPSEEK: &str = "Your current concurrency is 40, which exceeds your concurrency limit of 39 based on your remaining balance. Please top up your balance to restore your concurrency.";
    const SERVER: &str = "The server had an error processing your request. Sorry about that! You can retry your request, or contact us through our help center at help.openai.com if you keep seeing this error. (Please include the request ID req_1e3a6e7c143878ba3fc1174660106292 in your email.)";
    // status, message, type, code, param -> kind, class, wait in ms
    type Row = (u16, &'static str, &'static str, &'static str, &'static str, Kind, &'static str, Option<u64>);
    let openai: &[Row] = &[
        (429, TPM, "tokens", "rate_limit_exceeded", "", Throttled, "rate_limited", Some(23_030)),
        (429, RPM, "requests", "rate_limit_exceeded", "", Throttled, "rate_limited", Some(120)),
        (429, RPD, "requests", "rate_limit_exceeded", "", Throttled, "rate_limited", Some(1_728_000)),
        (429, SHARED, "input-images", "rate_limit_exceeded", "", Throttled, "rate_limited", Some(15)),
        (429, OLD, "requests", "rate_limit_exceeded", "", Throttled, "rate_limited", Some(6)),
        (429, GROQ, "tokens", "rate_limit_exceeded", "", Throttled, "rate_limited", Some(371_520)),
        (429, "Slow down.", "rate_limit_error", "slow_down", "", Throttled, "slow_down", None),
        (429, FLEX, "rate_limit_error", "resource_unavailable", "", Throttled, "overloaded", None),
        (429, TOO_LARGE, "tokens", "rate_limit_exceeded", "", Prompt, "too_large", None),
        (429, LONG_CONTEXT, "tokens", "rate_limit_exceeded", "", Prompt, "too_large", None),
        (413, TOO_LARGE, "tokens", "rate_limit_exceeded", "", Prompt, "too_large", None),
        (429, NO_ACCESS, "tokens", "rate_limit_exceeded", "", Run(RunStop::Quota), "quota", None),
        (429, NO_CREDIT, "insufficient_quota", "credit_balance_exhausted", "", Run(RunStop::Quota), "quota", None),
        (429, "x", "insufficient_quota", "organization_spend_limit_exceeded", "", Run(RunStop::Quota), "quota", None),
        (429, "x", "insufficient_quota", "project_spend_limit_exceeded", "", Run(RunStop::Quota), "quota", None),
        (429, "x", "", "organization_usage_limit_exceeded", "", Run(RunStop::Quota), "quota", None),
        (429, QUOTA, "insufficient_quota", "insufficient_quota", "", Run(RunStop::Quota), "quota", None),
        (429, QUOTA, "", "", "", Run(RunStop::Quota), "quota", None),
        (
            429,
            "You exceeded your current quota. Please retry in 36.4s.",
            "",
            "",
            "",
            Throttled,
            "rate_limited",
            Some(36_400),
        ),
        (500, QUOTA, "insufficient_quota", "", "", Run(RunStop::Quota), "quota", None),
        (
            403,
            "Out of call volume quota. Quota will be replenished in 3 days.",
            "",
            "403",
            "",
            Run(RunStop::Quota),
            "quota",
            None,
        ),
        (
            401,
            "Incorrect API key provided",
            "invalid_request_error",
            "invalid_api_key",
            "",
            Run(RunStop::Key),
            "bad_key",
            None,
        ),
        (401, "Your IP is not allowed", "", "ip_not_authorized", "", Run(RunStop::Key), "bad_key", None),
        (400, "x", "invalid_request_error", "invalid_api_key", "", Run(RunStop::Key), "bad_key", None),
        (
            403,
            "Country, region, or territory not supported",
            "request_forbidden",
            "unsupported_country_region_territory",
            "",
            Run(RunStop::Key),
            "forbidden",
            None,
        ),
        (
            404,
            "The model `gpt-x` does not exist or you do not have access to it.",
            "invalid_request_error",
            "model_not_found",
            "",
            Run(RunStop::Model),
            "model_not_found",
            None,
        ),
        (400, "x", "invalid_request_error", "model_not_found", "", Run(RunStop::Model), "model_not_found", None),
        (
            404,
            "The model `x` does not exist.",
            "NotFoundError",
            "404",
            "",
            Run(RunStop::Model),
            "model_not_found",
            None,
        ),
        (404, "model 'x' not found, try pulling it first", "", "", "", Run(RunStop::Model), "model_not_found", None),
        (
            404,
            "Invalid URL (POST /v2/chat/completions)",
            "invalid_request_error",
            "",
            "",
            Run(RunStop::Endpoint),
            "bad_endpoint",
            None,
        ),
        (400, CONTEXT, "invalid_request_error", "context_length_exceeded", "messages", Prompt, "context_length", None),
        (400, CONTEXT, "BadRequestError", "400", "", Prompt, "context_length", None),
        (400, CONTEXT_NEW, "invalid_request_error", "context_length_exceeded", "input", Prompt, "context_length", None),
        (
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "invalid_request_error",
            "unsupported_parameter",
            "max_tokens",
            Run(RunStop::Request),
            "bad_parameter",
            None,
        ),
        (
            400,
            "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is supported.",
            "invalid_request_error",
            "unsupported_value",
            "temperature",
            Run(RunStop::Request),
            "bad_parameter",
            None,
        ),
        (
            400,
            "Unknown parameter: 'foo'.",
            "invalid_request_error",
            "unknown_parameter",
            "foo",
            Run(RunStop::Request),
            "bad_parameter",
            None,
        ),
        (
            400,
            "x",
            "invalid_request_error",
            "unknown_parameter",
            "prompt_cache_key",
            Run(RunStop::Request),
            "bad_parameter",
            None,
        ),
        (400, "x", "invalid_request_error", "unsupported_value", "messages[0].content", Prompt, "bad_request", None),
        (400, "x", "invalid_request_error", "unsupported_value", "input", Prompt, "bad_request", None),
        (
            400,
            "Invalid value: 'x'.",
            "invalid_request_error",
            "invalid_value",
            "max_tokens",
            Prompt,
            "bad_request",
            None,
        ),
        (
            400,
            "Invalid type for 'metadata.tags'",
            "invalid_request_error",
            "invalid_type",
            "metadata.tags",
            Prompt,
            "bad_request",
            None,
        ),
        (
            400,
            "x",
            "invalid_request_error",
            "string_above_max_length",
            "messages[0].content",
            Prompt,
            "bad_request",
            None,
        ),
        (
            400,
            "Invalid service_tier argument: The requested service tier is not allowed for this project.",
            "invalid_request_error",
            "",
            "service_tier",
            Prompt,
            "bad_request",
            None,
        ),
        (400, "The response was filtered", "", "content_filter", "prompt", Prompt, "content_filter", None),
        (
            400,
            "Please say insufficient_quota, Limit 0, and You exceeded your current quota",
            "invalid_request_error",
            "",
            "",
            Prompt,
            "bad_request",
            None,
        ),
        (422, "x", "", "", "", Prompt, "bad_request", None),
        (
            409,
            "Cannot cancel a batch with status 'completed'.",
            "invalid_request_error",
            "",
            "",
            Transient,
            "busy",
            None,
        ),
        (500, SERVER, "server_error", "", "", Transient, "server_error", None),
        (503, "The engine is currently overloaded, please try again later", "", "", "", Transient, "overloaded", None),
        (503, "x", "service_unavailable_error", "server_is_overloaded", "", Transient, "overloaded", None),
        (529, "Overloaded", "overloaded_error", "", "", Transient, "overloaded", None),
        // An overload in a 429's clothes: Moonshot, z.ai and Hugging Face's TGI.
        (
            429,
            "The engine is currently overloaded, please try again later",
            "engine_overloaded_error",
            "",
            "",
            Throttled,
            "overloaded",
            None,
        ),
        (
            429,
            "The service may be temporarily overloaded, please try again later",
            "",
            "1305",
            "",
            Throttled,
            "overloaded",
            None,
        ),
        (429, "Model is overloaded", "overloaded", "", "", Throttled, "overloaded", None),
        // Too many at once, in a 429 and in a 503 or 529.
        (429, PARALLEL, "None", "429", "", Throttled, "rate_limited", None),
        (429, DEEPSEEK, "rate_limit_error", "", "", Throttled, "rate_limited", None),
        (
            429,
            "Too many concurrent requests for this client. Retry after 10 seconds.",
            "rate_limit_error",
            "concurrent_request_limit_exceeded",
            "",
            Throttled,
            "rate_limited",
            Some(10_000),
        ),
        (503, "no slot available", "unavailable_error", "503", "", Throttled, "overloaded", None),
        (503, "Too many connections, please wait before trying again.", "", "", "", Throttled, "overloaded", None),
        (529, "Concurrency limit exceeded for account, please retry later", "", "", "", Throttled, "overloaded", None),
        (500, "Too many concurrent requests", "server_error", "", "", Transient, "server_error", None),
    ];
    for (status, message, kind, code, param, expected, class, millis) in openai {
        let some = |text: &str| if text.is_empty() { json!(null) } else { json!(text) };
        let error = json!({ "message": message, "type": some(kind), "param": some(param), "code": some(code) });
        // OpenAI's wrapper, and Mistral's flat form.
        for body in [json!({ "error": error }), error.clone()] {
            let got = failure(*status, body.to_string());
            let wait = got.wait.map(|wait| u64::try_from(wait.as_millis()).expect("a short wait"));
            assert_eq!((got.kind, got.class.word(), wait), (*expected, *class, *millis), "{status} {body}");
            let start: String = message.chars().take(100).collect();
            assert!(got.message.starts_with(&format!("HTTP {status}: {start}")), "{}", got.message);
        }
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
#[test]
fn odd_bodies_of_look_alikes() {
    const PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>cloudflare</body></html>";
    let table: &[(u16, &str, Kind, &str, &str)] = &[
        (
            401,
            r#"{"error":{"message":"Incorrect API key provided: sk-inval**********6789. You can find your API key at https://platform.openai.com/account/api-keys.","type":"invalid_request_error","code":"invalid_api_key","param":null},"status":401}"#,
            Run(RunStop::Key),
            "bad_key",
            "HTTP 401: Incorrect API key provided: [key]. You can find your API key at https://platform.openai.com/account/api-keys.",
        ),
        (401, r#"{"error":"Unauthorized"}"#, Run(RunStop::Key), "bad_key", "HTTP 401: Unauthorized"),
        (401, r#"{"detail":"Unauthorized"}"#, Run(RunStop::Key), "bad_key", "HTTP 401: Unauthorized"),
        (
            401,
            "Authentication Fails (no api key)",
            Run(RunStop::Key),
            "bad_key",
            "HTTP 401: Authentication Fails (no api key)",
        ),
        (
            402,
            r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#,
            Run(RunStop::Quota),
            "quota",
            "HTTP 402: Insufficient Balance",
        ),
        (
            422,
            r#"{"detail":[{"loc":["body","model"],"msg":"field required","type":"value_error"}]}"#,
            Prompt,
            "bad_request",
            "HTTP 422: field required",
        ),
        (429, r#"{"message":"Rate limit exceeded"}"#, Throttled, "rate_limited", "HTTP 429: Rate limit exceeded"),
        (429, r#"{"error":{"message":"slow","code":429}}"#, Throttled, "rate_limited", "HTTP 429: slow"),
        (
            429,
            r#"{"error":{"message":"Rate limit exceeded for k: v. Limit type: tokens. Current limit: 5, Remaining: 0. Limit resets at: 2026","code":"429"}}"#,
            Throttled,
            "rate_limited",
            "HTTP 429: Rate limit exceeded for k: v. Limit type: tokens. Current limit: 5, Remaining: 0. Limit resets at: 2026",
        ),
        (
            429,
            r#"[{"error":{"code":429,"message":"Resource has been exhausted","status":"RESOURCE_EXHAUSTED"}}]"#,
            Throttled,
            "rate_limited",
            "HTTP 429: Resource has been exhausted",
        ),
        (
            429,
            r#"{"id":"x","error":{"message":"m","error_type":"dynamic_request_limited"}}"#,
            Throttled,
            "rate_limited",
            "HTTP 429: m",
        ),
        (
            403,
            r#"{"error":{"code":403,"message":"Your input was flagged","metadata":{"reasons":["violence"],"flagged_input":"..."}}}"#,
            Prompt,
            "content_filter",
            "HTTP 403: Your input was flagged",
        ),
        (
            403,
            "<!DOCTYPE html><title>Attention Required! | Cloudflare</title>",
            Prompt,
            "blocked",
            "HTTP 403: an HTML page: Attention Required! | Cloudflare",
        ),
        (502, PAGE, Transient, "bad_gateway", "HTTP 502: an HTML page: 502 Bad Gateway"),
        (
            400,
            r#"{"error":{"message":{"error":"/chat/completions: Invalid model name passed in model=x. Call `/v1/models` to view available models for your key."},"type":"None","param":"None","code":"400"}}"#,
            Run(RunStop::Model),
            "model_not_found",
            r#"HTTP 400: {"error":"/chat/completions: Invalid model name passed in model=x. Call `/v1/models` to view available models for your key."}"#,
        ),
        (
            400,
            r#"{"error":{"message":"400: {'error': 'Invalid model name passed in model=Lite'}","type":"None","param":"None","code":400}}"#,
            Run(RunStop::Model),
            "model_not_found",
            "HTTP 400: 400: {'error': 'Invalid model name passed in model=Lite'}",
        ),
        (
            400,
            r#"{"error":{"message":"The following text of the prompt is not allowed here at all, for reasons of ours: Invalid model name passed in model=x"}}"#,
            Prompt,
            "bad_request",
            "HTTP 400: The following text of the prompt is not allowed here at all, for reasons of ours: Invalid model name passed in model=x",
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"request (9412 tokens) exceeds the available context size (8192 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":9412,"n_ctx":8192}}"#,
            Prompt,
            "context_length",
            "HTTP 400: request (9412 tokens) exceeds the available context size (8192 tokens), try increasing it",
        ),
        (
            500,
            r#"{"error":{"code":500,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
            Prompt,
            "context_length",
            "HTTP 500: the request exceeds the available context size",
        ),
        (
            200,
            r#"{"error":{"code":400,"message":"too long","type":"exceed_context_size_error"}}"#,
            Prompt,
            "context_length",
            "too long",
        ),
        (
            400,
            r#"{"error":{"message":"litellm.ContextWindowExceededError: litellm.BadRequestError: AnthropicError - prompt is too long: 209303 tokens > 200000 maximum","type":null,"param":null,"code":"400"}}"#,
            Prompt,
            "context_length",
            "HTTP 400: litellm.ContextWindowExceededError: litellm.BadRequestError: AnthropicError - prompt is too long: 209303 tokens > 200000 maximum",
        ),
        (500, r#"{"error":null}"#, Transient, "server_error", "HTTP 500: Internal Server Error"),
        (500, "{\"error\":{\"message\":\"cut", Transient, "server_error", "HTTP 500: {\"error\":{\"message\":\"cut"),
        (524, PAGE, Transient, "timeout", "HTTP 524: an HTML page: 502 Bad Gateway"),
        (500, "null", Transient, "server_error", "HTTP 500: Internal Server Error"),
        // Errors in a success's clothes.
        (
            200,
            r#"{"error":{"code":502,"message":"Provider returned error"}}"#,
            Transient,
            "bad_gateway",
            "Provider returned error",
        ),
        (
            200,
            r#"{"choices":[{"finish_reason":"error","message":{"content":"par"},"error":{"code":429,"message":"later"}}]}"#,
            Throttled,
            "rate_limited",
            "later",
        ),
        (
            200,
            r#"{"choices":[{"finish_reason":"error","message":{"content":"par"}}]}"#,
            Transient,
            "server_error",
            "the response is an error without a message",
        ),
        (200, r#"{"error":"model runner crashed"}"#, Transient, "server_error", "model runner crashed"),
        (
            200,
            r#"{"object":"error","message":"bad","type":"invalid_request_error","code":null}"#,
            Prompt,
            "bad_request",
            "bad",
        ),
        (
            200,
            r#"{"error":{"message":"no","type":"insufficient_quota","code":"insufficient_quota"}}"#,
            Run(RunStop::Quota),
            "quota",
            "no",
        ),
        (200, "", Unknown, "bad_response", "the response has no body"),
        (200, PAGE, Unknown, "bad_response", "the response is not JSON"),
        (200, r#"{"choices":[{"mess"#, Unknown, "bad_response", "the response is not JSON"),
        (200, r#"{"choices":[]}"#, Unknown, "bad_response", "the response is JSON without an answer"),
    ];
    for (status, body, kind, class, message) in table {
        let got = failure(*status, *body);
        assert_eq!((got.kind, got.class.word(), got.message.as_str()), (*kind, *class, *message), "{status} {body}");
    }
}

#[test]
fn a_reset_in_the_body_is_a_wait() {
    let body = json!({ "error": { "code": 429, "message": "Rate limit exceeded: free-models-per-min",
        "metadata": { "headers": { "X-RateLimit-Limit": "20", "X-RateLimit-Reset": "1795348812500" } } } });
    assert_eq!(failure(429, body.to_string()).wait, Some(std::time::Duration::from_millis(12_500)));
    // generalbots/generalbots/issues/1393; portal.wylon.cn
    for (told, millis) in
        [(json!(10), Some(10_000)), (json!("3.4"), Some(3_400)), (json!(-1), None), (json!(null), None)]
    {
        let body =
            json!({ "error": { "message": "Too many concurrent requests for this client.", "retry_after": told } });
        let wait = failure(429, body.to_string()).wait;
        assert_eq!(wait, millis.map(std::time::Duration::from_millis), "{body}");
    }
}

#[test]
fn headers_that_change_a_verdict() {
    let judged = |status, name: &'static str, value: &'static str| {
        let mut reply = reply(status, "");
        reply.headers.insert(name, HeaderValue::from_static(value));
        failure_of(Api::Chat, &reply).kind
    };
    assert_eq!(judged(500, "x-should-retry", "false"), Last);
    assert_eq!(judged(409, "x-should-retry", "false"), Last);
    assert_eq!(judged(401, "x-should-retry", "false"), Run(RunStop::Key));
    assert_eq!(judged(500, "x-should-retry", "true"), Transient);
    assert_eq!(judged(400, "x-should-retry", "true"), Prompt);
    assert_eq!(judged(429, "x-should-retry", "false"), Throttled);
    assert_eq!(judged(429, "x-ratelimit-limit-tokens-minute", "0"), Run(RunStop::Quota));
    assert_eq!(judged(429, "x-ratelimit-limit-tokens", "0"), Throttled);
}

fn chat(content: &str, reason: &str) -> Reply {
    let body = json!({
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": content, "refusal": null }, "finish_reason": reason }],
        "usage": { "prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9 }, "error": null,
    });
    reply(200, format!("\n: keep-alive\n\n{body}"))
}

#[test]
fn answers_and_empty_answers() {
    let usage = Some(Usage { input_tokens: 8, output_tokens: 1, ..Usage::default() });
    for (reason, finish) in [
        ("stop", FinishReason::Complete),
        ("length", FinishReason::Truncated),
        ("content_filter", FinishReason::Filtered),
    ] {
        let expected = Verdict::Answer(Answer { text: "hi\n".into(), usage, model: None, finish, odd: Vec::new() });
        assert_eq!(classify(Api::Chat, Ok(&chat("hi\n", reason)), wall()), expected);
        let got = failure_of(Api::Chat, &chat(" \n", reason));
        let class = if finish == FinishReason::Filtered { "content_filter" } else { "empty_answer" };
        assert_eq!((got.kind, got.class.word(), got.billed, got.usage), (Prompt, class, Billed::Yes, usage));
    }
}

#[test]
fn responses_that_did_not_complete() {
    let judged = |body: serde_json::Value| {
        let got = failure_of(Api::Responses, &reply(200, body.to_string()));
        (got.kind, got.class.word(), got.billed)
    };
    let failed = |code: &str| json!({ "status": "failed", "error": { "code": code, "message": "m" }, "output": [] });
    assert_eq!(judged(failed("server_error")), (Transient, "server_error", Billed::Maybe));
    assert_eq!(judged(failed("rate_limit_exceeded")), (Throttled, "rate_limited", Billed::No));
    assert_eq!(judged(failed("invalid_prompt")), (Prompt, "content_filter", Billed::No));
    assert_eq!(
        judged(json!({ "status": "failed", "error": null, "output": [] })),
        (Transient, "server_error", Billed::Maybe)
    );
    assert_eq!(judged(json!({ "status": "queued", "output": [] })), (Unknown, "bad_response", Billed::Maybe));
    let spent = json!({ "status": "incomplete", "incomplete_details": { "reason": "max_output_tokens" }, "output": [{ "type": "reasoning" }] });
    assert_eq!(judged(spent), (Prompt, "empty_answer", Billed::Yes));
}

#[test]
fn classes_are_distinct_words_with_a_sentence_each() {
    let words: std::collections::BTreeSet<_> = Class::ALL.iter().map(|(class, _)| class.word()).collect();
    assert_eq!(words.len(), Class::ALL.len());
    for (class, meaning) in Class::ALL {
        let word = class.word();
        assert!(word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{word}");
        assert!(meaning.ends_with('.') && !meaning.starts_with(' '), "{meaning:?}");
    }
}

/// What a code means, whatever the error's type and words are, in each way in which servers wrap it.
#[test]
fn every_code_with_a_meaning_of_its_own() {
    // codes, statuses under which they come -> kind, class
    let table: &[(&[&str], &[u16], Kind, &str)] = &[
        (
            &[
                "insufficient_quota",
                "credit_balance_exhausted",
                "organization_spend_limit_exceeded",
                "project_spend_limit_exceeded",
                "organization_usage_limit_exceeded",
                "billing_hard_limit_reached",
                "billing_not_active",
            ],
            &[400, 403, 429, 500, 503],
            Run(RunStop::Quota),
            "quota",
        ),
        (
            &["model_not_found", "model_not_available", "model_decommissioned", "DeploymentNotFound"],
            &[400, 404],
            Run(RunStop::Model),
            "model_not_found",
        ),
        (
            &["content_filter", "content_policy_violation", "invalid_prompt", "bio_policy", "cyber_policy"],
            &[400, 403],
            Prompt,
            "content_filter",
        ),
        (
            &["unsupported_parameter", "unsupported_value", "unknown_parameter"],
            &[400],
            Run(RunStop::Request),
            "bad_parameter",
        ),
        (&["context_length_exceeded"], &[400], Prompt, "context_length"),
        (&["invalid_api_key"], &[400, 401], Run(RunStop::Key), "bad_key"),
        (&["slow_down"], &[429], Throttled, "slow_down"),
        (&["resource_unavailable", "server_is_overloaded", "overloaded_error"], &[429], Throttled, "overloaded"),
        (
            &["resource_unavailable", "server_is_overloaded", "overloaded_error"],
            &[500, 503, 529],
            Transient,
            "overloaded",
        ),
    ];
    for (codes, statuses, kind, class) in table {
        for (code, status) in codes.iter().flat_map(|code| statuses.iter().map(move |status| (code, *status))) {
            for api in [Api::Chat, Api::Responses] {
                let error = json!({ "message": "m", "type": null, "param": null, "code": code });
                for body in [json!({ "error": error }), error.clone(), json!([{ "error": error }])] {
                    let got = failure_of(api, &reply(status, body.to_string()));
                    assert_eq!(
                        (got.kind, got.class.word(), got.billed),
                        (*kind, *class, Billed::No),
                        "{status} {body}"
                    );
                }
            }
        }
    }
}

/// Bodies that look enough like real ones to get past the parser.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "\"error\"",
        "\"message\"",
        "\"choices\"",
        "\"code\"",
        "\"usage\"",
        "\"output\"",
        "\"status\"",
        "\"content\"",
        "\"text\"",
        "\"type\"",
        "\"metadata\"",
        "\"detail\"",
        "\"<html>\\u0000sk-aaaaaaaaaa0123456789\"",
        "null",
        "-1",
        "1e999",
        "429",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "<title>",
        "</title>",
        "<html>",
        "İ",
        "\u{7}",
    ]);
    let nested =
        (word.clone(), any::<String>()).prop_map(|(key, text)| format!("{{\"error\":{{{key}:{}}}}}", json!(text)));
    prop_oneof![
        any::<Vec<u8>>(),
        prop::collection::vec(word, 0..20).prop_map(|words| words.concat().into_bytes()),
        nested.prop_map(String::into_bytes),
        any::<String>().prop_map(|text| json!({ "error": { "message": text } }).to_string().into_bytes()),
    ]
}

proptest! {
    #[test]
    fn no_response_panics_or_spoils_a_terminal(
        status in 0..=u16::MAX,
        body in bodies(),
        fields in prop::collection::vec((prop::sample::select(vec!["retry-after", "retry-after-ms", "date", "x-should-retry"]), any::<Vec<u8>>()), 0..4),
        api in prop::sample::select(vec![Api::Chat, Api::Responses]),
    ) {
        let mut reply = reply(status, body);
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                reply.headers.append(HeaderName::from_static(name), value);
            }
        }
        if let Verdict::Failure(failure) = classify::classify(api, Ok(&reply), wall()) {
            prop_assert!(!failure.message.chars().any(|c| c.is_control() || c == '<'), "{:?}", failure.message);
            prop_assert!(failure.message.chars().count() <= MESSAGE_LIMIT && !failure.message.is_empty());
            prop_assert!(!failure.message.contains("sk-aaaaaaaaaa0123456789"));
            prop_assert!(Class::ALL.iter().any(|(word, _)| *word == failure.class));
            prop_assert!(failure.wait.is_none_or(|wait| !wait.is_zero()));
        }
    }
}
