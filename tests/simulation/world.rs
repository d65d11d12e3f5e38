//! The world around the machine: time, the store, the disk, the way to the server, and all that goes wrong there.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::hash::Hasher;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use promptmill::admit::hint::{LearnedLimit, ServerHint};
use promptmill::admit::ledger::Ledger;
use promptmill::admit::server::{Pacing, ServerLimits};
use promptmill::clock::{Day, Mono, Now, nanos};
use promptmill::model::{
    Before, Cause, Class, Content, ContentId, Doom, Drawn, Ending, Fingerprint, Key, Known, Ordinal, Place, Portion,
    Signal, Spot, Status, Supply, Usage, Work,
};
use promptmill::record::memory::MemoryStore;
use promptmill::record::{Admissions as _, Begun, Claim, Ended, Finished, Found, Journal as _, RunInfo, Settlement};
use promptmill::report::event::Event;
use promptmill::run::recover::{Recovery, Stands, recover};
use promptmill::run::{Action, Input, Machine, NotRecorded, OutputEstimate, Rules, Unwritten};
use promptmill::send::classify::{Billed, Failure, Kind, Verdict};

use super::chunks::Chunks;
use super::laws::{Laws, Waiting, number};
use super::server::{Judgement, Server, right_answer};
use super::setting::{Case, More, Prompt, Setting, ZONES};
use super::stages::{Said, Stage, Stages};
use super::table::{Reached, Row};

mod faults;
mod figures;

pub(crate) use figures::Figures;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// No seed needs as many; one that does goes round in circles.
const MOST_STEPS: u64 = 2_000_000;
const MOST_RUNS: u32 = 60;
const NO_SUPPLY: Supply = Supply { prompts: 0, up_to_date: 0, portions: None, left: false };
/// What the store knows the folder and the model by.
const OUTPUTS: &str = "out";
const MODEL: &str = "m";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trace {
    Off,
    Hash,
    Print,
}

/// What a seed, or all of them together, came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) hash: u64,
    pub(crate) steps: u64,
    pub(crate) requests: usize,
    pub(crate) runs: u32,
    pub(crate) crashes: u32,
    pub(crate) sent_again: usize,
    pub(crate) throttled: usize,
    pub(crate) waits: usize,
    pub(crate) failed: usize,
    pub(crate) kept: usize,
    pub(crate) adopted: usize,
    pub(crate) stops: usize,
    /// Refusals that were asked again, and were stray ones.
    pub(crate) strays: usize,
    /// Times that the folder could not be flushed, and that the store worked again.
    pub(crate) unflushed: usize,
    pub(crate) released: usize,
    /// Runs that gave up on the store.
    pub(crate) gave_up_store: usize,
    /// Runs that ended for what the server did, or asked for.
    pub(crate) gave_up: usize,
    /// The share of the server's limit that was used, and requests that fell into its outage.
    pub(crate) utilisation: Option<f64>,
    pub(crate) in_outage: usize,
    pub(crate) reached: Reached,
    /// Of each run that was measured.
    pub(crate) figures: Vec<Figures>,
}

impl std::ops::AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.steps += other.steps;
        self.requests += other.requests;
        self.runs += other.runs;
        self.crashes += other.crashes;
        self.sent_again += other.sent_again;
        self.throttled += other.throttled;
        self.waits += other.waits;
        self.failed += other.failed;
        self.kept += other.kept;
        self.adopted += other.adopted;
        self.stops += other.stops;
        self.strays += other.strays;
        self.unflushed += other.unflushed;
        self.released += other.released;
        self.gave_up_store += other.gave_up_store;
        self.gave_up += other.gave_up;
        self.reached += other.reached;
    }
}

/// What happens next. A number in front is the run of the program that it belongs to; it dies with that.
#[derive(Debug)]
pub(super) enum Happening {
    Wake(u64),
    Drawn(Drawn),
    StoreBegin(Vec<Claim>),
    Begun(Begun),
    Flush(Vec<Finished>),
    StoreFinish(Vec<Finished>),
    Recorded,
    Unbegun,
    Unrecorded(Vec<Finished>, NotRecorded),
    Arrive {
        request: usize,
        ordinal: Ordinal,
        answer: String,
    },
    Heard {
        ordinal: Ordinal,
        verdict: Verdict,
        hints: Vec<ServerHint>,
        reached: bool,
    },
    Disk(Ordinal, Content),
    Written(Ordinal, Content, Result<ContentId, Unwritten>),
    Interrupt,
    ClockStep(i64),
    Sleep(u64),
    StoreGone,
    /// The faults stop.
    Calm,
    Restart,
}

