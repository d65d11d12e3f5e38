use std::time::Duration;

use super::*;
use crate::model::Oddity;
use crate::run::tests::{answer, at, failure, reservation, rules, ticket, work};
use crate::send::classify::Verdict;

const NOW: Mono = Mono(5_000_000_000);

/// Books that try a prompt so often, with the request of `ordinal` at the server: 10 tokens of input, 30 reserved.
fn books(attempts: u32, ordinals: impl IntoIterator<Item = u32>) -> Books {
    let mut books = Books::new(&Rules { attempts, ..rules() });
    for ordinal in ordinals {
        books.sent(work(ordinal, 10), reservation(30), ticket(1));
    }
    books
}

fn an_answer() -> Answer {
    match answer(10, 5) {
        Verdict::Answer(answer) => answer,
        Verdict::Failure(failure) => panic!("{failure:?}"),
    }
}

fn tried(unsent: bool, last: bool) -> Means {
    Means::Tried { unsent, last, class: Class::ServerError, not_before: NOW }
}

fn fail(books: &mut Books, ordinal: u32, failure: Failure, means: Means) -> Vec<Note> {
    let sent = books.take_sent(Ordinal(ordinal)).expect("it is at the server");
    books.failed(NOW, sent, failure, means, 0.0)
}

fn a_failure() -> Failure {
    failure(Kind::Transient, Class::ServerError)
}

/// What goes to the store.
fn finish(books: &mut Books) -> Vec<Finished> {
    match books.keep(NOW).pop() {
        Some(Note::Finish(finished)) => finished,
        other => panic!("something waits for the store: {other:?}"),
    }
}

fn written(books: &mut Books, ordinal: u32, result: Result<(), Unwritten>) {
    books.written(Ordinal(ordinal), Content::Answer("yes".to_owned()), result.map(|()| ContentId::of(b"yes")));
}

fn cannot(alone: bool) -> Unwritten {
    Unwritten { why: "it cannot be written".to_owned(), alone }
}

fn said(notes: &[Note]) -> Vec<&'static str> {
    notes
        .iter()
        .map(|note| match note {
            Note::Write(..) => "write",
            Note::Finish(_) => "finish",
            Note::Ended(_) => "ended",
            Note::Again(..) => "again",
            Note::Say(Event::Done { .. }) => "done",
            Note::Say(Event::Failed { .. }) => "failed",
            Note::Say(Event::Retrying { .. }) => "retrying",
            Note::Say(Event::Warning { .. }) => "warning",
            Note::Say(_) => "other",
            Note::Unwritten(_) => "unwritten",
            Note::Stop(_) => "stop",
        })
        .collect()
}

#[test]
fn an_answer_is_written_then_journalled_then_done() {
    let mut books = books(1, [1]);
    assert_eq!((books.in_flight(), books.next_attempt(Ordinal(1))), (1, 2));
    let sent = books.take_sent(Ordinal(1)).expect("it is at the server");
    let odd = Answer { odd: vec![Oddity::Text], ..an_answer() };
    let (usage, notes) = books.answered(NOW, sent, odd);
    assert_eq!((usage.total(), said(&notes)), (15, vec!["other", "write"]));
    assert!(books.take_sent(Ordinal(1)).is_none(), "it is on its way to the disk");
    assert!(books.keep(NOW).is_empty());
    written(&mut books, 1, Ok(()));
    let finished = finish(&mut books);
    let settled = finished[0].settled.as_ref().expect("it was sent");
    assert_eq!((settled.used, settled.heard), (Amount::request(15), NOW));
    assert!(matches!(finished[0].ended, Ended::Done { .. }));
    assert_eq!((books.in_flight(), books.tally().done, books.is_idle()), (0, 0, false));
    let notes = books.recorded();
    assert_eq!(said(&notes), ["done", "ended"]);
    let tally = books.tally();
    assert_eq!((tally.done, tally.requests, tally.repaired, tally.usage.total()), (1, 1, 1, 15));
    assert!(books.is_idle());
}

#[test]
fn an_answer_without_usage_counts_what_was_reserved() {
    let mut books = books(1, [1]);
    let sent = books.take_sent(Ordinal(1)).expect("it is at the server");
    let (usage, _) = books.answered(NOW, sent, Answer { usage: None, ..an_answer() });
    assert_eq!(usage, Usage { input_tokens: 10, output_tokens: 20, ..Usage::default() });
}

