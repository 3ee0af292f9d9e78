//! What can be said about a task, and what holds when nothing is said: a spec's own word, else the supervisor's default, else the crate's (SUP-1, SUP-13a).
#![forbid(unsafe_code)]

use std::time::Duration;

use super::backoff::Backoff;
use super::intensity::Intensity;
use super::restart::RestartPolicy;
use crate::error::BuildError;
use crate::task::traits::TaskTraits;

const DEFAULT_GRACE: Duration = Duration::from_secs(60);

/// What happens when a run ignores its cancel past its grace (SUP-2a), if it was to be followed by another run.
///
/// A blocking body cannot be stopped by force. A run that does not return is *stuck*: it keeps the name, the slot, the place and the permit of its task until it does.
///
/// # Default
///
/// `Wait`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnStuck {
    /// The next run starts when the stuck one has returned. Never two at once.
    #[default]
    Wait,
    /// The stuck run is fenced off for good, keeps its thread, and the next run starts; as long as no more than so many are fenced off. Needs a body that can be
    /// built anew: [`TaskSpec::rebuilding`](crate::TaskSpec::rebuilding), or a future.
    Replace {
        /// How many fenced runs of the task may be out at once; beyond it waits.
        at_most: usize,
    },
    /// The process is aborted: for what must be restarted as a whole, by a service manager say.
    Abort,
}

/// What was said; `None`: nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    pub(super) restart: Option<RestartPolicy>,
    pub(super) max_retries: Option<Option<u32>>,
    pub(super) backoff: Option<Backoff>,
    pub(super) watchdog: Option<Option<Duration>>,
    pub(super) attempt_timeout: Option<Option<Duration>>,
    pub(super) max_runtime: Option<Option<Duration>>,
    pub(super) healthy_after: Option<Option<Duration>>,
    pub(super) grace: Option<Duration>,
    pub(super) intensity: Option<Intensity>,
    pub(super) on_stuck: Option<OnStuck>,
    pub(super) traits: Option<TaskTraits>,
}

/// What holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) restart: RestartPolicy,
    pub(super) max_retries: Option<u32>,
    pub(super) backoff: Backoff,
    pub(super) watchdog: Option<Duration>,
    pub(super) attempt_timeout: Option<Duration>,
    pub(super) max_runtime: Option<Duration>,
    pub(super) healthy_after: Option<Duration>,
    pub(super) grace: Duration,
    pub(super) intensity: Intensity,
    pub(super) on_stuck: OnStuck,
    pub(super) traits: TaskTraits,
}

impl Wishes {
    /// What holds with these defaults.
    pub(super) fn over(&self, defaults: &Self) -> Settings {
        macro_rules! first {
            ($field:ident, $last:expr) => {
                self.$field.or(defaults.$field).unwrap_or($last)
            };
        }
        Settings {
            restart: first!(restart, RestartPolicy::default()),
            max_retries: first!(max_retries, None),
            backoff: first!(backoff, Backoff::default()),
            watchdog: first!(watchdog, None),
            attempt_timeout: first!(attempt_timeout, None),
            max_runtime: first!(max_runtime, None),
            healthy_after: first!(healthy_after, None),
            grace: first!(grace, DEFAULT_GRACE),
            intensity: first!(intensity, Intensity::default()),
            on_stuck: first!(on_stuck, OnStuck::default()),
            traits: first!(traits, TaskTraits::default()),
        }
    }

    /// Says which value makes no sense, if one does not.
    pub(super) fn validate(&self) -> Result<(), BuildError> {
        if let Some(backoff) = &self.backoff {
            backoff.validate()?;
        }
        if let Some(intensity) = &self.intensity {
            intensity.validate()?;
        }
        let limits =
            [("watchdog", self.watchdog), ("attempt_timeout", self.attempt_timeout), ("max_runtime", self.max_runtime)];
        for (field, limit) in limits {
            if limit.flatten().is_some_and(|limit| limit.is_zero()) {
                return Err(BuildError::new(field, "0ns", "must be longer than zero; without a limit it is `None`"));
            }
        }
        Ok(())
    }
}

