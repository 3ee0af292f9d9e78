//! The state word of a parallel runner: how much is queued, and how many run.
//!
//! # The word
//!
//! | bits | what |
//! |---|---|
//! | 0 | *flushing*: a barrier waits, later posts are held back |
//! | 1–23 | *slots* in use: tickets queued in the pool, or turns that run |
//! | 24–63 | tasks *queued*: counted, and not claimed by a slot |
//!
//! | transition | by whom | when |
//! |---|---|---|
//! | queued + 1 | a poster, before it appends | not *flushing* |
//! | slots + 1 | a poster after it appended; whoever lifts the limit | queued > 0 and slots < limit; it owes the pool a ticket |
//! | queued − 1 | a slot: it *claims* a task and will pop one | queued > 0 and slots <= limit; without a limit for who drops it |
//! | slots − 1 | a slot that ends | queued = 0, or slots > limit |
//! | to *flushing* | a flush | not *flushing* |
//! | from *flushing* | that flush, under the lock of what is held back | queued = 0 and slots = 0 |
//!
//! # Steps seen by a poster
//!
//! (A) Count the task. (B) Append it. (C) Take a slot if there is one free, and queue a ticket for it.
//!
//! # Steps seen by a slot
//!
//! (D) Claim a task; (E) pop one, which (B) may not have appended yet; (F) run it; again from (D), for a bounded turn. (G) Nothing queued: end the slot.
//!
//! # The bad interleavings
//!
//! *A task without a slot*: the poster sees all slots taken at (C), and the last slot ends at (G). Excluded, since both are exchanges of one word: if (A) is first,
//! (G) sees a task and goes on; if (G) is first, (C) sees a free slot.
//!
//! *A claim without a task*: the count comes before the append, so that a flush which sees nothing queued has missed nothing that its own thread posted. The
//! slot that claims early waits for the poster's next instructions; this is the one place where progress waits for another thread.
//!
//! *A lowered limit*: slots above it end after their task; those left see what is queued. A pause is a limit of zero.
//!
//! *A limit that is lifted while a slot above it ends*: who lifts it finds all slots taken, the slot ends though it need not. Both write the word, so one comes after the other: the
//! slot that is later sees the new limit after its end, and takes a slot again (C); the lifter that is later sees a free one.
//!
//! Limits: 2^40 queued tasks, 2^23 slots.
//!
//! Witnessed by `tests::loom_*` in `runner/tests/slots_loom.rs`.
#![forbid(unsafe_code)]

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::zoo;

const FLUSHING: u64 = 1;
const SLOT_ONE: u64 = 1 << 1;
const QUEUED_SHIFT: u32 = 24;
const QUEUED_ONE: u64 = 1 << QUEUED_SHIFT;

/// The most slots that a runner may have.
pub(crate) const SLOTS_MAX: usize = (1 << 23) - 1;

fn queued(word: u64) -> u64 {
    word >> QUEUED_SHIFT
}

fn slots(word: u64) -> usize {
    (word % QUEUED_ONE / SLOT_ONE) as usize
}

/// The word, and the limit beside it.
#[derive(Debug)]
pub(crate) struct Slots {
    word: AtomicU64,
    limit: AtomicUsize,
    /// How often it is paused.
    pauses: AtomicUsize,
}

impl Slots {
    pub(crate) fn new(limit: usize) -> Self {
        Self { word: AtomicU64::new(0), limit: AtomicUsize::new(limit), pauses: AtomicUsize::new(0) }
    }

    /// The limit that was set.
    pub(crate) fn limit(&self) -> usize {
        // ORDER slots.limit: Acquire; pairs with slots.set.
        self.limit.load(Ordering::Acquire)
    }

    /// How many slots there may be now: none while it is paused.
    fn allowed(&self) -> usize {
        // ORDER slots.paused: Acquire; pairs with slots.pause, slots.resume.
        if self.pauses.load(Ordering::Acquire) > 0 { 0 } else { self.limit() }
    }

