//! What all handles and threads of one pool share, and how a task gets from a poster to a worker.
//!
//! Legend of the fields: `I` immutable after start · `A` atomic, see its page · `L` inside its lock.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::blocking::Blocking;
use super::bound::{Bound, Overflow};
use super::dormant::Dormants;
#[cfg(feature = "testing")]
use super::driven::Observer;
use super::endings::Endings;
use super::fence::Fences;
use super::home::{Home, Inbox};
use super::idle::Idle;
use super::ledger::{Count, Ledger};
use super::observe::Hooks;
use super::patrol::Patrol;
use super::pause::Pauses;
use super::recent::Journal;
use super::restrict::Restrictions;
use super::roster::Roster;
use super::shutdown::{Completion, Tracker};
use super::slot::Slot;
use super::staff::Staff;
use super::stall::Watch;
use super::timer::{Inserted, Receiver, Timers};
use crate::error::{RejectReason, Rejected};
use crate::park::{Bell, Parker};
use crate::queue::steal::{Injector, Owner, Steal};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::unmodelled::OnceCell;
use crate::sync::{Mutex, local};
use crate::task::current::Name;
use crate::task::raw::{Task, Ticket};
use crate::task::traits::{Meta, Priority, TaskTraits};
use crate::time::{Clock, Moment};
use crate::zoo;

/// What the builder settled.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: Name,
    pub(crate) workers: usize,
    pub(crate) best_effort_max: usize,
    pub(crate) threads_max: usize,
    pub(crate) stack_size: Option<usize>,
    pub(crate) stall_threshold: Duration,
    pub(crate) may_block_threshold: Duration,
    pub(crate) bound: Option<(usize, Overflow)>,
    pub(crate) recent_tasks: usize,
    pub(crate) hooks: Hooks,
}

/// The shared part of a pool.
pub(crate) struct Core {
    pub(crate) settings: Settings,                 // I
    pub(crate) clock: Arc<dyn Clock>,              // I
    pub(crate) tracker: Tracker,                   // A
    pub(crate) ledger: Ledger,                     // A
    pub(crate) idle: Idle,                         // A
    injectors: [CachePadded<Injector<Ticket>>; 3], // A
    pub(crate) slots: Box<[Slot]>,                 // A, L
    /// The bound of the tasks posted to the pool itself.
    pub(crate) bound: Option<Bound>, // A
    /// Slots below this have or had a thread.
    pub(crate) slots_used: AtomicUsize, // A
    best_effort_running: AtomicUsize,              // A
    pub(crate) timers: Timers,                     // L
    pub(crate) service: Arc<Parker>,               // A
    pub(crate) staff: Staff,                       // L
    pub(crate) watch: Watch,                       // L
    pub(crate) patrol: Patrol,                     // A
    pub(crate) journal: Journal,                   // I, L
    pub(crate) roster: Roster,                     // L
    /// Rings when nothing may be left to run.
    pub(crate) quiet: Bell, // L
    /// Rings when shutdown made progress.
    pub(crate) ended: Bell, // L
    /// The stall watcher sleeps until a worker wakes.
    pub(crate) watch_is_paused: AtomicBool, // A
    pub(crate) fences: Fences,                     // A
    pub(crate) pauses: Pauses,                     // L
    pub(crate) restrictions: Restrictions,         // L
    pub(crate) dormants: Dormants,                 // L
    pub(crate) endings: Endings,                   // L
    pub(crate) blocking: Blocking,                 // A, L
    /// Itself, for threads that it starts.
    this: OnceCell<Weak<Core>>,
    /// Homes that run something.
    pub(crate) homes_busy: AtomicUsize, // A
    /// The thread that runners share which ask for one, by their traits.
    pub(crate) shared_homes: Mutex<Vec<(TaskTraits, Weak<Home>)>>, // L
    /// When the stall watcher looks next.
    pub(crate) next_watch: AtomicU64, // A
    #[cfg(feature = "testing")]
    observer: Option<Arc<dyn Observer>>, // I
}

