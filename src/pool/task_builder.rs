//! Everything that can be said about one task before it is posted.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::panic::Location;
use std::time::Duration;

use super::DelayedTaskHandle;
use crate::error::{RejectReason, Rejected};
use crate::task::cancel::CancelToken;
use crate::task::current::{Name, name_of};
use crate::task::handle::TaskHandle;
use crate::task::traits::{Priority, TaskTraits};
use crate::time::Moment;

/// What a poster says about one task.
#[derive(Clone, Debug)]
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
    /// Posts what `wrap` makes of `parts`, which come back if it is refused.
    fn post_with<P, F>(&self, spec: Spec, parts: P, wrap: impl FnOnce(P) -> F) -> Result<(), Rejected<P>>
    where
        F: FnOnce() + Send + 'static;

    /// Posts a task that nobody waits for.
    #[inline]
    fn post<F: FnOnce() + Send + 'static>(&self, spec: Spec, f: F) -> Result<(), Rejected<F>> {
        self.post_with(spec, f, |f| f)
    }

    /// Posts a task with a handle.
    fn spawn<F, T>(&self, spec: Spec, f: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static;

    /// Posts a task that waits for its time.
    fn post_at<F>(&self, spec: Spec, due: Due, f: F) -> Result<DelayedTaskHandle, Rejected<F>>
    where
        F: FnOnce() + Send + 'static;

    /// The same target, held by one of its own tasks: it keeps no thread alive.
    type Anchor: Target + Clone + Send + Sync + 'static;

    /// Makes one.
    fn anchor(&self) -> Self::Anchor;

    /// The traits of a task of which nothing is said.
    fn default_traits(&self) -> TaskTraits;

    /// The clock that delays go by.
    fn now(&self) -> Moment;

    /// As [`post_at`](Self::post_at), counted from now.
    fn post_delayed<F>(&self, spec: Spec, delay: Duration, f: F) -> Result<DelayedTaskHandle, Rejected<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        let due = if delay.is_zero() { Due::Now } else { Due::At(self.now().saturating_add(delay)) };
        self.post_at(spec, due, f)
    }
}

/// When a task may run.
#[derive(Clone, Copy, Debug)]
pub enum Due {
    /// As soon as its turn comes.
    Now,
    /// From that moment on.
    At(Moment),
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
    token: Option<CancelToken>,
}

impl<'a, R: Target> TaskBuilder<'a, R> {
    pub(crate) fn new(target: &'a R, traits: TaskTraits) -> Self {
        Self { target, traits, name: None, delay: Duration::ZERO, token: None }
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

    /// What is posted to.
    pub(crate) fn target(&self) -> &'a R {
        self.target
    }

    /// The delay ends as exactly as the system's timers allow. That is so for every delay here, so it only says what is meant.
    pub fn precise(self) -> Self {
        self
    }

    /// Cancels the task when the token is signalled: one that has not started never does, and its closure is dropped at once; one that runs sees it in
    /// [`current::cancel_token`](crate::current::cancel_token). With a token that is signalled already the post is refused.
    pub fn cancel_with(mut self, token: &CancelToken) -> Self {
        self.token = Some(token.clone());
        self
    }

    /// The token, if one was said.
    pub(crate) fn token(&mut self) -> Option<CancelToken> {
        self.token.take()
    }

    /// The delay, if one was said.
    pub(crate) fn first_delay(&self) -> Option<Duration> {
        (!self.delay.is_zero()).then_some(self.delay)
    }

    /// What was said so far.
    #[track_caller]
    pub(crate) fn spec(&mut self) -> Spec {
        Spec { traits: self.traits, name: self.name.take(), location: Location::caller() }
    }

    /// Posts the closure; a delayed one is detached.
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the closure back.
    #[track_caller]
    pub fn post<F: FnOnce() + Send + 'static>(mut self, f: F) -> Result<(), Rejected<F>> {
        if self.delay.is_zero() && self.token.is_none() {
            let spec = self.spec();
            return self.target.post(spec, f);
        }
        self.post_delayed(f).map(drop)
    }

    /// Posts the closure after the [`delay`](Self::delay), with a handle that can cancel it.
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the closure back.
    #[track_caller]
    pub fn post_delayed<F: FnOnce() + Send + 'static>(mut self, f: F) -> Result<DelayedTaskHandle, Rejected<F>> {
        let spec = self.spec();
        let Some(token) = self.token() else { return self.target.post_delayed(spec, self.delay, f) };
        if token.is_cancelled() {
            return Err(Rejected::new(RejectReason::Cancelled, f));
        }
        let posted = self.target.post_delayed(spec, self.delay, f)?;
        posted.bind(&token);
        Ok(posted)
    }

    /// Posts the closure and keeps its result; the delay does not apply.
    #[track_caller]
    pub fn spawn<F, T>(mut self, f: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let spec = self.spec();
        let handle = self.target.spawn(spec, f);
        if let Some(token) = self.token() {
            handle.bind(&token);
        }
        handle
    }
}
