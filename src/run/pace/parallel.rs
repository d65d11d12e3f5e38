//! How many requests the server takes at a time, as far as it says so or its refusals show it: a bracket of what was let in and what was refused.
//!
//! A bound holds for a while; then one more is tried, then two and four. Where refusals come at once, silence says that more are taken; where they come
//! late, as a gateway's timeout does, only answers do.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::admit::hint::{LearnedLimit, Source, Unit};
use crate::admit::widening::Widening;
use crate::clock::{Mono, Now};

/// More is tried after so many answers for each request at a time,
const TRIED_AFTER: usize = 2;
/// doubled with each trial that was refused, so many times.
const MOST_PATIENCE: u32 = 4;
/// So often at first.
const FIRST_PATIENCE: u32 = 2;
/// A bound that the server names is tried this seldom.
const TOLD_PATIENCE: u32 = 5;
/// A failure that takes this long is no refusal: the server had begun, or let it wait.
const LATE: Duration = Duration::from_secs(1);
/// So many bursts of refusals in a row that say nothing, all at the same number, are of too many at a time.
const SHOWN: u32 = 3;
/// What is tried more grows by no more than so many a second.
const STEEPEST: f64 = 450.0;

/// A request that the server did not take, or failed, among others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crowded {
    /// When it had left.
    pub(super) sent: Mono,
    /// Requests in flight when it left, itself among them.
    pub(super) rank: usize,
    /// Requests in flight now.
    pub(super) others: usize,
}

/// The bound on requests at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Parallel {
    bound: Option<Bound>,
    /// The most at a time at which a request was answered since the bound was cut.
    answered: usize,
    /// The latest burst of refusals that say nothing.
    silent: Silent,
    /// When a request was refused last, for whatever reason.
    heard: Mono,
    changed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Silent {
    /// At how many the first of the burst came,
    rank: usize,
    /// and in how many bursts in a row.
    times: u32,
    /// When that was heard.
    heard: Mono,
}

#[derive(Clone, Debug)]
struct Bound {
    most: usize,
    /// Whether the server named it.
    told: bool,
    /// Whether refusals come late.
    late: bool,
    /// When it was cut.
    since: Mono,
    /// So many answers more, and more is tried.
    answers: usize,
    patience: u32,
    trial: Option<Widening>,
    echo: Duration,
    learned: DateTime<Utc>,
}

