//! What a run has used and cost so far, and what is said of that in passing.

use super::event::Event;
use crate::admit::ledger::Used;
use crate::model::{LimitName, Limits};
use crate::plan::price::Price;

/// Adds a run up, event by event.
#[derive(Debug)]
pub struct Meter {
    /// The limits, of which little may be left.
    limits: Limits,
    /// After how many answers a line of usage is told; `None` for never.
    usage_every: Option<u64>,
    /// The model's price, where answers cost something.
    price: Option<Price>,
    cost_usd: f64,
    answers: usize,
    latest: Option<Used>,
    /// Limits that were said to be nearly used up.
    warned: Vec<LimitName>,
}

impl Meter {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(limits: Limits, usage_every: Option<u64>) -> Self {
        Self { limits, usage_every, price: None, cost_usd: 0.0, answers: 0, latest: None, warned: Vec::new() }
    }

    /// What answers cost from now on.
    pub fn set_price(&mut self, price: Option<Price>) {
        self.price = price;
    }

    /// What the answers cost, in US dollars; `None` where that is not known, or nothing. It is added request by request, because a long one has a
    /// dearer rate.
    #[must_use]
    pub fn cost_usd(&self) -> Option<f64> {
        self.price.is_some().then_some(self.cost_usd)
    }

    /// Takes in what happened, and returns what is to be told after it.
    pub fn event(&mut self, event: &Event) -> Option<Event> {
        let Event::Done { usage, .. } = event else { return None };
        if let Some(price) = &self.price {
            self.cost_usd += price.cost_usd(*usage);
        }
        self.answers += 1;
        let due = self.usage_every.is_some_and(|every| (self.answers as u64).is_multiple_of(every));
        let used = self.latest.filter(|_| due)?;
        Some(Event::Usage {
            answers: self.answers,
            tokens_within_min: used.minute.tokens,
            requests_within_min: used.minute.requests,
            tokens_within_day: used.day.tokens,
            requests_within_day: used.day.requests,
        })
    }

    /// Takes in the counters, and returns once of each limit that less than a tenth of it is left.
    pub fn used(&mut self, now: Used) -> Vec<Event> {
        self.latest = Some(now);
        let all = [
            (LimitName::TokensPerMinute, now.minute.tokens),
            (LimitName::RequestsPerMinute, now.minute.requests),
            (LimitName::TokensPerDay, now.day.tokens),
            (LimitName::RequestsPerDay, now.day.requests),
        ];
        let mut told = Vec::new();
        for (limit, used) in all {
            let most = self.limits.day_most(limit).or(self.limits.of(limit));
            if let Some(most) = most.filter(|most| used > most - most / 10)
                && !self.warned.contains(&limit)
            {
                self.warned.push(limit);
                told.push(Event::LimitNearlyUsed { limit, used, most });
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::ledger::Amount;
    use crate::model::{FinishReason, Key, Usage};

    fn done(input_tokens: u64, output_tokens: u64) -> Event {
        let usage = Usage { input_tokens, output_tokens, ..Usage::default() };
        Event::Done { key: Key::from(1), usage, finish: FinishReason::Complete }
    }

    fn used(tokens: u64) -> Used {
        let amount = Amount { tokens, requests: 1 };
        Used { minute: amount, day: amount, date: chrono::NaiveDate::default() }
    }

    #[test]
    fn every_answer_costs_its_own_tokens() {
        let mut meter = Meter::new(Limits::default(), None);
        assert_eq!(meter.cost_usd(), None);
        let at = "2026-11-22T00:00:00Z".parse().expect("a date");
        meter.set_price(Price::look_up("gpt-4o-mini", "https://api.openai.com/v1", at));
        assert_eq!(meter.cost_usd(), Some(0.0));
        // 0.15 dollars a million input tokens, 0.60 a million output tokens.
        for event in [done(1_000_000, 0), done(0, 1_000_000), done(2_000_000, 500_000)] {
            assert!(meter.event(&event).is_none());
        }
        let cost = meter.cost_usd().expect("a price");
        assert!((cost - 1.35).abs() < 1e-9, "{cost}");
    }

    #[test]
    fn usage_is_told_every_so_many_answers() {
        let mut meter = Meter::new(Limits::default(), Some(2));
        meter.used(used(7));
        let told: Vec<_> = (0..5).map(|_| meter.event(&done(1, 1))).collect();
        let answers = |event: &Option<Event>| match event {
            Some(Event::Usage { answers, tokens_within_min: 7, .. }) => Some(*answers),
            _ => None,
        };
        assert_eq!(told.iter().map(answers).collect::<Vec<_>>(), [None, Some(2), None, Some(4), None]);
    }

    #[test]
    fn little_left_is_told_once_of_each_limit() {
        let limits = Limits { tokens_per_minute: Some(1_000), tokens_per_day: Some(2_000), ..Limits::default() };
        let mut meter = Meter::new(limits, None);
        let mut told = |tokens| {
            let events = meter.used(used(tokens)).into_iter();
            let limit =
                |event| if let Event::LimitNearlyUsed { limit, .. } = event { limit } else { panic!("{event:?}") };
            events.map(limit).collect::<Vec<_>>()
        };
        assert_eq!(told(900), []);
        assert_eq!(told(901), [LimitName::TokensPerMinute]);
        assert_eq!(told(950), []);
        assert_eq!(told(1_801), [LimitName::TokensPerDay]);
    }
}
