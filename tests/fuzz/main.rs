//! Runs the checks of the fuzz targets over known texts, those that a target found among them, so that the targets cannot rot.

mod checks;

use proptest::prelude::*;

#[test]
fn durations() {
    for text in [
        "",
        "6m0s",
        "8.64s",
        "132ms",
        "6m 11.52s",
        "3µs",
        "1.5h",
        "0s",
        "20 seconds",
        "1795348810",
        "-1",
        "745h",
        "Sun, 22 Nov 2026 12:00:30 GMT",
    ] {
        checks::durations(text);
    }
}

#[test]
fn refusals() {
    for text in [
        "",
        "Rate limit reached for gpt-5.4 (for limit gpt-5.4-long) in organization org-X on tokens per min (TPM): Limit 500000, Used 442231, \
         Requested 249686. Please try again in 23.03s.",
        "Rate limit reached for m on requests per day (RPD): Limit 50, Used 50, Requested 1. Please try again in 28m48s.",
        "Request too large for m on tokens per min (TPM): Limit 30,000, Requested 31538.",
        "Rate limit exceeded for api_key: 88dc28d0. Limit type: tokens. Current limit: 1000, Remaining: 0. Limit resets at: x",
        "Rate limit reached for m on tokens per min. Limit: 10000 / min. Please try again in 6ms.",
        "Rate limit exceeded for api_key: 88dc28d0. Limit type: max_parallel_requests. Current limit: 2, Remaining: 0.",
        "This request would exceed your organization's rate limit of 30,000 input tokens per minute (org: x).",
    ] {
        checks::refusal(text);
    }
}

#[test]
fn limit_headers() {
    for text in [
        "",
        "x-ratelimit-limit-tokens: 10000\nx-ratelimit-remaining-tokens: 0\nx-ratelimit-reset-tokens: 6m0s",
        "x-ratelimit-limit-tokens_usage_based: 5\nx-ratelimit-limit-tokens: 6\nllm_provider-x-ratelimit-limit-tokens: 7",
        "x-ratelimit-limit-req-minute: 60\nx-ratelimit-limit-requests-day: 60\nx-ratelimit-limit-requests: 60",
        "ratelimit-policy: \"hour\";q=1000;w=3600, \"day\";q=5000;w=86400\nratelimit: \"day\";r=0;t=36000\nratelimit-limit: 5000",
        "x-ratelimit-limit: 10, 10;w=1;name=\"per-ip\", 1000;w=3600, 10;w=60\nx-ratelimit-limit-second: 10",
        "rate_limit_type: max_parallel_requests\nx-ratelimit-remaining-requests: 0",
    ] {
        checks::limit_headers(text);
    }
}

#[test]
fn usage_md() {
    let good = "tokens_within_min = 1\nrequests_within_min = 2\ntokens_within_day = 3\nminute_token_limit_reached = 0\n\
                day_token_limit_reached = 1\nDate = 2026-11-22\n";
    for text in
        ["", good, &good.replace('1', "-1"), &good.replace('\n', "\r\n"), "a\u{7}b = 1", "\0", &"=".repeat(1_000)]
    {
        checks::usage_md(text);
    }
}

#[test]
fn dotenv() {
    for text in [
        "",
        "OPENAI_API_KEY=sk-abc # mine",
        "\u{feff}export OPENAI_API_KEY=\"sk-abc\"",
        "OPENAI_API_KEY=sk-secret with words and much more than a key",
        "OPENAI_API_KEY='one\ntwo'",
        "OPENAI_API_KEY=$OTHER",
        "no line",
    ] {
        checks::dotenv(text);
    }
}

proptest! {
    #[test]
    fn any_text(text: String, value in "[0-9.hmsnuµ ]{0,12}") {
        checks::durations(&text);
        checks::durations(&value);
        checks::refusal(&text);
        checks::limit_headers(&text);
        checks::usage_md(&text);
        checks::dotenv(&text);
    }

    #[test]
    fn any_headers_of_limits(
        lines in prop::collection::vec(
            "(x-ratelimit-(limit|remaining|reset)(-(tokens|requests))?(-(second|minute|hour|day))?|ratelimit-(limit|remaining|reset)): ([0-9]{1,3}(, [0-9]{1,2};w=[0-9]{1,4}){0,2}|[0-9]{1,2}(ms|s|m))|\
             ratelimit(-policy)?: (\"?[ab]?\"?;(q|r)=[0-9]{1,2}(;[wt]=[0-9]{1,3})?,? ?){1,3}",
            0..12,
        ),
    ) {
        checks::limit_headers(&lines.join("\n"));
    }

    #[test]
    fn any_refusal(
        text in "(Limit: |limit|max|Used |Requested |on tokens per (min|day|hour|week): |concurrent|requests|TPM|RPD|current: |try again in |of |per |[0-9]{1,4}|, |\\. | |s){0,16}",
    ) {
        checks::refusal(&text);
    }
}
