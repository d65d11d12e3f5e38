//! The stand-in over real connections: endpoints, faults, limits, keys.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::sync::Once;
use std::time::Duration;

use promptmill::model::Usage;
use promptmill::standin::{
    Fault, FaultAt, FaultKind, On429, Options, RateLimitHeaders, Refill, Server, Slump, Span, answer, answer_of_length,
    digest,
};
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o-mini";

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a header of ASCII"))
    }

    fn error(&self) -> Value {
        self.json()["error"].clone()
    }
}

fn client() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().expect("the first provider");
    });
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

fn start(options: Options) -> Server {
    Server::start_local(options).expect("a server on loopback")
}

fn always(kind: FaultKind) -> Server {
    start(Options { faults: vec![Fault { kind, share: 1.0 }], ..Options::default() })
}

async fn try_post(server: &Server, path: &str, body: String) -> reqwest::Result<Answer> {
    let request = client().post(format!("{}{path}", server.base_url())).header("content-type", "application/json");
    read(request.body(body).send().await?).await
}

async fn read(response: reqwest::Response) -> reqwest::Result<Answer> {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, text: response.text().await? })
}

async fn chat(server: &Server, prompt: &str) -> Answer {
    try_post(server, "/chat/completions", chat_body(prompt).to_string()).await.expect("a response")
}

async fn responses(server: &Server, prompt: &str) -> Answer {
    let body = json!({"model": MODEL, "input": prompt});
    try_post(server, "/responses", body.to_string()).await.expect("a response")
}

fn chat_body(prompt: &str) -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": prompt}]})
}

