//! How long a run may take at the most once nothing fails any more: worked out from limits and amounts, and from nothing that the code says.

use std::time::Duration;

use promptmill::clock::nanos;
use promptmill::model::Limits;

use super::limiter::Limiter;
use super::setting::SECOND;

const DAY: u64 = 25 * 3_600 * SECOND;
/// The longest pause of the client's own choice, with what is added to it at random.
const PAUSE: u64 = 62 * SECOND;

/// What is left to do when the faults stop.
pub(crate) struct Left<'a> {
    /// Tokens of each prompt, with the most that may be reserved for its answer; in the order of the run.
    pub(crate) tokens: Vec<u64>,
    /// What the server counts of all of them, in the unit of its limit.
    pub(crate) charge: f64,
    pub(crate) portions: u64,
    pub(crate) limits: &'a Limits,
    pub(crate) limiter: Option<&'a Limiter>,
    /// The requests of a day, if the server has told of any.
    pub(crate) of_day: Option<u64>,
    /// The most that one request takes, alone: on its way, at work, written, flushed and journalled.
    pub(crate) each: Duration,
    /// The end of what is waited for already, as it was announced or asked for, from now on.
    pub(crate) announced: Duration,
}

/// How many windows it takes until all fit: one more for each portion, and for the last that is not full.
fn windows(amounts: &[u64], most: Option<u64>) -> u64 {
    let Some(most) = most else { return 0 };
    let largest = amounts.iter().copied().max().unwrap_or(0).min(most);
    let total: u64 = amounts.iter().map(|amount| amount.min(&most)).sum();
    // What waits is never overtaken: a window is left with less room than the largest takes. And one of them at least fits in each.
    total.div_ceil(most - largest + 1).min(amounts.len() as u64)
}

impl Left<'_> {
    /// In nanoseconds.
    pub(crate) fn bound(&self) -> u64 {
        let ones = vec![1; self.tokens.len()];
        let limits = self.limits;
        let window = nanos(limits.window);
        let minutes = windows(&self.tokens, limits.tokens_per_minute) + windows(&ones, limits.requests_per_minute);
        let days = windows(&self.tokens, limits.tokens_per_day) + windows(&ones, limits.requests_per_day);
        let daily = limits.tokens_per_day.is_some() || limits.requests_per_day.is_some();
        let mut bound = nanos(self.announced);
        bound += (minutes + self.portions + 2) * (window + window / 6);
        // A clock that was ahead costs two days.
        bound += if daily { (days + 3) * DAY } else { 0 };
        bound += self.tokens.len() as u64 * nanos(self.each);
        if let Some(limiter) = self.limiter {
            // A picture of the server that is wrong, and refusals that pause the run, cost so many times what the limit itself does, and some
            // windows until it is right.
            let span = limiter.window_seconds * SECOND as f64;
            bound += ((self.charge / limiter.size * 8.0 + 8.0) * span) as u64;
        }
        if let Some(of_day) = self.of_day {
            // What was told of a day is kept to, spread over the day.
            bound += self.tokens.len() as u64 * DAY / of_day;
        }
        bound + 4 * PAUSE
    }
}
