//! What happens to supervised tasks, as values (SUP-12).
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::outcome::{OutcomeKind, Rejection, SharedError};
use super::spec::TaskId;

/// Something that happened to a supervised task, or to its supervisor.
///
/// Events are for logs and counters. Nothing that the supervisor decides depends on them, and an outcome never travels by them.
///
/// # Guarantees
///
/// - `seq` grows by one from event to event of a supervisor, from when somebody first subscribes. A subscriber sees them in that order, and what it has lost is told exactly, by
///   [`EventKind::SubscriberOverflow`].
/// - For each run: started, then its end, then what comes next. Nothing of a run comes after its end, but for [`EventKind::ReturnedLate`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// The number of the event.
    pub seq: u64,
    /// When it happened, since the supervisor was built, by the monotonic clock.
    pub at: Duration,
    /// The name of the task, or of the supervisor.
    pub task: Arc<str>,
    /// The number of the task; `#0` for the supervisor itself.
    pub id: TaskId,
    /// Which run of the task, from 1; 0 before the first.
    pub generation: u64,
    /// Which run of the streak, from 1; 0 before the first.
    pub attempt: u32,
    /// What happened.
    pub kind: EventKind,
}

/// Why a task, or a run, is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// The task: somebody does not want it any more.
    Cancelled,
    /// The task: somebody of higher priority needs its place.
    Evicted,
    /// The task: its `max_runtime` is over.
    MaxRuntime,
    /// The task: a newer one takes its slot.
    Replaced,
    /// The task: the supervisor is shut down.
    ShutDown,
    /// The run: its `attempt_timeout` is over.
    AttemptTimeout,
    /// The run: it was silent for too long.
    HeartbeatLost,
    /// The run: another one is wanted.
    Restart,
    /// The run: its group is restarted.
    Group,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "cancelled",
            Self::Evicted => "evicted",
            Self::MaxRuntime => "its time is over",
            Self::Replaced => "replaced",
            Self::ShutDown => "shutdown",
            Self::AttemptTimeout => "the run took too long",
            Self::HeartbeatLost => "silent for too long",
            Self::Restart => "to be restarted",
            Self::Group => "its group is restarted",
        })
    }
}

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// The task was accepted.
    Submitted,
    /// The task got a place.
    Admitted,
    /// A run begins.
    Started,
    /// The run has started up.
    Ready,
    /// The run returned `Ok`, after this time.
    #[expect(missing_docs, reason = "the field is the time")]
    Succeeded { duration: Duration },
    /// The run returned an error, panicked, or was dropped by the pool.
    Failed {
        /// How long it ran.
        duration: Duration,
        /// With what; a [`RunError`](crate::RunError) for a panic.
        error: SharedError,
        /// No retry can mend it.
        is_fatal: bool,
        /// It panicked.
        is_panic: bool,
    },
    /// The run ended because the task was stopped, or ended itself.
    #[expect(missing_docs, reason = "the field is the time")]
    Cancelled { duration: Duration },
    /// The run took longer than one attempt may, and is cancelled.
    #[expect(missing_docs, reason = "the field is the limit")]
    TimedOut { limit: Duration },
    /// The run was silent for longer than its watchdog allows, and is cancelled.
    #[expect(missing_docs, reason = "the field is the period of the watchdog")]
    HeartbeatLost { period: Duration },
    /// After a failure there is a next run, after this delay.
    Retrying {
        /// How long from now.
        delay: Duration,
        /// How many retries this makes in the streak.
        retry: u32,
        /// What the last run failed with.
        error: Option<SharedError>,
        /// There were too many restarts, so it is slower than its backoff.
        is_slowed: bool,
    },
    /// After a success there is a next run, after this pause.
    #[expect(missing_docs, reason = "the field is the pause")]
    Waiting { delay: Duration },
    /// The retries are used up.
    #[expect(missing_docs, reason = "the field is how many there were")]
    Exhausted { retries: u32 },
    /// There were too many restarts, and there is none any more.
    GaveUp,
    /// There were too many restarts, and the group is told.
    Escalated,
    /// The task, or the run, is told to stop.
    #[expect(missing_docs, reason = "the field is why")]
    Stopping { reason: StopReason },
    /// The next run will not start before a resume.
    Paused,
    /// The next run may start.
    Resumed,
    /// The task has another priority.
    #[expect(missing_docs, reason = "the field is the new one")]
    PriorityChanged { priority: i32 },
    /// The run did not return within its grace, and is blocking.
    #[expect(missing_docs, reason = "the field is its grace")]
    Stuck { grace: Duration },
    /// A future did not end within its grace, and is dropped.
    ForceAborted,
    /// A run that was stuck has returned.
    ReturnedLate,
    /// Its place is needed by this task.
    #[expect(missing_docs, reason = "the field is the task")]
    Evicted { by: TaskId },
    /// A newer submission to its slot is this task.
    #[expect(missing_docs, reason = "the field is the task")]
    Superseded { by: TaskId },
    /// It was accepted, and will never run.
    #[expect(missing_docs, reason = "the field is why")]
    Rejected { reason: Rejection },
    /// The task has its outcome, which is delivered: perhaps a moment after this is heard.
    #[expect(missing_docs, reason = "the field is which one")]
    Finished { outcome: OutcomeKind },
    /// It has physically ended: name, slot and place are free.
    Removed,
    /// Nothing is accepted any more, and all tasks are stopped.
    ShutdownRequested,
    /// All tasks have ended within their grace.
    AllStopped,
    /// So many tasks are stuck.
    #[expect(missing_docs, reason = "the field is how many")]
    GraceExceeded { stuck: usize },
    /// A subscriber panicked, and goes on.
    #[expect(missing_docs, reason = "the field is the text of the panic")]
    SubscriberPanicked { message: String },
    /// This subscriber was too slow: so many events before this one are lost to it.
    #[expect(missing_docs, reason = "the field is how many")]
    SubscriberOverflow { lost: u64 },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.task, self.kind)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Submitted => f.write_str("submitted"),
            Self::Admitted => f.write_str("admitted"),
            Self::Started => f.write_str("started"),
            Self::Ready => f.write_str("ready"),
            Self::Succeeded { duration } => write!(f, "succeeded after {duration:?}"),
            Self::Failed { duration, error, is_fatal, .. } => {
                write!(f, "failed{} after {duration:?}: {error}", if *is_fatal { " for good" } else { "" })
            }
            Self::Cancelled { duration } => write!(f, "cancelled after {duration:?}"),
            Self::TimedOut { limit } => write!(f, "timed out after {limit:?}"),
            Self::HeartbeatLost { period } => write!(f, "silent for more than {period:?}"),
            Self::Retrying { delay, retry, .. } => write!(f, "retry {retry} in {delay:?}"),
            Self::Waiting { delay } => write!(f, "again in {delay:?}"),
            Self::Exhausted { retries } => write!(f, "gives up after {retries} retries"),
            Self::GaveUp => f.write_str("gives up: restarted too often"),
            Self::Escalated => f.write_str("restarted too often: its group is told"),
            Self::Stopping { reason } => write!(f, "stopping: {reason}"),
            Self::Paused => f.write_str("paused"),
            Self::Resumed => f.write_str("resumed"),
            Self::PriorityChanged { priority } => write!(f, "has priority {priority}"),
            Self::Stuck { grace } => write!(f, "did not stop within {grace:?}"),
            Self::ForceAborted => f.write_str("aborted by force"),
            Self::ReturnedLate => f.write_str("returned late"),
            Self::Evicted { by } => write!(f, "evicted for {by}"),
            Self::Superseded { by } => write!(f, "superseded by {by}"),
            Self::Rejected { reason } => write!(f, "rejected: {reason}"),
            Self::Finished { outcome } => write!(f, "finished: {outcome}"),
            Self::Removed => f.write_str("removed"),
            Self::ShutdownRequested => f.write_str("shutdown requested"),
            Self::AllStopped => f.write_str("all stopped"),
            Self::GraceExceeded { stuck } => write!(f, "shut down, but for {stuck} that did not stop in time"),
            Self::SubscriberPanicked { message } => write!(f, "a subscriber panicked: {message}"),
            Self::SubscriberOverflow { lost } => write!(f, "{lost} events lost"),
        }
    }
}

