//! Replies as HTTP: the headers, and a body that can be cut short.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, SERVER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::{Bytes, Frame, SizeHint};

use super::bucket::Level;
use super::go_duration::go_duration;
use super::options::Options;
use super::respond::{Delivery, Reply};

const LIMIT_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");
const REMAINING_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");
const RESET_REQUESTS: HeaderName = HeaderName::from_static("x-ratelimit-reset-requests");
const LIMIT_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-limit-tokens");
const REMAINING_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-remaining-tokens");
const RESET_TOKENS: HeaderName = HeaderName::from_static("x-ratelimit-reset-tokens");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PROCESSING: HeaderName = HeaderName::from_static("openai-processing-ms");
const VERSION: HeaderName = HeaderName::from_static("openai-version");

/// The HTTP response of `reply`, which took as long as `took` says.
pub(super) fn response(reply: Reply, options: &Options, request_id: &str, took: Duration) -> Response<Body> {
    let length = reply.body.len();
    let body = Bytes::from(reply.body);
    let cut = reply.delivery == Delivery::Cut;
    let mut response = Response::new(if cut { Body::cut(body.slice(..length / 2)) } else { Body::whole(body) });
    // The statuses are our own: each is valid.
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(SERVER, HeaderValue::from_static("promptmill-standin"));
    headers.insert(REQUEST_ID, text(request_id));
    headers.insert(PROCESSING, HeaderValue::from(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)));
    headers.insert(VERSION, HeaderValue::from_static("2020-10-01"));
    if let Some(seconds) = reply.retry_after.filter(|_| options.headers_on_429) {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if options.rate_limit_headers && reply.status == 200 {
        limits(headers, reply.levels.requests, [LIMIT_REQUESTS, REMAINING_REQUESTS, RESET_REQUESTS]);
        limits(headers, reply.levels.tokens, [LIMIT_TOKENS, REMAINING_TOKENS, RESET_TOKENS]);
    }
    response
}

fn limits(headers: &mut HeaderMap, level: Option<Level>, [limit, remaining, reset]: [HeaderName; 3]) {
    if let Some(level) = level {
        headers.insert(limit, HeaderValue::from(level.limit));
        headers.insert(remaining, HeaderValue::from(level.remaining));
        headers.insert(reset, text(&go_duration(level.reset)));
    }
}

/// Our own ids and durations: visible ASCII, which every header takes.
fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A body in one piece, or one that breaks off after its piece.
pub(super) struct Body {
    piece: Option<Bytes>,
    then: Then,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    End,
    /// hyper sends what it has when it is told to wait; an error at once would take the piece with it.
    WaitAndBreak,
    Break,
}

impl Body {
    fn whole(piece: Bytes) -> Self {
        Self { piece: Some(piece), then: Then::End }
    }

    fn cut(piece: Bytes) -> Self {
        Self { piece: Some(piece), then: Then::WaitAndBreak }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(piece) = self.piece.take() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match self.then {
            Then::End => Poll::Ready(None),
            Then::WaitAndBreak => {
                self.then = Then::Break;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Then::Break => Poll::Ready(Some(Err(io::Error::other("the body is cut, as the fault asks")))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_none() && self.then == Then::End
    }

    fn size_hint(&self) -> SizeHint {
        // What is cut has a length of its own making in its header.
        match (&self.piece, self.then) {
            (Some(piece), Then::End) => SizeHint::with_exact(piece.len() as u64),
            (None, Then::End) => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }
}
