//! Counting exactly, in a time that repetition in a text cuts and does not blow up.
//!
//! The pre-tokenizer cuts a text into pieces, such as words, and each piece is encoded on its own. bpe-openai does both; this
//! module adds memory to it:
//!
//! - Short pieces come again and again in every text: a small table remembers their tokens.
//! - Long pieces are runs of one kind of character. bpe is slow on long runs of punctuation, such as a million dashes: many
//!   tokens are prefixes of each other there, and it tries them all at every byte. So long pieces are counted in windows, and
//!   equal windows are counted once.
//!
//! Why windows are exact: tokens are the encoding of a piece if and only if every two neighbours are the encoding of their own
//! bytes (the law that the bpe crate is built on). Two neighbouring windows share a token, so each pair of neighbours stands
//! in one window. Where two windows do not agree about the token they share, the piece is counted whole.
//!
//! Not bounded: 1 MB of long runs of one mark whose lengths never repeat, such as dashes with a `|` here and there at random, or
//! spaces with tabs. It takes as long as bpe takes, up to 1.2 s.

use std::collections::HashMap;

use bpe_openai::{Tokenizer, byte_pair_encoding::BytePairEncoding};

/// Pieces of so many bytes at most are remembered in the table of short pieces. One byte of its 16-byte keys holds the length.
const SHORT: usize = 15;

/// Pieces of more bytes are remembered one by one. Between this and [`SHORT`] stand long words, which hardly repeat.
const LONG: usize = 64;

/// Bytes of a window: many, beside the longest token's 128, so that little is counted twice; few, so that windows repeat.
const WINDOW: usize = 2_048;

/// Bytes at a window's end whose tokens are left to the next window, because what follows may change them.
const MARGIN: usize = 128;

/// Long pieces, and windows, that are remembered at most.
const REMEMBERED: usize = 4_096;

/// Entries of the table of short pieces, at most: 256 kB. A power of two, as all its sizes.
const SHORT_ENTRIES: usize = 8_192;

/// Tokens of `text`, those of `tokenizer.count(text)`.
pub(super) fn count(tokenizer: &Tokenizer, text: &str) -> usize {
    let mut counter = Counter::new(&tokenizer.bpe, text.len());
    tokenizer.split(text).map(|piece| counter.piece(piece.as_bytes())).sum()
}

/// A short piece, padded with zeros, and its length.
type Key = [u8; SHORT + 1];

/// What a window that is not the last of its piece adds.
#[derive(Clone, Copy)]
struct Window {
    /// Its first token, which the window before has counted.
    first: u32,
    /// The tokens that are kept, with the first and the last.
    kept: usize,
    /// The last that is kept: the first of the next window.
    last: u32,
    /// Where, in bytes from this window's start, the next one starts.
    next: usize,
}

struct Counter<'a> {
    bpe: &'a BytePairEncoding,
    /// Pieces of up to [`SHORT`] bytes and their tokens, each at the place its hash gives, where a newer one replaces it.
    short: Vec<(Key, usize)>,
    long: HashMap<&'a [u8], usize>,
    windows: HashMap<&'a [u8], Window>,
}

impl<'a> Counter<'a> {
    /// A counter for a text of `len` bytes. The table is small for a small text, which would not earn back its clearing.
    fn new(bpe: &'a BytePairEncoding, len: usize) -> Self {
        let entries = (len / 16).next_power_of_two().min(SHORT_ENTRIES);
        Self { bpe, short: vec![(Key::default(), 0); entries], long: HashMap::new(), windows: HashMap::new() }
    }

    fn piece(&mut self, piece: &'a [u8]) -> usize {
        match piece.len() {
            0..=SHORT => self.short(piece),
            len if len <= LONG => self.bpe.count(piece),
            len if len <= WINDOW => self.long(piece),
            _ => self.in_windows(piece).unwrap_or_else(|| self.bpe.count(piece)),
        }
    }

    fn short(&mut self, piece: &[u8]) -> usize {
        let mut key = Key::default();
        key[..piece.len()].copy_from_slice(piece);
        // The length keeps keys of different pieces apart, and from the zeros of an empty entry.
        key[SHORT] = piece.len().to_le_bytes()[0];
        let entry = hash(key) & (self.short.len() - 1);
        let (known, tokens) = self.short[entry];
        if known == key {
            return tokens;
        }
        let tokens = self.bpe.count(piece);
        self.short[entry] = (key, tokens);
        tokens
    }

    fn long(&mut self, piece: &'a [u8]) -> usize {
        if let Some(&tokens) = self.long.get(piece) {
            return tokens;
        }
        let tokens = self.bpe.count(piece);
        remember(&mut self.long, piece, tokens);
        tokens
    }

    /// Tokens of `piece`, or nothing where two windows do not agree about the token they share.
    fn in_windows(&mut self, piece: &'a [u8]) -> Option<usize> {
        let (mut start, mut counted, mut shared) = (0, 0, None);
        while piece.len() - start > WINDOW {
            let window = self.window(&piece[start..start + WINDOW])?;
            if shared.is_some_and(|token| token != window.first) {
                return None;
            }
            // The shared token is counted by the window that starts with it.
            counted += window.kept - 1;
            start += window.next;
            shared = Some(window.last);
        }
        let tokens = self.bpe.encode_via_backtracking(&piece[start..]);
        if shared.is_some_and(|token| tokens.first() != Some(&token)) {
            return None;
        }
        Some(counted + tokens.len())
    }

