//! Where the API key stands and how it is told from other text. No message, no `Debug` and no error here holds the key.

use std::fmt;
use std::path::PathBuf;

use super::error::ConfigError;
use crate::model::Secret;

/// The variable, and the name of the key's line in `.env`.
pub const KEY_VARIABLE: &str = "OPENAI_API_KEY";

/// The files that are looked at after the variable, in this order; the last is read as `.env`.
pub const KEY_FILES: [&str; 3] = ["api_key.txt", ".openai_key", ENV_FILE];

/// The file of variables, of which the key alone is read.
pub(super) const ENV_FILE: &str = ".env";

/// Where a key was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// In the variable `OPENAI_API_KEY`.
    Environment,
    /// In this file.
    File(PathBuf),
}

impl fmt::Display for KeyOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => write!(f, "the environment variable {KEY_VARIABLE}"),
            Self::File(path) => write!(f, "`{}`", path.display()),
        }
    }
}

/// The key in `text`, which may stand in quotes or behind `OPENAI_API_KEY=`; `None` where nothing is there.
pub fn from_text(text: &str, origin: &KeyOrigin) -> Result<Option<Secret>, ConfigError> {
    let wrong = |why| Err(ConfigError::ApiKey { origin: origin.clone(), why });
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let key = match (lines.iter().find_map(|line| assigned(line)), lines.as_slice()) {
        (Some(key), _) => key,
        (None, []) => return Ok(None),
        (None, [key]) => key,
        (None, _) => return wrong("stands among several lines"),
    };
    let key = unquoted(key.trim()).trim();
    if key.contains(char::is_whitespace) {
        return wrong("has white space inside");
    }
    if !key.chars().all(|c| c.is_ascii_graphic()) {
        return wrong("has a character that no key has (not printable ASCII)");
    }
    if key.contains(['"', '\'']) {
        return wrong("has a quotation mark inside");
    }
    Ok(Secret::new(key))
}

/// The key in the text of a `.env` file; its other lines are ignored, also broken ones. The first line for the key holds.
///
/// The process environment is not changed. `$NAME` in a value is looked up in it, as `.env` files have it.
pub fn from_dotenv(text: &str, origin: &KeyOrigin) -> Result<Option<Secret>, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut broken = false;
    for line in dotenvy::from_read_iter(text.as_bytes()) {
        match line {
            Ok((name, value)) if name == KEY_VARIABLE => return from_text(&value, origin),
            Ok(_) => {}
            // The error may hold the line, or its value alone, so it is neither shown nor asked for the name.
            Err(_) => broken = true,
        }
    }
    if broken && text.lines().any(|line| assigned(line.trim()).is_some()) {
        return Err(ConfigError::ApiKey { origin: origin.clone(), why: "stands on a line that cannot be parsed" });
    }
    Ok(None)
}

/// What a line of the form `OPENAI_API_KEY=...` assigns.
fn assigned(line: &str) -> Option<&str> {
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    line.strip_prefix(KEY_VARIABLE)?.trim_start().strip_prefix('=')
}

/// `text` without the quotation marks around it.
fn unquoted(text: &str) -> &str {
    let inside = |mark: char| text.strip_prefix(mark)?.strip_suffix(mark);
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_every_form() {
        for text in [
            "sk-abc",
            "  sk-abc\r\n",
            "\u{feff}sk-abc\n",
            "\"sk-abc\"",
            "'sk-abc'\n\n",
            "OPENAI_API_KEY=sk-abc",
            "export OPENAI_API_KEY = \"sk-abc\"\n",
            "# my key\nsk-abc\n",
            "OTHER=1\nOPENAI_API_KEY=sk-abc\n",
        ] {
            let key = from_text(text, &KeyOrigin::Environment).expect(text).expect(text);
            assert_eq!(key.reveal(), "sk-abc", "{text}");
        }
        for text in ["", "\n \n", "\u{feff}", "''", "OPENAI_API_KEY=", "# nothing"] {
            assert_eq!(from_text(text, &KeyOrigin::Environment).expect(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_bad_key_is_named_by_its_place_alone() {
        let origin = KeyOrigin::File("api_key.txt".into());
        for text in [
            "sk-secret more",
            "sk-secret\nsk-secret2",
            "sk-secr\u{e9}t",
            "sk-sec\u{7}ret",
            "\"sk-secret",
            "sk\u{2011}secret",
        ] {
            let message = from_text(text, &origin).expect_err(text).to_string();
            assert!(message.contains("`api_key.txt`") && !message.contains("sec"), "{message}");
        }
    }

    #[test]
    fn dotenv_gives_the_key_alone() {
        let origin = KeyOrigin::File(".env".into());
        let key = |text: &str| from_dotenv(text, &origin).map(|key| key.map(|key| key.reveal().to_owned()));
        for text in [
            "A=1\nOPENAI_API_KEY=sk-abc # mine\n",
            "\u{feff}OPENAI_API_KEY='sk-abc'",
            "a broken line\nexport OPENAI_API_KEY=\"sk-abc\"\nOPENAI_API_KEY=second",
        ] {
            assert_eq!(key(text).expect(text).as_deref(), Some("sk-abc"), "{text}");
        }
        assert_eq!(key("MY_OPENAI_API_KEY=sk-abc\n#OPENAI_API_KEY=x\nOPENAI_API_KEY=\n").expect("no key"), None);
        let message = key("OPENAI_API_KEY=sk-secret with words\n").expect_err("a broken line").to_string();
        assert!(message.contains("`.env`") && !message.contains("secret"), "{message}");
    }
}
