//! How a pool is configured; every setting is checked before any thread starts.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::blocking::MAY_BLOCK_THRESHOLD;
use super::bound::{Bound, Overflow};
use super::core::{Core, Settings};
use super::observe::{Hooks, PanicReport, RejectionReport, STALL_THRESHOLD, StallReport};
use super::{ThreadPool, global, staff};
use crate::error::BuildError;
use crate::time::{Clock, SystemClock};

/// The environment variable that overrides the default number of workers.
pub(crate) const WORKERS_VARIABLE: &str = "OVERSTRAND_WORKERS";

/// Threads beyond the workers that may stand in for workers that wait.
const STANDINS_MAX: usize = 64;

/// More workers than this are a mistake: the idle protocol scans one word per 64 of them.
const WORKERS_MAX: usize = 4096;

/// Configures a [`ThreadPool`]; made by [`ThreadPool::builder`].
///
/// | setting | default |
/// |---|---|
/// | `name` | `"overstrand"` |
/// | `workers` | `OVERSTRAND_WORKERS` if set, else [`std::thread::available_parallelism`], which knows cgroup quotas and affinity |
/// | `max_best_effort` | one less than `workers`, at least one (PRI-3) |
/// | `max_threads` | `workers` + 64 |
/// | `may_block_threshold` | 10 ms |
/// | `capacity` | unbounded |
/// | `stack_size` | that of the standard library |
/// | `on_stall` | threshold of 10 s, reported through `tracing` |
/// | `recent_tasks` | 0: none are written down |
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct ThreadPoolBuilder {
    name: Option<Arc<str>>,
    workers: Option<usize>,
    max_best_effort: Option<usize>,
    max_threads: Option<usize>,
    stack_size: Option<usize>,
    stall_threshold: Option<Duration>,
    may_block_threshold: Option<Duration>,
    bound: Option<(usize, Overflow)>,
    recent_tasks: usize,
    hooks: Hooks,
    clock: Option<Arc<dyn Clock>>,
}

impl ThreadPoolBuilder {
    /// A clock other than the system's.
    #[cfg(feature = "testing")]
    pub(crate) fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The name of the pool; its threads are called `name-0`, `name-1`, …
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many threads run tasks; 1 to 4096.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// How many workers may run best-effort tasks at once; 1 to `workers`.
    pub fn max_best_effort(mut self, workers: usize) -> Self {
        self.max_best_effort = Some(workers);
        self
    }

    /// How many threads there may be in all, those included that stand in for workers that wait; at least `workers`.
    pub fn max_threads(mut self, threads: usize) -> Self {
        self.max_threads = Some(threads);
        self
    }

    /// After how long in a scope that [may block](crate::BlockingType::MayBlock) a worker is replaced, if the pool is short.
    pub fn may_block_threshold(mut self, threshold: Duration) -> Self {
        self.may_block_threshold = Some(threshold);
        self
    }

    /// How many tasks posted to the pool itself may wait, and what happens to the next one; without this the queue is unbounded (POST-9). Tasks of runners are not counted: they have
    /// bounds of their own. Runs of supervised tasks are counted, and never refused: their supervisor's bounds are for them.
    pub fn capacity(mut self, capacity: usize, overflow: Overflow) -> Self {
        self.bound = Some((capacity, overflow));
        self
    }

    /// How many of the tasks that ended last are written down, for [`ThreadPool::recent_tasks`]; 0, the default, for none. A [ring of a runner's
    /// own](crate::SequencedTaskRunnerBuilder::recent_tasks) does not depend on it.
    ///
    /// It costs two looks at the clock and a short lock that all workers share for each task, and up to 80 bytes for each task that is kept. Without it no clock is
    /// read (TIME-1).
    pub fn recent_tasks(mut self, tasks: usize) -> Self {
        self.recent_tasks = tasks;
        self
    }

    /// Bytes of stack for each worker.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Called on each worker before its first task, with the thread's name.
    pub fn on_thread_start(mut self, hook: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.hooks.thread_start = Some(Arc::new(hook));
        self
    }

    /// Called on each worker after its last task, with the thread's name.
    pub fn on_thread_stop(mut self, hook: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.hooks.thread_stop = Some(Arc::new(hook));
        self
    }

    /// Called for each task that panics, on the worker that ran it.
    pub fn on_panic(mut self, hook: impl Fn(&PanicReport) + Send + Sync + 'static) -> Self {
        self.hooks.panic = Some(Arc::new(hook));
        self
    }

    /// Called for each post that is refused, on the thread that posted.
    pub fn on_rejected(mut self, hook: impl Fn(&RejectionReport) + Send + Sync + 'static) -> Self {
        self.hooks.rejected = Some(Arc::new(hook));
        self
    }

