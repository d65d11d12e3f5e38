//! What is known of prompts, for the feed that asks.

use std::collections::HashMap;

use crate::model::{Key, Known};
use crate::plan::{DoneSet, History, HistoryError};

/// What is known, as it was.
pub(super) struct Remembered(pub(super) HashMap<Key, Known>);

impl History for Remembered {
    fn done(&mut self, rehearsal: bool) -> Result<DoneSet, HistoryError> {
        let done = self.0.iter().filter(|(_, known)| known.is_settled(rehearsal));
        Ok(DoneSet::of(done.map(|(key, known)| (key.as_str(), known.fingerprint, known.bytes))))
    }

    fn known(&mut self, keys: &[Key]) -> Result<Vec<Option<Known>>, HistoryError> {
        Ok(keys.iter().map(|key| self.0.get(key).cloned()).collect())
    }
}
