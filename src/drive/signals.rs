//! The signals by which a person ends a run.

use std::io::IsTerminal as _;

use tokio::sync::mpsc::UnboundedSender;

use super::parts::Part;
use super::{News, vigil};
use crate::model::Signal;
use crate::tripwire;

/// Listens for Ctrl-C, the polite kill, and a terminal that is closed, from tasks of the runtime that it is called in.
pub fn listen_for_signals(tell: &UnboundedSender<News>) -> std::io::Result<()> {
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
