//! What an output holds.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use super::Class;
use super::text::one_line;

/// What an output holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The answer, byte for byte.
    Answer(String),
    /// The one line of a prompt that failed for good.
    Error { class: Class, message: String },
}

/// How the output of a failed prompt starts.
pub(crate) const ERROR: &str = "ERROR: ";

impl Content {
    /// The bytes of its output: an answer byte for byte, or one line.
    #[must_use]
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Answer(text) => Cow::Borrowed(text.as_bytes()),
            Self::Error { class, message } => Cow::Owned(failure_line(*class, message).into_bytes()),
        }
    }
}

/// The one line of a failed prompt.
fn failure_line(class: Class, message: &str) -> String {
    format!("{ERROR}{class}: {}\n", one_line(message))
}

/// What an output is by its text alone. It is asked only where the journal does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An answer, as far as anybody can tell.
    Answer,
    /// An answer of the stand-in: no model was asked.
    Standin,
    /// The line of a prompt that failed for good.
    Failure,
}

impl Form {
    /// Of the text of an output. A model's text may begin like our line: only one that is it to the last byte, with a class that we know, counts.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let line = text.strip_prefix(ERROR.as_bytes()).and_then(|rest| rest.strip_suffix(b"\n"));
        let line = line.and_then(|line| str::from_utf8(line).ok()).filter(|line| !line.contains('\n'));
        let class = line.and_then(|line| line.split_once(": ")).map(|(class, _)| class);
        if class.and_then(Class::from_word).is_some() {
            Self::Failure
        } else if text.starts_with(STANDIN_MARK.as_bytes()) {
            Self::Standin
        } else {
            Self::Answer
        }
    }
}

/// How the stand-in's answers begin: one is told from a real one by its text alone, unless it was cut off before the end of this.
pub const STANDIN_MARK: &str = "This is the stand-in’s answer; no model was asked.";

/// Tells what an output holds from everything else that it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentId {
    /// Its length in bytes.
    pub bytes: u64,
    /// The first half of its SHA-256.
    pub hash: [u8; 16],
}

impl ContentId {
    /// Of all `bytes` of an output.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut content = ContentHash::default();
        content.add(bytes);
        content.id()
    }
}

/// An output that was put in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// Where it begins, in bytes; 0 in a file of its own, which its key names.
    pub offset: u64,
    pub content: ContentId,
}

/// Makes a [`ContentId`] of bytes that come piece by piece.
#[derive(Clone, Default)]
pub struct ContentHash {
    bytes: u64,
    hash: Sha256,
}

impl ContentHash {
    /// Takes in the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
    }

    /// What has come so far.
    #[must_use]
    pub fn id(self) -> ContentId {
        let digest = self.hash.finalize();
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        ContentId { bytes: self.bytes, hash }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_our_own_line_is_a_failure() {
        for text in [
            "ERROR: the quick brown fox",
            "ERROR: rain: it pours\n",
            "ERROR: timeout: no end of line",
            "ERROR: timeout: one\nERROR: timeout: two\n",
            "ERROR: timeout\n",
            " ERROR: timeout: it took long\n",
            "",
        ] {
            assert_eq!(Form::of(text.as_bytes()), Form::Answer, "{text:?}");
        }
        assert_eq!(Form::of(b"ERROR: timeout: \xff\n"), Form::Answer);
        assert_eq!(Form::of(b"ERROR: timeout: it took long\n"), Form::Failure);
    }

    proptest! {
        #[test]
        fn every_line_that_we_write_is_known_again(which in 0..Class::ALL.len(), message in "(?s).{0,200}") {
            let content = Content::Error { class: Class::ALL[which].0, message };
            prop_assert_eq!(Form::of(&content.bytes()), Form::Failure);
        }
    }
}
