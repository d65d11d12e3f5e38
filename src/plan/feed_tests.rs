//! What a feed draws: the same for every size of chunk, in order, within the limits, and no more than it must hold.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::standing::{Evidence, Standing, Why, standing};
use super::{DoneSet, Draft, Feed, History, HistoryError, Outputs, OverBatch, PlanRules, Survey};
use crate::count::RequestCounter;
use crate::model::{
    Api, Class, ContentId, Doom, Fingerprint, Fingerprinter, Form, Key, Known, Limits, Portion, RequestTemplate, Spot,
    Status, Supply, Usage, Work,
};
use crate::source::{Row, Source, SourceError, Texts};

/// Rows that are made as they are read; row `n` has the key `n`.
#[derive(Clone)]
struct Rows {
    texts: Arc<Written>,
    count: u64,
    next: u64,
    /// Whether the text comes with the row.
    at_once: bool,
}

struct Written(Box<dyn Fn(u64) -> String + Send + Sync>);

impl Texts for Written {
    fn again(&self, spot: Spot) -> Result<String, Doom> {
        let text = (self.0)(spot.0);
        if text == "unreadable" { Err(Doom { class: Class::Unreadable, message: text }) } else { Ok(text) }
    }

    fn name(&self, spot: Spot) -> String {
        format!("row {}", spot.0)
    }
}

impl Source for Rows {
    fn next(&mut self, most: usize) -> Result<Vec<Row>, SourceError> {
        let end = self.count.min(self.next + most as u64);
        let text = |number| self.at_once.then(|| self.texts.again(Spot(number)));
        let row = |number| Row { key: Key::from(number), spot: Spot(number), text: text(number) };
        let rows = (self.next..end).map(row).collect();
        self.next = end;
        Ok(rows)
    }

    fn len_hint(&self) -> Option<usize> {
        (!self.at_once).then(|| usize::try_from(self.count - self.next).expect("a test's rows"))
    }

    fn texts(&self) -> Arc<dyn Texts> {
        Arc::clone(&self.texts) as Arc<dyn Texts>
    }
}

/// What stands there, by key, and how often its content was read.
#[derive(Default)]
struct There {
    outputs: HashMap<Key, (u64, Form)>,
    read: AtomicUsize,
}

impl Outputs for There {
    fn stands(&self, key: &Key) -> Result<u64, String> {
        Ok(self.outputs.get(key).map_or(0, |(bytes, _)| *bytes))
    }

    fn form(&self, key: &Key) -> io::Result<Form> {
        Ok(self.outputs[key].1)
    }

    fn content(&self, key: &Key) -> io::Result<ContentId> {
        self.read.fetch_add(1, Ordering::Relaxed);
        Ok(ContentId { bytes: self.outputs[key].0, hash: [0; 16] })
    }
}

/// What is known, by key, and of how many it was asked.
#[derive(Clone, Default)]
struct Journal {
    known: HashMap<Key, Known>,
    asked: Arc<AtomicUsize>,
}

impl History for Journal {
    fn done(&mut self, rehearsal: bool) -> Result<DoneSet, HistoryError> {
        let done = self.known.iter().filter(|(_, known)| known.is_settled(rehearsal));
        Ok(DoneSet::of(done.map(|(key, known)| (key.as_str(), known.fingerprint, known.bytes))))
    }

    fn known(&mut self, keys: &[Key]) -> Result<Vec<Option<Known>>, HistoryError> {
        self.asked.fetch_add(keys.len(), Ordering::Relaxed);
        Ok(keys.iter().map(|key| self.known.get(key).cloned()).collect())
    }
}

fn template() -> RequestTemplate {
    RequestTemplate::new(Api::Chat, "gpt-4o-mini")
}

fn rows(count: u64, text: impl Fn(u64) -> String + Send + Sync + 'static) -> Rows {
    Rows { texts: Arc::new(Written(Box::new(text))), count, next: 0, at_once: false }
}

/// As many tokens as words.
fn words(count: u64) -> String {
    "word ".repeat(usize::try_from(count).expect("a test's text"))
}

fn survey(rows: &Rows, there: Arc<There>, journal: Journal) -> Survey {
    Survey::new(&template(), false, rows.texts(), there, Box::new(journal)).expect("a journal that can be read")
}

fn rules(tokens_per_batch: Option<u64>, split: bool) -> PlanRules {
    let limits = Limits { tokens_per_batch, ..Limits::default() };
    PlanRules { limits, context_window: None, max_output_tokens: None, split }
}

/// Of prompts that have no answer.
fn feed(rows: &Rows, rules: PlanRules) -> Feed {
    Feed::new(Box::new(rows.clone()), survey(rows, Arc::default(), Journal::default()), rules)
}