    /// Called once for each task that runs for longer than `threshold`, on a thread of the pool's own.
    ///
    /// A task is seen when it has run for a quarter of the threshold at most, so the report comes between 1 and 1.5 thresholds. After the
    /// machine slept, what runs counts as just begun. Tasks that are [`long_running`](crate::TaskTraits::long_running) are not reported.
    pub fn on_stall(mut self, threshold: Duration, hook: impl Fn(&StallReport) + Send + Sync + 'static) -> Self {
        self.stall_threshold = Some(threshold);
        self.hooks.stall = Some(Arc::new(hook));
        self
    }

    /// Starts the pool.
    ///
    /// If the system refuses some of the threads, the pool runs with those that it got, at least one, and says so through `tracing` and
    /// [`ThreadPool::workers`].
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the first setting that is out of range, or `workers` if not one thread could be started.
    pub fn build(self) -> Result<ThreadPool, BuildError> {
        let mut builder = self;
        let clock = builder.clock.take().unwrap_or_else(|| Arc::new(SystemClock::new()));
        let settings = builder.settle()?;
        let workers = settings.workers;
        let core = Core::new(settings, Arc::clone(&clock)).share();
        let service = Arc::downgrade(&core.service);
        clock.wakes(Box::new(move || service.upgrade().map(|service| service.unpark()).is_some()));
        if let Err(error) = staff::start(&core) {
            return Err(BuildError::new("workers", workers, "no thread could be started").caused_by(error));
        }
        Ok(ThreadPool::own(core))
    }

    /// Starts the pool and makes it the one that [`global`](crate::global) gives.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build); and `global` if there is a global pool already.
    pub fn init_global(self) -> Result<(), BuildError> {
        global::init(self)
    }

    pub(crate) fn settle(self) -> Result<Settings, BuildError> {
        let workers = match self.workers {
            Some(workers) => workers,
            None => default_workers(std::env::var(WORKERS_VARIABLE).ok())?,
        };
        within("workers", workers, 1, WORKERS_MAX, "must be 1 to 4096")?;
        let best_effort_max = self.max_best_effort.unwrap_or_else(|| workers.saturating_sub(1).max(1));
        within("max_best_effort", best_effort_max, 1, workers, "must be 1 to `workers`")?;
        let threads_max = self.max_threads.unwrap_or(workers + STANDINS_MAX);
        within("max_threads", threads_max, workers, usize::from(u16::MAX), "must be `workers` to 65535")?;
        let stall_threshold = self.stall_threshold.unwrap_or(STALL_THRESHOLD);
        if stall_threshold.is_zero() {
            return Err(BuildError::new("on_stall", "0s", "the threshold must be longer than zero"));
        }
        let name = self.name.unwrap_or_else(|| Arc::from("overstrand"));
        if name.is_empty() || name.contains('\0') {
            return Err(BuildError::new("name", format!("{name:?}"), "must be a text without NUL, and not empty"));
        }
        Bound::check_of_a_pool(self.bound)?;
        let (stack_size, hooks, bound) = (self.stack_size, self.hooks, self.bound);
        let may_block_threshold = self.may_block_threshold.unwrap_or(MAY_BLOCK_THRESHOLD);
        Ok(Settings {
            name,
            workers,
            best_effort_max,
            threads_max,
            stack_size,
            stall_threshold,
            may_block_threshold,
            bound,
            recent_tasks: self.recent_tasks,
            hooks,
        })
    }
}

fn within(
    field: &'static str,
    value: usize,
    least: usize,
    most: usize,
    problem: &'static str,
) -> Result<(), BuildError> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(BuildError::new(field, value, problem)) }
}

fn default_workers(variable: Option<String>) -> Result<usize, BuildError> {
    match variable {
        None => Ok(std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX)),
        Some(text) => match text.trim().parse() {
            Ok(workers) if (1..=WORKERS_MAX).contains(&workers) => Ok(workers),
            _ => Err(BuildError::new(WORKERS_VARIABLE, format!("{text:?}"), "must be a number, 1 to 4096")),
        },
    }
}

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn variable_is_a_number_or_an_error() {
        assert_eq!(default_workers(Some(" 3 ".into())).expect("a number"), 3);
        assert!(default_workers(None).expect("a default") >= 1);
        for text in ["", "0", "-1", "many", "4097"] {
            let error = default_workers(Some(text.into())).expect_err(text);
            assert_eq!((error.field(), error.value()), (WORKERS_VARIABLE, &*format!("{text:?}")));
        }
    }

    #[test]
    fn default_leaves_a_worker_for_urgent_work() {
        for (workers, expected) in [(1, 1), (2, 1), (8, 7)] {
            let settings = ThreadPoolBuilder::default().workers(workers).settle().expect("valid");
            assert_eq!(settings.best_effort_max, expected);
        }
    }
}
