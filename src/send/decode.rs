//! The JSON of a response's body, read leniently where that loses nothing but what is no text.
//!
//! A body is read strictly first. Only one that is not JSON is looked at again: bytes that are no UTF-8 and halves of surrogate pairs become U+FFFD,
//! so that an answer that was paid for is not lost for one broken character.

use serde_json::Value;

/// U+FFFD as JSON escapes it.
const REPLACEMENT: &[u8] = b"\\ufffd";

/// A body that is JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub json: Value,
    /// Whether something in it was no text, and U+FFFD stands there now.
    pub repaired: bool,
}

/// The JSON of a body; `None` where it is something else.
///
/// Some servers send blank lines, `: keep-alive` comments, a BOM or NULs before the JSON, or a NUL after it.
#[must_use]
pub fn decode(body: &[u8]) -> Option<Decoded> {
    let text = payload(body);
    if let Ok(json) = serde_json::from_slice(text) {
        return Some(Decoded { json, repaired: false });
    }
    let repaired = repair(text)?;
    serde_json::from_slice(&repaired).ok().map(|json| Decoded { json, repaired: true })
}

/// What stands between that which servers put around the JSON.
fn payload(body: &[u8]) -> &[u8] {
    let is_filling = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
    let mut rest = body;
    loop {
        let start = rest.iter().position(|byte| !is_filling(byte)).unwrap_or(rest.len());
        rest = &rest[start..];
        if let Some(after) = rest.strip_prefix(b"\xef\xbb\xbf") {
            rest = after;
        } else if rest.first() == Some(&b':') {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            rest = &rest[end..];
        } else {
            break;
        }
    }
    let end = rest.iter().rposition(|byte| !is_filling(byte)).map_or(0, |last| last + 1);
    &rest[..end]
}

/// `text` without what is no text; `None` where that would change nothing.
fn repair(text: &[u8]) -> Option<Vec<u8>> {
    let lossy = String::from_utf8_lossy(text);
    let bytes = lossy.as_bytes();
    let mut repaired = Vec::with_capacity(bytes.len());
    let mut at = 0;
    // A backslash stands only in strings, and begins an escape there: what it escapes is no beginning of another one.
    while let Some(place) = bytes[at..].iter().position(|byte| *byte == b'\\') {
        let escape = at + place;
        repaired.extend_from_slice(&bytes[at..escape]);
        let unit = |at: usize| code_unit(bytes.get(at..)?);
        let (length, lone) = match unit(escape) {
            Some(0xd800..=0xdbff) if unit(escape + 6).is_some_and(|unit| (0xdc00..=0xdfff).contains(&unit)) => {
                (12, false)
            }
            Some(0xd800..=0xdfff) => (6, true),
            Some(_) => (6, false),
            None => (2, false),
        };
        at = (escape + length).min(bytes.len());
        repaired.extend_from_slice(if lone { REPLACEMENT } else { &bytes[escape..at] });
    }
    repaired.extend_from_slice(&bytes[at..]);
    (repaired != text).then_some(repaired)
}

/// The number of the escape `\uXXXX` at the start of `bytes`; `None` where there is none.
fn code_unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    let digits =
        std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn what_servers_put_around_the_json_is_skipped() {
        for body in [
            "{\"a\":1}",
            "\n\n{\"a\":1}\n",
            ": keep-alive\n\n: keep-alive\r\n{\"a\":1}",
            "\u{feff}{\"a\":1}",
            "\r\n\u{feff}{\"a\":1}",
            ": keep-alive\n\u{feff}\n{\"a\":1}",
            "\0\0{\"a\":1}\0",
            "\0\u{feff}{\"a\":1}",
        ] {
            assert_eq!(decode(body.as_bytes()), Some(Decoded { json: json!({ "a": 1 }), repaired: false }), "{body:?}");
        }
        for body in
            ["", "\0", "\u{feff}", ": keep-alive", "{\"a\":1", "data: {}", "<html>", "{} {}", "{\"a\":\"\\u12\"}"]
        {
            assert_eq!(decode(body.as_bytes()), None, "{body:?}");
        }
    }

    #[test]
    fn what_is_no_text_is_replaced_and_said() {
        let text = |body: &[u8]| {
            let decoded = decode(&[b"{\"a\":\"", body, b"\"}"].concat()).unwrap_or_else(|| panic!("{body:?}"));
            (decoded.json["a"].as_str().expect("a text").to_owned(), decoded.repaired)
        };
        for (body, expected, repaired) in [
            (&b"x"[..], "x", false),
            (br"\ud83d\ude00", "\u{1f600}", false),
            (br"\ud83d", "\u{fffd}", true),
            (br"\ude00", "\u{fffd}", true),
            (br"a\uD83Db", "a\u{fffd}b", true),
            (br"\ud83d\n", "\u{fffd}\n", true),
            (br"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}", true),
            (br"\ude00\ud83d", "\u{fffd}\u{fffd}", true),
            // A backslash that is escaped begins nothing.
            (br"\\ud83d \ud83d", r"\ud83d �", true),
            (br#"\"\ud83d\""#, "\"\u{fffd}\"", true),
            (b"caf\xe9", "caf\u{fffd}", true),
            (b"\xff\xfe\\ud83d", "\u{fffd}\u{fffd}\u{fffd}", true),
            (b"\xf0\x9f\x98", "\u{fffd}", true),
            ("\u{fffd}".as_bytes(), "\u{fffd}", false),
        ] {
            assert_eq!(text(body), (expected.to_owned(), repaired), "{body:?}");
        }
    }

    proptest! {
        /// Text that is text is read as it stands, and nothing panics.
        #[test]
        fn text_stays(text: String, bytes: Vec<u8>) {
            let body = json!({ "a": text });
            prop_assert_eq!(decode(body.to_string().as_bytes()), Some(Decoded { json: body, repaired: false }));
            let _ = decode(&bytes);
            let broken = [b"{\"a\":\"\\ud83d", &bytes[..], b"\"}"].concat();
            let _ = decode(&broken);
        }

        /// Any escapes at all can be read.
        #[test]
        fn any_code_units_are_read(units: Vec<u16>) {
            let escapes: Vec<String> = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let decoded = decode(format!("\"{}\"", escapes.concat()).as_bytes()).expect("JSON");
            prop_assert_eq!(decoded.json.as_str(), Some(&*String::from_utf16_lossy(&units)));
            prop_assert_eq!(decoded.repaired, String::from_utf16(&units).is_err());
        }
    }
}
