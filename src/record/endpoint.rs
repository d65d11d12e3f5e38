//! What a server's limits belong to: an address, a key and a model. Pure.

use std::fmt::{self, Write as _};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::model::Secret;

/// Bytes of the key's hash that are kept: enough to tell keys apart, and nothing to work one out from.
const HASH_BYTES: usize = 8;

/// An address, a key and a model: servers count limits for the three together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Endpoint {
    pub base_url: String,
    /// The first 16 hex digits of the key's SHA-256, never the key; `None` where none is sent.
    pub key_hash: Option<String>,
    pub model: String,
}

/// The endpoint that requests with these go to.
#[must_use]
pub fn endpoint(base_url: &str, key: Option<&Secret>, model: &str) -> Endpoint {
    let key_hash = key.map(|key| {
        let digest = Sha256::digest(key.reveal().as_bytes());
        digest.iter().take(HASH_BYTES).fold(String::new(), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    });
    Endpoint { base_url: base_url.to_owned(), key_hash, model: model.to_owned() }
}

impl Endpoint {
    /// As the store names it.
    pub(super) fn text(&self) -> String {
        serde_json::json!([self.base_url, self.key_hash, self.model]).to_string()
    }

    /// Reads [`Self::text`]; `None` where it is not ours.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let (base_url, key_hash, model) = serde_json::from_str(text).ok()?;
        Some(Self { base_url, key_hash, model })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.model, self.base_url)?;
        match &self.key_hash {
            Some(hash) => write!(f, " with key #{hash}"),
            None => f.write_str(" without a key"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://a.test/v1";

    #[test]
    fn the_three_parts_tell_endpoints_apart_and_the_key_is_not_in_it() {
        let key = Secret::new("sk-verysecret").expect("a key");
        let first = endpoint(URL, Some(&key), "m");
        // `printf sk-verysecret | sha256sum`
        assert_eq!(first.key_hash.as_deref(), Some("2a07ce418d715f07"));
        let others = [
            endpoint(URL, None, "m"),
            endpoint(URL, Secret::new("sk-other").as_ref(), "m"),
            endpoint(URL, Some(&key), "m2"),
            endpoint("https://b.test/v1", Some(&key), "m"),
        ];
        for other in &others {
            assert_ne!((first.text(), first.to_string()), (other.text(), other.to_string()));
        }
        for text in [first.text(), first.to_string(), format!("{first:?}")] {
            assert!(text.contains(URL) && !text.contains("verysecret"), "{text}");
        }
    }

    #[test]
    fn text_is_read_back() {
        for (key, model) in [(None, "m"), (Secret::new("k"), "a \"model\"\n[\\]")] {
            let endpoint = endpoint(URL, key.as_ref(), model);
            assert_eq!(Endpoint::from_text(&endpoint.text()), Some(endpoint));
        }
        assert_eq!(Endpoint::from_text("https://a.test"), None);
    }
}
