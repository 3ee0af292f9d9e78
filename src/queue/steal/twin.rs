//! The modelled engine's deque: a growable ring with one producer and many takers, after Chase and Lev, all of whom
//! take from the front. Why it stands beside crossbeam-deque, and what each operation promises: the room's page.
//!
//! # Words
//! | word | means | written by |
//! |---|---|---|
//! | `front` | index of the oldest item that nobody claimed | any taker, by exchange, upwards only |
//! | `back` | index behind the newest item | the owner, upwards only |
//! | `buffer` | the ring in use; slot of index `i` is `i % capacity` | the owner, when it grows |
//! | a slot | the word of the item with its index, or a leftover | the owner |
//!
//! Indices count all items ever pushed and wrap at the width of `usize`; the deque holds `front..back`.
//!
//! # Steps
//! *Owner, push*: room? (else: double the ring, copy `front..back`, publish it; the old ring is kept, unchanged, until
//! the deque is freed, which at most doubles the memory) → write the slot → publish `back`.
//! *Owner, pop*: read the slot of `front` → claim it by exchange; repeat if a thief was faster.
//! *Thief*: `front` → `back` → **then** `buffer` → read the slots → claim all of them by one exchange of `front`. What
//! was read is used only if the exchange succeeds.
//!
//! # The bad interleaving
//! A thief that looks at `buffer` first, or remembers it from its last visit (RUSTSEC-2021-0093 was of this kind: an
//! item read from a ring that had been replaced): it holds ring A; the owner replaces A by B and writes item `i` into B
//! only; others take all before `i`; the thief reads `front == i` and `back > i`, finds a leftover in A's slot, and its
//! exchange succeeds: the leftover's item is taken twice, item `i` never. Zoo: Z6.
//!
//! # Proof sketch
//! Claim: if the exchange `i → i + n` succeeds, the words read are those of the items `i..i + n`, and nobody else gets them.
//! 1. *Nobody else.* `front` only grows and every take is an exchange from the index that was read: the ranges taken
//!    are disjoint. (In a deque whose owner pops at the back an index comes twice, and the exchange proves too little;
//!    here it cannot.)
//! 2. *Written.* The taker saw `back >= i + n` (deque.see), so the writes of these slots, all before a deque.publish,
//!    happened before; so did every growth up to there, thus the ring it reads afterwards (deque.enter) is the one
//!    current at that publication or a later one.
//! 3. *Copied.* A later ring has got the words `f..` for the `front == f` that the owner saw when it grew. If `f > i`,
//!    `front` had passed `i`, and the exchange fails.
//! 4. *Not overwritten.* A slot of `i..i + n` is written again only by the owner, in the current ring, after it saw
//!    `front` beyond that index (deque.reuse). By 1 it was this very exchange that moved `front` there (deque.claim), so the
//!    reads before it happened before the overwriting and cannot have seen it. Rings that were replaced are never written.
//! 5. *Empty is true.* `front` never exceeds `back`, and a push that happened before the look makes `back` count it; a
//!    stale `front` only shows too many.
//!
//! No `SeqCst` and no fence is needed, since `back` never goes down: the famous fence of Chase and Lev guards an owner
//! that pops at the back. crossbeam-deque has it for the sake of its other flavour; the twin is weaker, thus cautious.
//!
//! # Limits
//! A thief that sleeps between its read of `front` and its exchange while exactly `2^usize::BITS` items pass would
//! claim wrongly. deque.reuse and deque.claim rule out that a later store is read early; loom does not produce such
//! executions, so those two stand on step 4 alone.
//!
//! **Witnessed by** `tests::loom::*` (Z5 and Z6 are caught there), `tests::{unit, model, stress}::twin`, under Miri.

use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::{Steal, Word, drain};
use crate::queue::prefetch::prefetch;
use crate::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use crate::zoo;

/// How many items ahead of the one that is popped memory is asked for.
const PREFETCH_DISTANCE: usize = 2;

/// The most items that one batch takes; crossbeam-deque's limit.
pub(super) const BATCH_MAX: usize = 32;

/// Slots of the first ring. Models grow it, so it is small there.
const CAPACITY_INITIAL: usize = if cfg!(overstrand_loom) {
    2
} else if cfg!(any(overstrand_shuttle, miri)) {
    4
} else {
    64
};

