//! The modelled engine's injector: a queue behind a short lock, whose emptiness is read without the lock.
//!
//! **Purpose.** The protocols around the injectors are what is modelled, not crossbeam's block list; so this is the
//! simplest thing that shows a caller what crossbeam's injector shows. It is never in a release build.
//!
//! # Words
//! | word | means | written by | crossbeam's counterpart |
//! |---|---|---|---|
//! | `tail` | items ever pushed | a pusher, with the lock held | `tail.index`, exchanged `SeqCst` |
//! | `head` | items ever taken | a taker, with the lock held | `head.index`, exchanged `SeqCst` |
//!
//! # Where it is as weak as the real one, where stronger
//! - A look that finds nothing (`is_empty`, a steal that says `Empty`) touches the two words only. Otherwise the lock
//!   would order a sleeper's last look against the next push, and a missing fence in the sleep protocol would be masked.
//! - A push does not happen before the look that misses it, and no look orders anything: as in the real one.
//! - Stronger: a push also happens after all earlier successful takes (by the lock), and `Retry` is never said. Callers'
//!   handling of `Retry` is exercised by the deque.
//! - A taker may wait for the lock where a taker of the real one waits for a pusher that has its place but has not written.
//!
//! **Witnessed by** `tests::loom::loom_injector_*`, `tests::{unit, model, stress}::twin`.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use crossbeam_utils::CachePadded;

use super::twin::{BATCH_MAX, Owner, distance};
use super::{Steal, Word, drain};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// A queue that anybody may push to and steal from.
pub(crate) struct Injector<T: Word> {
    line: Mutex<VecDeque<T>>,
    head: CachePadded<AtomicUsize>,
    tail: CachePadded<AtomicUsize>,
}

impl<T: Word> Injector<T> {
    /// An empty injector.
    pub(crate) fn new() -> Self {
        Self {
            line: Mutex::new(VecDeque::new()),
            head: CachePadded::new(AtomicUsize::new(0)),
            tail: CachePadded::new(AtomicUsize::new(0)),
        }
    }

    /// Puts `item` behind all others.
    pub(crate) fn push(&self, item: T) {
        let mut line = self.line.lock();
        line.push_back(item);
        // ORDER injector.push: SeqCst, as crossbeam's; a look that reads it happens after the push; pairs with injector.look.
        self.tail.fetch_add(1, Ordering::SeqCst);
    }

    /// Tries once to take the oldest item.
    pub(crate) fn steal(&self) -> Steal<T> {
        self.take(1).pop_front().into()
    }

    /// Tries once to take the older half, 32 items at most: returns the oldest and puts the others into `into`.
    pub(crate) fn steal_batch_and_pop(&self, into: &Owner<T>) -> Steal<T> {
        let mut batch = self.take(BATCH_MAX);
        let oldest = batch.pop_front();
        into.append(batch.into_iter());
        oldest.into()
    }

    /// Whether every push that happened before was claimed.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many items were left a moment ago.
    pub(crate) fn len(&self) -> usize {
        // ORDER injector.look: SeqCst, as crossbeam's; `head` first, so that `tail` is the newer; pairs with injector.take.
        let head = self.head.load(Ordering::SeqCst);
        // ORDER injector.look_back: SeqCst, as crossbeam's; pairs with injector.push.
        let tail = self.tail.load(Ordering::SeqCst);
        distance(head, tail)
    }

    /// The older half of the items, but one at least, if there is one, and `most` at most.
    fn take(&self, most: usize) -> VecDeque<T> {
        if self.is_empty() {
            return VecDeque::new();
        }
        let mut line = self.line.lock();
        let count = line.len().div_ceil(2).min(most);
        let batch: VecDeque<T> = line.drain(..count).collect();
        // ORDER injector.take: SeqCst, as crossbeam's; a look that reads it also reads a `tail` not before it; pairs with injector.look.
        self.head.fetch_add(count, Ordering::SeqCst);
        batch
    }
}

impl<T: Word> Drop for Injector<T> {
    fn drop(&mut self) {
        drain(|| self.line.lock().pop_front());
    }
}
