//! Any runner behind one trait, for components that do not care which.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{RejectReason, Rejected};
use crate::pool::delayed::Armed;
use crate::pool::task_builder::{Due, Refused, Spec, Target};
use crate::pool::{DelayedTaskHandle, ThreadPool, clock_of_this_thread};
use crate::runner::deposit::Deposit;
use crate::runner::{ParallelTaskRunner, SequencedTaskRunner, SingleThreadTaskRunner};
use crate::task::current::{Name, name_of};
use crate::task::handle::{Packet, PacketBody, Pending, TaskHandle, Waited};
use crate::task::raw::{Body, Discard, Plain, Verdict};
use crate::task::traits::TaskTraits;
use crate::time::{Moment, Reading};

/// A closure with its post site and its name, in one box, for runners that are known only as [`TaskRunner`].
pub struct BoxedTask {
    /// Gone once it was run or unboxed.
    body: Option<Box<dyn BoxBody>>,
    name: Option<Name>,
    location: &'static Location<'static>,
}

impl BoxedTask {
    /// Boxes a closure; its post site is here.
    #[track_caller]
    #[must_use]
    pub fn new(f: impl FnOnce() + Send + 'static) -> Self {
        Self { body: Some(Box::new(Plain(f))), name: None, location: Location::caller() }
    }

    fn of(spec: Spec, f: impl FnOnce() + Send + 'static) -> Self {
        Self { body: Some(Box::new(Plain(f))), name: spec.name, location: spec.location }
    }

    fn of_packet<F, T>(spec: &Spec, packet: &Arc<Packet<F, T>>) -> Self
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Self { body: Some(Box::new(PacketBody(Arc::clone(packet)))), name: spec.name.clone(), location: spec.location }
    }

    /// Names the task, for reports and spans.
    #[must_use]
    pub fn named(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name_of(name));
        self
    }

    /// Where it was made.
    #[must_use]
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// Calls the closure, here and now.
    pub fn run(mut self) {
        let Some(body) = self.body.take() else { return };
        match body.run() {
            Verdict::Ran | Verdict::Void => {}
            Verdict::Panicked(payload) => std::panic::resume_unwind(payload),
            Verdict::Deliver(result) => drop(result.deliver()),
        }
    }

    fn spec(&self, traits: TaskTraits) -> Spec {
        Spec { traits, name: self.name.clone(), location: self.location }
    }
}

impl Drop for BoxedTask {
    fn drop(&mut self) {
        // A handle hears of it.
        if let Some(body) = self.body.take() {
            body.discard(Discard::Closed);
        }
    }
}

/// A body behind a box.
trait BoxBody: Send {
    fn run(self: Box<Self>) -> Verdict;
    fn discard(self: Box<Self>, why: Discard);
}

impl<B: Body> BoxBody for B {
    fn run(self: Box<Self>) -> Verdict {
        Body::run(*self)
    }

    fn discard(self: Box<Self>, why: Discard) {
        Body::discard(*self, why);
    }
}

/// A box as a body of its own, so that runners of this crate count and tell what is inside like any other task.
pub(super) struct Unboxed(Box<dyn BoxBody>);

impl Body for Unboxed {
    fn run(self) -> Verdict {
        self.0.run()
    }

    fn discard(self, why: Discard) {
        self.0.discard(why);
    }
}

impl fmt::Debug for BoxedTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxedTask").field("name", &self.name).field("location", &self.location).finish_non_exhaustive()
    }
}

/// What every runner can do. Object-safe: a component takes an `Arc<dyn TaskRunner>` and works with any.
///
/// Implement it for a runner of your own that does something with what passes through: counts it, delays it, sends it elsewhere. An `Ok` from the inner runner must be
/// passed on as `Ok`, a rejection with its task.
///
/// ```
/// use std::sync::Arc;
/// use overstrand::{BoxedTask, TaskRunner, TaskTraits, ThreadPool};
///
/// fn component(runner: Arc<dyn TaskRunner>) -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
///     runner.post_task(|| println!("somewhere"))?;
///     runner.post_boxed(BoxedTask::new(|| println!("with a name")).named("refresh"))?;
///     Ok(runner.spawn(|| 1 + 1).join()?)
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(1).build()?;
/// assert_eq!(component(Arc::new(pool.create_sequenced_task_runner(TaskTraits::default())))?, 2);
/// assert_eq!(component(Arc::new(pool))?, 2);
/// # Ok(())
/// # }
/// ```
pub trait TaskRunner: Send + Sync {
    /// Posts a task.
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the task back.
    fn post_boxed(&self, task: BoxedTask) -> Result<(), Rejected<BoxedTask>>;

