//! Tests of this room.

#[cfg(overstrand_loom)]
mod idle_loom;
#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
mod panics;
#[cfg(overstrand_loom)]
mod shutdown_loom;
#[cfg(overstrand_shuttle)]
mod shuttle;
#[cfg(overstrand_shuttle)]
mod shuttle_runners;
#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
mod spawn_failure;
#[cfg(overstrand_loom)]
mod timer_loom;
