//! Reads an input on: rows become work, chunk by chunk.
//!
//! What it holds does not grow with the input: a chunk of rows, the portion that is being filled, and 16 bytes of each prompt that is done. Where a
//! batch limit is set and nothing is split, the whole input is read before anything is sent; it holds what is within the limit then.

use std::sync::Arc;

use super::cut::{Cut, Piece};
use super::history::HistoryError;
use super::rules::{OverBatch, PlanRules};
use super::standing::Why;
use super::survey::{Seen, Survey};
use crate::model::{Drawn, Fingerprint, Key, Ordinal, Portion, Spot, Supply, Work};
use crate::source::scan::without_text;
use crate::source::{Row, Source, SourceError, Texts};

/// How many rows are looked at in one go.
const ROWS: usize = 1_024;

/// An answer that the journal does not know: what it is taken to answer, and its length in bytes.
pub type Adopted = (Key, Fingerprint, u64);

/// An input, as it turns into work.
pub struct Feed {
    source: Box<dyn Source>,
    survey: Survey,
    rules: PlanRules,
    /// How many rows are looked at in one go.
    pub(super) rows: usize,
    cut: Cut,
    next: u32,
    /// Prompts among the rows that were read.
    prompts: usize,
    up_to_date: usize,
    /// Input tokens of all that can be sent.
    input_tokens: u64,
    /// Whether all rows are read.
    is_read: bool,
}

/// What a draw brings, and what else it finds.
#[derive(Debug)]
pub struct Draft {
    /// The work, for whoever sends it.
    pub drawn: Drawn,
    /// Why each piece of it is not up to date.
    pub whys: Vec<Why>,
    /// Prompts whose answer the journal does not know; they count as up to date.
    pub adopted: Vec<Adopted>,
    /// How many prompts have a paid answer that a rehearsal leaves alone; they count as up to date.
    pub protected: usize,
    /// Rows without text. They are no prompts.
    pub blank: Vec<Spot>,
    /// The input is over the batch limit; no work is told then.
    pub refused: Option<OverBatch>,
}

impl Draft {
    /// What a person should know of it.
    #[must_use]
    pub fn warnings(&self, texts: &dyn Texts) -> Vec<String> {
        let names: Vec<_> = self.blank.iter().map(|spot| texts.name(*spot)).collect();
        let protected = match self.protected {
            0 => None,
            1 => Some("1 answer is".to_owned()),
            more => Some(format!("{more} answers are")),
        };
        let protected = protected.map(|answers| {
            format!("{answers} not the stand-in's and may have been paid for; --offline leaves them alone")
        });
        without_text(&names).into_iter().chain(protected).collect()
    }
}

/// An input cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// What is found on the way.
#[derive(Default)]
struct Found {
    work: Vec<Piece>,
    portions: Vec<Portion>,
    adopted: Vec<Adopted>,
    protected: usize,
    blank: Vec<Spot>,
}

impl Feed {
    /// The rows of `source`, as `survey` sees them.
    #[must_use]
    pub fn new(source: Box<dyn Source>, survey: Survey, rules: PlanRules) -> Self {
        let cut = Cut::new(rules.portion_limit());
        let (next, prompts, up_to_date, input_tokens, is_read) = (0, 0, 0, 0, false);
        Self { source, survey, rules, rows: ROWS, cut, next, prompts, up_to_date, input_tokens, is_read }
    }

