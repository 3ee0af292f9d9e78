//! One slot of the wheel: what is due in the same stretch of time, the earliest on top.
//!
//! Words: a *note* is all that a slot knows of an entry: its deadline, its number, and where it lives. A note whose entry has been
//! removed is *stale*; it is swept later, in one go with others, so that a removal touches one entry and not its neighbours.
//! Moving notes from slot to slot touches no entry at all unless some are stale.
//!
//! Invariants: (S1) the note on top is live, so the earliest deadline is read without a search. (S2) `live` counts the notes
//! that are not stale. (S3) There are at most `2 * live + SLACK` notes. (S4) A slot without live notes has no notes.
//!
//! | operation | cost |
//! |---|---|
//! | `add` | constant on average, log n when deadlines come in falling order |
//! | `forget` | constant on average (a sweep costs what the removals before it saved); log n when the earliest goes |
//! | `take_due` | log n per note |
//!
//! Rejected: linked entries (each removal and each step of a walk misses the cache); the position of its note in each entry
//! (each move of a note writes to an entry).
//!
//! Witnessed by `tests::unit::notes_of_removed_entries_are_swept`, `tests::model::behaves_like_a_sorted_list`.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;

use super::clock::Moment;
use super::entries::Entries;

/// How many notes a slot may hold beyond twice the live ones.
pub(super) const SLACK: usize = 16;

/// How many notes an empty slot keeps memory for.
const KEEP: usize = 64;

/// What a slot knows of an entry. Ordered by deadline, then by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Note {
    pub(super) deadline: Moment,
    pub(super) number: u64,
    pub(super) index: usize,
}

/// The notes of one stretch of time; see the page above.
pub(super) struct Slot {
    notes: BinaryHeap<Reverse<Note>>,
    live: usize,
}

impl Slot {
    pub(super) const fn new() -> Self {
        Self { notes: BinaryHeap::new(), live: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live == 0
    }

    #[inline]
    pub(super) fn add(&mut self, note: Note) {
        self.notes.push(Reverse(note));
        self.live += 1;
    }

    /// The earliest deadline in the slot.
    pub(super) fn earliest(&self) -> Option<Moment> {
        self.notes.peek().map(|top| top.0.deadline)
    }

    /// Takes notice that the entry of this number has been removed.
    #[inline]
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

    /// Restores (S1) when the note on top is stale.
    fn uncover<T>(&mut self, entries: &Entries<T>) {
        while self.notes.peek().is_some_and(|top| !entries.is_live(&top.0)) {
            self.notes.pop();
        }
    }

    /// Throws the stale notes away.
    #[cold]
    fn sweep<T>(&mut self, entries: &Entries<T>) {
        self.notes.retain(|note| entries.is_live(&note.0));
        if self.notes.capacity() > 4 * self.live.max(KEEP) {
            self.notes.shrink_to(2 * self.live);
        }
    }

    fn clear(&mut self) {
        self.notes.clear();
        self.notes.shrink_to(KEEP);
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

    /// Moves all notes out, stale ones too, in no particular order.
    pub(super) fn take_all(&mut self, due: &mut Vec<Note>) {
        due.extend(self.notes.drain().map(|note| note.0));
        self.live = 0;
        self.clear();
    }

    /// Moves all live notes out, in no particular order.
    pub(super) fn take_live<T>(&mut self, entries: &Entries<T>) -> Vec<Reverse<Note>> {
        if self.notes.len() > self.live {
            self.sweep(entries);
        }
        self.live = 0;
        mem::take(&mut self.notes).into_vec()
    }
}

#[cfg(test)]
impl Slot {
    /// How many notes there are, stale ones included.
    pub(super) fn notes(&self) -> usize {
        self.notes.len()
    }

    /// For how many notes memory is held.
    pub(super) fn capacity(&self) -> usize {
        self.notes.capacity()
    }
}