/// The worker's end of a deque: pushes at the back, pops at the front. `Send`, not `Sync`.
pub(crate) struct Owner<T: Word> {
    shared: Arc<Shared<T>>,
    /// There is one owner, used by one thread at a time (I2).
    not_sync: PhantomData<std::cell::Cell<T>>,
}

/// A thief's end of a deque: takes from the front.
pub(crate) struct Thief<T: Word> {
    shared: Arc<Shared<T>>,
}

/// What owner and thieves share. The facts that the `SAFETY` comments name:
///
/// - (I1) `buffer` points to a live ring, and its `replaced` links to all earlier ones; rings are freed only when this drops.
/// - (I2) Only the owner stores `back`, `buffer` and slots.
/// - (I3) `front` changes only by exchanges `i → i + n` with `i + n <= back`: each index is claimed once.
/// - (I4) An exchange that succeeds proves that the words read before it, after `back`, are those of the claimed items.
/// - (I5) The words in the slots were made by `T::into_word`, each for one index.
struct Shared<T> {
    front: CachePadded<AtomicUsize>,
    back: CachePadded<AtomicUsize>,
    buffer: AtomicPtr<Ring>,
    /// Items pass through, from any thread to any other: that is what [`Word`] asks `Send` for.
    items: PhantomData<fn(T) -> T>,
}

/// A ring of slots.
struct Ring {
    /// A power of two of them.
    slots: Box<[AtomicPtr<()>]>,
    /// The ring that this one replaced, or null: thieves may still read it.
    replaced: *mut Ring,
}

/// The items of one successful claim, oldest first.
struct Claim<T, const N: usize> {
    words: [*mut (); N],
    next: usize,
    end: usize,
    items: PhantomData<T>,
}

/// A new deque: its owner and its first thief.
pub(crate) fn deque<T: Word>() -> (Owner<T>, Thief<T>) {
    deque_from(0)
}

/// A new deque whose first item has the index `first`.
pub(super) fn deque_from<T: Word>(first: usize) -> (Owner<T>, Thief<T>) {
    let shared = Arc::new(Shared {
        front: CachePadded::new(AtomicUsize::new(first)),
        back: CachePadded::new(AtomicUsize::new(first)),
        buffer: AtomicPtr::new(Ring::new(CAPACITY_INITIAL, ptr::null_mut())),
        items: PhantomData,
    });
    let thief = Thief { shared: Arc::clone(&shared) };
    (Owner { shared, not_sync: PhantomData }, thief)
}

/// How many items lie in `front..back`; none if the look at `back` was the older one.
pub(super) fn distance(front: usize, back: usize) -> usize {
    (back.wrapping_sub(front) as isize).max(0) as usize
}

impl<T: Word> Owner<T> {
    /// Puts `item` behind all others.
    pub(crate) fn push(&self, item: T) {
        self.append(std::iter::once(item));
    }

