//! Clocks, the wheel and schedules: sentences about each, and the wheel against a sorted list.
#![forbid(unsafe_code)]

mod course;
#[cfg(feature = "cron")]
mod cron;
mod model;
mod unit;

use super::{Moment, Wheel};

/// The moment this many nanoseconds after the origin.
fn at(nanos: u64) -> Moment {
    Moment::from_nanos(nanos)
}

/// What is ripe when the wheel is told this time.
fn ripe_at<T>(wheel: &mut Wheel<T>, now: Moment) -> Vec<T> {
    let mut ripe = Vec::new();
    wheel.advance(now, &mut ripe);
    ripe
}
