//! The HTTP client against a raw TCP server: what is on the wire, how often, and what each end of a connection means.

#![expect(clippy::expect_used, reason = "helpers of tests, outside of test functions")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::Utc;
use http::HeaderMap;
use promptmill::model::{Api, Secret};
use promptmill::send::classify::{Billed, Failure, Kind, Verdict, classify};
use promptmill::send::client::{BODY_LIMIT, Client, ClientOptions};
use promptmill::send::reply::{Reply, TimeoutKind, TransportError};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with a request after it has read it.
#[derive(Clone, Copy)]
enum Then {
    /// Writes this, then closes.
    Write(&'static str),
    /// Writes this and reads the next request of the same connection.
    WriteAndStay(&'static str),
    /// Writes this, then closes with a reset.
    Reset(&'static str),
    /// Writes this, then stays silent.
    Hang(&'static str),
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

struct Server {
    base_url: String,
    /// Every request that was read, connections in the order in which they were accepted.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base_url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, then, seen.clone()));
            }
        });
        Self { base_url, requests }
    }

    fn options(&self) -> ClientOptions {
        ClientOptions {
            base_url: self.base_url.clone(),
            key: None,
            headers: HeaderMap::new(),
            api: Api::Chat,
            max_in_flight: 4,
            connect_timeout: Duration::from_secs(20),
            first_byte_timeout: Duration::from_secs(20),
            total_timeout: Duration::from_secs(20),
        }
    }

    async fn ask(&self) -> Result<Reply, TransportError> {
        Client::new(&self.options()).expect("a client").ask(json!({ "model": "m" })).await
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }
}

async fn serve(mut stream: TcpStream, then: Then, seen: Arc<Mutex<Vec<String>>>) {
    while let Some(request) = read_request(&mut stream).await {
        seen.lock().expect("no panic").push(request);
        let (Then::Write(text) | Then::WriteAndStay(text) | Then::Reset(text) | Then::Hang(text)) = then;
        stream.write_all(text.as_bytes()).await.expect("the client reads");
        match then {
            Then::Write(_) => return,
            Then::WriteAndStay(_) => {}
            Then::Reset(_) => return stream.set_zero_linger().expect("a socket"),
            Then::Hang(_) => std::future::pending().await,
        }
    }
}

/// One request, or `None` when the client has closed.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        text.push_str(std::str::from_utf8(&buffer[..read]).expect("ASCII"));
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the test is its own edge")]
fn failure(heard: &Result<Reply, TransportError>) -> Failure {
    match classify(Api::Chat, heard.as_ref(), Utc::now()) {
        Verdict::Failure(failure) => failure,
        Verdict::Answer(answer) => panic!("{answer:?}"),
    }
}

#[tokio::test]
async fn a_request_says_what_it_must_and_no_more() {
    let server = Server::start(Then::WriteAndStay(OK)).await;
    server.ask().await.expect("a reply");
    let request = server.requests().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    let mut lines: Vec<_> = head.lines().map(str::to_ascii_lowercase).collect();
    assert_eq!(lines.remove(0), "post /v1/chat/completions http/1.1");
    lines.sort();
    let host = format!("host: {}", server.base_url.trim_start_matches("http://").trim_end_matches("/v1"));
    let agent = concat!("user-agent: promptmill/", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines, ["accept: */*", "content-length: 13", "content-type: application/json", &host, agent]);
    assert_eq!(body, r#"{"model":"m"}"#);
}

#[tokio::test]
async fn the_key_and_the_endpoint_are_sent() {
    let server = Server::start(Then::WriteAndStay(OK)).await;
    let options = ClientOptions { key: Secret::new("sk-test-key"), api: Api::Responses, ..server.options() };
    Client::new(&options).expect("a client").ask(json!({})).await.expect("a reply");
    let request = server.requests().remove(0);
    assert!(request.starts_with("POST /v1/responses HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nauthorization: Bearer sk-test-key\r\n"), "{request}");
}

#[tokio::test]
async fn headers_are_sent_and_one_of_them_may_take_the_keys_place() {
    let server = Server::start(Then::WriteAndStay(OK)).await;
    let headers = [("x-team", "blue"), ("authorization", "Basic abc")];
    let headers = headers.map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
    let headers = HeaderMap::from_iter(headers);
    let options = ClientOptions { key: Secret::new("sk-test-key"), headers, ..server.options() };
    Client::new(&options).expect("a client").ask(json!({})).await.expect("a reply");
    let request = server.requests().remove(0);
    assert!(request.contains("\r\nx-team: blue\r\n"), "{request}");
    assert!(request.contains("\r\nauthorization: Basic abc\r\n") && !request.contains("sk-test-key"), "{request}");
}

#[tokio::test]
async fn status_headers_and_body_come_through_whatever_they_are() {
    const PAGE: &str = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 43\r\nconnection: close\r\n\r\n<html><title>502 Bad Gateway</title></html>";
    const LIMIT: &str = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{\"\r\n6\r\na\":1}\n\r\n0\r\n\r\n";
    const MOVED: &str =
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: /v2/chat/completions\r\ncontent-length: 0\r\n\r\n";
    let table = [
        (OK, 200, "{}"),
        (PAGE, 502, "<html><title>502 Bad Gateway</title></html>"),
        (LIMIT, 429, ""),
        (CHUNKED, 200, "{\"a\":1}\n"),
        (MOVED, 307, ""),
        ("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\n{\"a\"", 500, "{\"a\""),
        ("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno", 401, "no"),
    ];
    for (text, status, body) in table {
        let server = Server::start(Then::WriteAndStay(text)).await;
        let reply = server.ask().await.expect("a reply");
        assert_eq!((reply.status, &reply.body[..]), (status, body.as_bytes()));
        assert_eq!(server.requests().len(), 1, "HTTP {status} is not tried again by the client");
        if status == 429 {
            assert_eq!(failure(&Ok(reply)).wait, Some(Duration::from_secs(7)));
        }
    }
}

#[tokio::test]
async fn a_connection_that_ends_early_may_have_been_billed_and_is_not_tried_again() {
    const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"choices\":";
    const HALF_CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"cho\r\n";
    for then in [
        Then::Write(""),
        Then::Write(HALF),
        Then::Write(HALF_CHUNKED),
        Then::Write("HTTP/1.1 200"),
        Then::Write("nonsense\r\n\r\n"),
        Then::Reset(""),
        Then::Reset(HALF),
    ] {
        let server = Server::start(then).await;
        let heard = server.ask().await;
        assert!(matches!(heard, Err(TransportError::Closed(_))), "{heard:?}");
        let failure = failure(&heard);
        assert_eq!((failure.kind, failure.class.word(), failure.billed), (Kind::Unknown, "connection", Billed::Maybe));
        assert!(!failure.message.contains("http://"), "{}", failure.message);
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_request_on_a_kept_connection_that_closes_is_not_sent_twice() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base_url = format!("http://{}", listener.local_addr().expect("an address"));
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        read_request(&mut stream).await.expect("the first request");
        stream.write_all(OK.as_bytes()).await.expect("the client reads");
        // The second request has arrived in full when the connection closes: work may have been done.
        read_request(&mut stream).await.expect("the second request, on the same connection");
        drop(stream);
        listener
    });
    let options = Server { base_url, requests: Arc::default() }.options();
    let client = Client::new(&options).expect("a client");
    client.ask(json!({})).await.expect("a reply");
    let heard = client.clone().ask(json!({})).await;
    assert!(matches!(heard, Err(TransportError::Closed(_))), "{heard:?}");
    // A hidden third request would wait in the listener's queue.
    let listener = served.await.expect("no panic").into_std().expect("a listener");
    assert_eq!(listener.accept().expect_err("no second connection").kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base_url = format!("http://user:hunter2@{}/v1", listener.local_addr().expect("an address"));
    drop(listener);
    let heard = Server { base_url, requests: Arc::default() }.ask().await;
    assert!(matches!(heard, Err(TransportError::Connect(_))), "{heard:?}");
    let failure = failure(&heard);
    assert_eq!((failure.kind, failure.class.word(), failure.billed), (Kind::Transient, "connection", Billed::No));
    assert!(!failure.message.contains("hunter2"), "{}", failure.message);
}

#[tokio::test]
async fn the_first_byte_and_the_whole_have_timeouts_of_their_own() {
    let short = Duration::from_millis(50);
    let headers = Then::Hang("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{");
    for (then, first_byte, total, kind) in [
        (Then::Hang(""), true, false, TimeoutKind::FirstByte),
        (Then::Hang("HTTP/1.1 200 OK\r\n"), true, false, TimeoutKind::FirstByte),
        (headers, false, true, TimeoutKind::Total),
    ] {
        let server = Server::start(then).await;
        let mut options = server.options();
        if first_byte {
            options.first_byte_timeout = short;
        }
        if total {
            options.total_timeout = short;
        }
        let heard = Client::new(&options).expect("a client").ask(json!({})).await;
        assert_eq!(heard.as_ref().err(), Some(&TransportError::Timeout(kind)));
        assert_eq!(failure(&heard).billed, Billed::Maybe);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_not_read() {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", BODY_LIMIT + 1);
    let server = Server::start(Then::Hang(head.leak())).await;
    assert_eq!(server.ask().await.err(), Some(TransportError::Oversize));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_the_same_time_hear_their_own_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base_url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while let Some(request) = read_request(&mut stream).await {
                    let body = request.split_once("\r\n\r\n").expect("a head").1;
                    let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    stream.write_all(reply.as_bytes()).await.expect("the client reads");
                }
            });
        }
    });
    let client = Client::new(&Server { base_url, requests: Arc::default() }.options()).expect("a client");
    let asked: Vec<_> = (0..200)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { (n, client.ask(json!({ "n": n })).await.expect("a reply")) })
        })
        .collect();
    for task in asked {
        let (n, reply) = task.await.expect("no panic");
        assert_eq!(reply.body, json!({ "n": n }).to_string());
    }
}
