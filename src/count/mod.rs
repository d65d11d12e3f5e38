//! How many tokens a request takes, counted offline before anything is sent.
//!
//! Law: the count of plain text is the count of tiktoken, or more; never less. What surrounds the text (roles, framing) follows
//! `OpenAI`'s published formula, which `OpenAI` calls an estimate. Not counted: tools, images, JSON schemas and other members that
//! a template's `extra` puts into the body; the settled usage of the answer corrects for them.
//!
//! Counting is pure CPU work, linear in the text. 1 MB takes some 15 ms if it is prose or one character repeated, 80 to 130 ms
//! if base64, 110 to 160 ms if random letters. The worst text known takes 1.2 s: long runs of one mark whose lengths never repeat (see `pieces`).
//! The first count loads the tables (see [`Tokenizer::warm`]).

pub mod overhead;
mod pieces;
pub mod tokenizer;
pub mod window;

pub use tokenizer::{Encoding, Tokenizer};
pub use window::{LARGEST_WINDOW, context_window};

use crate::model::RequestTemplate;

/// Counts the input tokens of every request of a run. The tokens that all of them share are counted once, here.
#[derive(Clone, Copy, Debug)]
pub struct RequestCounter {
    tokenizer: Tokenizer,
    /// Tokens of a request whose prompt is empty.
    fixed: u64,
}

impl RequestCounter {
    /// Counts what all requests of `template` share. Loads the tokenizer's tables: tens of milliseconds of CPU the first time.
    #[must_use]
    pub fn new(template: &RequestTemplate) -> Self {
        let tokenizer = Tokenizer::for_model(&template.model);
        let system = template.system.as_deref().map(|text| ("system", text));
        // `/responses` frames messages as `/chat/completions` does. There OpenAI's own example ("Tell me a joke." to gpt-5) takes
        // one token less than the formula gives; the formula stays, because a token too many is the safe side.
        let messages = system.into_iter().chain([("user", "")]);
        let fixed = overhead::chat_tokens(messages, |text| tokenizer.count(text));
        Self { tokenizer, fixed }
    }

    /// The tokenizer that counts.
    #[must_use]
    pub fn tokenizer(&self) -> Tokenizer {
        self.tokenizer
    }

    /// Tokens of the request that carries `prompt`: system message, prompt and framing.
    #[must_use]
    pub fn input_tokens(&self, prompt: &str) -> u64 {
        self.fixed.saturating_add(self.tokenizer.count(prompt))
    }
}

/// The name that `OpenAI` gave the model: `gpt-4o` of `openai/gpt-4o`, `ft:gpt-4o:org::id` or `gpt-4o:free`.
///
/// Routers put the provider in front (`azure/`, `accounts/fireworks/models/`) and a variant behind (`:free`). An Azure
/// deployment has any name that its owner likes, and stays unknown unless it is the model's own.
fn base_model(model: &str) -> &str {
    let name = model.trim();
    // A fine-tune may stand behind a provider, but what follows its base model is the owner's text, slashes included.
    let name = match name.find("ft:") {
        Some(at) if at == 0 || name[..at].ends_with('/') => &name[at + "ft:".len()..],
        _ => name,
    };
    let name = name.split(':').next().unwrap_or(name);
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Api;

    #[test]
    fn base_model_drops_providers_fine_tunes_and_variants() {
        for (model, base) in [
            ("gpt-4o", "gpt-4o"),
            (" gpt-4o ", "gpt-4o"),
            ("openai/gpt-4o", "gpt-4o"),
            ("openrouter/openai/gpt-4o:free", "gpt-4o"),
            ("azure/gpt-4o", "gpt-4o"),
            ("accounts/fireworks/models/gpt-oss-120b", "gpt-oss-120b"),
            ("ft:gpt-4o-mini-2024-07-18:org:with/slash:id", "gpt-4o-mini-2024-07-18"),
            ("openai/ft:gpt-4.1:org::id", "gpt-4.1"),
            ("draft:v2", "draft"),
            ("", ""),
            ("/", ""),
            ("ft:", ""),
        ] {
            assert_eq!(base_model(model), base, "{model:?}");
        }
    }

    /// Worked by hand from the formula; the last is an example of `/responses/input_tokens`, where the API says 11.
    #[test]
    fn requests_take_the_tokens_of_the_formula() {
        for (model, api, system, prompt, tokens) in [
            ("gpt-4o-mini", Api::Chat, Some("You are a helpful assistant."), "Hello!", 19),
            ("gpt-4o-mini", Api::Chat, None, "Hello!", 9),
            ("gpt-5", Api::Responses, None, "Tell me a joke.", 11 + 1),
        ] {
            let mut template = RequestTemplate::new(api, model);
            template.system = system.map(str::to_owned);
            assert_eq!(RequestCounter::new(&template).input_tokens(prompt), tokens, "{model} {prompt:?}");
        }
    }

    #[test]
    fn the_same_request_is_counted_alike_with_and_without_the_precomputed_part() {
        let mut template = RequestTemplate::new(Api::Chat, "gpt-4");
        template.system = Some("Answer in one word.\n".to_owned());
        let counter = RequestCounter::new(&template);
        for prompt in ["", " ", "What is the capital of France?", "日本語 🎉\r\n\r\n  x"] {
            let messages = [("system", "Answer in one word.\n"), ("user", prompt)];
            let whole = overhead::chat_tokens(messages.into_iter(), |text| counter.tokenizer().count(text));
            assert_eq!(counter.input_tokens(prompt), whole, "{prompt:?}");
        }
    }
}
