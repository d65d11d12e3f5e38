//! `promptmill limits`.

use chrono::Local;
use serde::Serialize;

use super::args::{LimitsAction, LimitsArgs};
use super::{Failure, in_json, mill_of, print};
use crate::admit::hint::LearnedLimit;
use crate::config::Environment;
use crate::mill::Mill;
use crate::model::Exit;
use crate::model::text::counted;
use crate::record::Endpoint;
use crate::record::{self, state_file};
use crate::report::learned::line;

/// A limit and whose it is; its JSON is one object.
#[derive(Serialize)]
struct Known {
    #[serde(flatten)]
    endpoint: Endpoint,
    #[serde(flatten)]
    limit: LearnedLimit,
}

/// Shows what was learned of servers' limits, or forgets it.
pub(super) fn limits(args: &LimitsArgs, environment: &Environment) -> Result<Exit, Failure> {
    let mill = mill_of(&args.from, false, environment)?;
    let endpoint = (!args.all).then(|| mill.endpoint());
    let text = match args.action {
        Some(LimitsAction::Forget) => {
            let forgotten = forget(&mill, endpoint.as_ref())?;
            let whose = endpoint.map_or(String::new(), |endpoint| format!(" of {endpoint}"));
            if args.json {
                in_json(&serde_json::json!({ "forgotten": forgotten }))
            } else {
                vec![format!("{} forgotten{whose}", counted(forgotten, "learned limit"))]
            }
        }
        None => {
            let known = known(&mill, endpoint.as_ref())?;
            if args.json { in_json(&serde_json::json!({ "limits": known })) } else { text(&known, endpoint.as_ref()) }
        }
    };
    print(&text)?;
    Ok(Exit::Done)
}

/// What is known of `endpoint`, or of all where it is `None`.
fn known(mill: &Mill, endpoint: Option<&Endpoint>) -> Result<Vec<Known>, Failure> {
    let (settings, clock) = (&mill.settings, mill.clock());
    let store = record::open_to_read(&settings.ledger, settings.limits, clock.boot(), &clock.now())?;
    let Some(store) = store else { return Ok(Vec::new()) };
    let known = match endpoint {
        None => store.all_learned()?,
        Some(one) => store.learned(one)?.into_iter().map(|limit| (one.clone(), limit)).collect(),
    };
    Ok(known.into_iter().map(|(endpoint, limit)| Known { endpoint, limit }).collect())
}

fn text(known: &[Known], endpoint: Option<&Endpoint>) -> Vec<String> {
    if known.is_empty() {
        return vec![match endpoint {
            Some(endpoint) => format!("{endpoint}: nothing learned; runs learn the server's limits from its answers"),
            None => "nothing learned; runs learn servers' limits from their answers".to_owned(),
        }];
    }
    let mut lines = Vec::new();
    let mut last = None;
    for Known { endpoint, limit } in known {
        if last.replace(endpoint) != Some(endpoint) {
            lines.push(endpoint.to_string());
        }
        lines.push(format!("  {}", line(limit, &Local)));
    }
    lines
}

/// Forgets it, and says how many limits that were.
fn forget(mill: &Mill, endpoint: Option<&Endpoint>) -> Result<usize, Failure> {
    let (settings, clock) = (&mill.settings, mill.clock());
    // Where there is no state, none is made.
    if !state_file(&settings.ledger).exists() {
        return Ok(0);
    }
    Ok(record::open(&settings.ledger, settings.limits, clock.boot(), &clock.now())?.forget(endpoint)?)
}
