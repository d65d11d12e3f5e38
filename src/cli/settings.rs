//! `promptmill settings`.

use std::path::Path;

use serde_json::{Map, json};

use super::args::ListArgs;
use super::{Failure, consent, in_json, print};
use crate::config::consent::Question;
use crate::config::value::RawValue;
use crate::config::{Environment, Loaded, load};
use crate::model::Exit;
use crate::report::terminal::tell;

/// Lists the settings that hold, and where each was set.
pub(super) fn settings(args: &ListArgs, environment: &Environment) -> Result<Exit, Failure> {
    let loaded = load(&args.from.settings, args.from.config.as_deref(), Path::new("."), environment)?;
    for warning in loaded.warnings.iter().chain(&loaded.address_warnings()) {
        tell(&format!("warning: {warning}"));
    }
    let consent = match loaded.question() {
        Some(question) => Some((consent::is_given(&question, environment)?, question)),
        None => None,
    };
    print(&if args.json { json(&loaded, consent) } else { in_lines(&loaded, consent) })?;
    Ok(Exit::Done)
}

fn in_lines(loaded: &Loaded, consent: Option<(bool, Question)>) -> Vec<String> {
    let described = loaded.settings.describe();
    let width = described.iter().map(|setting| setting.key.len()).max().unwrap_or(0);
    let mut lines: Vec<String> = described
        .iter()
        .map(|setting| {
            let value = RawValue::Text(setting.value.clone()).shown();
            format!("{:width$} = {value}  ({})", setting.key, setting.origin)
        })
        .collect();
    let key = loaded.key.as_ref().map_or("none".to_owned(), |(_, origin)| format!("set, from {origin}"));
    lines.push(format!("{:width$} = {key}", "API key"));
    let account = loaded.account.iter();
    lines.extend(account.map(|(name, value, origin)| format!("{name:width$} = {value}  ({origin})")));
    if let Some((given, question)) = consent {
        let given = if given { "given" } else { "needed before anything is sent" };
        lines.push(format!("{:width$} = {given}: {question}", "consent"));
    }
    lines
}

/// Values as they were written, all of them text.
fn json(loaded: &Loaded, consent: Option<(bool, Question)>) -> Vec<String> {
    let described = loaded.settings.describe().iter();
    let settings: Map<_, _> = described
        .map(|setting| {
            let value = json!({ "value": setting.value, "from": setting.origin.to_string() });
            (setting.key.to_owned(), value)
        })
        .collect();
    let key = loaded.key.as_ref().map(|(_, origin)| origin.to_string());
    let account: Map<_, _> = loaded
        .account
        .iter()
        .map(|(name, value, origin)| ((*name).to_owned(), json!({ "value": value, "from": origin.to_string() })))
        .collect();
    let consent = consent.map(|(given, question)| {
        json!({ "given": given, "server": question.server, "named_by": question.named_by.to_string() })
    });
    in_json(&json!({ "settings": settings, "api_key_from": key, "account": account, "consent": consent }))
}
