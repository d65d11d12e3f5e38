//! The store as a value: what a simulation runs against, and the second opinion in the model test of the first.
//!
//! It keeps one row for each prompt and run, as the first formats of the file did, and works everything else out anew when it is asked.

mod journal;
mod usage_md;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::entry::{Step, next_status};
use super::{
    Admissions, AttemptId, Begun, Claim, Ended, Endpoint, Finished, Learned, Refusal, Reservation, RunInfo, Settlement,
    Store, StoreError,
};
use crate::admit::hint::LearnedLimit;
use crate::admit::ledger::{Admission, Amount, Ledger, Settled, Used};
use crate::clock::{Mono, Now, Quarter};
use crate::model::{Before, Class, ContentId, Fingerprint, FinishReason, Key, Status, Usage};

/// A store that is as durable as its value: what survives a simulated crash is what was in it.
#[derive(Debug)]
pub struct MemoryStore {
    ledger: Ledger,
    next_entry: u64,
    /// Reservations of entries up to this one are no part of the ledger's numbers, which were replaced.
    replaced: u64,
    /// The run that goes on, 0 before the first.
    run: i64,
    runs: BTreeMap<i64, Run>,
    rows: BTreeMap<(i64, Key), Row>,
    /// Attempts of the run that goes on.
    attempts: u64,
    flying: BTreeMap<AttemptId, Place>,
    learned: BTreeMap<Endpoint, Vec<LearnedLimit>>,
    usage_md: Option<usage_md::UsageMd>,
}

/// A run.
#[derive(Debug)]
struct Run {
    info: RunInfo,
    started: DateTime<Utc>,
    ended: Option<(DateTime<Utc>, String)>,
    notes: Vec<(DateTime<Utc>, String)>,
}

/// Where a prompt stands in a run.
#[derive(Clone, Debug)]
struct Row {
    fingerprint: Fingerprint,
    status: Status,
    /// Its last attempt; `None` where it was never sent.
    attempt: Option<AttemptId>,
    input_tokens: u64,
    reserved_tokens: u64,
    before: Before,
    begun: Option<DateTime<Utc>>,
    ended: Option<DateTime<Utc>>,
    usage: Usage,
    class: Option<Class>,
    finish: Option<FinishReason>,
    /// Of the output; its hash is not known where it was adopted.
    bytes: u64,
    output: Option<ContentId>,
    /// The answer, where it could not be written.
    text: Option<String>,
}

/// Where an attempt counts in the ledger.
#[derive(Clone, Copy, Debug)]
struct Place {
    entry: u64,
    at: Mono,
    quarter: Quarter,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            next_entry: 1,
            replaced: 0,
            run: 0,
            runs: BTreeMap::new(),
            rows: BTreeMap::new(),
            attempts: 0,
            flying: BTreeMap::new(),
            learned: BTreeMap::new(),
            usage_md: None,
        }
    }

    /// The row of a prompt in the run that goes on, after `step`. A machine that asks for a step that cannot follow is wrong, and a simulation is
    /// there to find it out.
    fn step(&mut self, key: &Key, fingerprint: Fingerprint, step: Step) -> &mut Row {
        let row = self.rows.entry((self.run, key.clone()));
        let from =
            if let std::collections::btree_map::Entry::Occupied(row) = &row { Some(row.get().status) } else { None };
        let status = next_status(from, step).unwrap_or_else(|illegal| panic!("prompt {key}: {illegal}"));
        let row = row.or_insert_with(|| Row::new(fingerprint, status));
        row.status = status;
        row
    }
}

impl Row {
    fn new(fingerprint: Fingerprint, status: Status) -> Self {
        Self {
            fingerprint,
            status,
            attempt: None,
            input_tokens: 0,
            reserved_tokens: 0,
            before: Before::Unknown,
            begun: None,
            ended: None,
            usage: Usage::default(),
            class: None,
            finish: None,
            bytes: 0,
            output: None,
            text: None,
        }
    }
}

