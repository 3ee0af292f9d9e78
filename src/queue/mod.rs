//! Lock-free containers, generic over what they hold; they know no task, no thread and no priority.
//!
//! | structure | producers | consumers | bound | push | pop |
//! |---|---|---|---|---|---|
//! | [`fifo::Fifo`] | many | one at a time | none | wait-free | lock-free, may report a half-done push |
//! | [`steal`] deque | its owner | owner and thieves | none, grows | wait-free but for growth | lock-free |
//! | [`steal`] injector | many | many | none | lock-free, waits for a block to be installed | lock-free, may ask for a retry |
//! | [`slab`] magazines | many | many | keeps its peak | wait-free but for a refill | wait-free but for a refill |
//!
//! This is one of the two places where unsafe code may live.

pub(crate) mod fifo;
pub(crate) mod prefetch;
pub(crate) mod slab;
pub(crate) mod steal;

#[cfg(all(test, not(overstrand_shuttle)))]
pub(crate) mod tests;
