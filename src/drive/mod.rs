//! The one event loop: carries out the machine's actions, feeds what comes of them back, and arms one timer.
//!
//! It decides nothing. `select!` only gathers the next input; the machine answers it at once. Requests are tasks of this loop, files are read and
//! written by a small pool (`disk`), and the store has a thread of its own (`keeper`), so that many requests share one transaction.

mod disk;
mod keeper;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{Id, JoinSet};

use crate::admit::hint::ServerHint;
use crate::admit::ledger::Used;
use crate::clock::{Clock, Mono};
use crate::count::Tokenizer;
use crate::model::{Class, Doom, Ending, Fingerprinter, RequestTemplate, Secret, Signal, Usage};
use crate::record::Endpoint;
use crate::record::sqlite::SqliteStore;
use crate::report::event::Event;
use crate::report::summary::Progress;
use crate::run::{Action, Input, JobIndex, Machine};
use crate::send::classify::{Billed, Failure, Kind, Verdict, classify};
use crate::send::client::Client;
use crate::send::hints;
use crate::source::folder::Folder;
use disk::Disk;
use keeper::Keeper;

/// The longest sleep: after a machine's sleep, or when another process has given room back, the machine is asked again within this time.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// What a run works with.
pub struct Io {
    /// Sends the requests.
    pub client: Client,
    /// What every request has.
    pub template: Arc<RequestTemplate>,
    /// Makes sure that what is sent is what was planned.
    pub fingerprinter: Fingerprinter,
    /// Counts answers whose usage the server does not report, or not credibly.
    pub tokenizer: Tokenizer,
    /// The most tokens that a request may have used, input and output together.
    pub most_tokens: u64,
    /// Masked in every message, should a server echo one.
    pub secrets: Arc<[Secret]>,
    /// The prompts folder.
    pub prompts: Folder,
    /// The outputs folder.
    pub outputs: PathBuf,
    /// Ledger and journal.
    pub store: SqliteStore,
    /// Whose limits are learned and kept; `None` for the stand-in.
    pub endpoint: Option<Endpoint>,
    /// The clocks.
    pub clock: Clock,
}

/// How a drive ended.
pub struct Driven {
    /// Why.
    pub ending: Ending,
    /// The machine, for its counts.
    pub machine: Machine,
    /// The store; `None` where its thread died.
    pub store: Option<SqliteStore>,
}

