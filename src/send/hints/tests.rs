//! Every form of header and message that FACTS names, with the numbers that were seen.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::admit::hint::Source;
use crate::standin::go_duration;

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn now() -> DateTime<Utc> {
    "2026-11-22T12:00:00Z".parse().expect("a date")
}

fn headers<N: AsRef<str>, V: AsRef<str>>(fields: &[(N, V)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::try_from(name.as_ref()).expect("a name");
            (name, HeaderValue::from_bytes(value.as_ref().as_bytes()).expect("a value"))
        })
        .collect()
}

fn of_headers(fields: &[(&str, &str)]) -> Vec<ServerHint> {
    read(&headers(fields), 200, "", MINUTE, now())
}

fn of_message(message: &str) -> Option<ServerHint> {
    of_message_where(MINUTE, message)
}

/// The same, where a minute means `minute`.
fn of_message_where(minute: Duration, message: &str) -> Option<ServerHint> {
    let mut hints = read(&HeaderMap::new(), 429, message, minute, now());
    assert!(hints.len() <= 1, "{hints:?}");
    hints.pop()
}

/// `unit[/group] left/size charged`, with `?` for what is not told, and `!` where it refused.
fn short(hint: &ServerHint) -> String {
    let or_unknown = |number: Option<u64>| number.map_or("?".to_owned(), |number| number.to_string());
    let group = hint.group.as_ref().map_or(String::new(), |group| format!("/{group}"));
    let charged = hint.charged.map_or(String::new(), |charged| format!(" -{charged}"));
    let refused = if hint.refused { "!" } else { "" };
    format!("{}{group} {}/{}{charged}{refused}", hint.unit, or_unknown(hint.left), or_unknown(hint.size))
}

/// The name of the usual window that fits, where there is one.
fn usual(hint: &ServerHint) -> &'static str {
    match hint.window {
        None => "?",
        Some(window) if window.holds(MINUTE) => "minute",
        Some(window) if window.holds(DAY) => "day",
        Some(window) if window.holds(HOUR) => "hour",
        Some(window) if window.holds(SECOND) => "second",
        Some(_) => "other",
    }
}

/// The three headers of one bucket; an empty value leaves one out.
fn bucket<'a>(names: [&'a str; 3], values: [&'a str; 3]) -> Vec<(&'a str, &'a str)> {
    names.into_iter().zip(values).filter(|(_, value)| !value.is_empty()).collect()
}

const REQUESTS: [&str; 3] =
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
const TOKENS: [&str; 3] = ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];
const PROJECT: [&str; 3] =
    ["x-ratelimit-limit-project-tokens", "x-ratelimit-remaining-project-tokens", "x-ratelimit-reset-project-tokens"];
const USAGE_BASED: [&str; 3] = [
    "x-ratelimit-limit-tokens_usage_based",
    "x-ratelimit-remaining-tokens_usage_based",
    "x-ratelimit-reset-tokens_usage_based",
];
const TOGETHER: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
const DRAFT: [&str; 3] = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"];
const TOGETHER_TOKENS: [&str; 3] = ["x-tokenlimit-limit", "x-tokenlimit-remaining", "x-tokenlimit-reset"];
const CEREBRAS_DAY: [&str; 3] =
    ["x-ratelimit-limit-requests-day", "x-ratelimit-remaining-requests-day", "x-ratelimit-reset-requests-day"];
const ANTHROPIC: [&str; 3] = [
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
];
const ANTHROPIC_INPUT: [&str; 3] = [
    "anthropic-ratelimit-input-tokens-limit",
    "anthropic-ratelimit-input-tokens-remaining",
    "anthropic-ratelimit-input-tokens-reset",
];
const FORWARDED: [&str; 3] = [
    "llm_provider-x-ratelimit-limit-tokens",
    "llm_provider-x-ratelimit-remaining-tokens",
    "llm_provider-x-ratelimit-reset-tokens",
];

