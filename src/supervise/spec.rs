//! What is submitted: [`TaskSpec`], and what comes back when it is refused.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::context::TaskContext;
use super::outcome::{Answer, Keep};
use super::settings::{OnStuck, Wishes, settings_methods};
use crate::error::{BoxError, BuildError, Error, SubmitReason, TaskResult};
use crate::sync::Mutex;
use crate::task::cancel::CancelToken;
use crate::task::current::{Name, name_of};
use crate::time::Schedule;

/// The number of a supervised task; never given twice by one supervisor (SUP-11).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # use overstrand::{Supervisor, TaskSpec, ThreadPool};
/// let pool = ThreadPool::builder().workers(1).build()?;
/// let task = Supervisor::builder(&pool).build()?.submit(TaskSpec::blocking("one", |_| Ok(())))?;
/// assert_eq!(task.id().to_string(), "#1");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub(super) u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// How tasks of one slot take turns (SUP-10). A slot is named by a key; one task of it runs at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Admission {
    /// It waits for its turn, first come, first served; at most [`slot_capacity`](crate::SupervisorBuilder::slot_capacity) wait. For what must all be done.
    Queue,
    /// The one that has the slot is told to stop, and this one comes next, when that has really ended. One that waits to replace it is superseded. For what only counts
    /// when it is new.
    Replace,
    /// It is refused while somebody has the slot. For what need not be done twice.
    DropIfRunning,
}

/// How the children of a group are restarted (SUP-14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// The child that failed, alone. For children that do not know each other.
    OneForOne,
    /// All children: the others are stopped first, in reverse order. For children that cannot do without each other.
    OneForAll,
    /// The child that failed and those after it, which are stopped first, in reverse order. For children that need those before them.
    RestForOne,
}

/// Makes the future of a run, which leaves its result there.
type MakeFuture<T> = Box<dyn FnMut(TaskContext, Arc<dyn Keep<T>>) -> FutureWork + Send>;
type BlockingOf<T> = Box<dyn FnMut(&TaskContext) -> TaskResult<T> + Send>;

/// What a task does.
enum Body<T> {
    Blocking(BlockingOf<T>),
    Rebuilding(Box<dyn FnMut() -> BlockingOf<T> + Send>),
    Future(MakeFuture<T>),
    /// The same, and none can be made while there is another.
    OneOfAKind(MakeFuture<T>),
    Group {
        strategy: Strategy,
        specs: Vec<TaskSpec>,
        done: fn() -> T,
    },
}

pub(super) type BlockingWork = Box<dyn FnMut(&TaskContext) -> Result<(), BoxError> + Send>;
pub(super) type FutureWork = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// The same, whatever its result, which is kept elsewhere.
pub(super) enum Work {
    Blocking(BlockingWork),
    Rebuilding(Box<dyn FnMut() -> BlockingWork + Send>),
    Future(Box<dyn FnMut(TaskContext) -> FutureWork + Send>),
}

/// A group, which does nothing itself.
pub(super) struct GroupWork {
    pub(super) strategy: Strategy,
    pub(super) specs: Vec<TaskSpec>,
    pub(super) done: Box<dyn FnMut() + Send>,
}

/// What is said about a task, but for what it does.
pub(super) struct Said {
    pub(super) name: Name,
    pub(super) priority: i32,
    /// `None` while nothing is said.
    pub(super) wishes: Option<Box<Wishes>>,
    pub(super) slot: Option<(Name, Admission)>,
    pub(super) schedule: Option<Box<Schedule>>,
    pub(super) start_delay: Duration,
    pub(super) token: Option<CancelToken>,
}

pub(super) struct Inner<T> {
    pub(super) said: Said,
    // A lock, so that a spec may be shared whatever its body.
    body: Mutex<Body<T>>,
}

