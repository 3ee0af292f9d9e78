//! Services: a function that runs, and one that ends it.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::error::ServiceError;
use super::unit::{Lease, PATIENCE, Unit, unit_methods};
use crate::error::TaskResult;
use crate::park::Patience;
use crate::pool::ThreadPool;
use crate::supervise::{ErrorRecord, Halves, ReloadError, RestartPolicy, TaskContext, TaskSpec};
use crate::task::cancel::CancelToken;

/// Something that is started and stopped: two functions, of which the first runs until the second, or its token, ends it (SUP-15).
///
/// The start function is called on a thread of its own, and may block. To stop, its token is cancelled first; then the stop function is called, beside it, with a context and a deadline of its
/// own: its token is cancelled when the time that the stop was given is over. The service has ended when both have returned. A start function that ends by itself ends the service, and the stop
/// function is not called; nor is it when a stop comes before the start function could be called.
///
/// A third function may [reload](Self::on_reload) what the service works by, while it goes on.
///
/// It is a handle: clones are the same service. When the last one is dropped, it is stopped, and nobody waits for that; likewise when its pool shuts down.
///
/// # Guarantees
///
/// - Running is true before a start returns, until both functions have physically returned; there are never two runs at once, and an old one changes nothing of a new one.
/// - A stop after a start always stops; a stop that was not in time says so.
/// - Starts, stops and restarts take turns, in the order in which they came; from inside a function of the service they are an error, never a hang.
/// - A wait for the begin or the end of a run does not miss it when the next one follows at once.
/// - Errors and panics of all functions are kept, the latest 16. What the start function returns after it was told to stop does not count.
/// - The stop function and the reload function are never called at the same time, nor is either beside itself.
///
/// # Not guaranteed
///
/// A function that ignores its token is not stopped by force. A start function that holds a handle of its own service keeps it alive; let it hold a [`CancelToken`] of
/// [`start_with`](Self::start_with).
///
/// # Examples
///
/// ```
/// use overstrand::{Service, ThreadPool};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(2).build()?;
/// let mail = Service::new(
///     |cx| {
///         while cx.sleep(Duration::from_secs(60)) {
///             println!("any mail?");
///         }
///         Ok(())
///     },
///     |_| Ok(()),
/// )
/// .on(&pool);
/// mail.start()?;
/// assert!(mail.is_running());
/// mail.restart(Duration::from_secs(10))?;
/// mail.stop(Duration::from_secs(10))?;
/// assert!(!mail.is_running() && mail.errors().is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Service {
    unit: Arc<Unit>,
    halves: Arc<Halves>,
}

impl Service {
    /// A service of these two functions, stopped, on the pool of the process.
    pub fn new<S, E>(start: S, stop: E) -> Self
    where
        S: FnMut(&TaskContext) -> TaskResult + Send + 'static,
        E: FnMut(&TaskContext) -> TaskResult + Send + 'static,
    {
        let unit = Arc::new(Unit::new());
        let signs = Arc::clone(unit.signs());
        let halves = Arc::new(Halves::new(start, stop, move || Some(signs.limit())));
        Self { unit, halves }
    }

    /// Has [`reload`](Self::reload) call this function, instead of the one before.
    ///
    /// ```
    /// use overstrand::{Service, ServiceError, ThreadPool};
    /// use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let pool = ThreadPool::builder().workers(2).build()?;
    /// let limit = Arc::new(AtomicU32::new(10));
    /// let reloaded = Arc::clone(&limit);
    /// let server = Service::new(|cx| Ok(cx.token().wait()), |_| Ok(()))
    ///     .on_reload(move |_| Ok(reloaded.store("20".parse()?, Ordering::SeqCst)))
    ///     .on(&pool);
    /// server.start()?;
    /// server.reload(Duration::from_secs(10))?;
    /// assert!(server.is_running());
    /// assert_eq!(limit.load(Ordering::SeqCst), 20);
    /// server.stop(Duration::from_secs(10))?;
    /// assert!(matches!(server.reload(None), Err(ServiceError::Stopped)));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn on_reload<R>(self, reload: R) -> Self
    where
        R: FnMut(&TaskContext) -> TaskResult + Send + 'static,
    {
        self.halves.set_reload(reload);
        self
    }

