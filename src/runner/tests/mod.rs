//! Tests of this room.

#[cfg(overstrand_loom)]
mod lane_loom;
