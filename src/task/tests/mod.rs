//! Tests of this room.

#[cfg(overstrand_loom)]
mod loom;
#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
mod raw;
