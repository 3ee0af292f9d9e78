//! The executor of jobs, and its builder.
#![forbid(unsafe_code)]

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::board::{Board, Claim, Entry, Refusal};
use super::desk::{Desk, Factory};
use super::errand::{Answer, Work};
use super::error::JobError;
use super::job::{Job, JobLane};
use super::shared::{OwnWorker, Shared};
use crate::error::{BuildError, Error, JoinError, TaskResult, WaitError};
use crate::park::Bell;
use crate::pool::ThreadPool;
use crate::runner::{SequenceBound, SequencedTaskRunner, SingleThreadTaskRunner};
use crate::sync::Mutex;
use crate::sync::unmodelled::{AtomicU64, Ordering};
use crate::task::cancel::CancelToken;
use crate::task::handle::{TaskHandle, Waited};
use crate::task::promise::Promise;
use crate::task::traits::{Priority, TaskTraits};

const DEFAULT_CAPACITY: usize = 100;

/// Runs [`Job`]s by their classes, on threads that each have a resource: a connection, a device, a model.
///
/// It is a handle: clones are the same executor. When the last one is dropped it closes as by [`shutdown`](Self::shutdown), and nobody waits for it. When the pool shuts down first, it closes, too.
///
/// # Guarantees
///
/// - Strict order of classes: `UserBlocking`, `UserVisible`, `BestEffort`; within one by submission (RES-1). The caller sees one result, however often the job made room.
/// - A `BestEffort` run is asked to yield when something more urgent waits, and no worker is free for it. The wish holds for that run, and for that one only (RES-2).
///   Nothing else is ever asked.
/// - A job that yielded keeps its state, and goes on before all of its class that have not begun (RES-3).
/// - A job has one run at a time: who does not yield is waited for (RES-4).
/// - A job that was asked five times in a row without one step that said [`Step::Again`](crate::Step::Again) is not asked until one has.
/// - A job whose caller has cancelled never starts, and one that runs is over after its step; the caller is told at once.
/// - After a shutdown every caller has [`JobError::ShutDown`], queued ones included (RES-6).
/// - A panic, a failing save and a failing resource end the job that met them, and nothing else.
///
/// # Not guaranteed
///
/// A step that does not return is not stopped. Lower classes starve while there is always something higher: that is what strict order means. The UI lane is kept for what is urgent, and idle
/// while there is only background work; a background worker takes what is urgent while the UI lane is busy.
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | `ui_workers`, `background_workers` | one each if neither is said, else 0 for the other |
/// | `queue_capacity` | 100 jobs for each class |
/// | `resource` | `()` |
/// | `start_delay` | zero |
///
/// # Examples
///
/// ```
/// use overstrand::{CancelToken, Job, JobExecutor, Priority, Step, ThreadPool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(1).build()?;
/// // One worker in all: it serves every class, so a job of class `BestEffort` is asked to make room on it.
/// let jobs = JobExecutor::builder(&pool).ui_workers(1).build()?;
/// let sum = Job::stateful("sum", (0_u64, 0_u64), |(row, total), cx| {
///     *row += 1;
///     *total += *row;
///     if *row == 100 {
///         return Ok(Step::Done(*total));
///     }
///     Ok(if cx.should_yield() { Step::Yield } else { Step::Again })
/// });
/// let token = CancelToken::new();
/// assert_eq!(jobs.execute(sum.priority(Priority::BestEffort), &token)?, 5050);
/// jobs.shutdown()?;
/// # Ok(())
/// # }
/// ```
pub struct JobExecutor<R: 'static = ()>(Arc<Guard<R>>);

/// Closes when the last handle is dropped.
struct Guard<R: 'static> {
    shared: Arc<Shared<R>>,
    delay: Duration,
}

impl<R: 'static> Drop for Guard<R> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// The next job's number.
static IDS: AtomicU64 = AtomicU64::new(1);

impl JobExecutor {
    /// Configures an executor with threads of that pool.
    pub fn builder(pool: &ThreadPool) -> JobExecutorBuilder<'_> {
        JobExecutorBuilder {
            pool,
            ui_workers: None,
            background_workers: None,
            capacity: [DEFAULT_CAPACITY; 3],
            factory: Arc::new(|_, _| Ok(())),
            delay: Duration::ZERO,
        }
    }
}