#[derive(Debug)]
struct Due {
    at: u64,
    order: u64,
    run: u32,
    what: Box<Happening>,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    /// A heap gives the greatest: the soonest is that.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

fn content_id(output: &Content) -> ContentId {
    ContentId::of(&output.bytes())
}

/// Of the request of a prompt that was edited so many times.
fn fingerprint(version: u8) -> Fingerprint {
    Fingerprint([version; 16])
}

fn before(output: Option<&Content>) -> Before {
    output.map_or(Before::Nothing, |output| Before::Output(content_id(output)))
}

pub(crate) struct World {
    case: Case,
    trace: Trace,
    hash: DefaultHasher,
    random: fastrand::Rng,
    zone: Tz,
    /// The day that was asked for last: to work one out takes longer than most else here.
    day: Cell<Day>,
    start: DateTime<Utc>,
    offset: i64,
    mono: u64,
    due: BinaryHeap<Due>,
    order: u64,
    prompts: BTreeMap<u64, Prompt>,
    rules: Rules,
    store: MemoryStore,
    outputs: BTreeMap<Key, Content>,
    /// Prompts that were edited while a run went on.
    changed: BTreeSet<u64>,
    /// Those that the next run finds edited.
    to_edit: BTreeSet<u64>,
    stages: Stages,
    said: Said,
    /// Where the faults have stopped: by when all must have ended, and how many runs have ended since before they were through.
    ends_by: Option<u64>,
    ends_in_calm: u32,
    restarts_at: u64,
    server: Server,
    laws: Laws,
    machine: Option<Machine>,
    run: u32,
    wake: u64,
    crash_at: VecDeque<u64>,
    asking: bool,
    recording: bool,
    /// Jobs that could be sent: taken neither by the machine, nor ended; when.
    ready: BTreeMap<Ordinal, u64>,
    /// All that this run has to do, and what the machine has not drawn of it.
    work: Vec<Work>,
    chunks: Chunks,
    /// So much is drawn at a time at the most.
    most_drawn: usize,
    drawing: bool,
    open_in_batch: BTreeMap<u32, usize>,
    journalled: (usize, usize, usize),
    /// Prompts whose output could not be written last, for its own place was taken.
    blocked: BTreeSet<Key>,
    /// Until when the store fails, and since when it was seen to.
    down_until: u64,
    down_since: Option<u64>,
    /// What was to be recorded is held by the machine.
    holding: bool,
    /// The machine tries again what the store could not do; and prompts whose output it gave out to be written, which is not recorded.
    trouble: bool,
    unrecorded: BTreeSet<u64>,
    interrupts: u8,
    asleep_until: u64,
    done: bool,
    /// What the last run knew of the server's limits.
    learned: Vec<LearnedLimit>,
    outcome: Outcome,
    latencies: u64,
    /// Of the run that goes on, where it is measured; and what follows it.
    figures: Figures,
    more: VecDeque<More>,
}

impl World {
    /// The world of a setting.
    pub(crate) fn new(setting: Setting, trace: Trace) -> Self {
        let Setting { seed, prompts, rules, case, manner, zone, start, mono, wall_steps, crash_at, more, mut random } =
            setting;
        let limits = rules.limits;
        let server = Server::new(manner, random.u64(..));
        let mut world = Self {
            trace,
            hash: DefaultHasher::new(),
            zone,
            day: Cell::new(Day::of(start, &zone)),
            start,
            offset: 0,
            mono,
            due: BinaryHeap::new(),
            order: 0,
            store: MemoryStore::new(Ledger::new(limits)),
            outputs: BTreeMap::new(),
            changed: BTreeSet::new(),
            to_edit: BTreeSet::new(),
            stages: Stages::default(),
            said: Said::default(),
            ends_by: None,
            ends_in_calm: 0,
            restarts_at: 0,
            server,
            laws: Laws::new(seed, limits, &rules, wall_steps),
            machine: None,
            run: 0,
            wake: 0,
            crash_at: crash_at.into(),
            asking: false,
            recording: false,
            ready: BTreeMap::new(),
            work: Vec::new(),
            chunks: Chunks::new(Drawn { work: Vec::new(), portions: Vec::new(), supply: NO_SUPPLY }),
            most_drawn: 0,
            drawing: false,
            open_in_batch: BTreeMap::new(),
            journalled: (0, 0, 0),
            blocked: BTreeSet::new(),
            down_until: 0,
            down_since: None,
            holding: false,
            trouble: false,
            unrecorded: BTreeSet::new(),
            interrupts: 0,
            asleep_until: 0,
            done: false,
            learned: Vec::new(),
            outcome: Outcome::default(),
            latencies: 0,
            figures: Figures::default(),
            more: more.into(),
            prompts,
            rules,
            case,
            random,
        };
        world.laws.judges_estimates |= world.case.measured.is_some();
        world.start_ns_anchor();
        world.weather();
        world
    }

    /// The wall clock shows `start` at the first moment.
    fn start_ns_anchor(&mut self) {
        self.offset = -(self.mono as i64);
    }

    fn daily(&self) -> bool {
        self.rules.limits.tokens_per_day.is_some() || self.rules.limits.requests_per_day.is_some()
    }

    fn now(&self) -> Now {
        let wall = self.start + TimeDelta::nanoseconds(self.mono as i64 + self.offset);
        let last = self.day.get();
        if !(last.starts..last.ends).contains(&wall) {
            self.day.set(Day::of(wall, &self.zone));
        }
        Now { mono: Mono(self.mono), wall, day: self.day.get() }
    }

    fn push(&mut self, run: u32, delay: u64, what: Happening) {
        self.order += 1;
        self.due.push(Due { at: self.mono + delay, order: self.order, run, what: Box::new(what) });
    }

