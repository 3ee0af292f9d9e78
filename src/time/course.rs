//! How far something that repeats has come in its schedule. Pure: whoever drives it says what the clock tells.
//!
//! A course is driven in a circle: sleep until [`next_look`](Course::next_look); ask whether a tick [`is_due`](Course::is_due), which takes it; when the tick has run,
//! say that it [is over](Course::tick_is_over). Then, or when nothing was due, sleep again.
//!
//! How far away an instant of the wall clock is nobody knows: somebody may set that clock. So while a course has a part that goes by it, there is a look at least
//! every `LOOKS_APART_MAX`. A clock that was set forward is followed within that time; one that was set back misleads nobody, since a look that comes too soon finds
//! nothing due.
//!
//! Witnessed by `tests::course::*`.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::beat::{Beat, Rhythm};
use super::schedule::{MissedTicks, Schedule};
#[cfg(feature = "cron")]
use super::wall_beat::WallBeat;
use super::{Moment, Reading};

/// The longest sleep while the wall clock matters.
#[cfg(feature = "cron")]
pub(super) const LOOKS_APART_MAX: Duration = Duration::from_secs(60);

/// How far something that repeats has come in its schedule.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    parts: Vec<Part>,
    /// When a tick was taken last.
    taken: Moment,
}

/// One of the schedules that are combined.
#[derive(Clone, Debug)]
struct Part {
    pace: Pace,
    /// Its tick has been taken and is not over.
    is_taken: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Pace {
    Beat(Beat),
    #[cfg(feature = "cron")]
    Wall(WallBeat),
}

impl Course {
    /// Begins now.
    pub(crate) fn begin(schedule: &Schedule, now: &Reading) -> Self {
        let mut paces = Vec::new();
        schedule.begin(now, &mut paces);
        let parts = paces.into_iter().map(|pace| Part { pace, is_taken: false });
        Self { parts: parts.collect(), taken: now.moment }
    }

    /// How long it is until the next tick, if nobody sets a clock; `None` when none comes any more.
    pub(crate) fn due_in(&self, now: &Reading) -> Option<Duration> {
        self.parts.iter().filter_map(|part| part.pace.due_in(now)).min()
    }

    /// When to look whether a tick is due.
    pub(crate) fn next_look(&self, now: &Reading) -> Moment {
        let due_in = self.due_in(now);
        #[cfg(feature = "cron")]
        let due_in = match due_in {
            _ if !self.parts.iter().any(|part| matches!(part.pace, Pace::Wall(_))) => due_in,
            None => Some(LOOKS_APART_MAX),
            Some(due_in) => Some(due_in.min(LOOKS_APART_MAX)),
        };
        due_in.map_or(Moment::NEVER, |due_in| now.moment.saturating_add(due_in))
    }

    /// True when a tick is due; it is taken then, for all parts that are due. One that was taken and is not over is due still.
    pub(crate) fn is_due(&mut self, now: &Reading) -> bool {
        for part in self.parts.iter_mut().filter(|part| !part.is_taken) {
            part.is_taken = part.pace.is_due(now);
            if part.is_taken {
                self.taken = now.moment;
            }
        }
        self.parts.iter().any(|part| part.is_taken)
    }

    /// Takes the next tick of a rate or a pause before it is due: a run that is asked for stands for it. One by the wall clock comes all the same.
    pub(crate) fn take_next(&mut self, now: &Reading) {
        let beats = self.parts.iter_mut().filter(|part| matches!(part.pace, Pace::Beat(_)));
        if let Some(next) = beats.min_by_key(|part| part.pace.due_in(now)) {
            next.is_taken = true;
            self.taken = now.moment;
        }
    }

    /// From the tick on that was taken, there is one each period; a pause keeps its rhythm and becomes so long.
    pub(crate) fn change_period(&mut self, period: Duration) {
        if let [Part { pace: Pace::Beat(beat), .. }] = self.parts.as_mut_slice() {
            return beat.change_period(period);
        }
        let rate = Beat::begin(Rhythm::Rate, period, MissedTicks::Skip, Some(Duration::ZERO), self.taken);
        let is_taken = self.parts.iter().any(|part| part.is_taken);
        self.parts = vec![Part { pace: Pace::Beat(rate), is_taken }];
    }

    /// The tick that was taken is over.
    pub(crate) fn tick_is_over(&mut self, now: &Reading) {
        for part in self.parts.iter_mut().filter(|part| part.is_taken) {
            part.is_taken = false;
            part.pace.pass(now);
        }
    }
}

impl Pace {
    fn due_in(&self, now: &Reading) -> Option<Duration> {
        match self {
            Self::Beat(beat) => (beat.due() != Moment::NEVER).then(|| now.moment.until(beat.due())),
            #[cfg(feature = "cron")]
            Self::Wall(beat) => beat.due_in(now),
        }
    }

    fn is_due(&mut self, now: &Reading) -> bool {
        match self {
            Self::Beat(beat) => beat.due() <= now.moment,
            #[cfg(feature = "cron")]
            Self::Wall(beat) => beat.is_due(now),
        }
    }

    fn pass(&mut self, now: &Reading) {
        match self {
            Self::Beat(beat) => beat.pass(now.moment),
            #[cfg(feature = "cron")]
            Self::Wall(beat) => beat.pass(now),
        }
    }
}
