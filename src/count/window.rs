//! How many tokens fit into a model's context.
//!
//! tiktoken-rs holds the table, with two faults that are mended here: it answers for names it does not know, and for some
//! models too little. Too little is the harmful side, since a prompt that would fit is then refused; one that does not fit is refused
//! by the API, which bills nothing for it.

use tiktoken_rs::{model::get_context_size, tokenizer::get_tokenizer};

use super::base_model;

/// Families, by the start of their names, for which tiktoken-rs 0.12.1 gives less than the price table of genai-prices 0.2.1. That
/// table says 1,000,000 for gpt-5.5; it stands here with its neighbours gpt-5.4 and gpt-5.6, on the harmless side.
const LARGER: [(&str, u64); 4] =
    [("gpt-4-turbo", 128_000), ("gpt-4-vision", 128_000), ("gpt-5.5", 1_050_000), ("gpt-5.6", 1_050_000)];

/// No model that is not known has a larger window, by far.
pub const LARGEST_WINDOW: u64 = 10_000_000;

/// Tokens that input and output of one request to `model` may have together; `None` where the model is not known.
#[must_use]
pub fn context_window(model: &str) -> Option<u64> {
    let name = base_model(model);
    // The table goes by the start of a name alone ("adapter-7b" would be "ada"), so it is asked only about names whose encoding
    // is known, which is stricter. gpt-6 has a window there, and no encoding yet.
    let gpt_6 = name.strip_prefix("gpt-6").is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']));
    if !gpt_6 && get_tokenizer(name).is_none() {
        return None;
    }
    let larger = LARGER.iter().find(|(family, _)| name.starts_with(family)).map(|&(_, window)| window);
    larger.or_else(|| get_context_size(name).map(|window| window as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_have_their_windows() {
        for (model, window) in [
            ("gpt-4o-mini", Some(128_000)),
            ("openai/gpt-4o", Some(128_000)),
            ("ft:gpt-4o-mini-2024-07-18:org::id", Some(128_000)),
            ("gpt-4.1", Some(1_047_576)),
            ("gpt-4.1-nano-2025-04-14", Some(1_047_576)),
            ("gpt-4", Some(8_192)),
            ("gpt-4-turbo", Some(128_000)),
            ("gpt-4-turbo-2024-04-09", Some(128_000)),
            ("gpt-3.5-turbo", Some(16_385)),
            ("gpt-5", Some(400_000)),
            ("gpt-5-mini", Some(400_000)),
            ("gpt-5.4-mini", Some(400_000)),
            ("gpt-5.4", Some(1_050_000)),
            ("gpt-5.6-sol", Some(1_050_000)),
            ("gpt-6-sol", Some(1_050_000)),
            ("gpt-6.1-terra", Some(1_050_000)),
            ("o3", Some(200_000)),
            ("gpt-oss-120b", Some(131_072)),
            ("adapter-7b", None),
            ("o3000", None),
            ("gpt-60", None),
            ("gpt-4x", None),
            ("curie-like", None),
            ("anthropic/claude-sonnet-5", None),
            ("azure/my-deployment", None),
            ("", None),
        ] {
            assert_eq!(context_window(model), window, "{model:?}");
        }
    }

    #[test]
    fn no_window_is_smaller_than_in_the_price_table() {
        let openai = genai_prices::Calculator::bundled().find_provider(Some("openai"), None).unwrap().unwrap();
        let mut compared = 0;
        for model in openai.models() {
            if let (Some(ours), Some(theirs)) = (context_window(model.id()), model.context_window()) {
                assert!(ours >= theirs, "{}: {ours} < {theirs}", model.id());
                compared += 1;
            }
        }
        assert!(compared >= 30, "only {compared} models compared");
    }
}
