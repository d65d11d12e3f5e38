//! `promptmill settings`.

use std::io::Write;
use std::path::Path;

use super::args::SettingsArgs;
use super::{Exit, Failure};
use crate::config::{Environment, load};

/// Lists the settings that hold, and where each was set.
pub(super) fn settings(args: &SettingsArgs, environment: &Environment) -> Result<Exit, Failure> {
    let loaded = load(&args.settings, args.config.as_deref(), Path::new("."), environment)?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let mut stdout = std::io::stdout().lock();
    let described = loaded.settings.describe();
    let width = described.iter().map(|setting| setting.key.len()).max().unwrap_or(0);
    for setting in described {
        writeln!(stdout, "{:width$} = {}  ({})", setting.key, setting.value, setting.origin)
            .map_err(Failure::Output)?;
    }
    let key = loaded.key.map_or("none".to_owned(), |(_, origin)| format!("set, from {origin}"));
    writeln!(stdout, "{:width$} = {key}", "API key").map_err(Failure::Output)?;
    Ok(Exit::Done)
}
