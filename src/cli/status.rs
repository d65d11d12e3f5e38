//! `promptmill status`.

use std::time::Duration;

use chrono::{DateTime, Local, Utc};
use serde::Serialize;

use super::args::StatusArgs;
use super::{Failure, in_json, mill_of, print};
use crate::admit::hint::LearnedLimit;
use crate::admit::ledger::{Amount, Ledger};
use crate::clock::Now;
use crate::config::Environment;
use crate::model::text::{count, span};
use crate::model::{Exit, LimitName, Limits};
use crate::record::{self, LastRun, ledger_of_face};
use crate::report::event::Event;
use crate::report::learned::line;
use crate::report::wording::line_of;

/// How many notes of the last run are shown.
const NOTES: usize = 20;

/// A limit and how much of it is used.
#[derive(Serialize)]
struct Line {
    limit: LimitName,
    used: u64,
    /// The limit; `None` where there is none.
    most: Option<u64>,
    /// Where a run pauses, if that is below the limit.
    pauses_at: Option<u64>,
    /// Seconds until the first of what is used is free again; `None` where nothing is used.
    frees_in_seconds: Option<f64>,
    /// Seconds until all of it is.
    free_in_seconds: Option<f64>,
}

#[derive(Serialize)]
struct Report {
    limits: Vec<Line>,
    /// What was learned of the server's limits.
    learned: Vec<LearnedLimit>,
    last_run: Option<Run>,
    /// The last notes of that run, where more is asked for.
    notes: Vec<Note>,
}

/// Something that happened in a run.
#[derive(Serialize)]
struct Note {
    at: DateTime<Utc>,
    event: String,
}

#[derive(Serialize)]
struct Run {
    model: String,
    offline: bool,
    pid: u32,
    started: DateTime<Utc>,
    ended: Option<DateTime<Utc>>,
    summary: Option<String>,
}

/// Says what is used up now.
pub(super) fn status(args: &StatusArgs, environment: &Environment) -> Result<Exit, Failure> {
    let mill = mill_of(&args.from, false, environment)?;
    let clock = mill.clock();
    let settings = &mill.settings;
    let now = clock.now();
    let mut report = Report { limits: Vec::new(), learned: Vec::new(), last_run: None, notes: Vec::new() };
    let ledger = match record::open_to_read(&settings.ledger, settings.limits, clock.boot(), &now)? {
        Some(mut store) => {
            let outputs = mill.outputs_name();
            report.last_run = store.last_run(&outputs)?.map(Run::from);
            report.learned = store.learned(&mill.endpoint())?;
            if args.verbose > 0 {
                let notes = store.last_notes(&outputs, NOTES)?;
                report.notes = notes.into_iter().map(|(at, event)| Note { at, event }).collect();
            }
            store.preview(&now)?
        }
        None => ledger_of_face(&settings.ledger, settings.limits, &now)?,
    };
    report.limits = lines(ledger, &settings.limits, &now);
    let text = if args.json { in_json(&report) } else { report.text(&settings.limits, now.wall) };
    print(&text)?;
    Ok(Exit::Done)
}

fn lines(mut ledger: Ledger, limits: &Limits, now: &Now) -> Vec<Line> {
    let used = ledger.used(now);
    let leaving = ledger.leaving();
    let in_window = |of: fn(&Amount) -> u64| {
        let mut moments =
            leaving.iter().filter(|(_, amount)| of(amount) > 0).map(|(at, _)| now.mono.until(*at).as_secs_f64());
        let first = moments.next();
        (first, moments.next_back().or(first))
    };
    let midnight = (now.day.ends - now.wall).to_std().unwrap_or_default().as_secs_f64();
    let daily = |amount: u64| (amount > 0).then_some(midnight);
    let minute = |limit, used, (frees_in_seconds, free_in_seconds)| Line {
        limit,
        used,
        most: limits.of(limit),
        pauses_at: None,
        frees_in_seconds,
        free_in_seconds,
    };
    let day = |limit, used| Line {
        limit,
        used,
        most: limits.of(limit),
        pauses_at: limits.day_most(limit).filter(|most| Some(*most) != limits.of(limit)),
        frees_in_seconds: daily(used),
        free_in_seconds: daily(used),
    };
    vec![
        minute(LimitName::TokensPerMinute, used.minute.tokens, in_window(|amount| amount.tokens)),
        minute(LimitName::RequestsPerMinute, used.minute.requests, in_window(|amount| amount.requests)),
        day(LimitName::TokensPerDay, used.day.tokens),
        day(LimitName::RequestsPerDay, used.day.requests),
    ]
}

impl Report {
    fn text(&self, limits: &Limits, now: DateTime<Utc>) -> Vec<String> {
        let mut lines = Vec::new();
        for Line { limit, used, most, pauses_at, frees_in_seconds, free_in_seconds } in &self.limits {
            let most = most.map_or("no limit".to_owned(), |most| format!("of {}", count(most)));
            let frees = match (frees_in_seconds, free_in_seconds) {
                (Some(first), Some(all)) if seconds(*first) == seconds(*all) => format!(", free in {}", seconds(*all)),
                (Some(first), Some(all)) => {
                    format!(", begins to free in {}, all free in {}", seconds(*first), seconds(*all))
                }
                _ => String::new(),
            };
            let pauses = pauses_at.map_or(String::new(), |most| format!(", pausing at {}", count(most)));
            lines.push(format!("{:20} {:>12} {most}{pauses}{frees}", limit.key(), count(*used)));
        }
        for learned in &self.learned {
            lines.push(format!("server: {}", line(learned, &Local)));
        }
        match &self.last_run {
            None => lines.push("last run: none for this outputs folder".to_owned()),
            Some(run) => {
                let at = |time: DateTime<Utc>| time.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string();
                let model = if run.offline { format!("{} (stand-in)", run.model) } else { run.model.clone() };
                if let (Some(ended), Some(summary)) = (run.ended, &run.summary) {
                    lines.push(format!("last run: {model}, {} to {}", at(run.started), at(ended)));
                    lines.push(format!("  {summary}"));
                } else {
                    let (started, pid) = (at(run.started), run.pid);
                    lines.push(format!(
                        "last run: {model}, started {started} by process {pid}, still running or killed"
                    ));
                }
            }
        }
        for Note { at, event } in &self.notes {
            // A note of another version is shown as it stands.
            let line = Event::from_json(event).and_then(|event| line_of(&event, limits, now)).map(|(_, line)| line);
            let at = at.with_timezone(&Local).format("%H:%M:%S");
            lines.push(format!("  {at} {}", line.as_ref().unwrap_or(event)));
        }
        lines
    }
}

fn seconds(seconds: f64) -> String {
    span(Duration::from_secs_f64(seconds))
}

impl From<LastRun> for Run {
    fn from(run: LastRun) -> Self {
        let LastRun { model, rehearsal, pid, started, ended, summary } = run;
        Self { model, offline: rehearsal, pid, started, ended, summary }
    }
}
