//! Durations as Go prints them, which is how the API writes its reset headers and its waits.

use std::fmt::Write as _;
use std::time::Duration;

/// `span` as Go's `time.Duration` prints it, cut (not rounded) to whole milliseconds: `132ms`, `9.816s`, `6m0s`, `28m48s`.
#[must_use]
pub fn go_duration(span: Duration) -> String {
    let millis = span.subsec_millis();
    let seconds = span.as_secs();
    if seconds == 0 {
        return if millis == 0 { "0s".to_owned() } else { format!("{millis}ms") };
    }
    let mut text = String::with_capacity(16);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    // Writing to a string cannot fail.
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if seconds >= 60 {
        let _ = write!(text, "{minutes}m");
    }
    let _ = write!(text, "{}", seconds % 60);
    if millis > 0 {
        let fraction = format!(".{millis:03}");
        text.push_str(fraction.trim_end_matches('0'));
    }
    text.push('s');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_the_real_api_printed() {
        let table = [
            (0, "0s"),
            (999_999, "0s"),
            (6_600_000, "6ms"),
            (8_000_000, "8ms"),
            (120_000_000, "120ms"),
            (132_000_000, "132ms"),
            (1_000_000_000, "1s"),
            (3_114_000_000, "3.114s"),
            (8_640_000_000, "8.64s"),
            (9_816_000_000, "9.816s"),
            (17_552_200_000, "17.552s"),
            (20_000_000_000, "20s"),
            (23_030_040_000, "23.03s"),
            (59_999_999_999, "59.999s"),
            (60_000_000_000, "1m0s"),
            (90_000_000_000, "1m30s"),
            (360_000_000_000, "6m0s"),
            (414_720_000_000, "6m54.72s"),
            (432_000_000_000, "7m12s"),
            (660_528_000_000, "11m0.528s"),
            (1_728_000_000_000, "28m48s"),
            (3_600_000_000_000, "1h0m0s"),
            (86_400_001_000_000, "24h0m0.001s"),
        ];
        for (nanos, printed) in table {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), printed, "{nanos} ns");
        }
    }
}
