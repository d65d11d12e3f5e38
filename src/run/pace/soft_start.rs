//! How a server whose limits are not known is met, and one that comes back after a pause: softly.
//!
//! Silence widens it: a refusal comes back in milliseconds and an answer in seconds, so what has not been refused for a moment was let in.

use std::time::Duration;

use crate::admit::widening::Widening;
use crate::clock::Mono;

/// At the start so many requests leave.
const FEW: f64 = 8.0;
/// The number at the server that has shown nothing yet doubles in this time,
const DOUBLES_IN: Duration = Duration::from_millis(50);
/// and after a pause, when it begins with one request, in this time, or in the time that a refusal took to come back, up to [`LONGEST_ECHO`];
const DOUBLES_AGAIN_IN: Duration = Duration::from_millis(80);
const LONGEST_ECHO: Duration = Duration::from_secs(1);
/// but it grows by no more than so many in a second: so many times the way to the server and back are sent too many when a limit is met.
const STEEPEST: f64 = 350.0;
/// Where refusals have shown a rate, it is so many times that, but not under the second.
const OF_SHOWN: f64 = 2.0;
const LEAST_STEEP: f64 = 20.0;
/// After a pause there is room for this part of what is let in meanwhile.
const ROOM: f64 = 0.9;
/// On a machine that is slow to hear, silence proves little: without answers it is at most this,
const SILENT: f64 = 128.0;
/// and so many for each answer.
const FOR_EACH_ANSWER: f64 = 16.0;
/// Where the first answer is here, there is less need to guess: at the start it doubles in this time from then on.
const DOUBLES_LATER_IN: Duration = Duration::from_millis(600);
/// It is never held below this part of what has been answered since: so much of a run may be refused when a limit is met.
const OF_ANSWERED: f64 = 1.0 / 8.0;
/// Nor below this part of the whole run, once there is an answer.
const OF_ALL: f64 = 1.0 / 100.0;

/// The bound on requests at the server that have not been answered since the start, or since the pause.
#[derive(Clone, Debug, Default)]
pub(super) struct SoftStart {
    state: Option<Soft>,
    /// How long the latest refusal took to come back.
    echo: Duration,
}

#[derive(Clone, Debug)]
struct Soft {
    began: Mono,
    /// The bound by time alone.
    widening: Widening,
    /// Whether it is the start of a run.
    is_start: bool,
    /// The bound is not held below this, once there is an answer.
    least: f64,
    answered: u32,
    /// Sent since `began` and not heard of.
    unproven: usize,
}

impl SoftStart {
    /// The start of a run of `jobs` against a server that is not known.
    pub(super) fn begin(&mut self, jobs: usize, now: Mono) {
        #[expect(clippy::cast_precision_loss, reason = "a share of a number of files")]
        let least = jobs as f64 * OF_ALL;
        self.state = Some(Soft { least, is_start: true, ..Soft::new(FEW, DOUBLES_IN, STEEPEST, now) });
    }

    /// A pause ends at `now`; from then on, one request and then more.
    ///
    /// `shown` is how many a second the server lets in, as far as that is known: for those of the `pause` it has room by then.
    pub(super) fn again(&mut self, shown: Option<f64>, pause: Duration, now: Mono) {
        let first = shown.map_or(1.0, |shown| (shown * pause.as_secs_f64() * ROOM).max(1.0));
        let steepest = shown.map_or(STEEPEST, |shown| (OF_SHOWN * shown).clamp(LEAST_STEEP, STEEPEST));
        self.state = Some(Soft::new(first, DOUBLES_AGAIN_IN.max(self.echo), steepest, now));
    }

    /// A refusal came back after this time.
    pub(super) fn refused(&mut self, after: Duration) {
        self.echo = after.min(LONGEST_ECHO);
    }

    /// A request leaves.
    pub(super) fn sent(&mut self) {
        if let Some(soft) = &mut self.state {
            soft.unproven += 1;
        }
    }

    /// A request that left at `sent` was heard of.
    pub(super) fn heard(&mut self, sent: Mono, answered: bool, now: Mono) {
        if let Some(soft) = self.state.as_mut().filter(|soft| sent >= soft.began) {
            soft.unproven = soft.unproven.saturating_sub(1);
            soft.answered += u32::from(answered);
            if answered && soft.answered == 1 && soft.is_start {
                soft.widening = Widening::new(soft.widening.grow(now), DOUBLES_LATER_IN, STEEPEST, now);
            }
        }
    }

    /// How many more may leave at `now`; `None` where nothing bounds them. It ends where the bound is `most` or more.
    pub(super) fn room(&mut self, most: usize, now: Mono) -> Option<usize> {
        let soft = self.state.as_mut()?;
        let bound = soft.bound(now);
        if bound >= most {
            self.state = None;
            return None;
        }
        Some(bound.saturating_sub(soft.unproven))
    }

