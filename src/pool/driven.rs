//! What a pool tells a test environment that drives it, and how code finds the environment that it runs in.
#![forbid(unsafe_code)]

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use super::core::{Core, Here, Settings};
use super::observe::PanicReport;
use super::pump::Pump;
use super::slot::Slot;
use super::{Guard, ThreadPool, staff};
use crate::error::BuildError;
use crate::sync::local;
use crate::task::fault::{self, Fault};
use crate::task::panic::message_of;
use crate::task::site::Site;
use crate::time::Clock;

/// Hears what happens in a driven pool.
pub(crate) trait Observer: Send + Sync + Debug {
    /// A worker is about to run a task; the fault that it shall have.
    fn starts(&self, worker: usize, site: &'static Site) -> Option<Fault>;
    /// A task has ended, but its worker has not gone on.
    fn ran(&self, site: &'static Site);
    /// A task that nobody waits for panicked.
    fn panicked(&self, report: &PanicReport);
    /// Something was posted by a thread that is no worker.
    fn posted(&self);
    /// The environment is given up: nobody waits for its threads.
    fn has_collapsed(&self) -> bool;
}

/// Tells the observer of a driven pool of the start and the end of a task.
pub(super) struct Told<'a>(&'a Here, &'static Site);

impl<'a> Told<'a> {
    pub(super) fn begin(here: &'a Here, site: &'static Site) -> Option<Self> {
        let observer = here.core.observer()?;
        fault::arm(observer.starts(here.index, site));
        Some(Self(here, site))
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        fault::arm(None);
        if let Some(observer) = self.0.core.observer() {
            observer.ran(self.1);
        }
    }
}

/// A task panicked that nobody waits for; the observer remembers it, unless the panic was asked for.
pub(super) fn tell_forgotten(core: &Core, slot: &Slot, site: &'static Site, payload: &(dyn Any + Send)) {
    if let Some(observer) = core.observer().filter(|_| !payload.is::<fault::Injected>()) {
        observer.panicked(&PanicReport::new(slot.running_at(site), message_of(payload)));
    }
}

/// The environment of a thread.
struct Environment {
    pool: Weak<Guard>,
    is_global: Cell<bool>,
    /// Those that belong to this thread, in the order of their making.
    pumps: RefCell<Vec<std::rc::Weak<Pump>>>,
}

local! {
    static ENVIRONMENT: RefCell<Option<Rc<Environment>>> = RefCell::new(None);
}

fn environment() -> Option<Rc<Environment>> {
    ENVIRONMENT.try_with(|slot| slot.borrow().clone()).ok().flatten()
}

/// Makes the pool the one of this thread's environment, or removes it.
pub(crate) fn enter_environment(pool: Option<&ThreadPool>) {
    let of_pool = |pool: &ThreadPool| Environment {
        pool: Arc::downgrade(&pool.0),
        is_global: Cell::new(false),
        pumps: RefCell::default(),
    };
    let environment = pool.map(|pool| Rc::new(of_pool(pool)));
    let before = ENVIRONMENT.with(|slot| slot.replace(environment));
    drop(before);
}

/// Makes the environment's pool the global one of this thread while it lives.
#[must_use = "the global pool is the usual one again when this is dropped"]
pub(crate) struct AsGlobal(bool);

impl AsGlobal {
    pub(crate) fn begin() -> Self {
        Self(environment().is_some_and(|environment| environment.is_global.replace(true)))
    }
}

impl Drop for AsGlobal {
    fn drop(&mut self) {
        if let Some(environment) = environment() {
            environment.is_global.set(self.0);
        }
    }
}

/// The pool that `global` gives on this thread instead of the usual one.
pub(crate) fn global() -> Option<&'static ThreadPool> {
    let environment = environment().filter(|environment| environment.is_global.get())?;
    let guard = environment.pool.upgrade()?;
    // WHY leaked: a reference for ever is what `global` promises. An environment whose code asks for it leaves its ended pool behind.
    Some(*guard.leaked.get_or_init(|| Box::leak(Box::new(ThreadPool(Arc::clone(&guard))))))
}

/// The pool of this thread's environment, for what has no pool of its own.
pub(crate) fn core() -> Option<Arc<Core>> {
    environment()?.pool.upgrade().map(|guard| Arc::clone(guard.core()))
}

/// The environment of this thread runs the pump when its owner does not; unless it belongs to a worker that the environment plays here.
pub(super) fn adopt(pump: &Rc<Pump>) {
    let is_played = core().is_some_and(|core| core.worker_index().is_some());
    if let Some(environment) = environment().filter(|_| !is_played) {
        environment.pumps.borrow_mut().push(Rc::downgrade(pump));
    }
}

/// The pumps of this thread's environment.
pub(crate) fn pumps() -> Vec<Rc<Pump>> {
    let Some(environment) = environment() else { return Vec::new() };
    let mut pumps = environment.pumps.borrow_mut();
    pumps.retain(|pump| pump.strong_count() > 0);
    pumps.iter().filter_map(std::rc::Weak::upgrade).collect()
}

impl ThreadPool {
    /// A pool that whoever drives this thread drives.
    pub(crate) fn driven(
        settings: Settings,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, BuildError> {
        let workers = settings.workers;
        let mut core = Core::new(settings, clock);
        core.observe(observer);
        let core = core.share();
        match staff::start(&core) {
            Ok(()) => Ok(Self::own(core)),
            Err(error) => Err(BuildError::new("workers", workers, "no thread could be started").caused_by(error)),
        }
    }

    /// True when `global` has given this pool, so that one handle lives for ever.
    pub(crate) fn is_leaked_as_global(&self) -> bool {
        self.0.leaked.get().is_some()
    }

    /// How many handles of the pool there are.
    pub(crate) fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}
