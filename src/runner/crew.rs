//! The state word of a job: how many work on it, how many are on their way, and whether anybody is still wanted.
//!
//! # The word
//!
//! | bits | what |
//! |---|---|
//! | 0–15 | *tickets*: queued in the pool, not begun |
//! | 16–31 | *workers*: threads inside the job's body, joiners included |
//! | 32 | *cancelled* |
//! | 33–63 | *calls*: how often somebody said that there is more to do, modulo 2^31 |
//!
//! How many are *wanted* is the user's to say: a function of the number of workers, called without any lock, at a word that is exchanged after it. So an answer that a later change
//! of the word could have made stale is asked for again.
//!
//! | transition | by whom | when |
//! |---|---|---|
//! | calls + 1 | who added work | always |
//! | tickets + 1 | who added work; a worker that begins | workers + tickets < wanted; it owes the pool a ticket |
//! | tickets − 1, workers + 1 | a ticket that comes to a thread | workers < wanted |
//! | tickets − 1 | a ticket | otherwise; or it was dropped |
//! | workers + 1 | a joiner | workers < wanted |
//! | workers − 1 | a worker | otherwise |
//! | workers − 1, tickets + 1 | a worker that is not a joiner | workers − 1 + tickets < wanted(workers − 1) |
//!
//! # The bad interleaving
//!
//! *Work that nobody takes*: the last worker asks and hears that nobody is wanted; work is added and called for, the caller sees a worker and invites nobody; the worker leaves.
//! Excluded, since the call changes the word: if it comes before the worker's exchange, that fails and the worker asks again, after the work was added; if it comes after, the
//! caller sees no worker.
//!
//! Limits: 2^16 − 1 tickets and workers each; a call is missed if 2^31 of them fit between a look and its exchange.
//!
//! Witnessed by `tests::crew_loom::*`.
#![forbid(unsafe_code)]

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::zoo;

const TICKET_ONE: u64 = 1;
const WORKER_ONE: u64 = 1 << 16;
const CANCELLED: u64 = 1 << 32;
const CALL_ONE: u64 = 1 << 33;
const COUNT_MASK: u64 = (1 << 16) - 1;

fn tickets(word: u64) -> usize {
    (word & COUNT_MASK) as usize
}

fn workers(word: u64) -> usize {
    ((word / WORKER_ONE) & COUNT_MASK) as usize
}

fn is_cancelled(word: u64) -> bool {
    word & CANCELLED != 0
}

/// The word.
#[derive(Debug, Default)]
pub(crate) struct Crew(AtomicU64);

impl Crew {
    fn look(&self) -> u64 {
        // ORDER crew.look: Acquire; what was done before the word became this is visible; pairs with crew.exchange, crew.call.
        self.0.load(Ordering::Acquire)
    }

    /// Exchanges the word for what `next` makes of it, asked again whenever it has changed.
    fn exchange(&self, next: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
        // ORDER crew.exchange: AcqRel; a worker's effects are visible to who sees it gone; pairs with crew.exchange, crew.look, crew.call.
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()
    }

    /// There is more to do.
    pub(crate) fn call(&self) {
        if !zoo::has("Z29") {
            // ORDER crew.call: AcqRel; the work that was added is visible to who asks after this; pairs with crew.exchange, crew.look.
            self.0.fetch_add(CALL_ONE, Ordering::AcqRel);
        }
    }

    /// True when the pool must be given a ticket.
    #[must_use = "an invited worker needs a ticket"]
    pub(crate) fn invite(&self, wanted: impl Fn(usize) -> usize) -> bool {
        let invited = |word: u64| {
            let is_wanted = !is_cancelled(word) && workers(word) + tickets(word) < wanted(workers(word));
            is_wanted.then(|| word + TICKET_ONE)
        };
        self.exchange(invited).is_some()
    }

    /// A ticket has come to a thread; true when that is a worker now, else the ticket is gone.
    #[must_use = "a worker must leave"]
    pub(crate) fn begin(&self, wanted: impl Fn(usize) -> usize) -> bool {
        let mut begins = false;
        let _ = self.exchange(|word| {
            begins = !is_cancelled(word) && workers(word) < wanted(workers(word));
            Some(word - TICKET_ONE + if begins { WORKER_ONE } else { 0 })
        });
        begins
    }

    /// A ticket was dropped.
    pub(crate) fn drop_ticket(&self) {
        let _ = self.exchange(|word| Some(word - TICKET_ONE));
    }

    /// A joiner wants to work; true when it is a worker now.
    #[must_use = "a worker must leave"]
    pub(crate) fn join(&self, wanted: impl Fn(usize) -> usize) -> bool {
        let joined = |word: u64| {
            let is_wanted = !is_cancelled(word) && workers(word) < wanted(workers(word));
            is_wanted.then(|| word + WORKER_ONE)
        };
        self.exchange(joined).is_some()
    }

    /// A worker leaves; true when it is wanted again and must give the pool a ticket.
    #[must_use = "a worker that is wanted again needs a ticket"]
    pub(crate) fn leave(&self, wanted: impl Fn(usize) -> usize) -> bool {
        let mut again = false;
        let _ = self.exchange(|word| {
            let left = workers(word) - 1;
            again = !is_cancelled(word) && left + tickets(word) < wanted(left);
            Some(word - WORKER_ONE + if again { TICKET_ONE } else { 0 })
        });
        again
    }

    /// A joiner leaves.
    pub(crate) fn leave_joined(&self) {
        let _ = self.exchange(|word| Some(word - WORKER_ONE));
    }

    /// Nobody is wanted any more.
    pub(crate) fn cancel(&self) {
        let _ = self.exchange(|word| Some(word | CANCELLED));
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        is_cancelled(self.look())
    }

    pub(crate) fn workers(&self) -> usize {
        workers(self.look())
    }

    /// True when nobody works and nobody is wanted.
    pub(crate) fn is_over(&self, wanted: impl Fn(usize) -> usize) -> bool {
        let word = self.look();
        workers(word) == 0 && (is_cancelled(word) || wanted(0) == 0)
    }

    /// True when a joiner could work.
    pub(crate) fn is_short(&self, wanted: impl Fn(usize) -> usize) -> bool {
        let word = self.look();
        !is_cancelled(word) && workers(word) < wanted(workers(word))
    }
}
