//! The laws, judged by one who sees only what goes in and out of the machine and keeps its own books.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use promptmill::admit::hint::{LearnedLimit, ServerHint, Source, Unit};
use promptmill::admit::ledger::Amount;
use promptmill::clock::{Now, nanos};
use promptmill::model::{Class, Content, Ending, Key, Limits, OnQuota, RunStop};
use promptmill::record::{Claim, Refusal};
use promptmill::report::event::Event;
use promptmill::report::summary::Tally;
use promptmill::report::waits::WaitFor;
use promptmill::run::Rules;
use promptmill::send::classify::{Failure, Kind, Verdict};

use super::attempts::Attempts;
use super::server::right_answer;
use super::table::{Reached, Row};

/// The number of a prompt, by which this side knows it.
pub(super) fn number(key: &Key) -> u64 {
    key.as_str().parse().expect("a number")
}

/// A wait that is longer than this must have been announced.
const SILENT: u64 = 5_000_000_000;

/// The most that a request may count beyond its window, for its way to the server. What waits longer than that is late for nothing.
fn most_beyond(window: u64) -> u64 {
    (window / 6).min(300_000_000)
}

/// Whether law 9 is judged in the seeds; against the kinds of servers it always is.
pub(super) const HEALS_IN_ALL_SEEDS: bool = true;

/// A bucket that was full lets through up to twice its size in a window.
const OF_ANSWERED: f64 = 0.5;

/// An announced wait may turn out this much longer: the machine does not repeat itself, and asks again about a day every minute.
const INEXACT: u64 = 66_000_000_000;

/// One admitted request, as the judge knows it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) prompt: u64,
    pub(crate) at: u64,
    /// When it was admitted by the wall clock.
    wall: DateTime<Utc>,
    reserved: u64,
    /// What it counts now: reserved, later settled.
    counted: Amount,
    settled: bool,
    /// Whether it was sent.
    left: bool,
    pub(crate) arrived: Option<u64>,
    pub(crate) billed: u64,
}

/// What one run of the program does to one prompt.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    sent: u64,
    /// Not to be sent before.
    not_before: u64,
    answered: bool,
    ended: bool,
}

/// A refusal that would end the run, after good answers: what was sent since, and how often that was refused too.
#[derive(Clone, Copy, Debug)]
struct Stray {
    since: u64,
    open: u32,
    refusals: u32,
}

/// Where the waiting machine stands, for law 2 and law 7.
pub(crate) struct Waiting {
    pub(crate) in_flight: usize,
    pub(crate) asks: bool,
    pub(crate) records: bool,
    /// Outputs are on their way to the disk and the store, or held; those of prompts that are not sent are in nobody's flight.
    pub(crate) writes: bool,
    /// More work is on its way.
    pub(crate) draws: bool,
    /// Ends are held that the store could not be told of.
    pub(crate) holds: bool,
    pub(crate) ready: bool,
    pub(crate) room: bool,
    /// What the machine says it waits for.
    pub(crate) binds: Option<WaitFor>,
}

#[derive(Debug)]
pub(crate) struct Laws {
    seed: u64,
    limits: Limits,
    attempts: u32,
    quota_stops: bool,
    pub(crate) wall_steps: bool,
    pub(crate) requests: Vec<Request>,
    /// The request of a prompt that is not settled.
    open: BTreeMap<u64, usize>,
    /// Whether the wall clock was ever more than a day ahead of itself.
    far_ahead: bool,
    turns: BTreeMap<u64, Turn>,
    /// Which version of a prompt the run has read, where it was edited.
    pub(crate) versions: BTreeMap<u64, u8>,
    used_up: Attempts,
    /// What has left and was not heard of, and what of it was not alone.
    unheard: BTreeSet<u64>,
    crowded: BTreeSet<u64>,
    /// The smallest limit of tokens that the server has told of.
    told_tokens: Option<u64>,
    /// What has left, and its tokens; and what of it was answered that left since the last refusal was heard of, in order of that.
    left: VecDeque<(u64, u64)>,
    let_in: BTreeMap<u64, (u64, u64)>,
    last_refusal: u64,
    /// Since when the run waits for nothing else than an inferred limit.
    held_since: Option<u64>,
    pub(crate) judges_estimates: bool,
    /// When the run may send nothing more.
    deadline: Option<u64>,
    /// Prompts whose answer is durable.
    paid: BTreeSet<u64>,
    /// Prompts that may be sent although they were before: their request was lost.
    lost: BTreeSet<u64>,
    refused: Option<(u64, bool)>,
    /// The end of the pause that the server asked for, and that of the pause that the machine says it takes.
    server_wait: u64,
    pause: u64,
    announced: u64,
    quiet_since: Option<u64>,
    stopped: bool,
    /// Something was answered in this run.
    answered: bool,
    stray: Option<Stray>,
    give_up_after: u64,
    /// Since when the server has only failed and refused, and since when nothing else is waited for.
    failing_since: Option<u64>,
    kept_since: Option<u64>,
    /// What the server did when the run stopped was a reason to.
    may_give_up: bool,
    pub(crate) broken: Option<String>,
    pub(crate) reached: Reached,
    /// When a server was met softly that is back, what left since and has not been heard of, and what was.
    soft: Option<Soft>,
    /// Until when a day's limit of the server is waited for.
    excused: u64,
    /// What other runs have begun in the store.
    pub(crate) others: u64,
}

