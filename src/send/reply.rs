//! What came back over the network, before anyone judges it.

use std::fmt;

use bytes::Bytes;
use http::HeaderMap;

/// A response that was read to its end, whatever its status.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status, 100 to 599.
    pub status: u16,
    pub headers: HeaderMap,
    /// Its body, at most [`super::tap::BODY_LIMIT`] bytes.
    pub body: Bytes,
}

/// Which of the three timeouts ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutKind {
    /// Name lookup, connection and TLS together: nothing was sent.
    Connect,
    /// From the start of the exchange to the response's headers.
    FirstByte,
    /// The whole exchange.
    Total,
}

/// Why no whole response came. The texts are for people; they hold no URL and no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportError {
    /// No connection: name lookup, refusal, TLS or proxy. Nothing was sent.
    Connect(String),
    /// A timeout ran out.
    Timeout(TimeoutKind),
    /// The connection ended before the response did; the request may have reached the server.
    Closed(String),
    /// The request never left: it could not be built, or its connection closed before a byte of it was written.
    NotSent(String),
    /// The response is longer than [`super::tap::BODY_LIMIT`]; the rest was not read.
    Oversize,
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(why) => write!(f, "no connection: {why}"),
            Self::Timeout(TimeoutKind::Connect) => f.write_str("no connection within the connect timeout"),
            Self::Timeout(TimeoutKind::FirstByte) => f.write_str("no response within the first-byte timeout"),
            Self::Timeout(TimeoutKind::Total) => f.write_str("no whole response within the total timeout"),
            Self::Closed(why) => write!(f, "the connection ended before the response did: {why}"),
            Self::NotSent(why) => write!(f, "the request was not sent: {why}"),
            Self::Oversize => f.write_str("the response is longer than 64 MB"),
        }
    }
}

impl std::error::Error for TransportError {}
