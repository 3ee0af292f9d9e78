//! When something that repeats is due next. Pure: it reads no clock.
//!
//! Witnessed by `tests::*`.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::Moment;

/// The rhythm when nothing else is said.
const DEFAULT_PERIOD: Duration = Duration::from_secs(30);

/// What happens to ticks of a fixed rate whose time went by while the task was late or still running (DLY-6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissedTicks {
    /// They are left out; the next tick is the next one of the rhythm. The default.
    #[default]
    Skip,
    /// The rhythm begins anew: the next tick is one period from now.
    Delay,
    /// They are made up for, one right after the other, but no more than so many; older ones are left out.
    Burst(u32),
}

/// When something that repeats is due.
///
/// Any `Duration` is legal: a period of zero counts as one nanosecond, one beyond the end of time means never.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    rhythm: Rhythm,
    period: Duration,
    missed: MissedTicks,
    initial: Option<Duration>,
    /// Not empty for the earliest of several, whose own rhythm does not count then.
    parts: Vec<Schedule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rhythm {
    Rate,
    Delay,
}

impl Schedule {
    /// A fixed rate: every period, counted from the first tick, however long the ticks take.
    #[must_use]
    pub const fn every(period: Duration) -> Self {
        Self { rhythm: Rhythm::Rate, period, missed: MissedTicks::Skip, initial: None, parts: Vec::new() }
    }

    /// A fixed pause between the end of one tick and the start of the next.
    #[must_use]
    pub const fn fixed_delay(pause: Duration) -> Self {
        Self { rhythm: Rhythm::Delay, period: pause, missed: MissedTicks::Skip, initial: None, parts: Vec::new() }
    }

    /// The earliest of several: each has its own rhythm and treats its missed ticks its own way; ticks that fall together are one. None at all: never.
    ///
    /// ```
    /// use overstrand::{MissedTicks, Schedule};
    /// use std::time::Duration;
    ///
    /// let hourly = Schedule::every(Duration::from_secs(3_600)).missed(MissedTicks::Burst(1));
    /// let often = Schedule::fixed_delay(Duration::from_secs(7));
    /// let either = Schedule::any([hourly, often]).initial_delay(Duration::ZERO);
    /// # drop(either);
    /// ```
    #[must_use]
    pub fn any(schedules: impl IntoIterator<Item = Self>) -> Self {
        Self { parts: schedules.into_iter().collect(), ..Self::every(Duration::MAX) }
    }

    /// What happens to missed ticks of a fixed rate; a fixed delay misses none. The parts of [`any`](Self::any) keep what was said of each.
    #[must_use]
    pub const fn missed(mut self, missed: MissedTicks) -> Self {
        self.missed = missed;
        self
    }

    /// The first tick comes after this, instead of one period; that of each part for [`any`](Self::any). Zero: at once.
    #[must_use]
    pub const fn initial_delay(mut self, delay: Duration) -> Self {
        self.initial = Some(delay);
        self
    }

    /// The parts of parts; an initial delay of the whole is one of each.
    fn flatten(&self, initial: Option<Duration>, into: &mut Vec<Self>) {
        if self.parts.is_empty() {
            into.push(Self { initial, ..self.clone() });
        }
        for part in &self.parts {
            part.flatten(initial.or(part.initial), into);
        }
    }

    fn period(&self) -> Duration {
        self.period.max(Duration::from_nanos(1))
    }

    /// The period of the one rhythm; `None` for the earliest of several.
    pub(crate) fn only_period(&self) -> Option<Duration> {
        self.parts.is_empty().then_some(self.period)
    }

    /// The same rhythm with another period.
    pub(crate) fn change_period(&mut self, period: Duration) {
        self.period = period;
    }

    /// When the first tick is due.
    pub(crate) fn first(&self, now: Moment) -> Moment {
        now.saturating_add(self.initial.unwrap_or_else(|| self.period()))
    }

    /// When the next tick is due, after one that was due at `due` and ended `now`; in the past for a tick that is made up for.
    pub(crate) fn next(&self, due: Moment, now: Moment) -> Moment {
        match self.rhythm {
            Rhythm::Delay => now.saturating_add(self.period()),
            // A run by hand, in between, leaves the ticks where they are.
            Rhythm::Rate if due > now => due,
            Rhythm::Rate => self.settle(due.saturating_add(self.period()), now),
        }
    }

    /// When a tick comes that was to come at `next`: as said, unless that has been missed.
    fn settle(&self, next: Moment, now: Moment) -> Moment {
        if next > now {
            return next;
        }
        let period = self.period();
        match self.missed {
            _ if self.rhythm == Rhythm::Delay => now.saturating_add(period),
            MissedTicks::Skip => after(next, period, now),
            MissedTicks::Delay => now.saturating_add(period),
            MissedTicks::Burst(most) => {
                let missed = 1 + next.until(now).as_nanos() / period.as_nanos();
                let left_out = missed.saturating_sub(u128::from(most));
                if left_out == missed { after(next, period, now) } else { add_periods(next, period, left_out) }
            }
        }
    }
}

/// A schedule on its way: when each of its parts is due next.
#[derive(Clone, Debug)]
pub(crate) struct Ticks {
    parts: Vec<(Schedule, Moment)>,
}

impl Ticks {
    /// Before the first tick.
    pub(crate) fn begin(schedule: &Schedule, now: Moment) -> Self {
        let mut parts = Vec::new();
        schedule.flatten(schedule.initial, &mut parts);
        let parts = parts.into_iter().map(|part| {
            let first = part.first(now);
            (part, first)
        });
        Self { parts: parts.collect() }
    }

