//! Looks at rows on all cores: which have their answer, and how many tokens the others take.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use super::history::{DoneSet, History, HistoryError};
use super::outputs::Outputs;
use super::standing::{Evidence, Standing, Why, standing};
use crate::count::RequestCounter;
use crate::model::{
    Before, Class, Doom, Fingerprint, Fingerprinter, Form, Key, Known, Place, Put, RequestTemplate, Status,
};
use crate::source::prompt::is_blank;
use crate::source::{Row, Texts};
use crate::tripwire;

/// How many rows a thread takes at a time.
const SHARE: usize = 64;
/// A thread holds so many bytes of text, and one text more, before it asks the journal.
const HELD_TEXT: usize = 1 << 20;

/// What rows are looked at with.
pub struct Survey {
    texts: Arc<dyn Texts>,
    outputs: Arc<dyn Outputs>,
    history: Mutex<Box<dyn History>>,
    done: DoneSet,
    /// What is known beside the journal, and outweighs it.
    beside: HashMap<Key, Known>,
    /// Requests that were in flight when a run died, and whose fate is not known.
    lost: HashSet<(Key, Fingerprint)>,
    template: RequestTemplate,
    fingerprinter: Fingerprinter,
    /// Its tables are loaded only if a prompt is to be sent.
    counter: OnceLock<RequestCounter>,
    force: bool,
    rehearsal: bool,
}

/// What a row is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It has no text, and is no prompt.
    Blank,
    /// Its answer is there.
    UpToDate,
    /// An answer is there that the journal does not know, of so many bytes.
    Unknown(Fingerprint, u64),
    /// A real API's answer is there, and this is a rehearsal.
    Protected,
    /// It cannot be sent, whatever the limits are.
    Fault(Place, Doom),
    /// It is to be sent.
    Send { fingerprint: Fingerprint, place: Place, input_tokens: u64, why: Why },
}

/// A row that the compact set does not know.
struct Unsure<'a> {
    /// Among the rows.
    place: usize,
    text: Result<Cow<'a, str>, Doom>,
    /// The length of its output.
    bytes: u64,
    fingerprint: Fingerprint,
}

impl Survey {
    /// Of requests made from `template`; `rehearsal` where the stand-in answers. Nothing is known of any prompt but by the journal.
    pub fn new(
        template: &RequestTemplate,
        rehearsal: bool,
        texts: Arc<dyn Texts>,
        outputs: Arc<dyn Outputs>,
        mut history: Box<dyn History>,
    ) -> Result<Self, HistoryError> {
        Ok(Self {
            texts,
            outputs,
            done: history.done(rehearsal)?,
            history: Mutex::new(history),
            beside: HashMap::new(),
            lost: HashSet::new(),
            template: template.clone(),
            fingerprinter: Fingerprinter::new(template, rehearsal),
            counter: OnceLock::new(),
            force: false,
            rehearsal,
        })
    }

    /// With what is `known` of some prompts beside the journal, which it outweighs.
    #[must_use]
    pub fn beside(self, known: HashMap<Key, Known>) -> Self {
        Self { beside: known, ..self }
    }

    /// With requests that were in flight when a run died, and whose fate is not known.
    #[must_use]
    pub fn lost(self, lost: HashSet<(Key, Fingerprint)>) -> Self {
        Self { lost, ..self }
    }

    /// Whether all are sent again.
    #[must_use]
    pub fn force(self, force: bool) -> Self {
        Self { force, ..self }
    }

