//! A sequence as others see it: who waits for its tasks, who pauses it, who brings its ripe tasks.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::{DISCARDING, Sequence, add};
use crate::pool::core::Core;
use crate::pool::discard::drop_discarded;
use crate::pool::ledger::Count;
use crate::pool::pause::Pausable;
use crate::pool::timer::Receiver;
use crate::sync::atomic::Ordering;
use crate::task::current::Name;
use crate::task::handle::Waited;
use crate::task::raw::{Discard, Erased, Task};
use crate::task::traits::Priority;

impl Waited for Erased<Sequence> {
    fn would_deadlock(&self) -> bool {
        self.object.would_deadlock()
    }

    fn lend(self: Arc<Self>, class: Priority) -> bool {
        let sequence = &self.object;
        let lifts = class > sequence.own_class();
        if lifts {
            // Relaxed: the exchange of `reclass` publishes it.
            sequence.lifted[class.index()].fetch_add(1, Ordering::Relaxed);
            Sequence::reclass(&self);
        }
        lifts
    }

    fn take_back(self: Arc<Self>, class: Priority) {
        // Relaxed: as above.
        self.object.lifted[class.index()].fetch_sub(1, Ordering::Relaxed);
        Sequence::reclass(&self);
    }
}

impl Pausable for Erased<Sequence> {
    fn number(&self) -> u64 {
        self.object.runner.id
    }

    fn core(&self) -> &Arc<Core> {
        &self.object.core
    }

    fn pause(self: Arc<Self>) {
        // Relaxed: the exchange of `reclass` publishes it.
        self.object.pauses.fetch_add(1, Ordering::Relaxed);
        Sequence::reclass(&self);
    }

    fn resume(self: Arc<Self>) {
        // Relaxed: as above.
        self.object.pauses.fetch_sub(1, Ordering::Relaxed);
        Sequence::reclass(&self);
    }
}

/// A task of the sequence whose delay is over, or never will be.
impl Receiver for Erased<Sequence> {
    fn ripen(self: Arc<Self>, task: Task) {
        let sequence = &self.object;
        if sequence.control() & DISCARDING != 0 {
            return self.drop_unripe(task, Discard::Closed);
        }
        if !sequence.core.tracker.admit(task.meta()) {
            return self.drop_unripe(task, Discard::ShutDown);
        }
        // WHY: a ripe task was accepted long ago, so neither `Drain` nor a full queue refuses it (DLY-3).
        if let Some(bound) = sequence.bound() {
            bound.add_ripe();
        }
        Sequence::push_ripe(&self, task);
    }

    fn drop_unripe(self: Arc<Self>, task: Task, why: Discard) {
        let sequence = &self.object;
        drop_discarded(task, why);
        add(&sequence.shared.dropped_delayed);
        sequence.core.ledger.count(sequence.core.worker_index(), Count::DroppedDelayed);
    }

    fn runner_name(&self) -> Option<Name> {
        self.object.runner.name.clone()
    }
}
