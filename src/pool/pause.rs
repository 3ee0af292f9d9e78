//! Pauses of runners: while one is held no new task of that runner starts.
//!
//! The pool keeps who is paused, and how often. So a shutdown can end every pause, as it ignores fences (SHUT-6), and a paused runner without handles is kept until somebody resumes it.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::core::Core;
use crate::sync::Mutex;

/// A runner that can be paused. Pauses are counted.
pub(crate) trait Pausable: Send + Sync {
    fn number(&self) -> u64;
    fn core(&self) -> &Arc<Core>;
    /// Counts one more pause. It wakes nobody and drops nothing: it is called under a lock.
    fn pause(self: Arc<Self>);
    /// Counts one less; the runner goes on after the last.
    fn resume(self: Arc<Self>);
}

/// Who is paused.
#[derive(Default)]
pub(crate) struct Pauses(Mutex<Paused>);

#[derive(Default)]
struct Paused {
    /// Shutdown has started: nobody is paused any more.
    is_over: bool,
    runners: BTreeMap<u64, (Arc<dyn Pausable>, usize)>,
}

impl Pauses {
    fn begin(&self, runner: &Arc<dyn Pausable>) {
        let mut paused = self.0.lock();
        if !paused.is_over {
            paused.runners.entry(runner.number()).or_insert_with(|| (Arc::clone(runner), 0)).1 += 1;
            Arc::clone(runner).pause();
        }
    }

    fn end(&self, number: u64) {
        let mut paused = self.0.lock();
        let Some((runner, count)) = paused.runners.get_mut(&number) else { return };
        *count -= 1;
        let runner = Arc::clone(runner);
        let last = if *count == 0 { paused.runners.remove(&number) } else { None };
        drop(paused);
        drop(last);
        runner.resume();
    }

    /// Ends all pauses of one runner.
    pub(crate) fn end_of(&self, number: u64) {
        let ended = self.0.lock().runners.remove(&number);
        if let Some((runner, count)) = ended {
            (0..count).for_each(|_| Arc::clone(&runner).resume());
        }
    }

    /// Ends all pauses for good.
    pub(crate) fn end_all(&self) {
        let runners = {
            let mut paused = self.0.lock();
            paused.is_over = true;
            std::mem::take(&mut paused.runners)
        };
        for (runner, count) in runners.into_values() {
            (0..count).for_each(|_| Arc::clone(&runner).resume());
        }
    }
}

/// While it is held no new task of its runner starts; made by `pause()` of a runner. Pauses nest: tasks start when the last one is gone.
///
/// It may be sent anywhere. The pool's shutdown ends it, as it ignores fences (SHUT-6). If it is forgotten, what the runner has queued waits until then.
#[must_use = "the runner goes on when this is dropped"]
pub struct Pause(Arc<dyn Pausable>);

impl Pause {
    pub(crate) fn of(runner: Arc<dyn Pausable>) -> Self {
        runner.core().pauses.begin(&runner);
        Self(runner)
    }

    /// Lets the runner go on; as dropping it.
    pub fn resume(self) {}
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.core().pauses.end(self.0.number());
    }
}

impl fmt::Debug for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pause").finish_non_exhaustive()
    }
}
