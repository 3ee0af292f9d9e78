//! Tests of this room.

#[cfg(overstrand_loom)]
mod arming_loom;
#[cfg(overstrand_loom)]
mod barrier_loom;
#[cfg(overstrand_loom)]
mod crew_loom;
#[cfg(overstrand_loom)]
mod lane_loom;
#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
mod lending;
#[cfg(overstrand_loom)]
mod slots_loom;
