//! What goes wrong beside the server, until the faults stop; and what is told of it.

use std::time::Duration;

use promptmill::admit::hint::{ServerHint, Unit};
use promptmill::clock::{Now, nanos};
use promptmill::model::{Before, Ending, Fingerprint, Key, OnDayLimit, RunStop, Usage};
use promptmill::record::{Admissions as _, Claim, Journal as _, RunInfo};
use promptmill::send::classify::{Billed, Failure, Kind, Verdict};

use super::super::bound::Left;
use super::super::server::OF_DAY;
use super::super::setting::SECOND;
use super::super::table::Row;
use super::{Happening, MODEL, World};

/// The outputs of another run that shares the store.
pub(super) fn outputs_of(other: u64) -> String {
    format!("of run {other}")
}

impl World {
    /// What happens by itself: clocks that are set, lids that are closed, people who press keys.
    pub(super) fn weather(&mut self) {
        if self.laws.wall_steps {
            for _ in 0..self.random.u8(1..4) {
                let far = *self
                    .random
                    .choice(if self.daily() { &[60, 1_800] } else { &[3_600, 3 * 86_400] })
                    .expect("not empty");
                let step = self.random.i64(-far..=far) * SECOND as i64;
                let at = self.random.u64(..180 * SECOND);
                self.push(0, at, Happening::ClockStep(step));
            }
        }
        if self.case.sleeps {
            let (at, long) = (self.random.u64(..120 * SECOND), self.random.u64(SECOND..7_200 * SECOND));
            self.push(0, at, Happening::Sleep(long));
        }
        if self.case.gone {
            let at = self.random.u64(..60 * SECOND);
            self.push(0, at, Happening::StoreGone);
        }
        if self.case.interrupts {
            let at = self.random.u64(..60 * SECOND);
            self.push(0, at, Happening::Interrupt);
            if self.random.bool() {
                let later = at + self.random.u64(..10 * SECOND);
                self.push(0, later, Happening::Interrupt);
            }
        }
        self.push(0, self.case.calm_after, Happening::Calm);
    }

    /// Input and named output tokens of a request.
    pub(super) fn charge(&self, usage: Usage) -> u64 {
        usage.input_tokens + self.rules.max_output_tokens.unwrap_or(16)
    }

    /// Prompts are edited between two runs: those that were changed while the last one went on, and others.
    pub(super) fn edit(&mut self) {
        let mut changed = std::mem::take(&mut self.changed);
        if self.ends_by.is_none() && self.case.edited > 0.0 {
            let numbers: Vec<u64> = self.prompts.keys().copied().collect();
            changed.extend(numbers.into_iter().filter(|_| self.random.f64() < self.case.edited));
        }
        self.to_edit = changed;
    }

    /// Another run of another folder is started in the same store, and has requests in flight for as long as anybody looks.
    pub(super) fn another_run(&mut self, now: &Now) {
        if !self.case.shared || self.ends_by.is_some() || self.laws.others > 3 {
            return;
        }
        let info = RunInfo { outputs: outputs_of(self.laws.others), model: MODEL.to_owned(), rehearsal: false, pid: 2 };
        self.store.start_run(&info, now).expect("a store in memory");
        let key = Key::from(self.laws.others);
        let (fingerprint, before) = (Fingerprint([9; 16]), Before::Nothing);
        let claim = Claim { key, fingerprint, attempt: 1, input_tokens: 10, tokens: 20, least: 20, before };
        let begun = self.store.begin(&[claim], &|| *now).expect("a store in memory");
        for reservation in &begun.admitted {
            self.laws.another_run(now, reservation.tokens());
            self.laws.reached.reach(Row::AnotherRun);
        }
    }

