//! A schedule foretold: its course, driven by a clock that leaps from tick to tick.
#![forbid(unsafe_code)]

use std::iter::FusedIterator;
use std::time::SystemTime;

use super::{Course, Moment, Reading, Schedule};

/// When the ticks of a schedule will be; made by [`Schedule::upcoming`].
///
/// It ends when there are no more, or the calendar ends.
#[derive(Clone, Debug)]
pub struct Upcoming {
    course: Course,
    now: Reading,
}

impl Upcoming {
    pub(super) fn new(schedule: &Schedule, after: SystemTime) -> Self {
        let now = Reading { moment: Moment::ORIGIN, wall: after };
        Self { course: Course::without_chance(schedule, &now), now }
    }
}

impl Iterator for Upcoming {
    type Item = SystemTime;

    fn next(&mut self) -> Option<SystemTime> {
        let due_in = self.course.due_in(&self.now)?;
        let wall = self.now.wall.checked_add(due_in)?;
        self.now = Reading { moment: self.now.moment.saturating_add(due_in), wall };
        let is_due = self.course.is_due(&self.now);
        debug_assert!(is_due, "the clock has reached it");
        self.course.tick_is_over(&self.now);
        Some(wall)
    }
}

impl FusedIterator for Upcoming {}
