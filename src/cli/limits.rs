//! `promptmill limits`.

use std::fmt::Write as _;

use chrono::Local;

use super::args::{LimitsAction, LimitsArgs};
use super::prepare::Prepared;
use super::{Exit, Failure, print};
use crate::admit::hint::LearnedLimit;
use crate::clock::Clock;
use crate::config::Environment;
use crate::record::Endpoint;
use crate::record::sqlite::{SqliteStore, state_file};
use crate::report::format::counted;
use crate::report::learned::line;

/// Shows what was learned of servers' limits, or forgets it.
pub(super) fn limits(args: &LimitsArgs, environment: &Environment) -> Result<Exit, Failure> {
    let prepared = Prepared::load(&args.from, false, environment)?;
    let endpoint = (!args.all).then(|| prepared.endpoint());
    let text = match args.action {
        Some(LimitsAction::Forget) => forget(&prepared, endpoint.as_ref())?,
        None => show(&prepared, endpoint)?,
    };
    print(&text)?;
    Ok(Exit::Done)
}

fn show(prepared: &Prepared, endpoint: Option<Endpoint>) -> Result<String, Failure> {
    let (settings, clock) = (&prepared.settings, Clock);
    let store = SqliteStore::open_to_read(&settings.ledger, settings.limits, clock.boot(), &clock.now())?;
    let known: Vec<(Endpoint, LearnedLimit)> = match (&store, &endpoint) {
        (None, _) => Vec::new(),
        (Some(store), None) => store.all_learned()?,
        (Some(store), Some(one)) => store.learned(one)?.into_iter().map(|limit| (one.clone(), limit)).collect(),
    };
    if known.is_empty() {
        return Ok(match endpoint {
            Some(endpoint) => format!("{endpoint}: nothing learned; runs learn the server's limits from its answers\n"),
            None => "nothing learned; runs learn servers' limits from their answers\n".to_owned(),
        });
    }
    let mut text = String::new();
    let mut last = None;
    for (endpoint, limit) in &known {
        // Writing to a string does not fail.
        if last.replace(endpoint) != Some(endpoint) {
            let _ = writeln!(text, "{endpoint}");
        }
        let _ = writeln!(text, "  {}", line(limit, &Local));
    }
    Ok(text)
}

fn forget(prepared: &Prepared, endpoint: Option<&Endpoint>) -> Result<String, Failure> {
    let (settings, clock) = (&prepared.settings, Clock);
    // Where there is no state, none is made.
    let forgotten = if state_file(&settings.ledger).exists() {
        SqliteStore::open(&settings.ledger, settings.limits, clock.boot(), &clock.now())?.forget(endpoint)?
    } else {
        0
    };
    let whose = endpoint.map_or(String::new(), |endpoint| format!(" of {endpoint}"));
    Ok(format!("{} forgotten{whose}\n", counted(forgotten, "learned limit")))
}
