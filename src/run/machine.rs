//! The machine itself. See [`super`] for what it is and how it is driven.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

use super::admission::Told;
use super::breaker::Breaker;
use super::in_flight::InFlight;
use super::keep::Trouble;
use super::outcome::Held;
use super::patience::Patience;
use super::soft_start::SoftStart;
use super::throttle::Throttle;
use super::{Action, Input, Job, JobIndex, OutputEstimate, Rules, Unwritten};
use crate::admit::server::{ServerLimits, Ticket};
use crate::clock::{Mono, Now};
use crate::model::{Class, Ending, FinishReason, Signal, Usage};
use crate::record::{Finished, Reservation, Settlement};
use crate::report::event::{Binds, Event};
use crate::report::summary::{Progress, Tally};

/// Brings a list of jobs to their ends.
#[derive(Debug)]
pub struct Machine {
    pub(super) rules: Rules,
    pub(super) jobs: Vec<Job>,
    pub(super) estimate: OutputEstimate,
    pub(super) random: fastrand::Rng,

    /// Jobs before this one have been taken at least once.
    pub(super) cursor: usize,
    /// Jobs taken before that may be sent now; they go first.
    pub(super) ready: BTreeSet<JobIndex>,
    /// Jobs that back off.
    pub(super) delayed: BinaryHeap<Reverse<(Mono, JobIndex)>>,
    /// Jobs that have been begun at least once and have not ended.
    pub(super) tries: HashMap<JobIndex, Tries>,
    /// Jobs whose request is at the server or whose output is being written.
    pub(super) active: HashMap<JobIndex, Active>,
    /// Requests at the server, and answers on their way to the disk.
    pub(super) in_flight: usize,

    /// Claims at the store.
    pub(super) claimed: Option<Vec<JobIndex>>,
    /// Amounts were settled while the claims were at the store: a refusal may be out of date.
    pub(super) settled_since: bool,
    /// Ends at the store: how they change the tally.
    pub(super) recording: Option<Vec<Recorded>>,
    /// Ends that wait for the store.
    pub(super) finished: Vec<(Finished, Recorded)>,

    /// Outputs that could not be written, and are not recorded.
    pub(super) unwritten: usize,
    pub(super) trouble: Option<Trouble>,

    /// What is known of the server's own limits.
    pub(super) server: ServerLimits,
    pub(super) throttle: Throttle,
    pub(super) soft_start: SoftStart,
    pub(super) breaker: Breaker,
    pub(super) patience: Patience,
    pub(super) in_flight_bound: InFlight,
    /// Failures that are final unless the server turns out to fail.
    pub(super) held: Vec<Held>,
    /// The ledger said "not before": when it is asked again.
    pub(super) blocked: Option<Mono>,
    /// When anything else that is waited for may be over.
    pub(super) next_try: Option<Mono>,
    /// What keeps the next request back.
    pub(super) binds: Option<Binds>,
    pub(super) told: Option<Told>,
    pub(super) mean_input_tokens: u64,

