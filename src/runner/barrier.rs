//! The flush of a parallel runner: a barrier, held by a thread or by a future that waits.
//!
//! Each of two conditions is waited for by the same bells: that no other flush holds the barrier, and that nothing posted before is left.
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::current::holds;
use super::group::{Parallel, read};
use crate::error::WaitError;
use crate::park::{Bell, Listener, Wait};
use crate::task::raw::Erased;

impl Parallel {
    /// Waits until everything posted before is over. While it waits no later task starts.
    pub(super) fn flush(this: &Arc<Erased<Self>>, wait: Wait) -> Result<(), WaitError> {
        let parallel = &this.object;
        if parallel.would_wait_for_itself() {
            return Err(WaitError::WouldDeadlock);
        }
        let begun_at = parallel.core.clock.now();
        let begun = parallel.ended.wait_until(|| parallel.begin_barrier(), wait);
        if begun.is_none() {
            return Err(WaitError::TimedOut);
        }
        let waited = begun_at.until(parallel.core.clock.now());
        let rest = wait.at_most(wait.limit.map(|limit| limit.saturating_sub(waited)));
        let is_done = Bell::wait_for_either(parallel.flush_bells(), || parallel.look_flushed(), rest);
        Self::release_held(this);
        is_done.map_or(Err(WaitError::TimedOut), |is_done| parallel.flush_result(is_done))
    }

    fn would_wait_for_itself(&self) -> bool {
        holds(self.runner.id) || self.core.is_fenced_by_this_thread()
    }

    fn flush_bells(&self) -> [&Bell; 2] {
        [&self.ended, &self.core.ended]
    }

    fn begin_barrier(&self) -> Option<()> {
        self.slots.begin_flush().then_some(())
    }

    /// `Some` when the wait is over: whether nothing is left.
    fn look_flushed(&self) -> Option<bool> {
        let is_done = self.slots.is_quiet();
        (is_done || self.core.tracker.is_complete()).then_some(is_done)
    }

    fn flush_result(&self, is_done: bool) -> Result<(), WaitError> {
        match is_done {
            true if read(&self.discarded) == 0 => Ok(()),
            _ if self.core.tracker.is_started() => Err(WaitError::ShutDown),
            _ => Err(WaitError::Closed),
        }
    }
}

/// The same as a future. Its barrier begins with its first poll, and ends with it.
pub(super) struct Flush {
    parallel: Arc<Erased<Parallel>>,
    is_refused: bool,
    holds_barrier: bool,
    listener: Listener,
}

impl Flush {
    pub(super) fn of(parallel: &Arc<Erased<Parallel>>) -> Self {
        Self {
            is_refused: parallel.object.would_wait_for_itself(),
            parallel: Arc::clone(parallel),
            holds_barrier: false,
            listener: Listener::new(),
        }
    }

    fn end_barrier(&mut self) {
        if std::mem::take(&mut self.holds_barrier) {
            Parallel::release_held(&self.parallel);
        }
    }
}

impl Future for Flush {
    type Output = Result<(), WaitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // WHY again: the barrier would hold back the next poll.
        if this.is_refused || holds(this.parallel.object.runner.id) {
            return Poll::Ready(Err(WaitError::WouldDeadlock));
        }
        let parallel = &this.parallel.object;
        if !this.holds_barrier {
            ready!(this.listener.poll(context, parallel.flush_bells(), || parallel.begin_barrier()));
            this.holds_barrier = true;
        }
        let is_done = ready!(this.listener.poll(context, parallel.flush_bells(), || parallel.look_flushed()));
        let result = parallel.flush_result(is_done);
        this.end_barrier();
        Poll::Ready(result)
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.listener.leave(self.parallel.object.flush_bells());
        self.end_barrier();
    }
}
