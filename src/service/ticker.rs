//! Tickers: a function that is called by a schedule.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::beside::{self, Beside, Full};
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

/// What a ticker is called when nothing is said.
pub(super) const CALLED: &str = "ticker";

/// How many ticks are made up for when nothing is said of how many: as many as of a cron schedule.
const QUEUED_MAX: u32 = 1_000;

/// The shortest interval.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// What happens to a tick that falls due while one is running. Two run at once only where [`Allow`](Self::Allow) is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overlap {
    /// It is left out.
    Skip,
    /// It is made up for, one after the other; of more than 1,000 the oldest are left out, as it is for cron schedules. For another number say
    /// [`MissedTicks::Burst`] of the schedule.
    Queue,
    /// The one that runs is cancelled: its [token](TaskContext::token) is signalled, and what it returns does not count. The new one starts when it has returned. Several that fall due
    /// meanwhile are one.
    Replace,
    /// It runs beside those that run, but no more than so many at once; what is too many is left out. The function must be one that can be called from several threads:
    /// [`Ticker::concurrent`]. A start refuses zero.
    Allow {
        /// How many ticks of this ticker may run at once; each has a thread while it runs.
        at_most: usize,
    },
}

type Alone = Box<dyn FnMut(&TickContext) -> TaskResult + Send>;
type Shared = Box<dyn Fn(&TickContext) -> TaskResult + Send + Sync>;

/// The function.
enum Body {
    /// One call at a time; away while it is called.
    Alone(Mutex<Option<Alone>>),
    Shared(Shared),
}

/// What the ticks share.
pub(super) struct Beat {
    body: Body,
    ticks: AtomicU64,
}

/// Calls a function at each tick of a schedule (SUP-16).
///
/// Each tick is called on a thread that may block. It is a handle: clones are the same ticker. When the last one is dropped, it is stopped, and nobody waits for that.
///
/// # Guarantees
///
/// - The first tick comes one interval after the start, or at once if [`immediate`](Self::immediate) is said.
/// - It never overlaps itself, unless [`Overlap::Allow`] is said.
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
    overlap: Option<Overlap>,
}

/// What a tick knows: its number, and all that [`TaskContext`] knows.
#[derive(Clone)]
pub struct TickContext {
    cx: TaskContext,
    tick: u64,
    /// Of a tick that is a part of a run: which one.
    of: Option<(Weak<Beside>, u64)>,
}

impl TickContext {
    fn of_a_run(cx: TaskContext, tick: u64) -> Self {
        Self { cx, tick, of: None }
    }

    pub(super) fn beside(cx: TaskContext, tick: u64, of: (Weak<Beside>, u64)) -> Self {
        Self { cx, tick, of: Some(of) }
    }

    /// Which tick since the start of the ticker this is, from 1.
    #[must_use]
    pub fn tick(&self) -> u64 {
        self.tick
    }

    /// The next tick comes after this interval, and so do all after it, whatever the schedule says, until the ticker is started anew. Of a context whose tick is over it changes nothing.
    ///
    /// The interval counts from this tick (with [`Overlap::Replace`] and [`Overlap::Allow`], whose next tick may come before this one is over, from the call).
    ///
    /// # Errors
    ///
    /// [`BuildError`] for less than 1 ms; nothing is changed then.
    pub fn set_interval(&self, interval: Duration) -> Result<(), BuildError> {
        check(interval)?;
        match &self.of {
            None => self.cx.change_period(interval),
            Some((beside, number)) => {
                if let Some(beside) = beside.upgrade() {
                    beside.change_interval(*number, interval);
                }
            }
        }
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
        Self::of(schedule.into(), Body::Alone(Mutex::new(Some(Box::new(tick)))))
    }

    /// As [`new`](Self::new), with a function that may be called again while it runs, which [`Overlap::Allow`] needs.
    ///
    /// ```
    /// use overstrand::{Overlap, Ticker};
    /// use std::time::Duration;
    ///
    /// let probe = Ticker::concurrent(Duration::from_secs(1), |cx| {
    ///     cx.sleep(Duration::from_millis(2_500));
    ///     Ok(())
    /// })
    /// .overlap(Overlap::Allow { at_most: 3 });
    /// assert!(!probe.is_running());
    /// ```
    pub fn concurrent<F>(schedule: impl Into<Schedule>, tick: F) -> Self
    where
        F: Fn(&TickContext) -> TaskResult + Send + Sync + 'static,
    {
        Self::of(schedule.into(), Body::Shared(Box::new(tick)))
    }

