//! What a service and a ticker have in common: one task of a supervisor of its own at a time, and starts and stops that take turns.
//!
//! A start, a stop and a restart hold the *turn* from their beginning to their end, so that none comes between the two halves of another. Turns are taken in the order in which they were asked for,
//! and waited for with a limit; a function of the unit itself does not get that far, and is refused.
//!
//! A running task holds a [`Lease`]; its supervisor drops it when the task is over and has physically returned, before anybody can see that it has ended. So it runs exactly as long as the lease lives.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use super::error::ServiceError;
pub(super) use super::signs::Lease;
use super::signs::Signs;
use crate::error::WaitError;
use crate::park::{Bell, Patience, Wait};
use crate::pool::ThreadPool;
use crate::pool::global::try_global;
use crate::supervise::{ErrorRecord, SubmitError, Supervisor, TaskControl, TaskSpec};
use crate::sync::Mutex;
use crate::task::cancel::{CancelToken, Cancelled};

/// How long a stop waits when nothing is said.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// What makes the task of a start.
pub(super) type Make<'a> = &'a dyn Fn(Lease) -> TaskSpec;

#[derive(Default)]
struct State {
    control: Option<TaskControl>,
    /// The start that the control is of.
    generation: u64,
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
    queue: Mutex<Queue>,
    turns: Bell,
}

/// Who has the turn, and behind him who waits for it.
#[derive(Default)]
struct Queue {
    numbers: VecDeque<u64>,
    last: u64,
}

