//! The handles of a supervised task: [`SupervisedTask`] with its outcome, [`TaskControl`] without.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::event::StopReason;
use super::keeper::Keeper;
use super::outcome::{ErrorRecord, Outcome, SharedError};
use super::spec::TaskId;
use crate::error::WaitError;
use crate::park::{Bell, Wait};
use crate::pool::task_builder::Target;
use crate::sync::Mutex;
use crate::task::current::{self, Name};
use crate::task::handle::{TaskHandle, Waited};
use crate::task::panic::drop_quietly;
use crate::task::traits::Priority;
use crate::time::Moment;

/// How many errors of a task are kept: the latest.
pub(super) const ERRORS_MAX: usize = 16;

/// What a supervised task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskStatus {
    /// It waits for its turn in its slot, for a place or for a permit.
    Queued,
    /// A run goes on, or is about to.
    Running,
    /// The next run comes after a pause: a backoff, an interval.
    Waiting,
    /// The next run comes after a [`resume`](TaskControl::resume).
    Paused,
    /// The run is told to stop, and has not returned.
    Stopping,
    /// The run did not return within its grace.
    Stuck,
    /// It has ended: its outcome has been delivered; name, slot and place are free.
    Ended,
}

/// What handles see of a task without asking the house.
pub(super) struct Task {
    pub(super) id: TaskId,
    /// The address of its supervisor.
    keeper: usize,
    pub(super) name: Name,
    pub(super) view: Mutex<View>,
    pub(super) bell: Bell,
}

pub(super) struct View {
    pub(super) status: TaskStatus,
    /// When the run that goes on began.
    pub(super) began: Option<Moment>,
    pub(super) errors: VecDeque<ErrorRecord>,
    pub(super) is_ready: bool,
    /// Its outcome has been delivered.
    pub(super) is_settled: bool,
    /// It is out of the house.
    pub(super) is_removed: bool,
}

impl Task {
    pub(super) fn new(keeper: &Arc<Keeper>, id: TaskId, name: Name) -> Self {
        let view = View {
            status: TaskStatus::Queued,
            began: None,
            errors: VecDeque::new(),
            is_ready: false,
            is_settled: false,
            is_removed: false,
        };
        Self { id, keeper: Arc::as_ptr(keeper) as usize, name, view: Mutex::new(view), bell: Bell::new() }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // One after the other: each may panic when it is dropped, and none while another does.
        let errors = std::mem::take(&mut self.view.lock().errors);
        for record in errors {
            drop_quietly(record);
        }
    }
}

/// Knows who would wait for the end of the task that he is a run of.
impl Waited for Task {
    fn would_deadlock(&self) -> bool {
        current::is_run_of(self.keeper, self.id.0)
    }

    fn lend(self: Arc<Self>, _class: Priority) -> bool {
        false
    }

    fn take_back(self: Arc<Self>, _class: Priority) {}
}

/// Controls one supervised task; cheap to clone. Dropping it changes nothing.
///
/// # Not guaranteed
///
/// Two runs that cancel each other's task, and wait for it, wait for ever; so does whoever waits for the end of a body that does not stop.
#[derive(Clone)]
pub struct TaskControl {
    pub(super) keeper: Arc<Keeper>,
    pub(super) task: Arc<Task>,
}

impl TaskControl {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.task.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.task.name
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> TaskStatus {
        self.task.view.lock().status
    }

