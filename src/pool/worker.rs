//! The worker: next → run → sleep. Where work comes from and in which order is `select`'s and `core`'s business.
//!
//! One [`Worker::step`] is one ticket: the loop in [`main`] is the only caller that sleeps.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;

use super::core::{Core, Here, set_here, set_own_pool, until_settled};
use super::idle::Idle;
use super::ledger::Count;
use super::observe;
use super::select::{self, Order};
use super::slot::Slot;
use super::staff::{RESERVE_TIME, WorkerWaits};
use crate::park;
use crate::sync::atomic::Ordering;
use crate::sync::spin_loop;
use crate::task::current;
use crate::task::panic::{drop_payload, message_of};
use crate::task::raw::{Deliver, Discard, Opened, Runner, Tally, Task, Ticket, Turn, Verdict};
use crate::task::site::Site;
use crate::task::traits::{Meta, Priority};
use crate::time::Moment;
use crate::zoo;

/// Tasks per turn of a sequence (SEQ-5): enough to make the cost of a turn vanish, few enough to be fair.
const TURN_TASKS_MAX: u32 = 64;

/// Tasks between two looks at the clock within a turn (TIME-1).
const TASKS_PER_LOOK: u32 = 16;

/// Time per turn, counted from the first look at the clock.
const TURN_TIME_MAX: std::time::Duration = std::time::Duration::from_micros(500);

/// Looks at the queues before a worker goes to sleep. More would cost CPU with every lone post; see `benches/README.md`.
const SEARCH_ROUNDS: u32 = if cfg!(any(overstrand_loom, overstrand_shuttle, miri)) { 0 } else { 4 };

/// Pauses between two of them.
const PAUSES_PER_ROUND: u32 = 15;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Ran,
    /// There is nothing to run.
    Idle,
    /// The pool has ended.
    Leave,
}

/// One worker thread's own state.
pub(crate) struct Worker {
    here: Rc<Here>,
    picks: u32,
    random: u32,
    is_searching: bool,
    turn: TurnState,
}

/// The turn that a worker gives to a ticket.
struct TurnState {
    class: Priority,
    tasks: u32,
    since: Option<Moment>,
    runner: Runner,
}

/// The body of a worker thread.
pub(crate) fn main(core: Arc<Core>, index: usize, name: &str) {
    let owner = core.slots[index].owner.lock().take();
    let Some(owner) = owner else { return core.staff.exit(index) };
    set_own_pool(Some(&core));
    let here = Rc::new(Here { core: Arc::clone(&core), index, owner });
    set_here(Some(Rc::clone(&here)));
    park::attend(Some(Rc::new(WorkerWaits(Arc::clone(&core)))));
    observe::call(&core.settings.hooks.thread_start, name);
    Worker::new(Rc::clone(&here)).run();
    observe::call(&core.settings.hooks.thread_stop, name);
    park::attend(None);
    set_here(None);
    if let Some(here) = Rc::into_inner(here) {
        *core.slots[index].owner.lock() = Some(here.owner);
    }
    set_own_pool(None);
    core.staff.exit(index);
    core.quiet.ring();
    core.ended.ring();
}

impl Worker {
    pub(crate) fn new(here: Rc<Here>) -> Self {
        let random = 0x9E37_79B9_u32.wrapping_mul(here.index as u32 + 1) | 1;
        let runner = Runner { id: 0, name: None };
        let turn = TurnState { class: Priority::UserVisible, tasks: 0, since: None, runner };
        Self { here, picks: 0, random, is_searching: false, turn }
    }

    fn core(&self) -> &Core {
        &self.here.core
    }

    fn slot(&self) -> &Slot {
        &self.here.core.slots[self.here.index]
    }

    fn run(&mut self) {
        loop {
            match self.step() {
                Step::Ran => {}
                Step::Idle => self.sleep(),
                Step::Leave => break,
            }
        }
        if self.is_searching {
            self.core().idle.leave();
        }
    }

