//! The table of settings: flags, variables, TOML keys, help and the README's table are made from it.

use std::fmt::Write as _;

use super::headers;
use super::value::RawValue;

/// Begins the name of every environment variable of ours.
pub const ENV_PREFIX: &str = "PROMPTMILL_";

/// What a setting's text must look like; decides how its flag parses. [`super::settings`] checks the value itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// One of a few words.
    Choice,
    /// A file or folder, relative to the current directory.
    Path,
    /// An `http://` or `https://` address.
    Url,
    /// A whole number from 0; `_` may separate its digits.
    Count,
    /// A number with a fraction.
    Number,
    /// A duration with its unit: `60s`, `2h`.
    Duration,
    /// `true` or `false`; the flag alone means `true`.
    Switch,
    /// `local`, `utc`, or an offset from UTC.
    Zone,
    /// Prompt numbers: `1-100`, `3,7-9`, `all`.
    Range,
    /// A word such as `auto`, or a number from 1.
    Concurrency,
    /// Prompt numbers with their priorities: `1-10=5;50=-1`; a list of such texts in the settings file.
    Priorities,
    /// A TOML table; a JSON object as a flag or variable.
    Table,
    /// Headers with their values: `A=b;C=d`; a TOML table in the settings file. The values are never shown.
    Headers,
}

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The dotted TOML path: `limits.tokens_per_minute`.
    pub key: &'static str,
    /// The flag without its dashes: the last part of the key, `-` for `_`. Clap wants it static, so it is written here and tested.
    pub flag: &'static str,
    /// The default as text; empty where the setting is unset.
    pub default: &'static str,
    /// What stands for the value in help.
    pub value_name: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// The form of the value.
    pub kind: Kind,
}

impl Setting {
    /// The TOML section, `None` at the top of the file.
    #[must_use]
    pub fn section(&self) -> Option<&'static str> {
        self.key.split_once('.').map(|(section, _)| section)
    }

    /// The key within its section.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(_, name)| name)
    }

    /// The environment variable: `PROMPTMILL_TOKENS_PER_MINUTE`.
    #[must_use]
    pub fn env(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name().to_uppercase())
    }

    /// `value` as it may be shown: of headers the names alone.
    #[must_use]
    pub fn printable(&self, value: &RawValue) -> RawValue {
        if self.kind == Kind::Headers { RawValue::Text(headers::names(value)) } else { value.clone() }
    }

    /// The help line with the default behind it, as flags show it.
    #[must_use]
    pub fn help_with_default(&self) -> String {
        if self.default.is_empty() {
            self.help.to_owned()
        } else {
            format!("{} [default: {}]", self.help, self.default)
        }
    }
}

/// The setting with this dotted key.
#[must_use]
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// The settings as a Markdown table: key, default, flag, meaning. The variables follow by rule and have no column.
#[must_use]
pub fn markdown_table() -> String {
    let mut table = String::from("| key | default | flag | what |\n| --- | --- | --- | --- |\n");
    for setting in SETTINGS {
        let default = if setting.default.is_empty() { "unset".to_owned() } else { format!("`{}`", setting.default) };
        // Writing to a string does not fail.
        let _ = writeln!(table, "| `{}` | {default} | `--{}` | {} |", setting.key, setting.flag, setting.help);
    }
    table
}