    /// Looks at `rows`, in their order. Tokens are counted, and what stands in an output's place is read, only where `counts`.
    pub(super) fn look(&self, rows: &[Row], counts: bool) -> Result<Vec<Seen>, HistoryError> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut shares = Vec::new();
            loop {
                let start = next.fetch_add(SHARE, Ordering::Relaxed);
                let Some(rest) = rows.get(start..).filter(|rest| !rest.is_empty()) else { return Ok(shares) };
                tripwire::here("survey");
                shares.push((start, self.look_at(&rest[..SHARE.min(rest.len())], counts)?));
            }
        };
        let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get).min(rows.len().div_ceil(SHARE));
        let shares: Result<Vec<_>, HistoryError> = thread::scope(|scope| {
            // Where the system starts no more threads, fewer do it.
            let others: Vec<_> =
                (1..threads).map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
            let mut shares = work();
            for other in others {
                let more = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                shares = shares.and_then(|mut all| {
                    all.extend(more?);
                    Ok(all)
                });
            }
            shares
        });
        let mut shares = shares?;
        shares.sort_unstable_by_key(|(start, _)| *start);
        Ok(shares.into_iter().flat_map(|(_, seen)| seen).collect())
    }

    fn look_at(&self, rows: &[Row], counts: bool) -> Result<Vec<Seen>, HistoryError> {
        let mut seen: Vec<_> = rows.iter().map(|_| Seen::Blank).collect();
        let (mut unsure, mut held) = (Vec::new(), 0);
        for (place, row) in rows.iter().enumerate() {
            let text = match &row.text {
                None => self.texts.again(row.spot).map(Cow::Owned),
                Some(Ok(text)) => Ok(Cow::Borrowed(text.as_str())),
                Some(Err(doom)) => Err(doom.clone()),
            };
            let stands = self.outputs.stands(&row.key);
            let (bytes, fingerprint) = match (&text, stands) {
                (Ok(text), _) if is_blank(text) => continue,
                (Ok(_), Err(message)) => {
                    seen[place] = Seen::Fault(Place::default(), Doom { class: Class::OutputBlocked, message });
                    continue;
                }
                (Ok(text), Ok(bytes)) => (bytes, self.fingerprinter.of(text)),
                (Err(_), stands) => (stands.unwrap_or(0), Fingerprint([0; 16])),
            };
            if text.is_ok() && self.is_done(&row.key, fingerprint, bytes) {
                seen[place] = Seen::UpToDate;
                continue;
            }
            held += text.as_ref().map_or(0, |text| text.len());
            unsure.push(Unsure { place, text, bytes, fingerprint });
            if held > HELD_TEXT {
                self.settle(rows, std::mem::take(&mut unsure), &mut seen, counts)?;
                held = 0;
            }
        }
        self.settle(rows, unsure, &mut seen, counts)?;
        Ok(seen)
    }

    /// Whether the compact set says all there is to say. An answer that the journal knows is not read.
    fn is_done(&self, key: &Key, fingerprint: Fingerprint, bytes: u64) -> bool {
        !self.force && bytes > 0 && !self.beside.contains_key(key) && self.done.contains(key, fingerprint, bytes)
    }

    /// Asks the journal for the rest.
    fn settle(
        &self,
        rows: &[Row],
        unsure: Vec<Unsure<'_>>,
        seen: &mut [Seen],
        counts: bool,
    ) -> Result<(), HistoryError> {
        if unsure.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = unsure.iter().map(|unsure| rows[unsure.place].key.clone()).collect();
        // A panic of another thread leaves the journal as it was.
        let known = self.history.lock().unwrap_or_else(PoisonError::into_inner).known(&keys)?;
        for ((unsure, key), known) in unsure.into_iter().zip(&keys).zip(known) {
            let known = self.beside.get(key).or(known.as_ref());
            let place = unsure.place;
            seen[place] = self.one(key, unsure, known, counts);
        }
        Ok(())
    }

    fn one(&self, key: &Key, unsure: Unsure<'_>, known: Option<&Known>, counts: bool) -> Seen {
        let Unsure { text, bytes, fingerprint, .. } = unsure;
        let stands = (bytes > 0).then(|| self.form(key, bytes, known));
        let answered = stands == Some(Form::Answer) && known.is_some_and(|known| known.status == Status::Done);
        let text = match text {
            Ok(text) => text,
            Err(doom) => return Seen::Fault(Place { before: Before::Unknown, answered }, doom),
        };
        let lost = !self.lost.is_empty() && self.lost.contains(&(key.clone(), fingerprint));
        let evidence = Evidence { known, lost, stands, fingerprint };
        match standing(evidence, self.force, self.rehearsal) {
            Standing::UpToDate => Seen::UpToDate,
            Standing::Unknown => Seen::Unknown(fingerprint, bytes),
            Standing::Protected => Seen::Protected,
            Standing::Send(why) => {
                let (input_tokens, before) = if counts {
                    let counter = self.counter.get_or_init(|| RequestCounter::new(&self.template));
                    (counter.input_tokens(&text), self.before(key, bytes))
                } else {
                    (0, Before::Unknown)
                };
                Seen::Send { fingerprint, place: Place { before, answered }, input_tokens, why }
            }
        }
    }

    /// What an output is. An answer that the journal knows is not read, unless there is a doubt that it still stands there.
    fn form(&self, key: &Key, bytes: u64, known: Option<&Known>) -> Form {
        if let Some(known) = known.filter(|known| known.status == Status::Done && known.bytes == bytes) {
            let holds = |content| self.outputs.holds(key, &Put { offset: 0, content });
            if !known.unsettled || known.output.is_some_and(holds) {
                return Form::Answer;
            }
        }
        // What cannot be read may be an answer.
        self.outputs.form(key).unwrap_or(Form::Answer)
    }

    /// What stands where an answer is to be.
    fn before(&self, key: &Key, bytes: u64) -> Before {
        match (bytes > 0).then(|| self.outputs.content(key)) {
            None => Before::Nothing,
            Some(Ok(content)) => Before::Output(content),
            Some(Err(_)) => Before::Unknown,
        }
    }
}
