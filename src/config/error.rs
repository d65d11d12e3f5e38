//! What can be wrong with settings. Messages say what, where, and what to do; none holds an API key.

use std::path::PathBuf;

use super::api_key::KeyOrigin;
use super::layers::Origin;
use crate::regular::Unread;

/// Where keys go, said wherever one stands in the wrong place.
pub(super) const WHERE_KEYS_GO: &str =
    "put it in the environment variable OPENAI_API_KEY or in the file `api_key.txt` (mode 600)";

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value that its setting does not take.
    #[error("`{key}` cannot be {value} (from {origin}): {right}")]
    BadValue {
        /// The dotted key.
        key: &'static str,
        /// The value in quotes, shortened, or a note that it is not shown.
        value: String,
        /// Who set it.
        origin: Origin,
        /// What would be right.
        right: String,
    },
    /// Settings that are right alone and wrong together.
    #[error("{0}")]
    Together(String),
    /// A key of the settings file that does not exist.
    #[error("{origin}: unknown key `{key}`; {hint}")]
    UnknownKey {
        /// File and line.
        origin: Origin,
        /// The key as it stands in the file, with its section.
        key: String,
        /// The nearest known key, or where this one belongs.
        hint: String,
    },
    /// An API key in the settings file.
    #[error("{origin}: `{key}`: the API key does not belong in the settings; {WHERE_KEYS_GO}")]
    KeyInSettings {
        /// File and line.
        origin: Origin,
        /// The entry's name.
        key: String,
    },
    /// A settings file that is no TOML.
    #[error("{}:{line}:{column}: not valid TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The parser's words.
        message: String,
    },
    /// A file that is named by a setting, or exists, and cannot be read.
    #[error("cannot read `{}`{why}: {source}; {}", path.display(), source.advice())]
    Read {
        /// The file.
        path: PathBuf,
        /// Which setting names it, as ` (from ...)`; empty where none does.
        why: String,
        /// Why it cannot be read.
        source: Unread,
    },
    /// A file whose bytes are no UTF-8.
    #[error("`{}` is not UTF-8 text; save it as UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// A variable that cannot be read.
    #[error("{} cannot be read: {why}", origin.of_variable(name))]
    Variable {
        /// The variable's name.
        name: String,
        /// Where it stands.
        origin: Origin,
        /// What is wrong, without the value.
        why: &'static str,
    },
    /// Something that stands where an API key should and is none.
    #[error("the API key in {origin} {why}; write the key alone, on one line, as the provider shows it")]
    ApiKey {
        /// Where it was found.
        origin: KeyOrigin,
        /// What is wrong, without the key.
        why: &'static str,
    },
}
