//! Why a job has no result.
#![forbid(unsafe_code)]

use super::store::StoreError;
use crate::error::BoxError;
use crate::task::panic::Panicked;

/// Why a job has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// Its step returned an error.
    #[error("the job failed: {0}")]
    Failed(#[source] BoxError),
    /// Its step panicked.
    #[error("the job panicked: {0}")]
    Panicked(Panicked),
    /// The caller's token was cancelled.
    #[error("the job was cancelled")]
    Cancelled,
    /// The executor, or its pool, shut down before the job was done.
    #[error("the job executor is shut down")]
    ShutDown,
    /// As many jobs of its class wait as may.
    #[error("too many jobs of that class wait")]
    Full,
    /// A job cannot wait for another one of its own executor.
    #[error("waiting for it here would be waiting for oneself")]
    WouldDeadlock,
    /// Its state could not be saved or restored.
    #[error("the state of the job: {0}")]
    Store(#[source] StoreError),
    /// The resource of its worker could not be built.
    #[error("the resource of the worker: {0}")]
    Resource(#[source] BoxError),
}