/// Who watches a run.
pub trait Watch {
    /// Something has happened.
    fn event(&mut self, event: Event);
    /// So much is used of the limits now.
    fn used(&mut self, used: Used);
    /// Some time has passed.
    fn tick(&mut self, progress: Progress<'_>);
}

/// What comes back to the loop.
enum Back {
    Input(Input),
    /// A prompt's request, ready to be sent, or why it cannot be.
    Ready(JobIndex, Result<serde_json::Value, Doom>),
    Used(Used),
    Warning(String),
}

/// Runs `machine` to its end. Each of the `signals` is a person's wish to end it.
pub async fn drive(
    mut machine: Machine,
    io: Io,
    mut signals: UnboundedReceiver<Signal>,
    watch: &mut dyn Watch,
) -> Driven {
    let Io { client, template, fingerprinter, tokenizer, most_tokens, prompts, outputs, store, .. } = io;
    let (secrets, endpoint, clock) = (io.secrets, io.endpoint, io.clock);
    let (back, mut came) = unbounded_channel();
    let keeper = Keeper::start(store, outputs.clone(), endpoint, clock, back.clone());
    let disk = Disk::start(prompts, outputs, Arc::clone(&template), fingerprinter, back);
    let mut requests: JoinSet<(JobIndex, Verdict, Vec<ServerHint>)> = JoinSet::new();
    let mut sent: HashMap<Id, JobIndex> = HashMap::new();
    let mut wake: Option<Mono> = None;
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut input = Some(Input::Start);
    loop {
        if let Some(input) = input.take() {
            wake = None;
            for action in machine.handle(&clock.now(), input) {
                match action {
                    Action::Begin(claims) => keeper.begin(claims),
                    Action::Finish(finished) => keeper.finish(finished),
                    Action::Send(job) => {
                        let planned = &machine.jobs()[job as usize];
                        disk.read(job, planned.key.clone(), planned.fingerprint);
                    }
                    Action::Write(job, content) => {
                        let written = &machine.jobs()[job as usize];
                        disk.write(job, written.key.clone(), content, written.place.answered);
                    }
                    Action::Learn(limits) => keeper.learn(limits),
                    Action::WakeAt(at) => wake = Some(at),
                    Action::Say(event) => {
                        if event.is_noted() {
                            keeper.note(clock.now().wall, event.to_json());
                        }
                        watch.event(event);
                    }
                    Action::End(ending) => {
                        requests.abort_all();
                        let store = keeper.stop();
                        return Driven { ending, machine, store };
                    }
                }
            }
        }
        let sleep = wake.map_or(LONGEST_SLEEP, |at| clock.mono().until(at).min(LONGEST_SLEEP));
        input = tokio::select! {
            Some(back) = came.recv() => match back {
                Back::Input(input) => Some(input),
                Back::Ready(job, Ok(body)) => {
                    let (client, api) = (client.clone(), template.api);
                    let input_tokens = machine.jobs()[job as usize].input_tokens;
                    let (secrets, key) = (Arc::clone(&secrets), machine.jobs()[job as usize].key.clone());
                    let task = requests.spawn(async move {
                        let heard = client.ask(body).await;
                        let wall = clock.now().wall;
                        let verdict = classify(api, heard.as_ref(), wall);
                        let hints = heard.as_ref().map(|reply| hints::of_reply(reply, wall)).unwrap_or_default();
                        let status = heard.as_ref().map_or(0, |reply| reply.status);
                        tracing::debug!(%key, status, "heard");
                        let count = |text: &str| Usage { input_tokens, output_tokens: tokenizer.count(text) };
                        (job, tidied(verdict, most_tokens, count, &secrets), hints)
                    });
                    sent.insert(task.id(), job);
                    None
                }
                Back::Ready(job, Err(doom)) => Some(Input::Heard(job, not_sent(doom), Vec::new())),
                Back::Used(used) => {
                    watch.used(used);
                    None
                }
                Back::Warning(message) => {
                    watch.event(Event::Warning { message });
                    None
                }
            },
            Some(ended) = requests.join_next_with_id() => match ended {
                Ok((id, (job, verdict, hints))) => {
                    sent.remove(&id);
                    Some(Input::Heard(job, verdict, hints))
                }
                // A panic in a task is an attempt of unknown fate, not the end of the run.
                Err(error) => sent.remove(&error.id()).map(|job| Input::Heard(job, broken(&error), Vec::new())),
            },
            Some(signal) = signals.recv() => Some(Input::Interrupt(signal)),
            _ = ticks.tick() => {
                watch.tick(machine.progress());
                None
            }
            () = tokio::time::sleep(sleep) => Some(Input::Wake),
        };
        // Nothing has happened that the machine should know: keep the alarm.
        if input.is_none() && wake.is_some_and(|at| at <= clock.mono()) {
            input = Some(Input::Wake);
        }
    }
}

/// Puts `count` in place of a usage that is not reported, or not credibly, and masks secrets in a failure's message.
fn tidied(verdict: Verdict, most_tokens: u64, count: impl FnOnce(&str) -> Usage, secrets: &[Secret]) -> Verdict {
    match verdict {
        Verdict::Answer(mut answer) => {
            answer.settle_usage(most_tokens, count);
            Verdict::Answer(answer)
        }
        Verdict::Failure(mut failure) => {
            // What was reserved is the next best number.
            failure.usage = failure.usage.filter(|usage| usage.total() <= most_tokens);
            for secret in secrets {
                failure.message = secret.redact(&failure.message);
            }
            Verdict::Failure(failure)
        }
    }
}

fn not_sent(doom: Doom) -> Verdict {
    let Doom { class, message } = doom;
    Verdict::Failure(Failure { kind: Kind::Prompt, class, message, wait: None, billed: Billed::No, usage: None })
}

fn broken(error: &tokio::task::JoinError) -> Verdict {
    let message =
        format!("promptmill's own request task ended without an answer: {error}; this is a bug, please report it");
    Verdict::Failure(Failure {
        kind: Kind::Unknown,
        class: Class::Connection,
        message,
        wait: None,
        billed: Billed::Maybe,
        usage: None,
    })
}
