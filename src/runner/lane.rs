//! The sequence's state word, and the FIFO below it: who may run the tasks of a sequence, and when it is idle.
//!
//! # The word
//!
//! | bits | what |
//! |---|---|
//! | 0–1 | phase: *idle*, *ready*, *running* |
//! | 2–3 | the class of the valid ticket, while *ready* |
//! | 4–6 | a ticket lies in the queue of this class, valid or stale |
//! | 7 | somebody listens for the end of a turn |
//! | 16–63 | completed pushes, modulo 2^48 |
//!
//! | phase | tickets | who may leave it |
//! |---|---|---|
//! | *idle* | none valid; every completed push has been popped | the poster whose push is the first: to *ready* |
//! | *ready* | one valid, in the queue of the class in the word | whoever takes that ticket out: to *running*. The class may be changed |
//! | *running* | none valid | the thread that runs the turn: to *idle*, or back to *ready* |
//!
//! A queue cannot give a ticket back from its middle. So when the class of a *ready* sequence changes, a ticket in the new class is added and
//! the old one becomes stale: dropped on sight, or valid again if the class changes back. There is never more than one ticket
//! per class, and each holds a share of the sequence, so the word outlives them all.
//!
//! # Steps seen by a poster
//!
//! (A) Append to the FIFO, (B) count the push in the word; if the phase was *idle*, the same exchange makes it *ready* and (C) the poster queues the ticket.
//!
//! # Steps seen by the drainer
//!
//! (D) Take a ticket out, exchange *ready* for *running*; if the word says otherwise the ticket is stale. (E) Pop and run, for a bounded turn. (F) Compare the
//! pops with the pushes in the word and exchange: equal, to *idle*; else to *ready*, and queue a ticket.
//!
//! # The bad interleavings
//!
//! *Lost wake-up*: the drainer finds the FIFO empty, a poster appends and sees *running*, the drainer goes idle. Excluded since (F) is one exchange on the word
//! that (B) changes: either (B) is first and (F) sees more pushes than pops, or (F) is first and (B) sees *idle*.
//!
//! *Half-done push*: a poster stopped inside the FIFO's push hides later, completed pushes. (F) goes by the count, not by the FIFO, so the sequence
//! stays *ready* and the turn is tried again. This is the one place where progress waits for another thread's next instruction.
//!
//! *Two drainers*: only an exchange from *ready* lets a thread drain, and only the drainer leaves *running*.
//!
//! # Ordering
//!
//! Each turn ends with an exchange on the word and the next begins with one, so all effects of a turn are visible to the next (SEQ-1).
//!
//! | operation | progress |
//! |---|---|
//! | `push` | lock-free; one read-modify-write while not idle |
//! | `take`, `finish`, `reclass` | lock-free |
//!
//! Limits: 2^48 pushes between two ends of turns.
//!
//! Witnessed by `tests::loom_*` in `runner/tests/lane_loom.rs`.
#![forbid(unsafe_code)]

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::task::raw::{Task, TaskQueue};
use crate::task::traits::Priority;
use crate::zoo;

const PHASE: u64 = 0b11;
const IDLE: u64 = 0;
const READY: u64 = 1;
const RUNNING: u64 = 2;
const CLASS_SHIFT: u32 = 2;
const CLASS: u64 = 0b11 << CLASS_SHIFT;
const TICKET_SHIFT: u32 = 4;
const LISTENED: u64 = 1 << 7;
const PUSH_SHIFT: u32 = 16;
const PUSH_ONE: u64 = 1 << PUSH_SHIFT;

fn ticket_in(class: Priority) -> u64 {
    1 << (TICKET_SHIFT + class as u32)
}

/// The word with the phase *ready* in that class, and a ticket there.
fn ready_in(word: u64, class: Priority) -> u64 {
    word & !(PHASE | CLASS) | READY | (class as u64) << CLASS_SHIFT | ticket_in(class)
}

/// The class to queue a ticket in, if none lies there.
fn missing_ticket(word: u64, class: Priority) -> Option<Priority> {
    (word & ticket_in(class) == 0).then_some(class)
}

/// What the end of a turn asks of the drainer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a missing ticket must be queued"]
pub(crate) struct Finished {
    /// A ticket must be queued in this class.
    pub(crate) ticket: Option<Priority>,
    /// Somebody listens.
    pub(crate) is_listened: bool,
}

/// State word and FIFO of one sequence.
#[derive(Default)]
pub(crate) struct Lane {
    word: AtomicU64,
    tasks: TaskQueue,
}

