//! When something that repeats is due, as it is said. How far one has come is a [`Course`](super::Course).
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;
#[cfg(feature = "cron")]
use std::time::SystemTime;

use super::Reading;
use super::beat::{Beat, Rhythm};
use super::course::{Pace, Part};
#[cfg(feature = "cron")]
use super::cron::Cron;
#[cfg(feature = "cron")]
use super::upcoming::Upcoming;
#[cfg(feature = "cron")]
use super::wall_beat::WallBeat;
#[cfg(feature = "cron")]
use crate::error::BuildError;

/// The rhythm when nothing else is said.
const DEFAULT_PERIOD: Duration = Duration::from_secs(30);

/// What happens to ticks whose time went by while the task was late or still running (DLY-6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissedTicks {
    /// They are left out; the next tick is the next one of the rhythm. The default.
    #[default]
    Skip,
    /// The rhythm begins anew: the next tick is one period from now. For a cron schedule, whose instants cannot be moved, the same as `Skip`.
    Delay,
    /// They are made up for, one right after the other, but no more than so many, and of a cron schedule no more than 1,000; older ones are left out.
    Burst(u32),
}

/// When something that repeats is due.
///
/// Any `Duration` is legal for tasks that repeat: a period of zero counts as one nanosecond, one beyond the end of time means never. Supervised tasks refuse a period of zero,
/// tickers one below 1 ms.
///
/// ```
/// use overstrand::{MissedTicks, Schedule};
/// use std::time::Duration;
///
/// let every_second: Schedule = Duration::from_secs(1).into();
/// assert_eq!(every_second, Schedule::every(Duration::from_secs(1)));
/// let catching_up = Schedule::every(Duration::from_millis(40)).missed(MissedTicks::Burst(3));
/// assert_ne!(catching_up, Schedule::fixed_delay(Duration::from_millis(40)));
/// ```
///
/// With the feature `cron` there are schedules by the wall clock too: `Schedule::cron`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    kind: Kind,
    said: Said,
}

/// What is said besides the rhythm; `None` leaves it to each of those that are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) missed: Option<MissedTicks>,
    pub(super) first: Option<Duration>,
    pub(super) offset: Option<Duration>,
    pub(super) jitter: Option<Duration>,
}

impl Said {
    const NOTHING: Self = Self { missed: None, first: None, offset: None, jitter: None };

