//! Tests of the FIFO, and a log whose users the model checker watches.

#[cfg(overstrand_loom)]
mod loom;
#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
mod unit;

use std::ptr::NonNull;

use super::fifo::{Fifo, Linked, Pop};
use crate::sync::atomic::AtomicPtr;

/// A node that holds a number.
struct Numbered {
    link: AtomicPtr<Self>,
    number: usize,
}

// SAFETY: the link is a field, used by nothing but the queue.
unsafe impl Linked for Numbered {
    unsafe fn link(node: NonNull<Self>) -> NonNull<AtomicPtr<Self>> {
        // SAFETY: the node is live (contract).
        NonNull::from(unsafe { &node.as_ref().link })
    }
}

fn push(queue: &Fifo<Numbered>, number: usize) {
    let node = Box::new(Numbered { link: AtomicPtr::new(std::ptr::null_mut()), number });
    // SAFETY: a new node, given up here.
    unsafe { queue.push(NonNull::from(Box::leak(node))) };
}

/// The oldest number; `Err` while a push is half done. For one consumer at a time.
fn pop(queue: &Fifo<Numbered>) -> Result<Option<usize>, ()> {
    // SAFETY: the tests have one consumer at a time.
    match unsafe { queue.pop() } {
        // SAFETY: the node came from `push`, and a queue returns it once.
        Pop::Node(node) => Ok(Some(unsafe { Box::from_raw(node.as_ptr()) }.number)),
        Pop::Empty => Ok(None),
        Pop::Inconsistent => Err(()),
    }
}

/// A log that only one thread at a time may touch, each after the other: the model checker sees if that does not hold.
#[cfg(overstrand_loom)]
pub(crate) struct Watched(crate::sync::UnsafeCell<Vec<usize>>);

#[cfg(overstrand_loom)]
// SAFETY: whether its users exclude each other is what the model checks: it stops at the first access that races.
unsafe impl Sync for Watched {}
#[cfg(overstrand_loom)]
// SAFETY: as above.
unsafe impl Send for Watched {}

#[cfg(overstrand_loom)]
impl Watched {
    pub(crate) fn new() -> Self {
        Self(crate::sync::UnsafeCell::new(Vec::new()))
    }

    pub(crate) fn push(&self, number: usize) {
        // SAFETY: see `Sync`.
        self.0.with_mut(|log| unsafe { (*log).push(number) });
    }

    pub(crate) fn read(&self) -> Vec<usize> {
        // SAFETY: see `Sync`.
        self.0.with(|log| unsafe { (*log).clone() })
    }
}