/// Every setting, in the order of help and README.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "model",
        flag: "model",
        default: "gpt-4o-mini",
        value_name: "NAME",
        help: "The model",
        kind: Kind::Text,
    },
    Setting {
        key: "api",
        flag: "api",
        default: "chat",
        value_name: "API",
        help: "The endpoint: `chat` or `responses`",
        kind: Kind::Choice,
    },
    Setting {
        key: "base_url",
        flag: "base-url",
        default: "https://api.openai.com/v1",
        value_name: "URL",
        help: "The server, with the path before `/chat`",
        kind: Kind::Url,
    },
    Setting {
        key: "prompts",
        flag: "prompts",
        default: "prompts",
        value_name: "DIR",
        help: "Folder of the prompts",
        kind: Kind::Path,
    },
    Setting {
        key: "outputs",
        flag: "outputs",
        default: "outputs",
        value_name: "DIR",
        help: "Folder of the answers",
        kind: Kind::Path,
    },
    Setting {
        key: "ledger",
        flag: "ledger",
        default: "usage.md",
        value_name: "FILE",
        help: "File that shows what is used up",
        kind: Kind::Path,
    },
    Setting {
        key: "range",
        flag: "range",
        default: "1-100",
        value_name: "RANGE",
        help: "Prompt numbers: `1-100`, `3,7-9`, `all`",
        kind: Kind::Range,
    },
    Setting {
        key: "only",
        flag: "only",
        default: "",
        value_name: "RANGE",
        help: "Of these, only the numbers given here",
        kind: Kind::Range,
    },
    Setting {
        key: "priorities",
        flag: "priorities",
        default: "",
        value_name: "LIST",
        help: "Who goes first: `1-10=5;50=-1`, default 0",
        kind: Kind::Priorities,
    },
    Setting {
        key: "request.max_output_tokens",
        flag: "max-output-tokens",
        default: "0",
        value_name: "N",
        help: "Most tokens of an answer; 0: not sent",
        kind: Kind::Count,
    },
    Setting {
        key: "request.temperature",
        flag: "temperature",
        default: "",
        value_name: "T",
        help: "Sampling temperature, 0 to 2",
        kind: Kind::Number,
    },
    Setting {
        key: "request.system",
        flag: "system",
        default: "",
        value_name: "TEXT",
        help: "Text of the system message",
        kind: Kind::Text,
    },
    Setting {
        key: "request.system_file",
        flag: "system-file",
        default: "",
        value_name: "FILE",
        help: "File with the system message",
        kind: Kind::Path,
    },
    Setting {
        key: "request.reasoning_effort",
        flag: "reasoning-effort",
        default: "",
        value_name: "LEVEL",
        help: "`low`, `medium`, `high`, as the model takes",
        kind: Kind::Text,
    },
    Setting {
        key: "request.extra",
        flag: "extra",
        default: "",
        value_name: "JSON",
        help: "More members of the request's body",
        kind: Kind::Table,
    },
    Setting {
        key: "limits.tokens_per_minute",
        flag: "tokens-per-minute",
        default: "500000",
        value_name: "N",
        help: "Tokens in a window; 0: no limit",
        kind: Kind::Count,
    },
    Setting {
        key: "limits.requests_per_minute",
        flag: "requests-per-minute",
        default: "500",
        value_name: "N",
        help: "Requests in a window; 0: no limit",
        kind: Kind::Count,
    },
    Setting {
        key: "limits.tokens_per_day",
        flag: "tokens-per-day",
        default: "5000000",
        value_name: "N",
        help: "Tokens in a day; 0: no limit",
        kind: Kind::Count,
    },
    Setting {
        key: "limits.requests_per_day",
        flag: "requests-per-day",
        default: "0",
        value_name: "N",
        help: "Requests in a day; 0: no limit",
        kind: Kind::Count,
    },
    Setting {
        key: "limits.day",
        flag: "day",
        default: "local",
        value_name: "ZONE",
        help: "Whose midnight: `local`, `utc` or `-08:00`",
        kind: Kind::Zone,
    },
    Setting {
        key: "limits.pause_at",
        flag: "pause-at",
        default: "1.0",
        value_name: "SHARE",
        help: "Share of a day's limit at which to pause",
        kind: Kind::Number,
    },
    Setting {
        key: "limits.tokens_per_batch",
        flag: "tokens-per-batch",
        default: "300000",
        value_name: "N",
        help: "Input tokens of a batch; 0: no limit",
        kind: Kind::Count,
    },
    Setting {
        key: "limits.context_window",
        flag: "context-window",
        default: "0",
        value_name: "N",
        help: "Most tokens of a request; 0: the model's",
        kind: Kind::Count,
    },
    Setting {
        key: "limits.window",
        flag: "window",
        default: "60s",
        value_name: "TIME",
        help: "What \"a minute\" means",
        kind: Kind::Duration,
    },
    Setting {
        key: "limits.pacing",
        flag: "pacing",
        default: "auto",
        value_name: "HOW",
        help: "Within a minute: `burst`, `smooth` or `auto`",
        kind: Kind::Choice,
    },
    Setting {
        key: "limits.concurrency",
        flag: "concurrency",
        default: "auto",
        value_name: "N",
        help: "In flight: `auto`, `moderate`, ... or a number",
        kind: Kind::Concurrency,
    },
    Setting {
        key: "limits.on_day_limit",
        flag: "on-day-limit",
        default: "wait",
        value_name: "WHAT",
        help: "At a day limit: `wait` or `exit`",
        kind: Kind::Choice,
    },
    Setting {
        key: "limits.on_quota",
        flag: "on-quota",
        default: "stop",
        value_name: "WHAT",
        help: "When the credit is used up: `stop` or `wait`",
        kind: Kind::Choice,
    },
    Setting {
        key: "limits.split",
        flag: "split",
        default: "false",
        value_name: "BOOL",
        help: "Split what is over the batch limit",
        kind: Kind::Switch,
    },
    Setting {
        key: "retry.attempts",
        flag: "attempts",
        default: "3",
        value_name: "N",
        help: "Attempts of a prompt, the first included",
        kind: Kind::Count,
    },
    Setting {
        key: "retry.quota_wait",
        flag: "quota-wait",
        default: "5m",
        value_name: "TIME",
        help: "First wait for credit, then doubled, up to 1h",
        kind: Kind::Duration,
    },
    Setting {
        key: "retry.give_up_after",
        flag: "give-up-after",
        default: "30m",
        value_name: "TIME",
        help: "End when only failures come for so long",
        kind: Kind::Duration,
    },
    Setting {
        key: "http.connect_timeout",
        flag: "connect-timeout",
        default: "10s",
        value_name: "TIME",
        help: "Longest wait for a connection",
        kind: Kind::Duration,
    },
    Setting {
        key: "http.first_byte_timeout",
        flag: "first-byte-timeout",
        default: "300s",
        value_name: "TIME",
        help: "Longest wait for an answer to begin",
        kind: Kind::Duration,
    },
    Setting {
        key: "http.total_timeout",
        flag: "total-timeout",
        default: "600s",
        value_name: "TIME",
        help: "Longest wait for a whole answer",
        kind: Kind::Duration,
    },
    Setting {
        key: "http.headers",
        flag: "headers",
        default: "",
        value_name: "LIST",
        help: "More headers: `A=b;C=d`; never shown",
        kind: Kind::Headers,
    },
    Setting {
        key: "report.usage_every",
        flag: "usage-every",
        default: "100",
        value_name: "N",
        help: "A line of usage every N answers; 0: none",
        kind: Kind::Count,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_follow_the_key_and_are_unique() {
        let mut flags = BTreeSet::new();
        let mut variables = BTreeSet::new();
        for setting in SETTINGS {
            assert_eq!(setting.flag, setting.name().replace('_', "-"), "{}", setting.key);
            assert!(flags.insert(setting.flag), "two flags --{}", setting.flag);
            assert!(variables.insert(setting.env()), "two variables {}", setting.env());
            assert!(!setting.help.contains('|'), "{} would break the Markdown table", setting.key);
        }
        assert_eq!(find("limits.tokens_per_minute").expect("a key").env(), "PROMPTMILL_TOKENS_PER_MINUTE");
        let sections: BTreeSet<_> = SETTINGS.iter().filter_map(Setting::section).collect();
        assert!(SETTINGS.iter().all(|setting| !sections.contains(setting.key)), "a key is named like a section");
    }

    #[test]
    fn the_markdown_table_has_a_row_for_each() {
        let table = markdown_table();
        assert_eq!(table.lines().count(), SETTINGS.len() + 2);
        assert!(table.contains("| `limits.window` | `60s` | `--window` | What \"a minute\" means |\n"), "{table}");
        assert!(table.contains("| `only` | unset | `--only` |"), "{table}");
    }
}
