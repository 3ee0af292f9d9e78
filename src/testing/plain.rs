//! Plain mode: all workers of a pool on one thread, a step at a time.
//!
//! The workers are the real ones; only their loop is here. Who waits, the test itself or a task, drives the others meanwhile: a task that waits keeps
//! its worker, a stand-in comes as ever, and other workers' steps run on top of the waiting one's stack. So a wait can end only after all that
//! began on top of it; where that would matter the environment says so and asks for baton mode.
//!
//! The pump of the test's own thread makes steps in between, as one more actor; but not while that thread waits, which it does in a wait of the test, or of a task
//! of the pump. A worker is another thread all the same: to the question who pumps an inbox it answers as one.
//!
//! Time moves when nobody can make a step, to the next timer or the end of a wait, and never beyond the *horizon*: the moment that the test advances to.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::shared::{Actor, Shared, Waiter, deadlock};
use crate::park::driver::Driver;
use crate::park::{Parker, Wait};
use crate::pool::core::Core;
use crate::pool::driven::{self, AsGlobal};
use crate::pool::home::ThreadNumber;
use crate::pool::observe;
use crate::pool::pump::Pump;
use crate::pool::worker::{Step, Worker};
use crate::runner::current as current_runner;
use crate::sync::thread::JoinHandle;
use crate::task::current;
use crate::time::Moment;

/// A worker, and what its last step asked for.
struct Cast {
    /// Away while it makes a step.
    worker: Option<Worker>,
    name: String,
    thread: ThreadNumber,
    has_begun: bool,
    /// It waits for a permit, or until then.
    wait: Option<Option<Duration>>,
}

/// A wait that goes on on the stack.
struct Nested {
    parker: Option<Arc<Parker>>,
    waiter: Waiter,
    /// The test's own thread waits, not a worker.
    by_test: bool,
}

/// The driver of plain mode.
pub(super) struct Plain {
    shared: Arc<Shared>,
    core: RefCell<Option<Arc<Core>>>,
    /// Threads that were asked for before the pool was there, and after.
    called: RefCell<Vec<(usize, String)>>,
    cast: RefCell<Vec<Option<Cast>>>,
    waits: RefCell<Vec<Nested>>,
    horizon: Cell<Option<Duration>>,
    timers_due: Cell<bool>,
}

fn nanos(moment: Moment) -> Duration {
    Duration::from_nanos(moment.as_nanos())
}

