//! Threads, and who runs what. The pool runs runnables; it never names a sequence.
//!
//! ```text
//!  post ─► core ─► injector of the class ─┐             ┌─► worker 0 ── deque 0
//!            └───► poster's own deque ────┴─► select ───┼─► worker 1 ── deque 1    idle: who sleeps, who is woken
//!  delayed ─► timer ─► (ripe) ─► core                   └─► stand-ins             staff: who stands in for whom
//!                └─ driven by service, which also drives stall                    shutdown: what is waited for
//! ```
//!
//! | file | the question it answers |
//! |---|---|
//! | `core`, `wrap`, `target`, `task_builder` | how does a task get from a poster to a worker? |
//! | `worker`, `select`, `slot` | what does a worker run next, and what do others see of it? |
//! | `idle`, `staff`, `blocking`, `patrol` | who sleeps, who stands in, who is looked after? |
//! | `timer`, `delayed`, `deadline`, `service` | what is due, and who brings it? |
//! | `home`, `pump` | which threads belong to a runner, or to you? |
//! | `shutdown`, `sweep`, `discard`, `dormant`, `endings` | how does it end, and what becomes of what is left? |
//! | `fence`, `pause`, `restrict`, `bound` | what may not start, or not wait? |
//! | `ledger`, `waits` | what adds up, and who waits for nothing to be left? |
//! | `observe`, `dump`, `roster`, `recent`, `stall` | what does it tell? |
//! | `builder`, `global`, `driven` | how is it made, for the process, for a test? |
#![forbid(unsafe_code)]

pub(crate) mod blocking;
pub(crate) mod bound;
pub(crate) mod builder;
pub(crate) mod core;
mod deadline;
pub(crate) mod delayed;
pub(crate) mod discard;
pub(crate) mod dormant;
#[cfg(feature = "testing")]
pub(crate) mod driven;
mod dump;
pub(crate) mod endings;
mod fence;
pub(crate) mod global;
pub(crate) mod home;
mod idle;
pub(crate) mod ledger;
pub(crate) mod observe;
mod patrol;
pub(crate) mod pause;
pub(crate) mod pump;
pub(crate) mod recent;
mod restrict;
pub(crate) mod roster;
mod select;
mod service;
mod shutdown;
pub(crate) mod slot;
mod staff;
mod stall;
mod sweep;
pub(crate) mod target;
pub(crate) mod task_builder;
pub(crate) mod timer;
mod waits;
pub(crate) mod worker;
mod wrap;

#[cfg(test)]
mod tests;

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

pub use self::blocking::{BlockingType, blocking};
pub use self::builder::ThreadPoolBuilder;
pub use self::delayed::DelayedTaskHandle;
pub use self::dump::{Dump, DumpedDelay, DumpedRunner, DumpedTask, RunnerKind};
pub use self::fence::Fence;
pub use self::ledger::PoolStats;
pub use self::observe::{PanicReport, RejectionReport, StallReport};
pub use self::pause::Pause;
pub use self::restrict::Restriction;
pub use self::task_builder::TaskBuilder;

use self::core::Core;
use self::target::PoolAnchor;
use self::task_builder::{Spec, Target};
use crate::error::{Rejected, WaitError};
use crate::park::Wait;
use crate::sync::Mutex;
use crate::sync::unmodelled::OnceCell;
use crate::task::handle::TaskHandle;
use crate::task::traits::TaskTraits;
use crate::time::{Clock, SystemClock};
use crate::zoo;

/// A pool of worker threads that run closures by priority.
///
/// It is a handle: clones refer to the same pool, and the last one that is dropped shuts it down and waits (SHUT-5); inside a task of the pool
/// itself it starts the shutdown and does not wait. Runners keep the pool's memory alive, but not its threads.
///
/// # Guarantees
///
/// - A post never runs the task inside the call; what happened before it is visible to the task (POST-1).
/// - `Ok`: it runs once, or is dropped once because of shutdown or cancel. `Err`: it never runs, and comes back (POST-2).
/// - A free worker takes the most urgent class first (PRI-1), nothing starves (PRI-2), best-effort work never holds all workers of two or
///   more (PRI-3).
/// - A panic ends its task and nothing else (POST-6).
/// - A thread that waits never runs other tasks (HND-3).
///
/// # Not guaranteed
///
/// Tasks posted to the pool itself run in any order and at the same time; for an order, use a
/// [`SequencedTaskRunner`](crate::SequencedTaskRunner). Queues are unbounded: [`stats`](Self::stats) shows their depth.
///
/// # Examples
///
/// ```
/// use overstrand::ThreadPool;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().name("app").workers(2).build()?;
/// pool.post_task(|| println!("somewhere, soon"))?;
/// assert_eq!(pool.spawn(|| 6 * 7).join()?, 42);
/// let report = pool.shutdown()?;
/// assert_eq!((report.ran + report.dropped, report.stragglers.len()), (2, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ThreadPool(Arc<Guard>);

