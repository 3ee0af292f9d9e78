//! Chromium's way of threading for everybody: post closures to runners instead of managing threads and locks.
//!
//! | word | means |
//! |---|---|
//! | task | a closure that runs once, and where it was posted |
//! | runner | the handle that one posts to |
//! | sequence, strand | a virtual thread: FIFO, one task at a time; may move between workers |
//! | pool, worker | the threads that run tasks |
//! | priority | how urgent a task is: three classes |
//! | ripe | its delay is over |
//! | idle | nothing left to run |
//! | run | one go of a supervised body; its generation counts all of them, its attempt begins anew after a success |
//!
//! | for | take |
//! |---|---|
//! | closures, results | [`ThreadPool`], [`TaskHandle`]; urgency, and what shutdown means: [`TaskTraits`] |
//! | an order, state without a lock | [`SequencedTaskRunner`], [`SequenceBound`] |
//! | a limit | [`ParallelTaskRunner`] |
//! | one computation on many workers, borrowing | [`ThreadPool::post_job`], [`ThreadPool::scope`] |
//! | one real thread, or your own | [`SingleThreadTaskRunner`], [`MainThreadTaskRunner`] |
//! | later, again and again | [`ThreadPool::post_delayed_task`], [`ThreadPool::post_repeating_task`], [`Timer`] |
//! | futures | [`ThreadPool::spawn_future`] |
//! | calling work off | [`CancelToken`], [`TaskTracker`] |
//! | what must be kept alive | [`Supervisor`], [`TaskSpec`] |
//! | what is started and stopped by hand | [`Service`], [`Ticker`] |
//! | long work that makes room and goes on later | [`JobExecutor`], [`Job`] |
//! | tests of all this | `testing::TestEnvironment` |
//!
//! ```
//! use overstrand::{TaskTraits, ThreadPool};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let pool = ThreadPool::builder().workers(2).build()?;
//! let strand = pool.create_sequenced_task_runner(TaskTraits::default());
//! strand.post_task(|| println!("first"))?;
//! strand.post_task(|| println!("second, and it sees what the first one did"))?;
//! assert_eq!(strand.spawn(|| 6 * 7).join()?, 42);
//! # Ok(())
//! # }
//! ```
//!
//! Features, all off by default: `testing` for the module of that name, `signals` for `Supervisor::run_until_signal`, `cron` for schedules by the wall clock,
//! `store-redb` for states of jobs in a file, `crossbeam-workers` for worker deques by crossbeam-deque.
//!
//! Numbers like POST-2 are those of the promises in `DESIGN.md`, which also has the reasons.
#![deny(clippy::allow_attributes, clippy::allow_attributes_without_reason)]

mod error;
mod jobs;
mod park;
mod pool;
mod queue;
pub mod retry;
mod runner;
mod service;
mod supervise;
mod sync;
mod task;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod zoo;

pub use error::{BoxError, BuildError, Error, JoinError, RejectReason, Rejected, SubmitReason, TaskResult, WaitError};
pub use jobs::{
    Job, JobContext, JobError, JobExecutor, JobExecutorBuilder, JobLane, JobStats, MemoryStore, SavedState, StateStore,
    Step, StoreError, StoreErrorKind,
};
#[cfg(feature = "store-redb")]
pub use jobs::{RedbStore, RedbStoreBuilder, StoreStats};
pub use pool::global::{global, shutdown_global, try_global};
pub use pool::{
    BlockingType, DelayedTaskHandle, Dump, DumpedDelay, DumpedRunner, DumpedTask, Fence, PanicReport, Pause, PoolStats,
    RejectionReport, Restriction, RunnerKind, ShutdownReport, StallReport, Straggler, TaskBuilder, ThreadPool,
    ThreadPoolBuilder, blocking,
};
pub use runner::{
    Barrier, BoxedTask, Close, DropOn, EventBus, JobDelegate, JobHandle, MainThreadTaskRunner,
    MainThreadTaskRunnerBuilder, OneShotEvent, Overflow, ParallelTaskRunner, ParallelTaskRunnerBuilder, QuitHandle,
    RepeatingTaskHandle, RunnerStats, Scope, ScopedTaskHandle, SequenceBound, SequenceCell, SequenceCellError,
    SequenceLocal, SequenceLocalError, SequencedTaskRunner, SequencedTaskRunnerBuilder, SingleThreadTaskRunner,
    SingleThreadTaskRunnerBuilder, Sleep, Subscription, TaskRunner, TaskTracker, ThreadMode, Timer, TryScope,
    WeakBound, join_all, race, sleep,
};
pub use service::{Overlap, Service, ServiceError, TickContext, Ticker};
pub use supervise::{
    Admission, Backoff, ErrorRecord, Event, EventKind, EventWriter, Exhausted, Fatal, Jitter, OnStuck, Outcome,
    OutcomeKind, Rejection, RestartPolicy, RunError, SelfCancelled, SharedError, StopReason, Strategy, SubmitError,
    Subscribe, SupervisedTask, Supervisor, SupervisorBuilder, SupervisorReport, SupervisorStats, TaskContext,
    TaskControl, TaskId, TaskInfo, TaskSpec, TaskStatus, TracingSubscriber,
};
pub use task::cancel::{CancelGuard, CancelReason, CancelToken, Cancelled};
pub use task::handle::TaskHandle;
pub use task::panic::Panicked;
pub use task::recent::RecentTask;
pub use task::traits::{Priority, ShutdownBehavior, TaskTraits};
#[cfg(feature = "cron")]
pub use time::Upcoming;
pub use time::{MissedTicks, Schedule};

/// What the code that runs now can learn about its task.
pub mod current {
    pub use crate::pool::worker::should_yield;
    pub use crate::runner::runner;
    pub use crate::task::current::{cancel_token, location, locations, priority, task_name};
}

#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

#[cfg(doctest)]
#[doc = include_str!("../DESIGN.md")]
struct DesignDoctests;
