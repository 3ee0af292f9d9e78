//! Tests of this room.

#[cfg(overstrand_loom)]
mod lane_loom;
#[cfg(overstrand_loom)]
mod slots_loom;
