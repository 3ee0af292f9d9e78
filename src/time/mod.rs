//! What time it is and what is due: clocks and the timer wheel, as plain data.
//!
//! This room starts no thread, takes no lock and runs no user code. Whoever owns a [`Wheel`] tells it the time and carries away
//! what is ripe; the wheel never looks at a clock itself, so that tests and virtual time drive the very same code.
//!
//! | file | what it holds |
//! |---|---|
//! | `clock` | [`Moment`], the [`Clock`] seam, [`SystemClock`], [`ManualClock`] |
//! | `wheel` | [`Wheel`]: which level and slot a deadline belongs to, what an advance takes out |
//! | `slot` | one slot: a heap of notes, some of them stale |
//! | `entries` | where the values live, in pages that are given back |
#![forbid(unsafe_code)]

pub(crate) mod clock;
mod entries;
mod slot;
pub(crate) mod wheel;

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests;

pub(crate) use clock::{Clock, ManualClock, Moment, SystemClock};
pub(crate) use wheel::{TimerKey, Wheel};
