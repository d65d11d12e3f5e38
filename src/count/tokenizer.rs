//! The tokenizers: which one a model uses, and how many tokens it makes of a text.
//!
//! tiktoken-rs names the encoding. bpe-openai counts the current ones, the same tokens as tiktoken; tiktoken-rs
//! counts those that bpe-openai does not have. Texts are counted, never encoded: no token ids leave this module.

use std::{collections::HashSet, fmt};

use tiktoken_rs::{CoreBPE, tokenizer::Tokenizer as Named};

use super::{base_model, pieces};

/// A vocabulary of tokens. Its `Display` is tiktoken's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// gpt-4o, gpt-4.1, gpt-5, o1, o3, o4-mini.
    O200kBase,
    /// gpt-oss. Has more special tokens than `o200k_base`, and the same ordinary ones.
    O200kHarmony,
    /// gpt-4, gpt-3.5, the embeddings.
    Cl100kBase,
    /// text-davinci-003 and the first Codex.
    P50kBase,
    /// text-davinci-edit-001. Has more special tokens than `p50k_base`, and the same ordinary ones.
    P50kEdit,
    /// The first GPT-3, and GPT-2.
    R50kBase,
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Encoding::O200kBase => "o200k_base",
            Encoding::O200kHarmony => "o200k_harmony",
            Encoding::Cl100kBase => "cl100k_base",
            Encoding::P50kBase => "p50k_base",
            Encoding::P50kEdit => "p50k_edit",
            Encoding::R50kBase => "r50k_base",
        })
    }
}

/// Counts tokens as one model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokenizer {
    encoding: Encoding,
    known: bool,
}

impl Tokenizer {
    /// The tokenizer of `model`, or `o200k_base` as a guess: it is that of every chat model of `OpenAI` since gpt-4o whose
    /// tokenizer is published.
    #[must_use]
    pub fn for_model(model: &str) -> Self {
        let named = tiktoken_rs::tokenizer::get_tokenizer(base_model(model));
        let encoding = match named {
            Some(Named::O200kBase) | None => Encoding::O200kBase,
            Some(Named::O200kHarmony) => Encoding::O200kHarmony,
            Some(Named::Cl100kBase) => Encoding::Cl100kBase,
            Some(Named::P50kBase) => Encoding::P50kBase,
            Some(Named::P50kEdit) => Encoding::P50kEdit,
            Some(Named::R50kBase | Named::Gpt2) => Encoding::R50kBase,
        };
        Self { encoding, known: named.is_some() }
    }

    /// Whether the model's tokenizer is known. Where it is not, counts are a guess, and the caller says so once.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.known
    }

    /// The vocabulary.
    #[must_use]
    pub fn encoding(self) -> Encoding {
        self.encoding
    }

    /// Tokens of `text`. Names of special tokens in it, such as `<|endoftext|>`, count as the text they are: the API escapes them.
    #[must_use]
    pub fn count(self, text: &str) -> u64 {
        match self.encoding {
            Encoding::O200kBase | Encoding::O200kHarmony => pieces::count(bpe_openai::o200k_base(), text) as u64,
            Encoding::Cl100kBase => pieces::count(bpe_openai::cl100k_base(), text) as u64,
            Encoding::P50kBase | Encoding::P50kEdit => count_old(tiktoken_rs::p50k_base_singleton(), text),
            Encoding::R50kBase => count_old(tiktoken_rs::r50k_base_singleton(), text),
        }
    }

    /// Loads the tables now, tens of milliseconds of CPU, and not in the first count. Call it from a thread that may block.
    pub fn warm(self) {
        // Counting a word also makes the regex build the automaton that most texts need.
        let _ = self.count("warm up");
    }
}

