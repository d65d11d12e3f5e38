//! The names of outputs.

use crate::model::Key;

/// The name of a prompt's output.
pub(super) fn file_name(key: &Key) -> String {
    format!("{key}_output.txt")
}
