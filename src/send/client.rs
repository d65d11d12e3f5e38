//! The HTTP client: async-openai over one pool of connections.
//!
//! One call of [`Client::ask`] is one request: there are no retries that the ledger does not see. What holds below us:
//! - async-openai's own three retries are part of its default service, which ours replaces.
//! - hyper sends a request again only when the pooled connection closed before a byte of the request was written, and gives it back unsent.
//! - reqwest's default policy repeats an HTTP/2 request only when the server says that it did not look at it (`REFUSED_STREAM`, or a stream after
//!   the last one of a graceful `GOAWAY`; RFC 9113, 8.7). It does not repeat anything on HTTP/1.1.
//!
//! So a POST that may have reached the server is never sent again by itself.

use std::sync::Arc;
use std::time::Duration;

use async_openai::config::Config;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use secrecy::SecretString;
use serde::de::IgnoredAny;
use url::Url;

use super::reply::{Reply, TransportError};
pub use super::tap::BODY_LIMIT;
use super::tap::{self, Tap};
use crate::model::{Api, Secret, is_local_host};

/// How long a connection lies idle before we close it: shorter than the 60 to 75 s after which common servers do, so that we rarely write into one
/// that is being closed.
const IDLE: Duration = Duration::from_secs(50);

/// How many requests one HTTP/2 connection is trusted with: the number of streams that common servers allow.
const STREAMS: usize = 100;

/// What a [`Client`] is made of.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where the API is, version included: `https://api.openai.com/v1`. A query is kept.
    pub base_url: String,
    /// Sent as a bearer token; without it, no `Authorization` header is sent.
    pub key: Option<Secret>,
    /// More headers of every request. An `Authorization` among them takes the key's place.
    pub headers: HeaderMap,
    /// The endpoint that is asked.
    pub api: Api,
    /// The most requests at one time: the size of the pool. It is not enforced here.
    pub max_in_flight: usize,
    /// For name lookup, connection and TLS together.
    pub connect_timeout: Duration,
    /// From the start of the exchange, connecting included, to the response's headers.
    pub first_byte_timeout: Duration,
    /// For the whole exchange.
    pub total_timeout: Duration,
}

/// Why there is no client. The texts hold neither the key nor the URL, which may have a password in it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The base URL cannot be used.
    #[error("base_url is not a usable address ({0}); use one like https://api.openai.com/v1")]
    BaseUrl(String),
    /// The key cannot be put into a header.
    #[error(
        "the API key holds a character that no key has (a space, a line break or a letter outside ASCII): paste it again"
    )]
    Key,
    /// The HTTP client cannot be set up.
    #[error("cannot set up HTTPS: {0}")]
    Setup(String),
}

/// Asks an API of either kind. Cloning is cheap, and clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    api: Api,
    inner: Arc<async_openai::Client<Endpoint>>,
}

impl Client {
    /// A client for `options`. It connects to nothing yet.
    ///
    /// # Errors
    ///
    /// If the base URL or the key cannot be used, or the system's certificates cannot be read for an `https` URL.
    pub fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        let endpoint = Endpoint::new(options)?;
        let http = http_client(options, &endpoint)?;
        let tap = Tap { http: http.clone(), first_byte: options.first_byte_timeout, total: options.total_timeout };
        // In this order: a later `with_http_client` would bring async-openai's retries back.
        let inner = async_openai::Client::build(http, endpoint).with_http_service(tap);
        Ok(Self { api: options.api, inner: Arc::new(inner) })
    }

    /// Sends one request with `body` and reads the response to its end, whatever its status.
    ///
    /// # Errors
    ///
    /// If no whole response comes. A status of 400 or 500 is no error here.
    pub async fn ask(&self, body: serde_json::Value) -> Result<Reply, TransportError> {
        match self.api {
            Api::Chat => tap::listen(self.inner.chat().create_byot::<_, IgnoredAny>(body)).await,
            Api::Responses => tap::listen(self.inner.responses().create_byot::<_, IgnoredAny>(body)).await,
        }
    }
}

