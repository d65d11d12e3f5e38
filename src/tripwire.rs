//! A switch for tests: `TEST_PANIC=keeper:3` makes the third passage of the point `keeper` panic. A release build has none of it.

#[cfg(debug_assertions)]
use std::sync::OnceLock;
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU32, Ordering};

/// Where it is to happen, and after how many more passages.
#[cfg(debug_assertions)]
static SWITCH: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();

/// A point at which a test may want a panic.
#[cfg(debug_assertions)]
#[track_caller]
pub(crate) fn here(point: &str) {
    let switch = SWITCH.get_or_init(|| {
        #[expect(clippy::disallowed_methods, reason = "no setting, and not there in a release")]
        let value = std::env::var("TEST_PANIC").ok()?;
        let (point, passage) = value.split_once(':').unwrap_or((&value, "1"));
        Some((point.to_owned(), AtomicU32::new(passage.parse().unwrap_or(1))))
    });
    if let Some((wanted, left)) = switch
        && wanted == point
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        panic!("a test wants it");
    }
}

/// A point at which a test may want a panic.
#[cfg(not(debug_assertions))]
pub(crate) fn here(_point: &str) {}
