//! `promptmill.toml` as a layer. Pure: the file's text comes in.

use std::path::Path;

use toml::de::DeTable;

use super::error::ConfigError;
use super::keys::{self, SETTINGS, Setting};
use super::layers::{Layer, Origin, is_key_like, nearest};
use super::other_names::{Meant, meant};
use super::value::RawValue;

/// The settings in `text`; `path` is named in errors.
///
/// Unknown keys are errors, of which the first in the file is told. Types and values are checked later, where a value wins.
pub fn file_layer(path: &Path, text: &str) -> Result<Layer, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Parsed twice: once for the values, once for the places of the keys, which the plain values do not keep.
    let values: toml::Table = toml::from_str(text).map_err(|error| syntax(path, text, &error))?;
    let places = DeTable::parse(text).map_err(|error| syntax(path, text, &error))?;
    let mut layer = Layer::default();
    let mut wrong: Vec<(usize, ConfigError)> = Vec::new();
    let mut take = |section: Option<&'static str>, table: &toml::Table, places: &DeTable<'_>| {
        for (name, value) in table {
            if section.is_none() && as_section(name).is_some() && value.is_table() {
                continue;
            }
            let line = line_of(places, name, text);
            let origin = Origin::File(path.to_owned(), line);
            match SETTINGS.iter().find(|setting| setting.section() == section && setting.name() == name) {
                Some(setting) => layer.set(setting, RawValue::Toml(value.clone()), origin),
                None => wrong.push((line, unknown(section, name, value, origin))),
            }
        }
    };
    take(None, &values, places.get_ref());
    for (name, place) in places.get_ref() {
        if let (Some(section), Some(table)) = (as_section(name.get_ref()), place.get_ref().as_table())
            && let Some(toml::Value::Table(values)) = values.get(section)
        {
            take(Some(section), values, table);
        }
    }
    match wrong.into_iter().min_by_key(|(line, _)| *line) {
        Some((_, error)) => Err(error),
        None => Ok(layer),
    }
}

/// The section of this name.
fn as_section(name: &str) -> Option<&'static str> {
    SETTINGS.iter().filter_map(Setting::section).find(|section| *section == name)
}

fn unknown(section: Option<&'static str>, name: &str, value: &toml::Value, origin: Origin) -> ConfigError {
    let key = section.map_or_else(|| name.to_owned(), |section| format!("{section}.{name}"));
    if is_key_like(name) {
        return ConfigError::KeyInSettings { origin, key };
    }
    let hint = if section.is_none() && as_section(name).is_some() {
        format!("`{name}` is a section: write [{name}] and its keys below it")
    } else if let Some(setting) = SETTINGS.iter().find(|setting| setting.name() == name) {
        format!("`{name}` belongs {}", place(setting))
    } else if let Some(Meant::Setting(key)) = meant(name)
        && let Some(setting) = keys::find(key)
    {
        format!("it is called `{}` here, and belongs {}", setting.name(), place(setting))
    } else if section.is_none() && value.is_table() {
        let sections = SETTINGS.iter().filter_map(Setting::section);
        format!("the nearest known section is [{}]", nearest(name, sections.map(|section| (section, section))))
    } else {
        // Of equally near names the last wins; so those of this section come last.
        let here = |setting: &&Setting| setting.section() == section;
        let candidates = SETTINGS.iter().filter(|setting| !here(setting)).chain(SETTINGS.iter().filter(here));
        let described = candidates.map(|setting| {
            let elsewhere = if here(&setting) { String::new() } else { format!(" {}", place(setting)) };
            (setting.name(), format!("`{}`{elsewhere}", setting.name()))
        });
        format!("the nearest known key is {}", nearest(name, described))
    };
    ConfigError::UnknownKey { origin, key, hint }
}

/// Where in the file a setting stands.
fn place(setting: &Setting) -> String {
    match setting.section() {
        Some(section) => format!("in [{section}]"),
        None => "at the top of the file, above the first [section]".to_owned(),
    }
}

/// The line, from 1, on which `name` stands in `places`.
fn line_of(places: &DeTable<'_>, name: &str, text: &str) -> usize {
    let start = places.keys().find(|key| key.get_ref() == name).map_or(0, |key| key.span().start);
    position(text, start).0
}

/// Line and column, from 1, of the byte `at`.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Only the parser's own words are kept: its `Display` prints the line, which may hold a key.
fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let (line, column) = position(text, error.span().map_or(0, |span| span.start));
    ConfigError::Syntax { path: path.to_owned(), line, column, message: error.message().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        file_layer(Path::new("promptmill.toml"), text).expect_err(text).to_string()
    }

    #[test]
    fn keys_are_found_with_their_lines() {
        let layer = file_layer(
            Path::new("a.toml"),
            "\u{feff}model = \"m\"\nretry.attempts = 5\n\n[request.extra]\nseed = 7\n[limits]\n# more\nwindow = \"2s\"\n",
        )
        .expect("good settings");
        for (key, line) in [("model", 1), ("retry.attempts", 2), ("request.extra", 4), ("limits.window", 8)] {
            let origin = &layer.get(key).expect(key).origin;
            assert_eq!(origin, &Origin::File("a.toml".into(), line), "{key}");
        }
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        for (text, parts) in [
            ("modle = 'x'", &["promptmill.toml:1: unknown key `modle`", "nearest known key is `model`"][..]),
            ("tokens_per_minute = 5", &["`tokens_per_minute` belongs in [limits]"]),
            (
                "[limits]\nmodel = 'x'",
                &["promptmill.toml:2", "`limits.model`", "`model` belongs at the top of the file"],
            ),
            ("[limits]\ntokens-per-minute = 5", &["`tokens_per_minute`"]),
            ("[retry]\ntoken_per_day = 5", &["`tokens_per_day` in [limits]"]),
            ("[limit]\nwindow = '1s'", &["unknown key `limit`", "nearest known section is [limits]"]),
            ("[limits]\nrpm = 5", &["`limits.rpm`", "called `requests_per_minute` here, and belongs in [limits]"]),
            ("timeout = '5s'", &["called `total_timeout` here, and belongs in [http]"]),
            ("limits = 5", &["`limits` is a section: write [limits]"]),
            ("zzz = 1\nmodle = 2", &["unknown key `zzz`"]),
        ] {
            let message = error(text);
            assert!(parts.iter().all(|part| message.contains(part)), "{text}: {message}");
        }
    }

    #[test]
    fn syntax_errors_have_a_place_and_do_not_quote_the_line() {
        let message = error("model = \"m\"\napi_key = sk-verysecret\n");
        assert!(message.starts_with("promptmill.toml:2:11: not valid TOML"), "{message}");
        assert!(!message.contains("verysecret"), "{message}");
        let doubled = error("model = 'a'\nmodel = 'b'\n");
        assert!(doubled.starts_with("promptmill.toml:2:1: ") && doubled.contains("duplicate key"), "{doubled}");
    }

    #[test]
    fn an_api_key_is_refused_and_not_repeated() {
        for text in
            ["api_key = 'sk-verysecret'", "[request]\nOPENAI_API_KEY = 'sk-verysecret'", "key = 'sk-verysecret'"]
        {
            let message = error(text);
            assert!(message.contains("OPENAI_API_KEY") && message.contains("api_key.txt"), "{message}");
            assert!(!message.contains("verysecret"), "{message}");
        }
    }
}
