//! Points in time, and who tells them.
//!
//! Words: a *moment* is a number of nanoseconds since the *origin* of the clock that told it; moments of different clocks have
//! nothing to do with one another. [`Moment::NEVER`] lies after every moment that a clock tells.
//!
//! A *wall time* is what people read from the clock on the wall. It is apart from all that: somebody may set it forward or back.
//!
//! Invariants: a clock never goes back, but for its wall time. Arithmetic saturates: any `Duration` is legal, one beyond the end of time means never (DLY-4).
//!
//! Limits: time is told for 584 years from the origin. [`SystemClock`] is as fine as the system's monotonic clock and, on Linux,
//! stands still while the machine is suspended.
//!
//! Witnessed by `tests::unit::any_duration_is_legal`, `tests::unit::manual_clock_never_goes_back`,
//! `tests::unit::system_clock_never_goes_back`.
#![forbid(unsafe_code)]

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime};

#[cfg(any(test, feature = "testing"))]
use crate::sync::atomic::{AtomicU64, Ordering};

/// A point in time: nanoseconds since the origin of a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// Where a clock begins.
    pub(crate) const ORIGIN: Self = Self(0);

    /// After everything that a clock tells; a deadline that is never reached.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The moment that lies `duration` later; [`NEVER`](Self::NEVER) when time ends before.
    #[inline]
    pub(crate) fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_nanos(duration)))
    }

    /// How long to wait for `later`: zero when it is not later, `Duration::MAX` when it is [`NEVER`](Self::NEVER).
    #[inline]
    pub(crate) fn until(self, later: Self) -> Duration {
        if later == Self::NEVER {
            return Duration::MAX;
        }
        Duration::from_nanos(later.0.saturating_sub(self.0))
    }
}

/// The nanoseconds of a duration, as many as a moment can count.
#[inline]
fn whole_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What a clock tells at one look.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    pub(crate) moment: Moment,
    /// The time of day and its date, which people set: it may go back, and leap.
    pub(crate) wall: SystemTime,
}

impl Reading {
    /// The same, for who knows that this moment has come.
    pub(crate) fn not_before(self, moment: Moment) -> Self {
        Self { moment: self.moment.max(moment), ..self }
    }
}

/// Wakes who sleeps by a clock; false when nobody is left to wake.
pub(crate) type Wake = Box<dyn Fn() -> bool + Send>;

/// Tells the time, from any thread, never going back.
pub(crate) trait Clock: Send + Sync + Debug {
    /// The present moment.
    fn now(&self) -> Moment;

    /// The time of day, which may jump.
    fn wall(&self) -> SystemTime;

    /// All that it tells.
    fn reading(&self) -> Reading {
        Reading { moment: self.now(), wall: self.wall() }
    }

    /// False when somebody moves it, so that no wait in the system's time ends when it should.
    fn goes_by_itself(&self) -> bool {
        true
    }

    /// True when it tells the system's monotonic time, from whatever origin: two such clocks go alike.
    fn is_of_system(&self) -> bool {
        false
    }

    /// Who moves the clock calls this after, until it answers that it is not wanted any more.
    fn wakes(&self, wake: Wake) {
        drop(wake);
    }
}

/// The monotonic clock of the system; its origin is its construction.
#[derive(Debug)]
pub(crate) struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    pub(crate) fn new() -> Self {
        Self { origin: instant() }
    }
}

impl Clock for SystemClock {
    #[inline]
    fn now(&self) -> Moment {
        Moment::ORIGIN.saturating_add(instant().saturating_duration_since(self.origin))
    }

    fn wall(&self) -> SystemTime {
        system_time()
    }

    fn is_of_system(&self) -> bool {
        true
    }
}

/// The reading that every wall time of the system clock comes from.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the wall clock is read; who asks is ready for its leaps"
)]
fn system_time() -> SystemTime {
    SystemTime::now()
}

/// The reading that every moment of the system clock comes from.
#[inline]
#[expect(clippy::disallowed_methods, reason = "the one place where timers read the system's clock")]
fn instant() -> Instant {
    Instant::now()
}

/// What a wall clock shows that a test moves, when its monotonic clock begins: 2026-01-01, 00:00 UTC.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn wall_origin() -> SystemTime {
    // WHY this day: any would do; one that is the same for every run, past the year 2000 and before a change of daylight saving time.
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

/// A clock that stands still until somebody moves it; it can only be moved forward.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
pub(crate) struct ManualClock {
    // Relaxed throughout: the clock publishes nothing but itself; who moves it wakes those who wait, and that wake-up orders the two.
    nanos: AtomicU64,
}

#[cfg(any(test, feature = "testing"))]
impl ManualClock {
    pub(crate) fn new(now: Moment) -> Self {
        Self { nanos: AtomicU64::new(now.0) }
    }

    /// Moves the clock on to `moment`; does nothing when it is past that already.
    pub(crate) fn advance_to(&self, moment: Moment) {
        // Relaxed: see `nanos`.
        self.nanos.fetch_max(moment.0, Ordering::Relaxed);
    }

    /// Moves the clock on by `duration`, as far as time goes. One thread at a time does this.
    pub(crate) fn advance_by(&self, duration: Duration) {
        self.advance_to(self.now().saturating_add(duration));
    }
}

#[cfg(any(test, feature = "testing"))]
impl Clock for ManualClock {
    fn now(&self) -> Moment {
        // Relaxed: see `nanos`.
        Moment(self.nanos.load(Ordering::Relaxed))
    }

    fn wall(&self) -> SystemTime {
        wall_origin() + Duration::from_nanos(self.now().0)
    }
}
