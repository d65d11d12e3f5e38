//! What tokens cost, by the price table that `genai-prices` bundles.
//!
//! Standard prices, all input at the uncached rate: what a request costs at most. Discounts for cached input, batches and `flex`
//! are not taken off, and the surcharge for `priority` and for regional processing is not put on.
//!
//! The table is decoded on first use, some 50 ms of CPU; a run that shows no costs never touches it.

use chrono::{DateTime, Utc};
use genai_prices::{Calculator, ErrorKind, PriceRequest, UsageKey};

use crate::model::Usage;

/// The day of the bundled price table, for messages. The crate does not tell it: it is the day on which, by the `price_comments` in
/// `data/prices.json` of genai-prices 0.2.1, the `OpenAI` rates were last verified as a whole. A test fails when the crate changes.
pub const TABLE_DATE: &str = "2026-10-14";

/// Input tokens up to which every model of the table has one rate. The least start of a long-context rate there is 32,000
/// tokens (on `OpenRouter`); `OpenAI`'s is 272,000.
const ONE_RATE_UP_TO: u64 = 32_000;

/// Tokens by which the rates are looked up; a power of two, so that dividing by it loses nothing.
const SAMPLE: u64 = 1 << 14;

/// The prices of one model at one moment, looked up once for many requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    model: String,
    /// `None` where the address belongs to no provider of the table.
    base_url: Option<String>,
    at: DateTime<Utc>,
    /// US dollars per token, for requests of up to `ONE_RATE_UP_TO` input tokens.
    input_per_token: f64,
    output_per_token: f64,
}

impl Price {
    /// The prices of `model` at the provider behind `base_url` at the time `at`; `None` where the table has no such model.
    ///
    /// An address that belongs to no provider of the table (a proxy, a gateway, this machine) leaves the model's name to tell
    /// the provider: `gpt-4o` and `openai/gpt-4o` have `OpenAI`'s prices there.
    #[must_use]
    pub fn look_up(model: &str, base_url: &str, at: DateTime<Utc>) -> Option<Self> {
        let input = Usage { input_tokens: SAMPLE, output_tokens: 0, ..Usage::default() };
        let output = Usage { input_tokens: 0, output_tokens: SAMPLE, ..Usage::default() };
        let (base_url, input_cost) = match calculate(model, Some(base_url), at, input) {
            Err(ErrorKind::ProviderNotFound) => (None, calculate(model, None, at, input).ok()?),
            found => (Some(base_url), found.ok()?),
        };
        let output_cost = calculate(model, base_url, at, output).ok()?;
        Some(Self {
            model: model.to_owned(),
            base_url: base_url.map(str::to_owned),
            at,
            input_per_token: input_cost / float(SAMPLE),
            output_per_token: output_cost / float(SAMPLE),
        })
    }

    /// What one request costs, in US dollars. Where its input is long enough for a dearer rate, the whole request has that rate, so
    /// the costs of requests add up and their tokens do not.
    #[must_use]
    pub fn cost_usd(&self, request: Usage) -> f64 {
        let one_rate =
            float(request.input_tokens) * self.input_per_token + float(request.output_tokens) * self.output_per_token;
        if request.input_tokens <= ONE_RATE_UP_TO {
            return one_rate;
        }
        // The table answers for any usage of a model that it has; the rates at hand are the nearest thing if it ever did not.
        calculate(&self.model, self.base_url.as_deref(), self.at, request).unwrap_or(one_rate)
    }
}