/// Names, values, the hint, its usual window, and the milliseconds until it is full.
type Row = ([&'static str; 3], [&'static str; 3], &'static str, &'static str, Option<u64>);

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_form_of_one_bucket() {
    let table: &[Row] = &[
        // OpenAI: the same name is a minute's limit or a day's.
        (REQUESTS, ["60", "59", "1s"], "requests 59/60", "minute", Some(1_000)),
        (REQUESTS, ["10000", "9999", "8.64s"], "requests 9999/10000", "day", Some(8_640)),
        (REQUESTS, ["500", "499", "120ms"], "requests 499/500", "minute", Some(120)),
        (TOKENS, ["10000", "9481", "3.114s"], "tokens 9481/10000", "minute", Some(3_114)),
        (TOKENS, ["200000", "199978", "6ms"], "tokens 199978/200000", "minute", Some(6)),
        (TOKENS, ["30000", "29996", "8ms"], "tokens 29996/30000", "minute", Some(8)),
        (TOKENS, ["160000", "159976", "9ms"], "tokens 159976/160000", "minute", Some(9)),
        (TOKENS, ["60000", "0", "1m0s"], "tokens 0/60000", "minute", Some(60_000)),
        // The sample of the documentation: 39 days are no window.
        (TOKENS, ["150000", "149984", "6m0s"], "tokens 149984/150000", "?", Some(360_000)),
        (PROJECT, ["60000", "57000", "3s"], "tokens/project 57000/60000", "minute", Some(3_000)),
        (USAGE_BASED, ["160000", "159976", "9ms"], "tokens 159976/160000", "minute", Some(9)),
        (TOKENS, ["30,000", "29,500", "1s"], "tokens 29500/30000", "minute", Some(1_000)),
        (TOKENS, ["1,500,000", "0", "60s"], "tokens 0/1500000", "minute", Some(60_000)),
        // Azure: whole seconds; the slice of ten seconds of 120 a minute.
        (TOKENS, ["10000", "7500", "15"], "tokens 7500/10000", "minute", Some(15_000)),
        (REQUESTS, ["20", "10", "5"], "requests 10/20", "other", Some(5_000)),
        // Groq.
        (REQUESTS, ["14400", "14370", "3m0s"], "requests 14370/14400", "day", Some(180_000)),
        (TOKENS, ["18000", "15702", "7.66s"], "tokens 15702/18000", "minute", Some(7_660)),
        // Together.
        (TOGETHER, ["10", "5", "30"], "requests 5/10", "minute", Some(30_000)),
        (TOGETHER_TOKENS, ["3000", "1500", "0.5"], "tokens 1500/3000", "second", Some(500)),
        // Cerebras: the name tells the window where arithmetic cannot.
        (CEREBRAS_DAY, ["14400", "14400", "33011.382867097855"], "requests 14400/14400", "day", Some(33_011_382)),
        (CEREBRAS_DAY, ["14400", "", ""], "requests ?/14400", "day", None),
        (CEREBRAS_DAY, ["100", "50", "1.5"], "requests 50/100", "day", Some(1_500)),
        // Anthropic: moments.
        (ANTHROPIC, ["50", "20", "2026-11-22T12:00:36Z"], "requests 20/50", "minute", Some(36_000)),
        (
            ANTHROPIC_INPUT,
            ["40000", "10000", "2026-11-22T12:00:45.250Z"],
            "tokens/input 10000/40000",
            "minute",
            Some(45_250),
        ),
        // Other moments.
        (REQUESTS, ["50", "20", "Sun, 22 Nov 2026 12:00:36 GMT"], "requests 20/50", "minute", Some(36_000)),
        (REQUESTS, ["50", "20", "1795348836"], "requests 20/50", "minute", Some(36_000)),
        (TOGETHER, ["20", "0", "1795348860000"], "requests 0/20", "minute", Some(60_000)),
        // litellm.
        (FORWARDED, ["500000", "499500", "60ms"], "tokens 499500/500000", "minute", Some(60)),
        (
            ["x-ratelimit-api_key-limit-requests", "x-ratelimit-api_key-remaining-requests", ""],
            ["100", "98", ""],
            "requests/api_key 98/100",
            "?",
            None,
        ),
        (
            ["x-ratelimit-model_per_key-limit-tokens", "x-ratelimit-model_per_key-remaining-tokens", ""],
            ["9000", "0", ""],
            "tokens/model_per_key 0/9000",
            "?",
            None,
        ),
        (["x-litellm-key-rpm-limit", "", ""], ["100", "", ""], "requests/api_key ?/100", "minute", None),
        (["x-litellm-key-tpm-limit", "", ""], ["100000", "", ""], "tokens/api_key ?/100000", "minute", None),
        // Windows of an hour and of a second, as arithmetic tells them.
        (REQUESTS, ["3600", "3599", "1s"], "requests 3599/3600", "hour", Some(1_000)),
        (REQUESTS, ["20", "15", "250ms"], "requests 15/20", "second", Some(250)),
        // Kong, by name; Envoy's list; express-rate-limit, whose reset ends a fixed window; the first drafts of the IETF.
        (
            ["x-ratelimit-limit-minute", "x-ratelimit-remaining-minute", ""],
            ["100", "99", ""],
            "requests 99/100",
            "minute",
            None,
        ),
        (
            ["x-ratelimit-limit-second", "x-ratelimit-remaining-second", ""],
            ["5", "0", ""],
            "requests 0/5",
            "second",
            None,
        ),
        (
            ["x-ratelimit-limit-hour", "x-ratelimit-remaining-hour", ""],
            ["100", "7", ""],
            "requests 7/100",
            "hour",
            None,
        ),
        (TOGETHER, ["100, 100;w=60", "99", "58"], "requests 99/100", "minute", Some(58_000)),
        (TOGETHER, ["100;w=3600", "99", ""], "requests 99/100", "hour", None),
        (TOGETHER, ["100", "99", "58"], "requests 99/100", "?", Some(58_000)),
        (TOGETHER, ["100", "99", "1795348858"], "requests 99/100", "?", Some(58_000)),
        (TOGETHER, ["20", "7", ""], "requests 7/20", "?", None),
        (DRAFT, ["100", "50", "30"], "requests 50/100", "?", Some(30_000)),
        (DRAFT, ["100;w=21600", "76;w=21600", ""], "requests 76/100", "other", None),
        (
            ["x-rate-limit-limit-tokens", "", "x-rate-limit-reset-tokens"],
            ["1000", "", "55"],
            "tokens ?/1000",
            "?",
            Some(55_000),
        ),
        // A full bucket, or a reset that tells nothing.
        (TOKENS, ["10000", "10000", "0s"], "tokens 10000/10000", "?", None),
        (TOKENS, ["10000", "10000", "1s"], "tokens 10000/10000", "?", Some(1_000)),
        (TOKENS, ["10000", "9000", "0"], "tokens 9000/10000", "?", None),
        (TOKENS, ["10000", "9000", "soon"], "tokens 9000/10000", "?", None),
        (TOKENS, ["10000", "9000", "2026-11-22T11:59:00Z"], "tokens 9000/10000", "?", None),
        (TOKENS, ["10000", "9000", ""], "tokens 9000/10000", "?", None),
        (TOKENS, ["10000", "", "6s"], "tokens ?/10000", "?", Some(6_000)),
        (TOKENS, ["", "9000", "6s"], "tokens 9000/?", "?", Some(6_000)),
        (TOKENS, ["10000", "-1", "6s"], "tokens ?/10000", "?", Some(6_000)),
        (TOKENS, ["10000", "12000", "6s"], "tokens 12000/10000", "?", Some(6_000)),
    ];
    for (names, values, expected, window, full_in) in table {
        let hints = of_headers(&bucket(*names, *values));
        let [hint] = hints.as_slice() else { panic!("{names:?} {values:?}: {hints:?}") };
        assert_eq!((short(hint).as_str(), usual(hint)), (*expected, *window), "{names:?} {values:?}: {hint:?}");
        assert_eq!(hint.full_in.map(|time| time.as_millis()), full_in.map(u128::from), "{names:?} {values:?}");
        assert_eq!(hint.source, Source::Headers);
    }
}

