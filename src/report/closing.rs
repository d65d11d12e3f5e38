//! What is said when a run has ended: why it ended early, and what a person should know beside its closing line. Pure.

use std::time::Duration;

use super::summary::{Summary, Tally};
use super::wording::midnight;
use crate::clock::DayZone;
use crate::model::text::{count, counted, dollars, span};
use crate::model::{Ending, Limits, RunStop};

/// What became of answers that are paid for and not recorded.
#[must_use]
pub fn unkept(tally: &Tally) -> Vec<String> {
    let lost = (tally.lost > 0).then(|| {
        format!(
            "{} could be kept nowhere and may be lost; the next run sends what has no answer again",
            counted(tally.lost, "paid answer")
        )
    });
    let unrecorded = (tally.unrecorded > 0).then(|| {
        format!(
            "{} in the outputs folder and not in the state file; the next run finds them",
            counted(tally.unrecorded, "answer")
        )
    });
    lost.into_iter().chain(unrecorded).collect()
}

/// Why a run ended early, and what to do.
#[must_use]
pub fn stopped_by(ending: &Ending, limits: &Limits, day: DayZone) -> Option<String> {
    match ending {
        Ending::Complete => None,
        Ending::Stopped { stop, class, message } => {
            let message = message.trim_end_matches('.');
            let wait = if *stop == RunStop::Quota { ", or wait for credit with --on-quota wait" } else { "" };
            Some(format!(
                "{class}: {message}. The pending prompts were not paid for; run again once this is fixed{wait}"
            ))
        }
        Ending::Outage { class, message, asked } => {
            let message = message.trim_end_matches('.');
            let what = match asked {
                Some(wait) => format!("the server asks to wait {}, longer than give_up_after allows", span(*wait)),
                None => "nothing was answered for as long as give_up_after allows".to_owned(),
            };
            Some(format!("{what}: {class}: {message}. Run again when the server is back"))
        }
        Ending::ServerDayLimit { what, wait } => {
            let what = what.trim_end_matches('.');
            Some(format!(
                "a day limit of the server is reached ({what}); run again in {}, or wait for it with --on-day-limit wait",
                span(*wait)
            ))
        }
        Ending::Deadline => Some("the time set with --until or --for is up; run again to continue".to_owned()),
        Ending::DayLimit => {
            let (share, midnight) = (limits.share(), midnight(day));
            Some(format!("a day limit is reached{share}; run again after {midnight}"))
        }
        Ending::Interrupted(signal) => Some(format!("{signal}; run again to continue")),
        Ending::Disk(message) | Ending::Store(message) | Ending::Source(message) => Some(message.clone()),
        Ending::Broken(what) => Some(broken(what)),
    }
}

/// What is said where a part of the program ended unexpectedly.
#[must_use]
pub fn broken(what: &str) -> String {
    format!(
        "{what}: this is a bug, please report it. What is done is kept, and what was in flight counts as used; run again to continue"
    )
}

/// What a person should know of a run, beside its closing line.
#[must_use]
pub fn remarks(summary: &Summary) -> Vec<String> {
    let tally = &summary.tally;
    let mut remarks = Vec::new();
    if tally.requests > 0 {
        let cost = summary.cost_usd.map_or(String::new(), |cost| format!(", about {}", dollars(cost)));
        let again = if tally.retried + tally.throttled > 0 {
            format!(" ({} retried, {} throttled)", count(tally.retried as u64), count(tally.throttled as u64))
        } else {
            String::new()
        };
        remarks.push(format!(
            "{}{again} in {}: {} input + {} output tokens{cost}",
            counted(tally.requests, "request"),
            span(Duration::from_secs_f64(summary.seconds)),
            count(tally.usage.input_tokens),
            count(tally.usage.output_tokens),
        ));
    }
    for (number, what) in [
        (tally.truncated, "cut off at the token limit (raise --max-output-tokens)"),
        (tally.refused, "with a refusal; its text is the output"),
        (tally.filtered, "cut off by the content filter"),
        (tally.repaired, "with characters that are not text; U+FFFD (\u{fffd}) stands in their place"),
        (tally.recounted, "with an impossible usage; the tokens are counted instead"),
    ] {
        if number > 0 {
            remarks.push(format!("{} {what}", counted(number, "answer")));
        }
    }
    if tally.unknown_requests > 0 {
        remarks.push(format!(
            "{} ended without a clear answer and may have been billed: at most {} tokens, counted as used",
            counted(tally.unknown_requests, "attempt"),
            count(tally.unknown_tokens)
        ));
    }
    if tally.kept > 0 {
        remarks.push(format!(
            "{} could not be written; the next run writes them, nothing is paid twice",
            counted(tally.kept, "answer")
        ));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paid_for_and_not_recorded_is_said_with_its_number() {
        let says = |lost, unrecorded| unkept(&Tally { lost, unrecorded, done: 9, kept: 9, ..Tally::default() });
        assert_eq!(says(0, 0), Vec::<String>::new());
        let [lost, unrecorded] = &says(2, 3)[..] else { panic!("two sentences") };
        assert!(lost.contains('2') && lost.contains("may be lost"), "{lost}");
        assert!(unrecorded.contains('3') && unrecorded.contains("not in the state file"), "{unrecorded}");
        assert_eq!((says(2, 0).len(), says(0, 3).len()), (1, 1));
    }
}
