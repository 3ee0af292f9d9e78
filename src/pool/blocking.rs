//! Compensation: a worker that blocks does not count, and another takes its place.
//!
//! | a worker's state | means | leaves it |
//! |---|---|---|
//! | *working* | counts as a worker | entering a scope |
//! | *pending* | is in a scope that may block, for less than the threshold so far | the watcher (to *replaced*), a scope that will block, the end |
//! | *replaced* | somebody stands in for it, or nobody could | the end of its outermost scope |
//!
//! Scopes nest and count once: the outermost one ends the compensation. The state is changed by exchanges, so the watcher and the end of a scope never both
//! settle the same stand-in.
//!
//! The watcher is the service. It looks twice per threshold while some scope is *pending*, and replaces a worker that it has seen in the same scope for a threshold, if work
//! waits. While no scope is pending it sleeps.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::staff;
use crate::park::{Attention, waiting};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::time::Moment;

/// How long a scope that may block goes unnoticed: short enough that a slow disk costs little, long enough that a warm cache costs nothing.
pub(crate) const MAY_BLOCK_THRESHOLD: Duration = Duration::from_millis(10);

const WORKING: u64 = 0;
const PENDING: u64 = 1;
const REPLACED: u64 = 2;
const STATE: u64 = 0b11;
/// Above the state: the number of the scope, so that the watcher tells one from the next.
const SCOPE_ONE: u64 = 0b100;

/// How a piece of code is going to block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockingType {
    /// Perhaps, as reading a file that may be cached does: another worker takes the place after a threshold, if the pool is short.
    MayBlock,
    /// For sure, as waiting for the network does: another worker takes the place at once.
    WillBlock,
}

/// Runs `f`, which blocks, and lets another worker take this one's place meanwhile (BLK-1). Returns what `f` returns.
///
/// Waits of this crate (joins, tokens, flushes) do so by themselves. Nested calls count once; `WillBlock` inside `MayBlock` acts at once. The number of threads is capped by
/// [`max_threads`](crate::ThreadPoolBuilder::max_threads). Outside of tasks, and on threads of single-thread runners, it just calls `f`.
///
/// ```
/// use overstrand::{BlockingType, blocking};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = overstrand::ThreadPool::builder().workers(1).build()?;
/// let (tell, told) = std::sync::mpsc::channel();
/// let waits = pool.spawn(move || blocking(BlockingType::WillBlock, || told.recv()));
/// pool.post_task(move || _ = tell.send("though there is one worker only"))?;
/// assert_eq!(waits.join()??, "though there is one worker only");
/// # Ok(())
/// # }
/// ```
pub fn blocking<T>(how: BlockingType, f: impl FnOnce() -> T) -> T {
    match how {
        BlockingType::WillBlock => {
            let _scope = waiting();
            f()
        }
        BlockingType::MayBlock => {
            let _scope = MayBlock::enter();
            f()
        }
    }
}

/// The states of a worker's scopes, seen by the watcher.
#[derive(Debug, Default)]
pub(crate) struct Scope(AtomicU64);

/// What the watcher has seen.
#[derive(Debug, Default)]
pub(crate) struct Blocking {
    /// Workers in a pending scope.
    pending: AtomicUsize,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    next: Option<Moment>,
    /// By worker: the scope that was seen, and since when.
    scopes: Vec<Option<(u64, Moment)>>,
}

/// What the waits and blocking scopes of one worker tell its pool.
pub(crate) struct WorkerWaits {
    core: Arc<Core>,
    index: usize,
    depth: Cell<u32>,
    scopes: Cell<u64>,
}

impl WorkerWaits {
    pub(crate) fn new(core: &Arc<Core>, index: usize) -> Rc<Self> {
        Rc::new(Self { core: Arc::clone(core), index, depth: Cell::new(0), scopes: Cell::new(0) })
    }

    fn state(&self) -> &AtomicU64 {
        &self.core.slots[self.index].scope.0
    }

    fn enter(&self) -> bool {
        self.depth.set(self.depth.get() + 1);
        self.depth.get() == 1
    }

