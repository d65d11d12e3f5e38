//! Values as they are written, and the parsers that read them. A parser's error says what would be right.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use chrono::{FixedOffset, NaiveTime, Offset as _, Timelike as _, Utc};
use serde_json::{Map, Value as Json};

use crate::clock::DayZone;
use crate::model::WHOLE_PPM;
use crate::model::text::one_line;
use crate::source::priority::{Priorities, SEPARATOR};
use crate::source::range::Range;

/// A year: longer durations are taken for mistakes, and shorter ones add to any date without overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A value before it is checked.
#[derive(Clone, Debug, PartialEq)]
pub enum RawValue {
    /// From a flag, a variable, a text file or the defaults.
    Text(String),
    /// From the settings file, with its type.
    Toml(toml::Value),
}

impl RawValue {
    /// Whether it is the empty text, which unsets a setting that has no default.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_text().is_some_and(|text| text.trim().is_empty())
    }

    /// The value as it was written, and hidden where it looks like it holds a key or a password.
    #[must_use]
    pub fn whole(&self) -> String {
        let text = match self {
            Self::Text(text) | Self::Toml(toml::Value::String(text)) => text.clone(),
            Self::Toml(value) => value.to_string().trim_end().to_owned(),
        };
        let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let holds_key = text.split(|c| !word(c)).any(|word| word.starts_with("sk-"));
        let holds_login = text.contains("://") && text.contains(['@', '?']);
        if holds_key || holds_login {
            return "[hidden]".to_owned();
        }
        text
    }

    /// The same as a person reads it: on one line, and shortened.
    #[must_use]
    pub fn shown(&self) -> String {
        const MOST: usize = 60;
        let text = self.whole();
        let text = one_line(&text);
        match text.char_indices().nth(MOST) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text.into_owned(),
        }
    }

    /// The text, where it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Toml(toml::Value::String(text)) => Some(text),
            Self::Toml(_) => None,
        }
    }

    /// A quoted number in the settings file: the commonest wrong type.
    fn is_quoted(&self) -> bool {
        matches!(self, Self::Toml(toml::Value::String(_)))
    }
}

/// What a parser makes of a value; the error is what would be right.
pub type Parsed<T> = Result<T, String>;

/// `parse`, or `None` where the value is empty.
pub fn unless_empty<T>(parse: impl FnOnce(&RawValue) -> Parsed<T>) -> impl FnOnce(&RawValue) -> Parsed<Option<T>> {
    |raw| if raw.is_empty() { Ok(None) } else { parse(raw).map(Some) }
}

/// Any text, as it stands.
pub fn text(raw: &RawValue) -> Parsed<String> {
    raw.as_text().map(str::to_owned).ok_or_else(|| "write text, in quotes in the settings file".to_owned())
}

/// A name on one line, white space around it dropped; never empty.
pub fn name(raw: &RawValue) -> Parsed<String> {
    let text = text(raw)?;
    let text = text.trim();
    if text.is_empty() || text.contains(char::is_control) {
        return Err("write one name, on one line".to_owned());
    }
    Ok(text.to_owned())
}

/// A file or folder; never empty.
pub fn path(raw: &RawValue) -> Parsed<PathBuf> {
    match raw.as_text() {
        Some(text) if !raw.is_empty() && !text.contains('\0') => Ok(PathBuf::from(text)),
        _ => Err("write the path of a file or folder".to_owned()),
    }
}

/// A whole number from 0; `_` may separate its digits in text too.
pub fn count(raw: &RawValue) -> Parsed<u64> {
    let right = || {
        let form = if raw.is_quoted() { "without quotes, such as `500000`" } else { "such as `500000` or `500_000`" };
        format!("write a whole number from 0, {form}")
    };
    match raw {
        RawValue::Text(text) if !text.trim().starts_with(['+', '_']) => {
            text.trim().replace('_', "").parse().map_err(|_| right())
        }
        RawValue::Toml(toml::Value::Integer(number)) => u64::try_from(*number).map_err(|_| right()),
        _ => Err(right()),
    }
}

