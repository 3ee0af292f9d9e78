//! Bounded concurrency: the handle of a parallel runner.
#![forbid(unsafe_code)]

use super::group::{CLOSED, Parallel, add};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::barrier::Flush;
use super::sequence::RunnerStats;
use super::sequenced::Close;
use super::slots::{SLOTS_MAX, Slots};
use super::task_runner::{Unboxed, Unboxes};
use super::{listed, next_id};
use crate::error::{BuildError, RejectReason, Rejected, WaitError};
use crate::park::{Bell, Wait};
use crate::pool::bound::{Bound, Overflow, Room};
use crate::pool::core::Core;
use crate::pool::delayed::Armed;
use crate::pool::pause::{Pausable, Pause};
use crate::pool::task_builder::{Due, Refused, Spec, Target};
use crate::pool::{DelayedTaskHandle, TaskBuilder, ThreadPool};
use crate::queue::steal::Injector;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU8, AtomicU64};
use crate::task::current::{self, Name, name_of};
use crate::task::handle::{Packet, TaskHandle, Waited};
use crate::task::raw::{Erased, Runner, Tally, Task};
use crate::task::recent::{Recent, RecentTask};
use crate::task::traits::{Meta, TaskTraits};
use crate::time::{Moment, Reading};

/// Runs tasks at the same time, but never more of them than so many.
///
/// It is a handle: clones post to the same runner, from any thread. When the last one is gone the runner runs what was accepted and frees itself. It owns no thread.
///
/// # Guarantees
///
/// - At most `max_concurrency` of its tasks run at once; [`set_max_concurrency`](Self::set_max_concurrency) takes effect at once in both directions, but
///   stops nothing that runs (CTL-4).
/// - Tasks of one priority start in the order of posting.
/// - [`flush`](Self::flush) is a barrier: no task posted after it began starts before it is over, but for those that its own tasks post meanwhile.
/// - All that holds for posts to a pool: POST-1 to POST-9, SHUT-1, SHUT-2.
///
/// # Not guaranteed
///
/// The order in which tasks end. A lock-free post while a flush waits: what comes later is held back behind a lock.
///
/// # Examples
///
/// ```
/// use overstrand::{TaskTraits, ThreadPool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(4).build()?;
/// let fetcher = pool.create_parallel_task_runner(TaskTraits::user_visible().may_block(), 2)?;
/// for page in 0..10 {
///     fetcher.post_task(move || println!("page {page}, and at most one other just now"))?;
/// }
/// fetcher.flush()?;
/// assert_eq!(fetcher.stats().ran, 10);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ParallelTaskRunner(Arc<Erased<Parallel>>);

