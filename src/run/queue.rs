//! What is next: the work that is drawn and waits for its turn.
//!
//! The order is strict: the smaller ordinal goes first, so that what is tried again leaves before what is new, and nothing is overtaken. Work of a
//! later portion waits until the portion before it has ended. What fails without being sent has a lane of its own, and so has what the server refuses
//! alone: it goes behind the rest.
//!
//! Only drawn work is held, and more is drawn when little of it is left: memory follows what is in flight.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

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
    /// What goes behind all that is ready, for the server has refused it alone, or is sure to: nothing starves behind it.
    last: BTreeMap<Ordinal, Work>,
    behind: BTreeSet<Ordinal>,
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
            last: BTreeMap::new(),
            behind: BTreeSet::new(),
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
        let last = if self.is_at_last() { Some(&self.last) } else { None };
        self.in_turn(&self.ready).chain(last.into_iter().flat_map(|last| self.in_turn(last)))
    }

    fn in_turn<'a>(&self, work: &'a BTreeMap<Ordinal, Work>) -> impl Iterator<Item = &'a Work> + use<'a> {
        let portion = self.portions.front().map(|(portion, _)| portion.number);
        work.values().take_while(move |work| portion.is_none_or(|portion| work.portion <= portion))
    }

    /// Whether only what goes behind the rest may begin.
    pub(super) fn is_at_last(&self) -> bool {
        let more = self.drawing || (self.supply.left && self.portions.len() < 2);
        !more && self.in_turn(&self.ready).next().is_none()
    }

    /// Whether anything goes behind the rest.
    pub(super) fn has_last(&self) -> bool {
        !self.last.is_empty()
    }

    /// From now on this one goes behind the rest.
    pub(super) fn put_behind(&mut self, ordinal: Ordinal) {
        self.behind.insert(ordinal);
        if let Some(work) = self.ready.remove(&ordinal) {
            self.put_back(work);
        }
    }

    /// This one, if it waits for nothing else than its turn.
    pub(super) fn get(&self, ordinal: Ordinal) -> Option<&Work> {
        self.ready.get(&ordinal).or_else(|| self.last.get(&ordinal))
    }

    /// Whether anything may begin now.
    pub(super) fn has_ready(&self) -> bool {
        self.ready().next().is_some()
    }

    /// Takes a piece of work that may begin.
    pub(super) fn take(&mut self, ordinal: Ordinal) -> Option<Work> {
        self.ready.remove(&ordinal).or_else(|| self.last.remove(&ordinal))
    }

    /// It has not begun after all.
    pub(super) fn put_back(&mut self, work: Work) {
        let lane = if self.behind.contains(&work.ordinal) { &mut self.last } else { &mut self.ready };
        lane.insert(work.ordinal, work);
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
        self.behind.remove(&work.ordinal);
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
        self.ready.is_empty() && self.last.is_empty() && self.is_dry() && !self.supply.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tests::{all, doomed, work};

    fn queue(work: Vec<Work>) -> Queue {
        let mut queue = Queue::new(1);
        queue.drawn(all(work));
        queue
    }

    fn ready(queue: &Queue) -> Vec<u32> {
        queue.ready().map(|work| work.ordinal.0).collect()
    }

    #[test]
    fn the_smaller_ordinal_goes_first_and_what_is_tried_again_before_what_is_new() {
        let mut queue = queue((0..5).map(|ordinal| work(ordinal, 1)).collect());
        let (zero, one) = (queue.take(Ordinal(0)).expect("it is ready"), queue.take(Ordinal(1)).expect("it is ready"));
        assert!(queue.take(Ordinal(0)).is_none());
        queue.again(zero, Mono(20));
        queue.again(one, Mono(10));
        assert_eq!((ready(&queue), queue.next_delayed()), (vec![2, 3, 4], Some(Mono(10))));
        assert!(!queue.wake(Mono(9)));
        assert!(queue.wake(Mono(10)));
        assert_eq!((ready(&queue), queue.next_delayed()), (vec![1, 2, 3, 4], Some(Mono(20))));
        assert!(queue.wake(Mono(30)) && !queue.wake(Mono(30)));
        assert_eq!((ready(&queue), queue.next_delayed()), (vec![0, 1, 2, 3, 4], None));
        let two = queue.take(Ordinal(2)).expect("it is ready");
        assert_eq!(ready(&queue), [0, 1, 3, 4]);
        queue.put_back(two);
        assert_eq!(ready(&queue), [0, 1, 2, 3, 4]);
    }

    fn portion(number: u32, prompts: usize) -> Portion {
        Portion { number, prompts, input_tokens: 7 }
    }

    #[test]
    fn a_portion_begins_when_the_one_before_it_has_ended_and_is_told_once() {
        let piece = |ordinal, portion| Work { portion, ..work(ordinal, 1) };
        let mut queue = Queue::new(1);
        assert_eq!(queue.begin_portion(), None);
        // Of the first portion one prompt is still to be drawn; the second has none that can be sent.
        let supply = |left| Supply { prompts: 5, up_to_date: 0, portions: None, left };
        let first = Drawn { work: vec![piece(0, 0)], portions: vec![portion(0, 2)], supply: supply(true) };
        let rest = vec![doomed(1), piece(2, 0), piece(3, 2), piece(4, 2)];
        let rest = Drawn { work: rest, portions: vec![portion(1, 0), portion(2, 2)], supply: supply(false) };
        queue.drawn(first);
        assert_eq!((queue.begin_portion(), queue.begin_portion()), (Some(portion(0, 2)), None));
        let zero = queue.take(Ordinal(0)).expect("it is ready");
        queue.ended(&zero);
        assert_eq!((queue.begin_portion(), ready(&queue)), (None, vec![]));
        queue.drawn(rest);
        // What is doomed is no part of it.
        let (none, _) = queue.take_doomed().expect("it is doomed");
        queue.ended(&none);
        assert_eq!((queue.begin_portion(), ready(&queue)), (None, vec![2]));
        let two = queue.take(Ordinal(2)).expect("it is ready");
        // It is sent, and tried again.
        queue.again(two, Mono(1));
        assert_eq!((queue.begin_portion(), ready(&queue)), (None, vec![]));
        queue.wake(Mono(1));
        let two = queue.take(Ordinal(2)).expect("it is ready");
        queue.ended(&two);
        assert_eq!((queue.begin_portion(), ready(&queue)), (Some(portion(2, 2)), vec![3, 4]));
        assert_eq!((queue.begin_portion(), queue.open()), (None, 2));
    }

    #[test]
    fn what_the_store_refuses_for_good_ends_its_portion_only_when_it_has_failed() {
        let mut queue = Queue::new(1);
        let supply = Supply { prompts: 2, up_to_date: 0, portions: Some(2), left: false };
        let work = vec![work(0, 1), Work { portion: 1, ..work(1, 1) }];
        queue.drawn(Drawn { work, portions: vec![portion(0, 1), portion(1, 1)], supply });
        queue.begin_portion();
        let zero = queue.take(Ordinal(0)).expect("it is ready");
        queue.doom(zero, Doom { class: crate::model::Class::TooLarge, message: String::new() });
        assert_eq!((queue.begin_portion(), ready(&queue)), (None, vec![]));
        let (zero, doom) = queue.take_doomed().expect("it is doomed");
        assert_eq!((zero.ordinal, doom.class), (Ordinal(0), crate::model::Class::TooLarge));
        queue.ended(&zero);
        assert_eq!((queue.begin_portion(), ready(&queue)), (Some(portion(1, 1)), vec![1]));
    }

    /// The next `count` pieces, of which more are `left`.
    fn chunk(from: &mut u32, count: usize, left: bool, make: fn(u32) -> Work) -> Drawn {
        let to = *from + u32::try_from(count).expect("few");
        let work = (*from..to).map(make).collect();
        *from = to;
        Drawn { work, portions: Vec::new(), supply: Supply { prompts: 1_000_000, up_to_date: 0, portions: None, left } }
    }

    #[test]
    fn one_chunk_is_asked_for_at_a_time_and_the_next_when_half_of_one_is_left() {
        for (in_flight, chunk_size) in [(1, 1_024), (512, 1_024), (2_000, 4_000)] {
            let (mut queue, mut from) = (Queue::new(in_flight), 0);
            let make: fn(u32) -> Work = |ordinal| work(ordinal, 1);
            assert_eq!((queue.draw(), queue.draw(), queue.is_drawing()), (Some(chunk_size), None, true));
            queue.drawn(chunk(&mut from, chunk_size, true, make));
            assert_eq!((queue.draw(), queue.is_drawing()), (None, false));
            for ordinal in 0..u32::try_from(chunk_size / 2).expect("few") {
                assert_eq!(queue.draw(), None, "{ordinal} of {chunk_size} are taken");
                queue.take(Ordinal(ordinal));
            }
            queue.take(Ordinal(u32::try_from(chunk_size / 2).expect("few")));
            assert_eq!(queue.draw(), Some(chunk_size));
            // A short chunk is no end.
            queue.drawn(chunk(&mut from, 0, true, make));
            assert_eq!(queue.draw(), Some(chunk_size));
            queue.drawn(chunk(&mut from, 0, false, make));
            assert_eq!((queue.draw(), queue.is_drawing()), (None, false));
        }
    }

    #[test]
    fn what_is_doomed_is_held_in_no_greater_number() {
        let (mut queue, mut from) = (Queue::new(1), 0);
        while queue.draw().is_some() {
            assert!(from < 4_000, "{from} are drawn");
            queue.drawn(chunk(&mut from, 600, true, doomed));
        }
        assert!(!queue.is_dry() && queue.take_doomed().is_some());
    }

    #[test]
    fn it_is_empty_when_nothing_waits_and_nothing_is_left() {
        let mut queue = Queue::new(1);
        assert!(queue.is_dry() && !queue.is_empty());
        queue.draw();
        assert!(!queue.is_dry());
        queue.drawn(all(vec![work(0, 1), doomed(1)]));
        assert!(!queue.is_dry());
        let zero = queue.take(Ordinal(0)).expect("it is ready");
        assert!(!queue.is_dry());
        let (one, _) = queue.take_doomed().expect("it is doomed");
        assert!(queue.is_empty());
        assert_eq!((queue.to_do(), queue.open()), (2, 2));
        queue.ended(&one);
        queue.again(zero, Mono(1));
        assert!(!queue.is_dry() && !queue.is_empty());
        assert_eq!(queue.open(), 1);
        // An input that cannot be read on has no more.
        let mut queue = Queue::new(1);
        queue.draw();
        queue.undrawn();
        assert!(queue.is_empty() && queue.draw().is_none());
    }
}