    unit_methods!();

    /// Calls its function for a reload, while the start function goes on, and waits until it has returned, for at most `limit`; without one, for 2 s.
    ///
    /// It is called on a thread of its own, when the start function has been called, once at a time, and never beside the stop function. Its token is cancelled when the time is over, and when the
    /// service is told to stop, which waits until it has returned, or ends by itself. An error or a panic is kept, and the service goes on.
    ///
    /// # Errors
    ///
    /// [`ServiceError::NoReload`]; [`ServiceError::Stopped`] when it is not running, or is told to end before the function could be called; [`ServiceError::Failed`] with the error or panic of the
    /// function; [`ServiceError::TimedOut`]: it has not returned in time, or could not be called; [`ServiceError::WouldDeadlock`] inside its own function; [`ServiceError::ShutDown`].
    pub fn reload(&self, limit: impl Into<Option<Duration>>) -> Result<(), ServiceError> {
        if !self.halves.can_reload() {
            return Err(ServiceError::NoReload);
        }
        let patience = Patience::of(limit.into().unwrap_or(PATIENCE));
        self.unit.wait_called(&patience)?;
        self.halves.reload(&patience).map_err(|error| match error {
            ReloadError::Over => ServiceError::Stopped,
            ReloadError::Refused => ServiceError::ShutDown,
            ReloadError::TimedOut => ServiceError::TimedOut,
            ReloadError::Failed(error) => ServiceError::Failed(error),
        })
    }

    /// Waits until the run of the latest start has said that it is [ready](TaskContext::ready), for at most `limit`; also fine when it has ended since.
    ///
    /// # Errors
    ///
    /// [`ServiceError::TimedOut`]; [`ServiceError::Stopped`] when it was not started, or has ended without; [`ServiceError::WouldDeadlock`] inside its own function.
    pub fn wait_ready(&self, limit: Duration) -> Result<(), ServiceError> {
        self.unit.wait_ready(limit)
    }

    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "a ticker has something to check")]
    fn check(&self) -> Result<(), ServiceError> {
        Ok(())
    }

    fn make(&self) -> impl Fn(Lease) -> TaskSpec {
        let halves = Arc::clone(&self.halves);
        move |lease| {
            let (halves, name) = (Arc::clone(&halves), lease.name("service"));
            let body = move |cx: &TaskContext| {
                halves.run_apart(cx, || lease.begin());
                Ok(())
            };
            TaskSpec::blocking(name, body).restart(RestartPolicy::Never)
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.unit.show("Service", f)
    }
}

impl TaskSpec {
    /// Two functions: `start` runs, and may block; `stop` is called, beside it, when the run is told to end, whatever for, and has the [`grace`](Self::grace) of the task for that. The run is over
    /// when both have returned (SUP-15).
    ///
    /// A `start` that ends by itself is followed by what the policies say, and `stop` is not called. An error of `stop` is kept among the task's errors.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// # use overstrand::{Supervisor, TaskContext, TaskSpec, ThreadPool};
    /// # use std::{sync::mpsc, time::Duration};
    /// # let pool = ThreadPool::builder().workers(2).build()?;
    /// let supervisor = Supervisor::builder(&pool).build()?;
    /// let (hang_up, calls) = mpsc::channel::<()>();
    /// let serve = move |cx: &TaskContext| {
    ///     cx.ready();
    ///     Ok(calls.recv()?)
    /// };
    /// let drain = move |_: &TaskContext| Ok(hang_up.send(())?);
    /// let phone = supervisor.submit(TaskSpec::service("phone", serve, drain))?;
    /// phone.wait_ready(Duration::from_secs(10))?;
    /// assert!(phone.cancel(), "and it has ended");
    /// # Ok(())
    /// # }
    /// ```
    pub fn service<S, E>(name: impl Into<Cow<'static, str>>, start: S, stop: E) -> Self
    where
        S: FnMut(&TaskContext) -> TaskResult + Send + 'static,
        E: FnMut(&TaskContext) -> TaskResult + Send + 'static,
    {
        let halves = Arc::new(Halves::new(start, stop, || None));
        Self::blocking(name, move |cx| halves.run(cx))
    }
}
