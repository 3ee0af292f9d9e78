//! When the next tick of a rate or a pause is due.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::Moment;
use super::schedule::{MissedTicks, Said};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rhythm {
    /// From the start of one tick to that of the next.
    Rate,
    /// From the end of one tick to the start of the next.
    Pause,
}

/// How far a rate or a pause has come.
#[derive(Clone, Debug)]
pub(super) struct Beat {
    rhythm: Rhythm,
    period: Duration,
    missed: MissedTicks,
    due: Moment,
}

impl Beat {
    /// The first tick is due after what is said, or else after one period; an offset moves it, and so all that come after it.
    pub(super) fn begin(rhythm: Rhythm, period: Duration, said: &Said, now: Moment) -> Self {
        let period = period.max(Duration::from_nanos(1));
        let first = now.saturating_add(said.first.unwrap_or(period)).saturating_add(said.offset.unwrap_or_default());
        Self { rhythm, period, missed: said.missed.unwrap_or_default(), due: first }
    }

    pub(super) fn due(&self) -> Moment {
        self.due
    }

    pub(super) fn change_period(&mut self, period: Duration) {
        self.period = period.max(Duration::from_nanos(1));
    }

    /// The tick that was due is over: finds the next one, which is in the past if it is to be made up for.
    pub(super) fn pass(&mut self, now: Moment) {
        self.due = self.next(now);
    }

    fn next(&self, now: Moment) -> Moment {
        let Self { period, .. } = *self;
        let next = self.due.saturating_add(period);
        if self.rhythm == Rhythm::Pause {
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

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Moment {
        Moment::ORIGIN.saturating_add(Duration::from_millis(millis))
    }

    /// The tick after one that was due at `due` and ended at `now`, in milliseconds; the period is 10 of them.
    fn next(rhythm: Rhythm, missed: MissedTicks, due: u64, now: u64) -> Moment {
        let said = Said { missed: Some(missed), ..Said::default() };
        let mut beat = Beat::begin(rhythm, Duration::from_millis(10), &said, Moment::ORIGIN);
        beat.due = at(due);
        beat.pass(at(now));
        beat.due()
    }

    #[test]
    fn rate_keeps_its_rhythm_and_a_pause_its_length() {
        let said = |first, offset| Said { first, offset, ..Said::default() };
        let first = |said| Beat::begin(Rhythm::Rate, Duration::from_millis(10), &said, at(5)).due();
        assert_eq!((first(said(None, None)), first(said(Some(Duration::ZERO), None))), (at(15), at(5)));
        assert_eq!(first(said(None, Some(Duration::from_millis(3)))), at(18));
        assert_eq!(next(Rhythm::Rate, MissedTicks::Skip, 10, 13), at(20));
        assert_eq!(next(Rhythm::Pause, MissedTicks::Skip, 10, 13), at(23));
    }

    #[test]
    fn missed_ticks_are_skipped_delayed_or_made_up_for() {
        let next = |missed, due, now| next(Rhythm::Rate, missed, due, now);
        assert_eq!(next(MissedTicks::Skip, 10, 47), at(50));
        assert_eq!(next(MissedTicks::Skip, 10, 20), at(30), "a tick that is due now has been missed by this one");
        assert_eq!(next(MissedTicks::Delay, 10, 47), at(57));
        assert_eq!(next(MissedTicks::Burst(9), 10, 47), at(20));
        assert_eq!(next(MissedTicks::Burst(2), 10, 47), at(30));
        assert_eq!(next(MissedTicks::Burst(0), 10, 47), at(50));
    }

    #[test]
    fn any_period_is_legal() {
        let begin = |period| Beat::begin(Rhythm::Rate, period, &Said::default(), at(1));
        let mut never = begin(Duration::MAX);
        assert_eq!(never.due(), Moment::NEVER);
        never.pass(at(2));
        assert_eq!(never.due(), Moment::NEVER);
        let mut endless = begin(Duration::ZERO);
        endless.pass(at(2));
        assert!(endless.due() > at(2));
    }

    proptest! {
        #[test]
        fn next_tick_of_a_rate_is_on_its_grid(due in 0_u64..1_000, late in 0_u64..10_000, most in 0_u32..5) {
            let now = at(due + late);
            let skip = next(Rhythm::Rate, MissedTicks::Skip, due, due + late);
            prop_assert!(skip > now && skip <= now.saturating_add(Duration::from_millis(10)));
            let burst = next(Rhythm::Rate, MissedTicks::Burst(most), due, due + late);
            prop_assert!(burst > at(due) && burst <= skip);
            for next in [skip, burst] {
                prop_assert_eq!(at(due).until(next).as_millis() as u64 % 10, 0);
            }
            // Made up for one after the other, a burst has no more ticks in the past than allowed.
            let (mut made_up, mut tick) = (0, burst);
            while tick <= now {
                made_up += 1;
                tick = tick.saturating_add(Duration::from_millis(10));
            }
            prop_assert!(made_up <= most);
        }
    }
}
