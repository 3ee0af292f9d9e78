//! Which running tasks take too long. Pure but for its lock: it is shown what each worker runs, and when; it starts no thread and reads no clock.
//!
//! A worker publishes the number of tasks it has started and ended. A task that is seen twice with the same number has been running for at least the
//! time between, so every age is a lower bound (TIME-1). Each task is reported once.
//!
//! A watcher that was late itself forgives: when the time between two looks is far more than asked for (the machine slept, or was stopped), what it
//! sees counts as first seen now.
//!
//! Witnessed by `tests::*`.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::sync::Mutex;
use crate::time::Moment;

/// How often a threshold is divided into looks.
const LOOKS_PER_THRESHOLD: u32 = 4;

/// What one worker was seen doing.
#[derive(Clone, Copy, Debug, Default)]
struct Sight {
    started: u64,
    since: Option<Moment>,
    reported: bool,
}

#[derive(Debug)]
struct State {
    sights: Vec<Sight>,
    last_look: Option<Moment>,
}

/// The watcher's memory.
#[derive(Debug)]
pub(crate) struct Watch {
    threshold: Duration,
    state: Mutex<State>,
}

/// A task that runs for longer than the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stall {
    pub(crate) worker: usize,
    pub(crate) running_for: Duration,
}

impl Watch {
    pub(crate) fn new(workers_max: usize, threshold: Duration) -> Self {
        let state = State { sights: vec![Sight::default(); workers_max], last_look: None };
        Self { threshold, state: Mutex::new(state) }
    }

    /// How long to wait between two looks.
    pub(crate) fn period(&self) -> Duration {
        (self.threshold / LOOKS_PER_THRESHOLD).max(Duration::from_millis(1))
    }

    /// Looks at the workers; `progress` gives how many tasks one has started and ended. The stalls that were not reported before.
    pub(crate) fn look(&self, now: Moment, workers: usize, progress: impl Fn(usize) -> (u64, u64)) -> Vec<Stall> {
        let mut state = self.state.lock();
        let was_late =
            state.last_look.is_some_and(|last| last.until(now) > self.period() * 2 + Duration::from_millis(100));
        state.last_look = Some(now);
        let mut stalls = Vec::new();
        for (worker, sight) in state.sights.iter_mut().take(workers).enumerate() {
            let (started, over) = progress(worker);
            let running_for = sight.update(now, started, over, was_late);
            if running_for >= self.threshold && !sight.reported && sight.since.is_some() {
                sight.reported = true;
                stalls.push(Stall { worker, running_for });
            }
        }
        stalls
    }

    /// The watcher pauses; the next look comes whenever it comes.
    pub(crate) fn pause(&self) {
        self.state.lock().last_look = None;
    }

    /// For how long the worker's task has been running at least; `None` when it runs none.
    pub(crate) fn running_for(&self, worker: usize, now: Moment, (started, over): (u64, u64)) -> Option<Duration> {
        let mut state = self.state.lock();
        let sight = state.sights.get_mut(worker)?;
        let age = sight.update(now, started, over, false);
        (started != over).then_some(age)
    }
}

impl Sight {
    /// Notes what is seen; for how long it has been seen.
    fn update(&mut self, now: Moment, started: u64, over: u64, forgive: bool) -> Duration {
        if started == over {
            *self = Self { started, since: None, reported: false };
            return Duration::ZERO;
        }
        match self.since {
            Some(since) if self.started == started && !forgive => since.until(now),
            _ => {
                let reported = self.reported && self.started == started;
                *self = Self { started, since: Some(now), reported };
                Duration::ZERO
            }
        }
    }
}

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::ORIGIN.saturating_add(Duration::from_secs(seconds))
    }

    fn watch() -> Watch {
        Watch::new(2, Duration::from_secs(8))
    }

    #[test]
    fn task_over_the_threshold_is_reported_once() {
        let watch = watch();
        let busy = |_| (5, 4);
        for second in [0, 2, 4, 6] {
            assert_eq!(watch.look(at(second), 1, busy), []);
        }
        let stall = Stall { worker: 0, running_for: Duration::from_secs(8) };
        assert_eq!(watch.look(at(8), 1, busy), [stall]);
        assert_eq!(watch.look(at(10), 1, busy), []);
    }

    #[test]
    fn short_tasks_one_after_the_other_are_no_stall() {
        let watch = watch();
        for second in 0..100 {
            assert_eq!(watch.look(at(second * 2), 1, |_| (second + 1, second)), []);
        }
    }

    #[test]
    fn late_watcher_blames_nobody() {
        let watch = watch();
        let busy = |_| (1, 0);
        assert_eq!(watch.look(at(0), 1, busy), []);
        assert_eq!(watch.look(at(600), 1, busy), []);
        for second in [602, 604, 606] {
            assert_eq!(watch.look(at(second), 1, busy), []);
        }
        assert_eq!(watch.look(at(608), 1, busy).len(), 1);
    }

    #[test]
    fn age_is_known_without_a_report() {
        let watch = watch();
        assert_eq!(watch.running_for(1, at(1), (3, 2)), Some(Duration::ZERO));
        assert_eq!(watch.running_for(1, at(4), (3, 2)), Some(Duration::from_secs(3)));
        assert_eq!(watch.running_for(1, at(5), (3, 3)), None);
    }
}
