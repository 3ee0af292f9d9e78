//! What must not keep a bound state alive: weak handles, later calls, repeated ones.
//!
//! Later calls hold the state weakly and are bound to a token that the drop of the last handle signals: so their closures are dropped then, and not when their time would have come.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::deposit::Deposit;
use super::owned::{Handle, SequenceBound};
use crate::error::{RejectReason, Rejected};
use crate::pool::DelayedTaskHandle;
use crate::pool::task_builder::Target;
use crate::runner::RepeatingTaskHandle;
use crate::runner::repeating::{Repeating, Rules};
use crate::sync::Mutex;
use crate::task::cancel::CancelToken;
use crate::time::Schedule;

/// A handle that does not keep its state alive; made by [`SequenceBound::downgrade`].
///
/// For what is kept inside the state itself, callbacks and registries: with a [`SequenceBound`] there the state would never be dropped.
///
/// ```
/// use overstrand::{SequenceBound, TaskTraits, ThreadPool};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(1).build()?;
/// let cache = SequenceBound::new(&pool.create_sequenced_task_runner(TaskTraits::default()), vec![1]);
/// let weak = cache.downgrade();
/// assert_eq!(weak.upgrade().map(|cache| cache.call(|list| list.len()).join()).transpose()?, Some(1));
/// drop(cache);
/// assert!(weak.upgrade().is_none());
/// # Ok(())
/// # }
/// ```
pub struct WeakBound<T: 'static>(Weak<Handle<T>>);

impl<T: 'static> WeakBound<T> {
    /// A handle that does keep it alive; `None` when the last one is gone.
    #[must_use]
    pub fn upgrade(&self) -> Option<SequenceBound<T>> {
        self.0.upgrade().map(SequenceBound)
    }
}

impl<T: 'static> Clone for WeakBound<T> {
    fn clone(&self) -> Self {
        Self(Weak::clone(&self.0))
    }
}

impl<T: 'static> fmt::Debug for WeakBound<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakBound").field("is_alive", &(self.0.strong_count() > 0)).finish()
    }
}

impl<T: 'static> SequenceBound<T> {
    /// A handle that does not keep the state alive.
    #[must_use]
    pub fn downgrade(&self) -> WeakBound<T> {
        WeakBound(Arc::downgrade(&self.0))
    }

    /// Signalled when the last handle is gone.
    fn over(&self) -> &CancelToken {
        self.0.over.get_or_init(CancelToken::new)
    }

    /// Calls `f` with the state when `delay` is over, unless the last handle is gone by then: the call keeps no state alive, and its closure is dropped with the last handle.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// # use overstrand::{SequenceBound, TaskTraits, ThreadPool};
    /// # let pool = ThreadPool::builder().workers(1).build()?;
    /// # let seq = pool.create_sequenced_task_runner(TaskTraits::default());
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let cache = SequenceBound::new(&seq, vec!["stale"]);
    /// cache.post_delayed(Duration::from_millis(1), move |cache| _ = tell.send(cache.drain(..).count()))?;
    /// assert_eq!(told.recv()?, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the closure back, as [`post`](Self::post) does.
    #[track_caller]
    pub fn post_delayed<F>(&self, delay: Duration, f: F) -> Result<DelayedTaskHandle, Rejected<F>>
    where
        F: FnOnce(&mut T) + Send + 'static,
    {
        if self.0.shared.is_poisoned() {
            return Err(Rejected::new(RejectReason::Poisoned, f));
        }
        let state = Arc::downgrade(&self.0.shared);
        let call = move |f: F| {
            move || {
                if let Some(state) = state.upgrade() {
                    drop(state.lend(f));
                }
            }
        };
        let (deposit, run) = Deposit::new(f, call);
        match self.0.runner.post_delayed(self.spec(), delay, run) {
            Ok(posted) => {
                posted.bind(self.over());
                Ok(posted)
            }
            Err(rejected) => Err(deposit.back(rejected)),
        }
    }

    /// Calls `f` with the state again and again (DLY-6), until it is stopped, the last handle is gone, or the state is poisoned: the series keeps no state alive.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// # use overstrand::{SequenceBound, TaskTraits, ThreadPool};
    /// # let pool = ThreadPool::builder().workers(1).build()?;
    /// # let seq = pool.create_sequenced_task_runner(TaskTraits::default());
    /// let (tell, ticks) = std::sync::mpsc::channel();
    /// let age = SequenceBound::new(&seq, 0);
    /// let aging = age.post_repeating(Duration::from_millis(1), move |age| {
    ///     *age += 1;
    ///     let _ = tell.send(*age);
    /// })?;
    /// assert_eq!(ticks.iter().take(3).last(), Some(3));
    /// drop(age);
    /// assert!(aging.is_stopped());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the closure back, as [`post`](Self::post) does.
    #[track_caller]
    pub fn post_repeating<F>(&self, schedule: impl Into<Schedule>, f: F) -> Result<RepeatingTaskHandle, Rejected<F>>
    where
        F: FnMut(&mut T) + Send + 'static,
    {
        if self.0.shared.is_poisoned() {
            return Err(Rejected::new(RejectReason::Poisoned, f));
        }
        let (state, over) = (Arc::downgrade(&self.0.shared), self.over().child());
        // Until the first tick the closure is the poster's too, who gets it back if the post is refused.
        let deposit = Arc::new(Mutex::new(Some(f)));
        let (ends, lent, mut mine) = (over.clone(), Arc::clone(&deposit), None);
        let tick = move || {
            if mine.is_none() {
                mine = lent.lock().take();
            }
            let called = match (&mut mine, state.upgrade()) {
                (Some(f), Some(state)) => state.lend(f).is_ok(),
                _ => false,
            };
            if !called {
                ends.cancel();
            }
        };
        let begun = Repeating::begin(self.0.runner.anchor(), self.spec(), Rules::until(schedule.into(), over), tick);
        begun.map_err(|rejected| {
            let f = deposit.lock().take();
            let Some(f) = f else { unreachable!("a series that was refused has not ticked") };
            rejected.map(|_tick| f)
        })
    }
}