    fn begin_will(&self) {
        self.enter();
        // ORDER blocking.replace: AcqRel; decided against the watcher in the order of the word; pairs with blocking.watch, blocking.end.
        let before = self.state().fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            (word & STATE != REPLACED).then_some(word & !STATE | REPLACED)
        });
        let Ok(before) = before else { return };
        if before & STATE == PENDING {
            self.core.blocking.leave();
        }
        // What this worker has kept for itself is told about now.
        self.core.slots[self.index].set_waits(true);
        self.core.with_here(|here| self.core.notify(here));
        staff::stand_in(&self.core);
    }

    fn begin_may(&self) {
        if self.enter() {
            self.scopes.set(self.scopes.get().wrapping_add(SCOPE_ONE));
            self.core.blocking.enter();
            // ORDER blocking.begin: Release; pairs with blocking.watch.
            self.state().store(self.scopes.get() | PENDING, Ordering::Release);
            self.core.watch_blocking();
        }
    }

    fn end(&self) {
        self.depth.set(self.depth.get() - 1);
        if self.depth.get() > 0 {
            return;
        }
        // ORDER blocking.end: AcqRel; decided against the watcher; pairs with blocking.watch.
        match self.state().swap(WORKING, Ordering::AcqRel) & STATE {
            PENDING => self.core.blocking.leave(),
            REPLACED => {
                self.core.slots[self.index].set_waits(false);
                staff::take_back(&self.core);
            }
            _ => {}
        }
    }
}

impl Attention for WorkerWaits {
    fn wait_begins(&self) {
        self.begin_will();
    }

    fn wait_ends(&self) {
        self.end();
    }

    fn may_wait_begins(&self) {
        self.begin_may();
    }
}

/// A scope that may block, until dropped.
struct MayBlock(Option<Rc<dyn Attention>>);

impl MayBlock {
    fn enter() -> Self {
        let attention = crate::park::attention();
        if let Some(attention) = &attention {
            attention.may_wait_begins();
        }
        Self(attention)
    }
}

impl Drop for MayBlock {
    fn drop(&mut self) {
        if let Some(attention) = &self.0 {
            attention.wait_ends();
        }
    }
}

impl Blocking {
    fn enter(&self) {
        // Relaxed: a hint for the watcher, which is woken after the first.
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    fn leave(&self) {
        // Relaxed: as above.
        self.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Core {
    /// A scope that may block has begun: the watcher watches.
    fn watch_blocking(&self) {
        let is_asleep = {
            let mut seen = self.blocking.seen.lock();
            let is_asleep = seen.next.is_none();
            seen.next.get_or_insert(Moment::ORIGIN);
            is_asleep
        };
        if is_asleep {
            self.wake_service();
        }
    }

    /// Replaces those who have been blocking for long; says when to look next.
    pub(crate) fn blocking_step(&self, now: Moment) -> Moment {
        let late = {
            let mut seen = self.blocking.seen.lock();
            match seen.next {
                None => return Moment::NEVER,
                Some(next) if now < next => return next,
                Some(_) => {}
            }
            // Relaxed: who comes after this look finds nobody watching, and wakes the service.
            if self.blocking.pending.load(Ordering::Relaxed) == 0 {
                *seen = Seen::default();
                return Moment::NEVER;
            }
            seen.next =
                Some(now.saturating_add((self.settings.may_block_threshold / 2).max(Duration::from_micros(100))));
            self.find_late(&mut seen, now)
        };
        for worker in late {
            self.replace(worker);
        }
        self.blocking.seen.lock().next.unwrap_or(Moment::NEVER)
    }

    /// The workers that have been in the same scope for the threshold, if work waits; with the words that they were seen with.
    fn find_late(&self, seen: &mut Seen, now: Moment) -> Vec<(usize, u64)> {
        let (slots, threshold) = (self.used_slots(), self.settings.may_block_threshold);
        seen.scopes.resize(slots.len(), None);
        let is_short = self.has_work();
        let mut late = Vec::new();
        for (worker, (slot, seen)) in slots.iter().zip(&mut seen.scopes).enumerate() {
            // ORDER blocking.watch: Acquire; pairs with blocking.begin, blocking.replace, blocking.end.
            let word = slot.scope.0.load(Ordering::Acquire);
            *seen = match *seen {
                _ if word & STATE != PENDING => None,
                Some((before, since)) if before == word => Some((word, since)),
                _ => Some((word, now)),
            };
            if let Some((word, _)) = seen.filter(|(_, since)| is_short && since.until(now) >= threshold) {
                late.push((worker, word));
            }
        }
        late
    }

    fn replace(&self, (worker, word): (usize, u64)) {
        let state = &self.slots[worker].scope.0;
        // WHY before the exchange: the end of the scope takes the mark away, and comes after the exchange.
        self.slots[worker].set_waits(true);
        // ORDER blocking.late: AcqRel; decided against the end of the scope; pairs with blocking.end.
        let exchange = state.compare_exchange(word, word & !STATE | REPLACED, Ordering::AcqRel, Ordering::Acquire);
        if exchange.is_err() {
            return self.slots[worker].set_waits(false);
        }
        self.blocking.leave();
        self.notify(None);
        if let Some(this) = self.this() {
            staff::stand_in(&this);
        }
    }
}
