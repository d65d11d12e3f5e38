//! The variables that settings are read from: those of the environment, and those that a `.env` file adds. Pure.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use super::api_key::KEY_VARIABLE;
use super::dotenv::assignments;
use super::error::{ConfigError, WHERE_KEYS_GO};
use super::keys::{self, ENV_PREFIX, SETTINGS, Setting};
use super::layers::{Layer, Origin, is_key_like, nearest};
use super::other_names::{Meant, meant};
use super::value::RawValue;

/// Variables of other programs that stand for a setting here.
const OPENAI_SETTINGS: [(&str, &str); 2] = [("OPENAI_MODEL", "model"), ("OPENAI_BASE_URL", "base_url")];

/// Variables that are sent as a header each.
pub(super) const ACCOUNT: [(&str, &str); 2] =
    [("OPENAI_ORG_ID", "openai-organization"), ("OPENAI_PROJECT_ID", "openai-project")];

/// Names that scripts of this kind have in their `.env`, and that are not read here. Most others there belong to other programs.
const SCRIPTS: [&str; 3] = ["MODEL", "BATCH_SIZE", "MAX_BATCHES"];

/// A variable and where it stands.
#[derive(Clone)]
struct Variable {
    value: Result<OsString, &'static str>,
    origin: Origin,
}

/// Variables of one source.
#[derive(Clone, Default)]
pub(super) struct Variables(BTreeMap<String, Variable>);

impl fmt::Debug for Variables {
    /// Names alone: one of the values is the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Whether settings are read from the variable of this name.
#[must_use]
pub(super) fn is_ours(name: &str) -> bool {
    let known = OPENAI_SETTINGS.iter().chain(&ACCOUNT).map(|(known, _)| *known).chain([KEY_VARIABLE]);
    name.starts_with(ENV_PREFIX) || known.into_iter().any(|known| known == name)
}

impl Variables {
    /// Those of the environment.
    pub(super) fn of_environment<'a>(variables: impl Iterator<Item = (&'a String, &'a OsString)>) -> Self {
        let variable = |(name, value): (&String, &OsString)| {
            let variable = Variable { value: Ok(value.clone()), origin: Origin::Environment(name.clone()) };
            (name.clone(), variable)
        };
        Self(variables.filter(|(name, _)| is_ours(name)).map(variable).collect())
    }

    /// Those of the `.env` file at `path`, which holds `text`; of two lines for one variable the first holds.
    #[must_use]
    pub(super) fn of_file(path: &Path, text: &str) -> Self {
        let mut variables = BTreeMap::new();
        for found in assignments(text) {
            if is_ours(found.name) || SCRIPTS.contains(&found.name) {
                let origin = Origin::File(path.to_owned(), found.line);
                let variable = Variable { value: found.value.map(OsString::from), origin };
                variables.entry(found.name.to_owned()).or_insert(variable);
            }
        }
        Self(variables)
    }

    /// The text of `name` and where it stands; `None` where it is not set, or blank.
    pub(super) fn text(&self, name: &str) -> Result<Option<(&str, &Origin)>, ConfigError> {
        let Some(Variable { value, origin }) = self.0.get(name) else { return Ok(None) };
        let wrong = |why| ConfigError::Variable { name: name.to_owned(), origin: origin.clone(), why };
        let value = value.as_ref().map_err(|why| wrong(why))?;
        let text = value.to_str().ok_or_else(|| wrong("it is not UTF-8 text"))?;
        Ok((!text.trim().is_empty()).then_some((text, origin)))
    }

    /// What they set, the variables of other programs below ours, and warnings for those that name no setting.
    ///
    /// An unknown variable is a warning and not an error: unlike a settings file, the environment is shared with other programs.
    pub(super) fn layers(&self) -> Result<([Layer; 2], Vec<String>), ConfigError> {
        let mut layers = [Layer::default(), Layer::default()];
        for (name, key) in OPENAI_SETTINGS {
            if let Some(setting) = keys::find(key) {
                self.set(&mut layers[0], setting, name)?;
            }
        }
        let mut warnings = Vec::new();
        for (name, Variable { origin, .. }) in self.0.iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)) {
            let bare = &name[ENV_PREFIX.len()..];
            let place = origin.of_variable(name);
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.env() == *name) {
                self.set(&mut layers[1], setting, name)?;
            } else if is_key_like(bare) {
                warnings.push(format!("{place} is not read; the API key: {WHERE_KEYS_GO}"));
            } else {
                let known = match meant(bare) {
                    Some(Meant::Setting(key)) => keys::find(key),
                    _ => None,
                };
                let near = known.map_or_else(
                    || nearest(bare, SETTINGS.iter().map(|setting| (setting.name(), setting.env()))),
                    Setting::env,
                );
                warnings.push(format!("{place} sets nothing; the nearest known name is {near}"));
            }
        }
        Ok((layers, warnings))
    }

    /// What to say of variables that scripts of this kind read and this program does not; `model` is where the model's name comes from.
    #[must_use]
    pub(super) fn of_scripts(&self, model: &Origin) -> Vec<String> {
        let tip = |name: &&str| {
            let place = self.0.get(*name)?.origin.of_variable(name);
            match meant(name) {
                Some(Meant::Nothing(why)) => Some(format!("{place} is not read: {why}")),
                // One who has set the model knows how.
                _ if *model != Origin::Default => None,
                _ => Some(format!("{place} is not read: write OPENAI_MODEL instead")),
            }
        };
        SCRIPTS.iter().filter_map(tip).collect()
    }

    fn set(&self, layer: &mut Layer, setting: &'static Setting, name: &str) -> Result<(), ConfigError> {
        if let Some((text, origin)) = self.text(name)? {
            layer.set(setting, RawValue::Text(text.to_owned()), origin.clone());
        }
        Ok(())
    }
}
