//! How a supervised task ended (SUP-4), and how the errors of its runs are kept.
#![forbid(unsafe_code)]

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::restart::Exit;
use crate::error::BoxError;
use crate::sync::Mutex;
use crate::task::panic::{Panicked, drop_quietly};
use crate::task::promise::Promise;

/// An error of a body, shared by the outcome, the list of errors and the events.
pub type SharedError = Arc<dyn StdError + Send + Sync>;

/// How a supervised task ended. Delivered exactly once for each accepted submission, outside of the events (SUP-4).
///
/// # Guarantees
///
/// The reason is exact: the first cause wins, and a run that returns after a stop was asked for ends with the cause of that stop, whatever it returns
/// (SUP-4a). Errors keep their type: `error.downcast_ref::<io::Error>()`.
///
/// # Examples
///
/// ```
/// use overstrand::{Outcome, Supervisor, TaskSpec, ThreadPool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(1).build()?;
/// let supervisor = Supervisor::builder(&pool).build()?;
/// let seven = supervisor.submit(TaskSpec::blocking("seven", |_| Ok(7)))?;
/// assert!(matches!(seven.outcome().join()?, Outcome::Completed(7)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome<T = ()> {
    /// The last run returned this.
    Completed(T),
    /// The last run returned this error, and there is no further try.
    Failed(SharedError),
    /// A run returned a [`Fatal`] error: this one.
    Fatal(SharedError),
    /// Somebody did not want it any more: [`cancel`](crate::TaskControl::cancel), [`remove`](crate::TaskControl::remove), a replacement, a shutdown, or the body itself.
    Cancelled,
    /// It took longer than [`max_runtime`](crate::TaskSpec::max_runtime) in all; or its last run took longer than
    /// [`attempt_timeout`](crate::TaskSpec::attempt_timeout), and there is no further try.
    TimedOut,
    /// The last run was silent for longer than its watchdog allows, and there is no further try.
    HeartbeatLost,
    /// It gave its place to a task of higher priority.
    Evicted,
    /// The last run panicked, and there is no further try.
    Panicked(Panicked),
    /// It was cancelled and had not returned when its grace was over. A future has been dropped then; a blocking body is stuck, and keeps its place until it returns.
    ForceAborted,
    /// It was accepted, and never ran.
    Rejected(Rejection),
}

/// Why a task that was accepted never ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// No place became free in time.
    #[error("no place became free in time")]
    QueueTimeout,
    /// A newer submission to its slot took its turn.
    #[error("a newer one took its turn")]
    Superseded,
    /// The supervisor, or its pool, was shut down first.
    #[error("the supervisor was shut down")]
    ShutDown,
}

/// An [`Outcome`] without what it carries, for counts and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the variant of `Outcome` of that name")]
pub enum OutcomeKind {
    Completed,
    Failed,
    Fatal,
    Cancelled,
    TimedOut,
    HeartbeatLost,
    Evicted,
    Panicked,
    ForceAborted,
    Rejected,
}

impl OutcomeKind {
    /// True for an end that nobody asked for: failed, fatal, panicked, timed out, heartbeat lost.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Fatal | Self::Panicked | Self::TimedOut | Self::HeartbeatLost)
    }
}

impl fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Fatal => "failed for good",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed out",
            Self::HeartbeatLost => "heartbeat lost",
            Self::Evicted => "evicted",
            Self::Panicked => "panicked",
            Self::ForceAborted => "aborted by force",
            Self::Rejected => "rejected",
        })
    }
}

impl<T> Outcome<T> {
    /// The result, if there is one.
    #[must_use]
    pub fn completed(self) -> Option<T> {
        match self {
            Self::Completed(value) => Some(value),
            _ => None,
        }
    }

