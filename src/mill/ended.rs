//! What a run came to.

use tokio::runtime::Runtime;

use crate::model::{Ending, Exit};
use crate::report::summary::Summary;

/// A run that has ended. The signals of the process are listened for until it is dropped, where the order says so.
#[derive(Debug)]
pub struct Ended {
    /// What came of it.
    pub summary: Summary,
    /// Why it ended.
    pub ending: Ending,
    pub(super) runtime: Option<Runtime>,
}

impl Ended {
    /// The exit code of a program that does nothing else.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let tally = &self.summary.tally;
        Exit::of(&self.ending, tally.failed + tally.kept)
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
