//! What time it is and what is due: clocks and the timer wheel, as plain data.
//!
//! This room starts no thread, takes no lock and runs no user code. Whoever owns a [`Wheel`] tells it the time and carries away
//! what is ripe; the wheel never looks at a clock itself, so that tests and virtual time drive the very same code.
//!
//! | file | what it holds |
//! |---|---|
//! | `clock` | [`Moment`], the [`Clock`] seam, [`SystemClock`], for tests a manual one |
//! | `wheel` | [`Wheel`]: where a deadline belongs, what an advance takes out |
//! | `level`, `slot` | what is due in a later tick, unsorted |
//! | `near` | what is due in the present tick, in order |
//! | `schedule` | [`Schedule`]: when something that repeats is due next |
//! | `entries` | where the values live, in pages that are given back |
#![forbid(unsafe_code)]

pub(crate) mod clock;
mod entries;
mod level;
mod near;
mod schedule;
mod slot;
pub(crate) mod wheel;

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests;

#[cfg(any(test, feature = "testing"))]
pub(crate) use clock::ManualClock;
#[cfg(feature = "testing")]
pub(crate) use clock::Wake;
pub(crate) use clock::{Clock, Moment, SystemClock};
pub(crate) use schedule::Ticks;
pub use schedule::{MissedTicks, Schedule};
pub(crate) use wheel::{TimerKey, Wheel};
