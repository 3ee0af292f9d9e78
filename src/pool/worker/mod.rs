//! The worker: next → run → sleep. Where work comes from and in which order is `select`'s and `core`'s business.
//!
//! One [`Worker::step`] is one ticket, or one step on the way to sleep. A step never blocks: it says for what to wait, and whoever drives the worker, a
//! thread's loop or a test in virtual time, waits and makes the next step.
//!
//! | mode | the next step | may lead to |
//! |---|---|---|
//! | *active* | runs a ticket, if there is one | *searching* |
//! | *searching* | looks again, sets the sleeper's bit, looks once more | *active*, *asleep* |
//! | *asleep* | clears the bit | *searching* |
//! | *in reserve* | goes back if it was called, leaves if its time is over | *active*, the end |
#![forbid(unsafe_code)]

mod rest;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::blocking::WorkerWaits;
use super::core::{Core, Here, set_here, set_own_pool, until_settled};
#[cfg(feature = "testing")]
use super::driven::{self, Told};
use super::idle::Idle;
use super::ledger::Count;
use super::observe::{self, Running};
use super::recent::Ended;
use super::select::{self, Order};
use super::slot::Slot;
use crate::park::{self, Attention, Wait};
use crate::sync::atomic::Ordering;
use crate::task::current::{self, Name};
use crate::task::panic::{drop_payload, message_of};
use crate::task::raw::{Deliver, Discard, Opened, Runner, Tally, Task, Ticket, Turn, Verdict};
use crate::task::recent::Recent;
use crate::task::site::Site;
use crate::task::traits::{Meta, Priority};
use crate::time::Moment;

/// Tasks per turn of a sequence (SEQ-5): enough to make the cost of a turn vanish, few enough to be fair.
const TURN_TASKS_MAX: u32 = 64;

/// Tasks between two looks at the clock within a turn (TIME-1).
const TASKS_PER_LOOK: u32 = 16;

/// Time per turn, counted from the first look at the clock.
const TURN_TIME_MAX: Duration = Duration::from_micros(500);

/// What a step did, or asks for before the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It ran a ticket.
    Ran,
    /// It did something else; there may be more to do.
    Moved,
    /// Nothing is left to do until there is a permit in the worker's parker, or so much time has passed.
    Wait(Option<Duration>),
    /// The worker leaves; there is no next step.
    Leave,
}

/// Where a worker is between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Active,
    Searching,
    Asleep,
    InReserve,
}

/// One worker thread's own state.
pub(crate) struct Worker {
    here: Rc<Here>,
    picks: u32,
    random: u32,
    mode: Mode,
    turn: TurnState,
}

/// The turn that a worker gives to a ticket.
struct TurnState {
    class: Priority,
    tasks: u32,
    tasks_max: u32,
    since: Option<Moment>,
    runner: Runner,
    /// Where the runner's tasks are written down.
    recent: Option<Arc<Recent>>,
    /// Tasks are written down, there or for the pool.
    is_written_down: bool,
}

/// The body of a worker thread.
pub(crate) fn main(core: &Arc<Core>, index: usize, name: &str) {
    let Some(mut worker) = Worker::enter(core, index) else { return core.staff.exit(index, false) };
    let outside = worker.come();
    observe::call(&core.settings.hooks.thread_start, name);
    worker.run();
    observe::call(&core.settings.hooks.thread_stop, name);
    drop(outside);
    worker.exit();
}

/// The thread is the worker until this is dropped; then it is again what it was before.
pub(crate) struct Outside {
    here: Option<Rc<Here>>,
    own_pool: usize,
    attention: Option<Rc<dyn Attention>>,
}

impl Drop for Outside {
    fn drop(&mut self) {
        set_here(self.here.take());
        set_own_pool(self.own_pool);
        drop(park::attend(self.attention.take()));
    }
}

