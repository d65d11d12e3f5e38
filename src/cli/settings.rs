//! `promptmill settings`.

use std::path::Path;

use super::args::SettingsArgs;
use super::{Exit, Failure, print};
use crate::config::{Environment, load};
use crate::report::terminal::tell;

/// Lists the settings that hold, and where each was set.
pub(super) fn settings(args: &SettingsArgs, environment: &Environment) -> Result<Exit, Failure> {
    let loaded = load(&args.settings, args.config.as_deref(), Path::new("."), environment)?;
    for warning in &loaded.warnings {
        tell(&format!("warning: {warning}"));
    }
    let described = loaded.settings.describe();
    let width = described.iter().map(|setting| setting.key.len()).max().unwrap_or(0);
    let mut lines: Vec<String> = described
        .iter()
        .map(|setting| format!("{:width$} = {}  ({})\n", setting.key, setting.value, setting.origin))
        .collect();
    let key = loaded.key.map_or("none".to_owned(), |(_, origin)| format!("set, from {origin}"));
    lines.push(format!("{:width$} = {key}\n", "API key"));
    print(&lines.concat())?;
    Ok(Exit::Done)
}
