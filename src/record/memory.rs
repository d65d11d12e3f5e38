//! The store as a value: what a simulation runs against, and the second opinion in the model test of the first.

use std::collections::BTreeMap;

use super::entry::{LostRequest, Step, next_status};
use super::{Begun, Claim, Ended, Finished, Refusal, Reservation, Settlement, Store, StoreError};
use crate::admit::ledger::{Admission, Amount, Ledger, Settled, Used};
use crate::clock::{Mono, Now, Quarter};
use crate::model::{Before, Class, ContentId, Key, Known, Status, Usage};

/// A store that is as durable as its value: what survives a simulated crash is what was in it.
#[derive(Debug)]
pub struct MemoryStore {
    ledger: Ledger,
    next_entry: u64,
    run: i64,
    /// The journal of the running run.
    rows: BTreeMap<Key, Status>,
    /// What was begun last of each prompt, as it is lost if the run dies.
    begun: BTreeMap<Key, LostRequest>,
    known: BTreeMap<Key, Known>,
    kept: BTreeMap<Key, String>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            next_entry: 1,
            run: 0,
            rows: BTreeMap::new(),
            begun: BTreeMap::new(),
            known: BTreeMap::new(),
            kept: BTreeMap::new(),
        }
    }

    /// Starts a run: what was in flight is lost, and named.
    pub fn start_run(&mut self) -> Vec<LostRequest> {
        self.run += 1;
        for (key, known) in &mut self.known {
            let last = self.rows.get(key);
            known.unsettled |= matches!(last, Some(Status::Sending | Status::Waiting));
        }
        let lost = std::mem::take(&mut self.rows).into_iter().filter(|(_, status)| *status == Status::Sending);
        lost.filter_map(|(key, _)| self.begun.get(&key).cloned()).collect()
    }

    /// The answer to a lost request is on disk after all.
    pub fn recover_lost(&mut self, request: &LostRequest, output: ContentId) {
        self.known.insert(request.key.clone(), request.answered(output));
    }

    /// What was admitted in the window, in order.
    pub fn recent(&self) -> impl Iterator<Item = (Mono, Amount)> + '_ {
        self.ledger.recent()
    }

    /// What is known of the prompts that have ended.
    #[must_use]
    pub fn known(&self) -> &BTreeMap<Key, Known> {
        &self.known
    }

    /// Answers that could not be written.
    #[must_use]
    pub fn kept(&self) -> &BTreeMap<Key, String> {
        &self.kept
    }

    /// Keeps what a claim notes, with the outputs that are known from before.
    fn note(&mut self, claim: &Claim, reserved_tokens: u64) {
        let Claim { fingerprint, input_tokens, before, .. } = *claim;
        let key = claim.key.clone();
        let earlier = self.begun.remove(&key).map_or(Vec::new(), |last| {
            if last.run == self.run {
                return last.earlier;
            }
            let before = if let Before::Output(content) = last.before { Some(content) } else { None };
            let written = self.known.get(&key).and_then(|known| known.output);
            last.earlier.into_iter().chain(before).chain(written).collect()
        });
        let (run, rehearsal) = (self.run, false);
        let request = LostRequest { run, key, fingerprint, input_tokens, reserved_tokens, rehearsal, before, earlier };
        self.begun.insert(request.key.clone(), request);
    }

    fn step(&mut self, key: &Key, step: Step) {
        let from = self.rows.get(key).copied();
        match next_status(from, step) {
            Ok(status) => {
                self.rows.insert(key.clone(), status);
            }
            // A machine that asks for this is wrong, and a simulation is there to find it out.
            Err(illegal) => panic!("prompt {key}: {illegal}"),
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
                    self.step(&claim.key, Step::Begin);
                    self.note(claim, tokens);
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

    fn finish(&mut self, finished: &[Finished], _now: &Now) -> Result<(), StoreError> {
        for Finished { key, fingerprint, settled, ended } in finished {
            if let Some(Settlement { reservation, used, heard }) = settled {
                let settled = Settled { reserved: reservation.tokens, used: *used, heard: *heard };
                self.ledger.settle(reservation.entry, reservation.at, reservation.quarter, settled);
            }
            let says_nothing = matches!(&ended, Ended::Failed { class, .. } if *class == Class::OutputBlocked);
            let (step, status, output, usage) = match ended {
                Ended::Done { usage, output, .. } => (Step::Done, Status::Done, Some(*output), *usage),
                Ended::Failed { usage, .. } => (Step::Fail, Status::Failed, None, *usage),
                Ended::Again { .. } => (Step::Again, Status::Waiting, None, Usage::default()),
                Ended::Unwritten { usage, text, .. } => {
                    self.kept.insert(key.clone(), text.clone());
                    (Step::Keep, Status::Unwritten, None, *usage)
                }
            };
            self.step(key, step);
            if step != Step::Again && !says_nothing {
                let bytes = output.map_or(0, |output| output.bytes);
                let (run, unsettled, rehearsal) = (self.run, false, false);
                let known =
                    Known { run, fingerprint: *fingerprint, status, bytes, unsettled, output, rehearsal, usage };
                self.known.insert(key.clone(), known);
            }
        }
        Ok(())
    }

    fn used(&mut self, now: &Now) -> Result<Used, StoreError> {
        Ok(self.ledger.used(now))
    }
}
