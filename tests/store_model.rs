//! The two stores are held to the same answers, and the one in a file to what only a file can do: several processes, restarts, `usage.md`.
#![expect(clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use promptmill::admit::hint::{LearnedLimit, Source, Unit};
use promptmill::admit::ledger::{Amount, Ledger, Wait};
use promptmill::admit::usage_md::Face;
use promptmill::clock::{Day, Mono, Now};
use promptmill::model::{
    Before, Class, ContentId, Fingerprint, FinishReason, Key, Known, LimitName, Limits, Status, Usage,
};
use promptmill::record::entry::LostRequest;
use promptmill::record::memory::MemoryStore;
use promptmill::record::sqlite::SqliteStore;
use promptmill::record::{
    self, Admissions as _, Claim, Ended, Endpoint, FaceFound, Finished, Found, Journal, Refusal, Reservation, RunInfo,
    Settlement, Store, Told, UsageFile as _, UsageFileError, endpoint,
};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const FINGERPRINT: Fingerprint = Fingerprint([3; 16]);

fn start() -> DateTime<Utc> {
    "2026-11-22T22:00:00Z".parse().expect("a date")
}

/// The clocks `seconds` after the start; the machine was switched on `up` seconds before it.
fn at_since(seconds: u64, up: u64) -> Now {
    let wall = start() + TimeDelta::seconds(i64::try_from(seconds).expect("a test's span"));
    Now { mono: Mono((seconds + up) * SECOND), wall, day: Day::of(wall, &Utc) }
}

fn at(seconds: u64) -> Now {
    at_since(seconds, 100_000)
}

/// The same moment where the day is that of a zone so many quarters of an hour east of Greenwich.
fn in_zone(now: Now, east: i32) -> Now {
    let zone = FixedOffset::east_opt(900 * east).expect("an offset");
    Now { day: Day::of(now.wall, &zone), ..now }
}

fn limits(tokens: u64) -> Limits {
    Limits { tokens_per_minute: Some(tokens), requests_per_minute: None, tokens_per_day: None, ..Limits::default() }
}

fn info(outputs: &str) -> RunInfo {
    RunInfo { outputs: outputs.to_owned(), model: "m".to_owned(), rehearsal: false, pid: 1 }
}

fn number(key: &Key) -> u64 {
    key.as_str().parse().expect("a number")
}

fn claim(key: u64, tokens: u64) -> Claim {
    let (fingerprint, before) = (FINGERPRINT, Before::Nothing);
    Claim { key: Key::from(key), fingerprint, attempt: 1, input_tokens: 1, tokens, least: tokens, before }
}

/// Heard of long after the guard: every entry counts for the whole span.
fn settlement((reservation, used): (Reservation, Amount)) -> Settlement {
    Settlement { reservation, used, heard: Mono(u64::MAX), told: Told::default() }
}

fn done(key: u64, settled: Option<(Reservation, u64)>) -> Finished {
    let usage = Usage { input_tokens: 5, output_tokens: 6, ..Usage::default() };
    let ended = Ended::Done { usage, finish: FinishReason::Complete, output: ContentId::of(b"an answer") };
    end(key, ended, settled.map(|(reservation, tokens)| (reservation, Amount::request(tokens))))
}

fn end(key: u64, ended: Ended, settled: Option<(Reservation, Amount)>) -> Finished {
    let settled = settled.map(settlement);
    Finished { key: Key::from(key), fingerprint: FINGERPRINT, settled, ended }
}

fn open(ledger: &Path, limits: Limits, boot: &str, now: &Now) -> SqliteStore {
    SqliteStore::open(ledger, limits, boot.to_owned(), now).expect("the store opens")
}

/// A folder, its `usage.md`, and a store with a run.
fn fresh(limits: Limits) -> (tempfile::TempDir, PathBuf, SqliteStore) {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = folder.path().join("usage.md");
    let mut store = open(&ledger, limits, "boot", &at(0));
    store.start_run(&info("out"), &at(0)).expect("a run");
    (folder, ledger, store)
}

fn admit(store: &mut SqliteStore, key: u64, tokens: u64, now: Now) -> Reservation {
    let mut begun = store.begin(&[claim(key, tokens)], &|| now).expect("begun");
    assert_eq!(begun.refused, None);
    begun.admitted.pop().expect("one")
}

/// The answer to `prompt` that comes at `seconds`.
fn output(key: u64, seconds: u64) -> ContentId {
    ContentId::of(format!("{key} at {}", seconds / 60).as_bytes())
}

/// What stands at the place of `prompt` in a run.
fn before(key: u64, run: u64) -> Before {
    match (key + run) % 4 {
        0 => Before::Unknown,
        1 => Before::Nothing,
        _ => Before::Output(output(key, run * 60)),
    }
}

/// What is known, in the order of keys, the lost requests, and the kept answers.
type Left = (BTreeMap<Key, Known>, Vec<LostRequest>, Vec<(Key, String)>);

/// What is found of the folder `out`, whose prompts are those before `end`.
fn left(store: &dyn Journal, end: u64) -> Left {
    let Found { lost, kept, .. } = store.find("out", "m").expect("found");
    let keys: Vec<_> = (0..end).map(Key::from).collect();
    let known = store.history("out").expect("a history").known(&keys).expect("read");
    let mut known: BTreeMap<_, _> =
        keys.into_iter().zip(known).filter_map(|(key, known)| Some((key, known?))).collect();
    // It is read where it is needed.
    known.values_mut().filter(|known| !known.unsettled).for_each(|known| known.output = None);
    let mut kept: Vec<_> = kept.into_iter().map(|kept| (kept.key, kept.text)).collect();
    kept.sort();
    (known, in_order(lost), kept)
}

/// In the order of their prompts; what was seen before of each is a set.
fn in_order(mut lost: Vec<LostRequest>) -> Vec<LostRequest> {
    lost.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    for lost in &mut lost {
        lost.earlier.sort_unstable_by_key(|content| content.hash);
        lost.earlier.dedup();
    }
    lost
}

/// Writes `text` as a person does at the start.
fn edit(ledger: &Path, text: &str) {
    fs::write(ledger, text).expect("edited");
    fs::File::options().write(true).open(ledger).expect("there").set_modified(start().into()).expect("dated");
}

