//! Judges every response and every transport error: the one place that says what is retried, what stops the run and what may be billed.
//!
//! The status decides first, then the error's code and type, then, only where neither tells the cases apart, its message. A body may be JSON, a page,
//! plain text or nothing. Where it is unsure, it fails the prompt and not the run, takes a request for billed, and retries.
//!
//! Four decisions that are not plain:
//! - `x-should-retry: false` (the official clients obey it) makes a transient failure its prompt's last, unless the server fails others too. A 429
//!   for rate is not touched by it, because its wait costs nothing. `x-should-retry: true` changes nothing: it does not make a wrong request right.
//! - A 400 stops the run only where its code says that a parameter, the same in every request, is unknown to the model, and the parameter named
//!   does not hold the prompt. Other wrong values may depend on the prompt (`max_tokens` too large beside this long one), so they fail one prompt.
//! - A 503 or 529 is the server's failure, and uses up an attempt, unless its words say that too many requests were under way at once: that is a refusal
//!   like a 429.
//! - A 403 stops the run, unless it is a moderation verdict or a firewall's page: those may be about one prompt's text.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::answer::{self, Answer};
use super::decode::{Decoded, decode};
use super::reply::{Reply, TimeoutKind, TransportError};
use super::said::Said;
use super::{hints, message, wait};
use crate::model::{Api, Class, FinishReason, RunStop, Usage};

/// What a response, or its absence, means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The prompt has its answer.
    Answer(Answer),
    /// It has none.
    Failure(Failure),
}

/// Why a try failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What follows from it.
    pub kind: Kind,
    /// One of [`Class::ALL`].
    pub class: Class,
    /// One line, at most [`message::MESSAGE_LIMIT`] characters, without markup and keys.
    pub message: String,
    /// How long the server asks to wait: a minimum.
    pub wait: Option<Duration>,
    /// Whether it costs tokens.
    pub billed: Billed,
    /// What the API says it used all the same.
    pub usage: Option<Usage>,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It would fail every prompt: stop the run.
    Run(RunStop),
    /// This prompt fails for good; the others go on.
    Prompt,
    /// The rate was too high: wait, and try again without using up an attempt.
    Throttled,
    /// Try again, up to the attempts that are set.
    Transient,
    /// Tried again like [`Kind::Transient`], but this try may have been worked on and billed.
    Unknown,
    /// The server says that another try is of no use: it was the prompt's last one. In an outage it is nobody's.
    Last,
}

/// Whether a failed try costs tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Billed {
    /// It was refused before any work.
    No,
    /// Nobody can tell.
    Maybe,
    /// The response says so.
    Yes,
}

/// What follows, its class, and whether it costs.
type Judged = (Kind, Class, Billed);

/// Judges a response of `api`, or the error in its place. `wall` is now, for waits that name a moment.
#[must_use]
pub fn classify(api: Api, heard: Result<&Reply, &TransportError>, wall: DateTime<Utc>) -> Verdict {
    match heard {
        Ok(reply) if (200..300).contains(&reply.status) => success(api, reply, wall),
        Ok(reply) => Verdict::Failure(failure(reply, wall)),
        Err(error) => {
            let (kind, class, billed) = transport(error);
            Verdict::Failure(Failure {
                kind,
                class,
                message: message::tidy(&error.to_string()),
                wait: None,
                billed,
                usage: None,
            })
        }
    }
}

fn transport(error: &TransportError) -> Judged {
    match error {
        TransportError::Connect(_) | TransportError::NotSent(_) => (Kind::Transient, Class::Connection, Billed::No),
        TransportError::Timeout(TimeoutKind::Connect) => (Kind::Transient, Class::Timeout, Billed::No),
        TransportError::Timeout(_) => (Kind::Unknown, Class::Timeout, Billed::Maybe),
        TransportError::Closed(_) => (Kind::Unknown, Class::Connection, Billed::Maybe),
        // The same request would be answered at the same length again, and billed again.
        TransportError::Oversize => (Kind::Prompt, Class::BadResponse, Billed::Maybe),
    }
}

