//! Small helpers for things that fail, and then work.
//!
//! | to | call |
//! |---|---|
//! | look a few times | [`retry_n`] |
//! | look until it is so, or time is over, or nobody wants it any more | [`poll_until`] |
//! | call something again, with pauses, while its errors pass | [`retry`] |
//! | turn a panic into a value | [`recover`](fn@recover) |
//! | stop calling what is broken | [`CircuitBreaker`] |
//!
//! Pauses are waits of this crate: on a worker another thread takes its place meanwhile, and in a test environment the time is virtual.
#![forbid(unsafe_code)]

mod breaker;
mod breaker_state;
mod recover;
#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests;

use std::time::Duration;

use crate::park::Patience;
use crate::supervise::Backoff;
use crate::task::cancel::CancelToken;
use crate::task::current;
use crate::time::Dice;

pub use breaker::{CircuitBreaker, CircuitBreakerBuilder, CircuitState};
pub use recover::recover;

/// The shortest pause between two looks.
const TICK_MIN: Duration = Duration::from_millis(1);

/// Looks whether something is so, at most `max + 1` times, and calls `between` between two looks; true when it is so (SUP-17).
///
/// With a `max` of zero there is one look, and `between` is not called.
///
/// ```
/// use overstrand::retry::retry_n;
///
/// let mut kicks = 0;
/// let mut looks = 0..;
/// assert!(retry_n(3, || looks.next() == Some(2), || kicks += 1));
/// assert_eq!(kicks, 2);
/// ```
pub fn retry_n(max: u32, mut check: impl FnMut() -> bool, mut between: impl FnMut()) -> bool {
    for _ in 0..max {
        if check() {
            return true;
        }
        between();
    }
    check()
}

/// Looks at once and then after each `tick` whether something is so; false when `max` is over or the token is signalled (SUP-17).
///
/// # Guarantees
///
/// - The last look comes when `max` is over, and not before, unless the token is signalled. Without a `max` only the token ends the waiting.
/// - Once the token is signalled there is no further look. A signal ends a pause at once.
///
/// A `tick` below one millisecond counts as one. Both are monotonic time.
///
/// ```
/// use overstrand::CancelToken;
/// use overstrand::retry::poll_until;
/// use std::time::Duration;
///
/// let token = CancelToken::new();
/// let mut looks = 0..;
/// assert!(poll_until(&token, Duration::from_millis(1), Duration::from_secs(10), || looks.next() == Some(2)));
/// token.cancel();
/// assert!(!poll_until(&token, Duration::from_millis(1), None, || true));
/// ```
pub fn poll_until(
    token: &CancelToken,
    tick: Duration,
    max: impl Into<Option<Duration>>,
    mut check: impl FnMut() -> bool,
) -> bool {
    let limit = Patience::of(max);
    let tick = tick.max(TICK_MIN);
    while !token.is_cancelled() {
        if check() {
            return true;
        }
        let pause = limit.left().map_or(tick, |left| left.min(tick));
        if pause.is_zero() || token.wait_timeout(pause) {
            return false;
        }
    }
    false
}

/// Calls `op` until it succeeds, with pauses, as long as its errors are worth another try and retries are left; `max_retries` counts the calls after the first,
/// `None` means without end.
///
/// The backoff is taken as it is: one whose values make no sense is not refused, and never pauses longer than its `max`.
///
/// Inside a task that is cancelled no further try is made, and a pause ends at once.
///
/// ```
/// use overstrand::Backoff;
/// use overstrand::retry::retry;
/// use std::time::Duration;
///
/// let mut left = 2;
/// let answer = retry(Backoff::constant(Duration::from_millis(1)), 5, |error: &&str| *error == "busy", || match left {
///     0 => Ok(42),
///     _ => {
///         left -= 1;
///         Err("busy")
///     }
/// });
/// assert_eq!(answer, Ok(42));
/// ```
///
/// # Errors
///
/// The last error of `op`.
pub fn retry<T, E>(
    backoff: Backoff,
    max_retries: impl Into<Option<u32>>,
    mut is_retryable: impl FnMut(&E) -> bool,
    mut op: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let token = current::cancel_token();
    let max_retries = max_retries.into();
    let mut dice = Dice::new();
    let mut previous = None;
    let mut retries = 0;
    loop {
        let error = match op() {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if max_retries.is_some_and(|max| retries >= max) || !is_retryable(&error) {
            return Err(error);
        }
        let pause = backoff.delay(retries, previous, &mut || dice.throw());
        if token.is_cancelled() || token.wait_timeout(pause) {
            return Err(error);
        }
        previous = Some(pause);
        retries = retries.saturating_add(1);
    }
}
