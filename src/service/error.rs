//! Why something was not started, or not seen to stop.
#![forbid(unsafe_code)]

use crate::error::{BuildError, WaitError};
use crate::supervise::SharedError;

/// Why a [`Service`](crate::Service) or a [`Ticker`](crate::Ticker) did not do what it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// A setting makes no sense, or the pool of the process cannot be started. Nothing was changed.
    #[error(transparent)]
    Invalid(#[from] BuildError),
    /// It was not done in time. What has been told to end goes on being told; who did not even get his turn, because another start or stop took all the time, has changed nothing.
    #[error("it was not done in time")]
    TimedOut,
    /// The caller is a part of it, or holds a fence of its pool.
    #[error("waiting for it here would be waiting for oneself")]
    WouldDeadlock,
    /// The pool is shut down.
    #[error("the pool is shut down")]
    ShutDown,
    /// The token that it should run by is cancelled. Nothing was started.
    #[error("the token is cancelled")]
    Cancelled,
    /// It is not running, and no start is under way.
    #[error("it is not running")]
    Stopped,
    /// It has no function for a [reload](crate::Service::on_reload).
    #[error("it has no function for a reload")]
    NoReload,
    /// Its function for a reload failed, or panicked ([`RunError::Panicked`](crate::RunError::Panicked)). It goes on running.
    #[error("the reload failed: {0}")]
    Failed(#[source] SharedError),
}

impl From<WaitError> for ServiceError {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::WouldDeadlock => Self::WouldDeadlock,
            WaitError::TimedOut => Self::TimedOut,
            WaitError::ShutDown | WaitError::Closed => Self::ShutDown,
        }
    }
}
