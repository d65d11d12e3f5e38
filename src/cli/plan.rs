//! `promptmill plan`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::Local;
use serde::Serialize;

use super::args::PlanArgs;
use super::{Failure, in_json, mill_of, print};
use crate::admit::forecast::{Binding, Forecast, Server, forecast};
use crate::admit::hint::{LearnedLimit, Unit};
use crate::admit::ledger::Ledger;
use crate::admit::within::{ASSUMED_ANSWER, Impossible, Within, within};
use crate::clock::{DayZone, Now};
use crate::config::Environment;
use crate::mill::Mill;
use crate::mill::{of_tokenizer, recover_lost};
use crate::model::text::{count, counted, dollars, span};
use crate::model::{Drawn, Exit, Key, Limits, OnDayLimit, Usage, Work};
use crate::plan::price::{Price, TABLE_DATE};
use crate::plan::standing::Why;
use crate::plan::{Draft, History, NoHistory, OverBatch};
use crate::record::{self, Found, ledger_of_face};
use crate::report::learned::of_server;
use crate::report::terminal::tell;
use crate::report::wording::{midnight, without_history};
use crate::run::OutputEstimate;
use crate::write::Sink;
use crate::write::files::Files;

/// What a plan says; its JSON is one line.
#[derive(Serialize)]
struct Report {
    prompts: usize,
    up_to_date: usize,
    /// Of them, those of which the journal knows nothing.
    without_history: usize,
    to_send: usize,
    will_fail: usize,
    /// Why they are sent.
    because: BTreeMap<Why, usize>,
    input_tokens: u64,
    expected_output_tokens: u64,
    /// Whether these are assumed, because too few of the model's answers are known.
    output_is_assumed: bool,
    batches: u32,
    /// Whether the run would be refused.
    over_batch_limit: bool,
    cost_usd: Option<f64>,
    prices_of: Option<&'static str>,
    waits: usize,
    /// The limit that binds: the name of one that is set, or one of the server.
    waits_for: Option<Binding>,
    last_request_in_seconds: f64,
    left_pending_by_day_limit: usize,
    /// What a deadline needs; `None` where none is asked about.
    within: Option<Within>,
    each: Vec<Line>,
}

/// What a plan is made from, beside settings and prompts.
struct Basis {
    ledger: Ledger,
    /// What is known of the server's limits.
    learned: Vec<LearnedLimit>,
    /// The output of answers that do not say how many tokens they may have.
    estimate: OutputEstimate,
    /// The deadline that is asked about.
    within: Option<Duration>,
    /// The mean time of the model's answers, where it is known.
    answer: Option<Duration>,
}

/// One prompt of the plan.
#[derive(Serialize)]
struct Line {
    key: Key,
    priority: i32,
    input_tokens: u64,
    why: Why,
    fails: Option<String>,
}

/// Says what a run would do.
pub(super) fn plan(args: &PlanArgs, environment: &Environment) -> Result<Exit, Failure> {
    let mut mill = mill_of(&args.from, args.offline, environment)?;
    let scan = mill.scan()?;
    let clock = mill.clock();
    let now = clock.now();
    let settings = &mill.settings;
    let mut store = record::open_to_read(&settings.ledger, settings.limits, clock.boot(), &now)?;
    let outputs_name = mill.outputs_name();
    let (ledger, mut found, learned, answer) = match &mut store {
        Some(store) => {
            let found = store.find(&outputs_name, &settings.template.model)?;
            let learned = store.learned(&mill.endpoint())?;
            // It is asked for only where it is needed.
            let is_needed = args.within.is_some() || learned.iter().any(|limit| limit.unit == Unit::InFlight);
            let model = &settings.template.model;
            let answer = if is_needed { store.mean_answer(model, mill.rehearsal)? } else { None };
            (store.preview(&now)?, found, learned, answer)
        }
        None => (ledger_of_face(&settings.ledger, settings.limits, &now)?, Found::default(), Vec::new(), None),
    };
    let outputs: Arc<dyn Sink> = Arc::new(Files::to_read(&mill.settings.outputs)?);
    let recovery = recover_lost(std::mem::take(&mut found.lost), &*outputs);
    let history = || match &store {
        Some(store) => store.history(&outputs_name),
        None => Ok(Box::new(NoHistory) as Box<dyn History>),
    };
    let mut feed = mill.feed(&scan, &outputs, history()?, &found.kept, &recovery, args.force)?;
    let mut draft = feed.draw(usize::MAX, || true)?;
    mill.warnings.extend(draft.warnings(&*feed.texts()));
    let refused = draft.refused;
    if refused.is_some() {
        // What it would be if it were split: the numbers are what the person needs.
        mill.settings.split = true;
        feed = mill.feed(&scan, &outputs, history()?, &found.kept, &recovery, args.force)?;
        draft = feed.draw(usize::MAX, || true)?;
    }
    if !draft.drawn.work.is_empty() {
        mill.warnings.extend(of_tokenizer(&mill.settings.template.model));
    }
    for warning in &mill.warnings {
        tell(&format!("warning: {warning}"));
    }
    if draft.drawn.supply.prompts == 0 {
        tell(&mill.nothing_selected(&scan));
    }
    if !draft.adopted.is_empty() {
        tell(&format!("warning: {}", without_history(draft.adopted.len())));
    }
    let estimate = mill.estimate(&found);
    let basis = Basis { ledger, learned, estimate, within: args.within, answer };
    let report = Report::new(&mill, &draft, refused.is_some(), basis, &now);
    let text = if args.json { in_json(&report) } else { report.text(&mill, &now, args) };
    print(&text)?;
    match refused {
        Some(refused @ OverBatch { .. }) => Err(refused.into()),
        None if report.left_pending_by_day_limit > 0 => Ok(Exit::DayLimit),
        None if report.will_fail > 0 => Ok(Exit::SomeFailed),
        None => Ok(Exit::Done),
    }
}

