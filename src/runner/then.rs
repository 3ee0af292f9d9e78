//! Going on with a result: a task that is posted when the result of another is there.
//!
//! The task has its packet from the beginning, so it can be cancelled, bound and waited for before it is posted. A small future waits for the result; it is polled by the threads that wake
//! it, and all it does is to post.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::error::{JoinError, RejectReason};
use crate::pool::task_builder::{Due, Spec, Target};
use crate::sync::Mutex;
use crate::task::cancel::CancelToken;
use crate::task::handle::{Packet, Pending, TaskHandle, Waited};

impl<T: Send + 'static> TaskHandle<T> {
    /// Runs `f` with the result on that runner, as a task that is posted when the result is there. No thread waits for it.
    ///
    /// `f` is given errors, too: the task that it follows may have panicked or been cancelled. Cancelling the new handle before `f` starts drops `f` and cancels what it would have
    /// followed; dropping it detaches both, unless this handle was one that [cancels on drop](Self::cancel_on_drop): then the new one is, too. Joined from inside
    /// either runner's sequence it is [`JoinError::WouldDeadlock`] (HND-4).
    ///
    /// The post is made by the thread that ends the task before; if it is refused, `f` and the result are dropped there, and the handle says
    /// [`JoinError::Rejected`].
    ///
    /// ```
    /// use overstrand::{TaskTraits, ThreadPool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let pool = ThreadPool::builder().workers(2).build()?;
    /// let view = pool.create_sequenced_task_runner(TaskTraits::user_blocking());
    /// let shown = pool.spawn(|| "text".len()).then_on(&view, |length| match length {
    ///     Ok(length) => format!("{length} bytes"),
    ///     Err(error) => format!("failed: {error}"),
    /// });
    /// assert_eq!(shown.join()?, "4 bytes");
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn then_on<R, F, U>(self, runner: &R, f: F) -> TaskHandle<U>
    where
        R: Target,
        F: FnOnce(Result<T, JoinError>) -> U + Send + 'static,
        U: Send + 'static,
    {
        let (runner, spec) = (runner.anchor(), Spec::here(runner.default_traits()));
        let result = Arc::new(Mutex::new(None));
        let there = Arc::clone(&result);
        let go_on = move || {
            let result = there.lock().take();
            f(result.unwrap_or(Err(JoinError::Taken)))
        };
        let packet = Packet::new(go_on, runner.own_sequence(), spec.location);
        let (upstream, cancels_on_drop) = self.into_parts();
        let Some(upstream) = upstream else {
            runner.post_packet(spec, Due::Now, &packet);
            return TaskHandle::new(packet);
        };
        let chained = Chained { upstream: Arc::clone(&upstream), packet: Arc::clone(&packet) as Arc<dyn Pending<U>> };
        watch(upstream, move |answer| {
            if !packet.is_done() {
                *result.lock() = Some(answer);
                runner.post_packet(spec, Due::Now, &packet);
            }
        });
        let handle = TaskHandle::new(Arc::new(chained));
        if cancels_on_drop { handle.cancel_on_drop() } else { handle }
    }
}

/// Calls `f` with the result when it is there, on the thread that brings it; here, if it is there already.
fn watch<T: Send + 'static>(pending: Arc<dyn Pending<T>>, f: impl FnOnce(Result<T, JoinError>) + Send + 'static) {
    let wait = async move { f(poll_fn(|context| pending.poll_result(Some(context.waker()))).await) };
    let (runnable, task) = async_task::spawn(wait, |runnable: async_task::Runnable| _ = runnable.run());
    task.detach();
    runnable.schedule();
}

/// A task and what it follows, as one handle sees them.
struct Chained<T, U> {
    upstream: Arc<dyn Pending<T>>,
    packet: Arc<dyn Pending<U>>,
}

impl<T: Send + 'static, U: Send + 'static> Pending<U> for Chained<T, U> {
    fn poll_result(&self, waker: Option<&Waker>) -> Poll<Result<U, JoinError>> {
        self.packet.poll_result(waker)
    }

    fn is_done(&self) -> bool {
        self.packet.is_done()
    }

    fn is_waiting(&self) -> bool {
        self.packet.is_waiting()
    }

    fn cancel(&self) -> bool {
        // WHY in this order: what follows is gone by the time that the end of the one before would post it.
        let is_cancelled = self.packet.cancel();
        if is_cancelled {
            self.upstream.cancel();
        }
        is_cancelled
    }

    fn cancel_waiting(&self) -> bool {
        self.cancel()
    }

    fn reject(&self, reason: RejectReason) {
        self.packet.reject(reason);
    }

    fn detach(&self) {
        self.packet.detach();
    }

    fn would_deadlock(&self) -> bool {
        self.packet.would_deadlock() || self.upstream.would_deadlock()
    }

    fn waits_on(&self, runners: &mut Vec<Arc<dyn Waited>>) {
        self.upstream.waits_on(runners);
        self.packet.waits_on(runners);
    }

    fn location(&self) -> &'static Location<'static> {
        self.packet.location()
    }

    fn bind(self: Arc<Self>, token: &CancelToken) {
        Arc::clone(&self.packet).bind(token);
    }
}
