//! How a server whose limits are not known is met, and one that comes back after a pause: softly.

use std::time::Duration;

use crate::clock::Mono;

/// At the start so many requests leave, and no more until the first answer is here.
const FEW: f64 = 8.0;
/// From then on the number at the server that has shown nothing yet doubles in this time,
const DOUBLES_IN: Duration = Duration::from_millis(600);
/// or in this time where the server tells of its limits;
const DOUBLES_TOLD_IN: Duration = Duration::from_millis(200);
/// but it is at most so many times what has been answered, and those few.
const FOR_EACH_ANSWER: f64 = 16.0;
/// After a pause it begins with one request, and doubles in this time.
const DOUBLES_AGAIN_IN: Duration = Duration::from_millis(125);
/// It is never held below this part of what has been answered since: so much of a run may be refused when a limit is met.
const OF_ANSWERED: f64 = 1.0 / 8.0;
/// Nor below this part of the whole run, once there is an answer.
const OF_ALL: f64 = 1.0 / 100.0;

/// The bound on requests at the server that have not been answered since the start, or since the pause.
#[derive(Clone, Debug, Default)]
pub(super) struct SoftStart {
    state: Option<Soft>,
}

#[derive(Clone, Debug)]
struct Soft {
    began: Mono,
    /// When the bound began to grow; `None` until the first answer.
    grows: Option<Mono>,
    first: f64,
    least: f64,
    doubles_in: Duration,
    /// How many more each answer allows; `None` where time alone does.
    for_each: Option<f64>,
    answered: u32,
    /// Sent since `began` and not heard of.
    unproven: usize,
}

impl SoftStart {
    /// The start of a run of `jobs` against a server that is not known.
    pub(super) fn begin(&mut self, jobs: usize, now: Mono) {
        #[expect(clippy::cast_precision_loss, reason = "a share of a number of files")]
        let least = jobs as f64 * OF_ALL;
        self.state = Some(Soft {
            began: now,
            grows: None,
            first: FEW,
            least,
            doubles_in: DOUBLES_IN,
            for_each: Some(FOR_EACH_ANSWER),
            answered: 0,
            unproven: 0,
        });
    }

    /// A pause ends at `until`; from then on, one request and then more.
    pub(super) fn again(&mut self, until: Mono) {
        self.state = Some(Soft {
            began: until,
            grows: Some(until),
            first: 1.0,
            least: 0.0,
            doubles_in: DOUBLES_AGAIN_IN,
            for_each: None,
            answered: 0,
            unproven: 0,
        });
    }

    /// The server tells of its limits: what they let through follows soon.
    pub(super) fn told(&mut self) {
        if let Some(soft) = &mut self.state {
            soft.doubles_in = soft.doubles_in.min(DOUBLES_TOLD_IN);
        }
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
            if answered {
                soft.answered += 1;
                soft.grows.get_or_insert(now);
            }
        }
    }

    /// How many more may leave at `now`; `None` where nothing bounds them. It ends where the bound is `most` or more.
    pub(super) fn room(&mut self, most: usize, now: Mono) -> Option<usize> {
        let soft = self.state.as_ref()?;
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
        if wanted > soft.answered_bound() {
            return None;
        }
        let doublings = (wanted / soft.first).log2().max(0.0);
        // A hair later, so that rounding does not wake us too early.
        let after = soft.doubles_in.mul_f64(doublings.min(64.0)).saturating_add(Duration::from_micros(1));
        soft.grows.map(|grows| grows.plus(after))
    }
}

impl Soft {
    /// However long ago it began, no more than this: on a machine that is slow to hear, time alone proves nothing.
    fn answered_bound(&self) -> f64 {
        self.for_each.map_or(f64::INFINITY, |each| self.first + f64::from(self.answered) * each)
    }

    fn bound(&self, now: Mono) -> usize {
        let Some(grows) = self.grows else { return to_usize(self.first) };
        let doublings = grows.until(now).as_secs_f64() / self.doubles_in.as_secs_f64();
        let by_time = (self.first * doublings.min(64.0).exp2()).min(self.answered_bound());
        to_usize(by_time.max(f64::from(self.answered) * OF_ANSWERED).max(self.least))
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
    fn a_few_until_the_first_answer_then_more() {
        let mut soft = SoftStart::default();
        assert_eq!(soft.room(512, Mono(0)), None);
        soft.begin(500, Mono(0));
        for left in (0..8).rev() {
            soft.sent();
            assert_eq!(soft.room(512, Mono(5_000 * MS)), Some(left));
        }
        assert_eq!(soft.next(), None);
        soft.heard(Mono(0), true, Mono(6_000 * MS));
        assert_eq!(soft.room(512, Mono(6_000 * MS)), Some(1));
        soft.sent();
        let next = soft.next().expect("it grows");
        assert_eq!(soft.room(512, Mono(next.0 - MS)), Some(0));
        assert_eq!(soft.room(512, next), Some(1));
        // Time alone opens it no further than the answers allow.
        assert_eq!(soft.room(512, Mono(6_000 * MS).plus(DOUBLES_IN * 60)), Some(24 - 9 + 1));
        (0..40).for_each(|_| soft.heard(Mono(0), true, Mono(6_001 * MS)));
        // 8 doubled six times is 512: from there on nothing bounds it.
        assert_eq!(soft.room(512, Mono(6_000 * MS).plus(DOUBLES_IN * 6)), None);
        assert_eq!(soft.room(512, Mono(6_000 * MS)), None);
    }

    #[test]
    fn a_long_run_widens_with_its_first_answer_and_a_fast_server_with_each() {
        let mut soft = SoftStart::default();
        soft.begin(40_000, Mono(0));
        soft.sent();
        soft.heard(Mono(0), true, Mono(MS));
        assert_eq!(soft.room(512, Mono(MS)), Some(400));
        soft.begin(100, Mono(0));
        for _ in 0..800 {
            soft.sent();
            soft.heard(Mono(0), true, Mono(MS));
        }
        assert_eq!(soft.room(512, Mono(MS)), Some(100));
    }

    #[test]
    fn twenty_that_waited_do_not_return_in_the_same_millisecond() {
        let mut soft = SoftStart::default();
        let end = Mono(1_000 * MS);
        soft.again(end);
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
        // What left before the pause is no part of it.
        soft.heard(Mono(0), true, now);
        assert_eq!(soft.room(512, now), Some(0));
    }
}
