//! The object behind a parallel runner: its queues, its slots (see `slots` for the protocol), its barrier and its counters.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;

use super::current::Scope;
use super::sequence::RunnerStats;
use super::slots::Slots;
use crate::error::RejectReason;
use crate::park::Bell;
use crate::pool::bound::{Bound, Room};
use crate::pool::core::{Core, until_settled};
use crate::pool::delayed::Armed;
use crate::pool::discard::drop_discarded;
use crate::pool::ledger::Count;
use crate::pool::pause::Pausable;
use crate::pool::task_builder::Refused;
use crate::pool::timer::Receiver;
use crate::queue::steal::Injector;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use crate::sync::thread::yield_now;
use crate::task::current::{self, Name};
use crate::task::raw::{Discard, Erased, Opened, Runnable, Runner, Tally, Task, Ticket, Turn};
use crate::task::recent::Recent;
use crate::task::traits::{Meta, Priority, TaskTraits};
use crate::time::Moment;

pub(super) const CLOSED: u8 = 1;
pub(super) const DISCARDING: u8 = 2;

/// What the handles and tickets of one parallel runner share.
pub(crate) struct Parallel {
    pub(super) slots: Slots,
    pub(super) queues: [Injector<Ticket>; 3],
    /// What was posted while a flush waits.
    pub(super) held: Mutex<VecDeque<Task>>,
    pub(super) bound: Option<Bound>,
    pub(super) control: AtomicU8,
    /// Rings when a slot ends.
    pub(super) ended: Bell,
    pub(super) tally: Tally,
    pub(super) posted: AtomicU64,
    pub(super) posted_delayed: AtomicU64,
    pub(super) ripened: AtomicU64,
    pub(super) dropped_delayed: AtomicU64,
    pub(super) overflowed: AtomicU64,
    pub(super) rejected: AtomicU64,
    /// Tasks dropped by close or shutdown.
    pub(super) discarded: AtomicU64,
    pub(super) core: Arc<Core>,
    pub(super) traits: TaskTraits,
    pub(super) runner: Runner,
    /// Where its tasks are written down.
    pub(super) recent: Option<Arc<Recent>>,
}

pub(super) fn add(counter: &AtomicU64) {
    // ORDER parallel.add: AcqRel; as the ledger's; pairs with parallel.read.
    counter.fetch_add(1, Ordering::AcqRel);
}

pub(super) fn read(counter: &AtomicU64) -> u64 {
    // ORDER parallel.read: Acquire; pairs with parallel.add.
    counter.load(Ordering::Acquire)
}

impl Parallel {
    pub(super) fn control(&self) -> u8 {
        // ORDER parallel.control: Acquire; what the closer did before is visible; pairs with parallel.close.
        self.control.load(Ordering::Acquire)
    }

    pub(super) fn admit(&self, meta: Meta) -> Result<Room, RejectReason> {
        if self.control() & CLOSED != 0 {
            return Err(RejectReason::Closed);
        }
        if let Some(bound) = &self.bound {
            let is_over = || self.control() & CLOSED != 0 || self.core.tracker.is_started();
            loop {
                if self.core.tracker.is_started() && !meta.blocks_shutdown() {
                    // WHY before the place: nothing is dropped for a post that is refused.
                    return Err(RejectReason::ShutDown);
                }
                match bound.reserve(!self.core.is_own_thread(), is_over, &self.core.ended) {
                    Room::Reserved => break,
                    Room::CallerRuns => return self.core.admit(meta).map(|()| Room::CallerRuns),
                    Room::Refused if self.control() & CLOSED != 0 => return Err(RejectReason::Closed),
                    Room::Refused if self.core.tracker.is_started() => return Err(RejectReason::ShutDown),
                    Room::Refused => return Err(RejectReason::Full),
                    Room::DropOldest => self.drop_oldest(bound),
                }
            }
        }
        let admitted = self.core.admit(meta);
        if let (Err(_), Some(bound)) = (&admitted, &self.bound) {
            bound.release();
        }
        admitted.map(|()| Room::Reserved)
    }

    /// Arms a timer. One that a discarding close did not see is taken back: the lock of the timers orders the flag before this look.
    pub(super) fn arm(this: &Arc<Erased<Self>>, due: Moment, task: Task) -> Result<Armed, Refused> {
        let parallel = &this.object;
        let accepted = || {
            parallel.core.ledger.count(parallel.core.worker_index(), Count::PostedDelayed);
            add(&parallel.posted_delayed);
        };
        let armed = parallel.core.arm(due, task, Arc::clone(this) as _, accepted)?;
        if parallel.control() & DISCARDING != 0 {
            armed.remove();
        }
        Ok(armed)
    }

