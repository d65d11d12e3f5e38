//! What a feed asks of the place where answers go.

use std::io;

use crate::model::{ContentId, Form, Key, Put};

/// The outputs, as they stand there now.
pub trait Outputs: Send + Sync {
    /// The length in bytes of the output of `key`, 0 for none, or why one cannot be written in its place.
    fn stands(&self, key: &Key) -> Result<u64, String>;

    /// What the output of `key` is by its text. Most of a long one is not read.
    fn form(&self, key: &Key) -> io::Result<Form>;

    /// The content of the output of `key`, read to its end.
    fn content(&self, key: &Key) -> io::Result<ContentId>;

    /// Whether what was put for `key` stands there still.
    fn holds(&self, key: &Key, put: &Put) -> bool {
        self.content(key).is_ok_and(|content| content == put.content)
    }
}
