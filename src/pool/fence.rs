//! Fences: while one is held no new task starts (CTL-1).
//!
//! A fence is a count that workers, and the threads of runners, look at before they take a ticket, and before they go to sleep; to them a fenced queue is empty. Who lifts the last one
//! leaves every worker a permit, so one that looked just before and sleeps now wakes again. Once shutdown starts fences are ignored (SHUT-6).
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Weak};

use super::ThreadPool;
use super::core::Core;
use super::idle::Idle;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::local;
use crate::task::traits::Priority;

/// How many fences are held.
#[derive(Debug, Default)]
pub(crate) struct Fences {
    all: AtomicUsize,
    best_effort: AtomicUsize,
}

local! {
    /// The fences that this thread has made, by pool.
    static MADE: RefCell<Vec<(usize, Weak<()>)>> = RefCell::new(Vec::new());
}

/// While it is held no new task of the pool starts; made by [`ThreadPool::fence`]. Fences nest: tasks start when the last one is gone.
///
/// It may be sent to another thread, a task of another pool say, and dropped there.
#[must_use = "the fence is lifted when this is dropped"]
pub struct Fence {
    core: Arc<Core>,
    is_best_effort: bool,
    _mark: Arc<()>,
}

impl Fence {
    fn raise(core: &Arc<Core>, is_best_effort: bool) -> Self {
        // Relaxed: ordered by the fence.
        core.fences.of(is_best_effort).fetch_add(1, Ordering::Relaxed);
        Idle::order_looks();
        let mark = Arc::new(());
        let _ = MADE.try_with(|made| {
            let mut made = made.borrow_mut();
            made.retain(|(_, mark)| mark.strong_count() > 0);
            made.push((core.address(), Arc::downgrade(&mark)));
        });
        Self { core: Arc::clone(core), is_best_effort, _mark: mark }
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        // Relaxed: ordered by the fence.
        let before = self.core.fences.of(self.is_best_effort).fetch_sub(1, Ordering::Relaxed);
        Idle::order_looks();
        if before == 1 {
            self.core.unpark_all();
        }
    }
}

impl Fences {
    fn of(&self, is_best_effort: bool) -> &AtomicUsize {
        if is_best_effort { &self.best_effort } else { &self.all }
    }
}

impl Core {
    /// True when no ticket of this class may be taken.
    #[inline]
    pub(crate) fn is_fenced(&self, class: Priority) -> bool {
        // Relaxed: whoever acts on it, by going to sleep, looks again after a fence.
        let all = self.fences.all.load(Ordering::Relaxed);
        // Relaxed: as above.
        let is_fenced =
            all > 0 || (class == Priority::BestEffort && self.fences.best_effort.load(Ordering::Relaxed) > 0);
        is_fenced && !self.tracker.is_started()
    }

    /// True while a fence of this pool is held that this thread has made, so that it would wait for itself.
    pub(crate) fn is_fenced_by_this_thread(&self) -> bool {
        let is_held = |(pool, mark): &(usize, Weak<()>)| *pool == self.address() && mark.strong_count() > 0;
        MADE.try_with(|made| made.borrow().iter().any(is_held)).unwrap_or(false)
    }
}

impl ThreadPool {
    /// Keeps new tasks of the pool from starting while the guard is held (CTL-1). Those that a worker has taken already go on; the next task of a sequence does not start.
    /// Posts are accepted as ever. Once shutdown starts fences are ignored (SHUT-6).
    ///
    /// While this thread holds one, its [`flush`](Self::flush) is [`WouldDeadlock`](crate::WaitError::WouldDeadlock).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let pool = overstrand::ThreadPool::builder().workers(1).build()?;
    /// let fence = pool.fence();
    /// let waits = pool.spawn(|| 7);
    /// assert!(!waits.is_finished());
    /// drop(fence);
    /// assert_eq!(waits.join()?, 7);
    /// # Ok(())
    /// # }
    /// ```
    pub fn fence(&self) -> Fence {
        Fence::raise(self.core(), false)
    }

    /// As [`fence`](Self::fence), for best-effort work alone: while a program starts, say.
    pub fn fence_best_effort(&self) -> Fence {
        Fence::raise(self.core(), true)
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence").field("is_best_effort", &self.is_best_effort).finish_non_exhaustive()
    }
}
