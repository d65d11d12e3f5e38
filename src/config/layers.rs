//! Layers of settings and their merge: whatever stands in a higher layer hides the lower ones, key by key.
//!
//! Pure: [`mod@super::load`] reads the environment and the files and hands their text in.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::error::ConfigError;
use super::keys::{self, SETTINGS, Setting};
use super::value::{Parsed, RawValue};

/// Who set a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The table of settings.
    Default,
    /// The file `gpt_model_type.txt`.
    ModelFile,
    /// A settings file, or `.env`, and the line, from 1.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// A flag, without its dashes.
    Flag(&'static str),
}

impl Origin {
    /// The variable `name`, which stands here.
    pub(super) fn of_variable(&self, name: &str) -> String {
        match self {
            Self::Environment(_) => format!("the environment variable {name}"),
            elsewhere => format!("{name} ({elsewhere})"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::ModelFile => f.write_str(super::load::MODEL_FILE),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(flag) => write!(f, "--{flag}"),
        }
    }
}

/// A value and who set it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sourced {
    /// The value as written.
    pub value: RawValue,
    pub origin: Origin,
}

/// What one source says: some of the settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer(BTreeMap<&'static str, Sourced>);

impl Layer {
    /// Sets `setting`.
    pub fn set(&mut self, setting: &'static Setting, value: RawValue, origin: Origin) {
        self.0.insert(setting.key, Sourced { value, origin });
    }

    /// What it says of the setting with this dotted key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Sourced> {
        self.0.get(key)
    }
}

/// A value for every setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved(BTreeMap<&'static str, Sourced>);

/// Puts `layers` over the defaults, the lowest first.
///
/// Values are taken whole: a table `extra` in a higher layer replaces the one below it.
#[must_use]
pub fn merge(layers: impl IntoIterator<Item = Layer>) -> Resolved {
    let default =
        |setting: &Setting| Sourced { value: RawValue::Text(setting.default.to_owned()), origin: Origin::Default };
    let mut resolved: BTreeMap<_, _> = SETTINGS.iter().map(|setting| (setting.key, default(setting))).collect();
    for layer in layers {
        resolved.extend(layer.0);
    }
    Resolved(resolved)
}

impl Resolved {
    /// The winning value of `setting` and who set it.
    #[must_use]
    pub fn sourced(&self, setting: &Setting) -> &Sourced {
        // `merge` begins with every setting of the table.
        &self.0[setting.key]
    }

    /// The winning value of the setting with this dotted key, parsed. Values that a higher layer hides are not looked at.
    pub(super) fn get<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&RawValue) -> Parsed<T>,
    ) -> Result<T, ConfigError> {
        let Sourced { value, origin } = &self.0[key];
        parse(value).map_err(|right| {
            let shown = keys::find(key).map_or_else(|| value.clone(), |setting| setting.printable(value)).shown();
            let value = if value.is_empty() { "empty".to_owned() } else { format!("`{shown}`") };
            ConfigError::BadValue { key, value, origin: origin.clone(), right }
        })
    }
}

/// Whether an entry of this name was meant to hold an API key.
pub(super) fn is_key_like(name: &str) -> bool {
    let name = name.to_lowercase().replace(['_', '-', ' '], "");
    name.ends_with("apikey") || matches!(name.as_str(), "key" | "openaikey" | "secret" | "secretkey" | "token")
}

/// What the nearest of the candidates' names stands for.
pub(super) fn nearest<T>(name: &str, candidates: impl Iterator<Item = (&'static str, T)>) -> T
where
    T: fmt::Display,
{
    let name = name.to_lowercase().replace('-', "_");
    let score = |known: &str| strsim::normalized_damerau_levenshtein(&name, known);
    let best = candidates.max_by(|(one, _), (other, _)| score(one).total_cmp(&score(other)));
    #[expect(clippy::expect_used, reason = "candidates come from the table of settings, which is not empty")]
    best.expect("a table of settings").1
}
