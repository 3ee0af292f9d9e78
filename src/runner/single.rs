//! Runners whose tasks all run on one real thread: a sequence that has a home instead of turns on the pool's workers.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::sequence::{Extras, RunnerStats, Sequence};
use super::sequenced::{Close, SequencedTaskRunner};
use crate::error::{BuildError, RejectReason, Rejected, WaitError};
use crate::pool::bound::{Bound, Overflow};
use crate::pool::core::Core;
use crate::pool::delayed::Armed;
use crate::pool::home::Home;
use crate::pool::pause::Pause;
use crate::pool::task_builder::{Due, Refused, Spec, Target};
use crate::pool::{DelayedTaskHandle, TaskBuilder, ThreadPool};
use crate::runner::RepeatingTaskHandle;
use crate::task::current::{Name, name_of};
use crate::task::handle::{Packet, TaskHandle, Waited};
use crate::task::recent::{Recent, RecentTask};
use crate::task::traits::{Priority, TaskTraits};
use crate::time::{Moment, Reading, Schedule};

/// Which thread a [`SingleThreadTaskRunner`] gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ThreadMode {
    /// One of its own: nobody else's tasks ever run there. The default.
    #[default]
    Dedicated,
    /// One that all runners of the pool share that ask for a shared one with the same traits. Their tasks take turns; those of a runner whose
    /// [priority was raised](SingleThreadTaskRunner::set_priority) go first.
    Shared,
}

/// Runs its tasks in the order of posting, all on one real thread: for libraries that want to be called from one thread only, and for state that is not
/// `Send`.
///
/// It is a handle: clones post to the same runner, from any thread. When the last one is gone, and those of runners that share its thread, the thread runs
/// what was accepted and ends.
///
/// # Guarantees
///
/// - All that a [`SequencedTaskRunner`] guarantees; and all tasks run on one thread, which the pool joins at its end.
/// - A post from one of its own tasks never blocks (POST-7).
///
/// # Not guaranteed
///
/// While a task waits, nobody runs the others: a thread has no stand-in. A wait for a task of its own is an error, as ever.
///
/// # Examples
///
/// ```
/// use overstrand::{TaskTraits, ThreadMode, ThreadPool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(1).build()?;
/// let gl = pool.create_single_thread_task_runner(TaskTraits::user_blocking(), ThreadMode::Dedicated)?;
/// let first = gl.spawn(|| std::thread::current().id()).join()?;
/// let second = gl.spawn(|| std::thread::current().id()).join()?;
/// assert_eq!(first, second);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SingleThreadTaskRunner(SequencedTaskRunner);

