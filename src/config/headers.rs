//! `http.headers`: what gateways want beside the request. Values are secrets. Pure.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::value::{Parsed, RawValue};
use crate::model::Secret;
use crate::source::priority::SEPARATOR;

/// Headers in which gateways take a key.
const OF_KEYS: [&str; 4] = ["authorization", "api-key", "x-api-key", "x-goog-api-key"];

/// The key that one of `headers` brings to a gateway.
pub(super) fn key(headers: &HeaderMap) -> Option<Secret> {
    OF_KEYS.iter().find_map(|name| Secret::new(headers.get(*name)?.to_str().ok()?))
}

/// Headers that promptmill sets itself, that belong to one connection, or with which an answer could not be read.
const OURS: &[&str] = &[
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "accept-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

/// Headers with their values, which are marked as secrets: a TOML table, or `A=b;C=d` as text.
pub(super) fn parse(raw: &RawValue) -> Parsed<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in list(raw)? {
        // What should be a name may be a key that stands in the wrong place.
        let shown = RawValue::Text(name.to_owned()).shown();
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("no header is called `{shown}`"))?;
        if OURS.contains(&parsed.as_str()) {
            return Err(format!("`{shown}` is promptmill's own to set; leave it out"));
        }
        if parsed.as_str() == "idempotency-key" {
            return Err(format!(
                "`{shown}` would be the same for every prompt, and so would the answers; leave it out"
            ));
        }
        let mut secret = value_of(value)
            .ok_or_else(|| format!("the value of `{shown}` has a character that is no printable ASCII"))?;
        if secret.is_empty() {
            return Err(format!("`{shown}` has no value"));
        }
        secret.set_sensitive(true);
        if headers.insert(parsed, secret).is_some() {
            return Err(format!("`{shown}` is there twice; keep one"));
        }
    }
    Ok(headers)
}

/// A header's value; `None` where servers could read it in several ways.
pub(super) fn value_of(text: &str) -> Option<HeaderValue> {
    let printable = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    HeaderValue::from_str(text).ok().filter(|_| printable)
}

/// The names of headers alone, for people.
pub(super) fn names(raw: &RawValue) -> String {
    match list(raw) {
        Ok(list) => list.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", "),
        Err(_) => "[hidden]".to_owned(),
    }
}

fn list<'a>(raw: &'a RawValue) -> Parsed<Vec<(&'a str, &'a str)>> {
    const RIGHT: &str =
        "write `NAME=VALUE;NAME=VALUE`, or a section [http.headers] in the settings file, with values in quotes";
    if let RawValue::Toml(toml::Value::Table(table)) = raw {
        return table.iter().map(|(name, value)| Ok((name.as_str(), value.as_str().ok_or(RIGHT)?))).collect();
    }
    let parts = raw.as_text().ok_or(RIGHT)?.split(SEPARATOR).map(str::trim).filter(|part| !part.is_empty());
    let pair = |part: &'a str| {
        let (name, value) = part.split_once('=').ok_or(RIGHT)?;
        Ok((name.trim(), value.trim()))
    };
    parts.map(pair).collect()
}
