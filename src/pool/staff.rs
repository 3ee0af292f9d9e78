//! The threads of a pool: who is there, who waits, who stands in for whom.
//!
//! A pool is meant to have `workers` threads that can run tasks. A worker that waits inside a task (for a handle, a token, a flush) does not
//! count: another takes its place, from the reserve or newly started, up to `threads_max` threads in all. When the wait is over there is one
//! too many; whichever worker is between two tasks first goes into the reserve, and leaves after [`RESERVE_TIME`] there.
//!
//! At the cap a waiting worker is not replaced, which is reported once.
//!
//! A thread leaves its slot to others only after it has been joined.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::home::Inbox;
use super::service;
use super::worker;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::thread::{JoinHandle, spawn_named};

/// How long a thread that is not needed waits to be needed again.
pub(crate) const RESERVE_TIME: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct State {
    live: usize,
    /// Those of the live ones that are homes of runners.
    homes: usize,
    reserve: Vec<usize>,
    free: Vec<usize>,
    handles: Vec<Option<Thread>>,
    exited: Vec<usize>,
    service: Option<JoinHandle<()>>,
    service_lives: bool,
    cap_was_reported: bool,
    /// Waiting workers that nobody stands in for, so that the end of a wait makes nobody superfluous.
    debt: usize,
}

/// What a worker runs on.
#[derive(Debug)]
enum Thread {
    Own(JoinHandle<()>),
    /// Somebody else's: a test drives the worker.
    #[cfg(feature = "testing")]
    Driven,
}

/// The threads of one pool.
#[derive(Debug)]
pub(crate) struct Staff {
    state: Mutex<State>,
    /// Workers that should go into the reserve.
    surplus: AtomicUsize,
    without_service: AtomicBool,
}

/// What a waiting worker's place is filled with.
enum Stand {
    /// Somebody was about to leave and stays instead.
    Stays,
    Reserve(usize),
    New,
}

impl Staff {
    pub(crate) fn new(threads_max: usize) -> Self {
        let state = State {
            live: 0,
            homes: 0,
            reserve: Vec::new(),
            free: (0..threads_max).rev().collect(),
            handles: (0..threads_max).map(|_| None).collect(),
            exited: Vec::new(),
            service: None,
            service_lives: false,
            cap_was_reported: false,
            debt: 0,
        };
        Self { state: Mutex::new(state), surplus: AtomicUsize::new(0), without_service: AtomicBool::new(false) }
    }

    /// Threads that are no longer than a moment from their end are not counted.
    pub(crate) fn live(&self) -> usize {
        self.state.lock().live
    }

    pub(crate) fn service_lives(&self) -> bool {
        self.state.lock().service_lives
    }

    /// Workers that are there to run tasks: those in the reserve are not.
    pub(crate) fn active(&self) -> usize {
        let state = self.state.lock();
        state.live - state.reserve.len() - state.homes
    }

