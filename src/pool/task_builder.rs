//! Everything that can be said about one task before it is posted.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::panic::Location;
use std::time::Duration;

use super::DelayedTaskHandle;
use crate::error::Rejected;
use crate::task::current::{Name, name_of};
use crate::task::handle::TaskHandle;
use crate::task::traits::{Priority, TaskTraits};

/// What a poster says about one task.
#[derive(Debug)]
pub struct Spec {
    pub(crate) traits: TaskTraits,
    pub(crate) name: Option<Name>,
    pub(crate) location: &'static Location<'static>,
}

impl Spec {
    #[inline]
    #[track_caller]
    pub(crate) fn here(traits: TaskTraits) -> Self {
        Self { traits, name: None, location: Location::caller() }
    }
}

/// What tasks are posted to.
pub trait Target {
    /// Posts a task that nobody waits for.
    fn post<F: FnOnce() + Send + 'static>(&self, spec: Spec, f: F) -> Result<(), Rejected<F>>;

    /// Posts a task with a handle.
    fn spawn<F, T>(&self, spec: Spec, f: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static;

    /// Posts a task that waits for its time.
    fn post_delayed<F>(&self, spec: Spec, delay: Duration, f: F) -> Result<DelayedTaskHandle, Rejected<F>>
    where
        F: FnOnce() + Send + 'static;
}

/// Says more about one task than the plain calls do; made by `task()` of a pool or runner.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use overstrand::{Priority, ThreadPool};
///
/// let pool = ThreadPool::builder().workers(1).build()?;
/// let name = pool.task().name("import").priority(Priority::UserBlocking).spawn(overstrand::current::task_name);
/// assert_eq!(name.join()?.as_deref(), Some("import"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a task builder does nothing until it posts"]
pub struct TaskBuilder<'a, R> {
    target: &'a R,
    traits: TaskTraits,
    name: Option<Name>,
    delay: Duration,
}

impl<'a, R: Target> TaskBuilder<'a, R> {
    pub(crate) fn new(target: &'a R, traits: TaskTraits) -> Self {
        Self { target, traits, name: None, delay: Duration::ZERO }
    }

    /// A name, shown in reports, spans and [`current::task_name`](crate::current::task_name).
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name_of(name));
        self
    }

    /// Traits instead of the runner's.
    pub fn traits(mut self, traits: TaskTraits) -> Self {
        self.traits = traits;
        self
    }

    /// Another priority. Urgent work behind other work of a sequence lifts what is before it and never overtakes it (PRI-4).
    pub fn priority(mut self, priority: Priority) -> Self {
        self.traits = self.traits.with_priority(priority);
        self
    }

    /// Not before this is over, counted from the post.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    #[track_caller]
    fn spec(&mut self) -> Spec {
        Spec { traits: self.traits, name: self.name.take(), location: Location::caller() }
    }

    /// Posts the closure; a delayed one is detached.
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the closure back.
    #[track_caller]
    pub fn post<F: FnOnce() + Send + 'static>(mut self, f: F) -> Result<(), Rejected<F>> {
        let spec = self.spec();
        if self.delay.is_zero() {
            return self.target.post(spec, f);
        }
        self.target.post_delayed(spec, self.delay, f).map(drop)
    }

    /// Posts the closure after the [`delay`](Self::delay), with a handle that can cancel it.
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the closure back.
    #[track_caller]
    pub fn post_delayed<F: FnOnce() + Send + 'static>(mut self, f: F) -> Result<DelayedTaskHandle, Rejected<F>> {
        let spec = self.spec();
        self.target.post_delayed(spec, self.delay, f)
    }

    /// Posts the closure and keeps its result; the delay does not apply.
    #[track_caller]
    pub fn spawn<F, T>(mut self, f: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let spec = self.spec();
        self.target.spawn(spec, f)
    }
}