impl Lane {
    /// (A, B): `Some`, when a ticket must be queued in that class.
    #[inline]
    #[must_use = "a missing ticket must be queued"]
    pub(crate) fn push(&self, task: Task, class: impl Fn() -> Priority) -> Option<Priority> {
        self.tasks.push(task);
        // Relaxed: the exchanges below order.
        let word = self.word.load(Ordering::Relaxed);
        if word & PHASE == IDLE {
            let class = class();
            // ORDER lane.first: AcqRel; publishes the push to the drainer, follows the last turn; pairs with lane.take, lane.finish.
            let exchange =
                self.word.compare_exchange(word, ready_in(word + PUSH_ONE, class), Ordering::AcqRel, Ordering::Relaxed);
            if exchange.is_ok() {
                return missing_ticket(word, class);
            }
        }
        // ORDER lane.count: AcqRel; as lane.first; pairs with lane.take, lane.finish.
        let before = self.word.fetch_add(PUSH_ONE, Ordering::AcqRel);
        if before & PHASE == IDLE { self.make_ready(class()) } else { None }
    }

    /// Makes an idle sequence with pushes ready, unless somebody else has.
    fn make_ready(&self, class: Priority) -> Option<Priority> {
        let ready = |word: u64| (word & PHASE == IDLE).then(|| ready_in(word, class));
        // ORDER lane.ready: AcqRel; as lane.first; pairs with lane.take, lane.finish.
        let before = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, ready);
        before.ok().and_then(|word| missing_ticket(word, class))
    }

    /// Moves a ready sequence into another class; `Some`, when a ticket must be queued there.
    #[must_use = "a missing ticket must be queued"]
    pub(crate) fn reclass(&self, class: Priority) -> Option<Priority> {
        let moved = |word: u64| {
            let is_elsewhere = word & PHASE == READY && (word & CLASS) >> CLASS_SHIFT != class as u64;
            is_elsewhere.then(|| ready_in(word, class))
        };
        // ORDER lane.reclass: AcqRel; ordered with the drainer's exchanges; pairs with lane.take, lane.finish.
        let before = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, moved);
        before.ok().and_then(|word| missing_ticket(word, class))
    }

    /// (D) with a ticket from the queue of `class`: true when this thread is the drainer now; else the ticket was stale.
    #[must_use = "only the drainer may pop"]
    pub(crate) fn take(&self, class: Priority) -> bool {
        let valid = |word: u64| word & (PHASE | CLASS) == READY | (class as u64) << CLASS_SHIFT;
        let taken = |word: u64| {
            let rest = word & !ticket_in(class);
            Some(if valid(word) { rest & !(PHASE | CLASS) | RUNNING } else { rest })
        };
        // ORDER lane.take: AcqRel; sees the pushes and the turn before; pairs with lane.first, lane.count, lane.ready, lane.reclass, lane.finish.
        let before = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, taken);
        before.is_ok_and(valid)
    }

    /// The oldest task, for the drainer; `None` when there is none that can be popped now.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Task> {
        self.tasks.pop()
    }

    /// (F) after `popped` tasks in all have left the FIFO.
    pub(crate) fn finish(&self, popped: u64, class: Priority) -> Finished {
        if zoo::has("Z1") && self.tasks.is_empty_racy() {
            // ORDER lane.defect: Release; the defect Z1: idle by a look at the FIFO; pairs with lane.take.
            self.word.fetch_and(!PHASE, Ordering::Release);
            return Finished { ticket: None, is_listened: true };
        }
        let is_drained = |word: u64| word >> PUSH_SHIFT == popped & (u64::MAX >> PUSH_SHIFT);
        let next = |word: u64| {
            let heard = word & !LISTENED;
            Some(if is_drained(word) { heard & !PHASE | IDLE } else { ready_in(heard, class) })
        };
        // ORDER lane.finish: AcqRel; publishes the turn to the next one, sees what was pushed meanwhile; pairs with lane.first, lane.count, lane.take, lane.listen.
        let before = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).unwrap_or_default();
        let ticket = if is_drained(before) { None } else { missing_ticket(before, class) };
        Finished { ticket, is_listened: before & LISTENED != 0 }
    }

    /// Asks to be told of the end of the next turn. What the caller looks at after this includes every turn that has ended and will not tell.
    pub(crate) fn listen(&self) {
        // ORDER lane.listen: AcqRel; decided against the end of a turn in the order of the word; pairs with lane.finish.
        self.word.fetch_or(LISTENED, Ordering::AcqRel);
    }

    /// Completed pushes, modulo 2^48.
    pub(crate) fn pushed(&self) -> u64 {
        // ORDER lane.pushed: Acquire; pushes counted here are seen with what came before; pairs with lane.count, lane.first.
        self.word.load(Ordering::Acquire) >> PUSH_SHIFT
    }
}