    /// True until it has physically ended.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.status() != TaskStatus::Ended
    }

    /// How long the present run has been running; `None` while there is none.
    #[must_use]
    pub fn uptime(&self) -> Option<Duration> {
        let began = self.task.view.lock().began?;
        Some(began.until(self.keeper.pool.now()))
    }

    /// The latest 16 failures of its runs, oldest first.
    #[must_use]
    pub fn errors(&self) -> Vec<ErrorRecord> {
        self.task.view.lock().errors.iter().cloned().collect()
    }

    /// The latest failure.
    #[must_use]
    pub fn last_error(&self) -> Option<SharedError> {
        self.task.view.lock().errors.back().map(|record| Arc::clone(&record.error))
    }

    /// Stops the task for good, and waits until it has physically ended; inside a run of its own, in the destructor of a body that the supervisor drops, and while this thread holds a fence of the pool, it does not wait. True for the one caller that won:
    /// nobody had stopped it before (SUP-11), nor had its last run been stopped for being late or silent.
    pub fn cancel(&self) -> bool {
        let won = self.remove();
        if !self.would_deadlock() {
            self.wait_until(None, |status, _| (status == TaskStatus::Ended).then_some(()));
        }
        won
    }

    /// As [`cancel`](Self::cancel), but waits for at most `limit`.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] when it has not ended by then; it stays cancelled. [`WaitError::WouldDeadlock`] inside a run of its own, likewise.
    pub fn cancel_timeout(&self, limit: Duration) -> Result<bool, WaitError> {
        let won = self.remove();
        self.wait_ended(limit).map(|()| won)
    }

    /// Stops the task for good, and returns at once. True for the one caller that won.
    pub fn remove(&self) -> bool {
        self.keeper.act(|house, fx| house.stop(fx, self.task.id, StopReason::Cancelled))
    }

    /// Stops the present run, if there is one, and starts another when it has returned, without a backoff and in a new streak. What is asked for is no failure, also of a run that is being stopped for its time-out or
    /// its silence: that is kept as an [error](Self::errors), and not counted. The ticks of a schedule stay where they are. False when the task is over, or has never had a place; for a child, also
    /// when it is over for its group, or has not been started by it; for a group, also when it is being stopped.
    pub fn restart(&self) -> bool {
        self.keeper.act(|house, fx| house.restart(fx, self.task.id))
    }

    /// Keeps the next run from starting; the present one goes on. False when the task is over.
    pub fn pause(&self) -> bool {
        self.keeper.act(|house, fx| house.set_paused(fx, self.task.id, true))
    }

    /// Ends a [`pause`](Self::pause). False when the task is over.
    pub fn resume(&self) -> bool {
        self.keeper.act(|house, fx| house.set_paused(fx, self.task.id, false))
    }

    /// Gives the task another priority, for what comes: who is evicted, who gets a place or a permit next. False when the task is over.
    pub fn set_priority(&self, priority: i32) -> bool {
        self.keeper.act(|house, fx| house.set_priority(fx, self.task.id, priority))
    }

    /// Waits until the task has said that it is [ready](crate::TaskContext::ready), for at most `limit`.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`]; [`WaitError::Closed`] when it has ended without; [`WaitError::WouldDeadlock`] inside a run of its own.
    pub fn wait_ready(&self, limit: Duration) -> Result<(), WaitError> {
        let look = |status, is_ready| match (is_ready, status) {
            (true, _) => Some(Ok(())),
            (false, TaskStatus::Ended) => Some(Err(WaitError::Closed)),
            (false, _) if self.would_deadlock() => Some(Err(WaitError::WouldDeadlock)),
            _ => None,
        };
        self.wait_until(Some(limit), look).unwrap_or(Err(WaitError::TimedOut))
    }

    /// Waits until the task has physically ended, for at most `limit`.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`]; [`WaitError::WouldDeadlock`] inside a run of its own, and while this thread holds a fence of the pool.
    pub fn wait_ended(&self, limit: Duration) -> Result<(), WaitError> {
        let look = |status, _| match status {
            TaskStatus::Ended => Some(Ok(())),
            _ if self.would_deadlock() => Some(Err(WaitError::WouldDeadlock)),
            _ => None,
        };
        self.wait_until(Some(limit), look).unwrap_or(Err(WaitError::TimedOut))
    }

    /// An error where this thread would wait for itself if it waited for the task, which has not ended.
    pub(crate) fn refuse_deadlock(&self) -> Result<(), WaitError> {
        match self.is_alive() && self.would_deadlock() {
            true => Err(WaitError::WouldDeadlock),
            false => Ok(()),
        }
    }

    fn would_deadlock(&self) -> bool {
        self.task.would_deadlock() || self.keeper.pool.0.is_fenced_by_this_thread()
    }

    fn wait_until<T>(&self, limit: Option<Duration>, look: impl Fn(TaskStatus, bool) -> Option<T>) -> Option<T> {
        let look = || {
            let (status, is_ready) = {
                let view = self.task.view.lock();
                (view.status, view.is_ready)
            };
            look(status, is_ready)
        };
        self.task.bell.wait_until(look, Wait::on("a supervised task").at_most(limit))
    }
}

impl fmt::Debug for TaskControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskControl")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// A task that was submitted, and its outcome. All that [`TaskControl`] can do, it can. Dropping it changes nothing.
pub struct SupervisedTask<T = ()> {
    control: TaskControl,
    outcome: Mutex<Option<TaskHandle<Outcome<T>>>>,
}

impl<T> SupervisedTask<T> {
    pub(super) fn new(control: TaskControl, outcome: TaskHandle<Outcome<T>>) -> Self {
        Self { control, outcome: Mutex::new(Some(outcome)) }
    }

    /// The same task, without its outcome.
    #[must_use]
    pub fn control(&self) -> TaskControl {
        self.control.clone()
    }

    /// How it ended, now or later; whoever asks first gets it, later ones [`JoinError::Taken`](crate::JoinError::Taken). Joined inside a run of its own it is
    /// [`JoinError::WouldDeadlock`](crate::JoinError::WouldDeadlock).
    ///
    /// It is there before anybody sees that the task has [ended](TaskStatus::Ended). A result that nobody wants is dropped on the way; its drop must not wait for tasks of this supervisor.
    pub fn outcome(&self) -> TaskHandle<Outcome<T>> {
        self.outcome.lock().take().unwrap_or(TaskHandle::taken())
    }
}

impl<T> Deref for SupervisedTask<T> {
    type Target = TaskControl;

    fn deref(&self) -> &TaskControl {
        &self.control
    }
}

impl<T> fmt::Debug for SupervisedTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisedTask")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