    pub(super) batch: u32,
    pub(super) open_in_batch: Vec<usize>,
    pub(super) open: usize,
    pub(super) tally: Tally,
    pub(super) stopping: Option<Ending>,
    /// The first signal that came.
    signal: Option<Signal>,
    /// Whether what is told of the run is not read.
    pub(super) behind: bool,
    ended: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tries {
    pub(super) begun: u32,
    pub(super) failed: u32,
}

#[derive(Debug)]
pub(super) enum Active {
    Sending(Reservation, Ticket),
    /// `again` where it could not be written before, and others neither.
    Writing {
        settled: Option<Settlement>,
        end: End,
        again: bool,
    },
}

/// The end that an output on its way to the disk leads to.
#[derive(Debug)]
pub(super) enum End {
    Answered { usage: Usage, finish: FinishReason },
    Failed { class: Class, message: String, usage: Usage },
}

/// What a recorded end means for the run.
#[derive(Debug)]
pub(super) enum Recorded {
    /// The text is needed until the answer is recorded: it may have to be written again.
    Done { job: JobIndex, usage: Usage, finish: FinishReason, text: String },
    Failed {
        job: JobIndex,
        usage: Usage,
        /// Class and message.
        failed: (Class, String),
        /// Why its output could not be written.
        unwritten: Option<Unwritten>,
    },
    /// The output could not be written, for this reason.
    Kept { job: JobIndex, usage: Usage, why: Unwritten },
    /// Nothing yet: it may be final.
    Held(JobIndex),
    /// It may be begun again from this moment on.
    Again(JobIndex, Mono),
}

impl Machine {
    /// A run of `jobs`, in their order, against a server of which `server` is known. `seed` gives the jitter.
    #[must_use]
    pub fn new(jobs: Vec<Job>, rules: Rules, estimate: OutputEstimate, server: ServerLimits, seed: u64) -> Self {
        let batches = jobs.last().map_or(0, |job| job.batch as usize + 1);
        let mut open_in_batch = vec![0; batches];
        for job in &jobs {
            if job.doomed.is_none() {
                open_in_batch[job.batch as usize] += 1;
            }
        }
        let open = jobs.len();
        let input_tokens: u64 = jobs.iter().map(|job| job.input_tokens).sum();
        Self {
            in_flight_bound: InFlight::new(rules.concurrency),
            mean_input_tokens: input_tokens / (open as u64).max(1),
            rules,
            jobs,
            estimate,
            random: fastrand::Rng::with_seed(seed),
            cursor: 0,
            ready: BTreeSet::new(),
            delayed: BinaryHeap::new(),
            tries: HashMap::new(),
            active: HashMap::new(),
            in_flight: 0,
            claimed: None,
            settled_since: false,
            recording: None,
            finished: Vec::new(),
            unwritten: 0,
            trouble: None,
            server,
            throttle: Throttle::default(),
            soft_start: SoftStart::default(),
            breaker: Breaker::default(),
            patience: Patience::default(),
            held: Vec::new(),
            blocked: None,
            next_try: None,
            binds: None,
            told: None,
            batch: 0,
            open_in_batch,
            open,
            tally: Tally::default(),
            stopping: None,
            signal: None,
            behind: false,
            ended: false,
        }
    }

    /// The jobs.
    #[must_use]
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// The jobs, when the run has ended.
    #[must_use]
    pub fn into_jobs(self) -> Vec<Job> {
        self.jobs
    }

    /// How far the run is.
    #[must_use]
    pub fn progress(&self) -> Progress<'_> {
        Progress { jobs: self.jobs.len(), in_flight: self.in_flight, tally: &self.tally, binds: self.binds.as_ref() }
    }

    /// Takes in what has happened at `now`, and says what to do.
    #[must_use]
    pub fn handle(&mut self, now: &Now, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.ended {
            return actions;
        }
        self.pass(now.mono);
        match input {
            Input::Start => self.start(now, &mut actions),
            Input::Wake => {}
            Input::Begun(begun) => self.begun(now, begun, &mut actions),
            Input::Heard(job, verdict, hints) => self.heard(now, job, verdict, &hints, &mut actions),
            Input::Written(job, content, result) => self.written(job, content, result),
            Input::Recorded => self.recorded(&mut actions),
            Input::Unbegun(reason) => self.unbegun(now, reason, &mut actions),
            Input::Unrecorded(finished, why) => self.unrecorded(now, finished, why, &mut actions),
            Input::StoreGone(reason) => self.store_gone(reason, &mut actions),
            Input::Interrupt(signal) => {
                if let Some(first) = self.signal {
                    return self.end_at_once(Ending::Interrupted(first), actions);
                }
                self.signal = Some(signal);
                // An interrupt wins over a slower end that is under way.
                self.stopping = Some(Ending::Interrupted(signal));
                self.say_stopping(signal.to_string(), Some(signal), &mut actions);
            }
            Input::Behind(behind) => self.behind = behind,
            Input::Broken(what) => return self.end_at_once(Ending::Broken(what), actions),
        }
        self.go_on(now, &mut actions);
        actions
    }

    /// Ends with what is kept by now.
    fn end_at_once(&mut self, ending: Ending, mut actions: Vec<Action>) -> Vec<Action> {
        self.ended = true;
        self.lose();
        self.say_abandoned(&mut actions);
        actions.push(Action::End(ending));
        actions
    }

