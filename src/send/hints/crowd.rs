//! Refusals for too many requests at once, in the words of servers that bound what is in flight and not how often it comes.
//!
//! The words are those of real refusals, which the tests hold. "Too many requests" is none: most servers say that of a rate. Nor is "overloaded": it is
//! said of all that everyone sends.

use http::HeaderMap;

use super::count;

/// So many characters of a text are looked at: what refuses says so at its beginning, and a page may have megabytes.
const READ_LIMIT: usize = 2_000;

/// A larger number is no bound: whoever takes so many at once refuses none.
const LARGEST: u64 = 1_000_000;

/// From here on a sentence advises. "Please reduce your concurrency" is said of rates as well.
const ADVICE: [&str; 14] = [
    "please", "try", "retry", "wait", "reduce", "lower", "decrease", "adjust", "consider", "avoid", "fewer", "contact",
    "upgrade", "if",
];

/// Parts of words that name what is done at one time.
const AT_ONCE: [&str; 4] = ["concurren", "simultaneous", "inflight", "并发"];

/// Words that do so one behind the other; of those between which a `|` stands, one is enough.
const TOGETHER: [&[&str]; 8] = [
    &["parallel", "request|requests|call|calls|connection|connections"],
    &["in", "parallel|flight"],
    &["pending|active", "requests"],
    &["queue", "full"],
    &["queue", "is", "full"],
    &["many", "connections"],
    &["same", "time"],
    &["at", "a", "time"],
];

/// What is said of slots that are all taken.
const TAKEN: [&str; 8] = ["no", "all", "busy", "full", "available", "unavailable", "occupied", "use"];

/// What says it as a sentence of its own: Zhipu's code for it, whose message speaks of a rate, and the message of Hugging Face's TGI when its
/// `max_concurrent_requests` are reached.
const SENTENCES: [&str; 2] = ["1302", "model is overloaded"];

/// What stands before the number of a bound.
const BOUND: [&str; 11] =
    ["limit", "max", "maximum", "most", "allowed", "allows", "allow", "only", "capacity", "cap", "than"];

/// What stands behind a number of something else.
const OF_ELSE: [&str; 13] =
    ["rpm", "tpm", "token", "tokens", "s", "sec", "second", "seconds", "ms", "minute", "minutes", "times", "attempts"];

/// What stands behind the `per` of a rate.
const OF_TIME: [&str; 7] = ["s", "sec", "second", "min", "minute", "hour", "day"];

/// That too many requests were under way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crowd {
    /// How many may be; `None` where that is not told.
    pub(super) most: Option<u64>,
}

/// That a response with these `headers` and `words` was refused because too many requests were under way; `None` where they do not say so.
pub(super) fn read(headers: &HeaderMap, words: &str) -> Option<Crowd> {
    let text = words.chars().take(READ_LIMIT).collect::<String>().to_lowercase();
    let sentences: Vec<&str> = sentences(&text).into_iter().map(statement).collect();
    let said = sentences.iter().position(|sentence| says_so(sentence));
    // litellm says in a header what its limit counts: the texts of all its limits are alike.
    let counted = headers.get("rate_limit_type").and_then(|value| value.to_str().ok());
    if !counted.map_or(said.is_some(), says_so) {
        return None;
    }
    // The number stands beside the words, or in the sentence behind them.
    let most = sentences.iter().skip(said.unwrap_or(0)).take(2).find_map(|sentence| bound(sentence));
    Some(Crowd { most })
}

/// The sentences and lines of `text`.
fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut from = 0;
    for (at, c) in text.char_indices() {
        let after = at + c.len_utf8();
        // `gpt-5.4` and `1.5s` go on.
        let ends = matches!(c, '\n' | ';' | '。')
            || matches!(c, '.' | '!' | '?') && text[after..].chars().next().is_none_or(char::is_whitespace);
        if ends {
            found.push(text[from..at].trim());
            from = after;
        }
    }
    found.push(text[from..].trim());
    found
}

/// What a sentence states, without what it advises.
fn statement(sentence: &str) -> &str {
    let advice = words(sentence).find(|(_, word)| ADVICE.contains(word) || word.starts_with('请'));
    advice.map_or(sentence, |(at, _)| &sentence[..at])
}

/// The words of `text` and where they stand; `_` and `-` part words.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let parts = |c: char| !c.is_alphanumeric();
    let mut from = 0;
    let placed = text.split_inclusive(parts).map(move |piece| {
        let at = from;
        from += piece.len();
        (at, piece.trim_end_matches(parts))
    });
    placed.filter(|(_, word)| !word.is_empty())
}