impl Plain {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            core: RefCell::new(None),
            called: RefCell::default(),
            cast: RefCell::default(),
            waits: RefCell::default(),
            horizon: Cell::new(None),
            timers_due: Cell::new(false),
        }
    }

    pub(super) fn attach(&self, core: &Arc<Core>) {
        *self.core.borrow_mut() = Some(Arc::clone(core));
    }

    /// Lets go of the pool.
    pub(super) fn detach(&self) {
        let cast = std::mem::take(&mut *self.cast.borrow_mut());
        drop(cast);
        let core = self.core.borrow_mut().take();
        drop(core);
    }

    fn core(&self) -> Arc<Core> {
        match &*self.core.borrow() {
            Some(core) => Arc::clone(core),
            None => unreachable!("nothing waits before there is a pool"),
        }
    }

    /// Runs what can run at this instant.
    pub(super) fn run_until_idle(&self) {
        let before = self.horizon.replace(Some(self.shared.now()));
        while self.step() {}
        self.horizon.set(before);
        self.raise_failure();
    }

    /// Moves time on, stopping at each instant at which something is due.
    pub(super) fn advance_to(&self, target: Duration) {
        let before = self.horizon.replace(Some(target));
        loop {
            while self.step() {}
            self.raise_failure();
            match self.next_event() {
                Some(next) if next <= target => self.move_time(next),
                _ => break,
            }
        }
        self.move_time(target);
        self.horizon.set(before);
    }

    /// Moves the clock first, then runs what has fallen due.
    pub(super) fn jump_to(&self, target: Duration) {
        self.move_time(target);
        self.run_until_idle();
    }

    /// When a timer is due next.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.core().timers.next_due().map(nanos)
    }

    /// When something happens next without anybody's doing.
    pub(super) fn next_event(&self) -> Option<Duration> {
        let cast = self.cast.borrow();
        let of_workers = cast.iter().flatten().filter_map(|cast| cast.wait.flatten()).min();
        let of_waits = self.waits.borrow().iter().filter_map(|nested| nested.waiter.until).min();
        let of_pumps = self.free_pumps().iter().filter_map(|pump| pump.home().next_delay()).min();
        let of_pumps = of_pumps.map(|delay| self.shared.now().saturating_add(delay));
        [self.next_due(), of_workers, of_waits, of_pumps].into_iter().flatten().min()
    }

    /// The pumps of the test's thread, unless that waits.
    fn free_pumps(&self) -> Vec<Rc<Pump>> {
        let waits = self.waits.borrow().iter().any(|nested| nested.by_test);
        if waits { Vec::new() } else { driven::pumps() }
    }

    fn move_time(&self, time: Duration) {
        self.shared.clock.move_to(time);
        self.timers_due.set(true);
    }

    // ---- steps ------------------------------------------------------------------------------------------------------

    /// Lets one of those that can go on make a step; false when there is none, or the environment has failed.
    pub(super) fn step(&self) -> bool {
        self.enlist();
        if self.shared.has_failed() {
            return false;
        }
        let mut actors = self.ready_workers();
        if self.timers_due.get() {
            actors.push(Actor::TIMERS);
        }
        let pump = self.free_pumps().into_iter().find(|pump| pump.is_ready());
        if pump.is_some() {
            actors.push(Actor::TEST);
        }
        if actors.is_empty() {
            return false;
        }
        match self.shared.choose(&actors) {
            Actor::TIMERS => {
                self.timers_due.set(false);
                let core = self.core();
                core.timers.step(core.clock.now());
            }
            Actor::TEST => pump.iter().for_each(|pump| self.step_pump(pump)),
            worker => self.step_worker(worker as usize),
        }
        true
    }

    fn step_pump(&self, pump: &Pump) {
        let _context = current::suspend();
        let _runner = current_runner::suspend();
        pump.step(self.shared.lots());
    }

    /// The numbers of the workers that can make a step.
    fn ready_workers(&self) -> Vec<u32> {
        let now = self.shared.now();
        let is_ready = |cast: &Cast| match (&cast.worker, cast.wait) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(worker), Some(until)) => worker.slot().parker.has_permit() || until.is_some_and(|until| until <= now),
        };
        let cast = self.cast.borrow();
        let numbered = (0_u32..).zip(cast.iter());
        numbered.filter(|(_, cast)| cast.as_ref().is_some_and(is_ready)).map(|(number, _)| number).collect()
    }

    /// Makes workers of those that were asked for.
    fn enlist(&self) {
        let called = std::mem::take(&mut *self.called.borrow_mut());
        for (index, name) in called {
            let Some(worker) = Worker::enter(&self.core(), index) else { continue };
            let mut cast = self.cast.borrow_mut();
            if cast.len() <= index {
                cast.resize_with(index + 1, || None);
            }
            let thread = ThreadNumber::new();
            cast[index] = Some(Cast { worker: Some(worker), name, thread, has_begun: false, wait: None });
        }
    }

    fn step_worker(&self, index: usize) {
        let taken = {
            let mut cast = self.cast.borrow_mut();
            let Some(cast) = cast[index].as_mut() else { return };
            let is_new = !std::mem::replace(&mut cast.has_begun, true);
            let new_name = is_new.then(|| cast.name.clone());
            cast.worker.take().map(|worker| (worker, new_name, cast.wait.take(), cast.thread))
        };
        let Some((mut worker, new_name, wait, thread)) = taken else { return };
        let hooks = self.core().settings.hooks.clone();
        let (random, turn) = self.shared.lots();
        let step = {
            let _context = current::suspend();
            let _runner = current_runner::suspend();
            let _outside = worker.come();
            let _itself = thread.played();
            let _global = AsGlobal::begin();
            if let Some(name) = &new_name {
                observe::call(&hooks.thread_start, name);
            }
            let has_permit = wait.is_some() && worker.slot().parker.try_park();
            worker.vary(random, turn);
            let step = worker.step(has_permit);
            if step == Step::Leave {
                observe::call(&hooks.thread_stop, self.cast.borrow()[index].as_ref().map_or("", |cast| &cast.name));
            }
            step
        };
        if step == Step::Leave {
            self.cast.borrow_mut()[index] = None;
            return worker.exit();
        }
        let now = self.shared.now();
        if let Some(cast) = self.cast.borrow_mut()[index].as_mut() {
            cast.worker = Some(worker);
            cast.wait = match step {
                Step::Wait(limit) => Some(limit.map(|limit| now.saturating_add(limit))),
                _ => None,
            };
        }
    }

    // ---- waits ------------------------------------------------------------------------------------------------------

    /// Drives the others until `is_over`, or the time comes; false when the time came first.
    fn drive(&self, parker: Option<&Arc<Parker>>, is_over: &mut dyn FnMut() -> bool, waiter: Waiter) -> bool {
        let answer = self.drive_on(parker, is_over, waiter);
        if self.waits.borrow().is_empty() {
            self.raise_failure();
        }
        answer
    }

    fn drive_on(&self, parker: Option<&Arc<Parker>>, is_over: &mut dyn FnMut() -> bool, waiter: Waiter) -> bool {
        if is_over() {
            return true;
        }
        let until = waiter.until;
        let by_test = self.core().worker_index().is_none();
        self.waits.borrow_mut().push(Nested { parker: parker.cloned(), waiter, by_test });
        let _popped = Popped(&self.waits);
        loop {
            if is_over() {
                return true;
            }
            if self.shared.has_failed() {
                return self.give_up();
            }
            if until.is_some_and(|until| until <= self.shared.now()) {
                return false;
            }
            if !self.step() && !self.shared.has_failed() {
                self.pass_time();
            }
        }
    }

    /// Nobody can make a step: moves time on, or finds out why it cannot.
    fn pass_time(&self) {
        let problem = match self.next_event() {
            _ if self.core().has_lost_a_wake_up() => Some(self.lost_wake_up()),
            _ if self.is_buried() => {
                Some(self.needs_baton("a wait that is over cannot go on, since another began on top of it"))
            }
            None => Some(deadlock(self.waits.borrow().iter().map(|nested| &nested.waiter))),
            Some(next) if self.horizon.get().is_some_and(|horizon| horizon < next) => {
                Some(self.needs_baton("a task waits beyond the moment that the test runs to"))
            }
            Some(next) => {
                self.move_time(next);
                None
            }
        };
        if let Some(problem) = problem {
            self.shared.fail(problem);
        }
    }

    /// True when a wait further down could end now.
    fn is_buried(&self) -> bool {
        let now = self.shared.now();
        let waits = self.waits.borrow();
        let buried = &waits[..waits.len().saturating_sub(1)];
        buried.iter().any(|nested| {
            nested.parker.as_ref().is_some_and(|parker| parker.has_permit())
                || nested.waiter.until.is_some_and(|until| until <= now)
        })
    }

    fn needs_baton(&self, why: &str) -> String {
        let mut text = format!("{why}; build the environment with `.baton()`, so that each has a stack of its own:\n");
        for nested in self.waits.borrow().iter() {
            text.push_str(&format!("  {}\n", nested.waiter));
        }
        text
    }

    fn lost_wake_up(&self) -> String {
        String::from("lost wake-up: work is queued, and a worker sleeps\n")
    }

    /// The environment has failed: whatever waits is unwound, unless it is unwinding already.
    fn give_up(&self) -> bool {
        if !std::thread::panicking() {
            self.raise_failure();
        }
        false
    }

    /// Panics with the reason, if the environment has failed.
    pub(super) fn raise_failure(&self) {
        if let Some(failure) = self.shared.failure().filter(|_| !std::thread::panicking()) {
            panic!("{failure}\n{}\n{}", self.shared.position(), self.shared.recent());
        }
    }

    fn who(&self) -> String {
        let worker = self.core().worker_index();
        worker.map_or_else(|| "the test".into(), |worker| Actor(worker as u32).to_string())
    }
}

