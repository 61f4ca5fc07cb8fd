//! Notes that wait for a controller.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::agent::step::{Millis, Note};
use crate::api;

/// Notes kept while there is no controller; the oldest go first.
const MAX_NOTES: usize = 500;
/// Notes in one report.
const MAX_PER_REPORT: usize = 100;

#[derive(Debug, Default)]
pub struct Notebook {
    notes: Mutex<Pages>,
    written: Notify,
}

#[derive(Debug, Default)]
struct Pages {
    notes: VecDeque<Note>,
    /// Number of the first one kept.
    first: u64,
}

impl Notebook {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self, notes: Vec<Note>) {
        if notes.is_empty() {
            return;
        }
        {
            let mut pages = self.pages();
            pages.notes.extend(notes);
            while pages.notes.len() > MAX_NOTES {
                pages.notes.pop_front();
                pages.first += 1;
            }
        }
        self.written.notify_one();
    }

    /// Returns when something was written since the last call.
    pub async fn written(&self) {
        self.written.notified().await;
    }

    /// The oldest notes that no controller has, and the number after the last of them.
    pub fn pending(&self, now: Millis) -> (Vec<api::agent::Note>, u64) {
        let pages = self.pages();
        let notes: Vec<api::agent::Note> = pages
            .notes
            .iter()
            .take(MAX_PER_REPORT)
            .map(|note| api::agent::Note {
                instance: note.instance,
                kind: note.kind,
                message: note.message.clone(),
                age_ms: now.since(note.at),
            })
            .collect();
        let upto = pages.first + notes.len() as u64;
        (notes, upto)
    }

    /// Notes before `upto` are with the controller.
    pub fn taken(&self, upto: u64) {
        let more = {
            let mut pages = self.pages();
            while pages.first < upto && pages.notes.pop_front().is_some() {
                pages.first += 1;
            }
            !pages.notes.is_empty()
        };
        if more {
            self.written.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventKind;

    fn note(n: usize) -> Note {
        Note {
            instance: None,
            kind: EventKind::InstanceExited,
            message: n.to_string(),
            at: Millis(n as i64),
        }
    }

    #[test]
    fn notes_stay_until_they_are_taken() {
        let book = Notebook::default();
        book.write((0..150).map(note).collect());
        let (first, upto) = book.pending(Millis(1000));
        assert_eq!((first.len(), upto), (MAX_PER_REPORT, 100));
        assert_eq!(first[3].age_ms, 997);
        assert_eq!(book.pending(Millis(1000)).0, first, "not taken yet");
        book.write(vec![note(150)]);
        book.taken(upto);
        let (rest, upto) = book.pending(Millis(1000));
        assert_eq!((rest.len(), upto), (51, 151));
        assert_eq!(rest[0].message, "100");
    }

    #[test]
    fn a_long_absence_costs_the_oldest() {
        let book = Notebook::default();
        let (_, upto) = book.pending(Millis(0));
        book.write((0..MAX_NOTES + 10).map(note).collect());
        assert_eq!(book.pending(Millis(0)).0[0].message, "10");
        book.taken(upto);
        assert_eq!(book.pending(Millis(0)).0[0].message, "10");
    }
}
