//! What is due in the present tick, the earliest on top, so that wake-ups within a tick cost no search.
//!
//! Words: a note whose entry has been removed is *stale*. It stays until it comes to the top or is swept with others.
//!
//! Invariants: (N1) the note on top is live. (N2) `live` counts the notes that are not stale. (N3) There are at most
//! `2 * live + SLACK` notes, and none when `live` is zero.
//!
//! | operation | cost |
//! |---|---|
//! | `add` | constant on average, log n when deadlines come in falling order |
//! | `forget` | constant on average; log n when the earliest goes; now and then a sweep, paid for by the removals before it |
//! | `take_due` | log n per note |
//!
//! Witnessed by `tests::unit::stale_notes_of_the_present_tick_are_swept`, `tests::unit::present_tick_gives_memory_back`,
//! `tests::model::behaves_like_a_sorted_list`.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::clock::Moment;
use super::entries::Entries;
use super::slot::Note;

/// How many notes there may be beyond twice the live ones.
pub(super) const SLACK: usize = 64;

/// The notes of the present tick; see the page above.
pub(super) struct Near {
    notes: BinaryHeap<Reverse<Note>>,
    live: usize,
}

impl Near {
    pub(super) const fn new() -> Self {
        Self { notes: BinaryHeap::new(), live: 0 }
    }

    #[inline]
    pub(super) fn add(&mut self, note: Note) {
        self.notes.push(Reverse(note));
        self.live += 1;
    }

    pub(super) fn earliest(&self) -> Option<Moment> {
        self.notes.peek().map(|top| top.0.deadline)
    }

    /// All notes that are not stale, in no order.
    pub(super) fn notes<T>(&self, entries: &Entries<T>) -> impl Iterator<Item = Note> {
        self.notes.iter().map(|note| note.0).filter(|note| entries.is_live(note))
    }

    /// Takes notice that the entry of this number has been removed.
    pub(super) fn forget<T>(&mut self, number: u64, entries: &Entries<T>) {
        self.live -= 1;
        if self.live == 0 {
            self.clear();
        } else if self.notes.len() > 2 * self.live + SLACK {
            self.sweep(entries);
        } else if self.notes.peek().is_some_and(|top| top.0.number == number) {
            self.uncover(entries);
        }
    }

    /// Restores (N1) when the note on top may be stale.
    fn uncover<T>(&mut self, entries: &Entries<T>) {
        while self.notes.peek().is_some_and(|top| !entries.is_live(&top.0)) {
            self.notes.pop();
        }
    }

    /// Throws the stale notes away.
    #[cold]
    fn sweep<T>(&mut self, entries: &Entries<T>) {
        self.notes.retain(|note| entries.is_live(&note.0));
        self.notes.shrink_to(2 * self.live + SLACK);
    }

    fn clear(&mut self) {
        self.notes.clear();
        self.notes.shrink_to(SLACK);
    }

    /// Moves the notes with `deadline <= now` out, the earliest first.
    pub(super) fn take_due<T>(&mut self, now: Moment, due: &mut Vec<Note>, entries: &Entries<T>) {
        while let Some(top) = self.notes.peek().filter(|top| top.0.deadline <= now) {
            due.push(top.0);
            self.notes.pop();
            self.live -= 1;
            self.uncover(entries);
        }
        if self.live == 0 {
            self.clear();
        }
    }

    /// Moves all notes out, stale ones too, in no order.
    pub(super) fn take_all(&mut self, due: &mut Vec<Note>) {
        due.extend(self.notes.drain().map(|note| note.0));
        self.live = 0;
        self.clear();
    }
}

#[cfg(test)]
impl Near {
    /// How many notes there are, stale ones included.
    pub(super) fn len(&self) -> usize {
        self.notes.len()
    }

    /// For how many notes memory is held.
    pub(super) fn capacity(&self) -> usize {
        self.notes.capacity()
    }
}