fn draw(feed: &mut Feed, most: usize) -> Draft {
    feed.draw(most, || true).expect("it can be read")
}

/// All that is drawn, so many at a time.
fn drain(mut feed: Feed, most: usize) -> (Vec<Work>, Vec<Why>, Vec<Portion>, Vec<Spot>, Supply) {
    let (mut work, mut whys, mut portions, mut blank) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    loop {
        let Draft { drawn, whys: more, blank: none, .. } = draw(&mut feed, most);
        assert!(drawn.work.len() >= most || !drawn.supply.left);
        work.extend(drawn.work);
        whys.extend(more);
        portions.extend(drawn.portions);
        blank.extend(none);
        // The first of a portion's work never comes before it is told.
        assert!(work.iter().all(|work: &Work| work.doomed.is_some()
            || portions.is_empty()
            || portions.iter().any(|portion: &Portion| portion.number == work.portion)));
        if !drawn.supply.left {
            return (work, whys, portions, blank, drawn.supply);
        }
    }
}

fn tokens(text: &str) -> u64 {
    RequestCounter::new(&template()).input_tokens(text)
}

#[test]
fn over_the_batch_limit_is_refused_with_the_sum_of_all() {
    let rows = rows(5_000, |number| words(number % 7 + 1));
    let total: u64 = (0..5_000).map(|number| tokens(&words(number % 7 + 1))).sum();
    let draft = draw(&mut feed(&rows, rules(Some(total - 1), false)), 1);
    let refused = OverBatch { total, limit: total - 1 };
    assert_eq!((draft.refused, draft.drawn.work.len(), draft.drawn.supply.left), (Some(refused), 0, false));
    let text = refused.to_string();
    assert!(text.contains("--split") && text.contains(&crate::model::text::count(total)), "{text}");
    let draft = draw(&mut feed(&rows, rules(Some(total), false)), 1);
    assert_eq!((draft.refused, draft.drawn.work.len(), draft.drawn.supply.portions), (None, 5_000, Some(1)));
}

#[test]
fn what_never_fits_is_doomed_and_not_counted() {
    let rows = rows(2, |number| words(900 + 10 * number));
    let fits = tokens(&words(900));
    let mut rules = rules(Some(fits), false);
    rules.max_output_tokens = Some(100);
    rules.context_window = Some(fits + 100);
    let (work, _, portions, _, supply) = drain(feed(&rows, rules.clone()), 1);
    let message = work[1].doomed.as_ref().map(|doom| doom.message.clone()).expect("it is too large");
    assert!(work[0].doomed.is_none() && message.contains("context window"), "{message}");
    assert_eq!((portions, supply.portions), (vec![], Some(1)));
    rules.context_window = None;
    rules.split = true;
    let (work, _, portions, _, supply) = drain(feed(&rows, rules), 1);
    assert!(work[1].doomed.as_ref().is_some_and(|doom| doom.message.contains("tokens_per_batch")));
    // One that is alone is none.
    assert_eq!((portions, supply.portions), (vec![], Some(1)));
}

#[test]
fn rows_without_text_are_no_prompts_and_what_cannot_be_read_is_doomed() {
    let rows = rows(3, |number| ["", "hello", "unreadable"][usize::try_from(number).expect("a row")].to_owned());
    for rows in [rows.clone(), Rows { at_once: true, ..rows }] {
        let (work, _, _, blank, supply) = drain(feed(&rows, rules(None, false)), 1);
        assert_eq!((blank, supply.prompts, supply.up_to_date), (vec![Spot(0)], 2, 0));
        let doomed = work[1].doomed.as_ref().map(|doom| doom.class);
        assert_eq!((work.len(), work[0].spot, doomed), (2, Spot(1), Some(Class::Unreadable)));
    }
}

/// What is up to date is in the compact set, and the journal is asked for no more than the rest.
#[test]
fn the_journal_is_asked_only_for_what_the_set_does_not_know() {
    let rows = rows(3_000, |number| number.to_string());
    let (there, journal) = answered(&rows, |number| number % 3 != 0);
    let asked = Arc::clone(&journal.asked);
    let mut feed = Feed::new(Box::new(rows.clone()), survey(&rows, Arc::new(there), journal), rules(None, false));
    let draft = draw(&mut feed, usize::MAX);
    assert_eq!((draft.drawn.work.len(), draft.drawn.supply.up_to_date), (1_000, 2_000));
    assert_eq!(asked.load(Ordering::Relaxed), 1_000);
}