/// What a worker thread knows of itself.
pub(crate) struct Here {
    pub(crate) core: Arc<Core>,
    pub(crate) index: usize,
    pub(crate) owner: Owner<Ticket>,
    /// Where all its work comes from, if it is the thread of a runner.
    pub(crate) home: Option<Arc<Inbox>>,
}

local! {
    static OWN_POOL: Cell<usize> = Cell::new(0);
    static HERE: RefCell<Option<Rc<Here>>> = RefCell::new(None);
}

/// Makes this thread one of a pool's own, told by its address, or with 0 of none; gives back what it was before.
pub(crate) fn set_own_pool(address: usize) -> usize {
    OWN_POOL.with(|own| own.replace(address))
}

/// Makes this thread one of the pool's own until dropped.
pub(crate) struct OwnPool(usize);

impl OwnPool {
    pub(crate) fn enter(core: &Core) -> Self {
        Self(set_own_pool(core.address()))
    }
}

impl Drop for OwnPool {
    fn drop(&mut self) {
        set_own_pool(self.0);
    }
}

/// Makes this thread the worker, or with `None` no worker any more; gives back what it was before.
pub(crate) fn set_here(here: Option<Rc<Here>>) -> Option<Rc<Here>> {
    HERE.with(|slot| slot.replace(here))
}

/// The worker that this thread is.
pub(crate) fn here() -> Option<Rc<Here>> {
    HERE.try_with(|slot| slot.borrow().clone()).ok().flatten()
}

