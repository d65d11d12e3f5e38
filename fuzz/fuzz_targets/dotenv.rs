//! See `dotenv` in `tests/fuzz/checks.rs`.
#![no_main]

#[path = "../../tests/fuzz/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|text: &str| checks::dotenv(text));