    /// Posts a task that runs when `delay` is over.
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the task back.
    fn post_boxed_delayed(&self, delay: Duration, task: BoxedTask) -> Result<DelayedTaskHandle, Rejected<BoxedTask>>;

    /// True inside the tasks of this runner.
    fn is_current(&self) -> bool;

    /// The sequence behind this runner, if there is one: so that a wait for oneself is an error.
    #[doc(hidden)]
    fn waited(&self) -> Option<Arc<dyn Waited>> {
        None
    }
}

/// A runner that takes the body of a boxed task out of its box.
pub(super) trait Unboxes {
    fn post_unboxed(&self, spec: Spec, body: Unboxed) -> Result<(), Rejected<Unboxed>>;
}

impl Unboxes for ThreadPool {
    fn post_unboxed(&self, spec: Spec, body: Unboxed) -> Result<(), Rejected<Unboxed>> {
        self.post_body(spec, body)
    }
}

impl Unboxes for SingleThreadTaskRunner {
    fn post_unboxed(&self, spec: Spec, body: Unboxed) -> Result<(), Rejected<Unboxed>> {
        self.as_sequenced().post_unboxed(spec, body)
    }
}

/// The trait for a runner that is a target.
macro_rules! task_runner {
    ($runner:ty, $waited:expr) => {
        impl TaskRunner for $runner {
            fn post_boxed(&self, mut task: BoxedTask) -> Result<(), Rejected<BoxedTask>> {
                let spec = task.spec(self.default_traits());
                let Some(body) = task.body.take() else { return Ok(()) };
                self.post_unboxed(spec, Unboxed(body)).map_err(|rejected| {
                    rejected.map(|Unboxed(body)| {
                        task.body = Some(body);
                        task
                    })
                })
            }

            fn post_boxed_delayed(
                &self,
                delay: Duration,
                task: BoxedTask,
            ) -> Result<DelayedTaskHandle, Rejected<BoxedTask>> {
                let spec = task.spec(self.default_traits());
                let (deposit, run) = Deposit::new(task, |task| move || task.run());
                self.post_delayed(spec, delay, run).map_err(|rejected| deposit.back(rejected))
            }

            fn is_current(&self) -> bool {
                <$runner>::is_current(self)
            }

            fn waited(&self) -> Option<Arc<dyn Waited>> {
                $waited(self)
            }
        }
    };
}

task_runner!(ThreadPool, |_: &ThreadPool| None);
task_runner!(ParallelTaskRunner, |_: &ParallelTaskRunner| None);
task_runner!(SequencedTaskRunner, |runner: &SequencedTaskRunner| Some(runner.as_waited()));
task_runner!(SingleThreadTaskRunner, |runner: &SingleThreadTaskRunner| Some(runner.as_sequenced().as_waited()));

/// The same for what refers to a runner.
macro_rules! passed_on {
    ($($reference:ty),+) => {$(
        impl<R: TaskRunner + ?Sized> TaskRunner for $reference {
            fn post_boxed(&self, task: BoxedTask) -> Result<(), Rejected<BoxedTask>> {
                (**self).post_boxed(task)
            }

            fn post_boxed_delayed(
                &self,
                delay: Duration,
                task: BoxedTask,
            ) -> Result<DelayedTaskHandle, Rejected<BoxedTask>> {
                (**self).post_boxed_delayed(delay, task)
            }

            fn is_current(&self) -> bool {
                (**self).is_current()
            }

            fn waited(&self) -> Option<Arc<dyn Waited>> {
                (**self).waited()
            }
        }
    )+};
}

passed_on!(Arc<R>, &R);

/// Puts a closure into a box that its poster gets back as it was, if it is refused.
#[track_caller]
fn boxed<F: FnOnce() + Send + 'static>(f: F) -> (Deposit<F>, BoxedTask) {
    let (deposit, run) = Deposit::new(f, |f| f);
    (deposit, BoxedTask::new(run))
}

impl dyn TaskRunner + '_ {
    /// Runs a closure.
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the closure back.
    #[track_caller]
    pub fn post_task<F: FnOnce() + Send + 'static>(&self, f: F) -> Result<(), Rejected<F>> {
        let (deposit, task) = boxed(f);
        self.post_boxed(task).map_err(|rejected| deposit.back(rejected))
    }

    /// Runs a closure when `delay` is over.
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the closure back.
    #[track_caller]
    pub fn post_delayed_task<F>(&self, delay: Duration, f: F) -> Result<DelayedTaskHandle, Rejected<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        let (deposit, task) = boxed(f);
        self.post_boxed_delayed(delay, task).map_err(|rejected| deposit.back(rejected))
    }

    /// Runs a closure and keeps its result for the handle; a rejection surfaces in [`TaskHandle::join`].
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let packet = Packet::new(f, behind(self), Location::caller());
        if let Err(rejected) = self.post_boxed(BoxedTask::of_packet(&Spec::here(TaskTraits::default()), &packet)) {
            packet.reject(rejected.reason());
        }
        TaskHandle::new(packet)
    }
}