    /// A delay around `mean`: bounded by twice that in a tame seed, else with a long tail.
    fn delay(&mut self, mean: u64) -> u64 {
        let delay = if self.case.steady {
            mean
        } else if self.case.tame || self.ends_by.is_some() {
            self.random.u64(..mean * 2)
        } else {
            let tail = if self.random.u8(..100) == 0 { self.random.u64(1..1_000) } else { 1 };
            (-(1.0 - self.random.f64()).ln() * mean as f64) as u64 * tail
        };
        self.latencies += delay;
        delay
    }

    fn soon(&mut self, mean: u64, what: Happening) {
        let delay = self.delay(mean);
        self.push(self.run, delay, what);
    }

    /// Runs the seed to its end.
    pub(crate) fn run(mut self) -> Result<Outcome, String> {
        let began = self.mono;
        self.restart();
        while !self.done && self.laws.broken.is_none() {
            let Some(due) = self.due.pop() else {
                self.laws.stuck("nothing is under way, and the run has not ended");
                break;
            };
            if let Some(by) = self.ends_by.filter(|by| due.at > *by) {
                self.laws.stuck(&format!("nothing fails any more, and it has not ended by {by}"));
                break;
            }
            if self.takes_too_long(due.at) {
                self.measured(None);
                break;
            }
            self.outcome.steps += 1;
            if self.outcome.steps > MOST_STEPS {
                self.laws.stuck("it goes round in circles");
                break;
            }
            let dead = due.run != 0 && due.run != self.run && !matches!(*due.what, Happening::Arrive { .. });
            if dead || matches!(*due.what, Happening::Wake(wake) if wake != self.wake) {
                continue;
            }
            self.pass_to(due.at);
            self.happen(due);
        }
        let is_through = self.outcome.figures.iter().all(|figures| figures.ending == Some(Ending::Complete));
        if self.laws.broken.is_none() && is_through {
            self.judge(began);
        }
        self.outcome.hash = self.hash.finish();
        self.outcome.requests = self.laws.requests.len();
        self.outcome.sent_again = self.laws.sent_again();
        self.outcome.utilisation = self.server.utilisation();
        self.outcome.in_outage = self.server.in_outage;
        self.outcome.reached = std::mem::take(&mut self.laws.reached);
        self.laws.broken.take().map_or(Ok(self.outcome), Err)
    }

    /// Lets time pass, and the judge look at how the machine spends it.
    fn pass_to(&mut self, at: u64) {
        let at = at.max(self.mono);
        if at > self.mono && self.machine.is_some() && self.mono >= self.asleep_until {
            let state = self.waiting();
            self.said.waits(state.binds.as_ref(), &mut self.laws.reached);
            let from = self.mono;
            // A nanosecond before the machine is called, it must have been right not to ask.
            self.mono = at - 1;
            let now = self.now();
            self.laws.waited(&now, &state);
            self.laws.passes(from, at, &state);
        }
        self.mono = at;
    }

    fn waiting(&self) -> Waiting {
        let batch = self.open_in_batch.iter().find(|(_, open)| **open > 0).map_or(0, |(batch, _)| *batch);
        let machine = self.machine.as_ref().expect("asked while it runs");
        let before = self.mono;
        let ready = self.ready.iter().any(|(ordinal, &at)| {
            let work = &self.work[ordinal.0 as usize];
            at <= before && work.portion <= batch && !self.laws.may_be_over(number(&work.key))
        });
        Waiting {
            in_flight: machine.progress().in_flight,
            asks: self.asking,
            records: self.recording,
            writes: !self.unrecorded.is_empty(),
            draws: self.drawing,
            holds: self.trouble && (self.laws.has_open() || !self.unrecorded.is_empty()),
            ready,
            room: machine.progress().in_flight < self.rules.concurrency.most(),
            binds: machine.progress().binds.map(|binds| binds.what.clone()),
        }
    }

