//! What other programs call our settings: the tips for a flag, a key or a variable that does not exist here. Pure.

use super::layers::is_key_like;

/// What a name of another program means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    /// The setting with this dotted key.
    Setting(&'static str),
    ApiKey,
    /// A member of the request, which goes into `request.extra`.
    Extra,
    /// Nothing that can be set; the sentence says what holds instead.
    Nothing(&'static str),
}

/// Names that clients, scripts and libraries have, by what they mean here. In lower case, with dashes.
const NAMES: &[(&str, &[&str])] = &[
    ("model", &["m", "model-name", "model-id", "engine"]),
    ("base_url", &["url", "endpoint", "api-base", "api-url", "base", "host", "server", "openai-base-url"]),
    ("prompts", &["i", "input", "input-dir", "prompt-dir", "prompts-dir"]),
    ("outputs", &["o", "out", "output", "output-dir", "outputs-dir"]),
    ("request.max_output_tokens", &["max-tokens", "max-completion-tokens", "max-new-tokens"]),
    ("request.temperature", &["t", "temp"]),
    ("request.system", &["s", "system-prompt", "system-message", "instructions"]),
    ("request.reasoning_effort", &["effort", "reasoning"]),
    ("limits.tokens_per_minute", &["tpm", "max-tpm"]),
    ("limits.requests_per_minute", &["rpm", "max-rpm"]),
    ("limits.tokens_per_day", &["tpd", "max-tpd"]),
    ("limits.requests_per_day", &["rpd", "max-rpd"]),
    (
        "limits.concurrency",
        &["c", "j", "jobs", "workers", "max-workers", "num-workers", "threads", "parallel", "max-concurrency"],
    ),
    ("retry.attempts", &["retries", "max-retries", "max-attempts"]),
    ("http.headers", &["h", "header", "extra-headers", "default-headers"]),
    ("http.total_timeout", &["timeout", "request-timeout"]),
];

/// Members of a request that have no setting of their own.
const EXTRA: &[&str] = &["seed", "top-p", "stop", "response-format", "frequency-penalty", "presence-penalty", "user"];

/// What `name` (of a flag without its dashes, a key or a variable, in any case) means here; `None` where no other program is known to have it.
#[must_use]
pub fn meant(name: &str) -> Option<Meant> {
    let name = name.to_lowercase().replace('_', "-");
    let has = |names: &[&str]| names.contains(&name.as_str());
    if let Some((setting, _)) = NAMES.iter().find(|(_, names)| has(names)) {
        return Some(Meant::Setting(setting));
    }
    match name.as_str() {
        "batch-size" => Some(Meant::Nothing("it has no setting yet, and each prompt file is one request")),
        "max-batches" => Some(Meant::Nothing(
            "batches always go one after the other, `limits.split` allows more than one, and `limits.tokens_per_batch` is the size of each",
        )),
        "k" => Some(Meant::ApiKey),
        name if is_key_like(name) => Some(Meant::ApiKey),
        _ => has(EXTRA).then_some(Meant::Extra),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::keys::{self, SETTINGS};

    #[test]
    fn names_are_unique_lead_to_settings_and_are_no_settings() {
        let mut seen = BTreeSet::new();
        for (setting, names) in NAMES {
            assert!(keys::find(setting).is_some(), "{setting}");
            for name in *names {
                assert!(seen.insert(name), "{name} twice");
                assert!(SETTINGS.iter().all(|setting| setting.flag != *name), "{name} is a flag");
                assert_eq!(meant(&name.to_uppercase().replace('-', "_")), Some(Meant::Setting(setting)), "{name}");
            }
        }
    }

    #[test]
    fn keys_are_told_from_settings() {
        for name in ["api-key", "key", "k", "OPENAI_API_KEY", "apikey", "token"] {
            assert_eq!(meant(name), Some(Meant::ApiKey), "{name}");
        }
        assert_eq!((meant("seed"), meant("TOP_P"), meant("zzz")), (Some(Meant::Extra), Some(Meant::Extra), None));
        assert!(matches!(meant("BATCH_SIZE"), Some(Meant::Nothing(_))));
    }
}
