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
        Self { rhythm: Rhythm::Rate, period, missed: MissedTicks::Skip, initial: None }
    }

    /// A fixed pause between the end of one tick and the start of the next.
    #[must_use]
    pub const fn fixed_delay(pause: Duration) -> Self {
        Self { rhythm: Rhythm::Delay, period: pause, missed: MissedTicks::Skip, initial: None }
    }

    /// What happens to missed ticks of a fixed rate; a fixed delay misses none.
    #[must_use]
    pub const fn missed(self, missed: MissedTicks) -> Self {
        Self { missed, ..self }
    }

    /// The first tick comes after this, instead of one period. Zero: at once.
    #[must_use]
    pub const fn initial_delay(self, delay: Duration) -> Self {
        Self { initial: Some(delay), ..self }
    }

    fn period(&self) -> Duration {
        self.period.max(Duration::from_nanos(1))
    }

    /// When the first tick is due.
    pub(crate) fn first(&self, now: Moment) -> Moment {
        now.saturating_add(self.initial.unwrap_or_else(|| self.period()))
    }

    /// When the next tick is due, after one that was due at `due` and ended `now`; in the past for a tick that is made up for.
    pub(crate) fn next(&self, due: Moment, now: Moment) -> Moment {
        let period = self.period();
        let next = due.saturating_add(period);
        if self.rhythm == Rhythm::Delay {
            return now.saturating_add(period);
        }
        if next > now {
            return next;
        }
        match self.missed {
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
