//! One request from its bytes to its reply: path, key, body, decision, log. Nothing is awaited, so that a client that goes away does not
//! undo what was decided.

use std::borrow::Cow;

use http::header::AUTHORIZATION;
use http::{Method, request};
use hyper::body::Bytes;

use super::api::answer::digest;
use super::api::error::{self, ApiError};
use super::api::request::Ask;
use super::api::response;
use super::faults::FaultKind;
use super::judge::Arrival;
use super::log::Logged;
use super::respond::{Reply, hex, respond};
use super::state::Shared;
use crate::count::tokenizer::Tokenizer;
use crate::model::Api;

/// A request decided on and logged.
pub(super) struct Exchange {
    pub(super) reply: Reply,
    pub(super) arrival: Arrival,
    /// Whether it is worked on, so that [`Shared::leave`] is to be called when that ends.
    pub(super) works: bool,
    /// `req_` and 32 hexadecimal digits.
    pub(super) request_id: String,
}

#[derive(Clone, Copy)]
enum Route {
    Answer(Api),
    Count,
    Models,
    Nothing,
}

impl Route {
    fn of(method: &Method, path: &str) -> Self {
        match (method, path) {
            (&Method::POST, "/v1/chat/completions") => Self::Answer(Api::Chat),
            (&Method::POST, "/v1/responses") => Self::Answer(Api::Responses),
            (&Method::POST, "/v1/responses/input_tokens") => Self::Count,
            (&Method::GET, "/v1/models") => Self::Models,
            _ => Self::Nothing,
        }
    }

    /// In whose form an error is.
    fn api(self) -> Api {
        match self {
            Self::Answer(api) => api,
            Self::Count => Api::Responses,
            Self::Models | Self::Nothing => Api::Chat,
        }
    }

    /// As it is logged; the frequent ones without an allocation.
    fn path(self, path: &str) -> Cow<'static, str> {
        match self {
            Self::Answer(Api::Chat) => "/v1/chat/completions".into(),
            Self::Answer(Api::Responses) => "/v1/responses".into(),
            Self::Count => "/v1/responses/input_tokens".into(),
            Self::Models => "/v1/models".into(),
            // A path is ASCII, as `http` checks.
            Self::Nothing => path.chars().take(64).collect::<String>().into(),
        }
    }
}

/// What is known of a request beside its reply.
#[derive(Default)]
struct Known {
    fault: Option<FaultKind>,
    prompt: Option<u64>,
    works: bool,
}