/// Tokens of `text` in an old vocabulary.
///
/// On a very long run of white space the regex of tiktoken-rs gives up, and its `count_ordinary` panics. Its `count` reports the
/// failure instead; then every byte counts as a token. That is a safe upper bound, because no token is shorter than a byte,
/// and a crude one is good enough: no model of the chat and responses APIs has these vocabularies.
fn count_old(bpe: &CoreBPE, text: &str) -> u64 {
    bpe.count(text, &HashSet::new()).unwrap_or(text.len()) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(encoding: Encoding) -> Tokenizer {
        Tokenizer { encoding, known: true }
    }

    #[test]
    fn models_have_their_encodings() {
        use Encoding::{Cl100kBase, O200kBase, O200kHarmony, P50kBase, P50kEdit, R50kBase};
        for (model, encoding, known) in [
            ("gpt-4o-mini", O200kBase, true),
            ("gpt-4o-mini-2024-07-18", O200kBase, true),
            ("openai/gpt-4o", O200kBase, true),
            ("azure/gpt-4o", O200kBase, true),
            ("ft:gpt-4o:org:name:id", O200kBase, true),
            ("openai/ft:gpt-4o-mini-2024-07-18:org::id", O200kBase, true),
            ("openai/gpt-4o:extended", O200kBase, true),
            ("gpt-4.1", O200kBase, true),
            ("gpt-5.6-sol", O200kBase, true),
            ("o4-mini", O200kBase, true),
            ("openai/gpt-oss-120b:free", O200kHarmony, true),
            ("gpt-4", Cl100kBase, true),
            ("gpt-4-turbo", Cl100kBase, true),
            ("ft:gpt-3.5-turbo:org", Cl100kBase, true),
            ("text-embedding-3-small", Cl100kBase, true),
            ("text-davinci-003", P50kBase, true),
            ("text-davinci-edit-001", P50kEdit, true),
            ("davinci", R50kBase, true),
            ("gpt2", R50kBase, true),
            ("gpt-6-sol", O200kBase, false),
            ("gpt-6.1-terra", O200kBase, false),
            ("azure/my-deployment", O200kBase, false),
            ("anthropic/claude-sonnet-5", O200kBase, false),
            ("", O200kBase, false),
        ] {
            let tokenizer = Tokenizer::for_model(model);
            assert_eq!((tokenizer.encoding(), tokenizer.is_known()), (encoding, known), "{model:?}");
        }
    }

    #[test]
    fn encodings_have_the_names_that_tiktoken_gives_them() {
        assert_eq!(Encoding::O200kBase.to_string(), "o200k_base");
        assert_eq!(Encoding::O200kHarmony.to_string(), "o200k_harmony");
        assert_eq!(Encoding::Cl100kBase.to_string(), "cl100k_base");
        assert_eq!(Encoding::R50kBase.to_string(), "r50k_base");
    }

    #[test]
    fn special_tokens_are_ordinary_text() {
        for encoding in
            [Encoding::O200kBase, Encoding::O200kHarmony, Encoding::Cl100kBase, Encoding::P50kEdit, Encoding::R50kBase]
        {
            assert!(of(encoding).count("<|endoftext|>") > 1, "{encoding}");
        }
    }

    #[test]
    fn a_million_of_anything_does_not_panic_and_takes_at_most_its_bytes() {
        for unit in [" ", "\n", "\t ", "\r\n", "a", "A", "é", "中", "🎉", "\u{301}", "\u{a0}", "1", "=", "'s"] {
            let text = unit.repeat(1_000_000 / unit.len());
            for encoding in [Encoding::O200kBase, Encoding::Cl100kBase, Encoding::P50kBase, Encoding::R50kBase] {
                let tokens = of(encoding).count(&text);
                assert!(tokens > 0 && tokens <= text.len() as u64, "{encoding} {unit:?}: {tokens}");
            }
        }
    }

    #[test]
    fn long_runs_count_as_in_tiktoken() {
        for unit in [" ", "\n", " \n", "a", "A", "aA", "中A", "🎉", "1", "=", "/\n", "<|endoftext|>"] {
            for tail in ["", "x", " x", "\n"] {
                let text = unit.repeat(5_000) + tail;
                assert_eq!(
                    of(Encoding::O200kBase).count(&text),
                    tiktoken(Encoding::O200kBase, &text),
                    "{unit:?} {tail:?}"
                );
                assert_eq!(
                    of(Encoding::Cl100kBase).count(&text),
                    tiktoken(Encoding::Cl100kBase, &text),
                    "{unit:?} {tail:?}"
                );
            }
        }
    }

    /// The oracle: tiktoken-rs, which is `OpenAI`'s own code.
    fn tiktoken(encoding: Encoding, text: &str) -> u64 {
        let bpe = match encoding {
            Encoding::O200kBase => tiktoken_rs::o200k_base_singleton(),
            Encoding::O200kHarmony => tiktoken_rs::o200k_harmony_singleton(),
            Encoding::Cl100kBase => tiktoken_rs::cl100k_base_singleton(),
            Encoding::P50kBase => tiktoken_rs::p50k_base_singleton(),
            Encoding::P50kEdit => tiktoken_rs::p50k_edit_singleton(),
            Encoding::R50kBase => tiktoken_rs::r50k_base_singleton(),
        };
        bpe.count_ordinary(text) as u64
    }

    /// Pieces at which the pre-tokenizers decide something, glued together.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[a-z]{1,12}",
            "[A-Z][a-z]{0,6}[A-Z]{0,3}",
            "[0-9]{1,8}",
            "[ \t\r\n]{1,6}",
            " {1,90}",
            "\n{1,20}",
            "\\PC{1,8}",
            "\\PC",
            any::<String>(),
            "\\p{Han}{1,6}",
            "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]{1,6}",
            "\\p{White_Space}{1,4}",
            "[!-/:-@\\[-`{-~]{1,6}[\r\n/]{0,3}",
            "[A-Za-z0-9+/]{20,60}={0,2}",
            "(🎉|👩\u{200d}👩\u{200d}👧|🇫🇷|é|e\u{301}|ß|ſ|K)",
            "('s|'S|'re|'VE|'ll|'ſ|’s)",
            "(<\\|endoftext\\|>|<\\|start\\|>|<\\|reserved_200013\\|>)",
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn o200k_counts_as_in_tiktoken(text in text()) {
            prop_assert_eq!(of(Encoding::O200kBase).count(&text), tiktoken(Encoding::O200kBase, &text));
            prop_assert_eq!(of(Encoding::O200kHarmony).count(&text), tiktoken(Encoding::O200kHarmony, &text));
        }

        #[test]
        fn cl100k_counts_as_in_tiktoken(text in text()) {
            prop_assert_eq!(of(Encoding::Cl100kBase).count(&text), tiktoken(Encoding::Cl100kBase, &text));
        }

        #[test]
        fn old_encodings_count_as_in_tiktoken(text in text()) {
            for encoding in [Encoding::P50kBase, Encoding::P50kEdit, Encoding::R50kBase] {
                prop_assert_eq!(of(encoding).count(&text), tiktoken(encoding, &text));
            }
        }
    }
}
