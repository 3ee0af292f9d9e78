//! The handle of a delayed task.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, Weak};

use super::core::Core;
use super::discard::drop_discarded;
use super::ledger::Count;
use super::timer::Receiver;
use crate::task::cancel::CancelToken;
use crate::task::handle::Pending;
use crate::task::raw::{Discard, Task};
use crate::time::TimerKey;

/// A delayed task that may be cancelled until it starts.
///
/// Dropping it detaches: the task runs when its delay is over. A delayed task never keeps shutdown waiting (DLY-5).
pub struct DelayedTaskHandle {
    task: Arc<dyn Pending<()>>,
    timer: Option<Timer>,
}

struct Timer {
    core: Weak<Core>,
    receiver: Weak<dyn Receiver>,
    key: TimerKey,
}

impl DelayedTaskHandle {
    /// For a delay of zero.
    pub(crate) fn immediate(task: Arc<dyn Pending<()>>) -> Self {
        Self { task, timer: None }
    }

    pub(crate) fn timed(
        task: Arc<dyn Pending<()>>,
        core: &Arc<Core>,
        receiver: Arc<dyn Receiver>,
        key: TimerKey,
    ) -> Self {
        let timer = Timer { core: Arc::downgrade(core), receiver: Arc::downgrade(&receiver), key };
        Self { task, timer: Some(timer) }
    }

    /// Cancels the task when the token is signalled.
    pub(crate) fn bind(&self, token: &CancelToken) {
        Arc::clone(&self.task).bind(token);
    }

    /// True when this call keeps the task from ever starting; its closure has been dropped then, on this thread (DLY-2). False when it has
    /// started, or is over: then the call does nothing.
    pub fn cancel(&self) -> bool {
        if !self.task.cancel_waiting() {
            return false;
        }
        if let Some(timer) = &self.timer {
            timer.remove();
        }
        true
    }

    /// True while the task may still be cancelled: it has not started.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.task.is_waiting()
    }
}

impl Timer {
    /// Takes the empty task out of the wheel, unless its delay is over and it waits in its queue.
    fn remove(&self) {
        let (Some(core), Some(receiver)) = (self.core.upgrade(), self.receiver.upgrade()) else { return };
        if let Some(task) = core.timers.remove(self.key) {
            receiver.drop_unripe(task);
        }
    }
}

/// Tasks of the pool itself, when their delay is over.
impl Receiver for Core {
    fn ripen(&self, task: Task) {
        if self.tracker.admit(task.meta()) {
            let class = task.meta().priority();
            self.submit_unbounded(task, class, Count::Ripened);
        } else {
            self.drop_unripe(task);
        }
    }

    fn drop_unripe(&self, task: Task) {
        drop_discarded(task, Discard::ShutDown);
        self.ledger.count(self.worker_index(), Count::DroppedDelayed);
    }
}

impl fmt::Debug for DelayedTaskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelayedTaskHandle").field("is_pending", &self.is_pending()).finish_non_exhaustive()
    }
}
