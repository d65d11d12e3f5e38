//! The journal between runs, worked out from its rows.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::super::entry::{LostRequest, Step, next_status};
use super::super::{AttemptId, Found, Journal, KeptAnswer, LATEST_ANSWERS, LastRun, Notes, RunInfo, StoreError};
use super::{MemoryStore, Row, Run};
use crate::clock::Now;
use crate::model::{Before, Class, ContentId, Fingerprint, Key, Known, Status, Usage};
use crate::plan::{DoneSet, History, HistoryError};

impl MemoryStore {
    /// The rows of the folder `outputs`, those of earlier runs first.
    fn rows_of(&self, outputs: &str) -> impl Iterator<Item = (i64, &Key, &Row)> {
        let is_of = move |run: &i64| self.runs.get(run).is_some_and(|run| run.info.outputs == outputs);
        self.rows.iter().filter(move |((run, _), _)| is_of(run)).map(|((run, key), row)| (*run, key, row))
    }

    /// The last end of each prompt.
    fn known(&self, outputs: &str) -> HashMap<Key, Known> {
        let mut all: HashMap<Key, Known> = HashMap::new();
        for (run, key, row) in self.rows_of(outputs) {
            match row.status {
                // What stood in an output's place says nothing of its prompt.
                _ if row.class == Some(Class::OutputBlocked) => {}
                Status::Done | Status::Failed | Status::Unwritten => {
                    let Row { fingerprint, status, bytes, output, usage, .. } = *row;
                    let rehearsal = self.runs[&run].info.rehearsal;
                    let known = Known { run, fingerprint, status, bytes, unsettled: false, output, rehearsal, usage };
                    all.insert(key.clone(), known);
                }
                Status::Sending | Status::Waiting | Status::Lost => {
                    if let Some(known) = all.get_mut(key) {
                        known.unsettled = true;
                    }
                }
            }
        }
        all
    }

    /// The latest answers of `model`.
    fn latest(&self, model: &str) -> Vec<(&Run, &Row)> {
        let rows = self.rows.iter().filter_map(|((run, _), row)| Some((self.runs.get(run)?, row)));
        let is_answer = |row: &Row| row.status == Status::Done && row.attempt.is_some();
        let mut latest: Vec<_> = rows.filter(|(run, row)| run.info.model == model && is_answer(row)).collect();
        latest.sort_by_key(|(_, row)| Reverse(row.attempt));
        latest
    }

    fn recovered(&mut self, attempt: AttemptId, key: &Key, output: ContentId, now: &Now) -> Option<&mut Row> {
        let row = self.rows.get_mut(&(attempt.run(), key.clone()))?;
        let lose = (row.status == Status::Sending).then_some(Step::Lose);
        for step in lose.into_iter().chain([Step::Recover]) {
            row.status =
                next_status(Some(row.status), step).unwrap_or_else(|illegal| panic!("prompt {key}: {illegal}"));
        }
        (row.bytes, row.output, row.text, row.ended) = (output.bytes, Some(output), None, Some(now.wall));
        Some(row)
    }
}

impl Journal for MemoryStore {
    fn find(&self, outputs: &str, model: &str) -> Result<Found, StoreError> {
        let mut found = Found::default();
        for (run, key, row) in self.rows_of(outputs) {
            if let Some(text) = row.text.clone() {
                found.kept.extend(row.attempt.map(|attempt| KeptAnswer { attempt, key: key.clone(), text }));
            }
            let rehearsal = self.runs[&run].info.rehearsal;
            if let (Status::Sending, Some(attempt)) = (row.status, row.attempt) {
                let earlier = self.rows_of(outputs).filter(|(other, of, _)| (*of, *other != run) == (key, true));
                let seen = |row: &Row| {
                    let before = if let Before::Output(content) = row.before { Some(content) } else { None };
                    before.into_iter().chain(row.output)
                };
                found.lost.push(LostRequest {
                    attempt,
                    key: key.clone(),
                    fingerprint: row.fingerprint,
                    input_tokens: row.input_tokens,
                    reserved_tokens: row.reserved_tokens,
                    rehearsal,
                    before: row.before,
                    earlier: earlier.flat_map(|(_, _, row)| seen(row)).collect(),
                });
            }
        }
        let latest = self.latest(model).into_iter().take(LATEST_ANSWERS);
        found.latest_output_tokens = latest.map(|(_, row)| row.usage.output_tokens).collect();
        Ok(found)
    }

    fn history(&self, outputs: &str) -> Result<Box<dyn History>, StoreError> {
        Ok(Box::new(Remembered(self.known(outputs))))
    }

