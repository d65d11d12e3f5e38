//! The store as a value: what a simulation runs against, and the second opinion in the model test of the first.

use std::collections::BTreeMap;

use super::entry::{Known, Status, Step, next_status};
use super::{Begun, Claim, Ended, Finished, Refusal, Reservation, Settlement, Store, StoreError};
use crate::admit::ledger::{Admission, Amount, Ledger, Settled, Used};
use crate::clock::{Mono, Now, Quarter};
use crate::model::{PromptId, Usage};

/// A store that is as durable as its value: what survives a simulated crash is what was in it.
#[derive(Debug)]
pub struct MemoryStore {
    ledger: Ledger,
    next_entry: u64,
    /// The journal of the running run.
    rows: BTreeMap<PromptId, Status>,
    known: BTreeMap<PromptId, Known>,
    kept: BTreeMap<PromptId, String>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger, next_entry: 1, rows: BTreeMap::new(), known: BTreeMap::new(), kept: BTreeMap::new() }
    }

    /// Starts a run: what was in flight is lost, and named.
    pub fn start_run(&mut self) -> Vec<PromptId> {
        let rows = std::mem::take(&mut self.rows);
        rows.into_iter().filter(|(_, status)| *status == Status::Sending).map(|(prompt, _)| prompt).collect()
    }

    /// What was admitted in the window, in order.
    pub fn recent(&self) -> impl Iterator<Item = (Mono, Amount)> + '_ {
        self.ledger.recent()
    }

    /// What is known of the prompts that have ended.
    #[must_use]
    pub fn known(&self) -> &BTreeMap<PromptId, Known> {
        &self.known
    }

    /// Answers that could not be written.
    #[must_use]
    pub fn kept(&self) -> &BTreeMap<PromptId, String> {
        &self.kept
    }

    fn step(&mut self, prompt: PromptId, step: Step) {
        let from = self.rows.get(&prompt).copied();
        match next_status(from, step) {
            Ok(status) => {
                self.rows.insert(prompt, status);
            }
            // A machine that asks for this is wrong, and a simulation is there to find it out.
            Err(illegal) => panic!("prompt {prompt}: {illegal}"),
        }
    }
}

impl Store for MemoryStore {
    fn begin(&mut self, claims: &[Claim], now: &dyn Fn() -> Now) -> Result<Begun, StoreError> {
        let now = &now();
        let entry = self.next_entry;
        self.next_entry += 1;
        let mut begun = Begun { admitted: Vec::new(), refused: None };
        for claim in claims {
            let (admission, tokens) = self.ledger.reserve(entry, claim.least, claim.tokens, now);
            match admission {
                Admission::Now => {
                    self.step(claim.prompt, Step::Begin);
                    let quarter = Quarter::of(now.wall);
                    begun.admitted.push(Reservation { entry, at: now.mono, quarter, tokens });
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

    fn finish(&mut self, finished: Vec<Finished>, _now: &Now) -> Result<(), StoreError> {
        for Finished { prompt, fingerprint, settled, ended } in finished {
            if let Some(Settlement { reservation, used, heard }) = settled {
                let settled = Settled { reserved: reservation.tokens, used, heard };
                self.ledger.settle(reservation.entry, reservation.at, reservation.quarter, settled);
            }
            let (step, status, bytes, usage) = match ended {
                Ended::Done { usage, bytes, .. } => (Step::Done, Status::Done, bytes, usage),
                Ended::Failed { usage, .. } => (Step::Fail, Status::Failed, 0, usage),
                Ended::Again { .. } => (Step::Again, Status::Waiting, 0, Usage::default()),
                Ended::Unwritten { usage, text, .. } => {
                    self.kept.insert(prompt, text);
                    (Step::Keep, Status::Unwritten, 0, usage)
                }
            };
            self.step(prompt, step);
            if step != Step::Again {
                self.known.insert(prompt, Known { fingerprint, status, bytes, rehearsal: false, usage });
            }
        }
        Ok(())
    }

    fn used(&mut self, now: &Now) -> Result<Used, StoreError> {
        Ok(self.ledger.used(now))
    }
}
