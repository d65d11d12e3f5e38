//! What is heard of from outside of a run while it goes on.

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::News;
use crate::model::Signal;

/// Ends a run from outside, and hears of its parts.
#[derive(Debug)]
pub struct Control {
    tell: UnboundedSender<News>,
    pub(super) news: UnboundedReceiver<News>,
    /// The first signal that came.
    signal: Option<Signal>,
}

impl Default for Control {
    fn default() -> Self {
        let (tell, news) = unbounded_channel();
        Self { tell, news, signal: None }
    }
}

impl Control {
    /// Takes news of a run, from any thread: [`News::Signal`] ends it.
    #[must_use]
    pub fn tell(&self) -> UnboundedSender<News> {
        self.tell.clone()
    }

    /// The first signal that came.
    #[must_use]
    pub fn signal(&self) -> Option<Signal> {
        self.signal
    }

    /// Notes that this signal came, where it is the first.
    pub fn note(&mut self, signal: Signal) {
        self.signal.get_or_insert(signal);
    }

    /// Whether a signal has come since this was last asked.
    pub fn is_signalled(&mut self) -> bool {
        let mut came = false;
        while let Ok(news) = self.news.try_recv() {
            if let News::Signal(signal) = news {
                self.note(signal);
                came = true;
            }
        }
        came
    }
}
