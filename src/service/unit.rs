//! What a service and a ticker have in common: one task of a supervisor of its own at a time, and starts and stops that take turns.
//!
//! A start, a stop and a restart hold the *turn* from their beginning to their end, so that none comes between the two halves of another. The turn is waited for, with a limit; a function of the
//! unit itself does not get that far, and is refused.
//!
//! A running task holds a [`Lease`]; its supervisor drops it when the task is over and has physically returned, before anybody can see that it has ended. So it runs exactly as long as the lease lives.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use super::error::ServiceError;
use crate::park::{Bell, Wait};
use crate::pool::ThreadPool;
use crate::pool::global::try_global;
use crate::supervise::{ErrorRecord, SubmitError, Supervisor, TaskControl, TaskSpec};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::task::cancel::{CancelToken, Cancelled};
use crate::time::Moment;

/// How long a stop waits when nothing is said.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// What makes the task of a start.
pub(super) type Make<'a> = &'a dyn Fn(Lease) -> TaskSpec;

/// What is seen from outside without asking anybody.
pub(super) struct Signs {
    running: AtomicBool,
    begun: AtomicBool,
    bell: Bell,
    /// How long a function that ends it may take.
    limit: Mutex<Duration>,
}

impl Signs {
    fn is_running(&self) -> bool {
        // ORDER unit.is_running: SeqCst; what the functions did is visible to who sees that they have ended; pairs with unit.ends.
        self.running.load(Ordering::SeqCst)
    }

    fn has_begun(&self) -> bool {
        // ORDER unit.has_begun: SeqCst; pairs with unit.begins.
        self.begun.load(Ordering::SeqCst)
    }

    pub(super) fn limit(&self) -> Duration {
        *self.limit.lock()
    }
}

/// It runs while this lives.
pub(super) struct Lease(Arc<Signs>);

impl Lease {
    fn new(signs: &Arc<Signs>) -> Self {
        // ORDER unit.clears: SeqCst; before the start that it is for; pairs with unit.has_begun.
        signs.begun.store(false, Ordering::SeqCst);
        // ORDER unit.runs: SeqCst; pairs with unit.is_running.
        signs.running.store(true, Ordering::SeqCst);
        Self(Arc::clone(signs))
    }

    /// Its function is about to be called.
    pub(super) fn begin(&self) {
        // ORDER unit.begins: SeqCst; pairs with unit.has_begun.
        if !self.0.begun.swap(true, Ordering::SeqCst) {
            self.0.bell.ring();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // ORDER unit.ends: SeqCst; publishes what the functions did; pairs with unit.is_running.
        self.0.running.store(false, Ordering::SeqCst);
        self.0.bell.ring();
    }
}

#[derive(Default)]
struct State {
    control: Option<TaskControl>,
    since: Option<Moment>,
    /// What it runs by, and what ends it then.
    token: Option<CancelToken>,
    #[expect(dead_code, reason = "it is held, and let go of by the next start")]
    bound: Option<Cancelled>,
}

/// Where it runs.
struct Home {
    supervisor: Option<Supervisor>,
    is_global: bool,
}

pub(super) struct Unit {
    home: Mutex<Home>,
    signs: Arc<Signs>,
    state: Mutex<State>,
    has_turn: Mutex<bool>,
    turns: Bell,
}

/// A start, a stop or a restart is under way.
struct Turn<'a>(&'a Unit);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.has_turn.lock() = false;
        self.0.turns.ring();
    }
}

/// Ends a task with a token.
struct Ends(TaskControl);

impl Wake for Ends {
    fn wake(self: Arc<Self>) {
        self.0.remove();
    }
}

impl Unit {
    pub(super) fn new() -> Self {
        let signs = Signs {
            running: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            bell: Bell::new(),
            limit: Mutex::new(PATIENCE),
        };
        Self {
            home: Mutex::new(Home { supervisor: None, is_global: true }),
            signs: Arc::new(signs),
            state: Mutex::default(),
            has_turn: Mutex::new(false),
            turns: Bell::new(),
        }
    }

    pub(super) fn signs(&self) -> &Arc<Signs> {
        &self.signs
    }

    pub(super) fn on(&self, pool: &ThreadPool) {
        let home = Home { supervisor: Some(supervisor_on(pool)), is_global: false };
        let before = std::mem::replace(&mut *self.home.lock(), home);
        drop(before);
    }

    // ---- start and stop ---------------------------------------------------------------------------------------------

    /// Starts it, after it has been stopped if it runs.
    pub(super) fn start(&self, token: Option<&CancelToken>, make: Make<'_>) -> Result<(), ServiceError> {
        self.refuse_inside()?;
        let (_turn, left) = self.turn(PATIENCE)?;
        self.start_anew(token.cloned(), left, make)
    }

    /// Stops it and starts it by the same token; nothing comes between.
    pub(super) fn restart(&self, limit: Option<Duration>, make: Make<'_>) -> Result<(), ServiceError> {
        self.refuse_inside()?;
        let (_turn, left) = self.turn(limit.unwrap_or(PATIENCE))?;
        let token = self.state.lock().token.clone();
        self.start_anew(token, left, make)
    }