impl Core {
    pub(crate) fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let threads_max = settings.threads_max;
        Self {
            timers: Timers::new(clock.now()),
            tracker: Tracker::default(),
            ledger: Ledger::new(threads_max),
            idle: Idle::new(threads_max),
            injectors: std::array::from_fn(|_| CachePadded::new(Injector::new())),
            slots: (0..threads_max).map(|_| Slot::new()).collect(),
            bound: settings.bound.map(|(capacity, overflow)| Bound::new(capacity, overflow)),
            slots_used: AtomicUsize::new(0),
            best_effort_running: AtomicUsize::new(0),
            service: Arc::new(Parker::new()),
            staff: Staff::new(threads_max),
            watch: Watch::new(threads_max, settings.stall_threshold),
            patrol: Patrol::new(clock.goes_by_itself()),
            journal: Journal::new(clock.now(), settings.recent_tasks),
            roster: Roster::default(),
            quiet: Bell::new(),
            ended: Bell::new(),
            watch_is_paused: AtomicBool::new(false),
            fences: Fences::default(),
            pauses: Pauses::default(),
            restrictions: Restrictions::default(),
            dormants: Dormants::default(),
            endings: Endings::default(),
            blocking: Blocking::default(),
            this: OnceCell::new(),
            homes_busy: AtomicUsize::new(0),
            shared_homes: Mutex::new(Vec::new()),
            next_watch: AtomicU64::new(0),
            #[cfg(feature = "testing")]
            observer: None,
            settings,
            clock,
        }
    }

    /// The shared core of new settings.
    pub(crate) fn share(self) -> Arc<Self> {
        let this = Arc::new(self);
        let _ = this.this.set(Arc::downgrade(&this));
        this
    }

    /// Itself, while somebody else holds it.
    pub(crate) fn this(&self) -> Option<Arc<Self>> {
        self.this.get().and_then(Weak::upgrade)
    }

    /// The pool is driven by a test, which hears of what happens.
    #[cfg(feature = "testing")]
    pub(crate) fn observe(&mut self, observer: Arc<dyn Observer>) {
        self.patrol = Patrol::new(false);
        self.observer = Some(observer);
    }

    #[cfg(feature = "testing")]
    pub(crate) fn observer(&self) -> Option<&Arc<dyn Observer>> {
        self.observer.as_ref()
    }

    /// Something was posted by a thread that is no worker.
    #[inline]
    pub(crate) fn note_foreign(&self) {
        #[cfg(feature = "testing")]
        if let Some(observer) = &self.observer {
            observer.posted();
        }
    }

    /// Calls `f` with this thread's worker, if it is one of this pool.
    #[inline]
    pub(crate) fn with_here<T>(&self, f: impl FnOnce(Option<&Here>) -> T) -> T {
        let mut f = Some(f);
        let answer = HERE.try_with(|slot| {
            let here = slot.borrow();
            let mine = here.as_deref().filter(|here| std::ptr::eq(&*here.core, self));
            f.take().map(|f| f(mine))
        });
        match (answer, f) {
            (Ok(Some(value)), _) => value,
            (_, Some(f)) => f(None),
            _ => unreachable!("the closure is called once"),
        }
    }

    /// The index of this thread's worker, if it is one of this pool.
    #[inline]
    pub(crate) fn worker_index(&self) -> Option<usize> {
        self.with_here(|here| here.map(|here| here.index))
    }

    /// True on a thread of this pool.
    pub(crate) fn is_own_thread(&self) -> bool {
        OWN_POOL.try_with(Cell::get).is_ok_and(|own| own == self.address())
    }

    /// Tells pools apart.
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    // ---- posting ----------------------------------------------------------------------------------------------------

    /// Accepts a task of these traits, or says why not. An accepted one must be submitted.
    #[inline]
    pub(crate) fn admit(&self, meta: Meta) -> Result<(), RejectReason> {
        if self.tracker.admit(meta) { Ok(()) } else { Err(RejectReason::ShutDown) }
    }

    /// Gives back what was refused, and tells.
    #[cold]
    pub(crate) fn reject<F>(
        &self,
        task: F,
        name: Option<Name>,
        location: &'static Location<'static>,
        runner: Option<Name>,
        reason: RejectReason,
    ) -> Rejected<F> {
        self.ledger.count(self.worker_index(), Count::Rejected);
        self.settings.hooks.tell_rejected(name, location, runner, reason);
        Rejected::new(reason, task)
    }

    /// Queues an admitted task of the pool itself, which has no place in a bounded queue and takes one.
    pub(crate) fn submit_unbounded(&self, task: Task, class: Priority, what: Count) {
        if let Some(bound) = &self.bound {
            bound.add_ripe();
        }
        self.submit_task(task, class, what);
    }

    /// Queues an admitted task of the pool itself.
    #[inline]
    pub(crate) fn submit_task(&self, task: Task, class: Priority, what: Count) {
        self.with_here(|here| {
            self.ledger.count(here.map(|here| here.index), what);
            self.submit_from(here, Ticket::of_task(task), class);
        });
    }

    /// Queues something to run, and wakes a worker for it if one should be.
    #[inline]
    pub(crate) fn submit(&self, ticket: Ticket, class: Priority) {
        self.with_here(|here| self.submit_from(here, ticket, class));
    }

    /// Queues something where every worker can see it, without waking one.
    pub(crate) fn submit_injected(&self, ticket: Ticket, class: Priority) {
        self.injectors[class.index()].push(ticket);
    }

    #[inline]
    fn submit_from(&self, here: Option<&Here>, ticket: Ticket, class: Priority) {
        if zoo::has("Z2") {
            self.notify(here);
        }
        if here.is_none() {
            self.note_foreign();
        }
        match here {
            Some(here) if class == Priority::UserVisible && here.home.is_none() && self.may_keep() => {
                if self.keep(here, ticket) {
                    return;
                }
            }
            _ => self.injectors[class.index()].push(ticket),
        }
        let is_kept_quiet = zoo::has("Z2") || (zoo::has("Z7") && here.is_some());
        if !is_kept_quiet {
            self.notify(here);
        }
        // WHY: after the fence in `notify`; see the page of `shutdown`, step (C).
        if self.tracker.is_complete() {
            self.sweep();
        }
    }

    /// In a pool of one worker tasks start in the order in which they became ready (PRI-1): what a worker posts goes behind what was
    /// posted from outside before.
    #[inline]
    fn may_keep(&self) -> bool {
        !self.is_strict() || !self.is_waiting(Priority::UserVisible)
    }

    /// Puts a worker's own ticket into its deque; true when nobody need be told: the worker comes to it after its task, and if it does not,
    /// somebody looks after it.
    #[inline]
    fn keep(&self, here: &Here, ticket: Ticket) -> bool {
        let is_only_one = here.owner.is_empty();
        here.owner.push(ticket);
        // WHY: no worker leaves after completion without emptying its own deque, so the poster, who is one, need not look for it.
        is_only_one && self.patrol.looks_after(self.is_strict(), || self.service.unpark())
    }

    #[inline]
    pub(crate) fn is_strict(&self) -> bool {
        self.settings.workers == 1
    }

    #[inline]
    pub(crate) fn notify(&self, here: Option<&Here>) {
        if let Some(worker) = self.idle.claim() {
            self.wake(here, worker);
        }
    }

    #[cold]
    fn wake(&self, here: Option<&Here>, worker: usize) {
        self.ledger.count(here.map(|here| here.index), Count::WakeUps);
        self.slots[worker].parker.unpark();
    }

    /// Adds a timer for an admitted task.
    pub(crate) fn insert_timer(
        &self,
        due: Moment,
        task: Task,
        receiver: Arc<dyn Receiver>,
        accepted: impl FnOnce(),
    ) -> Result<Inserted, Task> {
        self.note_foreign();
        let inserted = self.timers.insert(due, task, receiver, accepted)?;
        if inserted.is_earliest {
            self.wake_service();
        }
        Ok(inserted)
    }

    pub(crate) fn wake_service(&self) {
        self.service.unpark();
        if self.staff.is_without_service() {
            // A worker drives the timers; all are asked, since any may be the one that sleeps until then.
            self.unpark_all();
        }
    }

    // ---- taking -----------------------------------------------------------------------------------------------------

    /// The oldest ticket of a class that every worker can see.
    #[inline]
    pub(crate) fn take_injected(&self, class: Priority, into: Option<&Owner<Ticket>>) -> Option<Ticket> {
        let injector = &self.injectors[class.index()];
        if injector.is_empty() {
            return None;
        }
        until_settled(|| match into {
            Some(owner) => injector.steal_batch_and_pop(owner),
            None => injector.steal(),
        })
    }

    /// How many tickets of this class are queued where every worker can see them. May be stale.
    pub(crate) fn waiting(&self, class: Priority) -> usize {
        self.injectors[class.index()].len()
    }

    /// True when a ticket of this class is queued where every worker can see it.
    #[inline]
    pub(crate) fn is_waiting(&self, class: Priority) -> bool {
        !self.injectors[class.index()].is_empty()
    }

    /// Reserves the right to run a best-effort ticket (PRI-3).
    pub(crate) fn enter_best_effort(&self) -> bool {
        let limit = self.settings.best_effort_max;
        let enter = |running: usize| (running < limit).then_some(running + 1);
        // Relaxed: a count that publishes nothing; a worker that is refused is covered by `leave_best_effort`.
        self.best_effort_running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).is_ok()
    }

    pub(crate) fn leave_best_effort(&self) {
        // Relaxed: as above; the fence in `notify` orders it before the look at the sleepers.
        self.best_effort_running.fetch_sub(1, Ordering::Relaxed);
        if self.is_waiting(Priority::BestEffort) {
            self.with_here(|here| self.notify(here));
        }
    }

    fn may_enter_best_effort_racy(&self) -> bool {
        // Relaxed: see the name.
        self.best_effort_running.load(Ordering::Relaxed) < self.settings.best_effort_max
    }

    /// True when a worker could find something to run.
    pub(crate) fn has_work(&self) -> bool {
        if self.is_fenced(Priority::UserVisible) {
            return false;
        }
        let may_take_best_effort = || self.may_enter_best_effort_racy() && !self.is_fenced(Priority::BestEffort);
        self.is_waiting(Priority::UserBlocking)
            || self.is_waiting(Priority::UserVisible)
            || self.used_slots().iter().any(|slot| self.is_worth_stealing(slot))
            || (self.is_waiting(Priority::BestEffort) && may_take_best_effort())
    }

    /// True when a worker sleeps though there is something for it to do: never, unless a wake-up was lost or is on its way.
    #[cfg(feature = "testing")]
    pub(crate) fn has_lost_a_wake_up(&self) -> bool {
        self.idle.sleeping_racy() > 0 && self.has_work()
    }

    /// True when something in the deque is not left to its own worker.
    #[inline]
    pub(crate) fn is_worth_stealing(&self, slot: &Slot) -> bool {
        match slot.thief.len() {
            0 => false,
            1 => !self.patrol.is_on() || slot.is_stuck(),
            _ => true,
        }
    }

    pub(crate) fn used_slots(&self) -> &[Slot] {
        // ORDER core.slots: Acquire; a slot is set up before it is counted; pairs with staff.slots.
        let used = self.slots_used.load(Ordering::Acquire);
        &self.slots[..used.min(self.slots.len())]
    }

    /// True when work above `class` waits and no worker is free for it (PRI-6, SEQ-5).
    #[inline]
    pub(crate) fn is_pressed(&self, class: Priority) -> bool {
        let above = match class {
            Priority::UserBlocking => false,
            Priority::UserVisible => self.is_waiting(Priority::UserBlocking),
            Priority::BestEffort => {
                self.is_waiting(Priority::UserBlocking)
                    || self.is_waiting(Priority::UserVisible)
                    || self.used_slots().iter().any(|slot| !slot.thief.is_empty())
            }
        };
        above && !self.idle.has_free_worker_racy()
    }

    // ---- ending -----------------------------------------------------------------------------------------------------

    /// Starts the shutdown; queued work that does not block it is dropped by the workers.
    pub(crate) fn start_shutdown(&self) {
        self.dormants.end_all_but_blocking();
        self.endings.tell();
        if self.tracker.start() == Completion::Mine {
            self.completed();
        }
        self.pauses.end_all();
        self.timers.close();
        self.unpark_all();
        self.ended.ring();
    }

    /// Nothing that blocks shutdown is left.
    pub(crate) fn completed(&self) {
        self.unpark_all();
        self.service.unpark();
        self.ended.ring();
        self.dormants.end_rest();
    }

    /// Calls a worker back from the reserve.
    pub(crate) fn call_back(&self, worker: usize) {
        let slot = &self.slots[worker];
        // ORDER core.call: Release; pairs with worker.called.
        slot.is_called.store(true, Ordering::Release);
        slot.parker.unpark();
    }

    pub(crate) fn unpark_all(&self) {
        for slot in self.used_slots() {
            slot.parker.unpark();
        }
    }

    /// Counts the end of a task, and completes the shutdown if it was the last one waited for.
    #[inline]
    pub(crate) fn ended(&self, meta: Meta, ran: bool) {
        if self.tracker.ended(meta, ran) == Completion::Mine {
            self.completed();
        }
    }
}

/// Asks until the answer is not "try again".
#[inline]
pub(crate) fn until_settled(mut steal: impl FnMut() -> Steal<Ticket>) -> Option<Ticket> {
    loop {
        match steal() {
            Steal::Success(ticket) => return Some(ticket),
            Steal::Empty => return None,
            Steal::Retry => crate::sync::spin_loop(),
        }
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("name", &self.settings.name).finish_non_exhaustive()
    }
}