    /// True when there is a result.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        matches!(self, Self::Completed(_))
    }

    /// The error of the last run, if it returned one.
    #[must_use]
    pub fn error(&self) -> Option<&SharedError> {
        match self {
            Self::Failed(error) | Self::Fatal(error) => Some(error),
            _ => None,
        }
    }

    /// Which one it is.
    #[must_use]
    pub fn kind(&self) -> OutcomeKind {
        match self {
            Self::Completed(_) => OutcomeKind::Completed,
            Self::Failed(_) => OutcomeKind::Failed,
            Self::Fatal(_) => OutcomeKind::Fatal,
            Self::Cancelled => OutcomeKind::Cancelled,
            Self::TimedOut => OutcomeKind::TimedOut,
            Self::HeartbeatLost => OutcomeKind::HeartbeatLost,
            Self::Evicted => OutcomeKind::Evicted,
            Self::Panicked(_) => OutcomeKind::Panicked,
            Self::ForceAborted => OutcomeKind::ForceAborted,
            Self::Rejected(_) => OutcomeKind::Rejected,
        }
    }

    /// The same with the result put in by somebody else; `None` when there should be one and is not.
    fn with(outcome: Outcome, value: impl FnOnce() -> Option<T>) -> Option<Self> {
        Some(match outcome {
            Outcome::Completed(()) => Self::Completed(value()?),
            Outcome::Failed(error) => Self::Failed(error),
            Outcome::Fatal(error) => Self::Fatal(error),
            Outcome::Cancelled => Self::Cancelled,
            Outcome::TimedOut => Self::TimedOut,
            Outcome::HeartbeatLost => Self::HeartbeatLost,
            Outcome::Evicted => Self::Evicted,
            Outcome::Panicked(panicked) => Self::Panicked(panicked),
            Outcome::ForceAborted => Self::ForceAborted,
            Outcome::Rejected(why) => Self::Rejected(why),
        })
    }
}

impl<T> fmt::Display for Outcome<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) | Self::Fatal(error) => write!(f, "{}: {error}", self.kind()),
            Self::Panicked(panicked) => write!(f, "{}: {panicked}", self.kind()),
            Self::Rejected(why) => write!(f, "{}: {why}", self.kind()),
            _ => write!(f, "{}", self.kind()),
        }
    }
}

/// An error that no retry can mend: a body that returns it is not run again (SUP-5), whatever its policy says.
///
/// ```
/// use overstrand::{Fatal, Outcome, Supervisor, TaskSpec, ThreadPool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(1).build()?;
/// let supervisor = Supervisor::builder(&pool).build()?;
/// let port = supervisor.submit(TaskSpec::blocking("port", |_| Ok("no".parse::<u16>().map_err(Fatal::new)?)))?;
/// let Outcome::Fatal(error) = port.outcome().join()? else { panic!("it is tried once") };
/// assert!(error.downcast_ref::<std::num::ParseIntError>().is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Fatal(BoxError);

impl Fatal {
    /// Wraps the error that is found in the outcome.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Fatal {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// An error by which a body ends its task as cancelled: no failure, and never restarted (SUP-4a).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("the task ended itself")]
pub struct SelfCancelled;

/// One failure of a supervised task.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ErrorRecord {
    /// The number of the run in its streak, from 1.
    pub attempt: u32,
    /// The number of the run in the life of the task, from 1.
    pub generation: u64,
    /// When it was noted, since the supervisor was built.
    pub at: Duration,
    /// What the run returned, or a [`RunError`].
    pub error: SharedError,
}

impl fmt::Display for ErrorRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {}, attempt {}: {}", self.generation, self.attempt, self.error)
    }
}

/// What went wrong with a run that returned no error of its own.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// It panicked with this text.
    #[error("the run panicked: {0}")]
    Panicked(String),
    /// It took longer than one attempt may.
    #[error("the run took longer than {0:?}")]
    TimedOut(Duration),
    /// It was silent for longer than its watchdog allows.
    #[error("the run was silent for more than {0:?}")]
    HeartbeatLost(Duration),
    /// The pool dropped the run before it began.
    #[error("the pool dropped the run")]
    Dropped,
    /// Children of a group did not complete.
    #[error("{0} of the group did not complete")]
    Child(String, #[source] Option<SharedError>),
}