#[tokio::test]
async fn both_endpoints_answer_and_bill_the_same() {
    let server = start(Options::default());
    let said = answer(MODEL, "Grüße 👋");
    let chat = chat(&server, "Grüße 👋").await;
    assert_eq!((chat.status, chat.header("content-type")), (200, Some("application/json")));
    assert_eq!(chat.json()["choices"][0]["message"]["content"], said);
    let responses = responses(&server, "Grüße 👋").await;
    assert_eq!((responses.status, responses.header("content-type")), (200, Some("application/json")));
    assert_eq!(responses.json()["output"][0]["content"][0]["text"], said);
    let billed = Usage {
        input_tokens: chat.json()["usage"]["prompt_tokens"].as_u64().expect("a number"),
        output_tokens: chat.json()["usage"]["completion_tokens"].as_u64().expect("a number"),
        ..Usage::default()
    };
    assert_eq!(responses.json()["usage"]["input_tokens"], billed.input_tokens);
    assert_eq!(responses.json()["usage"]["output_tokens"], billed.output_tokens);

    let log = server.log();
    assert_eq!(log.iter().map(|logged| logged.number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(log.iter().map(|logged| &*logged.path).collect::<Vec<_>>(), ["/v1/chat/completions", "/v1/responses"]);
    for logged in &log {
        assert_eq!((logged.status, logged.fault, logged.usage), (200, None, Some(billed)));
        assert_eq!((logged.prompt, logged.authorization_present), (Some(digest(MODEL, "Grüße 👋")), false));
    }
    assert!(log[0].arrived <= log[1].arrived);
}

#[tokio::test]
async fn answers_are_as_long_as_asked_for() {
    let server = start(Options { answer_tokens: Some(200), ..Options::default() });
    let whole = chat(&server, "Hello").await.json();
    assert_eq!(whole["choices"][0]["message"]["content"], answer_of_length(MODEL, "Hello", Some(200)));
    assert_eq!(whole["usage"]["completion_tokens"], 200);

    let mut body = chat_body("Hello");
    body["max_tokens"] = json!(200);
    let exact = try_post(&server, "/chat/completions", body.to_string()).await.expect("a response").json();
    assert_eq!(exact["choices"][0]["finish_reason"], "stop");
    body["max_tokens"] = json!(150);
    let cut = try_post(&server, "/chat/completions", body.to_string()).await.expect("a response").json();
    assert_eq!(
        (&cut["choices"][0]["finish_reason"], &cut["usage"]["completion_tokens"]),
        (&json!("length"), &json!(150))
    );

    let body = json!({"model": MODEL, "input": "Hello", "max_output_tokens": 16});
    let cut = try_post(&server, "/responses", body.to_string()).await.expect("a response").json();
    assert_eq!(
        (&cut["status"], &cut["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
}

#[tokio::test]
async fn other_endpoints() {
    let server = start(Options { known_models: Some(vec![MODEL.into(), "other".into()]), ..Options::default() });
    let models = client().get(format!("{}/models", server.base_url())).send().await.expect("a response");
    let models = read(models).await.expect("a body").json();
    assert_eq!((&models["object"], &models["data"][1]["id"]), (&json!("list"), &json!("other")));

    let body = json!({"model": MODEL, "input": "Name three rivers."}).to_string();
    let count = try_post(&server, "/responses/input_tokens", body).await.expect("a response");
    assert_eq!(count.text, r#"{"object":"response.input_tokens","input_tokens":11}"#);

    let nothing = try_post(&server, "/embeddings", "{}".into()).await.expect("a response");
    assert_eq!((nothing.status, &nothing.error()["message"]), (404, &json!("Invalid URL (POST /v1/embeddings)")));

    let body = json!({"model": "gpt-none", "input": "Hi"}).to_string();
    let unknown = try_post(&server, "/responses", body).await.expect("a response");
    assert_eq!((unknown.status, &unknown.error()["code"]), (404, &json!("model_not_found")));
    assert!(unknown.text.starts_with("{\n  \"error\": {\n    \"message\": \"The model `gpt-none` does not exist"));

    let broken = try_post(&server, "/chat/completions", "{\"model\"".into()).await.expect("a response");
    assert_eq!((broken.status, broken.header("content-type")), (400, Some("application/json; charset=utf-8")));
    assert!(broken.text.starts_with("{\n    \"error\": {\n        \"message\": \"We could not parse the JSON body"));
}

#[tokio::test]
async fn every_response_has_the_apis_headers() {
    let server =
        start(Options { requests_per_minute: Some(500), tokens_per_minute: Some(10_000), ..Options::default() });
    let answer = chat(&server, "1234").await;
    let id = answer.header("x-request-id").expect("an id");
    assert!(id.len() == 36 && id[4..].bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert_eq!(
        (answer.header("openai-version"), answer.header("openai-processing-ms")),
        (Some("2020-10-01"), Some("0"))
    );
    let limits = ["limit", "remaining", "reset"].map(|what| {
        let of = |kind: &str| answer.header(&format!("x-ratelimit-{what}-{kind}")).map(str::to_owned);
        (of("requests").expect("a header"), of("tokens").expect("a header"))
    });
    // 1 request of 500; a quarter of 4 characters and 16 tokens of 10,000 (102 ms).
    assert_eq!(
        limits,
        [("500", "10000"), ("499", "9983"), ("120ms", "102ms")].map(|(r, t)| (r.to_owned(), t.to_owned()))
    );

    let rate_limit_headers = RateLimitHeaders::None;
    server.set_options(Options { requests_per_minute: Some(500), rate_limit_headers, ..Options::default() });
    let answer = chat(&server, "1234").await;
    assert!(answer.headers.keys().all(|name| !name.as_str().contains("ratelimit")));

    let rate_limit_headers = RateLimitHeaders::Anthropic;
    server.set_options(Options { requests_per_minute: Some(500), rate_limit_headers, ..Options::default() });
    let answer = chat(&server, "1234").await;
    assert_eq!(answer.header("anthropic-ratelimit-requests-limit"), Some("500"));
}

#[tokio::test]
async fn limits_refuse_with_a_wait_and_bill_nothing() {
    let hour = Duration::from_secs(3_600);
    let server = start(Options { requests_per_minute: Some(2), window: hour, ..Options::default() });
    assert_eq!(chat(&server, "a").await.status, 200);
    assert_eq!(responses(&server, "b").await.status, 200);
    let refused = chat(&server, "c").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1800")));
    assert_eq!(
        refused.error(),
        json!({
            "message": "Rate limit reached for gpt-4o-mini in organization org-standin on requests per min (RPM): Limit 2, Used 2, \
                        Requested 1. Please try again in 30m0s. Visit https://platform.openai.com/account/rate-limits to learn more.",
            "type": "requests", "param": null, "code": "rate_limit_exceeded",
        })
    );
    let log = server.log();
    assert_eq!((log[2].status, log[2].usage, log[2].fault), (429, None, None));
    assert_eq!((log[1].wait, log[2].wait), (None, Some(Duration::from_secs(1_800))));

    server.set_options(Options {
        tokens_per_minute: Some(100),
        window: hour,
        on_429: On429::Text,
        ..Options::default()
    });
    assert_eq!(chat(&server, &"a".repeat(4 * 80)).await.status, 200);
    let refused = chat(&server, "abcd").await;
    assert_eq!(
        (refused.status, refused.header("retry-after"), &refused.error()["type"]),
        (429, None, &json!("tokens"))
    );
    let message = refused.error()["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("(TPM): Limit 100, Used 96, Requested 17. Please try again in 7m48s."), "{message}");
    let never = chat(&server, &"a".repeat(4 * 85)).await;
    assert!(
        never.error()["message"]
            .as_str()
            .is_some_and(|message| message.starts_with("Request too large for gpt-4o-mini"))
    );

    let rate_limit_headers = RateLimitHeaders::Azure;
    let on_429 = On429::RetryAfter;
    let limits = Options { requests_per_minute: Some(1), window: hour, ..Options::default() };
    server.set_options(Options { rate_limit_headers, on_429, ..limits.clone() });
    assert_eq!(chat(&server, "a").await.status, 200);
    let bare = chat(&server, "b").await;
    assert_eq!((bare.status, bare.header("retry-after")), (429, Some("3600")));
    let millis: u64 = bare.header("retry-after-ms").and_then(|text| text.parse().ok()).expect("a number");
    // The time since the first of the two is part of a unit, which counts as a whole one.
    assert_eq!(millis, 3_600_000);
    server.set_options(Options { on_429: On429::Nothing, ..limits });
    let bare = chat(&server, "c").await;
    assert_eq!((bare.status, bare.header("retry-after"), server.log()[6].wait), (429, None, None));
    let said = json!({"message": "Rate limit exceeded", "type": "rate_limit_error", "param": null, "code": "rate_limit_exceeded"});
    assert_eq!(bare.error(), said);
}

/// Requests that are being worked on, as many as `count`; they end when they are aborted.
async fn in_flight(server: &Server, count: usize) -> Vec<tokio::task::JoinHandle<reqwest::Result<reqwest::Response>>> {
    let logged = server.log().len();
    let url = format!("{}/chat/completions", server.base_url());
    let send =
        |number: usize| tokio::spawn(client().post(&url).body(chat_body(&number.to_string()).to_string()).send());
    let requests = (0..count).map(send).collect();
    while server.log().len() < logged + count {
        tokio::task::yield_now().await;
    }
    requests
}

/// Answers that take longer than any test.
const LONG: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn so_many_at_a_time_and_one_more_gets_a_429() {
    let options = Options { parallel: Some(2), latency: LONG, ..Options::default() };
    let server = start(options.clone());
    let requests = in_flight(&server, 2).await;
    let refused = chat(&server, "c").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("60")));
    assert_eq!(refused.header("rate_limit_type"), Some("max_parallel_requests"));
    let message = refused.error()["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("Limit type: max_parallel_requests. Current limit: 2, Remaining: 0. Limit"), "{message}");

    server.set_options(Options { on_429: On429::Nothing, ..options.clone() });
    let bare = chat(&server, "c").await;
    assert_eq!((bare.status, bare.header("retry-after"), bare.header("rate_limit_type")), (429, None, None));
    assert_eq!(bare.error()["message"], "Rate limit exceeded");
    let statuses: Vec<_> = server.log().iter().map(|logged| (logged.status, logged.fault)).collect();
    assert_eq!(statuses, [(200, None), (200, None), (429, None), (429, None)]);

    // A client that goes away makes room, and so does an answer.
    requests[0].abort();
    server.set_options(Options { latency: Duration::ZERO, ..options });
    while chat(&server, "d").await.status != 200 {}
    for _ in 0..10 {
        assert_eq!(chat(&server, "e").await.status, 200);
    }
}

#[tokio::test]
async fn one_more_than_there_are_slots_gets_a_503_at_once() {
    let server = start(Options { slots: Some(3), latency: LONG, ..Options::default() });
    let requests = in_flight(&server, 3).await;
    let refused = chat(&server, "d").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, None));
    assert_eq!(refused.error()["code"], "server_is_overloaded");
    assert_eq!((server.log()[3].status, server.log()[3].usage), (503, None));
    assert!(requests.iter().all(|request| !request.is_finished()));
}

#[tokio::test]
async fn a_gateway_that_waits_no_longer_sends_a_page_and_the_work_is_billed() {
    let gateway = Some(Duration::from_millis(1));
    let server = start(Options { gateway, latency: LONG, ..Options::default() });
    let page = chat(&server, "a").await;
    assert_eq!((page.status, page.header("content-type")), (504, Some("text/html")));
    assert!(page.text.contains("<h1>504 Gateway Time-out</h1>"), "{}", page.text);
    let logged = &server.log()[0];
    assert_eq!((logged.status, logged.fault), (504, Some(FaultKind::GatewayTimeout)));
    assert!(logged.usage.is_some_and(|usage| usage.output_tokens > 0));
    server.set_options(Options { gateway, ..Options::default() });
    assert_eq!(chat(&server, "b").await.status, 504, "the first is worked on still");
}

#[tokio::test]
async fn the_first_request_is_refused_and_later_headers_are_ample() {
    let faults_at = vec![FaultAt { kind: FaultKind::RateLimit, numbers: vec![1..=1, 3..=3] }];
    let (requests_per_minute, on_429) = (Some(5_000), On429::Nothing);
    let server = start(Options { requests_per_minute, on_429, faults_at, ..Options::default() });
    let refused = chat(&server, "a").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, None));
    assert!(refused.headers.keys().all(|name| !name.as_str().contains("ratelimit")));
    let answer = chat(&server, "a").await;
    assert_eq!((answer.status, answer.header("x-ratelimit-remaining-requests")), (200, Some("4999")));
    let faults_at = vec![FaultAt { kind: FaultKind::RateLimit, numbers: vec![1..=9] }];
    let (on_429, told_wait) = (On429::RetryAfter, Some(Duration::from_secs(3)));
    server.set_options(Options { on_429, told_wait, faults_at, ..Options::default() });
    assert_eq!(chat(&server, "b").await.header("retry-after"), Some("3"));
    let faults: Vec<_> = server.log().iter().map(|logged| logged.fault).collect();
    assert_eq!(faults, [Some(FaultKind::RateLimit), None, Some(FaultKind::RateLimit)]);
}

#[tokio::test]
async fn a_text_that_does_not_fit_its_numbers_and_a_page_of_html() {
    let odd = chat(&always(FaultKind::MisstatedLimit), "Hi").await;
    assert_eq!((odd.status, odd.header("retry-after")), (429, None));
    let message = odd.error()["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("(TPM): Limit 10000, Used 9689, Requested 333. Please try again in 700ms."), "{message}");
    let options = Options { requests_per_minute: Some(1), window: LONG, on_429: On429::Html, ..Options::default() };
    let server = start(options);
    assert_eq!(chat(&server, "a").await.status, 200);
    for page in [chat(&server, "b").await, responses(&server, "b").await] {
        assert_eq!((page.status, page.header("content-type")), (429, Some("text/html")));
        assert_eq!(page.header("retry-after"), None);
        assert!(page.text.contains("<h1>429 Too Many Requests</h1>"), "{}", page.text);
    }
}

#[tokio::test]
async fn windows_are_counted_and_told_with_a_reset_or_without() {
    let fixed = Options { requests_per_minute: Some(2), window: LONG, refill: Refill::Fixed, ..Options::default() };
    let server = start(fixed.clone());
    let answer = chat(&server, "a").await;
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("1"));
    // The window began when the server did: what is left of it is told, not half of it.
    let reset = answer.header("x-ratelimit-reset-requests").expect("a header").to_owned();
    assert!(reset.starts_with("23h59m") || reset.starts_with("23h58m"), "{reset}");
    assert_eq!(chat(&server, "b").await.status, 200);
    let refused = chat(&server, "c").await;
    let wait: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("a number");
    assert!(refused.status == 429 && (86_000..=86_400).contains(&wait), "{wait}");
    // Half a window of a bucket; a window that slides is told by its own rule.
    let message = refused.error()["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("Limit 2, Used 2, Requested 1. Please try again in 23h5"), "{message}");

    let rate_limit_headers = RateLimitHeaders::NoReset;
    server.set_options(Options { refill: Refill::Sliding, rate_limit_headers, ..fixed });
    let answer = chat(&server, "d").await;
    let told = ["limit", "remaining", "reset"].map(|what| answer.header(&format!("x-ratelimit-{what}-requests")));
    assert_eq!(told, [Some("2"), Some("1"), None]);
    assert_eq!([chat(&server, "e").await.status, chat(&server, "f").await.status], [200, 429]);
}

#[tokio::test]
async fn a_limit_that_is_raised_for_a_time_is_told_as_it_is_then() {
    let slumps = vec![Slump { span: Span { from: Duration::ZERO, lasts: LONG }, share: 2.0 }];
    let server = start(Options { requests_per_minute: Some(1), window: LONG, slumps, ..Options::default() });
    let answer = chat(&server, "a").await;
    let told = ["limit", "remaining"].map(|what| answer.header(&format!("x-ratelimit-{what}-requests")));
    assert_eq!(told, [Some("2"), Some("1")]);
    assert_eq!([chat(&server, "b").await.status, chat(&server, "c").await.status], [200, 429]);
}

#[tokio::test]
async fn what_is_refused_counts_where_it_is_said_to() {
    let limits =
        Options { requests_per_minute: Some(2), window: LONG, on_429: On429::RetryAfter, ..Options::default() };
    for (count_refused, halves) in [(false, [1, 1, 1]), (true, [2, 3, 4])] {
        let server = start(Options { count_refused, ..limits.clone() });
        assert_eq!([chat(&server, "a").await.status, chat(&server, "b").await.status], [200, 200]);
        for half in halves {
            let refused = chat(&server, "c").await;
            let wait = (half * 43_200).to_string();
            assert_eq!((refused.status, refused.header("retry-after")), (429, Some(&*wait)), "{count_refused}");
        }
    }
}

/// Tries until a connection is refused or taken, as `taken` says.
fn until_connections(server: &Server, taken: bool) {
    let started = std::time::Instant::now();
    while std::net::TcpStream::connect(server.addr()).is_ok() != taken {
        assert!(started.elapsed() < Duration::from_secs(60), "connections are not as expected, taken: {taken}");
        std::thread::yield_now();
    }
}

#[test]
fn in_the_second_half_of_an_outage_connections_are_cut_and_refused() {
    use std::io::Read;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let server = Server::start_thread(Options::default()).expect("a server");
    let ask = |prompt: &str| runtime.block_on(chat(&server, prompt)).status;
    assert_eq!(ask("a"), 200);
    let mut standing = std::net::TcpStream::connect(server.addr()).expect("a connection");
    let outage = |lasts| Span { from: Duration::ZERO, lasts };
    server.set_options(Options { outages: vec![outage(Duration::from_secs(86_400))], ..Options::default() });
    assert_eq!(ask("b"), 503);
    // Each second half begins where that of the one before ends: it is closed for long, however slow this test is.
    let outages = (0..24).map(|power| outage(Duration::from_millis(1 << power))).collect();
    server.set_options(Options { outages, ..Options::default() });
    until_connections(&server, false);
    assert!(matches!(standing.read(&mut [0]), Ok(0) | Err(_)), "nothing was asked");
    let error = std::net::TcpStream::connect(server.addr()).expect_err("refused");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    server.set_options(Options::default());
    until_connections(&server, true);
    assert_eq!(ask("c"), 200);
    assert_eq!(server.log().iter().map(|logged| logged.status).collect::<Vec<_>>(), [200, 503, 200]);
}

#[tokio::test]
async fn an_outage_passes_by_itself() {
    let outages = vec![Span { from: Duration::ZERO, lasts: Duration::from_millis(50) }];
    let server = Server::start_thread(Options { outages, ..Options::default() }).expect("a server");
    let mut statuses = Vec::new();
    while statuses.last() != Some(&200) {
        let answer = try_post(&server, "/chat/completions", chat_body("a").to_string()).await;
        statuses.push(answer.map_or(0, |answer| answer.status));
        assert!(statuses.len() < 100_000, "{statuses:?}");
    }
    assert_eq!(statuses[0], 503);
}

#[tokio::test]
async fn another_key_is_refused_and_kept_nowhere() {
    let server = start(Options { key: Some("test-key-right-0000".into()), ..Options::default() });
    let send = |key: &'static str| {
        let request = client().post(format!("{}/chat/completions", server.base_url())).bearer_auth(key);
        async move {
            read(request.body(chat_body("Hi").to_string()).send().await.expect("a response")).await.expect("a body")
        }
    };
    let refused = send("test-key-wrong-9999").await;
    assert_eq!((refused.status, refused.header("content-type")), (401, Some("text/plain")));
    assert!(refused.text.contains("Incorrect API key provided: test-key*******9999. You can"), "{}", refused.text);
    assert_eq!(refused.json()["status"], 401);
    assert_eq!(send("test-key-right-0000").await.status, 200);
    let missing = chat(&server, "Hi").await;
    assert_eq!((missing.status, &missing.error()["code"]), (401, &Value::Null));
    let log = server.log();
    assert_eq!(
        log.iter().map(|l| (l.status, l.authorization_present)).collect::<Vec<_>>(),
        [(401, true), (200, true), (401, false)]
    );
    assert!(!format!("{log:?}").contains("test-key"));
}

#[tokio::test]
async fn faults_that_are_errors() {
    let table = [
        (FaultKind::RateLimit, 429, "requests", json!("rate_limit_exceeded")),
        (FaultKind::SlowDown, 429, "rate_limit_error", json!("slow_down")),
        (FaultKind::Quota, 429, "insufficient_quota", json!("insufficient_quota")),
        (FaultKind::ServerError, 500, "server_error", Value::Null),
        (FaultKind::Overloaded, 503, "service_unavailable_error", json!("server_is_overloaded")),
    ];
    for (kind, status, r#type, code) in table {
        let server = always(kind);
        for answer in [chat(&server, "Hi").await, responses(&server, "Hi").await] {
            assert_eq!(answer.status, status, "{kind}");
            assert_eq!((&answer.error()["type"], &answer.error()["code"]), (&json!(r#type), &code), "{kind}");
        }
        let logged = &server.log()[1];
        assert_eq!((logged.fault, logged.status, logged.usage), (Some(kind), status, None));
    }
    let page = chat(&always(FaultKind::BadGateway), "Hi").await;
    assert_eq!((page.status, page.header("content-type")), (502, Some("text/html; charset=UTF-8")));
    assert!(page.text.starts_with("<!DOCTYPE html>") && page.text.contains("Error code 502"), "{}", page.text);
    let inside = chat(&always(FaultKind::ErrorInside200), "Hi").await;
    assert_eq!((inside.status, &inside.error()["code"]), (200, &json!(502)));
}

#[tokio::test]
async fn faults_that_spoil_the_answer() {
    let choice = async |kind| chat(&always(kind), "Hi").await.json()["choices"][0].clone();
    let empty = choice(FaultKind::Empty).await;
    assert_eq!((&empty["message"]["content"], &empty["finish_reason"]), (&json!(""), &json!("stop")));
    let refusal = choice(FaultKind::Refusal).await;
    assert!(refusal["message"]["content"].is_null() && refusal["message"]["refusal"].is_string());
    let truncated = choice(FaultKind::Truncated).await;
    let text = truncated["message"]["content"].as_str().expect("text");
    assert!(answer(MODEL, "Hi").starts_with(text) && !text.is_empty());
    assert_eq!(truncated["finish_reason"], "length");
    assert_eq!(choice(FaultKind::Filtered).await["finish_reason"], "content_filter");

    let malformed = chat(&always(FaultKind::MalformedJson), "Hi").await;
    assert_eq!(malformed.status, 200);
    assert!(serde_json::from_str::<Value>(&malformed.text).is_err_and(|error| error.is_eof()), "{}", malformed.text);
}

#[tokio::test]
async fn faults_of_the_connection_are_billed_all_the_same() {
    for (kind, status) in [(FaultKind::Reset, 0), (FaultKind::CutBody, 200)] {
        let server = always(kind);
        let error = try_post(&server, "/chat/completions", chat_body("Hi").to_string()).await.err().expect("an error");
        assert_eq!(error.is_body() || error.is_decode(), kind == FaultKind::CutBody, "{error:?}");
        let logged = &server.log()[0];
        assert_eq!((logged.status, logged.fault), (status, Some(kind)));
        assert!(logged.usage.is_some_and(|usage| usage.output_tokens > 0));
    }
}

/// What comes back after a request, to the connection's end, and how it ends.
fn raw(kind: FaultKind) -> (String, std::io::Result<usize>) {
    use std::io::{Read, Write};
    let options = Options { faults: vec![Fault { kind, share: 1.0 }], ..Options::default() };
    let server = Server::start_thread(options).expect("a server");
    let mut stream = std::net::TcpStream::connect(server.addr()).expect("a connection");
    let body = chat_body("Hi").to_string();
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: standin\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).expect("a request sent");
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes);
    (String::from_utf8_lossy(&bytes).into_owned(), end)
}

#[test]
fn a_reset_is_a_reset_and_a_cut_body_is_half_there() {
    let (text, end) = raw(FaultKind::Reset);
    assert_eq!(text, "");
    assert_eq!(end.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset));

    let (text, end) = raw(FaultKind::CutBody);
    assert!(end.is_ok(), "{end:?}");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    assert!(body.starts_with("{\"id\":\"chatcmpl-"), "{text}");
    // Cut in bytes, perhaps within a character, which `raw` replaces by one of three bytes.
    let half = length.parse::<usize>().expect("a number") / 2;
    assert!((half..half + 3).contains(&body.len()), "{} of {length}", body.len());
}

#[tokio::test]
async fn a_hang_lasts_until_the_client_gives_up() {
    let server = always(FaultKind::Hang);
    let request = client().post(format!("{}/chat/completions", server.base_url())).body(chat_body("Hi").to_string());
    let waiting = tokio::spawn(request.send());
    while server.log().is_empty() {
        tokio::task::yield_now().await;
    }
    // What the server does next is done after some turns of the one thread; an answer would be among it.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    waiting.abort();
    let logged = &server.log()[0];
    assert_eq!((logged.status, logged.fault, logged.usage.is_some()), (0, Some(FaultKind::Hang), true));
}

#[tokio::test]
async fn the_account_runs_dry() {
    let options = Options {
        answers_before_quota: Some(2),
        quota_code: "project_spend_limit_exceeded".into(),
        ..Options::default()
    };
    let server = start(options);
    let mut statuses = Vec::new();
    for prompt in ["a", "b", "c"] {
        statuses.push(chat(&server, prompt).await.status);
    }
    assert_eq!(statuses, [200, 200, 429]);
    let dry = responses(&server, "d").await;
    assert_eq!(
        (&dry.error()["type"], &dry.error()["code"], dry.header("retry-after")),
        (&json!("insufficient_quota"), &json!("project_spend_limit_exceeded"), None)
    );
    server.set_options(Options::default());
    assert_eq!(chat(&server, "c").await.status, 200);
}

#[tokio::test]
async fn one_seed_draws_the_same_faults_again() {
    let faults = vec![Fault { kind: FaultKind::ServerError, share: 0.3 }, Fault { kind: FaultKind::Empty, share: 0.3 }];
    let mut runs = Vec::new();
    for seed in [5, 5, 6] {
        let server = start(Options { faults: faults.clone(), seed, ..Options::default() });
        for number in 0..40 {
            chat(&server, &number.to_string()).await;
        }
        runs.push(server.log().into_iter().map(|logged| logged.fault).collect::<Vec<_>>());
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test]
async fn a_thousand_connections_at_once_are_served() {
    let server = Server::start_thread(Options::default()).expect("a server");
    let mut requests = tokio::task::JoinSet::new();
    let client = client();
    for number in 0..1_000 {
        let request = client.post(format!("{}/chat/completions", server.base_url()));
        let prompt = number.to_string();
        let body = chat_body(&prompt).to_string();
        requests.spawn(async move {
            (prompt, read(request.body(body).send().await.expect("a response")).await.expect("a body"))
        });
    }
    for (prompt, got) in requests.join_all().await {
        assert_eq!(got.json()["choices"][0]["message"]["content"], answer(MODEL, &prompt));
    }
    assert_eq!(server.log().len(), 1_000);
}

#[test]
fn only_loopback_is_listened_on() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _guard = runtime.enter();
    let error = Server::start("0.0.0.0:0".parse().expect("an address"), Options::default()).err().expect("refused");
    assert_eq!(
        error.to_string(),
        "the stand-in API listens on loopback only, not on 0.0.0.0:0; use 127.0.0.1 or [::1]"
    );
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a listener");
    assert!(Server::start_on(listener, Options::default()).is_err());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let addr = listener.local_addr().expect("an address");
    assert_eq!(
        Server::start_on(listener, Options::default()).expect("a server").base_url(),
        format!("http://{addr}/v1")
    );
}

#[test]
fn a_stopped_server_gives_its_port_back() {
    let server = Server::start_thread(Options::default()).expect("a server");
    let addr = server.addr();
    server.stop();
    let error = std::net::TcpStream::connect(addr).expect_err("nobody listens");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}