impl Parallel {
    /// What an earlier run kept. It is tried with the first answer, unless the server named it.
    pub(super) fn kept(limit: Option<&LearnedLimit>) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "over 0, and saturating")]
        let bound = limit.map(|limit| {
            let (most, told) = ((limit.size as usize).max(1), limit.source != Source::Estimate);
            let patience = if told { TOLD_PATIENCE } else { 0 };
            let answers = if told { wait(most, patience) } else { 1 };
            let learned = limit.learned;
            // Its window is how long a refusal takes to come back.
            let (echo, late) = (limit.window, limit.window >= LATE);
            let answers = if late { answers.max(most) } else { answers };
            Bound { most, told, late, since: Mono(0), answers, patience, trial: None, echo, learned }
        });
        Self { bound, ..Self::default() }
    }

    /// The most at a time at `now`; `None` where nothing bounds it.
    pub(super) fn most(&mut self, now: Mono) -> Option<usize> {
        let bound = self.bound.as_mut()?;
        Some(bound.most + bound.more(now))
    }

    /// When one more than `in_flight` may leave; `None` where only an answer changes that.
    pub(super) fn next(&self, in_flight: usize) -> Option<Mono> {
        let bound = self.bound.as_ref()?;
        #[expect(clippy::cast_precision_loss, reason = "a number of requests")]
        let wanted = (in_flight + 1).saturating_sub(bound.most) as f64;
        bound.trial.as_ref().map(|widening| widening.reaches(wanted))
    }

    /// A request was answered that had left as the `rank`-th at a time: so many are taken.
    pub(super) fn answered(&mut self, sent: Mono, rank: usize, now: Mono) {
        // Where another one was refused meanwhile, fewer were taken than left.
        let rank = if sent >= self.heard { rank } else { 0 };
        let Some(bound) = &mut self.bound else {
            self.answered = self.answered.max(rank);
            return;
        };
        if sent < bound.since {
            return;
        }
        self.answered = self.answered.max(rank);
        bound.answers = bound.answers.saturating_sub(1);
        if rank > bound.most {
            bound.most = rank;
            if bound.late {
                bound.answers = bound.most;
            }
        }
        if bound.answers > 0 {
            return;
        }
        if bound.late {
            bound.most += 1;
            bound.answers = wait(bound.most, bound.patience);
        } else if bound.trial.is_none() {
            bound.trial = Some(Widening::trial(bound.echo, STEEPEST, now));
        }
    }

    /// Requests are in flight: where so many more are taken than the bound says, there is none.
    pub(super) fn sent(&mut self, rank: usize) {
        if self.bound.as_ref().is_some_and(|bound| bound.trial.is_some() && rank > 8 * bound.most) {
            self.bound = None;
            self.changed = true;
        }
    }

    /// A request was refused, for whatever reason.
    pub(super) fn heard(&mut self, now: Mono) {
        self.heard = now;
    }

    /// Whether a failure that may be of too many at a time is of that: with no more than this at a time, requests were answered.
    pub(super) fn follows(&self, crowded: Crowded) -> bool {
        crowded.rank > 1 && crowded.rank > self.answered
    }

    /// The same of a refusal that does not say what was too much: it comes at the same number again, and at fewer they are answered.
    pub(super) fn explains(&mut self, crowded: Crowded, now: Mono) -> bool {
        let Silent { rank, times, heard } = self.silent;
        if times > 0 && crowded.sent <= heard {
            return false;
        }
        let times = if rank == crowded.rank { times + 1 } else { 1 };
        self.silent = Silent { rank: crowded.rank, times, heard: now };
        times >= SHOWN && self.follows(crowded)
    }

    /// The server takes fewer at a time; `size` where it says how many. Returns the bound where that is news.
    pub(super) fn refused(&mut self, crowded: Crowded, size: Option<usize>, now: &Now) -> Option<LearnedLimit> {
        let Crowded { sent, rank, others } = crowded;
        let echo = sent.until(now.mono);
        let late = echo >= LATE;
        if let Some(bound) = self.bound.as_mut().filter(|bound| sent <= bound.since) {
            // It is of the same burst: what is left in flight was taken.
            if !late && !bound.told && size.is_none() {
                bound.most = bound.most.min(others.max(1));
                bound.answers = wait(bound.most, bound.patience);
            }
            return None;
        }
        let before = self.bound.take();
        let known = before.as_ref().filter(|bound| bound.most < rank).map(|bound| bound.most);
        let shown = if late { rank / 2 } else { others };
        // What was let in since the last cut is the floor of what is refused now.
        let most = size.unwrap_or(known.map_or(shown, |known| known.max(shown).min(rank - 1))).max(1);
        let patience = match (size, &before) {
            (Some(_), _) => TOLD_PATIENCE,
            (None, Some(bound)) if known.is_some() => (bound.patience + 1).min(MOST_PATIENCE),
            _ => FIRST_PATIENCE,
        };
        self.answered = 0;
        self.silent = Silent::default();
        let (told, since, learned) = (size.is_some(), now.mono, now.wall);
        let answers = wait(most, patience);
        self.bound = Some(Bound { most, told, late, since, answers, patience, trial: None, echo, learned });
        self.changed = true;
        if before.is_some_and(|bound| bound.most == most) { None } else { self.learned() }
    }

    /// Whether what is to be kept has changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What is kept for the next run.
    pub(super) fn learned(&self) -> Option<LearnedLimit> {
        let bound = self.bound.as_ref()?;
        #[expect(clippy::cast_precision_loss, reason = "a number of requests")]
        Some(LearnedLimit {
            unit: Unit::InFlight,
            group: None,
            size: bound.most as f64,
            window: bound.echo.max(Duration::from_millis(1)),
            burst: bound.echo.max(Duration::from_millis(1)),
            source: if bound.told { Source::Refusal } else { Source::Estimate },
            learned: bound.learned,
        })
    }
}

impl Bound {
    /// How many more than the bound are tried.
    fn more(&mut self, now: Mono) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 0, and saturating")]
        self.trial.as_mut().map_or(0, |widening| widening.grow(now) as usize)
    }
}