impl Report {
    fn new(mill: &Mill, draft: &Draft, over_batch_limit: bool, basis: Basis, now: &Now) -> Self {
        let Basis { ledger, learned, estimate, within: deadline, answer } = basis;
        let server = Server { limits: learned, answer: answer.unwrap_or(ASSUMED_ANSWER) };
        let settings = &mill.settings;
        let said = settings.template.output_limit();
        let output_tokens = said.unwrap_or_else(|| estimate.tokens());
        let Drawn { work, supply, .. } = &draft.drawn;
        let jobs: Vec<&Work> = work.iter().filter(|work| work.doomed.is_none()).collect();
        let reserved = || {
            jobs.iter().map(|job| match said {
                Some(most) => job.input_tokens.saturating_add(most),
                None => estimate.reservation(job.input_tokens, &settings.limits),
            })
        };
        let ends = settings.on_day_limit == OnDayLimit::Exit;
        let day_of = |wall| settings.day.day_of(wall);
        // How long it takes is told with a day's limit waited for, also where the run would end there.
        let within = deadline.map(|deadline| {
            let forecast = forecast(ledger.clone(), &server, reserved(), now, day_of, false);
            within(deadline, jobs.len(), answer, &forecast)
        });
        let Forecast { last_admission, waits, binds, left_pending } =
            forecast(ledger, &server, reserved(), now, day_of, ends);
        let price = mill.price(now.wall);
        let cost = |price: &Price| {
            let usage = |job: &&Work| Usage { input_tokens: job.input_tokens, output_tokens, ..Usage::default() };
            jobs.iter().map(|job| price.cost_usd(usage(job))).sum()
        };
        let mut because = BTreeMap::new();
        for (_, why) in work.iter().zip(&draft.whys).filter(|(job, _)| job.doomed.is_none()) {
            *because.entry(*why).or_default() += 1;
        }
        let each = work.iter().zip(&draft.whys).map(|(job, why)| Line {
            key: job.key.clone(),
            priority: settings.priorities.of(&job.key),
            input_tokens: job.input_tokens,
            why: *why,
            fails: job.doomed.as_ref().map(|doom| format!("{}: {}", doom.class, doom.message)),
        });
        Self {
            prompts: supply.prompts,
            up_to_date: supply.up_to_date,
            without_history: draft.adopted.len(),
            to_send: jobs.len(),
            will_fail: work.len() - jobs.len(),
            because,
            input_tokens: jobs.iter().map(|job| job.input_tokens).sum(),
            expected_output_tokens: output_tokens.saturating_mul(jobs.len() as u64),
            output_is_assumed: said.is_none() && estimate.is_assumed(),
            batches: supply.portions.unwrap_or(0),
            over_batch_limit,
            cost_usd: price.as_ref().map(cost),
            prices_of: price.map(|_| TABLE_DATE),
            waits,
            waits_for: binds,
            last_request_in_seconds: last_admission.as_secs_f64(),
            left_pending_by_day_limit: left_pending,
            within,
            each: each.collect(),
        }
    }

