//! Tasks that are dropped without having run: outside of every lock, counted, their handles told (POST-5).
#![forbid(unsafe_code)]

use super::core::Core;
use super::ledger::Count;
use crate::task::panic::drop_quietly;
use crate::task::raw::{Discard, Tally, Task};
use crate::zoo;

impl Core {
    /// Drops a task unrun, outside of every lock (POST-5), and counts it.
    pub(crate) fn discard(&self, task: Task, why: Discard, tally: Option<&Tally>) {
        self.ledger.count(self.worker_index(), Count::Started);
        if let Some(tally) = tally {
            tally.count(&tally.started);
        }
        self.discard_started(task, why, tally);
    }

    /// As [`discard`](Self::discard), for a task that is counted as started already.
    pub(crate) fn discard_started(&self, task: Task, why: Discard, tally: Option<&Tally>) {
        let meta = task.meta();
        drop_discarded(task, why);
        if let Some(tally) = tally {
            tally.count(&tally.dropped);
        }
        self.ledger.count(self.worker_index(), Count::Dropped);
        self.ended(meta, false);
    }
}

/// Drops a task unrun and tells its handle why; a panicking destructor is contained (POST-6).
pub(crate) fn drop_discarded(task: Task, why: Discard) {
    if zoo::has("Z14") {
        return task.discard(why);
    }
    drop_quietly(DiscardOnDrop(Some(task), why));
}

/// Discards its task with a reason when dropped.
struct DiscardOnDrop(Option<Task>, Discard);

impl Drop for DiscardOnDrop {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.discard(self.1);
        }
    }
}
