//! Everything that can be said about one task before it is posted.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::DelayedTaskHandle;
use super::delayed::Armed;
use crate::error::{RejectReason, Rejected};
use crate::task::cancel::CancelToken;
use crate::task::current::{Name, name_of};
use crate::task::handle::{Packet, Pending, TaskHandle, Waited};
use crate::task::raw::Task;
use crate::task::traits::{Priority, TaskTraits};
use crate::time::{Moment, Reading};

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
    fn post_with<P, F, W>(&self, spec: Spec, parts: P, wrap: W) -> Result<(), Rejected<P>>
    where
        P: Send + 'static,
        F: FnOnce() + Send + 'static,
        W: FnOnce(P) -> F + Send + 'static;

    /// Posts a task that nobody waits for.
    #[inline]
    fn post<F: FnOnce() + Send + 'static>(&self, spec: Spec, f: F) -> Result<(), Rejected<F>> {
        self.post_with(spec, f, |f| f)
    }

    /// Queues the task of a packet, or arms a timer for it.
    fn queue_at<F, T>(&self, spec: &Spec, due: Due, packet: &Arc<Packet<F, T>>) -> Result<Option<Armed>, Refused>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static;

    /// Posts the task of a packet; a refusal ends the packet.
    fn post_packet<F, T>(&self, spec: Spec, due: Due, packet: &Arc<Packet<F, T>>)
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self.queue_at(&spec, due, packet) {
            Ok(Some(armed)) => packet.arm(Box::new(armed)),
            Ok(None) => {}
            Err(refused) => {
                packet.reject(refused.reason);
                let _ = self.refuse(spec, refused.reason);
            }
        }
    }

    /// Counts a refused post, and tells.
    fn refuse(&self, spec: Spec, reason: RejectReason) -> Rejected<()>;

    /// The sequence that its tasks run on, if it is one.
    fn own_sequence(&self) -> Option<Arc<dyn Waited>>;

    /// Posts a task with a handle.
    fn spawn<F, T>(&self, spec: Spec, f: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_at(spec, Due::Now, f)
    }

    /// Posts a task with a handle that waits for its time.
    fn spawn_at<F, T>(&self, spec: Spec, due: Due, f: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let packet = Packet::new(f, self.own_sequence(), spec.location);
        self.post_packet(spec, due, &packet);
        TaskHandle::new(packet)
    }

    /// Posts a task that waits for its time.
    fn post_at<F>(&self, spec: Spec, due: Due, f: F) -> Result<DelayedTaskHandle, Rejected<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        let packet = Packet::new(f, self.own_sequence(), spec.location);
        match self.queue_at(&spec, due, &packet) {
            Ok(armed) => Ok(DelayedTaskHandle::new(packet, armed)),
            Err(Refused { reason, task }) => Err(packet.take_back(|| {
                drop(task);
                self.refuse(spec, reason)
            })),
        }
    }

    /// The same target, held by one of its own tasks: it keeps no thread alive.
    type Anchor: Target + Clone + Send + Sync + 'static;

    /// Makes one.
    fn anchor(&self) -> Self::Anchor;

    /// The traits of a task of which nothing is said.
    fn default_traits(&self) -> TaskTraits;

    /// The clock that delays go by.
    fn now(&self) -> Moment;

    /// All that this clock tells.
    fn reading(&self) -> Reading;

    /// As [`post_at`](Self::post_at), counted from now.
    fn post_delayed<F>(&self, spec: Spec, delay: Duration, f: F) -> Result<DelayedTaskHandle, Rejected<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.post_at(spec, self.due_after(delay), f)
    }

    /// The end of a delay that begins now.
    fn due_after(&self, delay: Duration) -> Due {
        if delay.is_zero() { Due::Now } else { Due::At(self.now().saturating_add(delay)) }
    }
}

/// Why a packet was not queued, and what was made for it: dropped after the packet has ended.
#[derive(Debug)]
pub struct Refused {
    pub(crate) reason: RejectReason,
    pub(crate) task: Option<Task>,
}

impl From<RejectReason> for Refused {
    fn from(reason: RejectReason) -> Self {
        Self { reason, task: None }
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
///
/// With a reply, which runs on the runner that it is for:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # use std::time::Duration;
/// # use overstrand::{CancelToken, TaskTraits, ThreadPool};
/// # let pool = ThreadPool::builder().workers(1).build()?;
/// # let (tell, told) = std::sync::mpsc::channel();
/// let view = pool.create_sequenced_task_runner(TaskTraits::user_blocking());
/// let search = CancelToken::new();
/// let task = pool.task().name("search").delay(Duration::from_millis(1)).cancel_with(&search);
/// task.post_and_reply_with_result_on(&view, || vec!["a", "b"], move |hits| _ = tell.send(hits.len()))?;
/// assert_eq!(told.recv()?, 2);
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
    /// A panic, or an error, ends a task that repeats.
    ends_on: (bool, bool),
}

impl<'a, R: Target> TaskBuilder<'a, R> {
    pub(crate) fn new(target: &'a R, traits: TaskTraits) -> Self {
        Self { target, traits, name: None, delay: Duration::ZERO, token: None, ends_on: (false, false) }
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

    /// The first panic ends a task that repeats; without this it goes on (DLY-6).
    pub fn end_on_panic(mut self) -> Self {
        self.ends_on.0 = true;
        self
    }

    /// The first error ends a task that repeats and may fail; without this it goes on (DLY-6).
    pub fn end_on_error(mut self) -> Self {
        self.ends_on.1 = true;
        self
    }

    /// What ends a task that repeats: a panic, an error.
    pub(crate) fn ends_on(&self) -> (bool, bool) {
        self.ends_on
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
    /// [`current::cancel_token`](crate::current::cancel_token). A reply that has not started never does, either. With a token that is signalled already the post is refused.
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
            return Err(self.target.refuse(spec, RejectReason::Cancelled).map(|()| f));
        }
        let posted = self.target.post_delayed(spec, self.delay, f)?;
        posted.bind(&token);
        Ok(posted)
    }

    /// Posts the closure and keeps its result for the handle; a rejection surfaces in [`TaskHandle::join`].
    ///
    /// While the [`delay`](Self::delay) is not over, [`TaskHandle::cancel`] takes the task out of the timers and drops its closure at once, as does a
    /// token's signal (DLY-2).
    #[track_caller]
    pub fn spawn<F, T>(mut self, f: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let spec = self.spec();
        let handle = self.target.spawn_at(spec, self.target.due_after(self.delay), f);
        if let Some(token) = self.token() {
            handle.bind(&token);
        }
        handle
    }
}