    fn text(&self, mill: &Mill, now: &Now, args: &PlanArgs) -> Vec<String> {
        let settings = &mill.settings;
        let mut lines = Vec::new();
        lines.push(format!(
            "{} = {} up to date + {} to send + {} that will fail",
            counted(self.prompts, "prompt"),
            count(self.up_to_date as u64),
            count(self.to_send as u64),
            count(self.will_fail as u64)
        ));
        for (why, number) in self.because.iter().filter(|_| !args.quiet) {
            lines.push(format!("  {}: {why}", count(*number as u64)));
        }
        for line in self.each.iter().filter(|line| args.verbose > 0 || line.fails.is_some()) {
            let Line { key, priority, input_tokens, why, fails } = line;
            let priority = if *priority == 0 { String::new() } else { format!(", priority {priority}") };
            match fails {
                Some(reason) => lines.push(format!("  prompt {key} will fail: {reason}")),
                None => {
                    lines.push(format!("  prompt {key}: {} input tokens, {why}{priority}", count(*input_tokens)));
                }
            }
        }
        if self.to_send > 0 && !args.quiet {
            let batch = settings
                .limits
                .tokens_per_batch
                .map_or(String::new(), |most| format!(" (batch limit {})", count(most)));
            lines.push(format!("input:  {} tokens{batch}", count(self.input_tokens)));
            let from = if settings.template.output_limit().is_some() { "at most" } else { "about" };
            let assumed = if self.output_is_assumed {
                let (each, model) = (self.expected_output_tokens / self.to_send as u64, &settings.template.model);
                format!(" ({} an answer are assumed, too few of {model} are known)", count(each))
            } else {
                String::new()
            };
            lines.push(format!("output: {from} {} tokens{assumed}", count(self.expected_output_tokens)));
            if self.batches > 1 {
                lines.push(format!("batches: {}", self.batches));
            }
            lines.push(match (self.cost_usd, mill.is_free()) {
                (Some(cost), _) => {
                    format!("cost:   about {} for {} (prices of {TABLE_DATE})", dollars(cost), settings.template.model)
                }
                (None, true) => "cost:   none, the server is on this machine".to_owned(),
                (None, false) => format!("cost:   unknown; there is no price for {}", settings.template.model),
            });
            lines.push(self.timing(now, settings.day));
            lines.extend(self.within.as_ref().map(|within| needs(within, &settings.limits)));
        }
        lines
    }

    fn timing(&self, now: &Now, day: DayZone) -> String {
        let last = std::time::Duration::from_secs_f64(self.last_request_in_seconds);
        let end = (now.wall + chrono::TimeDelta::from_std(last).unwrap_or_default())
            .with_timezone(&Local)
            .format("%a %Y-%m-%d %H:%M:%S");
        let pending = if self.left_pending_by_day_limit > 0 {
            format!("; a day limit leaves {} pending", count(self.left_pending_by_day_limit as u64))
        } else {
            String::new()
        };
        match &self.waits_for {
            None if self.left_pending_by_day_limit > 0 => format!(
                "time:   a day limit leaves {} pending until {}; the others are sent at once",
                count(self.left_pending_by_day_limit as u64),
                midnight(day)
            ),
            None => "time:   no limit applies; all are sent at once".to_owned(),
            Some(limit) => {
                let limit = match limit {
                    Binding::Own(limit) => limit.to_string(),
                    Binding::Server(limit) => of_server(limit),
                };
                let waits = counted(self.waits, "wait");
                let last = span(last);
                format!("time:   {limit} is the limit, {waits}; the last request is sent after {last} ({end}){pending}")
            }
        }
    }
}

/// What a deadline needs, or why it cannot be.
fn needs(within: &Within, limits: &Limits) -> String {
    let Within { deadline, answer, answer_is_known, requests_per_second, concurrency, impossible, .. } = within;
    let answers = if *answer_is_known {
        format!("answers take {} on average", span(*answer))
    } else {
        format!("no answers yet; assuming {}", span(*answer))
    };
    let needs = match impossible {
        Some(Impossible { limit: Some(limit), takes }) => {
            let limit = match limit {
                Binding::Own(limit) => limits.named(*limit),
                Binding::Server(limit) => of_server(limit),
            };
            format!("not possible under {limit}; it takes {}", span(*takes))
        }
        Some(Impossible { limit: None, takes }) => format!("not possible, one answer takes {}", span(*takes)),
        None => format!("{requests_per_second:.2} requests a second, which --concurrency {concurrency} gives"),
    };
    format!("within {}: {needs} ({answers})", span(*deadline))
}
