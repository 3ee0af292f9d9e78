//! Tokens that cancel themselves at a deadline (HND-5).
//!
//! Deadlines belong to no pool: one thread for the process, the *alarm*, is started with the first of them and drives a delay manager of its own. It
//! sleeps until the earliest deadline, and for ever while there is none. A token that is dropped takes its deadline along.
#![forbid(unsafe_code)]

use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::timer::{Receiver, Timers};
use crate::park::Parker;
use crate::sync::thread::spawn_named;
use crate::sync::unmodelled::{Mutex, OnceCell};
use crate::task::cancel::CancelToken;
use crate::task::raw::{Discard, Task};
use crate::task::site::Site;
use crate::task::traits::{Meta, TaskTraits};
use crate::time::{Clock, Moment, SystemClock, TimerKey};

struct Alarm {
    timers: Timers,
    clock: SystemClock,
    parker: Parker,
    is_running: Mutex<bool>,
}

/// Removes its deadline from the alarm when dropped.
struct Deadline {
    alarm: &'static Alarm,
    key: TimerKey,
}

impl Drop for Deadline {
    fn drop(&mut self) {
        drop(self.alarm.timers.remove(self.key));
    }
}

/// The same for the alarm of a test environment, which is its pool.
#[cfg(feature = "testing")]
struct DrivenDeadline {
    core: std::sync::Weak<super::core::Core>,
    key: TimerKey,
}

#[cfg(feature = "testing")]
impl Drop for DrivenDeadline {
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade() {
            drop(core.timers.remove(self.key));
        }
    }
}

/// Lets the environment of this thread, if there is one, tell when the time is over; else gives the task back.
#[cfg(feature = "testing")]
fn arm_driven(token: &CancelToken, limit: Duration, task: Task) -> Result<(), Task> {
    let Some(core) = super::driven::core() else { return Err(task) };
    let inserted = core.insert_timer(core.clock.now().saturating_add(limit), task, Arc::new(RunsAtOnce), || ())?;
    token.keep(Box::new(DrivenDeadline { core: Arc::downgrade(&core), key: inserted.key }));
    Ok(())
}

/// What is ripe here is run at once, on the alarm's thread: it signals a token.
struct RunsAtOnce;

impl Receiver for RunsAtOnce {
    fn ripen(self: Arc<Self>, task: Task) {
        drop(task.run());
    }

    fn drop_unripe(self: Arc<Self>, task: Task, _why: Discard) {
        drop(task);
    }

    fn is_told(&self) -> bool {
        false
    }
}

fn alarm() -> &'static Alarm {
    static ALARM: OnceCell<Alarm> = OnceCell::new();
    ALARM.get_or_init(|| {
        let clock = SystemClock::new();
        Alarm { timers: Timers::new(clock.now()), clock, parker: Parker::new(), is_running: Mutex::new(false) }
    })
}

impl Alarm {
    fn arm(&'static self, token: &CancelToken, limit: Duration) {
        let signaller = token.signaller();
        let expire = move || signaller.expire();
        let site = Site::intern(None, Location::caller());
        let task = Task::plain(expire, site, Meta::new(TaskTraits::default()));
        #[cfg(feature = "testing")]
        let task = match arm_driven(token, limit, task) {
            Ok(()) => return,
            Err(task) => task,
        };
        let due = self.clock.now().saturating_add(limit);
        if let Ok(inserted) = self.timers.insert(due, task, Arc::new(RunsAtOnce), || ()) {
            token.keep(Box::new(Deadline { alarm: self, key: inserted.key }));
            self.ensure_running();
            if inserted.is_earliest {
                self.parker.unpark();
            }
        }
    }

    /// Starts the thread, unless it runs. If the system refuses, the next deadline tries again.
    fn ensure_running(&'static self) {
        let mut is_running = self.is_running.lock();
        if !*is_running {
            match spawn_named("overstrand-alarm".into(), None, || self.run()) {
                Ok(_detached) => *is_running = true,
                Err(error) => tracing::error!(%error, "deadlines of tokens wait for a thread"),
            }
        }
    }

    fn run(&self) {
        loop {
            let now = self.clock.now();
            match self.timers.step(now) {
                Moment::NEVER => self.parker.park(),
                next => _ = self.parker.park_timeout(now.until(next)),
            }
        }
    }
}

impl CancelToken {
    /// A token that is signalled after `limit` of monotonic time at the latest, with
    /// [`DeadlineExceeded`](crate::CancelReason::DeadlineExceeded).
    ///
    /// ```
    /// use overstrand::{CancelReason, CancelToken};
    /// use std::time::Duration;
    ///
    /// let token = CancelToken::with_timeout(Duration::from_millis(1));
    /// token.wait();
    /// assert_eq!(token.reason(), Some(CancelReason::DeadlineExceeded));
    /// ```
    #[must_use]
    pub fn with_timeout(limit: Duration) -> Self {
        let token = Self::new();
        token.expire_after(limit);
        token
    }

    /// A token that is signalled at `deadline` at the latest; one in the past is signalled at once.
    #[must_use]
    pub fn with_deadline(deadline: Instant) -> Self {
        Self::with_timeout(crate::sync::until(deadline))
    }

    /// A child that is signalled with this token, and after `limit` at the latest.
    #[must_use]
    pub fn child_with_timeout(&self, limit: Duration) -> Self {
        let token = self.child();
        token.expire_after(limit);
        token
    }

    fn expire_after(&self, limit: Duration) {
        if limit.is_zero() {
            self.expire();
        } else if !self.is_cancelled() {
            alarm().arm(self, limit);
        }
    }
}
