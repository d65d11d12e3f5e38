//! The settings, checked: what the rest of the program reads. Pure: the system file is read by a function that comes in.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderMap;

use super::error::ConfigError;
use super::headers;
use super::keys::{self, SETTINGS};
use super::layers::{Origin, Resolved, merge};
use super::value::{self, Parsed, RawValue, unless_empty};
use crate::admit::server::Pacing;
use crate::clock::DayZone;
use crate::model::{Api, Limits, OnDayLimit, OnQuota, RequestTemplate, Secret};
use crate::source::priority::Priorities;
use crate::source::range::Range;

/// The least `max_output_tokens` that the Responses endpoint takes.
const RESPONSES_LEAST_OUTPUT_TOKENS: u64 = 16;

/// How many requests may be in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// As many as latency and rate ask for, within what the open-file limit and HTTP bear.
    Auto,
    /// Few: for a server of one's own, or a connection shared with others.
    Conservative,
    /// Some tens.
    Moderate,
    /// Some hundreds.
    Aggressive,
    /// This many, 1 to 100,000.
    Fixed(NonZeroUsize),
}

/// Timeouts of one request, all over 0; the wait for admission is in none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// From sending to the answer's first byte; at most `total`.
    pub first_byte: Duration,
    /// From sending to the answer's last byte.
    pub total: Duration,
}

/// The settings that hold. The API key is not among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Everything of a request but its prompt; `system_file` is already read into it.
    pub template: RequestTemplate,
    /// The server's address without a slash at its end.
    pub base_url: String,
    /// Headers that every request has beside those of the client; their values are secrets.
    pub headers: HeaderMap,
    /// Folder of the prompts.
    pub prompts: PathBuf,
    /// Folder of the answers.
    pub outputs: PathBuf,
    /// The ledger's face, `usage.md`.
    pub ledger: PathBuf,
    /// The prompt numbers that are meant.
    pub range: Range,
    /// Of these, the only ones; all where absent.
    pub only: Option<Range>,
    /// Which prompts go first.
    pub priorities: Priorities,
    /// What may be used.
    pub limits: Limits,
    /// How a minute's limit is spread.
    pub pacing: Pacing,
    /// The most tokens of one request, over what is known of the model.
    pub context_window: Option<u64>,
    /// How many requests may be in flight.
    pub concurrency: Concurrency,
    /// Attempts of one prompt, the first included; at least 1.
    pub attempts: u32,
    /// Timeouts of one request.
    pub timeouts: Timeouts,
    /// Whose midnight ends a day.
    pub day: DayZone,
    /// What happens at a day limit.
    pub on_day_limit: OnDayLimit,
    /// What happens when the account allows no more requests.
    pub on_quota: OnQuota,
    /// With [`OnQuota::Wait`]: how long before the account is asked again for the first time; over zero.
    pub quota_wait: Duration,
    /// A run ends when the server has failed for so long without an answer; over zero.
    pub give_up_after: Duration,
    /// After how many answers a line of usage is told; `None` for never.
    pub usage_every: Option<u64>,
    /// Whether what is over the batch limit is sent in several batches.
    pub split: bool,
    /// Who set what, for [`Settings::describe`].
    described: Vec<Described>,
}

/// A setting as it holds and who set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub key: &'static str,
    /// The value as it was written; hidden where it looks like it holds a key, empty where unset.
    pub value: String,
    pub origin: Origin,
}