#[test]
fn a_failure_is_settled_by_what_it_may_have_cost() {
    let usage = |tokens| Some(Usage { input_tokens: tokens, output_tokens: 0, ..Usage::default() });
    for (billed, reported, class, used, unknown) in [
        (Billed::No, None, Class::ServerError, Amount::request(0), 0),
        (Billed::Maybe, None, Class::ServerError, Amount::request(30), 30),
        // What is known to be more is more.
        (Billed::Maybe, usage(50), Class::ServerError, Amount::request(50), 50),
        (Billed::Maybe, usage(7), Class::ServerError, Amount::request(30), 30),
        (Billed::Yes, usage(7), Class::EmptyAnswer, Amount::request(7), 0),
        (Billed::Yes, None, Class::EmptyAnswer, Amount::request(30), 0),
        // It never left: no request either.
        (Billed::No, None, Class::Changed, Amount::default(), 0),
    ] {
        let mut books = books(1, [1]);
        let failure = Failure { billed, usage: reported, ..failure(Kind::Prompt, class) };
        let notes = fail(&mut books, 1, failure, Means::Own);
        assert_eq!((said(&notes), books.in_flight()), (vec!["write"], 1));
        books.written(Ordinal(1), Content::Error { class, message: String::new() }, Ok(ContentId::of(b"no")));
        let settled = finish(&mut books).remove(0).settled.expect("it was sent");
        let tally = books.tally();
        assert_eq!((settled.used, tally.unknown_tokens), (used, unknown), "{billed:?} {reported:?} {class}");
        assert_eq!(tally.unknown_requests, usize::from(unknown > 0));
        assert_eq!(tally.requests, usize::from(!class.is_local()));
        assert_eq!(said(&books.recorded()), ["failed", "ended"]);
        assert_eq!((books.tally().failed, books.tally().usage), (1, reported.unwrap_or_default()));
    }
}

#[test]
fn a_prompt_is_tried_as_often_as_the_rules_say_and_its_last_failure_is_held() {
    let mut books = books(2, [1]);
    let notes = fail(&mut books, 1, Failure { wait: Some(Duration::from_secs(9)), ..a_failure() }, tried(false, false));
    let Note::Say(Event::Retrying { attempt: 1, attempts: 2, seconds, .. }) = &notes[0] else { panic!("{notes:?}") };
    assert!(*seconds >= 9.0, "{seconds}");
    finish(&mut books);
    let notes = books.recorded();
    let [Note::Again(again, moment)] = &notes[..] else { panic!("{notes:?}") };
    assert!(*moment >= NOW.plus(Duration::from_secs(9)));
    // A request that never reached the server uses up no attempt.
    books.sent(again.clone(), reservation(30), ticket(2));
    assert_eq!(said(&fail(&mut books, 1, a_failure(), tried(true, false))), ["retrying"]);
    finish(&mut books);
    books.recorded();
    books.sent(work(1, 10), reservation(30), ticket(3));
    assert!(fail(&mut books, 1, a_failure(), tried(false, false)).is_empty());
    assert!(books.holds_failures() && books.in_flight() == 0);
    assert!(matches!(finish(&mut books)[0].ended, Ended::Again { .. }));
    assert!(books.recorded().is_empty());
    // An answer to what left before that proves nothing.
    assert!(books.fail_held(Mono(NOW.0 - 1)).is_empty());
    let notes = books.fail_held(NOW);
    let [Note::Write(_, Content::Error { message, .. })] = &notes[..] else { panic!("{notes:?}") };
    assert!(message.ends_with("(attempt 2 of 2)"), "{message}");
    assert_eq!((books.in_flight(), books.holds_failures(), books.tally().retried), (1, false, 2));
}

#[test]
fn what_an_outage_took_for_a_last_failure_is_tried_again_and_gets_its_attempt_back() {
    let mut books = books(1, [1, 2]);
    fail(&mut books, 1, a_failure(), tried(false, false));
    finish(&mut books);
    assert!(books.recorded().is_empty());
    let refunds = vec![Ordinal(1)];
    let notes = fail(&mut books, 2, a_failure(), Means::Outage { at: NOW, refunds });
    let [Note::Again(again, _)] = &notes[..] else { panic!("{notes:?}") };
    assert_eq!((again.ordinal, books.tally().retried), (Ordinal(1), 2));
    // Its one attempt is still to come.
    books.sent(again.clone(), reservation(30), ticket(2));
    fail(&mut books, 1, a_failure(), tried(false, false));
    assert!(books.holds_failures());
    let mut other = self::books(1, [1]);
    assert!(fail(&mut other, 1, failure(Kind::Last, Class::ServerError), tried(false, true)).is_empty());
}