impl ParallelTaskRunner {
    /// Configures a parallel runner of that pool.
    pub fn builder(pool: &ThreadPool) -> ParallelTaskRunnerBuilder<'_> {
        ParallelTaskRunnerBuilder {
            pool,
            name: None,
            traits: TaskTraits::default(),
            bound: None,
            limit: None,
            recent_tasks: 0,
        }
    }

    fn parallel(&self) -> &Parallel {
        &self.0.object
    }

    pub(super) fn erased(&self) -> &Arc<Erased<Parallel>> {
        &self.0
    }

    /// True inside the tasks of this runner, and nowhere else.
    #[must_use]
    pub fn is_current(&self) -> bool {
        current::group() == self.parallel().runner.id
    }

    /// The runner's name, if it was given one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.parallel().runner.name.as_deref()
    }

    /// Runs a closure when its turn comes and a place is free.
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the closure back: the pool is shutting down, the runner is closed, its queue is full.
    #[track_caller]
    pub fn post_task<F: FnOnce() + Send + 'static>(&self, f: F) -> Result<(), Rejected<F>> {
        self.post(Spec::here(self.parallel().traits), f)
    }

    /// Runs a closure when `delay` is over, never earlier by the monotonic clock (DLY-1), and a place is free then.
    ///
    /// # Errors
    ///
    /// As [`post_task`](Self::post_task).
    #[track_caller]
    pub fn post_delayed_task<F>(&self, delay: Duration, f: F) -> Result<DelayedTaskHandle, Rejected<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.post_delayed(Spec::here(self.parallel().traits), delay, f)
    }

    /// Runs a closure and keeps its result for the handle; a rejection surfaces in [`TaskHandle::join`].
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Target::spawn(self, Spec::here(self.parallel().traits), f)
    }

    /// Says more about one task: its name, priority, delay.
    pub fn task(&self) -> TaskBuilder<'_, Self> {
        TaskBuilder::new(self, self.parallel().traits)
    }

    /// How many of its tasks may run at once.
    #[must_use]
    pub fn max_concurrency(&self) -> usize {
        self.parallel().slots.limit()
    }

    /// Lets more or fewer of its tasks run at once, from now on (CTL-4).
    ///
    /// # Errors
    ///
    /// [`BuildError`]: zero, or more than 8,388,607.
    pub fn set_max_concurrency(&self, limit: usize) -> Result<(), BuildError> {
        check_limit(limit)?;
        self.parallel().slots.set_limit(limit);
        while Parallel::fill_one(&self.0, self.parallel().traits.priority()) {}
        Ok(())
    }

    /// Keeps new tasks of this runner from starting until the guard is dropped; see [`SequencedTaskRunner::pause`](crate::SequencedTaskRunner::pause).
    pub fn pause(&self) -> Pause {
        Pause::of(Arc::clone(&self.0) as Arc<dyn Pausable>)
    }

    /// True once the runner is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.parallel().control() & CLOSED != 0
    }

    /// Waits until everything posted before is over; nothing posted later starts before that.
    ///
    /// # Errors
    ///
    /// [`WaitError::WouldDeadlock`] inside a task of the runner; [`WaitError::Closed`] or [`WaitError::ShutDown`] when something was dropped instead.
    pub fn flush(&self) -> Result<(), WaitError> {
        Parallel::flush(&self.0, Wait::on("a flush of a parallel runner"))
    }

    /// As [`flush`](Self::flush), for at most `limit` of monotonic time.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush); [`WaitError::TimedOut`] when the time is over first: the barrier is lifted then.
    pub fn wait_idle(&self, limit: Duration) -> Result<(), WaitError> {
        Parallel::flush(&self.0, Wait::on("an idle parallel runner").at_most(Some(limit)))
    }

    /// As [`flush`](Self::flush), as a future for any executor. Its barrier begins with its first poll, and is lifted when it is over or dropped: until then what is posted is held back.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush); [`WaitError::WouldDeadlock`] also when a future of this runner awaits it.
    #[must_use = "futures do nothing unless polled"]
    pub fn flush_async(&self) -> impl Future<Output = Result<(), WaitError>> + Send + 'static + use<> {
        Flush::of(&self.0)
    }

    /// Refuses posts from now on; with [`Close::Discard`] what has not started is dropped: queued tasks when their turn comes, delayed ones at once. Returns at once.
    pub fn close(&self, how: Close) {
        Parallel::close(&self.0, how == Close::Discard);
    }

    /// The runner's counters.
    #[must_use]
    pub fn stats(&self) -> RunnerStats {
        self.parallel().stats()
    }

    /// Queues an admitted task, or runs it here where there is no room for it.
    fn take(&self, room: Room, task: Task) {
        match room {
            Room::CallerRuns => self.parallel().run_by_caller(task),
            _ => Parallel::push(&self.0, task),
        }
    }

    /// The tasks of the runner that ended last, the newest first; empty unless [the builder](ParallelTaskRunnerBuilder::recent_tasks) said how many. See
    /// [`ThreadPool::recent_tasks`] for what is there.
    #[must_use]
    pub fn recent_tasks(&self) -> Vec<RecentTask> {
        self.parallel().recent.as_ref().map_or_else(Vec::new, |ring| ring.newest_first())
    }

    #[cold]
    fn reject<P>(&self, parts: P, spec: Spec, reason: RejectReason) -> Rejected<P> {
        let parallel = self.parallel();
        add(&parallel.rejected);
        parallel.core.reject(parts, spec.name, spec.location, parallel.runner.name.clone(), reason)
    }
}

impl Target for ParallelTaskRunner {
    fn post_with<P, F, W>(&self, spec: Spec, parts: P, wrap: W) -> Result<(), Rejected<P>>
    where
        P: Send + 'static,
        F: FnOnce() + Send + 'static,
        W: FnOnce(P) -> F + Send + 'static,
    {
        let meta = Meta::new(spec.traits);
        match self.parallel().admit(meta) {
            Err(reason) => Err(self.reject(parts, spec, reason)),
            Ok(room) => {
                self.take(room, Core::wrap(wrap(parts), spec.location, meta, spec.name));
                Ok(())
            }
        }
    }

    fn queue_at<F, T>(&self, spec: &Spec, due: Due, packet: &Arc<Packet<F, T>>) -> Result<Option<Armed>, Refused>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let parallel = self.parallel();
        let meta = Meta::new(spec.traits);
        let wrap = || Core::wrap_packet(packet, spec, meta);
        let Due::At(due) = due else {
            let room = parallel.admit(meta)?;
            self.take(room, wrap());
            return Ok(None);
        };
        if parallel.control() & CLOSED != 0 {
            return Err(RejectReason::Closed.into());
        }
        Parallel::arm(&self.0, due, wrap()).map(Some)
    }

    fn refuse(&self, spec: Spec, reason: RejectReason) -> Rejected<()> {
        self.reject((), spec, reason)
    }

    fn own_sequence(&self) -> Option<Arc<dyn Waited>> {
        None
    }

    type Anchor = Self;

    fn anchor(&self) -> Self {
        self.clone()
    }

    fn default_traits(&self) -> TaskTraits {
        self.parallel().traits
    }

    fn now(&self) -> Moment {
        self.parallel().core.clock.now()
    }

    fn reading(&self) -> Reading {
        self.parallel().core.clock.reading()
    }
}