/// After so many answers more than `most` at a time are tried.
fn wait(most: usize, patience: u32) -> usize {
    (most * TRIED_AFTER) << patience
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::at;

    const MS: u64 = 1_000_000;

    fn now(ms: u64) -> Now {
        at(Mono(ms * MS))
    }

    fn crowded(sent: u64, rank: usize, others: usize) -> Crowded {
        Crowded { sent: Mono(sent * MS), rank, others }
    }

    /// Four at a time, as a burst of eight shows it.
    fn four() -> Parallel {
        let mut parallel = Parallel::default();
        for (rank, others) in [(5, 7), (6, 6), (7, 5), (8, 4)] {
            assert!(parallel.follows(crowded(0, rank, others)));
            parallel.heard(Mono(2 * MS));
            parallel.refused(crowded(0, rank, others), None, &now(2));
        }
        parallel
    }

    fn answer(parallel: &mut Parallel, rank: usize, times: usize, ms: u64) {
        (0..times).for_each(|_| parallel.answered(Mono(ms * MS), rank, Mono((ms + 1) * MS)));
    }

    #[test]
    fn what_is_left_of_a_burst_is_what_is_taken() {
        let mut parallel = four();
        assert_eq!(parallel.most(Mono(2 * MS)), Some(4));
        assert_eq!(parallel.learned().map(|limit| (limit.size, limit.source)), Some((4.0, Source::Estimate)));
        // Those that were there already say nothing of it.
        answer(&mut parallel, 8, 4, 1);
        assert_eq!(parallel.most(Mono(700 * MS)), Some(4));
    }

    #[test]
    fn more_is_tried_after_a_while_and_later_where_that_is_refused() {
        let mut parallel = four();
        let mut from = 3;
        for answers in [32, 64, 128, 128] {
            answer(&mut parallel, 4, answers - 1, from);
            assert_eq!(parallel.most(Mono((from + 1) * MS)), Some(4), "before {answers} answers");
            answer(&mut parallel, 4, 1, from);
            assert_eq!(parallel.most(Mono((from + 1) * MS)), Some(5));
            assert!(parallel.next(5).is_some_and(|at| at > Mono((from + 1) * MS)));
            parallel.refused(crowded(from + 2, 5, 4), None, &now(from + 3));
            from += 4;
            assert_eq!(parallel.most(Mono(from * MS)), Some(4));
        }
    }

    #[test]
    fn silence_says_that_more_are_taken_until_there_is_no_bound() {
        let mut parallel = Parallel::kept(four().learned().as_ref());
        answer(&mut parallel, 4, 1, 10);
        let (mut ms, mut rank) = (11, 4);
        while let Some(most) = parallel.most(Mono(ms * MS)) {
            assert!(ms < 2_000, "{most} at a time");
            while rank < most {
                rank += 1;
                parallel.sent(rank);
            }
            ms += 10;
        }
        assert!(parallel.take_changed() && parallel.learned().is_none());
    }

    #[test]
    fn late_failures_halve_it_and_only_answers_widen_it_again() {
        let mut parallel = Parallel::default();
        parallel.refused(crowded(0, 8, 7), None, &now(2_000));
        assert_eq!((parallel.most(Mono(2_000 * MS)), parallel.next(4)), (Some(4), None));
        answer(&mut parallel, 4, 31, 2_100);
        assert_eq!(parallel.most(Mono(60_000 * MS)), Some(4));
        answer(&mut parallel, 4, 1, 2_100);
        assert_eq!(parallel.most(Mono(60_000 * MS)), Some(5));
        // It is kept as what it is.
        let mut kept = Parallel::kept(parallel.learned().as_ref());
        answer(&mut kept, 5, 1, 10);
        assert_eq!(kept.most(Mono(60_000 * MS)), Some(5));
    }

    #[test]
    fn a_failure_follows_the_level_only_where_fewer_were_answered() {
        let mut parallel = Parallel::default();
        answer(&mut parallel, 40, 1, 5);
        assert!(!parallel.follows(crowded(6, 40, 60)) && parallel.follows(crowded(6, 41, 60)));
        assert!(!Parallel::default().follows(crowded(6, 1, 0)));
        // Where another one was refused meanwhile, fewer were taken than left.
        parallel.heard(Mono(9 * MS));
        answer(&mut parallel, 60, 1, 8);
        assert!(parallel.follows(crowded(10, 41, 60)));
    }

    #[test]
    fn refusals_that_say_nothing_are_of_the_level_where_three_bursts_come_at_the_same() {
        let mut parallel = Parallel::default();
        let mut burst = |sent: u64, rank| {
            let explains = parallel.explains(crowded(sent, rank, rank - 1), Mono((sent + 5) * MS));
            // The rest of the burst counts no more.
            assert!(!parallel.explains(crowded(sent + 1, rank + 1, rank), Mono((sent + 6) * MS)));
            explains
        };
        assert_eq!([burst(0, 5), burst(10, 5), burst(20, 6), burst(30, 6)], [false; 4]);
        assert!(burst(40, 6));
    }

    #[test]
    fn what_the_server_names_is_the_bound() {
        let mut parallel = Parallel::default();
        let told = parallel.refused(crowded(0, 7, 7), Some(2), &now(1)).expect("it is news");
        assert_eq!((told.size, told.unit, told.source), (2.0, Unit::InFlight, Source::Refusal));
        assert_eq!(parallel.refused(crowded(0, 8, 6), Some(2), &now(1)), None);
        answer(&mut parallel, 2, 100, 5);
        assert_eq!(parallel.most(Mono(9_000 * MS)), Some(2));
        // It is told again, and is no news; another number is.
        assert_eq!(parallel.refused(crowded(9_001, 3, 2), Some(2), &now(9_002)), None);
        assert!(parallel.refused(crowded(9_003, 3, 2), Some(1), &now(9_004)).is_some());
    }
}
