//! The HTTP exchange itself, as a service under async-openai that keeps what async-openai would drop or log.
//!
//! async-openai decides what a request looks like on the wire; the tap sends it, reads status, headers and body to the end, and lays them in a slot
//! of the calling task. async-openai gets an empty JSON object in their place: its own errors drop the headers, and it logs bodies that it cannot
//! decode. `TowerExecutor` calls the service within the future that its caller polls, so the slot is the caller's own.

use std::cell::RefCell;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use super::reply::{Reply, TimeoutKind, TransportError};

/// The most bytes of a response; the longest answers of today's models are under 2 MB.
pub const BODY_LIMIT: u64 = 64 << 20;

tokio::task_local! {
    /// What the request of this task heard.
    static HEARD: RefCell<Option<Result<Reply, TransportError>>>;
}

/// Runs `ask`, one request through a client with a [`Tap`], and returns what the tap heard.
pub(super) async fn listen<T>(ask: impl Future<Output = Result<T, OpenAIError>>) -> Result<Reply, TransportError> {
    HEARD
        .scope(RefCell::new(None), async {
            let asked = ask.await;
            HEARD.with(RefCell::take).unwrap_or_else(|| {
                // The tap was never reached: async-openai could not make the request.
                Err(TransportError::NotSent(asked.err().map_or_else(String::new, |error| error.to_string())))
            })
        })
        .await
}

/// The service. Its timeouts start when the request does: waiting for admission is in none of them.
#[derive(Clone, Debug)]
pub(super) struct Tap {
    /// Its connect timeout is set on it.
    pub(super) http: reqwest::Client,
    /// Until the response's headers.
    pub(super) first_byte: Duration,
    /// Until the body's end.
    pub(super) total: Duration,
}

impl Tap {
    async fn exchange(&self, request: HttpRequestFactory) -> Result<Reply, TransportError> {
        let whole = async {
            let request = request.build().await.map_err(|error| TransportError::NotSent(not_built(error)))?;
            let response = timeout(self.first_byte, self.http.execute(request))
                .await
                .map_err(|_| TransportError::Timeout(TimeoutKind::FirstByte))?
                .map_err(failed)?;
            read(response).await
        };
        timeout(self.total, whole).await.unwrap_or(Err(TransportError::Timeout(TimeoutKind::Total)))
    }
}

impl tower_service::Service<HttpRequestFactory> for Tap {
    type Response = reqwest::Response;
    type Error = OpenAIError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequestFactory) -> Self::Future {
        let tap = self.clone();
        Box::pin(async move {
            let heard = tap.exchange(request).await;
            HEARD.with(|slot| slot.replace(Some(heard)));
            Ok(http::Response::new("{}").into())
        })
    }
}

/// Reads a response to its end.
async fn read(mut response: reqwest::Response) -> Result<Reply, TransportError> {
    let status = response.status().as_u16();
    if response.content_length().is_some_and(|length| length > BODY_LIMIT) {
        return Err(TransportError::Oversize);
    }
    let headers = std::mem::take(response.headers_mut());
    let mut body = Bytes::new();
    // Most answers come in one piece, which is kept as it is; only a second one makes a copy.
    let mut joined = BytesMut::new();
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        if joined.is_empty() && body.is_empty() {
            body = piece;
            continue;
        }
        joined.extend_from_slice(&std::mem::take(&mut body));
        joined.extend_from_slice(&piece);
        if u64::try_from(joined.len()).unwrap_or(u64::MAX) > BODY_LIMIT {
            return Err(TransportError::Oversize);
        }
    }
    let body = if joined.is_empty() { body } else { joined.freeze() };
    Ok(Reply { status, headers, body })
}

/// What an error of the exchange means for the request.
fn failed(error: reqwest::Error) -> TransportError {
    // The URL may hold a password.
    let error = error.without_url();
    let why = causes(&error);
    if error.is_connect() {
        return if error.is_timeout() {
            TransportError::Timeout(TimeoutKind::Connect)
        } else {
            TransportError::Connect(why)
        };
    }
    // hyper calls a request cancelled only where it gives it back unwritten.
    let mut source: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return TransportError::NotSent(why);
        }
        source = cause.source();
    }
    if error.is_builder() { TransportError::NotSent(why) } else { TransportError::Closed(why) }
}

fn not_built(error: OpenAIError) -> String {
    match error {
        OpenAIError::Reqwest(error) => causes(&error.without_url()),
        other => other.to_string(),
    }
}

/// An error's causes, the innermost last, without repeats: the outer ones alone say little ("error sending request").
pub(super) fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}