/// How a run ended, by itself.
pub(super) enum RunEnd {
    Success,
    Failed(SharedError),
    Fatal(SharedError),
    SelfCancelled,
    Panicked(Panicked),
    /// A future was dropped.
    Aborted,
    /// It was dropped unrun.
    Dropped,
}

impl RunEnd {
    /// What a body returned, or panicked with.
    pub(super) fn of(result: Result<Result<(), BoxError>, crate::task::panic::Payload>) -> Self {
        match result {
            Ok(Ok(())) => Self::Success,
            Ok(Err(error)) if error.is::<SelfCancelled>() => Self::SelfCancelled,
            Ok(Err(error)) => match error.downcast::<Fatal>() {
                Ok(fatal) => Self::Fatal(Arc::from(fatal.0)),
                Err(error) => Self::Failed(Arc::from(error)),
            },
            Err(payload) => Self::Panicked(Panicked::new(payload)),
        }
    }

    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Success => Exit::Success,
            Self::Failed(_) | Self::Dropped => Exit::Failed,
            Self::Fatal(_) => Exit::Fatal,
            Self::SelfCancelled | Self::Aborted => Exit::Cancelled,
            Self::Panicked(_) => Exit::Panicked,
        }
    }

    /// The error that is kept of it.
    pub(super) fn error(&self) -> Option<SharedError> {
        match self {
            Self::Failed(error) | Self::Fatal(error) => Some(Arc::clone(error)),
            Self::Panicked(panicked) => Some(Arc::new(RunError::Panicked(panicked.to_string()))),
            Self::Dropped => Some(Arc::new(RunError::Dropped)),
            Self::Success | Self::SelfCancelled | Self::Aborted => None,
        }
    }

    pub(super) fn into_outcome(self) -> Outcome {
        match self {
            Self::Success => Outcome::Completed(()),
            Self::Failed(error) => Outcome::Failed(error),
            Self::Fatal(error) => Outcome::Fatal(error),
            Self::SelfCancelled | Self::Aborted => Outcome::Cancelled,
            Self::Panicked(panicked) => Outcome::Panicked(panicked),
            Self::Dropped => Outcome::Failed(Arc::new(RunError::Dropped)),
        }
    }
}

/// Delivers the outcome to whoever has the handle.
pub(super) trait Settle: Send + Sync {
    /// The first call counts.
    fn settle(&self, outcome: Outcome);
}

/// Takes the results of runs.
pub(super) trait Keep<T>: Send + Sync {
    /// Keeps the result of a run; the one before is dropped here, in the run. That of a run that was fenced off changes nothing (SUP-3).
    fn put(&self, generation: u64, value: T);
}

/// The result of the last run that succeeded, and who waits for it.
pub(super) struct Answer<T: Send + 'static> {
    /// With the generation of its run.
    value: Mutex<Option<(u64, T)>>,
    promise: Promise<Outcome<T>>,
}

impl<T: Send + 'static> Answer<T> {
    pub(super) fn new(promise: Promise<Outcome<T>>) -> Self {
        Self { value: Mutex::new(None), promise }
    }
}

impl<T: Send + 'static> Keep<T> for Answer<T> {
    fn put(&self, generation: u64, value: T) {
        let mut kept = self.value.lock();
        let is_stale = kept.as_ref().is_some_and(|(newest, _)| *newest > generation);
        let unwanted = if is_stale { Some((generation, value)) } else { kept.replace((generation, value)) };
        drop(kept);
        drop_quietly(unwanted);
    }
}

impl<T: Send + 'static> Settle for Answer<T> {
    fn settle(&self, outcome: Outcome) {
        let value = self.value.lock().take().map(|(_, value)| value);
        let mut value = Some(value);
        match Outcome::with(outcome, || value.take().flatten()) {
            Some(outcome) => self.promise.complete(Ok(outcome)),
            None => unreachable!("a run that succeeded has left its result"),
        }
        drop_quietly(value);
    }
}
