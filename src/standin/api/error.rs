//! The API's errors: their exact words, members, white space and content types.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::ser::PrettyFormatter;

use super::pages;
use crate::model::Api;
use crate::standin::limits::go_duration::go_duration;
use crate::standin::limits::limiter::{Dimension, Refused};

/// What a 429 for a limit says of its wait. A request that is over the whole limit is told so where there is a text; no wait helps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum On429 {
    /// The numbers and the wait, in the message alone.
    Text,
    /// A `Retry-After`; the message says nothing.
    RetryAfter,
    /// Both.
    #[default]
    Both,
    /// Neither.
    Nothing,
    /// Nothing but a page of HTML, as a gateway sends it.
    Html,
}

impl On429 {
    /// Whether the message has the limit's numbers and the wait.
    pub(in crate::standin) fn has_text(self) -> bool {
        matches!(self, Self::Text | Self::Both)
    }

    /// Whether there is a `Retry-After`.
    pub(in crate::standin) fn has_retry_after(self) -> bool {
        matches!(self, Self::RetryAfter | Self::Both)
    }
}

const INVALID: &str = "invalid_request_error";

/// One error, before it is written in the way of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::standin) struct ApiError {
    pub(in crate::standin) status: u16,
    pub(in crate::standin) message: Box<str>,
    pub(in crate::standin) kind: &'static str,
    pub(in crate::standin) param: Option<&'static str>,
    pub(in crate::standin) code: Option<Box<str>>,
    /// A page of HTML in place of the members above.
    pub(in crate::standin) html: bool,
    /// Headers of its own, beside `Retry-After`.
    pub(in crate::standin) headers: Box<[(&'static str, String)]>,
    /// The exact wait, where a `Retry-After` is sent.
    pub(in crate::standin) retry_after: Option<Duration>,
    /// The longest wait that it tells, in its message or header.
    pub(in crate::standin) wait: Option<Duration>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Members<'a>,
}

/// In the order of real bodies.
#[derive(Serialize)]
struct Members<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

impl ApiError {
    fn new(status: u16, kind: &'static str, message: impl Into<Box<str>>) -> Self {
        Self {
            status,
            message: message.into(),
            kind,
            param: None,
            code: None,
            html: false,
            headers: Box::default(),
            retry_after: None,
            wait: None,
        }
    }

    fn code(self, code: impl Into<Box<str>>) -> Self {
        Self { code: Some(code.into()), ..self }
    }

    fn param(self, param: &'static str) -> Self {
        Self { param: Some(param), ..self }
    }

    /// The body as the endpoint of `api` writes it: chat with four spaces and a line end, responses with two and none.
    pub(in crate::standin) fn body(&self, api: Api) -> Vec<u8> {
        if self.html {
            return pages::status("429 Too Many Requests");
        }
        let members =
            Members { message: &self.message, r#type: self.kind, param: self.param, code: self.code.as_deref() };
        let mut body = Vec::with_capacity(512);
        let indent: &[u8] = if api == Api::Chat { b"    " } else { b"  " };
        let mut writer = serde_json::Serializer::with_formatter(&mut body, PrettyFormatter::with_indent(indent));
        // Strings written to memory: nothing in it can fail.
        let _ = Envelope { error: members }.serialize(&mut writer);
        if api == Api::Chat {
            body.push(b'\n');
        }
        body
    }

    /// The `content-type` that goes with the body.
    pub(in crate::standin) fn content_type(&self, api: Api) -> &'static str {
        match api {
            _ if self.html => "text/html",
            Api::Chat => "application/json; charset=utf-8",
            Api::Responses => "application/json",
        }
    }

    pub(in crate::standin) fn not_json() -> Self {
        Self::new(
            400,
            INVALID,
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. \
             The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble figuring out how to \
             fix this, please contact us through our help center at help.openai.com.)",
        )
    }

    pub(in crate::standin) fn wrong_type(what: &serde_json::Error) -> Self {
        Self::new(400, INVALID, format!("Invalid type in the request: {what}.")).code("invalid_type")
    }

    pub(in crate::standin) fn missing(param: &'static str) -> Self {
        Self::new(400, INVALID, format!("Missing required parameter: '{param}'."))
            .param(param)
            .code("missing_required_parameter")
    }

    /// Chat Completions says this one in its own way.
    pub(in crate::standin) fn no_model() -> Self {
        Self::new(400, INVALID, "you must provide a model parameter")
    }

    pub(in crate::standin) fn empty_array(param: &'static str) -> Self {
        let message = format!(
            "Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead."
        );
        Self::new(400, INVALID, message).param(param).code("empty_array")
    }

    pub(in crate::standin) fn below_minimum(param: &'static str, minimum: i64, got: i64) -> Self {
        let message = format!(
            "Invalid '{param}': integer below minimum value. Expected a value >= {minimum}, but got {got} instead."
        );
        Self::new(400, INVALID, message).param(param).code("integer_below_min_value")
    }

    pub(in crate::standin) fn above_maximum(param: &'static str, maximum: i64, got: i64) -> Self {
        let message = format!(
            "Invalid '{param}': integer above maximum value. Expected a value <= {maximum}, but got {got} instead."
        );
        Self::new(400, INVALID, message).param(param).code("integer_above_max_value")
    }

    pub(in crate::standin) fn streaming() -> Self {
        Self::new(
            400,
            INVALID,
            "Streaming is not supported by the stand-in API. Leave 'stream' out, or set it to false.",
        )
        .param("stream")
        .code("unsupported_value")
    }

    pub(in crate::standin) fn too_long() -> Self {
        Self::new(413, INVALID, "The request body is larger than the 67108864 bytes that the stand-in API takes.")
    }

    pub(in crate::standin) fn no_such_url(method: &str, path: &str) -> Self {
        Self::new(404, INVALID, format!("Invalid URL ({method} {path})"))
    }

    pub(in crate::standin) fn no_such_model(model: &str) -> Self {
        Self::new(404, INVALID, format!("The model `{model}` does not exist or you do not have access to it."))
            .code("model_not_found")
    }

    /// A refusal by the limiter, which tells its wait as `on_429` says.
    pub(in crate::standin) fn rate_limited(model: &str, refused: &Refused, on_429: On429) -> Self {
        let (kind, per) = match refused.dimension {
            Dimension::Requests => ("requests", "requests per min (RPM)"),
            Dimension::Tokens => ("tokens", "tokens per min (TPM)"),
            Dimension::RequestsPerDay => ("requests", "requests per day (RPD)"),
        };
        let short = &refused.shortage;
        let (limit, requested) = (short.limit, short.requested);
        let of = format!("for {model} in organization org-standin on {per}");
        let more = "Visit https://platform.openai.com/account/rate-limits to learn more.";
        let Some(used) = short.used else {
            if !on_429.has_text() {
                return Self::bare(on_429).code("rate_limit_exceeded");
            }
            let message = format!(
                "Request too large {of}: Limit {limit}, Requested {requested}. \
                 The input or output tokens must be reduced in order to run successfully. {more}"
            );
            return Self::new(429, kind, message).code("rate_limit_exceeded");
        };
        let told = go_duration(short.wait);
        let text = format!(
            "Rate limit reached {of}: Limit {limit}, Used {used}, Requested {requested}. Please try again in {told}. {more}"
        );
        let error = if on_429.has_text() { Self::new(429, kind, text) } else { Self::bare(on_429) };
        // The text is cut to milliseconds.
        let in_text = || Duration::from_millis(u64::try_from(short.wait.as_millis()).unwrap_or(u64::MAX));
        let wait = on_429.has_text().then(in_text);
        Self { wait, ..error }.code("rate_limit_exceeded").retry_after(short.wait, on_429)
    }

    /// A refusal because `limit` requests are being worked on, in the words and headers of the litellm proxy. Its wait has nothing to do with them:
    /// the proxy tells the window of its other limits, `wait`.
    pub(in crate::standin) fn too_many(limit: u64, wait: Duration, wall: DateTime<Utc>, on_429: On429) -> Self {
        if !on_429.has_text() {
            return Self::bare(on_429).code("rate_limit_exceeded").retry_after(wait, on_429);
        }
        let kind = "max_parallel_requests";
        let resets = (wall + wait).format("%Y-%m-%d %H:%M:%S UTC").to_string();
        let message = format!(
            "Rate limit exceeded for api_key: standin. Limit type: {kind}. Current limit: {limit}, Remaining: 0. Limit resets at: {resets}"
        );
        let headers = Box::new([("rate_limit_type", kind.to_owned()), ("reset_at", resets)]);
        Self { headers, ..Self::new(429, "rate_limit_error", message) }.code("429").retry_after(wait, on_429)
    }

    /// A refusal whose wait does not follow from its own numbers (which make 132 ms), as gateways send it.
    pub(in crate::standin) fn misstated_limit(model: &str) -> Self {
        let message = format!(
            "Rate limit reached for {model} in organization org-standin on tokens per min (TPM): Limit 10000, Used 9689, Requested 333. \
             Please try again in 700ms. Visit https://platform.openai.com/account/rate-limits to learn more."
        );
        let wait = Some(Duration::from_millis(700));
        Self { wait, ..Self::new(429, "tokens", message) }.code("rate_limit_exceeded")
    }

    /// A refusal that names no numbers.
    fn bare(on_429: On429) -> Self {
        Self { html: on_429 == On429::Html, ..Self::new(429, "rate_limit_error", "Rate limit exceeded") }
    }

    /// With `wait` as a `Retry-After`, where `on_429` has one. It is in whole seconds, so that it is the longest that is told.
    fn retry_after(self, wait: Duration, on_429: On429) -> Self {
        if !on_429.has_retry_after() {
            return self;
        }
        Self { retry_after: Some(wait), wait: Some(Duration::from_secs(whole_seconds(wait))), ..self }
    }

    /// What a client is told that becomes faster too fast. Its body names no wait; the words are ours.
    pub(in crate::standin) fn slow_down() -> Self {
        Self::new(429, "rate_limit_error", "Your request rate increased too quickly. Please slow down.")
            .code("slow_down")
    }

    /// The billing error of one of the documented codes; an unknown code has the message of the oldest.
    pub(in crate::standin) fn quota(code: &str) -> Self {
        let message = match code {
            "credit_balance_exhausted" => {
                "You have no credits remaining. Add credits to continue using the API at \
                 https://platform.openai.com/settings/organization/billing/."
            }
            "organization_spend_limit_exceeded" => {
                "Your organization has reached its monthly spend limit. Raise the limit to continue using the API at \
                 https://platform.openai.com/settings/organization/limits."
            }
            "project_spend_limit_exceeded" => {
                "This project has reached its monthly spend limit. Raise the project's limit to continue using the API at \
                 https://platform.openai.com/settings/organization/limits."
            }
            "organization_usage_limit_exceeded" => {
                "Your organization has reached its approved monthly usage limit. Request an increase at \
                 https://platform.openai.com/settings/organization/limits."
            }
            _ => {
                "You exceeded your current quota, please check your plan and billing details. For more information on this error, \
                 read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."
            }
        };
        Self::new(429, "insufficient_quota", message).code(code.to_owned())
    }

    pub(in crate::standin) fn server_error(request_id: &str) -> Self {
        let message = format!(
            "The server had an error processing your request. Sorry about that! You can retry your request, or contact us through our \
             help center at help.openai.com if you keep seeing this error. (Please include the request ID {request_id} in your email.)"
        );
        Self::new(500, "server_error", message)
    }

    pub(in crate::standin) fn overloaded() -> Self {
        Self::new(503, "service_unavailable_error", "The server is currently overloaded. Please try again later.")
            .code("server_is_overloaded")
    }
}