    /// Reads on until there are `most` pieces of work or more, or to the end; to the end where a limit holds for the whole input. It stops earlier
    /// where it does not go on, which it asks from time to time.
    pub fn draw(&mut self, most: usize, mut goes_on: impl FnMut() -> bool) -> Result<Draft, FeedError> {
        let whole = self.rules.total_limit();
        let mut found = Found::default();
        while !self.is_read && (whole.is_some() || found.work.len() < most) && goes_on() {
            let rows = self.read()?;
            let seen = self.survey.look(&rows, true)?;
            for (row, seen) in rows.into_iter().zip(seen) {
                self.take(row, seen, &mut found);
            }
            if self.is_read {
                self.cut.end(&mut found.work, &mut found.portions);
            }
            if whole.is_some_and(|limit| self.input_tokens > limit) {
                // The sum is all that is still of interest.
                found.work.clear();
            }
        }
        let total = self.input_tokens;
        let refused = whole.filter(|limit| total > *limit).map(|limit| OverBatch { total, limit });
        let (work, whys) = found.work.into_iter().unzip();
        let Found { portions, adopted, protected, blank, .. } = found;
        Ok(Draft { drawn: Drawn { work, portions, supply: self.supply() }, whys, adopted, protected, blank, refused })
    }

    /// Looks at what has not been drawn, for as long as it `goes_on`: what is known then. Nothing is counted, and none of it can be drawn any more.
    pub fn look_at_the_rest(&mut self, mut goes_on: impl FnMut() -> bool) -> Result<Supply, FeedError> {
        while !self.is_read && goes_on() {
            let rows = self.read()?;
            for seen in self.survey.look(&rows, false)? {
                self.count(&seen);
            }
        }
        Ok(self.supply())
    }

    /// What is known so far.
    #[must_use]
    pub fn supply(&self) -> Supply {
        let left = self.source.len_hint().filter(|_| !self.is_read).unwrap_or(0);
        let portions = match self.rules.portion_limit() {
            Some(_) => self.is_read.then_some(self.cut.portions()),
            None => Some(self.cut.portions()),
        };
        Supply { prompts: self.prompts + left, up_to_date: self.up_to_date, portions, left: !self.is_read }
    }

    /// How many rows are not read, where that is known.
    #[must_use]
    pub fn unread(&self) -> Option<usize> {
        if self.is_read { Some(0) } else { self.source.len_hint() }
    }

    /// What reads a row again.
    #[must_use]
    pub fn texts(&self) -> Arc<dyn Texts> {
        self.source.texts()
    }

    /// How many pieces of work it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.cut.waiting()
    }

    fn read(&mut self) -> Result<Vec<Row>, FeedError> {
        let rows = self.source.next(self.rows)?;
        self.is_read = rows.is_empty() || self.source.len_hint() == Some(0);
        Ok(rows)
    }

    fn count(&mut self, seen: &Seen) {
        let is_up_to_date = matches!(seen, Seen::UpToDate | Seen::Unknown(..) | Seen::Protected);
        self.prompts += usize::from(*seen != Seen::Blank);
        self.up_to_date += usize::from(is_up_to_date);
    }

    fn take(&mut self, row: Row, seen: Seen, found: &mut Found) {
        self.count(&seen);
        let (fingerprint, place, input_tokens, why, doomed) = match seen {
            Seen::Blank => return found.blank.push(row.spot),
            Seen::UpToDate => return,
            Seen::Unknown(fingerprint, bytes) => return found.adopted.push((row.key, fingerprint, bytes)),
            Seen::Protected => return found.protected += 1,
            Seen::Fault(place, doom) => (Fingerprint([0; 16]), place, 0, Why::New, Some(doom)),
            Seen::Send { fingerprint, place, input_tokens, why } => {
                let doomed = self.rules.doom(input_tokens);
                if doomed.is_none() {
                    self.input_tokens = self.input_tokens.saturating_add(input_tokens);
                }
                (fingerprint, place, input_tokens, why, doomed)
            }
        };
        let Row { key, spot, .. } = row;
        let (ordinal, doomed) = (Ordinal(self.next), doomed.map(Box::new));
        self.next = self.next.saturating_add(1);
        let work = Work { ordinal, key, spot, fingerprint, input_tokens, portion: 0, doomed, place };
        self.cut.add((work, why), &mut found.work, &mut found.portions);
    }
}
