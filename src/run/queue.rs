//! What is next: the work that is drawn and waits for its turn.
//!
//! The order is strict: the smaller ordinal goes first, so that what is tried again leaves before what is new, and nothing is overtaken. Work of a
//! later portion waits until the portion before it has ended. What fails without being sent has a lane of its own.
//!
//! Only drawn work is held, and more is drawn when little of it is left: memory follows what is in flight.

use std::collections::{BTreeMap, VecDeque};

use crate::clock::Mono;
use crate::model::{Doom, Drawn, Ordinal, Portion, Supply, Work};

/// So much is drawn at a time at the least: reading a few prompts takes as long as reading one.
const CHUNK: usize = 1_024;

/// How much is drawn at a time by a run that has at most so many requests in flight.
#[must_use]
pub fn chunk(in_flight: usize) -> usize {
    in_flight.saturating_mul(2).max(CHUNK)
}

/// Work that waits.
#[derive(Debug)]
pub(super) struct Queue {
    /// How much is drawn at a time. Where less than half of it may begin, more is drawn.
    chunk: usize,
    /// What may begin, as soon as its portion has.
    ready: BTreeMap<Ordinal, Work>,
    /// What is to be sent again, from these moments on.
    delayed: BTreeMap<(Mono, Ordinal), Work>,
    /// What fails without being sent.
    doomed: VecDeque<(Work, Doom)>,
    /// The portion that goes on, and those after it that are known, each with how many of its prompts have no end.
    portions: VecDeque<(Portion, usize)>,
    /// The latest portion that has begun.
    begun: Option<u32>,
    supply: Supply,
    drawing: bool,
    ended: usize,
}

impl Queue {
    /// An empty queue of a run that has at most so many requests in flight.
    pub(super) fn new(in_flight: usize) -> Self {
        Self {
            chunk: chunk(in_flight),
            ready: BTreeMap::new(),
            delayed: BTreeMap::new(),
            doomed: VecDeque::new(),
            portions: VecDeque::new(),
            begun: None,
            supply: Supply { prompts: 0, up_to_date: 0, portions: None, left: true },
            drawing: false,
            ended: 0,
        }
    }

    /// How much is to be drawn now; `None` where there is enough, where nothing is left, or where it is on its way.
    pub(super) fn draw(&mut self) -> Option<usize> {
        let low = self.chunk / 2;
        let wanted = self.supply.left && !self.drawing && self.ready.len() < low && self.doomed.len() < self.chunk;
        self.drawing |= wanted;
        wanted.then_some(self.chunk)
    }

    /// What was asked for is here.
    pub(super) fn drawn(&mut self, drawn: Drawn) {
        let Drawn { work, portions, supply } = drawn;
        self.drawing = false;
        self.supply = supply;
        self.portions.extend(portions.into_iter().map(|portion| (portion, portion.prompts)));
        for work in work {
            match work.doomed.as_deref().cloned() {
                Some(doom) => self.doomed.push_back((work, doom)),
                None => self.put_back(work),
            }
        }
    }

    /// No more can be drawn.
    pub(super) fn undrawn(&mut self) {
        self.drawing = false;
        self.supply.left = false;
    }

    /// Whether more is on its way.
    pub(super) fn is_drawing(&self) -> bool {
        self.drawing
    }

    /// The portion that begins now; each is told once.
    pub(super) fn begin_portion(&mut self) -> Option<Portion> {
        while self.portions.len() > 1 && self.portions.front().is_some_and(|(_, open)| *open == 0) {
            self.portions.pop_front();
        }
        let (portion, _) = self.portions.front()?;
        let is_new = self.begun.replace(portion.number) != Some(portion.number);
        is_new.then_some(*portion)
    }

    /// How many portions there are; `None` while that is not known.
    pub(super) fn portions(&self) -> Option<u32> {
        self.supply.portions
    }

    /// What may begin now, in order.
    pub(super) fn ready(&self) -> impl Iterator<Item = &Work> {
        let portion = self.portions.front().map(|(portion, _)| portion.number);
        self.ready.values().take_while(move |work| portion.is_none_or(|portion| work.portion <= portion))
    }

    /// Whether anything may begin now.
    pub(super) fn has_ready(&self) -> bool {
        self.ready().next().is_some()
    }

    /// Takes a piece of work that may begin.
    pub(super) fn take(&mut self, ordinal: Ordinal) -> Option<Work> {
        self.ready.remove(&ordinal)
    }

    /// It has not begun after all.
    pub(super) fn put_back(&mut self, work: Work) {
        self.ready.insert(work.ordinal, work);
    }

    /// It is to be begun again, at this moment or later.
    pub(super) fn again(&mut self, work: Work, at: Mono) {
        self.delayed.insert((at, work.ordinal), work);
    }

    /// Makes ready what was delayed until `now`; says whether there was any.
    pub(super) fn wake(&mut self, now: Mono) -> bool {
        let mut any = false;
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            any = true;
            let work = entry.remove();
            self.put_back(work);
        }
        any
    }

    /// When the next piece that is delayed is ready.
    pub(super) fn next_delayed(&self) -> Option<Mono> {
        self.delayed.first_key_value().map(|((at, _), _)| *at)
    }

    /// It cannot be sent after all.
    pub(super) fn doom(&mut self, work: Work, doom: Doom) {
        self.doomed.push_back((work, doom));
    }

    /// The next piece that fails without being sent, and why.
    pub(super) fn take_doomed(&mut self) -> Option<(Work, Doom)> {
        self.doomed.pop_front()
    }

    /// A piece of work has ended.
    pub(super) fn ended(&mut self, work: &Work) {
        self.ended += 1;
        if work.doomed.is_none()
            && let Some((_, open)) = self.portions.iter_mut().find(|(portion, _)| portion.number == work.portion)
        {
            *open = open.saturating_sub(1);
        }
    }

    /// Prompts that the run has to bring to an end, as far as is known.
    pub(super) fn to_do(&self) -> usize {
        self.supply.to_do()
    }

    /// Those of them that have no end.
    pub(super) fn open(&self) -> usize {
        self.to_do().saturating_sub(self.ended)
    }

    /// Whether nothing waits that could begin now or by itself later, nor is anything on its way.
    pub(super) fn is_dry(&self) -> bool {
        !self.has_ready() && self.delayed.is_empty() && self.doomed.is_empty() && !self.drawing
    }

    /// Whether nothing waits, nor ever will.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.is_dry() && !self.supply.left
    }
}
