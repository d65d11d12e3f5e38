//! Whether a secret may go to a server that a file names. Pure; the command line asks, and keeps the answers.
//!
//! A folder that was cloned or unpacked may name any server. A key that stands in the folder may go there. One that comes from outside (the
//! environment, a link out of the folder) goes there only after consent: the address as a flag or a variable, or a yes to the question, which
//! is kept for folder and server. `OpenAI` itself and this machine need none.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use url::Url;

use super::api_key::KeyOrigin;
use super::layers::Origin;
use super::load::needs_key;

/// Where keys of this API belong.
const OPENAI: &str = "api.openai.com";

/// What has to be asked before anything is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Scheme, host and port: what a consent is kept for. Another of the three is another server.
    pub server: String,
    /// The whole address, as the flag takes it.
    pub base_url: String,
    /// The file that names it.
    pub named_by: Origin,
    /// What would go there, and where each comes from.
    pub secrets: Vec<Outsider>,
}

/// A secret that comes from outside the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outsider {
    Key(KeyOrigin),
    /// The values of `http.headers`.
    Headers(Origin),
}

impl fmt::Display for Outsider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(origin) => write!(f, "the API key from {origin}"),
            Self::Headers(origin) => write!(f, "the headers from {origin}"),
        }
    }
}

/// What has to be asked before requests go to `base_url`, which `named_by` has set. `key` is where the key that they carry was found, `headers` who
/// set the secret headers.
#[must_use]
pub fn question(
    base_url: &str,
    named_by: &Origin,
    key: Option<&KeyOrigin>,
    headers: Option<&Origin>,
) -> Option<Question> {
    let url = Url::parse(base_url).ok()?;
    let trusted = !needs_key(base_url) || url.host_str() == Some(OPENAI);
    if trusted || !matches!(named_by, Origin::File(..)) {
        return None;
    }
    let key = key.filter(|origin| origin.is_outside()).cloned().map(Outsider::Key);
    let headers = headers.filter(|origin| !matches!(origin, Origin::File(..))).cloned().map(Outsider::Headers);
    let secrets: Vec<_> = key.into_iter().chain(headers).collect();
    let server = url.origin().ascii_serialization();
    (!secrets.is_empty()).then(|| Question { server, base_url: url.to_string(), named_by: named_by.clone(), secrets })
}

impl fmt::Display for Question {
    /// What is the matter, without the question mark.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets: Vec<String> = self.secrets.iter().map(Outsider::to_string).collect();
        write!(f, "{} names the server {}, which would get {}", self.named_by, self.server, secrets.join(" and "))
    }
}

/// The file of consents.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    #[serde(default)]
    consent: Vec<Consent>,
}

/// One consent.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Consent {
    /// The absolute folder.
    folder: String,
    /// Scheme, host and port.
    server: String,
}

/// Whether `text`, the file of consents, has one for `server` in `folder`.
pub fn is_kept(text: &str, folder: &str, server: &str) -> Result<bool, toml::de::Error> {
    let kept: Kept = toml::from_str(text)?;
    Ok(kept.consent.iter().any(|consent| consent.folder == folder && consent.server == server))
}

/// `text` with one more consent.
pub fn with(text: &str, folder: &str, server: &str) -> Result<String, toml::de::Error> {
    let mut kept: Kept = toml::from_str(text)?;
    let consent = Consent { folder: folder.to_owned(), server: server.to_owned() };
    if !kept.consent.contains(&consent) {
        kept.consent.push(consent);
    }
    let mut text = "# The servers that may get keys from outside a folder, because you said so there.\n".to_owned();
    for Consent { folder, server } in kept.consent {
        let (folder, server) = (toml::Value::from(folder), toml::Value::from(server));
        // Writing to a string does not fail.
        let _ = write!(text, "\n[[consent]]\nfolder = {folder}\nserver = {server}\n");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Origin {
        Origin::File("promptmill.toml".into(), 1)
    }

    #[test]
    fn a_file_sends_no_key_from_outside_to_a_server_of_its_own() {
        let outside = KeyOrigin::Environment;
        let linked = KeyOrigin::Elsewhere { file: "api_key.txt".into(), target: "/home/me/.openai_key".into() };
        let inside = KeyOrigin::File("api_key.txt".into());
        let variable = Origin::Environment("OPENAI_BASE_URL".into());
        let gateway = "https://gw.test/v1";
        for (base_url, named_by, key, asks) in [
            (gateway, file(), Some(&outside), true),
            (gateway, file(), Some(&linked), true),
            (gateway, file(), Some(&inside), false),
            (gateway, file(), None, false),
            (gateway, variable, Some(&outside), false),
            (gateway, Origin::Flag("base-url"), Some(&outside), false),
            ("https://api.openai.com/v1", file(), Some(&outside), false),
            ("https://api.openai.com.evil.test/v1", file(), Some(&outside), true),
            ("https://api.openai.com:8443/v1", file(), Some(&outside), false),
            ("https://openai.com/v1", file(), Some(&outside), true),
            ("http://127.0.0.1:8080/v1", file(), Some(&outside), false),
            ("http://localhost:8080/v1", file(), Some(&outside), false),
            ("http://10.0.0.1/v1", file(), Some(&outside), true),
        ] {
            let found = question(base_url, &named_by, key, None);
            assert_eq!(found.is_some(), asks, "{base_url} by {named_by}, {key:?}");
        }
    }

    #[test]
    fn secret_headers_are_keys_too() {
        let inside = KeyOrigin::File("api_key.txt".into());
        for (headers, asks) in
            [(Origin::Environment("PROMPTMILL_HEADERS".into()), true), (Origin::Flag("headers"), true), (file(), false)]
        {
            let found = question("https://gw.test/v1", &file(), Some(&inside), Some(&headers));
            assert_eq!(found.is_some(), asks, "{headers}");
        }
    }

    #[test]
    fn the_question_says_file_server_and_secret() {
        let headers = Origin::Environment("PROMPTMILL_HEADERS".into());
        let found = question("https://gw.test:8443/v1", &file(), Some(&KeyOrigin::Environment), Some(&headers));
        let question = found.expect("a question");
        assert_eq!(question.server, "https://gw.test:8443");
        assert_eq!(
            question.to_string(),
            "promptmill.toml:1 names the server https://gw.test:8443, which would get the API key from the environment variable \
             OPENAI_API_KEY and the headers from PROMPTMILL_HEADERS"
        );
    }

    #[test]
    fn a_consent_is_for_one_folder_and_one_server() {
        let first = with("", "/home/me/\"a\"\n", "https://gw.test").expect("text");
        let second = with(&first, "/b", "https://gw.test:8443").expect("text");
        assert_eq!(with(&second, "/b", "https://gw.test:8443").expect("text"), second);
        let kept = |folder, server| is_kept(&second, folder, server).expect("good text");
        assert!(kept("/home/me/\"a\"\n", "https://gw.test") && kept("/b", "https://gw.test:8443"));
        assert!(
            !kept("/b", "https://gw.test")
                && !kept("/b", "http://gw.test:8443")
                && !kept("/b/c", "https://gw.test:8443")
        );
        assert!(!is_kept("", "/b", "https://gw.test").expect("empty"));
        assert!(is_kept("consent = 5", "/b", "https://gw.test").is_err() && with("no toml", "/b", "x").is_err());
    }
}
