//! The handle of a sequence.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::sequence::{Extras, Flush, RunnerStats, Sequence};
use super::task_runner::{Unboxed, Unboxes};
use super::{current, next_id};
use crate::error::{BuildError, RejectReason, Rejected, WaitError};
use crate::park::Wait;
use crate::pool::bound::{Bound, Overflow};
use crate::pool::core::Core;
use crate::pool::delayed::Armed;
use crate::pool::pause::{Pausable, Pause};
use crate::pool::task_builder::{Due, Refused, Spec, Target};
use crate::pool::{DelayedTaskHandle, TaskBuilder, ThreadPool};
use crate::task::current::{Name, name_of};
use crate::task::handle::{Packet, TaskHandle, Waited};
use crate::task::raw::{Erased, Runner};
use crate::task::recent::{Recent, RecentTask};
use crate::task::traits::{Priority, TaskTraits};
use crate::time::{Moment, Reading};

/// A virtual thread: runs its tasks in the order of posting, one at a time, so that the state they own needs no lock.
///
/// It is a handle: clones post to the same sequence, from any thread. When the last one is gone, the sequence runs what was accepted and frees
/// itself (SEQ-6). It owns no thread, and while idle no memory beyond its header (SEQ-7).
///
/// # Guarantees
///
/// - Never two tasks at once; each begins after the one before has ended and its captures are dropped, and sees all of its effects (SEQ-1).
/// - If post(a) happens before post(b) and the delay of b is not shorter, a runs before b (SEQ-2).
/// - An immediate post to an unbounded sequence takes no lock (SEQ-3).
/// - Sequences share nothing: one that blocks delays no other, as long as a worker is free (SEQ-4).
/// - A task may post to its own sequence: it never blocks and never runs inside the post (POST-1, POST-7).
///
/// # Not guaranteed
///
/// Tasks of one sequence may run on different threads. A sequence is not the place for thread-locals, and what is not `Send` cannot be posted:
///
/// ```compile_fail,E0277
/// # use overstrand::{TaskTraits, ThreadPool};
/// # let pool = ThreadPool::builder().workers(1).build().unwrap();
/// # let seq = pool.create_sequenced_task_runner(TaskTraits::default());
/// let counter = std::rc::Rc::new(1);
/// let _ = seq.post_task(move || println!("{counter}"));
/// ```
///
/// A task outlives the call that posts it, so it may not borrow (a [synchronous call](Self::run_sync) may):
///
/// ```compile_fail,E0597
/// # use overstrand::{TaskTraits, ThreadPool};
/// # let pool = ThreadPool::builder().workers(1).build().unwrap();
/// # let seq = pool.create_sequenced_task_runner(TaskTraits::default());
/// let text = String::from("mine");
/// let borrowed = &text;
/// let _ = seq.post_task(move || println!("{borrowed}"));
/// ```
///
/// # Examples
///
/// ```
/// use overstrand::{TaskTraits, ThreadPool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(2).build()?;
/// let log = pool.create_sequenced_task_runner(TaskTraits::default());
/// for line in ["one", "two", "three"] {
///     log.post_task(move || println!("{line}"))?;
/// }
/// log.flush()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SequencedTaskRunner(Arc<Erased<Sequence>>);

/// How a runner is closed (SEQ-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Close {
    /// What was accepted still runs, delayed tasks included.
    Drain,
    /// What has not started is dropped: queued tasks in the sequence's next turn, delayed ones at once, by the thread that closes.
    Discard,
}

