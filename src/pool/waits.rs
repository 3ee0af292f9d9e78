//! Waits for a pool, by a thread or by a future: until nothing is left to run, until it has ended.
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::core::Core;
use super::idle::Idle;
use super::{Guard, ShutdownReport, ThreadPool};
use crate::error::WaitError;
use crate::park::{Bell, Listener, Wait};

impl ThreadPool {
    /// Waits until no undelayed work remains, including what is posted meanwhile (CTL-2).
    ///
    /// # Errors
    ///
    /// [`WaitError::WouldDeadlock`] inside a task of this pool, and while this thread holds a fence; [`WaitError::ShutDown`] if a shutdown dropped some of the work.
    pub fn flush(&self) -> Result<(), WaitError> {
        self.core().wait_quiet(Wait::on("a flush of the pool"))
    }

    /// As [`flush`](Self::flush), for at most `limit` of monotonic time.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush); [`WaitError::TimedOut`] when the time is over first.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// use overstrand::{ThreadPool, WaitError};
    /// use std::time::Duration;
    ///
    /// let pool = ThreadPool::builder().workers(1).build()?;
    /// let fence = pool.fence();
    /// pool.post_task(|| ())?;
    /// let waits = pool.clone();
    /// let other = std::thread::spawn(move || waits.wait_idle(Duration::from_millis(1)));
    /// assert_eq!(other.join().ok(), Some(Err(WaitError::TimedOut)));
    /// drop(fence);
    /// pool.wait_idle(Duration::from_secs(60))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_idle(&self, limit: Duration) -> Result<(), WaitError> {
        self.core().wait_quiet(Wait::on("an idle pool").at_most(Some(limit)))
    }

    /// As [`flush`](Self::flush), as a future for any executor. It is no handle of the pool, and leaves nothing behind when it is dropped.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush); [`WaitError::WouldDeadlock`] also when a future of this pool awaits it.
    #[must_use = "futures do nothing unless polled"]
    pub fn flush_async(&self) -> impl Future<Output = Result<(), WaitError>> + Send + 'static + use<> {
        let core = Arc::clone(self.core());
        Flush { dropped_before: core.begin_wait_quiet(), core, listener: Listener::new() }
    }
}

impl Core {
    fn wait_quiet(&self, wait: Wait) -> Result<(), WaitError> {
        let dropped_before = self.begin_wait_quiet()?;
        let answer = Bell::wait_for_either(self.quiet_bells(), || self.look_quiet(), wait);
        answer.map_or(Err(WaitError::TimedOut), |()| self.quiet_result(dropped_before))
    }

    /// How many tasks have been dropped so far.
    fn begin_wait_quiet(&self) -> Result<u64, WaitError> {
        if self.is_own_thread() || self.is_fenced_by_this_thread() {
            return Err(WaitError::WouldDeadlock);
        }
        Ok(self.ledger.dropped())
    }

    fn quiet_bells(&self) -> [&Bell; 2] {
        [&self.quiet, &self.ended]
    }

    fn look_quiet(&self) -> Option<()> {
        Idle::order_looks();
        (self.ledger.is_quiet() || self.tracker.is_complete()).then_some(())
    }

    fn quiet_result(&self, dropped_before: u64) -> Result<(), WaitError> {
        let lost_some = self.tracker.is_started() && self.ledger.dropped() != dropped_before;
        if lost_some { Err(WaitError::ShutDown) } else { Ok(()) }
    }
}

/// A wait until nothing is left to run.
struct Flush {
    core: Arc<Core>,
    dropped_before: Result<u64, WaitError>,
    listener: Listener,
}

impl Future for Flush {
    type Output = Result<(), WaitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { core, dropped_before, listener } = &mut *self;
        let dropped_before = (*dropped_before)?;
        if core.is_own_thread() {
            // WHY: it would be work that remains, over and over again.
            return Poll::Ready(Err(WaitError::WouldDeadlock));
        }
        let is_quiet = listener.poll(context, core.quiet_bells(), || core.look_quiet());
        is_quiet.map(|()| core.quiet_result(dropped_before))
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.listener.leave(self.core.quiet_bells());
    }
}

/// A wait until the pool has ended; a handle of it.
pub(super) struct End {
    guard: Arc<Guard>,
    is_refused: bool,
    listener: Listener,
}

impl End {
    /// Starts the shutdown.
    pub(super) fn of(guard: &Arc<Guard>) -> Self {
        let is_refused = guard.core().is_own_thread();
        if !is_refused {
            guard.start_shutdown();
        }
        Self { guard: Arc::clone(guard), is_refused, listener: Listener::new() }
    }
}

impl Future for End {
    type Output = Result<ShutdownReport, WaitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { guard, is_refused, listener } = &mut *self;
        if *is_refused {
            return Poll::Ready(Err(WaitError::WouldDeadlock));
        }
        let core = guard.core();
        let has_ended = listener.poll(context, [&core.ended], || core.has_ended().then_some(()));
        has_ended.map(|()| Ok(guard.final_report()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.listener.leave([&self.guard.core().ended]);
    }
}