/// What a supervised task does, and how it is kept alive (SUP-1).
///
/// What is not said here is said by the supervisor's defaults; what is said here holds, also an explicit `None`.
///
/// | body | runs as |
/// |---|---|
/// | [`blocking`](Self::blocking) | a long-running pool task, which may block |
/// | [`rebuilding`](Self::rebuilding) | the same, built anew for each run |
/// | [`future`](Self::future) | a future on the pool, made anew for each run |
/// | [`periodic`](Self::periodic) | a blocking run at each tick |
/// | [`service`](Self::service) | a blocking run, and a function that ends it |
/// | [`resumable`](Self::resumable) | steps on the pool, from one state |
/// | [`group`](Self::group) | the tasks of the group |
///
/// # Errors
///
/// Setting a value never fails. [`Supervisor::submit`](crate::Supervisor::submit) says [`SubmitError::Invalid`] for a value that makes no sense.
///
/// # Examples
///
/// ```
/// use overstrand::{Backoff, RestartPolicy, TaskContext, TaskSpec};
/// use std::time::Duration;
///
/// let camera = TaskSpec::blocking("camera", |cx: &TaskContext| {
///     while cx.sleep(Duration::from_millis(40)) {
///         cx.heartbeat();
///     }
///     Ok(())
/// })
/// .priority(100)
/// .restart(RestartPolicy::OnFailure)
/// .backoff(Backoff::exponential(Duration::from_millis(200)))
/// .watchdog(Duration::from_secs(5));
/// assert_eq!(camera.name(), "camera");
/// ```
#[must_use = "a spec does nothing until it is submitted"]
pub struct TaskSpec<T = ()>(pub(super) Box<Inner<T>>);