impl SequencedTaskRunner {
    /// Configures a sequence of that pool.
    pub fn builder(pool: &ThreadPool) -> SequencedTaskRunnerBuilder<'_> {
        SequencedTaskRunnerBuilder { pool, name: None, traits: TaskTraits::default(), bound: None, recent_tasks: 0 }
    }

    pub(super) fn new(core: &Arc<Core>, traits: TaskTraits, name: Option<Name>, extras: Extras) -> Self {
        Self(Sequence::new(Arc::clone(core), traits, Runner { id: next_id(), name }, extras))
    }

    /// A sequence with a name, of a pool that nobody needs to hold.
    pub(crate) fn of_core(core: &Arc<Core>, traits: TaskTraits, name: Name) -> Self {
        Self::new(core, traits, Some(name), Extras::default())
    }

    pub(super) fn erased(&self) -> &Arc<Erased<Sequence>> {
        &self.0
    }

    pub(super) fn sequence(&self) -> &Sequence {
        &self.0.object
    }

    /// The sequence that the calling task belongs to; `None` in parallel tasks and outside of tasks (SEQ-8).
    #[must_use]
    pub fn current() -> Option<Self> {
        current::sequence().map(Self)
    }

    /// True inside the tasks of this sequence, and nowhere else (SEQ-8).
    #[must_use]
    pub fn is_current(&self) -> bool {
        crate::task::current::sequence() == self.sequence().runner.id
    }

    /// The sequence as who waits for one of its tasks sees it.
    pub(super) fn as_waited(&self) -> Arc<dyn Waited> {
        Arc::clone(&self.0) as Arc<dyn Waited>
    }

    /// The sequence's name, if it was given one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.sequence().runner.name.as_deref()
    }

    /// Its number and its name.
    pub(super) fn identity(&self) -> (u64, Option<Name>) {
        let runner = &self.sequence().runner;
        (runner.id, runner.name.clone())
    }

    /// Runs a closure after everything that was posted before.
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the closure back: the pool is shutting down, the sequence is closed, its queue is full.
    #[inline]
    #[track_caller]
    pub fn post_task<F: FnOnce() + Send + 'static>(&self, f: F) -> Result<(), Rejected<F>> {
        self.post(Spec::here(self.sequence().traits()), f)
    }

    /// Runs a closure when `delay` is over, never earlier by the monotonic clock (DLY-1), and after what is in front of it then. Zero is an
    /// ordinary post.
    ///
    /// # Errors
    ///
    /// As [`post_task`](Self::post_task).
    #[track_caller]
    pub fn post_delayed_task<F>(&self, delay: Duration, f: F) -> Result<DelayedTaskHandle, Rejected<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.post_delayed(Spec::here(self.sequence().traits()), delay, f)
    }

    /// Runs a closure in its turn and keeps its result for the handle; a rejection surfaces in [`TaskHandle::join`].
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Target::spawn(self, Spec::here(self.sequence().traits()), f)
    }

    /// Says more about one task: its name, priority, delay.
    pub fn task(&self) -> TaskBuilder<'_, Self> {
        TaskBuilder::new(self, self.sequence().traits())
    }

    /// Gives the sequence another priority, for everything that has not started (PRI-4).
    pub fn set_priority(&self, priority: Priority) {
        Sequence::set_priority(&self.0, priority);
    }

    /// Keeps new tasks of this runner from starting until the guard is dropped; the one that runs goes on, posts are accepted. Waits for the runner wait for the end of the pause, too.
    ///
    /// To post first and start later, pause a runner that was just made. Pauses nest; [`Close::Discard`] ends them.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// # use overstrand::{TaskTraits, ThreadPool};
    /// let pool = ThreadPool::builder().workers(1).build()?;
    /// let seq = pool.create_sequenced_task_runner(TaskTraits::default());
    /// let pause = seq.pause();
    /// let waits = seq.spawn(|| 7);
    /// assert!(!waits.is_finished());
    /// pause.resume();
    /// assert_eq!(waits.join()?, 7);
    /// # Ok(())
    /// # }
    /// ```
    pub fn pause(&self) -> Pause {
        Pause::of(Arc::clone(&self.0) as Arc<dyn Pausable>)
    }

    /// True once the sequence is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sequence().is_closed()
    }

    /// Waits until everything that was posted before has run; delayed tasks count once they are due (SEQ-9).
    ///
    /// # Errors
    ///
    /// [`WaitError::WouldDeadlock`] inside the sequence itself; [`WaitError::Closed`] or [`WaitError::ShutDown`] when some of it was
    /// dropped instead.
    pub fn flush(&self) -> Result<(), WaitError> {
        self.sequence().wait_idle(Wait::on("a flush of a sequence"))
    }

    /// As [`flush`](Self::flush), for at most `limit` of monotonic time.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush); [`WaitError::TimedOut`] when the time is over first.
    pub fn wait_idle(&self, limit: Duration) -> Result<(), WaitError> {
        self.sequence().wait_idle(Wait::on("an idle sequence").at_most(Some(limit)))
    }

    /// As [`flush`](Self::flush), as a future for any executor: it waits for what was posted before this call, and leaves nothing behind when it is dropped.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush); it is settled by this call whether it would deadlock.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// # use overstrand::{TaskTraits, ThreadPool};
    /// let pool = ThreadPool::builder().workers(1).build()?;
    /// let seq = pool.create_sequenced_task_runner(TaskTraits::default());
    /// seq.post_task(|| println!("first"))?;
    /// let flushed = seq.flush_async();
    /// pool.spawn_future(flushed).join()??;
    /// assert_eq!(seq.stats().ran, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "futures do nothing unless polled"]
    pub fn flush_async(&self) -> impl Future<Output = Result<(), WaitError>> + Send + 'static + use<> {
        Flush::of(&self.0)
    }

    /// Refuses posts from now on (SEQ-10). Returns at once; [`wait_idle`](Self::wait_idle) waits for the rest.
    pub fn close(&self, how: Close) {
        Sequence::close(&self.0, how == Close::Discard);
    }

    /// The sequence's counters, consistent with one another.
    #[must_use]
    pub fn stats(&self) -> RunnerStats {
        self.sequence().stats()
    }

    /// The tasks of the sequence that ended last, the newest first; empty unless [the builder](SequencedTaskRunnerBuilder::recent_tasks) said how many. See
    /// [`ThreadPool::recent_tasks`] for what is there.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// use overstrand::{SequencedTaskRunner, ThreadPool};
    ///
    /// let pool = ThreadPool::builder().workers(1).build()?;
    /// let import = SequencedTaskRunner::builder(&pool).name("import").recent_tasks(10).build()?;
    /// import.task().name("row 1").spawn(|| ()).join()?;
    /// import.task().name("row 2").spawn(|| ()).join()?;
    /// let names: Vec<_> = import.recent_tasks().into_iter().filter_map(|task| task.name).collect();
    /// assert_eq!(names, ["row 2".into(), "row 1".into()]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn recent_tasks(&self) -> Vec<RecentTask> {
        self.sequence().recent().map_or_else(Vec::new, |ring| ring.newest_first())
    }

    #[cold]
    pub(super) fn reject<F>(
        &self,
        task: F,
        name: Option<Name>,
        location: &'static Location<'static>,
        reason: RejectReason,
    ) -> Rejected<F> {
        self.sequence().count_rejected();
        self.sequence().core().reject(task, name, location, self.sequence().runner.name.clone(), reason)
    }
}