/// A whole number in `least..=most`.
pub fn count_within(least: u64, most: u64) -> impl Fn(&RawValue) -> Parsed<u64> {
    move |raw| match count(raw) {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        Ok(_) => Err(format!("write a whole number from {least} to {most}")),
        Err(right) => Err(right),
    }
}

/// A number in `least..=most`.
pub fn number_within(least: f64, most: f64) -> impl Fn(&RawValue) -> Parsed<f64> {
    move |raw| {
        let number = match raw {
            RawValue::Text(text) => text.trim().parse().ok(),
            RawValue::Toml(toml::Value::Float(number)) => Some(*number),
            RawValue::Toml(toml::Value::Integer(number)) => i32::try_from(*number).ok().map(f64::from),
            RawValue::Toml(_) => None,
        };
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| format!("write a number from {least} to {most}, such as `0.7`, without quotes"))
    }
}

/// A duration with its unit, over 0 and at most a year.
pub fn duration(raw: &RawValue) -> Parsed<Duration> {
    let right =
        || "write a duration over 0 with its unit, such as `60s`, `250ms` or `2h` (in quotes in the settings file)";
    raw.as_text()
        .and_then(|text| humantime::parse_duration(text.trim()).ok())
        .filter(|duration| !duration.is_zero() && *duration <= LONGEST)
        .ok_or_else(|| right().to_owned())
}

/// `true` or `false`; `1` and `0` in text.
pub fn switch(raw: &RawValue) -> Parsed<bool> {
    match raw {
        RawValue::Toml(toml::Value::Boolean(on)) => Ok(*on),
        RawValue::Text(text) if matches!(text.trim(), "true" | "1") => Ok(true),
        RawValue::Text(text) if matches!(text.trim(), "false" | "0") => Ok(false),
        _ => Err("write `true` or `false`, without quotes".to_owned()),
    }
}

/// Whose midnight ends a day: `local`, `utc`, or an offset in quarters of an hour, which is how midnights lie everywhere.
pub fn day_zone(raw: &RawValue) -> Parsed<DayZone> {
    let zone = match raw.as_text().unwrap_or_default().trim() {
        "local" => Some(DayZone::Local),
        "utc" => Some(DayZone::Fixed(Utc.fix())),
        offset => utc_offset(offset).map(DayZone::Fixed),
    };
    zone.ok_or_else(|| "write `local`, `utc`, or an offset from UTC such as `+02:00`, `-08:00` or `+05:45`".to_owned())
}

/// `+05:45`, at the most 14 hours.
fn utc_offset(text: &str) -> Option<FixedOffset> {
    let (east, time) =
        text.strip_prefix('+').map(|time| (1, time)).or(text.strip_prefix('-').map(|time| (-1, time)))?;
    let seconds = NaiveTime::parse_from_str(time, "%H:%M").ok()?.num_seconds_from_midnight();
    let seconds = i32::try_from(seconds).ok().filter(|seconds| *seconds <= 14 * 3_600 && seconds % 900 == 0)?;
    FixedOffset::east_opt(east * seconds)
}

/// Prompt numbers.
pub fn range(raw: &RawValue) -> Parsed<Range> {
    let text = raw.as_text().ok_or("write prompt numbers in quotes, such as \"1-100\", \"3,7-9\" or \"all\"")?;
    Range::from_str(text).map_err(|error| error.to_string())
}

/// A share over 0 and at most 1, in parts per million.
pub fn share_ppm(raw: &RawValue) -> Parsed<u32> {
    let share = number_within(0.0, 1.0)(raw).ok().map(|share| (share * f64::from(WHOLE_PPM)).round());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number from 0 to a million")]
    let ppm = share.map(|share| share as u32).filter(|ppm| *ppm > 0);
    ppm.ok_or_else(|| "write a share over 0 and at most 1, such as `0.8`, without quotes".to_owned())
}

