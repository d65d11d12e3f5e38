//! What an output holds.

use super::Class;
use sha2::{Digest as _, Sha256};

/// What an output holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The answer, byte for byte.
    Answer(String),
    /// The one line of a prompt that failed for good.
    Error {
        /// The error class.
        class: Class,
        /// What happened.
        message: String,
    },
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
