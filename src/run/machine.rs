//! The machine itself. See [`super`] for what it is and how it is driven.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::time::Duration;

use super::throttle::Throttle;
use super::{Action, Doom, Ending, Input, Job, JobIndex, OutputEstimate, Rules};
use crate::admit::ledger::Wait;
use crate::clock::{Mono, Now};
use crate::config::OnDayLimit;
use crate::model::Usage;
use crate::record::{Begun, Claim, Finished, Refusal, Reservation, Settlement};
use crate::report::event::{Event, WaitFor};
use crate::report::summary::{Progress, Tally};
use crate::send::answer::Finish;

/// A wait is asked about again this often: another process may have given room back, or the clocks may have been set.
const RECHECK: Duration = Duration::from_secs(1);
/// The same for a day's limit.
const RECHECK_DAY: Duration = Duration::from_secs(10);
/// A wait that moves by less than this is not told again.
const SAME_WAIT: Duration = Duration::from_secs(5);

/// Brings a list of jobs to their ends.
#[derive(Debug)]
pub struct Machine {
    pub(super) rules: Rules,
    pub(super) jobs: Vec<Job>,
    pub(super) estimate: OutputEstimate,
    pub(super) random: fastrand::Rng,

    /// Jobs before this one have been taken at least once.
    cursor: usize,
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

    pub(super) throttle: Throttle,
    pub(super) blocked: Option<Blocked>,
    told: Option<(WaitFor, Mono)>,

