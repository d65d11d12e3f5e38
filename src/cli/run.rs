//! `promptmill run`.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::args::RunArgs;
use super::prepare::Prepared;
use super::watch::Watcher;
use super::{Exit, Failure, print};
use crate::atomic::{folder_of, remove_leftovers};
use crate::clock::{Clock, Mono, Now};
use crate::config::{Concurrency, Environment, needs_key};
use crate::count::Tokenizer;
use crate::drive::{Driven, Io, drive};
use crate::model::{PromptId, Usage};
use crate::plan::Plan;
use crate::plan::price::Price;
use crate::record::FaceFound;
use crate::record::entry::{Fingerprinter, Known, Status};
use crate::record::sqlite::{Found, RunInfo, SqliteStore, state_file};
use crate::report::event::Event;
use crate::report::format::{count, counted, dollars, span};
use crate::report::summary::{Summary, Tally};
use crate::report::terminal::Terminal;
use crate::run::{Content, Ending, Machine, OutputEstimate, Rules};
use crate::send::client::{Client, ClientOptions};
use crate::standin;
use crate::write::target::{self, Outputs};

/// The most requests in flight with `concurrency = "auto"`.
const AUTO_CONCURRENCY: usize = 512;
/// Open files that are not connections: outputs being written, the store, the terminal.
const OTHER_FILES: usize = 64;
/// A temporary file of `usage.md` that is older than this was left by a killed process.
const LEFTOVER_AGE: chrono::TimeDelta = chrono::TimeDelta::minutes(1);

/// Runs the prompts.
pub(super) fn run(args: &RunArgs, environment: &Environment) -> Result<Exit, Failure> {
    let clock = Clock;
    let started = clock.mono();
    let mut prepared = Prepared::load(&args.from, args.offline, environment)?;
    start_log(args.verbose);
    let terminal = Terminal::new(args.verbosity(), std::io::stderr().is_terminal(), prepared.settings.limits, clock);
    let mut watcher = Watcher { terminal, json: args.json, price: None, cost_usd: 0.0 };
    let result = Run { args, prepared: &mut prepared, clock, started, watcher: &mut watcher }.go();
    watcher.terminal.end();
    result
}

struct Run<'a> {
    args: &'a RunArgs,
    prepared: &'a mut Prepared,
    clock: Clock,
    started: Mono,
    watcher: &'a mut Watcher,
}