impl Settings {
    /// Checks `resolved`. Relative paths are put behind `dir`; `read` reads the text of `system_file`.
    pub fn new(
        resolved: &Resolved,
        dir: &Path,
        read: impl FnOnce(&Path, &Origin) -> Result<String, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let path = |key| Ok::<_, ConfigError>(within(dir, resolved.get(key, value::path)?));
        let limit = |key| Ok::<_, ConfigError>(over_zero(resolved.get(key, value::count)?));
        Ok(Self {
            template: template(resolved, dir, read)?,
            base_url: resolved.get("base_url", value::base_url)?,
            headers: resolved.get("http.headers", headers::parse)?,
            prompts: path("prompts")?,
            outputs: path("outputs")?,
            ledger: path("ledger")?,
            range: resolved.get("range", value::range)?,
            only: resolved.get("only", unless_empty(value::range))?,
            priorities: resolved.get("priorities", value::priorities)?,
            limits: Limits {
                tokens_per_minute: limit("limits.tokens_per_minute")?,
                requests_per_minute: limit("limits.requests_per_minute")?,
                tokens_per_day: limit("limits.tokens_per_day")?,
                requests_per_day: limit("limits.requests_per_day")?,
                tokens_per_batch: limit("limits.tokens_per_batch")?,
                window: resolved.get("limits.window", value::duration)?,
                day_share_ppm: resolved.get("limits.pause_at", value::share_ppm)?,
            },
            pacing: resolved.get("limits.pacing", value::choice(PACINGS))?,
            context_window: limit("limits.context_window")?,
            concurrency: resolved.get("limits.concurrency", concurrency)?,
            attempts: resolved.get("retry.attempts", attempts)?,
            timeouts: timeouts(resolved)?,
            day: resolved.get("limits.day", value::day_zone)?,
            on_day_limit: resolved
                .get("limits.on_day_limit", value::choice(&[("wait", OnDayLimit::Wait), ("exit", OnDayLimit::Exit)]))?,
            on_quota: resolved
                .get("limits.on_quota", value::choice(&[("stop", OnQuota::Stop), ("wait", OnQuota::Wait)]))?,
            quota_wait: resolved.get("retry.quota_wait", value::duration)?,
            give_up_after: resolved.get("retry.give_up_after", value::duration)?,
            usage_every: limit("report.usage_every")?,
            split: resolved.get("limits.split", value::switch)?,
            described: describe(resolved),
        })
    }

    /// Every setting in the table's order, with who set it. It shows what was loaded, not what was changed in the fields since.
    #[must_use]
    pub fn describe(&self) -> &[Described] {
        &self.described
    }

    /// Who set the setting with this dotted key.
    #[must_use]
    pub fn origin(&self, key: &str) -> &Origin {
        self.described.iter().find(|described| described.key == key).map_or(&Origin::Default, |found| &found.origin)
    }

    /// The key that a header brings to a gateway.
    #[must_use]
    pub fn header_key(&self) -> Option<Secret> {
        headers::key(&self.headers)
    }
}

impl Default for Settings {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "the defaults are constants, and a test loads them")]
        Self::new(&merge([]), Path::new(""), |_, _| Ok(String::new())).expect("good defaults")
    }
}

/// `path` below `dir`, where it is relative; as it stands where `dir` is the current directory, so that messages stay short.
pub(super) fn within(dir: &Path, path: PathBuf) -> PathBuf {
    if dir == Path::new(".") { path } else { dir.join(path) }
}

/// In limits, 0 is none.
fn over_zero(number: u64) -> Option<u64> {
    (number > 0).then_some(number)
}

fn concurrency(raw: &RawValue) -> Parsed<Concurrency> {
    if let Ok(word) = value::choice(CONCURRENCIES)(raw) {
        return Ok(word);
    }
    let number = value::count(raw).ok().filter(|number| *number <= 100_000);
    let number = number.and_then(|number| usize::try_from(number).ok()).and_then(NonZeroUsize::new);
    number
        .map(Concurrency::Fixed)
        .ok_or_else(|| "write \"auto\", \"conservative\", \"moderate\" or \"aggressive\", or a number from 1 to 100000 without quotes".to_owned())
}

/// The words that stand for a concurrency.
const CONCURRENCIES: &[(&str, Concurrency)] = &[
    ("auto", Concurrency::Auto),
    ("conservative", Concurrency::Conservative),
    ("moderate", Concurrency::Moderate),
    ("aggressive", Concurrency::Aggressive),
];

/// The words for how a minute's limit is spread.
const PACINGS: &[(&str, Pacing)] = &[("auto", Pacing::Auto), ("burst", Pacing::Burst), ("smooth", Pacing::Smooth)];

