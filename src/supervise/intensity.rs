//! When restarts come too often, and what is done then (SUP-7). Pure: the time is handed in.
//!
//! | words | |
//! |---|---|
//! | restart | a new run after a failure, counted when it is decided; nothing else counts |
//! | window | `(now - window, now]`: a restart exactly one window ago is forgotten |
//! | exceeded | more restarts than the limit lie within the window; the first one too many says so, and each that is too many after it |
//!
//! The record outlives what it says: after an answer it goes on counting as before, so that a task stays slow until its window has room again.
//!
//! Witnessed by `tests::intensity`.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::time::Duration;

use super::restart::Next;
use crate::error::BuildError;

/// What happens to a task, or a group, that is restarted too often (SUP-7).
///
/// Only restarts after a failure count. `intensity(limit, window, then)`: more than `limit` of them within `window` are too many; a limit of 0 makes the first
/// failure one too many.
///
/// # Default
///
/// More than 10 restarts in 60 s: `SlowRestart` with 30 s (SUP-13a). The others are asked for.
///
/// # Examples
///
/// ```
/// use overstrand::Exhausted;
/// use std::time::Duration;
///
/// assert_eq!(Exhausted::default(), Exhausted::SlowRestart(Duration::from_secs(30)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exhausted {
    /// It is not restarted any more; its outcome is that of its last run. For what others can do without.
    GiveUp,
    /// It is a failure of the group that it is in, which is restarted by its own rules. For what others cannot do without. At the top it means giving up.
    Escalate,
    /// It is restarted all the same, not before this much time, or the backoff if that is longer, has passed. For what must come back by itself however long
    /// its surroundings are down. Zero: the backoff alone decides.
    SlowRestart(Duration),
}

impl Default for Exhausted {
    /// Slowly: half a minute between restarts.
    fn default() -> Self {
        Self::SlowRestart(Duration::from_secs(30))
    }
}

/// How many restarts in which time are too many, and what then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Intensity {
    pub(crate) limit: u32,
    pub(crate) window: Duration,
    pub(crate) then: Exhausted,
}

impl Intensity {
    /// Says which value makes no sense, if one does not.
    pub(crate) fn validate(&self) -> Result<(), BuildError> {
        if self.window.is_zero() {
            return Err(BuildError::new("intensity", "0ns", "the window must be longer than zero"));
        }
        Ok(())
    }

    fn limit(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }
}

impl Default for Intensity {
    /// More than 10 in 60 s (SUP-13a).
    fn default() -> Self {
        Self { limit: 10, window: Duration::from_secs(60), then: Exhausted::default() }
    }
}

/// The latest restarts of one task or group, at most one more than the limit: when they were decided, earliest first.
#[derive(Clone, Debug)]
pub(crate) struct Record(VecDeque<Duration>);

impl Record {
    pub(crate) fn new() -> Self {
        Self(VecDeque::with_capacity(1))
    }

    /// Notes what was decided `now`, a time since any start that stays the same; says what is done when that is one restart too many.
    ///
    /// A time before the one given last counts as that one. Constant time, amortised.
    #[must_use]
    pub(crate) fn note(&mut self, intensity: Intensity, next: Next, now: Duration) -> Option<Exhausted> {
        if next != Next::RestartAfterBackoff {
            return None;
        }
        let now = self.0.back().map_or(now, |latest| now.max(*latest));
        self.forget(intensity, now);
        self.0.push_back(now);
        (self.0.len() > intensity.limit()).then_some(intensity.then)
    }

    /// Drops what is older than the window, and of the rest what could not make a difference: there is room for one more than the limit.
    fn forget(&mut self, intensity: Intensity, now: Duration) {
        let (window, limit) = (intensity.window, intensity.limit());
        while self.0.front().is_some_and(|earliest| now - *earliest >= window) || self.0.len() > limit {
            self.0.pop_front();
        }
    }

    /// How many restarts it remembers.
    #[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
    pub(crate) fn kept(&self) -> usize {
        self.0.len()
    }
}
