//! The supervisor: what submits, asks and shuts down.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::admission::{Accepted, Request};
use super::choice::TieBreak;
use super::event::{EventKind, Subscribe};
use super::group::{Group, Stage};
use super::house::{House, Limits, NewTask};
use super::intensity::Record;
use super::keeper::Keeper;
use super::outcome::{Answer, Outcome, Settle};
use super::report::{SupervisorReport, SupervisorStats, TaskInfo};
use super::settings::{Wishes, settings_methods};
use super::spec::{GroupWork, Said, SubmitError, TaskId, TaskSpec, Work};
use super::stopping;
use super::subscriber::{OfSupervisor, Subscriber};
use super::task::{SupervisedTask, Task, TaskControl};
use crate::error::{BuildError, Error, SubmitReason, WaitError};
use crate::park::Wait;
use crate::pool::ThreadPool;
use crate::pool::task_builder::Target;
use crate::runner::{SequencedTaskRunner, Subscription};
use crate::task::cancel::CancelToken;
use crate::task::current::{self, Name, name_of};
use crate::task::handle::Waited;
use crate::task::promise::Promise;
use crate::task::traits::TaskTraits;
use crate::time::Clock;
use crate::time::Dice;
use crate::zoo;

const DEFAULT_CAPACITY: usize = 1024;
const DEFAULT_EVENTS: usize = 1024;
const DEFAULT_SLOT: usize = 100;

/// Keeps tasks alive: runs them, restarts them by their policies, stops them, and says how each ended.
///
/// It is a handle: clones are the same supervisor. When the last one is dropped all tasks are cancelled, and nobody waits for them; [`shutdown`](Self::shutdown) waits. It keeps the pool's memory,
/// and not its threads: when the pool shuts down first, every task is cancelled and every outcome delivered.
///
/// # Guarantees
///
/// - Never two runs of one task at once: the next starts when the one before has physically returned (SUP-2), unless [`OnStuck::Replace`](crate::OnStuck::Replace) was asked for.
/// - Exactly one outcome for each accepted submission (SUP-4).
/// - Never more tasks hold a place than the capacity says, but for those that had one when it was lowered (SUP-9).
/// - Names are unique while held; numbers are never given twice (SUP-11).
///
/// # Not guaranteed
///
/// A blocking body is never stopped by force: one that ignores its cancel is *stuck*, and named. Its pool waits for it, too, when it is shut down or its last
/// handle dropped; [`shutdown_timeout`](crate::ThreadPool::shutdown_timeout) waits no longer than it is told, and then only the end of the process helps.
///
/// As many blocking runs go on at once as the pool may have threads ([`max_threads`](crate::ThreadPoolBuilder::max_threads)); more wait for a worker.
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | `capacity` | 1,024 tasks |
/// | `max_concurrent` | no limit |
/// | `queue_when_full` | off: [`SubmitError::Full`] at once |
/// | `event_capacity` | 1,024 for each subscriber |
/// | `slot_capacity` | 100 wait behind the one that has the slot |
/// | `restart` | `OnFailure`, with retries without limit |
/// | `backoff` | 100 ms |
/// | `intensity` | more than 10 restarts in 60 s: a pause of 30 s |
/// | `grace` | 60 s |
/// | `on_stuck` | [`Wait`](crate::OnStuck::Wait) |
/// | `watchdog`, `attempt_timeout`, `max_runtime`, `healthy_after` | none |
///
/// # Examples
///
/// ```
/// use overstrand::{Outcome, Supervisor, TaskSpec, ThreadPool};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(2).build()?;
/// let supervisor = Supervisor::builder(&pool).capacity(10).grace(Duration::from_secs(5)).build()?;
/// let mut tries = 0;
/// let flaky = TaskSpec::blocking("flaky", move |_| {
///     tries += 1;
///     if tries < 3 { Err("not yet".into()) } else { Ok(tries) }
/// });
/// let flaky = supervisor.submit(flaky.backoff(overstrand::Backoff::constant(Duration::ZERO)))?;
/// assert_eq!(flaky.outcome().join()?.completed(), Some(3));
/// assert!(supervisor.shutdown()?.stuck.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Supervisor(Arc<Guard>);

/// Cancels all when the last handle is dropped.
struct Guard(Arc<Keeper>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.act(|house, fx| house.close(fx));
    }
}

