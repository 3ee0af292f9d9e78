//! What a run knows of itself, and what it may ask for: [`TaskContext`].
//!
//! Every run has an object of its own, and whoever supervises knows which one is the live one. So what an earlier run does with its context changes nothing (SUP-3).
#![forbid(unsafe_code)]

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::body::inside;
use super::keeper::Keeper;
use super::outcome::{RunEnd, RunError, SelfCancelled, SharedError};
use super::spec::{TaskId, Work};
use crate::error::TaskResult;
use crate::pool::target::PoolAnchor;
use crate::pool::worker::should_yield;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::task::cancel::CancelToken;
use crate::task::current::{Name, Owner};
use crate::task::panic::{Payload, message_of};

/// One run of a supervised task.
pub(super) struct Run {
    pub(super) keeper: Weak<Keeper>,
    pub(super) task: TaskId,
    /// The groups that it is in.
    above: Vec<TaskId>,
    pub(super) name: Name,
    pub(super) generation: u64,
    pub(super) attempt: u32,
    /// Another run may be needed before this one has returned.
    pub(super) may_be_replaced: bool,
    pub(super) token: CancelToken,
    /// What it does, until it begins; or what is withdrawn.
    work: Mutex<Option<Work>>,
    /// It has shown that it lives, since somebody looked.
    beat: AtomicBool,
    /// It waits for a worker between two steps, and cannot show it.
    waits: AtomicBool,
    ready: AtomicBool,
    /// A future is to be dropped.
    abort: AtomicBool,
    waker: Mutex<Option<Waker>>,
    /// The future between polls, for the defect that drops it wherever it is aborted.
    #[cfg(overstrand_zoo)]
    pub(super) future: Mutex<Option<super::spec::FutureWork>>,
}

impl Run {
    pub(super) fn new(
        keeper: Weak<Keeper>,
        (task, above): (TaskId, Vec<TaskId>),
        name: Name,
        generation: u64,
        attempt: u32,
    ) -> Self {
        Self {
            keeper,
            task,
            above,
            name,
            generation,
            attempt,
            may_be_replaced: false,
            token: CancelToken::new(),
            work: Mutex::new(None),
            beat: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            abort: AtomicBool::new(false),
            waker: Mutex::new(None),
            #[cfg(overstrand_zoo)]
            future: Mutex::new(None),
        }
    }

    /// What a function that stops this run has as its own: time for itself, and nothing to be ready for.
    pub(super) fn for_stop(&self, limit: Option<Duration>) -> Self {
        let grace =
            || Some(self.keeper.upgrade()?.act(|house, _| house.entry(self.task).map(|entry| entry.settings.grace)));
        let token = match limit.or_else(|| grace().flatten()) {
            Some(limit) => CancelToken::with_timeout(limit),
            None => CancelToken::new(),
        };
        self.part(token)
    }

    /// A part of the run that ends with that token, and has nothing to be ready for.
    pub(super) fn part(&self, token: CancelToken) -> Self {
        let run = Self::new(
            self.keeper.clone(),
            (self.task, self.above.clone()),
            Arc::clone(&self.name),
            self.generation,
            self.attempt,
        );
        Self { token, ready: AtomicBool::new(true), ..run }
    }

    /// The same, before it begins, with what it does.
    pub(super) fn with_work(self, work: Work) -> Self {
        Self { work: Mutex::new(Some(work)), ..self }
    }

    /// True until it begins, or is withdrawn.
    pub(super) fn has_work(&self) -> bool {
        self.work.lock().is_some()
    }

    pub(super) fn is_future(&self) -> bool {
        matches!(*self.work.lock(), Some(Work::Future(_)))
    }

    /// Whoever calls this first has it: the run that begins, or who withdraws it.
    pub(super) fn take_work(&self) -> Option<Work> {
        self.work.lock().take()
    }

