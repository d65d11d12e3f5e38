//! What is sent, why, and what it costs. Decided before anything leaves; the files are read by [`survey`].

pub mod price;
pub mod standing;
pub mod survey;

use std::cmp::Reverse;

use crate::model::text::count;
use crate::model::{Doom, Fingerprint, Key, LimitName, Limits, Place, TooLarge};
use crate::run::Job;
use crate::source::priority::Priorities;
use standing::{Standing, Why};

/// A prompt after the survey.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// Which.
    pub key: Key,
    /// What stands at its output's place.
    pub place: Place,
    /// What it would send, or why its file cannot be used.
    pub request: Result<Surveyable, Doom>,
}

/// A prompt that could be sent.
#[derive(Clone, Copy, Debug)]
pub struct Surveyable {
    /// The request.
    pub fingerprint: Fingerprint,
    /// Whether it has its answer.
    pub standing: Standing,
    /// Its input tokens; 0 where it is not to be sent, and so not counted.
    pub input_tokens: u64,
    /// Length of the output on disk in bytes, 0 where there is none.
    pub output_bytes: u64,
}

/// What is decided about the prompts of a run.
#[derive(Debug, Default)]
pub struct Plan {
    /// What is to be brought to an end, in order; some are doomed.
    pub jobs: Vec<Job>,
    /// Why each of the jobs is not up to date.
    pub whys: Vec<Why>,
    /// Prompts that have their answer.
    pub up_to_date: usize,
    /// Of those, the ones whose answer the journal did not know.
    pub adopted: Vec<(Key, Fingerprint, u64)>,
    /// Of those, the ones whose paid answer a rehearsal leaves alone.
    pub protected: usize,
    /// Input tokens of the jobs that can be sent.
    pub input_tokens: u64,
    /// How many batches there are; 0 where nothing can be sent.
    pub batches: u32,
}

/// The batch limit refuses a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "refused: the prompts to send have {} input tokens, over tokens_per_batch of {}. Nothing was sent. \
     Send them in several batches with --split, choose fewer with --only, or raise the limit with --tokens-per-batch",
    count(*.total), count(*.limit)
)]
pub struct OverBatch {
    /// Input tokens of all prompts to send.
    pub total: u64,
    /// The limit.
    pub limit: u64,
}

/// What a plan keeps to.
#[derive(Clone, Debug)]
pub struct PlanRules {
    /// The limits.
    pub limits: Limits,
    /// The most tokens of one request, where the model's context window is known or set.
    pub context_window: Option<u64>,
    /// The most output tokens of an answer, where the request says so.
    pub max_output_tokens: Option<u64>,
    /// Whether a run over the batch limit is cut into batches.
    pub split: bool,
    /// Which prompts go first.
    pub priorities: Priorities,
}

impl Plan {
    /// Plans the prompts: those of a higher priority first, and within one in the order given. Their order is the queue's, and batches follow it.
    pub fn new(mut surveyed: Vec<Surveyed>, rules: &PlanRules) -> Result<Self, OverBatch> {
        if !rules.priorities.is_empty() {
            surveyed.sort_by_cached_key(|surveyed| Reverse(rules.priorities.of(&surveyed.key)));
        }
        let mut plan = Self::default();
        for Surveyed { key, place, request } in surveyed {
            let request = match request {
                Ok(request) => request,
                Err(fault) => {
                    let doomed = Some(Box::new(fault));
                    let (fingerprint, input_tokens, batch) = (Fingerprint([0; 16]), 0, 0);
                    plan.job(Job { key, fingerprint, input_tokens, batch, doomed, place }, Why::New);
                    continue;
                }
            };
            match request.standing {
                Standing::UpToDate => plan.up_to_date += 1,
                Standing::Unknown => {
                    plan.up_to_date += 1;
                    plan.adopted.push((key, request.fingerprint, request.output_bytes));
                }
                Standing::Protected => {
                    plan.up_to_date += 1;
                    plan.protected += 1;
                }
                Standing::Send(why) => {
                    let Surveyable { fingerprint, input_tokens, .. } = request;
                    let doomed = rules.never(input_tokens).map(|too_large| Box::new(Doom::too_large(&too_large)));
                    plan.job(Job { key, fingerprint, input_tokens, batch: 0, doomed, place }, why);
                }
            }
        }
        plan.batch(rules)?;
        Ok(plan)
    }

    /// The jobs that can be sent.
    pub fn sendable(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(|job| job.doomed.is_none())
    }

    /// Prompts selected.
    #[must_use]
    pub fn prompts(&self) -> usize {
        self.jobs.len() + self.up_to_date
    }

    fn job(&mut self, job: Job, why: Why) {
        if job.doomed.is_none() {
            self.input_tokens = self.input_tokens.saturating_add(job.input_tokens);
        }
        self.jobs.push(job);
        self.whys.push(why);
    }

