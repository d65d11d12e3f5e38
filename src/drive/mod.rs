//! The one event loop: carries out the machine's actions, feeds what comes of them back, and arms one timer.
//!
//! It decides nothing. `select!` only gathers the next input; the machine answers it at once. Requests are tasks of this loop, files are read and
//! written by a small pool (`disk`), and the store has a thread of its own (`keeper`), so that many requests share one transaction.

mod back;
mod control;
mod disk;
mod event_loop;
mod keeper;
pub mod parts;
mod reader;
mod request;
pub mod signals;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::admit::ledger::Used;
use crate::clock::Clock;
use crate::count::Tokenizer;
use crate::model::{Drawn, Ending, Fingerprinter, RequestTemplate, Secret, Signal, Supply};
use crate::plan::Feed;
use crate::record::{Endpoint, Store};
use crate::report::event::Event;
use crate::report::summary::Progress;
use crate::run::Machine;
use crate::send::client::Client;
use crate::write::Sink;
pub use control::Control;
use disk::Disk;
use event_loop::{EventLoop, Threads};
use keeper::Keeper;
use parts::{Gone, Part, Unstarted, Vigil};
use reader::Reader;
use request::Sender;
/// What a run works with.
pub struct Io {
    /// The input, to be read on.
    pub feed: Feed,
    /// What was drawn from it before.
    pub first: Drawn,
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
    /// What "a minute" means, where a server names one.
    pub minute: Duration,
    /// Masked in every message, should a server echo one.
    pub secrets: Arc<[Secret]>,
    /// Takes the answers.
    pub sink: Arc<dyn Sink>,
    /// Ledger and journal.
    pub store: Box<dyn Store>,
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
    /// The store; `None` where its thread died, or has not ended.
    pub store: Option<Box<dyn Store>>,
    /// Whether all threads have ended. One that has not may still write an output.
    pub is_over: bool,
    /// Whether nothing was waited for.
    pub at_once: bool,
    /// What was known of the input when the last of its work was drawn.
    pub supply: Supply,
    /// The input, as far as it was read; `None` where its thread died, or has not ended.
    pub feed: Option<Feed>,
}

/// What is heard of outside of the loop.
#[derive(Clone, Copy, Debug)]
pub enum News {
    /// A person's wish to end the run.
    Signal(Signal),
    /// A part of the run has ended.
    Gone(Gone),
    /// What is told of the run is read again.
    Read,
}

/// Who watches a run.
pub trait Watch {
    /// Something has happened.
    fn event(&mut self, event: Event);
    /// So much is used of the limits now.
    fn used(&mut self, used: Used);
    /// Whether so much waits to be told that nothing new should be begun. [`News::Read`] says when that is over.
    fn is_behind(&self) -> bool;
    /// Some time has passed.
    fn tick(&mut self, progress: Progress<'_>);
}

/// What is dropped when `part` ends, which is told then.
#[must_use]
pub fn vigil(part: Part, tell: &UnboundedSender<News>) -> impl Send + use<> {
    let tell = tell.clone();
    Vigil::over(part, move |gone| {
        // Nobody listens when the run is over.
        let _ = tell.send(News::Gone(gone));
    })
}

/// Runs `machine` to its end.
///
/// Whatever becomes of a part of it is heard of: the run then ends at once, with what is kept by then.
pub async fn drive(
    machine: Machine,
    io: Io,
    control: &mut Control,
    watch: &mut dyn Watch,
) -> Result<Driven, Unstarted> {
    let Io { client, template, fingerprinter, tokenizer, most_tokens, minute, secrets, sink, .. } = io;
    let Io { feed, first, store, endpoint, clock, .. } = io;
    let (back, came) = unbounded_channel();
    let keeper = Keeper::start(store, Arc::clone(&sink), endpoint, clock, back.clone())?;
    let disk = Disk::start(feed.texts(), sink, Arc::clone(&template), fingerprinter, &back)?;
    let reader = Reader::start(feed, back.clone())?;
    // It is heard of when the last thread has ended.
    drop(back);
    let sender = Sender { client, template, tokenizer, most_tokens, minute, secrets, clock };
    Ok(EventLoop::new(machine, first, Threads { keeper, disk, reader }, sender, came, &mut control.news, watch)
        .run()
        .await)
}