    /// A restart, of what runs only.
    pub(super) fn reload(&self, limit: Option<Duration>, make: Make<'_>) -> Result<(), ServiceError> {
        self.refuse_inside()?;
        let (_turn, left) = self.turn(limit.unwrap_or(PATIENCE))?;
        if !self.is_running() {
            return Err(ServiceError::Stopped);
        }
        let token = self.state.lock().token.clone();
        self.start_anew(token, left, make)
    }

    pub(super) fn stop(&self, limit: Option<Duration>) -> Result<(), ServiceError> {
        self.refuse_inside()?;
        let (_turn, left) = self.turn(limit.unwrap_or(PATIENCE))?;
        self.end(left)
    }

    /// An error where waiting for it would be waiting for oneself.
    fn refuse_inside(&self) -> Result<(), ServiceError> {
        let supervisor = self.home.lock().supervisor.clone();
        match supervisor.is_some_and(|supervisor| supervisor.is_inside()) {
            true => Err(ServiceError::WouldDeadlock),
            false => Ok(()),
        }
    }

    /// Waits for the turn, and says how much of the time is left.
    fn turn(&self, limit: Duration) -> Result<(Turn<'_>, Duration), ServiceError> {
        let control = self.state.lock().control.clone();
        let before = control.as_ref().map(TaskControl::now);
        let look = || (!std::mem::replace(&mut *self.has_turn.lock(), true)).then(|| Turn(self));
        let wait = Wait::on("the turn to start or stop a service").at_most(Some(limit));
        let turn = self.turns.wait_until(look, wait).ok_or(ServiceError::TimedOut)?;
        let spent = before.zip(control.as_ref().map(TaskControl::now)).map(|(before, now)| before.until(now));
        Ok((turn, limit.saturating_sub(spent.unwrap_or_default())))
    }

    /// Tells it to end, and waits until it has.
    fn end(&self, limit: Duration) -> Result<(), ServiceError> {
        let Some(control) = self.state.lock().control.clone() else { return Ok(()) };
        if self.is_running() {
            *self.signs.limit.lock() = limit;
            control.remove();
        }
        control.wait_ended(limit)?;
        Ok(())
    }

    fn start_anew(&self, token: Option<CancelToken>, limit: Duration, make: Make<'_>) -> Result<(), ServiceError> {
        if token.as_ref().is_some_and(CancelToken::is_cancelled) {
            return Err(ServiceError::Cancelled);
        }
        self.end(limit)?;
        *self.signs.limit.lock() = PATIENCE;
        let control = self.submit(make)?;
        let ends = |token: &CancelToken| {
            let bound = token.bind(Arc::new(Ends(control.clone())));
            if bound.is_none() {
                control.remove();
            }
            bound
        };
        let bound = token.as_ref().and_then(ends);
        let since = Some(control.now());
        let before = std::mem::replace(&mut *self.state.lock(), State { control: Some(control), since, token, bound });
        drop(before);
        Ok(())
    }

    fn submit(&self, make: Make<'_>) -> Result<TaskControl, ServiceError> {
        let mut refused = false;
        loop {
            let (supervisor, is_global) = self.supervisor(refused)?;
            match supervisor.submit(make(Lease::new(&self.signs))) {
                Ok(task) => return Ok(task.control()),
                // The pool of the process may have ended, and another one begun.
                Err(SubmitError::ShutDown(_)) if is_global && !refused => refused = true,
                Err(SubmitError::Invalid(_, error)) => return Err(error.into()),
                Err(_) => return Err(ServiceError::ShutDown),
            }
        }
    }

    fn supervisor(&self, anew: bool) -> Result<(Supervisor, bool), ServiceError> {
        let found = {
            let home = self.home.lock();
            home.supervisor.clone().filter(|_| !anew).map(|supervisor| (supervisor, home.is_global))
        };
        if let Some(found) = found {
            return Ok(found);
        }
        let supervisor = supervisor_on(try_global()?);
        let before = self.home.lock().supervisor.replace(supervisor.clone());
        drop(before);
        Ok((supervisor, true))
    }

    // ---- what is seen -----------------------------------------------------------------------------------------------

    pub(super) fn is_running(&self) -> bool {
        self.signs.is_running()
    }

    pub(super) fn uptime(&self) -> Option<Duration> {
        let (control, since) = {
            let state = self.state.lock();
            (state.control.clone()?, state.since?)
        };
        self.is_running().then(|| since.until(control.now()))
    }

    pub(super) fn errors(&self) -> Vec<ErrorRecord> {
        let control = self.state.lock().control.clone();
        control.map(|control| control.errors()).unwrap_or_default()
    }

