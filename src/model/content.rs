//! What an output holds.

/// What an output holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The answer, byte for byte.
    Answer(String),
    /// The one line of a prompt that failed for good.
    Error {
        /// The error class.
        class: String,
        /// What happened.
        message: String,
    },
}
