//! The pool's counters, and why they always add up.
//!
//! Every accepted task is counted when it is accepted, before it can be found; once more when it leaves its queue, and once more when it is
//! over. Counters only grow. Each worker has a shard of its own and adds with a load and a store; other threads share
//! a few shards and add atomically.
//!
//! # Reading
//!
//! [`Ledger::stats`] sums the *last* steps of a task's life first and the first steps last. A task that is seen over was counted as started and as
//! accepted before (each step happens before the next), so no difference is ever negative; and since all figures are differences of the
//! same sums, `posted == ran + queued + delayed + running + dropped` holds in every snapshot (I55).
//!
//! [`Ledger::is_quiet`] uses the same order: if as many undelayed tasks are seen over as are then seen accepted, there was an instant in between at
//! which nothing was left; tasks posted by a task are counted before that task is over.
//!
//! Limits: 64 bits each.
#![forbid(unsafe_code)]

use std::cell::Cell;

use crossbeam_utils::CachePadded;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::local;
use crate::sync::unmodelled;

/// Shards for threads that are no workers of the pool.
const OUTSIDE_SHARDS: usize = 8;

/// One thing that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// Accepted without a delay.
    Posted,
    /// Accepted with a delay.
    PostedDelayed,
    /// The delay is over.
    Ripened,
    /// Dropped before the delay was over.
    DroppedDelayed,
    /// Left its queue.
    Started,
    /// Dropped after it left its queue.
    Dropped,
    /// Ran to its end, or panicked.
    Ran,
    /// Panicked.
    Panicked,
    Rejected,
    WakeUps,
    Steals,
}

/// Snapshots that are tried before one is put right by what is known.
const SNAPSHOT_TRIES: usize = 8;

const COUNTS: usize = Count::Steals as usize + 1;

#[derive(Debug, Default)]
struct Shard([AtomicU64; COUNTS]);

/// The shards of a pool.
#[derive(Debug)]
pub(crate) struct Ledger {
    workers: Box<[CachePadded<Shard>]>,
    outside: Box<[CachePadded<Shard>]>,
}

/// A consistent picture of a pool's counters: `posted` is the sum of `ran`, `queued`, `delayed`, `running` and `dropped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Tasks accepted so far, delayed ones included.
    pub posted: u64,
    /// Tasks that ran to their end, those that panicked included.
    pub ran: u64,
    /// Tasks ready to run and waiting for a worker or for their turn. One that was cancelled through its handle counts here until its place in
    /// the queue is reached.
    pub queued: u64,
    /// Tasks whose delay is not over.
    pub delayed: u64,
    /// Tasks that run now.
    pub running: u64,
    /// Accepted tasks that were dropped without running: by shutdown, cancel, close or an overflow policy.
    pub dropped: u64,
    /// Posts that were refused; not part of `posted`.
    pub rejected: u64,
    /// Tasks that panicked; part of `ran`.
    pub panicked: u64,
    /// How often a sleeping worker was woken.
    pub wake_ups: u64,
    /// Successful steals from another worker's deque.
    pub steals: u64,
}

static SEATS: unmodelled::AtomicUsize = unmodelled::AtomicUsize::new(0);

local! {
    static SEAT: Cell<usize> = Cell::new(usize::MAX);
}

/// The outside shard of this thread.
fn seat() -> usize {
    SEAT.try_with(|seat| {
        if seat.get() == usize::MAX {
            // Relaxed: spreads threads, nothing more.
            seat.set(SEATS.fetch_add(1, unmodelled::Ordering::Relaxed) % OUTSIDE_SHARDS);
        }
        seat.get()
    })
    .unwrap_or(0)
}

impl Ledger {
    pub(crate) fn new(workers_max: usize) -> Self {
        let shards = |count| (0..count).map(|_| CachePadded::default()).collect();
        Self { workers: shards(workers_max), outside: shards(OUTSIDE_SHARDS) }
    }

    /// Counts one; `worker` is the calling worker's index, if it is one of this pool.
    #[inline]
    pub(crate) fn count(&self, worker: Option<usize>, what: Count) {
        self.count_many(worker, what, 1);
    }

    #[inline]
    pub(crate) fn count_many(&self, worker: Option<usize>, what: Count, many: u64) {
        match worker {
            Some(index) => {
                let counter = &self.workers[index].0[what as usize];
                // Relaxed: only this worker writes it.
                let value = counter.load(Ordering::Relaxed).wrapping_add(many);
                // ORDER ledger.own: Release; what was counted before is seen by who sees this; pairs with ledger.read.
                counter.store(value, Ordering::Release);
            }
            None => {
                // ORDER ledger.outside: Release; as ledger.own; pairs with ledger.read.
                self.outside[seat()].0[what as usize].fetch_add(many, Ordering::Release);
            }
        }
    }

    fn sum(&self, what: Count) -> u64 {
        let shards = self.workers.iter().chain(&*self.outside);
        // ORDER ledger.read: Acquire; see the page above; pairs with ledger.own, ledger.outside.
        shards.fold(0, |sum, shard| sum.wrapping_add(shard.0[what as usize].load(Ordering::Acquire)))
    }

    /// True when there was an instant, not before this call, at which no undelayed task was left.
    pub(crate) fn is_quiet(&self) -> bool {
        let over = self.sum(Count::Ran).wrapping_add(self.sum(Count::Dropped));
        over == self.sum(Count::Ripened).wrapping_add(self.sum(Count::Posted))
    }

    /// How many tasks were dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.sum(Count::Dropped).wrapping_add(self.sum(Count::DroppedDelayed))
    }

    /// How many tasks the worker has started and ended.
    pub(crate) fn progress_of(&self, worker: usize) -> (u64, u64) {
        // ORDER ledger.progress: Acquire; ends are read first, so that an end without a start is never seen; pairs with ledger.own.
        let read = |what| self.workers[worker].0[what as usize].load(Ordering::Acquire);
        let over = read(Count::Ran) + read(Count::Dropped);
        (read(Count::Started), over)
    }

    /// A snapshot. While the reader is delayed between two sums tasks go on, so a picture in which nothing ended meanwhile is tried for; else those
    /// that cannot be running any more, since there are fewer threads, count as ended.
    pub(crate) fn stats(&self) -> PoolStats {
        let mut stats = self.read_once();
        for _ in 0..SNAPSHOT_TRIES {
            if self.sum(Count::Ran) == stats.ran {
                break;
            }
            stats = self.read_once();
        }
        let ended = stats.running.saturating_sub(self.workers.len() as u64);
        PoolStats { running: stats.running - ended, ran: stats.ran + ended, ..stats }
    }

    fn read_once(&self) -> PoolStats {
        let [rejected, wake_ups, steals] = [Count::Rejected, Count::WakeUps, Count::Steals].map(|what| self.sum(what));
        let panicked = self.sum(Count::Panicked);
        let [ran, dropped, dropped_delayed] =
            [Count::Ran, Count::Dropped, Count::DroppedDelayed].map(|what| self.sum(what));
        let started = self.sum(Count::Started);
        let ripened = self.sum(Count::Ripened);
        let [posted, posted_delayed] = [Count::Posted, Count::PostedDelayed].map(|what| self.sum(what));
        PoolStats {
            posted: posted + posted_delayed,
            ran,
            queued: posted + ripened - started,
            delayed: posted_delayed - ripened - dropped_delayed,
            running: started - ran - dropped,
            dropped: dropped + dropped_delayed,
            rejected,
            panicked: panicked.min(ran),
            wake_ups,
            steals,
        }
    }
}