impl Run<'_> {
    fn go(&mut self) -> Result<Exit, Failure> {
        let scan = self.prepared.scan()?;
        self.warn();
        if scan.prompts.is_empty() {
            self.watcher.terminal.say(&self.prepared.nothing_selected(&scan));
        } else if !self.args.offline && self.prepared.key.is_none() && needs_key(&self.prepared.settings.base_url) {
            return Err(Failure::NoKey { base_url: self.prepared.settings.base_url.clone() });
        }
        self.warm_tokenizer(&scan.prompts);
        let now = self.clock.now();
        let says = format!("process {}, since {}", std::process::id(), now.wall.format("%Y-%m-%d %H:%M:%S UTC"));
        let _held = Outputs::hold(&self.prepared.settings.outputs, &says)?;
        let mut store = self.open_store(&now)?;
        let outputs = self.prepared.outputs_name();
        let mut found = store.find(&outputs, &self.prepared.settings.template.model)?;
        let plan = {
            self.write_kept(&mut store, &mut found)?;
            self.recover_lost(&mut store, &mut found)?;
            self.prepared.plan(&scan.prompts, &found, self.args.force)?
        };
        self.warn();
        let plan = plan?;
        if plan.jobs.is_empty() && plan.adopted.is_empty() {
            store.write_face(&self.clock.now())?;
            return Ok(self.close(&plan, &Tally::default(), &Ending::Complete, &mut store, false));
        }
        let info = RunInfo {
            outputs,
            model: self.prepared.settings.template.model.clone(),
            rehearsal: self.prepared.rehearsal,
            pid: std::process::id(),
        };
        store.start_run(&info, &self.clock.now())?;
        store.adopt(&plan.adopted, &self.clock.now())?;
        self.send(plan, store, found)
    }

    /// Loads the tokenizer's tables, which takes tens of milliseconds, while the store is opened: where the last prompt has no output yet, some
    /// prompt is to be counted. Where all are up to date, nothing is loaded.
    fn warm_tokenizer(&self, prompts: &[PromptId]) {
        let settings = &self.prepared.settings;
        let last_is_there = prompts.last().is_none_or(|id| settings.outputs.join(target::file_name(*id)).exists());
        if self.args.force || !last_is_there {
            let tokenizer = Tokenizer::for_model(&settings.template.model);
            std::thread::spawn(move || tokenizer.warm());
        }
    }

    fn warn(&mut self) {
        for message in std::mem::take(&mut self.prepared.warnings) {
            self.watcher.tell(&Event::Warning { message });
        }
    }

    fn warning(&mut self, message: String) {
        self.watcher.tell(&Event::Warning { message });
    }

    fn open_store(&mut self, now: &Now) -> Result<SqliteStore, Failure> {
        let settings = &self.prepared.settings;
        let has_history = state_file(&settings.ledger).exists();
        let mut store = SqliteStore::open(&settings.ledger, settings.limits, self.clock.boot(), now)?;
        // Other processes may share the ledger: only what none of them can be about to rename. What stays does no harm.
        let old = (now.wall - LEFTOVER_AGE).into();
        let _ = remove_leftovers(folder_of(&settings.ledger), Some(old));
        let ledger = settings.ledger.display().to_string();
        if self.args.reset_usage {
            let kept = store.reset_usage(now)?;
            let kept = kept.map_or(String::new(), |kept| format!("; the old file is {}", kept.display()));
            self.watcher.terminal.say(&format!("{ledger}: all counters are set to zero{kept}"));
        } else if let FaceFound::Edited(face) = store.take_edit(now)? {
            let minute = face.minute;
            let why = if has_history { "was edited" } else { "has no history beside it" };
            self.watcher.terminal.say(&format!(
                "{ledger} {why}; its numbers hold: {} tokens and {} requests in this minute, {} tokens in the day {}",
                count(minute.tokens),
                count(minute.requests),
                count(face.day_tokens),
                face.date
            ));
        }
        Ok(store)
    }

    /// Writes answers that an earlier run received and could not write.
    fn write_kept(&mut self, store: &mut SqliteStore, found: &mut Found) -> Result<(), Failure> {
        let outputs = &self.prepared.settings.outputs;
        let kept = std::mem::take(&mut found.kept);
        for answer in &kept {
            target::write(outputs, answer.prompt, &Content::Answer(answer.text.clone()))
                .map_err(|source| Failure::Kept { prompt: answer.prompt, source })?;
            store.recover_kept(answer, &self.clock.now())?;
            if let Some(known) = found.known.get_mut(&answer.prompt) {
                known.status = Status::Done;
            }
        }
        if !kept.is_empty() {
            self.watcher
                .terminal
                .say(&format!("{} of an earlier run written now that there is room", counted(kept.len(), "answer")));
        }
        Ok(())
    }

    /// Finds the answers that a killed run wrote without being able to say so, and tells of the requests whose fate is not known.
    fn recover_lost(&mut self, store: &mut SqliteStore, found: &mut Found) -> Result<(), Failure> {
        if found.lost.is_empty() {
            return Ok(());
        }
        let settings = &self.prepared.settings;
        let on_disk = target::list(&settings.outputs)?;
        let tokenizer = Tokenizer::for_model(&settings.template.model);
        let total = found.lost.len();
        let mut recovered = Vec::new();
        for request in &found.lost {
            // Written since it was begun, under our lock: nobody else can have written it.
            let Some(file) =
                on_disk.get(&request.prompt).filter(|file| file.modified_ms >= request.begun.timestamp_millis())
            else {
                continue;
            };
            if target::is_error(&settings.outputs, request.prompt) {
                continue;
            }
            let text =
                std::fs::read_to_string(settings.outputs.join(target::file_name(request.prompt))).unwrap_or_default();
            let usage = Usage { input_tokens: request.input_tokens, output_tokens: tokenizer.count(&text) };
            recovered.push((request.clone(), usage, file.bytes));
        }
        for (request, usage, bytes) in &recovered {
            let known = Known {
                fingerprint: request.fingerprint,
                status: Status::Done,
                bytes: *bytes,
                rehearsal: request.rehearsal,
                usage: *usage,
            };
            found.known.insert(request.prompt, known);
        }
        found.lost.retain(|request| !recovered.iter().any(|(done, ..)| done.prompt == request.prompt));
        store.recover_lost(&recovered, &self.clock.now())?;
        let tokens: u64 = found.lost.iter().map(|request| request.reserved_tokens).sum();
        let cost = self.price().map_or(String::new(), |price| {
            let cost: f64 = found.lost.iter().map(|request| price.cost_usd(request.most_usage())).sum();
            format!(", {}", dollars(cost))
        });
        self.warning(format!(
            "{} in flight when the last run was killed; {} of their answers were on disk. The other {} may have been paid for \
             (at most {} tokens{cost}) and will be sent again",
            if total == 1 { "1 request was".to_owned() } else { format!("{} requests were", count(total as u64)) },
            recovered.len(),
            found.lost.len(),
            count(tokens),
        ));
        Ok(())
    }

    /// The model's price; a server on this machine costs nothing.
    fn price(&self) -> Option<Price> {
        let settings = &self.prepared.settings;
        if self.prepared.rehearsal || !needs_key(&settings.base_url) {
            return None;
        }
        Price::look_up(&settings.template.model, &settings.base_url, self.clock.now().wall)
    }

    fn send(&mut self, plan: Plan, store: SqliteStore, found: Found) -> Result<Exit, Failure> {
        let sendable = plan.sendable().count();
        let concurrency = self.concurrency().min(sendable.max(1));
        self.watcher.price = self.price();
        let settings = &self.prepared.settings;
        let mut base_url = settings.base_url.clone();
        let standin = if self.args.offline {
            let server = standin::Server::start_thread(standin::Options { remember: 0, ..standin::Options::default() })
                .map_err(Failure::Offline)?;
            base_url = server.base_url();
            Some(server)
        } else {
            None
        };
        self.watcher.tell(&Event::Started {
            prompts: plan.prompts(),
            up_to_date: plan.up_to_date,
            to_send: sendable,
            input_tokens: plan.input_tokens,
            model: settings.template.model.clone(),
            concurrency,
        });
        let io = Io {
            client: client(self.prepared, base_url, concurrency)?,
            template: Arc::new(settings.template.clone()),
            fingerprinter: Fingerprinter::new(&settings.template, self.prepared.rehearsal),
            tokenizer: Tokenizer::for_model(&settings.template.model),
            key: self.prepared.key.clone(),
            prompts: settings.prompts.clone(),
            outputs: settings.outputs.clone(),
            store,
            clock: self.clock,
        };
        let rules = Rules {
            concurrency,
            attempts: settings.attempts,
            max_output_tokens: settings.template.max_output_tokens,
            on_day_limit: settings.on_day_limit,
            limits: settings.limits,
        };
        let estimate = OutputEstimate::from_latest(found.latest_output_tokens);
        let mut plan = plan;
        let machine = Machine::new(std::mem::take(&mut plan.jobs), rules, estimate, fastrand::u64(..));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::Runtime)?;
        let Driven { ending, machine, store } = runtime.block_on(async {
            let interrupts = interrupts().map_err(Failure::Runtime)?;
            Ok::<_, Failure>(drive(machine, io, interrupts, self.watcher).await)
        })?;
        runtime.shutdown_background();
        drop(standin);
        let tally = machine.progress().tally.clone();
        plan.jobs = machine.into_jobs();
        match store {
            Some(mut store) => {
                if let Err(error) = store.write_face(&self.clock.now()) {
                    self.warning(error.to_string());
                }
                Ok(self.close(&plan, &tally, &ending, &mut store, true))
            }
            None => Ok(Exit::SomeFailed),
        }
    }

    fn concurrency(&self) -> usize {
        let files = super::open_files();
        // The stand-in's ends of the connections are open files of this process too.
        let ends = if self.args.offline { 2 } else { 1 };
        let most = files.saturating_sub(OTHER_FILES).max(ends) / ends;
        match self.prepared.settings.concurrency {
            Concurrency::Auto => AUTO_CONCURRENCY.min(most),
            Concurrency::Fixed(number) => number.get().min(most),
        }
    }

    /// Prints the closing line and what is to be known beside it.
    fn close(&mut self, plan: &Plan, tally: &Tally, ending: &Ending, store: &mut SqliteStore, ran: bool) -> Exit {
        let exit = Exit::of(ending, tally.failed + tally.kept);
        let summary = Summary {
            prompts: plan.prompts(),
            up_to_date: plan.up_to_date,
            pending: plan.prompts() - plan.up_to_date - tally.done - tally.failed,
            tally: tally.clone(),
            cost_usd: self.watcher.price.is_some().then_some(self.watcher.cost_usd),
            seconds: self.started.until(self.clock.mono()).as_secs_f64(),
            exit_code: exit.code(),
            stopped_by: stopped_by(ending),
        };
        if ran && let Err(error) = store.end_run(&summary.to_string(), &self.clock.now()) {
            self.warning(error.to_string());
        }
        self.watcher.terminal.end();
        if self.args.json {
            self.watcher.tell(&Event::Summary(summary));
            return exit;
        }
        if !self.args.quiet {
            for line in remarks(&summary) {
                self.watcher.terminal.say(&line);
            }
        }
        if let Some(reason) = &summary.stopped_by {
            self.watcher.terminal.say(&format!("ended early: {reason}"));
        }
        // The run has ended as it has ended, whoever reads of it.
        if let Err(error) = print(&format!("{summary}\n")) {
            self.watcher.terminal.say(&format!("warning: {error}; the closing line: {summary}"));
        }
        exit
    }
}