impl Supervisor {
    /// Configures a supervisor whose tasks run on that pool.
    pub fn builder(pool: &ThreadPool) -> SupervisorBuilder<'_> {
        SupervisorBuilder {
            pool,
            name: name_of("supervisor"),
            defaults: Wishes::default(),
            limits: Limits {
                capacity: DEFAULT_CAPACITY,
                runs_max: None,
                queue: None,
                events_max: DEFAULT_EVENTS,
                slot_max: DEFAULT_SLOT,
                ties: TieBreak::default(),
            },
        }
    }

    fn keeper(&self) -> &Arc<Keeper> {
        &self.0.0
    }

    /// Hands a task over; never blocks.
    ///
    /// # Errors
    ///
    /// [`SubmitError`] gives the spec back: every place is taken by tasks that are as important, the name is in use, the slot is taken, the supervisor is shut down, its token is signalled, a value makes
    /// no sense.
    #[track_caller]
    pub fn submit<T: Send + 'static>(&self, spec: TaskSpec<T>) -> Result<SupervisedTask<T>, SubmitError<T>> {
        self.submit_as(spec, false, Location::caller())
    }

    fn submit_as<T: Send + 'static>(
        &self,
        spec: TaskSpec<T>,
        is_patient: bool,
        location: &'static Location<'static>,
    ) -> Result<SupervisedTask<T>, SubmitError<T>> {
        if let Err(error) = spec.validate() {
            return Err(SubmitError::Invalid(spec, error));
        }
        if spec.0.said.token.as_ref().is_some_and(CancelToken::is_cancelled) {
            return Err(SubmitError::Cancelled(spec));
        }
        let (keeper, below, mut tokens) = (self.keeper(), spec.names_below(), Vec::new());
        let seen = if zoo::has("Z21") { self.places_seen() } else { None };
        let taken = keeper.act(|house, fx| {
            let request = Request {
                name: &spec.0.said.name,
                priority: spec.0.said.priority,
                slot: spec.0.said.slot.as_ref(),
                is_patient,
                below: &below,
            };
            let accepted = match house.examine(&request) {
                Ok(accepted) => seen.filter(|_| accepted != Accepted::Slot).unwrap_or(accepted),
                Err(SubmitReason::Full) if seen.is_some() => Accepted::Place,
                Err(reason) => return Err(SubmitError::new(reason, spec)),
            };
            let id = house.next_id();
            let task = Arc::new(Task::new(keeper, id, Arc::clone(&spec.0.said.name)));
            let (promise, outcome) = Promise::new(Some(Arc::clone(&task) as Arc<dyn Waited>), location);
            let answer = Arc::new(Answer::new(promise));
            let (mut said, work) = spec.erase(&answer);
            tokens.extend(said.token.take().map(|token| (id, token)));
            let mut below = VecDeque::new();
            let (slot, admission) = said.slot.clone().unzip();
            let new = new_task(house, &mut below, (said, work), (Arc::clone(&task), answer, None));
            let new = NewTask { slot, ..new };
            // Children first: they are there when their group begins.
            while let Some((id, parent, spec)) = below.pop_front() {
                let (promise, _nobody) = Promise::new(None, location);
                let answer = Arc::new(Answer::new(promise));
                let (mut said, work) = spec.erase(&answer);
                tokens.extend(said.token.take().map(|token| (id, token)));
                let task = Arc::new(Task::new(keeper, id, Arc::clone(&said.name)));
                let child = new_task(house, &mut below, (said, work), (task, answer, Some(parent)));
                house.take_in_child(fx, child);
            }
            house.take_in(fx, new, admission, accepted, is_patient);
            Ok((task, outcome))
        });
        let (task, outcome) = taken?;
        tokens.into_iter().for_each(|(id, token)| stopping::stop_with(keeper, id, &token));
        Ok(SupervisedTask::new(TaskControl { keeper: Arc::clone(keeper), task }, outcome))
    }

    /// Submits all of them, and waits until all have ended; their outcomes, in order. What finds no place waits for one.
    ///
    /// # Errors
    ///
    /// The first refusal but for a lack of places, as an [`Error`]; those submitted before it are stopped. [`WaitError::WouldDeadlock`] inside a run of this supervisor, and
    /// while this thread holds a fence of the pool.
    #[track_caller]
    pub fn run(&self, specs: impl IntoIterator<Item = TaskSpec>) -> Result<Vec<Outcome>, Error> {
        if self.is_inside() || self.keeper().pool.0.is_fenced_by_this_thread() {
            return Err(WaitError::WouldDeadlock.into());
        }
        let location = Location::caller();
        let mut tasks = Vec::new();
        for spec in specs {
            match self.submit_as(spec, true, location) {
                Ok(task) => tasks.push(task),
                Err(refused) => {
                    tasks.iter().for_each(|task| _ = task.remove());
                    return Err(refused.into());
                }
            }
        }
        tasks.into_iter().map(|task| task.outcome().join().map_err(Error::from)).collect()
    }

    /// Waits for SIGINT or SIGTERM, then [shuts down](Self::shutdown). Until the first call nothing listens to signals. Needs the feature `signals`.
    ///
    /// # Errors
    ///
    /// As [`shutdown`](Self::shutdown); [`BuildError`] when the system refuses the handler.
    #[cfg(feature = "signals")]
    pub fn run_until_signal(&self) -> Result<SupervisorReport, Error> {
        if self.is_inside() {
            return Err(WaitError::WouldDeadlock.into());
        }
        super::signals::wait()?;
        Ok(self.shutdown()?)
    }

    /// The task that holds that name; the newest, where a replacement carries the name of what it replaces.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TaskControl> {
        let keeper = self.keeper();
        let task = keeper.act(|house, _| {
            let id = house.names.get(name)?;
            house.entries.get(id).map(|entry| Arc::clone(&entry.task))
        })?;
        Some(TaskControl { keeper: Arc::clone(keeper), task })
    }

    /// The task of that number, also where a replacement carries its name by now; `None` when it has physically ended.
    #[must_use]
    pub fn find_id(&self, id: TaskId) -> Option<TaskControl> {
        let keeper = self.keeper();
        let task = keeper.act(|house, _| house.entries.get(&id).map(|entry| Arc::clone(&entry.task)))?;
        Some(TaskControl { keeper: Arc::clone(keeper), task })
    }

    /// True while a task of that name has not physically ended.
    #[must_use]
    pub fn is_alive(&self, name: &str) -> bool {
        self.keeper().act(|house, _| house.names.contains_key(name))
    }

    /// All tasks that have not physically ended, in the order of their numbers.
    #[must_use]
    pub fn tasks(&self) -> Vec<TaskInfo> {
        self.keeper().act(|house, fx| {
            let watched = house.watch.time(fx.now);
            let info = |entry: &super::house::Entry| {
                let view = entry.task.view.lock();
                TaskInfo {
                    id: entry.task.id,
                    name: Arc::clone(&entry.task.name),
                    status: view.status,
                    priority: entry.priority,
                    uptime: view.began.map(|began| began.until(fx.now)),
                    generation: entry.generation,
                    failures: entry.failures,
                    slot: entry.slot.clone(),
                    silent: house.watch.silence(entry.task.id, watched),
                }
            };
            let mut tasks: Vec<_> = house.entries.values().map(|entry| info(entry)).collect();
            tasks.sort_unstable_by_key(|task| task.id);
            tasks
        })
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> SupervisorStats {
        self.keeper().act(|house, _| {
            let counts = &house.counts;
            SupervisorStats {
                capacity: house.limits.capacity,
                places: counts.places,
                running: counts.runs,
                stuck: counts.stuck,
                waiting: house.entries.values().filter(|entry| !entry.has_place && entry.parent.is_none()).count(),
                slots: house.slots.len(),
                submitted: counts.submitted,
                completed: counts.completed,
                failed: counts.failed,
                evicted: counts.evicted,
                retried: counts.retried,
            }
        })
    }

    /// Waits until no task is left, those that are submitted meanwhile included, for at most `limit`: all have physically ended, and all outcomes have been delivered. None is told to end.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`]; [`WaitError::WouldDeadlock`] inside a run of this supervisor, and while this thread holds a fence of the pool.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// # use overstrand::{Supervisor, TaskSpec, ThreadPool};
    /// # use std::time::Duration;
    /// let pool = ThreadPool::builder().workers(1).build()?;
    /// let supervisor = Supervisor::builder(&pool).build()?;
    /// supervisor.submit(TaskSpec::blocking("one", |_| Ok(())))?;
    /// supervisor.wait_idle(Duration::from_secs(60))?;
    /// assert!(supervisor.tasks().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_idle(&self, limit: Duration) -> Result<(), WaitError> {
        let keeper = self.keeper();
        if self.is_inside() || keeper.pool.0.is_fenced_by_this_thread() {
            return Err(WaitError::WouldDeadlock);
        }
        let look = || keeper.act(|house, _| (house.entries.is_empty() && keeper.has_delivered()).then_some(()));
        let wait = Wait::on("an idle supervisor").at_most(Some(limit));
        keeper.ends.wait_until(look, wait).ok_or(WaitError::TimedOut)
    }

    /// How many tasks may hold a place from now on. More get one at once; when there are too many, none loses it, and none gets one until enough have ended.
    pub fn set_capacity(&self, capacity: usize) {
        self.keeper().act(|house, fx| house.set_capacity(fx, capacity));
    }

    /// Has somebody hear of events, on a strand of its own, from now on until the subscription is dropped (SUP-12).
    ///
    /// A subscriber that holds the supervisor keeps it alive for as long as it is subscribed.
    pub fn subscribe(&self, subscriber: impl Subscribe) -> Subscription {
        let keeper = self.keeper();
        let traits = TaskTraits::default().block_shutdown();
        let name = Arc::clone(&keeper.act(|house, _| Arc::clone(&house.name)));
        let strand = SequencedTaskRunner::of_core(&keeper.pool.0, traits, name);
        let (weak, capacity) = (Arc::downgrade(keeper), keeper.act(|house, _| house.limits.events_max));
        let subscriber = Arc::new(Subscriber::new(Box::new(subscriber), capacity, strand, weak));
        keeper.act(|house, _| house.subscribers.push(Arc::clone(&subscriber)));
        Subscription::new(Box::new(OfSupervisor(subscriber)))
    }

    /// Ends all tasks and waits for them (SUP-13): nothing is accepted any more, all are cancelled, each has its grace, then futures are dropped, and what is stuck is named. Every outcome has been
    /// delivered when this returns.
    ///
    /// May be called from several threads and again; every caller gets the same report.
    ///
    /// # Errors
    ///
    /// [`WaitError::WouldDeadlock`] inside a run of this supervisor, and while this thread holds a fence of the pool; nothing is stopped then.
    pub fn shutdown(&self) -> Result<SupervisorReport, WaitError> {
        let keeper = self.keeper();
        if self.is_inside() || keeper.pool.0.is_fenced_by_this_thread() {
            return Err(WaitError::WouldDeadlock);
        }
        keeper.act(|house, fx| house.close(fx));
        let look = || {
            keeper.act(|house, _| {
                house.stuck_names().filter(|_| keeper.has_delivered()).map(|stuck| (stuck, house.counts))
            })
        };
        let Some((stuck, counts)) = keeper.ends.wait_until(look, Wait::on("the end of supervised tasks")) else {
            return Err(WaitError::TimedOut);
        };
        let (report, is_first) = {
            let mut report = keeper.report.lock();
            let is_first = report.is_none();
            let fresh = || SupervisorReport { stuck, completed: counts.completed, failed: counts.failed };
            (report.get_or_insert_with(fresh).clone(), is_first)
        };
        if is_first {
            let stuck = report.stuck.len();
            keeper.act(|house, fx| {
                house.tell(fx, || if stuck == 0 { EventKind::AllStopped } else { EventKind::GraceExceeded { stuck } });
            });
        }
        Ok(report)
    }

    /// Whether there is room, for the defect that finds out first and takes it later.
    fn places_seen(&self) -> Option<Accepted> {
        let has_room = self.keeper().act(|house, _| house.counts.places < house.limits.capacity);
        let somebody_else = Wait::on("nothing").at_most(Some(Duration::from_nanos(1)));
        self.keeper().ends.wait_until(|| None::<()>, somebody_else);
        has_room.then_some(Accepted::Place)
    }

    /// True inside a run of this supervisor.
    /// What tells the time where its tasks run.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.keeper().pool.0.clock
    }

    pub(crate) fn is_inside(&self) -> bool {
        current::supervised().is_some_and(|(keeper, _)| keeper == Arc::as_ptr(self.keeper()) as usize)
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Configures a [`Supervisor`]; made by [`Supervisor::builder`]. What is said of tasks here holds for each that says nothing else.
#[must_use = "a builder does nothing until it is built"]
pub struct SupervisorBuilder<'a> {
    pool: &'a ThreadPool,
    name: Name,
    defaults: Wishes,
    limits: Limits,
}