    /// Sets the limit. One that was lifted leaves slots to be taken.
    pub(crate) fn set_limit(&self, limit: usize) {
        // ORDER slots.set: Release; pairs with slots.limit.
        self.limit.store(limit, Ordering::Release);
        self.tell();
    }

    /// Keeps new tasks from starting until there are as many resumes.
    pub(crate) fn pause(&self) {
        // ORDER slots.pause: AcqRel; pairs with slots.paused, slots.resume.
        self.pauses.fetch_add(1, Ordering::AcqRel);
    }

    /// Ends one pause. The last one leaves slots to be taken.
    pub(crate) fn resume(&self) {
        // ORDER slots.resume: AcqRel; pairs with slots.paused, slots.pause.
        self.pauses.fetch_sub(1, Ordering::AcqRel);
        self.tell();
    }

    /// More may be allowed than before: a slot that ends after this sees it, one that ended before is seen by who calls this.
    fn tell(&self) {
        if !zoo::has("Z27") {
            let _ = self.exchange(Some);
        }
    }

    fn exchange(&self, next: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
        // ORDER slots.exchange: AcqRel; publishes what came before to who acts on the word, and sees theirs; pairs with slots.exchange, slots.look.
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()
    }

    /// (A); false while a flush holds posts back.
    #[must_use = "a post that is held back must not be queued"]
    pub(crate) fn count(&self) -> bool {
        self.exchange(|word| (word & FLUSHING == 0).then_some(word + QUEUED_ONE)).is_some()
    }

    /// (A), for a task that was held back or accepted before.
    pub(crate) fn count_always(&self) {
        let _ = self.exchange(|word| Some(word + QUEUED_ONE));
    }

    /// (C); true when a ticket must be queued.
    #[must_use = "a slot that is taken needs a ticket"]
    pub(crate) fn take_slot(&self) -> bool {
        let take = |word: u64| (queued(word) > 0 && slots(word) < self.allowed()).then_some(word + SLOT_ONE);
        self.exchange(take).is_some()
    }

    /// (D); true when a task must be popped.
    #[must_use = "a claimed task must be popped"]
    pub(crate) fn claim(&self) -> bool {
        // WHY the limit here, too: what was counted after a pause is seen together with the pause.
        let is_allowed = |word: u64| queued(word) > 0 && slots(word) <= self.allowed();
        self.exchange(|word| is_allowed(word).then(|| word - QUEUED_ONE)).is_some()
    }

    /// (D) of a poster that makes room: it will pop one to drop it, so no limit keeps it.
    #[must_use = "a claimed task must be popped"]
    pub(crate) fn claim_to_drop(&self) -> bool {
        self.exchange(|word| (queued(word) > 0).then(|| word - QUEUED_ONE)).is_some()
    }

    /// True when there are more slots than the limit allows.
    pub(crate) fn is_over_limit(&self) -> bool {
        slots(self.look()) > self.allowed()
    }

    /// (G): ends the caller's slot; false when it must go on, since something is queued and it is within the limit.
    #[must_use = "a slot that does not end goes on"]
    pub(crate) fn end_slot(&self) -> bool {
        let end = |word: u64| (queued(word) == 0 || slots(word) > self.allowed()).then(|| word - SLOT_ONE);
        self.exchange(end).is_some()
    }

    fn look(&self) -> u64 {
        // ORDER slots.look: Acquire; pairs with slots.exchange.
        self.word.load(Ordering::Acquire)
    }

    /// Nothing is queued and nothing runs.
    pub(crate) fn is_quiet(&self) -> bool {
        let word = self.look();
        queued(word) == 0 && slots(word) == 0
    }

    /// Begins a flush; false when there is one.
    #[must_use = "one flush at a time"]
    pub(crate) fn begin_flush(&self) -> bool {
        self.exchange(|word| (word & FLUSHING == 0).then_some(word | FLUSHING)).is_some()
    }

    /// Ends the flush.
    pub(crate) fn end_flush(&self) {
        let _ = self.exchange(|word| Some(word & !FLUSHING));
    }

    pub(crate) fn is_flushing(&self) -> bool {
        self.look() & FLUSHING != 0
    }
}
