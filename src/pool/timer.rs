//! The delay manager: a timer wheel that hands ripe tasks to their runners.
//!
//! It runs no user code and waits for nobody: what is ripe is taken out under the lock, and given to its runner after it, which only appends it
//! to an unbounded queue (DLY-3). It reads no clock: whoever drives it says what time it is.
//!
//! The bad interleaving: a timer is inserted that is due before the driver's sleep ends, just while the driver computes that sleep. Excluded because
//! the driver states under the lock until when it will sleep, and an insert that is earlier says so, which obliges its caller to wake the
//! driver; the wake-up is a permit, so it is not lost if the driver has not parked yet.
//!
//! Witnessed by `tests::loom_*` in `pool/tests/timer_loom.rs`.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::sync::Mutex;
use crate::task::current::Name;
use crate::task::raw::{Discard, Task};
use crate::time::{Moment, TimerKey, Wheel};

/// Where a task goes when its delay is over, or when it never will be.
pub(crate) trait Receiver: Send + Sync {
    /// The delay is over.
    fn ripen(self: Arc<Self>, task: Task);
    /// The delay will not end: the pool shuts down, the runner is closed, the task was cancelled.
    fn drop_unripe(self: Arc<Self>, task: Task, why: Discard);
    /// The name of the runner that the task goes to, if it has one.
    fn runner_name(&self) -> Option<Name> {
        None
    }
    /// False for what the crate does for itself, which no dump tells.
    fn is_told(&self) -> bool {
        true
    }
}

struct Entry {
    task: Task,
    receiver: Arc<dyn Receiver>,
}

struct State {
    wheel: Wheel<Entry>,
    /// When the driver looks next without being woken.
    next_look: Moment,
    closed: bool,
}

/// The delay manager; see the page above.
pub(crate) struct Timers(Mutex<State>);

/// A timer was inserted.
#[must_use = "the driver may have to be woken"]
pub(crate) struct Inserted {
    pub(crate) key: TimerKey,
    /// It is due before the driver looks next.
    pub(crate) is_earliest: bool,
}

impl Timers {
    pub(crate) fn new(now: Moment) -> Self {
        Self(Mutex::new(State { wheel: Wheel::new(now), next_look: Moment::NEVER, closed: false }))
    }

    /// Adds a timer; the task comes back when the delay manager is closed. `accepted` counts it, under the lock, before it can ripen.
    pub(crate) fn insert(
        &self,
        due: Moment,
        task: Task,
        receiver: Arc<dyn Receiver>,
        accepted: impl FnOnce(),
    ) -> Result<Inserted, Task> {
        let mut state = self.0.lock();
        if state.closed {
            drop(state);
            return Err(task);
        }
        let is_earliest = due < state.next_look;
        if is_earliest {
            state.next_look = due;
        }
        accepted();
        Ok(Inserted { key: state.wheel.insert(due, Entry { task, receiver }), is_earliest })
    }

    /// Takes a timer out; `None` when it is ripe already.
    pub(crate) fn remove(&self, key: TimerKey) -> Option<Task> {
        let entry = self.0.lock().wheel.remove(key);
        entry.map(|entry| entry.task)
    }

    /// Drops all timers of one receiver, unless it says under the lock that it has none. Who inserts one meanwhile must look afterwards whether it came too late.
    ///
    /// The lock is held for one page of timers at a time, so that a million of them delay nobody (DLY-3).
    pub(crate) fn drop_all_of(&self, receiver: &Arc<dyn Receiver>, has_any: impl FnOnce() -> bool) {
        let mut dropped = Vec::new();
        let is_wanted = |entry: &Entry| Arc::ptr_eq(&entry.receiver, receiver);
        let mut page = 0;
        let mut goes_on = {
            let mut state = self.0.lock();
            has_any() && state.wheel.remove_of_page(page, is_wanted, &mut dropped)
        };
        while goes_on {
            page += 1;
            goes_on = self.0.lock().wheel.remove_of_page(page, is_wanted, &mut dropped);
        }
        for entry in dropped {
            entry.receiver.drop_unripe(entry.task, Discard::Closed);
        }
    }

    /// When the earliest timer is due.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        self.0.lock().wheel.next_deadline()
    }

    /// What is due first, the earliest first, at most so many; told under the lock.
    pub(crate) fn first<R>(&self, most: usize, tell: impl Fn(Moment, &Task, &dyn Receiver) -> R) -> Vec<R> {
        let state = self.0.lock();
        let told = state.wheel.first(most).into_iter().filter(|(_, entry)| entry.receiver.is_told());
        told.map(|(due, entry)| tell(due, &entry.task, &*entry.receiver)).collect()
    }

    /// Hands over what is ripe; says when to look next (`NEVER`: when woken).
    pub(crate) fn step(&self, now: Moment) -> Moment {
        let mut ripe = Vec::new();
        let next_look = {
            let mut state = self.0.lock();
            state.wheel.advance(now, &mut ripe);
            state.next_look = state.wheel.next_wake().unwrap_or(Moment::NEVER);
            state.next_look
        };
        for entry in ripe {
            entry.receiver.ripen(entry.task);
        }
        next_look
    }

    /// Refuses timers from now on and drops those that are not ripe.
    pub(crate) fn close(&self) {
        let unripe = {
            let mut state = self.0.lock();
            state.closed = true;
            state.next_look = Moment::NEVER;
            state.wheel.drain()
        };
        for entry in unripe {
            entry.receiver.drop_unripe(entry.task, Discard::ShutDown);
        }
    }
}

impl std::fmt::Debug for Timers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Timers")
    }
}
