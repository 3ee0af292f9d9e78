//! The injector of ordinary builds: crossbeam-deque's, under this room's names.
//!
//! The items themselves are stored, no words: they are one word wide, and crossbeam moves them by plain copies.
#![forbid(unsafe_code)]

use super::{Owner, Steal, Word, drain};

/// Items moved into the taker's deque at once, at most.
const BATCH_MAX: usize = 16;

/// A queue that anybody may push to and steal from.
pub(crate) struct Injector<T: Word>(crossbeam_deque::Injector<T>);

impl<T: Word> Injector<T> {
    /// An empty injector.
    pub(crate) fn new() -> Self {
        const { assert!(size_of::<T>() == size_of::<usize>(), "items of an injector are one word wide") };
        Self(crossbeam_deque::Injector::new())
    }

    /// Puts `item` behind all others.
    pub(crate) fn push(&self, item: T) {
        self.0.push(item);
    }

    /// Tries once to take the oldest item.
    pub(crate) fn steal(&self) -> Steal<T> {
        self.0.steal().into()
    }

    /// Takes the oldest item, and moves a few that follow, at most half of what is left, into `into`; stops at the first interference.
    pub(crate) fn steal_batch_and_pop(&self, into: &Owner<T>) -> Steal<T> {
        let oldest = self.steal();
        if matches!(oldest, Steal::Success(_)) {
            let more = (self.len() / 2).min(BATCH_MAX - 1);
            (0..more).map_while(|_| self.steal().success()).for_each(|item| into.push(item));
        }
        oldest
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

impl<T: Word> Drop for Injector<T> {
    fn drop(&mut self) {
        drain(|| {
            loop {
                match self.0.steal() {
                    crossbeam_deque::Steal::Success(item) => return Some(item),
                    crossbeam_deque::Steal::Empty => return None,
                    // WHY again: a weak exchange may fail although this is the only thread left.
                    crossbeam_deque::Steal::Retry => {}
                }
            }
        });
    }
}

impl<T> From<crossbeam_deque::Steal<T>> for Steal<T> {
    fn from(tried: crossbeam_deque::Steal<T>) -> Self {
        match tried {
            crossbeam_deque::Steal::Success(item) => Self::Success(item),
            crossbeam_deque::Steal::Empty => Self::Empty,
            crossbeam_deque::Steal::Retry => Self::Retry,
        }
    }
}
