//! The loop itself, and how it ends.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::back::Back;
use super::disk::{self, Disk};
use super::keeper::Keeper;
use super::parts::{Gone, Part, ended_unexpectedly, first_panic};
use super::reader::Reader;
use super::request::{Heard, Sender, not_sent};
use super::{Driven, News, Watch};
use crate::clock::{Clock, Mono};
use crate::model::{Drawn, Ending, Supply};
use crate::plan::Draft;
use crate::report::event::Event;
use crate::run::{Action, Input, Machine};
use crate::tripwire;

/// The longest sleep: after a machine's sleep, or when another process has given room back, the machine is asked again within this time.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Who watches is told this often how far the run is.
const TICK: Duration = Duration::from_millis(100);
/// Where a run ends at once, its threads have so long to end what they are at.
const CLOSING: Duration = Duration::from_secs(1);

/// What the loop goes on with.
enum Next {
    Input(Input),
    /// Nothing that the machine should know of.
    Nothing,
    /// Something without which the run cannot go on has ended.
    Broken(Part),
}

/// How the loop stopped.
enum Stop {
    /// The machine says that nothing is under way.
    Ended(Ending),
    /// Nothing is waited for: the machine is told this when the threads have ended.
    AtOnce(Input),
}

/// The threads that work for the loop.
pub(super) struct Threads {
    pub(super) keeper: Keeper,
    pub(super) disk: Disk,
    pub(super) reader: Reader,
}

pub(super) struct EventLoop<'a> {
    machine: Machine,
    /// What was drawn before the run.
    first: Option<Drawn>,
    /// What was drawn, and the machine does not have yet.
    drawn: Option<Drawn>,
    clock: Clock,
    keeper: Keeper,
    disk: Disk,
    reader: Reader,
    /// What is known of the input.
    supply: Supply,
    sender: Sender,
    requests: JoinSet<Heard>,
    came: UnboundedReceiver<Back>,
    news: &'a mut UnboundedReceiver<News>,
    watch: &'a mut dyn Watch,
    /// Whether a signal has come.
    interrupted: bool,
    /// Whether the machine knows that what is told of it is not read.
    behind: bool,
    /// Threads that have not ended.
    threads: usize,
    /// Whether a panic was noted that nobody has told of.
    unexplained: bool,
    /// What the machine said last, where it ended while the threads did.
    ended: Option<Ending>,
}

impl<'a> EventLoop<'a> {
    pub(super) fn new(
        machine: Machine,
        first: Drawn,
        Threads { keeper, disk, reader }: Threads,
        sender: Sender,
        came: UnboundedReceiver<Back>,
        news: &'a mut UnboundedReceiver<News>,
        watch: &'a mut dyn Watch,
    ) -> Self {
        Self {
            machine,
            supply: first.supply,
            first: Some(first),
            drawn: None,
            clock: sender.clock,
            keeper,
            disk,
            reader,
            sender,
            requests: JoinSet::new(),
            came,
            news,
            watch,
            interrupted: false,
            behind: false,
            // Those of the disk, the keeper's and the reader's.
            threads: disk::THREADS + 2,
            unexplained: false,
            ended: None,
        }
    }

    /// Runs the machine to its end, and lets the threads end.
    pub(super) async fn run(mut self) -> Driven {
        let mut at_once = true;
        let (ending, is_over) = match caught(self.work()).await {
            Ok(Stop::Ended(ending)) => {
                at_once = false;
                (ending, self.close(false, None).await)
            }
            Ok(Stop::AtOnce(input)) => {
                let is_over = self.close(true, Some(CLOSING)).await;
                (self.end_at_once(input), is_over)
            }
            // Neither the machine nor who watches can be asked for more than their counts.
            Err(_) => (Ending::Broken(ended_unexpectedly(Part::Loop)), self.close(false, Some(CLOSING)).await),
        };
        let (store, feed) = (self.keeper.join(), self.reader.join());
        Driven { ending, machine: self.machine, store, is_over, at_once, supply: self.supply, feed }
    }

