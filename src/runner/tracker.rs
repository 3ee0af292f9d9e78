//! Tasks that are called off together, from whoever asked for them.
//!
//! Each task is bound to a child of the tracker's token. A child lives as long as something is bound to it: from the builder to the end of the task and of its reply. So what is not over is
//! counted by what the children keep.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use crate::pool::TaskBuilder;
use crate::pool::task_builder::Target;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::task::cancel::CancelToken;

/// Calls off the tasks that were posted through it: all at once, and at the latest when it is dropped.
///
/// For an owner whose tasks make no sense without it: a search box, a session, a view.
///
/// # Guarantees
///
/// - After [`cancel_all`](Self::cancel_all), and after the drop, no tracked task starts, and their closures are dropped. One that runs finds the signal in
///   [`current::cancel_token`](crate::current::cancel_token); it counts until it is over.
/// - A reply to a tracked task does not start either. Called off on the runner that the replies are for, none runs after the call has returned.
/// - Tasks posted later are tracked anew.
///
/// # Examples
///
/// ```
/// use overstrand::{JoinError, TaskTracker, TaskTraits, ThreadPool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(1).build()?;
/// let seq = pool.create_sequenced_task_runner(TaskTraits::default());
/// let pause = seq.pause();
/// let searches = TaskTracker::new();
/// let first = searches.task(&seq).name("search: o").spawn(|| 100);
/// assert_eq!(searches.len(), 1);
/// searches.cancel_all();
/// assert!(searches.is_empty());
/// let second = searches.task(&seq).name("search: ov").spawn(|| 7);
/// pause.resume();
/// assert!(matches!(first.join(), Err(JoinError::Cancelled)));
/// assert_eq!(second.join()?, 7);
/// # Ok(())
/// # }
/// ```
#[must_use = "the tasks are called off when it is dropped"]
pub struct TaskTracker {
    token: Mutex<CancelToken>,
    tracked: Arc<AtomicUsize>,
}

impl TaskTracker {
    /// A tracker without tasks.
    pub fn new() -> Self {
        Self { token: Mutex::new(CancelToken::new()), tracked: Arc::default() }
    }

    /// Says more about one task for that runner, which is tracked: it counts from now on until it is over, its reply included, or the builder is dropped. Another token
    /// ([`cancel_with`](TaskBuilder::cancel_with)) would take the place of the tracker's. What is posted through clones of the builder counts as one.
    pub fn task<'a, R: Target>(&self, runner: &'a R) -> TaskBuilder<'a, R> {
        let token = self.token.lock().child();
        token.keep(Box::new(Counted::new(&self.tracked)));
        TaskBuilder::new(runner, runner.default_traits()).cancel_with(&token)
    }

    /// Calls off all tasks tracked so far.
    pub fn cancel_all(&self) {
        let before = std::mem::take(&mut *self.token.lock());
        before.cancel();
    }

    /// Tracked tasks that are not over.
    #[must_use]
    pub fn len(&self) -> usize {
        // ORDER tracker.len: Acquire; who sees that a task is over sees what it did; pairs with tracker.over.
        self.tracked.load(Ordering::Acquire)
    }

    /// True when all tracked tasks are over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for TaskTracker {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TaskTracker {
    fn drop(&mut self) {
        self.cancel_all();
    }
}

impl fmt::Debug for TaskTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskTracker").field("len", &self.len()).finish()
    }
}

/// Counts while it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(tracked: &Arc<AtomicUsize>) -> Self {
        // Relaxed: it publishes nothing; what it counts comes later.
        tracked.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(tracked))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // ORDER tracker.over: Release; pairs with tracker.len.
        self.0.fetch_sub(1, Ordering::Release);
    }
}
