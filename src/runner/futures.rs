//! Futures on runners: polled there and nowhere else, without any other runtime.
//!
//! Every wake-up posts one poll to the runner, by its rules: in its order, at its priority, refused when it is closed. A refused poll drops the future, and so does the
//! discard of a queued one; either way the handle is told. Wakers may outlive everything: they hold the future's memory, not its runner's threads.
#![forbid(unsafe_code)]

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::error::{JoinError, RejectReason};
use crate::pool::ThreadPool;
use crate::pool::task_builder::{Spec, Target};
use crate::runner::{ParallelTaskRunner, SequencedTaskRunner, SingleThreadTaskRunner};
use crate::sync::Mutex;
use crate::task::cancel::{CancelToken, Cancelled};
use crate::task::handle::{Pending, TaskHandle, Waited};
use crate::task::panic::{Panicked, catch, message_of};

/// What a future and its handle share.
struct Outcome<T> {
    slot: Mutex<Slot<T>>,
    runner: Option<Arc<dyn Waited>>,
    location: &'static Location<'static>,
}

struct Slot<T> {
    is_done: bool,
    result: Option<Result<T, JoinError>>,
    waker: Option<Waker>,
    /// Dropping it cancels the future.
    task: Option<async_task::Task<()>>,
    bound: Option<Cancelled>,
}

impl<T> Outcome<T> {
    fn complete(&self, result: Result<T, JoinError>) {
        let mut slot = self.slot.lock();
        if slot.is_done {
            drop(slot);
            return drop(result);
        }
        slot.is_done = true;
        slot.result = Some(result);
        let (waker, task, bound) = (slot.waker.take(), slot.task.take(), slot.bound.take());
        drop(slot);
        if let Some(task) = task {
            task.detach();
        }
        drop(bound);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// True when this call ended it: the future is dropped where it is polled.
    fn abandon(&self) -> bool {
        let task = self.slot.lock().task.take();
        let was_pending = task.is_some();
        drop(task);
        was_pending
    }
}

impl<T: Send + 'static> Pending<T> for Outcome<T> {
    fn poll_result(&self, waker: Option<&Waker>) -> Poll<Result<T, JoinError>> {
        let waker = waker.cloned();
        let mut slot = self.slot.lock();
        if slot.is_done {
            return Poll::Ready(slot.result.take().unwrap_or(Err(JoinError::Taken)));
        }
        let before = waker.and_then(|waker| slot.waker.replace(waker));
        drop(slot);
        drop(before);
        Poll::Pending
    }

    fn is_done(&self) -> bool {
        self.slot.lock().is_done
    }

    fn is_waiting(&self) -> bool {
        !self.is_done()
    }

    fn cancel(&self) -> bool {
        self.abandon()
    }

    fn cancel_waiting(&self) -> bool {
        self.abandon()
    }

    fn reject(&self, reason: RejectReason) {
        self.complete(Err(JoinError::Rejected(reason)));
    }

    fn detach(&self) {
        let mut slot = self.slot.lock();
        let (task, result, waker) = (slot.task.take(), slot.result.take(), slot.waker.take());
        drop(slot);
        if let Some(task) = task {
            task.detach();
        }
        drop((result, waker));
    }

    fn would_deadlock(&self) -> bool {
        !self.is_done() && self.runner.as_ref().is_some_and(|runner| runner.would_deadlock())
    }

    fn waits_on(&self, runners: &mut Vec<Arc<dyn Waited>>) {
        runners.extend(self.runner.clone().filter(|_| !self.is_done()));
    }

    fn location(&self) -> &'static Location<'static> {
        self.location
    }

    fn bind(self: Arc<Self>, token: &CancelToken) {
        let weak = Arc::downgrade(&self);
        let cancels = Cancels(Box::new(move || {
            if let Some(outcome) = weak.upgrade() {
                outcome.abandon();
            }
        }));
        let Some(bound) = token.bind(Arc::new(cancels)) else {
            self.abandon();
            return;
        };
        let mut slot = self.slot.lock();
        let unused = if slot.is_done { Some(bound) } else { slot.bound.replace(bound) };
        drop(slot);
        drop(unused);
    }
}

