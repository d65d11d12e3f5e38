//! A prompt file's name and text.

/// The largest number of a prompt.
pub const MOST: u64 = i64::MAX.unsigned_abs();

/// What a file's name in the prompts folder means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// A prompt: 7 of `7_prompt.txt`, and of `007_prompt.txt`.
    Prompt(u64),
    /// A prompt whose number is over [`MOST`].
    TooLarge,
    /// Anything else.
    Other,
}

/// What `file_name` means.
#[must_use]
pub fn name(file_name: &str) -> Name {
    let digits = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(digits) = file_name.strip_suffix("_prompt.txt").filter(digits) else { return Name::Other };
    within(digits).map_or(Name::TooLarge, Name::Prompt)
}

/// The prompt's name that is likely meant by another one: with the first number that stands in it, else the first of all.
#[must_use]
pub fn nearest_name(other: &str) -> String {
    let number = other.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty());
    file_name(number.and_then(within).unwrap_or(1))
}

/// The number of these digits; `None` where it is over [`MOST`].
pub(super) fn within(digits: &str) -> Option<u64> {
    digits.parse().ok().filter(|number| *number <= MOST)
}

/// The plain name of a prompt's file.
#[must_use]
pub fn file_name(number: u64) -> String {
    format!("{number}_prompt.txt")
}

/// Why a file's bytes are no prompt.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not UTF-8: byte {offset} (line {line}) is {byte:#04x}; save the file as UTF-8")]
pub struct NotText {
    /// Offset of the first bad byte, from 0.
    pub offset: usize,
    /// Its line, from 1.
    pub line: usize,
    pub byte: u8,
}

/// The text of a prompt file, as it stands there; a byte order mark is dropped.
pub fn text(bytes: Vec<u8>) -> Result<String, NotText> {
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let line = bytes[..offset].split(|&byte| byte == b'\n').count();
        NotText { offset, line, byte: bytes.get(offset).copied().unwrap_or_default() }
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// Whether there is nothing in `text` to ask.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    text.trim_start().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_go_both_ways() {
        assert_eq!(name("7_prompt.txt"), Name::Prompt(7));
        assert_eq!(name("007_prompt.txt"), Name::Prompt(7));
        assert_eq!(name(&file_name(50_000)), Name::Prompt(50_000));
        assert_eq!(name("0000000000000000000000009223372036854775807_prompt.txt"), Name::Prompt(MOST));
        for large in
            ["9223372036854775808_prompt.txt", "18446744073709551615_prompt.txt", "99999999999999999999_prompt.txt"]
        {
            assert_eq!(name(large), Name::TooLarge, "{large}");
        }
        for other in ["+7_prompt.txt", "x_prompt.txt", "_prompt.txt", "7_prompt.md", "7_Prompt.txt", "7_prompt.txt.bak"]
        {
            assert_eq!(name(other), Name::Other, "{other}");
        }
    }

    #[test]
    fn the_number_in_another_name_is_likely_meant() {
        for (other, right) in [
            ("question.txt", "1_prompt.txt"),
            ("prompt_017 v2.md", "17_prompt.txt"),
            ("99999999999999999999.txt", "1_prompt.txt"),
        ] {
            assert_eq!(nearest_name(other), right);
        }
    }

    #[test]
    fn text_is_kept_as_it_stands_but_for_the_mark() {
        assert_eq!(text("\u{feff} größe\r\n".into()), Ok(" größe\r\n".to_owned()));
        assert_eq!(text("a\u{feff}".into()), Ok("a\u{feff}".to_owned()));
        assert_eq!(text(b"one\ntwo \xff".to_vec()), Err(NotText { offset: 8, line: 2, byte: 0xff }));
    }
}
