//! Numbers, money and spans as people read them.

use std::time::Duration;

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