/// Calls back when it is woken.
struct Cancels(Box<dyn Fn() + Send + Sync>);

impl std::task::Wake for Cancels {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// The future of a task: tells the handle, whatever happens to it.
struct Told<F: Future> {
    future: Pin<Box<F>>,
    outcome: Arc<Outcome<F::Output>>,
}

impl<F> Future for Told<F>
where
    F: Future,
    F::Output: Send + 'static,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        match catch(|| this.future.as_mut().poll(context)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => {
                this.outcome.complete(Ok(value));
                Poll::Ready(())
            }
            Err(payload) => {
                let text = message_of(&*payload).unwrap_or("<non-string payload>").to_owned();
                this.outcome.complete(Err(JoinError::Panicked(Panicked::new(payload))));
                // The payload is the handle's; its text goes to the boundary of the task, which reports it.
                std::panic::resume_unwind(Box::new(text))
            }
        }
    }
}

impl<F> Drop for Told<F>
where
    F: Future,
{
    fn drop(&mut self) {
        // Nothing, if it has been told.
        self.outcome.complete(Err(JoinError::Cancelled));
    }
}

fn spawn<R, F>(runner: &R, waited: Option<Arc<dyn Waited>>, spec: Spec, future: F) -> TaskHandle<F::Output>
where
    R: Target,
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let slot = Slot { is_done: false, result: None, waker: None, task: None, bound: None };
    let outcome = Arc::new(Outcome { slot: Mutex::new(slot), runner: waited, location: spec.location });
    let told = Told { future: Box::pin(future), outcome: Arc::clone(&outcome) };
    let anchor = runner.anchor();
    let schedule = move |runnable: async_task::Runnable| {
        // A refusal is reported by the runner. The future is dropped with the refused poll, and that tells the handle.
        let refused = anchor.post(spec.clone(), move || _ = runnable.run()).err();
        drop(refused);
    };
    let (runnable, task) = async_task::spawn(told, schedule);
    outcome.slot.lock().task = Some(task);
    runnable.schedule();
    TaskHandle::new(outcome)
}

/// `spawn_future` for each kind of runner.
macro_rules! spawns_futures {
    ($runner:ty, $waited:expr, $where:literal) => {
        impl $runner {
            #[doc = concat!("Runs a future ", $where, ", and keeps its result for the handle.")]
            ///
            /// Cancelling the handle, closing the runner or shutting the pool down drops the future where it is polled; the handle says
            /// [`JoinError::Cancelled`] then. Every poll is a task of its own.
            #[track_caller]
            pub fn spawn_future<F>(&self, future: F) -> TaskHandle<F::Output>
            where
                F: Future + Send + 'static,
                F::Output: Send + 'static,
            {
                spawn(self, $waited(self), Spec::here(self.default_traits()), future)
            }
        }
    };
}

spawns_futures!(ThreadPool, |_: &ThreadPool| None, "on some worker each time");
spawns_futures!(ParallelTaskRunner, |_: &ParallelTaskRunner| None, "by the runner's limit");
spawns_futures!(
    SequencedTaskRunner,
    |runner: &SequencedTaskRunner| Some(runner.as_waited()),
    "on the sequence, polled in its turns and nowhere else"
);
spawns_futures!(
    SingleThreadTaskRunner,
    |runner: &SingleThreadTaskRunner| Some(runner.as_sequence().as_waited()),
    "on the thread, polled there and nowhere else"
);

/// Resolves after a time; made by [`sleep`].
#[must_use = "futures do nothing unless polled"]
pub struct Sleep(Cancelled);

/// A future that resolves when `time` is over, never earlier by the monotonic clock. It needs no runtime: any executor may await it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use std::time::Duration;
///
/// let pool = overstrand::ThreadPool::builder().workers(1).build()?;
/// let slow = pool.spawn_future(async {
///     overstrand::sleep(Duration::from_millis(1)).await;
///     42
/// });
/// assert_eq!(slow.join()?, 42);
/// # Ok(())
/// # }
/// ```
pub fn sleep(time: Duration) -> Sleep {
    Sleep(CancelToken::with_timeout(time).cancelled())
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sleep")
    }
}
