//! Chromium's way of threading for everybody: post closures to runners instead of managing threads and locks.

mod error;
mod park;
mod pool;
mod queue;
mod runner;
mod sync;
mod task;
mod time;
mod zoo;

pub use error::{BoxError, BuildError, Error, JoinError, RejectReason, Rejected, WaitError};
pub use pool::global::{global, shutdown_global, try_global};
pub use pool::{
    DelayedTaskHandle, PanicReport, PoolStats, RejectionReport, ShutdownReport, StallReport, Straggler, TaskBuilder,
    ThreadPool, ThreadPoolBuilder,
};
pub use runner::{Close, Overflow, RunnerStats, SequencedTaskRunner, SequencedTaskRunnerBuilder};
pub use task::cancel::{CancelGuard, CancelReason, CancelToken, Cancelled};
pub use task::handle::TaskHandle;
pub use task::panic::Panicked;
pub use task::traits::{Priority, ShutdownBehavior, TaskTraits};

/// The result of a body that may fail.
pub type TaskResult<T = ()> = Result<T, BoxError>;

/// What the code that runs now can learn about its task.
pub mod current {
    pub use crate::pool::worker::should_yield;
    pub use crate::task::current::{cancel_token, location, locations, priority, task_name};
}
