//! The one door to atomics, cells, locks and threads.
//!
//! Every other room takes its primitives from here, so that one source text runs on three backends:
//!
//! | backend | chosen by | what it shows | what it cannot see |
//! |---|---|---|---|
//! | `std_backend` | default | the real thing: std atomics and threads, parking_lot locks | – |
//! | `loom_backend` | `--cfg overstrand_loom` | every interleaving and memory order of 2–3 threads | time-outs never fire; `SeqCst` accesses count as `AcqRel` (fences are exact) |
//! | `shuttle_backend` | `--cfg overstrand_shuttle` | seeded schedules of the whole pool | weak memory: every atomic is sequentially consistent |
//!
//! `unmodelled` holds what no protocol depends on (tables of post sites, the node cache, identifiers): real primitives in every
//! backend, held for a few instructions and never across a point where a model may switch threads.
//!
//! The backends carry the same names and no logic.
#![forbid(unsafe_code)]

#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
mod std_backend;
#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
pub(crate) use std_backend::*;

#[cfg(overstrand_loom)]
mod loom_backend;
#[cfg(overstrand_loom)]
pub(crate) use loom_backend::*;

#[cfg(overstrand_shuttle)]
mod shuttle_backend;
#[cfg(overstrand_shuttle)]
pub(crate) use shuttle_backend::*;

#[cfg(miri)]
mod miri_locks;
pub(crate) mod unmodelled;

/// How long it is until then; zero for what is past.
#[expect(clippy::disallowed_methods, reason = "an instant that a user gives is told by the same clock")]
pub(crate) fn until(deadline: std::time::Instant) -> std::time::Duration {
    deadline.saturating_duration_since(std::time::Instant::now())
}
