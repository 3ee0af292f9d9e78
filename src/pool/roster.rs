//! The runners that a dump tells about, and since when each of them has made no progress.
//!
//! A runner that can be told from others, since it has a name, a bound, a ring or a thread of its own, is *listed* when it is made; an idle strand without any
//! of these stays as cheap as it is. The roster keeps no runner alive. Entries of runners that are gone are swept when the list has doubled since the last sweep.
//!
//! # Ages
//!
//! Posts read no clock (TIME-1). Each look, of the stall watcher or of a dump, asks every runner whether anything is queued, and how many tasks it has started and
//! ended. If that number is the one of an earlier look, nothing has moved since then, so the age is a lower bound: what was queued then is queued still. While
//! every worker sleeps the watcher pauses; the age goes on, since nothing moves either.
//!
//! # Locks
//!
//! Runners are asked under the lock of the roster: what they answer takes short locks of their own, runs no user code and waits for no worker. The shares of
//! runners that a look takes are given back after it, since the last one drops the runner.
//!
//! Witnessed by `tests::*` and `tests/env/dump.rs`.
#![forbid(unsafe_code)]

use std::sync::Weak;
use std::time::Duration;

use super::dump::DumpedRunner;
use crate::sync::Mutex;
use crate::time::Moment;

/// Lists are not swept below this length.
const SWEEP_MIN: usize = 64;

/// What the roster asks of a runner.
pub(crate) trait Listed: Send + Sync {
    /// What a dump tells, but for the age.
    fn picture(&self) -> DumpedRunner;
    /// How many tasks have started and ended, in one number; `None` when nothing is queued.
    fn progress(&self) -> Option<u64>;
}

/// How a runner was seen last.
#[derive(Clone, Copy, Debug, Default)]
struct Sight {
    moved: u64,
    /// Since when work has been queued and nothing moved.
    since: Option<Moment>,
}

impl Sight {
    /// Notes what is seen; for how long nothing has moved at least, if something is queued.
    fn update(&mut self, now: Moment, progress: Option<u64>) -> Option<Duration> {
        let Some(moved) = progress else {
            self.since = None;
            return None;
        };
        let since = match self.since {
            Some(since) if self.moved == moved => since,
            _ => now,
        };
        *self = Self { moved, since: Some(since) };
        Some(since.until(now))
    }
}

struct Entry {
    runner: Weak<dyn Listed>,
    sight: Sight,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    sweep_at: usize,
}

/// The listed runners of a pool; see the page above.
#[derive(Default)]
pub(crate) struct Roster(Mutex<State>);

impl Roster {
    /// Lists a new runner.
    pub(crate) fn list(&self, runner: Weak<dyn Listed>) {
        let mut state = self.0.lock();
        if state.entries.len() >= state.sweep_at.max(SWEEP_MIN) {
            state.entries.retain(|entry| entry.runner.strong_count() > 0);
            state.sweep_at = 2 * state.entries.len();
        }
        state.entries.push(Entry { runner, sight: Sight::default() });
    }

    /// Looks at every runner, so that ages are known.
    pub(crate) fn look(&self, now: Moment) {
        self.look_at_each(now, |_, _| ());
    }

    /// The pictures of all runners that have something to do, in the order of their making.
    pub(crate) fn pictures(&self, now: Moment) -> Vec<DumpedRunner> {
        let mut pictures = Vec::new();
        self.look_at_each(now, |runner, no_progress_for| {
            let picture = runner.picture();
            if picture.queued + picture.delayed + picture.running > 0 {
                pictures.push(DumpedRunner { no_progress_for, ..picture });
            }
        });
        pictures
    }

    fn look_at_each(&self, now: Moment, mut tell: impl FnMut(&dyn Listed, Option<Duration>)) {
        let mut held = Vec::new();
        let mut state = self.0.lock();
        for entry in &mut state.entries {
            if let Some(runner) = entry.runner.upgrade() {
                tell(&*runner, entry.sight.update(now, runner.progress()));
                held.push(runner);
            }
        }
        drop(state);
        // WHY not sooner: the last share of a runner may be among these.
        drop(held);
    }
}

impl std::fmt::Debug for Roster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Roster")
    }
}

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests {
    use std::sync::Arc;

    use super::super::builder::ThreadPoolBuilder;
    use super::super::core::Core;
    use super::super::dump::RunnerKind;
    use super::*;
    use crate::time::ManualClock;

    fn at(seconds: u64) -> Moment {
        Moment::ORIGIN.saturating_add(Duration::from_secs(seconds))
    }

    #[test]
    fn age_counts_from_the_first_look_that_saw_the_same() {
        let mut sight = Sight::default();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(sight.update(at(5), None), None);
        assert_eq!(sight.update(at(6), Some(0)), seconds(0));
        assert_eq!(sight.update(at(9), Some(0)), seconds(3));
        assert_eq!(sight.update(at(600), Some(0)), seconds(594));
        assert_eq!(sight.update(at(601), Some(2)), seconds(0));
        assert_eq!(sight.update(at(602), None), None);
        assert_eq!(sight.update(at(603), Some(2)), seconds(0));
    }

    /// A runner with so much queued that does not get on.
    struct Stuck(u64);

    impl Listed for Stuck {
        fn picture(&self) -> DumpedRunner {
            DumpedRunner { queued: self.0, ..DumpedRunner::of(RunnerKind::Sequenced) }
        }

        fn progress(&self) -> Option<u64> {
            (self.0 > 0).then_some(7)
        }
    }

    /// Nobody asks for an age before the dump; the rounds of the watcher have dated it all the same.
    #[test]
    fn age_is_dated_by_the_stall_watcher() {
        let settings = ThreadPoolBuilder::default().workers(1).settle().expect("valid");
        let core = Core::new(settings, Arc::new(ManualClock::new(at(0))));
        let runners: [Arc<dyn Listed>; 2] = [Arc::new(Stuck(3)), Arc::new(Stuck(0))];
        runners.iter().for_each(|runner| core.roster.list(Arc::downgrade(runner)));
        let _ = core.service_step(at(2));
        let told = core.roster.pictures(at(9));
        assert_eq!((told.len(), told[0].no_progress_for), (1, Some(Duration::from_secs(7))));
    }

    #[test]
    fn entries_of_runners_that_are_gone_are_swept() {
        let roster = Roster::default();
        let stays: Arc<dyn Listed> = Arc::new(Stuck(0));
        roster.list(Arc::downgrade(&stays));
        for _ in 0..10 * SWEEP_MIN {
            let goes: Arc<dyn Listed> = Arc::new(Stuck(0));
            roster.list(Arc::downgrade(&goes));
        }
        assert!(roster.0.lock().entries.len() <= SWEEP_MIN);
        assert_eq!(roster.0.lock().entries.iter().filter(|entry| entry.runner.strong_count() > 0).count(), 1);
    }
}
