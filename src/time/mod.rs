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
//! | `schedule` | [`Schedule`]: when something that repeats is due, as it is said |
//! | `course` | [`Course`]: how far something that repeats has come in its schedule |
//! | `beat` | the part of a course that goes by the monotonic clock |
//! | `wall_beat`, `lived` | the part that goes by the wall clock, which people set. Feature `cron` |
//! | `cron` | which instants a cron pattern names in a time zone. Feature `cron` |
//! | `upcoming` | `Upcoming`: a schedule foretold. Feature `cron` |
//! | `dice` | chance, for ticks that are spread |
//! | `entries` | where the values live, in pages that are given back |
#![forbid(unsafe_code)]

mod beat;
pub(crate) mod clock;
mod course;
#[cfg(feature = "cron")]
mod cron;
mod dice;
mod entries;
mod level;
#[cfg(feature = "cron")]
mod lived;
mod near;
mod schedule;
mod slot;
#[cfg(feature = "cron")]
mod upcoming;
#[cfg(feature = "cron")]
mod wall_beat;
pub(crate) mod wheel;

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests;

#[cfg(any(test, feature = "testing"))]
pub(crate) use clock::ManualClock;
pub(crate) use clock::{Clock, Moment, Reading, SystemClock};
#[cfg(feature = "testing")]
pub(crate) use clock::{Wake, wall_origin};
pub(crate) use course::Course;
pub(crate) use dice::Dice;
pub use schedule::{MissedTicks, Schedule};
#[cfg(feature = "cron")]
pub use upcoming::Upcoming;
pub(crate) use wheel::{TimerKey, Wheel};