/// Shuts the pool down when the last handle is dropped.
struct Guard {
    anchor: PoolAnchor,
    /// The report of a finished shutdown: every caller gets the same.
    report: Mutex<Option<ShutdownReport>>,
    /// This pool as the global one of a test environment.
    #[cfg(feature = "testing")]
    leaked: OnceCell<&'static ThreadPool>,
}

/// What a shutdown did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Tasks that ran in the life of the pool, those that panicked included.
    pub ran: u64,
    /// Accepted tasks that were dropped in the life of the pool: those that shutdown discarded, and those cancelled before.
    pub dropped: u64,
    /// Tasks that still run: `ContinueOnShutdown` ones after a full shutdown, any after a time-out.
    pub stragglers: Vec<Straggler>,
}

/// A task that outlives its pool, or the time given to a shutdown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Straggler {
    /// The task's name, if it was given one.
    pub name: Option<Arc<str>>,
    /// Where the task was posted.
    pub location: &'static Location<'static>,
    /// How long it has been running at least: the time since it was first seen, at the latest by this shutdown.
    pub running_for: Duration,
}

impl ThreadPool {
    /// Configures a pool.
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder::default()
    }

    pub(crate) fn own(core: Arc<Core>) -> Self {
        Self(Arc::new(Guard {
            anchor: PoolAnchor(core),
            report: Mutex::new(None),
            #[cfg(feature = "testing")]
            leaked: OnceCell::new(),
        }))
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        self.0.core()
    }

    /// Runs a closure on some worker, soon, with the default traits.
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the closure back once shutdown has started.
    #[inline]
    #[track_caller]
    pub fn post_task<F: FnOnce() + Send + 'static>(&self, f: F) -> Result<(), Rejected<F>> {
        self.post(Spec::here(TaskTraits::default()), f)
    }

    /// Runs a closure with traits of its own.
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the closure back: once shutdown has started, and for `BlockShutdown` tasks once it is complete.
    #[inline]
    #[track_caller]
    pub fn post_task_with<F: FnOnce() + Send + 'static>(&self, traits: TaskTraits, f: F) -> Result<(), Rejected<F>> {
        self.post(Spec::here(traits), f)
    }

    /// Runs a closure when `delay` is over, never earlier by the monotonic clock (DLY-1). Zero is an ordinary post.
    ///
    /// # Errors
    ///
    /// As [`post_task`](Self::post_task).
    #[track_caller]
    pub fn post_delayed_task<F>(&self, delay: Duration, f: F) -> Result<DelayedTaskHandle, Rejected<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.post_delayed(Spec::here(TaskTraits::default()), delay, f)
    }

    /// Runs a closure and keeps its result for the handle; a rejection surfaces in [`TaskHandle::join`].
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Target::spawn(self, Spec::here(TaskTraits::default()), f)
    }

    /// Says more about one task: its name, priority, delay.
    pub fn task(&self) -> TaskBuilder<'_, Self> {
        TaskBuilder::new(self, TaskTraits::default())
    }

    /// True once a shutdown has started.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        self.core().tracker.is_started()
    }

    /// How many threads run tasks: what was asked for, or fewer if the system refused some.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.core().staff.active().min(self.core().settings.workers)
    }

    /// True inside the tasks of this pool, those of its runners included.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.core().is_own_thread() && crate::task::current::location().is_some()
    }

    /// The pool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.core().settings.name
    }

    /// The pool's counters, consistent with one another.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.core().ledger.stats()
    }

    /// Ends the pool and waits for what must finish (SHUT-1): `BlockShutdown` tasks run, queued others are dropped, running ones finish but for
    /// `ContinueOnShutdown`, and the threads are joined.
    ///
    /// May be called from several threads and again; every caller gets the same report.
    ///
    /// # Errors
    ///
    /// [`WaitError::WouldDeadlock`] inside a task of this pool; nothing is started then.
    pub fn shutdown(&self) -> Result<ShutdownReport, WaitError> {
        self.shutdown_until(None)
    }

    /// As [`shutdown`](Self::shutdown), but returns after `limit` of monotonic time at the latest (SHUT-3). If the time is over first, the
    /// report says how far the shutdown is and names every task that still runs; the shutdown goes on.
    ///
    /// # Errors
    ///
    /// As [`shutdown`](Self::shutdown).
    pub fn shutdown_timeout(&self, limit: Duration) -> Result<ShutdownReport, WaitError> {
        self.core().note_running();
        self.shutdown_until(Some(limit))
    }

    /// As [`shutdown`](Self::shutdown), as a future for any executor. The shutdown starts with this call, not with the first poll, and goes on if the future is dropped; the report is
    /// the one that every caller gets.
    ///
    /// It never blocks the thread that polls it: when it is ready every thread of the pool has done its last work, stragglers apart. They are joined by a blocking form, or by the drop
    /// of the last handle; the future is a handle, too.
    ///
    /// # Errors
    ///
    /// As [`shutdown`](Self::shutdown), settled by this call. A future of this pool that awaits it is dropped by the shutdown.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// use overstrand::ThreadPool;
    ///
    /// let (pool, other) = (ThreadPool::builder().workers(1).build()?, ThreadPool::builder().workers(1).build()?);
    /// pool.post_task(|| ())?;
    /// pool.flush()?;
    /// let report = other.spawn_future(pool.shutdown_async()).join()??;
    /// assert_eq!(report.ran, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "the shutdown goes on, but nobody waits for it"]
    pub fn shutdown_async(&self) -> impl Future<Output = Result<ShutdownReport, WaitError>> + Send + 'static + use<> {
        waits::End::of(&self.0)
    }

    fn shutdown_until(&self, limit: Option<Duration>) -> Result<ShutdownReport, WaitError> {
        if self.core().is_own_thread() {
            return Err(WaitError::WouldDeadlock);
        }
        Ok(self.0.shutdown(limit))
    }
}