fn calculate(model: &str, base_url: Option<&str>, at: DateTime<Utc>, usage: Usage) -> Result<f64, ErrorKind> {
    let usage = genai_prices::Usage::from([
        (UsageKey::INPUT_TOKENS, float(usage.input_tokens)),
        (UsageKey::OUTPUT_TOKENS, float(usage.output_tokens)),
    ]);
    let request = PriceRequest::new(model, &usage).with_timestamp(at);
    let request = match base_url {
        Some(base_url) => request.with_provider_api_url(base_url),
        // The table's word for a proxy: the provider is what stands before the slash, or else whoever has such names.
        None => request.with_provider_id("litellm"),
    };
    Calculator::bundled().calculate(&request).map(|price| price.total_price).map_err(|error| error.kind())
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 tokens, which cost billions of dollars")]
fn float(tokens: u64) -> f64 {
    tokens as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPENAI: &str = "https://api.openai.com/v1";
    const MILLION: u64 = 1_000_000;

    fn cost_usd(model: &str, base_url: &str, usage: Usage, at: DateTime<Utc>) -> Option<f64> {
        Price::look_up(model, base_url, at).map(|price| price.cost_usd(usage))
    }

    fn day(date: &str) -> DateTime<Utc> {
        format!("{date}T12:00:00Z").parse().unwrap()
    }

    fn assert_cost(found: Option<f64>, dollars: f64, what: &str) {
        let found = found.unwrap_or_else(|| panic!("{what}: no price"));
        assert!((found - dollars).abs() < 1e-9, "{what}: {found} instead of {dollars}");
    }

    #[test]
    fn models_have_the_prices_that_openai_publishes() {
        // US dollars per million tokens of input and output.
        for (model, input, output) in [
            ("gpt-4o-mini", 0.15, 0.6),
            ("gpt-4o-mini-2024-07-18", 0.15, 0.6),
            ("gpt-4o", 2.5, 10.0),
            ("gpt-4.1", 2.0, 8.0),
            ("gpt-4.1-mini", 0.4, 1.6),
            ("gpt-4.1-nano", 0.1, 0.4),
            ("gpt-5", 1.25, 10.0),
            ("gpt-5-mini", 0.25, 2.0),
            ("gpt-5-nano", 0.05, 0.4),
            ("gpt-5.2", 1.75, 14.0),
            ("gpt-5.4", 2.5, 15.0),
            ("gpt-5.5", 5.0, 30.0),
            ("gpt-5.6-sol", 4.0, 20.0),
            ("gpt-6-astra", 10.0, 50.0),
            ("gpt-6-sol", 2.0, 10.0),
            ("gpt-6-luna", 0.1, 0.5),
            ("gpt-6.1-sol", 2.0, 10.0),
            ("gpt-6.1-terra", 1.0, 5.0),
            ("o3", 2.0, 8.0),
            ("o4-mini", 1.1, 4.4),
            ("text-embedding-3-small", 0.02, 0.0),
        ] {
            let price = Price::look_up(model, OPENAI, day("2026-11-22")).unwrap_or_else(|| panic!("{model}"));
            let million_of_small_requests = |input_tokens, output_tokens| {
                let thousand = price.cost_usd(Usage { input_tokens, output_tokens, ..Usage::default() });
                thousand * 1000.0
            };
            assert_cost(Some(million_of_small_requests(1000, 0)), input, model);
            assert_cost(Some(million_of_small_requests(0, 1000)), output, model);
            assert_cost(Some(million_of_small_requests(1000, 1000)), input + output, model);
        }
    }

    #[test]
    fn long_context_makes_the_whole_request_dearer() {
        for (input_tokens, dollars) in
            [(272_000, 0.272 * 2.0 + 10.0), (272_001, 0.272_001 * 4.0 + 15.0), (MILLION, 4.0 + 15.0)]
        {
            let usage = Usage { input_tokens, output_tokens: MILLION, ..Usage::default() };
            assert_cost(cost_usd("gpt-6.1-sol", OPENAI, usage, day("2026-11-22")), dollars, &input_tokens.to_string());
        }
    }

    #[test]
    fn prices_are_those_of_the_day() {
        let usage = Usage { input_tokens: 1000, output_tokens: 1000, ..Usage::default() };
        assert_cost(cost_usd("gpt-5.6-sol", OPENAI, usage, day("2026-08-20")), 0.035, "before the promotion");
        assert_cost(cost_usd("gpt-5.6-sol", OPENAI, usage, day("2026-08-22")), 0.024, "after its start");
    }

    #[test]
    fn the_address_tells_the_provider_and_else_the_name_does() {
        let usage = Usage { input_tokens: 1000, output_tokens: 0, ..Usage::default() };
        for (model, base_url, dollars) in [
            ("gpt-4o", OPENAI, Some(0.0025)),
            ("gpt-4o", "https://mine.openai.azure.com/openai/v1", Some(0.0025)),
            ("openai/gpt-4o", "https://openrouter.ai/api/v1", Some(0.0025)),
            ("gpt-4o", "http://127.0.0.1:8000/v1", Some(0.0025)),
            ("openai/gpt-4o", "http://127.0.0.1:8000/v1", Some(0.0025)),
            ("gpt-4o", "", Some(0.0025)),
            ("llama-3.3-70b-versatile", "https://api.groq.com/openai/v1", Some(0.000_59)),
            ("llama-3.3-70b-versatile", "http://127.0.0.1:8000/v1", None),
            ("no-such-model", OPENAI, None),
            ("gpt-4o", "https://api.groq.com/openai/v1", None),
            ("", OPENAI, None),
        ] {
            let found = cost_usd(model, base_url, usage, day("2026-11-22"));
            match dollars {
                Some(dollars) => assert_cost(found, dollars, &format!("{model} at {base_url}")),
                None => assert_eq!(found, None, "{model} at {base_url}"),
            }
        }
    }

    #[test]
    fn the_date_of_the_table_is_that_of_the_crate_in_use() {
        let lock = include_str!("../../Cargo.lock").replace("\r\n", "\n");
        assert!(
            lock.contains("name = \"genai-prices\"\nversion = \"0.2.1\"\n"),
            "genai-prices has changed: set TABLE_DATE by the verification dates in its data/prices.json, \
             and ONE_RATE_UP_TO by the least `start` of its tiers"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn the_rates_agree_with_the_table(
            model in prop_oneof![Just("gpt-4o-mini"), Just("gpt-5.5"), Just("gpt-6.1-sol"), Just("text-embedding-3-small")],
            input_tokens in prop_oneof![0..=ONE_RATE_UP_TO, 0..=400_000_u64],
            output_tokens in 0..=200_000_u64,
        ) {
            let usage = Usage { input_tokens, output_tokens, ..Usage::default() };
            let at = day("2026-11-22");
            let table = calculate(model, Some(OPENAI), at, usage).unwrap();
            let ours = cost_usd(model, OPENAI, usage, at).unwrap();
            prop_assert!((ours - table).abs() < 1e-9, "{ours} instead of {table}");
        }
    }
}