    async fn work(&mut self) -> Stop {
        let mut wake: Option<Mono> = None;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut next = Next::Input(Input::Start);
        loop {
            match next {
                Next::Input(Input::Interrupt(signal)) if std::mem::replace(&mut self.interrupted, true) => {
                    return Stop::AtOnce(Input::Interrupt(signal));
                }
                Next::Input(input) => {
                    wake = None;
                    for action in self.machine.handle(&self.clock.now(), input) {
                        match action {
                            Action::WakeAt(at) => wake = Some(at),
                            Action::End(ending) => return Stop::Ended(ending),
                            action => self.carry_out(action),
                        }
                    }
                }
                Next::Broken(part) => return Stop::AtOnce(Input::Broken(ended_unexpectedly(part))),
                Next::Nothing => {}
            }
            let behind = self.watch.is_behind();
            if std::mem::replace(&mut self.behind, behind) != behind {
                next = Next::Input(Input::Behind(behind));
                continue;
            }
            if let Some(drawn) = self.drawn.take() {
                next = Next::Input(Input::Drawn(drawn));
                continue;
            }
            let nap = wake.map_or(LONGEST_SLEEP, |at| self.clock.mono().until(at).min(LONGEST_SLEEP));
            next = tokio::select! {
                Some(back) = self.came.recv() => self.came_back(back),
                Some(ended) = self.requests.join_next() => match ended {
                    Ok((ordinal, verdict, hints)) => Next::Input(Input::Heard(ordinal, verdict, hints)),
                    Err(_) => Next::Broken(Part::Request),
                },
                Some(news) = self.news.recv() => match news {
                    News::Signal(signal) => Next::Input(Input::Interrupt(signal)),
                    News::Gone(gone) => Next::Broken(gone.part),
                    News::Read => Next::Nothing,
                },
                _ = ticks.tick() => self.tick(),
                () = sleep(nap) => Next::Input(Input::Wake),
            };
            // Nothing has happened that the machine should know: keep the alarm.
            if matches!(next, Next::Nothing) && wake.is_some_and(|at| at <= self.clock.mono()) {
                next = Next::Input(Input::Wake);
            }
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Begin(claims) => self.keeper.begin(claims),
            Action::Finish(finished) => self.keeper.finish(finished),
            Action::Draw(most) => match self.first.take() {
                Some(first) => self.drawn = Some(first),
                None => self.reader.draw(most),
            },
            // What an action names is in play.
            Action::Send(ordinal) => {
                if let Some(work) = self.machine.work(ordinal) {
                    self.disk.read(ordinal, work.spot, work.fingerprint);
                }
            }
            Action::Write(ordinal, content) => {
                if let Some(work) = self.machine.work(ordinal) {
                    self.disk.write(ordinal, work.key.clone(), content, work.place.answered);
                }
            }
            Action::Learn(limits) => self.keeper.learn(limits),
            Action::Say(event) => {
                if event.is_noted() {
                    self.keeper.note(self.clock.now().wall, event.to_json());
                }
                self.watch.event(event);
            }
            // The loop's own.
            Action::WakeAt(_) | Action::End(_) => {}
        }
    }

    fn came_back(&mut self, back: Back) -> Next {
        match back {
            Back::Input(input) => return Next::Input(input),
            Back::Ready(ordinal, Ok(body)) => {
                if let Some(work) = self.machine.work(ordinal) {
                    self.sender.send(&mut self.requests, (ordinal, work.key.clone()), work.input_tokens, body);
                }
            }
            Back::Ready(ordinal, Err(doom)) => return Next::Input(Input::Heard(ordinal, not_sent(doom), Vec::new())),
            Back::Read(draft) => return Next::Input(Input::Drawn(self.take_stock(draft))),
            Back::Used(used) => self.watch.used(used),
            Back::Warning(message) => self.watch.event(Event::Warning { message }),
            Back::Gone(gone) => {
                self.gone(gone);
                return Next::Broken(gone.part);
            }
        }
        Next::Nothing
    }

    /// Tells what else was found when the input was read on.
    fn take_stock(&mut self, draft: Draft) -> Drawn {
        for message in self.reader.warnings(&draft) {
            self.watch.event(Event::Warning { message });
        }
        let Draft { drawn, adopted, .. } = draft;
        if !adopted.is_empty() {
            self.watch.event(Event::WithoutHistory { answers: adopted.len() });
            self.keeper.adopt(adopted);
        }
        self.supply = drawn.supply;
        drawn
    }

    fn tick(&mut self) -> Next {
        tripwire::here("loop");
        self.watch.tick(self.machine.progress());
        // What has panicked is mostly heard of before.
        let noted = first_panic().is_some();
        if noted && std::mem::replace(&mut self.unexplained, noted) { Next::Broken(Part::Other) } else { Next::Nothing }
    }

    /// Lets the threads do what they were asked, and end; says whether they have. `bound` is how long that may take; a signal sets one.
    ///
    /// Where the machine `listens`, it takes in what is written and recorded meanwhile.
    async fn close(&mut self, listens: bool, bound: Option<Duration>) -> bool {
        self.requests.abort_all();
        self.disk.close();
        self.keeper.close();
        self.reader.close();
        let mut until = bound.map(|bound| Instant::now() + bound);
        while self.threads > 0 {
            tokio::select! {
                Some(back) = self.came.recv() => match back {
                    Back::Gone(gone) => self.gone(gone),
                    Back::Input(input) if listens => self.take_in(input),
                    _ => {}
                },
                Some(News::Signal(_)) = self.news.recv() => {
                    until.get_or_insert(Instant::now() + CLOSING);
                }
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => return false,
            }
        }
        true
    }

    fn gone(&mut self, gone: Gone) {
        self.threads -= 1;
        match gone.part {
            Part::Keeper => self.keeper.has_ended(),
            Part::Reader => self.reader.has_ended(),
            _ => {}
        }
    }

    /// Takes in what the threads have still done. What the machine would do next is not done.
    fn take_in(&mut self, input: Input) {
        if matches!(input, Input::Recorded | Input::Written(..) | Input::Unrecorded(..)) {
            self.only_say(input);
        }
    }

    fn end_at_once(&mut self, input: Input) -> Ending {
        let broken = if let Input::Broken(what) = &input { Some(Ending::Broken(what.clone())) } else { None };
        self.only_say(input);
        // Such an input asks for nothing but an end.
        broken.or(self.ended.take()).unwrap_or(Ending::Complete)
    }

    fn only_say(&mut self, input: Input) {
        for action in self.machine.handle(&self.clock.now(), input) {
            match action {
                Action::Say(event) => self.watch.event(event),
                Action::End(ending) => self.ended = Some(ending),
                _ => {}
            }
        }
    }
}

/// `work`, or its panic.
async fn caught<T>(work: impl Future<Output = T>) -> thread::Result<T> {
    let mut work = pin!(work);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}
