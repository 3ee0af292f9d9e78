//! Time that moves only when somebody moves it.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::pool::ThreadPoolBuilder;
use crate::sync::Mutex;
use crate::time::{self, ManualClock, Moment, Wake};

/// A monotonic clock that a test moves, and a wall clock apart from it.
#[derive(Debug)]
pub(super) struct VirtualClock {
    monotonic: ManualClock,
    /// The wall time at the origin of the monotonic clock.
    wall_origin: Mutex<SystemTime>,
}

impl VirtualClock {
    pub(super) fn new() -> Self {
        Self { monotonic: ManualClock::new(Moment::ORIGIN), wall_origin: Mutex::new(time::wall_origin()) }
    }

    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_nanos(time::Clock::now(&self.monotonic).as_nanos())
    }

    pub(super) fn move_to(&self, time: Duration) {
        self.monotonic.advance_to(Moment::ORIGIN.saturating_add(time));
    }

    pub(super) fn wall(&self) -> SystemTime {
        *self.wall_origin.lock() + self.elapsed()
    }

    pub(super) fn set_wall(&self, wall: SystemTime) {
        let elapsed = self.elapsed();
        *self.wall_origin.lock() = wall.checked_sub(elapsed).unwrap_or(SystemTime::UNIX_EPOCH);
    }

    /// The wall goes on while the monotonic clock stands, as when a machine sleeps.
    pub(super) fn suspend(&self, time: Duration) {
        let mut origin = self.wall_origin.lock();
        *origin = origin.checked_add(time).unwrap_or(*origin);
    }
}

impl time::Clock for VirtualClock {
    fn now(&self) -> Moment {
        time::Clock::now(&self.monotonic)
    }

    fn wall(&self) -> SystemTime {
        Self::wall(self)
    }
}

/// A clock that a test moves by hand, for a pool with threads of its own.
///
/// The delays of a pool that is built with it ([`ThreadPoolBuilder::clock`](crate::ThreadPoolBuilder::clock)) end when the clock is
/// [advanced](Self::advance). Its wall clock, by which cron schedules go, begins on 2026-01-01 at 00:00 UTC and goes on with it. Waits with a time limit still use
/// real time. For time and order under full control see [`TestEnvironment`](super::TestEnvironment).
///
/// ```
/// use overstrand::ThreadPool;
/// use overstrand::testing::Clock;
/// use std::sync::mpsc;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let clock = Clock::manual();
/// let pool = ThreadPool::builder().workers(1).clock(&clock).build()?;
/// let (tell, told) = mpsc::channel();
/// pool.post_delayed_task(Duration::from_secs(3600), move || _ = tell.send("an hour later"))?;
/// clock.advance(Duration::from_secs(3600));
/// assert_eq!(told.recv()?, "an hour later");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Clock(Arc<Manual>);

struct Manual {
    clock: ManualClock,
    sleepers: Mutex<Vec<Wake>>,
}

impl Clock {
    /// A clock that stands still until it is advanced.
    #[must_use]
    pub fn manual() -> Self {
        Self(Arc::new(Manual { clock: ManualClock::new(Moment::ORIGIN), sleepers: Mutex::default() }))
    }

    /// The time since the clock was made.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(time::Clock::now(&self.0.clock).as_nanos())
    }

    /// Moves the clock, and wakes the pools that go by it; tasks that fall due run soon after.
    pub fn advance(&self, time: Duration) {
        self.0.clock.advance_by(time);
        let mut sleepers = std::mem::take(&mut *self.0.sleepers.lock());
        sleepers.retain(|wake| wake());
        self.0.sleepers.lock().append(&mut sleepers);
    }
}

impl fmt::Debug for Manual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.clock.fmt(f)
    }
}

impl time::Clock for Manual {
    fn now(&self) -> Moment {
        time::Clock::now(&self.clock)
    }

    fn wall(&self) -> SystemTime {
        time::Clock::wall(&self.clock)
    }

    fn goes_by_itself(&self) -> bool {
        false
    }

    fn wakes(&self, wake: Wake) {
        self.sleepers.lock().push(wake);
    }
}

impl ThreadPoolBuilder {
    /// The clock of the pool's delays: one that a test moves, instead of the system's.
    pub fn clock(self, clock: &Clock) -> Self {
        self.with_clock(Arc::clone(&clock.0) as Arc<dyn time::Clock>)
    }
}
