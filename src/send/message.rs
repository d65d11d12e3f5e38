//! Makes the text of an error fit to print: one line, short, no page, no control characters, no key.

use crate::model::text::is_hidden;

/// The most characters of a message.
pub const MESSAGE_LIMIT: usize = 300;

/// How many characters of a text are looked at.
const READ_LIMIT: usize = 4_096;

/// How keys begin, and how many characters of one follow at least.
const KEY_STARTS: &[(&str, usize)] = &[("sk-", 5), ("sk_", 8), ("gsk_", 8), ("xai-", 8), ("AIza", 16)];

/// `text` on one line, at most [`MESSAGE_LIMIT`] characters, without control characters, markup or keys.
///
/// An HTML page becomes its title. The key in use is masked by the caller too, with [`crate::model::Secret::redact`]: it may have any form.
#[must_use]
pub fn tidy(text: &str) -> String {
    let line = match page_title(text) {
        Some(title) if title.is_empty() => "an HTML page".to_owned(),
        Some(title) => format!("an HTML page: {title}"),
        // Markup and masks only shorten; what lies further on is never shown, and a body may have megabytes.
        None => squeezed(&text.chars().take(READ_LIMIT).collect::<String>()),
    };
    shorten(&mask_keys(&line))
}

/// Whether `text` is an HTML page.
#[must_use]
pub fn is_page(text: &str) -> bool {
    let start: String = text.trim_start().chars().take(256).collect::<String>().to_ascii_lowercase();
    start.starts_with("<!doctype") || start.contains("<html") || start.contains("<head") || start.contains("<body")
}

/// The title of an HTML page, empty where it has none; `None` where `text` is no page.
fn page_title(text: &str) -> Option<String> {
    if !is_page(text) {
        return None;
    }
    let text: String = text.chars().take(READ_LIMIT).collect();
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title").and_then(|at| {
        let start = at + lower[at..].find('>')? + 1;
        let end = start + lower[start..].find("</title")?;
        Some(squeezed(&text[start..end]))
    });
    Some(title.unwrap_or_default())
}

/// White space of every kind to single spaces; what is not to be seen is dropped, and `<` replaced, so that no markup is left.
fn squeezed(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(4 * MESSAGE_LIMIT));
    for c in text.chars() {
        if c.is_whitespace() {
            if !line.is_empty() && !line.ends_with(' ') {
                line.push(' ');
            }
        } else if c == '<' {
            line.push('‹');
        } else if !is_hidden(c) && c != char::REPLACEMENT_CHARACTER {
            line.push(c);
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// Keys, and the half-masked keys that servers echo (`sk-inval**********6789`), become `[key]`.
fn mask_keys(line: &str) -> String {
    let mut masked = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let after_word = masked.chars().next_back().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        // Inside a word (`task-force`) only what has a key's length and a digit is one: a cut JSON text may have `\nsk-...` in it.
        let is_key =
            |len: &usize| !after_word || (*len >= 20 && rest[..*len].bytes().any(|byte| byte.is_ascii_digit()));
        if let Some(len) = key_at(rest, after_word).filter(is_key) {
            masked.push_str("[key]");
            rest = &rest[len..];
        } else {
            masked.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    masked
}

/// The length in bytes of the key at the start of `text`; inside a word, only keys with a known beginning are looked for.
fn key_at(text: &str, inside_word: bool) -> Option<usize> {
    let run = |text: &str| text.find(|c: char| !is_key_char(c)).unwrap_or(text.len());
    let known = KEY_STARTS.iter().find_map(|(start, least)| {
        let end = run(text.strip_prefix(start)?);
        (end >= *least).then_some(start.len() + end)
    });
    // A word with a row of stars is a key that the server has masked in part; its ends are still the key's.
    let bearer = || {
        let token = text.strip_prefix("Bearer ")?;
        let end = token.find(' ').unwrap_or(token.len());
        // "using Bearer auth" is prose.
        let is_prose = ["auth", "authentication", "token"].contains(&&token[..end]);
        (end > 0 && !is_prose).then_some(text.len() - token.len() + end)
    };
    if inside_word {
        return known;
    }
    known.or_else(bearer).or_else(|| {
        let end = run(text);
        text[..end].contains("***").then_some(end)
    })
}

/// Whether `c` may be part of a key, or of one masked in part.
fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '*' | '+' | '/' | '=' | '~')
}

/// At most [`MESSAGE_LIMIT`] characters, the last one an ellipsis where some are left out.
fn shorten(line: &str) -> String {
    match line.char_indices().nth(MESSAGE_LIMIT) {
        None => line.to_owned(),
        Some(_) => line.chars().take(MESSAGE_LIMIT - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_masked_and_words_are_not() {
        let table = [
            (
                "Incorrect API key provided: sk-inval**********6789. You can",
                "Incorrect API key provided: [key]. You can",
            ),
            ("provided: sk-proj-AbC_dEf-123456.", "provided: [key]."),
            ("'sk-abcdefgh'", "'[key]'"),
            ("key=gsk_abcdefghijkl", "key=[key]"),
            ("key: gsk_abcdefghijkl", "key: [key]"),
            ("Authorization: Bearer abc.def", "Authorization: [key]"),
            ("a header using Bearer auth (see", "a header using Bearer auth (see"),
            ("mykey12****7890 is wrong", "[key] is wrong"),
            ("sk-a\u{0}bcdefgh", "[key]"),
            ("a risk-averse task-force, sk-x", "a risk-averse task-force, sk-x"),
            (r#"{"a":"x\nsk-proj-0123456789abcdef"#, r#"{"a":"x\n[key]"#),
            ("2 * 3 ** 4", "2 * 3 ** 4"),
        ];
        for (text, expected) in table {
            assert_eq!(tidy(text), expected, "{text:?}");
        }
    }

    #[test]
    fn pages_become_their_titles() {
        let table = [
            (
                "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>x</body></html>",
                "an HTML page: 502 Bad Gateway",
            ),
            ("  <!DOCTYPE html><HTML><TITLE lang=en>\n Just a\n moment... </TITLE>", "an HTML page: Just a moment..."),
            ("<!doctype html><p>no title", "an HTML page"),
            ("<html><title>cut", "an HTML page"),
            ("use a < b", "use a ‹ b"),
        ];
        for (text, expected) in table {
            assert_eq!(tidy(text), expected, "{text:?}");
        }
    }

    #[test]
    fn one_short_line() {
        assert_eq!(tidy(" a\r\n\tb\u{1b}[31m\u{202e}c \n"), "a b[31mc");
        let long = tidy(&"ä".repeat(MESSAGE_LIMIT + 1));
        assert_eq!(long.chars().count(), MESSAGE_LIMIT);
        assert!(long.ends_with('…'));
        assert_eq!(tidy(&"ä".repeat(MESSAGE_LIMIT)), "ä".repeat(MESSAGE_LIMIT));
    }
}
