//! A switch for tests: with `TEST_PANIC=keeper:3` the third passage of the point `keeper` panics, with `TEST_STOP=keeper:3` the process stops itself
//! there (SIGSTOP), and the thread is slow when it goes on: by milliseconds, which a third part names. A release build has none of it.

#[cfg(debug_assertions)]
pub(crate) use debug::here;

/// A point at which a test may want something to happen.
#[cfg(not(debug_assertions))]
pub(crate) fn here(_point: &str) {}

#[cfg(debug_assertions)]
mod debug {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    struct Switch {
        /// How slow it is then; `None` for a panic.
        stops: Option<Duration>,
        point: String,
        /// It happens at the passage that finds 1 here.
        left: AtomicU32,
    }

    static SWITCH: OnceLock<Option<Switch>> = OnceLock::new();

    impl Switch {
        #[expect(clippy::disallowed_methods, reason = "no setting, and not there in a release")]
        fn read() -> Option<Self> {
            let wish = |name: &str, stops: bool| Some((std::env::var(name).ok()?, stops));
            let (value, stops) = wish("TEST_PANIC", false).or_else(|| wish("TEST_STOP", true))?;
            let mut parts = value.split(':');
            let point = parts.next()?.to_owned();
            let mut number = |other| parts.next().map_or(other, |part| part.parse().unwrap_or(other));
            let (passage, slow) = (number(1), Duration::from_millis(number(0).into()));
            Some(Self { stops: stops.then_some(slow), point, left: AtomicU32::new(passage) })
        }
    }

    /// A point at which a test may want something to happen.
    #[track_caller]
    pub(crate) fn here(point: &str) {
        if let Some(Switch { stops, point: wanted, left }) = SWITCH.get_or_init(Switch::read)
            && wanted == point
            && left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            let Some(slow) = stops else { panic!("a test wants it") };
            stop();
            std::thread::sleep(*slow);
        }
    }

    fn stop() {
        #[cfg(unix)]
        // What is not stopped is seen by the test.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
    }
}
