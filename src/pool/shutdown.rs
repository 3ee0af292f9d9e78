//! The shutdown tracker: one word that says how far shutdown is, and what it waits for.
//!
//! # The word
//!
//! | bits | what |
//! |---|---|
//! | 0 | *started*: nothing new but `BlockShutdown` tasks |
//! | 1 | *complete*: nothing new at all, queues are dropped, workers leave |
//! | 2–31 | accepted `BlockShutdown` tasks that are not over |
//! | 32–63 | running `ContinueOnShutdown` tasks |
//!
//! | transition | by whom | when |
//! |---|---|---|
//! | open → started | the first to ask | any time |
//! | started → complete | whoever sees no `BlockShutdown` task left: the asker, or the worker that ended the last one | never with one left, and never back |
//!
//! # Steps seen by a poster
//!
//! A `BlockShutdown` post adds itself to the word and looks at what was there: complete? then it takes itself out again and is refused. Since *complete* is
//! set by an exchange that expects the count to be zero, an accepted one is always waited for.
//!
//! Any other post only looks at the word before it is queued. (A) It queues its task, (B) fences (the idle protocol does), (C) looks again:
//! complete? then nobody else may come to drop what it queued, so it does that itself.
//!
//! # Steps seen by a worker that leaves
//!
//! (D) It sees *complete*, (E) fences, (F) drops everything that it finds, and leaves.
//!
//! # Proof sketch
//!
//! Of the fences (B) and (E) one is first. If (B), the worker finds the task at (F). If (E), the poster sees at (C) what the worker saw at (D).
//!
//! A `ContinueOnShutdown` task starts by an exchange that expects *started* to be unset, so those that run after it are exactly those counted.
//!
//! Limits: 2^30 `BlockShutdown` tasks at once.
//!
//! Witnessed by `tests::loom_*` in `pool/tests/shutdown_loom.rs`.
#![forbid(unsafe_code)]

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::task::traits::Meta;

const STARTED: u64 = 1;
const COMPLETE: u64 = 1 << 1;
const BLOCKING_ONE: u64 = 1 << 2;
const BLOCKING_MASK: u64 = (1 << 32) - BLOCKING_ONE;
const CONTINUING_ONE: u64 = 1 << 32;

/// The word; see the page above.
#[derive(Debug, Default)]
pub(crate) struct Tracker(AtomicU64);

/// Whether this call completed the shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "whoever completes a shutdown wakes those who wait for it"]
pub(crate) enum Completion {
    Mine,
    NotMine,
}

impl Tracker {
    #[inline]
    fn load(&self) -> u64 {
        // ORDER shutdown.seen: Acquire; what the starter did before is visible; pairs with shutdown.start, shutdown.complete.
        self.0.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn is_started(&self) -> bool {
        self.load() & STARTED != 0
    }

    #[inline]
    pub(crate) fn is_complete(&self) -> bool {
        self.load() & COMPLETE != 0
    }

    /// How many `ContinueOnShutdown` tasks run.
    pub(crate) fn continuing(&self) -> usize {
        usize::try_from(self.load() >> 32).unwrap_or(usize::MAX)
    }

    /// Accepts a task that is about to be queued; false: it is refused.
    #[inline]
    #[must_use = "a refused task must not be queued"]
    pub(crate) fn admit(&self, meta: Meta) -> bool {
        if meta.blocks_shutdown() { self.admit_blocking() } else { !self.is_started() }
    }

    fn admit_blocking(&self) -> bool {
        // ORDER shutdown.admit: AcqRel; ordered with the exchange that completes; pairs with shutdown.complete.
        let before = self.0.fetch_add(BLOCKING_ONE, Ordering::AcqRel);
        if before & COMPLETE == 0 {
            return true;
        }
        // Relaxed: nobody looks at the count after completion.
        self.0.fetch_sub(BLOCKING_ONE, Ordering::Relaxed);
        false
    }

    /// A task is about to run; false: it must be dropped instead. A `ContinueOnShutdown` task that may run is counted.
    #[inline]
    #[must_use = "a task that may not run must be dropped"]
    pub(crate) fn may_start(&self, meta: Meta) -> bool {
        if meta.continues_on_shutdown() {
            return self.start_continuing();
        }
        !self.is_started() || meta.blocks_shutdown()
    }

    fn start_continuing(&self) -> bool {
        let add = |word: u64| (word & STARTED == 0).then_some(word + CONTINUING_ONE);
        // ORDER shutdown.continue: AcqRel; decided against shutdown.start in the order of the word; pairs with shutdown.start.
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).is_ok()
    }

    /// A task that was admitted has been run or dropped; `ran` for tasks that [`may_start`](Self::may_start) let pass.
    #[inline]
    pub(crate) fn ended(&self, meta: Meta, ran: bool) -> Completion {
        if meta.blocks_shutdown() {
            return self.blocking_ended();
        }
        if ran && meta.continues_on_shutdown() {
            // ORDER shutdown.continued: Release; what the task did is visible to who counts it out; pairs with shutdown.seen.
            self.0.fetch_sub(CONTINUING_ONE, Ordering::Release);
        }
        Completion::NotMine
    }

    fn blocking_ended(&self) -> Completion {
        // ORDER shutdown.ended: AcqRel; what the task did is visible to whoever completes; pairs with shutdown.complete.
        self.0.fetch_sub(BLOCKING_ONE, Ordering::AcqRel);
        self.complete_if_due()
    }

    /// Starts the shutdown; later calls do nothing.
    pub(crate) fn start(&self) -> Completion {
        // ORDER shutdown.start: AcqRel; publishes what came before to all who see it; pairs with shutdown.seen, shutdown.continue.
        self.0.fetch_or(STARTED, Ordering::AcqRel);
        self.complete_if_due()
    }

    fn complete_if_due(&self) -> Completion {
        let complete = |word: u64| {
            let is_due = word & STARTED != 0 && word & COMPLETE == 0 && word & BLOCKING_MASK == 0;
            is_due.then_some(word | COMPLETE)
        };
        // ORDER shutdown.complete: AcqRel; sees all that the last tasks did, publishes it; pairs with shutdown.seen, shutdown.admit, shutdown.ended.
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, complete) {
            Ok(_) => Completion::Mine,
            Err(_) => Completion::NotMine,
        }
    }
}
