//! The errors, one for each thing that can be refused; what was refused comes back with it.
#![forbid(unsafe_code)]

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::sync::Mutex;
use crate::task::panic::Panicked;

/// The error that a body may return: any error.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The result of a body that may fail.
pub type TaskResult<T = ()> = Result<T, BoxError>;

/// Why a post was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// The pool is shutting down or gone.
    #[error("the pool is shut down")]
    ShutDown,
    /// The runner was closed.
    #[error("the runner is closed")]
    Closed,
    /// The queue holds as many tasks as it may.
    #[error("the queue is full")]
    Full,
    /// The token that the task was bound to is cancelled.
    #[error("the task was cancelled before it was posted")]
    Cancelled,
    /// The state that the task was for is gone.
    #[error("the state is poisoned")]
    Poisoned,
    /// A reply was asked for where there is no sequence to reply on.
    #[error("there is no sequence to reply on")]
    NoOrigin,
    /// This process is a fork of the one that started the pool, and the pool's threads did not come along.
    #[error("the process was forked")]
    Forked,
    /// The circuit breaker is open, or half-open with another call on the way.
    #[error("the circuit is open")]
    CircuitOpen,
}

/// A refused post, with the task that was refused (POST-2).
///
/// It is `Sync` whenever the task is `Send`, so that it passes through `?` into any error type.
pub struct Rejected<F> {
    reason: RejectReason,
    task: Mutex<F>,
}

impl<F> Rejected<F> {
    pub(crate) fn new(reason: RejectReason, task: F) -> Self {
        Self { reason, task: Mutex::new(task) }
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> RejectReason {
        self.reason
    }

    /// The task, not run and not dropped.
    #[must_use]
    pub fn into_task(self) -> F {
        self.task.into_inner()
    }

    /// The same refusal with the task made into something else.
    pub fn map<G>(self, f: impl FnOnce(F) -> G) -> Rejected<G> {
        let reason = self.reason;
        Rejected::new(reason, f(self.into_task()))
    }
}

impl<F> fmt::Debug for Rejected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<F> fmt::Display for Rejected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the task was not accepted: {}", self.reason)
    }
}

impl<F> StdError for Rejected<F> {}

/// Why a task has no result (HND-2).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// It panicked.
    #[error("the task panicked: {0}")]
    Panicked(Panicked),
    /// It was cancelled, or its runner closed, before it started.
    #[error("the task was cancelled")]
    Cancelled,
    /// The pool shut down before it started.
    #[error("the pool was shut down before the task ran")]
    ShutDown,
    /// It belongs to the sequence that asks, and so could only run after the asking is over; or the caller holds a fence of the pool. To go on with the result without waiting:
    /// [`TaskHandle::then_on`](crate::TaskHandle::then_on), or a reply.
    #[error("waiting for it here would be waiting for oneself")]
    WouldDeadlock,
    /// It was never accepted.
    #[error("the task was not accepted: {0}")]
    Rejected(RejectReason),
    /// The state that it was for could not be built, or a panic left it unusable, for good, but for [`SequenceBound::rebuilding`](crate::SequenceBound::rebuilding).
    #[error("the state is poisoned")]
    Poisoned(#[source] Option<Arc<dyn StdError + Send + Sync>>),
    /// Somebody has it already.
    #[error("the result was taken already")]
    Taken,
}

/// Why a wait ended without what it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The caller is part of what it would wait for, or holds a fence that keeps it from ending: wait on a thread of your own, or drop the fence.
    #[error("waiting for it here would be waiting for oneself")]
    WouldDeadlock,
    /// The time is over.
    #[error("the time is over")]
    TimedOut,
    /// The pool shut down meanwhile, and dropped some of what was waited for.
    #[error("the pool was shut down")]
    ShutDown,
    /// The runner was closed meanwhile, and dropped some of what was waited for.
    #[error("the runner was closed")]
    Closed,
}

/// A setting that cannot be built, with the field and the value.
#[derive(Debug, thiserror::Error)]
#[error("{field} = {value}: {problem}")]
pub struct BuildError {
    field: &'static str,
    value: String,
    problem: &'static str,
    #[source]
    source: Option<BoxError>,
}

impl BuildError {
    pub(crate) fn new(field: &'static str, value: impl fmt::Display, problem: &'static str) -> Self {
        Self { field, value: value.to_string(), problem, source: None }
    }

    pub(crate) fn caused_by(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The name of the setting, as the builder's method is called.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// The value that was refused, as text.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// Why a supervisor did not take a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitReason {
    /// Every place is taken, and by nobody of lower priority.
    #[error("every place is taken")]
    Full,
    /// A task of that name is there.
    #[error("a task of that name is there")]
    AlreadyExists,
    /// Somebody has the slot.
    #[error("somebody has the slot")]
    SlotBusy,
    /// The supervisor, or its pool, is shutting down or gone.
    #[error("the supervisor is shut down")]
    ShutDown,
    /// As many wait for the slot as may.
    #[error("too many wait for the slot")]
    Limit,
    /// Its token is signalled.
    #[error("its token is signalled")]
    Cancelled,
}

/// Any error of building, posting, waiting and submitting, for functions that meet several. Services and resumable jobs have errors of their own: [`ServiceError`](crate::ServiceError),
/// [`JobError`](crate::JobError).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A post was refused; the task was dropped on the way.
    #[error("the task was not accepted: {0}")]
    Rejected(RejectReason),
    /// A task has no result.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// A wait ended without what it waited for.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// A setting cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A supervisor did not take a task; its spec was dropped on the way.
    #[error("the task was not taken: {0}")]
    Submit(SubmitReason),
}

impl<F> From<Rejected<F>> for Error {
    /// Drops the task at once.
    fn from(rejected: Rejected<F>) -> Self {
        Self::Rejected(rejected.reason)
    }
}
