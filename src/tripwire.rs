//! A switch for tests: with `TEST_PANIC=keeper:3` the third passage of the point `keeper` panics, with `TEST_STOP=keeper:3` the process stops itself
//! there (SIGSTOP). A release build has none of it.

#[cfg(debug_assertions)]
pub(crate) use debug::here;

/// A point at which a test may want something to happen.
#[cfg(not(debug_assertions))]
pub(crate) fn here(_point: &str) {}

#[cfg(debug_assertions)]
mod debug {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Switch {
        stops: bool,
        point: String,
        /// It happens at the passage that finds 1 here.
        left: AtomicU32,
    }

    static SWITCH: OnceLock<Option<Switch>> = OnceLock::new();

    impl Switch {
        #[expect(clippy::disallowed_methods, reason = "no setting, and not there in a release")]
        fn read() -> Option<Self> {
            let wish = |name: &str, stops| Some((std::env::var(name).ok()?, stops));
            let (value, stops) = wish("TEST_PANIC", false).or_else(|| wish("TEST_STOP", true))?;
            let (point, passage) = value.split_once(':').unwrap_or((&value, "1"));
            let left = AtomicU32::new(passage.parse().unwrap_or(1));
            Some(Self { stops, point: point.to_owned(), left })
        }
    }

    /// A point at which a test may want something to happen.
    #[track_caller]
    pub(crate) fn here(point: &str) {
        if let Some(Switch { stops, point: wanted, left }) = SWITCH.get_or_init(Switch::read)
            && wanted == point
            && left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            if *stops { stop() } else { panic!("a test wants it") }
        }
    }

    fn stop() {
        #[cfg(unix)]
        // What is not stopped is seen by the test.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
    }
}