impl<T: Send + 'static> TaskSpec<T> {
    fn of(name: impl Into<Cow<'static, str>>, body: Body<T>) -> Self {
        let said = Said {
            name: name_of(name),
            priority: 0,
            wishes: None,
            slot: None,
            schedule: None,
            start_delay: Duration::ZERO,
            token: None,
        };
        Self(Box::new(Inner { said, body: Mutex::new(body) }))
    }

    /// A closure that may block, run on a thread of its own while it runs. It is called again for each run.
    ///
    /// A body that never returns a value, since it loops or panics, says `TaskSpec::<()>::blocking`.
    pub fn blocking<F>(name: impl Into<Cow<'static, str>>, body: F) -> Self
    where
        F: FnMut(&TaskContext) -> TaskResult<T> + Send + 'static,
    {
        Self::of(name, Body::Blocking(Box::new(body)))
    }

    /// A blocking body that is built anew for each run, so that a run that is stuck can be [replaced](OnStuck::Replace).
    pub fn rebuilding<B, F>(name: impl Into<Cow<'static, str>>, mut build: B) -> Self
    where
        B: FnMut() -> F + Send + 'static,
        F: FnMut(&TaskContext) -> TaskResult<T> + Send + 'static,
    {
        Self::of(name, Body::Rebuilding(Box::new(move || Box::new(build()))))
    }

    /// A future, made anew for each run and polled on the pool; no other runtime is needed.
    ///
    /// A run that follows at once, as with a backoff of zero, is polled in the turn of the one before: up to 8 runs, or for about 20 µs, unless more urgent work waits; then others have their turn.
    pub fn future<F, Fut>(name: impl Into<Cow<'static, str>>, body: F) -> Self
    where
        F: FnMut(TaskContext) -> Fut + Send + 'static,
        Fut: Future<Output = TaskResult<T>> + Send + 'static,
    {
        Self::of(name, Body::Future(make_future(body)))
    }

    /// A future that shares something with the one before it, so that it cannot be made while that one is stuck.
    pub(crate) fn one_of_a_kind<F, Fut>(name: impl Into<Cow<'static, str>>, body: F) -> Self
    where
        F: FnMut(TaskContext) -> Fut + Send + 'static,
        Fut: Future<Output = TaskResult<T>> + Send + 'static,
    {
        Self::of(name, Body::OneOfAKind(make_future(body)))
    }

    fn wishes(&mut self) -> &mut Wishes {
        self.0.said.wishes.get_or_insert_default()
    }

    settings_methods!();

    /// How important it is for a place and a permit; higher is more, 0 if nothing is said. Which worker runs it first is said by its [`traits`](Self::traits).
    pub fn priority(mut self, priority: i32) -> Self {
        self.0.said.priority = priority;
        self
    }

    /// It shares a slot with all tasks of that key: one of them at a time (SUP-10).
    pub fn slot(mut self, key: impl Into<Arc<str>>, admission: Admission) -> Self {
        self.0.said.slot = Some((key.into(), admission));
        self
    }

    /// The first run starts this much later. Zero, as if nothing is said: at once.
    pub fn start_delay(mut self, delay: Duration) -> Self {
        self.0.said.start_delay = delay;
        self
    }

    /// It is stopped for good when that token is signalled, as by [`remove`](crate::TaskControl::remove), wherever it stands: running, pausing, waiting for a place. The token of each run is another one.
    ///
    /// Submitting it when the token is signalled already is [`SubmitError::Cancelled`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// # use overstrand::{CancelToken, Outcome, Supervisor, TaskContext, TaskSpec, ThreadPool};
    /// let pool = ThreadPool::builder().workers(1).build()?;
    /// let (supervisor, session) = (Supervisor::builder(&pool).build()?, CancelToken::new());
    /// let mail = TaskSpec::blocking("mail", |cx: &TaskContext| Ok(cx.token().wait())).token(&session);
    /// let mail = supervisor.submit(mail)?;
    /// session.cancel();
    /// assert!(matches!(mail.outcome().join()?, Outcome::Cancelled));
    /// # Ok(())
    /// # }
    /// ```
    pub fn token(mut self, token: &CancelToken) -> Self {
        self.0.said.token = Some(token.clone());
        self
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.said.name
    }

    /// Says which value makes no sense, if one does not.
    pub(super) fn validate(&self) -> Result<(), BuildError> {
        let said = &self.0.said;
        let wishes = said.wishes.as_deref();
        wishes.map_or(Ok(()), Wishes::validate)?;
        if said.schedule.as_deref().and_then(Schedule::shortest_period) == Some(Duration::ZERO) {
            return Err(BuildError::new("schedule", "0ns", "the period must be longer than zero"));
        }
        let replaces = matches!(wishes.and_then(|wishes| wishes.on_stuck), Some(OnStuck::Replace { .. }));
        let body = self.0.body.lock();
        if replaces && matches!(*body, Body::Blocking(_) | Body::OneOfAKind(_) | Body::Group { .. }) {
            return Err(BuildError::new("on_stuck", "Replace", "needs a body that can be built anew"));
        }
        let Body::Group { specs, .. } = &*body else { return Ok(()) };
        let (watchdog, attempt_timeout) =
            wishes.map(|wishes| (wishes.watchdog, wishes.attempt_timeout)).unwrap_or_default();
        let of_a_run = [("watchdog", watchdog), ("attempt_timeout", attempt_timeout)];
        if let Some((field, Some(Some(limit)))) = of_a_run.into_iter().find(|(_, limit)| limit.flatten().is_some()) {
            return Err(BuildError::new(field, format!("{limit:?}"), "is said to the children of a group"));
        }
        for spec in specs {
            if let Some((key, _)) = &spec.0.said.slot {
                return Err(BuildError::new("slot", key, "a group has one, not its children"));
            }
            spec.validate()?;
        }
        Ok(())
    }

    /// The names of all children, and of theirs.
    pub(super) fn names_below(&self) -> Vec<Name> {
        let mut names = Vec::new();
        if let Body::Group { specs, .. } = &*self.0.body.lock() {
            for spec in specs {
                names.push(Arc::clone(&spec.0.said.name));
                names.extend(spec.names_below());
            }
        }
        names
    }

    /// Takes the body apart: what runs, and what it leaves for `answer`.
    pub(super) fn erase(self, answer: &Arc<Answer<T>>) -> (Said, Result<Work, GroupWork>) {
        let Inner { said, body } = *self.0;
        let answer = Arc::clone(answer);
        let keep = move |mut body: BlockingOf<T>, answer: Arc<Answer<T>>| -> BlockingWork {
            Box::new(move |cx| {
                answer.put(cx.generation(), body(cx)?);
                Ok(())
            })
        };
        let work = match body.into_inner() {
            Body::Blocking(body) => Ok(Work::Blocking(keep(body, answer))),
            Body::Rebuilding(mut build) => Ok(Work::Rebuilding(Box::new(move || keep(build(), Arc::clone(&answer))))),
            Body::Future(mut make) | Body::OneOfAKind(mut make) => {
                Ok(Work::Future(Box::new(move |cx| make(cx, Arc::clone(&answer) as Arc<dyn Keep<T>>))))
            }
            Body::Group { strategy, specs, done } => {
                Err(GroupWork { strategy, specs, done: Box::new(move || answer.put(0, done())) })
            }
        };
        (said, work)
    }
}

impl TaskSpec<()> {
    /// A closure that is run at each tick of a schedule, never overlapping itself. A failure is retried by the policy, then the schedule goes on.
    ///
    /// The first tick comes when the schedule says so, after one period say, unless there is an [`initial_delay`](Schedule::initial_delay). A period of zero is refused at the submission.
    /// A [restart](crate::TaskControl::restart) by hand is a run more, and takes no tick away.
    pub fn periodic<F>(name: impl Into<Cow<'static, str>>, schedule: impl Into<Schedule>, body: F) -> Self
    where
        F: FnMut(&TaskContext) -> TaskResult + Send + 'static,
    {
        let mut spec = Self::blocking(name, body);
        spec.0.said.schedule = Some(Box::new(schedule.into()));
        spec
    }

    /// Tasks that belong together: started in this order, each when the one before it is [ready](TaskContext::ready) or over, stopped in reverse (SUP-14).
    ///
    /// A group holds one place, whatever it consists of. It completes when all its children have; if one has failed for good, it fails when the others are over. More restarts of its children than
    /// its [`intensity`](Self::intensity) allows end its run: with [`Exhausted::Escalate`](crate::Exhausted::Escalate) that is a failure in the group that it is in, else, and at the top, the end.
    ///
    /// A child has its name, number and [`TaskControl`](crate::TaskControl) (by [`find`](crate::Supervisor::find)); one that is cancelled by hand, or whose `max_runtime` is over, leaves the group. It has no slot.
    ///
    /// ```
    /// use overstrand::{Strategy, Supervisor, TaskContext, TaskResult, TaskSpec, ThreadPool};
    /// use std::time::Duration;
    ///
    /// fn serve(cx: &TaskContext) -> TaskResult {
    ///     cx.ready();
    ///     while cx.sleep(Duration::from_millis(20)) {}
    ///     Ok(())
    /// }
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let pool = ThreadPool::builder().workers(2).build()?;
    /// let supervisor = Supervisor::builder(&pool).build()?;
    /// let children = [TaskSpec::blocking("store", serve), TaskSpec::blocking("cache", serve)];
    /// let storage = supervisor.submit(TaskSpec::group("storage", Strategy::RestForOne, children))?;
    /// storage.wait_ready(Duration::from_secs(10))?;
    /// assert!(supervisor.is_alive("cache") && storage.cancel() && !supervisor.is_alive("cache"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn group(
        name: impl Into<Cow<'static, str>>,
        strategy: Strategy,
        specs: impl IntoIterator<Item = Self>,
    ) -> Self {
        Self::of(name, Body::Group { strategy, specs: specs.into_iter().collect(), done: || () })
    }
}

impl<T> fmt::Debug for TaskSpec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskSpec")
            .field("name", &self.0.said.name)
            .field("priority", &self.0.said.priority)
            .finish_non_exhaustive()
    }
}

/// Why a spec was not taken; it comes back. There is no outcome then.
#[non_exhaustive]
pub enum SubmitError<T = ()> {
    /// Every place is taken, and by nobody of lower priority.
    Full(TaskSpec<T>),
    /// A task of that name is there, or has not physically ended.
    AlreadyExists(TaskSpec<T>),
    /// Somebody has the slot, and it was to be dropped then.
    SlotBusy(TaskSpec<T>),
    /// The supervisor, or its pool, is shutting down or gone.
    ShutDown(TaskSpec<T>),
    /// As many wait for the slot as may.
    Limit(TaskSpec<T>),
    /// Its token is signalled.
    Cancelled(TaskSpec<T>),
    /// A setting makes no sense.
    Invalid(TaskSpec<T>, BuildError),
}

impl<T> SubmitError<T> {
    pub(super) fn new(reason: SubmitReason, spec: TaskSpec<T>) -> Self {
        match reason {
            SubmitReason::Full => Self::Full(spec),
            SubmitReason::AlreadyExists => Self::AlreadyExists(spec),
            SubmitReason::SlotBusy => Self::SlotBusy(spec),
            SubmitReason::ShutDown => Self::ShutDown(spec),
            SubmitReason::Limit => Self::Limit(spec),
            SubmitReason::Cancelled => Self::Cancelled(spec),
        }
    }

    /// The spec, untouched.
    pub fn into_spec(self) -> TaskSpec<T> {
        match self {
            Self::Full(spec)
            | Self::AlreadyExists(spec)
            | Self::SlotBusy(spec)
            | Self::ShutDown(spec)
            | Self::Limit(spec)
            | Self::Cancelled(spec)
            | Self::Invalid(spec, _) => spec,
        }
    }

    /// The reason; for an invalid setting, what is wrong with it.
    fn reason(&self) -> Result<SubmitReason, &BuildError> {
        Ok(match self {
            Self::Full(_) => SubmitReason::Full,
            Self::AlreadyExists(_) => SubmitReason::AlreadyExists,
            Self::SlotBusy(_) => SubmitReason::SlotBusy,
            Self::ShutDown(_) => SubmitReason::ShutDown,
            Self::Limit(_) => SubmitReason::Limit,
            Self::Cancelled(_) => SubmitReason::Cancelled,
            Self::Invalid(_, error) => return Err(error),
        })
    }

    fn name(&self) -> &str {
        match self {
            Self::Full(spec)
            | Self::AlreadyExists(spec)
            | Self::SlotBusy(spec)
            | Self::ShutDown(spec)
            | Self::Limit(spec)
            | Self::Cancelled(spec)
            | Self::Invalid(spec, _) => &spec.0.said.name,
        }
    }
}

impl<T> fmt::Debug for SubmitError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitError").field("task", &self.name()).field("reason", &self.reason()).finish()
    }
}

impl<T> fmt::Display for SubmitError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            Ok(reason) => write!(f, "{} was not taken: {reason}", self.name()),
            Err(error) => write!(f, "{} was not taken: {error}", self.name()),
        }
    }
}

impl<T> StdError for SubmitError<T> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Invalid(_, error) => Some(error),
            _ => None,
        }
    }
}

impl<T> From<SubmitError<T>> for Error {
    /// Drops the spec at once.
    fn from(error: SubmitError<T>) -> Self {
        match error {
            SubmitError::Invalid(_, error) => Self::Build(error),
            error => match error.reason() {
                Ok(reason) => Self::Submit(reason),
                Err(_) => unreachable!("an invalid one was looked at first"),
            },
        }
    }
}

/// Has a run's value put where it is delivered from.
fn make_future<T, F, Fut>(mut body: F) -> MakeFuture<T>
where
    T: Send + 'static,
    F: FnMut(TaskContext) -> Fut + Send + 'static,
    Fut: Future<Output = TaskResult<T>> + Send + 'static,
{
    Box::new(move |cx, answer| {
        let generation = cx.generation();
        let future = body(cx);
        Box::pin(async move {
            answer.put(generation, future.await?);
            Ok(())
        })
    })
}