    /// Runs the best ticket that there is.
    pub(crate) fn step(&mut self) -> Step {
        if self.core().staff.has_surplus() && !self.keep_place() {
            return Step::Leave;
        }
        if let Some((ticket, class)) = self.next() {
            self.stop_searching();
            self.execute(ticket, class);
            return Step::Ran;
        }
        if !self.core().tracker.is_complete() {
            return Step::Idle;
        }
        // WHY: see the page of `shutdown`, steps (D, E, F).
        Idle::order_looks();
        self.core().sweep();
        Step::Leave
    }

    // ---- finding ----------------------------------------------------------------------------------------------------

    fn next(&mut self) -> Option<(Ticket, Priority)> {
        let order = select::order(self.picks);
        let found = order.classes.into_iter().find_map(|class| self.take(class, order).map(|ticket| (ticket, class)));
        if found.is_some() {
            self.picks = self.picks.wrapping_add(1);
            if self.picks % select::STARVATION_PERIOD == 0 && self.core().staff.is_without_service() {
                self.core().service_step(self.core().clock.now());
            }
        }
        found
    }

    #[inline]
    fn take(&mut self, class: Priority, order: Order) -> Option<Ticket> {
        match class {
            Priority::UserBlocking => self.core().take_injected(class, None),
            Priority::UserVisible => self.take_default(order),
            Priority::BestEffort => self.take_best_effort(),
        }
    }

    #[inline]
    fn take_default(&mut self, order: Order) -> Option<Ticket> {
        let (core, owner) = (&*self.here.core, &self.here.owner);
        if order.injector_first && !core.is_strict() {
            let injected = core.take_injected(Priority::UserVisible, None);
            if injected.is_some() {
                return injected;
            }
        }
        if let Some(own) = owner.pop() {
            return Some(own);
        }
        let taken = core.take_injected(Priority::UserVisible, Some(owner)).or_else(|| self.steal());
        if taken.is_some() {
            self.share_batch();
        }
        taken
    }

    /// Tells about tickets that came along with the one taken. While they were on their way no other worker could see them, so one may have gone to
    /// sleep for their lack.
    #[inline]
    fn share_batch(&self) {
        if self.core().is_worth_stealing(self.slot()) {
            self.core().notify(Some(&self.here));
        }
    }

    fn take_best_effort(&self) -> Option<Ticket> {
        let core = self.core();
        if !core.is_waiting(Priority::BestEffort) || !core.enter_best_effort() {
            return None;
        }
        let ticket = core.take_injected(Priority::BestEffort, None);
        if ticket.is_none() {
            core.leave_best_effort();
        }
        ticket
    }

    /// Takes from another worker's deque, beginning with a random one.
    fn steal(&mut self) -> Option<Ticket> {
        let here = Rc::clone(&self.here);
        let slots = here.core.used_slots();
        if slots.len() < 2 {
            return None;
        }
        let first = self.next_random() as usize % slots.len();
        let victims = (first..slots.len()).chain(0..first).filter(|&victim| victim != here.index);
        for victim in victims {
            let thief = &slots[victim].thief;
            if !here.core.is_worth_stealing(&slots[victim]) {
                continue;
            }
            if let Some(ticket) = until_settled(|| thief.steal_batch_and_pop(&here.owner)) {
                here.core.ledger.count(Some(here.index), Count::Steals);
                return Some(ticket);
            }
        }
        None
    }

