//! What holds of each parser for any text: the bodies of the fuzz targets in `fuzz/`, which are also run over known texts by `cargo test`.
#![allow(dead_code, reason = "each fuzz target calls one of them")]
#![allow(clippy::expect_used, clippy::panic, reason = "a check fails by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue};
use promptmill::admit::hint::{ServerHint, Source, Unit};
use promptmill::admit::usage_md::Face;
use promptmill::config::api_key::{KeyOrigin, from_text};
use promptmill::config::dotenv::assignments;
use promptmill::send::{hints, wait};
use promptmill::standin::go_duration;

const MINUTE: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(31 * 86_400);

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_348_800, 0).expect("a moment")
}

/// Waits are over zero and at most 31 days; a Go duration is read the same from a message, and again as the stand-in prints it.
pub(crate) fn durations(text: &str) {
    let sensible = |wait: &Duration| !wait.is_zero() && *wait <= LONGEST_WAIT;
    for wait in [wait::value(text, now()), wait::in_message(text)].iter().flatten() {
        assert!(sensible(wait), "{wait:?}");
    }
    let Some(read) = wait::go_duration(text) else { return };
    assert_eq!(wait::in_message(&format!("try again in {text}.")), Some(read).filter(sensible));
    assert_eq!(wait::value(text, now()), Some(read).filter(sensible));
    let whole_millis = Duration::new(read.as_secs(), read.subsec_millis() * 1_000_000);
    assert_eq!(wait::go_duration(&go_duration(read)), Some(whole_millis));
}

/// A refusal is at most one hint, within bounds, and is read again from its numbers.
pub(crate) fn refusal(text: &str) {
    let read = |status, text: &str| hints::read(&HeaderMap::new(), status, text, MINUTE, now());
    assert!(read(200, text).is_empty(), "the words of a success are not looked at");
    let found = read(429, text);
    assert!(found.len() <= 1, "{found:?}");
    let Some(hint) = found.first() else { return };
    in_bounds(hint);
    assert!(hint.refused && hint.source == Source::Refusal);
    if hint.unit == Unit::InFlight {
        assert_eq!(*hint, ServerHint { size: hint.size, ..in_flight(None) });
        return;
    }
    let (Some(size), Some(left), Some(charged)) = (hint.size, hint.left, hint.charged) else { return };
    let group = hint.group.as_ref().map(|group| format!(" (for limit {group})")).unwrap_or_default();
    if left > size || group.matches(')').count() > 1 {
        return;
    }
    let used = size - left;
    let unit = hint.unit;
    let again = read(
        429,
        &format!("Rate limit reached for m{group} on {unit} per min: Limit {size}, Used {used}, Requested {charged}."),
    );
    assert_eq!(again, [ServerHint { window: None, ..hint.clone() }]);
}

/// Lines of `name: value`: hints are few, within bounds, and no two of one bucket.
pub(crate) fn limit_headers(text: &str) {
    let fields = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        Some((HeaderName::try_from(name).ok()?, HeaderValue::from_str(value).ok()?))
    });
    let found = hints::read(&fields.take(200).collect(), 429, "", MINUTE, now());
    assert!(found.len() <= 16, "{found:?}");
    for (place, hint) in found.iter().enumerate() {
        in_bounds(hint);
        assert!(!hint.refused || hint.left == Some(0) || *hint == in_flight(None));
        for other in &found[place + 1..] {
            assert!((hint.unit, &hint.group, hint.window) != (other.unit, &other.group, other.window), "{found:?}");
        }
    }
}

fn in_flight(size: Option<u64>) -> ServerHint {
    ServerHint {
        unit: Unit::InFlight,
        group: None,
        size,
        left: None,
        full_in: None,
        window: None,
        charged: None,
        refused: true,
        source: Source::Refusal,
    }
}

fn in_bounds(hint: &ServerHint) {
    assert!(
        hint.size != Some(0) && hint.full_in.is_none_or(|time| !time.is_zero() && time <= LONGEST_WAIT),
        "{hint:?}"
    );
    assert!(hint.window.is_none_or(|window| window.least <= window.most && !window.most.is_zero()), "{hint:?}");
    assert!(hint.group.as_ref().is_none_or(|group| !group.is_empty() && group.chars().count() <= 300), "{hint:?}");
    assert!(hint.group.as_ref().is_none_or(|group| !group.contains(char::is_control)), "{hint:?}");
}

/// What is read is written and read again; an error is one short line.
pub(crate) fn usage_md(text: &str) {
    match Face::parse(text) {
        Ok(face) => assert_eq!(Face::parse(&face.to_string()), Ok(face)),
        Err(error) => {
            let error = error.to_string();
            assert!(error.chars().count() <= 120 && !error.contains(char::is_control), "{error:?}");
        }
    }
}

/// No error holds anything of the file, and a key is read again.
pub(crate) fn dotenv(text: &str) {
    let read = |text: &str| {
        let found = assignments(text).into_iter().find(|found| found.name == "OPENAI_API_KEY");
        // Why a line cannot be read is one of a few fixed sentences.
        let value = found.and_then(|found| found.value.ok()).unwrap_or_default();
        from_text(&value, &KeyOrigin::File(".env".into()))
    };
    let key = match read(text) {
        Ok(Some(key)) => key,
        Ok(None) => return,
        Err(error) => {
            // The same words as for files that are known.
            let known: BTreeSet<String> =
                BAD_KEYS.iter().filter_map(|text| Some(read(text).err()?.to_string())).collect();
            assert!(known.contains(&error.to_string()), "an error of its own");
            assert!(text.len() < 40 || !format!("{error:?}").contains(text), "an error that shows the file");
            return;
        }
    };
    let shown = key.reveal();
    assert!(!shown.is_empty() && shown.chars().all(|c| c.is_ascii_graphic()), "a key that no header can carry");
    assert!(shown.len() < 12 || !format!("{key:?}").contains(shown), "a key that is shown");
    if shown.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        assert!(
            read(&format!("OTHER=1\nexport OPENAI_API_KEY='{shown}' # mine\n")).ok().flatten().as_ref() == Some(&key)
        );
    }
}

/// A file for each thing that can be wrong with a key.
const BAD_KEYS: [&str; 3] = ["OPENAI_API_KEY='a b'", "OPENAI_API_KEY=\u{e9}", "OPENAI_API_KEY=\"a'b\""];
