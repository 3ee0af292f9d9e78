//! The sequence's state word, and the FIFO below it: who may run the tasks of a sequence, and when it is idle.
//!
//! # The word
//!
//! | bits | what |
//! |---|---|
//! | 0–1 | phase: *idle*, *ready*, *running*, *held* |
//! | 2–3 | the class of the valid ticket, while *ready* |
//! | 4–6 | a ticket lies in the queue of this class, valid or stale |
//! | 7 | somebody listens for the end of a turn |
//! | 8–15 | how often the class was changed while not *ready*, modulo 256 |
//! | 16–63 | pushes begun, modulo 2^48 |
//!
//! | phase | tickets | who may leave it |
//! |---|---|---|
//! | *idle* | none valid; every push begun has been popped, or its poster is about to leave this phase | the poster whose push is the first: to *ready*; a thread that runs its own task at once: to *running* |
//! | *ready* | one valid, in the queue of the class in the word | whoever takes that ticket out: to *running*. The class may be changed |
//! | *running* | none valid | the thread that runs the turn: to *idle*, or back to *ready* |
//!
//! | *held* | none valid | whoever lets the sequence go on: to *ready* |
//!
//! A sequence is *held* when its class is "none": it was paused. Whatever would make it *ready* asks for the class, and makes it *held* then.
//!
//! A queue cannot give a ticket back from its middle. So when the class of a *ready* sequence changes, a ticket in the new class is added and
//! the old one becomes stale: dropped on sight, or valid again if the class changes back. There is never more than one ticket
//! per class, and each holds a share of the sequence, so the word outlives them all.
//!
//! # Steps seen by a poster
//!
//! (A) Count the push in the word; if the phase was *idle*, the same exchange makes it *ready*. (B) Append to the FIFO. (C) Queue the ticket, if one is owed.
//!
//! # Steps seen by the drainer
//!
//! (D) Take a ticket out, exchange *ready* for *running*; if the word says otherwise the ticket is stale. (E) Pop and run, for a bounded turn. (F) Compare the
//! pops with the pushes in the word and exchange: equal, to *idle*; else to *ready*, and queue a ticket.
//!
//! # The bad interleavings
//!
//! *Lost wake-up*: the drainer finds the FIFO empty, a poster appends and sees *running*, the drainer goes idle. Excluded since (F) is one exchange on the word
//! that (A) changes: either (A) is first and (F) sees more pushes than pops, or (F) is first and (A) sees *idle*.
//!
//! *Half-done push*: a poster stopped between (A) and (B) has counted what cannot be popped, and one stopped inside (B) hides later, completed
//! pushes. (F) goes by the count, not by the FIFO, so the sequence stays *ready* and the turn is tried again. This is the one place where progress
//! waits for another thread's next instruction.
//!
//! *A flush that ends too early*: it waits until as many tasks are over as pushes were counted when it began. If a task were appended before it is counted,
//! later ones that ran uncounted would be taken for those that it waits for. Since (A) comes before (B), a task that is k-th in the FIFO was the k-th to be
//! counted or later; all those before it were counted too, so the count is at least k once the post is over, and k tasks over include it.
//!
//! *A class set in vain*: the drainer asks for the class, somebody sets another and sees *running*, so there is no ticket to move, and the drainer
//! goes back to *ready* in the old class. Excluded since whoever changes what the class depends on changes the word after that, by its push or by
//! `reclass`, and every exchange to *ready* asks for the class between its look at the word and its write: one of the two sees the other.
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
//! Limits: 2^48 pushes between two ends of turns, and 2^8 changes of class during one exchange.
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
const HELD: u64 = 3;
const CLASS_SHIFT: u32 = 2;
const CLASS: u64 = 0b11 << CLASS_SHIFT;
const TICKET_SHIFT: u32 = 4;
const LISTENED: u64 = 1 << 7;
const CHANGE_ONE: u64 = 1 << 8;
const CHANGES: u64 = 0xFF << 8;
const PUSH_SHIFT: u32 = 16;
const PUSH_ONE: u64 = 1 << PUSH_SHIFT;

