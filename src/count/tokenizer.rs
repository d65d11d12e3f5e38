//! The tokenizers.

/// Counts tokens as one model does.
#[derive(Clone, Copy, Debug)]
pub struct Tokenizer {}

impl Tokenizer {
    /// The tokenizer of `model`.
    #[must_use]
    pub fn for_model(_model: &str) -> Self {
        Self {}
    }

    /// Tokens of `text`.
    #[must_use]
    pub fn count(self, text: &str) -> u64 {
        bpe_openai::o200k_base().count(text) as u64
    }
}