fn attempts(raw: &RawValue) -> Parsed<u32> {
    const MOST: u32 = 1_000_000;
    let number = value::count_within(1, u64::from(MOST))(raw)?;
    Ok(u32::try_from(number).unwrap_or(MOST))
}

fn timeouts(resolved: &Resolved) -> Result<Timeouts, ConfigError> {
    let duration = |key| resolved.get(key, value::duration);
    let timeouts = Timeouts {
        connect: duration("http.connect_timeout")?,
        first_byte: duration("http.first_byte_timeout")?,
        total: duration("http.total_timeout")?,
    };
    if timeouts.first_byte > timeouts.total {
        let first_byte = humantime::format_duration(timeouts.first_byte);
        return Err(ConfigError::Together(format!(
            "`http.first_byte_timeout` ({first_byte}, from {}) is longer than `http.total_timeout` ({}, from {}): \
             lower the first or raise the second, e.g. `--total-timeout {}`",
            origin(resolved, "http.first_byte_timeout"),
            humantime::format_duration(timeouts.total),
            origin(resolved, "http.total_timeout"),
            // Without the spaces that a shell would split.
            first_byte.to_string().replace(' ', ""),
        )));
    }
    Ok(timeouts)
}

fn template(
    resolved: &Resolved,
    dir: &Path,
    read: impl FnOnce(&Path, &Origin) -> Result<String, ConfigError>,
) -> Result<RequestTemplate, ConfigError> {
    let api = resolved.get("api", value::choice(&[("chat", Api::Chat), ("responses", Api::Responses)]))?;
    let max_output_tokens = over_zero(resolved.get("request.max_output_tokens", value::count)?);
    if let (Api::Responses, Some(most @ ..RESPONSES_LEAST_OUTPUT_TOKENS)) = (api, max_output_tokens) {
        return Err(ConfigError::Together(format!(
            "`request.max_output_tokens` = {most} (from {}) is too small for `api` = \"responses\" (from {}): \
             write {RESPONSES_LEAST_OUTPUT_TOKENS} or more, or 0 to send none",
            origin(resolved, "request.max_output_tokens"),
            origin(resolved, "api"),
        )));
    }
    Ok(RequestTemplate {
        api,
        model: resolved.get("model", value::name)?,
        system: system(resolved, dir, read)?,
        max_output_tokens,
        temperature: resolved.get("request.temperature", unless_empty(value::number_within(0.0, 2.0)))?,
        reasoning_effort: resolved.get("request.reasoning_effort", unless_empty(value::name))?,
        extra: resolved.get("request.extra", value::table)?,
    })
}

fn system(
    resolved: &Resolved,
    dir: &Path,
    read: impl FnOnce(&Path, &Origin) -> Result<String, ConfigError>,
) -> Result<Option<String>, ConfigError> {
    let text = resolved.get("request.system", unless_empty(value::text))?;
    let Some(file) = resolved.get("request.system_file", unless_empty(value::path))? else { return Ok(text) };
    let (text_origin, file_origin) = (origin(resolved, "request.system"), origin(resolved, "request.system_file"));
    if text.is_some() {
        return Err(ConfigError::Together(format!(
            "`request.system` (from {text_origin}) and `request.system_file` (from {file_origin}) are both set: \
             keep one, or empty the other, e.g. `--system \"\"`",
        )));
    }
    let text = read(&within(dir, file), file_origin)?;
    Ok((!text.trim().is_empty()).then_some(text))
}

/// Who set the setting with this dotted key.
fn origin<'a>(resolved: &'a Resolved, key: &str) -> &'a Origin {
    keys::find(key).map_or(&Origin::Default, |setting| &resolved.sourced(setting).origin)
}

fn describe(resolved: &Resolved) -> Vec<Described> {
    let described = SETTINGS.iter().map(|setting| {
        let sourced = resolved.sourced(setting);
        Described { key: setting.key, value: setting.printable(&sourced.value).whole(), origin: sourced.origin.clone() }
    });
    described.collect()
}
