//! How long to wait before what failed is tried again (SUP-6). Pure: the dice are handed in.
//!
//! | words | |
//! |---|---|
//! | streak | failures one after the other; what ends one is said where runs are counted |
//! | `n` | how many failures of the streak came before this one: 0 for the first |
//! | grown | `min(first * factor^n, max)`, the delay before jitter |
//!
//! Witnessed by `tests::backoff`.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::error::BuildError;
use crate::zoo;

const DEFAULT_FIRST: Duration = Duration::from_millis(100);
const DEFAULT_MAX: Duration = Duration::from_secs(30);
const DEFAULT_FACTOR: f64 = 1.0;
const EXPONENTIAL_FACTOR: f64 = 2.0;

/// How far a longer delay of [`Jitter::Decorrelated`] may lie above the one before.
const DECORRELATED_REACH: u32 = 3;

/// How chance changes a delay, so that many that failed together do not come back together.
///
/// `d` is the delay that [`Backoff`] came to; the result is clamped to its `max` once more, last. Resolution: one nanosecond.
///
/// ```
/// use overstrand::{Backoff, Jitter};
/// use std::time::Duration;
///
/// assert_eq!(Jitter::default(), Jitter::None);
/// let spread = Backoff::exponential(Duration::from_millis(100)).jitter(Jitter::Full);
/// assert_ne!(spread, Backoff::exponential(Duration::from_millis(100)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Jitter {
    /// The delay is exactly `d`. The default (SUP-6). A thousand tasks that lost the same server ask for it again at the same moment.
    #[default]
    None,
    /// Anything from zero to `d`, on average the half. Spreads best; now and then there is next to no pause.
    Full,
    /// Anything from the half of `d` to `d`, on average three quarters. For what must never come back at once.
    Equal,
    /// Anything from `first` to three times the delay before this one; the first time, to three times `first`. Grows by chance: the factor plays no part, so
    /// a constant backoff grows too.
    Decorrelated,
}

/// How long to wait between a failure and the next attempt.
///
/// After a failure that `n` others in a row came before: `min(first * factor^n, max)`, then [`Jitter`], clamped to `max` last (SUP-6).
///
/// # Guarantees
///
/// - No delay is longer than `max`; without jitter none is shorter than `first`.
/// - Any number of failures has a delay: growth that would overflow ends at `max`.
///
/// # Not guaranteed
///
/// The delay is a pause at least, not a date: the attempt may start later when workers are busy.
///
/// # Errors
///
/// Setting a value never fails. What uses the backoff (`submit`, `start`, `build`) answers with a [`BuildError`] when
///
/// | field | is refused when it is |
/// |---|---|
/// | `factor` | below 1, infinite or not a number |
/// | `max` | shorter than `first` |
/// | `first` | zero, while the factor is above 1 or there is jitter: nothing would grow or spread. [`constant`](Self::constant) of zero is legal: at once |
///
/// # Defaults
///
/// | | first | factor | max | jitter | source |
/// |---|---|---|---|---|---|
/// | [`Backoff::default`] | 100 ms | 1.0 | 30 s | none | SUP-6, as in taskvisor |
/// | [`Backoff::constant`] | given | 1.0 | 30 s, or `first` if that is longer | none | SUP-6 |
/// | [`Backoff::exponential`] | given | 2.0 | 30 s, or `first` if that is longer | none | SUP-6 |
///
/// # Examples
///
/// ```
/// use overstrand::{Backoff, Jitter};
/// use std::time::Duration;
///
/// // 200 ms, 400 ms, 800 ms, … 30 s; each of them up to one half shorter.
/// let patient = Backoff::exponential(Duration::from_millis(200)).max(Duration::from_secs(30)).jitter(Jitter::Equal);
/// assert_eq!(patient, patient.factor(2.0));
/// assert_eq!(Backoff::default(), Backoff::constant(Duration::from_millis(100)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    first: Duration,
    factor: f64,
    max: Duration,
    jitter: Jitter,
}

impl Backoff {
    /// Each delay is twice the one before, up to 30 s; a first delay above that is not cut.
    ///
    /// ```
    /// use overstrand::Backoff;
    /// use std::time::Duration;
    ///
    /// let doubling = Backoff::exponential(Duration::from_millis(50)); // 50 ms, 100 ms, 200 ms, … 30 s
    /// let tripling = doubling.factor(3.0).max(Duration::from_secs(5)); // 50 ms, 150 ms, 450 ms, … 5 s
    /// assert_ne!(doubling, tripling);
    /// ```
    #[must_use]
    pub const fn exponential(first: Duration) -> Self {
        Self { factor: EXPONENTIAL_FACTOR, ..Self::constant(first) }
    }

