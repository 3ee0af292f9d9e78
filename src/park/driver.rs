//! Who stands in for the blocking of threads, where time is virtual.
//!
//! A thread that has a driver does not block in the system: it tells the driver what it waits for, and the driver lets something else go on
//! meanwhile. Every wait of this crate goes through [`park`](super::park) or [`wait_for`](super::wait_for), so a driver sees all of them.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{Parker, Wait};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::local;
use crate::sync::thread::JoinHandle;

/// Runs what other threads would, while the one that it is installed on waits.
pub(crate) trait Driver {
    /// Which environment this is; never 0.
    fn id(&self) -> u64;
    /// The driver's time, counted from its origin.
    fn now(&self) -> Duration;
    /// Waits for a permit of the parker, or until the time comes; true when a permit was consumed. May return early.
    fn park(&self, parker: &Arc<Parker>, until: Option<Duration>, wait: &Wait) -> bool;
    /// Looks again and again until there is an answer, or the time comes.
    fn poll(&self, look: &mut dyn FnMut() -> bool, until: Option<Duration>, wait: &Wait) -> bool;
    /// Random numbers for what a worker may do in more ways than one: where to steal first, and how long its turn is.
    fn lots(&self) -> (u32, u32);
    /// A point at which something else may go on first.
    fn pause(&self);
    /// A point of user code at which something else may go on first, if the seed says so.
    fn yield_at(&self, name: &'static str);
    /// Takes that much time, while others go on.
    fn spend(&self, time: Duration);
    /// Starts the thread with that number of a pool, or (`None`) its service; without a handle when no thread is needed for it.
    fn start(
        &self,
        worker: Option<usize>,
        name: String,
        body: Box<dyn FnOnce() + Send>,
    ) -> io::Result<Option<JoinHandle<()>>>;
}

/// Of a parker: which driver waits by it, and whether a stranger has woken it.
#[derive(Debug, Default)]
pub(crate) struct Driven {
    // Relaxed throughout: read by the thread that waits, after the permit.
    by: AtomicU64,
    woken_by_stranger: AtomicBool,
}

impl Driven {
    /// The driver waits by this parker now.
    pub(crate) fn begin(&self, id: u64) {
        // Relaxed: see `by`.
        self.by.store(id, Ordering::Relaxed);
    }

    /// True when a thread without that driver has left a permit since the last call.
    pub(crate) fn was_woken_by_stranger(&self) -> bool {
        // Relaxed: see `by`.
        self.woken_by_stranger.swap(false, Ordering::Relaxed)
    }

    pub(super) fn note_wake(&self) {
        // Relaxed: see `by`.
        let by = self.by.load(Ordering::Relaxed);
        if by != 0 && current().is_none_or(|driver| driver.id() != by) {
            // Relaxed: see `by`.
            self.woken_by_stranger.store(true, Ordering::Relaxed);
        }
    }
}

local! {
    static DRIVER: RefCell<Option<Rc<dyn Driver>>> = RefCell::new(None);
}

/// Installs (or with `None` removes) the driver of this thread; gives back the one before.
pub(crate) fn install(driver: Option<Rc<dyn Driver>>) -> Option<Rc<dyn Driver>> {
    DRIVER.with(|slot| slot.replace(driver))
}

/// The driver of this thread.
pub(crate) fn current() -> Option<Rc<dyn Driver>> {
    DRIVER.try_with(|slot| slot.borrow().clone()).ok().flatten()
}
