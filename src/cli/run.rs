//! `promptmill run`.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::Local;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::args::RunArgs;
use super::deadline::ends_at;
use super::feed::{of_tokenizer, recover_lost};
use super::prepare::Prepared;
use super::process::{listen_for_signals, open_files};
use super::watch::Watcher;
use super::{Failure, consent};
use crate::admit::server::ServerLimits;
use crate::clock::{Clock, Mono};
use crate::config::{self, Environment, needs_key};
use crate::count::Tokenizer;
use crate::drive::parts::{Part, ended_unexpectedly, start};
use crate::drive::{Driven, Io, News, drive, vigil};
use crate::model::text::{count, counted};
use crate::model::{Drawn, Ending, Exit, Fingerprinter, Key, Signal, Supply, Work};
use crate::plan::{Feed, Outputs as _};
use crate::record::entry::LostRequest;
use crate::record::{Found, RunInfo, Store};
use crate::report::closing::broken;
use crate::report::event::Event;
use crate::report::summary::Tally;
use crate::run::{Concurrency, Machine, Rules, chunk};
use crate::send::client::{Client, ClientOptions};
use crate::standin;
use crate::tripwire;
use crate::write::Sink;
use crate::write::files::Files;

/// The most requests in flight with `concurrency = "auto"`.
const AUTO_CONCURRENCY: usize = 2_000;
/// Open files that are not connections: outputs being written, the store, the terminal.
const OTHER_FILES: usize = 64;
/// So many rows are looked at before anybody wonders what takes so long.
const SHORT: usize = 10_000;
/// What is to be read before a question is waited for in such steps.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs the prompts.
pub(super) fn run(args: &RunArgs, environment: &Environment) -> Result<Exit, Failure> {
    let started = Clock::default().mono();
    let mut prepared = Prepared::load(&args.from, args.offline, environment)?;
    let clock = prepared.clock();
    let (tell, news) = unbounded_channel();
    let mut watcher = Watcher::start(args, &prepared.settings, clock, &tell)?;
    let (prepared, watcher) = (&mut prepared, &mut watcher);
    let mut run =
        Run { args, environment, prepared, clock, started, deadline: None, watcher, tell, news, signal: None };
    // What is said of it goes the way of all that is said.
    let result = catch_unwind(AssertUnwindSafe(|| run.go()));
    let failed = match result {
        Ok(Ok(exit)) => return Ok(exit),
        Ok(Err(failure)) => (failure.to_string(), failure.exit()),
        Err(_) => (broken(&ended_unexpectedly(Part::Command)), Exit::SomeFailed),
    };
    run.watcher.terminal.end();
    run.watcher.terminal.say(&format!("error: {}", failed.0));
    Ok(run.finish(failed.1, true))
}

/// One run, with what its steps share.
pub(super) struct Run<'a> {
    pub(super) args: &'a RunArgs,
    pub(super) environment: &'a Environment,
    pub(super) prepared: &'a mut Prepared,
    pub(super) clock: Clock,
    pub(super) started: Mono,
    /// When the run is to end, if it is told.
    pub(super) deadline: Option<Mono>,
    pub(super) watcher: &'a mut Watcher,
    pub(super) tell: UnboundedSender<News>,
    /// Signals, and what becomes of threads.
    pub(super) news: UnboundedReceiver<News>,
    /// The first signal that came.
    pub(super) signal: Option<Signal>,
}

/// Whether a signal has come since this was last asked; the first of all is kept.
pub(super) fn is_signalled(news: &mut UnboundedReceiver<News>, first: &mut Option<Signal>) -> bool {
    let mut came = false;
    while let Ok(news) = news.try_recv() {
        if let News::Signal(signal) = news {
            first.get_or_insert(signal);
            came = true;
        }
    }
    came
}