impl Worker {
    /// The worker with that number, if nobody else is.
    pub(crate) fn enter(core: &Arc<Core>, index: usize) -> Option<Self> {
        let owner = core.slots[index].owner.lock().take()?;
        let home = core.slots[index].home.lock().clone();
        let random = 0x9E37_79B9_u32.wrapping_mul(index as u32 + 1) | 1;
        if home.is_some() {
            // Relaxed: a count.
            core.homes_busy.fetch_add(1, Ordering::Relaxed);
        }
        let here = Rc::new(Here { core: Arc::clone(core), index, owner, home });
        let runner = Runner { id: 0, name: None };
        let turn = TurnState {
            class: Priority::UserVisible,
            tasks: 0,
            tasks_max: TURN_TASKS_MAX,
            since: None,
            runner,
            recent: None,
            is_written_down: core.journal.is_kept(None),
        };
        Some(Self { here, picks: 0, random, mode: Mode::Active, turn })
    }

    /// Makes this thread the worker.
    pub(crate) fn come(&self) -> Outside {
        let core = &self.here.core;
        let waits = || WorkerWaits::new(core, self.here.index) as Rc<dyn Attention>;
        let attention = park::attend(self.here.home.is_none().then(waits));
        Outside { here: set_here(Some(Rc::clone(&self.here))), own_pool: set_own_pool(core.address()), attention }
    }

    /// The end of a worker that has left; no thread is it any more.
    pub(crate) fn exit(self) {
        let (index, is_home) = (self.here.index, self.here.home.is_some());
        let core = Arc::clone(&self.here.core);
        if is_home {
            let inbox = core.slots[index].home.lock().take();
            drop(inbox);
        }
        if let Some(here) = Rc::into_inner(self.here) {
            *core.slots[index].owner.lock() = Some(here.owner);
        }
        core.staff.exit(index, is_home);
        core.quiet.ring();
        core.ended.ring();
    }

    /// The choices of a schedule: where to steal first, and how many tasks a turn may have.
    #[cfg(feature = "testing")]
    pub(crate) fn vary(&mut self, random: u32, turn_tasks_max: u32) {
        self.random = random | 1;
        self.turn.tasks_max = turn_tasks_max.clamp(1, TURN_TASKS_MAX);
    }

    fn core(&self) -> &Core {
        &self.here.core
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.here.core.slots[self.here.index]
    }

    fn run(&mut self) {
        let here = Rc::clone(&self.here);
        let parker = &here.core.slots[here.index].parker;
        let mut has_permit = false;
        loop {
            #[cfg(feature = "testing")]
            if let Some(driver) = park::driver::current() {
                let (random, turn_tasks_max) = driver.lots();
                self.vary(random, turn_tasks_max);
            }
            match self.step(std::mem::take(&mut has_permit)) {
                Step::Ran => park::pause(),
                Step::Moved => {}
                Step::Wait(limit) => has_permit = park::park(parker, &Wait::on("work").at_most(limit)),
                Step::Leave => break,
            }
        }
    }

    /// Goes on for one step; `has_permit` tells whether the wait that the last step asked for ended with a permit.
    pub(crate) fn step(&mut self, has_permit: bool) -> Step {
        if self.here.home.is_some() {
            return self.step_at_home();
        }
        match self.mode {
            Mode::InReserve => return self.wait_in_reserve(has_permit),
            Mode::Asleep => self.wake_up(),
            Mode::Active | Mode::Searching => {}
        }
        if self.core().staff.has_surplus() && self.enter_reserve() {
            return self.wait_in_reserve(true);
        }
        if let Some((ticket, class)) = self.next() {
            self.stop_searching();
            self.execute(ticket, class);
            return Step::Ran;
        }
        if !self.core().tracker.is_complete() {
            return self.search_or_sleep();
        }
        // WHY: see the page of `shutdown`, steps (D, E, F).
        Idle::order_looks();
        self.core().sweep();
        self.leave()
    }

    fn leave(&mut self) -> Step {
        if self.mode == Mode::Searching {
            self.core().idle.leave();
        }
        Step::Leave
    }

    // ---- finding ----------------------------------------------------------------------------------------------------

