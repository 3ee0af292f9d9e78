//! A sequence: a lane of tasks that a pool gives turns to.
//!
//! The words of the protocol are in `lane`; here is what a turn does, what a post checks, and what is counted.
#![forbid(unsafe_code)]

mod counts;
mod faces;
mod idle;

use std::sync::Arc;

use super::lane::Lane;
use super::sequence_local::Locals;
use super::{current, listed};
use crate::error::RejectReason;
use crate::park::Bell;
use crate::pool::bound::{Bound, Room};
use crate::pool::core::{Core, OwnPool};
use crate::pool::delayed::Armed;
use crate::pool::home::Home;
use crate::pool::ledger::Count;
use crate::pool::observe::Running;
use crate::pool::recent::Ended;
use crate::pool::task_builder::Refused;
use crate::pool::timer::Receiver;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::sync::thread::yield_now;
use crate::sync::unmodelled::OnceBox;
use crate::task::current as task_current;
use crate::task::panic::{Payload, catch};
use crate::task::raw::{Discard, Erased, Runnable, Runner, Tally, Task, Ticket, Turn};
use crate::task::recent::Recent;
use crate::task::site::Site;
use crate::task::traits::{Meta, Priority, TaskTraits};
use crate::time::Moment;
pub(crate) use idle::Flush;

const CLOSED: u8 = 1;
const DISCARDING: u8 = 2;

/// A consistent picture of a runner's counters: `posted` is the sum of `ran`, `queued`, `delayed`, `running` and `dropped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunnerStats {
    /// Tasks accepted so far, delayed ones included.
    pub posted: u64,
    /// Tasks that ran to their end, those that panicked included.
    pub ran: u64,
    /// Tasks that wait for their turn.
    pub queued: u64,
    /// Tasks whose delay is not over.
    pub delayed: u64,
    /// Tasks that run now: zero or one for a sequence.
    pub running: u64,
    /// Accepted tasks that were dropped without running.
    pub dropped: u64,
    /// Posts that were refused; not part of `posted`.
    pub rejected: u64,
    /// Tasks that panicked; part of `ran`.
    pub panicked: u64,
}

/// Counters that any thread may add to.
#[derive(Debug, Default)]
struct Shared {
    posted_delayed: AtomicU64,
    ripened: AtomicU64,
    /// Held while a ripe task is counted and pushed.
    ripening: Mutex<()>,
    dropped_delayed: AtomicU64,
    rejected: AtomicU64,
    /// Which task, counted from the first one pushed, was the first that close or shutdown dropped; 0 for none.
    first_discarded: AtomicU64,
}

/// What few sequences have, apart, so that the others are small.
#[derive(Default)]
pub(crate) struct Extras {
    pub(crate) bound: Option<Bound>,
    pub(crate) home: Option<Arc<Home>>,
    /// The values that live as long as the sequence.
    pub(super) locals: Locals,
    /// Where its tasks are written down.
    pub(crate) recent: Option<Arc<Recent>>,
}

impl Extras {
    /// In a box, if there are any.
    fn boxed(self) -> OnceBox<Self> {
        let is_some = self.bound.is_some() || self.home.is_some() || self.recent.is_some();
        if is_some { OnceBox::with_value(Box::new(self)) } else { OnceBox::new() }
    }
}

/// The object that a runner's handles and tickets share.
///
/// The order of the fields keeps what posters write, what both sides read, and what the drainer writes on different cache lines without padding: idle
/// strands are to be small.
#[repr(C)]
pub(crate) struct Sequence {
    /// Written by posters, and by the drainer at the ends of a turn.
    lane: Lane,
    /// Rarely used.
    turn_ended: Bell,
    shared: Shared,
    /// Rarely written, read by all.
    control: AtomicU8,
    own_class: AtomicU8,
    /// How often it is paused.
    pauses: AtomicU32,
    traits: TaskTraits,
    /// Queued tasks above the sequence's own class, and waits for it, by class.
    lifted: [AtomicU32; 3],
    core: Arc<Core>,
    /// What few sequences have; set at the beginning, or by the first local value.
    extras: OnceBox<Extras>,
    pub(crate) runner: Runner,
    /// Written by the drainer.
    tally: Tally,
}

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
const _: () = assert!(size_of::<Erased<Sequence>>() + 2 * size_of::<usize>() <= 256, "an idle strand is small");