/// Those rows have their answer that `is_done`.
fn answered(rows: &Rows, is_done: impl Fn(u64) -> bool) -> (There, Journal) {
    let fingerprinter = Fingerprinter::new(&template(), false);
    let (mut there, mut journal) = (There::default(), Journal::default());
    for number in (0..rows.count).filter(|number| is_done(*number)) {
        let fingerprint = fingerprinter.of(&(rows.texts.0)(number));
        journal.known.insert(Key::from(number), known(fingerprint, Status::Done, 3, None, false));
        there.outputs.insert(Key::from(number), (3, Form::Answer));
    }
    (there, journal)
}

fn known(fingerprint: Fingerprint, status: Status, bytes: u64, unsettled: Option<bool>, rehearsal: bool) -> Known {
    // What is unsettled may be known to the last byte, and that may stand there.
    let output = unsettled.map(|stands| ContentId { bytes, hash: [u8::from(!stands); 16] });
    let (unsettled, usage) = (unsettled.is_some(), Usage::default());
    Known { run: 1, fingerprint, status, bytes, unsettled, output, rehearsal, usage }
}

#[test]
fn the_rest_is_looked_at_and_neither_counted_nor_read() {
    let rows = rows(5_000, |number| number.to_string());
    let make = || {
        let (mut there, journal) = answered(&rows, |number| number % 2 == 0);
        there.outputs.insert(Key::from(4_999), (9, Form::Answer));
        let there = Arc::new(there);
        (Feed::new(Box::new(rows.clone()), survey(&rows, Arc::clone(&there), journal), rules(None, false)), there)
    };
    let (mut all, _) = make();
    let all = draw(&mut all, usize::MAX).drawn.supply;
    let (mut feed, there) = make();
    let first = draw(&mut feed, 10).drawn.supply;
    assert!(first.left && first.prompts == 5_000 && first.up_to_date < all.up_to_date);
    assert_eq!(feed.look_at_the_rest(|| false).expect("nothing is read"), first);
    assert_eq!(feed.look_at_the_rest(|| true).expect("it can be read"), all);
    assert_eq!((all.up_to_date, there.read.load(Ordering::Relaxed)), (2_501, 0));
    assert_eq!(draw(&mut feed, 10).drawn.work, []);
}

/// Memory follows what is in flight: what a feed holds, and what it hands out, does not grow with the input.
#[test]
fn a_long_input_is_not_held() {
    const CHUNK: usize = 1_024;
    let rows = rows(100_000, |number| words(number % 5 + 1));
    for (rules, portion) in [(rules(None, false), 0), (rules(Some(2_000), true), 2_000 / 8)] {
        let mut feed = feed(&rows, rules);
        let (mut sum, mut draws) = (0, 0);
        loop {
            let Draft { drawn, .. } = draw(&mut feed, CHUNK);
            sum += drawn.work.len();
            draws += 1;
            assert!(drawn.work.len() < 2 * CHUNK + portion, "{} at once", drawn.work.len());
            assert!(feed.held() <= portion, "{} held", feed.held());
            if !drawn.supply.left {
                break;
            }
        }
        assert!(sum == 100_000 && draws >= 45, "{sum} in {draws} draws");
    }
}

