//! What a run that died leaves: which of its requests were answered, and whose fate is not known. Pure.
//!
//! An answer is told by its content alone. What stood at an output's place when the request left, and what earlier runs wrote there, is not its
//! answer, whatever the time of the file's last change. Where the journal does not say what stood there (its format was 2, or the file could not be
//! read), nothing is taken for the answer: an old answer under a new prompt is found by nobody, and a request sent again costs no more than it did.

use crate::model::{Before, ContentId, Key};
use crate::record::entry::LostRequest;

/// What stands at the place of a lost request's output now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stands {
    pub content: ContentId,
    /// Whether it has the form of a failure's line. The failure was written and not journalled; the prompt is tried again.
    pub failure: bool,
}

/// The requests of a run that died.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Those whose answer is on disk, with it.
    pub answered: Vec<(LostRequest, ContentId)>,
    /// Those whose fate is not known; they may have been paid for.
    pub unknown: Vec<LostRequest>,
}

/// Sorts the requests that were in flight; `stands` says what is at the place of a prompt's output, `None` for nothing or an empty file.
pub fn recover(lost: Vec<LostRequest>, mut stands: impl FnMut(&Key) -> Option<Stands>) -> Recovery {
    let mut recovery = Recovery::default();
    for request in lost {
        match stands(&request.key).filter(|stands| answers(&request, stands)) {
            Some(Stands { content, .. }) => recovery.answered.push((request, content)),
            None => recovery.unknown.push(request),
        }
    }
    recovery
}

fn answers(request: &LostRequest, stands: &Stands) -> bool {
    let is_new = match request.before {
        Before::Unknown => false,
        Before::Nothing => true,
        Before::Output(old) => old != stands.content,
    };
    is_new && !stands.failure && !request.earlier.contains(&stands.content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Fingerprint;
    use crate::record::AttemptId;

    fn lost(key: u64, before: Before, earlier: &[&str]) -> LostRequest {
        LostRequest {
            attempt: AttemptId::of(3, 0),
            key: Key::from(key),
            fingerprint: Fingerprint([1; 16]),
            input_tokens: 1,
            reserved_tokens: 2,
            rehearsal: false,
            before,
            earlier: earlier.iter().map(|text| ContentId::of(text.as_bytes())).collect(),
        }
    }

    #[test]
    fn only_what_was_never_seen_before_is_an_answer() {
        let old = Before::Output(ContentId::of(b"old"));
        // What stood there, what earlier runs wrote, what stands there now, whether it has a failure's form, and whether it is the answer.
        let table = [
            (Before::Nothing, &[][..], Some("new"), false, true),
            (Before::Nothing, &[], None, false, false),
            (Before::Nothing, &[], Some("failed"), true, false),
            // The output was deleted, the prompt sent again, and the old output brought back.
            (Before::Nothing, &["old"], Some("old"), false, false),
            (Before::Nothing, &["older"], Some("new"), false, true),
            (old, &[], Some("old"), false, false),
            (old, &[], Some("new"), false, true),
            // It has the same length.
            (old, &[], Some("odd"), false, true),
            (old, &["older"], Some("older"), false, false),
            (old, &[], Some("failed"), true, false),
            (old, &[], None, false, false),
            (Before::Unknown, &[], Some("new"), false, false),
            (Before::Unknown, &["older"], Some("new"), false, false),
            (Before::Unknown, &[], None, false, false),
        ];
        for (row, (before, earlier, now, failure, answered)) in table.into_iter().enumerate() {
            let request = lost(1, before, earlier);
            let stands = now.map(|text| Stands { content: ContentId::of(text.as_bytes()), failure });
            let recovery = recover(vec![request.clone()], |_| stands);
            let expected = if answered {
                let content = stands.expect("it stands there").content;
                Recovery { answered: vec![(request, content)], unknown: vec![] }
            } else {
                Recovery { answered: vec![], unknown: vec![request] }
            };
            assert_eq!(recovery, expected, "row {row}");
        }
    }

    #[test]
    fn each_request_is_judged_by_its_own_place() {
        let requests = [1, 2, 3].map(|key| lost(key, Before::Nothing, &[])).to_vec();
        let stands = |key: &Key| {
            let content = ContentId::of(key.as_str().as_bytes());
            (key.as_str() != "2").then_some(Stands { content, failure: false })
        };
        let Recovery { answered, unknown } = recover(requests, stands);
        let answered: Vec<_> = answered.iter().map(|(request, content)| (request.key.as_str(), *content)).collect();
        assert_eq!(answered, [("1", ContentId::of(b"1")), ("3", ContentId::of(b"3"))]);
        assert_eq!(unknown.iter().map(|request| request.key.as_str()).collect::<Vec<_>>(), ["2"]);
    }
}
