//! Restrictions: fewer workers for a while.
//!
//! To the staff a restriction is so many workers too many, and its end so many too few: the same that it does for workers that wait and go on.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use super::ThreadPool;
use super::core::Core;
use super::staff;
use crate::error::BuildError;
use crate::sync::Mutex;

/// The limits that are asked for; the lowest holds.
#[derive(Debug, Default)]
pub(crate) struct Restrictions(Mutex<Vec<usize>>);

impl Restrictions {
    /// Changes the limits; gives how many workers may run before and after.
    fn change(&self, workers: usize, change: impl FnOnce(&mut Vec<usize>)) -> (usize, usize) {
        let mut limits = self.0.lock();
        let allowed = |limits: &[usize]| limits.iter().copied().min().unwrap_or(workers).min(workers);
        let before = allowed(&limits);
        change(&mut limits);
        (before, allowed(&limits))
    }
}

/// While it is held the pool runs tasks on fewer workers; made by [`ThreadPool::restrict`].
#[must_use = "the restriction ends when this is dropped"]
pub struct Restriction {
    core: Arc<Core>,
    limit: usize,
}

impl ThreadPool {
    /// Lets no more than `workers` workers of the pool run tasks while the guard is held: while a program starts or measures something, say. What runs goes on; a worker that is too
    /// many rests after its task. Several restrictions may be held: the lowest holds. Threads of runners are not counted, nor those that stand in for tasks that wait.
    ///
    /// # Errors
    ///
    /// [`BuildError`] `workers`: zero; hold a [`fence`](Self::fence) for that.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let pool = overstrand::ThreadPool::builder().workers(4).build()?;
    /// let quiet = pool.restrict(1)?;
    /// pool.spawn(|| println!("one at a time")).join()?;
    /// drop(quiet);
    /// # Ok(())
    /// # }
    /// ```
    pub fn restrict(&self, workers: usize) -> Result<Restriction, BuildError> {
        if workers == 0 {
            return Err(BuildError::new("workers", 0, "must be at least 1; a fence lets none start"));
        }
        let core = self.core();
        let (before, after) = core.restrictions.change(core.settings.workers, |limits| limits.push(workers));
        (after..before).for_each(|_| staff::take_back(core));
        if after < before {
            core.unpark_all();
        }
        Ok(Restriction { core: Arc::clone(core), limit: workers })
    }
}

impl Drop for Restriction {
    fn drop(&mut self) {
        let core = &self.core;
        let (before, after) = core.restrictions.change(core.settings.workers, |limits| {
            if let Some(mine) = limits.iter().position(|limit| *limit == self.limit) {
                limits.swap_remove(mine);
            }
        });
        (before..after).for_each(|_| staff::stand_in(core));
    }
}

impl fmt::Debug for Restriction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restriction").field("workers", &self.limit).finish_non_exhaustive()
    }
}
