//! What a pool writes down of the tasks that have ended, and since when it counts time for that.
//!
//! Off unless the pool or the runner has a ring; then the clock is read twice for each task (TIME-1).
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::ThreadPool;
use super::core::Core;
use super::observe::Running;
use crate::task::recent::{Entry, Recent, RecentTask};
use crate::task::traits::Priority;
use crate::time::Moment;

/// Where a pool writes down what has ended.
#[derive(Debug)]
pub(crate) struct Journal {
    began: Moment,
    ring: Option<Arc<Recent>>,
}

impl Journal {
    pub(crate) fn new(began: Moment, size: usize) -> Self {
        Self { began, ring: Recent::of(size) }
    }

    /// True when a task of a runner with this ring is to be written down.
    pub(crate) fn is_kept(&self, of_runner: Option<&Arc<Recent>>) -> bool {
        self.ring.is_some() || of_runner.is_some()
    }
}

/// How a task went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) priority: Priority,
    pub(crate) started: Moment,
    pub(crate) panicked: bool,
}

impl Core {
    /// The time, if a task of a runner with this ring is to be written down after its end.
    #[inline]
    pub(crate) fn start_to_write_down(&self, of_runner: Option<&Arc<Recent>>) -> Option<Moment> {
        self.journal.is_kept(of_runner).then(|| self.clock.now())
    }

    /// Writes down a task that ends now.
    pub(crate) fn write_down(&self, running: Running, ended: Ended, of_runner: Option<&Arc<Recent>>) {
        let Running { site, name, runner } = running;
        let Ended { priority, started, panicked } = ended;
        let duration: Duration = started.until(self.clock.now());
        let started = self.journal.began.until(started);
        let entry = Entry { site, name, runner, priority, started, duration, panicked };
        if let Some(ring) = of_runner {
            ring.push(entry.clone());
        }
        if let Some(ring) = &self.journal.ring {
            ring.push(entry);
        }
    }
}

impl ThreadPool {
    /// The tasks that ended last, the newest first: of the pool itself and of all its runners. Empty unless
    /// [`ThreadPoolBuilder::recent_tasks`](crate::ThreadPoolBuilder::recent_tasks) said how many.
    ///
    /// # Guarantees
    ///
    /// - A task is there when its result is, and in the next task of its sequence.
    /// - Tasks of one sequence stand in the order in which they ran. It works while every worker is stuck.
    ///
    /// # Not guaranteed
    ///
    /// Tasks that were cancelled or dropped did not run, and are not there; nor are those that [`Overflow::CallerRuns`](crate::Overflow::CallerRuns) made
    /// the poster run. A panic in the drop of a result comes too late to be written down.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let pool = overstrand::ThreadPool::builder().workers(1).recent_tasks(100).build()?;
    /// pool.task().name("sum").spawn(|| (1..=10).sum::<i32>()).join()?;
    /// let newest = &pool.recent_tasks()[0];
    /// assert_eq!((newest.name.as_deref(), newest.panicked), (Some("sum"), false));
    /// println!("{newest}");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn recent_tasks(&self) -> Vec<RecentTask> {
        self.core().journal.ring.as_ref().map_or_else(Vec::new, |ring| ring.newest_first())
    }
}

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests {
    use std::panic::Location;
    use std::time::SystemTime;

    use super::super::builder::ThreadPoolBuilder;
    use super::super::ledger::Count;
    use super::super::staff;
    use super::super::worker::{Step, Worker};
    use super::*;
    use crate::sync::atomic::{AtomicU64, Ordering};
    use crate::task::traits::{Meta, TaskTraits};
    use crate::time::Clock;

    /// Counts how often it was looked at.
    #[derive(Debug, Default)]
    struct Watched(AtomicU64);

    impl Clock for Watched {
        fn now(&self) -> Moment {
            // Relaxed: one thread.
            Moment::from_nanos(self.0.fetch_add(1, Ordering::Relaxed))
        }

        fn wall(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }
    }

    /// Looks at the clock that ten tasks cost, from the post to the end, and how many tasks were written down.
    fn looks(size: usize) -> (u64, usize) {
        let settings = ThreadPoolBuilder::default().workers(1).recent_tasks(size).settle().expect("valid");
        let clock = Arc::new(Watched::default());
        let core = Core::new(settings, Arc::clone(&clock) as Arc<dyn Clock>).share();
        staff::enlist_owner(&core, false).expect("it is the first");
        let mut worker = Worker::enter(&core, 0).expect("it is free");
        let outside = worker.come();
        // Relaxed: one thread.
        let before = clock.0.load(Ordering::Relaxed);
        for _ in 0..10 {
            let meta = Meta::new(TaskTraits::default());
            core.admit(meta).expect("open");
            let task = Core::wrap(|| (), Location::caller(), meta, None);
            core.submit_task(task, meta.priority(), Count::Posted);
            assert_eq!(worker.step(false), Step::Ran);
        }
        // Relaxed: as above.
        let looks = clock.0.load(Ordering::Relaxed) - before;
        drop(outside);
        worker.exit();
        (looks, core.journal.ring.as_ref().map_or(0, |ring| ring.newest_first().len()))
    }

    /// TIME-1: without a ring neither a post nor the start of a task reads the clock.
    #[test]
    fn clock_is_read_for_a_ring_only() {
        assert_eq!(looks(0), (0, 0));
        assert_eq!(looks(4), (20, 4));
    }
}
