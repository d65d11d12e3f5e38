//! The event loop with everything around it pretended but the server: outputs that panic or hang, a reader that does not read, an input that fails.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]
#![allow(clippy::large_futures, reason = "a test has few of them")]

mod common;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use common::{MODEL, serve};
use promptmill::admit::ledger::{Ledger, Used};
use promptmill::admit::server::{Pacing, ServerLimits};
use promptmill::clock::Clock;
use promptmill::count::Tokenizer;
use promptmill::drive::{Control, Driven, Io, News, Watch, drive};
use promptmill::model::{
    Api, Content, ContentId, Doom, Ending, Fingerprinter, Form, Key, Limits, OnDayLimit, OnQuota, Put, RequestTemplate,
    Signal, Spot,
};
use promptmill::plan::{Feed, NoHistory, Outputs, PlanRules, Survey};
use promptmill::record::memory::MemoryStore;
use promptmill::record::{Journal as _, RunInfo};
use promptmill::report::event::Event;
use promptmill::report::summary::Progress;
use promptmill::run::{Concurrency, Machine, OutputEstimate, Rules};
use promptmill::send::client::{Client, ClientOptions};
use promptmill::source::{Row, Source, SourceError, Texts};
use promptmill::standin::{Options, Server};
use promptmill::write::{Sink, WriteError};
use tokio::sync::mpsc::UnboundedSender;

const LONG: Duration = Duration::from_secs(60);
const PROMPTS: usize = 20;

struct Prompts;

impl Texts for Prompts {
    fn again(&self, spot: Spot) -> Result<String, Doom> {
        Ok(format!("Say something about {}.", spot.0))
    }

    fn name(&self, spot: Spot) -> String {
        format!("prompt {}", spot.0)
    }
}

/// Outputs in memory. What comes of a `put` is the test's wish.
struct Shelf {
    outputs: Mutex<BTreeMap<Key, String>>,
    puts: AtomicUsize,
    wish: Box<dyn Fn(usize) + Send + Sync>,
}

impl Shelf {
    fn new(wish: impl Fn(usize) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { outputs: Mutex::default(), puts: AtomicUsize::new(0), wish: Box::new(wish) })
    }

    fn len(&self) -> usize {
        self.outputs.lock().expect("no panic while it is locked").len()
    }
}

/// Where nothing stands.
struct Nothing;

impl Outputs for Nothing {
    fn stands(&self, _key: &Key) -> Result<u64, String> {
        Ok(0)
    }

    fn form(&self, _key: &Key) -> io::Result<Form> {
        Ok(Form::Answer)
    }

    fn content(&self, _key: &Key) -> io::Result<ContentId> {
        Err(io::ErrorKind::NotFound.into())
    }
}

impl Outputs for Shelf {
    fn stands(&self, key: &Key) -> Result<u64, String> {
        Nothing.stands(key)
    }

    fn form(&self, key: &Key) -> io::Result<Form> {
        Nothing.form(key)
    }

    fn content(&self, key: &Key) -> io::Result<ContentId> {
        Nothing.content(key)
    }
}

impl Sink for Shelf {
    fn put(&self, key: &Key, content: &Content, _answered: bool) -> Result<Put, WriteError> {
        (self.wish)(self.puts.fetch_add(1, Ordering::Relaxed) + 1);
        let Content::Answer(text) = content else { panic!("{key} has failed: {content:?}") };
        self.outputs.lock().expect("no panic while it is locked").insert(key.clone(), text.clone());
        Ok(Put { offset: 0, content: ContentId::of(text.as_bytes()) })
    }

    fn flush(&self) -> Result<(), WriteError> {
        Ok(())
    }

    fn text(&self, _key: &Key) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

#[derive(Default)]
struct Watched {
    behind: Arc<AtomicBool>,
    ticks: Arc<AtomicUsize>,
    events: Vec<Event>,
}

impl Watch for Watched {
    fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    fn used(&mut self, _used: Used) {}

    fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    fn tick(&mut self, _progress: Progress<'_>) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }
}

/// The prompts from here on.
struct Numbers(usize);

impl Source for Numbers {
    fn next(&mut self, most: usize) -> Result<Vec<Row>, SourceError> {
        let rows = (self.0..PROMPTS).take(most).map(|n| n as u64).map(|n| Row {
            key: Key::from(n),
            spot: Spot(n),
            text: None,
        });
        let rows: Vec<_> = rows.collect();
        self.0 += rows.len();
        Ok(rows)
    }

    fn len_hint(&self) -> Option<usize> {
        None
    }

    fn texts(&self) -> Arc<dyn Texts> {
        Arc::new(Prompts)
    }
}

/// A run of [`PROMPTS`] prompts against `server`, four at a time.
struct Setting {
    machine: Machine,
    io: Io,
    control: Control,
}

fn setting(server: &Server, sink: Arc<dyn Sink>) -> Setting {
    let (clock, limits) = (Clock::default(), Limits::default());
    let now = clock.now();
    let rules = Rules {
        concurrency: Concurrency::Fixed(4),
        soft_start: false,
        attempts: 3,
        max_output_tokens: None,
        on_day_limit: OnDayLimit::Exit,
        on_quota: OnQuota::Stop,
        quota_wait: LONG,
        give_up_after: LONG,
        deadline: None,
        limits,
    };
    let server_limits = ServerLimits::new(Pacing::Burst, limits, Vec::new(), Vec::new(), &now);
    let machine = Machine::new(rules, OutputEstimate::from_latest([]), server_limits, 7);
    let template = RequestTemplate::new(Api::Chat, MODEL);
    let fingerprinter = Fingerprinter::new(&template, false);
    let outputs: Arc<dyn Outputs> = Arc::new(Nothing);
    let survey = Survey::new(&template, false, Arc::new(Prompts), outputs, Box::new(NoHistory)).expect("a survey");
    let rules = PlanRules { limits, context_window: None, max_output_tokens: None, split: false };
    let mut feed = Feed::new(Box::new(Numbers(0)), survey, rules);
    let first = feed.draw(usize::MAX, || true).expect("drawn").drawn;
    let mut store = MemoryStore::new(Ledger::new(limits));
    let info = RunInfo { outputs: "out".to_owned(), model: MODEL.to_owned(), rehearsal: false, pid: 1 };
    store.start_run(&info, &now).expect("a run");
    let client = Client::new(&ClientOptions {
        base_url: server.base_url(),
        key: None,
        headers: http::HeaderMap::new(),
        api: Api::Chat,
        max_in_flight: 4,
        connect_timeout: LONG,
        first_byte_timeout: LONG,
        total_timeout: LONG,
    });
    let io = Io {
        feed,
        first,
        client: client.expect("a client"),
        template: Arc::new(template),
        fingerprinter,
        tokenizer: Tokenizer::for_model(MODEL),
        most_tokens: 100_000,
        minute: limits.window,
        secrets: Arc::new([]),
        sink,
        store: Box::new(store),
        endpoint: None,
        clock,
    };
    Setting { machine, io, control: Control::default() }
}

/// Drives it to its end, within a time that is no test's.
async fn driven(mut setting: Setting, watched: &mut Watched) -> Driven {
    let drive = drive(setting.machine, setting.io, &mut setting.control, watched);
    tokio::time::timeout(LONG, drive).await.expect("it ends").expect("its threads start")
}

fn done(driven: &Driven) -> usize {
    driven.machine.progress().tally.done
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_with_every_thread_joined_and_the_store_given_back() {
    let (server, shelf) = (serve(Options::default()), Shelf::new(|_| ()));
    let mut watched = Watched::default();
    let driven = driven(setting(&server, shelf.clone()), &mut watched).await;
    assert_eq!((driven.ending.clone(), driven.is_over, driven.store.is_some()), (Ending::Complete, true, true));
    assert_eq!((done(&driven), shelf.len(), Arc::strong_count(&shelf)), (PROMPTS, PROMPTS, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_begun_while_what_is_told_is_not_read() {
    let (server, shelf) = (serve(Options::default()), Shelf::new(|_| ()));
    let setting = setting(&server, shelf);
    let mut watched = Watched::default();
    watched.behind.store(true, Ordering::Relaxed);
    let (behind, ticks, tell) = (Arc::clone(&watched.behind), Arc::clone(&watched.ticks), setting.control.tell());
    let reads = async {
        while ticks.load(Ordering::Relaxed) < 3 {
            tokio::task::yield_now().await;
        }
        let sent = server.log().len();
        behind.store(false, Ordering::Relaxed);
        tell.send(News::Read).expect("it listens");
        sent
    };
    let reads = tokio::time::timeout(LONG, reads);
    let (driven, sent) = tokio::join!(driven(setting, &mut watched), reads);
    let sent = sent.expect("it ticks while nothing is read");
    assert_eq!((sent, driven.ending.clone(), done(&driven)), (0, Ending::Complete, PROMPTS));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_panics_ends_the_run_with_what_is_done() {
    let shelf = Shelf::new(|put| assert_ne!(put, 6, "this test wants it"));
    let server = serve(Options::default());
    let mut watched = Watched::default();
    let driven = driven(setting(&server, shelf.clone()), &mut watched).await;
    let Ending::Broken(what) = &driven.ending else { panic!("{:?}", driven.ending) };
    assert!(what.contains("reads prompts and writes outputs ended unexpectedly"), "{what}");
    assert!(driven.is_over && driven.store.is_some() && done(&driven) < PROMPTS);
    let tally = &driven.machine.progress().tally;
    // All that was written is told: as done, or as found by the next run.
    assert_eq!(tally.done + tally.unrecorded, shelf.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_hangs_is_not_waited_for_after_a_second_signal() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let theirs = Arc::clone(&gate);
    let setting = |shelf: Arc<Shelf>, server: &Server| setting(server, shelf);
    let (server, tell) = (serve(Options::default()), Arc::new(Mutex::new(None::<UnboundedSender<News>>)));
    let signals = Arc::clone(&tell);
    let shelf = Shelf::new(move |put| {
        if put == 3 {
            for signal in [Signal::Interrupt, Signal::Terminate] {
                let tell = signals.lock().expect("no panic").clone().expect("it has started");
                tell.send(News::Signal(signal)).expect("it listens");
            }
            let opened = theirs.0.lock().expect("no panic");
            drop(theirs.1.wait_while(opened, |opened| !*opened).expect("no panic"));
        }
    });
    let setting = setting(shelf.clone(), &server);
    *tell.lock().expect("no panic") = Some(setting.control.tell());
    let mut watched = Watched::default();
    let driven = driven(setting, &mut watched).await;
    assert_eq!((driven.ending.clone(), driven.is_over), (Ending::Interrupted(Signal::Interrupt), false));
    // The thread that hangs still has the outputs, and with them the folder's lock.
    assert!(Arc::strong_count(&shelf) > 1 && driven.store.is_some());
    let tally = &driven.machine.progress().tally;
    assert_eq!(tally.done + tally.unrecorded, shelf.len());
    *gate.0.lock().expect("no panic") = true;
    gate.1.notify_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_it_ends_at_once_is_told() {
    let (server, tell) = (serve(Options::default()), Arc::new(Mutex::new(None::<UnboundedSender<News>>)));
    let signals = Arc::clone(&tell);
    let shelf = Shelf::new(move |put| {
        if put == 3 {
            for signal in [Signal::Interrupt, Signal::Terminate] {
                let tell = signals.lock().expect("no panic").clone().expect("it has started");
                tell.send(News::Signal(signal)).expect("it listens");
            }
            // It is written when the loop waits for nothing but its threads.
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let setting = setting(&server, shelf.clone());
    *tell.lock().expect("no panic") = Some(setting.control.tell());
    let driven = driven(setting, &mut Watched::default()).await;
    assert_eq!((driven.ending.clone(), driven.is_over), (Ending::Interrupted(Signal::Interrupt), true));
    let tally = &driven.machine.progress().tally;
    assert_eq!(tally.done + tally.unrecorded, shelf.len());
}
