//! What others may know and touch of one worker.
//!
//! A worker publishes what it runs with one relaxed store, the number of its tasks stands in the ledger; names are published only where there are
//! any. Whoever reads them for a report may see the task before or after the one that it means.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::blocking::Scope;
use super::home::Inbox;
use super::observe::Running;
use crate::park::Parker;
use crate::queue::steal::{Owner, Thief, deque};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::task::current::Name;
use crate::task::raw::Ticket;
use crate::task::site::Site;
use crate::task::traits::Meta;

/// What others may know and touch of one worker.
pub(crate) struct Slot {
    pub(crate) thief: Thief<Ticket>,
    /// The owner's end of the deque, while no thread has it.
    pub(crate) owner: Mutex<Option<Owner<Ticket>>>,
    pub(crate) parker: Arc<Parker>,
    /// Site and traits of the running task, in one word; meaningful while the ledger says that one runs.
    published: AtomicU64,
    names: Mutex<Names>,
    /// What a home takes its work from; `None` for workers of the pool.
    pub(crate) home: Mutex<Option<Arc<Inbox>>>,
    /// The blocking scopes of its task.
    pub(crate) scope: Scope,
    /// Called back from the reserve.
    pub(crate) is_called: AtomicBool,
    /// The only ticket of the deque has waited for long.
    stuck: AtomicBool,
    /// The worker waits inside a task.
    waits: AtomicBool,
}

#[derive(Default)]
struct Names {
    task: Option<Name>,
    runner: Option<Name>,
}

impl Slot {
    pub(crate) fn new() -> Self {
        let (owner, thief) = deque();
        Self {
            thief,
            owner: Mutex::new(Some(owner)),
            parker: Arc::new(Parker::new()),
            published: AtomicU64::new(0),
            names: Mutex::new(Names::default()),
            home: Mutex::new(None),
            scope: Scope::default(),
            is_called: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            waits: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_stuck(&self) -> bool {
        // Relaxed: a hint; whoever is woken for it comes after a fence.
        self.stuck.load(Ordering::Relaxed) || self.waits.load(Ordering::Relaxed)
    }

    pub(crate) fn set_waits(&self, waits: bool) {
        // Relaxed: as above.
        self.waits.store(waits, Ordering::Relaxed);
    }

    pub(crate) fn set_stuck(&self, is_stuck: bool) {
        // Relaxed: as above.
        self.stuck.store(is_stuck, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn publish(&self, site: &Site, meta: Meta) {
        // Relaxed: read for reports only.
        self.published.store(u64::from(site.index()) << 32 | u64::from(meta.bits()), Ordering::Relaxed);
    }

    pub(crate) fn publish_name(&self, name: Option<Name>) {
        let before = std::mem::replace(&mut self.names.lock().task, name);
        drop(before);
    }

    pub(crate) fn publish_runner(&self, name: Option<Name>) {
        let before = std::mem::replace(&mut self.names.lock().runner, name);
        drop(before);
    }

    /// The task that runs now, as its own worker knows it.
    pub(crate) fn running_at(&self, site: &'static Site) -> Running {
        let names = self.names.lock();
        Running { site, name: names.task.clone(), runner: names.runner.clone() }
    }

    /// The task that was published last.
    pub(crate) fn running(&self) -> Option<(Running, Meta)> {
        // Relaxed: as in `publish`.
        let word = self.published.load(Ordering::Relaxed);
        let site = Site::by_index((word >> 32) as u32)?;
        let names = self.names.lock();
        let running = Running { site, name: names.task.clone(), runner: names.runner.clone() };
        Some((running, Meta::from_bits(word as u32)))
    }
}