#[derive(Clone, Debug)]
enum Act {
    /// Claims of so many tokens each.
    Begin(Vec<u64>),
    /// One that is in flight ends in one of five ways, settled with a share of its reservation.
    Finish {
        which: usize,
        percent: u64,
        how: u8,
    },
    Used,
    /// The process dies and another starts, after a restart of the machine or not.
    Restart {
        reboot: bool,
    },
    Pass(u64),
    /// Whose midnight ends the day is another setting.
    Zone(i32),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => prop::collection::vec(1u64..70, 1..5).prop_map(Act::Begin),
        4 => (any::<usize>(), 0u64..160, 0u8..6).prop_map(|(which, percent, how)| Act::Finish { which, percent, how }),
        1 => Just(Act::Used),
        1 => any::<bool>().prop_map(|reboot| Act::Restart { reboot }),
        4 => prop_oneof![0u64..30, 30u64..100, Just(3_600)].prop_map(Act::Pass),
        1 => (-56i32..=56).prop_map(Act::Zone),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// One sequence, two stores, the same answers.
    #[test]
    fn the_file_and_the_value_give_the_same_answers(acts in prop::collection::vec(act(), 1..60), tokens in 70u64..250, requests in 1u64..8) {
        let limits = Limits {
            tokens_per_minute: Some(tokens), requests_per_minute: Some(requests), tokens_per_day: Some(tokens * 6), requests_per_day: Some(40),
            ..Limits::default()
        };
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = folder.path().join("usage.md");
        let (mut seconds, mut up, mut boots, mut east) = (0, 100_000, 0, 0);
        let mut file = open(&ledger, limits, "boot 0", &at(0));
        let mut value = MemoryStore::new(Ledger::new(limits));
        file.start_run(&info("out"), &at(0)).expect("a run");
        value.start_run(&info("out"), &at(0)).expect("a run");
        let (mut next, mut run) = (1, 1);
        let mut flying: Vec<(u64, Reservation, Reservation)> = Vec::new();
        let mut waiting: Vec<u64> = Vec::new();
        for act in acts {
            let now = in_zone(at_since(seconds, 100_000), east);
            let booted = in_zone(at_since(seconds, up), east);
            match act {
                Act::Begin(sizes) => {
                    let claims: Vec<Claim> = sizes.iter().map(|&tokens| {
                        let key = waiting.pop().unwrap_or_else(|| { next += 1; next - 1 });
                        // Every third is an estimate, of which less may be reserved.
                        let least = if key.is_multiple_of(3) { tokens / 3 + 1 } else { tokens };
                        Claim { least, before: before(key, run), ..claim(key, tokens) }
                    }).collect();
                    let ours = file.begin(&claims, &|| booted).expect("begun");
                    let theirs = value.begin(&claims, &|| now).expect("begun");
                    let wait = |refusal, offset: u64| match refusal {
                        Some(Refusal::NotBefore(Wait { limit, until })) => Some(Refusal::NotBefore(Wait { limit, until: Mono(until.0 - offset * SECOND) })),
                        other => other,
                    };
                    prop_assert_eq!(ours.admitted.len(), theirs.admitted.len());
                    prop_assert_eq!(wait(ours.refused, up), wait(theirs.refused, 100_000));
                    waiting.extend(claims[ours.admitted.len()..].iter().map(|claim| number(&claim.key)));
                    for ((claim, a), b) in claims.iter().zip(ours.admitted).zip(theirs.admitted) {
                        prop_assert_eq!(a.tokens(), b.tokens());
                        flying.push((number(&claim.key), a, b));
                    }
                }
                Act::Finish { which, percent, how } if !flying.is_empty() => {
                    let place = which % flying.len();
                    let (key, a, b) = flying.swap_remove(place);
                    let usage = Usage { input_tokens: 1, output_tokens: 2, ..Usage::default() };
                    let ended = match how {
                        0 => Ended::Done { usage, finish: FinishReason::Complete, output: output(key, seconds) },
                        1 => Ended::Failed { class: Class::ServerError, message: "m".into(), usage },
                        5 => Ended::Failed { class: Class::OutputBlocked, message: "m".into(), usage },
                        2 => Ended::Unwritten { usage, finish: FinishReason::Refused, text: format!("text of {key}") },
                        _ => { waiting.push(key); Ended::Again { class: Some(Class::RateLimited) } }
                    };
                    // The fifth never left.
                    let used = if how == 4 { Amount::default() } else { Amount::request(a.tokens() * percent / 100) };
                    file.finish(&[end(key, ended.clone(), Some((a, used)))], &booted).expect("finished");
                    value.finish(&[end(key, ended, Some((b, used)))], &now).expect("finished");
                }
                Act::Finish { .. } | Act::Used => {}
                Act::Restart { reboot } => {
                    if reboot {
                        // Some two minutes after the machine was switched on.
                        boots += 1;
                        seconds += 120;
                        up = 200;
                        up -= up.min(seconds % 7);
                        up = up.max(130);
                    }
                    // The steady clock starts anew with a boot.
                    let booted = in_zone(at_since(seconds, up), east);
                    file = open(&ledger, limits, &format!("boot {boots}"), &booted);
                    prop_assert_eq!(left(&file, next), left(&value, next));
                    file.start_run(&info("out"), &booted).expect("a run");
                    value.start_run(&info("out"), &now).expect("a run");
                    flying.clear();
                    waiting.clear();
                    // The prompts of the runs before are sent once more.
                    (next, run) = (1, run + 1);
                }
                Act::Pass(more) => seconds += more,
                Act::Zone(other) => east = other,
            }
            let (booted, now) = (in_zone(at_since(seconds, up), east), in_zone(at(seconds), east));
            let used = (file.used(&booted).expect("used"), value.used(&now).expect("used"));
            prop_assert_eq!(used.0, used.1);
        }
        prop_assert_eq!(left(&file, next), left(&value, next));
    }

