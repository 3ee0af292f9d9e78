//! Whether there is a next run, after how one ended (SUP-4a, SUP-5). Pure: a table.
//!
//! Witnessed by `tests::restart`, cell by cell.
#![forbid(unsafe_code)]

use std::time::Duration;

/// Whether a supervised task runs again after a run has ended.
///
/// | the run | `Never` | `OnFailure` | `Always` |
/// |---|---|---|---|
/// | returned `Ok` | finished | finished | again after `interval` |
/// | returned an error | finished | again after the backoff, or exhausted | again after the backoff, or exhausted |
/// | panicked | finished | again after the backoff, or exhausted | again after the backoff, or exhausted |
/// | took longer than its attempt timeout | finished | again after the backoff, or exhausted | again after the backoff, or exhausted |
/// | lost its heartbeat | finished | again after the backoff, or exhausted | again after the backoff, or exhausted |
/// | returned a `Fatal` error | finished | finished | finished |
/// | was cancelled, or ended itself as cancelled | finished | finished | finished |
///
/// *Exhausted*: as many retries as `max_retries` allows have been made since the first failure of the streak, so that attempts = retries + 1 (SUP-5). Both ends
/// are final, and the outcome of the task is that of its last run.
///
/// # Guarantees
///
/// - Who asks for an end gets one: after a cancel, an eviction, a shutdown or the end of `max_runtime` there is no next run, whatever the run returns (SUP-4a).
/// - The interval of `Always` follows success only; after a failure the backoff decides.
///
/// # Default
///
/// `OnFailure`, with retries without limit (SUP-5, SUP-13a).
///
/// # Examples
///
/// ```
/// use overstrand::RestartPolicy;
/// use std::time::Duration;
///
/// assert_eq!(RestartPolicy::default(), RestartPolicy::OnFailure);
/// let hourly = RestartPolicy::Always { interval: Duration::from_secs(3600) };
/// assert_ne!(hourly, RestartPolicy::OnFailure);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RestartPolicy {
    /// One run. For what must not be done twice: sending an invoice.
    Never,
    /// Until it succeeds. For what has a result: fetching a file. The default.
    #[default]
    OnFailure,
    /// For ever, or until it fails too often. For what has no end: syncing every hour.
    Always {
        /// From the end of a run that succeeded to the start of the next. Zero: at once; a body that returns at once then keeps a thread busy.
        interval: Duration,
    },
}

/// How a run ended. When a stop was asked for, it is the cause of that stop, whatever the run returned (SUP-4a).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Exit {
    /// It returned `Ok`.
    Success,
    /// It returned an error.
    Failed,
    /// It returned an error that no retry can mend.
    Fatal,
    /// Somebody did not want it any more, itself perhaps.
    Cancelled,
    /// It panicked.
    Panicked,
    /// It took longer than one attempt may. The end of `max_runtime` is the end of the task, and asks no policy.
    TimedOut,
    /// It was silent for longer than its watchdog allows.
    HeartbeatLost,
}

impl Exit {
    /// True for what is tried again, and counts in the streak.
    pub(crate) fn is_failure(self) -> bool {
        match self {
            Self::Failed | Self::Panicked | Self::TimedOut | Self::HeartbeatLost => true,
            Self::Success | Self::Fatal | Self::Cancelled => false,
        }
    }
}

/// What comes after a run.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Next {
    /// A new run, when the backoff is over. It counts for the restart intensity.
    RestartAfterBackoff,
    /// A new run after this pause, and the streak is over.
    RestartAfter(Duration),
    /// Nothing: the outcome is that of this run.
    Finish,
    /// Nothing: the outcome is that of this run, and the retries are used up.
    Exhausted,
}

impl Next {
    /// True when another run follows.
    pub(crate) fn is_restart(self) -> bool {
        matches!(self, Self::RestartAfterBackoff | Self::RestartAfter(_))
    }
}

/// What comes after a run that ended like this, by the table of [`RestartPolicy`].
///
/// `failures_before`: how many failures of the streak came before this run, which is also how many retries have been made. `max_retries`: `None` is without limit.
pub(crate) fn decide(policy: RestartPolicy, exit: Exit, failures_before: u32, max_retries: Option<u32>) -> Next {
    match (exit, policy) {
        (Exit::Success, RestartPolicy::Always { interval }) => Next::RestartAfter(interval),
        (_, RestartPolicy::Never) => Next::Finish,
        _ if !exit.is_failure() => Next::Finish,
        _ if max_retries.is_none_or(|most| failures_before < most) => Next::RestartAfterBackoff,
        _ => Next::Exhausted,
    }
}