fn add(counter: &AtomicU64) {
    // ORDER sequence.add: Release; as the ledger's; pairs with sequence.read.
    counter.fetch_add(1, Ordering::Release);
}

fn read(counter: &AtomicU64) -> u64 {
    // ORDER sequence.read: Acquire; pairs with sequence.add.
    counter.load(Ordering::Acquire)
}

impl Sequence {
    pub(crate) fn new(core: Arc<Core>, traits: TaskTraits, runner: Runner, extras: Extras) -> Arc<Erased<Self>> {
        let extras = extras.boxed();
        let is_listed = runner.name.is_some() || extras.get().is_some();
        let this = Erased::new(Self {
            lane: Lane::default(),
            tally: Tally::default(),
            control: AtomicU8::new(0),
            own_class: AtomicU8::new(traits.priority() as u8),
            pauses: AtomicU32::new(0),
            lifted: Default::default(),
            traits,
            runner,
            core,
            extras,
            turn_ended: Bell::new(),
            shared: Shared::default(),
        });
        if is_listed {
            listed::list(this.object.core(), &this);
        }
        this
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The thread that it runs on, if it has one of its own.
    #[inline]
    pub(crate) fn home(&self) -> Option<&Arc<Home>> {
        self.extras.get()?.home.as_ref()
    }

    #[inline]
    pub(super) fn bound(&self) -> Option<&Bound> {
        self.extras.get()?.bound.as_ref()
    }

    /// The values that live as long as the sequence.
    pub(super) fn locals(&self) -> &Locals {
        &self.extras.get_or_init(Box::default).locals
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Where its tasks are written down, if they are.
    pub(crate) fn recent(&self) -> Option<&Arc<Recent>> {
        self.extras.get()?.recent.as_ref()
    }

    /// The traits of a task of which nothing is said.
    #[inline]
    pub(crate) fn traits(&self) -> TaskTraits {
        self.traits.with_priority(self.own_class())
    }

    #[inline]
    fn control(&self) -> u8 {
        // ORDER sequence.control: Acquire; what the closer did before is visible; pairs with sequence.close.
        self.control.load(Ordering::Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.control() & CLOSED != 0
    }

    #[inline]
    fn own_class(&self) -> Priority {
        // Relaxed: who makes the sequence ready looks at the word of the lane first, in which `set_priority` leaves a trace.
        Priority::from_bits(u32::from(self.own_class.load(Ordering::Relaxed)))
    }

    /// The class that the sequence is scheduled in: its own, or that of a more urgent task queued in it (PRI-4).
    #[inline]
    pub(super) fn class(&self) -> Priority {
        let own = self.own_class();
        // Relaxed: counted before the push, whose exchange orders it.
        let is_lifted_to = |class: &Priority| self.lifted[class.index()].load(Ordering::Relaxed) > 0;
        Priority::DESCENDING.into_iter().take_while(|class| *class > own).find(is_lifted_to).unwrap_or(own)
    }

    /// True while no task may start.
    #[inline]
    fn is_held(&self) -> bool {
        // Relaxed: as in `own_class`.
        self.pauses.load(Ordering::Relaxed) > 0
    }

    /// The class to become ready in; `None` while it is paused.
    #[inline]
    fn startable(&self) -> Option<Priority> {
        if self.is_held() { None } else { Some(self.class()) }
    }

    /// The traits of a task for this sequence; marks one that is more urgent than the sequence itself.
    #[inline]
    pub(crate) fn meta(&self, traits: TaskTraits) -> Meta {
        let meta = Meta::new(traits);
        if traits.priority() > self.own_class() { meta.lifted() } else { meta }
    }

    /// Accepts a task of these traits, or says why not. An accepted one must be pushed.
    #[inline]
    pub(crate) fn admit(&self, meta: Meta) -> Result<(), RejectReason> {
        if self.is_closed() {
            return Err(RejectReason::Closed);
        }
        if let Some(bound) = self.bound() {
            self.reserve(bound, meta)?;
        }
        let admitted = self.core.admit(meta);
        if admitted.is_err() {
            self.release();
        }
        admitted
    }

    fn reserve(&self, bound: &Bound, meta: Meta) -> Result<(), RejectReason> {
        let is_over = || self.is_closed() || self.core.tracker.is_started();
        loop {
            if self.core.tracker.is_started() && !meta.blocks_shutdown() {
                // WHY before the place: nothing is dropped for a post that is refused.
                return Err(RejectReason::ShutDown);
            }
            match bound.reserve(!self.core.is_own_thread(), is_over, &self.core.ended) {
                Room::Reserved => return Ok(()),
                Room::Refused if self.is_closed() => return Err(RejectReason::Closed),
                Room::Refused if self.core.tracker.is_started() => return Err(RejectReason::ShutDown),
                Room::Refused | Room::CallerRuns => return Err(RejectReason::Full),
                Room::DropOldest => self.drop_oldest(bound),
            }
        }
    }

    /// Makes room for one task. The tasks dropped here are counted before they are dropped, since that runs user code.
    fn drop_oldest(&self, bound: &Bound) {
        let oldest = {
            let _consumer = bound.consumer.lock();
            let oldest = self.lane.pop();
            if oldest.is_some() {
                add(&bound.overflowed);
            }
            oldest
        };
        match oldest {
            None => yield_now(),
            Some(task) => {
                bound.release();
                self.unlift(task.meta());
                self.core.discard(task, Discard::Overflow, None);
            }
        }
    }

    fn release(&self) {
        if let Some(bound) = self.bound() {
            bound.release();
        }
    }

    /// Queues an admitted task and wakes a worker if one should be.
    #[inline]
    pub(crate) fn push(this: &Arc<Erased<Self>>, task: Task) {
        let core = &this.object.core;
        core.ledger.count(core.worker_index(), Count::Posted);
        let ticket = this.object.append(task);
        Self::queue_ticket(this, ticket);
    }

    /// Queues a task that neither a closed door nor a full queue refuses.
    pub(crate) fn push_accepted(this: &Arc<Erased<Self>>, task: Task) {
        if let Some(bound) = this.object.bound() {
            bound.add_ripe();
        }
        Self::push(this, task);
    }

    /// Queues a task whose delay is over.
    fn push_ripe(this: &Arc<Erased<Self>>, task: Task) {
        let sequence = &this.object;
        sequence.core.ledger.count(sequence.core.worker_index(), Count::Ripened);
        let ticket = {
            // WHY: who reads both counters sees both steps or none.
            let _both = sequence.shared.ripening.lock();
            add(&sequence.shared.ripened);
            sequence.append(task)
        };
        Self::queue_ticket(this, ticket);
    }

    /// Appends a task to the lane; `Some`, when a ticket must be queued.
    #[inline]
    fn append(&self, task: Task) -> Option<Priority> {
        let meta = task.meta();
        if meta.is_lifted() {
            // Relaxed: the push orders it.
            self.lifted[meta.priority().index()].fetch_add(1, Ordering::Relaxed);
        }
        let mut ticket = self.lane.push(task, || self.startable());
        if meta.is_lifted() && ticket.is_none() {
            ticket = self.lane.reclass(|| self.startable());
        }
        ticket
    }

    #[inline]
    fn queue_ticket(this: &Arc<Erased<Self>>, class: Option<Priority>) {
        if let Some(class) = class {
            let ticket = Ticket::of_object(Arc::clone(this));
            match this.object.home() {
                Some(home) => home.send(ticket, class),
                None => this.object.core.submit(ticket, class),
            }
        }
    }

    /// Takes the sequence for a task of this thread's own, if it is idle and may start (SEQ-11); the task was admitted. `f` is called in the turn.
    pub(super) fn run_if_idle<T>(
        this: &Arc<Erased<Self>>,
        (site, meta): (&'static Site, Meta),
        f: impl FnOnce() -> T,
    ) -> Result<Result<T, Payload>, impl FnOnce() -> T> {
        let sequence = &this.object;
        if sequence.core.is_fenced(sequence.class()) || sequence.is_held() || !sequence.lane.take_idle() {
            return Err(f);
        }
        let (core, tally) = (&sequence.core, &sequence.tally);
        core.ledger.count(core.worker_index(), Count::Posted);
        core.ledger.count(core.worker_index(), Count::Started);
        tally.count(&tally.started);
        sequence.release();
        let started = core.start_to_write_down(sequence.recent());
        let result = Self::call_in_turn(this, (site, meta), f);
        if let Some(started) = started {
            let running = Running { site, name: None, runner: sequence.runner.name.clone() };
            let ended = Ended { priority: meta.priority(), started, panicked: result.is_err() };
            core.write_down(running, ended, sequence.recent());
        }
        if result.is_err() {
            tally.count(&tally.panicked);
            core.ledger.count(core.worker_index(), Count::Panicked);
        }
        tally.count(&tally.ran);
        core.ledger.count(core.worker_index(), Count::Ran);
        core.ended(meta, true);
        sequence.end_turn(this);
        Ok(result)
    }

    /// Calls `f` in the turn that this thread has, as a task of the pool.
    pub(super) fn call_in_turn<T>(
        this: &Arc<Erased<Self>>,
        (site, meta): (&'static Site, Meta),
        f: impl FnOnce() -> T,
    ) -> Result<T, Payload> {
        let _outer = task_current::suspend();
        let _own = OwnPool::enter(&this.object.core);
        let _scope = current::Scope::enter(Arc::clone(this));
        task_current::enter(site, meta);
        catch(f)
    }

    /// The end of a turn that this thread has taken.
    fn end_turn(&self, this: &Arc<Erased<Self>>) {
        let popped = self.popped();
        if let Some(bound) = self.bound() {
            bound.set_over(popped);
        }
        let finished = self.lane.finish(popped, || self.startable());
        if finished.is_listened {
            self.turn_ended.ring();
        }
        Self::queue_ticket(this, finished.ticket);
    }

    fn unlift(&self, meta: Meta) {
        if meta.is_lifted() {
            // Relaxed: the end of the turn orders it.
            self.lifted[meta.priority().index()].fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Acts on everything that has not started (PRI-4).
    pub(crate) fn set_priority(this: &Arc<Erased<Self>>, priority: Priority) {
        let sequence = &this.object;
        // Relaxed: the exchange of `reclass` publishes it.
        sequence.own_class.store(priority as u8, Ordering::Relaxed);
        Self::reclass(this);
    }

    /// What the class depends on has changed.
    fn reclass(this: &Arc<Erased<Self>>) {
        let sequence = &this.object;
        Self::queue_ticket(this, sequence.lane.reclass(|| sequence.startable()));
    }

    pub(crate) fn close(this: &Arc<Erased<Self>>, is_discarding: bool) {
        let sequence = &this.object;
        let flags = if is_discarding { CLOSED | DISCARDING } else { CLOSED };
        // ORDER sequence.close: Release; pairs with sequence.control.
        sequence.control.fetch_or(flags, Ordering::Release);
        if let Some(bound) = sequence.bound() {
            bound.end_waits();
        }
        if is_discarding {
            sequence.core.pauses.end_of(sequence.runner.id);
            sequence.core.dormants.end_of(sequence.runner.id);
            let receiver = Arc::clone(this) as Arc<dyn Receiver>;
            sequence.core.timers.drop_all_of(&receiver, || sequence.stats().delayed > 0);
        }
    }

    /// Arms a timer. One that a discarding close did not see is taken back: the lock of the timers orders the flag before this look.
    pub(super) fn arm(this: &Arc<Erased<Self>>, due: Moment, task: Task) -> Result<Armed, Refused> {
        let sequence = &this.object;
        let armed = sequence.core.arm(due, task, Arc::clone(this) as _, || sequence.count_delayed())?;
        if sequence.control() & DISCARDING != 0 {
            armed.remove();
        }
        Ok(armed)
    }

    /// Counts a refused post.
    pub(crate) fn count_rejected(&self) {
        add(&self.shared.rejected);
    }

    /// Counts an accepted delayed post.
    fn count_delayed(&self) {
        self.core.ledger.count(self.core.worker_index(), Count::PostedDelayed);
        add(&self.shared.posted_delayed);
    }

    fn overflowed(&self) -> u64 {
        self.bound().map_or(0, |bound| read(&bound.overflowed))
    }

    /// So many tasks have left the FIFO.
    fn popped(&self) -> u64 {
        Tally::read(&self.tally.started) + self.overflowed()
    }

    /// So many tasks, counted from the first one pushed, are over.
    fn over(&self) -> u64 {
        match self.bound() {
            Some(bound) => read(&bound.over),
            None => Tally::read(&self.tally.ran) + Tally::read(&self.tally.dropped),
        }
    }

    /// True on a thread that holds the sequence's turn, or is the one that would have to run it.
    pub(crate) fn would_deadlock(&self) -> bool {
        current::holds(self.runner.id) || self.home().is_some_and(|home| home.inbox.is_pumped_here())
    }

    // ---- the turn ---------------------------------------------------------------------------------------------------

    /// The next task; for bounded sequences with the number of tasks popped so far.
    #[inline]
    fn pop(&self) -> Option<(Task, u64)> {
        let Some(bound) = self.bound() else { return self.lane.pop().map(|task| (task, 0)) };
        let (task, number) = {
            let _consumer = bound.consumer.lock();
            (self.lane.pop()?, Tally::read(&self.tally.started) + read(&bound.overflowed) + 1)
        };
        bound.release();
        Some((task, number))
    }

    /// The task that is popped now, with that number if the sequence is bounded, will not run.
    #[cold]
    fn note_discard(&self, number: u64) {
        if read(&self.shared.first_discarded) == 0 {
            let number = number.max(Tally::read(&self.tally.started) + 1);
            // ORDER sequence.discarded: Release; seen by who sees that the task is over; pairs with sequence.read.
            self.shared.first_discarded.store(number, Ordering::Release);
        }
    }

    /// Runs tasks until the turn is over; false when there was none to pop, though none is kept from starting.
    fn drain(&self, turn: &mut dyn Turn) -> bool {
        let mut has_progressed = false;
        let mut known = 0;
        let bound = self.bound();
        loop {
            // WHY counted before the look at the pauses: a task posted after a pause is counted after it, so whoever knows of the one sees the other.
            if known == 0 || bound.is_some() {
                known = self.lane.queued(self.popped());
            }
            if known == 0 || self.is_held() {
                break;
            }
            let Some((task, number)) = self.pop() else { break };
            known -= 1;
            has_progressed = true;
            let meta = task.meta();
            if self.control() & DISCARDING != 0 {
                self.note_discard(number);
                turn.discard(task, Discard::Closed, &self.tally);
            } else {
                if self.core.tracker.is_started() && !meta.blocks_shutdown() {
                    self.note_discard(number);
                }
                turn.run(task, &self.tally);
            }
            self.unlift(meta);
            if let Some(bound) = bound {
                bound.set_over(number);
            }
            // WHY the second: the turn was given for what has run, and the rest is less urgent.
            if turn.is_over() || (meta.is_lifted() && self.class() < turn.class()) {
                break;
            }
        }
        has_progressed || self.is_held()
    }
}

impl Runnable for Sequence {
    fn run(this: Arc<Erased<Self>>, turn: &mut dyn Turn) {
        let sequence = &this.object;
        if !sequence.lane.take(turn.class()) {
            return;
        }
        turn.enter(&sequence.runner);
        if let Some(ring) = sequence.recent() {
            turn.write_down_in(ring);
        }
        let scope = current::Scope::enter(Arc::clone(&this));
        let has_progressed = sequence.drain(turn);
        drop(scope);
        let popped = sequence.popped();
        let finished = sequence.lane.finish(popped, || sequence.startable());
        if finished.is_listened {
            sequence.turn_ended.ring();
        }
        if !has_progressed {
            // WHY: a poster has stopped in the middle of its push; it may need this very core to go on.
            yield_now();
        }
        if let Some(class) = finished.ticket {
            turn.requeue(Ticket::of_object(this), class);
        }
    }
}