#[test]
fn what_is_no_limit_gives_no_hint() {
    let table: &[(&str, &str)] = &[
        // A size that is none makes nonsense of the rest: Azure's bug.
        ("x-ratelimit-limit-tokens", "-1"),
        ("x-ratelimit-limit-tokens", "0"),
        ("x-ratelimit-limit-tokens", ""),
        ("x-ratelimit-limit-tokens", "many"),
        ("x-ratelimit-limit-tokens", "1e6"),
        ("x-ratelimit-limit-tokens", "30,00"),
        ("x-ratelimit-limit-tokens", "1234,567"),
        ("x-ratelimit-limit-tokens", "many, 100;w=60"),
        ("x-ratelimit-limit-tokens", "0, 0;w=60"),
        ("x-ratelimit-limit-tokens", "-1;w=60"),
        ("x-ratelimit-limit-tokens", "1e999"),
        ("x-ratelimit-limit-tokens", "99999999999999999999999"),
        ("x-ratelimit-limit-input-images", "100"),
        ("x-ratelimit-limit-concurrent-requests", "4"),
        ("x-ratelimit-api_key-limit-max_parallel_requests", "4"),
        ("x-ratelimit-limit-tokens-month", "100"),
        ("x-ratelimit-limit-", "100"),
        ("x-ratelimit-", "100"),
        ("x-ratelimit-tokens", "100"),
        ("x-ratelimit-api_key-remaining-parallel", "100"),
        ("x-ratelimit-reset-tokens", "6s"),
        ("x-litellm-key-rpm-limit", "None"),
        ("x-litellm-key-spend", "1"),
        ("anthropic-ratelimit-tokens", "1"),
        ("llm_provider-x-request-id", "1"),
        ("ratelimit-limit", "0"),
        ("ratelimit-used", "100"),
        ("ratelimit", "100"),
        ("ratelimit", "\"default\";t=30"),
        ("ratelimit", "\"default\";r=-1;t=30"),
        ("ratelimit", "limit=0, remaining=0, reset=0"),
        ("ratelimit-policy", "\"default\";q=0;w=60"),
        ("ratelimit-policy", "\"default\";w=60"),
        ("ratelimit-policy", "\"peruser\";q=65535;qu=\"content-bytes\";w=10;pk=:sdfjLJUOUH==:"),
        ("ratelimit-policy", "\"parallel\";q=4;qu=\"concurrent-requests\""),
        ("ratelimit-policy", ";;,,\";q=1"),
        ("retry-after", "5"),
    ];
    for (name, value) in table {
        assert_eq!(of_headers(&[(name, value)]), [], "{name}: {value}");
    }
    for size in ["-1", "0"] {
        assert_eq!(of_headers(&bucket(TOKENS, [size, size, "0"])), []);
        assert_eq!(read(&headers(&bucket(TOKENS, [size, "0", "0"])), 429, "", MINUTE, now()), []);
    }
}

#[test]
fn the_bounds_are_those_of_the_printing() {
    let window = |names, values| of_headers(&bucket(names, values))[0].window.expect("a window");
    let millis = |least, most| Span { least: Duration::from_millis(least), most: Duration::from_millis(most) };
    // Cut to milliseconds; whole seconds cut; whole seconds either way; a moment, either way.
    assert_eq!(window(TOKENS, ["10000", "9000", "1.5s"]), millis(15_000, 15_010));
    assert_eq!(window(TOKENS, ["10000", "9000", "120ms"]), millis(1_200, 1_210));
    assert_eq!(window(TOKENS, ["10000", "9000", "6s"]), millis(60_000, 70_000));
    assert_eq!(window(TOKENS, ["10000", "9000", "6"]), millis(50_000, 70_000));
    assert_eq!(window(TOKENS, ["10000", "9000", "6.00"]), millis(59_900, 60_100));
    assert_eq!(window(ANTHROPIC, ["10000", "9000", "2026-11-22T12:00:06.5Z"]), millis(55_000, 75_000));
    // Not whole nanoseconds: down and up.
    let third = window(TOKENS, ["10", "7", "1ms"]);
    assert_eq!((third.least, third.most), (Duration::from_nanos(3_333_333), Duration::from_nanos(6_666_667)));
}

#[test]
fn all_of_a_response() {
    let shorts = |fields: &[(&str, &str)]| of_headers(fields).iter().map(short).collect::<Vec<_>>();
    let both = |one: Vec<(&'static str, &'static str)>, two: Vec<(&'static str, &'static str)>| [one, two].concat();

    let openai = both(bucket(REQUESTS, ["500", "499", "120ms"]), bucket(TOKENS, ["30000", "29996", "8ms"]));
    assert_eq!(shorts(&openai), ["requests 499/500", "tokens 29996/30000"]);
    let project = both(bucket(TOKENS, ["150000", "149000", "400ms"]), bucket(PROJECT, ["60000", "57000", "3s"]));
    assert_eq!(shorts(&project), ["tokens 149000/150000", "tokens/project 57000/60000"]);

    // One bucket told twice: once, and the stricter where they differ, with its own reset.
    let equal = both(bucket(TOKENS, ["160000", "159976", "9ms"]), bucket(USAGE_BASED, ["160000", "159976", "9ms"]));
    assert_eq!(shorts(&equal), ["tokens 159976/160000"]);
    let differing = both(bucket(TOKENS, ["160000", "159000", "375ms"]), bucket(USAGE_BASED, ["80000", "60000", "15s"]));
    for fields in [differing.clone(), differing.into_iter().rev().collect()] {
        let hints = of_headers(&fields);
        assert_eq!(hints.iter().map(short).collect::<Vec<_>>(), ["tokens 60000/80000"]);
        assert_eq!((usual(&hints[0]), hints[0].full_in), ("minute", Some(Duration::from_secs(15))));
    }
    let halves = both(bucket(TOKENS, ["160000", "", ""]), bucket(FORWARDED, ["", "100000", ""]));
    assert_eq!(shorts(&halves), ["tokens 100000/160000"]);
    let key = both(
        bucket(["x-litellm-key-rpm-limit", "", ""], ["100", "", ""]),
        bucket(["x-ratelimit-api_key-remaining-requests", "x-ratelimit-api_key-limit-requests", ""], ["98", "100", ""]),
    );
    assert_eq!(shorts(&key), ["requests/api_key 98/100"]);

    let mistral = [
        ("x-ratelimit-limit-req-minute", "60"),
        ("x-ratelimit-remaining-req-minute", "58"),
        ("x-ratelimit-limit-tokens-minute", "500000"),
        ("x-ratelimit-remaining-tokens-minute", "499250"),
        ("x-ratelimit-tokens-query-cost", "750"),
    ];
    let hints = of_headers(&mistral);
    assert_eq!(hints.iter().map(short).collect::<Vec<_>>(), ["requests 58/60", "tokens 499250/500000 -750"]);
    assert!(hints.iter().all(|hint| hint.window == Some(Span::exactly(MINUTE))), "{hints:?}");

    let two_windows = both(
        bucket(CEREBRAS_DAY, ["14400", "14000", ""]),
        bucket(["x-ratelimit-limit-requests-minute", "x-ratelimit-remaining-requests-minute", ""], ["30", "29", ""]),
    );
    assert_eq!(shorts(&two_windows), ["requests 14000/14400", "requests 29/30"]);
    let anthropic = [
        ("anthropic-ratelimit-tokens-limit", "48000"),
        ("anthropic-ratelimit-output-tokens-limit", "8000"),
        ("anthropic-ratelimit-input-tokens-limit", "40000"),
    ];
    assert_eq!(shorts(&anthropic), ["tokens ?/48000", "tokens/output ?/8000", "tokens/input ?/40000"]);
}