    fn next_random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }

    // ---- sleeping ---------------------------------------------------------------------------------------------------

    fn stop_searching(&mut self) {
        if std::mem::take(&mut self.is_searching) {
            let core = self.core();
            if core.idle.found() && core.has_work() {
                core.notify(Some(&self.here));
            }
        }
    }

    fn sleep(&mut self) {
        let here = Rc::clone(&self.here);
        let core = &*here.core;
        if !std::mem::replace(&mut self.is_searching, true) {
            core.idle.begin_search();
            if search_found(core) {
                return;
            }
        }
        core.idle.prepare_sleep(here.index);
        let must_look = !zoo::has("Z3") && core.has_work();
        if !must_look && !core.tracker.is_complete() && !core.staff.has_surplus() {
            if core.quiet.is_listened_racy() {
                core.quiet.ring();
            }
            self.park();
        }
        core.idle.wake_up(here.index);
        core.resume_watch();
    }

    fn park(&self) {
        let core = self.core();
        if core.staff.is_without_service() {
            let now = core.clock.now();
            let next = core.service_step(now);
            if next != Moment::NEVER {
                self.slot().parker.park_timeout(now.until(next));
                return;
            }
        }
        self.slot().parker.park();
    }

    /// There may be one worker too many; false when this one shall leave for good.
    fn keep_place(&mut self) -> bool {
        let here = Rc::clone(&self.here);
        let core = &*here.core;
        if !core.staff.enter_reserve(here.index) {
            return true;
        }
        if std::mem::take(&mut self.is_searching) {
            core.idle.leave();
        }
        // WHY: what lies in the deque of a thread that does not run would wait for a thief.
        while let Some(ticket) = here.owner.pop() {
            core.submit_injected(ticket, Priority::UserVisible);
        }
        core.notify(Some(&here));
        self.wait_in_reserve()
    }

    fn wait_in_reserve(&self) -> bool {
        let (core, slot) = (self.core(), self.slot());
        // ORDER worker.called: Acquire; pairs with core.call.
        while !slot.is_called.swap(false, Ordering::Acquire) {
            // WHY before the wait: the permit that completion left may have been used up on the way here.
            let is_superfluous = core.tracker.is_complete() || !slot.parker.park_timeout(RESERVE_TIME);
            if is_superfluous && core.staff.leave_reserve(self.here.index) {
                return false;
            }
        }
        true
    }

    // ---- running ----------------------------------------------------------------------------------------------------

    fn execute(&mut self, ticket: Ticket, class: Priority) {
        self.turn.class = class;
        self.turn.tasks = 0;
        self.turn.since = None;
        match ticket.open() {
            Opened::Task(task) => self.run_task(task, None),
            Opened::Object(object) => {
                object.run(self);
                self.leave_runner();
            }
        }
        current::leave();
        if class == Priority::BestEffort {
            self.core().leave_best_effort();
        }
    }

    fn leave_runner(&mut self) {
        self.turn.runner.id = 0;
        if self.turn.runner.name.take().is_some() {
            self.slot().publish_runner(None);
        }
    }

    #[inline]
    fn run_task(&mut self, task: Task, tally: Option<&Tally>) {
        let (meta, site) = (task.meta(), task.site());
        let core = &*self.here.core;
        core.ledger.count(Some(self.here.index), Count::Started);
        if let Some(tally) = tally {
            Tally::count(&tally.started);
        }
        self.slot().publish(site, meta);
        // WHY after it was counted and published: a shutdown that counts it among those that it does not wait for must find it.
        if !core.tracker.may_start(meta) {
            return core.discard_started(task, Discard::ShutDown, tally);
        }
        current::enter(site, meta);
        if meta.is_extended() {
            return self.run_extended(task, tally);
        }
        let verdict = task.run();
        self.conclude(verdict, site, meta, tally);
    }

    /// Runs a task that has a name or a span.
    #[cold]
    fn run_extended(&self, task: Task, tally: Option<&Tally>) {
        let (meta, site) = (task.meta(), task.site());
        let (name, span) = match task.extension() {
            Some(extension) => {
                let span = observe::is_tracing().then(|| observe::task_span(extension, site, meta, &self.turn.runner));
                (extension.name.clone(), span)
            }
            None => (None, None),
        };
        self.slot().publish_name(name.clone());
        let before = current::set_name(name);
        let verdict = match span {
            Some(span) => span.in_scope(|| task.run()),
            None => task.run(),
        };
        drop(current::set_name(before));
        self.conclude(verdict, site, meta, tally);
        self.slot().publish_name(None);
    }

    #[inline]
    fn conclude(&self, verdict: Verdict, site: &'static Site, meta: Meta, tally: Option<&Tally>) {
        match verdict {
            Verdict::Ran => self.count_ran(tally),
            Verdict::Void => self.count_void(tally),
            Verdict::Panicked(payload) => {
                self.count_panic(site, message_of(&*payload), tally);
                drop_payload(payload);
                self.count_ran(tally);
            }
            Verdict::Deliver(result) => self.deliver(&*result, site, tally),
        }
        self.core().ended(meta, true);
    }

    fn deliver(&self, result: &dyn Deliver, site: &'static Site, tally: Option<&Tally>) {
        if let Some(text) = result.panic_text() {
            self.count_panic(site, text.as_deref(), tally);
        }
        // WHY: counted before the result is seen, so that who has the result finds it counted.
        self.count_ran(tally);
        if result.deliver() {
            self.count_panic(site, Some("the result panicked when it was dropped"), tally);
        }
    }

    #[inline]
    fn count_ran(&self, tally: Option<&Tally>) {
        if let Some(tally) = tally {
            Tally::count(&tally.ran);
        }
        self.core().ledger.count(Some(self.here.index), Count::Ran);
    }

    fn count_void(&self, tally: Option<&Tally>) {
        if let Some(tally) = tally {
            Tally::count(&tally.dropped);
        }
        self.core().ledger.count(Some(self.here.index), Count::Dropped);
    }

    #[cold]
    fn count_panic(&self, site: &'static Site, message: Option<&str>, tally: Option<&Tally>) {
        if let Some(tally) = tally {
            Tally::count(&tally.panicked);
        }
        self.core().ledger.count(Some(self.here.index), Count::Panicked);
        let running = self.slot().running_at(site);
        self.core().settings.hooks.tell_panic(running, message);
    }
}