    fn window(&mut self, bytes: &'a [u8]) -> Option<Window> {
        if let Some(&window) = self.windows.get(bytes) {
            return Some(window);
        }
        let tokens = self.bpe.encode_via_backtracking(bytes);
        let (mut kept, mut end) = (0, 0);
        for &token in &tokens {
            let len = self.bpe.token_len(token);
            if end + len > bytes.len() - MARGIN {
                break;
            }
            end += len;
            kept += 1;
        }
        let last = tokens[..kept].last().copied()?;
        let next = end - self.bpe.token_len(last);
        if next == 0 {
            return None;
        }
        let window = Window { first: *tokens.first()?, kept, last, next };
        remember(&mut self.windows, bytes, window);
        Some(window)
    }
}

fn remember<'a, T>(counts: &mut HashMap<&'a [u8], T>, bytes: &'a [u8], count: T) {
    if counts.len() < REMEMBERED {
        counts.insert(bytes, count);
    }
}

/// The 20 highest bits of a product, which depend on all bits of the key. The factor is 2^128 over the golden ratio.
fn hash(key: Key) -> usize {
    const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    (u128::from_le_bytes(key).wrapping_mul(FACTOR) >> 108) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokenizers() -> [(&'static str, &'static Tokenizer); 2] {
        [("o200k_base", bpe_openai::o200k_base()), ("cl100k_base", bpe_openai::cl100k_base())]
    }

    /// Texts whose pieces are longer than a window.
    const LONG_UNITS: [&str; 24] = [
        "=", "-", "*", "#", "_", ".", "~", "/", " ", "\n", "\t", "a", "A", "ab", "é", "中", "🎉", "=-", "-=-", "|---",
        "\r\n", "\u{301}", "Ã", "====|",
    ];

    #[test]
    fn long_runs_count_as_in_bpe_at_every_length() {
        for (name, tokenizer) in tokenizers() {
            for unit in LONG_UNITS {
                for tail in ["", "|", "x", " x", "\n"] {
                    for len in [WINDOW - 1, WINDOW, WINDOW + 1, WINDOW + MARGIN, 2 * WINDOW + 77, 20_000] {
                        let text = unit.repeat(len / unit.len()) + tail;
                        assert_eq!(count(tokenizer, &text), tokenizer.count(&text), "{name} {unit:?} {tail:?} {len}");
                    }
                }
            }
        }
    }

    #[test]
    fn windows_agree_about_long_runs() {
        for (name, tokenizer) in tokenizers() {
            for unit in LONG_UNITS {
                let piece = unit.repeat(20_000 / unit.len());
                let mut counter = Counter::new(&tokenizer.bpe, piece.len());
                let tokens = counter.in_windows(piece.as_bytes());
                assert_eq!(tokens, Some(tokenizer.bpe.count(piece.as_bytes())), "{name} {unit:?}");
                assert!(counter.windows.len() < 9, "{name} {unit:?}: {} windows differ", counter.windows.len());
            }
        }
    }

    #[test]
    fn windows_that_disagree_are_not_counted() {
        let tokenizer = bpe_openai::o200k_base();
        let piece = "-".repeat(3 * WINDOW);
        let mut counter = Counter::new(&tokenizer.bpe, piece.len());
        let window = counter.window(&piece.as_bytes()[..WINDOW]).unwrap();
        counter.windows.insert(&piece.as_bytes()[..WINDOW], Window { last: window.last + 1, ..window });
        assert_eq!(counter.in_windows(piece.as_bytes()), None);
        assert_eq!(counter.piece(piece.as_bytes()), tokenizer.count(&piece));
    }

    #[test]
    fn pieces_that_differ_in_length_alone_are_told_apart() {
        let tokenizer = bpe_openai::o200k_base();
        // One entry, so that all pieces meet in it.
        let mut counter = Counter::new(&tokenizer.bpe, 0);
        for piece in ["\0", "\0\0", "\0\0\0\0\0\0\0", "a", "a\0", "a", "-", "-\0\0\0\0\0\0\0\0\0\0\0\0\0\0"] {
            assert_eq!(counter.piece(piece.as_bytes()), tokenizer.bpe.count(piece.as_bytes()), "{piece:?}");
        }
    }

    /// Runs of punctuation of all lengths, which are one piece of up to 20,000 bytes, and sometimes something between them.
    fn runs() -> impl Strategy<Value = String> {
        let run = (prop_oneof!["[=|*#_.~/-]", "[!-/:-@\\[-`{-~]", "-=", "\\|-", " -", "\\PC"], 1_usize..=3_000);
        let run = run.prop_map(|(unit, times)| unit.repeat(times));
        let short = "[=|-]{1,300}";
        let words = prop_oneof!["[a-z]{1,3000}", "[ \n\t]{1,3000}", "[A-Za-z0-9+/]{1,3000}", "\\PC{1,300}"];
        prop::collection::vec(prop_oneof![4 => run, 4 => short, 1 => words], 1..12).prop_map(|runs| {
            let mut text = runs.concat();
            let end = text.floor_char_boundary(20_000);
            text.truncate(end);
            text
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn runs_count_as_in_bpe(text in runs()) {
            for (name, tokenizer) in tokenizers() {
                prop_assert_eq!(count(tokenizer, &text), tokenizer.count(&text), "{}", name);
            }
        }

        #[test]
        fn repeated_runs_count_as_in_bpe(unit in "[=|*#_./-]{1,300}", times in 1_usize..60) {
            let text = unit.repeat(times);
            for (name, tokenizer) in tokenizers() {
                prop_assert_eq!(count(tokenizer, &text), tokenizer.count(&text), "{}", name);
            }
        }
    }
}