impl Guard {
    fn core(&self) -> &Arc<Core> {
        &self.anchor.0
    }

    fn shutdown(&self, limit: Option<Duration>) -> ShutdownReport {
        let core = self.core();
        self.start_shutdown();
        let has_ended =
            core.ended.wait_until(|| core.has_ended().then_some(()), Wait::on("a shutdown").at_most(limit)).is_some();
        if !has_ended {
            return core.report();
        }
        core.staff.join_exited();
        core.staff.join_service();
        self.final_report()
    }

    fn start_shutdown(&self) {
        self.core().start_shutdown();
        self.core().note_running();
    }

    /// The report of a shutdown that has ended.
    fn final_report(&self) -> ShutdownReport {
        self.core().sweep();
        let mut report = self.report.lock();
        report.get_or_insert_with(|| self.core().report()).clone()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.core().is_own_thread() && !zoo::has("Z17") {
            // Somebody has to wait for nobody: the threads end by themselves.
            return self.core().start_shutdown();
        }
        #[cfg(feature = "testing")]
        if self.core().observer().is_some_and(|observer| observer.has_collapsed()) {
            return self.core().start_shutdown();
        }
        let report = self.shutdown(None);
        for straggler in report.stragglers {
            tracing::warn!(name = straggler.name.as_deref(), location = %straggler.location, "outlives its pool");
        }
    }
}

impl Core {
    /// All threads are gone, but for those that nobody waits for.
    fn has_ended(&self) -> bool {
        self.tracker.is_complete() && !self.staff.service_lives() && self.staff.live() <= self.tracker.continuing()
    }

    /// Dates what runs now.
    fn note_running(&self) {
        let now = self.clock.now();
        for worker in 0..self.used_slots().len() {
            self.watch.running_for(worker, now, self.ledger.progress_of(worker));
        }
    }

    fn report(&self) -> ShutdownReport {
        let stats = self.ledger.stats();
        ShutdownReport { ran: stats.ran, dropped: stats.dropped, stragglers: self.stragglers() }
    }

    fn stragglers(&self) -> Vec<Straggler> {
        let now = self.clock.now();
        let running = self.used_slots().iter().enumerate().filter_map(|(worker, slot)| {
            let running_for = self.watch.running_for(worker, now, self.ledger.progress_of(worker))?;
            let (running, _) = slot.running()?;
            Some(Straggler { name: running.name, location: running.site.location(), running_for })
        });
        running.collect()
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool").field("name", &self.name()).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// The clock of what has no pool: the system's, unless this thread's time is virtual.
pub(crate) fn clock_of_this_thread() -> Arc<dyn Clock> {
    #[cfg(feature = "testing")]
    if let Some(core) = driven::core() {
        return Arc::clone(&core.clock);
    }
    static SYSTEM: OnceCell<Arc<SystemClock>> = OnceCell::new();
    Arc::clone(SYSTEM.get_or_init(|| Arc::new(SystemClock::new()))) as Arc<dyn Clock>
}