#[derive(Clone, Copy, Debug)]
struct Soft {
    since: u64,
    unheard: u32,
    heard: u32,
}

impl Laws {
    pub(crate) fn new(seed: u64, limits: Limits, rules: &Rules, wall_steps: bool) -> Self {
        Self {
            seed,
            limits,
            attempts: rules.attempts,
            quota_stops: rules.on_quota == OnQuota::Stop,
            wall_steps,
            requests: Vec::new(),
            open: BTreeMap::new(),
            far_ahead: false,
            turns: BTreeMap::new(),
            versions: BTreeMap::new(),
            used_up: Attempts::default(),
            unheard: BTreeSet::new(),
            crowded: BTreeSet::new(),
            told_tokens: None,
            left: VecDeque::new(),
            let_in: BTreeMap::new(),
            last_refusal: 0,
            held_since: None,
            judges_estimates: HEALS_IN_ALL_SEEDS,
            deadline: None,
            paid: BTreeSet::new(),
            lost: BTreeSet::new(),
            refused: None,
            server_wait: 0,
            pause: 0,
            announced: 0,
            quiet_since: None,
            stopped: false,
            answered: false,
            stray: None,
            give_up_after: nanos(rules.give_up_after),
            failing_since: None,
            kept_since: None,
            may_give_up: false,
            broken: None,
            reached: Reached::default(),
            soft: None,
            excused: 0,
            others: 0,
        }
    }