impl<R: 'static> JobExecutor<R> {
    fn shared(&self) -> &Arc<Shared<R>> {
        &self.0.shared
    }

    fn entry<S, T>(
        &self,
        job: Job<S, T, R>,
        token: &CancelToken,
        location: &'static Location<'static>,
    ) -> (Entry<R>, Duration, TaskHandle<Result<T, JobError>>)
    where
        S: Send + 'static,
        T: Send + 'static,
    {
        let own = Arc::new(OwnWorker(Arc::downgrade(self.shared()))) as Arc<dyn Waited>;
        let wanted = token.child();
        let (promise, handle) = Promise::while_wanted(Some(own), wanted.clone(), location);
        let answer = Answer::new(promise);
        let claim = Claim {
            // Relaxed: a number of its own, nothing more.
            id: IDS.fetch_add(1, Ordering::Relaxed),
            priority: job.priority,
            wanted,
            settle: Arc::clone(&answer) as Arc<_>,
            bound: Mutex::new(None),
        };
        let entry = Entry::new(Box::new(Work { body: Some(job.body), answer }), claim);
        (entry, job.delay.unwrap_or(self.0.delay), handle)
    }

    /// Hands a job over, and blocks for its result; waits for room where there is none. When the token is cancelled it returns at once, and the job is over after its step.
    ///
    /// # Errors
    ///
    /// [`JobError`]; [`JobError::WouldDeadlock`] on one of the executor's own workers.
    #[track_caller]
    pub fn execute<S, T>(&self, job: Job<S, T, R>, token: &CancelToken) -> Result<T, JobError>
    where
        S: Send + 'static,
        T: Send + 'static,
    {
        if self.shared().is_own_worker() {
            return Err(JobError::WouldDeadlock);
        }
        let (entry, delay, handle) = self.entry(job, token, Location::caller());
        self.shared().add_patiently(entry, delay)?;
        match handle.join() {
            Ok(result) => result,
            Err(JoinError::WouldDeadlock) => Err(JobError::WouldDeadlock),
            Err(_) => Err(JobError::ShutDown),
        }
    }

    /// Hands a job over, and never blocks: without room the result is [`JobError::Full`]. To drop the handle changes nothing; cancel the token, or the handle, to have the job end: the result is
    /// [`JobError::Cancelled`] at once, and a job that runs is over after its step. On the executor's own workers the result must not be waited for.
    #[track_caller]
    pub fn submit<S, T>(&self, job: Job<S, T, R>, token: &CancelToken) -> TaskHandle<Result<T, JobError>>
    where
        S: Send + 'static,
        T: Send + 'static,
    {
        let (entry, delay, handle) = self.entry(job, token, Location::caller());
        if let Err((why, mut entry)) = self.shared().add(entry, delay) {
            entry.errand.end(match why {
                Refusal::Full => JobError::Full,
                Refusal::ShutDown => JobError::ShutDown,
            });
        }
        handle
    }

    /// What it is doing, and what it has done so far; one consistent picture.
    #[must_use]
    pub fn stats(&self) -> JobStats {
        self.shared().board.lock().stats()
    }

    /// Takes no more jobs: those that wait end as [`JobError::ShutDown`], those that run are asked to stop and end after their step, with their result if that was the last one. Waits until
    /// every worker has dropped its resource. Later calls wait, too.
    ///
    /// # Errors
    ///
    /// [`WaitError::WouldDeadlock`] on one of the executor's own workers; it is closed all the same.
    pub fn shutdown(&self) -> Result<(), Error> {
        self.shared().close();
        if self.shared().is_own_worker() {
            return Err(WaitError::WouldDeadlock.into());
        }
        let cleared: Vec<_> = self.shared().desks.iter().map(|desk| desk.call(Desk::clear)).collect();
        for desk in cleared {
            // Refused, the pool is over, and its threads drop what they have.
            drop(desk.join());
        }
        Ok(())
    }
}

/// What a [`JobExecutor`] is doing, and has done. Arrays are by class: `UserBlocking`, `UserVisible`, `BestEffort`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobStats {
    /// Jobs that wait for a worker, those that yielded included.
    pub queued: [usize; 3],
    /// Jobs whose start delay is not over.
    pub delayed: usize,
    /// Jobs that run now.
    pub running: [usize; 3],
    /// Runs so far.
    pub runs: u64,
    /// Runs that ended with a yield.
    pub yields: u64,
    /// Yields of runs that were asked to.
    pub preemptions: u64,
    /// States that were saved at a yield, or when a job was ended.
    pub saves: u64,
}

impl<R: 'static> Clone for JobExecutor<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: 'static> fmt::Debug for JobExecutor<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobExecutor").field("workers", &self.shared().desks.len()).finish_non_exhaustive()
    }
}

