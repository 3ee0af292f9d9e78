//! Blocking one thread, with the races that this excludes.
//!
//! Words: a *permit* is the right to return from one park. `unpark` leaves a permit, `park` consumes one and waits while there
//! is none; permits do not add up.
//!
//! | state | means | who may leave it |
//! |---|---|---|
//! | `EMPTY` | no permit, nobody waits | owner (to `PARKED`), anybody (to `NOTIFIED`) |
//! | `PARKED` | the owner waits, or is about to, holding or having held the lock | anybody (to `NOTIFIED`), owner (time is over) |
//! | `NOTIFIED` | a permit is there | owner (to `EMPTY`) |
//!
//! The bad interleaving: the owner has decided to sleep but does not wait yet, the notifier sets the state and signals, the signal
//! finds nobody, the owner sleeps with the permit in hand. Excluded because the owner sets `PARKED` and starts to wait under the
//! lock, and a notifier that found `PARKED` passes through the same lock before it signals.
//!
//! Limits: one owner at a time. `std::thread::park` is not used, so user code that parks or unparks threads disturbs nothing.
//!
//! Witnessed by `tests::loom_permit_is_never_lost`, `tests::permit_given_before_the_wait_ends_it`.
#![forbid(unsafe_code)]

mod bell;
#[cfg(feature = "testing")]
pub(crate) mod driver;
#[cfg(test)]
mod tests;
mod wait;

pub(crate) use bell::{Bell, Listener};
pub(crate) use wait::{Attention, Patience, Wait, attend, attention, park, pause, wait_for, waiting, yield_at};

use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Condvar, Mutex};
use crate::zoo;

const EMPTY: u32 = 0;
const PARKED: u32 = 1;
const NOTIFIED: u32 = 2;

/// Blocks its owner until somebody leaves a permit.
#[derive(Debug)]
pub(crate) struct Parker {
    #[cfg(feature = "testing")]
    pub(crate) driven: driver::Driven,
    state: AtomicU32,
    lock: Mutex<()>,
    signal: Condvar,
}

impl Parker {
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(feature = "testing")]
            driven: driver::Driven::default(),
            state: AtomicU32::new(EMPTY),
            lock: Mutex::new(()),
            signal: Condvar::new(),
        }
    }

    /// Waits for a permit and consumes it.
    pub(crate) fn park(&self) {
        self.park_until_permit(None);
    }

    /// Waits for a permit for at most `limit`; true when one was consumed.
    pub(crate) fn park_timeout(&self, limit: Duration) -> bool {
        self.park_until_permit(Some(limit))
    }

    /// Consumes a permit if there is one.
    pub(crate) fn try_park(&self) -> bool {
        // ORDER park.try: Acquire; what the notifier did before its permit becomes visible; pairs with park.permit.
        self.state.compare_exchange(NOTIFIED, EMPTY, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// True while there is a permit.
    #[cfg(feature = "testing")]
    pub(crate) fn has_permit(&self) -> bool {
        // Relaxed: whoever acts on it consumes the permit first.
        self.state.load(Ordering::Relaxed) == NOTIFIED
    }

    /// One wait of at most `limit`: may return early without a permit only when a limit was given.
    fn park_until_permit(&self, limit: Option<Duration>) -> bool {
        if self.try_park() {
            return true;
        }
        let mut guard = self.lock.lock();
        // ORDER park.parked: Acquire; on failure a permit has come meanwhile; pairs with park.permit.
        if self.state.compare_exchange(EMPTY, PARKED, Ordering::Relaxed, Ordering::Acquire).is_err() {
            // ORDER park.late: Acquire; a swap and not a store, so that a second permit given since is seen too; pairs with park.permit.
            self.state.swap(EMPTY, Ordering::Acquire);
            return true;
        }
        loop {
            let timed_out;
            match limit {
                None => {
                    guard = self.signal.wait(guard);
                    timed_out = false;
                }
                Some(limit) => (guard, timed_out) = self.signal.wait_timeout(guard, limit),
            }
            if self.try_park() {
                return true;
            }
            if timed_out {
                // ORDER park.over: Acquire; a permit that came with the time-out is consumed, not left behind; pairs with park.permit.
                return self.state.swap(EMPTY, Ordering::Acquire) == NOTIFIED;
            }
        }
    }

    /// Leaves a permit and wakes the owner if it waits.
    pub(crate) fn unpark(&self) {
        #[cfg(feature = "testing")]
        self.driven.note_wake();
        // ORDER park.permit: Release; publishes what the notifier did to the owner; pairs with park.try, park.parked, park.late, park.over.
        if self.state.swap(NOTIFIED, Ordering::Release) != PARKED {
            return;
        }
        // WHY: the owner set `PARKED` under the lock and may not wait yet; once the lock is ours, it does.
        if !zoo::has("Z9") {
            drop(self.lock.lock());
        }
        self.signal.notify_one();
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.unpark();
    }
}