    fn happen(&mut self, due: Due) {
        if self.trace == Trace::Print {
            println!("{:>12.6} run {} {:?}", self.mono as f64 / 1e9, due.run, due.what);
        }
        match *due.what {
            Happening::Wake(_) => self.feed(Input::Wake),
            Happening::Drawn(drawn) => self.drawn(drawn),
            Happening::StoreBegin(claims) => self.store_begin(&claims),
            Happening::Begun(begun) => {
                self.asking = false;
                self.feed(Input::Begun(begun));
            }
            Happening::Flush(finished) => self.flush(finished),
            Happening::StoreFinish(finished) => self.store_finish(finished),
            Happening::Recorded => {
                self.recording = false;
                self.stages.all_over(Stage::Finished);
                self.feed(Input::Recorded);
            }
            Happening::Unbegun => {
                self.asking = false;
                self.stages.all_over(Stage::Asked);
                self.laws.reached.reach(Row::BeginFails);
                self.feed(Input::Unbegun("no".to_owned()));
            }
            Happening::Unrecorded(finished, why) => {
                self.recording = false;
                self.holding |= matches!(why, NotRecorded::Store(_));
                self.laws.reached.reach_if(matches!(why, NotRecorded::Store(_)), Row::FinishFails);
                self.feed(Input::Unrecorded(finished, why));
            }
            Happening::Arrive { request, ordinal, answer } => self.arrive(due.run, request, ordinal, answer),
            Happening::Heard { ordinal, verdict, hints, reached } => {
                let now = self.now();
                let prompt = self.prompt_of(ordinal);
                let charge = self.prompts.get(&prompt).map_or(0, |prompt| self.charge(prompt.usage));
                self.laws.heard(&now, prompt, charge, (&verdict, &hints), reached);
                self.tells(&now, &verdict, &hints);
                self.figures.heard(prompt, self.mono, &verdict);
                let throttled = matches!(&verdict, Verdict::Failure(failure) if failure.kind == Kind::Throttled);
                let signals = self.outcome.throttled;
                self.feed(Input::Heard(ordinal, verdict, hints));
                self.laws.reached.reach_if(throttled && self.outcome.throttled == signals, Row::ThrottledTogether);
            }
            Happening::Disk(ordinal, content) => self.write(ordinal, content),
            Happening::Written(ordinal, content, result) => self.feed(Input::Written(ordinal, content, result)),
            Happening::Interrupt | Happening::ClockStep(_) | Happening::Sleep(_) | Happening::StoreGone
                if self.ends_by.is_some() => {}
            Happening::Interrupt if let Some(machine) = &self.machine => {
                self.interrupts += 1;
                self.laws.reached.reach(match (self.interrupts, machine.progress().in_flight) {
                    (1, 0) => Row::InterruptedInWait,
                    (1, _) => Row::Interrupted,
                    _ => Row::InterruptedTwice,
                });
                self.feed(Input::Interrupt(Signal::Interrupt));
            }
            Happening::ClockStep(step) => {
                self.offset += step;
                self.laws.reached.reach(if step > 0 { Row::ClockForward } else { Row::ClockBack });
            }
            Happening::Sleep(long) => self.sleep(long),
            Happening::StoreGone if self.machine.is_some() => {
                self.laws.reached.reach(Row::StoreGone);
                self.feed(Input::StoreGone("it is gone".to_owned()));
            }
            Happening::Interrupt | Happening::StoreGone => {}
            Happening::Calm => self.calm(),
            Happening::Restart => self.restart(),
        }
        self.step();
    }

    /// One more action or event is through; the crash may come here.
    fn step(&mut self) {
        let steps = self.outcome.steps;
        if self.machine.is_some() && self.crash_at.front().is_some_and(|&at| at <= steps) {
            self.crash_at.pop_front();
            self.outcome.crashes += 1;
            self.stages.crash(&mut self.laws.reached);
            if self.trace == Trace::Print {
                println!("{:>12.6} run {} crashes", self.mono as f64 / 1e9, self.run);
            }
            self.end_process(0);
        }
    }

    /// The process is gone, and another is started later.
    fn end_process(&mut self, wait: u64) {
        self.machine = None;
        self.run += 1;
        let wait = wait + self.random.u64(..5 * SECOND);
        self.restarts_at = self.mono + wait;
        self.push(0, wait, Happening::Restart);
    }

    fn prompt_of(&self, ordinal: Ordinal) -> u64 {
        self.work.get(ordinal.0 as usize).map_or(0, |work| number(&work.key))
    }

    fn ordinal_of(&self, key: &Key) -> Ordinal {
        self.work.iter().find(|work| work.key == *key).expect("a piece of its work").ordinal
    }

    /// Where the machine draws from: all that is to be done, and what is known of it.
    fn input_of(&self, all: &[Work]) -> Chunks {
        let mut portions: Vec<Portion> = Vec::new();
        for work in all.iter().filter(|work| work.doomed.is_none()) {
            match portions.last_mut().filter(|portion| portion.number == work.portion) {
                Some(portion) => {
                    portion.prompts += 1;
                    portion.input_tokens += work.input_tokens;
                }
                None => portions.push(Portion { number: work.portion, prompts: 1, input_tokens: work.input_tokens }),
            }
        }
        let up_to_date = self.prompts.len() - all.len();
        let supply =
            Supply { prompts: self.prompts.len(), up_to_date, portions: Some(portions.len() as u32), left: true };
        Chunks::new(Drawn { work: all.to_vec(), portions, supply })
    }

    /// The machine gets more work, which it may send from now on.
    fn drawn(&mut self, drawn: Drawn) {
        let sendable = drawn.work.iter().filter(|work| work.doomed.is_none());
        self.ready.extend(sendable.map(|work| (work.ordinal, self.mono)));
        self.drawing = false;
        self.feed(Input::Drawn(drawn));
    }

    fn feed(&mut self, input: Input) {
        let now = self.now();
        let run = self.run;
        let Some(machine) = self.machine.as_mut() else { return };
        let actions = machine.handle(&now, input);
        for action in actions {
            if self.run != run || self.laws.broken.is_some() {
                return;
            }
            match self.trace {
                Trace::Off => {}
                Trace::Hash => self.hash.write(format!("{action:?}").as_bytes()),
                Trace::Print => println!("{:>12.6}         {action:?}", self.mono as f64 / 1e9),
            }
            self.carry_out(&now, action);
            self.outcome.steps += 1;
            self.step();
        }
    }

