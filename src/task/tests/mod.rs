//! Tests of this room.

#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
mod cancel;
#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
mod loan;
#[cfg(overstrand_loom)]
mod loom;
#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
mod raw;
