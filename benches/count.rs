//! How long the tokenizer takes to load and to count 1 MB of texts, kind by kind: `cargo bench --bench count`.
//!
//! Prints, and fails nothing: the machine decides the time. The goal is under 100 ms for any text.

use std::time::{Duration, Instant};

use promptmill::count::Tokenizer;

const MB: usize = 1_000_000;
const GOAL: Duration = Duration::from_millis(100);

/// 1 MB of what `piece` makes.
fn megabyte(mut piece: impl FnMut(&mut fastrand::Rng, &mut String)) -> String {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut text = String::with_capacity(MB + 16);
    while text.len() < MB {
        piece(&mut rng, &mut text);
    }
    text
}

fn repeated(unit: &'static str) -> String {
    megabyte(|_, text| text.push_str(unit))
}

fn main() {
    const WORDS: [&str; 16] = [
        "the", "mill", "runs", "every", "prompt", "once", "and", "a", "window", "of", "tokens", "refills", "slowly",
        "while", "requests", "wait",
    ];
    const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    const PUNCTUATION: &[u8] = b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

    let texts = [
        (
            "prose",
            megabyte(|rng, text| {
                text.push_str(WORDS[rng.usize(..WORDS.len())]);
                text.push_str(if rng.u8(..12) == 0 { ". " } else { " " });
            }),
        ),
        ("base64", megabyte(|rng, text| text.push(char::from(BASE64[rng.usize(..BASE64.len())])))),
        ("lower-case letters", megabyte(|rng, text| text.push(rng.lowercase()))),
        ("random unicode", megabyte(|rng, text| text.push(rng.char(..)))),
        ("random basic plane", megabyte(|rng, text| text.push(rng.char(..'\u{ffff}')))),
        ("random CJK", megabyte(|rng, text| text.push(rng.char('\u{4e00}'..'\u{9fff}')))),
        (
            "random white space",
            megabyte(|rng, text| text.push(*rng.choice(&[' ', '\n', '\t', '\r', '\u{a0}']).unwrap_or(&' '))),
        ),
        ("spaces", repeated(" ")),
        ("newlines", repeated("\n")),
        ("space, newline", repeated(" \n")),
        ("a", repeated("a")),
        ("A", repeated("A")),
        ("ab", repeated("ab")),
        ("emoji", repeated("🎉")),
        ("=", repeated("=")),
        ("-", repeated("-")),
        (
            "79 dashes a line",
            repeated("-------------------------------------------------------------------------------\n"),
        ),
        (
            "| and 200 dashes",
            megabyte(|_, text| {
                text.push('|');
                text.extend(std::iter::repeat_n('-', 200));
            }),
        ),
        (
            "runs of punctuation",
            megabyte(|rng, text| {
                let one = rng.choice(PUNCTUATION).copied().unwrap_or(b'-');
                text.extend(std::iter::repeat_n(char::from(one), rng.usize(1..200)));
            }),
        ),
        (
            "short runs of punctuation",
            megabyte(|rng, text| {
                let one = rng.choice(PUNCTUATION).copied().unwrap_or(b'-');
                text.extend(std::iter::repeat_n(char::from(one), rng.usize(1..20)));
            }),
        ),
        ("dashes, one in 1000 a bar", megabyte(|rng, text| text.push(if rng.u16(..1_000) == 0 { '|' } else { '-' }))),
        ("spaces, one in 30 a tab", megabyte(|rng, text| text.push(if rng.u8(..30) == 0 { '\t' } else { ' ' }))),
        ("punctuation", megabyte(|rng, text| text.push(char::from(rng.choice(PUNCTUATION).copied().unwrap_or(b'-'))))),
        ("=-", repeated("=-")),
        ("- -", repeated("- -")),
        (
            "lines of dashes",
            megabyte(|rng, text| {
                text.extend(std::iter::repeat_n('-', rng.usize(20..200)));
                text.push('\n');
            }),
        ),
        (
            "lines of runs",
            megabyte(|rng, text| {
                for _ in 0..6 {
                    let one = rng.choice(PUNCTUATION).copied().unwrap_or(b'-');
                    text.extend(std::iter::repeat_n(char::from(one), rng.usize(1..20)));
                }
                text.push('\n');
            }),
        ),
        ("digits", megabyte(|rng, text| text.push(rng.digit(10)))),
    ];

    for (name, model) in [("o200k_base", "gpt-4o-mini"), ("cl100k_base", "gpt-4")] {
        let tokenizer = Tokenizer::for_model(model);
        let start = Instant::now();
        tokenizer.warm();
        println!("{name}: loaded in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
        for (kind, text) in &texts {
            let start = Instant::now();
            let tokens = tokenizer.count(text);
            let took = start.elapsed();
            let verdict = if took > GOAL { "  OVER the goal of 100 ms" } else { "" };
            println!("{name}: {:7.1} ms, {tokens:7} tokens, 1 MB of {kind}{verdict}", took.as_secs_f64() * 1e3);
        }
    }
}
