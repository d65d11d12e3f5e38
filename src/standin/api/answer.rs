//! The text of an answer: made from model and prompt alone, so that a test can check every byte of an output.

use sha2::{Digest as _, Sha256};

use crate::count::tokenizer::Tokenizer;
use crate::model::STANDIN_MARK;

/// How much of the prompt an answer quotes, in characters.
const QUOTED: usize = 60;

/// Words of padding; with the space before it each is one token in every encoding of today.
const PADDING: [&str; 10] = [" one", " two", " three", " four", " five", " six", " seven", " eight", " nine", " ten"];

/// The first 8 bytes of SHA-256 of model and prompt: what tells two answers apart, and what the log keeps of a prompt.
#[must_use]
pub fn digest(model: &str, prompt: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(model.as_bytes());
    // No model's name holds this byte, so that `ab` + `c` is not `a` + `bc`.
    hash.update([0xFF]);
    hash.update(prompt.as_bytes());
    hash.finalize().iter().take(8).fold(0, |digest, &byte| (digest << 8) | u64::from(byte))
}

/// The stand-in's answer to `prompt` as `model`.
///
/// It says that it is one, quotes the start of the prompt (white space drawn together) and ends with the digest of model and
/// prompt, so that no two prompts have the same answer. It is one line without a line end.
#[must_use]
pub fn answer(model: &str, prompt: &str) -> String {
    let digest = digest(model, prompt);
    let quote = quote(prompt);
    format!("{STANDIN_MARK} As {model} it read: “{quote}” – digest {digest:016x}.")
}

/// [`answer`], padded with words to `tokens` tokens; left as it is if it has as many already.
#[must_use]
pub fn answer_of_length(model: &str, prompt: &str, tokens: Option<u64>) -> String {
    let mut text = answer(model, prompt);
    if let Some(tokens) = tokens {
        let missing = tokens.saturating_sub(Tokenizer::for_model(model).count(&text));
        for (_, word) in (0..missing).zip(PADDING.iter().cycle()) {
            text.push_str(word);
        }
    }
    text
}

/// The longest start of `text` of at most `tokens` tokens that halving finds; never more tokens than that.
pub(in crate::standin) fn cut(text: &str, tokens: u64, tokenizer: Tokenizer) -> &str {
    if tokenizer.count(text) <= tokens {
        return text;
    }
    // `fits` bytes fit; `over` bytes do not.
    let (mut fits, mut over) = (0, text.len());
    while over - fits > 1 {
        let mut middle = fits + (over - fits) / 2;
        while !text.is_char_boundary(middle) {
            middle -= 1;
        }
        if middle == fits {
            break;
        }
        if tokenizer.count(&text[..middle]) <= tokens {
            fits = middle;
        } else {
            over = middle;
        }
    }
    &text[..fits]
}

fn quote(prompt: &str) -> String {
    let mut quote = String::with_capacity(QUOTED + 8);
    // Words, not characters: a prompt of a million bytes is not walked to its end.
    for word in prompt.split_whitespace() {
        if !quote.is_empty() {
            quote.push(' ');
        }
        quote.extend(word.chars().take(QUOTED + 1));
        if quote.chars().nth(QUOTED).is_some() {
            let end = quote.char_indices().nth(QUOTED).map_or(quote.len(), |(at, _)| at);
            quote.truncate(end);
            quote.push('…');
            break;
        }
    }
    quote
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_answer_says_what_it_is() {
        assert_eq!(
            answer("gpt-4o-mini", "Name three\n rivers.\n"),
            "This is the stand-in’s answer; no model was asked. As gpt-4o-mini it read: “Name three rivers.” – digest c7f09a24c88bd5cd."
        );
    }

    #[test]
    fn a_long_prompt_is_quoted_in_part() {
        let quoted = quote(&"ä".repeat(1_000_000));
        assert_eq!(quoted, format!("{}…", "ä".repeat(QUOTED)));
        assert_eq!(quote(&"ä".repeat(QUOTED)), "ä".repeat(QUOTED));
        assert_eq!(quote(" \n "), "");
    }

    #[test]
    fn prompts_that_start_alike_have_answers_of_their_own() {
        let long = "word ".repeat(100);
        assert_ne!(answer("m", &format!("{long}a")), answer("m", &format!("{long}b")));
        assert_ne!(answer("m", "a"), answer("m", "a\n"));
        assert_ne!(digest("ab", "c"), digest("a", "bc"));
    }

    #[test]
    fn padding_is_exact_and_never_cuts() {
        let tokenizer = Tokenizer::for_model("gpt-4o-mini");
        for tokens in [100, 137, 1_000] {
            assert_eq!(tokenizer.count(&answer_of_length("gpt-4o-mini", "Hello", Some(tokens))), tokens);
        }
        assert_eq!(answer_of_length("gpt-4o-mini", "Hello", Some(1)), answer("gpt-4o-mini", "Hello"));
    }

    proptest! {
        #[test]
        fn a_cut_is_a_start_within_its_tokens(prompt in "\\PC{0,80}", tokens in 0u64..60) {
            let tokenizer = Tokenizer::for_model("gpt-4o-mini");
            let whole = answer("gpt-4o-mini", &prompt);
            let part = cut(&whole, tokens, tokenizer);
            prop_assert!(whole.starts_with(part));
            prop_assert!(tokenizer.count(part) <= tokens);
            // Not much is lost: halving stops at a character that is longer than half of what is left, so that an end that does not fit lies
            // at most seven bytes further on, and a byte is at most one token.
            prop_assert!(part == whole || tokenizer.count(part) + 8 > tokens);
        }
    }
}
