//! A prompt file's name and text.

use crate::model::PromptId;

/// The id of a prompt file's name: 7 of `7_prompt.txt`; `None` for any other name, also for `007_prompt.txt`, which would be a second name of 7.
#[must_use]
pub fn id_of(file_name: &str) -> Option<PromptId> {
    let digits = file_name.strip_suffix("_prompt.txt")?;
    let id = PromptId(digits.parse().ok()?);
    (id.to_string() == digits).then_some(id)
}

/// The name of a prompt's file.
#[must_use]
pub fn file_name(id: PromptId) -> String {
    format!("{id}_prompt.txt")
}

/// Why a file's bytes are no prompt.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not UTF-8: byte {offset} (line {line}) is {byte:#04x}; save the file as UTF-8")]
pub struct NotText {
    /// Offset of the first bad byte, from 0.
    pub offset: usize,
    /// Its line, from 1.
    pub line: usize,
    /// The byte.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_go_both_ways() {
        assert_eq!(id_of("7_prompt.txt"), Some(PromptId(7)));
        assert_eq!(id_of(&file_name(PromptId(50_000))), Some(PromptId(50_000)));
        for other in [
            "007_prompt.txt",
            "+7_prompt.txt",
            "x_prompt.txt",
            "_prompt.txt",
            "7_prompt.md",
            "7_Prompt.txt",
            "7_prompt.txt.bak",
        ] {
            assert_eq!(id_of(other), None, "{other}");
        }
    }

    #[test]
    fn text_is_kept_as_it_stands_but_for_the_mark() {
        assert_eq!(text("\u{feff} größe\r\n".into()), Ok(" größe\r\n".to_owned()));
        assert_eq!(text("a\u{feff}".into()), Ok("a\u{feff}".to_owned()));
        assert_eq!(text(b"one\ntwo \xff".to_vec()), Err(NotText { offset: 8, line: 2, byte: 0xff }));
    }
}
