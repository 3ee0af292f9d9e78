//! Tests of this room.

#[cfg(overstrand_shuttle)]
mod shuttle;