fn ticket_in(class: Priority) -> u64 {
    1 << (TICKET_SHIFT + class as u32)
}

/// The word with the phase *ready* in that class, and a ticket there.
fn ready_in(word: u64, class: Priority) -> u64 {
    word & !(PHASE | CLASS) | READY | (class as u64) << CLASS_SHIFT | ticket_in(class)
}

/// The word with the phase *ready* in that class; without a class, *held*.
fn startable_in(word: u64, class: Option<Priority>) -> u64 {
    match class {
        Some(class) => ready_in(word, class),
        None => word & !(PHASE | CLASS) | HELD,
    }
}

/// The class of the valid ticket, if the exchange from `before` to `after` made it valid and no ticket lies there.
fn missing_ticket(before: u64, after: u64) -> Option<Priority> {
    let class = Priority::from_bits(((after & CLASS) >> CLASS_SHIFT) as u32);
    (after & PHASE == READY && before & ticket_in(class) == 0).then_some(class)
}

/// The word after a change of class that moves no ticket.
fn changed(word: u64) -> u64 {
    word & !CHANGES | word.wrapping_add(CHANGE_ONE) & CHANGES
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

/// What the word was when a push was counted.
enum Counted {
    /// It was *idle* and is *ready* now; the ticket to queue after the push.
    MadeReady(Option<Priority>),
    /// It is *idle* still.
    Idle,
    NotIdle,
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
    pub(crate) fn push(&self, task: Task, class: impl Fn() -> Option<Priority>) -> Option<Priority> {
        if zoo::has("Z26") {
            self.tasks.push(task);
            return match self.count(&class) {
                Counted::MadeReady(ticket) => ticket,
                Counted::NotIdle => None,
                Counted::Idle => self.make_ready(class),
            };
        }
        let counted = self.count(&class);
        self.tasks.push(task);
        match counted {
            Counted::MadeReady(ticket) => ticket,
            Counted::NotIdle => None,
            Counted::Idle => self.make_ready(class),
        }
    }

    /// (A): counts a push that follows.
    #[inline]
    fn count(&self, class: &impl Fn() -> Option<Priority>) -> Counted {
        // ORDER lane.look: Acquire; a change of class that the word shows is seen by `class`; pairs with lane.exchange.
        let word = self.word.load(Ordering::Acquire);
        if word & PHASE == IDLE {
            let ready = startable_in(word + PUSH_ONE, class());
            // ORDER lane.first: AcqRel; follows the last turn, comes before the push; pairs with lane.take, lane.exchange.
            if self.word.compare_exchange(word, ready, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Counted::MadeReady(missing_ticket(word, ready));
            }
        }
        // ORDER lane.count: AcqRel; as lane.first; pairs with lane.take, lane.exchange.
        let before = self.word.fetch_add(PUSH_ONE, Ordering::AcqRel);
        if before & PHASE == IDLE { Counted::Idle } else { Counted::NotIdle }
    }

    /// Exchanges the word for what `next` makes of it; `None`, when that is nothing. What `next` looks at is not older than the word it is given.
    fn exchange(&self, next: impl Fn(u64) -> Option<u64>) -> Option<(u64, u64)> {
        // ORDER lane.seen: Acquire; a change of class that the word shows is seen by `next`; pairs with lane.exchange, lane.count.
        let mut before = self.word.load(Ordering::Acquire);
        loop {
            let after = next(before)?;
            // ORDER lane.exchange: AcqRel; publishes a push, a turn or a change of class, follows those before; pairs with lane.take, lane.first, lane.count,
            // lane.listen, lane.seen.
            match self.word.compare_exchange_weak(before, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some((before, after)),
                Err(seen) => before = seen,
            }
        }
    }

    /// Makes an idle sequence with pushes ready, unless somebody else has.
    fn make_ready(&self, class: impl Fn() -> Option<Priority>) -> Option<Priority> {
        let (before, after) = self.exchange(|word| (word & PHASE == IDLE).then(|| startable_in(word, class())))?;
        missing_ticket(before, after)
    }

    /// The class may have changed: moves a ready or held sequence there; `Some`, when a ticket must be queued in that class. Who makes it ready just now
    /// looks at the class again.
    #[must_use = "a missing ticket must be queued"]
    pub(crate) fn reclass(&self, class: impl Fn() -> Option<Priority>) -> Option<Priority> {
        let moved = |word: u64| match word & PHASE {
            READY | HELD => {
                Some(startable_in(word, class())).filter(|after| *after & (PHASE | CLASS) != word & (PHASE | CLASS))
            }
            _ if zoo::has("Z25") => None,
            _ => Some(changed(word)),
        };
        let (before, after) = self.exchange(moved)?;
        missing_ticket(before, after)
    }

    /// (D) with a ticket from the queue of `class`: true when this thread is the drainer now; else the ticket was stale.
    #[must_use = "only the drainer may pop"]
    pub(crate) fn take(&self, class: Priority) -> bool {
        let valid = |word: u64| word & (PHASE | CLASS) == READY | (class as u64) << CLASS_SHIFT;
        let taken = |word: u64| {
            let rest = word & !ticket_in(class);
            Some(if valid(word) { rest & !(PHASE | CLASS) | RUNNING } else { rest })
        };
        // ORDER lane.take: AcqRel; sees the pushes and the turn before; pairs with lane.first, lane.count, lane.exchange.
        let before = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, taken);
        before.is_ok_and(valid)
    }

    /// Takes an idle sequence for a task that need not be appended, since it runs at once on this thread; true when this thread is the drainer now. The task is
    /// counted as pushed; the drainer counts it as popped.
    #[must_use = "only the drainer may run it"]
    pub(crate) fn take_idle(&self) -> bool {
        let taken = |word: u64| (word & PHASE == IDLE).then(|| (word + PUSH_ONE) & !PHASE | RUNNING);
        self.exchange(taken).is_some()
    }

    /// The oldest task, for the drainer; `None` when there is none that can be popped now.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Task> {
        self.tasks.pop()
    }

    /// (F) after `popped` tasks in all have left the FIFO.
    pub(crate) fn finish(&self, popped: u64, class: impl Fn() -> Option<Priority>) -> Finished {
        if zoo::has("Z1") && self.tasks.is_empty_racy() {
            // ORDER lane.defect: Release; the defect Z1: idle by a look at the FIFO; pairs with lane.take.
            self.word.fetch_and(!PHASE, Ordering::Release);
            return Finished { ticket: None, is_listened: true };
        }
        let is_drained = |word: u64| word >> PUSH_SHIFT == popped & (u64::MAX >> PUSH_SHIFT);
        let next = |word: u64| {
            let heard = word & !LISTENED;
            Some(if is_drained(word) { heard & !PHASE | IDLE } else { startable_in(heard, class()) })
        };
        let (before, after) = self.exchange(next).unwrap_or_default();
        Finished { ticket: missing_ticket(before, after), is_listened: before & LISTENED != 0 }
    }

    /// Asks to be told of the end of the next turn. What the caller looks at after this includes every turn that has ended and will not tell.
    pub(crate) fn listen(&self) {
        // ORDER lane.listen: AcqRel; decided against the end of a turn in the order of the word; pairs with lane.exchange.
        self.word.fetch_or(LISTENED, Ordering::AcqRel);
    }

    /// How many of them `popped` leaves.
    #[inline]
    pub(crate) fn queued(&self, popped: u64) -> u64 {
        self.pushed().wrapping_sub(popped) & (u64::MAX >> PUSH_SHIFT)
    }

    /// Pushes begun, modulo 2^48: those that came before the call are in the FIFO.
    pub(crate) fn pushed(&self) -> u64 {
        // ORDER lane.pushed: Acquire; what came before the pushes counted here is seen; pairs with lane.count, lane.first.
        self.word.load(Ordering::Acquire) >> PUSH_SHIFT
    }
}
