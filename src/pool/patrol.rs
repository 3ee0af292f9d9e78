//! The patrol: looks after tickets that a worker has kept for itself.
//!
//! A task that posts one more, and no other, usually ends soon after, and its worker goes on with what was posted. Waking another worker for it
//! costs both of them far more than the task, and moves the data to another core. So the first ticket in an otherwise empty deque wakes
//! nobody, as long as somebody looks after it: the service thread passes by every [`PERIOD`], and a ticket that has been waiting since
//! the last round, because its worker blocks or computes, is marked as stuck and a sleeping worker is woken for it. A second ticket wakes somebody at once,
//! and a worker that waits by means of this crate tells about what it has kept before it waits.
//!
//! So a kept ticket waits for at most two periods while a worker is free. It is never out of reach: a thief may take it once it is marked.
//!
//! # On and off
//!
//! The patrol is off until a worker would have kept a ticket; that one is told about in the ordinary way, and the patrol goes on. It goes off only
//! when every worker is asleep, and a worker that sleeps has nothing in its deque, since it looks after it has set its bit. The bad
//! interleaving is a worker that wakes just then: the service takes the mark away, fences and looks who sleeps; the worker clears its bit, fences,
//! and looks at the mark with its next post. Either the service sees it awake and stays on, or the worker sees the mark gone.
//!
//! In a pool of one worker there is nobody to wake, and no patrol; a worker that stands in for it is told by the wait itself.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::core::Core;
use super::idle::Idle;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::time::Moment;

/// The time between two rounds. A timed wake-up costs some microseconds of CPU, so this is less than a hundredth of a core while the pool works.
pub(crate) const PERIOD: Duration = Duration::from_millis(1);

/// Whether the patrol is on, and what it saw.
#[derive(Debug)]
pub(crate) struct Patrol {
    /// False where time does not go by itself, in models and under tests that move it: every ticket is told about.
    is_possible: bool,
    on: AtomicBool,
    rounds: Mutex<Rounds>,
}

#[derive(Debug, Default)]
struct Rounds {
    next: Option<Moment>,
    /// The tasks that each worker had started when its deque was last seen with one ticket in it.
    seen: Vec<Option<u64>>,
}

impl Patrol {
    pub(crate) fn new(is_possible: bool) -> Self {
        let is_possible = is_possible && !cfg!(any(overstrand_loom, overstrand_shuttle));
        Self { is_possible, on: AtomicBool::new(false), rounds: Mutex::default() }
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        // Relaxed: ordered by the fences of a worker that wakes and of the service, see the page above.
        self.on.load(Ordering::Relaxed)
    }

    /// True when a ticket kept now need not be told about. Goes on for the next time if not.
    #[inline]
    pub(crate) fn looks_after(&self, is_alone: bool, wake_service: impl FnOnce()) -> bool {
        if is_alone || self.is_on() {
            return self.is_possible;
        }
        // Relaxed: the service reads it after its permit.
        if self.is_possible && !self.on.swap(true, Ordering::Relaxed) {
            wake_service();
        }
        false
    }
}

impl Core {
    /// One round, if it is due; says when the next one is.
    pub(crate) fn patrol_step(&self, now: Moment) -> Moment {
        if !self.patrol.is_on() {
            return Moment::NEVER;
        }
        let due = *self.patrol.rounds.lock().next.get_or_insert(now.saturating_add(PERIOD));
        if now < due {
            return due;
        }
        if self.go_off() {
            return Moment::NEVER;
        }
        if self.find_stuck() {
            self.notify(None);
        }
        let next = now.saturating_add(PERIOD);
        self.patrol.rounds.lock().next = Some(next);
        next
    }

    /// Goes off if every worker sleeps.
    fn go_off(&self) -> bool {
        // Relaxed: ordered by the fence.
        self.patrol.on.store(false, Ordering::Relaxed);
        Idle::order_looks();
        let all_sleep = self.idle.sleeping_racy() >= self.staff.active();
        if all_sleep {
            *self.patrol.rounds.lock() = Rounds::default();
        } else {
            // Relaxed: as above.
            self.patrol.on.store(true, Ordering::Relaxed);
        }
        all_sleep
    }

    /// Marks the deques whose only ticket has been there since the last round; true when there is one.
    fn find_stuck(&self) -> bool {
        let slots = self.used_slots();
        let mut rounds = self.patrol.rounds.lock();
        rounds.seen.resize(slots.len(), None);
        let mut has_stuck = false;
        for (worker, (slot, seen)) in slots.iter().zip(&mut rounds.seen).enumerate() {
            let started = (!slot.thief.is_empty()).then(|| self.ledger.progress_of(worker).0);
            let is_stuck = started.is_some() && started == *seen;
            *seen = started;
            slot.set_stuck(is_stuck);
            has_stuck |= is_stuck;
        }
        has_stuck
    }
}