/// Looks a few times more before going to sleep.
fn search_found(core: &Core) -> bool {
    (0..SEARCH_ROUNDS).any(|_| {
        (0..PAUSES_PER_ROUND).for_each(|_| spin_loop());
        core.has_work()
    })
}

impl Turn for Worker {
    fn class(&self) -> Priority {
        self.turn.class
    }

    fn enter(&mut self, runner: &Runner) {
        self.turn.runner.id = runner.id;
        if runner.name.is_some() {
            self.turn.runner.name.clone_from(&runner.name);
            self.slot().publish_runner(runner.name.clone());
        }
    }

    #[inline]
    fn run(&mut self, task: Task, tally: &Tally) {
        self.run_task(task, Some(tally));
    }

    fn discard(&mut self, task: Task, why: Discard, tally: &Tally) {
        self.core().discard(task, why, Some(tally));
    }

    #[inline]
    fn is_over(&mut self) -> bool {
        self.turn.tasks += 1;
        if self.turn.tasks >= TURN_TASKS_MAX || self.core().is_pressed(self.turn.class) {
            return true;
        }
        if self.turn.tasks % TASKS_PER_LOOK != 0 {
            return false;
        }
        let now = self.here.core.clock.now();
        self.turn.since.get_or_insert(now).until(now) >= TURN_TIME_MAX
    }

    fn requeue(&mut self, ticket: Ticket, class: Priority) {
        self.core().submit(ticket, class);
    }
}

/// True when more urgent work than the running task waits and no worker is free for it (PRI-6). False outside of tasks.
///
/// Cheap enough to be asked in a loop: a few loads.
#[must_use]
pub fn should_yield() -> bool {
    let Some(class) = current::priority() else { return false };
    super::core::here().is_some_and(|here| here.core.is_pressed(class))
}
