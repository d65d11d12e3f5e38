//! Work that was drawn at once, handed out in chunks.

use std::collections::VecDeque;
use std::vec;

use promptmill::model::{Drawn, Portion, Supply, Work};

/// What was drawn, and is not handed out.
#[derive(Debug)]
pub(crate) struct Chunks {
    work: vec::IntoIter<Work>,
    /// The portions that have not begun.
    portions: VecDeque<Portion>,
    supply: Supply,
}

impl Chunks {
    /// All that is left of an input.
    pub(crate) fn new(drawn: Drawn) -> Self {
        let Drawn { work, portions, supply } = drawn;
        Self { work: work.into_iter(), portions: portions.into(), supply }
    }

    /// The next `most`, with the portions that begin in it.
    pub(crate) fn draw(&mut self, most: usize) -> Drawn {
        let work: Vec<Work> = self.work.by_ref().take(most).collect();
        let last = work.iter().rev().find(|work| work.doomed.is_none()).map(|work| work.portion);
        let mut portions = Vec::new();
        while let Some(portion) = self.portions.front().filter(|portion| Some(portion.number) <= last) {
            portions.push(*portion);
            self.portions.pop_front();
        }
        Drawn { work, portions, supply: Supply { left: self.work.len() > 0, ..self.supply } }
    }
}

mod tests {
    use super::*;
    use promptmill::model::{Class, Doom, Fingerprint, Key, Ordinal, Place, Spot};

    fn work(ordinal: u32, portion: u32, doomed: bool) -> Work {
        let doom = || Box::new(Doom { class: Class::NotText, message: String::new() });
        Work {
            ordinal: Ordinal(ordinal),
            key: Key::from(u64::from(ordinal)),
            spot: Spot(0),
            fingerprint: Fingerprint([0; 16]),
            input_tokens: 10,
            portion,
            doomed: doomed.then(doom),
            place: Place::default(),
        }
    }

    #[test]
    fn a_portion_is_told_in_the_chunk_in_which_it_begins() {
        let work = [(0, false), (0, true), (0, false), (1, false), (1, false), (1, false)].into_iter().zip(0..);
        let work: Vec<Work> = work.map(|((portion, doomed), ordinal)| self::work(ordinal, portion, doomed)).collect();
        let portion = |number, prompts| Portion { number, prompts, input_tokens: 10 * prompts as u64 };
        let supply = Supply { prompts: 10, up_to_date: 4, portions: Some(2), left: false };
        let mut chunks = Chunks::new(Drawn { work, portions: vec![portion(0, 2), portion(1, 3)], supply });
        let told = [2, 2, 9, 9].map(|most| chunks.draw(most));
        let numbers = |drawn: &Drawn| drawn.work.iter().map(|work| work.ordinal.0).collect::<Vec<_>>();
        assert_eq!(told.iter().map(numbers).collect::<Vec<_>>(), [vec![0, 1], vec![2, 3], vec![4, 5], vec![]]);
        assert_eq!(told[0].portions, [portion(0, 2)]);
        assert_eq!(told[1].portions, [portion(1, 3)]);
        assert!(told[2].portions.is_empty());
        assert_eq!(told.iter().map(|drawn| drawn.supply.left).collect::<Vec<_>>(), [true, true, false, false]);
        assert_eq!(told[0].supply, Supply { left: true, ..supply });
    }
}
