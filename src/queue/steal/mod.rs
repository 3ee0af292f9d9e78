//! The stealing queues: one deque per worker, and injectors that anybody may post to.
//!
//! **Purpose.** A worker pushes and pops its own deque without contention, oldest first; an idle worker takes from the
//! front of somebody else's. An [`Injector`] is the queue of whoever is no worker. What travels is one word
//! ([`Word`]): a pointer that is given away when pushed and handed to exactly one taker.
//!
//! # Two engines behind one set of names
//! | engine | chosen when | what it is |
//! |---|---|---|
//! | `crossbeam` | every ordinary build | `crossbeam_deque::{Worker, Stealer, Injector}`, first in, first out |
//! | `twin` | loom, shuttle, Miri, `--cfg overstrand_tsan` | the same operations on one-word atomic slots, written here |
//!
//! **Why the twin exists.** crossbeam-deque reads its slots non-atomically (its sources call it "technically speaking
//! a data race"): Miri reports that race on a 15-line safe program, ThreadSanitizer needs it suppressed, and loom and
//! shuttle cannot look inside. The protocols *around* the queues (sleep and wake, tickets, shutdown) are therefore
//! modelled on the twin. So that no proof rests on an ordering which the real engine lacks, every ordering of the twin
//! is the same as crossbeam's or weaker; its locked injector is the one exception, told on its page. Both engines
//! pass the same unit tests, the same comparison with a `VecDeque` and the same exactly-once ledger.
//!
//! # Progress
//! "May wait" names the thread waited for. "One try" never loops: it gives up with [`Steal::Retry`], and each
//! `Retry` means that another thread got an item or replaced a buffer, or that a weak exchange failed (injector of
//! crossbeam, not on x86).
//!
//! | operation | `crossbeam` | `twin` |
//! |---|---|---|
//! | `Owner::push` | wait-free, but for growth: allocates, copies what is queued | the same |
//! | `Owner::pop` | wait-free; may halve the buffer: allocates, copies | lock-free: it repeats when a thief was faster |
//! | `Thief::steal` | one try | one try |
//! | `Thief::steal_batch_and_pop` | one try, copies at most 32 words | the same |
//! | `is_empty`, `len` of the deque | wait-free | wait-free |
//! | `Injector::push` | lock-free; may wait for the pusher that installs the next block (1 push in 63) | may wait: a lock |
//! | `Injector::steal`, `steal_batch_and_pop` | one try; may wait for a pusher that has its place but has not written yet, or installs the next block | empty: wait-free; else may wait: a lock |
//! | `Injector::is_empty` | wait-free | wait-free |
//! | `Injector::len` | lock-free: it repeats while others push | wait-free |
//!
//! # Guarantees, of both engines
//! - An item that went in comes out exactly once: by `pop`, by one steal, or dropped with the queue.
//! - Items of one deque are claimed oldest first; a batch is a run of neighbours and keeps its order.
//! - `Owner::pop` says `None` only if nothing is left. A steal says `Empty`, and `is_empty` says `true`, only if every
//!   push that happened before the call was already claimed; in particular a push and a look that are both followed
//!   (the look: preceded) by a `SeqCst` fence cannot miss each other as well as the flags beyond the fences.
//! - Dropping an [`Owner`] or an [`Injector`] drops what is inside, each item once, on the dropping thread; if an
//!   item's drop panics the others are dropped all the same (a second panic aborts). Thieves may outlive the owner;
//!   they find nothing.
//!
//! **Not guaranteed.** Fairness among thieves. An order between items of different queues. Items of a batch are
//! seen by nobody between their claim and their arrival in the taker's deque: "all queues look empty" does not mean
//! "no item is left". Nothing is said about the `front` index: crossbeam hides it.
//!
//! **Witnessed by** `tests::{unit, model, stress}` on both engines, `tests::loom` on the twin.

#[cfg(feature = "crossbeam-workers")]
mod crossbeam;
#[cfg(not(any(overstrand_loom, overstrand_shuttle, miri, overstrand_tsan)))]
mod crossbeam_injector;
#[cfg(any(test, not(feature = "crossbeam-workers")))]
mod twin;
#[cfg(any(test, overstrand_loom, overstrand_shuttle, miri, overstrand_tsan))]
mod twin_injector;

#[cfg(test)]
mod tests;

use std::ptr::NonNull;

#[cfg(feature = "crossbeam-workers")]
pub(crate) use crossbeam::{Owner, Thief, deque};
#[cfg(not(any(overstrand_loom, overstrand_shuttle, miri, overstrand_tsan)))]
pub(crate) use crossbeam_injector::Injector;
#[cfg(not(feature = "crossbeam-workers"))]
pub(crate) use twin::{Owner, Thief, deque};
#[cfg(any(overstrand_loom, overstrand_shuttle, miri, overstrand_tsan))]
pub(crate) use twin_injector::Injector;

/// A value that is one pointer wide: what travels through the queues.
///
/// # Safety
/// 1. `from_word(x.into_word())` is `x` again, on whatever thread it is called.
/// 2. Neither function panics or calls back into a queue.
#[cfg_attr(
    all(feature = "crossbeam-workers", not(test)),
    expect(dead_code, reason = "crossbeam's queues move the items themselves")
)]
pub(crate) unsafe trait Word: Send + Sized {
    /// Gives the value up for its word.
    fn into_word(self) -> NonNull<()>;

    /// Takes the value back.
    ///
    /// # Safety
    /// `word` was made by `into_word` of this type, and this is the only call for that making.
    unsafe fn from_word(word: NonNull<()>) -> Self;
}

/// What one try to take from somebody else's queue brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Steal<T> {
    /// Nothing was there.
    Empty,
    /// The oldest item, now the caller's.
    Success(T),
    /// Another thread interfered; nothing was taken, and a new try is worth it.
    Retry,
}

impl<T> Steal<T> {
    /// The item, if one was taken.
    pub(crate) fn success(self) -> Option<T> {
        match self {
            Self::Success(item) => Some(item),
            Self::Empty | Self::Retry => None,
        }
    }
}

impl<T> From<Option<T>> for Steal<T> {
    fn from(taken: Option<T>) -> Self {
        taken.map_or(Self::Empty, Self::Success)
    }
}

/// Drops all that `next` hands out. Each item has left the queue before its drop runs, so that a panic neither drops
/// it again nor spares the items behind it.
fn drain<T>(next: impl FnMut() -> Option<T>) {
    struct Rest<T, F: FnMut() -> Option<T>>(F);

    impl<T, F: FnMut() -> Option<T>> Rest<T, F> {
        fn empty(&mut self) {
            while let Some(item) = (self.0)() {
                drop(item);
            }
        }
    }

    impl<T, F: FnMut() -> Option<T>> Drop for Rest<T, F> {
        /// Finds something only when `empty` was left by a panic.
        fn drop(&mut self) {
            self.empty();
        }
    }

    Rest(next).empty();
}
