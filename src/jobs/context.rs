//! What a step knows of its run.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use super::error::JobError;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::task::cancel::CancelToken;

/// One run of a job. The next one has another, so nothing that this one was asked is left over for it.
pub(super) struct Run {
    asked: AtomicBool,
    /// The caller's, as far as the job is concerned.
    wanted: CancelToken,
    /// Below `wanted`; a shutdown signals it alone.
    token: CancelToken,
}

impl Run {
    pub(super) fn new(wanted: &CancelToken) -> Arc<Self> {
        Arc::new(Self { asked: AtomicBool::new(false), wanted: wanted.clone(), token: wanted.child() })
    }

    pub(super) fn ask(&self) {
        // Relaxed: a wish, which publishes nothing; who follows it takes the lock of the board next.
        self.asked.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_asked(&self) -> bool {
        // Relaxed: as above.
        self.asked.load(Ordering::Relaxed)
    }

    /// The executor shuts down.
    pub(super) fn stop(&self) {
        self.token.cancel();
    }

    /// Why it must not go on.
    pub(super) fn over(&self) -> Option<JobError> {
        if self.wanted.is_cancelled() {
            Some(JobError::Cancelled)
        } else {
            self.token.is_cancelled().then_some(JobError::ShutDown)
        }
    }
}

/// What a step is given: the resource of its worker, and what is asked of it.
pub struct JobContext<R = ()> {
    pub(super) resource: R,
    pub(super) run: Arc<Run>,
    pub(super) worker: usize,
}

impl<R> JobContext<R> {
    /// The resource of the worker that this run is on; it may be another one in the next run.
    pub fn resource(&mut self) -> &mut R {
        &mut self.resource
    }

    /// True once this run is to return [`Step::Yield`](crate::Step::Yield): something more urgent waits and no worker is free for it, or nobody wants the result any more. It
    /// stays true until the run is over, and is false again in the next one. Two loads.
    #[must_use]
    pub fn should_yield(&self) -> bool {
        self.run.is_asked() || self.run.token.is_cancelled()
    }

    /// Signalled when the caller's token is, and by a shutdown; for waits inside a step.
    #[must_use]
    pub fn cancel_token(&self) -> &CancelToken {
        &self.run.token
    }

    /// The number of the worker that this run is on.
    #[must_use]
    pub fn worker(&self) -> usize {
        self.worker
    }
}

impl<R> fmt::Debug for JobContext<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobContext")
            .field("worker", &self.worker)
            .field("should_yield", &self.should_yield())
            .finish_non_exhaustive()
    }
}