/// Hears of events. Every `FnMut(&Event)` does.
///
/// It is called on a strand of its own, one event at a time, and may take as long as it likes: then it loses the oldest events, and nobody else anything.
pub trait Subscribe: Send + 'static {
    /// Something has happened.
    fn on_event(&mut self, event: &Event);
}

impl<F: FnMut(&Event) + Send + 'static> Subscribe for F {
    fn on_event(&mut self, event: &Event) {
        self(event);
    }
}

/// Passes events on to `tracing`: failures as errors and warnings, ends as information, the rest for debugging.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # use overstrand::{Supervisor, ThreadPool, TracingSubscriber};
/// let pool = ThreadPool::builder().workers(1).build()?;
/// let supervisor = Supervisor::builder(&pool).build()?;
/// supervisor.subscribe(TracingSubscriber).detach();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingSubscriber;

impl Subscribe for TracingSubscriber {
    fn on_event(&mut self, event: &Event) {
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    seq = event.seq,
                    task = &*event.task,
                    id = event.id.0,
                    generation = event.generation,
                    attempt = event.attempt,
                    "{}",
                    event.kind
                )
            };
        }
        match &event.kind {
            EventKind::Stuck { .. } | EventKind::GaveUp | EventKind::Exhausted { .. } => tell!(error),
            EventKind::Failed { .. }
            | EventKind::TimedOut { .. }
            | EventKind::HeartbeatLost { .. }
            | EventKind::Retrying { .. }
            | EventKind::GraceExceeded { .. }
            | EventKind::SubscriberPanicked { .. }
            | EventKind::SubscriberOverflow { .. } => tell!(warn),
            EventKind::Finished { .. } | EventKind::ShutdownRequested | EventKind::AllStopped => tell!(info),
            _ => tell!(debug),
        }
    }
}

/// Writes each event as a line. What cannot be written is left out.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # use overstrand::{EventWriter, Supervisor, ThreadPool};
/// let pool = ThreadPool::builder().workers(1).build()?;
/// let supervisor = Supervisor::builder(&pool).build()?;
/// supervisor.subscribe(EventWriter::stdout()).detach();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EventWriter<W>(W);

impl EventWriter<std::io::Stdout> {
    /// To the standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self(std::io::stdout())
    }
}

impl<W: std::io::Write + Send + 'static> EventWriter<W> {
    /// To any writer.
    #[must_use]
    pub fn new(writer: W) -> Self {
        Self(writer)
    }
}

impl<W: std::io::Write + Send + 'static> EventWriter<W> {
    fn write(&mut self, event: &Event) -> std::io::Result<()> {
        let Event { at, task, id, generation, attempt, kind, .. } = event;
        writeln!(self.0, "{:>10.3} {task} {id} {generation}.{attempt} {kind}", at.as_secs_f64())
    }
}

impl<W: std::io::Write + Send + 'static> Subscribe for EventWriter<W> {
    fn on_event(&mut self, event: &Event) {
        let _ = self.write(event);
    }
}