    fn demand(&mut self, holds: bool, law: &str, what: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(format!("seed {}, law {law}: {}", self.seed, what()));
        }
    }

    /// Whether one request of `tokens` fits at `mono`, in the day of `now`, by the list of what was admitted and nothing else. `late` is where all of
    /// it still counts that may.
    fn fits(&self, tokens: u64, mono: u64, now: &Now, late: bool) -> bool {
        let window = nanos(self.limits.window);
        let span = if late { window + most_beyond(window) } else { window };
        let near = self.requests.iter().rev().take_while(|request| request.at + span > mono);
        let minute =
            near.fold((tokens, 1), |(t, r), request| (t + request.counted.tokens, r + request.counted.requests));
        let below = |sum: (u64, u64), tokens: Option<u64>, requests: Option<u64>| {
            tokens.is_none_or(|most| sum.0 <= most) && requests.is_none_or(|most| sum.1 <= most)
        };
        if !below(minute, self.limits.tokens_per_minute, self.limits.requests_per_minute) {
            return false;
        }
        if self.limits.tokens_per_day.is_none() && self.limits.requests_per_day.is_none() {
            return true;
        }
        let day = self
            .of_day(now)
            .fold((tokens, 1), |(t, r), request| (t + request.counted.tokens, r + request.counted.requests));
        below(day, self.limits.tokens_per_day, self.limits.requests_per_day)
    }

    /// What the day of `now` has used: all that was admitted since it began, by the wall clock as it was then, which may have gone back since.
    fn of_day(&self, now: &Now) -> impl Iterator<Item = &Request> {
        let starts = now.day.starts;
        self.requests.iter().filter(move |request| request.wall >= starts)
    }

    /// A clock that was more than a day ahead was wrong: what it noted is of tomorrow at the latest.
    fn correct(&mut self, now: &Now) {
        let latest = now.wall + TimeDelta::days(1);
        for request in self.requests.iter_mut().filter(|request| request.wall > latest) {
            request.wall = latest;
            self.far_ahead = true;
        }
    }

    /// Law 1: never over. Every admission fits by the judge's own books.
    pub(crate) fn admitted(&mut self, now: &Now, claim: &Claim, reserved: u64) -> usize {
        self.correct(now);
        // An estimate takes what is left, and no less than there is room for.
        let whole = reserved == claim.tokens
            || (reserved >= claim.least && reserved < claim.tokens && !self.fits(reserved + 1, now.mono.0, now, true));
        self.demand(whole, "2 (never late)", || format!("{claim:?} gets {reserved} tokens at {now:?}"));
        self.reached.reach_if(reserved < claim.tokens, Row::Shortened);
        let fits = self.fits(reserved, now.mono.0, now, false);
        self.demand(fits, "1 (never over)", || format!("{claim:?} is admitted at {now:?}, and does not fit"));
        self.once(number(&claim.key), now);
        self.refused = None;
        let wall = now.wall;
        let (prompt, at) = (number(&claim.key), now.mono.0);
        self.requests.push(Request {
            prompt,
            at,
            wall,
            reserved,
            counted: Amount::request(reserved),
            settled: false,
            left: false,
            arrived: None,
            billed: 0,
        });
        self.open.insert(prompt, self.requests.len() - 1);
        self.requests.len() - 1
    }

    /// Law 2: never late. What is refused does not fit, and the wait that is named is the right one.
    pub(crate) fn refused(&mut self, now: &Now, claim: &Claim, refusal: &Refusal) {
        self.correct(now);
        self.refused = None;
        if let Refusal::NotBefore(wait) = refusal {
            let fits = self.fits(claim.least, now.mono.0, now, true);
            self.demand(!fits, "2 (never late)", || format!("{claim:?} fits at {now:?}, and waits: {wait:?}"));
            if !wait.limit.is_daily() {
                let early = self.fits(claim.least, wait.until.0 - 1, now, true);
                self.demand(!early, "2 (never late)", || format!("{claim:?} fits before {wait:?}"));
            }
            self.refused = Some((claim.least, wait.limit.is_daily()));
        } else {
            self.reached.reach(Row::TooLarge);
            let fits = self.limits.tokens_per_minute.is_none_or(|most| claim.least <= most)
                && self.limits.tokens_per_day.is_none_or(|most| claim.least <= most);
            self.demand(!fits, "2 (never late)", || format!("{claim:?} is said never to fit"));
        }
    }

    /// Law 2: a machine that waits until `to` with a prompt at hand waits for a limit, a pause, or a free place.
    pub(crate) fn waited(&mut self, to: &Now, state: &Waiting) {
        if self.stopped
            || state.asks
            || state.records
            || !state.ready
            || !state.room
            || self.pause.max(self.server_wait) >= to.mono.0
            // What it takes the server for is judged by how long the whole run takes.
            || matches!(
                state.binds,
                Some(
                    WaitFor::ServerLimit(_)
                        | WaitFor::FirstAnswers
                        | WaitFor::Answers
                        | WaitFor::Outage
                        | WaitFor::Account
                        | WaitFor::Refused
                        | WaitFor::Disk
                        | WaitFor::Retry
                        // What goes behind the rest waits until it is known what that is.
                        | WaitFor::Prompts
                )
            )
        {
            return;
        }
        let Some((tokens, daily)) = self.refused else {
            self.demand(false, "2 (never late)", || {
                format!("a prompt waits until {to:?} and was not asked for: {:?}", state.binds)
            });
            return;
        };
        if daily && self.wall_steps {
            return;
        }
        let fits = self.fits(tokens, to.mono.0, to, true);
        self.demand(!fits, "2 (never late)", || format!("{tokens} tokens fit before {to:?}, and nobody asks"));
    }

    /// Law 3: never twice. What has an answer is not begun again, and nothing is under way twice.
    fn once(&mut self, prompt: u64, now: &Now) {
        let turn = self.turns.get(&prompt).copied().unwrap_or_default();
        let paid = self.paid.contains(&prompt);
        let twice = turn.answered || turn.ended || paid || self.open.contains_key(&prompt);
        self.demand(!twice, "3 (never twice)", || format!("prompt {prompt} is begun again at {now:?}: {turn:?}"));
        let known = self.turns.contains_key(&prompt);
        self.demand(known, "3 (never twice)", || format!("prompt {prompt} is up to date, and begun"));
    }

    /// Law 6: the account is not hammered. Nothing leaves in a pause that the server asked for, nor after a stop.
    pub(crate) fn sent(&mut self, now: &Now, prompt: u64, charge: u64) -> Option<usize> {
        self.left.push_back((now.mono.0, charge));
        let until = self.server_wait;
        self.demand(now.mono.0 >= until, "6 (a server's wait)", || {
            format!("prompt {prompt} is sent at {} in a pause until {until}", now.mono.0)
        });
        let not_before = self.turns.get(&prompt).map_or(0, |turn| turn.not_before);
        self.demand(now.mono.0 >= not_before, "6 (a server's wait)", || {
            format!("prompt {prompt} is sent at {} although it backs off until {not_before}", now.mono.0)
        });
        let stopped = self.stopped;
        self.demand(!stopped, "6 (a stop)", || format!("prompt {prompt} is sent at {now:?} after the stop"));
        self.in_its_time(now);
        let is_over = self.used_up.is_over(prompt, self.attempts);
        self.demand(!is_over, "6 (attempts are counted)", || {
            format!("prompt {prompt} is sent at {now:?}, and has used up its attempts")
        });
        self.turns.entry(prompt).or_default().sent = now.mono.0;
        if !self.unheard.is_empty() {
            self.crowded.append(&mut self.unheard.clone());
            self.crowded.insert(prompt);
        }
        self.unheard.insert(prompt);
        self.softly(now);
        if let Some(stray) = &mut self.stray {
            stray.open += 1;
            let alone = stray.open == 1;
            self.demand(alone, "6 (the account is not hammered)", || {
                format!("prompt {prompt} is sent at {now:?} beside the one that asks again")
            });
        }
        self.lost.remove(&prompt);
        let open = self.open.get(&prompt).copied();
        self.demand(open.is_some(), "1 (never over)", || format!("prompt {prompt} is sent without a reservation"));
        if let Some(open) = open {
            self.requests[open].left = true;
        }
        open
    }

    /// It was the prompt's own: nothing has left.
    pub(crate) fn not_sent(&mut self, request: usize) {
        self.requests[request].left = false;
    }

    /// A server that is back is not met with all at once.
    fn softly(&mut self, now: &Now) {
        let Some(soft) = self.soft.as_mut().filter(|soft| now.mono.0 < soft.since + 100_000_000) else { return };
        soft.unheard += 1;
        let Soft { since, unheard, heard } = *soft;
        self.demand(unheard <= 4 + heard / 4, "6 (the account is not hammered)", || {
            format!(
                "{unheard} requests leave by {} to a server that is back at {since}; {heard} are heard of",
                now.mono.0
            )
        });
    }

    /// Another run admits a request in the same store, which is never heard of.
    pub(crate) fn another_run(&mut self, now: &Now, reserved: u64) {
        self.others += 1;
        self.requests.push(Request {
            prompt: 1_000_000 + self.others,
            at: now.mono.0,
            wall: now.wall,
            reserved,
            counted: Amount::request(reserved),
            settled: false,
            left: true,
            arrived: Some(now.mono.0),
            billed: reserved,
        });
    }

    /// Law 6: nothing is asked for after a stop. Nor while something is paid for that the store could not be told of.
    pub(crate) fn asked(&mut self, now: &Now, holding: bool) {
        self.demand(!holding, "3 (never twice)", || format!("more is begun at {now:?} although the store fails"));
        let stopped = self.stopped;
        self.demand(!stopped, "6 (a stop)", || format!("something is begun at {now:?} after the stop"));
        self.in_its_time(now);
    }

    /// Nothing is begun or sent after the deadline.
    fn in_its_time(&mut self, now: &Now) {
        let (now, deadline) = (now.mono.0, self.deadline);
        self.demand(deadline.is_none_or(|deadline| now < deadline), "5 (a deadline)", || {
            format!("something is begun or sent at {now}, after the deadline {deadline:?}")
        });
    }

    /// Law 6: what would end the run is asked again once, alone, if something had been answered before; it is no stray one the second time.
    fn asked_again(&mut self, now: &Now, sent: u64, verdict: &Verdict) {
        let kind = match verdict {
            Verdict::Answer(_) => None,
            Verdict::Failure(failure) => Some(failure.kind),
        };
        if matches!(verdict, Verdict::Failure(failure) if failure.class.is_local()) {
            // It says nothing of the server.
            if let Some(stray) = self.stray.as_mut().filter(|stray| sent >= stray.since) {
                stray.open = stray.open.saturating_sub(1);
            }
            return;
        }
        let refused = matches!(kind, Some(Kind::Run(stop)) if stop != RunStop::Quota);
        match &mut self.stray {
            None if refused && self.answered => {
                self.stray = Some(Stray { since: now.mono.0, open: 0, refusals: 0 });
            }
            None => self.stopped |= refused,
            Some(stray) if sent >= stray.since => {
                stray.open = stray.open.saturating_sub(1);
                stray.refusals += u32::from(refused);
                let refusals = stray.refusals;
                if matches!(kind, None | Some(Kind::Prompt)) {
                    self.stray = None;
                }
                self.demand(refusals <= 2, "6 (the account is not hammered)", || {
                    format!("the run goes on at {now:?} after {refusals} refusals")
                });
            }
            Some(_) => {}
        }
        self.answered |= kind.is_none();
    }

    /// Something is heard of a request for `charge` tokens; `reached` where it came to the server.
    pub(crate) fn heard(
        &mut self,
        now: &Now,
        prompt: u64,
        charge: u64,
        (verdict, hints): (&Verdict, &[ServerHint]),
        reached: bool,
    ) {
        let sent = self.turns.get(&prompt).map_or(0, |turn| turn.sent);
        self.unheard.remove(&prompt);
        let alone = !self.crowded.remove(&prompt);
        let told = hints.iter().filter(|hint| hint.unit == Unit::Tokens).filter_map(|hint| hint.size);
        self.told_tokens = self.told_tokens.into_iter().chain(told).min();
        let larger = hints.iter().any(|hint| hint.size.zip(hint.charged).is_some_and(|(size, charged)| charged > size))
            || self.told_tokens.is_some_and(|most| charge > most);
        if matches!(verdict, Verdict::Failure(Failure { kind: Kind::Throttled, .. })) && (alone || larger) {
            self.used_up.refused_alone(prompt);
            self.reached.reach_if(alone, Row::RefusedAlone);
            if hints
                .iter()
                .any(|hint| hint.refused && hint.size.zip(hint.charged).is_some_and(|(size, charged)| charged > size))
            {
                self.used_up.never_fits(prompt);
            }
        }
        match verdict {
            Verdict::Answer(_) if sent > self.last_refusal => {
                let (requests, tokens) = self.let_in.entry(sent).or_default();
                (*requests, *tokens) = (*requests + 1, *tokens + charge);
            }
            Verdict::Failure(
                Failure { kind: Kind::Throttled, .. } | Failure { class: Class::Overloaded | Class::Timeout, .. },
            ) => {
                self.last_refusal = now.mono.0;
                self.let_in.clear();
            }
            _ => {}
        }
        self.used_up.heard(prompt, sent, now.mono.0, verdict, reached);
        self.asked_again(now, sent, verdict);
        if let Some(soft) = self.soft.as_mut().filter(|soft| sent >= soft.since) {
            soft.unheard = soft.unheard.saturating_sub(1);
            soft.heard += 1;
        }
        self.reached.reach_if(!reached && !self.used_up.is_paused(), Row::Unsent);
        match verdict {
            Verdict::Failure(failure) if failure.class.is_local() => {}
            Verdict::Answer(_) | Verdict::Failure(Failure { kind: Kind::Prompt, .. }) => self.failing_since = None,
            Verdict::Failure(Failure { kind: Kind::Run(_), .. }) => {}
            Verdict::Failure(_) => self.failing_since = self.failing_since.or(Some(now.mono.0)),
        }
        let turn = self.turns.entry(prompt).or_default();
        match verdict {
            Verdict::Answer(_) => turn.answered = true,
            Verdict::Failure(failure) => match failure.kind {
                Kind::Run(stop) => self.stopped |= stop == RunStop::Quota && self.quota_stops,
                // What is said to one that is too large, or too many at a time, is no wait for the others.
                Kind::Throttled if larger || hints.iter().any(|hint| hint.refused && hint.unit == Unit::InFlight) => {}
                Kind::Throttled => {
                    self.server_wait = self.server_wait.max(now.mono.plus(failure.wait.unwrap_or_default()).0);
                }
                Kind::Transient | Kind::Unknown | Kind::Last => {
                    turn.not_before = now.mono.plus(failure.wait.unwrap_or_default()).0;
                }
                Kind::Prompt => turn.ended = true,
            },
        }
    }

    /// Law 5 and 6: a prompt fails for good for its own failures, all of them, and for nothing else.
    pub(crate) fn writes(&mut self, prompt: u64, content: &Content) {
        let turn = self.turns.get(&prompt).copied().unwrap_or_default();
        match content {
            Content::Answer(text) => {
                let version = self.versions.get(&prompt).copied().unwrap_or_default();
                self.demand(turn.answered && *text == right_answer(prompt, version), "4 (never torn)", || {
                    format!("prompt {prompt} gets {text:?}: {turn:?}")
                });
            }
            Content::Error { class, .. } => {
                let (used, most_used) = (self.used_up.used(prompt), self.used_up.most_used(prompt));
                let allowed = match class.word() {
                    "bad_request" | "changed" => turn.ended,
                    "too_large" if most_used > used => true,
                    "too_large" | "not_text" => used == 0,
                    _ => self.used_up.is_over(prompt, self.attempts) || most_used >= self.attempts,
                };
                let by_count = !turn.ended && used > 0;
                self.reached.reach_if(by_count && used == self.attempts, Row::AttemptsUsedUp);
                self.reached.reach_if(by_count && used < self.attempts, Row::Hopeless);
                self.demand(allowed, "6 (attempts are counted)", || {
                    format!("prompt {prompt} fails for good as {class} after {used} attempts: {turn:?}")
                });
            }
        }
    }

    /// The end of the wait that the server asked for, or that the machine announced.
    pub(crate) fn not_before(&self, prompt: u64) -> u64 {
        self.turns.get(&prompt).map_or(0, |turn| turn.not_before)
    }

    /// Whether the prompt may have used up its attempts.
    pub(crate) fn may_be_over(&self, prompt: u64) -> bool {
        self.used_up.may_be_over(prompt, self.attempts)
    }

    /// Whether the prompt has used up its attempts.
    pub(crate) fn is_last(&self, prompt: u64) -> bool {
        self.used_up.is_over(prompt, self.attempts)
    }

    /// Takes a settlement into the books.
    pub(crate) fn settled(&mut self, prompt: u64, used: Amount) {
        let open = self.open.remove(&prompt);
        self.demand(open.is_some(), "4 (never under-counts)", || format!("prompt {prompt} is settled twice"));
        if let Some(request) = open.map(|open| &mut self.requests[open]) {
            request.counted = used;
            request.settled = true;
        }
    }

    /// Whether a request was begun that is not settled.
    pub(crate) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    pub(crate) fn durable(&mut self, prompt: u64) {
        self.paid.insert(prompt);
    }

    /// Law 7: a wait is visible, with the right end.
    pub(crate) fn said(&mut self, now: &Now, event: &Event) {
        let seconds = match event {
            Event::Waiting { seconds, until, wait_for } => {
                let named = *until - now.wall;
                let told = TimeDelta::from_std(Duration::from_secs_f64(*seconds)).unwrap_or_default();
                let right = (named - told).abs() < TimeDelta::milliseconds(1);
                self.demand(right, "7 (a wait is visible)", || format!("{event:?} at {now:?} contradicts itself"));
                if *wait_for == WaitFor::Server {
                    self.pause = self.pause.max(now.mono.plus(Duration::from_secs_f64(*seconds)).0);
                }
                *seconds
            }
            Event::Throttled { seconds, .. } => {
                self.pause = self.pause.max(now.mono.plus(Duration::from_secs_f64(*seconds)).0);
                *seconds
            }
            Event::Retrying { seconds, key, attempt, attempts, .. } => {
                let told = (*attempt, *attempts);
                let right = (self.used_up.used(number(key)), self.attempts);
                let can_be = self.used_up.said(number(key), *attempt) && *attempts == self.attempts;
                self.demand(can_be, "6 (attempts are counted)", || {
                    format!("prompt {key} has used {told:?} attempts, the judge counts {right:?}")
                });
                let until = now.mono.plus(Duration::from_secs_f64(*seconds)).0;
                let turn = self.turns.entry(number(key)).or_default();
                // A float of seconds is good to a microsecond.
                let waits = until + 1_000 >= turn.not_before;
                turn.not_before = turn.not_before.max(until.saturating_sub(1_000));
                self.demand(waits, "6 (a server's wait)", || format!("{event:?} cuts the server's wait short"));
                *seconds
            }
            // A wait for a probe, which is told with its end.
            Event::Paused { cause, seconds, .. } => {
                let had_none_left = self.turns.keys().any(|prompt| self.used_up.is_over(*prompt, self.attempts));
                let given_back = self.used_up.paused(*cause);
                self.reached.reach_if(given_back > 0, Row::AttemptsBack);
                self.reached.reach_if(given_back > 0 && had_none_left, Row::LastAttemptBack);
                *seconds
            }
            // The store is tried again until then.
            Event::Holding { seconds, .. } => *seconds,
            Event::Stopping { .. } => {
                self.may_give_up = self.is_enough(now);
                self.stopped = true;
                0.0
            }
            // Whatever was asked is answered.
            Event::Resumed { .. } => {
                self.used_up.resumed();
                self.soft = Some(Soft { since: now.mono.0, unheard: 0, heard: 0 });
                self.stray = None;
                0.0
            }
            _ => 0.0,
        };
        self.announced = self.announced.max(now.mono.plus(Duration::from_secs_f64(seconds)).0);
    }

    /// `give_up_after` holds: the server keeps nobody waiting for longer. What we keep to by ourselves, and an account, is another matter.
    fn kept(&mut self, from: u64, to: u64, state: &Waiting) {
        let idle = state.in_flight == 0 && !state.asks && !state.records && !self.stopped && from >= self.excused;
        let of_server = matches!(
            state.binds,
            Some(WaitFor::Server | WaitFor::Outage | WaitFor::Refused | WaitFor::Retry | WaitFor::FirstAnswers)
        );
        if !idle || !of_server {
            self.kept_since = None;
            return;
        }
        let since = *self.kept_since.get_or_insert(from);
        let most = self.give_up_after;
        self.demand(to - since <= most, "5 (it ends)", || {
            format!("{:?} is waited for from {since} to {to}, and {most} is the most", state.binds)
        });
    }

    /// Law 9: no inferred limit holds the run for a whole window below what the server has answered, since its last refusal, in any span as long.
    fn held(&mut self, from: u64, to: u64, state: &Waiting) {
        if state.asks {
            return;
        }
        let inferred = state.binds.as_ref().and_then(|binds| match binds {
            WaitFor::ServerLimit(limit) if limit.group.as_deref() != Some(LearnedLimit::RAMP) => Some(limit),
            _ => None,
        });
        let asked = self.pause.max(self.server_wait).max(self.last_refusal) > from;
        // How many may be in flight is no rate.
        let inferred = inferred.filter(|limit| limit.source == Source::Estimate && limit.unit != Unit::InFlight);
        let Some(limit) = inferred.filter(|_| state.ready && state.room && !asked) else {
            self.held_since = None;
            return;
        };
        let (since, window) = (*self.held_since.get_or_insert(from), nanos(limit.window));
        if to < since.max(self.last_refusal) + window || to - from < window / 100 {
            return;
        }
        let of = |(requests, tokens): (u64, u64)| if limit.unit == Unit::Tokens { tokens } else { requests };
        let (mut best, mut within, mut first) = (0, 0, self.let_in.iter().peekable());
        for (at, amount) in &self.let_in {
            within += of(*amount);
            while let Some((_, early)) = first.next_if(|(early, _)| **early + window <= *at) {
                within -= of(*early);
            }
            best = best.max(within);
        }
        let recent = self.left.iter().rev().take_while(|(at, _)| at + window > to);
        let used: u64 = recent.map(|(_, charge)| of((1, *charge))).sum();
        let next = self.left.iter().map(|(_, charge)| of((1, *charge))).max().unwrap_or(1);
        self.reached.reach(Row::Inferred);
        let heals = (used + next) as f64 >= best as f64 * OF_ANSWERED;
        self.demand(heals || !self.judges_estimates, "9 (estimates heal)", || {
            format!("{limit:?} holds the run until {to} at {used} in its window, and {best} were answered")
        });
    }

    /// A run ends for an outage after failures alone, or for a wait that outlasts its patience.
    fn is_enough(&self, now: &Now) -> bool {
        let now = now.mono.0;
        let silent = self.failing_since.map_or(0, |since| now - since);
        let asked = self.turns.values().map(|turn| turn.not_before).chain([self.server_wait]).max().unwrap_or(0);
        // A backoff of our own may be so long.
        let own = 62_000_000_000;
        // And what is asked for is kept to with a little more, so that not all come back at once.
        let spread = 1_000_000_000;
        silent + (asked.saturating_sub(now) + spread).max(own) > self.give_up_after
    }

    /// Law 7: nobody sits in silence.
    pub(crate) fn passes(&mut self, from: u64, to: u64, state: &Waiting) {
        self.kept(from, to, state);
        self.held(from, to, state);
        let is_over = self.deadline.is_some_and(|deadline| to > deadline);
        let busy = state.in_flight > 0 || state.asks || state.records || state.writes || state.holds;
        self.demand(busy || !is_over, "5 (a deadline)", || {
            format!("nothing is under way from {from} to {to}, and the run does not end at its deadline")
        });
        if state.in_flight > 0 || state.asks || state.records || state.writes || state.draws || self.stopped {
            self.quiet_since = None;
            return;
        }
        let since = *self.quiet_since.get_or_insert(from);
        let announced = self.announced;
        let told = to - since <= SILENT || announced + INEXACT >= to || self.wall_steps;
        self.demand(told, "7 (a wait is visible)", || {
            format!("nothing happens from {since} to {to}, and a wait was told until {announced} only")
        });
    }

    /// A day's limit of the server is waited for, where it is not to end the run.
    pub(crate) fn excuse(&mut self, until: u64) {
        self.excused = self.excused.max(until);
    }

    /// The latest moment that anybody has asked for, or announced.
    pub(crate) fn latest(&self) -> u64 {
        let turns = self.turns.values().map(|turn| turn.not_before);
        turns.chain([self.server_wait, self.pause, self.announced, self.excused]).max().unwrap_or(0)
    }

    /// Whether a refusal that would end the run is asked again.
    pub(crate) fn is_stray(&self) -> bool {
        self.stray.is_some()
    }

    /// A prompt is another one now: what is kept is no answer to it.
    pub(crate) fn edited(&mut self, prompt: u64, version: u8) {
        self.paid.remove(&prompt);
        self.versions.insert(prompt, version);
    }

    pub(crate) fn is_paid(&self, prompt: u64) -> bool {
        self.paid.contains(&prompt)
    }

    /// A run is over, however it ended: all of it is lost but what is durable. `lost` is what the next one says was in flight.
    pub(crate) fn dies(&mut self, lost: &[u64]) {
        // Law 3: at most what was in flight is sent again, and the store can name it.
        let open: BTreeSet<u64> = self.open.keys().copied().collect();
        let named: BTreeSet<u64> = lost.iter().copied().collect();
        self.demand(open == named, "3 (never twice)", || format!("in flight at the crash {open:?}, named {named:?}"));
        for (prompt, turn) in &self.turns {
            let known = !turn.answered || self.paid.contains(prompt) || named.contains(prompt);
            let (seed, prompt) = (self.seed, *prompt);
            if !known && self.broken.is_none() {
                self.broken = Some(format!("seed {seed}, law 3 (never twice): the answer of {prompt} is forgotten"));
            }
        }
        self.lost.extend(named);
        self.open.clear();
        self.turns.clear();
    }

    /// The program starts with `prompts`.
    pub(crate) fn starts(&mut self, prompts: impl Iterator<Item = u64>, deadline: Option<u64>) {
        self.turns = prompts.map(|prompt| (prompt, Turn::default())).collect();
        self.used_up = Attempts::default();
        (self.unheard, self.crowded) = (BTreeSet::new(), BTreeSet::new());
        (self.left, self.let_in) = (VecDeque::new(), BTreeMap::new());
        (self.last_refusal, self.held_since) = (0, None);
        self.deadline = deadline;
        self.refused = None;
        (self.server_wait, self.pause, self.announced) = (0, 0, 0);
        self.quiet_since = None;
        (self.stopped, self.answered, self.stray, self.soft) = (false, false, None, None);
        (self.failing_since, self.kept_since) = (None, None);
    }

    /// Law 4: never torn, never lost.
    pub(crate) fn output(&mut self, prompt: u64, done: bool, output: Option<&Content>) {
        let version = self.versions.get(&prompt).copied().unwrap_or_default();
        let right = match output {
            // What stands there of an earlier version is no answer.
            Some(Content::Answer(text)) if !done => (0..=version).any(|version| *text == right_answer(prompt, version)),
            Some(Content::Answer(text)) => *text == right_answer(prompt, version),
            Some(Content::Error { .. }) | None => !done,
        };
        self.demand(right, "4 (never torn, never lost)", || format!("prompt {prompt}, done: {done}, has {output:?}"));
    }

    /// Law 3: what is paid for is kept as long as the process lives.
    pub(crate) fn keeps_what_is_paid(&mut self) {
        let lost = self.turns.iter().find(|(prompt, turn)| turn.answered && !self.paid.contains(prompt));
        let lost = lost.map(|(prompt, _)| *prompt);
        self.demand(lost.is_none(), "3 (what is paid is kept)", || {
            format!("the run ends without the answer of {lost:?}")
        });
    }

    /// The tally adds up, and says what was journalled.
    pub(crate) fn ends(
        &mut self,
        now: &Now,
        jobs: usize,
        tally: &Tally,
        journalled: (usize, usize, usize),
        ending: &Ending,
    ) {
        let told = (tally.done, tally.failed, tally.kept);
        self.demand(told == journalled, "4 (it adds up)", || {
            format!("{ending:?}: the tally says {told:?}, the journal {journalled:?} of {jobs} jobs")
        });
        let patient = !matches!(ending, Ending::Outage { .. }) || self.may_give_up;
        self.demand(patient, "5 (one failure is no end)", || format!("{ending:?}, and it could have waited"));
        let ends_in_time = *ending != Ending::Deadline || self.deadline.is_some_and(|deadline| deadline <= now.mono.0);
        self.demand(ends_in_time, "5 (a deadline)", || format!("{ending:?} at {now:?}, too early"));
        let complete = *ending == Ending::Complete;
        self.demand(!complete || told.0 + told.1 == jobs, "5 (one failure is no end)", || {
            format!("{ending:?} with {told:?} of {jobs} jobs")
        });
        self.demand(complete || self.stopped, "5 (one failure is no end)", || format!("{ending:?} for no reason"));
    }

    /// Law 1, as the server sees it: in no span of a window more arrives than the limits allow. Where requests do not name the most that an answer
    /// may have, it may have more tokens than any client can know of, and only the requests are judged.
    pub(crate) fn convict(&mut self, tokens_are_known: bool) {
        let window = nanos(self.limits.window);
        let arrival = |request: &Request| request.arrived.map(|at| (at, request.billed));
        let mut arrivals: Vec<_> = self.requests.iter().filter_map(arrival).collect();
        arrivals.sort_unstable();
        let (mut first, mut tokens) = (0, 0);
        for (last, &(at, billed)) in arrivals.iter().enumerate() {
            tokens += billed;
            while arrivals[first].0 + window <= at {
                tokens -= arrivals[first].1;
                first += 1;
            }
            let count = (last + 1 - first) as u64;
            let over = self.limits.tokens_per_minute.is_some_and(|most| tokens_are_known && tokens > most)
                || self.limits.requests_per_minute.is_some_and(|most| count > most);
            self.demand(!over, "1 (never over, says the server)", || {
                format!("{tokens} tokens of {count} requests in the window that ends at {at}")
            });
        }
    }

    /// Law 4: usage never under-counts, and counts no request that never left. `day` is the ledger's use of the day of `now`, which has nothing open.
    pub(crate) fn counts(&mut self, now: &Now, day: Amount) {
        self.correct(now);
        let Amount { tokens: day_tokens, requests: day_requests } = day;
        let date = now.day.date;
        let billed = |request: &Request| {
            if request.settled { request.billed } else { request.billed.min(request.reserved) }
        };
        // An answer of unknown fate, or without a usage, counts as reserved, whatever the server billed beyond it.
        let billed: u64 =
            self.of_day(now).map(|request| billed(request).min(request.counted.tokens.max(request.reserved))).sum();
        let counted: u64 = self.of_day(now).map(|request| request.counted.tokens).sum();
        // Whether one that was begun before a crash has left is not known.
        let requests = self.of_day(now).filter(|request| request.left || !request.settled).count() as u64;
        self.demand(day_tokens >= billed, "4 (never under-counts)", || {
            format!("the ledger counts {day_tokens} on {date}, the server bills {billed}")
        });
        // What was noted under a wrong date is not given back where it turns out to be less.
        let more = self.far_ahead;
        self.demand(day_tokens == counted || (more && day_tokens > counted), "4 (never under-counts)", || {
            format!("the ledger counts {day_tokens} on {date}, the judge {counted}")
        });
        self.demand(day_requests == requests || (more && day_requests > requests), "4 (never under-counts)", || {
            format!("the ledger counts {day_requests} requests on {date}, and {requests} have left")
        });
    }

    /// Law 2, over a whole run without faults: `took` at most the least possible time for what was reserved, and a little more.
    pub(crate) fn in_time(&mut self, took: u64, slack: u64) {
        let window = nanos(self.limits.window);
        let span = window + most_beyond(window);
        let total: u64 = self.requests.iter().map(|request| request.reserved).sum();
        let largest = self.requests.iter().map(|request| request.reserved).max().unwrap_or(0);
        let by_tokens = self.limits.tokens_per_minute.map_or(0, |most| total.div_ceil(most + 1 - largest.min(most)));
        let by_requests = self.limits.requests_per_minute.map_or(0, |most| (self.requests.len() as u64).div_ceil(most));
        let most = (by_tokens + by_requests + 1) * span + slack;
        self.demand(took <= most, "2 (never late)", || format!("the run took {took} ns, {most} would do"));
    }

    pub(crate) fn sent_again(&self) -> usize {
        let mut seen = BTreeSet::new();
        self.requests.iter().filter(|request| request.arrived.is_some() && !seen.insert(request.prompt)).count()
    }

    /// The machine must end by itself.
    pub(crate) fn stuck(&mut self, why: &str) {
        self.demand(false, "5 (it ends)", || why.to_owned());
    }
}