    /// When the next tick is due.
    pub(crate) fn due(&self) -> Moment {
        self.parts.iter().map(|part| part.1).min().unwrap_or(Moment::NEVER)
    }

    /// Goes on to the next tick, after the one that was due and ended `now`.
    pub(crate) fn advance(&mut self, now: Moment) {
        let fired = self.due();
        for (part, due) in self.parts.iter_mut().filter(|part| part.1 <= fired) {
            *due = part.next(*due, now);
        }
        self.settle(now);
    }

    /// Leaves out what went by until `now` without a tick.
    pub(crate) fn settle(&mut self, now: Moment) {
        // WHY not those of just now: nobody has had a chance to miss them.
        for (part, due) in self.parts.iter_mut().filter(|part| part.1 < now) {
            *due = part.settle(*due, now);
        }
    }
}

/// The first tick of the rhythm that comes after now.
fn after(next: Moment, period: Duration, now: Moment) -> Moment {
    let missed = 1 + next.until(now).as_nanos() / period.as_nanos();
    add_periods(next, period, missed)
}

fn add_periods(from: Moment, period: Duration, periods: u128) -> Moment {
    let nanos = period.as_nanos().saturating_mul(periods);
    from.saturating_add(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
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

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Moment {
        Moment::ORIGIN.saturating_add(Duration::from_millis(millis))
    }

    fn every(millis: u64) -> Schedule {
        Schedule::every(Duration::from_millis(millis))
    }

    #[test]
    fn rate_keeps_its_rhythm_and_a_delay_its_pause() {
        assert_eq!(every(10).first(at(5)), at(15));
        assert_eq!(every(10).initial_delay(Duration::ZERO).first(at(5)), at(5));
        assert_eq!(every(10).next(at(10), at(13)), at(20));
        assert_eq!(Schedule::fixed_delay(Duration::from_millis(10)).next(at(10), at(13)), at(23));
    }

    #[test]
    fn missed_ticks_are_skipped_delayed_or_made_up_for() {
        assert_eq!(every(10).next(at(10), at(47)), at(50));
        assert_eq!(every(10).next(at(10), at(20)), at(30), "a tick that is due now has been missed by this one");
        assert_eq!(every(10).missed(MissedTicks::Delay).next(at(10), at(47)), at(57));
        assert_eq!(every(10).missed(MissedTicks::Burst(9)).next(at(10), at(47)), at(20));
        assert_eq!(every(10).missed(MissedTicks::Burst(2)).next(at(10), at(47)), at(30));
        assert_eq!(every(10).missed(MissedTicks::Burst(0)).next(at(10), at(47)), at(50));
    }

    #[test]
    fn earliest_of_several_keeps_each_rhythm() {
        let ticks_of = |schedule: &Schedule, takes: u64| {
            let mut ticks = Ticks::begin(schedule, at(0));
            let mut now = at(0);
            let mut seen = Vec::new();
            for _ in 0..7 {
                now = now.max(ticks.due());
                seen.push(now.as_nanos() / 1_000_000);
                now = now.saturating_add(Duration::from_millis(takes));
                ticks.advance(now);
            }
            seen
        };
        let both = Schedule::any([every(3), Schedule::any([every(5)])]);
        assert_eq!(ticks_of(&both, 0), [3, 5, 6, 9, 10, 12, 15]);
        assert_eq!(ticks_of(&both, 4), [3, 9, 15, 20, 25, 30, 35], "at 7 that of 5 has been missed, and that of 6");
        let making_up = Schedule::any([every(3), every(5).missed(MissedTicks::Burst(1))]);
        assert_eq!(ticks_of(&making_up, 4)[..3], [3, 7, 11], "but may be made up for");
        assert_eq!(ticks_of(&both.clone().initial_delay(Duration::ZERO), 0)[..4], [0, 3, 5, 6]);
        let pause = Schedule::any([every(10), Schedule::fixed_delay(Duration::from_millis(4))]);
        assert_eq!(ticks_of(&pause, 1)[..4], [4, 9, 10, 14]);
        assert_eq!(Ticks::begin(&Schedule::any([]), at(1)).due(), Moment::NEVER);
        let mut extra = Ticks::begin(&both, at(0));
        extra.settle(at(4));
        assert_eq!(extra.due(), at(5));
    }

    #[test]
    fn any_period_is_legal() {
        let never = Schedule::every(Duration::MAX);
        assert_eq!(never.first(at(1)), Moment::NEVER);
        assert_eq!(never.next(at(1), at(2)), Moment::NEVER);
        assert!(Schedule::every(Duration::ZERO).next(at(1), at(2)) > at(2));
    }

    proptest! {
        #[test]
        fn next_tick_of_a_rate_is_on_its_grid(
            period in 1_u64..1_000, due in 0_u64..1_000, late in 0_u64..10_000, most in 0_u32..5,
        ) {
            let now = at(due + late);
            let skip = every(period).next(at(due), now);
            prop_assert!(skip > now && skip <= now.saturating_add(Duration::from_millis(period)));
            let burst = every(period).missed(MissedTicks::Burst(most)).next(at(due), now);
            prop_assert!(burst > at(due) && burst <= skip);
            for next in [skip, burst] {
                prop_assert_eq!(at(due).until(next).as_millis() as u64 % period, 0);
            }
            // Made up for one after the other, a burst has no more ticks in the past than allowed.
            let (mut made_up, mut tick) = (0, burst);
            while tick <= now {
                made_up += 1;
                tick = tick.saturating_add(Duration::from_millis(period));
            }
            prop_assert!(made_up <= most);
        }
    }
}