    fn carry_out(&mut self, now: &Now, action: Action) {
        match action {
            Action::Draw(_) => {
                if std::mem::replace(&mut self.drawing, true) {
                    self.laws.stuck("two Draws are under way");
                }
                // How much is read at a time is for whoever reads; now and then it is nothing.
                let most = self.random.usize(..=self.most_drawn);
                let drawn = self.chunks.draw(most);
                self.soon(self.case.store_delay, Happening::Drawn(drawn));
            }
            Action::Begin(claims) => {
                self.laws.asked(now, self.holding);
                if std::mem::replace(&mut self.asking, true) {
                    self.laws.stuck("two Begins are under way");
                }
                for claim in &claims {
                    self.stages.set(number(&claim.key), Stage::Asked);
                }
                self.soon(self.case.store_delay, Happening::StoreBegin(claims));
            }
            Action::Finish(finished) => {
                if std::mem::replace(&mut self.recording, true) {
                    self.laws.stuck("two Finishes are under way");
                }
                self.soon(self.case.store_delay, Happening::Flush(finished));
            }
            Action::Send(ordinal) => {
                self.ready.remove(&ordinal);
                let prompt = self.prompt_of(ordinal);
                self.stages.set(prompt, Stage::Sent);
                let charge = self.charge(self.prompts[&prompt].usage);
                if let Some(request) = self.laws.sent(now, prompt, charge) {
                    self.send(ordinal, prompt, request);
                }
            }
            Action::Write(ordinal, content) => {
                self.ready.remove(&ordinal);
                let prompt = self.prompt_of(ordinal);
                self.unrecorded.insert(prompt);
                self.stages.set(prompt, Stage::Heard);
                let is_doomed = matches!(&content, Content::Error { class: Class::NotText, .. });
                self.laws.reached.reach_if(is_doomed, Row::Doomed);
                self.laws.writes(prompt, &content);
                self.soon(self.case.store_delay, Happening::Disk(ordinal, content));
            }
            Action::Learn(learned) => self.learned = learned,
            Action::WakeAt(at) => {
                self.wake += 1;
                let delay = at.0.saturating_sub(self.mono);
                self.push(self.run, delay, Happening::Wake(self.wake));
            }
            Action::Say(event) => self.said(now, &event),
            Action::End(ending) => self.ended(&ending),
        }
    }

    fn said(&mut self, now: &Now, event: &Event) {
        self.laws.said(now, event);
        self.said.event(event, &mut self.laws.reached);
        self.figures.said(event);
        match event {
            Event::Done { key, .. } | Event::Failed { key, .. } => {
                let of = &self.prompts[&number(key)];
                let (batch, doomed) = (of.batch, of.doomed);
                self.outcome.failed += usize::from(matches!(event, Event::Failed { .. }));
                if !doomed && let Some(open) = self.open_in_batch.get_mut(&batch) {
                    *open -= 1;
                }
            }
            Event::Retrying { key, seconds, .. } => {
                let ordinal = self.ordinal_of(key);
                let at = now.mono.plus(Duration::from_secs_f64(*seconds)).0;
                self.ready.insert(ordinal, at);
            }
            Event::Throttled { .. } => self.outcome.throttled += 1,
            Event::Waiting { .. } => self.outcome.waits += 1,
            Event::Stopping { .. } => self.outcome.stops += 1,
            Event::Resumed { cause: Cause::Refused } => self.outcome.strays += 1,
            Event::Holding { .. } => self.trouble = true,
            Event::Released {} => {
                self.trouble = false;
                self.outcome.released += 1;
            }
            _ => {}
        }
    }

    fn store_begin(&mut self, claims: &[Claim]) {
        let now = self.now();
        if self.store_is_down() {
            self.soon(self.case.store_delay, Happening::Unbegun);
            return;
        }
        match self.store.begin(claims, &|| now) {
            Ok(begun) => {
                for (claim, reservation) in claims.iter().zip(&begun.admitted) {
                    self.laws.admitted(&now, claim, reservation.tokens());
                }
                for (place, claim) in claims.iter().enumerate() {
                    if place < begun.admitted.len() {
                        self.stages.set(number(&claim.key), Stage::Begun);
                    } else {
                        self.stages.over(number(&claim.key));
                    }
                }
                if let Some(refusal) = &begun.refused {
                    self.laws.refused(&now, &claims[begun.admitted.len()], refusal);
                }
                self.soon(self.case.store_delay, Happening::Begun(begun));
            }
            Err(error) => self.laws.stuck(&error.to_string()),
        }
    }

    fn flush(&mut self, finished: Vec<Finished>) {
        let done = finished.iter().filter(|end| matches!(end.ended, Ended::Done { .. }));
        let done: Vec<Key> = done.map(|end| end.key.clone()).collect();
        if !done.is_empty() && self.random.f64() < self.case.flush_failure {
            // The folder is gone, with some of what was in it.
            done.iter().filter(|_| self.random.bool()).for_each(|key| drop(self.outputs.remove(key)));
            self.outcome.unflushed += 1;
            self.laws.reached.reach(Row::Unflushed);
            let why = NotRecorded::Unflushed("gone".to_owned());
            self.soon(self.case.store_delay, Happening::Unrecorded(finished, why));
            return;
        }
        for key in &done {
            self.stages.set(number(key), Stage::Flushed);
        }
        self.soon(self.case.store_delay, Happening::StoreFinish(finished));
    }