    pub(super) fn close(this: &Arc<Erased<Self>>, is_discarding: bool) {
        let parallel = &this.object;
        let flags = if is_discarding { CLOSED | DISCARDING } else { CLOSED };
        // ORDER parallel.close: Release; pairs with parallel.control.
        parallel.control.fetch_or(flags, Ordering::Release);
        if let Some(bound) = &parallel.bound {
            bound.end_waits();
        }
        if is_discarding {
            parallel.core.pauses.end_of(parallel.runner.id);
            parallel.core.dormants.end_of(parallel.runner.id);
            let receiver = Arc::clone(this) as Arc<dyn Receiver>;
            parallel.core.timers.drop_all_of(&receiver, || parallel.stats().delayed > 0);
        }
    }

    pub(super) fn drop_oldest(&self, bound: &Bound) {
        let oldest =
            if self.slots.claim_to_drop() { Some(self.pop(Priority::ASCENDING)) } else { self.held.lock().pop_front() };
        // Without any, its poster has taken the place and not appended it yet.
        let Some(task) = oldest else { return yield_now() };
        bound.release();
        add(&self.overflowed);
        self.core.discard(task, Discard::Overflow, None);
    }

    /// A task that was claimed: of the first of these classes that has one, in the order of posting within it.
    pub(super) fn pop(&self, classes: [Priority; 3]) -> Task {
        loop {
            for class in classes {
                let queue = &self.queues[class.index()];
                if let Some(ticket) = until_settled(|| queue.steal()) {
                    match ticket.open() {
                        Opened::Task(task) => return task,
                        Opened::Object(_) => unreachable!("only tasks are queued here"),
                    }
                }
            }
            // WHY: its poster has counted it and not appended it yet.
            yield_now();
        }
    }

    /// The class of the most urgent task that is queued; its own while there is none.
    fn class_racy(&self) -> Priority {
        let is_waiting = |class: &Priority| !self.queues[class.index()].is_empty();
        Priority::DESCENDING.into_iter().find(is_waiting).unwrap_or(self.traits.priority())
    }

    /// Runs an admitted task on the poster's thread, in a context of its own.
    pub(super) fn run_by_caller(&self, task: Task) {
        add(&self.posted);
        self.core.run_by_caller(task, Some(&self.tally), || Scope::group(self.runner.id));
    }

    pub(super) fn push(this: &Arc<Erased<Self>>, task: Task) {
        let parallel = &this.object;
        add(&parallel.posted);
        parallel.core.ledger.count(parallel.core.worker_index(), Count::Posted);
        Self::queue(this, task);
    }

    /// Queues a task that neither a closed door nor a full queue refuses.
    pub(super) fn push_accepted(this: &Arc<Erased<Self>>, task: Task) {
        if let Some(bound) = &this.object.bound {
            bound.add_ripe();
        }
        Self::push(this, task);
    }

    pub(super) fn queue(this: &Arc<Erased<Self>>, task: Task) {
        let parallel = &this.object;
        if current::group() == parallel.runner.id {
            // WHY: a task that waits for what it has just posted must not wait for a flush that waits for it.
            parallel.slots.count_always();
        } else if !parallel.slots.count() {
            let mut held = parallel.held.lock();
            // WHY again: the flush may have ended before this lock was taken, with nobody left to bring what is held.
            if parallel.slots.is_flushing() {
                return held.push_back(task);
            }
            drop(held);
            parallel.slots.count_always();
        }
        let class = parallel.enqueue(task);
        Self::fill_one(this, class);
    }

    /// (B) of a counted task.
    pub(super) fn enqueue(&self, task: Task) -> Priority {
        let class = task.meta().priority();
        self.queues[class.index()].push(Ticket::of_task(task));
        class
    }

    pub(super) fn fill_one(this: &Arc<Erased<Self>>, class: Priority) -> bool {
        let takes = this.object.slots.take_slot();
        if takes {
            this.object.core.submit(Ticket::of_object(Arc::clone(this)), class);
        }
        takes
    }

    pub(super) fn discard_reason(&self, meta: Meta) -> Option<Discard> {
        let by_close = (self.control() & DISCARDING != 0).then_some(Discard::Closed);
        let by_shutdown = (self.core.tracker.is_started() && !meta.blocks_shutdown()).then_some(Discard::ShutDown);
        by_close.or(by_shutdown)
    }