    /// Law 1 for days: processes whose days are those of other zones, and clocks that are set, grant nothing twice. The oracle knows only what was
    /// admitted when, by the wall clock of that moment.
    #[test]
    fn no_zone_and_no_clock_grants_a_day_twice(
        asks in prop::collection::vec((0usize..3, 1u64..60, 0u64..9_000, 0u64..=150, prop::option::weighted(0.1, -80_000i64..80_000)), 1..60),
        zones in prop::array::uniform3(-56i32..=56),
    ) {
        let limits = Limits { tokens_per_day: Some(100), tokens_per_minute: None, requests_per_minute: None, ..Limits::default() };
        let (_folder, ledger, first) = fresh(limits);
        let mut stores = [first, open(&ledger, limits, "boot", &at(0)), open(&ledger, limits, "boot", &at(0))];
        for (place, store) in stores.iter_mut().enumerate() {
            store.start_run(&info(&place.to_string()), &at(0)).expect("a run");
        }
        let mut admitted: Vec<(DateTime<Utc>, u64)> = Vec::new();
        let (mut seconds, mut off) = (0, 0);
        for (key, (which, tokens, pause, percent, step)) in (1..).zip(asks) {
            seconds += pause;
            off += step.unwrap_or(0);
            let wall = at(seconds).wall + TimeDelta::seconds(off);
            let now = |zone: usize| in_zone(Now { wall, ..at(seconds) }, zones[zone]);
            let day = |zone: usize, admitted: &[(DateTime<Utc>, u64)]| -> u64 {
                admitted.iter().filter(|(then, _)| *then >= now(zone).day.starts).map(|(_, tokens)| tokens).sum()
            };
            // A clock that was more than a day ahead was wrong.
            for (then, _) in &mut admitted {
                *then = (*then).min(wall + TimeDelta::days(1));
            }
            let used = day(which, &admitted);
            let begun = stores[which].begin(&[claim(key, tokens)], &|| now(which)).expect("begun");
            prop_assert_eq!(begun.admitted.len() == 1, used + tokens <= 100, "{} used, {} asked", used, tokens);
            for reservation in begun.admitted {
                let settled = tokens * percent / 100;
                stores[which].finish(&[done(key, Some((reservation, settled)))], &now(which)).expect("finished");
                admitted.push((wall, settled));
            }
            for (zone, store) in stores.iter_mut().enumerate() {
                prop_assert_eq!(store.used(&now(zone)).expect("used").day.tokens, day(zone, &admitted));
            }
        }
    }

    /// Law 1 across processes: two of them on one file admit at most the limit together, whoever asks and settles.
    #[test]
    fn two_processes_never_admit_more_than_the_limit(
        asks in prop::collection::vec((any::<bool>(), 1u64..60, 0u64..25, 0u64..=100), 1..50), one_boot: bool,
    ) {
        let (_folder, ledger, first) = fresh(limits(100));
        // Where the system has no name for its start, each process has its own.
        let boot = if one_boot { "boot" } else { "another" };
        let mut second = open(&ledger, limits(100), boot, &at(0));
        second.start_run(&info("elsewhere"), &at(0)).expect("a run");
        let mut stores = [first, second];
        let span = limits(100).span();
        let (mut seconds, mut admitted): (u64, Vec<(Mono, u64)>) = (0, Vec::new());
        for (key, (which, tokens, pause, percent)) in (1..).zip(asks) {
            seconds += pause;
            let now = at(seconds);
            let begun = stores[usize::from(which)].begin(&[claim(key, tokens)], &|| now).expect("begun");
            let in_window: u64 = admitted.iter().filter(|(then, _)| then.plus(span) > now.mono).map(|(_, tokens)| tokens).sum();
            prop_assert_eq!(begun.admitted.len() == 1, in_window + tokens <= 100, "{} in the window, {} asked", in_window, tokens);
            for reservation in begun.admitted {
                let settled = tokens * percent / 100;
                stores[usize::from(which)].finish(&[done(key, Some((reservation, settled)))], &now).expect("finished");
                admitted.push((now.mono, settled));
            }
            let used = stores.each_mut().map(|store| store.used(&now).expect("used"));
            prop_assert_eq!(used[0], used[1]);
        }
    }
}

/// What happens to the `usage.md` of several processes. The first number says which of them.
#[derive(Clone, Debug)]
enum FaceAct {
    /// Admits so many tokens.
    Use(usize, u64),
    /// Settles one of its requests with a share of its reservation.
    Settle(usize, u64),
    Write(usize),
    /// Gets as far as the rename, and is held up there.
    Note(usize),
    /// One that was held up goes on.
    Place(usize, usize),
    /// Dies with all that it was about to do.
    Die(usize),
    /// A person writes a text that stood there before, or zeros.
    Edit(usize, usize),
}

