//! Futures on runners: polled there and nowhere else, without any other runtime.
//!
//! The first poll is posted as any task, by the runner's rules: refused when it is closed or full. Every wake-up after that queues one more poll in the runner's order, at its priority; it belongs to
//! what was accepted, so neither `close(Drain)` nor a full queue refuses it. What ends the runner drops the future there and tells the handle, even if no waker is ever woken again; `polled` has
//! the states, `pool::dormant` the list of those that wait. Wakers may outlive everything: they hold memory, not the runner's threads.
#![forbid(unsafe_code)]

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::group::Parallel;
use super::polled;
use super::sequence::Sequence;
use crate::pool::ThreadPool;
use crate::pool::core::Core;
use crate::pool::dormant::Host;
use crate::pool::task_builder::{Spec, Target};
use crate::runner::{ParallelTaskRunner, SequencedTaskRunner, SingleThreadTaskRunner};
use crate::task::cancel::{CancelToken, Cancelled};
use crate::task::handle::TaskHandle;
use crate::task::raw::Task;
use crate::task::traits::{Meta, TaskTraits};

impl Host for SequencedTaskRunner {
    fn core(&self) -> &Arc<Core> {
        self.sequence().core()
    }

    fn number(&self) -> u64 {
        self.sequence().runner.id
    }

    fn meta(&self, traits: TaskTraits) -> Meta {
        self.sequence().meta(traits)
    }

    fn push_accepted(&self, task: Task) {
        Sequence::push_accepted(self.erased(), task);
    }
}

impl Host for SingleThreadTaskRunner {
    fn core(&self) -> &Arc<Core> {
        self.as_sequenced().core()
    }

    fn number(&self) -> u64 {
        self.as_sequenced().number()
    }

    fn meta(&self, traits: TaskTraits) -> Meta {
        self.as_sequenced().meta(traits)
    }

    fn push_accepted(&self, task: Task) {
        self.as_sequenced().push_accepted(task);
    }
}

impl Host for ParallelTaskRunner {
    fn core(&self) -> &Arc<Core> {
        &self.erased().object.core
    }

    fn number(&self) -> u64 {
        self.erased().object.runner.id
    }

    fn meta(&self, traits: TaskTraits) -> Meta {
        Meta::new(traits)
    }

    fn push_accepted(&self, task: Task) {
        Parallel::push_accepted(self.erased(), task);
    }
}

/// `spawn_future` for each kind of runner.
macro_rules! spawns_futures {
    ($runner:ty, $waited:expr, $where:literal) => {
        impl $runner {
            #[doc = concat!("Runs a future ", $where, ", and keeps its result for the handle.")]
            ///
            /// Every poll is a task of its own. The first is refused as any post is, which surfaces in [`TaskHandle::join`]; the others are not, while the runner runs tasks.
            ///
            /// # Guarantees
            ///
            /// A future that is not over is dropped, and its handle told, even if nobody ever wakes it again:
            /// [`JoinError::Cancelled`](crate::JoinError::Cancelled) when the handle or its token cancels it, or [`Close::Discard`](crate::Close::Discard) ends the runner;
            /// [`JoinError::ShutDown`](crate::JoinError::ShutDown) when a shutdown starts or, if its traits block shutdown, is complete.
            /// [`Close::Drain`](crate::Close::Drain) lets it finish. A poll that runs is finished first, and counts.
            ///
            /// It is dropped in a turn of its runner, behind what is queued there, as one dropped task; once nobody runs tasks any more, on the thread that ends the pool.
            /// Panics of its destructor are contained.
            ///
            /// # Not guaranteed
            ///
            /// Waits for the runner (`flush`, `wait_idle`) wait for polls that are queued, not for the future.
            #[track_caller]
            pub fn spawn_future<F>(&self, future: F) -> TaskHandle<F::Output>
            where
                F: Future + Send + 'static,
                F::Output: Send + 'static,
            {
                polled::spawn(self.anchor(), $waited(self), Spec::here(self.default_traits()), future)
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
    |runner: &SingleThreadTaskRunner| Some(runner.as_sequenced().as_waited()),
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
