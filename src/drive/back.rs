//! What the threads tell the loop.

use super::parts::Gone;
use crate::admit::ledger::Used;
use crate::model::{Doom, Ordinal};
use crate::plan::Draft;
use crate::run::Input;

/// What comes back to the loop.
pub(super) enum Back {
    Input(Input),
    /// A prompt's request, ready to be sent, or why it cannot be.
    Ready(Ordinal, Result<serde_json::Value, Doom>),
    /// What was read on in the input.
    Read(Draft),
    Used(Used),
    Warning(String),
    Gone(Gone),
}