    /// Cuts the jobs into consecutive batches, each within the limit.
    fn batch(&mut self, rules: &PlanRules) -> Result<(), OverBatch> {
        let total = self.input_tokens;
        if let Some(limit) = rules.limits.tokens_per_batch
            && total > limit
            && !rules.split
        {
            return Err(OverBatch { total, limit });
        }
        let limit = rules.limits.tokens_per_batch.unwrap_or(u64::MAX);
        let (mut batch, mut in_batch, mut any) = (0, 0_u64, false);
        for job in &mut self.jobs {
            if job.doomed.is_none() {
                any = true;
                if in_batch.saturating_add(job.input_tokens) > limit {
                    batch += 1;
                    in_batch = 0;
                }
                in_batch = in_batch.saturating_add(job.input_tokens);
            }
            job.batch = batch;
        }
        self.batches = if any { batch + 1 } else { 0 };
        Ok(())
    }
}

impl PlanRules {
    /// The limit that a request of `input_tokens` can never meet.
    fn never(&self, input_tokens: u64) -> Option<TooLarge> {
        let tokens = input_tokens.saturating_add(self.max_output_tokens.unwrap_or(0));
        let over = |limit, most: Option<u64>, asked: u64| {
            let most = most?;
            (asked > most).then_some(TooLarge { limit, asked, most })
        };
        over(LimitName::ContextWindow, self.context_window, tokens)
            .or_else(|| self.limits.too_large(tokens))
            // Without --split, a total over the batch limit is refused as a whole.
            .or_else(|| {
                self.split
                    .then(|| over(LimitName::TokensPerBatch, self.limits.tokens_per_batch, input_tokens))
                    .flatten()
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(tokens_per_batch: u64, split: bool) -> PlanRules {
        let limits = Limits { tokens_per_batch: Some(tokens_per_batch), ..Limits::default() };
        PlanRules { limits, context_window: None, max_output_tokens: None, split, priorities: Priorities::default() }
    }

    fn prompts(tokens: &[u64]) -> Vec<Surveyed> {
        let key = |(index, &input_tokens): (usize, &u64)| Surveyed {
            key: Key::from(index as u64 + 1),
            place: Place::default(),
            request: Ok(Surveyable {
                fingerprint: Fingerprint([0; 16]),
                standing: Standing::Send(Why::New),
                input_tokens,
                output_bytes: 0,
            }),
        };
        tokens.iter().enumerate().map(key).collect()
    }

    #[test]
    fn over_the_batch_limit_is_refused_with_the_numbers() {
        let error = Plan::new(prompts(&[60, 41]), &rules(100, false)).expect_err("it is over");
        assert_eq!(error, OverBatch { total: 101, limit: 100 });
        let text = error.to_string();
        assert!(text.contains("101") && text.contains("100") && text.contains("--split"), "{text}");
        assert_eq!(Plan::new(prompts(&[60, 40]), &rules(100, false)).expect("it fits").batches, 1);
    }

    #[test]
    fn what_never_fits_is_doomed_and_not_counted() {
        let mut rules = rules(300_000, false);
        rules.context_window = Some(1_000);
        rules.max_output_tokens = Some(100);
        let plan = Plan::new(prompts(&[900, 901]), &rules).expect("it fits");
        assert_eq!(plan.input_tokens, 900);
        let doomed: Vec<_> = plan.jobs.iter().map(|job| job.doomed.as_ref().map(|doom| doom.message.clone())).collect();
        assert_eq!(doomed[0], None);
        assert!(
            doomed[1].as_ref().is_some_and(|message| message.contains("1,001 tokens") && message.contains("1,000")),
            "{doomed:?}"
        );
    }

    #[test]
    fn a_higher_priority_goes_first_and_batches_follow() {
        let mut rules = rules(100, true);
        rules.priorities = "4=2;2,5=7;1=-1".parse().expect("priorities");
        let plan = Plan::new(prompts(&[60; 6]), &rules).expect("split");
        let order: Vec<_> = plan.jobs.iter().map(|job| (job.key.as_str(), job.batch)).collect();
        assert_eq!(order, [("2", 0), ("5", 1), ("4", 2), ("3", 3), ("6", 4), ("1", 5)]);
    }

    proptest! {
        #[test]
        fn batches_are_consecutive_and_within_the_limit(tokens in prop::collection::vec(1u64..120, 1..60)) {
            let plan = Plan::new(prompts(&tokens), &rules(100, true)).expect("split");
            let mut sums = vec![0; plan.batches as usize];
            let mut last = 0;
            for job in plan.sendable() {
                prop_assert!(job.batch == last || job.batch == last + 1);
                last = job.batch;
                sums[job.batch as usize] += job.input_tokens;
            }
            prop_assert!(sums.iter().all(|&sum| sum <= 100 && sum > 0), "{:?}", sums);
            prop_assert_eq!(plan.jobs.iter().filter(|job| job.doomed.is_some()).count(), tokens.iter().filter(|&&t| t > 100).count());
        }
    }
}
