//! The process: its signals, its diagnostics, its open files.

use std::io::IsTerminal as _;

use tokio::sync::mpsc::UnboundedSender;

use crate::drive::parts::Part;
use crate::drive::{News, vigil};
use crate::model::Signal;
use crate::report::stderr::Stderr;
use crate::tripwire;

/// Ctrl-C, the polite kill, and a terminal that is closed.
pub(super) fn listen_for_signals(tell: &UnboundedSender<News>) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut kinds =
            vec![(SignalKind::interrupt(), Signal::Interrupt), (SignalKind::terminate(), Signal::Terminate)];
        if !ignores_hangup() {
            kinds.push((SignalKind::hangup(), Signal::HangUp));
        }
        for (kind, which) in kinds {
            // Listened for from here on without a gap: one that came before the listener would kill, one between two would be missed.
            let mut listener = signal(kind)?;
            let (tell, vigil) = (tell.clone(), vigil(Part::Signals, tell));
            tokio::spawn(async move {
                let _vigil = vigil;
                while listener.recv().await.is_some() {
                    tripwire::here("signals");
                    let _ = tell.send(News::Signal(which));
                }
            });
        }
    }
    #[cfg(not(unix))]
    {
        let (tell, vigil) = (tell.clone(), vigil(Part::Signals, tell));
        tokio::spawn(async move {
            let _vigil = vigil;
            while tokio::signal::ctrl_c().await.is_ok() {
                let _ = tell.send(News::Signal(Signal::Interrupt));
            }
        });
    }
    Ok(())
}

/// Whether SIGHUP was ignored when this process started, as under `nohup`: then it is left so.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    match std::fs::read_to_string("/proc/self/status") {
        Ok(status) => is_hangup_ignored(&status),
        // Where the system does not say it: `nohup` leaves no terminal, and without one nothing hangs up.
        Err(_) => ![std::io::stdin().is_terminal(), std::io::stdout().is_terminal(), std::io::stderr().is_terminal()]
            .contains(&true),
    }
}

/// Linux tells the ignored signals as a mask; SIGHUP, the first of them, is its lowest bit.
#[cfg(unix)]
fn is_hangup_ignored(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

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

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let status = |mask: &str| {
            format!("Name:\tpromptmill\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t0000000000000001\n")
        };
        for (mask, ignored) in [
            ("0000000000000001", true),
            ("0000000000001007", true),
            ("0000000000001000", false),
            ("0000000000000000", false),
            ("", false),
        ] {
            assert_eq!(is_hangup_ignored(&status(mask)), ignored, "{mask}");
        }
    }
}