    /// When one more may leave; `None` where only an answer changes that.
    pub(super) fn next(&self) -> Option<Mono> {
        let soft = self.state.as_ref()?;
        #[expect(clippy::cast_precision_loss, reason = "a number of requests in flight")]
        let wanted = (soft.unproven + 1) as f64;
        (wanted <= soft.most()).then(|| soft.widening.reaches(wanted))
    }
}

impl Soft {
    fn new(first: f64, doubles_in: Duration, steepest: f64, now: Mono) -> Self {
        let widening = Widening::new(first, doubles_in, steepest, now);
        Self { began: now, widening, is_start: false, least: 0.0, answered: 0, unproven: 0 }
    }

    /// However long ago it began, no more than this.
    fn most(&self) -> f64 {
        SILENT.max(f64::from(self.answered) * FOR_EACH_ANSWER)
    }

    fn bound(&mut self, now: Mono) -> usize {
        self.widening.grow(now);
        self.widening.hold(self.most());
        let least = if self.answered > 0 { self.least } else { 0.0 };
        to_usize(self.widening.grow(now).max(f64::from(self.answered) * OF_ANSWERED).max(least))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 0, and saturating")]
fn to_usize(number: f64) -> usize {
    number as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn silence_widens_it_until_the_first_answer_and_answers_do_what_time_does_not() {
        let mut soft = SoftStart::default();
        let mut now = Mono(0);
        assert_eq!(soft.room(512, now), None);
        soft.begin(500, now);
        for left in (0..8).rev() {
            soft.sent();
            assert_eq!(soft.room(512, now), Some(left));
        }
        let next = soft.next().expect("it grows");
        assert_eq!((soft.room(512, Mono(next.0 - MS)), soft.room(512, next)), (Some(0), Some(1)));
        // A time in which nothing could leave proves little,
        now = Mono(60_000 * MS);
        let room = soft.room(512, now).expect("it is soft");
        assert!((10..60).contains(&room), "{room}");
        // and no more is let through without answers.
        let mut pass = |soft: &mut SoftStart, steps: u64| {
            for _ in 0..steps {
                now = Mono(now.0 + 20 * MS);
                soft.room(512, now);
            }
            (soft.room(512, now), now)
        };
        assert_eq!(pass(&mut soft, 400).0, Some(120));
        (0..120).for_each(|_| soft.sent());
        assert_eq!(soft.next(), None);
        let (_, at) = pass(&mut soft, 0);
        (0..20).for_each(|_| soft.heard(Mono(0), true, at));
        // From here on it doubles in 600 ms.
        let room = pass(&mut soft, 15).0.expect("it is soft");
        assert!((70..80).contains(&room), "{room}");
        (0..40).for_each(|_| soft.heard(Mono(0), true, at));
        assert_eq!(pass(&mut soft, 400).0, None);
    }

    #[test]
    fn a_hundred_leave_within_a_third_of_a_second() {
        let (mut soft, mut now, mut left) = (SoftStart::default(), Mono(0), 0);
        soft.begin(100, now);
        while left < 100 {
            if soft.room(512, now) == Some(0) {
                now = soft.next().expect("it grows by itself");
            } else {
                soft.sent();
                left += 1;
            }
        }
        assert!(now <= Mono(300 * MS), "{now:?}");
    }

    #[test]
    fn a_long_run_widens_with_its_first_answer_and_a_fast_server_with_each() {
        let mut soft = SoftStart::default();
        soft.begin(40_000, Mono(0));
        let now = Mono(0);
        soft.sent();
        soft.heard(Mono(0), true, now);
        assert_eq!(soft.room(512, Mono(MS)), Some(400));
        soft.begin(100, Mono(0));
        for _ in 0..800 {
            soft.sent();
            soft.heard(Mono(0), true, now);
        }
        assert_eq!(soft.room(512, Mono(MS)), Some(100));
    }

    #[test]
    fn twenty_that_waited_do_not_return_in_the_same_millisecond() {
        for (echo, most) in [(5, 400), (300, 1_500)] {
            let mut soft = SoftStart::default();
            soft.refused(Duration::from_millis(echo));
            let end = Mono(1_000 * MS);
            soft.again(None, Duration::ZERO, end);
            let (mut now, mut left) = (end, Vec::new());
            while left.len() < 20 {
                match soft.room(512, now) {
                    Some(0) => now = soft.next().expect("it grows by itself"),
                    Some(_) => {
                        soft.sent();
                        left.push(now.0 / MS);
                    }
                    None => panic!("it is soft"),
                }
            }
            assert!(left.windows(2).all(|pair| pair[0] < pair[1]), "{left:?}");
            // Where a refusal takes long to come back, silence takes as long to say something.
            assert!(left[19] - 1_000 <= most, "{left:?}");
            assert!(left[1] - left[0] >= echo, "{left:?}");
            // What left before the pause is no part of it.
            soft.heard(Mono(0), true, now);
            assert_eq!(soft.room(512, now), Some(0));
        }
    }
}
