//! What is asked for beside the settings, and who listens.

use crate::admit::ledger::Used;
use crate::clock::Mono;
use crate::config::consent::Question;
use crate::drive::Watch;
use crate::report::event::Event;
use crate::report::meter::Meter;
use crate::report::summary::Progress;

/// What is asked for of one run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Order {
    /// Whether prompts are sent that have their answer.
    pub force: bool,
    /// Whether the ledger starts afresh.
    pub reset_usage: bool,
    /// When nothing more is sent.
    pub deadline: Option<Mono>,
    /// Whether the signals of this process end the run.
    pub signals: bool,
}

/// Who listens to a run, and is asked.
pub trait Audience: Watch {
    /// Takes a sentence for a person, beside the events.
    fn say(&mut self, line: &str);

    /// Whether a secret from outside of the folder may go to a server that a file in the folder names.
    fn consents(&mut self, question: &Question) -> bool;
}

/// Nobody listens, and nobody consents.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Watch for Silent {
    fn event(&mut self, _: Event) {}

    fn used(&mut self, _: Used) {}

    fn is_behind(&self) -> bool {
        false
    }

    fn tick(&mut self, _: Progress<'_>) {}
}

impl Audience for Silent {
    fn say(&mut self, _: &str) {}

    fn consents(&mut self, _: &Question) -> bool {
        false
    }
}

/// An audience that is also told what is used and what it costs.
pub(super) struct Metered<'a> {
    pub(super) audience: &'a mut dyn Audience,
    pub(super) meter: Meter,
}

impl Metered<'_> {
    pub(super) fn say(&mut self, line: &str) {
        self.audience.say(line);
    }

    /// Tells of something that is nothing to be counted.
    pub(super) fn tell(&mut self, event: Event) {
        self.audience.event(event);
    }
}

impl Watch for Metered<'_> {
    fn event(&mut self, event: Event) {
        let after = self.meter.event(&event);
        self.tell(event);
        if let Some(event) = after {
            self.tell(event);
        }
    }

    fn used(&mut self, used: Used) {
        self.audience.used(used);
        for event in self.meter.used(used) {
            self.tell(event);
        }
    }

    fn is_behind(&self) -> bool {
        self.audience.is_behind()
    }

    fn tick(&mut self, progress: Progress<'_>) {
        self.audience.tick(progress);
    }
}
