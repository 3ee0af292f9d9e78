//! A slot of the wheel: what is due in one stretch of time, in chunks that slots pass on to one another.
//!
//! Words: a *note* is all that the wheel knows of an entry without looking at it: deadline, number, index. Sorting and splitting
//! touch notes only. A *chunk* is room for 128 notes; a *position* counts notes from the first one of the first chunk.
//!
//! Invariants: (S1) the notes of a slot are in no order, and the entry of each knows its position, so that any one is taken out
//! by moving the last one into the gap. (S2) All chunks of a slot are full but the last, which is not empty.
//!
//! Memory: as many chunks as the notes fill, one more for each slot in use, and up to 64 spare ones. A slot that is split among others
//! gives up its chunks while they take theirs, so that splitting a million notes asks for no memory.
//!
//! Rejected: linked entries (a removal writes to two neighbours, a walk misses the cache at each step); notes that stay behind
//! when their entry goes and are swept later (sweeping a million took 90 ms); an ordered heap per slot (timeouts that are cancelled
//! oldest first, the usual case, each paid for log n); one vector per slot (fresh memory made a split three to ten times as long).
//!
//! Witnessed by `tests::unit::slots_give_memory_back`, `tests::model::behaves_like_a_sorted_list`.
#![forbid(unsafe_code)]

use std::mem;

use super::clock::Moment;

/// Notes per chunk.
pub(super) const CHUNK: usize = 128;

/// How many spare chunks are kept.
pub(super) const SPARE_MAX: usize = 64;

/// For how many chunks an empty slot keeps a table.
const KEEP: usize = 8;

/// What the wheel knows of an entry. Ordered by deadline, then by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Note {
    pub(super) deadline: Moment,
    pub(super) number: u64,
    pub(super) index: usize,
}

/// Room for notes.
pub(super) type Chunk = Vec<Note>;

/// Empty chunks for the next slot that needs one.
pub(super) struct Spare(Vec<Chunk>);

impl Spare {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// An empty chunk; without a spare one, the first of a slot grows from nothing, so that a small wheel is small.
    #[cold]
    fn take(&mut self, is_first: bool) -> Chunk {
        let fresh = || if is_first { Vec::new() } else { Vec::with_capacity(CHUNK) };
        self.0.pop().unwrap_or_else(fresh)
    }

    /// Takes back a chunk that is of no use any more.
    pub(super) fn give(&mut self, mut chunk: Chunk) {
        if self.0.len() < SPARE_MAX {
            chunk.clear();
            self.0.push(chunk);
        }
    }
}

/// The notes of one stretch of time; see the page above.
pub(super) struct Slot {
    chunks: Vec<Chunk>,
}

impl Slot {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Appends a note and returns its position.
    #[inline]
    pub(super) fn add(&mut self, note: Note, spare: &mut Spare) -> usize {
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push(spare.take(self.chunks.is_empty()));
        }
        if let Some(last) = self.chunks.last_mut() {
            last.push(note);
        }
        self.len() - 1
    }

    /// Takes out the note at a position; returns the index of the entry whose note is there now, if another took its place.
    #[inline]
    pub(super) fn remove(&mut self, position: usize, spare: &mut Spare) -> Option<usize> {
        let moved = self.pop(spare)?;
        let gap = self.chunks.get_mut(position / CHUNK)?.get_mut(position % CHUNK)?;
        *gap = moved;
        Some(moved.index)
    }

    /// Takes out the last note.
    #[inline]
    fn pop(&mut self, spare: &mut Spare) -> Option<Note> {
        let last = self.chunks.last_mut()?;
        let note = last.pop();
        if last.is_empty() {
            self.drop_chunk(spare);
        }
        note
    }

    #[cold]
    fn drop_chunk(&mut self, spare: &mut Spare) {
        if let Some(chunk) = self.chunks.pop() {
            spare.give(chunk);
        }
        if self.chunks.is_empty() {
            self.chunks.shrink_to(KEEP);
        }
    }

    /// Moves all notes out.
    pub(super) fn take_into(&mut self, due: &mut Vec<Note>, spare: &mut Spare) {
        for chunk in self.chunks.drain(..) {
            due.extend_from_slice(&chunk);
            spare.give(chunk);
        }
        self.chunks.shrink_to(KEEP);
    }

    /// Takes all notes, chunk by chunk.
    pub(super) fn take(&mut self) -> Vec<Chunk> {
        mem::take(&mut self.chunks)
    }

    /// All notes, in no order.
    pub(super) fn notes(&self) -> impl Iterator<Item = Note> {
        self.chunks.iter().flatten().copied()
    }

    /// The earliest deadline, by a search.
    pub(super) fn earliest(&self) -> Option<Moment> {
        self.notes().map(|note| note.deadline).min()
    }
}

#[cfg(test)]
impl Slot {
    /// For how many notes memory is held.
    pub(super) fn capacity(&self) -> usize {
        self.chunks.iter().map(Vec::capacity).sum()
    }
}

#[cfg(test)]
impl Spare {
    /// For how many notes memory is held.
    pub(super) fn capacity(&self) -> usize {
        self.0.iter().map(Vec::capacity).sum()
    }
}
