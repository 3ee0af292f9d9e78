//! What a supervisor tells of itself and its tasks: counters, a row for each task, what a shutdown found.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::spec::TaskId;
use super::task::TaskStatus;

/// What a shutdown found; every caller gets the same.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SupervisorReport {
    /// The names of tasks that have not returned within their grace, in the order of their numbers.
    pub stuck: Vec<Arc<str>>,
    /// Tasks that completed in the life of the supervisor.
    pub completed: u64,
    /// Tasks that ended in a failure.
    pub failed: u64,
}

/// The counters of a supervisor, consistent with one another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SupervisorStats {
    /// How many tasks may hold a place.
    pub capacity: usize,
    /// How many do.
    pub places: usize,
    /// Runs that have not returned, stuck ones included.
    pub running: usize,
    /// Runs that did not return within their grace.
    pub stuck: usize,
    /// Tasks that wait for a place, or for their turn in a slot.
    pub waiting: usize,
    /// Slots in use.
    pub slots: usize,
    /// Tasks accepted so far.
    pub submitted: u64,
    /// Tasks that completed.
    pub completed: u64,
    /// Tasks that ended in a failure.
    pub failed: u64,
    /// Tasks that were evicted.
    pub evicted: u64,
    /// Retries after failures.
    pub retried: u64,
}

/// One task, as [`Supervisor::tasks`](crate::Supervisor::tasks) shows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its number.
    pub id: TaskId,
    /// Its name.
    pub name: Arc<str>,
    /// What it is doing.
    pub status: TaskStatus,
    /// Its priority.
    pub priority: i32,
    /// How long its present run has been running.
    pub uptime: Option<Duration>,
    /// How many runs it has had.
    pub generation: u64,
    /// Failures in a row before its present run.
    pub failures: u32,
    /// The key of its slot. Who has the slot, and how many wait for it, is seen from the tasks with that key and their [`status`](Self::status).
    pub slot: Option<Arc<str>>,
    /// How long its present run has given no sign of life, as its watchdog counts it: zero until the first may come no later, and exact to one look, a twentieth of the shortest period or 5 ms.
    /// `None` without a watchdog, and while there is no run or it is told to stop.
    pub silent: Option<Duration>,
}