impl SingleThreadTaskRunner {
    /// Configures a runner with a thread of that pool.
    pub fn builder(pool: &ThreadPool) -> SingleThreadTaskRunnerBuilder<'_> {
        SingleThreadTaskRunnerBuilder {
            pool,
            name: None,
            traits: TaskTraits::default(),
            mode: ThreadMode::default(),
            bound: None,
            recent_tasks: 0,
        }
    }

    pub(super) fn on(home: Arc<Home>, core: &Arc<Core>, traits: TaskTraits, name: Option<Name>) -> Self {
        let extras = Extras { home: Some(home), ..Extras::default() };
        Self(SequencedTaskRunner::new(core, traits, name, extras))
    }

    /// The same runner as a sequence, which it is: for what takes a [`SequencedTaskRunner`]. Tasks that are posted through it run on the thread all the same.
    ///
    /// ```
    /// use overstrand::{SequencedTaskRunner, TaskTraits, ThreadMode, ThreadPool};
    ///
    /// fn component(strand: &SequencedTaskRunner) -> overstrand::TaskHandle<bool> {
    ///     let own = strand.clone();
    ///     strand.spawn(move || own.is_current())
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let pool = ThreadPool::builder().workers(1).build()?;
    /// let ui = pool.create_single_thread_task_runner(TaskTraits::default(), ThreadMode::Dedicated)?;
    /// assert!(component(ui.as_sequenced()).join()?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn as_sequenced(&self) -> &SequencedTaskRunner {
        &self.0
    }

    fn sequence(&self) -> &Sequence {
        self.0.sequence()
    }

    /// The single-thread runner that the calling task belongs to; `None` in tasks of other runners and outside of tasks.
    #[must_use]
    pub fn current() -> Option<Self> {
        SequencedTaskRunner::current().filter(|runner| runner.sequence().home().is_some()).map(Self)
    }

    /// True inside the tasks of this runner, and nowhere else.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.0.is_current()
    }

    /// The runner's name, if it was given one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.name()
    }

    /// Runs a closure on the thread, after everything that was posted before.
    ///
    /// # Errors
    ///
    /// As [`SequencedTaskRunner::post_task`].
    #[track_caller]
    pub fn post_task<F: FnOnce() + Send + 'static>(&self, f: F) -> Result<(), Rejected<F>> {
        self.0.post_task(f)
    }

    /// As [`SequencedTaskRunner::post_delayed_task`].
    ///
    /// # Errors
    ///
    /// As there.
    #[track_caller]
    pub fn post_delayed_task<F>(&self, delay: Duration, f: F) -> Result<DelayedTaskHandle, Rejected<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.0.post_delayed_task(delay, f)
    }

    /// As [`SequencedTaskRunner::post_repeating_task`].
    ///
    /// # Errors
    ///
    /// As there.
    #[track_caller]
    pub fn post_repeating_task<F>(
        &self,
        schedule: impl Into<Schedule>,
        f: F,
    ) -> Result<RepeatingTaskHandle, Rejected<F>>
    where
        F: FnMut() + Send + 'static,
    {
        self.0.post_repeating_task(schedule, f)
    }

    /// Runs a closure on the thread and keeps its result for the handle; a rejection surfaces in [`TaskHandle::join`].
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.spawn(f)
    }

    /// Says more about one task: its name, delay, token.
    pub fn task(&self) -> TaskBuilder<'_, Self> {
        TaskBuilder::new(self, self.sequence().traits())
    }

    /// As [`SequencedTaskRunner::wrap`].
    #[track_caller]
    pub fn wrap<E, F>(&self, f: F) -> impl Fn(E) + Clone + Send + Sync + 'static
    where
        E: Send + 'static,
        F: FnMut(E) + Send + 'static,
    {
        self.0.wrap(f)
    }

    /// As [`SequencedTaskRunner::flush`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn flush(&self) -> Result<(), WaitError> {
        self.0.flush()
    }

    /// As [`SequencedTaskRunner::wait_idle`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn wait_idle(&self, limit: Duration) -> Result<(), WaitError> {
        self.0.wait_idle(limit)
    }

    /// As [`SequencedTaskRunner::flush_async`].
    ///
    /// # Errors
    ///
    /// As there.
    #[must_use = "futures do nothing unless polled"]
    pub fn flush_async(&self) -> impl Future<Output = Result<(), WaitError>> + Send + 'static + use<> {
        self.0.flush_async()
    }

    /// As [`SequencedTaskRunner::set_priority`]. Runners that share a thread take turns by their priorities, as sequences do on a worker: the highest first, but for one
    /// pick in 61. To a runner with a thread of its own it matters only for [best-effort fences](ThreadPool::fence_best_effort).
    pub fn set_priority(&self, priority: Priority) {
        self.0.set_priority(priority);
    }

    /// As [`SequencedTaskRunner::pause`].
    pub fn pause(&self) -> Pause {
        self.0.pause()
    }

    /// True once the runner is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// As [`SequencedTaskRunner::close`].
    pub fn close(&self, how: Close) {
        self.0.close(how);
    }

    /// The runner's counters, consistent with one another.
    #[must_use]
    pub fn stats(&self) -> RunnerStats {
        self.0.stats()
    }

    /// As [`SequencedTaskRunner::recent_tasks`].
    #[must_use]
    pub fn recent_tasks(&self) -> Vec<RecentTask> {
        self.0.recent_tasks()
    }
}

impl Target for SingleThreadTaskRunner {
    fn post_with<P, F, W>(&self, spec: Spec, parts: P, wrap: W) -> Result<(), Rejected<P>>
    where
        P: Send + 'static,
        F: FnOnce() + Send + 'static,
        W: FnOnce(P) -> F + Send + 'static,
    {
        self.0.post_with(spec, parts, wrap)
    }