impl fmt::Debug for ParallelTaskRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParallelTaskRunner")
            .field("name", &self.name())
            .field("max_concurrency", &self.max_concurrency())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

fn check_limit(limit: usize) -> Result<(), BuildError> {
    if (1..=SLOTS_MAX).contains(&limit) {
        return Ok(());
    }
    Err(BuildError::new("max_concurrency", limit, "must be 1 to 8388607"))
}

/// Configures a [`ParallelTaskRunner`]; made by [`ParallelTaskRunner::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ParallelTaskRunnerBuilder<'a> {
    pool: &'a ThreadPool,
    name: Option<Name>,
    traits: TaskTraits,
    bound: Option<(usize, Overflow)>,
    limit: Option<usize>,
    recent_tasks: usize,
}

impl ParallelTaskRunnerBuilder<'_> {
    /// A name, shown in reports and spans.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name_of(name));
        self
    }

    /// The traits of its tasks.
    pub fn traits(mut self, traits: impl Into<TaskTraits>) -> Self {
        self.traits = traits.into();
        self
    }

    /// How many of its tasks may run at once; without this, as many as the pool has workers.
    pub fn max_concurrency(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// How many tasks may wait, and what happens to the next one; without this the queue is unbounded (POST-9).
    pub fn capacity(mut self, capacity: usize, overflow: Overflow) -> Self {
        self.bound = Some((capacity, overflow));
        self
    }

    /// How many of the runner's tasks that ended last are written down, for [`recent_tasks`](ParallelTaskRunner::recent_tasks); 0, the default, for none.
    ///
    /// It costs two looks at the clock and a short lock for each task, as [`ThreadPoolBuilder::recent_tasks`](crate::ThreadPoolBuilder::recent_tasks) does for a whole pool.
    pub fn recent_tasks(mut self, tasks: usize) -> Self {
        self.recent_tasks = tasks;
        self
    }

    /// Makes the runner.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: a limit that is out of range, a capacity of zero.
    pub fn build(self) -> Result<ParallelTaskRunner, BuildError> {
        let core = Arc::clone(self.pool.core());
        let limit = self.limit.unwrap_or(core.settings.workers);
        check_limit(limit)?;
        let bound = match self.bound {
            Some((0, _)) => return Err(BuildError::new("capacity", 0, "must be at least 1")),
            Some((capacity, overflow)) => Some(Bound::new(capacity, overflow)),
            None => None,
        };
        let is_listed = self.name.is_some() || bound.is_some() || self.recent_tasks > 0;
        let parallel = Erased::new(Parallel {
            slots: Slots::new(limit),
            queues: std::array::from_fn(|_| Injector::new()),
            held: Mutex::default(),
            bound,
            control: AtomicU8::new(0),
            ended: Bell::new(),
            tally: Tally::shared(),
            posted: AtomicU64::new(0),
            posted_delayed: AtomicU64::new(0),
            ripened: AtomicU64::new(0),
            dropped_delayed: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            discarded: AtomicU64::new(0),
            core,
            traits: self.traits,
            runner: Runner { id: next_id(), name: self.name },
            recent: Recent::of(self.recent_tasks),
        });
        if is_listed {
            listed::list(&parallel.object.core, &parallel);
        }
        Ok(ParallelTaskRunner(parallel))
    }
}

impl ThreadPool {
    /// A runner that runs at most so many of its tasks at once; see [`ParallelTaskRunner::builder`] for more.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: zero, or more than 8,388,607.
    pub fn create_parallel_task_runner(
        &self,
        traits: TaskTraits,
        max_concurrency: usize,
    ) -> Result<ParallelTaskRunner, BuildError> {
        ParallelTaskRunner::builder(self).traits(traits).max_concurrency(max_concurrency).build()
    }
}

impl Unboxes for ParallelTaskRunner {
    fn post_unboxed(&self, spec: Spec, body: Unboxed) -> Result<(), Rejected<Unboxed>> {
        let meta = Meta::new(spec.traits);
        match self.parallel().admit(meta) {
            Err(reason) => Err(self.reject(body, spec, reason)),
            Ok(room) => {
                self.take(room, Core::wrap_body(body, spec.location, meta, spec.name));
                Ok(())
            }
        }
    }
}