    /// True when it has shown that it lives since the last call.
    pub(super) fn take_beat(&self) -> bool {
        // Relaxed: a sign of life publishes nothing, nor does that there can be none.
        self.beat.swap(false, Ordering::Relaxed) || self.waits.load(Ordering::Relaxed)
    }

    /// The same, and changes nothing.
    pub(super) fn has_beaten(&self) -> bool {
        // Relaxed: as above.
        self.beat.load(Ordering::Relaxed)
    }

    /// Has the future of this run dropped where it is polled.
    pub(super) fn abort(&self) {
        // Relaxed: the lock of the waker orders it; who registers a waker looks after that.
        self.abort.store(true, Ordering::Relaxed);
        #[cfg(overstrand_zoo)]
        {
            let future = self.future.lock().take();
            drop(future);
        }
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// True when the future is to be dropped; else the waker is woken when that changes.
    pub(super) fn is_aborted(&self, waker: &Waker) -> bool {
        let before = self.waker.lock().replace(waker.clone());
        drop(before);
        // Relaxed: see `abort`.
        self.abort.load(Ordering::Relaxed)
    }
}

impl Owner for Run {
    fn cancel_token(&self) -> CancelToken {
        self.token.clone()
    }

    fn supervised(&self) -> Option<(usize, u64)> {
        Some((self.keeper.as_ptr() as usize, self.task.0))
    }

    fn is_run_of(&self, supervisor: usize, task: u64) -> bool {
        self.keeper.as_ptr() as usize == supervisor && self.above.iter().chain([&self.task]).any(|id| id.0 == task)
    }
}

/// The run that a supervised body is in: its token, its sign of life, its name. Cheap to clone, and may be sent to any thread.
///
/// What an earlier run does with its context changes nothing any more (SUP-3).
///
/// ```
/// use overstrand::{Supervisor, TaskContext, TaskSpec, ThreadPool};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(1).build()?;
/// let supervisor = Supervisor::builder(&pool).build()?;
/// let task = supervisor.submit(TaskSpec::blocking("watch", |cx: &TaskContext| {
///     cx.ready();
///     while cx.sleep(Duration::from_millis(20)) {
///         cx.heartbeat();
///     }
///     Ok(())
/// }))?;
/// task.wait_ready(Duration::from_secs(10))?;
/// assert!(task.cancel());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TaskContext(pub(super) Arc<Run>);

impl TaskContext {
    /// The name of the task.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The number of the task.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.0.task
    }