impl SupervisorBuilder<'_> {
    fn wishes(&mut self) -> &mut Wishes {
        &mut self.defaults
    }

    settings_methods!();

    /// A name, shown in events.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name_of(name);
        self
    }

    /// How many tasks may hold a place (SUP-9).
    pub fn capacity(mut self, tasks: usize) -> Self {
        self.limits.capacity = tasks;
        self
    }

    /// How many runs may go on at once; a permit is held during a run only, and handed out by priority (SUP-9a). `None`, as if nothing is said: no limit.
    pub fn max_concurrent(mut self, runs: impl Into<Option<usize>>) -> Self {
        self.limits.runs_max = runs.into();
        self
    }

    /// When every place is taken, up to `tasks` wait for one instead of being refused, by priority, then in order. One that waits for longer than `limit` ends as
    /// [`Rejected`](crate::Outcome::Rejected).
    pub fn queue_when_full(mut self, tasks: usize, limit: Duration) -> Self {
        self.limits.queue = Some((tasks, limit));
        self
    }

    /// Of several that could be evicted the one that started first is, and not the one that has done the least.
    pub fn evict_earliest(mut self) -> Self {
        self.limits.ties = TieBreak::EarliestStarted;
        self
    }

    /// How many events wait for each subscriber before it loses the oldest.
    pub fn event_capacity(mut self, events: usize) -> Self {
        self.limits.events_max = events;
        self
    }

    /// How many may wait behind the one that has a slot, for each [`Admission::Queue`](crate::Admission::Queue); 100 if nothing is said. One more is
    /// [`SubmitError::Limit`].
    pub fn slot_capacity(mut self, tasks: usize) -> Self {
        self.limits.slot_max = tasks;
        self
    }

    /// Makes the supervisor.
    ///
    /// # Errors
    ///
    /// [`BuildError`] for a limit of zero, and for a default that makes no sense.
    pub fn build(self) -> Result<Supervisor, BuildError> {
        self.defaults.validate()?;
        let limits = [
            ("capacity", self.limits.capacity),
            ("max_concurrent", self.limits.runs_max.unwrap_or(1)),
            ("event_capacity", self.limits.events_max),
            ("slot_capacity", self.limits.slot_max),
        ];
        for (field, limit) in limits {
            if limit == 0 {
                return Err(BuildError::new(field, 0, "must be at least 1"));
            }
        }
        let pool = self.pool.anchor();
        let origin = pool.now();
        let keeper = Arc::new_cyclic(|weak: &Weak<Keeper>| {
            let house = House::new(weak.clone(), self.name, self.defaults, self.limits, origin, Dice::new());
            Keeper::new(pool, house)
        });
        if !keeper.pool.0.endings.listen(&keeper) {
            keeper.act(|house, fx| house.close(fx));
        }
        Ok(Supervisor(Arc::new(Guard(keeper))))
    }
}

impl fmt::Debug for SupervisorBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorBuilder").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What the house takes in; the children of a group get their numbers, and wait in `below`.
fn new_task(
    house: &mut House,
    below: &mut VecDeque<(TaskId, TaskId, TaskSpec)>,
    (said, work): (Said, Result<Work, GroupWork>),
    (task, answer, parent): (Arc<Task>, Arc<dyn Settle>, Option<TaskId>),
) -> NewTask {
    let settings = house.settings_of(said.wishes.as_deref());
    let (work, group) = match work {
        Ok(work) => (Some(work), None),
        Err(GroupWork { strategy, specs, done }) => {
            let mut children = Vec::new();
            for spec in specs {
                let id = house.next_id();
                children.push(id);
                below.push_back((id, task.id, spec));
            }
            let group = Group { strategy, children, done, record: Record::new(), stage: Stage::Idle, is_stuck: false };
            (None, Some(Box::new(group)))
        }
    };
    NewTask {
        task,
        settings,
        priority: said.priority,
        slot: None,
        schedule: said.schedule,
        start_delay: said.start_delay,
        work,
        parent,
        group,
        answer,
    }
}