/// `wait` as `Retry-After` has it: in whole seconds, rounded up, at least 1.
pub(in crate::standin) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// The 401, which is unlike all others: compact, with a status beside the error, and sent as `text/plain`.
///
/// It echoes the key it got, the middle starred out (a key of at most 12 characters is echoed whole), as the real one does: a client must not
/// log it as it stands.
pub(in crate::standin) fn unauthorized(got: Option<&str>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        error: Unauthorized<'a>,
        status: u16,
    }
    #[derive(Serialize)]
    struct Unauthorized<'a> {
        message: &'a str,
        r#type: &'a str,
        code: Option<&'a str>,
        param: Option<&'a str>,
    }
    let (message, code) = match got {
        Some(key) => (
            format!(
                "Incorrect API key provided: {}. You can find your API key at https://platform.openai.com/account/api-keys.",
                mask(key)
            ),
            Some("invalid_api_key"),
        ),
        None => (
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth \
             (i.e. Authorization: Bearer YOUR_KEY). You can obtain an API key from https://platform.openai.com/account/api-keys."
                .to_owned(),
            None,
        ),
    };
    let error = Unauthorized { message: &message, r#type: INVALID, code, param: None };
    serde_json::to_vec(&Body { error, status: 401 }).unwrap_or_default()
}

