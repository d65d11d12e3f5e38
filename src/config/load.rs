//! Reads the environment, the settings file, the model file and the key files: the only place that does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use http::HeaderValue;
use http::header::AUTHORIZATION;
use url::Url;

use super::api_key::{ENV_FILE, KEY_FILES, KEY_VARIABLE, KeyOrigin, from_text};
use super::args::SettingArgs;
use super::consent::{Question, question};
use super::error::ConfigError;
use super::file::file_layer;
use super::headers;
use super::keys;
use super::layers::{Layer, Origin, merge};
use super::settings::{Settings, within};
use super::value::RawValue;
use super::variables::{ACCOUNT, Variables, is_ours};
use crate::atomic::folder_of;
use crate::model::{Secret, is_loopback};
use crate::regular::{self, Unread};

/// The settings file that is read where none is named.
pub const SETTINGS_FILE: &str = "promptmill.toml";

/// The file that may hold the model's name.
pub const MODEL_FILE: &str = "gpt_model_type.txt";

/// Hosts whose API begins at the root.
const BARE: [&str; 3] = ["api.deepseek.com", "api.perplexity.ai", "models.inference.ai.azure.com"];

/// The most bytes of a settings file,
const SETTINGS_MOST: u64 = 1_000_000;
/// of the model's file or one of the key's,
const WORD_MOST: u64 = 64_000;
/// and of the system message's, which goes with every request.
const SYSTEM_MOST: u64 = 16_000_000;

/// The variables that name the folder of the user's configuration, and the one that it lies in otherwise.
const HOMES: [&str; 2] = ["XDG_CONFIG_HOME", "HOME"];

/// The environment variables that settings are read from, gathered once.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// Those of this process.
    #[must_use]
    pub fn from_process() -> Self {
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect()
    }
}

impl<K: Into<String>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    /// Keeps the variables that are ours to read and drops the others.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self(variables.filter(|(name, _)| is_ours(name) || HOMES.contains(&name.as_str())).collect())
    }
}

impl Environment {
    /// The folder of the user's configuration; `None` where nothing says where that is. Relative paths do not count, as the XDG specification has it.
    #[must_use]
    pub fn config_home(&self) -> Option<PathBuf> {
        let absolute = |name| self.0.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let [of_config, of_user] = HOMES;
        absolute(of_config).or_else(|| Some(absolute(of_user)?.join(".config")))
    }
}