    fn queue_at<F, T>(&self, spec: &Spec, due: Due, packet: &Arc<Packet<F, T>>) -> Result<Option<Armed>, Refused>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.queue_at(spec, due, packet)
    }

    fn refuse(&self, spec: Spec, reason: RejectReason) -> Rejected<()> {
        self.0.refuse(spec, reason)
    }

    fn own_sequence(&self) -> Option<Arc<dyn Waited>> {
        self.0.own_sequence()
    }

    type Anchor = Self;

    fn anchor(&self) -> Self {
        self.clone()
    }

    fn default_traits(&self) -> TaskTraits {
        self.sequence().traits()
    }

    fn now(&self) -> Moment {
        self.0.now()
    }

    fn reading(&self) -> Reading {
        self.0.reading()
    }
}

impl AsRef<SequencedTaskRunner> for SingleThreadTaskRunner {
    fn as_ref(&self) -> &SequencedTaskRunner {
        &self.0
    }
}

impl fmt::Debug for SingleThreadTaskRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleThreadTaskRunner")
            .field("name", &self.name())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Configures a [`SingleThreadTaskRunner`]; made by [`SingleThreadTaskRunner::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct SingleThreadTaskRunnerBuilder<'a> {
    pool: &'a ThreadPool,
    name: Option<Name>,
    traits: TaskTraits,
    mode: ThreadMode,
    bound: Option<(usize, Overflow)>,
    recent_tasks: usize,
}

impl SingleThreadTaskRunnerBuilder<'_> {
    /// A name, shown in reports and spans; a dedicated thread is called by it, too.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name_of(name));
        self
    }

    /// The traits of its tasks.
    pub fn traits(mut self, traits: impl Into<TaskTraits>) -> Self {
        self.traits = traits.into();
        self
    }

    /// Which thread it gets.
    pub fn mode(mut self, mode: ThreadMode) -> Self {
        self.mode = mode;
        self
    }

    /// How many tasks may wait, and what happens to the next one; without this the queue is unbounded (POST-9). Posts from its own tasks are never blocked:
    /// they are refused.
    pub fn capacity(mut self, capacity: usize, overflow: Overflow) -> Self {
        self.bound = Some((capacity, overflow));
        self
    }

    /// How many of the runner's tasks that ended last are written down, for [`recent_tasks`](SingleThreadTaskRunner::recent_tasks); 0, the default, for none.
    ///
    /// It costs two looks at the clock and a short lock for each task, as [`ThreadPoolBuilder::recent_tasks`](crate::ThreadPoolBuilder::recent_tasks) does for a whole pool.
    pub fn recent_tasks(mut self, tasks: usize) -> Self {
        self.recent_tasks = tasks;
        self
    }

    /// Makes the runner, and its thread if there is none to share.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: a capacity of zero, [`Overflow::CallerRuns`]; `mode` when the system, `max_threads` or a shutdown refuses the thread.
    pub fn build(self) -> Result<SingleThreadTaskRunner, BuildError> {
        let bound = Bound::of_a_sequence(self.bound)?;
        let core = self.pool.core();
        let home = match self.mode {
            ThreadMode::Dedicated => Home::start(core, self.name.as_deref().unwrap_or("thread")),
            ThreadMode::Shared => core.shared_home(self.traits),
        };
        let mode = self.mode;
        let home = home.map_err(|error| {
            BuildError::new("mode", format!("{mode:?}"), "no thread could be started").caused_by(error)
        })?;
        let extras = Extras { bound, home: Some(home), recent: Recent::of(self.recent_tasks), ..Extras::default() };
        Ok(SingleThreadTaskRunner(SequencedTaskRunner::new(core, self.traits, self.name, extras)))
    }
}

impl ThreadPool {
    /// A runner with a real thread; see [`SingleThreadTaskRunner::builder`] for more.
    ///
    /// # Errors
    ///
    /// [`BuildError`] `mode`: the thread was refused.
    pub fn create_single_thread_task_runner(
        &self,
        traits: TaskTraits,
        mode: ThreadMode,
    ) -> Result<SingleThreadTaskRunner, BuildError> {
        SingleThreadTaskRunner::builder(self).traits(traits).mode(mode).build()
    }
}