    fn store_finish(&mut self, finished: Vec<Finished>) {
        let now = self.now();
        if self.store_is_down() {
            let why = NotRecorded::Store("no".to_owned());
            self.soon(self.case.store_delay, Happening::Unrecorded(finished, why));
            return;
        }
        self.holding = false;
        for end in &finished {
            let prompt = number(&end.key);
            self.unrecorded.remove(&prompt);
            self.stages.set(prompt, Stage::Finished);
            if let Some(Settlement { used, .. }) = &end.settled {
                self.laws.settled(prompt, *used);
            }
            match &end.ended {
                Ended::Done { .. } => {
                    self.laws.output(prompt, true, self.outputs.get(&end.key));
                    self.laws.durable(prompt);
                    self.journalled.0 += 1;
                }
                Ended::Failed { .. } => self.journalled.1 += 1,
                Ended::Unwritten { .. } => {
                    self.laws.durable(prompt);
                    self.journalled.2 += 1;
                    self.journalled.1 += usize::from(self.blocked.contains(&end.key));
                    self.outcome.kept += 1;
                    self.laws.reached.reach(Row::Kept);
                }
                Ended::Again { class } => {
                    self.laws.reached.reach_if(class.is_none(), Row::GivenBack);
                    let ordinal = self.ordinal_of(&end.key);
                    let at = self.mono.max(self.laws.not_before(prompt));
                    // A last attempt may be held back until it is known whether the server fails.
                    if !self.laws.is_last(prompt) {
                        self.ready.entry(ordinal).or_insert(at);
                    }
                }
            }
        }
        match self.store.finish(&finished, &now) {
            Ok(()) => self.soon(self.case.store_delay, Happening::Recorded),
            Err(error) => self.laws.stuck(&error.to_string()),
        }
    }

    /// Whether the store fails now. It begins to by chance, and goes on for a while.
    fn store_is_down(&mut self) -> bool {
        if self.mono >= self.down_until {
            let fails = self.random.f64() < self.case.store_failure;
            if !fails {
                self.down_since = None;
                return false;
            }
            self.down_until = self.mono + self.random.u64(..=self.case.store_down);
        }
        self.down_since.get_or_insert(self.mono);
        true
    }

    /// The request leaves, unless the prompt is another one by now.
    fn send(&mut self, ordinal: Ordinal, prompt: u64, request: usize) {
        if self.case.changed == 0.0 || self.random.f64() >= self.case.changed {
            let answer = right_answer(prompt, self.prompts[&prompt].version);
            self.soon(self.case.transit, Happening::Arrive { request, ordinal, answer });
            return;
        }
        self.changed.insert(prompt);
        self.laws.not_sent(request);
        self.laws.reached.reach(Row::Changed);
        let (kind, class, message) = (Kind::Prompt, Class::Changed, "it was changed".to_owned());
        let verdict = Verdict::Failure(Failure { kind, class, message, wait: None, billed: Billed::No, usage: None });
        self.soon(self.case.store_delay, Happening::Heard { ordinal, verdict, hints: Vec::new(), reached: false });
    }

    fn arrive(&mut self, run: u32, request: usize, ordinal: Ordinal, answer: String) {
        let prompt = self.laws.requests[request].prompt;
        if run == self.run {
            self.stages.set(prompt, Stage::Arrived);
        }
        let usage = self.prompts[&prompt].usage;
        let charge = self.charge(usage);
        let judgement = self.server.judge(self.mono, answer, usage, charge);
        self.laws.requests[request].arrived = judgement.reached.then_some(self.mono);
        self.laws.requests[request].billed = judgement.billed;
        // A refusal is no work, and neither is an outage.
        let refused = judgement.in_outage
            || matches!(&judgement.verdict, Verdict::Failure(failure) if failure.kind == Kind::Throttled);
        let work = if refused && self.case.quick_refusals { self.case.transit } else { self.case.work };
        let (work, back) = (judgement.takes.unwrap_or_else(|| self.delay(work)), self.delay(self.case.transit));
        if !refused && judgement.takes.is_none() {
            self.server.works(self.mono + work);
        }
        self.figures.arrives(self.laws.requests[request].at, self.mono, &judgement.verdict);
        let Judgement { verdict, hints, reached, .. } = judgement;
        self.push(run, work + back, Happening::Heard { ordinal, verdict, hints, reached });
    }

    fn write(&mut self, ordinal: Ordinal, content: Content) {
        let key = Key::from(self.prompt_of(ordinal));
        let down = self.case.one_disk && self.mono < self.down_until;
        self.blocked.remove(&key);
        let result = if down || self.random.f64() < self.case.disk_failure {
            // Now and then it is its own place that is taken.
            let alone = !down && self.random.u8(..4) == 0;
            if alone {
                self.laws.reached.reach(Row::PlaceBlocked);
                self.blocked.insert(key);
            }
            Err(Unwritten { why: "no space".to_owned(), alone })
        } else {
            let output = content_id(&content);
            self.stages.set(number(&key), Stage::Put);
            self.outputs.insert(key, content.clone());
            Ok(output)
        };
        self.soon(self.case.store_delay, Happening::Written(ordinal, content, result));
    }

