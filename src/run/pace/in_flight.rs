//! How many requests are at the server at a time: as many as it takes to end as early as the limits allow, by Little's law.

use std::time::Duration;

use crate::admit::server::Sustained;
use crate::run::rules::Concurrency;

/// Room for answers that take longer than the mean: so many times Little's number,
const SLACK: f64 = 2.0;
/// and so many more.
const SPARE: f64 = 8.0;
/// How much one answer's latency counts in the mean.
const WEIGHT: f64 = 1.0 / 16.0;

/// The bound on requests in flight.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    concurrency: Concurrency,
    /// Mean seconds from sending to answer.
    latency: Option<f64>,
}

impl InFlight {
    pub(super) fn new(concurrency: Concurrency) -> Self {
        Self { concurrency, latency: None }
    }

    /// An answer came after so long.
    pub(super) fn answered(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.latency = Some(self.latency.map_or(took, |mean| mean + (took - mean) * WEIGHT));
    }

    /// Requests that may be in flight while `left` have no end, those in flight among them, and limits let `through`.
    ///
    /// The rest could be over in the time in which the limits let it through, or in that of one answer. Little's law: that rate times the latency are
    /// in flight. Before the first answer it is for the soft start to say.
    pub(super) fn most(&self, left: usize, through: Option<Sustained>) -> usize {
        let most = self.concurrency.most();
        let (Concurrency::Auto(_), Some(latency), Some(through)) = (self.concurrency, self.latency, through) else {
            return most;
        };
        #[expect(clippy::cast_precision_loss, reason = "a number of prompts")]
        let left = left as f64;
        let fastest = ((left - through.at_once) / through.per_second).max(latency).max(f64::MIN_POSITIVE);
        let needed = left * latency / fastest;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 0, and saturating")]
        let wanted = (needed * SLACK + SPARE).ceil() as usize;
        wanted.min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(latency: u64) -> InFlight {
        let mut in_flight = InFlight::new(Concurrency::Auto(512));
        assert_eq!(in_flight.most(40_000, None), 512);
        in_flight.answered(Duration::from_millis(latency));
        in_flight
    }

    #[test]
    fn as_many_as_the_rate_needs() {
        let limit = Some(Sustained { per_second: 500.0 / 60.0, at_once: 500.0 });
        // 8.3 a second of 6 s each are 50 in flight.
        assert_eq!(auto(6_000).most(40_000, limit), 110);
        // What may all come at once needs as many as there are.
        assert_eq!(auto(6_000).most(100, limit), 208);
        assert_eq!(auto(60_000).most(40_000, limit), 512);
        assert_eq!(auto(6_000).most(40_000, None), 512);
        assert_eq!(InFlight::new(Concurrency::Fixed(7)).most(40_000, limit), 7);
    }

    #[test]
    fn the_mean_follows_the_answers() {
        let mut in_flight = auto(1_000);
        (0..100).for_each(|_| in_flight.answered(Duration::from_secs(3)));
        let mean = in_flight.latency.expect("there are answers");
        assert!(mean > 2.99 && mean < 3.0, "{mean}");
    }
}