    /// This, and where it says nothing, that.
    fn over(self, that: Self) -> Self {
        Self {
            missed: self.missed.or(that.missed),
            first: self.first.or(that.first),
            offset: self.offset.or(that.offset),
            jitter: self.jitter.or(that.jitter),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Beat(Rhythm, Duration),
    Any(Arc<[Schedule]>),
    #[cfg(feature = "cron")]
    Cron(Arc<Cron>),
}

impl Schedule {
    /// A fixed rate: every period, counted from the first tick, however long the ticks take.
    #[must_use]
    pub const fn every(period: Duration) -> Self {
        Self::of(Kind::Beat(Rhythm::Rate, period))
    }

    /// A fixed pause between the end of one tick and the start of the next.
    #[must_use]
    pub const fn fixed_delay(pause: Duration) -> Self {
        Self::of(Kind::Beat(Rhythm::Pause, pause))
    }

    const fn of(kind: Kind) -> Self {
        Self { kind, said: Said { missed: Some(MissedTicks::Skip), ..Said::NOTHING } }
    }

    /// Several at once: a tick is due whenever it is for one of them. Those that are due when a tick starts share it. With none there is no tick.
    ///
    /// Each keeps its own settings; what is said of the whole afterwards holds for all of them.
    ///
    /// ```
    /// use overstrand::Schedule;
    /// use std::time::Duration;
    ///
    /// let often = Schedule::every(Duration::from_secs(60));
    /// let soon = Schedule::fixed_delay(Duration::from_secs(45)).initial_delay(Duration::ZERO);
    /// let both = Schedule::any([often, soon]);
    /// ```
    #[must_use]
    pub fn any(schedules: impl IntoIterator<Item = Self>) -> Self {
        Self { kind: Kind::Any(schedules.into_iter().collect()), said: Said::NOTHING }
    }

    /// What happens to missed ticks; a fixed delay misses none.
    #[must_use]
    pub const fn missed(mut self, missed: MissedTicks) -> Self {
        self.said.missed = Some(missed);
        self
    }

    /// The first tick comes after this, by the monotonic clock, instead of when the schedule says. Zero: at once.
    #[must_use]
    pub const fn initial_delay(mut self, delay: Duration) -> Self {
        self.said.first = Some(delay);
        self
    }

    /// All ticks come this much later, the first one too, so that several that have one rhythm do not tick together. A pause stays as long as it is.
    ///
    /// ```
    /// use overstrand::Schedule;
    /// use std::time::Duration;
    ///
    /// let second = Duration::from_secs(1);
    /// let hourly = |number: u32| Schedule::every(second * 3600).offset(second * number);
    /// # _ = hourly(1);
    /// ```
    #[must_use]
    pub const fn offset(mut self, offset: Duration) -> Self {
        self.said.offset = Some(offset);
        self
    }

    /// Each tick comes later by chance, by less than this, the first one too. The rhythm stays: a late tick does not make the next one late, unless it is that of a pause.
    ///
    /// One that comes after the next one would have been due has missed that one; so it should be shorter than the period. In a test environment the seed decides.
    ///
    /// ```
    /// use overstrand::Schedule;
    /// use std::time::Duration;
    ///
    /// // A thousand machines ask for news once an hour, but not all at once.
    /// let news = Schedule::every(Duration::from_secs(3600)).jitter(Duration::from_secs(300));
    /// # _ = news;
    /// ```
    #[must_use]
    pub const fn jitter(mut self, most: Duration) -> Self {
        self.said.jitter = Some(most);
        self
    }

    /// The shortest period of its rates and pauses; `None` when there are none.
    pub(crate) fn shortest_period(&self) -> Option<Duration> {
        match &self.kind {
            Kind::Beat(_, period) => Some(*period),
            Kind::Any(schedules) => schedules.iter().filter_map(Self::shortest_period).min(),
            #[cfg(feature = "cron")]
            Kind::Cron(_) => None,
        }
    }

    /// A rate with that period, which begins anew, and what was said of missed ticks and jitter.
    pub(crate) fn at_rate(&self, period: Duration) -> Self {
        let said = Said { first: None, offset: None, ..self.said };
        Self { kind: Kind::Beat(Rhythm::Rate, period), said }
    }

    /// Begins all parts of it.
    pub(super) fn begin(&self, now: &Reading, parts: &mut Vec<Part>) {
        self.begin_with(self.said, now, parts);
    }

    fn begin_with(&self, said: Said, now: &Reading, parts: &mut Vec<Part>) {
        let pace = match &self.kind {
            Kind::Beat(rhythm, period) => Pace::Beat(Beat::begin(*rhythm, *period, &said, now.moment)),
            Kind::Any(schedules) => {
                return schedules.iter().for_each(|schedule| schedule.begin_with(said.over(schedule.said), now, parts));
            }
            #[cfg(feature = "cron")]
            Kind::Cron(cron) => Pace::Wall(WallBeat::begin(cron, said.missed.unwrap_or_default(), said.first, now)),
        };
        parts.push(Part::new(pace, &said));
    }
}

/// By the wall clock (feature `cron`).
#[cfg(feature = "cron")]
impl Schedule {
    /// Whenever the wall clock shows what a cron pattern names, in UTC unless a [time zone](Self::in_time_zone) is said.
    ///
    /// Five fields (minute, hour, day of the month, month, day of the week), or six with the second in front of them. Fields have numbers, `*`, ranges `1-5`, lists `1,3`,
    /// steps `*/5`, and names of months and days; `L`, `W`, `#` as in [croner](https://docs.rs/croner); `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`. If both kinds of days
    /// are restricted, either will do.
    ///
    /// ```
    /// use overstrand::Schedule;
    /// use std::time::{Duration, SystemTime};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let noon_in_berlin = Schedule::cron("0 12 * * *")?.in_time_zone("Europe/Berlin")?;
    /// let new_year = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    /// let next = noon_in_berlin.upcoming(new_year).next();
    /// assert_eq!(next, Some(new_year + Duration::from_secs(11 * 3600)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Guarantees (SUP-16)
    ///
    /// - *Each time once.* A civil time (what the wall clock of the zone shows) has at most one tick. When clocks are put back, the times that come twice have their tick the first
    ///   time. A schedule like `*/5 * * * *` therefore pauses for the hour that is repeated; say it in UTC, or as a [rate](Self::every), if it must not.
    /// - *None is lost to a gap.* When clocks are put forward, the times that are left out have theirs at the first instant after the gap: one for all of them, and for that instant itself.
    /// - *Set back, the wall clock fires nothing twice*: instants that it has passed while the schedule was running are not due again. *Set forward*, or after the machine
    ///   was asleep, the tick that it should have had meanwhile comes late; more than one only if [`MissedTicks::Burst`] asks for it.
    /// - Never early by the wall clock. A clock that is set is noticed within 60 seconds: while such a schedule is in use there is a look at the clock at least that often, which is a task
    ///   of its runner, and counted as one.
    ///
    /// # Errors
    ///
    /// [`BuildError`] for what is no pattern, and for one that names no day that there is.
    pub fn cron(pattern: &str) -> Result<Self, BuildError> {
        Ok(Self::of(Kind::Cron(Arc::new(Cron::parse(pattern)?))))
    }

    /// The time zone by whose civil time the cron pattern goes, by its name in the tz database, such as `Europe/Berlin`; of several combined, all cron patterns. The
    /// rules are those that the system's database has now.
    ///
    /// # Errors
    ///
    /// [`BuildError`] for an unknown zone, where there is no database, and for a schedule that does not go by the wall clock.
    pub fn in_time_zone(self, name: &str) -> Result<Self, BuildError> {
        let zone = super::cron::zone(name)?;
        self.with_zone(&zone)
            .ok_or_else(|| BuildError::new("in_time_zone", name, "only a cron schedule has a time zone"))
    }

    /// `None` when there is no cron pattern in it.
    fn with_zone(&self, zone: &jiff::tz::TimeZone) -> Option<Self> {
        let kind = match &self.kind {
            Kind::Beat(..) => return None,
            Kind::Cron(cron) => Kind::Cron(Arc::new(cron.in_zone(zone))),
            Kind::Any(schedules) => {
                if schedules.iter().all(|schedule| schedule.with_zone(zone).is_none()) {
                    return None;
                }
                let in_zone = |schedule: &Self| schedule.with_zone(zone).unwrap_or_else(|| schedule.clone());
                Kind::Any(schedules.iter().map(in_zone).collect())
            }
        };
        Some(Self { kind, ..self.clone() })
    }

    /// When its ticks will be, if it begins at `after`, ticks take no time, and nobody sets the clock. Without [jitter](Self::jitter), which nobody foretells.
    #[must_use]
    pub fn upcoming(&self, after: SystemTime) -> Upcoming {
        Upcoming::new(self, after)
    }
}

impl Default for Schedule {
    /// Every 30 seconds.
    fn default() -> Self {
        Self::every(DEFAULT_PERIOD)
    }
}

impl From<Duration> for Schedule {
    fn from(period: Duration) -> Self {
        Self::every(period)
    }
}
