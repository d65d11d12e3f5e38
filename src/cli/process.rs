//! The process: its signals, its diagnostics, its open files.

use std::io::IsTerminal;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Ctrl-C, and the polite kill.
pub(super) fn interrupts() -> std::io::Result<UnboundedReceiver<()>> {
    let (tell, interrupts) = unbounded_channel();
    // Both are listened for from here on without a gap: one that came before the first listener would kill, one between two would be missed.
    #[cfg(unix)]
    let (mut interrupt, mut terminate) = {
        use tokio::signal::unix::{SignalKind, signal};
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    tokio::spawn(async move {
        loop {
            #[cfg(unix)]
            let came = tokio::select! {
                came = interrupt.recv() => came.is_some(),
                came = terminate.recv() => came.is_some(),
            };
            #[cfg(not(unix))]
            let came = tokio::signal::ctrl_c().await.is_ok();
            if !came || tell.send(()).is_err() {
                return;
            }
        }
    });
    Ok(interrupts)
}

/// Diagnostics on stderr, with `-v` and `-vv`. async-openai logs whole bodies, so its target stays off.
pub(super) fn start_log(verbose: u8) {
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
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // What cannot be logged would be said with a panicking print.
        .log_internal_errors(false);
    // A second start in one process (a test) keeps the first.
    let _ = tracing_subscriber::registry().with(lines).with(targets).try_init();
}

/// The most files that this process may have open; raised to the most that the system lets it have.
pub(super) fn open_files() -> usize {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        // macOS has an infinite maximum that it does not accept.
        let wanted = maximum.unwrap_or(65_536).min(65_536).max(current.unwrap_or(u64::MAX));
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok();
        let files = if raised { wanted } else { current.unwrap_or(wanted) };
        usize::try_from(files).unwrap_or(usize::MAX)
    }
    #[cfg(not(unix))]
    {
        8_192
    }
}