    /// Takes the oldest item; `None` means that nothing is left.
    pub(crate) fn pop(&self) -> Option<T> {
        // Relaxed: this end's own word (I2).
        let back = self.shared.back.load(Ordering::Relaxed);
        // Relaxed: a stale `front` fails the exchange, and the slots are this end's own writes.
        let mut front = self.shared.front.load(Ordering::Relaxed);
        while distance(front, back) > 0 {
            // Relaxed: as above.
            let word = self.ring().slot(front).load(Ordering::Relaxed);
            let next = front.wrapping_add(1);
            // Relaxed: the slot's next writer is this same thread; earlier claims stay released through the exchange.
            match self.shared.front.compare_exchange(front, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    self.prefetch_after(next);
                    return Claim::<T, 1>::new([word], 1).next();
                }
                Err(newer) => front = newer,
            }
        }
        None
    }

    /// Asks for the memory that an item to be popped soon points to.
    #[inline]
    fn prefetch_after(&self, front: usize) {
        // Relaxed: an address that is only asked for, never read; it may be stale.
        let word = self.ring().slot(front.wrapping_add(PREFETCH_DISTANCE)).load(Ordering::Relaxed);
        prefetch(word.cast());
    }

    /// Whether nothing is left; may be `false` a moment too long.
    pub(crate) fn is_empty(&self) -> bool {
        self.shared.len_racy() == 0
    }

    /// How many items are left, at most: thieves may have taken some just now.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shared.len_racy()
    }

    /// Puts `items` behind all others with one publication: a thief sees none of them or all.
    pub(super) fn append(&self, items: impl ExactSizeIterator<Item = T>) {
        let count = items.len();
        if count == 0 {
            return;
        }
        // Relaxed: this end's own word (I2).
        let mut back = self.shared.back.load(Ordering::Relaxed);
        let ring = self.ring_with_room(count, back);
        for item in items.take(count) {
            // Relaxed: deque.publish makes it visible.
            ring.slot(back).store(item.into_word().as_ptr(), Ordering::Relaxed);
            back = back.wrapping_add(1);
        }
        // ORDER deque.publish: Release; the slots, and what their words point to, become visible to deque.see; pairs with deque.see.
        let publish = if zoo::has("Z5") { Ordering::Relaxed } else { Ordering::Release };
        self.shared.back.store(back, publish);
    }

    /// The current ring, as its only writer sees it.
    fn ring(&self) -> &Ring {
        // Relaxed: this end's own word (I2).
        let ring = self.shared.buffer.load(Ordering::Relaxed);
        // SAFETY: (I1) it lives until `shared` drops, which the borrow of `self` outlasts not.
        unsafe { &*ring }
    }

    /// The current ring, after growing it if it has not room for `count` items behind `back`.
    fn ring_with_room(&self, count: usize, back: usize) -> &Ring {
        // ORDER deque.reuse: Acquire; the slots before `front` are written again only after their takers have read; pairs with deque.claim.
        let front = self.shared.front.load(Ordering::Acquire);
        let needed = distance(front, back) + count;
        if needed > self.ring().slots.len() {
            self.grow(front, back, needed.next_power_of_two());
        }
        self.ring()
    }

    /// Replaces the ring by one of `capacity` slots with the items `front..back` in it.
    #[cold]
    fn grow(&self, front: usize, back: usize, capacity: usize) {
        let old = self.ring();
        // Relaxed: only the owner replaces the ring. WHY not from `old`: a shared reference does not carry the right to free it.
        let replaced = self.shared.buffer.load(Ordering::Relaxed);
        let ring = Ring::new(capacity, replaced);
        // SAFETY: (I1) made one line above, and freed by nobody but `shared`.
        let new = unsafe { &*ring };
        for offset in 0..distance(front, back) {
            let index = front.wrapping_add(offset);
            // Relaxed: this end's own writes (I2).
            let word = old.slot(index).load(Ordering::Relaxed);
            // Relaxed: deque.grow makes it visible.
            new.slot(index).store(word, Ordering::Relaxed);
        }
        // ORDER deque.grow: Release; the new ring and the words copied into it become visible to deque.enter; pairs with deque.enter.
        self.shared.buffer.store(ring, Ordering::Release);
    }
}

impl<T: Word> Drop for Owner<T> {
    fn drop(&mut self) {
        drain(|| self.pop());
    }
}

impl<T: Word> Clone for Thief<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T: Word> Thief<T> {
    /// Tries once to take the oldest item.
    pub(crate) fn steal(&self) -> Steal<T> {
        match self.shared.claim::<1>() {
            Steal::Success(mut claim) => claim.next().into(),
            Steal::Empty => Steal::Empty,
            Steal::Retry => Steal::Retry,
        }
    }

    /// Tries once to take the older half, 32 items at most: returns the oldest and puts the others into `into`.
    /// From a deque into itself it is a pop.
    pub(crate) fn steal_batch_and_pop(&self, into: &Owner<T>) -> Steal<T> {
        if Arc::ptr_eq(&self.shared, &into.shared) {
            return into.pop().into();
        }
        match self.shared.claim::<BATCH_MAX>() {
            Steal::Success(mut claim) => {
                let oldest = claim.next();
                into.append(claim);
                oldest.into()
            }
            Steal::Empty => Steal::Empty,
            Steal::Retry => Steal::Retry,
        }
    }

    /// Whether every push that happened before was claimed.
    pub(crate) fn is_empty(&self) -> bool {
        self.shared.len_racy() == 0
    }

    /// How many items were left a moment ago.
    pub(crate) fn len(&self) -> usize {
        self.shared.len_racy()
    }
}

