//! Tickers: a function that is called by a schedule.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::error::ServiceError;
use super::unit::{Lease, Unit, unit_methods};
use crate::error::{BuildError, TaskResult};
use crate::pool::ThreadPool;
use crate::supervise::{ErrorRecord, RestartPolicy, SelfCancelled, TaskContext, TaskSpec};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::task::cancel::CancelToken;
use crate::task::panic::catch;
use crate::time::{MissedTicks, Schedule};

/// The shortest interval.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// What happens to ticks that fall due while one is running. In no case do two run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overlap {
    /// They are left out.
    Skip,
    /// They are made up for, one after the other.
    Queue,
}

type Body = Box<dyn FnMut(&TickContext) -> TaskResult + Send>;

/// What the ticks share.
struct Beat {
    /// The function, while no tick runs.
    body: Mutex<Option<Body>>,
    ticks: AtomicU64,
}

/// Calls a function at each tick of a schedule (SUP-16).
///
/// Each tick is called on a thread that may block. It is a handle: clones are the same ticker. When the last one is dropped, it is stopped, and nobody waits for that.
///
/// # Guarantees
///
/// - The first tick comes one interval after the start, or at once if [`immediate`](Self::immediate) is said.
/// - It never overlaps itself.
/// - An error or a panic is kept, the latest 16, and the next tick comes as if nothing had happened. Only [`SelfCancelled`] ends the ticker.
/// - Started, stopped and waited for as a [`Service`](crate::Service).
///
/// # Examples
///
/// ```
/// use overstrand::{Ticker, ThreadPool};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(1).build()?;
/// let health = Ticker::new(Duration::from_secs(30), |cx| {
///     cx.set_interval(Duration::from_secs(5))?;
///     Err("the disk is full".into())
/// })
/// .immediate()
/// .on(&pool);
/// health.start()?;
/// health.wait_started(Duration::from_secs(10))?;
/// health.stop(Duration::from_secs(10))?;
/// assert_eq!(health.ticks(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Ticker {
    unit: Arc<Unit>,
    beat: Arc<Beat>,
    schedule: Schedule,
    offset: Duration,
}

/// What a tick knows: its number, and all that [`TaskContext`] knows.
#[derive(Clone)]
pub struct TickContext {
    cx: TaskContext,
    tick: u64,
}

impl TickContext {
    /// Which tick since the start of the ticker this is, from 1.
    #[must_use]
    pub fn tick(&self) -> u64 {
        self.tick
    }

    /// The next tick comes after this interval, and so do all after it, whatever the schedule says, until the ticker is started anew. Of a context whose tick is over it changes nothing.
    ///
    /// # Errors
    ///
    /// [`BuildError`] for less than 1 ms; nothing is changed then.
    pub fn set_interval(&self, interval: Duration) -> Result<(), BuildError> {
        check(interval)?;
        self.cx.change_period(interval);
        Ok(())
    }
}

impl Deref for TickContext {
    type Target = TaskContext;

    fn deref(&self) -> &TaskContext {
        &self.cx
    }
}

impl fmt::Debug for TickContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TickContext").field("tick", &self.tick).field("cx", &self.cx).finish()
    }
}

fn check(interval: Duration) -> Result<(), BuildError> {
    if interval < INTERVAL_MIN {
        return Err(BuildError::new("interval", format!("{interval:?}"), "must be at least 1 ms"));
    }
    Ok(())
}

impl Ticker {
    /// A ticker, stopped, on the pool of the process. `Schedule::default()` is every 30 s. A start refuses an interval of less than 1 ms.
    pub fn new<F>(schedule: impl Into<Schedule>, tick: F) -> Self
    where
        F: FnMut(&TickContext) -> TaskResult + Send + 'static,
    {
        let beat = Beat { body: Mutex::new(Some(Box::new(tick))), ticks: AtomicU64::new(0) };
        let (unit, schedule) = (Arc::new(Unit::new()), schedule.into());
        Self { unit, beat: Arc::new(beat), schedule, offset: Duration::ZERO }
    }

    /// The first tick comes at the start, and not one interval later.
    #[must_use]
    pub fn immediate(mut self) -> Self {
        self.schedule = self.schedule.initial_delay(Duration::ZERO);
        self
    }

    /// All ticks come this much later, so that several tickers do not tick together.
    #[must_use]
    pub fn offset(mut self, offset: Duration) -> Self {
        self.offset = offset;
        self
    }

    /// What happens to ticks that fall due while one is running; if nothing is said, what the schedule says of [missed ticks](Schedule::missed).
    #[must_use]
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.schedule = self.schedule.missed(match overlap {
            Overlap::Skip => MissedTicks::Skip,
            Overlap::Queue => MissedTicks::Burst(u32::MAX),
        });
        self
    }

    /// How many ticks have begun since the last start.
    #[must_use]
    pub fn ticks(&self) -> u64 {
        // Relaxed: a count.
        self.beat.ticks.load(Ordering::Relaxed)
    }

    unit_methods!();

    fn check(&self) -> Result<(), ServiceError> {
        Ok(self.schedule.shortest_period().map_or(Ok(()), check)?)
    }

    fn make(&self) -> impl Fn(Lease) -> TaskSpec {
        let (beat, schedule, offset) = (Arc::clone(&self.beat), self.schedule.clone(), self.offset);
        move |lease| {
            let beat = Arc::clone(&beat);
            // Relaxed: a count; the ticks of before are over.
            beat.ticks.store(0, Ordering::Relaxed);
            let body = move |cx: &TaskContext| {
                lease.begin();
                beat.tick(cx)
            };
            TaskSpec::periodic("ticker", schedule.clone(), body).start_delay(offset).restart(RestartPolicy::Never)
        }
    }
}

impl Beat {
    /// One tick. Whatever goes wrong is kept, and does not end the run.
    fn tick(&self, cx: &TaskContext) -> TaskResult {
        let Some(mut body) = self.body.lock().take() else { return Ok(()) };
        // Relaxed: a count.
        let tick = self.ticks.fetch_add(1, Ordering::Relaxed) + 1;
        let context = TickContext { cx: cx.clone(), tick };
        let result = catch(|| body(&context));
        *self.body.lock() = Some(body);
        match result {
            Ok(Err(error)) if error.is::<SelfCancelled>() => return Err(error),
            // What a tick returns after it was told to stop does not count.
            Ok(_) if cx.is_cancelled() => {}
            result => cx.note_failure(result),
        }
        Ok(())
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.unit.show("Ticker", f)
    }
}
