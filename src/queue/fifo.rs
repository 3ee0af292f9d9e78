//! The intrusive many-producer, single-consumer FIFO that a sequence keeps its tasks in.
//!
//! # Words
//!
//! `tail` is the newest node, or null when the queue is empty. `first` is where a producer that found the queue empty leaves the
//! oldest node for the consumer. `head` is the consumer's own: the oldest node it has picked up and not popped yet. The queue
//! owns no memory beyond these three words.
//!
//! | operation | progress | cost |
//! |---|---|---|
//! | `push` | wait-free | one swap, one store |
//! | `pop` | lock-free; reports [`Pop::Inconsistent`] while a push is half done | one load; one compare-and-swap for the last node |
//!
//! # Steps
//!
//! Producer: (A) clear the node's link, (B) swap it into `tail`, (C) link it: into the predecessor, or into `first` when there was none.
//!
//! Consumer: (D) take `first` when it has no `head`; (E) follow the link of `head`; (F) without a link, swing `tail` from `head` to null;
//! if that fails, somebody is between (B) and (C).
//!
//! # The bad interleaving, and why it is harmless
//!
//! A producer stopped between (B) and (C) hides its own node and all newer ones, pushed completely or not. `pop` then says
//! `Inconsistent`, never `Empty`. A caller that decides about idleness must not look at this queue at all but count completed pushes
//! (see the sequence's state word).
//!
//! # Why no node is touched too late
//!
//! (I1) A predecessor is written in (C) only by the one producer whose swap returned it. (I2) The consumer gives a node away only after it has
//! read that node's link, i.e. after (C) on it, or after (F) succeeded on it, i.e. no swap has returned it and none ever will.
//! (I3) `first` is written by a producer only after (F) emptied the queue, and (F) happens only after the consumer has taken the previous `first`.
//!
//! Witnessed by `tests::loom_two_producers_keep_their_order`, `tests::behaves_like_a_vecdeque`.

use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use crate::sync::UnsafeCell;
use crate::sync::atomic::{AtomicPtr, Ordering};

/// A node that carries the link of a queue.
///
/// # Safety
///
/// `link` returns a pointer to the same link for the whole time that the node is in a queue; nobody else uses the link meanwhile.
pub(crate) unsafe trait Linked: Sized {
    /// The link of a live node.
    ///
    /// # Safety
    ///
    /// `node` points to a live node.
    unsafe fn link(node: NonNull<Self>) -> NonNull<AtomicPtr<Self>>;
}

/// What a pop found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pop<N> {
    Node(NonNull<N>),
    Empty,
    /// Something is there, but a producer has not finished linking it.
    Inconsistent,
}

/// The queue; see the page above.
#[derive(Debug)]
pub(crate) struct Fifo<N> {
    tail: AtomicPtr<N>,
    first: AtomicPtr<N>,
    head: UnsafeCell<*mut N>,
    owns: PhantomData<N>,
}

// SAFETY: the queue moves nodes between threads and shares nothing of them; `head` is used by the one consumer only (contract of `pop`).
unsafe impl<N: Send> Sync for Fifo<N> {}
// SAFETY: as above; the raw pointers stand for owned nodes.
unsafe impl<N: Send> Send for Fifo<N> {}

impl<N: Linked> Fifo<N> {
    pub(crate) fn new() -> Self {
        Self {
            tail: AtomicPtr::new(ptr::null_mut()),
            first: AtomicPtr::new(ptr::null_mut()),
            head: UnsafeCell::new(ptr::null_mut()),
            owns: PhantomData,
        }
    }

