//! What a feed asks of the journal: what is done, as one compact set, and what is known of the rest.

use std::error::Error;

use sha2::{Digest as _, Sha256};

use crate::model::{Fingerprint, Key, Known};

/// The journal cannot be read.
pub type HistoryError = Box<dyn Error + Send + Sync>;

/// What is known of the prompts of one outputs folder, as it was when this was made or later.
pub trait History: Send {
    /// The prompts whose answers are settled, those of the stand-in (`rehearsal`) or of a real API.
    fn done(&mut self, rehearsal: bool) -> Result<DoneSet, HistoryError>;

    /// What is known of these prompts, in their order.
    fn known(&mut self, keys: &[Key]) -> Result<Vec<Option<Known>>, HistoryError>;
}

/// Where there is no journal yet.
pub struct NoHistory;

impl History for NoHistory {
    fn done(&mut self, _: bool) -> Result<DoneSet, HistoryError> {
        Ok(DoneSet::default())
    }

    fn known(&mut self, keys: &[Key]) -> Result<Vec<Option<Known>>, HistoryError> {
        Ok(vec![None; keys.len()])
    }
}

/// Prompts with the request that their output answers and its length: 16 bytes each.
#[derive(Clone, Debug, Default)]
pub struct DoneSet {
    /// Sorted.
    hashes: Vec<[u8; 16]>,
}

impl DoneSet {
    /// Of these prompts, each with its request and the length of its output.
    #[must_use]
    pub fn of<K: AsRef<str>>(done: impl IntoIterator<Item = (K, Fingerprint, u64)>) -> Self {
        let mut hashes: Vec<_> =
            done.into_iter().map(|(key, fingerprint, bytes)| hash(key.as_ref(), fingerprint, bytes)).collect();
        hashes.sort_unstable();
        hashes.shrink_to_fit();
        Self { hashes }
    }

    /// Whether the prompt `key` has an answer to this request, of so many bytes.
    #[must_use]
    pub fn contains(&self, key: &Key, fingerprint: Fingerprint, bytes: u64) -> bool {
        !self.hashes.is_empty() && self.hashes.binary_search(&hash(key.as_str(), fingerprint, bytes)).is_ok()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

/// Two prompts with one hash would be one prompt that is never sent: 128 bits of SHA-256 leave no room for that.
fn hash(key: &str, fingerprint: Fingerprint, bytes: u64) -> [u8; 16] {
    let digest =
        Sha256::new().chain_update(fingerprint.0).chain_update(bytes.to_le_bytes()).chain_update(key).finalize();
    let mut hash = [0; 16];
    hash.copy_from_slice(&digest[..16]);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_request_and_length_must_all_be_the_same() {
        let (one, other) = (Fingerprint([1; 16]), Fingerprint([2; 16]));
        let keys: Vec<_> = (0..1_000_u64).map(Key::from).collect();
        let done = DoneSet::of(keys.iter().zip(0..).map(|(key, bytes)| (key.as_str(), one, bytes)));
        assert_eq!(done.len(), 1_000);
        for (key, bytes) in keys.iter().zip(0..) {
            assert!(done.contains(key, one, bytes));
            assert!(!done.contains(key, other, bytes) && !done.contains(key, one, bytes + 1));
        }
        assert!(!done.contains(&Key::from("07"), one, 7));
    }
}
