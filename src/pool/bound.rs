//! Bounded queues: how many tasks may wait, and what happens to the next one.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::error::BuildError;
use crate::park::{Bell, Wait};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What a full queue does with one more task (POST-9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// Refuses it: [`RejectReason::Full`](crate::RejectReason::Full).
    Reject,
    /// Drops the task that has waited longest, of a parallel runner the one that is least urgent among them, on the posting thread, and accepts this one. Not for pools, which have no such task: building one is an error.
    DropOldest,
    /// Blocks the poster until there is room; on a worker of the pool, and on the sequence itself, refuses instead, so that it never deadlocks (POST-7).
    Block,
    /// As [`Block`](Self::Block), but for at most so long, of monotonic time; then it refuses.
    BlockFor(Duration),
    /// Runs it on the posting thread: for pools and parallel runners. Not for sequences, whose order it would break: building one is an error.
    CallerRuns,
}

impl Overflow {
    /// How long a poster waits at most.
    fn limit(self) -> Option<Duration> {
        match self {
            Self::BlockFor(limit) => Some(limit),
            _ => None,
        }
    }
}

/// The bound of one queue.
#[derive(Debug)]
pub(crate) struct Bound {
    capacity: usize,
    overflow: Overflow,
    waiting: AtomicUsize,
    /// Held while a task is popped: with `DropOldest` posters pop too.
    pub(crate) consumer: Mutex<()>,
    /// Tasks that posters have dropped to make room.
    pub(crate) overflowed: AtomicU64,
    /// So many tasks, counted from the first one pushed, are over. Posters drop tasks behind the one that runs, so a sum of ends would not do.
    pub(crate) over: AtomicU64,
    room: Bell,
}

/// What a full queue asks of the poster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// There is a place, and it is taken.
    Reserved,
    Refused,
    /// The poster runs the task itself.
    CallerRuns,
    /// The oldest task must go first.
    DropOldest,
}

impl Bound {
    /// The bound of a sequence, if it has one.
    pub(crate) fn of_a_sequence(bound: Option<(usize, Overflow)>) -> Result<Option<Self>, BuildError> {
        match bound {
            Some((0, _)) => Err(BuildError::new("capacity", 0, "must be at least 1")),
            Some((_, Overflow::CallerRuns)) => {
                Err(BuildError::new("capacity", "CallerRuns", "would break the order of a sequence"))
            }
            Some((capacity, overflow)) => Ok(Some(Self::new(capacity, overflow))),
            None => Ok(None),
        }
    }

    /// The bound of a pool, if it has one.
    pub(crate) fn check_of_a_pool(bound: Option<(usize, Overflow)>) -> Result<(), BuildError> {
        match bound {
            Some((0, _)) => Err(BuildError::new("capacity", 0, "must be at least 1")),
            Some((_, Overflow::DropOldest)) => {
                Err(BuildError::new("capacity", "DropOldest", "a pool's tasks lie in many queues; bound a runner"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn new(capacity: usize, overflow: Overflow) -> Self {
        Self {
            capacity,
            overflow,
            waiting: AtomicUsize::new(0),
            consumer: Mutex::new(()),
            overflowed: AtomicU64::new(0),
            over: AtomicU64::new(0),
            room: Bell::new(),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    fn try_reserve(&self) -> bool {
        let add = |waiting: usize| (waiting < self.capacity).then_some(waiting + 1);
        // ORDER bound.reserve: AcqRel; a place is taken after it was given up; pairs with bound.release.
        self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).is_ok()
    }

    /// Takes a place for one more task; `may_block` is false where waiting could deadlock, `is_over` ends a wait, and `ended` rings when the pool's end has begun.
    pub(crate) fn reserve(&self, may_block: bool, is_over: impl Fn() -> bool, ended: &Bell) -> Room {
        if self.try_reserve() {
            return Room::Reserved;
        }
        match self.overflow {
            Overflow::DropOldest => Room::DropOldest,
            Overflow::CallerRuns => Room::CallerRuns,
            Overflow::Block | Overflow::BlockFor(_) if may_block => {
                let look = || {
                    let reserved = self.try_reserve();
                    (reserved || is_over()).then_some(reserved)
                };
                let wait = Wait::on("room in a bounded queue").at_most(self.overflow.limit());
                let reserved = Bell::wait_for_either([&self.room, ended], look, wait);
                if reserved == Some(true) { Room::Reserved } else { Room::Refused }
            }
            _ => Room::Refused,
        }
    }

    /// A delayed task takes a place whether there is one or not.
    pub(crate) fn add_ripe(&self) {
        // ORDER bound.ripe: AcqRel; as bound.reserve; pairs with bound.release.
        self.waiting.fetch_add(1, Ordering::AcqRel);
    }

    /// A task has left the queue, or was not queued after all.
    pub(crate) fn release(&self) {
        // ORDER bound.release: Release; pairs with bound.reserve, bound.ripe.
        self.waiting.fetch_sub(1, Ordering::Release);
        if matches!(self.overflow, Overflow::Block | Overflow::BlockFor(_)) {
            self.room.ring();
        }
    }

    /// The task that was popped as this one is over, and those before it are; called by the drainer.
    pub(crate) fn set_over(&self, number: u64) {
        // ORDER bound.over: Release; what the task did is visible to who waits for it; pairs with sequence.read.
        self.over.store(number, Ordering::Release);
    }

    /// Ends the waits of posters whose queue will not have room any more.
    pub(crate) fn end_waits(&self) {
        self.room.ring();
    }
}
