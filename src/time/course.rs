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
use super::schedule::{Said, Schedule};
#[cfg(feature = "cron")]
use super::wall_beat::WallBeat;
use super::{Dice, Moment, Reading};

/// The longest sleep while the wall clock matters.
#[cfg(feature = "cron")]
pub(super) const LOOKS_APART_MAX: Duration = Duration::from_secs(60);

/// How far something that repeats has come in its schedule.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    parts: Vec<Part>,
    /// When a tick was taken last.
    taken: Moment,
    dice: Option<Dice>,
}

/// One of the schedules that are combined.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pace: Pace,
    /// How much later than its pace says each tick comes; that of a beat is in its first tick.
    offset: Duration,
    jitter: Duration,
    /// How much later the next one comes.
    late: Duration,
    /// When the next one may be taken, once its pace has said that it is due.
    ripe: Option<Moment>,
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
        let mut course = Self::without_chance(schedule, now);
        if course.parts.iter().any(|part| !part.jitter.is_zero()) {
            let mut dice = Dice::new();
            course.parts.iter_mut().for_each(|part| part.spread(Some(&mut dice)));
            course.dice = Some(dice);
        }
        course
    }

    /// As if nobody had said jitter.
    pub(super) fn without_chance(schedule: &Schedule, now: &Reading) -> Self {
        let mut parts = Vec::new();
        schedule.begin(now, &mut parts);
        Self { parts, taken: now.moment, dice: None }
    }

    /// How long it is until the next tick, if nobody sets a clock; `None` when none comes any more.
    pub(crate) fn due_in(&self, now: &Reading) -> Option<Duration> {
        self.parts.iter().filter_map(|part| part.due_in(now)).min()
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
            part.is_taken = part.is_ripe(now);
            if part.is_taken {
                self.taken = now.moment;
            }
        }
        self.parts.iter().any(|part| part.is_taken)
    }

    /// From the tick on that was taken, there is one each period; a pause keeps its rhythm and becomes so long.
    pub(crate) fn change_period(&mut self, period: Duration) {
        if let [Part { pace: Pace::Beat(beat), .. }] = self.parts.as_mut_slice() {
            return beat.change_period(period);
        }
        let jitter = self.parts.iter().map(|part| part.jitter).max();
        let said = Said { first: Some(Duration::ZERO), jitter, ..Said::default() };
        let mut rate = Part::new(Pace::Beat(Beat::begin(Rhythm::Rate, period, &said, self.taken)), &said);
        rate.is_taken = self.parts.iter().any(|part| part.is_taken);
        self.parts = vec![rate];
    }

    /// The tick that was taken is over.
    pub(crate) fn tick_is_over(&mut self, now: &Reading) {
        for part in self.parts.iter_mut().filter(|part| part.is_taken) {
            part.pace.pass(now);
            (part.is_taken, part.ripe) = (false, None);
            part.spread(self.dice.as_mut());
        }
    }
}

impl Part {
    pub(super) fn new(pace: Pace, said: &Said) -> Self {
        let offset = match pace {
            Pace::Beat(_) => Duration::ZERO,
            #[cfg(feature = "cron")]
            Pace::Wall(_) => said.offset.unwrap_or_default(),
        };
        let jitter = said.jitter.unwrap_or_default();
        Self { pace, offset, jitter, late: offset, ripe: None, is_taken: false }
    }

    /// Decides how late the next tick is.
    fn spread(&mut self, dice: Option<&mut Dice>) {
        let chance = dice.filter(|_| !self.jitter.is_zero()).map(|dice| dice.up_to(self.jitter));
        self.late = self.offset.saturating_add(chance.unwrap_or_default());
    }

    fn due_in(&self, now: &Reading) -> Option<Duration> {
        match self.ripe {
            Some(ripe) => Some(now.moment.until(ripe)),
            None => Some(self.pace.due_in(now)?.saturating_add(self.late).saturating_sub(self.pace.overdue(now))),
        }
    }

    fn is_ripe(&mut self, now: &Reading) -> bool {
        // WHY the pace is not asked again: by a wall clock that is set back it would find another tick to be the next.
        if self.ripe.is_none() && self.pace.is_due(now) {
            let left = self.late.saturating_sub(self.pace.overdue(now));
            self.ripe = Some(now.moment.saturating_add(left));
        }
        self.ripe.is_some_and(|ripe| ripe <= now.moment)
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

    /// How long ago the next tick was due, zero before that.
    fn overdue(&self, now: &Reading) -> Duration {
        match self {
            Self::Beat(beat) => beat.due().until(now.moment),
            #[cfg(feature = "cron")]
            Self::Wall(beat) => beat.overdue(now),
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