/// A 2xx: an answer, an empty one, an error in a success's clothes, or something unreadable.
fn success(api: Api, reply: &Reply, wall: DateTime<Utc>) -> Verdict {
    let decoded = decode(&reply.body);
    let failed = |judged: Judged, text: &str, wait| {
        let (kind, class, billed) = judged;
        let usage = decoded.as_ref().and_then(|decoded| answer::usage(&decoded.json));
        Verdict::Failure(Failure { kind, class, message: message::tidy(text), wait, billed, usage })
    };
    let Some(Decoded { json: value, repaired }) = &decoded else {
        let text = if reply.body.is_empty() { "the response has no body" } else { "the response is not JSON" };
        return failed((Kind::Unknown, Class::BadResponse, Billed::Maybe), text, None);
    };
    if let Some(said) = Said::in_success(value) {
        let (kind, class, billed) = judge(said.status_meant(), &said, &reply.headers);
        // The status says that the request got through, so work may have been done, whatever the error's own number is.
        let billed = if matches!(kind, Kind::Transient | Kind::Unknown) { Billed::Maybe } else { billed };
        let wait = waits(reply, &said, wall);
        return failed((kind, class, billed), &said.message_or("the response is an error without a message"), wait);
    }
    match answer::read(api, value) {
        None => {
            failed((Kind::Unknown, Class::BadResponse, Billed::Maybe), "the response is JSON without an answer", None)
        }
        Some(answer) if !answer.text.trim().is_empty() => {
            Verdict::Answer(if *repaired { answer.repaired() } else { answer })
        }
        Some(answer) => {
            let (class, text) = match answer.finish {
                FinishReason::Filtered => (Class::ContentFilter, "the content filter blocked the whole answer"),
                FinishReason::Truncated => (
                    Class::EmptyAnswer,
                    "the output limit was reached before any text (reasoning counts too): raise max_output_tokens",
                ),
                FinishReason::Complete | FinishReason::Refused => {
                    (Class::EmptyAnswer, "the model answered without any text")
                }
            };
            failed((Kind::Prompt, class, Billed::Yes), text, None)
        }
    }
}

/// Any other status.
fn failure(reply: &Reply, wall: DateTime<Utc>) -> Failure {
    let said = Said::in_error(&reply.body);
    let (mut kind, class, billed) = judge(reply.status, &said, &reply.headers);
    if matches!(kind, Kind::Transient | Kind::Unknown)
        && reply.headers.get("x-should-retry").is_some_and(|value| value == "false")
    {
        kind = Kind::Last;
    }
    let reason = http::StatusCode::from_u16(reply.status).ok().and_then(|status| status.canonical_reason());
    // Tidied before the status is put in front, because a page is known by its beginning.
    let text = message::tidy(&said.message_or(reason.unwrap_or("no message")));
    let message = message::tidy(&format!("HTTP {}: {text}", reply.status));
    Failure { kind, class, message, wait: waits(reply, &said, wall), billed, usage: said.usage }
}

/// The longest wait that headers, message or body ask for.
fn waits(reply: &Reply, said: &Said, wall: DateTime<Utc>) -> Option<Duration> {
    let named = wait::asked(&reply.headers, &said.message, wall);
    named.max(said.reset.as_deref().and_then(|text| wait::value(text, wall)))
}

/// Judges an error by its status and words.
fn judge(status: u16, said: &Said, headers: &http::HeaderMap) -> Judged {
    // These codes mean the same under any status: proxies change the status more often than the code.
    if said.is_any(QUOTA_CODES) {
        return (Kind::Run(RunStop::Quota), Class::Quota, Billed::No);
    }
    match status {
        401 => (Kind::Run(RunStop::Key), Class::BadKey, Billed::No),
        402 => (Kind::Run(RunStop::Quota), Class::Quota, Billed::No),
        403 => forbidden(said),
        404 if said.is_any(MODEL_CODES) || said.names_missing_model() => {
            (Kind::Run(RunStop::Model), Class::ModelNotFound, Billed::No)
        }
        // Redirects are not followed: a POST would be turned into a GET, or the key sent elsewhere.
        300..=399 | 404 | 405 | 407 | 410 => (Kind::Run(RunStop::Endpoint), Class::BadEndpoint, Billed::No),
        408 | 499 | 504 | 522 | 524 => (Kind::Transient, Class::Timeout, Billed::Maybe),
        409 | 425 => (Kind::Transient, Class::Busy, Billed::No),
        413 => (Kind::Prompt, Class::TooLarge, Billed::No),
        429 => too_many(said, headers),
        // Refused at the door, before any work: it comes in when others have left.
        503 | 529 if hints::is_crowded(headers, status, &said.words()) => {
            (Kind::Throttled, Class::Overloaded, Billed::No)
        }
        // Groq's flexible tier has no capacity at the moment.
        498 => (Kind::Throttled, Class::Overloaded, Billed::No),
        400..=499 => bad_request(said),
        529 => (Kind::Transient, Class::Overloaded, Billed::No),
        _ if status >= 500 && said.is_any(OVERLOAD_CODES) => (Kind::Transient, Class::Overloaded, Billed::No),
        503 => (Kind::Transient, Class::Overloaded, Billed::Maybe),
        _ if status >= 500 && said.is_too_long() => (Kind::Prompt, Class::ContextLength, Billed::No),
        502 | 520..=530 => (Kind::Transient, Class::BadGateway, Billed::Maybe),
        500..=599 => (Kind::Transient, Class::ServerError, Billed::Maybe),
        // 1xx is never a final response, and 2xx is judged elsewhere.
        _ => (Kind::Unknown, Class::BadResponse, Billed::Maybe),
    }
}