fn mask(key: &str) -> String {
    let length = key.chars().count();
    key.chars().enumerate().map(|(at, c)| if at < 8 || at + 4 >= length { c } else { '*' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standin::limits::bucket::Shortage;

    #[test]
    fn bodies_have_the_length_of_real_ones() {
        let error = ApiError::quota("insufficient_quota");
        assert_eq!(error.body(Api::Chat).len(), 337);
        assert_eq!(error.body(Api::Responses).len(), 316);
        let text = String::from_utf8(error.body(Api::Chat)).expect("text");
        assert!(text.starts_with("{\n    \"error\": {\n        \"message\": \"You exceeded"), "{text}");
        assert!(text.ends_with("\"param\": null,\n        \"code\": \"insufficient_quota\"\n    }\n}\n"), "{text}");
    }

    #[test]
    fn a_refusal_reads_as_the_real_one() {
        let shortage = Shortage { limit: 10_000, used: Some(9_689), requested: 333, wait: Duration::from_millis(132) };
        let refused = Refused { dimension: Dimension::Tokens, shortage };
        let error = ApiError::rate_limited("gpt-4", &refused, On429::Both);
        assert_eq!(
            &*error.message,
            "Rate limit reached for gpt-4 in organization org-standin on tokens per min (TPM): Limit 10000, Used 9689, Requested 333. \
             Please try again in 132ms. Visit https://platform.openai.com/account/rate-limits to learn more."
        );
        assert_eq!((error.status, error.kind), (429, "tokens"));
        let millis = Duration::from_millis;
        assert_eq!([0, 2_000, 2_001].map(|wait| whole_seconds(millis(wait))), [1, 2, 3]);
        let short = Refused { shortage: Shortage { wait: Duration::from_nanos(132_999_999), ..shortage }, ..refused };
        for (on_429, speaks, retry_after, wait) in [
            (On429::Both, true, Some(short.shortage.wait), Some(millis(1_000))),
            (On429::RetryAfter, false, Some(short.shortage.wait), Some(millis(1_000))),
            (On429::Text, true, None, Some(millis(132))),
            (On429::Nothing, false, None, None),
            (On429::Html, false, None, None),
        ] {
            let error = ApiError::rate_limited("gpt-4", &short, on_429);
            assert_eq!(error.html, on_429 == On429::Html);
            assert_eq!(&*error.message == "Rate limit exceeded", !speaks, "{on_429:?}: {}", error.message);
            assert_eq!(error.message.contains("try again in 132ms"), speaks, "{on_429:?}: {}", error.message);
            assert_eq!((error.retry_after, error.wait), (retry_after, wait), "{on_429:?}");
            assert_eq!((error.status, error.code.as_deref()), (429, Some("rate_limit_exceeded")));
        }
        let a_day = Refused { dimension: Dimension::RequestsPerDay, ..refused };
        let error = ApiError::rate_limited("gpt-4", &a_day, On429::Text);
        assert!(error.message.contains(" on requests per day (RPD): Limit 10000, Used"), "{}", error.message);
        let never = Refused { shortage: Shortage { used: None, wait: Duration::ZERO, ..shortage }, ..refused };
        let error = ApiError::rate_limited("gpt-4", &never, On429::Both);
        assert!(error.message.starts_with("Request too large for gpt-4 in"), "{}", error.message);
        assert!(error.message.contains("Limit 10000, Requested 333. The input"), "{}", error.message);
        assert_eq!((error.retry_after, error.wait), (None, None));
        let bare = ApiError::rate_limited("gpt-4", &never, On429::RetryAfter);
        assert_eq!((&*bare.message, bare.retry_after, bare.wait), ("Rate limit exceeded", None, None));
    }

    #[test]
    fn too_many_at_a_time_reads_as_litellm_says_it() {
        let wall = "2026-11-22T10:00:00.5Z".parse().expect("a moment");
        let minute = Duration::from_secs(60);
        let error = ApiError::too_many(2, minute, wall, On429::Both);
        assert_eq!(
            &*error.message,
            "Rate limit exceeded for api_key: standin. Limit type: max_parallel_requests. Current limit: 2, Remaining: 0. \
             Limit resets at: 2026-11-22 10:01:00 UTC"
        );
        let beside = [("rate_limit_type", "max_parallel_requests"), ("reset_at", "2026-11-22 10:01:00 UTC")];
        assert_eq!(*error.headers, beside.map(|(name, value)| (name, value.to_owned())));
        assert_eq!((error.status, error.code.as_deref()), (429, Some("429")));
        assert_eq!((error.retry_after, error.wait), (Some(minute), Some(minute)));
        let text = ApiError::too_many(2, minute, wall, On429::Text);
        assert_eq!((text.message, text.headers, text.retry_after), (error.message, error.headers, None));
        for (on_429, html, retry_after) in
            [(On429::RetryAfter, false, Some(minute)), (On429::Nothing, false, None), (On429::Html, true, None)]
        {
            let bare = ApiError::too_many(2, minute, wall, on_429);
            assert_eq!((&*bare.message, bare.headers.len()), ("Rate limit exceeded", 0), "{on_429:?}");
            assert_eq!((bare.html, bare.retry_after), (html, retry_after), "{on_429:?}");
        }
    }

    #[test]
    fn a_page_takes_the_place_of_the_members() {
        let shortage = Shortage { limit: 1, used: Some(1), requested: 1, wait: Duration::from_secs(1) };
        let error = ApiError::rate_limited("m", &Refused { dimension: Dimension::Requests, shortage }, On429::Html);
        for api in [Api::Chat, Api::Responses] {
            let text = String::from_utf8(error.body(api)).expect("text");
            assert!(text.starts_with("<html>") && text.contains("<h1>429 Too Many Requests</h1>"), "{text}");
            assert_eq!(error.content_type(api), "text/html");
        }
    }

    #[test]
    fn the_401_echoes_the_ends_of_the_key() {
        let body = String::from_utf8(unauthorized(Some("sk-invalid-0123456789"))).expect("text");
        assert_eq!(
            body,
            r#"{"error":{"message":"Incorrect API key provided: sk-inval*********6789. You can find your API key at https://platform.openai.com/account/api-keys.","type":"invalid_request_error","code":"invalid_api_key","param":null},"status":401}"#
        );
        assert_eq!(mask("short"), "short");
        assert!(String::from_utf8(unauthorized(None)).expect("text").contains(r#""code":null"#));
    }
}
