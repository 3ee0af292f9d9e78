//! The service thread: drives the delay manager, the stall watcher and the patrol. It runs no user code but the stall hook.
//!
//! It sleeps until the next timer or the next look of the watcher. While every worker sleeps the watcher pauses, so that an idle pool with no
//! timer due uses no CPU; the first worker that wakes ends the pause. The bad interleaving, a worker that wakes just while the watcher
//! decides to pause, is excluded as in `idle`: the watcher sets its mark, fences and looks who sleeps; the worker clears its bit, fences and looks
//! at the mark.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::core::{Core, set_own_pool};
use super::idle::Idle;
use crate::park::{Wait, park};
use crate::sync::atomic::Ordering;
use crate::time::Moment;

/// The body of the service thread.
pub(crate) fn main(core: &Arc<Core>) {
    set_own_pool(core.address());
    loop {
        let now = core.clock.now();
        let next = core.service_step(now);
        if core.tracker.is_complete() {
            break;
        }
        let limit = (next != Moment::NEVER && core.clock.goes_by_itself()).then(|| now.until(next));
        park(&core.service, &Wait::on("timers").at_most(limit));
    }
    set_own_pool(0);
    core.staff.exit_service();
    core.ended.ring();
}

impl Core {
    /// Does what is due; says when something is due next.
    pub(crate) fn service_step(&self, now: Moment) -> Moment {
        let next_timer = self.timers.step(now);
        next_timer.min(self.watch_step(now)).min(self.patrol_step(now)).min(self.blocking_step(now))
    }

    fn watch_step(&self, now: Moment) -> Moment {
        // Relaxed: used by the service only.
        let due = Moment::from_nanos(self.next_watch.load(Ordering::Relaxed));
        if now < due {
            return due;
        }
        let workers = self.used_slots().len();
        for stall in self.watch.look(now, workers, |worker| self.ledger.progress_of(worker)) {
            let running = self.slots[stall.worker].running();
            if let Some((running, _)) = running.filter(|(_, meta)| !meta.is_long_running()) {
                self.settings.hooks.tell_stall(running, stall.running_for);
            }
        }
        self.roster.look(now);
        let next = if self.pause_watch() { Moment::NEVER } else { now.saturating_add(self.watch.period()) };
        // Relaxed: used by the service only.
        self.next_watch.store(if next == Moment::NEVER { 0 } else { next.as_nanos() }, Ordering::Relaxed);
        next
    }

    /// Pauses the watcher if every worker sleeps.
    fn pause_watch(&self) -> bool {
        // Relaxed: ordered by the fence.
        self.watch_is_paused.store(true, Ordering::Relaxed);
        Idle::order_looks();
        // Relaxed: ordered by the fence.
        let homes_rest = self.homes_busy.load(Ordering::Relaxed) == 0;
        if homes_rest && self.idle.sleeping_racy() >= self.staff.active() {
            self.watch.pause();
            return true;
        }
        // Relaxed: nobody sleeps on it.
        self.watch_is_paused.store(false, Ordering::Relaxed);
        false
    }

    /// A worker woke: the watcher watches again.
    #[inline]
    pub(crate) fn resume_watch(&self) {
        Idle::order_looks();
        // Relaxed: ordered by the fence; the swap decides who wakes the service.
        if self.watch_is_paused.load(Ordering::Relaxed) && self.watch_is_paused.swap(false, Ordering::Relaxed) {
            self.service.unpark();
        }
    }
}
