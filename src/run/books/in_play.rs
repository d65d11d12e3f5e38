//! The work in play: its request is at the server, or its output on its way to the disk.

use std::collections::HashMap;

use crate::admit::server::Ticket;
use crate::model::{Class, FinishReason, Ordinal, Usage, Work};
use crate::record::{Reservation, Settlement, Told};

/// The work in play.
#[derive(Debug, Default)]
pub(super) struct InPlay {
    pieces: HashMap<Ordinal, Piece>,
    /// Those of them that fail without being sent.
    doomed: usize,
}

#[derive(Debug)]
enum Piece {
    Sent(Sent),
    Output(Output),
}

/// Work whose request is at the server.
#[derive(Debug)]
pub(in crate::run) struct Sent {
    pub(in crate::run) work: Work,
    /// Its request, from when it left.
    pub(in crate::run) ticket: Ticket,
    pub(super) reservation: Reservation,
    /// What the server told, once it is heard of.
    pub(in crate::run) told: Told,
}

/// Work whose output is on its way to the disk.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) work: Work,
    /// What becomes of its reservation, where the journal does not know it yet.
    pub(super) settled: Option<Settlement>,
    pub(super) result: Result<Answered, Failed>,
    /// It counts among the outputs that could not be written.
    pub(super) again: bool,
}

/// What an answer cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub(super) usage: Usage,
    pub(super) finish: FinishReason,
}

/// Why a prompt has failed, and what it cost.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) class: Class,
    pub(super) message: String,
    pub(super) usage: Usage,
    /// It was not sent.
    pub(super) is_doomed: bool,
}

impl InPlay {
    /// Requests at the server, and answers on their way to the disk.
    pub(super) fn in_flight(&self) -> usize {
        self.pieces.len() - self.doomed
    }

    /// Outputs on their way to the disk of prompts that were not sent.
    pub(super) fn doomed(&self) -> usize {
        self.doomed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether any output is on its way to the disk.
    pub(super) fn writes(&self) -> bool {
        self.pieces.values().any(|piece| matches!(piece, Piece::Output(_)))
    }

    pub(super) fn work(&self, ordinal: Ordinal) -> Option<&Work> {
        self.pieces.get(&ordinal).map(|piece| match piece {
            Piece::Sent(Sent { work, .. }) | Piece::Output(Output { work, .. }) => work,
        })
    }

    /// A request leaves.
    pub(super) fn send(&mut self, sent: Sent) {
        self.pieces.insert(sent.work.ordinal, Piece::Sent(sent));
    }

    /// Something came back for a request; `None` where it is not at the server.
    pub(super) fn take_sent(&mut self, ordinal: Ordinal) -> Option<Sent> {
        match self.pieces.remove(&ordinal)? {
            Piece::Sent(sent) => Some(sent),
            output @ Piece::Output(_) => {
                self.pieces.insert(ordinal, output);
                None
            }
        }
    }

    /// An output goes to the disk.
    pub(super) fn write(&mut self, output: Output) {
        self.doomed += usize::from(output.is_doomed());
        self.pieces.insert(output.work.ordinal, Piece::Output(output));
    }

    /// An output is back from the disk; `None` where it was not on its way there.
    pub(super) fn take_output(&mut self, ordinal: Ordinal) -> Option<Output> {
        match self.pieces.remove(&ordinal)? {
            Piece::Output(output) => {
                self.doomed -= usize::from(output.is_doomed());
                Some(output)
            }
            sent @ Piece::Sent(_) => {
                self.pieces.insert(ordinal, sent);
                None
            }
        }
    }

    /// Tokens that stay counted for all of it, if nothing more is heard.
    pub(super) fn tokens(&self) -> u64 {
        let tokens = self.pieces.values().map(|piece| match piece {
            Piece::Sent(sent) => sent.reservation.tokens(),
            Piece::Output(output) => output.settled.as_ref().map_or(0, |settled| settled.used.tokens),
        });
        tokens.fold(0, u64::saturating_add)
    }
}

impl Output {
    fn is_doomed(&self) -> bool {
        self.result.as_ref().is_err_and(|failed| failed.is_doomed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::{reservation, ticket, work};

    fn sent(ordinal: u32) -> Sent {
        Sent { work: work(ordinal, 10), ticket: ticket(0), reservation: reservation(30), told: Told::default() }
    }

    fn failed(ordinal: u32, is_doomed: bool) -> Output {
        let (class, message, usage) = (Class::NotText, String::new(), Usage::default());
        let result = Err(Failed { class, message, usage, is_doomed });
        Output { work: work(ordinal, 10), settled: None, result, again: false }
    }

    #[test]
    fn what_is_not_sent_is_not_in_flight() {
        let mut play = InPlay::default();
        play.send(sent(1));
        play.write(failed(2, true));
        play.write(failed(3, false));
        assert_eq!((play.in_flight(), play.doomed(), play.tokens()), (2, 1, 30));
        assert!(play.writes());
        assert!(play.take_output(Ordinal(2)).is_some() && play.take_output(Ordinal(2)).is_none());
        assert_eq!((play.in_flight(), play.doomed()), (2, 0));
        assert_eq!(play.work(Ordinal(3)), Some(&work(3, 10)));
    }

    #[test]
    fn a_request_and_an_output_are_not_taken_for_each_other() {
        let mut play = InPlay::default();
        play.send(sent(1));
        play.write(failed(2, false));
        assert!(play.take_output(Ordinal(1)).is_none() && play.take_sent(Ordinal(2)).is_none());
        assert_eq!(play.in_flight(), 2);
        assert!(play.take_sent(Ordinal(1)).is_some() && play.take_output(Ordinal(2)).is_some());
        assert!(play.is_empty() && play.take_sent(Ordinal(1)).is_none());
    }
}