impl Target for SequencedTaskRunner {
    #[inline]
    fn post_with<P, F, W>(&self, spec: Spec, parts: P, wrap: W) -> Result<(), Rejected<P>>
    where
        P: Send + 'static,
        F: FnOnce() + Send + 'static,
        W: FnOnce(P) -> F + Send + 'static,
    {
        let meta = self.sequence().meta(spec.traits);
        if let Err(reason) = self.sequence().admit(meta) {
            return Err(self.reject(parts, spec.name, spec.location, reason));
        }
        Sequence::push(&self.0, Core::wrap(wrap(parts), spec.location, meta, spec.name));
        Ok(())
    }

    fn queue_at<F, T>(&self, spec: &Spec, due: Due, packet: &Arc<Packet<F, T>>) -> Result<Option<Armed>, Refused>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let sequence = self.sequence();
        let meta = sequence.meta(spec.traits);
        let wrap = || Core::wrap_packet(packet, spec, meta);
        let Due::At(due) = due else {
            sequence.admit(meta)?;
            Sequence::push(&self.0, wrap());
            return Ok(None);
        };
        if sequence.is_closed() {
            return Err(RejectReason::Closed.into());
        }
        Sequence::arm(&self.0, due, wrap()).map(Some)
    }

    fn refuse(&self, spec: Spec, reason: RejectReason) -> Rejected<()> {
        self.reject((), spec.name, spec.location, reason)
    }

    fn own_sequence(&self) -> Option<Arc<dyn Waited>> {
        Some(self.as_waited())
    }

    type Anchor = Self;

    fn anchor(&self) -> Self {
        self.clone()
    }

    fn default_traits(&self) -> TaskTraits {
        self.sequence().traits()
    }

    fn now(&self) -> Moment {
        self.sequence().core().clock.now()
    }

    fn reading(&self) -> Reading {
        self.sequence().core().clock.reading()
    }
}

