//! The part of a run that sends: what it works with is made, and driven to its end.

use std::sync::Arc;

use super::ended::Ended;
use super::open_files::open_files;
use super::run::Run;
use super::{Failure, Mill};
use crate::admit::server::ServerLimits;
use crate::config;
use crate::count::Tokenizer;
use crate::drive::parts::Part;
use crate::drive::signals::listen_for_signals;
use crate::drive::{Driven, Io, drive, vigil};
use crate::model::text::{count, counted};
use crate::model::{Drawn, Ending, Fingerprinter, Supply};
use crate::plan::Feed;
use crate::record::{Found, Store};
use crate::report::event::Event;
use crate::run::{Concurrency, Machine, Rules};
use crate::send::client::{Client, ClientOptions};
use crate::standin;
use crate::tripwire;
use crate::write::Sink;

/// The most requests in flight with `concurrency = "auto"`.
const AUTO_CONCURRENCY: usize = 2_000;
/// So many rows are looked at before anybody wonders what takes so long.
const SHORT: usize = 10_000;
/// Open files that are not connections: outputs being written, the store, the terminal.
const OTHER_FILES: usize = 64;

impl Run<'_> {
    pub(super) fn send(
        &mut self,
        feed: Feed,
        first: Drawn,
        sink: Arc<dyn Sink>,
        mut store: Box<dyn Store>,
        found: &Found,
    ) -> Result<Ended, Failure> {
        let supply = first.supply;
        let sendable = || first.work.iter().filter(|work| work.doomed.is_none());
        let (to_send, input_tokens) = (sendable().count(), sendable().map(|work| work.input_tokens).sum());
        let most = if supply.left { usize::MAX } else { to_send.max(1) };
        let concurrency = self.concurrency().min(most);
        self.watch.meter.set_price(self.mill.price(self.clock.now().wall));
        let settings = &self.mill.settings;
        let standin = self.standin()?;
        let base_url = standin.as_ref().map_or_else(|| settings.base_url.clone(), standin::Server::base_url);
        self.watch.tell(Event::Started {
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
        let endpoint = (!self.mill.rehearsal).then(|| self.mill.endpoint());
        let learned = endpoint.as_ref().map_or_else(|| Ok(Vec::new()), |endpoint| store.learned(endpoint))?;
        let recent = if learned.is_empty() { Vec::new() } else { store.recent(&now)? };
        let io = Io {
            feed,
            first,
            client: client(self.mill, base_url, concurrency)?,
            template: Arc::new(settings.template.clone()),
            fingerprinter: Fingerprinter::new(&settings.template, self.mill.rehearsal),
            tokenizer: Tokenizer::for_model(&settings.template.model),
            most_tokens: self.mill.most_tokens(),
            minute: settings.limits.window,
            secrets: self.mill.secrets(),
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
            soft_start: !self.mill.rehearsal,
            attempts: settings.attempts,
            max_output_tokens: settings.template.output_limit(),
            on_day_limit: settings.on_day_limit,
            on_quota: settings.on_quota,
            quota_wait: settings.quota_wait,
            give_up_after: settings.give_up_after,
            deadline: self.order.deadline,
            limits: settings.limits,
        };
        let estimate = self.mill.estimate(found);
        let server = ServerLimits::new(settings.pacing, settings.limits, learned, recent, &now);
        let machine = Machine::new(rules, estimate, server, fastrand::u64(..));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::Runtime)?;
        let Driven { ending, machine, store, is_over, at_once, supply, feed } = runtime.block_on(async {
            if self.order.signals {
                listen_for_signals(&self.control.tell()).map_err(Failure::Runtime)?;
            }
            Ok::<_, Failure>(drive(machine, io, self.control, &mut self.watch).await?)
        })?;
        drop(standin);
        if let Ending::Interrupted(signal) = ending {
            self.control.note(signal);
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
        let mut ended = match store {
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
        // Signals are listened for as long as it is there.
        ended.runtime = Some(runtime);
        Ok(ended)
    }

    /// The server of a rehearsal.
    fn standin(&self) -> Result<Option<standin::Server>, Failure> {
        if !self.mill.rehearsal {
            return Ok(None);
        }
        let options = standin::Options { remember: 0, ..standin::Options::default() };
        let vigil = vigil(Part::Standin, &self.control.tell());
        standin::Server::start_thread_with(options, vigil).map(Some).map_err(Failure::Offline)
    }

    /// What was not drawn is looked at, so that the sum is true: what of it has its answer, and what is pending. A signal ends that.
    fn look_at_the_rest(&mut self, mut feed: Feed, skip: bool) -> Supply {
        if let Some(prompts) = feed.unread().filter(|prompts| *prompts > SHORT && !skip) {
            let prompts = counted(prompts, "prompt");
            self.watch.say(&format!("looking at {prompts} more, to tell what is pending; Ctrl-C skips that"));
        }
        let control = &mut *self.control;
        if let Err(error) = feed.look_at_the_rest(|| !skip && !control.is_signalled()) {
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

    pub(super) fn concurrency(&self) -> usize {
        let files = open_files();
        // The stand-in's ends of the connections are open files of this process too.
        let ends = if self.mill.rehearsal { 2 } else { 1 };
        let most = files.saturating_sub(OTHER_FILES).max(ends) / ends;
        match self.mill.settings.concurrency {
            config::Concurrency::Auto => AUTO_CONCURRENCY,
            config::Concurrency::Conservative => 4,
            config::Concurrency::Moderate => 32,
            config::Concurrency::Aggressive => 256,
            config::Concurrency::Fixed(number) => number.get(),
        }
        .min(most)
    }
}

fn client(mill: &Mill, base_url: String, concurrency: usize) -> Result<Client, Failure> {
    let settings = &mill.settings;
    Ok(Client::new(&ClientOptions {
        base_url,
        key: mill.key.clone(),
        headers: settings.headers.clone(),
        api: settings.template.api,
        max_in_flight: concurrency,
        connect_timeout: settings.timeouts.connect,
        first_byte_timeout: settings.timeouts.first_byte,
        total_timeout: settings.timeouts.total,
    })?)
}
