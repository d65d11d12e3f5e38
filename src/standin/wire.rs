//! Replies as HTTP: the headers, and a body that can be cut short.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, SERVER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::{Bytes, Frame, SizeHint};

use super::api::error::whole_seconds;
use super::api::headers::{self, RateLimitHeaders, text};
use super::respond::{Delivery, Reply};

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PROCESSING: HeaderName = HeaderName::from_static("openai-processing-ms");
const VERSION: HeaderName = HeaderName::from_static("openai-version");

/// The HTTP response of `reply`, which was decided on at `wall` and took as long as `took` says.
pub(super) fn response(
    reply: Reply,
    whose: RateLimitHeaders,
    request_id: &str,
    wall: DateTime<Utc>,
    took: Duration,
) -> Response<Body> {
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
    if let Some(wait) = reply.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        if whose == RateLimitHeaders::Azure {
            let millis = wait.as_nanos().div_ceil(1_000_000);
            headers.insert(RETRY_AFTER_MS, HeaderValue::from(u64::try_from(millis).unwrap_or(u64::MAX)));
        }
    }
    for (name, value) in &reply.headers {
        headers.insert(HeaderName::from_static(name), text(value));
    }
    if reply.status == 200 {
        headers.extend(headers::of(whose, &reply.levels, wall));
    }
    response
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
