//! The diagnostics.

use std::io::IsTerminal as _;

use crate::report::stderr::Stderr;

/// Diagnostics on stderr, with `-v` and `-vv`. async-openai logs whole bodies, so its target stays off.
pub(super) fn start_log(verbose: u8, stderr: Stderr) {
    use tracing::level_filters::LevelFilter;
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let level = match verbose {
        0 => return,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let targets = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("promptmill", level)
        .with_target("async_openai", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // What cannot be logged would be said with a panicking print.
        .log_internal_errors(false);
    // A second start in one process (a test) keeps the first.
    let _ = tracing_subscriber::registry().with(lines).with(targets).try_init();
}