    /// The faults stop: from now on all that is left must come to its end, within a bound.
    pub(super) fn calm(&mut self) {
        if self.ends_by.is_some() {
            return;
        }
        self.laws.reached.reach(if self.machine.is_some() { Row::FaultsStop } else { Row::FaultsStopBetween });
        self.server.calm();
        self.crash_at.clear();
        let case = &mut self.case;
        (case.disk_failure, case.store_failure, case.flush_failure) = (0.0, 0.0, 0.0);
        (case.changed, case.time, self.down_until) = (0.0, None, 0);
        let left: Vec<Usage> = self
            .prompts
            .iter()
            .filter(|(prompt, _)| !self.laws.is_paid(**prompt))
            .map(|(_, prompt)| prompt.usage)
            .collect();
        // No answer needs more where no limit is named, and no estimate is higher.
        let output = self.rules.max_output_tokens.unwrap_or(1_000);
        let (limiter, counts) = self.server.limiter().map_or((None, 1.0), |(limiter, counts)| (Some(limiter), counts));
        let charge = match limiter.map(|limiter| limiter.unit) {
            Some(Unit::Tokens) => left.iter().map(|usage| self.charge(*usage) as f64 * counts).sum(),
            _ => left.len() as f64,
        };
        let latest = self.laws.latest().max(self.restarts_at).max(self.asleep_until);
        let bound = Left {
            tokens: left.iter().map(|usage| usage.input_tokens + output).collect(),
            charge,
            portions: self.prompts.values().map(|prompt| u64::from(prompt.batch)).max().unwrap_or(0) + 1,
            limits: &self.rules.limits,
            limiter,
            of_day: self.learned.iter().any(|limit| limit.window.as_secs() == 86_400).then_some(OF_DAY),
            each: Duration::from_nanos(2 * (8 * self.case.store_delay + 3 * self.case.transit + self.case.work)),
            announced: Duration::from_nanos(latest.saturating_sub(self.mono)),
        };
        let (each, ends_by) = (nanos(bound.each), self.mono + bound.bound());
        self.ends_by = Some(ends_by);
        // What has hung until now is answered as well.
        let due = std::mem::take(&mut self.due).into_sorted_vec();
        for mut due in due.into_iter().rev() {
            if let Happening::Heard { verdict: Verdict::Failure(failure), .. } = &mut *due.what {
                failure.wait = None;
            }
            if !matches!(*due.what, Happening::Wake(_) | Happening::Restart) {
                due.at = due.at.min(self.mono.max(self.asleep_until) + each);
            }
            self.due.push(due);
        }
    }

    /// How long after a run that was asked to wait somebody starts the next.
    pub(super) fn comes_back(&self, asked: Duration) -> u64 {
        let window = self.server.limiter().map_or(0.0, |(limiter, _)| limiter.window_seconds);
        let most = if self.ends_by.is_some() { Duration::from_secs_f64(window) } else { Duration::MAX };
        nanos(asked.min(most))
    }

    /// What a verdict is.
    pub(super) fn tells(&mut self, now: &Now, verdict: &Verdict, hints: &[ServerHint]) {
        let reached = &mut self.laws.reached;
        match verdict {
            Verdict::Answer(answer) => reached.reach_if(answer.usage.is_none(), Row::NoUsage),
            Verdict::Failure(Failure { kind: Kind::Prompt, class, .. }) => {
                reached.reach_if(!class.is_local(), Row::BadRequest);
            }
            Verdict::Failure(Failure { billed: Billed::Yes, .. }) => reached.reach(Row::Malformed),
            Verdict::Failure(Failure { billed: Billed::Maybe, .. }) => reached.reach(Row::Unknown),
            Verdict::Failure(_) => {}
        }
        let is_crowded = |hint: &&ServerHint| hint.unit == Unit::InFlight;
        if let Some(hint) = hints.iter().find(is_crowded) {
            reached.reach(if hint.size.is_some() { Row::TooManyNamed } else { Row::TooMany });
        }
        let of_day = hints
            .iter()
            .any(|hint| hint.refused && hint.window.is_some_and(|window| window.least >= Duration::from_secs(86_400)));
        if of_day && self.rules.on_day_limit == OnDayLimit::Wait {
            let wait = match verdict {
                Verdict::Failure(Failure { wait: Some(wait), .. }) => *wait,
                _ => Duration::ZERO,
            };
            // It may be a little late.
            self.laws.excuse(now.mono.0 + nanos(wait) + 2 * SECOND);
            self.laws.reached.reach(Row::ServerDayWaits);
        }
    }

    /// Why a run ends.
    pub(super) fn tell_end(&mut self, ending: &Ending) {
        let in_flight = self.said.in_flight > 0;
        let is_stray = self.laws.is_stray();
        let reached = &mut self.laws.reached;
        match ending {
            Ending::Complete | Ending::Interrupted(_) | Ending::Source(_) | Ending::Broken(_) => {}
            Ending::Stopped { stop: RunStop::Quota, .. } => reached.reach(Row::QuotaStops),
            Ending::Stopped { .. } => reached.reach(if is_stray { Row::StrayRefused } else { Row::RefusedAtOnce }),
            Ending::Outage { asked, .. } => reached.reach(if asked.is_some() { Row::GaveUpAsked } else { Row::GaveUp }),
            Ending::Deadline => reached.reach(if in_flight { Row::DeadlineInFlight } else { Row::DeadlineInWait }),
            Ending::DayLimit => reached.reach(Row::DayEnds),
            Ending::ServerDayLimit { .. } => reached.reach(Row::ServerDayEnds),
            Ending::Disk(_) => reached.reach(Row::DiskEnds),
            Ending::Store(_) => reached.reach_if(self.down_since.is_some(), Row::GaveUpStore),
        }
    }
}
