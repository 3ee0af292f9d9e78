//! How a worker comes to rest and goes on: searching, asleep, in reserve, at home.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::super::core::Core;
use super::super::idle::Idle;
use super::super::select;
use super::super::staff::RESERVE_TIME;
use super::{Mode, Step, Worker};
use crate::sync::atomic::Ordering;
use crate::sync::spin_loop;
use crate::task::traits::Priority;
use crate::time::Moment;
use crate::zoo;

/// Looks at the queues before a worker goes to sleep. More would cost CPU with every lone post; see `benches/README.md`.
const SEARCH_ROUNDS: u32 = if cfg!(any(overstrand_loom, overstrand_shuttle, miri)) { 0 } else { 4 };

/// Pauses between two of them.
const PAUSES_PER_ROUND: u32 = 15;

impl Worker {
    pub(super) fn stop_searching(&mut self) {
        if std::mem::replace(&mut self.mode, Mode::Active) == Mode::Searching {
            let core = self.core();
            if core.idle.found() && core.has_work() {
                core.notify(Some(&self.here));
            }
        }
    }

    /// Looks a few times more; then falls asleep, unless something has come meanwhile.
    pub(super) fn search_or_sleep(&mut self) -> Step {
        let here = Rc::clone(&self.here);
        let core = &*here.core;
        if std::mem::replace(&mut self.mode, Mode::Searching) != Mode::Searching {
            core.idle.begin_search();
            if search_found(core) {
                return Step::Moved;
            }
        }
        core.idle.prepare_sleep(here.index);
        self.mode = Mode::Asleep;
        let must_look = !zoo::has("Z3") && core.has_work();
        if must_look || core.tracker.is_complete() || core.staff.has_surplus() {
            return Step::Moved;
        }
        if core.quiet.is_listened_racy() {
            core.quiet.ring();
        }
        Step::Wait(self.until_service())
    }

    /// How long a worker may sleep that drives the timers.
    fn until_service(&self) -> Option<Duration> {
        let core = self.core();
        if !core.staff.is_without_service() {
            return None;
        }
        let now = core.clock.now();
        let next = core.service_step(now);
        (next != Moment::NEVER).then(|| now.until(next))
    }

    pub(super) fn wake_up(&mut self) {
        let core = self.core();
        core.idle.wake_up(self.here.index);
        core.resume_watch();
        self.mode = Mode::Searching;
    }

    /// There may be one worker too many; true when this one goes into the reserve.
    pub(super) fn enter_reserve(&mut self) -> bool {
        let here = Rc::clone(&self.here);
        let core = &*here.core;
        if !core.staff.enter_reserve(here.index) {
            return false;
        }
        if std::mem::replace(&mut self.mode, Mode::InReserve) == Mode::Searching {
            core.idle.leave();
        }
        // WHY: what lies in the deque of a thread that does not run would wait for a thief.
        while let Some(ticket) = here.owner.pop() {
            core.submit_injected(ticket, Priority::UserVisible);
        }
        core.notify(Some(&here));
        true
    }

    /// One step in the reserve: back to work if somebody has called, out if this worker is superfluous, else on waiting.
    pub(super) fn wait_in_reserve(&mut self, has_permit: bool) -> Step {
        let core = Arc::clone(&self.here.core);
        // ORDER worker.called: Acquire; pairs with core.call.
        if self.slot().is_called.swap(false, Ordering::Acquire) {
            self.mode = Mode::Active;
            return Step::Moved;
        }
        // WHY completion before the wait: the permit that it left may have been used up on the way here.
        let is_superfluous = core.tracker.is_complete() || !has_permit;
        if is_superfluous && core.staff.leave_reserve(self.here.index) {
            return Step::Leave;
        }
        Step::Wait(Some(RESERVE_TIME))
    }

    /// A step of the thread of a runner: the next ticket of its inbox.
    pub(super) fn step_at_home(&mut self) -> Step {
        let here = Rc::clone(&self.here);
        let (core, Some(home)) = (&*here.core, &here.home) else { return Step::Leave };
        if self.mode == Mode::Asleep {
            self.mode = Mode::Active;
            // Relaxed: a count; the fence in `resume_watch` orders it.
            core.homes_busy.fetch_add(1, Ordering::Relaxed);
            core.resume_watch();
        }
        let classes = select::order(self.picks).classes;
        // WHY the class before the ticket: what was taken out cannot be put back in its place.
        if let Some((ticket, class)) = home.take(classes.into_iter().filter(|class| !core.is_fenced(*class))) {
            self.count_pick();
            self.execute(ticket, class);
            return Step::Ran;
        }
        if core.tracker.is_complete() {
            // WHY: see the page of `shutdown`, steps (D, E, F).
            Idle::order_looks();
            core.sweep_inbox(home);
            return self.leave_home();
        }
        if home.is_left() {
            return self.leave_home();
        }
        let limit = self.until_service();
        if home.has_work(core) {
            return Step::Moved;
        }
        self.rest_at_home();
        if core.quiet.is_listened_racy() {
            core.quiet.ring();
        }
        Step::Wait(limit)
    }

    /// The thread does something else until the next step.
    pub(crate) fn rest_at_home(&mut self) {
        if std::mem::replace(&mut self.mode, Mode::Asleep) != Mode::Asleep {
            // Relaxed: as above.
            self.core().homes_busy.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn leave_home(&self) -> Step {
        // Relaxed: as above.
        self.core().homes_busy.fetch_sub(1, Ordering::Relaxed);
        Step::Leave
    }
}

/// Looks a few times more before going to sleep.
fn search_found(core: &Core) -> bool {
    (0..SEARCH_ROUNDS).any(|_| {
        (0..PAUSES_PER_ROUND).for_each(|_| spin_loop());
        core.has_work()
    })
}