/// Where requests go and what they carry. async-openai's own configurations read `OPENAI_*` variables and always send a key.
#[derive(Debug)]
struct Endpoint {
    base: String,
    query: String,
    secure: bool,
    local: bool,
    headers: HeaderMap,
    /// Asked for by the trait, used by nothing: the key is in `headers`, marked as sensitive.
    no_key: SecretString,
}

impl Endpoint {
    fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        let mut url = Url::parse(options.base_url.trim()).map_err(|error| ClientError::BaseUrl(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ClientError::BaseUrl(format!("it starts with {}:", url.scheme())));
        }
        let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
        url.set_query(None);
        url.set_fragment(None);
        let mut headers = options.headers.clone();
        if let (Some(key), false) = (&options.key, headers.contains_key(AUTHORIZATION)) {
            if !key.reveal().bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(ClientError::Key);
            }
            let mut bearer =
                HeaderValue::from_str(&format!("Bearer {}", key.reveal())).map_err(|_| ClientError::Key)?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        Ok(Self {
            base: url.as_str().trim_end_matches('/').to_owned(),
            query,
            secure: url.scheme() == "https",
            local: url.host_str().is_some_and(is_local_host),
            headers,
            no_key: SecretString::default(),
        })
    }
}

impl Config for Endpoint {
    fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}{}", self.base, self.query)
    }

    fn query(&self) -> Vec<(&str, &str)> {
        Vec::new()
    }

    fn api_base(&self) -> &str {
        &self.base
    }

    fn api_key(&self) -> &SecretString {
        &self.no_key
    }
}

/// The pool of connections.
fn http_client(options: &ClientOptions, endpoint: &Endpoint) -> Result<reqwest::Client, ClientError> {
    // Fails where someone has installed one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("promptmill/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(options.connect_timeout)
        .pool_max_idle_per_host(options.max_in_flight)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .http2_keep_alive_timeout(Duration::from_secs(20))
        .redirect(reqwest::redirect::Policy::none());
    if options.max_in_flight > STREAMS {
        // hyper opens one HTTP/2 connection to a host. Requests over its streams would wait on our side, inside the first-byte timeout.
        builder = builder.http1_only();
    }
    if endpoint.local {
        // reqwest asks HTTP_PROXY for loopback addresses too, unless NO_PROXY names them.
        builder = builder.no_proxy();
    }
    if !endpoint.secure {
        // The system's certificates are read when a client is built, which costs milliseconds and fails where a container has none. Redirects are
        // off, so nothing here needs them (but a proxy that is itself spoken to by TLS).
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| ClientError::Setup(tap::causes(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(base_url: &str, key: &str) -> ClientOptions {
        ClientOptions {
            base_url: base_url.into(),
            key: Secret::new(key),
            headers: HeaderMap::new(),
            api: Api::Chat,
            max_in_flight: 1,
            connect_timeout: Duration::from_secs(1),
            first_byte_timeout: Duration::from_secs(1),
            total_timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn paths_are_put_between_base_and_query() {
        let url = |base: &str| Endpoint::new(&options(base, "")).expect("a base URL").url("/responses");
        assert_eq!(url("https://api.openai.com/v1"), "https://api.openai.com/v1/responses");
        assert_eq!(url(" http://localhost:1/v1// "), "http://localhost:1/v1/responses");
        assert_eq!(url("https://x.test"), "https://x.test/responses");
        assert_eq!(url("https://x.test/v1?api-version=3#f"), "https://x.test/v1/responses?api-version=3");
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_being_shown() {
        for base in ["", "api.openai.com", "ftp://u:hunter2@x.test/", "http://u:hunter2@:99999/"] {
            let error = Client::new(&options(base, "")).expect_err(base).to_string();
            assert!(error.contains("base_url") && !error.contains("hunter2"), "{error}");
        }
        for key in ["two words", "line\nbreak", "schlüssel"] {
            let error = Client::new(&options("http://localhost/", key)).expect_err(key).to_string();
            assert!(error.contains("key") && !error.contains(key), "{error}");
        }
    }

    #[test]
    fn debug_output_holds_no_key() {
        let client = Client::new(&options("http://localhost/", "sk-very-secret")).expect("a client");
        assert!(!format!("{client:?} {:?}", options("http://localhost/", "sk-very-secret")).contains("very-secret"));
    }
}
