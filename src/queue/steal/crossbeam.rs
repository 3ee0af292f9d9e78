//! crossbeam-deque's worker deque under this room's names, selected by the feature `crossbeam-workers`. No logic but the drop of what is left
//! inside.
//!
//! The items themselves are stored, no words: they are one word wide, and crossbeam moves them by plain copies.
#![forbid(unsafe_code)]

use super::{Steal, Word, drain};

/// The worker's end of a deque: pushes at the back, pops at the front. `Send`, not `Sync`.
pub(crate) struct Owner<T: Word>(crossbeam_deque::Worker<T>);

/// A thief's end of a deque: takes from the front.
pub(crate) struct Thief<T: Word>(crossbeam_deque::Stealer<T>);

/// A new deque: its owner and its first thief.
pub(crate) fn deque<T: Word>() -> (Owner<T>, Thief<T>) {
    const { assert!(size_of::<T>() == size_of::<usize>(), "items of a deque are one word wide") };
    let worker = crossbeam_deque::Worker::new_fifo();
    let stealer = worker.stealer();
    (Owner(worker), Thief(stealer))
}

impl<T: Word> Owner<T> {
    /// Puts `item` behind all others.
    pub(crate) fn push(&self, item: T) {
        self.0.push(item);
    }

    /// Takes the oldest item; `None` means that nothing is left.
    pub(crate) fn pop(&self) -> Option<T> {
        self.0.pop()
    }

    /// Whether nothing is left; may be `false` a moment too long.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many items are left, at most: thieves may have taken some just now.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T: Word> Drop for Owner<T> {
    fn drop(&mut self) {
        drain(|| self.0.pop());
    }
}

impl<T: Word> Clone for Thief<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Word> Thief<T> {
    /// Tries once to take the oldest item.
    pub(crate) fn steal(&self) -> Steal<T> {
        self.0.steal().into()
    }

    /// Tries once to take the older half, 32 items at most: returns the oldest and puts the others into `into`.
    /// From a deque into itself it is a pop.
    pub(crate) fn steal_batch_and_pop(&self, into: &Owner<T>) -> Steal<T> {
        self.0.steal_batch_and_pop(&into.0).into()
    }

    /// Whether every push that happened before was claimed.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many items were left a moment ago.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
