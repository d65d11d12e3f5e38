//! How long to wait before the next try. Randomness comes in as an argument.
//!
//! It does not count attempts and does not decide whether there is a next one.

use std::time::Duration;

/// The wait before the second try, without jitter.
const FIRST: Duration = Duration::from_millis(500);

/// The wait before the first probe of a server that fails.
const FIRST_PROBE: Duration = Duration::from_secs(1);

/// The longest wait for the next probe of a server that fails.
const LONGEST_PROBE: Duration = Duration::from_secs(30);

/// The longest wait for the next probe of an account that is used up, where not even the first is longer.
const LONGEST_QUOTA: Duration = Duration::from_secs(3_600);

/// The longest wait of our own choice for a prompt or after a 429. A server's wait may be longer.
pub const LONGEST: Duration = Duration::from_secs(60);

/// How long a prompt waits after its `attempt`-th failed try (from 1): 0.5 s doubling to 60 s, up to a quarter less at random.
///
/// `wait`, what the server asked for, is a minimum. `random` is from 0 to 1.
#[must_use]
pub fn backoff(attempt: u32, wait: Option<Duration>, random: f64) -> Duration {
    let own = jittered(doubled(FIRST, attempt), random);
    wait.map_or(own, |wait| own.max(spread(wait, random)))
}

/// How long all requests pause after the `level`-th refusal in a row (from 1): `first` doubling to 60 s, up to a quarter less at random.
///
/// `wait`, what the server asks for, is a minimum: our own grows beside it. `random` is from 0 to 1.
#[must_use]
pub fn throttle_pause(first: Duration, level: u32, wait: Option<Duration>, random: f64) -> Duration {
    let own = jittered(doubled(first, level), random);
    wait.map_or(own, |wait| own.max(spread(wait, random)))
}

/// How long nothing is sent before the `step`-th probe (from 1) of a server that fails: 1 s doubling to 30 s, up to a quarter less at random.
///
/// `wait`, what the server asked for, is a minimum. `random` is from 0 to 1.
#[must_use]
pub fn probe_wait(step: u32, wait: Option<Duration>, random: f64) -> Duration {
    let own = jittered(doubled(FIRST_PROBE, step).min(LONGEST_PROBE), random);
    wait.map_or(own, |wait| own.max(spread(wait, random)))
}

/// How long nothing is sent before the `step`-th probe (from 1) of an account that is used up: `first` doubling to an hour, and a little more at
/// random, so that several runs do not ask in the same second.
#[must_use]
pub fn quota_wait(first: Duration, step: u32, random: f64) -> Duration {
    let factor = 1_u32.checked_shl(step.saturating_sub(1)).unwrap_or(u32::MAX);
    spread(first.saturating_mul(factor).min(LONGEST_QUOTA.max(first)), random)
}

/// `first` doubled for each step after the first, at most [`LONGEST`].
fn doubled(first: Duration, step: u32) -> Duration {
    let factor = 1_u32.checked_shl(step.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(LONGEST)
}

/// Up to a quarter less, as the official clients do it.
fn jittered(span: Duration, random: f64) -> Duration {
    span.mul_f64(1.0 - 0.25 * unit(random))
}

/// The server's wait and a little more: a tenth of it, but 50 ms to 1 s, times `random`.
///
/// Many requests are told the same moment; without this they all come back in the same millisecond.
fn spread(wait: Duration, random: f64) -> Duration {
    let most = (wait / 10).clamp(Duration::from_millis(50), Duration::from_secs(1));
    wait.saturating_add(most.mul_f64(unit(random)))
}

/// `random` brought into 0 to 1; what is no number counts as 0.
fn unit(random: f64) -> f64 {
    if random.is_nan() { 0.0 } else { random.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn doubles_from_half_a_second_to_a_minute() {
        let millis = |attempt| backoff(attempt, None, 0.0).as_millis();
        let got: Vec<_> = [0, 1, 2, 3, 7, 8, 9, 32, 33, u32::MAX].into_iter().map(millis).collect();
        assert_eq!(got, [500, 500, 1_000, 2_000, 32_000, 60_000, 60_000, 60_000, 60_000, 60_000]);
        let pause = |level, wait, random| throttle_pause(Duration::from_secs(1), level, wait, random);
        assert_eq!(pause(1, None, 0.0), Duration::from_secs(1));
        assert_eq!(pause(3, None, 1.0), Duration::from_secs(3));
        assert_eq!(pause(99, None, 0.0), LONGEST);
        let short = Some(Duration::from_millis(1));
        assert_eq!((pause(1, short, 0.0), pause(3, short, 0.0)), (Duration::from_secs(1), Duration::from_secs(4)));
        let long = Duration::from_secs(30);
        assert_eq!(pause(3, Some(long), 0.0), long);
    }

    #[test]
    fn twenty_waiting_requests_do_not_return_in_the_same_millisecond() {
        for wait in [None, Some(Duration::ZERO), Some(Duration::from_millis(120)), Some(Duration::from_secs(23))] {
            let pause = |i: u32| throttle_pause(Duration::from_millis(100), 1, wait, f64::from(i) / 20.0).as_millis();
            assert_eq!((0..20).map(pause).collect::<HashSet<_>>().len(), 20, "{wait:?}");
        }
    }

    proptest! {
        #[test]
        fn a_servers_wait_is_a_minimum(step: u32, millis in 0..u64::MAX / 2, random: f64) {
            let wait = Duration::from_millis(millis);
            for got in [backoff(step, Some(wait), random), throttle_pause(Duration::from_secs(1), step, Some(wait), random)] {
                prop_assert!(got >= wait);
                prop_assert!(got <= wait.max(LONGEST) + Duration::from_secs(1));
            }
        }

        #[test]
        fn our_own_wait_grows_and_is_capped(step in 0..u32::MAX, random in 0.0..=1.0) {
            for own in [backoff, |step, wait, random| throttle_pause(Duration::from_secs(1), step, wait, random)] {
                prop_assert!(own(step, None, random) <= own(step + 1, None, random));
                prop_assert!(own(step + 1, None, random) <= LONGEST);
                prop_assert!(own(step, None, random) >= Duration::from_millis(375));
            }
        }
    }
}