impl Run<'_> {
    fn go(&mut self) -> Result<Exit, Failure> {
        let ends = ends_at(self.args.until.as_deref(), self.args.run_for, &self.clock.now(), &Local)?;
        self.deadline = ends;
        let scan = self.prepared.scan()?;
        self.warn();
        if !scan.has_text() {
            self.watcher.terminal.say(&self.prepared.nothing_selected(&scan));
        } else if !self.args.offline
            && self.prepared.credential().is_none()
            && needs_key(&self.prepared.settings.base_url)
        {
            return Err(Failure::NoKey { base_url: self.prepared.settings.base_url.clone() });
        } else if let Some(question) = &self.prepared.question {
            // What was said before stands above the question.
            while self.watcher.terminal.wait(PATIENCE) > 0 {}
            consent::obtain(question, self.environment)?;
        }
        let warming = self.warm_tokenizer(&scan.prompts)?;
        let now = self.clock.now();
        let says = format!("process {}, since {}", std::process::id(), now.wall.format("%Y-%m-%d %H:%M:%S UTC"));
        let sink: Arc<dyn Sink> = Arc::new(Files::hold(&self.prepared.settings.outputs, &says)?);
        let mut store = self.open_store(&now)?;
        let outputs = self.prepared.outputs_name();
        let mut found = store.find(&outputs, &self.prepared.settings.template.model)?;
        self.write_kept(store.as_mut(), &mut found, &*sink)?;
        let recovery = recover_lost(std::mem::take(&mut found.lost), &*sink);
        let history = store.history(&outputs)?;
        let mut feed = self.prepared.feed(&scan, &sink, history, &found.kept, &recovery, self.args.force)?;
        let draft = feed.draw(chunk(self.concurrency()), || true)?;
        if let Some(Err(panic)) = warming.map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        self.settle_lost(store.as_mut(), &recovery, sent_again(&draft.drawn.work, &recovery.unknown), &*sink)?;
        self.prepared.warnings.extend(draft.warnings(&*feed.texts()));
        if !draft.drawn.work.is_empty() || draft.refused.is_some() {
            self.prepared.warnings.extend(of_tokenizer(&self.prepared.settings.template.model));
        }
        self.warn();
        if let Some(refused) = draft.refused {
            return Err(refused.into());
        }
        if !draft.adopted.is_empty() {
            self.watcher.tell(&Event::WithoutHistory { answers: draft.adopted.len() });
        }
        // A run that starts has told of what was in flight, and tells of it once.
        if draft.drawn.work.is_empty() && draft.adopted.is_empty() && recovery.unknown.is_empty() {
            self.patiently(|now| store.write_face(now))?;
            return Ok(self.close(
                &draft.drawn.supply,
                &Tally::default(),
                &Ending::Complete,
                Some(store.as_mut()),
                false,
            ));
        }
        let info = RunInfo {
            outputs,
            model: self.prepared.settings.template.model.clone(),
            rehearsal: self.prepared.rehearsal,
            pid: std::process::id(),
        };
        self.patiently(|now| store.start_run(&info, now))?;
        self.patiently(|now| store.adopt(&draft.adopted, now))?;
        tripwire::here("command");
        // The folder is held to the end, and longer where a thread that writes there has not ended.
        self.send(feed, draft.drawn, Arc::clone(&sink), store, &found)
    }

    /// Loads the tokenizer's tables, which takes tens of milliseconds, while the store is opened: where the last prompt has no output yet, some
    /// prompt is to be counted. Where all are up to date, nothing is loaded.
    fn warm_tokenizer(&self, prompts: &[u64]) -> Result<Option<JoinHandle<()>>, Failure> {
        let settings = &self.prepared.settings;
        let is_there = |number: u64| {
            let outputs = Files::to_read(&settings.outputs);
            outputs.is_ok_and(|outputs| outputs.stands(&Key::from(number)) != Ok(0))
        };
        let last_is_there = prompts.last().is_none_or(|number| is_there(*number));
        if !self.args.force && last_is_there {
            return Ok(None);
        }
        let tokenizer = Tokenizer::for_model(&settings.template.model);
        let warm = move || {
            tripwire::here("tokenizer");
            tokenizer.warm();
        };
        Ok(Some(start(Part::Tokenizer, drop, warm)?))
    }

    fn warn(&mut self) {
        for message in std::mem::take(&mut self.prepared.warnings) {
            self.watcher.tell(&Event::Warning { message });
        }
    }

    pub(super) fn warning(&mut self, message: String) {
        self.watcher.tell(&Event::Warning { message });
    }

    fn send(
        &mut self,
        feed: Feed,
        first: Drawn,
        sink: Arc<dyn Sink>,
        mut store: Box<dyn Store>,
        found: &Found,
    ) -> Result<Exit, Failure> {
        let supply = first.supply;
        let sendable = || first.work.iter().filter(|work| work.doomed.is_none());
        let (to_send, input_tokens) = (sendable().count(), sendable().map(|work| work.input_tokens).sum());
        let most = if supply.left { usize::MAX } else { to_send.max(1) };
        let concurrency = self.concurrency().min(most);
        self.watcher.meter.set_price(self.prepared.price(self.clock.now().wall));
        let settings = &self.prepared.settings;
        let mut base_url = settings.base_url.clone();
        let standin = if self.args.offline {
            let options = standin::Options { remember: 0, ..standin::Options::default() };
            let vigil = vigil(Part::Standin, &self.tell);
            let server = standin::Server::start_thread_with(options, vigil).map_err(Failure::Offline)?;
            base_url = server.base_url();
            Some(server)
        } else {
            None
        };
        self.watcher.tell(&Event::Started {
            prompts: supply.prompts,
            up_to_date: supply.up_to_date,
            to_send,
            input_tokens,
            model: settings.template.model.clone(),
            concurrency,
            reading: supply.left,
        });
        let now = self.clock.now();
        // What our own stand-in does says nothing of a server.
        let endpoint = (!self.args.offline).then(|| self.prepared.endpoint());
        let learned = endpoint.as_ref().map_or_else(|| Ok(Vec::new()), |endpoint| store.learned(endpoint))?;
        let recent = if learned.is_empty() { Vec::new() } else { store.recent(&now)? };
        let io = Io {
            feed,
            first,
            client: client(self.prepared, base_url, concurrency)?,
            template: Arc::new(settings.template.clone()),
            fingerprinter: Fingerprinter::new(&settings.template, self.prepared.rehearsal),
            tokenizer: Tokenizer::for_model(&settings.template.model),
            most_tokens: self.prepared.most_tokens(),
            secrets: self.prepared.secrets(),
            sink,
            store,
            endpoint,
            clock: self.clock,
        };
        let rules = Rules {
            concurrency: match settings.concurrency {
                config::Concurrency::Auto => Concurrency::Auto(concurrency),
                _ => Concurrency::Fixed(concurrency),
            },
            // Our own stand-in is known.
            soft_start: !self.args.offline,
            attempts: settings.attempts,
            max_output_tokens: settings.template.output_limit(),
            on_day_limit: settings.on_day_limit,
            on_quota: settings.on_quota,
            quota_wait: settings.quota_wait,
            give_up_after: settings.give_up_after,
            deadline: self.deadline,
            limits: settings.limits,
        };
        let estimate = self.prepared.estimate(found);
        let server = ServerLimits::new(settings.pacing, settings.limits, learned, recent, &now);
        let machine = Machine::new(rules, estimate, server, fastrand::u64(..));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::Runtime)?;
        let Driven { ending, machine, store, is_over, at_once, supply, feed } = runtime.block_on(async {
            listen_for_signals(&self.tell).map_err(Failure::Runtime)?;
            Ok::<_, Failure>(drive(machine, io, &mut self.news, self.watcher).await?)
        })?;
        drop(standin);
        if let Ending::Interrupted(signal) = ending {
            self.signal = Some(signal);
        }
        if !is_over {
            self.warning(
                "a thread has not ended, because the disk or the state file does not answer; the outputs folder stays held until it has"
                    .to_owned(),
            );
        }
        let skip = at_once || matches!(ending, Ending::Source(_));
        let supply = feed.map_or(supply, |feed| self.look_at_the_rest(feed, skip));
        let tally = machine.progress().tally.clone();
        let exit = match store {
            Some(mut store) => {
                let ending = match store.is_there() {
                    Err(gone) if ending == Ending::Complete => Ending::Store(gone.to_string()),
                    _ => ending,
                };
                // What fails where the store has failed is told with that.
                tripwire::here("end");
                if let Err(error) = self.patiently(|now| store.write_face(now))
                    && !matches!(ending, Ending::Store(_))
                {
                    self.warning(error.to_string());
                }
                self.close(&supply, &tally, &ending, Some(store.as_mut()), true)
            }
            None => self.close(&supply, &tally, &ending, None, true),
        };
        // Signals are listened for up to here.
        runtime.shutdown_background();
        Ok(exit)
    }

    /// What was not drawn is looked at, so that the sum is true: what of it has its answer, and what is pending. A signal ends that.
    fn look_at_the_rest(&mut self, mut feed: Feed, skip: bool) -> Supply {
        if let Some(prompts) = feed.unread().filter(|prompts| *prompts > SHORT && !skip) {
            let prompts = counted(prompts, "prompt");
            self.watcher
                .terminal
                .say(&format!("looking at {prompts} more, to tell what is pending; Ctrl-C skips that"));
        }
        let (news, signal) = (&mut self.news, &mut self.signal);
        if let Err(error) = feed.look_at_the_rest(|| !skip && !is_signalled(news, signal)) {
            self.warning(error.to_string());
        }
        match feed.unread() {
            Some(0) => {}
            Some(prompts) => self.warning(format!(
                "{} counted as pending, though some may be up to date: the input was not read to its end",
                if prompts == 1 { "1 prompt is".to_owned() } else { format!("{} prompts are", count(prompts)) }
            )),
            None => self.warning("the input was not read to its end; what follows there is not counted".to_owned()),
        }
        feed.supply()
    }

    fn concurrency(&self) -> usize {
        let files = open_files();
        // The stand-in's ends of the connections are open files of this process too.
        let ends = if self.args.offline { 2 } else { 1 };
        let most = files.saturating_sub(OTHER_FILES).max(ends) / ends;
        match self.prepared.settings.concurrency {
            config::Concurrency::Auto => AUTO_CONCURRENCY,
            config::Concurrency::Conservative => 4,
            config::Concurrency::Moderate => 32,
            config::Concurrency::Aggressive => 256,
            config::Concurrency::Fixed(number) => number.get(),
        }
        .min(most)
    }
}

/// How many of the requests of unknown fate are sent again.
fn sent_again(work: &[Work], lost: &[LostRequest]) -> usize {
    let lost: HashSet<_> = lost.iter().map(|request| &request.key).collect();
    work.iter().filter(|work| work.doomed.is_none() && lost.contains(&work.key)).count()
}

fn client(prepared: &Prepared, base_url: String, concurrency: usize) -> Result<Client, Failure> {
    let settings = &prepared.settings;
    Ok(Client::new(&ClientOptions {
        base_url,
        key: prepared.key.clone(),
        headers: settings.headers.clone(),
        api: settings.template.api,
        max_in_flight: concurrency,
        connect_timeout: settings.timeouts.connect,
        first_byte_timeout: settings.timeouts.first_byte,
        total_timeout: settings.timeouts.total,
    })?)
}