    /// The lid is closed: what the client waits for comes when it is opened, what is on its way to the server arrives.
    fn sleep(&mut self, long: u64) {
        let until = self.mono + long;
        self.laws.reached.reach(Row::Slept);
        let deadline = self.rules.deadline.map_or(0, |deadline| deadline.0);
        let through = self.machine.is_some() && (self.mono..until).contains(&deadline);
        self.laws.reached.reach_if(through, Row::SleptThroughDeadline);
        let due = std::mem::take(&mut self.due).into_sorted_vec();
        for mut due in due.into_iter().rev() {
            if !matches!(*due.what, Happening::Arrive { .. }) {
                due.at = due.at.max(until);
            }
            self.due.push(due);
        }
        self.asleep_until = until;
    }

    /// The program starts: what is up to date is left alone, what a dead run left is taken up, the rest is run.
    fn restart(&mut self) {
        self.run = self.run.max(1);
        self.outcome.runs += 1;
        if self.outcome.runs.is_multiple_of(2) {
            // Every other run counts the days of another zone.
            let place = ZONES.iter().position(|zone| *zone == self.zone).expect("one of them");
            self.zone = ZONES[(place + 1) % ZONES.len()];
            self.laws.reached.reach_if(self.daily(), Row::OtherZone);
            self.day.set(Day::of(self.now().wall, &self.zone));
        }
        let now = self.now();
        if self.outcome.runs > MOST_RUNS {
            self.laws.stuck("it is started again and again");
            return;
        }
        self.laws.reached.reach_if(self.daily() && now.day.ends - now.day.starts != TimeDelta::days(1), Row::LongDay);
        self.another_run(&now);
        let lost = self.take_up(&now);
        for prompt in std::mem::take(&mut self.to_edit) {
            let version = &mut self.prompts.get_mut(&prompt).expect("one of them").version;
            *version += 1;
            self.laws.edited(prompt, *version);
            self.laws.reached.reach(Row::Edited);
        }
        let all = self.left();
        let again = all.iter().any(|work| lost.contains(&number(&work.key)));
        self.laws.reached.reach_if(again, Row::LostAgain);
        let is_given = self.case.time.filter(|_| self.outcome.runs < 5);
        self.rules.deadline = is_given.map(|time| Mono(self.mono + self.random.u64(..=2 * time)));
        let deadline = self.rules.deadline.map(|deadline| deadline.0);
        self.laws.starts(all.iter().map(|work| number(&work.key)), deadline);
        self.ready.clear();
        self.chunks = self.input_of(&all);
        self.most_drawn = if self.random.bool() { self.random.usize(1..10) } else { 300 };
        (self.work, self.drawing) = (all, false);
        (self.asking, self.recording, self.holding, self.interrupts) = (false, false, false, 0);
        (self.stages, self.said) = (Stages::default(), Said::default());
        (self.trouble, self.unrecorded, self.down_since) = (false, BTreeSet::new(), None);
        self.journalled = (0, 0, 0);
        let estimate = OutputEstimate::from_latest([]);
        let recent = self.store.recent(&now).expect("a store in memory");
        let server = ServerLimits::new(Pacing::Auto, self.rules.limits, self.learned.clone(), recent, &now);
        self.machine = Some(Machine::new(self.rules.clone(), estimate, server, self.random.u64(..)));
        self.measure();
        self.feed(Input::Start);
    }

    /// What dead runs left is taken up. Returns what was in flight.
    fn take_up(&mut self, now: &Now) -> Vec<u64> {
        let Found { lost, kept, .. } = self.store.find(OUTPUTS, MODEL).expect("a store in memory");
        let info = RunInfo { outputs: OUTPUTS.to_owned(), model: MODEL.to_owned(), rehearsal: false, pid: 1 };
        self.store.start_run(&info, now).expect("a store in memory");
        let stands = |key: &Key| {
            let output = self.outputs.get(key)?;
            Some(Stands { content: content_id(output), failure: matches!(output, Content::Error { .. }) })
        };
        let Recovery { answered, .. } = recover(lost.clone(), stands);
        for request in lost.iter().filter(|request| !answered.iter().any(|(other, _)| other.key == request.key)) {
            match self.outputs.get(&request.key) {
                Some(Content::Error { .. }) => self.laws.reached.reach(Row::LineLeft),
                Some(Content::Answer(_)) => self.laws.reached.reach(Row::OlderLeft),
                None => {}
            }
        }
        for (request, content) in &answered {
            let recovered = (request.clone(), Usage::default(), *content);
            self.store.recover_lost(&[recovered], now).expect("a store in memory");
            self.outcome.adopted += 1;
            self.laws.reached.reach(Row::Adopted);
        }
        for answer in kept {
            self.store.recover_kept(&answer, now).expect("a store in memory");
            self.outputs.insert(answer.key, Content::Answer(answer.text));
            self.laws.reached.reach(Row::KeptWritten);
        }
        let lost: Vec<u64> = lost.iter().map(|request| number(&request.key)).collect();
        self.laws.dies(&lost);
        lost
    }

