//! What is done, as one compact set: at a million prompts nothing else of them is held.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::StoreError;
use crate::model::{Fingerprint, Key, Known, Status};

/// What is known of the prompts of one outputs folder, as it was when this was made or later.
pub trait History: Send {
    /// The prompts whose answers are settled, those of the stand-in (`rehearsal`) or of a real API.
    fn done(&mut self, rehearsal: bool) -> Result<DoneSet, StoreError>;

    /// What is known of these prompts, in their order.
    fn known(&mut self, keys: &[Key]) -> Result<Vec<Option<Known>>, StoreError>;
}

/// Prompts with the request that their output answers and its length: 16 bytes each.
#[derive(Clone, Debug, Default)]
pub struct DoneSet {
    /// Sorted.
    hashes: Vec<[u8; 16]>,
}

impl DoneSet {
    /// Whether the prompt `key` has an answer to this request, of so many bytes.
    #[must_use]
    pub fn contains(&self, key: &Key, fingerprint: Fingerprint, bytes: u64) -> bool {
        self.hashes.binary_search(&hash(key.as_str(), fingerprint, bytes)).is_ok()
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

    fn add(&mut self, key: &str, fingerprint: Fingerprint, bytes: u64) {
        self.hashes.push(hash(key, fingerprint, bytes));
    }

    /// Makes it ready to be asked, once all are added.
    fn sorted(mut self) -> Self {
        self.hashes.sort_unstable();
        self.hashes.shrink_to_fit();
        self
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

/// What is known, as it was.
pub(super) struct Remembered(pub(super) HashMap<Key, Known>);

impl History for Remembered {
    fn done(&mut self, rehearsal: bool) -> Result<DoneSet, StoreError> {
        let is_done = |known: &Known| known.status == Status::Done && !known.unsettled && known.rehearsal == rehearsal;
        let mut done = DoneSet::default();
        for (key, known) in self.0.iter().filter(|(_, known)| is_done(known)) {
            done.add(key.as_str(), known.fingerprint, known.bytes);
        }
        Ok(done.sorted())
    }

    fn known(&mut self, keys: &[Key]) -> Result<Vec<Option<Known>>, StoreError> {
        Ok(keys.iter().map(|key| self.0.get(key).cloned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_request_and_length_must_all_be_the_same() {
        let (one, other) = (Fingerprint([1; 16]), Fingerprint([2; 16]));
        let mut done = DoneSet::default();
        for number in 0..1_000_u64 {
            done.add(&number.to_string(), one, number);
        }
        let done = done.sorted();
        assert_eq!(done.len(), 1_000);
        for number in 0..1_000_u64 {
            let key = Key::from(number);
            assert!(done.contains(&key, one, number));
            assert!(!done.contains(&key, other, number) && !done.contains(&key, one, number + 1));
        }
        assert!(!done.contains(&Key::from("07"), one, 7));
    }
}