#[test]
fn policies_name_their_windows() {
    let told = |fields: &[(&str, &str)]| {
        let hints = of_headers(fields);
        let text = |hint: &ServerHint| {
            let seconds = hint.window.map_or("?".to_owned(), |window| window.least.as_secs().to_string());
            format!("{} {seconds} {}", short(hint), hint.full_in.map_or(0, |time| time.as_secs()))
        };
        hints.iter().map(text).collect::<Vec<_>>()
    };
    // The drafts' own examples, of 8 and later, where a policy has a name;
    assert_eq!(
        told(&[("ratelimit-policy", r#""default";q=100;w=10"#), ("ratelimit", r#""default";r=50;t=5"#)]),
        ["requests 50/100 10 5"]
    );
    assert_eq!(told(&[("ratelimit", r#""default";r=50;t=30"#)]), ["requests 50/? ? 30"]);
    assert_eq!(
        told(&[
            ("ratelimit-policy", r#""hour";q=1000;w=3600, "day";q=5000;w=86400"#),
            ("ratelimit", r#""day";r=100;t=36000"#)
        ]),
        ["requests/hour ?/1000 3600 0", "requests/day 100/5000 86400 36000"]
    );
    assert_eq!(
        told(&[
            ("ratelimit-policy", r#""fixed";q=5000;w=3600;burst=0"#),
            ("ratelimit-policy", r#""a,b;c";q=100;w=60"#),
            ("ratelimit", r#""a,b;c";r=50;t=44"#)
        ]),
        ["requests/fixed ?/5000 3600 0", "requests/a,b;c 50/100 60 44"]
    );
    assert_eq!(
        told(&[("ratelimit-policy", r#""llm";q=40000;qu="tokens";w=60"#), ("ratelimit", r#""llm";r=12;t=7"#)]),
        ["tokens 12/40000 60 7"]
    );
    // express-rate-limit, of 8 with its older headers, of 7 and of 6;
    assert_eq!(
        told(&[
            ("ratelimit", r#""100-in-15min"; r=99; t=900"#),
            ("ratelimit-policy", r#""100-in-15min"; q=100; w=900; pk=:MTJjYTE3Yjk5YWYy:"#),
            ("x-ratelimit-limit", "100"),
            ("x-ratelimit-remaining", "99"),
            ("x-ratelimit-reset", "1795349700"),
        ]),
        ["requests 99/100 900 900"]
    );
    assert_eq!(
        told(&[("ratelimit-policy", "100;w=60"), ("ratelimit", "limit=100, remaining=50, reset=30")]),
        ["requests 50/100 60 30"]
    );
    let sixth = bucket(DRAFT, ["100", "50", "30"]);
    assert_eq!(told(&[sixth.clone(), vec![("ratelimit-policy", "100;w=60")]].concat()), ["requests 50/100 60 30"]);
    // Kong, which tells the stricter limit once more without its window; Envoy's list.
    assert_eq!(
        told(&[
            ("ratelimit-limit", "1000"),
            ("ratelimit-remaining", "3"),
            ("ratelimit-reset", "1200"),
            ("x-ratelimit-limit-minute", "100"),
            ("x-ratelimit-remaining-minute", "99"),
            ("x-ratelimit-limit-hour", "1000"),
            ("x-ratelimit-remaining-hour", "3"),
        ]),
        ["requests 99/100 60 0", "requests 3/1000 3600 1200"]
    );
    assert_eq!(
        told(&bucket(TOGETHER, [r#"10, 10;w=1;name="per-ip, all", 1000;w=3600"#, "9", "1"])),
        ["requests 9/10 1 1", "requests ?/1000 3600 0"]
    );
    // A refusal by a limit of which nothing is left.
    let hints = read(&headers(&[("ratelimit", r#""default";r=0;t=50"#)]), 429, "", MINUTE, now());
    assert_eq!(hints.iter().map(short).collect::<Vec<_>>(), ["requests 0/?!"]);
}

#[test]
fn a_minute_in_a_headers_name_is_what_the_settings_say() {
    let ten = Duration::from_secs(10);
    let mistral = headers(&[("x-ratelimit-limit-req-minute", "60"), ("x-ratelimit-remaining-req-minute", "58")]);
    assert_eq!(read(&mistral, 200, "", ten, now())[0].window, Some(Span::exactly(ten)));
    // Of bare seconds only what is usual is believed, and the settings' minute is.
    let azure = headers(&bucket(TOKENS, ["10000", "7000", "3"]));
    assert_eq!(read(&azure, 200, "", MINUTE, now())[0].window.map(|span| span.holds(ten)), Some(true));
    let odd = headers(&bucket(TOKENS, ["10000", "7000", "12"]));
    assert_eq!(read(&odd, 200, "", MINUTE, now())[0].window, None);
    assert!(read(&odd, 200, "", Duration::from_secs(40), now())[0].window.is_some());
}

#[test]
fn moments_are_measured_from_the_servers_own_date() {
    let mut fields = bucket(ANTHROPIC, ["50", "20", "2026-11-22T15:00:36Z"]);
    fields.push(("date", "Sun, 22 Nov 2026 15:00:00 GMT"));
    assert_eq!(of_headers(&fields)[0].full_in, Some(Duration::from_secs(36)));
}

#[test]
fn a_flood_of_names_is_not_read() {
    let fields: Vec<_> = (0..100).map(|n| (format!("x-ratelimit-d{n}-limit-tokens"), "5")).collect();
    assert_eq!(read(&headers(&fields), 200, "", MINUTE, now()).len(), 16);
}

#[test]
fn the_waits_of_real_refusals_fit_their_numbers() {
    let table = [
        ("tokens per min (TPM)", 10_000, 9_689, 333, "132ms"),
        ("tokens per min (TPM)", 10_000, 8_554, 3_082, "9.816s"),
        ("tokens per min (TPM)", 30_000, 29_937, 385, "644ms"),
        ("tokens per min (TPM)", 500_000, 442_231, 249_686, "23.03s"),
        ("tokens per min (TPM)", 500_000, 396_582, 249_686, "17.552s"),
        ("requests per min (RPM)", 3, 3, 1, "20s"),
        ("requests per min (RPM)", 500, 500, 1, "120ms"),
        ("requests per day (RPD)", 200, 200, 1, "7m12s"),
        ("requests per day (RPD)", 2_000, 2_000, 1, "43.2s"),
        ("requests per day (RPD)", 50, 50, 1, "28m48s"),
        ("tokens per day (TPD)", 100_000, 99_996, 484, "6m54.72s"),
        ("tokens per day (TPD)", 200_000, 197_494, 4_035, "11m0.528s"),
        ("tokens per day (TPD)", 200_000, 197_494, 4_035, "11m 0.528s"),
    ];
    for (kind, limit, used, requested, wait) in table {
        let text = format!(
            "Rate limit reached for m in organization org-X on {kind}: Limit {limit}, Used {used}, Requested {requested}. \
             Please try again in {wait}. Visit https://platform.openai.com/account/rate-limits to learn more."
        );
        let hint = of_message(&text).expect(&text);
        let unit = kind.split(' ').next().expect("a word");
        assert_eq!(short(&hint), format!("{unit} {}/{limit} -{requested}!", limit - used));
        // A minute is what the settings say that it is.
        let window = kind.contains("day").then_some(Span::exactly(DAY));
        assert_eq!((hint.window, hint.full_in, hint.source), (window, None, Source::Refusal), "{text}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_form_of_a_refusal() {
    let table: &[(&str, Option<(&str, &str)>)] = &[
        (
            "Rate limit reached for gpt-5.4 (for limit gpt-5.4-long) in organization org-X on tokens per min (TPM): Limit 500000, \
          Used 442231, Requested 249686. Please try again in 23.03s.",
            Some(("tokens/gpt-5.4-long 57769/500000 -249686!", "?")),
        ),
        (
            "Rate limit reached for gpt-4o-mini in organization org-jJt5lM8F on requests per min (RPM): Limit 500, Used 500, Requested 1. \
          Please try again in 120ms.",
            Some(("requests 0/500 -1!", "?")),
        ),
        (
            "Rate limit reached for gpt-5.4-mini in organization user-abc on requests per day (RPD): Limit 50, Used 50, Requested 1. \
          Please try again in 28m48s. You can increase your rate limit by adding a payment method to your account.",
            Some(("requests 0/50 -1!", "day")),
        ),
        (
            "Rate limit reached for model `llama-3.1` in organization `org_01` service tier `on_demand` on tokens per day (TPD): Limit 100000, \
          Used 99996, Requested 484. Please try again in 6m 54.72s.",
            Some(("tokens 4/100000 -484!", "day")),
        ),
        (
            "Rate limit reached for model `llama-3.1` in organization `org_01` on tokens per minute (TPM): Limit 6000, Used 5990, Requested 100. \
          Please try again in 900ms.",
            Some(("tokens 10/6000 -100!", "?")),
        ),
        (
            "rate limit reached for m on TOKENS PER MIN: limit 30,000, used 29,937, requested 385. try again in 644ms",
            Some(("tokens 63/30000 -385!", "?")),
        ),
        ("Rate limit reached (TPD): Limit 100, Used 99, Requested 2", Some(("tokens 1/100 -2!", "day"))),
        ("Rate limit reached (RPM): Limit 100, Used 100, Requested 1", Some(("requests 0/100 -1!", "?"))),
        // Realtime; its wait is not that of a minute.
        (
            "Rate limit reached for gpt-realtime-1.5 (for limit gpt-4o-realtime). Limit 40000, Used 30058, Requested 10244. \
          Please try again in 1.903s",
            None,
        ),
        (
            "Rate limit reached for m. Limit 40, Used 40, Requested 1. Please try again in 1s",
            Some(("requests 0/40 -1!", "?")),
        ),
        // A group's name holds digits.
        (
            "Rate limit reached for m (for limit 10000 long) on tokens per min: Limit 500, Used 400, Requested 200. Please try again in 12s.",
            Some(("tokens/10000 long 100/500 -200!", "?")),
        ),
        (
            "Rate limit reached for 10KTPM-200RPM in organization org-X on tokens per min. Limit: 10000 / min. Please try again in 6ms. \
          Contact us",
            Some(("tokens ?/10000!", "?")),
        ),
        // litellm.
        (
            "Rate limit exceeded for api_key: 88dc28d0. Limit type: tokens. Current limit: 1000, Remaining: 0. Limit resets at: \
          2026-11-22 12:01:00 UTC",
            Some(("tokens/api_key 0/1000!", "?")),
        ),
        (
            "Rate limit exceeded for api_key: 88dc28d0. Limit type: requests. Current limit: 10, Remaining: -2. Limit resets at: x",
            Some(("requests/api_key ?/10!", "?")),
        ),
        (
            "Rate limit exceeded for api_key: 88dc28d0. Limit type: max_parallel_requests. Current limit: 10, Remaining: 0.",
            Some(("requests at a time ?/10!", "?")),
        ),
        // Never fits.
        (
            "Request too large for gpt-4o in organization org-X on tokens per min (TPM): Limit 30000, Requested 31538. The input or output \
          tokens must be reduced in order to run successfully.",
            Some(("tokens ?/30000 -31538!", "?")),
        ),
        (
            "Request too large for gpt-4.1 (for limit gpt-4.1-long-context) in organization org-abc on tokens per min (TPM): Limit 1000000, \
          Requested 1101959.",
            Some(("tokens/gpt-4.1-long-context ?/1000000 -1101959!", "?")),
        ),
        (
            "Request too large for m in organization org-X on tokens per day (TPD): Limit 300, Requested 301.",
            Some(("tokens ?/300 -301!", "day")),
        ),
        (
            "Rate limit reached for m on tokens per min (TPM): Limit 0, Used 0, Requested 1. Please try again in 1s.",
            Some(("tokens ?/? -1!", "?")),
        ),
        ("Request too large for m on requests per min (RPM): Limit 0, Requested 1.", Some(("requests ?/? -1!", "?"))),
        // Sliced: refused although it fits.
        (
            "Rate limit reached for m on requests per min (RPM): Limit 500, Used 8, Requested 1. Please try again in 120ms.",
            Some(("requests 492/500 -1!", "?")),
        ),
        (
            "Rate limit reached for m on requests per min (RPM): Limit 500, Used 499, Requested 1. Please try again in 120ms.",
            Some(("requests 1/500 -1!", "?")),
        ),
        // Numbers that do not belong to their wait are not believed, but a day is a day.
        ("on tokens per min (TPM): Limit 10000, Used 9689, Requested 333. Please try again in 700ms.", None),
        ("on tokens per min (TPM): Limit 10000, Used 10000, Requested 400. Please try again in 80ms.", None),
        ("on requests per min (RPM): Limit 100, Used 100, Requested 1. Please try again in 37s.", None),
        ("on tokens per min: Limit 10000, Used 10000, Requested 400. Please try again in 30 days.", None),
        (
            "on tokens per day (TPD): Limit 10000, Used 10000, Requested 400. Please try again in 2.4s.",
            Some(("tokens ?/?!", "day")),
        ),
        (
            "(for limit long) on requests per day (RPD): Limit 50, Used 50, Requested 1. Please try again in 5h12m0s.",
            Some(("requests/long ?/?!", "day")),
        ),
        (
            "on requests per hour: Limit 60, Used 60, Requested 1. Please try again in 20m0s.",
            Some(("requests ?/?!", "hour")),
        ),
        // The wait cut or rounded to seconds, rounded up, and a little longer than it need be.
        (
            "on tokens per min: Limit 100, Used 120, Requested 5. Please try again in 15s.",
            Some(("tokens 0/100 -5!", "?")),
        ),
        (
            "on tokens per min: Limit 10000, Used 9689, Requested 333. Please try again in 1s.",
            Some(("tokens 311/10000 -333!", "?")),
        ),
        (
            "on tokens per min: Limit 10000, Used 10000, Requested 450. Please try again in 2s.",
            Some(("tokens 0/10000 -450!", "?")),
        ),
        (
            "on tokens per min: Limit 10000, Used 9689, Requested 333. Please try again in 297ms.",
            Some(("tokens 311/10000 -333!", "?")),
        ),
        ("on tokens per min: Limit 10000, Used 9689, Requested 333. Please try again in 299ms.", None),
        ("on tokens per min: Limit 10000, Used 9689, Requested 333. Please try again in 130ms.", None),
        // A slice may be of ten seconds, but is none of a quarter of a minute.
        (
            "on requests per min: Limit 120, Used 20, Requested 1. Please try again in 10s.",
            Some(("requests 100/120 -1!", "?")),
        ),
        ("on requests per min: Limit 120, Used 20, Requested 1. Please try again in 15s.", None),
        // Other windows by name; IBM's and Moonshot's words, Anthropic's old and new ones.
        (
            "on requests per second: Limit 5, Used 5, Requested 1. Please try again in 200ms.",
            Some(("requests 0/5 -1!", "second")),
        ),
        (
            "on requests per hour: Limit 60, Used 60, Requested 1. Please try again in 1m0s.",
            Some(("requests 0/60 -1!", "hour")),
        ),
        ("on requests per 10 seconds: Limit 20, Used 20, Requested 1.", Some(("requests 0/20 -1!", "other"))),
        ("on requests per fortnight: Limit 20, Used 20, Requested 1.", None),
        (
            "Rate limit of 8 requests per 1s was reached for instance id x (user y, plan v2-standard)",
            Some(("requests ?/8!", "second")),
        ),
        (
            "This request would exceed the rate limit for your organization (0dccdde6-f924-4f1b-bb3b-92ef846e0a5b) of 20,000 input tokens \
          per minute. For details, refer to: https://docs.anthropic.com/en/api/rate-limits.",
            Some(("tokens/input ?/20000!", "?")),
        ),
        (
            "This request would exceed your organization's rate limit of 30,000 input tokens per minute (org: 5456025a, model: x).",
            Some(("tokens/input ?/30000!", "?")),
        ),
        (
            "Your account org-e664<ak-f3t8> request reached organization max RPM: 3, please try again after 1 seconds",
            Some(("requests ?/3!", "?")),
        ),
        (
            "Your account x / proj-x <ak-x> request reached project TPM rate limit, current: 1410, limit: 100, see https://x",
            Some(("tokens 0/100!", "?")),
        ),
        (
            "Your account org-78cd / proj-a418 <ak-f94z> request reached organization TPD rate limit, current: 1526210, limit: 1500000",
            Some(("tokens 0/1500000!", "day")),
        ),
        (
            "LiteLLM Rate Limit Handler for rate limit type = key. Crossed TPM / RPM / Max Parallel Request Limit. current rpm: 3, rpm limit: 3, \
          current tpm: 0, tpm limit: 9223372036854775807",
            None,
        ),
        // A day without numbers.
        ("Too many tokens per day, please wait before trying again.", Some(("tokens ?/?!", "day"))),
        ("You have reached your daily limit of free requests.", Some(("requests ?/?!", "day"))),
        ("Quota exceeded, limit: 50, quotaId: GenerateRequestsPerDayPerProject", Some(("requests ?/?!", "day"))),
        (
            "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
            Some(("requests ?/?!", "day")),
        ),
        ("Rate limit exceeded: free-models-per-min. Add 10 credits to unlock 1000 free model requests per day", None),
        (
            "Rate limit of 150 per 86400s exceeded for UserByModelByDay. Please wait 35944 seconds before retrying.",
            Some(("requests ?/?!", "day")),
        ),
        ("TPD limit reached", Some(("tokens ?/?!", "day"))),
        // Other units, other things, no numbers.
        (
            "Rate limit reached for gpt-image-2-codex (for limit gpt-image) in organization org-X on input-images per min: Limit 4000, \
          Used 4000, Requested 1. Please try again in 15ms.",
            None,
        ),
        ("Rate limit reached for m on audio-minutes per min: Limit 40, Used 40, Requested 1.", None),
        ("Requests to the API have been limited. Please retry after 26 seconds.", None),
        ("Rate limit exceeded", None),
        ("You exceeded your current quota, please check your plan and billing details.", None),
        ("This model's maximum context limit 8192 tokens", None),
        ("on tokens per min: Limit 99999999999999999999999, Used 1, Requested 1", None),
        ("on tokens per min: Limit 5x, Used 1, Requested 1", None),
        ("", None),
    ];
    for (text, expected) in table {
        let hint = of_message(text);
        let got = hint.as_ref().map(|hint| (short(hint), usual(hint)));
        let got = got.as_ref().map(|(short, window)| (short.as_str(), *window));
        assert_eq!(got, *expected, "{text}: {hint:?}");
    }
}

#[test]
fn a_minute_is_what_the_settings_say() {
    let ten = Duration::from_secs(10);
    let text =
        |wait| format!("on requests per min (RPM): Limit 100, Used 100, Requested 1. Please try again in {wait}.");
    let told = |minute, wait| of_message_where(minute, &text(wait)).map(|hint| (hint.size, hint.window));
    assert_eq!(told(ten, "100ms"), Some((Some(100), None)));
    assert_eq!(told(MINUTE, "600ms"), Some((Some(100), None)));
    assert_eq!(told(MINUTE, "100ms"), None);
    assert_eq!(told(ten, "600ms"), None);
    // Headers of such a minute are of the same bucket.
    let fields = headers(&bucket(REQUESTS, ["100", "0", "10s"]));
    let hints = read(&fields, 429, &text("100ms"), ten, now());
    assert_eq!(hints.iter().map(short).collect::<Vec<_>>(), ["requests 0/100 -1!"]);
    assert!(hints[0].window.is_some_and(|window| window.holds(ten)), "{hints:?}");
}

#[test]
fn a_message_and_headers_of_one_bucket_are_one_hint() {
    const TEXT: &str = "Rate limit reached for m on tokens per min (TPM): Limit 10000, Used 9689, Requested 333. Please try again in 132ms.";
    let told = |fields: &[(&str, &str)], status, text| {
        let hints = read(&headers(fields), status, text, MINUTE, now());
        hints.iter().map(|hint| format!("{} {}", short(hint), usual(hint))).collect::<Vec<_>>()
    };
    let same = bucket(TOKENS, ["10000", "311", "58.134s"]);
    assert_eq!(told(&same, 429, TEXT), ["tokens 311/10000 -333! minute"]);
    assert_eq!(read(&headers(&same), 429, TEXT, MINUTE, now())[0].source, Source::Headers);
    assert_eq!(told(&same, 413, TEXT), ["tokens 311/10000 -333! minute"]);
    assert_eq!(told(&same, 200, TEXT), ["tokens 311/10000 minute"], "not of a refusal");
    // The message's level is that of the decision, and its numbers fill what headers leave out.
    assert_eq!(told(&bucket(TOKENS, ["", "300", ""]), 429, TEXT), ["tokens 311/10000 -333! ?"]);
    // The project's limit, which the message does not name.
    let project =
        [bucket(TOKENS, ["150000", "149000", "400ms"]), bucket(PROJECT, ["10000", "311", "58.134s"])].concat();
    assert_eq!(told(&project, 429, TEXT), ["tokens 149000/150000 minute", "tokens/project 311/10000 -333! minute"]);
    // Other sizes or windows: two buckets. Groq's limit of a day is in no header.
    let groq = "Rate limit reached on tokens per day (TPD): Limit 100000, Used 99996, Requested 484. Please try again in 6m54.72s.";
    assert_eq!(
        told(&bucket(TOKENS, ["18000", "15702", "7.66s"]), 429, groq),
        ["tokens 15702/18000 minute", "tokens 4/100000 -484! day"]
    );
    assert_eq!(
        told(&bucket(TOKENS, ["100000", "0", "60.5s"]), 429, groq),
        ["tokens 0/100000 other", "tokens 4/100000 -484! day"]
    );
    // No words: what has nothing left refused.
    let silent = [bucket(REQUESTS, ["500", "0", "60s"]), bucket(TOKENS, ["10000", "311", "58.134s"])].concat();
    assert_eq!(told(&silent, 429, "Slow down"), ["requests 0/500! minute", "tokens 311/10000 minute"]);
    assert_eq!(told(&silent, 200, ""), ["requests 0/500 minute", "tokens 311/10000 minute"]);
}

#[test]
fn the_message_is_taken_from_the_body() {
    let body = br#"{"error": {"message": "Rate limit reached for m on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s.",
        "type": "requests", "param": null, "code": "rate_limit_exceeded"}}"#;
    let reply = |status| Reply { status, headers: HeaderMap::new(), body: Bytes::from_static(body) };
    assert_eq!(of_reply(&reply(429), MINUTE, now()).iter().map(short).collect::<Vec<_>>(), ["requests 0/3 -1!"]);
    assert_eq!(of_reply(&reply(413), MINUTE, now()).len(), 1);
    for status in [200, 400, 503] {
        assert_eq!(of_reply(&reply(status), MINUTE, now()), []);
    }
}

#[test]
fn too_many_at_once_is_one_hint_of_what_is_in_flight() {
    let told = |status, fields: &[(&str, &str)], body: &'static str| {
        let body = Bytes::from_static(body.as_bytes());
        let hints = of_reply(&Reply { status, headers: headers(fields), body }, MINUTE, now());
        assert!(hints.iter().all(|hint| hint.unit != Unit::InFlight || hint.source == Source::Refusal), "{hints:?}");
        hints.iter().map(short).collect::<Vec<_>>()
    };
    // litellm 1.110; its `retry-after` is its window, whatever the limit.
    let litellm =
        [("retry-after", "60"), ("rate_limit_type", "max_parallel_requests"), ("reset_at", "2026-11-29 21:01:00 UTC")];
    let body = r#"{"error":{"message":"Rate limit exceeded for api_key: 88dc28d0. Limit type: max_parallel_requests. Current limit: 2, Remaining: 0. Limit resets at: 2026-11-29 21:01:00 UTC","type":"None","param":"None","code":"429"}}"#;
    assert_eq!(told(429, &litellm, body), ["requests at a time ?/2!"]);
    assert_eq!(told(429, &litellm, ""), ["requests at a time ?/?!"]);
    assert_eq!(told(429, &[], body), ["requests at a time ?/2!"]);
    // In the code alone.
    let code =
        r#"{"error":{"message":"Slow down.","type":"rate_limit_error","code":"concurrent_request_limit_exceeded"}}"#;
    assert_eq!(told(429, &[], code), ["requests at a time ?/?!"]);
    let zhipu = r#"{"error":{"code":"1302","message":"您的账户已达到速率限制，请您控制请求频率"}}"#;
    assert_eq!(told(429, &[], zhipu), ["requests at a time ?/?!"]);
    // A limit that headers tell of did not refuse it, though nothing may be left of it.
    let last = bucket(REQUESTS, ["100", "0", "60s"]);
    assert_eq!(told(429, &last, code), ["requests 0/100", "requests at a time ?/?!"]);
    // Servers and gateways that are full.
    assert_eq!(told(503, &[], r#"{"error":{"message":"no slot available"}}"#), ["requests at a time ?/?!"]);
    assert_eq!(told(529, &[], "max concurrent requests: 8"), ["requests at a time ?/8!"]);
    for status in [200, 400, 413, 500, 504] {
        assert_eq!(told(status, &litellm, body), [""; 0]);
    }
    // A window's limit, whatever the names in it.
    let named = "Rate limit reached for parallel-requests-8b in organization concurrent on requests per min: Limit 3, Used 3, Requested 1.";
    assert_eq!(told(429, &[], named), ["requests 0/3 -1!"]);
    let of_user = "Too many concurrent requests: limit of 8 requests per user";
    assert_eq!(told(429, &[], of_user), ["requests at a time ?/8!"]);
    assert_eq!(told(429, &[], "Too many requests"), [""; 0]);
    assert_eq!(told(503, &[], "Service Unavailable"), [""; 0]);
}

proptest! {
    #[test]
    fn no_text_panics(
        name in "(llm_provider-)?(x-ratelimit-|ratelimit-|anthropic-ratelimit-|x-tokenlimit-)[a-z_-]{0,12}(-|limit|remaining|reset|tokens|requests|day){0,5}|ratelimit(-policy)?",
        value in "[ -~]{0,12}|[0-9,.]{0,30}|(\"|a|;|,|=| |q|r|t|w|limit|remaining|qu|[0-9]{1,3}){0,16}",
        text in "(.{0,9}(on |tokens| per |min|day|: |Limit |Used |Requested |, |try again in |\\(for limit |limit type: |exceeded for )|[0-9]{1,22}){0,14}",
    ) {
        let fields = [(name.as_str(), value.as_str()), ("x-ratelimit-remaining-tokens", "5"), ("x-ratelimit-reset-tokens", value.as_str())];
        let hints = read(&headers(&fields), 429, &text, MINUTE, now());
        prop_assert!(hints.iter().all(|hint| hint.size != Some(0)));
        prop_assert!(hints.iter().filter_map(|hint| hint.window).all(|window| window.least <= window.most));
    }

    #[test]
    fn printed_headers_are_read_back(size in 1..200_000_000_u64, used in 0.0..=1.0_f64, millis in 1_000..86_400_000_u64) {
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the size")]
        let used = (size as f64 * used) as u64;
        let window = Duration::from_millis(millis);
        let reset = Duration::from_nanos(u64::try_from(window.as_nanos() * u128::from(used) / u128::from(size)).expect("a day"));
        let printed = [size.to_string(), (size - used).to_string(), go_duration(reset)];
        let hints = read(&headers(&TOKENS.iter().zip(&printed).collect::<Vec<_>>()), 200, "", MINUTE, now());
        prop_assert_eq!((hints[0].size, hints[0].left), (Some(size), Some(size - used)));
        if reset >= Duration::from_millis(1) {
            prop_assert!(hints[0].window.expect("a window").holds(window), "{:?} {:?}", hints, window);
        }
    }

    #[test]
    fn a_printed_refusal_is_read_back(
        size in 1..200_000_000_u64, used in 0..200_000_000_u64, requested in 1..200_000_000_u64, millis in 1_000..86_400_000_u64, group in "[a-z0-9.-]{1,12}",
    ) {
        let used = used.min(size);
        let over = (used + requested).saturating_sub(size);
        let window = Duration::from_millis(millis);
        let wait = Duration::from_nanos(u64::try_from(window.as_nanos() * u128::from(over) / u128::from(size)).unwrap_or(u64::MAX));
        let text = format!(
            "Rate limit reached for m (for limit {group}) in organization org-X on tokens per min (TPM): Limit {size}, Used {used}, \
             Requested {requested}. Please try again in {}.", go_duration(wait)
        );
        let hint = of_message_where(window, &text).expect("a hint");
        prop_assert_eq!((hint.size, hint.left, hint.charged), (Some(size), Some(size - used), Some(requested)));
        prop_assert_eq!((hint.group.as_deref(), hint.refused, hint.window), (Some(group.as_str()), true, None));
        // Of a server whose minute is three times as long, nothing is believed but the wait.
        if over > 0 && wait >= Duration::from_secs(2) && wait <= wait::ABSURD {
            prop_assert_eq!(of_message_where(window / 3, &text).map(|hint| hint.size), None);
        }
    }
}