impl fmt::Debug for Environment {
    /// Names alone: one of the values is the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings that hold.
    pub settings: Settings,
    /// The API key and where it was found; absent where none was. [`needs_key`] says whether that is an error.
    pub key: Option<(Secret, KeyOrigin)>,
    /// Organization and project: the variable, its value and who set it.
    pub account: Vec<(&'static str, String, Origin)>,
    /// Sentences for the person, none of which stops the run.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// What has to be asked before anything is sent.
    #[must_use]
    pub fn question(&self) -> Option<Question> {
        let Settings { base_url, headers, .. } = &self.settings;
        let has_secrets = headers.values().any(HeaderValue::is_sensitive);
        let key = self.key.as_ref().filter(|_| !headers.contains_key(AUTHORIZATION)).map(|(_, origin)| origin);
        let headers = has_secrets.then(|| self.settings.origin("http.headers"));
        question(base_url, self.settings.origin("base_url"), key, headers)
    }

    /// What a person should know of the address before something is sent there.
    #[must_use]
    pub fn address_warnings(&self) -> Vec<String> {
        let Settings { base_url, headers, .. } = &self.settings;
        let secret = self.key.is_some() || headers.values().any(HeaderValue::is_sensitive);
        let is_open = base_url.to_lowercase().starts_with("http://") && needs_key(base_url);
        let open = (secret && is_open)
            .then(|| format!("{base_url} is not encrypted: the API key can be read on its way; use https://"));
        let bare =
            lacks_path(base_url).then(|| format!("{base_url} has no path: most servers want one, as in {base_url}/v1"));
        open.into_iter().chain(bare).collect()
    }
}

/// Whether an address ends where most servers have a version.
fn lacks_path(base_url: &str) -> bool {
    let bare = |url: Url| matches!(url.path(), "" | "/") && url.host_str().is_some_and(|host| !BARE.contains(&host));
    Url::parse(base_url).is_ok_and(bare)
}

/// Loads the settings: flags, then `PROMPTMILL_*`, `OPENAI_MODEL` and `OPENAI_BASE_URL`, then the same of `.env`, the settings file,
/// `gpt_model_type.txt`, defaults.
///
/// `promptmill.toml` in `dir` is read if it is there; a file named by `config_file` must be. `dir` is the directory that
/// relative paths count from, those in the settings file too. Files without content count as missing.
pub fn load(
    args: &SettingArgs,
    config_file: Option<&Path>,
    dir: &Path,
    env: &Environment,
) -> Result<Loaded, ConfigError> {
    let variables = Variables::of_environment(env.0.iter());
    let dotenv = dotenv(dir)?;
    let ([openai, ours], mut warnings) = variables.layers()?;
    let ([file_openai, file_ours], more) = dotenv.layers()?;
    warnings.extend(more);
    let file = settings_layer(config_file, dir)?;
    let layers = [model_layer(dir)?, file, file_openai, file_ours, openai, ours, args.layer()];
    let mut settings = Settings::new(&merge(layers), dir, |path, origin| {
        warnings.extend(leads_out(path, origin, dir));
        let why = || format!(" (from {origin})");
        read_text(path, SYSTEM_MOST, why)?.ok_or_else(|| read_error(path, why(), missing()))
    })?;
    warnings.extend(dotenv.of_scripts(settings.origin("model")));
    let account = account(&variables, &dotenv, &mut settings)?;
    let key = find_key(dir, &variables, &dotenv, &mut warnings)?;
    Ok(Loaded { settings, key, account, warnings })
}

/// Whether the server at `base_url` wants a key: not on this machine (`localhost`, `127.0.0.0/8`, `[::1]`).
#[must_use]
pub fn needs_key(base_url: &str) -> bool {
    !is_loopback(base_url)
}

/// A warning where a file names a system file that is neither in its folder nor in `dir`: whoever wrote it may not have written what is sent.
fn leads_out(system_file: &Path, origin: &Origin, dir: &Path) -> Option<String> {
    let Origin::File(file, _) = origin else { return None };
    regular::outside(dir, system_file)?;
    let target = regular::outside(folder_of(file), system_file)?;
    let target = target.display();
    Some(format!(
        "`request.system_file` (from {origin}) leads out of its folder, to {target}; the text there is sent with every prompt"
    ))
}

fn settings_layer(config_file: Option<&Path>, dir: &Path) -> Result<Layer, ConfigError> {
    let path = within(dir, config_file.map_or_else(|| PathBuf::from(SETTINGS_FILE), Path::to_path_buf));
    let why = || config_file.map_or_else(String::new, |_| " (from --config)".to_owned());
    match (read_text(&path, SETTINGS_MOST, why)?, config_file) {
        (Some(text), _) => file_layer(&path, &text),
        (None, None) => Ok(Layer::default()),
        (None, Some(_)) => Err(read_error(&path, why(), missing())),
    }
}

fn model_layer(dir: &Path) -> Result<Layer, ConfigError> {
    let mut layer = Layer::default();
    let text = read_text(&within(dir, PathBuf::from(MODEL_FILE)), WORD_MOST, String::new)?.unwrap_or_default();
    if let (false, Some(setting)) = (text.trim().is_empty(), keys::find("model")) {
        layer.set(setting, RawValue::Text(text.trim().to_owned()), Origin::ModelFile);
    }
    Ok(layer)
}

/// The variables of `.env`, none where there is no such file. Python's virtual environments are folders of this name.
fn dotenv(dir: &Path) -> Result<Variables, ConfigError> {
    let path = within(dir, PathBuf::from(ENV_FILE));
    let text = if path.is_dir() { None } else { read_text(&path, SETTINGS_MOST, String::new)? };
    Ok(text.map(|text| Variables::of_file(&path, &text)).unwrap_or_default())
}

/// Organization and project, which become headers where the settings have no such header.
fn account(
    variables: &Variables,
    dotenv: &Variables,
    settings: &mut Settings,
) -> Result<Vec<(&'static str, String, Origin)>, ConfigError> {
    let mut account = Vec::new();
    for (name, header) in ACCOUNT {
        let found = match variables.text(name)? {
            Some(found) => Some(found),
            None => dotenv.text(name)?,
        };
        let Some((text, origin)) = found else { continue };
        let why = "it has a character that is no printable ASCII";
        let wrong = || ConfigError::Variable { name: name.to_owned(), origin: origin.clone(), why };
        let value = headers::value_of(text.trim()).ok_or_else(wrong)?;
        settings.headers.entry(header).or_insert(value);
        account.push((name, text.trim().to_owned(), origin.clone()));
    }
    Ok(account)
}

fn find_key(
    dir: &Path,
    variables: &Variables,
    dotenv: &Variables,
    warnings: &mut Vec<String>,
) -> Result<Option<(Secret, KeyOrigin)>, ConfigError> {
    if let Some((text, _)) = variables.text(KEY_VARIABLE)?
        && let Some(key) = from_text(text, &KeyOrigin::Environment)?
    {
        return Ok(Some((key, KeyOrigin::Environment)));
    }
    for name in KEY_FILES {
        let path = within(dir, PathBuf::from(name));
        if path.is_dir() {
            continue;
        }
        let text = if name == ENV_FILE {
            dotenv.text(KEY_VARIABLE)?.map(|(text, _)| text.to_owned())
        } else {
            read_text(&path, WORD_MOST, String::new)?
        };
        let Some(text) = text else { continue };
        let origin = key_origin(dir, &path);
        if let Some(key) = from_text(&text, &origin)? {
            warnings.extend(readable_by_others(&path));
            return Ok(Some((key, origin)));
        }
    }
    Ok(None)
}

/// A link may have come with the folder, and lead to a key that is not the folder's.
fn key_origin(dir: &Path, path: &Path) -> KeyOrigin {
    match (fs::canonicalize(dir), fs::canonicalize(path)) {
        (Ok(dir), Ok(target)) if !target.starts_with(&dir) => KeyOrigin::Elsewhere { file: path.to_owned(), target },
        _ => KeyOrigin::File(path.to_owned()),
    }
}

/// A warning where the mode of the key's file lets others read or change it.
#[cfg(unix)]
fn readable_by_others(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path).ok()?.permissions().mode();
    let shown = path.display();
    (mode & 0o077 != 0).then(|| {
        format!(
            "`{shown}` holds the API key and is open to others (mode {:03o}); run `chmod 600 {shown}`",
            mode & 0o777
        )
    })
}

/// Other systems have no such mode.
#[cfg(not(unix))]
fn readable_by_others(_: &Path) -> Option<String> {
    None
}

/// The text of a file of at most so many bytes, a BOM dropped; `None` where there is no such file. `why` it is read is said where it cannot be.
fn read_text(path: &Path, most: u64, why: impl FnOnce() -> String) -> Result<Option<String>, ConfigError> {
    let bytes = match regular::read(path, most) {
        Ok(bytes) => bytes,
        Err(unread) if unread.is_missing() => return Ok(None),
        Err(unread) => return Err(read_error(path, why(), unread)),
    };
    let mut text = String::from_utf8(bytes).map_err(|_| ConfigError::NotUtf8 { path: path.to_owned() })?;
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(Some(text))
}

fn read_error(path: &Path, why: String, source: Unread) -> ConfigError {
    ConfigError::Read { path: path.to_owned(), why, source }
}

fn missing() -> Unread {
    io::Error::new(io::ErrorKind::NotFound, "no such file").into()
}