fn forbidden(said: &Said) -> Judged {
    if said.flagged || said.is_any(FILTER_CODES) {
        (Kind::Prompt, Class::ContentFilter, Billed::No)
    } else if said.page {
        (Kind::Prompt, Class::Blocked, Billed::No)
    } else if said.says("quota") || said.says("spend limit") {
        (Kind::Run(RunStop::Quota), Class::Quota, Billed::No)
    } else {
        (Kind::Run(RunStop::Key), Class::Forbidden, Billed::No)
    }
}

fn too_many(said: &Said, headers: &http::HeaderMap) -> Judged {
    // A limit of 0 is a plan without this model: no wait changes it. Only Mistral's headers say so; elsewhere 0 may mean "no limit".
    let nothing_allowed = ["x-ratelimit-limit-req-minute", "x-ratelimit-limit-tokens-minute"]
        .iter()
        .any(|name| headers.get(*name).is_some_and(|value| value == "0"));
    // Google uses these words for limits that pass as well, and names the wait.
    let exhausted = said.says("exceeded your current quota") && wait::in_message(&said.message).is_none();
    if said.says("limit 0,") || nothing_allowed || exhausted {
        (Kind::Run(RunStop::Quota), Class::Quota, Billed::No)
    } else if said.says("request too large") {
        // Same status, type and code as the limit that passes; only the words differ.
        (Kind::Prompt, Class::TooLarge, Billed::No)
    } else if said.is_any(&["slow_down"]) {
        (Kind::Throttled, Class::SlowDown, Billed::No)
    } else if said.is_any(OVERLOAD_CODES) || said.says("overloaded") {
        (Kind::Throttled, Class::Overloaded, Billed::No)
    } else {
        // Too many in a window, or too many at once: [`super::hints`] says which.
        (Kind::Throttled, Class::RateLimited, Billed::No)
    }
}

fn bad_request(said: &Said) -> Judged {
    let (kind, class) = if said.is_too_long() {
        (Kind::Prompt, Class::ContextLength)
    } else if said.is_any(FILTER_CODES) {
        (Kind::Prompt, Class::ContentFilter)
    } else if said.is_any(MODEL_CODES) || said.opens_with("invalid model name passed in model=") {
        (Kind::Run(RunStop::Model), Class::ModelNotFound)
    } else if said.is_any(&["invalid_api_key"]) {
        (Kind::Run(RunStop::Key), Class::BadKey)
    } else if said.is_any(PARAMETER_CODES) && !said.param_holds_prompt() {
        (Kind::Run(RunStop::Request), Class::BadParameter)
    } else {
        (Kind::Prompt, Class::BadRequest)
    };
    (kind, class, Billed::No)
}

/// Billing, credit and spend limits: nothing but a person helps.
const QUOTA_CODES: &[&str] = &[
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "billing_hard_limit_reached",
    "billing_not_active",
];

/// The model is not there, for anyone or for this account.
const MODEL_CODES: &[&str] = &["model_not_found", "model_not_available", "model_decommissioned", "DeploymentNotFound"];

/// The prompt's content is the reason.
const FILTER_CODES: &[&str] =
    &["content_filter", "content_policy_violation", "invalid_prompt", "bio_policy", "cyber_policy"];

/// The model does not know a parameter, or not this value of it, whatever the prompt is.
const PARAMETER_CODES: &[&str] = &["unsupported_parameter", "unsupported_value", "unknown_parameter"];

/// No capacity; refused before any work.
const OVERLOAD_CODES: &[&str] = &["server_is_overloaded", "overloaded_error", "resource_unavailable"];
