//! How many output tokens to reserve for an answer that has no limit of its own.

use std::collections::VecDeque;

/// Reserved before any answer of the model is known: a page of text.
const DEFAULT_TOKENS: u64 = 512;
/// How many answers are remembered.
const REMEMBERED: usize = 256;
/// Fewer answers than this say too little to go below the default.
const ENOUGH: usize = 8;

/// What the model's latest answers needed.
#[derive(Clone, Debug, Default)]
pub struct OutputEstimate {
    latest: VecDeque<u64>,
    sorted: Vec<u64>,
}

impl OutputEstimate {
    /// Starts from the output tokens of earlier answers.
    #[must_use]
    pub fn from_latest(latest: impl IntoIterator<Item = u64>) -> Self {
        let mut estimate = Self::default();
        latest.into_iter().for_each(|tokens| estimate.learn(tokens));
        estimate
    }

    /// Takes in the output tokens of one answer.
    pub fn learn(&mut self, tokens: u64) {
        if self.latest.len() == REMEMBERED
            && let Some(oldest) = self.latest.pop_front()
            && let Ok(place) = self.sorted.binary_search(&oldest)
        {
            self.sorted.remove(place);
        }
        self.latest.push_back(tokens);
        let place = self.sorted.partition_point(|&other| other < tokens);
        self.sorted.insert(place, tokens);
    }

    /// Output tokens to expect of the next answer: 19 of 20 of the latest needed no more.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        let quantile = self.sorted.get(self.sorted.len() * 19 / 20).copied();
        match quantile {
            Some(tokens) if self.sorted.len() >= ENOUGH => tokens,
            Some(tokens) => tokens.max(DEFAULT_TOKENS),
            None => DEFAULT_TOKENS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_starts_from_the_default_and_follows_the_answers() {
        let mut estimate = OutputEstimate::default();
        assert_eq!(estimate.tokens(), DEFAULT_TOKENS);
        estimate.learn(40);
        assert_eq!(estimate.tokens(), DEFAULT_TOKENS);
        (0..20).for_each(|_| estimate.learn(40));
        assert_eq!(estimate.tokens(), 40);
        (0..REMEMBERED).for_each(|_| estimate.learn(900));
        assert_eq!(estimate.tokens(), 900);
    }

    proptest! {
        #[test]
        fn it_covers_19_of_20(answers in prop::collection::vec(1u64..5_000, 20..600)) {
            let estimate = OutputEstimate::from_latest(answers.iter().copied());
            let latest = &answers[answers.len().saturating_sub(REMEMBERED)..];
            let covered = latest.iter().filter(|&&tokens| tokens <= estimate.tokens()).count();
            prop_assert!(covered * 20 >= latest.len() * 19, "{covered} of {}", latest.len());
        }
    }
}