    pub(super) fn run_one(&self, turn: &mut dyn Turn) {
        let task = self.pop(Priority::DESCENDING);
        if let Some(bound) = &self.bound {
            bound.release();
        }
        match self.discard_reason(task.meta()) {
            Some(Discard::Closed) => {
                add(&self.discarded);
                turn.discard(task, Discard::Closed, &self.tally);
            }
            Some(_) => {
                add(&self.discarded);
                turn.run(task, &self.tally);
            }
            None => turn.run(task, &self.tally),
        }
    }

    /// The flush is over: what was held back is queued, in its order, before anything posted from now on.
    pub(super) fn release_held(this: &Arc<Erased<Self>>) {
        let parallel = &this.object;
        {
            let mut held = parallel.held.lock();
            for task in held.drain(..) {
                parallel.slots.count_always();
                parallel.enqueue(task);
            }
            parallel.slots.end_flush();
        }
        while Self::fill_one(this, parallel.traits.priority()) {}
        parallel.ended.ring();
    }

    pub(super) fn stats(&self) -> RunnerStats {
        let panicked = Tally::read(&self.tally.panicked);
        let (ran, dropped) = (Tally::read(&self.tally.ran), Tally::read(&self.tally.dropped));
        let (overflowed, dropped_delayed) = (read(&self.overflowed), read(&self.dropped_delayed));
        let started = Tally::read(&self.tally.started).max(ran + dropped);
        let ripened = read(&self.ripened);
        let posted_delayed = read(&self.posted_delayed);
        let posted = read(&self.posted) + ripened;
        let queued = posted.saturating_sub(started + overflowed);
        RunnerStats {
            posted: started + overflowed + queued + (posted_delayed - ripened),
            ran,
            queued,
            delayed: posted_delayed - ripened - dropped_delayed,
            running: started - ran - dropped,
            dropped: dropped + overflowed + dropped_delayed,
            rejected: read(&self.rejected),
            panicked: panicked.min(ran),
        }
    }
}

impl Pausable for Erased<Parallel> {
    fn number(&self) -> u64 {
        self.object.runner.id
    }

    fn core(&self) -> &Arc<Core> {
        &self.object.core
    }

    fn pause(self: Arc<Self>) {
        self.object.slots.pause();
    }

    fn resume(self: Arc<Self>) {
        self.object.slots.resume();
        while Parallel::fill_one(&self, self.object.traits.priority()) {}
    }
}

impl Runnable for Parallel {
    fn run(this: Arc<Erased<Self>>, turn: &mut dyn Turn) {
        let parallel = &this.object;
        turn.enter(&parallel.runner);
        if let Some(ring) = &parallel.recent {
            turn.write_down_in(ring);
        }
        let scope = Scope::group(parallel.runner.id);
        let goes_on = loop {
            if !parallel.slots.claim() {
                if parallel.slots.end_slot() {
                    break false;
                }
                continue;
            }
            parallel.run_one(turn);
            if parallel.class_racy() < turn.class() {
                // What is left is less urgent than what the place was taken for.
                break true;
            }
            if parallel.slots.is_over_limit() && parallel.slots.end_slot() {
                break false;
            }
            if turn.is_over() {
                break true;
            }
        };
        drop(scope);
        if goes_on {
            let class = parallel.class_racy();
            return turn.requeue(Ticket::of_object(this), class);
        }
        // More may be allowed since this slot was found to be one too many.
        Self::fill_one(&this, parallel.traits.priority());
        parallel.ended.ring();
    }
}

/// A task of the runner whose delay is over, or never will be.
impl Receiver for Erased<Parallel> {
    fn ripen(self: Arc<Self>, task: Task) {
        let parallel = &self.object;
        if parallel.control() & DISCARDING != 0 {
            return self.drop_unripe(task, Discard::Closed);
        }
        if !parallel.core.tracker.admit(task.meta()) {
            return self.drop_unripe(task, Discard::ShutDown);
        }
        if let Some(bound) = &parallel.bound {
            bound.add_ripe();
        }
        parallel.core.ledger.count(parallel.core.worker_index(), Count::Ripened);
        add(&parallel.ripened);
        Parallel::queue(&self, task);
    }

    fn drop_unripe(self: Arc<Self>, task: Task, why: Discard) {
        let parallel = &self.object;
        drop_discarded(task, why);
        add(&parallel.dropped_delayed);
        parallel.core.ledger.count(parallel.core.worker_index(), Count::DroppedDelayed);
    }

    fn runner_name(&self) -> Option<Name> {
        self.object.runner.name.clone()
    }
}
