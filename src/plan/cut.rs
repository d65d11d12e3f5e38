//! Cuts work into consecutive portions, each within a limit. Pure.

use crate::model::{Portion, Work};

use super::standing::Why;

/// A piece of work, and why it is not up to date.
pub(super) type Piece = (Work, Why);

/// The portion that is being filled.
#[derive(Debug)]
pub(super) struct Cut {
    /// The most input tokens of a portion; where `None`, all is one.
    limit: Option<u64>,
    open: Portion,
    /// Its work, which is told with it.
    waiting: Vec<Piece>,
    /// Portions that were told.
    told: u32,
}

impl Cut {
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self { limit, open: Portion { number: 0, prompts: 0, input_tokens: 0 }, waiting: Vec::new(), told: 0 }
    }

    /// Takes in the next piece. What it makes whole goes to `work` and `portions`.
    pub(super) fn add(&mut self, mut piece: Piece, work: &mut Vec<Piece>, portions: &mut Vec<Portion>) {
        let Some(limit) = self.limit else {
            self.told = self.told.max(u32::from(piece.0.doomed.is_none()));
            work.push(piece);
            return;
        };
        if piece.0.doomed.is_none() {
            if self.open.input_tokens.saturating_add(piece.0.input_tokens) > limit {
                self.close(work, portions);
            }
            self.open.prompts += 1;
            self.open.input_tokens = self.open.input_tokens.saturating_add(piece.0.input_tokens);
        }
        piece.0.portion = self.open.number;
        self.waiting.push(piece);
    }

    /// Nothing more comes. Where all is one portion, that is none.
    pub(super) fn end(&mut self, work: &mut Vec<Piece>, portions: &mut Vec<Portion>) {
        let is_only = self.told == 0;
        self.close(work, portions);
        if is_only {
            portions.clear();
        }
    }

    /// Nothing more goes into the open portion.
    fn close(&mut self, work: &mut Vec<Piece>, portions: &mut Vec<Portion>) {
        work.append(&mut self.waiting);
        // What fails without being sent makes no portion.
        if self.open.prompts > 0 {
            portions.push(self.open);
            self.told += 1;
            self.open = Portion { number: self.told, prompts: 0, input_tokens: 0 };
        }
    }

    /// How many pieces wait for their portion to be whole.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many portions were told; without a limit, 1 as soon as anything can be sent.
    pub(super) fn portions(&self) -> u32 {
        self.told
    }
}
