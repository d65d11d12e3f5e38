//! How many output tokens to reserve for an answer that has no limit of its own.

use std::collections::VecDeque;

use crate::model::Limits;

/// Reserved before any answer of the model is known: a page of text.
const ASSUMED_TOKENS: u64 = 512;
/// So much output there must be room for at the least, before any answer is known: a paragraph.
const LEAST_TOKENS: u64 = 64;
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
        match self.ordinary().last() {
            Some(tokens) if self.sorted.len() >= ENOUGH => *tokens,
            Some(tokens) => (*tokens).max(ASSUMED_TOKENS),
            None => ASSUMED_TOKENS,
        }
    }

    /// Whether that is assumed: too few answers are known to say less, and none needed more.
    #[must_use]
    pub fn is_assumed(&self) -> bool {
        self.sorted.len() < ENOUGH && self.tokens() == ASSUMED_TOKENS
    }

    /// Tokens to reserve for a request with so many input tokens. An estimate is no reason to say that a prompt never fits: not more than `limits` ever
    /// let through.
    #[must_use]
    pub fn reservation(&self, input_tokens: u64, limits: &Limits) -> u64 {
        input_tokens.saturating_add(self.tokens()).min(limits.most_tokens().max(input_tokens))
    }

    /// The same where no answer is under way, which could give some of its tokens back: what must be left of the limits at the least.
    ///
    /// What is assumed holds nothing up; what the answers so far needed does, if room for it will ever be. A wait for a whole limit is worth its while
    /// for the largest of them that fits into it.
    #[must_use]
    pub fn least_reservation(&self, input_tokens: u64, limits: &Limits) -> u64 {
        let most = limits.most_tokens().saturating_sub(input_tokens);
        let ordinary = self.ordinary();
        let fitting = &ordinary[..ordinary.partition_point(|&tokens| tokens <= most)];
        let output = if ordinary.is_empty() { LEAST_TOKENS } else { fitting.last().copied().unwrap_or(most) };
        input_tokens.saturating_add(output).min(self.reservation(input_tokens, limits))
    }

    /// What the latest answers needed, without the twentieth of them that needed most; sorted.
    fn ordinary(&self) -> &[u64] {
        let place = self.sorted.len() * 19 / 20;
        &self.sorted[..self.sorted.len().min(place + 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_starts_from_the_default_and_follows_the_answers() {
        let mut estimate = OutputEstimate::default();
        assert_eq!(estimate.tokens(), ASSUMED_TOKENS);
        estimate.learn(40);
        assert_eq!(estimate.tokens(), ASSUMED_TOKENS);
        (0..20).for_each(|_| estimate.learn(40));
        assert_eq!(estimate.tokens(), 40);
        (0..REMEMBERED).for_each(|_| estimate.learn(900));
        assert_eq!(estimate.tokens(), 900);
    }

    #[test]
    fn the_one_longest_of_twenty_is_not_reserved_for_all() {
        for (ordinary, longest, tokens) in [(20, 1, 40), (18, 2, 9_000)] {
            let answers = std::iter::repeat_n(40, ordinary).chain(std::iter::repeat_n(9_000, longest));
            assert_eq!(OutputEstimate::from_latest(answers).tokens(), tokens, "{longest} of {}", ordinary + longest);
        }
    }

    #[test]
    fn what_is_assumed_is_told_from_what_is_known() {
        for (latest, assumed) in [
            (vec![], true),
            (vec![40], true),
            (vec![40; ENOUGH - 1], true),
            (vec![40; ENOUGH], false),
            (vec![900], false),
            (vec![ASSUMED_TOKENS; ENOUGH], false),
        ] {
            assert_eq!(OutputEstimate::from_latest(latest.clone()).is_assumed(), assumed, "{latest:?}");
        }
    }

    #[test]
    fn a_reservation_never_wastes_a_limit() {
        let few = [40; 3];
        let most = [[40; 18].as_slice(), &[400; 2]].concat();
        for (latest, limit, tokens, least) in [
            // What is assumed is reserved where there is room for it, and holds nothing up where there is not.
            (&[][..], 1_000, 527, 79),
            (&[], 200, 200, 79),
            (&[], 70, 70, 70),
            (&few, 200, 200, 55),
            // What is known holds it up: an answer may need as much.
            (&most, 1_000, 415, 415),
            // Where that never fits, what is smaller may.
            (&most, 200, 200, 55),
            // Where nothing fits that is known, the whole limit is the best there is.
            (&most, 50, 50, 50),
            // The input alone is over the limit: so the ledger says, with its number.
            (&few, 10, 15, 15),
        ] {
            let limits = Limits { tokens_per_minute: Some(limit), ..Limits::default() };
            let estimate = OutputEstimate::from_latest(latest.iter().copied());
            let reserved = (estimate.reservation(15, &limits), estimate.least_reservation(15, &limits));
            assert_eq!(reserved, (tokens, least), "{} answers, a limit of {limit}", latest.len());
        }
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