/// Law 9 is broken by nothing that a server of the ordinary run makes today: here it is.
#[test]
fn who_is_held_below_what_was_answered_is_heard() {
    const SECOND: u64 = 1_000_000_000;
    let rules = super::setting::Setting::random(0).rules;
    let limit = |source| LearnedLimit {
        unit: Unit::Requests,
        group: None,
        size: 5.0,
        window: Duration::from_secs(60),
        burst: Duration::from_secs(60),
        source,
        learned: DateTime::default(),
    };
    let convicts = |source, heard_of: u64, then: u64| {
        let mut laws = Laws::new(0, rules.limits, &rules, false);
        laws.judges_estimates = true;
        let state = Waiting {
            in_flight: 0,
            asks: false,
            records: false,
            writes: false,
            draws: false,
            holds: false,
            ready: true,
            room: true,
            binds: Some(WaitFor::ServerLimit(limit(source))),
        };
        // 20 at once, all answered; and later one in a while.
        laws.left.extend((1..=20).map(|at| (at, 100)));
        laws.let_in.extend((1..=heard_of).map(|at| (at, (1, 100))));
        for second in 2..200 {
            if second % then == 0 {
                laws.left.push_back((second * SECOND, 100));
            }
            laws.held((second - 1) * SECOND, second * SECOND, &state);
        }
        laws.broken.is_some()
    };
    assert!(convicts(Source::Estimate, 20, 12));
    // It is told, or little was answered, or no less is sent than before.
    assert!(!convicts(Source::Headers, 20, 12));
    assert!(!convicts(Source::Estimate, 10, 12));
    assert!(!convicts(Source::Estimate, 20, 3));
}