/// Decides on one request, with its body or why that cannot be read.
pub(super) fn exchange(head: &request::Parts, body: Result<Bytes, ApiError>, shared: &Shared) -> Exchange {
    let path = head.uri.path();
    let route = Route::of(&head.method, path);
    let authorization = head.headers.get(AUTHORIZATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let key = authorization.as_deref().map(bearer);

    let mut arrival = shared.arrive();
    let request_id = format!("req_{}", hex(&mut arrival.rng, 2));
    let mut known = Known::default();
    let refused = arrival.options.key.as_deref().is_some_and(|right| key != Some(right));
    let reply = if arrival.options.outages.iter().any(|span| span.contains(arrival.since_first)) {
        // What stands before the server answers: nobody looks at the key.
        Reply::error(ApiError::overloaded(), route.api())
    } else if refused {
        Reply::new(401, "text/plain", error::unauthorized(key))
    } else {
        match route {
            Route::Answer(api) => answer(api, body, shared, &mut arrival, &request_id, &mut known)
                .unwrap_or_else(|error| Reply::error(error, route.api())),
            Route::Count => body.and_then(|body| Ask::responses(&body)).map_or_else(
                |error| Reply::error(error, route.api()),
                |ask| Reply::ok(response::input_tokens(ask.input_tokens(Tokenizer::for_model(&ask.model)))),
            ),
            Route::Models => {
                let names = arrival.options.known_models.clone().unwrap_or_else(|| vec!["gpt-4o-mini".to_owned()]);
                Reply::ok(response::models(&names, arrival.wall.timestamp()))
            }
            Route::Nothing => Reply::error(ApiError::no_such_url(head.method.as_str(), path), route.api()),
        }
    };
    shared.remember(Logged {
        number: arrival.number,
        arrived: arrival.at,
        path: route.path(path),
        status: reply.status,
        fault: known.fault,
        prompt: known.prompt,
        usage: reply.usage,
        wait: reply.wait,
        authorization_present: authorization.is_some(),
    });
    Exchange { reply, arrival, works: known.works, request_id }
}

fn answer(
    api: Api,
    body: Result<Bytes, ApiError>,
    shared: &Shared,
    arrival: &mut Arrival,
    request_id: &str,
    known: &mut Known,
) -> Result<Reply, ApiError> {
    let body = body?;
    let ask = match api {
        Api::Chat => Ask::chat(&body)?,
        Api::Responses => Ask::responses(&body)?,
    };
    known.prompt = Some(digest(&ask.model, ask.prompt()));
    let verdict = shared.decide(&ask, arrival);
    (known.fault, known.works) = (verdict.fault, verdict.works);
    let created = arrival.wall.timestamp();
    Ok(respond(&ask, arrival, verdict, request_id, created))
}

/// The key of an `Authorization` header: what follows `Bearer`, in any case; all of it where that is not there.
fn bearer(header: &str) -> &str {
    match header.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
        _ => header.trim(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standin::faults::Span;
    use crate::standin::options::Options;
    use std::time::Duration;

    fn status(shared: &Shared, authorization: Option<&str>) -> u16 {
        let mut request = http::Request::get("/v1/models");
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let (head, ()) = request.body(()).expect("a request").into_parts();
        exchange(&head, Ok(Bytes::new()), shared).reply.status
    }

    #[test]
    fn the_key_is_asked_for_only_where_one_is_set() {
        let open = Shared::new(Options::default(), None);
        assert_eq!((status(&open, None), status(&open, Some("Bearer any"))), (200, 200));
        let locked = Shared::new(Options { key: Some("test-key-1".into()), ..Options::default() }, None);
        let table = [
            (None, 401),
            (Some("Bearer test-key-1"), 200),
            (Some("bearer  test-key-1 "), 200),
            (Some("Bearer test-key-2"), 401),
            (Some("Basic test-key-1"), 401),
            (Some("Bearer "), 401),
        ];
        for (authorization, expected) in table {
            assert_eq!(status(&locked, authorization), expected, "{authorization:?}");
        }
        let log = locked.log();
        assert_eq!(
            log.iter().map(|logged| logged.authorization_present).collect::<Vec<_>>(),
            [false, true, true, true, true, true]
        );
        assert!(!format!("{log:?}").contains("test-key"));
    }

    #[test]
    fn in_an_outage_every_path_gets_a_503_and_is_logged() {
        let hour = Span { from: Duration::ZERO, lasts: Duration::from_secs(3_600) };
        let options = Options { outages: vec![hour], key: Some("test-key-1".into()), ..Options::default() };
        let shared = Shared::new(options, None);
        assert_eq!((status(&shared, None), status(&shared, Some("Bearer test-key-1"))), (503, 503));
        assert_eq!(shared.log().iter().map(|logged| logged.status).collect::<Vec<_>>(), [503, 503]);
    }

    #[test]
    fn an_unknown_path_is_logged_in_part() {
        let shared = Shared::new(Options::default(), None);
        let (head, ()) =
            http::Request::post(format!("/v1/{}", "x".repeat(100))).body(()).expect("a request").into_parts();
        let reply = exchange(&head, Ok(Bytes::new()), &shared).reply;
        assert_eq!(reply.status, 404);
        assert!(String::from_utf8(reply.body).expect("text").contains("Invalid URL (POST /v1/xxx"));
        assert_eq!(shared.log()[0].path.len(), 64);
    }
}