    /// True when the service thread could not be started and workers do its work.
    #[inline]
    pub(crate) fn is_without_service(&self) -> bool {
        // Relaxed: written before any worker starts.
        self.without_service.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn has_surplus(&self) -> bool {
        // Relaxed: a hint; decided under the lock.
        self.surplus.load(Ordering::Relaxed) > 0
    }

    /// Puts the worker into the reserve, if there is one too many.
    pub(crate) fn enter_reserve(&self, worker: usize) -> bool {
        let mut state = self.state.lock();
        // Relaxed: changed under the lock only.
        let surplus = self.surplus.load(Ordering::Relaxed);
        if surplus == 0 {
            return false;
        }
        // Relaxed: as above.
        self.surplus.store(surplus - 1, Ordering::Relaxed);
        state.reserve.push(worker);
        true
    }

    /// Takes the worker out of the reserve; false when somebody has called it back.
    pub(crate) fn leave_reserve(&self, worker: usize) -> bool {
        let mut state = self.state.lock();
        let found = state.reserve.iter().position(|&other| other == worker);
        found.map(|index| state.reserve.swap_remove(index)).is_some()
    }

    fn stand_in(&self) -> Stand {
        let mut state = self.state.lock();
        // Relaxed: changed under the lock only.
        let surplus = self.surplus.load(Ordering::Relaxed);
        if surplus > 0 {
            // Relaxed: as above.
            self.surplus.store(surplus - 1, Ordering::Relaxed);
            return Stand::Stays;
        }
        state.reserve.pop().map_or(Stand::New, Stand::Reserve)
    }

    /// A wait is over, so there is one worker too many.
    fn add_surplus(&self) {
        let _state = self.state.lock();
        // Relaxed: changed under the lock only.
        self.surplus.store(self.surplus.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// A worker waits and nobody stands in for it.
    fn add_debt(&self) {
        self.state.lock().debt += 1;
    }

    fn pay_debt(&self) -> bool {
        let mut state = self.state.lock();
        let owed = state.debt > 0;
        state.debt = state.debt.saturating_sub(1);
        owed
    }

    fn report_cap(&self, core: &Core, error: &io::Error) {
        let is_first = !std::mem::replace(&mut self.state.lock().cap_was_reported, true);
        if is_first {
            let threads_max = core.settings.threads_max;
            tracing::warn!(pool = &*core.settings.name, threads_max, %error, "a waiting worker is not replaced");
        }
    }

    /// A slot for a new thread.
    fn take_slot(&self) -> Option<usize> {
        self.join_exited();
        let mut state = self.state.lock();
        let slot = state.free.pop()?;
        state.live += 1;
        Some(slot)
    }

    /// The thread ends now; the last thing that it does here.
    pub(crate) fn exit(&self, worker: usize, is_home: bool) {
        let mut state = self.state.lock();
        state.live -= 1;
        state.homes -= usize::from(is_home);
        state.exited.push(worker);
    }

    /// Waits for the threads that have said that they end.
    pub(crate) fn join_exited(&self) {
        loop {
            let (worker, handle) = {
                let mut state = self.state.lock();
                let State { exited, handles, .. } = &mut *state;
                let Some(at) = exited.iter().position(|&worker| handles[worker].is_some()) else { return };
                let worker = exited.swap_remove(at);
                (worker, handles[worker].take())
            };
            if let Some(Thread::Own(handle)) = handle {
                // A thread that ended by a panic has been reported; here it is only gone.
                drop(handle.join());
            }
            self.state.lock().free.push(worker);
        }
    }

    pub(crate) fn exit_service(&self) {
        self.state.lock().service_lives = false;
    }

    pub(crate) fn join_service(&self) {
        let handle = self.state.lock().service.take();
        if let Some(handle) = handle {
            drop(handle.join());
        }
    }
}

/// Starts the threads of a new pool: at least one worker, or the reason why none.
pub(crate) fn start(core: &Arc<Core>) -> io::Result<()> {
    spawn_worker(core)?;
    start_service(core);
    let wanted = core.settings.workers;
    for started in 1..wanted {
        if let Err(error) = spawn_worker(core) {
            tracing::warn!(pool = &*core.settings.name, wanted, started, %error, "fewer workers than asked for");
            break;
        }
    }
    Ok(())
}

fn start_service(core: &Arc<Core>) {
    if let Err(error) = spawn_service(core) {
        // Relaxed: the workers that use it look again before each sleep.
        core.staff.without_service.store(true, Ordering::Relaxed);
        core.unpark_all();
        tracing::warn!(pool = &*core.settings.name, %error, "no service thread, workers drive the timers");
    }
}

fn spawn_service(core: &Arc<Core>) -> io::Result<()> {
    let name = format!("{}-service", core.settings.name);
    let shared = Arc::clone(core);
    core.staff.state.lock().service_lives = true;
    let started = start_thread(None, name, None, move || service::main(&shared));
    let mut state = core.staff.state.lock();
    match started {
        Ok(Thread::Own(handle)) => state.service = Some(handle),
        // Who drives the workers drives the timers, too.
        #[cfg(feature = "testing")]
        Ok(Thread::Driven) => state.service_lives = false,
        Err(error) => {
            state.service_lives = false;
            return Err(error);
        }
    }
    Ok(())
}

/// The only thread of this pool is its owner's, the calling one. It ends delays itself, unless there is to be a service for that.
pub(crate) fn enlist_owner(core: &Arc<Core>, with_service: bool) -> io::Result<()> {
    let slot = core.staff.take_slot().ok_or(io::ErrorKind::OutOfMemory)?;
    use_slot(core, slot);
    core.staff.state.lock().homes += 1;
    let has_service = with_service && !is_driven();
    // Relaxed: nobody else is there yet.
    core.staff.without_service.store(!has_service, Ordering::Relaxed);
    if has_service { spawn_service(core) } else { Ok(()) }
}

/// True on a thread whose time is virtual.
fn is_driven() -> bool {
    #[cfg(feature = "testing")]
    if crate::park::driver::current().is_some() {
        return true;
    }
    false
}

/// Makes a slot, which is set up, one of those that others look at.
fn use_slot(core: &Core, slot: usize) {
    // ORDER staff.slots: Release; the slot is set up; pairs with core.slots.
    core.slots_used.fetch_max(slot + 1, Ordering::Release);
}

/// Starts a worker or (`None`) the service: as a thread, or as whoever drives this thread sees fit, perhaps without one.
fn start_thread(
    worker: Option<usize>,
    name: String,
    stack_size: Option<usize>,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<Thread> {
    #[cfg(feature = "testing")]
    if let Some(driver) = crate::park::driver::current() {
        return Ok(driver.start(worker, name, Box::new(body))?.map_or(Thread::Driven, Thread::Own));
    }
    let _ = worker;
    spawn_named(name, stack_size, body).map(Thread::Own)
}

fn spawn_worker(core: &Arc<Core>) -> io::Result<()> {
    let slot = core.staff.take_slot().ok_or(io::ErrorKind::OutOfMemory)?;
    spawn_into(core, slot, format!("{}-{slot}", core.settings.name))
}

/// Starts the thread of a runner.
pub(crate) fn spawn_home(core: &Arc<Core>, name: &str) -> io::Result<Arc<Inbox>> {
    if core.tracker.is_started() {
        return Err(io::Error::other("the pool is shut down"));
    }
    let slot = core.staff.take_slot().ok_or(io::ErrorKind::OutOfMemory)?;
    let inbox = Inbox::new(Arc::clone(&core.slots[slot].parker));
    *core.slots[slot].home.lock() = Some(Arc::clone(&inbox));
    core.staff.state.lock().homes += 1;
    let started = spawn_into(core, slot, format!("{}-{name}", core.settings.name));
    if started.is_err() {
        *core.slots[slot].home.lock() = None;
        core.staff.state.lock().homes -= 1;
    }
    started.map(|()| inbox)
}

/// Starts a thread for a slot that was taken.
fn spawn_into(core: &Arc<Core>, slot: usize, name: String) -> io::Result<()> {
    use_slot(core, slot);
    let shared = Arc::clone(core);
    let body = {
        let name = name.clone();
        move || worker::main(&shared, slot, &name)
    };
    match start_thread(Some(slot), name, core.settings.stack_size, body) {
        Ok(handle) => {
            core.staff.state.lock().handles[slot] = Some(handle);
            Ok(())
        }
        Err(error) => {
            let mut state = core.staff.state.lock();
            state.live -= 1;
            state.free.push(slot);
            Err(error)
        }
    }
}

/// A worker waits: somebody takes its place, if somebody can.
pub(crate) fn stand_in(core: &Arc<Core>) {
    if core.tracker.is_complete() {
        return core.staff.add_debt();
    }
    match core.staff.stand_in() {
        Stand::Stays => {}
        Stand::Reserve(worker) => core.call_back(worker),
        Stand::New => {
            if let Err(error) = spawn_worker(core) {
                core.staff.report_cap(core, &error);
                core.staff.add_debt();
            }
        }
    }
}

/// A worker that waited goes on.
pub(crate) fn take_back(core: &Core) {
    if !core.staff.pay_debt() {
        core.staff.add_surplus();
    }
}