/// Prompt numbers with their priorities: a text, or a list of texts in the settings file.
pub fn priorities(raw: &RawValue) -> Parsed<Priorities> {
    const RIGHT: &str = "write a list such as `[\"1-10=5\", \"50=-1\"]` in the settings file, or `1-10=5;50=-1`";
    let text = match raw {
        RawValue::Toml(toml::Value::Array(items)) => {
            let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            items.ok_or(RIGHT)?.join(SEPARATOR)
        }
        _ => raw.as_text().ok_or(RIGHT)?.to_owned(),
    };
    Priorities::from_str(&text).map_err(|error| error.to_string())
}

/// One of `choices`, as what it stands for.
pub fn choice<T: Copy>(choices: &[(&str, T)]) -> impl Fn(&RawValue) -> Parsed<T> {
    move |raw| {
        let found = choices.iter().find(|(name, _)| raw.as_text().is_some_and(|text| text.trim() == *name));
        found.map(|&(_, choice)| choice).ok_or_else(|| {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
            format!("write {}", names.join(" or "))
        })
    }
}

/// The endpoints' paths, which are often pasted with the address.
const ENDPOINTS: [&str; 3] = ["/chat/completions", "/responses", "/completions"];

/// An `http` or `https` address with a host, its trailing slash dropped.
pub fn base_url(raw: &RawValue) -> Parsed<String> {
    const RIGHT: &str = "write an address such as `https://api.openai.com/v1` or `http://localhost:8080/v1`";
    let text = raw.as_text().ok_or(RIGHT)?.trim();
    // The client's own parser: what it takes here, it takes when it sends.
    let url = url::Url::parse(text).map_err(|error| format!("{error}; {RIGHT}"))?;
    let begins = |scheme: &str| text.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme));
    if !(begins("http://") || begins("https://")) || url.host_str().is_none_or(str::is_empty) {
        return Err(RIGHT.to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("an address holds no name or password; {RIGHT}"));
    }
    if text.contains(['?', '#']) {
        return Err(format!("paths are put behind the address, so it has no `?` and no `#`; {RIGHT}"));
    }
    if text.contains(char::is_control) {
        return Err(RIGHT.to_owned());
    }
    let text = text.trim_end_matches('/');
    if let Some((endpoint, base)) = ENDPOINTS.iter().find_map(|path| Some((path, text.strip_suffix(path)?))) {
        return Err(format!("`{endpoint}` is put behind it by itself; write `{base}`"));
    }
    Ok(text.to_owned())
}

/// Members for the request's body: a TOML table, or a JSON object as text; empty text is no member.
pub fn table(raw: &RawValue) -> Parsed<Map<String, Json>> {
    const RIGHT: &str =
        "write a JSON object such as `{\"seed\": 7}`, or a section [request.extra] in the settings file";
    match raw {
        RawValue::Toml(toml::Value::Table(table)) => match json(&toml::Value::Table(table.clone())) {
            Some(Json::Object(members)) => Ok(members),
            _ => Err("JSON has no `nan` and no `inf`; write finite numbers".to_owned()),
        },
        RawValue::Text(text) if text.trim().is_empty() => Ok(Map::new()),
        RawValue::Text(text) => serde_json::from_str(text).map_err(|error| format!("{error}; {RIGHT}")),
        RawValue::Toml(_) => Err(RIGHT.to_owned()),
    }
}

/// TOML as JSON, dates as text; `None` where a number has no JSON form.
fn json(value: &toml::Value) -> Option<Json> {
    Some(match value {
        toml::Value::String(text) => Json::from(text.as_str()),
        toml::Value::Integer(number) => Json::from(*number),
        toml::Value::Float(number) => Json::Number(serde_json::Number::from_f64(*number)?),
        toml::Value::Boolean(on) => Json::from(*on),
        toml::Value::Datetime(date) => Json::from(date.to_string()),
        toml::Value::Array(items) => Json::Array(items.iter().map(json).collect::<Option<_>>()?),
        toml::Value::Table(table) => {
            let members = table.iter().map(|(name, value)| Some((name.clone(), json(value)?)));
            Json::Object(members.collect::<Option<_>>()?)
        }
    })
}