/// Whether `sentence` (lower case) says that too many are under way.
fn says_so(sentence: &str) -> bool {
    let words: Vec<&str> = words(sentence).map(|(_, word)| word).collect();
    let has = |names: &[&str]| words.iter().any(|word| names.contains(word));
    // A list of all its limits, as litellm's first limiter gives it, does not say which one refused.
    if has(&["rpm", "tpm"]) {
        return false;
    }
    let together = |row: &&[&str]| {
        words
            .windows(row.len())
            .any(|words| words.iter().zip(*row).all(|(word, names)| names.split('|').any(|name| name == *word)))
    };
    AT_ONCE.iter().any(|part| words.iter().any(|word| word.contains(part)))
        || TOGETHER.iter().any(together)
        || has(&["slot", "slots"]) && has(&TAKEN)
        || SENTENCES.contains(&sentence)
}

/// The bound that `sentence` (lower case) names: `limit: 2`, `maximum of 2`, `concurrency limit of 39`; not how many are under way.
fn bound(sentence: &str) -> Option<u64> {
    let mut from = 0;
    for (at, _) in words(sentence).filter(|(_, word)| word.starts_with(|c: char| c.is_ascii_digit())) {
        // The thousands of the number before.
        if at < from {
            continue;
        }
        let Some((number, rest)) = count(&sentence[at..]) else { continue };
        let label = sentence[from..at].rsplit([',', ';']).next().unwrap_or_default();
        from = sentence.len() - rest.len();
        // `gpt-5`, `-1`, `1.5`, `88dc28d0`.
        if label.ends_with(['-', '.', '_', '/']) || rest.starts_with(|c: char| c.is_alphanumeric()) {
            continue;
        }
        if labels_bound(label, rest) && (1..=LARGEST).contains(&number) {
            return Some(number);
        }
    }
    None
}

