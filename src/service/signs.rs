//! What is seen of a unit without asking anybody: whether it runs, since when, and how far its latest start has come.
//!
//! Each start has a number, its *generation*; the words tell of the latest. Who waits notes the generation first, and waits for something of that one: what comes after it cannot make him miss it.
//!
//! | word | says | written by |
//! |---|---|---|
//! | `generation` | how many starts there were | a start, in its turn, before `since` |
//! | `since` | 0: it does not run; else the moment of the start, plus one, or that this is told by another clock | that start; the end of its lease, to 0 |
//! | `begun` | the latest generation whose function has been called | its run |
//!
//! The bad interleaving: a wait for the end of generation 1 looks when 2 runs already, and waits for the end of that too. Excluded, because it finds another generation.
//!
//! Witnessed by `tests/env/service_races.rs`.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::error::ServiceError;
use super::unit::PATIENCE;
use crate::park::{Bell, Wait};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::task::current::Name;
use crate::time::{Clock, Moment, SystemClock};

/// It does not run.
const STOPPED: u64 = 0;
/// It runs by a clock that is not the system's.
const VIRTUAL: u64 = u64::MAX;

pub(super) struct Signs {
    since: AtomicU64,
    generation: AtomicU64,
    begun: AtomicU64,
    /// Rings whenever one of them changes to what somebody may wait for.
    pub(super) bell: Bell,
    /// What `since` is told by. WHY not that of the pool: all clocks of the system go alike, and this one is there without a lock, whatever pool it is.
    clock: SystemClock,
    /// Another clock, of a test, and since when by that.
    moved: Mutex<Option<(Arc<dyn Clock>, Moment)>>,
    /// How long a function that ends it may take.
    limit: Mutex<Duration>,
    /// What it is called from the next start on.
    name: Mutex<Option<Name>>,
}

impl Signs {
    pub(super) fn new() -> Self {
        Self {
            since: AtomicU64::new(STOPPED),
            generation: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            bell: Bell::new(),
            clock: SystemClock::new(),
            moved: Mutex::new(None),
            limit: Mutex::new(PATIENCE),
            name: Mutex::new(None),
        }
    }

    #[inline]
    fn since(&self) -> u64 {
        // ORDER unit.is_running: Acquire; what the functions did is visible to who sees that they have ended, and the generation to who sees that it runs; pairs with unit.runs, unit.ends.
        self.since.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn is_running(&self) -> bool {
        self.since() != STOPPED
    }

    /// How long it has been running: a load and a reading of the clock.
    #[inline]
    pub(super) fn uptime(&self) -> Option<Duration> {
        match self.since() {
            STOPPED => None,
            VIRTUAL => self.uptime_moved(),
            since => Some(Moment::from_nanos(since - 1).until(self.clock.now())),
        }
    }

    #[cold]
    fn uptime_moved(&self) -> Option<Duration> {
        let moved = self.moved.lock().clone();
        moved.map(|(clock, since)| since.until(clock.now()))
    }

    /// The number of the latest start; 0 when there was none.
    pub(super) fn generation(&self) -> u64 {
        // Relaxed: who has seen a later word of that start, or its return, has seen its number.
        self.generation.load(Ordering::Relaxed)
    }

    fn has_begun(&self, generation: u64) -> bool {
        // ORDER unit.has_begun: Acquire; what came before the call is visible to who sees that it was called; pairs with unit.begins.
        self.begun.load(Ordering::Acquire) >= generation
    }

    /// True while that generation runs.
    fn runs(&self, generation: u64) -> bool {
        self.is_running() && self.generation() == generation
    }

    pub(super) fn limit(&self) -> Duration {
        *self.limit.lock()
    }

    pub(super) fn set_limit(&self, limit: Duration) {
        *self.limit.lock() = limit;
    }

    pub(super) fn set_name(&self, name: Name) {
        let before = self.name.lock().replace(name);
        drop(before);
    }

    /// What a start of now is counted from.
    fn stamp(&self, clock: &Arc<dyn Clock>) -> u64 {
        if clock.is_of_system() {
            return (self.clock.now().as_nanos() + 1).min(VIRTUAL - 1);
        }
        let moved = Some((Arc::clone(clock), clock.now()));
        let before = std::mem::replace(&mut *self.moved.lock(), moved);
        drop(before);
        VIRTUAL
    }

    // ---- waits ------------------------------------------------------------------------------------------------------

    /// Whether the function of that generation has been called; `None` while it may still be.
    pub(super) fn look_begun(&self, generation: u64) -> Option<Result<(), ServiceError>> {
        // WHY first: when it does not run any more, whether it was called is known.
        let runs = self.runs(generation);
        match self.has_begun(generation) {
            true if generation > 0 => Some(Ok(())),
            _ if runs => None,
            _ => Some(Err(ServiceError::Stopped)),
        }
    }

    /// Waits until it has been called.
    pub(super) fn wait_begun(&self, generation: u64, limit: Option<Duration>) -> Result<(), ServiceError> {
        let wait = Wait::on("the begin of a service").at_most(limit);
        let look = || self.look_begun(generation);
        self.bell.wait_until(look, wait).unwrap_or(Err(ServiceError::TimedOut))
    }

    /// Waits until that generation has ended.
    pub(super) fn wait_ended(&self, generation: u64, limit: Option<Duration>) -> Result<(), ServiceError> {
        let look = || (!self.runs(generation)).then_some(());
        let wait = Wait::on("the end of a service").at_most(limit);
        self.bell.wait_until(look, wait).ok_or(ServiceError::TimedOut)
    }
}

/// One generation; it runs while this lives.
pub(super) struct Lease {
    signs: Arc<Signs>,
    generation: u64,
}

impl Lease {
    /// Of a start in its turn: the one before has ended.
    pub(super) fn new(signs: &Arc<Signs>, clock: &Arc<dyn Clock>) -> Self {
        let generation = signs.generation() + 1;
        // Relaxed: published by the store of `since`.
        signs.generation.store(generation, Ordering::Relaxed);
        // ORDER unit.runs: Release; its number is visible to who sees it run; pairs with unit.is_running.
        signs.since.store(signs.stamp(clock), Ordering::Release);
        Self { signs: Arc::clone(signs), generation }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// What its task is called; this, if nothing was said.
    pub(super) fn name(&self, otherwise: &'static str) -> Cow<'static, str> {
        self.signs.name.lock().as_deref().map_or(otherwise.into(), |name| name.to_owned().into())
    }

    /// Its function is about to be called.
    pub(super) fn begin(&self) {
        // Relaxed: written by this run only.
        if self.signs.begun.load(Ordering::Relaxed) == self.generation {
            return;
        }
        // ORDER unit.begins: Release; what came before the call; pairs with unit.has_begun.
        self.signs.begun.store(self.generation, Ordering::Release);
        self.signs.bell.ring();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // ORDER unit.ends: Release; publishes what the functions did; pairs with unit.is_running.
        self.signs.since.store(STOPPED, Ordering::Release);
        self.signs.bell.ring();
    }
}