impl Admissions for MemoryStore {
    fn begin(&mut self, claims: &[Claim], now: &dyn Fn() -> Now) -> Result<Begun, StoreError> {
        let now = &now();
        let entry = self.next_entry;
        self.next_entry += 1;
        let mut begun = Begun { admitted: Vec::new(), refused: None };
        for claim in claims {
            let (admission, tokens) = self.ledger.reserve(entry, claim.least, claim.tokens, now);
            match admission {
                Admission::Now => {
                    let attempt = AttemptId::of(self.run, self.attempts);
                    self.attempts += 1;
                    let row = self.step(&claim.key, claim.fingerprint, Step::Begin);
                    row.attempt = Some(attempt);
                    row.input_tokens = claim.input_tokens;
                    row.reserved_tokens = tokens;
                    row.before = claim.before;
                    row.begun = Some(now.wall);
                    self.flying.insert(attempt, Place { entry, at: now.mono, quarter: Quarter::of(now.wall) });
                    begun.admitted.push(Reservation { attempt, tokens });
                }
                Admission::NotBefore(wait) => begun.refused = Some(Refusal::NotBefore(wait)),
                Admission::Never(too_large) => begun.refused = Some(Refusal::Never(too_large)),
            }
            if begun.refused.is_some() {
                break;
            }
        }
        Ok(begun)
    }

    fn finish(&mut self, finished: &[Finished], now: &Now) -> Result<(), StoreError> {
        for Finished { key, fingerprint, settled, ended } in finished {
            if let Some(Settlement { reservation, used, heard, .. }) = settled
                && let Some(Place { entry, at, quarter }) = self.flying.remove(&reservation.attempt)
            {
                // Nothing is taken off numbers that a person set, or that start afresh, for what they do not hold.
                let least =
                    if entry <= self.replaced { Amount::request(reservation.tokens) } else { Amount::default() };
                let settled = Settled { reserved: reservation.tokens, used: used.at_least(least), heard: *heard };
                self.ledger.settle(entry, at, quarter, settled);
            }
            // An end without a request has a row of its own.
            self.attempts += u64::from(settled.is_none());
            let step = match ended {
                Ended::Done { .. } => Step::Done,
                Ended::Failed { .. } => Step::Fail,
                Ended::Again { .. } => Step::Again,
                Ended::Unwritten { .. } => Step::Keep,
            };
            let row = self.step(key, *fingerprint, step);
            row.ended = Some(now.wall);
            row.class = None;
            match ended {
                Ended::Done { usage, finish, output } => {
                    (row.usage, row.finish) = (*usage, Some(*finish));
                    (row.bytes, row.output) = (output.bytes, Some(*output));
                }
                Ended::Failed { class, usage, .. } => (row.usage, row.class) = (*usage, Some(*class)),
                Ended::Again { class } => row.class = *class,
                Ended::Unwritten { usage, finish, text } => {
                    (row.usage, row.finish, row.text) = (*usage, Some(*finish), Some(text.clone()));
                }
            }
        }
        Ok(())
    }

    fn used(&mut self, now: &Now) -> Result<Used, StoreError> {
        Ok(self.ledger.used(now))
    }

    fn recent(&mut self, now: &Now) -> Result<Vec<(Mono, Amount)>, StoreError> {
        self.ledger.used(now);
        Ok(self.ledger.recent().collect())
    }
}

impl Learned for MemoryStore {
    fn learned(&self, endpoint: &Endpoint) -> Result<Vec<LearnedLimit>, StoreError> {
        Ok(self.learned.get(endpoint).cloned().unwrap_or_default())
    }

    fn all_learned(&self) -> Result<Vec<(Endpoint, LearnedLimit)>, StoreError> {
        let all = self.learned.iter();
        Ok(all.flat_map(|(endpoint, limits)| limits.iter().map(|limit| (endpoint.clone(), limit.clone()))).collect())
    }

    fn learn(&mut self, endpoint: &Endpoint, limits: &[LearnedLimit]) -> Result<(), StoreError> {
        let sound = limits.iter().filter(|limit| limit.is_sound()).cloned().collect();
        self.learned.insert(endpoint.clone(), sound);
        Ok(())
    }

    fn forget(&mut self, endpoint: Option<&Endpoint>) -> Result<usize, StoreError> {
        let forgotten = match endpoint {
            Some(endpoint) => self.learned.remove(endpoint).unwrap_or_default().len(),
            None => std::mem::take(&mut self.learned).into_values().map(|limits| limits.len()).sum(),
        };
        Ok(forgotten)
    }
}

impl Store for MemoryStore {
    fn is_there(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
