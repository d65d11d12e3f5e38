//! How far each request is, for the moment of a crash; and which rows an event reaches.

use std::collections::BTreeMap;

use promptmill::admit::hint::Source;
use promptmill::model::{Cause, Class, LimitName};
use promptmill::report::event::Event;
use promptmill::report::waits::WaitFor;

use super::table::{Reached, Row};

/// What has happened last to a prompt's request. A crash comes before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Asked,
    Begun,
    Sent,
    Arrived,
    Heard,
    Put,
    Flushed,
    Finished,
}

/// The stages of all that is under way.
#[derive(Debug, Default)]
pub(crate) struct Stages(BTreeMap<u64, Stage>);

impl Stages {
    pub(crate) fn set(&mut self, prompt: u64, stage: Stage) {
        self.0.insert(prompt, stage);
    }

    /// The request is over, or never was.
    pub(crate) fn over(&mut self, prompt: u64) {
        self.0.remove(&prompt);
    }

    /// What was at this stage is over.
    pub(crate) fn all_over(&mut self, stage: Stage) {
        self.0.retain(|_, at| *at != stage);
    }

    /// The process dies.
    pub(crate) fn crash(&mut self, reached: &mut Reached) {
        for stage in std::mem::take(&mut self.0).into_values() {
            reached.reach(match stage {
                Stage::Asked => Row::CrashBeforeBegin,
                Stage::Begun => Row::CrashBeforeSend,
                Stage::Sent => Row::CrashBeforeArrival,
                Stage::Arrived => Row::CrashBeforeHeard,
                Stage::Heard => Row::CrashBeforePut,
                Stage::Put => Row::CrashBeforeFlush,
                Stage::Flushed => Row::CrashBeforeFinish,
                Stage::Finished => Row::CrashAfterFinish,
            });
        }
    }
}

/// What the machine has said of the server in one run.
#[derive(Debug, Default)]
pub(crate) struct Said {
    paused: Option<Cause>,
    /// It paused, for whatever reason: what is met softly now is a server that is back.
    was_paused: bool,
    /// Requests in flight when the run began to stop.
    pub(crate) in_flight: usize,
}

impl Said {
    pub(crate) fn event(&mut self, event: &Event, reached: &mut Reached) {
        match event {
            Event::Paused { cause, class, .. } => {
                self.was_paused = true;
                let before = self.paused.replace(*cause);
                match (cause, before == Some(*cause)) {
                    (Cause::Outage, false) => {
                        reached.reach(Row::OutageOpens);
                        reached.reach_if(*class == Class::Connection, Row::UnreachedOpens);
                    }
                    (Cause::Outage, true) => reached.reach(Row::OutageProbeFails),
                    (Cause::Quota, false) => reached.reach(Row::QuotaOpens),
                    (Cause::Quota, true) => reached.reach(Row::QuotaProbeFails),
                    (Cause::Refused, _) => reached.reach(Row::StrayAsked),
                }
            }
            Event::Resumed { cause } => {
                self.paused = None;
                reached.reach(match cause {
                    Cause::Outage => Row::OutageEnds,
                    Cause::Quota => Row::QuotaEnds,
                    Cause::Refused => Row::StrayAnswered,
                });
            }
            Event::Throttled { .. } => {
                self.was_paused = true;
                reached.reach(Row::Throttled);
            }
            Event::Waiting { wait_for, .. } => match wait_for {
                WaitFor::Limit(LimitName::TokensPerMinute) => reached.reach(Row::MinuteTokens),
                WaitFor::Limit(LimitName::RequestsPerMinute) => reached.reach(Row::MinuteRequests),
                WaitFor::Limit(LimitName::TokensPerDay) => reached.reach(Row::DayTokens),
                WaitFor::Limit(LimitName::RequestsPerDay) => reached.reach(Row::DayRequests),
                WaitFor::ServerLimit(_) => reached.reach(Row::ServerLimit),
                WaitFor::Retry => reached.reach(Row::Retry),
                _ => {}
            },
            Event::LimitLearned { limit } => match limit.source {
                Source::Headers => reached.reach(Row::FromHeaders),
                Source::Refusal => reached.reach(Row::FromRefusal),
                Source::Estimate => {}
            },
            Event::RateCut { .. } => reached.reach(Row::RateCut),
            Event::Stopping { in_flight, .. } => self.in_flight = *in_flight,
            Event::Released {} => reached.reach(Row::StoreWorksAgain),
            Event::Batch { batch, .. } => reached.reach_if(*batch == 2, Row::SecondPortion),
            _ => {}
        }
    }

    /// The machine waits for this.
    pub(crate) fn waits(&self, binds: Option<&WaitFor>, reached: &mut Reached) {
        if binds == Some(&WaitFor::FirstAnswers) {
            reached.reach(if self.was_paused { Row::SoftAgain } else { Row::SoftStart });
        }
    }
}
