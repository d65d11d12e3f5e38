//! What a plan keeps to: which requests can never be sent, and what a run may send at all.

use crate::model::text::count;
use crate::model::{Doom, LimitName, Limits, TooLarge};

/// What a plan keeps to.
#[derive(Clone, Debug)]
pub struct PlanRules {
    pub limits: Limits,
    /// The model's window, where it is known.
    pub context_window: Option<u64>,
    /// Reserved for the output of each request.
    pub max_output_tokens: Option<u64>,
    /// Whether to cut the work into portions within the batch limit, instead of refusing what is over it.
    pub split: bool,
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
    pub limit: u64,
}

impl PlanRules {
    /// What a portion may have, where the work is cut into portions.
    pub(super) fn portion_limit(&self) -> Option<u64> {
        self.limits.tokens_per_batch.filter(|_| self.split)
    }

    /// What the whole run may have.
    pub(super) fn total_limit(&self) -> Option<u64> {
        self.limits.tokens_per_batch.filter(|_| !self.split)
    }

    /// Why a request of `input_tokens` can never be sent.
    pub(super) fn doom(&self, input_tokens: u64) -> Option<Doom> {
        let tokens = input_tokens.saturating_add(self.max_output_tokens.unwrap_or(0));
        let over = |limit, most: Option<u64>, asked: u64| {
            let most = most?;
            (asked > most).then_some(TooLarge { limit, asked, most })
        };
        over(LimitName::ContextWindow, self.context_window, tokens)
            .or_else(|| self.limits.too_large(tokens))
            // Without --split, a total over the batch limit is refused as a whole.
            .or_else(|| over(LimitName::TokensPerBatch, self.portion_limit(), input_tokens))
            .map(|too_large| Doom::too_large(&too_large))
    }
}