    /// Appends a node.
    ///
    /// # Safety
    ///
    /// The node is live, in no queue, and belongs to the queue until a pop returns it.
    #[inline]
    pub(crate) unsafe fn push(&self, node: NonNull<N>) {
        // SAFETY: the node is live (contract); no other thread knows it yet.
        let link = unsafe { N::link(node) };
        // Relaxed: published by fifo.swap.
        // SAFETY: `link` points into the live node.
        unsafe { link.as_ref() }.store(ptr::null_mut(), Ordering::Relaxed);
        // ORDER fifo.swap: AcqRel; Release publishes the cleared link and the node's body, Acquire makes the predecessor's cleared link (or the
        // consumer's cleared `first`) come before our write to it; pairs with fifo.swap, fifo.empty.
        let previous = self.tail.swap(node.as_ptr(), Ordering::AcqRel);
        match NonNull::new(previous) {
            // ORDER fifo.first: Release; the node becomes visible to the consumer; pairs with fifo.take_first.
            None => self.first.store(node.as_ptr(), Ordering::Release),
            Some(previous) => {
                // SAFETY: (I1, I2) our swap returned `previous`, so it stays live until we have linked it.
                let link = unsafe { N::link(previous) };
                // ORDER fifo.link: Release; the node becomes visible to the consumer; pairs with fifo.follow.
                // SAFETY: `link` points into the live predecessor.
                unsafe { link.as_ref() }.store(node.as_ptr(), Ordering::Release);
            }
        }
    }

    /// Takes the oldest node.
    ///
    /// # Safety
    ///
    /// One thread at a time is the consumer, and consumers follow one another with a happens-before edge between them.
    #[inline]
    pub(crate) unsafe fn pop(&self) -> Pop<N> {
        // SAFETY: only the consumer touches `head` (contract).
        let head = self.head.with(|head| unsafe { *head });
        let Some(head) = NonNull::new(head).or_else(|| self.take_first()) else {
            // Relaxed: decides between two answers that both say "nothing for you now".
            return if self.tail.load(Ordering::Relaxed).is_null() { Pop::Empty } else { Pop::Inconsistent };
        };
        let next = self.follow(head);
        // SAFETY: only the consumer touches `head` (contract).
        self.head.with_mut(|slot| unsafe { *slot = next.unwrap_or(head.as_ptr()) });
        match next {
            Some(_) => Pop::Node(head),
            None => Pop::Inconsistent,
        }
    }

    /// True when no push has begun that was not popped; may be stale.
    pub(crate) fn is_empty_racy(&self) -> bool {
        // Relaxed: see the name.
        self.tail.load(Ordering::Relaxed).is_null()
    }

    /// Step (D).
    fn take_first(&self) -> Option<NonNull<N>> {
        // ORDER fifo.take_first: Acquire; sees the node's body; pairs with fifo.first.
        let first = NonNull::new(self.first.load(Ordering::Acquire))?;
        // Relaxed: (I3) the next producer to write it comes after fifo.empty.
        self.first.store(ptr::null_mut(), Ordering::Relaxed);
        Some(first)
    }

    /// Steps (E) and (F): the node after `head` (null: none, the queue is empty now), or `None` when a push is half done.
    #[inline]
    fn follow(&self, head: NonNull<N>) -> Option<*mut N> {
        // SAFETY: `head` is in the queue, hence live.
        let link = unsafe { N::link(head) };
        // SAFETY: `link` points into the live node.
        let link = unsafe { link.as_ref() };
        // ORDER fifo.follow: Acquire; sees the body of the next node; pairs with fifo.link.
        let next = link.load(Ordering::Acquire);
        if !next.is_null() {
            return Some(next);
        }
        // ORDER fifo.empty: Release; publishes the cleared `first` to the next producer; pairs with fifo.swap.
        match self.tail.compare_exchange(head.as_ptr(), ptr::null_mut(), Ordering::Release, Ordering::Relaxed) {
            Ok(_) => Some(ptr::null_mut()),
            Err(_) => {
                // ORDER fifo.follow_late: Acquire; the push may have completed since; pairs with fifo.link.
                let next = link.load(Ordering::Acquire);
                (!next.is_null()).then_some(next)
            }
        }
    }
}