    /// What has no answer.
    fn left(&mut self) -> Vec<Work> {
        let known = self.known();
        let mut all: Vec<Work> = Vec::new();
        self.open_in_batch.clear();
        let mut batches: Vec<u32> = Vec::new();
        for (&number, prompt) in &self.prompts {
            let key = Key::from(number);
            let known = known.get(&key);
            let fingerprint = fingerprint(prompt.version);
            let done = known.is_some_and(|known| known.status == Status::Done && known.fingerprint == fingerprint);
            self.laws.output(number, done, self.outputs.get(&key));
            if done {
                self.laws.durable(number);
                continue;
            }
            if batches.last() != Some(&prompt.batch) {
                batches.push(prompt.batch);
            }
            let doom = || Box::new(Doom { class: Class::NotText, message: "it is empty".to_owned() });
            let place = Place { before: before(self.outputs.get(&key)), answered: false };
            all.push(Work {
                ordinal: Ordinal(all.len() as u32),
                key,
                spot: Spot::default(),
                fingerprint,
                input_tokens: prompt.usage.input_tokens,
                portion: batches.len() as u32 - 1,
                doomed: prompt.doomed.then(doom),
                place,
            });
        }
        for work in &all {
            let prompt = self.prompts.get_mut(&number(&work.key)).expect("one of them");
            prompt.batch = work.portion;
            *self.open_in_batch.entry(work.portion).or_default() += usize::from(!prompt.doomed);
        }
        all
    }

    fn ended(&mut self, ending: &Ending) {
        let now = self.now();
        self.tell_end(ending);
        let machine = self.machine.as_ref().expect("it ends");
        let dropped = machine.progress().in_flight > 0 || self.asking || self.recording;
        let patience = nanos(self.rules.give_up_after);
        let gave_up = self.down_since.is_some_and(|since| since + patience <= self.mono);
        if self.interrupts < 2 && !gave_up {
            self.laws.keeps_what_is_paid();
        }
        self.outcome.gave_up_store += usize::from(matches!(ending, Ending::Store(_)));
        if !dropped {
            self.laws.ends(&now, self.work.len(), machine.progress().tally, self.journalled, ending);
        } else if !matches!(ending, Ending::Interrupted(_)) {
            self.laws.stuck("it ends although something is under way");
        }
        self.outcome.gave_up += usize::from(matches!(ending, Ending::Outage { .. }));
        if self.case.measured.is_some() {
            self.measured(Some(ending.clone()));
            return;
        }
        match ending {
            Ending::Complete => {
                self.done = true;
                return;
            }
            Ending::DayLimit => {
                let midnight = (now.day.ends - now.wall).to_std().unwrap_or_default();
                self.end_process(nanos(midnight));
            }
            // Who reads what the server asks for comes back then; or sooner, when it answers again.
            Ending::Outage { asked, .. } => self.end_process(self.comes_back(asked.unwrap_or_default())),
            Ending::ServerDayLimit { wait, .. } => self.end_process(self.comes_back(*wait)),
            _ => self.end_process(0),
        }
        if self.ends_by.is_some() && *ending != Ending::DayLimit {
            self.ends_in_calm += 1;
            // One may have been about to end when the faults stopped; a server that only refuses for long is given up.
            let gives_up = matches!(ending, Ending::Outage { .. }) && self.server.limiter().is_some();
            if self.ends_in_calm > 1 && !gives_up {
                self.laws.stuck(&format!("nothing fails any more, and it ends: {ending:?}"));
            }
        }
        self.server.raise_quota();
        self.edit();
        // Few seeds have so much to go wrong.
        if self.outcome.runs > 8 {
            self.calm();
        }
    }

    /// What the journal knows of the prompts.
    fn known(&self) -> BTreeMap<Key, Known> {
        let keys: Vec<_> = self.prompts.keys().map(|number| Key::from(*number)).collect();
        let mut history = self.store.history(OUTPUTS).expect("a store in memory");
        let known = history.known(&keys).expect("a store in memory");
        keys.into_iter().zip(known).filter_map(|(key, known)| Some((key, known?))).collect()
    }

    /// The closing judgement.
    fn judge(&mut self, began: u64) {
        let now = self.now();
        let clean = self.outcome.runs == 1;
        let known = self.known();
        for &number in self.prompts.keys() {
            let key = Key::from(number);
            let status = known.get(&key).map(|known| known.status);
            let is_of = |known: &Known| known.fingerprint == fingerprint(self.prompts[&number].version);
            let done = status == Some(Status::Done) && known.get(&key).is_some_and(is_of);
            self.laws.output(number, done, self.outputs.get(&key));
            // Where its own place was taken, the store alone has its end.
            let has_no_place = self.blocked.contains(&key) && status.is_some();
            if !done && !has_no_place && !self.outputs.contains_key(&key) {
                self.laws.stuck(&format!("prompt {number} has no output at the end: {status:?}"));
            }
        }
        if let Ok(used) = self.store.used(&now) {
            self.laws.counts(&now, used.day);
        }
        for other in 0..self.laws.others {
            let theirs = self.store.find(&faults::outputs_of(other), MODEL).expect("a store in memory").lost;
            if theirs.len() != 1 {
                self.laws.stuck("what another run has in flight is forgotten, or taken for lost");
            }
        }
        let fits_reservation = self.rules.max_output_tokens.is_some();
        if self.case.tame {
            self.laws.convict(fits_reservation);
        }
        let batched = self.prompts.values().any(|prompt| prompt.batch > 0);
        let clean = clean && self.outcome.released == 0;
        if self.case.faultless && clean && fits_reservation && !self.daily() && !batched && !self.case.sleeps {
            self.laws.in_time(self.mono - began, self.latencies);
        }
    }
}