    /// Says what is not waited for.
    fn say_abandoned(&self, actions: &mut Vec<Action>) {
        let tokens = self.active.values().filter_map(|active| match active {
            Active::Sending(reservation, _) => Some(reservation.tokens()),
            Active::Writing { settled, .. } => settled.as_ref().map(|settled| settled.used.tokens),
        });
        let (in_flight, tokens) = tokens.fold((0, 0_u64), |(n, sum), tokens| (n + 1, sum.saturating_add(tokens)));
        if in_flight > 0 {
            let at_most = self.rules.max_output_tokens.is_some();
            actions.push(Action::Say(Event::Abandoned { in_flight, tokens, at_most }));
        }
    }

    /// Asks for whatever can be done now.
    fn go_on(&mut self, now: &Now, actions: &mut Vec<Action>) {
        self.keep(now, actions);
        self.end_held(actions);
        if self.stopping.is_none() && self.is_out_of_time(now) && self.open > 0 {
            let reason = "the time that the run was given is over".to_owned();
            self.say_stopping(reason, None, actions);
            self.stopping = Some(Ending::Deadline);
        }
        if self.stopping.is_none() {
            self.wake_delayed(now);
            self.next_batch(actions);
            self.give_up(now, actions);
        }
        if self.stopping.is_none() {
            self.begin(now, actions);
        }
        if self.is_idle() && (self.open == 0 || self.stopping.is_some()) {
            self.ended = true;
            actions.push(Action::End(self.stopping.take().unwrap_or(Ending::Complete)));
        } else if let Some(at) = self.next_wake() {
            actions.push(Action::WakeAt(at));
        }
    }

    /// Whether the time that the run was given is over.
    pub(super) fn is_out_of_time(&self, now: &Now) -> bool {
        self.rules.deadline.is_some_and(|deadline| deadline <= now.mono)
    }

    /// Whether nothing is under way: neither at the store, nor at the server, nor on the way to the disk.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.claimed.is_none() && self.recording.is_none() && self.finished.is_empty()
    }

    /// Prompts that cannot be sent fail at once, whatever the others wait for.
    fn start(&mut self, now: &Now, actions: &mut Vec<Action>) {
        if self.rules.soft_start && !self.server.is_known() {
            self.soft_start.begin(self.jobs.len(), now.mono);
        }
        for index in 0..self.jobs.len() {
            if let Some(doom) = self.jobs[index].doomed.clone() {
                self.write_error(to_index(index), None, Usage::default(), doom.class, doom.message, actions);
            }
        }
        if self.open_in_batch.len() > 1 {
            self.say_batch(actions);
        }
    }

    fn next_batch(&mut self, actions: &mut Vec<Action>) {
        let before = self.batch;
        while self.open_in_batch.get(self.batch as usize) == Some(&0)
            && (self.batch as usize) + 1 < self.open_in_batch.len()
        {
            self.batch += 1;
        }
        if self.batch != before {
            self.say_batch(actions);
        }
    }

    fn say_batch(&self, actions: &mut Vec<Action>) {
        let jobs = || self.jobs.iter().filter(|job| job.batch == self.batch && job.doomed.is_none());
        actions.push(Action::Say(Event::Batch {
            batch: self.batch + 1,
            batches: self.open_in_batch.len(),
            prompts: jobs().count(),
            input_tokens: jobs().map(|job| job.input_tokens).sum(),
        }));
    }

    fn wake_delayed(&mut self, now: &Now) {
        while let Some(Reverse((at, job))) = self.delayed.peek().copied()
            && at <= now.mono
        {
            self.delayed.pop();
            self.ready.insert(job);
            // It goes before what was refused, and may be smaller.
            self.blocked = None;
        }
    }

    /// The next moment at which something can change by itself.
    fn next_wake(&mut self) -> Option<Mono> {
        let trial = self.next_trial();
        if self.stopping.is_some() {
            return trial;
        }
        let delayed = self.delayed.peek().map(|Reverse((at, _))| *at);
        let admission = if self.claimed.is_none() && self.has_ready() { self.blocked.or(self.next_try) } else { None };
        delayed.into_iter().chain(admission).chain(self.rules.deadline).chain(trial).min()
    }
}

pub(super) fn to_index(place: usize) -> JobIndex {
    JobIndex::try_from(place).unwrap_or(JobIndex::MAX)
}