    fn next(&mut self) -> Option<(Ticket, Priority)> {
        if self.core().is_fenced(Priority::UserVisible) {
            return None;
        }
        let order = select::order(self.picks);
        let found = order.classes.into_iter().find_map(|class| self.take(class, order).map(|ticket| (ticket, class)));
        if found.is_some() {
            self.count_pick();
        }
        found
    }

    /// Counts a pick. Where there is no service timers must ripen though there is always work.
    #[inline]
    fn count_pick(&mut self) {
        self.picks = self.picks.wrapping_add(1);
        // A home is pumped by somebody: it looks at each pick, since its turns are long and nobody else looks for it.
        let is_time = self.here.home.is_some() || self.picks % select::STARVATION_PERIOD == 0;
        if is_time && self.core().staff.is_without_service() {
            self.core().service_step(self.core().clock.now());
        }
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
        let may_take = core.is_waiting(Priority::BestEffort) && !core.is_fenced(Priority::BestEffort);
        if !may_take || !core.enter_best_effort() {
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

    // ---- running ----------------------------------------------------------------------------------------------------

    fn execute(&mut self, ticket: Ticket, class: Priority) {
        self.turn.class = class;
        self.turn.tasks = 0;
        self.turn.since = None;
        match ticket.open() {
            Opened::Task(task) => {
                if let Some(bound) = &self.core().bound {
                    bound.release();
                }
                self.run_task(task, None);
            }
            Opened::Object(object) => {
                object.run(self);
                self.leave_runner();
            }
        }
        current::leave();
        if class == Priority::BestEffort && self.here.home.is_none() {
            self.core().leave_best_effort();
        }
    }

    fn leave_runner(&mut self) {
        self.turn.runner.id = 0;
        if self.turn.runner.name.take().is_some() {
            self.slot().publish_runner(None);
        }
        if self.turn.recent.take().is_some() {
            self.turn.is_written_down = self.core().journal.is_kept(None);
        }
    }

    #[inline]
    fn run_task(&mut self, task: Task, tally: Option<&Tally>) {
        let (meta, site) = (task.meta(), task.site());
        let core = &*self.here.core;
        core.ledger.count(Some(self.here.index), Count::Started);
        if let Some(tally) = tally {
            tally.count(&tally.started);
        }
        self.slot().publish(site, meta);
        // WHY after it was counted and published: a shutdown that counts it among those that it does not wait for must find it.
        if !core.tracker.may_start(meta) {
            return core.discard_started(task, Discard::ShutDown, tally);
        }
        current::enter(site, meta);
        // BLK-2: another takes the place of a worker whose task takes long.
        let _long = meta.is_long_running().then(park::waiting);
        #[cfg(feature = "testing")]
        let _told = Told::begin(&self.here, site);
        if meta.is_extended() || self.turn.is_written_down {
            return self.run_observed(task, tally);
        }
        let verdict = task.run();
        self.conclude(verdict, site, meta, tally);
    }

    /// Runs a task that has a name or a span, or is written down.
    #[cold]
    fn run_observed(&self, task: Task, tally: Option<&Tally>) {
        let (meta, site) = (task.meta(), task.site());
        let (name, span) = match task.extension() {
            Some(extension) => {
                let span = observe::is_tracing().then(|| observe::task_span(extension, site, meta, &self.turn.runner));
                (extension.name.clone(), span)
            }
            None => (None, None),
        };
        let is_named = name.is_some();
        if is_named {
            self.slot().publish_name(name.clone());
        }
        let before = current::set_name(name);
        let started = self.core().start_to_write_down(self.turn.recent.as_ref());
        let verdict = match span {
            Some(span) => span.in_scope(|| task.run()),
            None => task.run(),
        };
        let name = current::set_name(before);
        if let Some(started) = started {
            self.write_down(&verdict, site, name, meta.priority(), started);
        }
        self.conclude(verdict, site, meta, tally);
        if is_named {
            self.slot().publish_name(None);
        }
    }

    /// Writes down what has ended, unless it was cancelled before it could begin.
    fn write_down(
        &self,
        verdict: &Verdict,
        site: &'static Site,
        name: Option<Name>,
        priority: Priority,
        started: Moment,
    ) {
        let panicked = match verdict {
            Verdict::Void => return,
            Verdict::Ran => false,
            Verdict::Panicked(_) => true,
            Verdict::Deliver(result) => result.panic_text().is_some(),
        };
        let running = Running { site, name, runner: self.turn.runner.name.clone() };
        self.core().write_down(running, Ended { priority, started, panicked }, self.turn.recent.as_ref());
    }

    #[inline(always)]
    fn conclude(&self, verdict: Verdict, site: &'static Site, meta: Meta, tally: Option<&Tally>) {
        match verdict {
            Verdict::Ran => self.count_ran(tally),
            verdict => self.conclude_unusual(verdict, site, tally),
        }
        self.core().ended(meta, true);
    }

    /// WHY apart: so that what every task passes through stays small.
    #[inline(never)]
    fn conclude_unusual(&self, verdict: Verdict, site: &'static Site, tally: Option<&Tally>) {
        match verdict {
            Verdict::Ran => self.count_ran(tally),
            Verdict::Void => self.count_void(tally),
            Verdict::Panicked(payload) => {
                #[cfg(feature = "testing")]
                driven::tell_forgotten(self.core(), self.slot(), site, &*payload);
                self.count_panic(site, message_of(&*payload), tally);
                drop_payload(payload);
                self.count_ran(tally);
            }
            Verdict::Deliver(result) => self.deliver(&*result, site, tally),
        }
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
            tally.count(&tally.ran);
        }
        self.core().ledger.count(Some(self.here.index), Count::Ran);
    }

    fn count_void(&self, tally: Option<&Tally>) {
        if let Some(tally) = tally {
            tally.count(&tally.dropped);
        }
        self.core().ledger.count(Some(self.here.index), Count::Dropped);
    }

    #[cold]
    fn count_panic(&self, site: &'static Site, message: Option<&str>, tally: Option<&Tally>) {
        if let Some(tally) = tally {
            tally.count(&tally.panicked);
        }
        self.core().ledger.count(Some(self.here.index), Count::Panicked);
        let running = self.slot().running_at(site);
        self.core().settings.hooks.tell_panic(running, message);
    }
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

    fn write_down_in(&mut self, ring: &Arc<Recent>) {
        self.turn.recent = Some(Arc::clone(ring));
        self.turn.is_written_down = true;
    }

    #[inline]
    fn run(&mut self, task: Task, tally: &Tally) {
        self.run_task(task, Some(tally));
    }

    fn discard(&mut self, task: Task, why: Discard, tally: &Tally) {
        // It is not part of the task before it.
        current::leave();
        self.core().discard(task, why, Some(tally));
    }

    #[inline]
    fn is_over(&mut self) -> bool {
        self.turn.tasks += 1;
        let class = self.turn.class;
        let is_pressed = || self.here.is_pressed(class) || self.core().is_fenced(class);
        let is_hurried = || self.here.home.as_ref().is_some_and(|home| home.is_hurried());
        if self.turn.tasks >= self.turn.tasks_max || is_pressed() || is_hurried() {
            return true;
        }
        if self.turn.tasks % TASKS_PER_LOOK != 0 {
            return false;
        }
        let now = self.here.core.clock.now();
        self.turn.since.get_or_insert(now).until(now) >= TURN_TIME_MAX
    }

    fn requeue(&mut self, ticket: Ticket, class: Priority) {
        match &self.here.home {
            Some(home) => home.put(ticket, class),
            None => self.core().submit(ticket, class),
        }
    }
}

/// True when more urgent work than the running task waits and no worker is free for it (PRI-6); on the thread of a single-thread runner, when it waits for that
/// thread. False outside of tasks.
///
/// Cheap enough to be asked in a loop: a few loads.
#[must_use]
pub fn should_yield() -> bool {
    let Some(class) = current::priority() else { return false };
    super::core::here().is_some_and(|here| here.is_pressed(class))
}
