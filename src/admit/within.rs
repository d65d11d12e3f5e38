//! What a run needs to be done by a deadline: a rate, and how many requests in flight. Pure.

use std::time::Duration;

use serde::Serialize;

use super::forecast::{Binding, Forecast};
use crate::model::seconds;

/// The time of an answer where the model has given none yet.
pub const ASSUMED_ANSWER: Duration = Duration::from_secs(5);

/// Requests in flight beyond what the mean needs: answers are not all equally long.
const HEADROOM: f64 = 1.2;

/// What a deadline needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Within {
    /// The time there is.
    #[serde(rename = "seconds", serialize_with = "seconds::serialize")]
    pub deadline: Duration,
    /// Requests that have to leave.
    pub requests: usize,
    /// The mean time of an answer.
    #[serde(rename = "answer_seconds", serialize_with = "seconds::serialize")]
    pub answer: Duration,
    /// Whether the model's answers told it; else it is [`ASSUMED_ANSWER`].
    pub answer_is_known: bool,
    /// Requests a second, over the whole time.
    pub requests_per_second: f64,
    /// How many have to be in flight, by Little's law with some headroom; 0 where nothing is to be sent.
    pub concurrency: usize,
    /// Why it cannot be; `None` where it can.
    pub impossible: Option<Impossible>,
}

/// Why a deadline cannot be met.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Impossible {
    /// The limit that is waited for the longest; `None` where one answer alone takes longer than there is time.
    pub limit: Option<Binding>,
    /// How long it takes instead, the last answer included.
    #[serde(rename = "takes_seconds", serialize_with = "seconds::serialize")]
    pub takes: Duration,
}

/// What `requests` need to be answered within `deadline`.
///
/// `answer` is the mean time of the model's answers, where there are any; `forecast` is how the limits let the requests leave, a day's limit waited for.
#[must_use]
pub fn within(deadline: Duration, requests: usize, answer: Option<Duration>, forecast: &Forecast) -> Within {
    let answer_is_known = answer.is_some();
    let answer = answer.unwrap_or(ASSUMED_ANSWER);
    #[expect(clippy::cast_precision_loss, reason = "a recommendation")]
    let requests_per_second = requests as f64 / deadline.as_secs_f64();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the number of requests")]
    let in_flight = (requests_per_second * answer.as_secs_f64() * HEADROOM).ceil() as usize;
    let takes = forecast.last_admission.saturating_add(answer);
    let impossible = (requests > 0 && takes > deadline).then_some(Impossible { limit: forecast.binds.clone(), takes });
    Within {
        deadline,
        requests,
        answer,
        answer_is_known,
        requests_per_second,
        // Answers that take no time need one in flight all the same.
        concurrency: in_flight.max(1).min(requests),
        impossible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LimitName;

    const HOUR: Duration = Duration::from_secs(3_600);
    const FREE: Forecast = Forecast { last_admission: Duration::ZERO, waits: 0, binds: None, left_pending: 0 };

    #[test]
    fn littles_law_with_headroom() {
        for (hours, requests, answer_ms, expected) in [
            // 5 a second, each 4 s: 20 in flight, and a fifth more.
            (2, 36_000, 4_000, 24),
            // 1.25 a second, each 5 s.
            (8, 36_000, 5_000, 8),
            (1, 1, 5_000, 1),
            (1, 3, 0, 1),
            // Never more than there are requests.
            (1, 2, 3_600_000, 2),
            (1, 0, 5_000, 0),
        ] {
            let answer = Some(Duration::from_millis(answer_ms));
            let within = within(HOUR * hours, requests, answer, &FREE);
            assert_eq!(within.concurrency, expected, "{requests} in {hours} h");
            assert!(within.answer_is_known && within.impossible.is_none(), "{within:?}");
        }
        let unknown = within(Duration::from_secs(10), 5, None, &FREE);
        assert_eq!((unknown.answer, unknown.answer_is_known, unknown.concurrency), (ASSUMED_ANSWER, false, 3));
    }

    #[test]
    fn what_cannot_be_names_the_limit_and_the_time_it_takes() {
        let limit = Binding::Own(LimitName::TokensPerMinute);
        let forecast = Forecast { last_admission: HOUR, waits: 59, binds: Some(limit.clone()), left_pending: 0 };
        let answer = Duration::from_secs(5);
        let late = within(HOUR, 100, Some(answer), &forecast).impossible;
        assert_eq!(late, Some(Impossible { limit: Some(limit), takes: HOUR + answer }));
        assert_eq!(within(HOUR + answer, 100, Some(answer), &forecast).impossible, None);
        let short = within(Duration::from_secs(4), 1, Some(answer), &FREE).impossible;
        assert_eq!(short, Some(Impossible { limit: None, takes: answer }));
        assert_eq!(within(Duration::from_secs(4), 0, Some(answer), &FREE).impossible, None);
    }

    #[test]
    fn json_has_seconds() {
        let within = within(Duration::from_secs(4), 1, None, &FREE);
        let json = serde_json::to_value(within).expect("JSON");
        assert_eq!((&json["seconds"], &json["answer_seconds"]), (&4.0.into(), &5.0.into()));
        assert_eq!(json["impossible"], serde_json::json!({ "limit": null, "takes_seconds": 5.0 }));
    }
}