/// Posts what `wrap` makes of `parts` to a runner of any kind; its own traits apply.
pub(super) fn post_boxed_with<P, F, W>(
    runner: &(impl TaskRunner + ?Sized),
    spec: Spec,
    parts: P,
    wrap: W,
) -> Result<(), Rejected<P>>
where
    P: Send + 'static,
    F: FnOnce() + Send + 'static,
    W: FnOnce(P) -> F + Send + 'static,
{
    let (deposit, run) = Deposit::new(parts, wrap);
    runner.post_boxed(BoxedTask::of(spec, run)).map_err(|rejected| deposit.back(rejected))
}

/// Shared runners of any kind: where replies, barriers and continuations go. The traits of a task are those of the runner.
impl<R: TaskRunner + ?Sized + 'static> Target for Arc<R> {
    fn post_with<P, F, W>(&self, spec: Spec, parts: P, wrap: W) -> Result<(), Rejected<P>>
    where
        P: Send + 'static,
        F: FnOnce() + Send + 'static,
        W: FnOnce(P) -> F + Send + 'static,
    {
        post_boxed_with(&**self, spec, parts, wrap)
    }

    fn queue_at<F, T>(&self, spec: &Spec, due: Due, packet: &Arc<Packet<F, T>>) -> Result<Option<Armed>, Refused>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let task = BoxedTask::of_packet(spec, packet);
        let posted = match due {
            Due::Now => self.post_boxed(task),
            Due::At(due) => self.post_boxed_delayed(self.now().until(due), task).map(drop),
        };
        posted.map(|()| None).map_err(|rejected| {
            // WHY before the box is dropped: that would say that the task was cancelled.
            packet.reject(rejected.reason());
            rejected.reason().into()
        })
    }

    fn refuse(&self, _spec: Spec, reason: RejectReason) -> Rejected<()> {
        // The runner has told, if it tells.
        Rejected::new(reason, ())
    }

    fn own_sequence(&self) -> Option<Arc<dyn Waited>> {
        behind(&**self)
    }

    fn post_at<F>(&self, spec: Spec, due: Due, f: F) -> Result<DelayedTaskHandle, Rejected<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        let delay = match due {
            Due::Now => Duration::ZERO,
            Due::At(due) => self.now().until(due),
        };
        let (deposit, run) = Deposit::new(f, |f| f);
        self.post_boxed_delayed(delay, BoxedTask::of(spec, run)).map_err(|rejected| deposit.back(rejected))
    }

    type Anchor = Self;

    fn anchor(&self) -> Self {
        Self::clone(self)
    }

    fn default_traits(&self) -> TaskTraits {
        TaskTraits::default()
    }

    fn now(&self) -> Moment {
        clock_of_this_thread().now()
    }

    fn reading(&self) -> Reading {
        clock_of_this_thread().reading()
    }
}

/// The sequence behind a runner of any kind. One that does not tell is the current one, if it says that its tasks run here.
fn behind(runner: &(impl TaskRunner + ?Sized)) -> Option<Arc<dyn Waited>> {
    let current = || if runner.is_current() { SequencedTaskRunner::current() } else { None };
    runner.waited().or_else(|| current().map(|sequence| sequence.as_waited()))
}

impl fmt::Debug for dyn TaskRunner + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskRunner")
    }
}

/// The runner whose task runs on this thread: its sequence inside the tasks of one, `None` in tasks of pools and parallel runners and outside of tasks (SEQ-8).
///
/// ```
/// use overstrand::{TaskTraits, ThreadPool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(1).build()?;
/// let strand = pool.create_sequenced_task_runner(TaskTraits::default());
/// assert!(strand.spawn(|| overstrand::current::runner().is_some_and(|runner| runner.is_current())).join()?);
/// assert!(pool.spawn(|| overstrand::current::runner().is_none()).join()?);
/// assert!(overstrand::current::runner().is_none());
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn runner() -> Option<Arc<dyn TaskRunner>> {
    SequencedTaskRunner::current().map(|runner| Arc::new(runner) as Arc<dyn TaskRunner>)
}