/// Takes the last wait off the stack when dropped.
struct Popped<'a>(&'a RefCell<Vec<Nested>>);

impl Drop for Popped<'_> {
    fn drop(&mut self) {
        let popped = self.0.borrow_mut().pop();
        drop(popped);
    }
}

impl Driver for Plain {
    fn id(&self) -> u64 {
        self.shared.id
    }

    fn now(&self) -> Duration {
        self.shared.now()
    }

    fn park(&self, parker: &Arc<Parker>, until: Option<Duration>, wait: &Wait) -> bool {
        parker.driven.begin(self.shared.id);
        let waiter = Waiter::here(self.who(), wait, until);
        let has_permit = self.drive(Some(parker), &mut || parker.try_park(), waiter);
        self.shared.note_wake(parker);
        has_permit
    }

    fn poll(&self, look: &mut dyn FnMut() -> bool, until: Option<Duration>, wait: &Wait) -> bool {
        let waiter = Waiter::here(self.who(), wait, until);
        self.drive(None, look, waiter)
    }

    fn lots(&self) -> (u32, u32) {
        self.shared.lots()
    }

    fn pause(&self) {}

    fn yield_at(&self, _name: &'static str) {}

    fn spend(&self, _time: Duration) {}

    fn start(
        &self,
        worker: Option<usize>,
        name: String,
        _body: Box<dyn FnOnce() + Send>,
    ) -> io::Result<Option<JoinHandle<()>>> {
        if let Some(worker) = worker {
            if self.core.borrow().is_some() && self.shared.dice.lock().refuses_thread() {
                return Err(io::Error::from(io::ErrorKind::WouldBlock));
            }
            self.called.borrow_mut().push((worker, name));
        }
        Ok(None)
    }
}
