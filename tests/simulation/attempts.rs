//! Which failures use up a prompt's attempts, to the number.
//!
//! A failure does, unless the request never reached the server, or it fell into an outage: it was heard of while the run was paused, or the run paused
//! for an outage before anything that had left later was answered.
//!
//! A 429 uses up none, unless it is the prompt's own: nothing else was in flight, or the prompt is larger than what the server says its limit is. Then it
//! may: the server's limit may have been used up all the same, which the client cannot know for sure.

use std::collections::{BTreeMap, BTreeSet};

use promptmill::model::Cause;
use promptmill::send::classify::{Failure, Kind, Verdict};

/// What the run's prompts have used up.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    used: BTreeMap<u64, u32>,
    /// Prompts of which the server said that another try is of no use.
    hopeless: BTreeSet<u64>,
    /// Failures that may turn out to be the server's: of which prompt, and when they were heard of.
    unproven: Vec<(u64, u64)>,
    paused: bool,
    /// Refusals that may have used one up, and those of them that are said to have.
    own: BTreeMap<u64, (u32, u32)>,
}

impl Attempts {
    /// A request that left at `sent` is heard of at `now`; `reached` where it came to the server.
    pub(crate) fn heard(&mut self, prompt: u64, sent: u64, now: u64, verdict: &Verdict, reached: bool) {
        let kind = match verdict {
            Verdict::Answer(_) => None,
            Verdict::Failure(Failure { class, .. }) if class.is_local() => return,
            Verdict::Failure(failure) => Some(failure.kind),
        };
        match kind {
            None | Some(Kind::Throttled | Kind::Prompt) => self.unproven.retain(|(_, heard)| *heard > sent),
            Some(Kind::Run(_)) => {}
            Some(Kind::Transient | Kind::Unknown | Kind::Last) => {
                if reached && !self.paused {
                    *self.used.entry(prompt).or_default() += 1;
                    self.unproven.push((prompt, now));
                    if kind == Some(Kind::Last) {
                        self.hopeless.insert(prompt);
                    }
                }
            }
        }
    }

    /// A refusal was the prompt's own.
    pub(crate) fn refused_alone(&mut self, prompt: u64) {
        self.own.entry(prompt).or_default().0 += 1;
    }

    /// The server says that the prompt never fits.
    pub(crate) fn never_fits(&mut self, prompt: u64) {
        self.hopeless.insert(prompt);
    }

    /// Whether nothing may be left to try, of `most` attempts.
    pub(crate) fn may_be_over(&self, prompt: u64, most: u32) -> bool {
        self.most_used(prompt) >= most || self.hopeless.contains(&prompt)
    }

    fn own(&self, prompt: u64) -> (u32, u32) {
        self.own.get(&prompt).copied().unwrap_or_default()
    }

    /// The machine says that a prompt has used up so many. Returns whether that can be.
    pub(crate) fn said(&mut self, prompt: u64, told: u32) -> bool {
        let (charged, (may, said)) = (self.used.get(&prompt).copied().unwrap_or_default(), self.own(prompt));
        let can_be = (charged + said..=charged + may).contains(&told);
        if can_be && told > charged {
            self.own.insert(prompt, (may, told - charged));
        }
        can_be
    }

    /// The most that it may have used up.
    pub(crate) fn most_used(&self, prompt: u64) -> u32 {
        self.used.get(&prompt).copied().unwrap_or_default() + self.own(prompt).0
    }

    /// The run pauses. Returns how many attempts are given back.
    pub(crate) fn paused(&mut self, cause: Cause) -> usize {
        let begins = !std::mem::replace(&mut self.paused, true);
        if !begins || cause != Cause::Outage {
            return 0;
        }
        for (prompt, _) in &self.unproven {
            *self.used.get_mut(prompt).expect("it was charged") -= 1;
            self.hopeless.remove(prompt);
        }
        std::mem::take(&mut self.unproven).len()
    }

    pub(crate) fn resumed(&mut self) {
        self.paused = false;
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(crate) fn used(&self, prompt: u64) -> u32 {
        self.used.get(&prompt).copied().unwrap_or_default() + self.own(prompt).1
    }

    /// Whether nothing is left to try, of `most` attempts.
    pub(crate) fn is_over(&self, prompt: u64, most: u32) -> bool {
        self.used(prompt) == most || self.hopeless.contains(&prompt)
    }
}
