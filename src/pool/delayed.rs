//! The handle of a delayed task.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, Weak};

use super::core::Core;
use super::discard::drop_discarded;
use super::ledger::Count;
use super::task_builder::Refused;
use super::timer::Receiver;
use crate::error::RejectReason;
use crate::task::cancel::CancelToken;
use crate::task::handle::{Disarm, Pending};
use crate::task::raw::{Discard, Task};
use crate::time::{Moment, TimerKey};

/// A delayed task that may be cancelled until it starts.
///
/// Dropping it detaches: the task runs when its delay is over. A delayed task never keeps shutdown waiting (DLY-5).
pub struct DelayedTaskHandle {
    task: Arc<dyn Pending<()>>,
    timer: Option<Armed>,
}

/// A timer in a pool's wheel, which goes on without it.
#[derive(Clone)]
pub struct Armed {
    core: Weak<Core>,
    receiver: Weak<dyn Receiver>,
    key: TimerKey,
}

impl DelayedTaskHandle {
    /// Without a timer for a delay of zero.
    pub(crate) fn new(task: Arc<dyn Pending<()>>, timer: Option<Armed>) -> Self {
        Self { task, timer }
    }

    /// Cancels the task, as `cancel` does, when the token is signalled.
    pub(crate) fn bind(&self, token: &CancelToken) {
        if let Some(timer) = &self.timer {
            self.task.arm(Box::new(timer.clone()));
        }
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

impl Armed {
    pub(crate) fn new(core: &Arc<Core>, receiver: &Arc<dyn Receiver>, key: TimerKey) -> Self {
        Self { core: Arc::downgrade(core), receiver: Arc::downgrade(receiver), key }
    }

    /// Takes the task out of the wheel, unless its delay is over and it waits in its queue.
    pub(crate) fn remove(&self) {
        let (Some(core), Some(receiver)) = (self.core.upgrade(), self.receiver.upgrade()) else { return };
        if let Some(task) = core.timers.remove(self.key) {
            receiver.drop_unripe(task, Discard::Closed);
        }
    }
}

/// Tasks of the pool itself, when their delay is over.
impl Receiver for Core {
    fn ripen(self: Arc<Self>, task: Task) {
        if self.tracker.admit(task.meta()) {
            let class = task.meta().priority();
            self.submit_unbounded(task, class, Count::Ripened);
        } else {
            self.drop_unripe(task, Discard::ShutDown);
        }
    }

    fn drop_unripe(self: Arc<Self>, task: Task, why: Discard) {
        drop_discarded(task, why);
        self.ledger.count(self.worker_index(), Count::DroppedDelayed);
    }
}

impl Core {
    /// As [`insert_timer`](Self::insert_timer), for what can be taken back.
    pub(crate) fn arm(
        self: &Arc<Self>,
        due: Moment,
        task: Task,
        receiver: Arc<dyn Receiver>,
        accepted: impl FnOnce(),
    ) -> Result<Armed, Refused> {
        match self.insert_timer(due, task, Arc::clone(&receiver), accepted) {
            Ok(inserted) => Ok(Armed::new(self, &receiver, inserted.key)),
            Err(task) => Err(Refused { reason: RejectReason::ShutDown, task: Some(task) }),
        }
    }
}

impl Disarm for Armed {
    fn disarm(self: Box<Self>) {
        self.remove();
    }
}

impl fmt::Debug for DelayedTaskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelayedTaskHandle").field("is_pending", &self.is_pending()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Armed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Armed").field("key", &self.key).finish_non_exhaustive()
    }
}