impl AsRef<Self> for SequencedTaskRunner {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl fmt::Debug for SequencedTaskRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SequencedTaskRunner")
            .field("name", &self.name())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Configures a [`SequencedTaskRunner`]; made by [`SequencedTaskRunner::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct SequencedTaskRunnerBuilder<'a> {
    pool: &'a ThreadPool,
    name: Option<Name>,
    traits: TaskTraits,
    bound: Option<(usize, Overflow)>,
    recent_tasks: usize,
}

impl SequencedTaskRunnerBuilder<'_> {
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

    /// How many tasks may wait, and what happens to the next one; without this the queue is unbounded (POST-9).
    pub fn capacity(mut self, capacity: usize, overflow: Overflow) -> Self {
        self.bound = Some((capacity, overflow));
        self
    }

    /// How many of the runner's tasks that ended last are written down, for [`recent_tasks`](SequencedTaskRunner::recent_tasks); 0, the default, for none.
    ///
    /// It costs two looks at the clock and a short lock for each task, as [`ThreadPoolBuilder::recent_tasks`](crate::ThreadPoolBuilder::recent_tasks) does for a whole pool.
    pub fn recent_tasks(mut self, tasks: usize) -> Self {
        self.recent_tasks = tasks;
        self
    }

    /// Makes the sequence.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: a capacity of zero, or [`Overflow::CallerRuns`], which would break the order.
    pub fn build(self) -> Result<SequencedTaskRunner, BuildError> {
        let bound = Bound::of_a_sequence(self.bound)?;
        let extras = Extras { bound, recent: Recent::of(self.recent_tasks), ..Extras::default() };
        Ok(SequencedTaskRunner::new(self.pool.core(), self.traits, self.name, extras))
    }
}

impl ThreadPool {
    /// A sequence of this pool, unbounded and without a name; see [`SequencedTaskRunner::builder`] for more.
    #[must_use]
    pub fn create_sequenced_task_runner(&self, traits: TaskTraits) -> SequencedTaskRunner {
        SequencedTaskRunner::new(self.core(), traits, None, Extras::default())
    }
}

impl Unboxes for SequencedTaskRunner {
    fn post_unboxed(&self, spec: Spec, body: Unboxed) -> Result<(), Rejected<Unboxed>> {
        let meta = self.sequence().meta(spec.traits);
        if let Err(reason) = self.sequence().admit(meta) {
            return Err(self.reject(body, spec.name, spec.location, reason));
        }
        Sequence::push(&self.0, Core::wrap_body(body, spec.location, meta, spec.name));
        Ok(())
    }
}