/// Whether a number between `label` and `rest` is a bound.
fn labels_bound(label: &str, rest: &str) -> bool {
    let before: Vec<&str> = words(label).map(|(_, word)| word).collect();
    let after: Vec<&str> = words(rest).map(|(_, word)| word).take(3).collect();
    let next = after.first().copied().unwrap_or_default();
    let of_slots = next.starts_with("slot") && before.last() == Some(&"all");
    // GitHub's limit of "2 per 0s" is one of requests at a time.
    let is_time =
        |word: &str| OF_TIME.contains(&word) || word != "0s" && word.starts_with(|c: char| c.is_ascii_digit());
    let of_rate = after.windows(2).any(|pair| pair[0] == "per" && is_time(pair[1]));
    let of_else = of_rate || OF_ELSE.contains(&next);
    // "current max_parallel_requests: 3" is how many there are.
    let of_now = before.first() == Some(&"current") && !before.contains(&"limit");
    of_slots || before.iter().any(|word| BOUND.contains(word)) && !of_else && !of_now && !before.contains(&"tokens")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Real refusals, in the words of their servers, and the bounds that they name.
    #[test]
    fn every_form_of_too_many_at_once() {
        let table: &[(&str, Option<u64>)] = &[
            // litellm 1.110, its second limiter and what its first one says of all keys together.
            (
                "Rate limit exceeded for api_key: 88dc28d0. Limit type: max_parallel_requests. Current limit: 2, Remaining: 0. Limit resets at: \
                 2026-11-29 21:01:00 UTC",
                Some(2),
            ),
            ("Max parallel request limit reached Hit Global Limit: Limit=5, current: 7", Some(5)),
            // github.com/QwenLM/qwen-code/issues/3409, generalbots/generalbots/issues/1393, Wei-Shaw/claude-relay-service/pull/773
            ("Too many concurrent requests for this model", None),
            (
                "Too many concurrent requests for this client. Retry after 10 seconds.\nconcurrent_request_limit_exceeded\nrate_limit_error",
                None,
            ),
            ("Too many concurrent requests. Limit: 1 concurrent requests", Some(1)),
            // Moonshot: LLM-Red-Team/kimi-cc/issues/16
            (
                "Your account org-e664b178c0f74d818f6b62f87efa49f7<ak-f3t8pfk16fki11gzh6i1> request reached max organization concurrency: 1, please \
                 try again after 1 seconds\nrate_limit_reached_error",
                Some(1),
            ),
            // DeepSeek: tarigelamin1997/jobfetcher/pull/42, wangyingsm/dr-strange/pull/17
            (
                "Your current concurrency is 40, which exceeds your concurrency limit of 39 based on your remaining balance. Please top up your \
                 balance to restore your concurrency.",
                Some(39),
            ),
            (
                "Too many requests. Your current concurrency is 5, which exceeds your concurrency limit of 5 based on your remaining balance.",
                Some(5),
            ),
            // Anthropic: anthropics/anthropic-sdk-python/issues/496
            (
                "Number of concurrent connections has exceeded your rate limit. Please try again later or contact sales at \
                 https://www.anthropic.com/contact-sales to discuss your options for a rate limit increase.",
                None,
            ),
            // Wei-Shaw/sub2api/issues/435; CoreWeave's, Scaleway's and ElevenLabs' pages on their errors
            ("Concurrency limit exceeded for user, please retry later", None),
            ("Concurrency limit reached for requests", None),
            ("You exceeded your current threshold of concurrent requests", None),
            (
                "Too many concurrent requests. Your current subscription is associated with a maximum of 2 concurrent requests (running in \
                 parallel).",
                Some(2),
            ),
            // Zhipu's codes, in both languages; its newer message speaks of a rate. Baidu. Tencent's code.
            ("您当前使用该 API 的并发数过高，请降低并发，或联系客服增加限额", None),
            (
                "High concurrency usage of this API, please reduce concurrency or contact customer service to increase limits",
                None,
            ),
            ("您的账户已达到速率限制，请您控制请求频率\n1302", None),
            ("并发超限", None),
            ("The invocation of the large model failed\nEXCEED_CONCURRENT_REQUEST_LIMIT", None),
            // GitHub Models
            (
                "Rate limit of 2 per 0s exceeded for UserConcurrentRequests. Please wait 0 seconds before retrying.",
                Some(2),
            ),
            // Ollama, SGLang, TGI, Bedrock: 503, and 429 from TGI
            ("server busy, please try again.  maximum pending requests exceeded", None),
            ("no slots available after 10 retries", None),
            ("The request queue is full.", None),
            ("Model is overloaded\noverloaded", None),
            ("Too many connections, please wait before trying again.", None),
            // In other words
            ("no slot available", None),
            ("all slots are busy", None),
            ("All 4 slots are busy", Some(4)),
            ("slot unavailable", None),
            ("max concurrent requests: 8", Some(8)),
            ("max_concurrent_requests=8 reached", Some(8)),
            ("Number of simultaneous requests (9) exceeds the limit (8)", Some(8)),
            ("This key allows at most 1,024 requests in flight", Some(1_024)),
            ("Only 3 requests in parallel are allowed, you have 5", Some(3)),
            ("Too many concurrent requests: limit of 8 requests per user", Some(8)),
            ("Too many concurrent requests, limit of 8 requests per minute", None),
            ("Concurrency limit: 0", None),
            ("Concurrency limit: -1", None),
            ("Concurrency limit: 9223372036854775807", None),
            ("Concurrency limit: 1e999", None),
            ("Too many concurrent requests for max-gpt-5. Limit 60 requests per minute. Limit: 7", None),
        ];
        for (text, most) in table {
            assert_eq!(read(&HeaderMap::new(), text), Some(Crowd { most: *most }), "{text}");
        }
    }

    #[test]
    fn what_says_nothing_of_one_time_is_none() {
        let table = [
            "",
            "Too many requests",
            "Too Many Requests. Limit: 60",
            "We're receiving too many requests at the moment. Please wait a moment and try again.",
            "Rate limit exceeded, please reduce your concurrency.",
            "Too many requests. Consider lowering the number of parallel requests, or upgrade for a higher concurrency limit.",
            "Rate limit reached. If you need more concurrent requests, contact sales.",
            "The server is currently overloaded. Please try again later.",
            "The model is overloaded. Please try again later.",
            "The engine is currently overloaded, please try again later",
            "Service Unavailable",
            "No healthy upstream",
            "parallel_tool_calls is rate limited",
            "LiteLLM Rate Limit Handler for rate limit type = key. Crossed TPM / RPM / Max Parallel Request Limit. current rpm: 3, rpm limit: 3, \
             current tpm: 0, tpm limit: 9223372036854775807, current max_parallel_requests: 1, max_parallel_requests: 100",
            "Error 1302 in the middle",
            "您的请求过于频繁，请降低并发",
        ];
        for text in table {
            assert_eq!(read(&HeaderMap::new(), text), None, "{text}");
        }
    }

    #[test]
    fn a_header_says_what_the_limit_counts() {
        const TEXT: &str = "Rate limit exceeded for api_key: k. Current limit: 2, Remaining: 0.";
        let headers = |kind: &str| {
            HeaderMap::from_iter([("rate_limit_type".parse().expect("a name"), kind.parse().expect("a value"))])
        };
        assert_eq!(read(&headers("max_parallel_requests"), ""), Some(Crowd { most: None }));
        assert_eq!(
            read(&headers("max_parallel_requests"), "Rate limit exceeded. Current limit: 2"),
            Some(Crowd { most: Some(2) })
        );
        assert_eq!(read(&headers("requests"), TEXT), None);
        assert_eq!(read(&headers("requests"), "Rate limit exceeded for team: concurrent"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(.{0,6}(concurrent|limit|max|current|slots|all|[0-9,]{1,22}|[.;: =-]|并发|İ)){0,12}") {
            let _ = read(&HeaderMap::new(), &text);
        }
    }
}