    /// Which run of the streak this is, from 1: one more than the failures in a row before it.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// Which run in the life of the task this is, from 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// True once this run shall end. One atomic load.
    #[inline]
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.token.is_cancelled()
    }

    /// True once a step is to return [`Step::Yield`](crate::Step::Yield): more urgent work waits and no worker is free for it, or this run shall end. For
    /// [resumable](crate::TaskSpec::resumable) bodies; a few loads.
    #[must_use]
    pub fn should_yield(&self) -> bool {
        self.is_cancelled() || should_yield()
    }

    /// Says that this run waits for a worker, or has one again.
    pub(crate) fn wait_for_worker(&self, waits: bool) {
        // Relaxed: as a sign of life.
        self.0.waits.store(waits, Ordering::Relaxed);
    }

    /// The token of this run, for what takes one.
    #[must_use]
    pub fn token(&self) -> &CancelToken {
        &self.0.token
    }

    /// Says that this run lives (SUP-8). One relaxed store; any thread may do it as often as it likes.
    #[inline]
    pub fn heartbeat(&self) {
        // Relaxed: a sign of life publishes nothing.
        self.0.beat.store(true, Ordering::Relaxed);
    }

    /// Says that this run has started up: [`wait_ready`](crate::TaskControl::wait_ready) ends, and the next task of its group starts. The first call counts.
    pub fn ready(&self) {
        // Relaxed: what it tells goes through the lock of the house.
        if self.0.ready.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(keeper) = self.0.keeper.upgrade() {
            keeper.act(|house, fx| house.ready(fx, self.0.task, self.0.generation));
        }
    }

    /// Keeps an error besides that of the run itself.
    pub(super) fn note(&self, error: SharedError) {
        if let Some(keeper) = self.0.keeper.upgrade() {
            keeper.act(|house, fx| house.note_beside(fx, self.0.task, self.0.generation, &error));
        }
    }

    /// Keeps what went wrong in a part of the run, which does not end it.
    pub(crate) fn note_failure(&self, result: Result<TaskResult, Payload>) {
        if let Some(error) = RunEnd::of(result).error() {
            self.note(error);
        }
    }

    /// Keeps a panic that goes on.
    pub(super) fn note_panic(&self, payload: &Payload) {
        let text = message_of(&**payload).unwrap_or("with no text").to_owned();
        self.note(Arc::new(RunError::Panicked(text)));
    }

    /// Where the run runs; `None` when nobody supervises any more.
    pub(crate) fn pool(&self) -> Option<PoolAnchor> {
        self.0.keeper.upgrade().map(|keeper| keeper.pool.clone())
    }

    /// A part of the run that can be ended alone, by that token.
    pub(crate) fn part(&self, token: CancelToken) -> Self {
        Self(Arc::new(self.0.part(token)))
    }

    /// Calls `f` as code of the run.
    pub(crate) fn call<T>(&self, f: impl FnOnce() -> T) -> T {
        inside(&self.0, f)
    }

    /// The schedule of the task has this period from now on.
    pub(crate) fn change_period(&self, period: Duration) {
        if let Some(keeper) = self.0.keeper.upgrade() {
            keeper.act(|house, _| house.change_period(self.0.task, self.0.generation, period));
        }
    }

    /// Blocks for this long, or until the run shall end; true when the time is over, false when it shall end. On a pool worker another thread takes its place meanwhile.
    #[expect(clippy::must_use_candidate, reason = "who sleeps at the end of a round asks `is_cancelled` next")]
    pub fn sleep(&self, time: Duration) -> bool {
        !self.0.token.wait_timeout(time)
    }

    /// As [`sleep`](Self::sleep), in a future.
    pub fn sleep_async(&self, time: Duration) -> impl Future<Output = bool> + Send + 'static {
        let token = self.0.token.clone();
        async move {
            token.child_with_timeout(time).cancelled().await;
            !token.is_cancelled()
        }
    }

    /// Gives up a future when this run shall end: its value, or [`SelfCancelled`] once the run is told to stop, which `?` passes on. The future is dropped then, and not polled again, also when its value would be there
    /// by now.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// # use overstrand::{Outcome, Supervisor, TaskContext, TaskSpec, ThreadPool};
    /// let pool = ThreadPool::builder().workers(1).build()?;
    /// let supervisor = Supervisor::builder(&pool).build()?;
    /// let mail = TaskSpec::future("mail", |cx: TaskContext| async move {
    ///     cx.ready();
    ///     let letter: u32 = cx.run_until_cancelled(std::future::pending()).await?;
    ///     Ok(letter)
    /// });
    /// let mail = supervisor.submit(mail)?;
    /// mail.wait_ready(std::time::Duration::from_secs(60))?;
    /// assert!(mail.cancel(), "at once, and not after its grace");
    /// assert!(matches!(mail.outcome().join()?, Outcome::Cancelled));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "futures do nothing unless polled"]
    pub fn run_until_cancelled<F: Future>(
        &self,
        future: F,
    ) -> impl Future<Output = Result<F::Output, SelfCancelled>> + use<F> {
        let mut cancelled = self.0.token.cancelled();
        async move {
            let mut future = pin!(future);
            poll_fn(|context| match Pin::new(&mut cancelled).poll(context) {
                Poll::Ready(()) => Poll::Ready(Err(SelfCancelled)),
                Poll::Pending => future.as_mut().poll(context).map(Ok),
            })
            .await
        }
    }
}

impl fmt::Debug for TaskContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskContext")
            .field("name", &self.name())
            .field("id", &self.id())
            .field("generation", &self.generation())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}