    fn start_run(&mut self, info: &RunInfo, now: &Now) -> Result<(), StoreError> {
        let runs = &self.runs;
        let is_of = |run: &i64| runs.get(run).is_some_and(|run| run.info.outputs == info.outputs);
        for ((run, _), row) in &mut self.rows {
            if row.status == Status::Sending && is_of(run) {
                row.status = Status::Lost;
            }
        }
        self.run = self.runs.last_key_value().map_or(0, |(last, _)| *last) + 1;
        let run = Run { info: info.clone(), started: now.wall, ended: None, notes: Vec::new() };
        self.runs.insert(self.run, run);
        self.attempts = 0;
        Ok(())
    }

    fn end_run(&mut self, summary: &str, now: &Now) -> Result<(), StoreError> {
        if let Some(run) = self.runs.get_mut(&self.run) {
            run.ended = Some((now.wall, summary.to_owned()));
        }
        Ok(())
    }

    fn recover_lost(&mut self, found: &[(LostRequest, Usage, ContentId)], now: &Now) -> Result<(), StoreError> {
        for (request, usage, output) in found {
            if let Some(row) = self.recovered(request.attempt, &request.key, *output, now) {
                row.usage = *usage;
            }
        }
        Ok(())
    }

    fn recover_kept(&mut self, answer: &KeptAnswer, now: &Now) -> Result<(), StoreError> {
        self.recovered(answer.attempt, &answer.key, answer.content(), now);
        Ok(())
    }

    fn adopt(&mut self, adopted: &[(Key, Fingerprint, u64)], now: &Now) -> Result<(), StoreError> {
        for (key, fingerprint, bytes) in adopted {
            let (ended, bytes) = (Some(now.wall), *bytes);
            let row = Row { ended, bytes, ..Row::new(*fingerprint, Status::Done) };
            self.rows.insert((self.run, key.clone()), row);
        }
        Ok(())
    }

    fn last_run(&self, outputs: &str) -> Result<Option<LastRun>, StoreError> {
        let last = self.runs.values().rev().find(|run| run.info.outputs == outputs);
        Ok(last.map(|Run { info, started, ended, .. }| LastRun {
            model: info.model.clone(),
            rehearsal: info.rehearsal,
            pid: info.pid,
            started: *started,
            ended: ended.as_ref().map(|(at, _)| *at),
            summary: ended.as_ref().map(|(_, summary)| summary.clone()),
        }))
    }
}

impl Notes for MemoryStore {
    fn note(&mut self, events: &[(DateTime<Utc>, String)]) -> Result<(), StoreError> {
        if let Some(run) = self.runs.get_mut(&self.run) {
            run.notes.extend_from_slice(events);
        }
        Ok(())
    }

    fn last_notes(&self, outputs: &str, most: usize) -> Result<Vec<(DateTime<Utc>, String)>, StoreError> {
        let last = self.runs.values().rev().find(|run| run.info.outputs == outputs);
        let notes = last.map_or(&[][..], |run| &run.notes);
        Ok(notes[notes.len().saturating_sub(most)..].to_vec())
    }

    fn mean_answer(&self, model: &str, rehearsal: bool) -> Result<Option<Duration>, StoreError> {
        // An answer that a later run found or wrote has no time of its own.
        let spans = self.latest(model).into_iter().filter_map(|(run, row)| {
            let (begun, ended) = (row.begun?, row.ended?);
            let in_time = run.ended.as_ref().is_none_or(|(at, _)| ended <= *at);
            let counts = run.info.rehearsal == rehearsal && row.finish.is_some() && in_time;
            counts.then(|| u64::try_from((ended - begun).num_milliseconds()).unwrap_or(0))
        });
        let spans: Vec<u64> = spans.take(LATEST_ANSWERS).collect();
        let (sum, count) = (spans.iter().sum::<u64>(), spans.len() as u64);
        Ok((count > 0).then(|| Duration::from_millis((2 * sum + count) / (2 * count))))
    }
}

/// What is known, as it was.
struct Remembered(HashMap<Key, Known>);

impl History for Remembered {
    fn done(&mut self, rehearsal: bool) -> Result<DoneSet, HistoryError> {
        let done = self.0.iter().filter(|(_, known)| known.is_settled(rehearsal));
        Ok(DoneSet::of(done.map(|(key, known)| (key.as_str(), known.fingerprint, known.bytes))))
    }

    fn known(&mut self, keys: &[Key]) -> Result<Vec<Option<Known>>, HistoryError> {
        Ok(keys.iter().map(|key| self.0.get(key).cloned()).collect())
    }
}
