//! Text as people read it: numbers, money, spans, and what comes from outside.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

/// Whether `c` is not seen, and may break a line, turn its direction or move a terminal's cursor.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// `text` on one line, whatever is in it: what is hidden is escaped, as `\n` and `\u{1b}`.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |c, line| line.extend(c.escape_default()))
}

/// A line of JSON in which nothing is hidden. The serializer escapes no more than it must.
#[must_use]
pub fn json_line(json: &str) -> Cow<'_, str> {
    escaped(json, |c, line| {
        // Writing to a string does not fail. None of them is beyond four digits.
        let _ = write!(line, "\\u{:04x}", u32::from(c));
    })
}

fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            escape(c, &mut line);
        } else {
            line.push(c);
        }
    }
    Cow::Owned(line)
}

/// `1234567` -> `1,234,567`.
#[must_use]
pub fn count(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(u64::MAX).to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 prompt`, `2 prompts`.
#[must_use]
pub fn counted(number: usize, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", count(number))
}

/// A span in its two largest units: `850 ms`, `3.2 s`, `4m 5s`, `2h 3m`, `3d 4h`.
#[must_use]
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        1..10 => format!("{:.1} s", span.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// US dollars, with as many digits as the amount deserves.
#[must_use]
pub fn dollars(amount: f64) -> String {
    if amount == 0.0 || amount >= 1.0 { format!("${amount:.2}") } else { format!("${amount:.4}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_escaped() {
        for (text, line) in [
            ("größe \\ \"x\" 日本", "größe \\ \"x\" 日本"),
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\u{1b}[2J\u{0}\u{7f}\u{9b}", r"\u{1b}[2J\u{0}\u{7f}\u{9b}"),
            ("a\u{202e}b\u{2028}\u{feff}", r"a\u{202e}b\u{2028}\u{feff}"),
        ] {
            assert_eq!(one_line(text), line);
            let json = serde_json::to_string(text).expect("JSON");
            let shown = json_line(&json);
            assert!(!shown.contains(is_hidden), "{shown}");
            assert_eq!(serde_json::from_str::<String>(&shown).expect("JSON"), text);
        }
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in
            [(0_u64, "0"), (999, "999"), (1_000, "1,000"), (300_000, "300,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(count(number), text);
        }
        assert_eq!(
            (counted(1, "prompt"), counted(1_000, "prompt")),
            ("1 prompt".to_owned(), "1,000 prompts".to_owned())
        );
    }

    #[test]
    fn spans_have_two_units() {
        for (ms, text) in [
            (85, "85 ms"),
            (3_210, "3.2 s"),
            (59_999, "59 s"),
            (245_000, "4m 5s"),
            (7_380_000, "2h 3m"),
            (273_600_000, "3d 4h"),
        ] {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn small_amounts_keep_their_digits() {
        assert_eq!(
            (dollars(12.345), dollars(0.00123), dollars(0.0)),
            ("$12.35".into(), "$0.0012".into(), "$0.00".into())
        );
    }
}