fn client(prepared: &Prepared, base_url: String, concurrency: usize) -> Result<Client, Failure> {
    let settings = &prepared.settings;
    Ok(Client::new(&ClientOptions {
        base_url,
        key: prepared.key.clone(),
        api: settings.template.api,
        max_in_flight: concurrency,
        connect_timeout: settings.timeouts.connect,
        first_byte_timeout: settings.timeouts.first_byte,
        total_timeout: settings.timeouts.total,
    })?)
}

/// Why a run ended early, and what to do.
fn stopped_by(ending: &Ending) -> Option<String> {
    match ending {
        Ending::Complete => None,
        Ending::Stopped { class, message, .. } => {
            let message = message.trim_end_matches('.');
            Some(format!("{class}: {message}. What is pending was not paid for; run again when that is mended"))
        }
        Ending::DayLimit => Some("a day limit is reached; run again after midnight".to_owned()),
        Ending::Interrupted => Some("interrupted; run again to go on".to_owned()),
        Ending::Disk(message) | Ending::Store(message) => Some(message.clone()),
    }
}

/// What a person should know of a run, beside its closing line.
fn remarks(summary: &Summary) -> Vec<String> {
    let tally = &summary.tally;
    let mut remarks = Vec::new();
    if tally.requests > 0 {
        let cost = summary.cost_usd.map_or(String::new(), |cost| format!(", about {}", dollars(cost)));
        let again = if tally.retried + tally.throttled > 0 {
            format!(" ({} retried, {} throttled)", count(tally.retried as u64), count(tally.throttled as u64))
        } else {
            String::new()
        };
        remarks.push(format!(
            "{}{again} in {}: {} input + {} output tokens{cost}",
            counted(tally.requests, "request"),
            span(Duration::from_secs_f64(summary.seconds)),
            count(tally.usage.input_tokens),
            count(tally.usage.output_tokens),
        ));
    }
    for (number, what) in [
        (tally.truncated, "cut off at the token limit (see --max-output-tokens)"),
        (tally.refused, "refusals; the refusal's text is the output"),
        (tally.filtered, "cut off by the content filter"),
    ] {
        if number > 0 {
            remarks.push(format!("{} of the answers: {what}", count(number as u64)));
        }
    }
    if tally.unknown_requests > 0 {
        remarks.push(format!(
            "{} ended without a clear answer and may have been billed: at most {} tokens, counted as used",
            counted(tally.unknown_requests, "attempt"),
            count(tally.unknown_tokens)
        ));
    }
    if tally.kept > 0 {
        remarks.push(format!(
            "{} could not be written; the next run writes them, nothing is paid twice",
            counted(tally.kept, "answer")
        ));
    }
    remarks
}

