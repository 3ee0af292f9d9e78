//! Tests of this room.

#[cfg(overstrand_loom)]
mod loom;
