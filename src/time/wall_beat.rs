//! How far a cron schedule has come, by a wall clock that people set.
//!
//! Words: the *target* is the next instant of the pattern that was not passed through yet; it is *missed* when the clock has gone by it and the tick is not for it.
//! The clock has *leapt* when it went further than the monotonic clock did: it was set forward, or the machine was asleep.
//!
//! | the wall clock | what is done |
//! |---|---|
//! | goes on | the target is due when it is reached |
//! | leaps over the target | it is due, late, and stands for the latest instant that was leapt over too; those in between count as missed, but not as passed through |
//! | goes back | the target is looked for anew, from there; what was passed through is left out, and so is what would be made up for and lies ahead again |
//!
//! Witnessed by `tests::course::*`.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::cron::Cron;
use super::lived::Lived;
use super::schedule::MissedTicks;
use super::{Moment, Reading};

/// How much further than the monotonic clock a wall clock goes that is only adjusted.
const ADJUSTMENT_MAX: Duration = Duration::from_secs(1);

/// How many ticks are made up for at once, whatever is asked for: they are listed, and a clock that is set by years leaps over millions.
const MADE_UP_MAX: usize = 1_000;

/// How far a cron schedule has come.
#[derive(Clone, Debug)]
pub(super) struct WallBeat {
    cron: Arc<Cron>,
    missed: MissedTicks,
    /// The first tick comes then, without regard to the pattern.
    first: Option<Moment>,
    target: Option<SystemTime>,
    /// Missed ticks that are made up for now.
    made_up: VecDeque<SystemTime>,
    lived: Lived,
    /// The last look.
    seen: Reading,
}

impl WallBeat {
    pub(super) fn begin(cron: &Arc<Cron>, missed: MissedTicks, first: Option<Duration>, now: &Reading) -> Self {
        Self {
            cron: Arc::clone(cron),
            missed,
            first: first.map(|delay| now.moment.saturating_add(delay)),
            target: cron.after(now.wall),
            made_up: VecDeque::new(),
            lived: Lived::default(),
            seen: *now,
        }
    }

    /// How long it is until the next tick, if nobody sets the clock.
    pub(super) fn due_in(&self, now: &Reading) -> Option<Duration> {
        if let Some(first) = self.first {
            return (first != Moment::NEVER).then(|| now.moment.until(first));
        }
        let next = self.made_up.front().copied().or(self.target)?;
        Some(next.duration_since(now.wall).unwrap_or_default())
    }

    /// How long ago the next tick was due, zero before that.
    pub(super) fn overdue(&self, now: &Reading) -> Duration {
        if let Some(first) = self.first {
            return first.until(now.moment);
        }
        let next = self.made_up.front().copied().or(self.target);
        next.and_then(|next| now.wall.duration_since(next).ok()).unwrap_or_default()
    }

    /// Looks at the clock; true when a tick is due.
    pub(super) fn is_due(&mut self, now: &Reading) -> bool {
        if let Some(first) = self.first {
            return first <= now.moment;
        }
        if now.wall < self.seen.wall {
            self.made_up.retain(|instant| *instant <= now.wall);
            self.target = self.next(now.wall);
        }
        if !self.made_up.is_empty() {
            return true;
        }
        match self.target {
            Some(target) if target <= now.wall => {
                self.lived.add(self.seen.wall, target);
                true
            }
            // No instant lies between the last look and this one that was not lived: nothing is lost if the clock has leapt.
            _ => {
                self.see(now);
                false
            }
        }
    }

    /// The tick that was due is over.
    pub(super) fn pass(&mut self, now: &Reading) {
        if self.first.take().is_none() {
            if self.made_up.pop_front().is_some() {
                return;
            }
            if let Some(served) = self.target {
                self.made_up = self.to_make_up(served, now.wall).into();
            }
        }
        if self.has_leapt(now) {
            let latest = self.cron.latest(self.seen.wall, now.wall, 1);
            if let Some(&covered) = self.made_up.front().or(latest.first()) {
                self.lived.add(covered - Duration::from_nanos(1), now.wall);
            }
            self.seen = *now;
        } else {
            self.see(now);
        }
        self.target = self.next(now.wall);
    }

    /// What was missed after the tick that was served, as far as it is made up for.
    fn to_make_up(&self, served: SystemTime, until: SystemTime) -> Vec<SystemTime> {
        let MissedTicks::Burst(most) = self.missed else { return Vec::new() };
        let mut missed = self.cron.latest(served, until, MADE_UP_MAX.min(most as usize));
        missed.retain(|instant| self.lived.end_of(*instant).is_none());
        missed
    }

    fn has_leapt(&self, now: &Reading) -> bool {
        let slept = self.seen.moment.until(now.moment).saturating_add(ADJUSTMENT_MAX);
        self.seen.wall.checked_add(slept).is_some_and(|latest| latest < now.wall)
    }

    /// The clock has passed through all that lies between the last look and this one.
    fn see(&mut self, now: &Reading) {
        self.lived.add(self.seen.wall, now.wall);
        self.seen = *now;
    }

    /// The first instant after that which was not lived.
    fn next(&self, after: SystemTime) -> Option<SystemTime> {
        let mut next = self.cron.after(after)?;
        while let Some(end) = self.lived.end_of(next) {
            next = self.cron.after(end)?;
        }
        Some(next)
    }
}

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use proptest::prelude::*;

    const ORIGIN: Duration = Duration::from_secs(1_767_225_600);

    /// How the clocks move between two looks, in seconds: the monotonic one, and what the wall is set by besides.
    fn steps() -> impl Strategy<Value = Vec<(u64, i64)>> {
        let set = prop_oneof![4 => Just(0), 2 => -2_i64..2, 2 => -4_000_i64..4_000, 1 => -400_000_i64..400_000];
        prop::collection::vec((0_u64..90, set), 1..200)
    }

    proptest! {
        /// However the clock is set: nothing twice, nothing early, nothing that the pattern does not name; and what it comes by at its own pace for the first time is
        /// not left out.
        #[test]
        fn each_instant_is_served_at_most_once(steps in steps(), missed in 0_u32..4, period in 1_u64..7) {
            let cron = Arc::new(Cron::parse(&format!("0 */{period} * * * *")).expect("valid"));
            let mut now = Reading { moment: Moment::ORIGIN, wall: SystemTime::UNIX_EPOCH + ORIGIN };
            let mut beat = WallBeat::begin(&cron, MissedTicks::Burst(missed), None, &now);
            let mut served = HashSet::new();
            let (mut latest, mut has_been_set) = (now.wall, false);
            for (seconds, set) in steps {
                let passed = Duration::from_secs(seconds);
                let wall = now.wall + passed;
                let moved = Duration::from_secs(set.unsigned_abs());
                now.moment = now.moment.saturating_add(passed);
                now.wall = if set < 0 { wall - moved } else { wall + moved };
                has_been_set |= set != 0;
                if beat.is_due(&now) {
                    let instant = beat.made_up.front().copied().or(beat.target).expect("it is due");
                    prop_assert!(served.insert(instant), "{instant:?} twice");
                    prop_assert!(instant <= now.wall, "early");
                    prop_assert_eq!(cron.after(instant - Duration::from_secs(1)), Some(instant));
                    prop_assert!(has_been_set || missed == 0 || cron.after(latest) == Some(instant));
                    latest = instant;
                    beat.pass(&now);
                }
            }
        }
    }
}