/// Ctrl-C, and the polite kill.
fn interrupts() -> std::io::Result<UnboundedReceiver<()>> {
    let (tell, interrupts) = unbounded_channel();
    // Both are listened for from here on without a gap: one that came before the first listener would kill, one between two would be missed.
    #[cfg(unix)]
    let (mut interrupt, mut terminate) = {
        use tokio::signal::unix::{SignalKind, signal};
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    tokio::spawn(async move {
        loop {
            #[cfg(unix)]
            let came = tokio::select! {
                came = interrupt.recv() => came.is_some(),
                came = terminate.recv() => came.is_some(),
            };
            #[cfg(not(unix))]
            let came = tokio::signal::ctrl_c().await.is_ok();
            if !came || tell.send(()).is_err() {
                return;
            }
        }
    });
    Ok(interrupts)
}

/// Diagnostics on stderr, with `-v` and `-vv`. async-openai logs whole bodies, so its target stays off.
fn start_log(verbose: u8) {
    use tracing::level_filters::LevelFilter;
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let level = match verbose {
        0 => return,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let targets = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("promptmill", level)
        .with_target("async_openai", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // What cannot be logged would be said with a panicking print.
        .log_internal_errors(false);
    // A second start in one process (a test) keeps the first.
    let _ = tracing_subscriber::registry().with(lines).with(targets).try_init();
}
