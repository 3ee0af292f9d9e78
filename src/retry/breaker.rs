//! Not calling what is broken, until it has had time to recover.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::breaker_state::{Admission, Circuit, Settings};
use crate::error::{BuildError, RejectReason, Rejected};
use crate::pool::clock_of_this_thread;
use crate::sync::Mutex;
use crate::time::Clock;

const DEFAULTS: Settings = Settings { failures: 5, window: Duration::from_secs(60), open_for: Duration::from_secs(30) };

/// Whether calls pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CircuitState {
    /// They do.
    Closed,
    /// They are refused: too many have failed.
    Open,
    /// One may try, or is trying, whether things work again; others are refused.
    HalfOpen,
}

/// Refuses calls for a while after too many of them have failed, instead of waiting for each to fail again.
///
/// *Closed*, it passes every call on. When so many have failed within a window of time it *opens*: calls are refused at once. After a pause it is *half-open*:
/// the next call is the probe, and decides whether it closes or opens again. Clones share one circuit.
///
/// # Guarantees
///
/// - A refused closure is not called, and comes back.
/// - While it is half-open one call at a time is on its way.
/// - A call that began before the state changed has no say any more when it ends.
/// - A panic counts as a failure, and goes on.
/// - No call is made while a lock is held.
///
/// # Not guaranteed
///
/// A probe that never returns keeps the circuit half-open: give what is called a time limit of its own.
///
/// Its time is the monotonic one; built inside a `TestEnvironment`, the virtual one.
///
/// # Examples
///
/// ```
/// use overstrand::retry::{CircuitBreaker, CircuitState};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let breaker = CircuitBreaker::builder().failures(2).window(Duration::from_secs(10)).build()?;
/// let ask = || Err::<u32, _>("no route to host");
/// assert_eq!(breaker.call(ask)?, Err("no route to host"));
/// assert_eq!(breaker.call(ask)?, Err("no route to host"));
/// assert_eq!(breaker.state(), CircuitState::Open);
/// let refused = breaker.call(ask).expect_err("it is open");
/// assert_eq!(refused.to_string(), "the task was not accepted: the circuit is open");
/// let ask_later = refused.into_task();
/// # let _ = ask_later();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CircuitBreaker(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    circuit: Mutex<Circuit>,
}

/// Configures a [`CircuitBreaker`]; made by [`CircuitBreaker::builder`].
///
/// | setting | default |
/// |---|---|
/// | `failures` | 5 |
/// | `window` | 60 s |
/// | `open_for` | 30 s |
#[derive(Clone, Copy, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct CircuitBreakerBuilder(Settings);

impl CircuitBreakerBuilder {
    /// So many failures open the circuit.
    pub fn failures(mut self, failures: u32) -> Self {
        self.0.failures = failures;
        self
    }

    /// The time within which they must happen.
    pub fn window(mut self, window: Duration) -> Self {
        self.0.window = window;
        self
    }

    /// How long calls are refused before one may try.
    pub fn open_for(mut self, pause: Duration) -> Self {
        self.0.open_for = pause;
        self
    }

    /// Makes the breaker, closed.
    ///
    /// # Errors
    ///
    /// [`BuildError`] for zero failures, and for a window of zero.
    pub fn build(self) -> Result<CircuitBreaker, BuildError> {
        if self.0.failures == 0 {
            return Err(BuildError::new("failures", 0, "it would never be closed"));
        }
        if self.0.window.is_zero() {
            return Err(BuildError::new("window", "0s", "no two failures would be within it"));
        }
        Ok(CircuitBreaker::with(self.0))
    }
}

impl CircuitBreaker {
    /// Configures a breaker.
    pub fn builder() -> CircuitBreakerBuilder {
        CircuitBreakerBuilder(DEFAULTS)
    }

    fn with(settings: Settings) -> Self {
        Self(Arc::new(Inner { clock: clock_of_this_thread(), circuit: Mutex::new(Circuit::new(settings)) }))
    }

    /// Calls the closure and gives what it gives, unless the circuit refuses it. An `Err` counts as a failure.
    ///
    /// # Errors
    ///
    /// [`Rejected`] with the closure, not called, for [`RejectReason::CircuitOpen`].
    pub fn call<F, T, E>(&self, op: F) -> Result<Result<T, E>, Rejected<F>>
    where
        F: FnOnce() -> Result<T, E>,
    {
        let admission = self.0.circuit.lock().admit(self.0.clock.now());
        let Some(admission) = admission else { return Err(Rejected::new(RejectReason::CircuitOpen, op)) };
        let mut call = Call { inner: &self.0, admission, has_succeeded: false };
        let result = op();
        call.has_succeeded = result.is_ok();
        Ok(result)
    }

    /// Whether calls pass just now.
    #[must_use]
    pub fn state(&self) -> CircuitState {
        self.0.circuit.lock().state(self.0.clock.now())
    }

    /// How long calls are refused for certain: zero unless it is open.
    #[must_use]
    pub fn refuses_for(&self) -> Duration {
        self.0.circuit.lock().refuses_for(self.0.clock.now())
    }
}

/// A call on its way. Dropped by a panic it has failed.
struct Call<'a> {
    inner: &'a Inner,
    admission: Admission,
    has_succeeded: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let now = self.inner.clock.now();
        self.inner.circuit.lock().settle(self.admission, self.has_succeeded, now);
    }
}

impl Default for CircuitBreaker {
    /// Five failures within a minute open it for half a minute.
    fn default() -> Self {
        Self::with(DEFAULTS)
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker").field("state", &self.state()).finish_non_exhaustive()
    }
}