/// The settings that a spec and a supervisor's defaults have in common.
macro_rules! settings_methods {
    () => {
        /// Whether it runs again after a run has ended; `OnFailure` if nothing is said (SUP-5).
        pub fn restart(mut self, policy: $crate::supervise::RestartPolicy) -> Self {
            self.wishes().restart = Some(policy);
            self
        }

        /// How many retries follow the first failure of a streak, so that attempts = retries + 1; `None`, as if nothing is said: without limit (SUP-5).
        ///
        /// Retries that come more often than the [`intensity`](Self::intensity) allows are braked: if nothing is said, each after the tenth in 60 s waits 30 s.
        pub fn max_retries(mut self, retries: impl Into<Option<u32>>) -> Self {
            self.wishes().max_retries = Some(retries.into());
            self
        }

        /// How long to wait before a retry; 100 ms if nothing is said (SUP-6).
        ///
        /// A short one does not hold for long: after ten retries in 60 s the default [`intensity`](Self::intensity) makes each wait 30 s. Who wants a tight loop of retries says so:
        /// `.intensity(u32::MAX, window, Exhausted::GiveUp)`.
        pub fn backoff(mut self, backoff: $crate::supervise::Backoff) -> Self {
            self.wishes().backoff = Some(backoff);
            self
        }

        /// A run that does not call [`heartbeat`](crate::TaskContext::heartbeat) for longer than this is cancelled, and has failed (SUP-8). The first heartbeat may
        /// come one period later. `None`, as if nothing is said: no watchdog.
        ///
        /// The silence is noticed within a tenth of the period, or 10 ms if that is more. Time that the whole machine stood still does not count.
        pub fn watchdog(mut self, period: impl Into<Option<std::time::Duration>>) -> Self {
            self.wishes().watchdog = Some(period.into());
            self
        }

        /// A run that takes longer than this is cancelled, and has failed. `None`, as if nothing is said: no limit.
        pub fn attempt_timeout(mut self, limit: impl Into<Option<std::time::Duration>>) -> Self {
            self.wishes().attempt_timeout = Some(limit.into());
            self
        }

        /// The task is over after this, counted from the start of its first run, pauses between runs included, and is not restarted (SUP-4a). `None`, as if nothing is
        /// said: no limit.
        pub fn max_runtime(mut self, limit: impl Into<Option<std::time::Duration>>) -> Self {
            self.wishes().max_runtime = Some(limit.into());
            self
        }

        /// A run that has lasted this long was healthy: a failure after it is the first of a new streak (SUP-6). `None`, as if nothing is said: only success ends a streak.
        pub fn healthy_after(mut self, time: impl Into<Option<std::time::Duration>>) -> Self {
            self.wishes().healthy_after = Some(time.into());
            self
        }

        /// How long a run has to return after it was cancelled; 60 s if nothing is said (SUP-13a). Then a future is dropped, and a blocking run counts as stuck.
        pub fn grace(mut self, grace: std::time::Duration) -> Self {
            self.wishes().grace = Some(grace);
            self
        }

        /// More than `limit` restarts after failures within `window` are too many (SUP-7); more than 10 in 60 s if nothing is said, and then a pause of 30 s (SUP-13a).
        pub fn intensity(
            mut self,
            limit: u32,
            window: std::time::Duration,
            then: $crate::supervise::Exhausted,
        ) -> Self {
            self.wishes().intensity = Some($crate::supervise::intensity::Intensity { limit, window, then });
            self
        }

        /// What happens when a run ignores its cancel past its grace (SUP-2a); the next waits for it if nothing is said.
        pub fn on_stuck(mut self, what: $crate::supervise::OnStuck) -> Self {
            self.wishes().on_stuck = Some(what);
            self
        }

        /// The traits of the pool tasks that runs are. Runs always block the pool's shutdown, which cancels them; blocking ones count as long-running.
        pub fn traits(mut self, traits: impl Into<$crate::task::traits::TaskTraits>) -> Self {
            self.wishes().traits = Some(traits.into());
            self
        }
    };
}
pub(super) use settings_methods;