/// A start, a stop or a restart is under way, or waits until it may be.
struct Turn<'a>(&'a Unit, u64);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.queue.lock().numbers.retain(|number| *number != self.1);
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
        Self {
            home: Mutex::new(Home { supervisor: None, is_global: true }),
            signs: Arc::new(Signs::new()),
            state: Mutex::default(),
            queue: Mutex::default(),
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
        let patience = Patience::of(PATIENCE);
        let _turn = self.turn(&patience)?;
        self.start_anew(token.cloned(), &patience, make)
    }

    /// Stops it and starts it by the same token; nothing comes between.
    pub(super) fn restart(&self, limit: Option<Duration>, make: Make<'_>) -> Result<(), ServiceError> {
        self.refuse_inside()?;
        let patience = Patience::of(limit.unwrap_or(PATIENCE));
        let _turn = self.turn(&patience)?;
        let token = self.state.lock().token.clone();
        self.start_anew(token, &patience, make)
    }

    pub(super) fn stop(&self, limit: Option<Duration>) -> Result<(), ServiceError> {
        self.refuse_inside()?;
        let patience = Patience::of(limit.unwrap_or(PATIENCE));
        let _turn = self.turn(&patience)?;
        self.end(&patience)
    }

    /// The task of the latest start, and its number; a start that is under way is waited for.
    fn settled(&self, patience: &Patience) -> Result<(u64, TaskControl), ServiceError> {
        self.refuse_inside()?;
        let _turn = self.turn(patience)?;
        let (generation, control) = self.latest();
        Ok((generation, control.ok_or(ServiceError::Stopped)?))
    }

    /// Waits until what runs has been called.
    pub(super) fn wait_called(&self, patience: &Patience) -> Result<(), ServiceError> {
        let (generation, control) = self.settled(patience)?;
        if !self.is_running() {
            return Err(ServiceError::Stopped);
        }
        control.refuse_deadlock()?;
        self.signs.wait_begun(generation, patience.left())
    }

    pub(super) fn wait_ready(&self, limit: Duration) -> Result<(), ServiceError> {
        let patience = Patience::of(limit);
        let (_, control) = self.settled(&patience)?;
        match control.wait_ready(patience.left().unwrap_or(Duration::MAX)) {
            Err(WaitError::Closed) => Err(ServiceError::Stopped),
            answer => Ok(answer?),
        }
    }

    /// An error where waiting for it would be waiting for oneself.
    fn refuse_inside(&self) -> Result<(), ServiceError> {
        let supervisor = self.home.lock().supervisor.clone();
        match supervisor.is_some_and(|supervisor| supervisor.is_inside()) {
            true => Err(ServiceError::WouldDeadlock),
            false => Ok(()),
        }
    }

    /// Waits for the turn.
    fn turn(&self, patience: &Patience) -> Result<Turn<'_>, ServiceError> {
        let turn = {
            let mut queue = self.queue.lock();
            queue.last += 1;
            let number = queue.last;
            queue.numbers.push_back(number);
            Turn(self, number)
        };
        let look = || (self.queue.lock().numbers.front() == Some(&turn.1)).then_some(());
        let wait = Wait::on("the turn to start or stop a service").at_most(patience.left());
        self.turns.wait_until(look, wait).map(|()| turn).ok_or(ServiceError::TimedOut)
    }

    /// The latest start, and its task.
    fn latest(&self) -> (u64, Option<TaskControl>) {
        let state = self.state.lock();
        (state.generation, state.control.clone())
    }

    /// Tells it to end, and waits until it has.
    fn end(&self, patience: &Patience) -> Result<(), ServiceError> {
        let (_, Some(control)) = self.latest() else { return Ok(()) };
        control.refuse_deadlock()?;
        self.signs.set_limit(patience.left().unwrap_or(Duration::MAX));
        control.remove();
        control.wait_ended(patience.left().unwrap_or(Duration::MAX))?;
        Ok(())
    }

    fn start_anew(&self, token: Option<CancelToken>, patience: &Patience, make: Make<'_>) -> Result<(), ServiceError> {
        if token.as_ref().is_some_and(CancelToken::is_cancelled) {
            return Err(ServiceError::Cancelled);
        }
        self.end(patience)?;
        self.signs.set_limit(PATIENCE);
        let (control, generation) = self.submit(make)?;
        let ends = |token: &CancelToken| {
            let bound = token.bind(Arc::new(Ends(control.clone())));
            if bound.is_none() {
                control.remove();
            }
            bound
        };
        let bound = token.as_ref().and_then(ends);
        let state = State { control: Some(control), generation, token, bound };
        let before = std::mem::replace(&mut *self.state.lock(), state);
        drop(before);
        Ok(())
    }

    fn submit(&self, make: Make<'_>) -> Result<(TaskControl, u64), ServiceError> {
        let mut refused = false;
        loop {
            let (supervisor, is_global) = self.supervisor(refused)?;
            let lease = Lease::new(&self.signs, supervisor.clock());
            let generation = lease.generation();
            match supervisor.submit(make(lease)) {
                Ok(task) => return Ok((task.control(), generation)),
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

    #[inline]
    pub(super) fn is_running(&self) -> bool {
        self.signs.is_running()
    }

    #[inline]
    pub(super) fn uptime(&self) -> Option<Duration> {
        self.signs.uptime()
    }

    pub(super) fn errors(&self) -> Vec<ErrorRecord> {
        self.latest().1.map(|control| control.errors()).unwrap_or_default()
    }

    pub(super) fn wait_started(&self, limit: Duration) -> Result<(), ServiceError> {
        let generation = self.signs.generation();
        if let Some(answer) = self.signs.look_begun(generation) {
            return answer;
        }
        self.refuse_deadlock()?;
        self.signs.wait_begun(generation, Some(limit))
    }

    pub(super) fn wait_stopped(&self, limit: Duration) -> Result<(), ServiceError> {
        let generation = self.signs.generation();
        if !self.is_running() {
            return Ok(());
        }
        self.refuse_inside()?;
        self.refuse_deadlock()?;
        self.signs.wait_ended(generation, Some(limit))
    }

    fn refuse_deadlock(&self) -> Result<(), ServiceError> {
        self.latest().1.map_or(Ok(()), |control| Ok(control.refuse_deadlock()?))
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

        /// Its name, shown in reports, dumps and spans, from the next start on; without one it is that of its type, in lower case.
        #[must_use]
        pub fn name(self, name: impl Into<std::borrow::Cow<'static, str>>) -> Self {
            self.unit.signs().set_name(crate::task::current::name_of(name));
            self
        }

        /// Starts it. It is running when this returns; if it was running, it has been stopped before, for which it has 2 s. The errors of before are forgotten.
        ///
        /// # Errors
        ///
        /// [`ServiceError::WouldDeadlock`] inside its own function; [`ServiceError::TimedOut`] when the one that was running has not ended, which is not started a second time, or when another start
        /// or stop took all the time;
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
        /// [`ServiceError::TimedOut`]: it has been told, and has not ended yet, or another start or stop took all the time. [`ServiceError::WouldDeadlock`] inside its own function, and while this
        /// thread holds a fence of its pool; it goes on then.
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

        /// True from the return of a start until it has physically ended. One atomic load.
        #[inline]
        #[must_use]
        pub fn is_running(&self) -> bool {
            self.unit.is_running()
        }

        /// How long it has been running; `None` while it is not. An atomic load and a reading of the clock.
        #[inline]
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

        /// Waits until its function has been called since the latest start before this call.
        ///
        /// # Errors
        ///
        /// [`ServiceError::TimedOut`]; [`ServiceError::Stopped`] when it is not running and was not called; [`ServiceError::WouldDeadlock`] while this thread holds a fence of its pool.
        pub fn wait_started(&self, limit: Duration) -> Result<(), ServiceError> {
            self.unit.wait_started(limit)
        }

        /// Waits until what runs at this call has physically ended, whatever for, also when something else has been started since. It is not told to.
        ///
        /// # Errors
        ///
        /// [`ServiceError::TimedOut`]; [`ServiceError::WouldDeadlock`] inside its own function, and while this thread holds a fence of its pool.
        pub fn wait_stopped(&self, limit: Duration) -> Result<(), ServiceError> {
            self.unit.wait_stopped(limit)
        }
    };
}
pub(super) use unit_methods;
