//! From a decision to the bytes of a response. Nothing here waits or reads a clock.

use std::time::Duration;

use super::api::answer::{answer_of_length, cut};
use super::api::error::ApiError;
use super::api::pages;
use super::api::request::Ask;
use super::api::response::{self, Ending, Parts};
use super::faults::FaultKind;
use super::judge::{Arrival, Verdict};
use super::limits::limiter::Levels;
use crate::count::tokenizer::Tokenizer;
use crate::model::{Api, Usage};

const JSON: &str = "application/json";

/// How the bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// All of them.
    Whole,
    /// Half of them, though the `content-length` is that of all; then the connection closes.
    Cut,
    /// None; the connection is reset.
    Reset,
    /// None, and the connection stays open.
    Never,
}

/// A response before it is sent.
pub(super) struct Reply {
    /// HTTP status; 0 where nothing is sent.
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
    pub(super) delivery: Delivery,
    pub(super) usage: Option<Usage>,
    /// Headers of its own.
    pub(super) headers: Box<[(&'static str, String)]>,
    /// The exact wait, where a `Retry-After` is sent.
    pub(super) retry_after: Option<Duration>,
    /// The longest wait that it tells.
    pub(super) wait: Option<Duration>,
    /// For the `x-ratelimit` headers.
    pub(super) levels: Levels,
}

impl Reply {
    /// A body that is sent whole and costs nothing.
    pub(super) fn new(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type,
            body,
            delivery: Delivery::Whole,
            usage: None,
            headers: Box::default(),
            retry_after: None,
            wait: None,
            levels: Levels::default(),
        }
    }

    /// A good answer that costs nothing.
    pub(super) fn ok(body: Vec<u8>) -> Self {
        Self::new(200, JSON, body)
    }

    /// An error, as the endpoint of `api` writes it.
    pub(super) fn error(error: ApiError, api: Api) -> Self {
        let reply = Self::new(error.status, error.content_type(api), error.body(api));
        Self { headers: error.headers, retry_after: error.retry_after, wait: error.wait, ..reply }
    }
}

/// The response to `ask`. `created` is in seconds since 1970.
pub(super) fn respond(ask: &Ask, arrival: &mut Arrival, verdict: Verdict, request_id: &str, created: i64) -> Reply {
    let levels = match verdict.outcome {
        Ok(levels) => levels,
        Err(error) => return Reply::error(error, ask.api),
    };
    let mut reply = match verdict.fault {
        Some(FaultKind::ServerError) => Reply::error(ApiError::server_error(request_id), ask.api),
        Some(FaultKind::Overloaded) => Reply::error(ApiError::overloaded(), ask.api),
        Some(FaultKind::BadGateway) => Reply::new(502, "text/html; charset=UTF-8", pages::bad_gateway(request_id)),
        Some(FaultKind::GatewayTimeout) => Reply {
            usage: answered(ask, arrival, None, created).usage,
            ..Reply::new(504, "text/html", pages::status("504 Gateway Time-out"))
        },
        Some(FaultKind::ErrorInside200) => Reply::ok(error_inside_200()),
        fault => answered(ask, arrival, fault, created),
    };
    match verdict.fault {
        Some(FaultKind::Reset) => (reply.status, reply.delivery) = (0, Delivery::Reset),
        Some(FaultKind::Hang) => (reply.status, reply.delivery) = (0, Delivery::Never),
        Some(FaultKind::CutBody) => reply.delivery = Delivery::Cut,
        Some(FaultKind::MalformedJson) => reply.body.truncate(reply.body.len() / 2),
        _ => {}
    }
    Reply { levels, ..reply }
}

/// An answer, whole or spoilt by `fault`, with what it costs.
fn answered(ask: &Ask, arrival: &mut Arrival, fault: Option<FaultKind>, created: i64) -> Reply {
    let tokenizer = Tokenizer::for_model(&ask.model);
    let whole = match fault {
        Some(FaultKind::Empty | FaultKind::Filtered) => String::new(),
        Some(FaultKind::Refusal) => "I’m sorry, but I can’t help with that.".to_owned(),
        _ => answer_of_length(&ask.model, ask.prompt(), arrival.options.answer_tokens),
    };
    let whole = if fault == Some(FaultKind::Truncated) { first_half(&whole) } else { &whole };
    let mut text = whole;
    let mut output_tokens = tokenizer.count(text);
    if let Some(most) = ask.max_output_tokens.filter(|&most| most < output_tokens) {
        text = cut(whole, most, tokenizer);
        output_tokens = tokenizer.count(text);
    }
    let ending = match fault {
        Some(FaultKind::Filtered) => Ending::Filtered,
        Some(FaultKind::Refusal) => Ending::Refused,
        Some(FaultKind::Truncated) => Ending::Length,
        _ if text.len() < whole.len() => Ending::Length,
        _ => Ending::Stop,
    };
    let usage = Usage {
        input_tokens: ask.input_tokens(tokenizer),
        output_tokens: output_tokens.saturating_mul(ask.choices),
        ..Usage::default()
    };
    let id = hex(&mut arrival.rng, 3);
    let parts = Parts {
        id: &id,
        created,
        model: &ask.model,
        text,
        ending,
        usage,
        choices: ask.choices,
        max_output_tokens: ask.max_output_tokens,
        instructions: ask.instructions.as_deref(),
        store: ask.store,
        temperature: ask.temperature,
    };
    let body = match ask.api {
        Api::Chat => response::chat(&parts),
        Api::Responses => response::responses(&parts),
    };
    Reply { usage: Some(usage), ..Reply::ok(body) }
}

fn first_half(text: &str) -> &str {
    let middle = text.chars().count() / 2;
    text.char_indices().nth(middle).map_or(text, |(at, _)| &text[..at])
}

/// `words` times 16 hexadecimal digits.
pub(super) fn hex(rng: &mut fastrand::Rng, words: usize) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(16 * words);
    for _ in 0..words {
        // Writing to a string cannot fail.
        let _ = write!(text, "{:016x}", rng.u64(..));
    }
    text
}

/// An error as `OpenRouter` puts it into a 200: its code is a number, and there is no type.
fn error_inside_200() -> Vec<u8> {
    br#"{"error":{"message":"Provider returned error","code":502,"metadata":{"provider_name":"standin","raw":"upstream connect error"}}}"#
        .to_vec()
}