    pub(super) fn wait_started(&self, limit: Duration) -> Result<(), ServiceError> {
        let look = || match (self.signs.has_begun(), self.signs.is_running()) {
            (true, _) => Some(Ok(())),
            (false, true) => None,
            (false, false) => Some(Err(ServiceError::Stopped)),
        };
        let wait = Wait::on("the begin of a service").at_most(Some(limit));
        self.signs.bell.wait_until(look, wait).unwrap_or(Err(ServiceError::TimedOut))
    }

    pub(super) fn wait_stopped(&self, limit: Duration) -> Result<(), ServiceError> {
        if self.is_running() {
            self.refuse_inside()?;
        }
        let wait = Wait::on("the end of a service").at_most(Some(limit));
        let look = || (!self.signs.is_running()).then_some(());
        self.signs.bell.wait_until(look, wait).ok_or(ServiceError::TimedOut)
    }

    pub(super) fn show(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("is_running", &self.is_running())
            .field("uptime", &self.uptime())
            .finish_non_exhaustive()
    }
}

fn supervisor_on(pool: &ThreadPool) -> Supervisor {
    match Supervisor::builder(pool).name("service").build() {
        Ok(supervisor) => supervisor,
        Err(error) => unreachable!("nothing was said that may be wrong: {error}"),
    }
}

/// The methods that a service and a ticker have in common.
macro_rules! unit_methods {
    () => {
        /// Runs on that pool, instead of the one of the process. Said before the first start; it ends what runs.
        #[must_use]
        pub fn on(self, pool: &ThreadPool) -> Self {
            self.unit.on(pool);
            self
        }

        /// Starts it. It is running when this returns; if it was running, it has been stopped before, for which it has 2 s. The errors of before are forgotten.
        ///
        /// # Errors
        ///
        /// [`ServiceError::WouldDeadlock`] inside its own function; [`ServiceError::TimedOut`] when the one that was running has not ended, which is not started a second time;
        /// [`ServiceError::Invalid`] and [`ServiceError::ShutDown`].
        pub fn start(&self) -> Result<(), ServiceError> {
            self.check()?;
            self.unit.start(None, &self.make())
        }

        /// As [`start`](Self::start), and it is stopped when the token is cancelled; a restart keeps that.
        ///
        /// # Errors
        ///
        /// As [`start`](Self::start); [`ServiceError::Cancelled`] when the token is cancelled already: nothing is started then, and nothing stopped.
        pub fn start_with(&self, token: &CancelToken) -> Result<(), ServiceError> {
            self.check()?;
            self.unit.start(Some(token), &self.make())
        }

        /// Tells it to end, and waits until it has physically ended, for at most `limit`; without one, for 2 s. What is stopped already is.
        ///
        /// # Errors
        ///
        /// [`ServiceError::TimedOut`]: it has been told, and has not ended yet. [`ServiceError::WouldDeadlock`] inside its own function, and it goes on.
        pub fn stop(&self, limit: impl Into<Option<Duration>>) -> Result<(), ServiceError> {
            self.unit.stop(limit.into())
        }

        /// Stops it, if it runs, and starts it. No other start or stop comes between.
        ///
        /// # Errors
        ///
        /// As [`stop`](Self::stop) and [`start`](Self::start). When it does not end in time it is not started.
        pub fn restart(&self, limit: impl Into<Option<Duration>>) -> Result<(), ServiceError> {
            self.check()?;
            self.unit.restart(limit.into(), &self.make())
        }

        /// As [`restart`](Self::restart), of what runs only: what is stopped stays so.
        ///
        /// # Errors
        ///
        /// As [`restart`](Self::restart); [`ServiceError::Stopped`] when it is not running.
        pub fn reload(&self, limit: impl Into<Option<Duration>>) -> Result<(), ServiceError> {
            self.check()?;
            self.unit.reload(limit.into(), &self.make())
        }

        /// True from the return of a start until it has physically ended. One atomic load.
        #[must_use]
        pub fn is_running(&self) -> bool {
            self.unit.is_running()
        }

        /// How long it has been running; `None` while it is not.
        #[must_use]
        pub fn uptime(&self) -> Option<Duration> {
            self.unit.uptime()
        }

        /// The latest 16 errors and panics since the last start, oldest first.
        #[must_use]
        pub fn errors(&self) -> Vec<ErrorRecord> {
            self.unit.errors()
        }

        /// The latest of them.
        #[must_use]
        pub fn last_error(&self) -> Option<ErrorRecord> {
            self.unit.errors().pop()
        }

        /// Waits until its function has been called since the last start.
        ///
        /// # Errors
        ///
        /// [`ServiceError::TimedOut`]; [`ServiceError::Stopped`] when it is not running and was not called.
        pub fn wait_started(&self, limit: Duration) -> Result<(), ServiceError> {
            self.unit.wait_started(limit)
        }

        /// Waits until it has physically ended, whatever for. It is not told to.
        ///
        /// # Errors
        ///
        /// [`ServiceError::TimedOut`]; [`ServiceError::WouldDeadlock`] inside its own function.
        pub fn wait_stopped(&self, limit: Duration) -> Result<(), ServiceError> {
            self.unit.wait_stopped(limit)
        }
    };
}
pub(super) use unit_methods;
