//! What tells one request from another.

use std::fmt;

use sha2::{Digest, Sha256};

use super::RequestTemplate;

/// Names a whole request: text, model, parameters, and whether a real API answers. Two requests with one fingerprint are the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 16]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Makes the fingerprints of one run: what all requests share is hashed once.
#[derive(Clone)]
pub struct Fingerprinter(Sha256);

impl Fingerprinter {
    /// For requests made from `template`. `rehearsal` tells answers of the stand-in from those of a real API.
    #[must_use]
    pub fn new(template: &RequestTemplate, rehearsal: bool) -> Self {
        let mut hash = Sha256::new();
        // Maps are sorted and numbers are written in one way, so that equal templates are equal bytes.
        let shared = serde_json::json!({ "format": 1, "rehearsal": rehearsal, "template": template });
        hash.update(shared.to_string().as_bytes());
        hash.update([0]);
        Self(hash)
    }

    /// The fingerprint of the request for `prompt`.
    #[must_use]
    pub fn of(&self, prompt: &str) -> Fingerprint {
        let mut hash = self.0.clone();
        hash.update(prompt.as_bytes());
        let digest = hash.finalize();
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        Fingerprint(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Api;

    #[test]
    fn a_fingerprint_names_the_whole_request() {
        let template = RequestTemplate::new(Api::Chat, "gpt-4o-mini");
        let of = |template: &RequestTemplate, rehearsal, prompt| Fingerprinter::new(template, rehearsal).of(prompt);
        let first = of(&template, false, "hello");
        assert_eq!(first, of(&template.clone(), false, "hello"));
        let mut others = vec![of(&template, false, "hello "), of(&template, true, "hello")];
        others.push(of(&RequestTemplate { api: Api::Responses, ..template.clone() }, false, "hello"));
        others.push(of(&RequestTemplate { model: "gpt-4o".into(), ..template.clone() }, false, "hello"));
        others.push(of(&RequestTemplate { system: Some(String::new()), ..template.clone() }, false, "hello"));
        others.push(of(&RequestTemplate { temperature: Some(0.5), ..template.clone() }, false, "hello"));
        others.push(of(&RequestTemplate { max_output_tokens: Some(16), ..template.clone() }, false, "hello"));
        others.push(of(&RequestTemplate { reasoning_effort: Some("low".into()), ..template.clone() }, false, "hello"));
        let mut extra = template.clone();
        extra.extra.insert("seed".into(), 1.into());
        others.push(of(&extra, false, "hello"));
        for (index, other) in others.iter().enumerate() {
            assert_ne!(first, *other, "variant {index}");
        }
    }
}