    batch: u32,
    pub(super) open_in_batch: Vec<usize>,
    pub(super) open: usize,
    pub(super) tally: Tally,
    pub(super) stopping: Option<Ending>,
    ended: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tries {
    pub(super) begun: u32,
    pub(super) failed: u32,
}

/// Admission said "not before".
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocked {
    ask_again: Mono,
}

#[derive(Debug)]
pub(super) enum Active {
    Sending(Reservation),
    Writing { settled: Option<Settlement>, end: End },
}

/// The end that an output on its way to the disk leads to.
#[derive(Debug)]
pub(super) enum End {
    Answered { usage: Usage, finish: Finish },
    Failed { class: String, message: String, usage: Usage },
}

/// What a recorded end means for the run.
#[derive(Debug)]
pub(super) enum Recorded {
    Done(JobIndex, Usage, Finish),
    Failed {
        job: JobIndex,
        usage: Usage,
        class: String,
        message: String,
    },
    Kept(Usage),
    /// It may be begun again from this moment on.
    Again(JobIndex, Mono),
}

impl Machine {
    /// A run of `jobs`, in their order. `seed` gives the jitter.
    #[must_use]
    pub fn new(jobs: Vec<Job>, rules: Rules, estimate: OutputEstimate, seed: u64) -> Self {
        let batches = jobs.last().map_or(0, |job| job.batch as usize + 1);
        let mut open_in_batch = vec![0; batches];
        for job in &jobs {
            if job.doomed.is_none() {
                open_in_batch[job.batch as usize] += 1;
            }
        }
        let open = jobs.len();
        Self {
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
            throttle: Throttle::default(),
            blocked: None,
            told: None,
            batch: 0,
            open_in_batch,
            open,
            tally: Tally::default(),
            stopping: None,
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
        Progress { jobs: self.jobs.len(), in_flight: self.in_flight, tally: &self.tally }
    }

    /// Takes in what has happened at `now`, and says what to do.
    #[must_use]
    pub fn handle(&mut self, now: &Now, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.ended {
            return actions;
        }
        match input {
            Input::Start => self.start(&mut actions),
            Input::Wake => {}
            Input::Begun(begun) => self.begun(now, begun, &mut actions),
            Input::Heard(job, verdict) => self.heard(now, job, verdict, &mut actions),
            Input::Written(job, result) => self.written(job, result, &mut actions),
            Input::Recorded => self.recorded(&mut actions),
            Input::StoreFailed(message) => self.store_failed(message, &mut actions),
            Input::Interrupt => {
                if self.stopping == Some(Ending::Interrupted) {
                    self.ended = true;
                    actions.push(Action::End(Ending::Interrupted));
                    return actions;
                }
                // An interrupt wins over a slower end that is under way.
                self.stopping = Some(Ending::Interrupted);
                actions
                    .push(Action::Say(Event::Stopping { reason: "interrupted".to_owned(), in_flight: self.in_flight }));
            }
        }
        self.go_on(now, &mut actions);
        actions
    }

    /// Asks for whatever can be done now.
    fn go_on(&mut self, now: &Now, actions: &mut Vec<Action>) {
        if matches!(self.stopping, Some(Ending::Store(_))) {
            // The store is not asked again, also because it may still be busy with what it was asked before it failed.
            self.finished.clear();
        }
        if self.recording.is_none() && !self.finished.is_empty() {
            let (finished, recorded) = std::mem::take(&mut self.finished).into_iter().unzip();
            self.recording = Some(recorded);
            actions.push(Action::Finish(finished));
        }
        if self.stopping.is_none() {
            self.wake_delayed(now);
            self.next_batch(actions);
            self.begin(now, actions);
        }
        let idle =
            self.in_flight == 0 && self.claimed.is_none() && self.recording.is_none() && self.finished.is_empty();
        if idle && (self.open == 0 || self.stopping.is_some()) {
            self.ended = true;
            actions.push(Action::End(self.stopping.take().unwrap_or(Ending::Complete)));
        } else if let Some(at) = self.next_wake(now) {
            actions.push(Action::WakeAt(at));
        }
    }

    /// Prompts that cannot be sent fail at once, whatever the others wait for.
    fn start(&mut self, actions: &mut Vec<Action>) {
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

    /// Claims as much as may be in flight; the store admits what fits.
    fn begin(&mut self, now: &Now, actions: &mut Vec<Action>) {
        if self.claimed.is_some() || self.blocked.is_some_and(|blocked| now.mono < blocked.ask_again) {
            return;
        }
        if let Some(until) = self.throttle.until(now.mono) {
            if self.has_ready() {
                self.tell_wait(now, WaitFor::Server, until, actions);
            }
            return;
        }
        self.blocked = None;
        let mut claimed = Vec::new();
        while self.in_flight + claimed.len() < self.rules.concurrency
            && let Some(job) = self.take_ready()
        {
            claimed.push(job);
        }
        if !claimed.is_empty() {
            actions.push(Action::Begin(claimed.iter().map(|&job| self.claim(job)).collect()));
            self.claimed = Some(claimed);
            self.settled_since = false;
        }
    }

    fn has_ready(&mut self) -> bool {
        let next = self.take_ready();
        next.is_some_and(|job| self.ready.insert(job))
    }

    /// The next job in order: those taken before come first.
    fn take_ready(&mut self) -> Option<JobIndex> {
        if let Some(job) = self.ready.pop_first() {
            return Some(job);
        }
        while let Some(job) = self.jobs.get(self.cursor)
            && job.batch <= self.batch
        {
            self.cursor += 1;
            if job.doomed.is_none() {
                return Some(to_index(self.cursor - 1));
            }
        }
        None
    }

    fn claim(&self, index: JobIndex) -> Claim {
        let job = &self.jobs[index as usize];
        let expected = self.rules.max_output_tokens.unwrap_or_else(|| self.estimate.tokens());
        let mut tokens = job.input_tokens.saturating_add(expected);
        if self.rules.max_output_tokens.is_none() {
            // An estimate is no reason to say that a prompt never fits.
            let most =
                [self.rules.limits.tokens_per_minute, self.rules.limits.tokens_per_day].into_iter().flatten().min();
            tokens = most.map_or(tokens, |most| tokens.min(most.max(job.input_tokens)));
        }
        let attempt = self.tries.get(&index).map_or(0, |tries| tries.begun) + 1;
        Claim { prompt: job.prompt, fingerprint: job.fingerprint, attempt, input_tokens: job.input_tokens, tokens }
    }

    fn begun(&mut self, now: &Now, begun: Begun, actions: &mut Vec<Action>) {
        let claimed = self.claimed.take().unwrap_or_default();
        let admitted = begun.admitted.len();
        // A stop or a pause that came while the store was asked holds for these too: they give their tokens back unsent.
        let held = self.stopping.is_some() || self.throttle.until(now.mono).is_some();
        for (&job, reservation) in claimed.iter().zip(begun.admitted) {
            if held {
                self.in_flight += 1;
                self.again(job, Settlement { reservation, tokens: 0, heard: now.mono }, "not_sent", now.mono);
                continue;
            }
            self.tries.entry(job).or_default().begun += 1;
            self.active.insert(job, Active::Sending(reservation));
            self.in_flight += 1;
            self.tally.requests += 1;
            actions.push(Action::Send(job));
        }
        let mut rest = claimed.into_iter().skip(admitted);
        match begun.refused {
            // Where amounts were settled since, it is asked again at once.
            Some(Refusal::NotBefore(_)) if self.settled_since => {}
            Some(Refusal::NotBefore(wait)) => self.block(now, wait, actions),
            Some(Refusal::Never(too_large)) => {
                if let Some(job) = rest.next() {
                    let doom = Doom::too_large(&too_large);
                    self.write_error(job, None, Usage::default(), doom.class, doom.message, actions);
                }
            }
            None => {}
        }
        self.ready.extend(rest);
    }

    fn block(&mut self, now: &Now, wait: Wait, actions: &mut Vec<Action>) {
        let daily = wait.limit.is_daily();
        if daily && self.rules.on_day_limit == OnDayLimit::Exit {
            if self.in_flight > 0 || self.recording.is_some() || !self.finished.is_empty() {
                // What is under way may use less than was reserved for it; when it is settled, `recorded` asks again.
                self.blocked = Some(Blocked { ask_again: wait.until.min(now.mono.plus(RECHECK_DAY)) });
            } else if self.stopping.is_none() {
                actions.push(Action::Say(Event::Stopping {
                    reason: format!("{} is reached", wait.limit),
                    in_flight: self.in_flight,
                }));
                self.stopping = Some(Ending::DayLimit);
            }
            return;
        }
        let recheck = if daily { RECHECK_DAY } else { RECHECK };
        self.blocked = Some(Blocked { ask_again: wait.until.min(now.mono.plus(recheck)) });
        self.tell_wait(now, WaitFor::Limit(wait.limit), wait.until, actions);
    }

    /// Tells of a wait once, and again only when it is for another limit or for a good deal longer.
    fn tell_wait(&mut self, now: &Now, wait_for: WaitFor, until: Mono, actions: &mut Vec<Action>) {
        let known = self.told.is_some_and(|(told, told_until)| {
            told == wait_for && until <= told_until.plus(SAME_WAIT) && now.mono < told_until
        });
        if !known {
            self.told = Some((wait_for, until));
            let span = now.mono.until(until);
            let until = now.wall + chrono::TimeDelta::from_std(span).unwrap_or_default();
            actions.push(Action::Say(Event::Waiting { wait_for, seconds: span.as_secs_f64(), until }));
        }
    }

    /// The next moment at which something can change by itself.
    fn next_wake(&mut self, now: &Now) -> Option<Mono> {
        if self.stopping.is_some() {
            return None;
        }
        let delayed = self.delayed.peek().map(|Reverse((at, _))| *at);
        let admission = if self.claimed.is_none() && self.has_ready() {
            self.throttle.until(now.mono).or(self.blocked.map(|blocked| blocked.ask_again))
        } else {
            None
        };
        delayed.into_iter().chain(admission).min()
    }
}

fn to_index(place: usize) -> JobIndex {
    JobIndex::try_from(place).unwrap_or(JobIndex::MAX)
}
