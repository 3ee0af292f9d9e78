//! Any runner behind one trait, for components that do not care which.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Rejected;
use crate::pool::task_builder::{Spec, Target};
use crate::pool::{DelayedTaskHandle, ThreadPool};
use crate::runner::{ParallelTaskRunner, SequencedTaskRunner, SingleThreadTaskRunner};
use crate::sync::Mutex;
use crate::task::current::{Name, name_of};
use crate::task::handle::{Packet, PacketBody, Pending, TaskHandle, Waited};
use crate::task::raw::{Body, Discard, Verdict};
use crate::task::traits::TaskTraits;

/// A closure with its post site and its name, in one box, for runners that are known only as [`TaskRunner`].
pub struct BoxedTask {
    body: Box<dyn FnOnce() + Send>,
    name: Option<Name>,
    location: &'static Location<'static>,
}

impl BoxedTask {
    /// Boxes a closure; its post site is here.
    #[track_caller]
    #[must_use]
    pub fn new(f: impl FnOnce() + Send + 'static) -> Self {
        Self { body: Box::new(f), name: None, location: Location::caller() }
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
    pub fn run(self) {
        (self.body)();
    }

    fn spec(&self, traits: TaskTraits) -> Spec {
        Spec { traits, name: self.name.clone(), location: self.location }
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

/// The trait for a runner that is a target.
macro_rules! task_runner {
    ($runner:ty, $waited:expr) => {
        impl TaskRunner for $runner {
            fn post_boxed(&self, task: BoxedTask) -> Result<(), Rejected<BoxedTask>> {
                self.post_with(task.spec(self.default_traits()), task, |task| move || task.run())
            }

            fn post_boxed_delayed(
                &self,
                delay: Duration,
                task: BoxedTask,
            ) -> Result<DelayedTaskHandle, Rejected<BoxedTask>> {
                let spec = task.spec(self.default_traits());
                // Boxes of closures come back as they went; name and site are put around them again.
                let (name, location) = (task.name, task.location);
                let again = |body| BoxedTask { body, name: name.clone(), location };
                self.post_delayed(spec, delay, task.body).map_err(|rejected| rejected.map(again))
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
task_runner!(SingleThreadTaskRunner, |runner: &SingleThreadTaskRunner| Some(runner.as_sequence().as_waited()));

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

/// A closure that its poster gets back if it is refused, though it was boxed on the way.
struct Deposit<F>(Arc<Mutex<Option<F>>>);

impl<F: FnOnce() + Send + 'static> Deposit<F> {
    #[track_caller]
    fn new(f: F) -> (Self, BoxedTask) {
        let slot = Arc::new(Mutex::new(Some(f)));
        let lent = Arc::clone(&slot);
        let run = move || {
            let f = lent.lock().take();
            if let Some(f) = f {
                f();
            }
        };
        (Self(slot), BoxedTask::new(run))
    }

    fn back(self, rejected: Rejected<BoxedTask>) -> Rejected<F> {
        let reason = rejected.reason();
        drop(rejected);
        match self.0.lock().take() {
            Some(f) => Rejected::new(reason, f),
            None => unreachable!("a runner that refuses a task has not run it"),
        }
    }
}

impl dyn TaskRunner {
    /// Runs a closure.
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the closure back.
    #[track_caller]
    pub fn post_task<F: FnOnce() + Send + 'static>(&self, f: F) -> Result<(), Rejected<F>> {
        let (deposit, task) = Deposit::new(f);
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
        let (deposit, task) = Deposit::new(f);
        self.post_boxed_delayed(delay, task).map_err(|rejected| deposit.back(rejected))
    }

    /// Runs a closure and keeps its result for the handle; a rejection surfaces in [`TaskHandle::join`].
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let packet = Packet::new(f, self.waited(), Location::caller());
        let spawned = Spawned(Some(PacketBody(Arc::clone(&packet))));
        if let Err(rejected) = self.post_boxed(BoxedTask::new(move || spawned.run())) {
            Pending::reject(&*packet, rejected.reason());
        }
        TaskHandle::new(packet)
    }
}

impl fmt::Debug for dyn TaskRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskRunner")
    }
}

/// The body of a spawned task behind a box; dropped unrun, it tells its handle.
struct Spawned<F, T>(Option<PacketBody<F, T>>)
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static;

impl<F, T> Spawned<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn run(mut self) {
        if let Some(Verdict::Deliver(result)) = self.0.take().map(Body::run) {
            result.deliver();
        }
    }
}

impl<F, T> Drop for Spawned<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn drop(&mut self) {
        if let Some(body) = self.0.take() {
            body.discard(Discard::Closed);
        }
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