impl<T> Shared<T> {
    /// The distance of two looks that need not fit together.
    fn len_racy(&self) -> usize {
        // Relaxed: nothing is read through it; a stale `front` only shows too many.
        let front = self.front.load(Ordering::Relaxed);
        // Relaxed: nothing is read through it; a push that happened before is counted by coherence alone.
        let back = self.back.load(Ordering::Relaxed);
        distance(front, back)
    }

    /// Tries once to claim the older half of the items, but one at least and `N` at most.
    fn claim<const N: usize>(&self) -> Steal<Claim<T, N>> {
        let remembered = zoo::has("Z6").then(|| self.ring_of_thief());
        // Relaxed: a stale `front` fails the exchange; nothing is read through it.
        let front = self.front.load(Ordering::Relaxed);
        // ORDER deque.see: Acquire; the slots up to `back`, their words' pointees and the ring that held them are visible; pairs with deque.publish.
        let back = self.back.load(Ordering::Acquire);
        let len = distance(front, back);
        if len == 0 {
            return Steal::Empty;
        }
        // WHY only now: a ring read before `back` may be older than the item (the bad interleaving above).
        let ring = remembered.unwrap_or_else(|| self.ring_of_thief());
        let count = len.div_ceil(2).min(N);
        let mut words = [ptr::null_mut(); N];
        for (offset, word) in words.iter_mut().take(count).enumerate() {
            // Relaxed: deque.see or deque.enter made it visible.
            *word = ring.slot(front.wrapping_add(offset)).load(Ordering::Relaxed);
        }
        let next = front.wrapping_add(count);
        // ORDER deque.claim: Release; the reads of the slots are over for the owner that writes them again; pairs with deque.reuse.
        match self.front.compare_exchange(front, next, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => Steal::Success(Claim::new(words, count)),
            Err(_) => Steal::Retry,
        }
    }

    /// The current ring, or an earlier one.
    fn ring_of_thief(&self) -> &Ring {
        // ORDER deque.enter: Acquire; the ring's slots are made and filled; pairs with deque.grow.
        let ring = self.buffer.load(Ordering::Acquire);
        // SAFETY: (I1) it lives until `self` drops.
        unsafe { &*ring }
    }
}

impl<T> Drop for Shared<T> {
    /// Frees the rings. No item is inside: the owner has drained them when it was dropped.
    fn drop(&mut self) {
        // WHY an exchange: it sees the newest ring also in a model that does not know what the last drop of an `Arc` acquires.
        // ORDER deque.free: Acquire; the newest ring's link is visible; pairs with deque.grow.
        let mut ring = self.buffer.swap(ptr::null_mut(), Ordering::Acquire);
        while !ring.is_null() {
            // SAFETY: (I1) each ring came from `Box::into_raw`, is linked once, and its last user is gone with the last handle.
            let owned = unsafe { Box::from_raw(ring) };
            ring = owned.replaced;
        }
    }
}

impl Ring {
    /// A ring on the heap, full of leftovers (null), which the caller hands to `Shared::buffer`.
    fn new(capacity: usize, replaced: *mut Self) -> *mut Self {
        debug_assert!(capacity.is_power_of_two(), "slots are found by masking the index");
        let slots = (0..capacity).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
        Box::into_raw(Box::new(Self { slots, replaced }))
    }

    /// The slot of the item with this index.
    fn slot(&self, index: usize) -> &AtomicPtr<()> {
        &self.slots[index & (self.slots.len() - 1)]
    }
}

impl<T, const N: usize> Claim<T, N> {
    /// Called only after the exchange of `front` that claimed the items of the first `end` words (I3).
    fn new(words: [*mut (); N], end: usize) -> Self {
        Self { words, next: 0, end, items: PhantomData }
    }
}

impl<T: Word, const N: usize> Iterator for Claim<T, N> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let word = *self.words[..self.end].get(self.next)?;
        self.next += 1;
        let word = NonNull::new(word).expect("a claimed slot holds the word of an item");
        // SAFETY: (I4) the word is that of an item of the claim; (I5) made by `T::into_word`; (I3) nobody else has claimed it,
        // and `next` has passed it.
        Some(unsafe { T::from_word(word) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end - self.next;
        (left, Some(left))
    }
}

impl<T: Word, const N: usize> ExactSizeIterator for Claim<T, N> {}