/// Configures a [`JobExecutor`]; made by [`JobExecutor::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct JobExecutorBuilder<'a, R: 'static = ()> {
    pool: &'a ThreadPool,
    ui_workers: Option<usize>,
    background_workers: Option<usize>,
    capacity: [usize; 3],
    factory: Factory<R>,
    delay: Duration,
}

impl<'a, R: 'static> JobExecutorBuilder<'a, R> {
    /// Workers for `UserBlocking` and `UserVisible`. One worker in all serves every class.
    pub fn ui_workers(mut self, workers: usize) -> Self {
        self.ui_workers = Some(workers);
        self
    }

    /// Workers for `BestEffort`, and for what is urgent while the UI lane is busy. One worker in all serves every class.
    pub fn background_workers(mut self, workers: usize) -> Self {
        self.background_workers = Some(workers);
        self
    }

    /// How many jobs of a class may wait; those that yielded are not counted.
    pub fn queue_capacity(mut self, class: Priority, jobs: usize) -> Self {
        self.capacity[class.index()] = jobs;
        self
    }

    /// Builds the resource of each worker, on that worker's thread, by its number: those of the UI lane come first. It is dropped there, too. A failure is the error of the job that needs it, and the
    /// next one tries again; so it is after a panic with the resource in hand.
    pub fn resource<Q: 'static>(
        self,
        factory: impl Fn(usize) -> TaskResult<Q> + Send + Sync + 'static,
    ) -> JobExecutorBuilder<'a, Q> {
        self.resource_of_lane(move |worker, _| factory(worker))
    }

    /// As [`resource`](Self::resource), for a factory that asks for the lane, too.
    pub fn resource_of_lane<Q: 'static>(
        self,
        factory: impl Fn(usize, JobLane) -> TaskResult<Q> + Send + Sync + 'static,
    ) -> JobExecutorBuilder<'a, Q> {
        let Self { pool, ui_workers, background_workers, capacity, delay, .. } = self;
        JobExecutorBuilder { pool, ui_workers, background_workers, capacity, delay, factory: Arc::new(factory) }
    }

    /// The start delay of jobs that say none; see [`Job::start_delay`].
    pub fn start_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    fn lanes(&self) -> Result<Vec<JobLane>, BuildError> {
        let (ui, background) = match (self.ui_workers, self.background_workers) {
            (None, None) => (1, 1),
            (ui, background) => (ui.unwrap_or(0), background.unwrap_or(0)),
        };
        match (ui, background) {
            (0, 0) => Err(BuildError::new("ui_workers", 0, "there must be a worker")),
            (1, 0) | (0, 1) => Ok(vec![JobLane::Single]),
            (0, _) => Err(BuildError::new("ui_workers", 0, "more than one worker needs both lanes")),
            (_, 0) => Err(BuildError::new("background_workers", 0, "more than one worker needs both lanes")),
            _ => Ok([vec![JobLane::Ui; ui], vec![JobLane::Background; background]].concat()),
        }
    }

    /// Makes the executor, and starts its workers.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: no worker at all; more than one, and a lane without; a capacity of zero; a thread that the system, `max_threads` or a shutdown refuses.
    pub fn build(self) -> Result<JobExecutor<R>, BuildError> {
        let lanes = self.lanes()?;
        if self.capacity.contains(&0) {
            return Err(BuildError::new("queue_capacity", 0, "no job could ever wait"));
        }
        let mut desks = Vec::new();
        for (number, &lane) in lanes.iter().enumerate() {
            // WHY `block_shutdown`: a turn that is late finds the board closed, and the resource is dropped at home.
            let (name, traits) = match lane {
                JobLane::Ui => ("jobs-ui", TaskTraits::user_blocking()),
                JobLane::Background => ("jobs-background", TaskTraits::best_effort()),
                JobLane::Single => ("jobs", TaskTraits::user_visible()),
            };
            let runner =
                SingleThreadTaskRunner::builder(self.pool).name(name).traits(traits.block_shutdown()).build()?;
            let factory = Arc::clone(&self.factory);
            desks.push(SequenceBound::with(&runner, move || Desk::new(number, lane, factory)));
        }
        let shared = Arc::new(Shared {
            board: Mutex::new(Board::new(&lanes, self.capacity)),
            desks,
            delays: SequencedTaskRunner::builder(self.pool).name("job delays").build()?,
            room: Bell::new(),
        });
        if !self.pool.core().endings.listen(&shared) {
            shared.close();
        }
        Ok(JobExecutor(Arc::new(Guard { shared, delay: self.delay })))
    }
}

impl<R: 'static> fmt::Debug for JobExecutorBuilder<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobExecutorBuilder")
            .field("ui_workers", &self.ui_workers)
            .field("background_workers", &self.background_workers)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