#[test]
fn what_stops_the_run_or_is_throttled_is_sent_again_and_counted_as_what_it_is() {
    for (kind, means, retried, throttled) in [
        (Kind::Throttled, Means::Again(NOW), 0, 1),
        (Kind::Run(crate::model::RunStop::Quota), Means::Again(NOW), 1, 0),
        (Kind::Run(crate::model::RunStop::Key), Means::Stops, 0, 0),
    ] {
        let mut books = books(1, [1]);
        assert!(fail(&mut books, 1, failure(kind, Class::RateLimited), means).is_empty());
        assert!(matches!(finish(&mut books)[0].ended, Ended::Again { class: Some(Class::RateLimited) }));
        assert_eq!(said(&books.recorded()), ["again"]);
        assert_eq!((books.tally().retried, books.tally().throttled), (retried, throttled), "{kind:?}");
    }
}

#[test]
fn a_request_that_is_given_back_cost_nothing() {
    let mut books = Books::new(&rules());
    books.give_back(work(1, 10), reservation(30), NOW);
    let finished = finish(&mut books).remove(0);
    assert_eq!(finished.settled.map(|settled| settled.used), Some(Amount::default()));
    assert!(matches!(finished.ended, Ended::Again { class: None }));
    assert_eq!(
        (said(&books.recorded()), books.tally().requests, books.next_attempt(Ordinal(1))),
        (vec!["again"], 0, 1)
    );
}

#[test]
fn what_is_not_sent_fails_and_is_not_in_flight() {
    let mut books = Books::new(&rules());
    let doom = Doom { class: Class::NotText, message: "no text".to_owned() };
    let note = books.fail_unsent(work(1, 0), doom);
    assert_eq!((said(&[note]), books.in_flight(), books.doomed(), books.is_idle()), (vec!["write"], 0, 1, false));
    books.written(
        Ordinal(1),
        Content::Error { class: Class::NotText, message: String::new() },
        Ok(ContentId::of(b"no")),
    );
    assert_eq!(books.doomed(), 0);
    assert_eq!(finish(&mut books)[0].settled, None);
    assert_eq!((said(&books.recorded()), books.tally().failed), (vec!["failed", "ended"], 1));
}

#[test]
fn an_answer_whose_own_place_is_taken_fails_its_prompt_and_one_that_finds_no_room_ends_the_run() {
    for (alone, says, kept, failed) in [(true, vec!["failed", "ended"], 1, 1), (false, vec!["unwritten"], 1, 0)] {
        let mut books = books(1, [1]);
        let sent = books.take_sent(Ordinal(1)).expect("it is at the server");
        let _ = books.answered(NOW, sent, an_answer());
        written(&mut books, 1, Err(cannot(alone)));
        assert_eq!(books.hold_back(), !alone);
        assert!(matches!(&finish(&mut books)[0].ended, Ended::Unwritten { text, .. } if text == "yes"));
        assert_eq!((said(&books.recorded()), books.hold_back()), (says, false));
        let tally = books.tally();
        assert_eq!((tally.kept, tally.failed, tally.usage.total()), (kept, failed, 15));
    }
}

#[test]
fn a_failure_whose_output_cannot_be_written_is_journalled_all_the_same() {
    for (alone, class, says) in [
        (true, Class::NotText, vec!["failed", "ended", "warning"]),
        // It says so itself.
        (true, Class::OutputBlocked, vec!["failed", "ended"]),
        (false, Class::NotText, vec!["failed", "ended", "unwritten"]),
    ] {
        let mut books = Books::new(&rules());
        let _ = books.fail_unsent(work(1, 0), Doom { class, message: String::new() });
        books.written(Ordinal(1), Content::Error { class, message: String::new() }, Err(cannot(alone)));
        assert!(matches!(finish(&mut books)[0].ended, Ended::Failed { .. }));
        assert_eq!(said(&books.recorded()), says);
        assert!(!books.hold_back());
    }
}