    fn of(schedule: Schedule, body: Body) -> Self {
        let beat = Arc::new(Beat { body, ticks: AtomicU64::new(0) });
        Self { unit: Arc::new(Unit::new()), beat, schedule, overlap: None }
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
        self.schedule = self.schedule.offset(offset);
        self
    }

    /// Each tick comes later by chance, by less than this; see [`Schedule::jitter`].
    #[must_use]
    pub fn jitter(mut self, most: Duration) -> Self {
        self.schedule = self.schedule.jitter(most);
        self
    }

    /// What happens to ticks that fall due while one is running; if nothing is said, what the schedule says of [missed ticks](Schedule::missed).
    #[must_use]
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.schedule = self.schedule.missed(match overlap {
            Overlap::Queue => MissedTicks::Burst(QUEUED_MAX),
            Overlap::Skip | Overlap::Replace | Overlap::Allow { .. } => MissedTicks::Skip,
        });
        self.overlap = Some(overlap);
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
        if let Some(Overlap::Allow { at_most }) = self.overlap {
            let problem = match &self.beat.body {
                Body::Alone(_) => Some("needs a function that can be called while it runs: Ticker::concurrent"),
                Body::Shared(_) if at_most == 0 => Some("must allow at least one tick"),
                Body::Shared(_) => None,
            };
            if let Some(problem) = problem {
                return Err(BuildError::new("overlap", format!("Allow {{ at_most: {at_most} }}"), problem).into());
            }
        }
        Ok(self.schedule.shortest_period().map_or(Ok(()), check)?)
    }

    fn make(&self) -> impl Fn(Lease) -> TaskSpec {
        let (beat, schedule) = (Arc::clone(&self.beat), self.schedule.clone());
        let full = match self.overlap {
            Some(Overlap::Replace) => Some(Full::Replace),
            Some(Overlap::Allow { at_most }) => Some(Full::LeaveOut { at_most }),
            Some(Overlap::Skip | Overlap::Queue) | None => None,
        };
        move |lease| {
            // Relaxed: a count; the ticks of before are over.
            beat.ticks.store(0, Ordering::Relaxed);
            match full {
                Some(full) => beside(&beat, full, &schedule, lease),
                None => one_by_one(&beat, &schedule, lease),
            }
            .restart(RestartPolicy::Never)
        }
    }
}

/// Each tick is a run.
fn one_by_one(beat: &Arc<Beat>, schedule: &Schedule, lease: Lease) -> TaskSpec {
    let (beat, name) = (Arc::clone(beat), lease.name(CALLED));
    let body = move |cx: &TaskContext| {
        lease.begin();
        beat.tick(cx, |tick| TickContext::of_a_run(cx.clone(), tick))
    };
    TaskSpec::periodic(name, schedule.clone(), body)
}

/// The ticks are parts of one run.
fn beside(beat: &Arc<Beat>, full: Full, schedule: &Schedule, lease: Lease) -> TaskSpec {
    let (beat, schedule, name) = (Arc::clone(beat), schedule.clone(), lease.name(CALLED));
    let lease = Arc::new(lease);
    let body = move |cx| beside::run(cx, Arc::clone(&beat), Arc::clone(&lease), full, schedule.clone());
    // WHY no end to its grace: dropped by force, it would be over while ticks run, and could be started anew beside them.
    TaskSpec::future(name, body).grace(Duration::MAX)
}

impl Beat {
    /// One tick. Whatever goes wrong is kept, and does not end the run.
    pub(super) fn tick(&self, cx: &TaskContext, context: impl FnOnce(u64) -> TickContext) -> TaskResult {
        // Relaxed: a count.
        let context = || context(self.ticks.fetch_add(1, Ordering::Relaxed) + 1);
        let result = match &self.body {
            Body::Alone(alone) => {
                let Some(mut body) = alone.lock().take() else { return Ok(()) };
                let context = context();
                let result = catch(|| body(&context));
                *alone.lock() = Some(body);
                result
            }
            Body::Shared(body) => {
                let context = context();
                catch(|| body(&context))
            }
        };
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
