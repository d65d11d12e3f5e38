//! A number that silence widens: what has not been refused for a moment was let in, so one is tried, then two, then four.

use std::time::Duration;

use crate::clock::Mono;

/// On a machine that is slow to hear, time alone proves little: of a time in which nothing could leave no more than this counts.
const LONGEST_STEP: Duration = Duration::from_millis(100);

/// What is tried beyond a limit that refusals have shown doubles in this time, or in twice the time in which a refusal comes back.
const TRIAL_DOUBLES_IN: Duration = Duration::from_millis(150);

/// A number that grows with time.
#[derive(Clone, Copy, Debug)]
pub struct Widening {
    number: f64,
    at: Mono,
    doubles_in: Duration,
    /// It grows by no more than this a second.
    steepest: f64,
}

impl Widening {
    /// From `first` at `now` on, doubled in each such time, but by no more than `steepest` a second.
    #[must_use]
    pub fn new(first: f64, doubles_in: Duration, steepest: f64, now: Mono) -> Self {
        Self { number: first, at: now, doubles_in, steepest }
    }

    /// How many requests more are tried than refusals have shown to be let in: one at `now`. A refusal comes back after `echo`.
    #[must_use]
    pub fn trial(echo: Duration, steepest: f64, now: Mono) -> Self {
        Self::new(1.0, TRIAL_DOUBLES_IN.max(2 * echo), steepest, now)
    }

    /// The number at `now`.
    pub fn grow(&mut self, now: Mono) -> f64 {
        if now > self.at {
            let passed = self.at.until(now).min(LONGEST_STEP.max(self.doubles_in)).as_secs_f64();
            let until = self.doubling(self.bend());
            self.number = if passed < until {
                self.number * (passed / self.doubles_in.as_secs_f64()).exp2()
            } else {
                self.number.max(self.bend()) + (passed - until) * self.steepest
            };
            self.at = now;
        }
        self.number
    }

    /// It is `most` at the most.
    pub fn hold(&mut self, most: f64) {
        self.number = self.number.min(most);
    }

    /// When it is `wanted`, if it is looked at meanwhile.
    #[must_use]
    pub fn reaches(&self, wanted: f64) -> Mono {
        let bend = self.bend();
        let steep = (wanted - bend.max(self.number)).max(0.0) / self.steepest;
        let seconds = self.doubling(wanted.min(bend)) + steep;
        // A hair later, so that rounding does not wake us too early.
        let time = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        self.at.plus(time.saturating_add(Duration::from_micros(1)))
    }

    /// Where the growth is no steeper any more.
    fn bend(&self) -> f64 {
        self.steepest * self.doubles_in.as_secs_f64() / std::f64::consts::LN_2
    }

    /// Seconds in which doubling brings it to `wanted`.
    fn doubling(&self, wanted: f64) -> f64 {
        (wanted / self.number).log2().max(0.0) * self.doubles_in.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn it_doubles_and_then_grows_evenly() {
        let mut widening = Widening::new(8.0, Duration::from_millis(50), 450.0, Mono(0));
        let mut at = |ms: u64| widening.grow(Mono(ms * MS));
        assert!((at(50) - 16.0).abs() < 1e-6 && (at(75) - 16.0 * 2_f64.sqrt()).abs() < 1e-6);
        let bend = (32.46_f64, 101.0);
        assert!((at(151) - bend.0 - 0.05 * 450.0).abs() < 0.5);
        // What a stall proves is little.
        let before = at(151);
        assert!((at(9_000) - before - 45.0).abs() < 1e-6);
    }

    #[test]
    fn it_is_reached_when_it_says() {
        for wanted in [1.0, 2.0, 31.0, 40.0, 500.0] {
            let mut widening = Widening::new(1.0, Duration::from_millis(80), 450.0, Mono(7));
            let mut now = Mono(7);
            while widening.grow(now) < wanted {
                let next = widening.reaches(wanted);
                assert!(next > now);
                now = next.min(Mono(now.0 + 20 * MS));
            }
            let before = widening.grow(now);
            assert!(before < wanted + 0.1, "{before} for {wanted}");
        }
        let mut held = Widening::new(1.0, Duration::from_millis(80), 450.0, Mono(0));
        held.grow(Mono(500 * MS));
        held.hold(2.0);
        assert!((held.grow(Mono(500 * MS)) - 2.0).abs() < 1e-9);
    }
}
