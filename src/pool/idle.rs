//! Who sleeps, and who is woken: the idle protocol.
//!
//! # Words
//!
//! A worker is *running* a task, *searching* for one, or *asleep*. `sleepers` has one bit per worker that is asleep or about to be; `searching`
//! counts the searchers. Whoever clears a worker's bit owes it a permit of its parker and counts it as a searcher.
//!
//! | change | by whom |
//! |---|---|
//! | bit set | the worker, before it looks at the queues for the last time |
//! | bit cleared | a notifier (who then unparks the worker), or the worker itself |
//! | `searching` + 1 | whoever clears a bit, for that worker; a worker that runs out of work |
//! | `searching` − 1 | a searcher, when it finds work or has set its bit |
//!
//! # Steps
//!
//! To post: (A) make the work visible, (B) fence, (C) somebody searches? then leave; (D) clear one bit, count a searcher, unpark it.
//!
//! To sleep: (E) set the own bit, (F) stop counting as a searcher, (G) fence, (H) look at all queues; something there? clear the own bit, search
//! on; else (I) park.
//!
//! To start on found work: (J) stop counting as a searcher; (K) the last one fences and looks once more: posts that came meanwhile were
//! left to it at (C), so if anything is left it wakes the next.
//!
//! # The bad interleaving
//!
//! The poster looks at (C, D) and sees nobody asleep; the worker looks at (H) and sees no work; both go their way and the work lies there.
//!
//! # Proof sketch
//!
//! Of the two fences (B) and (G) one is first in the single order of all such fences. If (B) is first, (H) sees the work. If (G) is first, the
//! poster sees the bit of (E), and does not count this worker at (C). Should it see another searcher, the same argument holds
//! between it and that searcher's own (G), or its (K). One post wakes at most one worker: (D) happens once per post, and (K) only when work is left.
//!
//! *A searcher that is not counted yet*: between the two steps of (D) the worker may find its bit cleared, search, and stop searching, before it is counted. The count is
//! too low by one then, perhaps negative, until the notifier goes on. So it is read as a signed number: too low, it only makes a poster wake somebody
//! more. And (K) is not lost: whoever brings the count from one to zero looks once more, and a poster leaves at (C) only while it is positive.
//!
//! A bit is cleared before the searcher is counted. The other way round a poster that finds no bit would, for a moment, be counted as a
//! searcher that does not exist, and make a second poster leave at (C).
//!
//! # Limits
//!
//! Claiming scans one word per 64 workers. A worker that leaves for good clears its bit first, or its permit would be lost.
//!
//! Witnessed by `tests::loom_*` in `pool/tests/idle_loom.rs`.
#![forbid(unsafe_code)]

use crossbeam_utils::CachePadded;

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use crate::zoo;

const WORD_BITS: usize = u64::BITS as usize;

/// The two words of the protocol.
#[derive(Debug)]
pub(crate) struct Idle {
    sleepers: Box<[AtomicU64]>,
    searching: CachePadded<AtomicUsize>,
}

impl Idle {
    pub(crate) fn new(workers_max: usize) -> Self {
        let words = workers_max.div_ceil(WORD_BITS);
        Self {
            sleepers: (0..words).map(|_| AtomicU64::new(0)).collect(),
            searching: CachePadded::new(AtomicUsize::new(0)),
        }
    }

    /// (B, C, D) after work was made visible: the worker to unpark, if one should be.
    #[inline]
    #[must_use = "the worker waits for its permit"]
    pub(crate) fn claim(&self) -> Option<usize> {
        Self::order_looks();
        if self.searchers_racy() > 0 {
            return None;
        }
        self.clear_any()
    }

    /// The fence between making something visible and looking at who must hear of it.
    #[inline]
    pub(crate) fn order_looks() {
        if zoo::has("Z4") {
            return;
        }
        // ORDER idle.fence: SeqCst; of two threads that each write, fence and look, one sees the other's write; pairs with idle.fence.
        fence(Ordering::SeqCst);
    }

    #[inline]
    fn clear_any(&self) -> Option<usize> {
        for (index, word) in self.sleepers.iter().enumerate() {
            // Relaxed: ordered by the fence; the exchange decides.
            let mut bits = word.load(Ordering::Relaxed);
            while bits != 0 {
                let bit = bits.trailing_zeros() as usize;
                if self.clear(index * WORD_BITS + bit) {
                    // Relaxed: a count; the permit that follows orders it for the woken worker.
                    self.searching.fetch_add(1, Ordering::Relaxed);
                    return Some(index * WORD_BITS + bit);
                }
                // Relaxed: as above.
                bits = word.load(Ordering::Relaxed);
            }
        }
        None
    }

    /// True when this call cleared the bit.
    fn clear(&self, worker: usize) -> bool {
        let bit = 1 << (worker % WORD_BITS);
        // ORDER idle.clear: AcqRel; comes after the set that it undoes; pairs with idle.set.
        self.sleepers[worker / WORD_BITS].fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// A worker that ran out of work begins to search.
    pub(crate) fn begin_search(&self) {
        // Relaxed: a count; posters that see it too early or late are covered by the searcher's last look.
        self.searching.fetch_add(1, Ordering::Relaxed);
    }

    /// (E, F, G) a searcher is about to sleep; it must look at the queues once more after this.
    pub(crate) fn prepare_sleep(&self, worker: usize) {
        let bit = 1 << (worker % WORD_BITS);
        // ORDER idle.set: Release; comes before the clear that undoes it; pairs with idle.clear.
        self.sleepers[worker / WORD_BITS].fetch_or(bit, Ordering::Release);
        self.end_search();
        Self::order_looks();
    }

    /// A worker that was parked, or prepared to be, searches again; it counts as a searcher after this.
    pub(crate) fn wake_up(&self, worker: usize) {
        if zoo::has("Z10") || self.clear(worker) {
            self.begin_search();
        }
    }

    /// (J) a searcher found work; true when it was the last one and must see to it that nothing is left behind (K).
    #[must_use = "the last searcher looks once more"]
    pub(crate) fn found(&self) -> bool {
        let was_last = self.end_search();
        if was_last {
            Self::order_looks();
        }
        was_last && !zoo::has("Z8")
    }

    /// A searcher leaves for good, or gives its search up.
    pub(crate) fn leave(&self) {
        self.end_search();
        if zoo::has("Z11") {
            self.end_search();
        }
    }

    fn end_search(&self) -> bool {
        // Relaxed: the fence that follows each call orders it.
        self.searching.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// How many are counted as searching; negative for a moment, see the page above.
    #[inline]
    pub(crate) fn searchers_racy(&self) -> isize {
        // Relaxed: see the name; callers that act on it come after a fence.
        let count = self.searching.load(Ordering::Relaxed);
        if zoo::has("Z28") { count.min(isize::MAX as usize) as isize } else { count as isize }
    }

    /// True when some worker is asleep or searching, so that new work does not wait for a running one. May be stale.
    #[inline]
    pub(crate) fn has_free_worker_racy(&self) -> bool {
        // Relaxed: see the name.
        self.searchers_racy() > 0 || self.sleepers.iter().any(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// How many workers are asleep. May be stale.
    pub(crate) fn sleeping_racy(&self) -> usize {
        // Relaxed: see the name.
        self.sleepers.iter().map(|word| word.load(Ordering::Relaxed).count_ones() as usize).sum()
    }
}
