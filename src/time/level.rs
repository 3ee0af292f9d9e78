//! One level of the wheel: 64 slots of the same length, and which of them are in use.
//!
//! Invariant: (L1) bit n of `occupied` is set exactly when slot n has notes.
//!
//! Witnessed by `tests::model::behaves_like_a_sorted_list`.
#![forbid(unsafe_code)]

use super::slot::{Chunk, Note, Slot, Spare};

/// A level has two to the power of this many slots.
pub(super) const LEVEL_BITS: u32 = 6;

pub(super) const SLOTS: usize = 1 << LEVEL_BITS;

/// The slots of one length; see the page above.
pub(super) struct Level {
    occupied: u64,
    slots: Box<[Slot; SLOTS]>,
}

impl Level {
    pub(super) fn new() -> Self {
        Self { occupied: 0, slots: Box::new([const { Slot::new() }; SLOTS]) }
    }

    /// Puts a note into a slot and returns its position.
    #[inline]
    pub(super) fn add(&mut self, at: usize, note: Note, spare: &mut Spare) -> usize {
        self.occupied |= 1 << at;
        self.slots[at].add(note, spare)
    }

    /// Takes a note out of a slot; returns the index of the entry whose note took its position.
    #[inline]
    pub(super) fn remove(&mut self, at: usize, position: usize, spare: &mut Spare) -> Option<usize> {
        let slot = &mut self.slots[at];
        let moved = slot.remove(position, spare);
        if slot.is_empty() {
            self.occupied &= !(1 << at);
        }
        moved
    }

    /// Takes everything out of one slot.
    pub(super) fn take_slot(&mut self, at: usize) -> Vec<Chunk> {
        self.occupied &= !(1 << at);
        self.slots[at].take()
    }

    /// Moves everything out of the slots before `end`.
    pub(super) fn take_before(&mut self, end: usize, due: &mut Vec<Note>, spare: &mut Spare) {
        while let Some(at) = self.first_slot().filter(|&at| at < end) {
            self.slots[at].take_into(due, spare);
            self.occupied &= !(1 << at);
        }
    }

    /// The first slot with notes.
    pub(super) fn first_slot(&self) -> Option<usize> {
        (self.occupied != 0).then(|| self.occupied.trailing_zeros() as usize)
    }

    /// The slots with notes, the first one first.
    pub(super) fn slots_in_use(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| !slot.is_empty())
    }

    pub(super) fn slot(&self, at: usize) -> &Slot {
        &self.slots[at]
    }
}

#[cfg(test)]
impl Level {
    /// For how many notes memory is held.
    pub(super) fn capacity(&self) -> usize {
        self.slots.iter().map(Slot::capacity).sum()
    }
}