#[test]
fn while_the_store_fails_answers_are_held_and_written_again_before_they_are_recorded() {
    let mut books = books(1, [1]);
    let sent = books.take_sent(Ordinal(1)).expect("it is at the server");
    let _ = books.answered(NOW, sent, an_answer());
    written(&mut books, 1, Ok(()));
    let finished = finish(&mut books);
    let unflushed = NotRecorded::Unflushed("the folder is gone".to_owned());
    assert!(books.unrecorded(&at(NOW), finished, unflushed, false).is_none());
    let finished = finish(&mut books);
    let note = books.unrecorded(&at(NOW), finished, NotRecorded::Store("full".to_owned()), false);
    let Some(Note::Say(Event::Holding { answers: 1, in_flight: 0, .. })) = note else { panic!("{note:?}") };
    assert_eq!((books.held_answers(), books.hold_back()), (1, true));
    let trial = books.next_trial().expect("it is tried again");
    assert!(books.keep(Mono(trial.0 - 1)).is_empty());
    assert_eq!(said(&books.keep(trial)), ["write"]);
    // What is written once more is not kept yet.
    assert!(books.hold_back() && books.in_flight() == 1);
    written(&mut books, 1, Ok(()));
    assert!(matches!(finish(&mut books)[0].ended, Ended::Done { .. }));
    assert!(books.store_works().is_some());
    assert_eq!(said(&books.recorded()), ["done", "ended"]);
    assert!(!books.hold_back() && books.is_idle());
}

#[test]
fn nothing_is_begun_beside_an_answer_that_is_written_once_more_nor_does_the_store_work_before_it_has_it() {
    let mut books = books(1, [1]);
    let sent = books.take_sent(Ordinal(1)).expect("it is at the server");
    let _ = books.answered(NOW, sent, an_answer());
    written(&mut books, 1, Err(cannot(true)));
    let finished = finish(&mut books);
    let _ = books.unrecorded(&at(NOW), finished, NotRecorded::Store("full".to_owned()), true);
    // Claims that were under way are admitted meanwhile.
    assert!(books.admitted().is_none() && books.hold_back());
    let trial = books.next_trial().expect("it is tried again");
    assert_eq!(said(&books.keep(trial)), ["write"]);
    assert!(books.hold_back(), "its own place was taken, and it is on its way there again");
    written(&mut books, 1, Ok(()));
    finish(&mut books);
    assert_eq!(said(&books.recorded()), ["done", "ended"]);
    assert!(books.admitted().is_some() && !books.hold_back());
}

#[test]
fn a_store_that_is_given_up_loses_only_what_is_nowhere_else() {
    let mut books = books(1, [1, 2]);
    for (ordinal, result) in [(1, Ok(())), (2, Err(cannot(false)))] {
        let sent = books.take_sent(Ordinal(ordinal)).expect("it is at the server");
        let _ = books.answered(NOW, sent, an_answer());
        written(&mut books, ordinal, result);
    }
    let finished = finish(&mut books);
    let full = || NotRecorded::Store("full".to_owned());
    let _ = books.unrecorded(&at(NOW), finished, full(), false);
    let end = NOW.plus(rules().give_up_after);
    // The last trial: what could not be written still cannot, and the rest is at the store.
    let mut finished = Vec::new();
    for note in books.keep(end) {
        match note {
            Note::Write(ordinal, content) => books.written(ordinal, content, Err(cannot(false))),
            Note::Finish(lot) => finished = lot,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(finished.len(), 1);
    let note = books.unrecorded(&at(end), finished, full(), false);
    assert!(matches!(&note, Some(Note::Stop(Stop { ending: Ending::Store(why), .. })) if why == "full"), "{note:?}");
    assert_eq!((books.tally().unrecorded, books.tally().lost, books.is_idle()), (1, 1, true));
}

#[test]
fn what_is_not_waited_for_stays_counted() {
    let mut books = books(1, [1, 2]);
    let sent = books.take_sent(Ordinal(2)).expect("it is at the server");
    let _ = books.answered(NOW, sent, an_answer());
    let _ = books.fail_unsent(work(3, 0), Doom { class: Class::NotText, message: String::new() });
    assert_eq!(books.abandoned(), (2, 30 + 15));
}
