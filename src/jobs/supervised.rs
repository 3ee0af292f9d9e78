//! A resumable body under a supervisor: a run is a future that makes steps until it is done, or makes room.
//!
//! State and step are *kept* beside the body while no run has them. A run takes them and puts them back when it is dropped, however it ended; there is never a second run beside it, so it always finds them.
//!
//! Witnessed by `tests/env/jobs_supervised.rs`.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::job::Step;
use crate::error::TaskResult;
use crate::park::pause;
use crate::supervise::{SelfCancelled, TaskContext, TaskSpec};
use crate::sync::Mutex;

struct Kept<S, F> {
    state: S,
    step: F,
}

type Shelf<S, F> = Arc<Mutex<Option<Box<Kept<S, F>>>>>;

/// One run.
struct Going<S, F> {
    cx: TaskContext,
    kept: Option<Box<Kept<S, F>>>,
    shelf: Shelf<S, F>,
}

impl<S, F, T> Future for Going<S, Stepping<F, T>>
where
    F: FnMut(&mut S, &TaskContext) -> TaskResult<Step<T>>,
{
    type Output = TaskResult<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<TaskResult<T>> {
        let Self { cx, kept, .. } = self.get_mut();
        let Some(kept) = kept else { return Poll::Ready(Err(SelfCancelled.into())) };
        cx.wait_for_worker(false);
        while !cx.is_cancelled() {
            match (kept.step.0)(&mut kept.state, cx)? {
                Step::Done(value) => return Poll::Ready(Ok(value)),
                Step::Again => pause(),
                Step::Yield => {
                    cx.wait_for_worker(true);
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        // What a run returns after it was told to stop does not count (SUP-4a).
        Poll::Ready(Err(SelfCancelled.into()))
    }
}

impl<S, F> Drop for Going<S, F> {
    fn drop(&mut self) {
        *self.shelf.lock() = self.kept.take();
    }
}

/// A step, and what it is about.
struct Stepping<F, T>(F, std::marker::PhantomData<fn() -> T>);

impl<T: Send + 'static> TaskSpec<T> {
    /// A state, and a step that is called with it until it says [`Step::Done`]; between two steps the run can make room, be restarted, or end.
    ///
    /// A step that sees [`TaskContext::should_yield`] returns [`Step::Yield`]: the run gives its worker back and goes on behind what waits in its class. The state stays in memory, also when a run
    /// fails, panics or is late: the next one goes on where that one was, in whatever state it left behind. The task has one outcome, however often it made room. Told to stop, a run is over after its step.
    ///
    /// Steps run on the workers of the pool, one at a time. Those that block say so by [`traits`](Self::traits), which also say the class: [`TaskTraits::best_effort`](crate::TaskTraits::best_effort)
    /// makes room for everything else. The wait for a worker counts as no silence for the [`watchdog`](Self::watchdog).
    ///
    /// There is one state, so a run that is stuck is never [replaced](crate::OnStuck::Replace).
    ///
    /// ```
    /// use overstrand::{Outcome, Step, Supervisor, TaskSpec, TaskTraits, ThreadPool};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let pool = ThreadPool::builder().workers(1).build()?;
    /// let supervisor = Supervisor::builder(&pool).build()?;
    /// let sum = TaskSpec::resumable("sum", (0_u64, 0_u64), |(row, total), cx| {
    ///     *row += 1;
    ///     *total += *row;
    ///     if *row == 50 && cx.attempt() == 1 {
    ///         return Err("the line was cut".into());
    ///     }
    ///     if *row == 100 {
    ///         return Ok(Step::Done(*total));
    ///     }
    ///     Ok(if cx.should_yield() { Step::Yield } else { Step::Again })
    /// });
    /// let sum = supervisor.submit(sum.traits(TaskTraits::best_effort()))?;
    /// assert_eq!(sum.outcome().join()?.completed(), Some(5050));
    /// # Ok(())
    /// # }
    /// ```
    pub fn resumable<S, F>(name: impl Into<Cow<'static, str>>, state: S, step: F) -> Self
    where
        S: Send + 'static,
        F: FnMut(&mut S, &TaskContext) -> TaskResult<Step<T>> + Send + 'static,
    {
        let step = Stepping(step, std::marker::PhantomData);
        let shelf = Arc::new(Mutex::new(Some(Box::new(Kept { state, step }))));
        Self::one_of_a_kind(name, move |cx| {
            let kept = shelf.lock().take();
            Going { cx, kept, shelf: Arc::clone(&shelf) }
        })
    }
}