/// What is known and stands there of one row, and what is asked for.
#[derive(Clone, Debug)]
struct Case {
    known: Option<(bool, Status, u64, Option<bool>, bool)>,
    stands: Option<(u64, Form)>,
    lost: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let status = prop_oneof![4 => Just(Status::Done), 1 => Just(Status::Failed), 1 => Just(Status::Unwritten)];
    let known =
        (prop::bool::weighted(0.7), status, 1..3_u64, prop::option::weighted(0.2, any::<bool>()), any::<bool>());
    let form = prop_oneof![2 => Just(Form::Answer), 1 => Just(Form::Standin), 1 => Just(Form::Failure)];
    let stands = (1..3_u64, form);
    (prop::option::weighted(0.8, known), prop::option::weighted(0.8, stands), any::<bool>())
        .prop_map(|(known, stands, lost)| Case { known, stands, lost })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The compact set says exactly what all the evidence says.
    #[test]
    fn the_set_and_the_rest_are_the_evidence(cases in prop::collection::vec(case(), 1..150), force: bool, rehearsal: bool) {
        let rows = rows(cases.len() as u64, |number| format!("text {number}"));
        let fingerprinter = Fingerprinter::new(&template(), rehearsal);
        let (mut there, mut journal, mut lost) = (There::default(), Journal::default(), HashSet::new());
        let mut expected = Vec::new();
        for (number, case) in (0_u64..).zip(&cases) {
            let (key, fingerprint) = (Key::from(number), fingerprinter.of(&format!("text {number}")));
            // The fingerprint says who answered.
            let known = case.known.map(|(same, status, bytes, unsettled, other_kind)| {
                let same = same && !other_kind;
                let fingerprint = if same { fingerprint } else { Fingerprint([7; 16]) };
                known(fingerprint, status, bytes, unsettled, rehearsal != other_kind)
            });
            there.outputs.extend(case.stands.map(|stands| (key.clone(), stands)));
            journal.known.extend(known.clone().map(|known| (key.clone(), known)));
            if case.lost {
                lost.insert((key, fingerprint));
            }
            // An answer of the length that the journal knows is one, unless a later attempt may have overwritten it.
            let form = |(bytes, form): (u64, Form)| match (&known, case.known) {
                (Some(known), Some((_, Status::Done, _, unsettled, _))) if known.bytes == bytes && unsettled != Some(false) => Form::Answer,
                _ => form,
            };
            let evidence = Evidence { known: known.as_ref(), lost: case.lost, stands: case.stands.map(form), fingerprint };
            expected.push(standing(evidence, force, rehearsal));
        }
        let survey = Survey::new(&template(), rehearsal, rows.texts(), Arc::new(there), Box::new(journal)).expect("a journal");
        let mut feed = Feed::new(Box::new(rows), survey.lost(lost).force(force), rules(None, false));
        let draft = draw(&mut feed, usize::MAX);
        let whys: HashMap<_, _> = draft.drawn.work.iter().zip(&draft.whys).map(|(work, why)| (work.spot.0, *why)).collect();
        let adopted: HashSet<_> = draft.adopted.iter().map(|(key, ..)| key.clone()).collect();
        let mut protected = 0;
        for (number, expected) in (0_u64..).zip(&expected) {
            let why = whys.get(&number).copied();
            let wanted = if let Standing::Send(why) = expected { Some(*why) } else { None };
            prop_assert_eq!(why, wanted, "row {}: {:?}", number, expected);
            prop_assert_eq!(adopted.contains(&Key::from(number)), *expected == Standing::Unknown);
            protected += usize::from(*expected == Standing::Protected);
        }
        prop_assert_eq!(draft.protected, protected);
        prop_assert_eq!(draft.drawn.supply.up_to_date, expected.len() - whys.len());
    }

    #[test]
    fn chunks_never_change_what_is_drawn(sizes in prop::collection::vec(0u64..12, 1..200), split: bool, most in 1usize..50, chunk in 1usize..70, limit in 20u64..60) {
        let sizes = Arc::new(sizes);
        let texts = Arc::clone(&sizes);
        let rows = rows(sizes.len() as u64, move |number| words(texts[usize::try_from(number).expect("a row")]));
        let rules = rules(split.then_some(limit), split);
        let whole = drain(feed(&rows, rules.clone()), usize::MAX);
        for rows in [rows.clone(), Rows { at_once: true, ..rows }] {
            let mut chunked = feed(&rows, rules.clone());
            chunked.rows = chunk;
            prop_assert_eq!(&drain(chunked, most), &whole);
        }
        // In order, and none is left out.
        let (work, _, portions, blank, supply) = whole;
        prop_assert!(work.iter().zip(0..).all(|(work, ordinal)| work.ordinal.0 == ordinal));
        prop_assert!(work.is_sorted_by_key(|work| work.spot));
        prop_assert_eq!((work.len() + blank.len(), supply.prompts), (sizes.len(), work.len()));
        // Portions are consecutive, within the limit, as full as they can be, and add up.
        let sendable = || work.iter().filter(|work| work.doomed.is_none());
        prop_assert!(sendable().is_sorted_by_key(|work| work.portion));
        if split && supply.portions.is_some_and(|portions| portions > 1) {
            prop_assert_eq!(supply.portions, u32::try_from(portions.len()).ok());
            for (portion, number) in portions.iter().zip(0..) {
                let of = sendable().filter(|work| work.portion == number);
                let sum: u64 = of.clone().map(|work| work.input_tokens).sum();
                prop_assert_eq!((portion.number, portion.prompts, portion.input_tokens), (number, of.count(), sum));
                let next = sendable().find(|work| work.portion == number + 1);
                prop_assert!(sum <= limit && sum > 0 && next.is_none_or(|next| sum + next.input_tokens > limit));
            }
            prop_assert_eq!(sendable().count(), portions.iter().map(|portion| portion.prompts).sum::<usize>());
        } else {
            prop_assert!(portions.is_empty() && work.iter().all(|work| work.portion == 0));
            prop_assert_eq!(supply.portions, Some(u32::from(sendable().count() > 0)));
            prop_assert!(!split || sendable().map(|work| work.input_tokens).sum::<u64>() <= limit);
        }
    }
}
