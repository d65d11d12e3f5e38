//! Where the API key stands and how it is told from other text. No message, no `Debug` and no error here holds the key.

use std::fmt;
use std::path::PathBuf;

use super::error::ConfigError;
use crate::model::Secret;

/// The variable, and the name of the key's line in `.env`.
pub const KEY_VARIABLE: &str = "OPENAI_API_KEY";

/// The files that are looked at after the variable, in this order; the last is read as `.env`.
pub const KEY_FILES: [&str; 3] = ["api_key.txt", ".openai_key", ENV_FILE];

/// The file of variables.
pub(super) const ENV_FILE: &str = ".env";

/// Where a key was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// In the variable `OPENAI_API_KEY`.
    Environment,
    /// In this file.
    File(PathBuf),
    /// In a file outside the folder, to which a link in it leads.
    Elsewhere { file: PathBuf, target: PathBuf },
}

impl KeyOrigin {
    /// Whether the key is not the folder's own.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        !matches!(self, Self::File(_))
    }
}

impl fmt::Display for KeyOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => write!(f, "the environment variable {KEY_VARIABLE}"),
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Elsewhere { file, target } => write!(f, "`{}`, a link to `{}`", file.display(), target.display()),
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
}