    /// Each delay is the same. Zero: no pause at all.
    ///
    /// ```
    /// use overstrand::Backoff;
    /// use std::time::Duration;
    ///
    /// let hourly = Backoff::constant(Duration::from_secs(3600));
    /// assert_eq!(hourly, hourly.max(Duration::from_secs(3600)));
    /// ```
    #[must_use]
    pub const fn constant(delay: Duration) -> Self {
        let max = if delay.as_nanos() > DEFAULT_MAX.as_nanos() { delay } else { DEFAULT_MAX };
        Self { first: delay, factor: DEFAULT_FACTOR, max, jitter: Jitter::None }
    }

    /// How many times longer each delay is than the one before; 1.0 or more.
    #[must_use]
    pub const fn factor(self, factor: f64) -> Self {
        Self { factor, ..self }
    }

    /// No delay is longer than this, jitter included; not shorter than the first.
    #[must_use]
    pub const fn max(self, max: Duration) -> Self {
        Self { max, ..self }
    }

    /// How chance changes each delay.
    #[must_use]
    pub const fn jitter(self, jitter: Jitter) -> Self {
        Self { jitter, ..self }
    }

    /// Says which value makes no sense, if one does not.
    pub(crate) fn validate(&self) -> Result<(), BuildError> {
        if !(1.0..f64::INFINITY).contains(&self.factor) {
            return Err(BuildError::new("factor", self.factor, "a backoff grows by a finite factor of at least 1"));
        }
        if self.max < self.first {
            let problem = "a backoff must not end below its first delay";
            return Err(BuildError::new("max", format!("{:?}", self.max), problem));
        }
        let changes = self.factor > 1.0 || self.jitter != Jitter::None;
        if self.first.is_zero() && changes {
            let problem = "a backoff from zero neither grows nor spreads";
            return Err(BuildError::new("first", format!("{:?}", self.first), problem));
        }
        Ok(())
    }

    /// The pause after a failure that `n` failures of the streak came before; `previous` is what this returned for the last of them, `None` for the first.
    ///
    /// The dice are thrown once if there is jitter, and show a number in `[0, 1)`; what they show beyond counts as 1. Never panics, and never returns more than
    /// `max`, even for values that [`validate`](Self::validate) refuses.
    pub(crate) fn delay(&self, n: u32, previous: Option<Duration>, dice: &mut impl FnMut() -> f64) -> Duration {
        let delay = match self.jitter {
            Jitter::None => self.grown(n),
            Jitter::Full => between(Duration::ZERO, self.grown(n), dice()),
            Jitter::Equal => between(self.grown(n) / 2, self.grown(n), dice()),
            Jitter::Decorrelated => {
                let reach = previous.unwrap_or(self.first).saturating_mul(DECORRELATED_REACH);
                between(self.first, reach, dice())
            }
        };
        if zoo::has("Z23") { delay } else { delay.min(self.max) }
    }

    fn grown(&self, n: u32) -> Duration {
        // WHY: seconds as f64 are inexact from 104 days on; what does not grow stays exact.
        if n == 0 || self.factor == 1.0 {
            return self.first.min(self.max);
        }
        let seconds = self.first.as_secs_f64() * power(self.factor, n);
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max).min(self.max)
    }
}

impl Default for Backoff {
    /// 100 ms, again and again: factor 1.0, at most 30 s, no jitter.
    fn default() -> Self {
        Self::constant(DEFAULT_FIRST)
    }
}

/// `base` to the power of `n`; infinite rather than too large.
///
/// WHY: not `powf`, whose last digits differ between machines, while a seed must give the same delays everywhere.
fn power(mut base: f64, mut n: u32) -> f64 {
    let mut product = 1.0;
    while n > 0 {
        if n % 2 == 1 {
            product *= base;
        }
        base *= base;
        n /= 2;
    }
    product
}

/// The point of `[low, high]` that lies at this share of the way; `low` if the interval is empty.
fn between(low: Duration, high: Duration, share: f64) -> Duration {
    let width = high.saturating_sub(low);
    let way = Duration::try_from_secs_f64(width.as_secs_f64() * share).unwrap_or(width).min(width);
    low.saturating_add(way)
}