fn face_act() -> impl Strategy<Value = FaceAct> {
    let which = || 0usize..3;
    prop_oneof![
        4 => (which(), 1u64..1_000).prop_map(|(which, tokens)| FaceAct::Use(which, tokens)),
        2 => (which(), 0u64..150).prop_map(|(which, percent)| FaceAct::Settle(which, percent)),
        4 => which().prop_map(FaceAct::Write),
        4 => which().prop_map(FaceAct::Note),
        4 => (which(), any::<usize>()).prop_map(|(which, noted)| FaceAct::Place(which, noted)),
        1 => which().prop_map(FaceAct::Die),
        1 => (which(), any::<usize>()).prop_map(|(which, text)| FaceAct::Edit(which, text)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// However long a process is held up before it puts its `usage.md` in place, nobody takes that for an edit; and an edit holds, also one that
    /// sets the file back to numbers that it had before.
    #[test]
    fn an_edit_is_told_from_writings_however_late_they_come(acts in prop::collection::vec(face_act(), 1..70)) {
        let none = Limits { tokens_per_minute: None, ..limits(0) };
        let (_folder, ledger, first) = fresh(none);
        let another = |number| {
            let mut store = open(&ledger, none, "boot", &at(0));
            store.start_run(&info(number), &at(0)).expect("a run");
            store
        };
        let mut stores = [first, another("second"), another("third")];
        let (mut flying, mut noted) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
        let (mut truth, mut key, mut seconds) = (0, 0, 0);
        // What a person has seen there, and what was noted last.
        let mut texts = vec![stores[0].write_face(&at(0)).expect("written").to_string()];
        let mut last = texts[0].clone();
        for act in acts {
            seconds += 1;
            let now = at(seconds);
            match act {
                FaceAct::Use(which, tokens) => {
                    key += 1;
                    flying[which].push((key, admit(&mut stores[which], key, tokens, now)));
                    truth += tokens;
                }
                FaceAct::Settle(which, percent) => if let Some((key, reservation)) = flying[which].pop() {
                    let used = reservation.tokens() * percent / 100;
                    truth = truth - reservation.tokens() + used;
                    stores[which].finish(&[done(key, Some((reservation, used)))], &now).expect("finished");
                },
                FaceAct::Write(which) => last = stores[which].write_face(&now).expect("written").to_string(),
                FaceAct::Note(which) => {
                    let (face, writing) = stores[which].note_face(&now).expect("noted");
                    last = face.to_string();
                    noted[which].push(writing);
                }
                FaceAct::Place(which, number) => if !noted[which].is_empty() {
                    let number = number % noted[which].len();
                    let writing = noted[which].remove(number);
                    stores[which].place_face(writing).expect("placed");
                },
                FaceAct::Die(which) => noted[which].clear(),
                FaceAct::Edit(which, text) => {
                    let zeros = "tokens_within_min = 0\nrequests_within_min = 0\ntokens_within_day = 0\n\
                        minute_token_limit_reached = 0\nday_token_limit_reached = 0\nDate = 2026-11-22\n";
                    let text = texts.get(text % (texts.len() + 1)).map_or(zeros, String::as_str);
                    if text == fs::read_to_string(&ledger).expect("there") || text == last {
                        continue;
                    }
                    fs::write(ledger.with_extension("new"), text).expect("written");
                    fs::rename(ledger.with_extension("new"), &ledger).expect("placed");
                    last = stores[which].write_face(&now).expect("taken").to_string();
                    truth = Face::parse(text).expect("six lines").day_tokens;
                    flying = [const { Vec::new() }; 3];
                }
            }
            texts.push(fs::read_to_string(&ledger).expect("there"));
            for store in &mut stores {
                prop_assert_eq!(store.used(&now).expect("used").day.tokens, truth);
            }
        }
        let face = stores[0].write_face(&at(seconds)).expect("written");
        prop_assert_eq!(face.day_tokens, truth);
        prop_assert_eq!(fs::read_to_string(&ledger).expect("there"), face.to_string());
    }
}

#[test]
fn what_a_dead_process_reserved_counts_until_its_window_has_passed() {
    let (_folder, ledger, mut store) = fresh(limits(100));
    let _ = admit(&mut store, 1, 80, at(0));
    drop(store);
    let mut next = open(&ledger, limits(100), "boot", &at(10));
    next.start_run(&info("out"), &at(10)).expect("a run");
    let begun = next.begin(&[claim(2, 40)], &|| at(10)).expect("begun");
    let until = at(0).mono.plus(limits(100).span());
    assert_eq!(begun.refused, Some(Refusal::NotBefore(Wait { limit: LimitName::TokensPerMinute, until })));
    assert_eq!(next.begin(&[claim(2, 40)], &|| at(61)).expect("begun").admitted.len(), 1);
}

#[test]
fn what_could_not_be_recorded_is_recorded_later_and_counts_once() {
    let (_folder, _ledger, mut store) = fresh(limits(100));
    let mut ends = vec![done(1, Some((admit(&mut store, 1, 80, at(0)), 50)))];
    // An end of what never began: the whole transaction fails.
    ends.push(done(2, None));
    for second in 1..4 {
        store.finish(&ends, &at(second)).expect_err("refused");
        assert_eq!(store.used(&at(second)).expect("used").minute, Amount::request(80));
    }
    ends.pop();
    store.finish(&ends, &at(4)).expect("finished");
    let used = store.used(&at(4)).expect("used");
    assert_eq!((used.minute, used.day), (Amount::request(50), Amount::request(50)));
    assert_eq!(store.begin(&[claim(3, 50)], &|| at(5)).expect("begun").admitted.len(), 1);
}

#[test]
fn a_settlement_of_another_boot_replaces_its_entry() {
    let (_folder, ledger, mut store) = fresh(limits(100));
    let reservation = admit(&mut store, 1, 80, at(0));
    let mut other = open(&ledger, limits(100), "another", &at(0));
    // The wall clock is corrected by a second between the two readings.
    let corrected = |seconds| Now { mono: at(seconds + 1).mono, ..at(seconds) };
    store.finish(&[done(1, Some((reservation, 50)))], &corrected(2)).expect("finished");
    assert_eq!(other.used(&corrected(3)).expect("used").minute, Amount::request(50));
}

#[test]
fn what_an_earlier_start_of_the_machine_admitted_is_as_old_as_the_wall_clock_says() {
    let (_folder, ledger, mut store) = fresh(limits(100));
    let _ = admit(&mut store, 1, 80, at(0));
    drop(store);
    // The steady clock has started anew.
    let now = |seconds| at_since(seconds, 30);
    let until = now(0).mono.plus(limits(100).span());
    for seconds in [1, 20, 40, 60] {
        let mut next = open(&ledger, limits(100), "the next boot", &now(seconds));
        assert_eq!(next.used(&now(seconds)).expect("used").minute, Amount::request(80), "after {seconds} s");
        next.start_run(&info("out"), &now(seconds)).expect("a run");
        let begun = next.begin(&[claim(2, 21)], &|| now(seconds)).expect("begun");
        assert_eq!(begun.refused, Some(Refusal::NotBefore(Wait { limit: LimitName::TokensPerMinute, until })));
    }
    let mut next = open(&ledger, limits(100), "the next boot", &now(61));
    assert_eq!(next.used(&now(61)).expect("used").minute, Amount::default());
}

#[test]
fn a_wall_clock_set_forward_does_not_empty_the_window() {
    let (_folder, ledger, mut store) = fresh(limits(100));
    let _ = admit(&mut store, 1, 80, at(0));
    let later = Now { mono: at(1).mono, ..at(3 * 3_600) };
    let _ = admit(&mut store, 2, 10, later);
    let mut other = open(&ledger, limits(100), "boot", &later);
    assert_eq!(other.used(&later).expect("used").minute, Amount { tokens: 90, requests: 2 });
}

#[test]
fn the_last_end_of_each_prompt_is_found() {
    let (_folder, ledger, mut store) = fresh(limits(1_000));
    let failed = || Ended::Failed { class: Class::BadRequest, message: "no".into(), usage: Usage::default() };
    let first = admit(&mut store, 1, 10, at(0));
    store
        .finish(&[end(1, failed(), Some((first, Amount::request(0)))), end(2, failed(), None)], &at(1))
        .expect("finished");
    let kept = admit(&mut store, 3, 10, at(1));
    let usage = Usage { input_tokens: 4, output_tokens: 5, ..Usage::default() };
    let unwritten = Ended::Unwritten { usage, finish: FinishReason::Complete, text: "größer".into() };
    store.finish(&[end(3, unwritten, Some((kept, Amount::request(9))))], &at(1)).expect("finished");
    let _lost = admit(&mut store, 4, 70, at(2));
    store.start_run(&info("out"), &at(3)).expect("a second run");
    let again = admit(&mut store, 1, 10, at(3));
    store.finish(&[done(1, Some((again, 11)))], &at(4)).expect("finished");

    let store = open(&ledger, limits(1_000), "boot", &at(5));
    let found = store.find("out", "m").expect("found");
    let known = [1, 2, 3, 4].map(|key| known(&store, "out", key));
    let statuses = [Some(Status::Done), Some(Status::Failed), Some(Status::Unwritten), None];
    assert_eq!(known.each_ref().map(|known| known.as_ref().map(|known| known.status)), statuses);
    assert_eq!(known[0].as_ref().map(|known| known.bytes), Some(9));
    assert_eq!(
        found.kept.iter().map(|kept| (kept.key.as_str(), kept.text.as_str())).collect::<Vec<_>>(),
        [("3", "größer")]
    );
    assert!(found.lost.is_empty(), "a lost request is found once, by the run after it");
    assert_eq!(found.latest_output_tokens, [6]);
    assert_eq!(self::known(&store, "elsewhere", 1), None);
}

/// What is known of a prompt of the folder `outputs`.
fn known(store: &dyn Journal, outputs: &str, key: u64) -> Option<Known> {
    let mut history = store.history(outputs).expect("a history");
    history.known(&[Key::from(key)]).expect("read").pop().expect("one for each key")
}

#[test]
fn lost_requests_and_kept_answers_are_recovered_once() {
    let (_folder, _ledger, mut store) = fresh(limits(1_000));
    let _lost = admit(&mut store, 1, 70, at(0));
    let kept = admit(&mut store, 2, 10, at(0));
    let usage = Usage { input_tokens: 4, output_tokens: 5, ..Usage::default() };
    let unwritten = Ended::Unwritten { usage, finish: FinishReason::Complete, text: "text".into() };
    store.finish(&[end(2, unwritten, Some((kept, Amount::request(9))))], &at(1)).expect("finished");

    let found = store.find("out", "m").expect("found");
    let lost = &found.lost[0];
    assert_eq!((lost.key.as_str(), lost.reserved_tokens, lost.before), ("1", 70, Before::Nothing));
    store.start_run(&info("out"), &at(5)).expect("a second run");
    store.recover_lost(&[(lost.clone(), usage, ContentId::of(b"twelve bytes"))], &at(5)).expect("recovered");
    store.recover_kept(&found.kept[0], &at(5)).expect("recovered");
    let found = store.find("out", "m").expect("found");
    assert!(found.lost.is_empty() && found.kept.is_empty());
    let known = |key| known(&store, "out", key).map(|known| (known.status, known.bytes, known.usage));
    assert_eq!([known(1), known(2)], [Some((Status::Done, 12, usage)), Some((Status::Done, 4, usage))]);
}

#[test]
fn a_run_that_starts_leaves_alone_what_another_folder_s_run_has_in_flight() {
    let (_folder, ledger, mut store) = fresh(limits(1_000));
    let (first, second) = (admit(&mut store, 1, 70, at(0)), admit(&mut store, 2, 10, at(0)));
    let mut other = open(&ledger, limits(1_000), "boot", &at(1));
    other.start_run(&info("elsewhere"), &at(1)).expect("a run beside it");
    assert_eq!(other.find("out", "m").expect("found").lost.len(), 2);
    assert!(other.find("elsewhere", "m").expect("found").lost.is_empty());
    // Its end is recorded as if nobody else were there.
    store.finish(&[done(1, Some((first, 20)))], &at(2)).expect("finished");
    let usage = Usage { input_tokens: 4, output_tokens: 5, ..Usage::default() };
    let unwritten = Ended::Unwritten { usage, finish: FinishReason::Complete, text: "text".into() };
    store.finish(&[end(2, unwritten, Some((second, Amount::request(9))))], &at(2)).expect("finished");
    assert_eq!(known(&store, "out", 1).map(|known| known.status), Some(Status::Done));
    // What it keeps is written by a run of its own folder.
    assert!(other.find("elsewhere", "m").expect("found").kept.is_empty());
    assert_eq!(other.find("out", "m").expect("found").kept.len(), 1);
}

#[test]
fn usage_md_is_written_where_it_is_missing_and_is_ours_then() {
    let (_folder, ledger, mut store) = fresh(limits(100));
    let _ = admit(&mut store, 1, 30, at(0));
    let face = store.write_face(&at(1)).expect("written");
    assert_eq!((face.minute, face.day_tokens), (Amount::request(30), 30));
    assert_eq!(fs::read_to_string(&ledger).expect("read"), face.to_string());
    assert_eq!(store.take_edit(&at(2)).expect("read"), FaceFound::Ours);
    fs::remove_file(&ledger).expect("removed");
    assert_eq!(store.write_face(&at(2)).expect("written"), face);
    assert!(ledger.exists());
}

#[test]
fn edited_numbers_win_once() {
    let (_folder, ledger, mut store) = fresh(limits(100));
    let face = store.write_face(&at(0)).expect("written");
    let edited = face
        .to_string()
        .replace("tokens_within_min = 0", "tokens_within_min = 60")
        .replace("within_day = 0", "within_day = 700");
    edit(&ledger, &edited);
    assert!(matches!(store.take_edit(&at(1)).expect("taken"), FaceFound::Edited(face) if face.day_tokens == 700));
    assert_eq!(store.write_face(&at(1)).expect("written").day_tokens, 700);
    // What is used after the edit is on top of it, however often the face is written.
    let reservation = admit(&mut store, 1, 30, at(2));
    assert_eq!(store.write_face(&at(3)).expect("written").day_tokens, 730);
    store.finish(&[done(1, Some((reservation, 20)))], &at(4)).expect("finished");
    let face = store.write_face(&at(4)).expect("written");
    assert_eq!((face.minute, face.day_tokens), (Amount { tokens: 80, requests: 1 }, 720));
    assert_eq!(store.begin(&[claim(2, 21)], &|| at(5)).expect("begun").admitted, []);
}

#[test]
fn an_edit_of_another_date_says_nothing_of_today() {
    for (date, tokens) in [("2026-11-22", 700), ("2026-11-21", 0), ("2026-11-23", 0)] {
        let (_folder, ledger, mut store) = fresh(limits(1_000));
        let text = store.write_face(&at(0)).expect("written").to_string();
        edit(&ledger, &text.replace("within_day = 0", "within_day = 700").replace("2026-11-22", date));
        store.take_edit(&at(1)).expect("taken");
        assert_eq!(store.used(&at(1)).expect("used").day.tokens, tokens, "{date}");
    }
}

#[test]
fn an_edit_is_of_the_day_and_a_reset_of_all_days() {
    let limits = Limits { requests_per_day: Some(9), ..limits(1_000) };
    let (_folder, ledger, mut store) = fresh(limits);
    // An hour before the day of this zone begins, which is at 23:00 in Greenwich.
    let now = |seconds| in_zone(at(seconds), 4);
    let _ = admit(&mut store, 1, 30, now(0));
    let text = store.write_face(&now(3_600)).expect("written").to_string();
    assert!(text.contains("within_day = 0\n") && text.contains("Date = 2026-11-23"), "{text}");
    edit(&ledger, &text.replace("within_day = 0", "within_day = 700"));
    store.take_edit(&now(3_601)).expect("taken");
    let day = |store: &mut SqliteStore, east| {
        let day = store.used(&in_zone(at(3_602), east)).expect("used").day;
        (day.tokens, day.requests)
    };
    assert_eq!((day(&mut store, 4), day(&mut store, 0)), ((700, 0), (730, 1)));
    store.reset_usage(&now(3_603)).expect("reset");
    assert_eq!((day(&mut store, 4), day(&mut store, 0)), ((0, 0), (0, 0)));
}

#[test]
fn old_use_is_forgotten_by_its_number_and_not_by_the_clock() {
    let (_folder, ledger, mut store) = fresh(limits(1_000));
    let _ = admit(&mut store, 1, 30, at(0));
    // A clock that is a year ahead for a moment makes nothing old.
    store.start_run(&info("out"), &at(365 * 86_400)).expect("a run");
    assert_eq!(store.used(&at(10)).expect("used").day.tokens, 30);
    let database = rusqlite::Connection::open(ledger.with_file_name(".promptmill").join("usage.db")).expect("opened");
    let rows =
        || database.query_row("SELECT count(*) FROM quarters", [], |row| row.get::<_, i64>(0)).expect("a number");
    database.execute_batch("WITH RECURSIVE n (i) AS (SELECT 1 UNION SELECT i + 1 FROM n WHERE i < 1500) INSERT INTO quarters SELECT i, 1, 1 FROM n").expect("rows");
    assert_eq!(rows(), 1_501);
    store.start_run(&info("out"), &at(10)).expect("a run");
    assert_eq!((rows(), store.used(&at(10)).expect("used").day.tokens), (1_000, 30));
}

#[test]
fn only_other_numbers_are_an_edit() {
    let (_folder, ledger, mut store) = fresh(limits(100));
    let _ = admit(&mut store, 1, 30, at(0));
    let text = store.write_face(&at(0)).expect("written").to_string();
    for same in [text.clone(), text.replace(" = ", "=").replace('\n', "\r\n")] {
        edit(&ledger, &same);
        // Used since it was written; a restored text must not take it back.
        assert_eq!(store.take_edit(&at(1)).expect("read"), FaceFound::Ours);
        assert_eq!(store.used(&at(1)).expect("used").day.tokens, 30);
    }
}

#[test]
fn what_was_in_flight_at_an_edit_takes_nothing_from_its_numbers() {
    let (_folder, ledger, mut store) = fresh(limits(1_000));
    let text = store.write_face(&at(0)).expect("written").to_string();
    let reservation = admit(&mut store, 1, 500, at(0));
    edit(&ledger, &text.replace("within_day = 0", "within_day = 700"));
    store.take_edit(&at(1)).expect("taken");
    store.finish(&[done(1, Some((reservation, 20)))], &at(2)).expect("finished");
    assert_eq!(store.used(&at(2)).expect("used").day.tokens, 700);
    let mut other = open(&ledger, limits(1_000), "boot", &at(3));
    assert_eq!(other.used(&at(3)).expect("used").day.tokens, 700);
}

#[test]
fn a_damaged_usage_md_is_refused_and_left_alone() {
    let (_folder, ledger, mut store) = fresh(limits(100));
    for damage in ["", "tokens_within_min = many\n", "hello"] {
        fs::write(&ledger, damage).expect("damaged");
        assert!(matches!(store.take_edit(&at(1)), Err(UsageFileError::Damaged { .. })), "{damage:?}");
        let error = store.write_face(&at(1)).expect_err("refused").to_string();
        assert!(error.contains("--reset-usage") && error.contains("usage.md"), "{error}");
        assert_eq!(fs::read_to_string(&ledger).expect("read"), damage);
    }
    fs::write(&ledger, [0xff, 0xfe]).expect("damaged");
    assert!(matches!(store.write_face(&at(1)), Err(UsageFileError::Unreadable { .. })));
}

#[test]
fn a_read_only_usage_md_is_refused() {
    let (_folder, ledger, mut store) = fresh(limits(100));
    store.write_face(&at(0)).expect("written");
    let mut permissions = fs::metadata(&ledger).expect("there").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&ledger, permissions).expect("set");
    let _ = admit(&mut store, 1, 30, at(1));
    assert!(matches!(store.write_face(&at(1)), Err(UsageFileError::ReadOnly { .. })));
}

#[test]
fn a_reset_empties_all_counters_and_keeps_the_old_file() {
    let limits = Limits { requests_per_day: Some(2), ..limits(100) };
    let (folder, ledger, mut store) = fresh(limits);
    let _ = admit(&mut store, 1, 30, at(0));
    let _ = admit(&mut store, 2, 30, at(0));
    fs::write(&ledger, "broken").expect("damaged");
    let kept = store.reset_usage(&at(1)).expect("reset").expect("kept");
    assert_eq!((kept.parent(), fs::read_to_string(&kept).expect("read")), (Some(folder.path()), "broken".to_owned()));
    let used = store.used(&at(1)).expect("used");
    assert_eq!((used.minute, used.day), (Amount::default(), Amount::default()));
    assert!(fs::read_to_string(&ledger).expect("written").starts_with("tokens_within_min = 0\n"));
    let second = store.reset_usage(&at(2)).expect("reset").expect("kept");
    assert_ne!(kept, second);
    assert_eq!(fs::read_to_string(kept).expect("still there"), "broken");
}

#[test]
fn amounts_that_no_counter_holds_end_nothing() {
    let no_limits = Limits { tokens_per_minute: None, ..limits(1) };
    let (_folder, ledger, mut store) = fresh(no_limits);
    let usage = Usage { input_tokens: u64::MAX, output_tokens: 1 << 63, ..Usage::default() };
    let absurd = |key, reservation| {
        let ended = Ended::Done { usage, finish: FinishReason::Complete, output: ContentId::of(b"an answer") };
        end(key, ended, Some((reservation, Amount::request(usage.total()))))
    };
    let mut use_up = |key, now| {
        store.take_edit(&now).expect("taken");
        let reservations = [key, key + 1].map(|key| admit(&mut store, key, u64::MAX, now));
        let ends: Vec<_> = (key..).zip(reservations).map(|(key, reservation)| absurd(key, reservation)).collect();
        store.finish(&ends, &now).expect("finished");
        let face = store.write_face(&now).expect("written");
        assert_eq!(fs::read_to_string(&ledger).expect("read"), face.to_string());
        assert_eq!(store.take_edit(&now).expect("read"), FaceFound::Ours);
        store.used(&now).expect("used");
        face.to_string()
    };
    let text = use_up(1, at(1));
    let most = |line: &str| match line.split_once(" = ") {
        Some((key, _)) if key.starts_with("tokens") => format!("{key} = {}\n", i64::MAX),
        _ => format!("{line}\n"),
    };
    edit(&ledger, &text.lines().map(most).collect::<String>());
    use_up(3, at(2));
    let mut other = open(&ledger, no_limits, "boot", &at(3));
    assert!(other.used(&at(3)).expect("used").day.tokens > 1 << 53);
    assert!((1..=4).all(|key| known(&other, "out", key).is_some()));
}

/// What happens to a store that two runs after another use, each of one of two folders.
#[derive(Clone, Debug)]
enum WholeAct {
    Start(usize, bool),
    End,
    Begin(u64),
    Finish(usize, u8),
    /// A prompt that is not sent.
    Unsent(u64),
    /// An output that nobody knows is found there.
    Adopt(u64),
    /// All kept answers are written, and the answer of each lost request whose number is even is found.
    Recover,
    Note(usize),
    Learn(usize, u8),
    Forget(Option<usize>),
    Write,
    Edit(u64, u64),
    TakeEdit,
    Reset,
    /// The process dies and another starts.
    Reopen,
    Pass(u64),
}

fn whole_act() -> impl Strategy<Value = WholeAct> {
    let key = || 1u64..8;
    prop_oneof![
        2 => (0usize..2, any::<bool>()).prop_map(|(folder, rehearsal)| WholeAct::Start(folder, rehearsal)),
        1 => Just(WholeAct::End),
        8 => key().prop_map(WholeAct::Begin),
        8 => (any::<usize>(), 0u8..5).prop_map(|(which, how)| WholeAct::Finish(which, how)),
        1 => key().prop_map(WholeAct::Unsent),
        1 => key().prop_map(WholeAct::Adopt),
        2 => Just(WholeAct::Recover),
        1 => (0usize..4).prop_map(WholeAct::Note),
        1 => (0usize..2, 0u8..3).prop_map(|(which, size)| WholeAct::Learn(which, size)),
        1 => prop::option::of(0usize..2).prop_map(WholeAct::Forget),
        2 => Just(WholeAct::Write),
        1 => (0u64..900, 0u64..3).prop_map(|(tokens, requests)| WholeAct::Edit(tokens, requests)),
        1 => Just(WholeAct::TakeEdit),
        1 => Just(WholeAct::Reset),
        1 => Just(WholeAct::Reopen),
        3 => prop_oneof![0u64..30, 30u64..100].prop_map(WholeAct::Pass),
    ]
}

/// Everything that a store tells, but for the texts of errors.
fn told(store: &mut dyn Store, now: &Now) -> Vec<String> {
    let mut told = Vec::new();
    for outputs in ["one", "other"] {
        let Found { lost, mut kept, latest_output_tokens } = store.find(outputs, "m").expect("found");
        kept.sort_by(|one, other| one.key.cmp(&other.key));
        let mut history = store.history(outputs).expect("read");
        let keys: Vec<_> = (1..8).map(Key::from).collect();
        let done = [false, true].map(|rehearsal| history.done(rehearsal).expect("read"));
        let is_done = |key: &Key| done.each_ref().map(|done| done.contains(key, FINGERPRINT, 9));
        told.push(format!("{:?} {kept:?} {latest_output_tokens:?}", in_order(lost)));
        told.push(format!("{:?}", history.known(&keys).expect("read")));
        told.push(format!("{:?}", keys.iter().map(is_done).collect::<Vec<_>>()));
        told.push(format!("{:?} {:?}", store.last_run(outputs), store.last_notes(outputs, 3)));
    }
    told.push(format!("{:?} {:?}", store.mean_answer("m", false), store.mean_answer("m", true)));
    told.push(format!("{:?} {:?}", store.learned(&server(0)), store.all_learned()));
    // Those of one moment are in any order.
    let mut recent = store.recent(now).expect("read");
    recent.sort_by_key(|(at, amount)| (*at, amount.tokens, amount.requests));
    told.push(format!("{:?} {recent:?}", store.used(now)));
    told.push(format!("{:?}", store.preview(now).expect("read").used(now)));
    store.is_there().expect("there");
    told
}

fn server(which: usize) -> Endpoint {
    endpoint(["https://a.test", "https://b.test"][which], None, "m")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every operation of a store: the file and the value tell the same after each.
    #[test]
    fn the_file_and_the_value_are_one_store(acts in prop::collection::vec(whole_act(), 1..50)) {
        let none = Limits { tokens_per_day: Some(9_000), ..limits(2_000) };
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = folder.path().join("usage.md");
        let reopen = |now: &Now| record::open(&ledger, none, "boot".to_owned(), now).expect("the store opens");
        let mut file = reopen(&at(0));
        let mut value = MemoryStore::new(Ledger::new(none));
        let (mut seconds, mut runs) = (0, 0);
        // The prompts that the run has begun or ended, and the requests that are under way.
        let (mut is_running, mut touched, mut flying) = (false, BTreeMap::new(), Vec::new());
        for act in acts {
            let now = at(seconds);
            let both: [&mut dyn Store; 2] = [file.as_mut(), &mut value];
            match act {
                WholeAct::Start(folder, rehearsal) => {
                    let info = RunInfo { rehearsal, ..info(["one", "other"][folder]) };
                    for store in both {
                        store.start_run(&info, &now).expect("a run");
                    }
                    runs += 1;
                    (is_running, touched, flying) = (true, BTreeMap::new(), Vec::new());
                }
                WholeAct::End if is_running => for store in both {
                    store.end_run("the end", &now).expect("ended");
                },
                WholeAct::Begin(key) if is_running && *touched.get(&key).unwrap_or(&true) => {
                    let claim = Claim { before: before(key, runs), ..claim(key, 50 + key) };
                    let [mut ours, mut theirs] = both.map(|store| store.begin(std::slice::from_ref(&claim), &|| now).expect("begun"));
                    prop_assert_eq!(ours.refused, theirs.refused);
                    if let Some(pair) = ours.admitted.pop().zip(theirs.admitted.pop()) {
                        touched.insert(key, false);
                        flying.push((key, pair));
                    }
                }
                WholeAct::Finish(which, how) if !flying.is_empty() => {
                    let (key, (ours, theirs)) = flying.swap_remove(which % flying.len());
                    let usage = Usage { input_tokens: 5, output_tokens: key, cached_tokens: 2, reasoning_tokens: 1 };
                    let ended = match how {
                        0 => Ended::Done { usage, finish: FinishReason::Complete, output: ContentId::of(b"an answer") },
                        1 => Ended::Failed { class: Class::ServerError, message: "m".into(), usage },
                        2 => Ended::Failed { class: Class::OutputBlocked, message: "m".into(), usage },
                        3 => Ended::Unwritten { usage, finish: FinishReason::Complete, text: format!("text of {key}") },
                        _ => Ended::Again { class: None },
                    };
                    touched.insert(key, matches!(ended, Ended::Again { .. }));
                    for (store, reservation) in both.into_iter().zip([ours, theirs]) {
                        let end = end(key, ended.clone(), Some((reservation, Amount::request(5 + key))));
                        store.finish(&[end], &now).expect("finished");
                    }
                }
                WholeAct::Unsent(key) if is_running && *touched.get(&key).unwrap_or(&true) => {
                    touched.insert(key, false);
                    let ended = Ended::Failed { class: Class::NotText, message: "m".into(), usage: Usage::default() };
                    for store in both {
                        store.finish(&[end(key, ended.clone(), None)], &now).expect("finished");
                    }
                }
                WholeAct::Adopt(key) if is_running && !touched.contains_key(&key) => {
                    touched.insert(key, false);
                    for store in both {
                        store.adopt(&[(Key::from(key), FINGERPRINT, 9)], &now).expect("adopted");
                    }
                }
                // A run does it before it starts, in a folder that no other run holds.
                WholeAct::Recover if !is_running => for store in both {
                    for outputs in ["one", "other"] {
                        let Found { lost, kept, .. } = store.find(outputs, "m").expect("found");
                        let even = lost.into_iter().filter(|lost| number(&lost.key).is_multiple_of(2));
                        let usage = Usage { input_tokens: 3, output_tokens: 4, ..Usage::default() };
                        let answered: Vec<_> = even.map(|lost| (lost, usage, ContentId::of(b"an answer"))).collect();
                        store.recover_lost(&answered, &now).expect("recovered");
                        for answer in &kept {
                            store.recover_kept(answer, &now).expect("recovered");
                        }
                    }
                },
                WholeAct::Note(count) if is_running => {
                    let notes: Vec<_> = (0..count).map(|note| (now.wall, format!("note {note}"))).collect();
                    for store in both {
                        store.note(&notes).expect("noted");
                    }
                }
                WholeAct::Learn(which, size) => {
                    let limit = LearnedLimit {
                        unit: Unit::Requests,
                        group: None,
                        size: f64::from(size),
                        window: Duration::from_secs(60),
                        burst: Duration::from_secs(1),
                        source: Source::Headers,
                        learned: now.wall,
                    };
                    for store in both {
                        store.learn(&server(which), std::slice::from_ref(&limit)).expect("learned");
                    }
                }
                WholeAct::Forget(which) => {
                    let [ours, theirs] = both.map(|store| store.forget(which.map(server).as_ref()).expect("forgotten"));
                    prop_assert_eq!(ours, theirs);
                }
                WholeAct::Write => {
                    let [ours, theirs] = both.map(|store| store.write_face(&now).expect("written"));
                    prop_assert_eq!(ours, theirs);
                    let text = fs::read_to_string(&ledger).expect("there");
                    prop_assert_eq!(value.usage_md(), Some(text.as_str()));
                }
                WholeAct::Edit(tokens, requests) => {
                    let text = format!(
                        "tokens_within_min = {tokens}\nrequests_within_min = {requests}\ntokens_within_day = {tokens}\n\
                         minute_token_limit_reached = 0\nday_token_limit_reached = 0\nDate = {}\n",
                        now.day.date
                    );
                    fs::write(&ledger, &text).expect("edited");
                    let edited = fs::File::options().write(true).open(&ledger).expect("there");
                    edited.set_modified(now.wall.into()).expect("dated");
                    value.edit(&text, &now);
                }
                WholeAct::TakeEdit => {
                    let [ours, theirs] = both.map(|store| store.take_edit(&now).expect("taken"));
                    prop_assert_eq!(ours, theirs);
                }
                WholeAct::Reset => for store in both {
                    store.reset_usage(&now).expect("reset");
                },
                WholeAct::Reopen => {
                    file = reopen(&now);
                    (is_running, touched, flying) = (false, BTreeMap::new(), Vec::new());
                }
                WholeAct::Pass(more) => seconds += more,
                _ => {}
            }
            let now = at(seconds);
            prop_assert_eq!(told(file.as_mut(), &now), told(&mut value, &now));
        }
    }
}
