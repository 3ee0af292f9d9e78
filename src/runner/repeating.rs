//! Tasks that repeat: each tick is a delayed task that arms the next one when it is over.
//!
//! The body lies in a slot that the running tick takes it out of, so there is never a second run beside it, and who stops it from outside finds it there and
//! drops it at once. A tick that finds no body ends the series.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::Wake;

use crate::error::{RejectReason, Rejected};
use crate::pool::task_builder::{Due, Spec, Target};
use crate::pool::{DelayedTaskHandle, TaskBuilder, ThreadPool};
use crate::runner::SequencedTaskRunner;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::task::cancel::{CancelToken, Cancelled};
use crate::task::panic::{catch, drop_quietly};
use crate::task::traits::TaskTraits;
use crate::time::{Moment, Schedule};

/// A task that repeats until it is stopped.
///
/// Dropping the handle detaches: the task goes on until its runner is closed or the pool shuts down, which it never keeps waiting.
///
/// # Guarantees (DLY-6)
///
/// - It never overlaps itself: the next tick is armed when the one before is over.
/// - A panic is reported like any other and counted; the task goes on.
/// - [`stop`](Self::stop) is final, from inside and outside. From outside, a body that does not run just then is dropped at once, on that thread; else when its
///   tick is over.
#[derive(Clone)]
pub struct RepeatingTaskHandle(Arc<dyn Series>);

impl RepeatingTaskHandle {
    /// Ends the series; a tick that runs is the last one.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// True when no further tick will start.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.counters().is_stopped()
    }

    /// Ticks that have run, those that panicked included.
    #[must_use]
    pub fn runs(&self) -> u64 {
        // Relaxed: a count.
        self.0.counters().runs.load(Ordering::Relaxed)
    }

    /// Ticks that panicked.
    #[must_use]
    pub fn panics(&self) -> u64 {
        // Relaxed: a count.
        self.0.counters().panics.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for RepeatingTaskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepeatingTaskHandle")
            .field("runs", &self.runs())
            .field("is_stopped", &self.is_stopped())
            .finish()
    }
}

#[derive(Debug, Default)]
struct Counters {
    stopped: AtomicBool,
    runs: AtomicU64,
    panics: AtomicU64,
}

impl Counters {
    fn is_stopped(&self) -> bool {
        // ORDER repeating.stopped: SeqCst; what the stopper did before is visible; pairs with repeating.stop.
        self.stopped.load(Ordering::SeqCst)
    }

    /// True when this call stopped it.
    fn stop(&self) -> bool {
        // ORDER repeating.stop: SeqCst; pairs with repeating.stopped.
        !self.stopped.swap(true, Ordering::SeqCst)
    }
}

/// What a handle asks of a series, whatever its body and runner.
trait Series: Send + Sync {
    fn counters(&self) -> &Counters;
    fn stop(&self);
}

/// A task that repeats.
struct Repeating<R, F> {
    runner: R,
    spec: Spec,
    schedule: Schedule,
    /// The body, while no tick runs.
    body: Mutex<Option<F>>,
    /// The first tick was accepted. Until then the body is the poster's.
    accepted: AtomicBool,
    /// The token that ends it.
    bound: Mutex<Option<Cancelled>>,
    /// The tick that is armed.
    armed: Mutex<Option<DelayedTaskHandle>>,
    counters: Counters,
}

impl<R, F> Repeating<R, F>
where
    R: Target + Send + Sync + 'static,
    F: FnMut() + Send + 'static,
{
    fn begin(
        runner: R,
        spec: Spec,
        schedule: Schedule,
        token: Option<CancelToken>,
        body: F,
    ) -> Result<RepeatingTaskHandle, Rejected<F>> {
        if token.as_ref().is_some_and(CancelToken::is_cancelled) {
            return Err(Rejected::new(RejectReason::Cancelled, body));
        }
        let due = schedule.first(runner.now());
        let this = Arc::new(Self {
            runner,
            spec,
            schedule,
            body: Mutex::new(Some(body)),
            accepted: AtomicBool::new(false),
            bound: Mutex::new(None),
            armed: Mutex::new(None),
            counters: Counters::default(),
        });
        match this.arm(due) {
            Ok(()) => {
                // ORDER repeating.accept: SeqCst; of an end that comes just now and this, one sees the other; pairs with repeating.accepted.
                this.accepted.store(true, Ordering::SeqCst);
                if this.counters.is_stopped() {
                    this.stop();
                }
                if let Some(token) = token {
                    this.bind(&token);
                }
                Ok(RepeatingTaskHandle(this))
            }
            Err(reason) => {
                let body = this.body.lock().take();
                match body {
                    Some(body) => Err(Rejected::new(reason, body)),
                    None => unreachable!("no tick was armed that could have taken the body"),
                }
            }
        }
    }

    /// Ends the series when the token is signalled.
    fn bind(self: &Arc<Self>, token: &CancelToken) {
        match token.bind(Arc::new(Stops(Arc::downgrade(self)))) {
            None => self.stop(),
            Some(bound) => *self.bound.lock() = Some(bound),
        }
        if self.counters.is_stopped() {
            let unused = self.bound.lock().take();
            drop(unused);
        }
    }

    /// Arms the next tick.
    fn arm(self: &Arc<Self>, due: Moment) -> Result<(), RejectReason> {
        let this = Arc::clone(self) as Arc<Self>;
        let due_at = if due <= self.runner.now() { Due::Now } else { Due::At(due) };
        let tick = Tick { series: this, has_run: false };
        let armed = self.runner.post_at(self.spec.clone(), due_at, move || tick.run(due));
        let armed = armed.map_err(|rejected| rejected.reason())?;
        let before = self.armed.lock().replace(armed);
        drop(before);
        Ok(())
    }

    fn tick(self: &Arc<Self>, due: Moment) {
        let Some(mut body) = self.body.lock().take() else { return };
        if self.counters.is_stopped() {
            return drop(body);
        }
        let result = catch(&mut body);
        // Relaxed: counts.
        self.counters.runs.fetch_add(1, Ordering::Relaxed);
        if result.is_err() {
            // Relaxed: as above.
            self.counters.panics.fetch_add(1, Ordering::Relaxed);
        }
        *self.body.lock() = Some(body);
        let next = self.schedule.next(due, self.runner.now());
        // WHY looked at after the body is back: who stops it from now on finds it there.
        if self.counters.is_stopped() || self.arm(next).is_err() || self.counters.is_stopped() {
            self.stop();
        }
        if let Err(payload) = result {
            // To the boundary of the task, which reports it.
            std::panic::resume_unwind(payload);
        }
    }
}

/// Ends a series when it is woken.
struct Stops<R, F>(Weak<Repeating<R, F>>);

impl<R, F> Wake for Stops<R, F>
where
    R: Target + Send + Sync + 'static,
    F: FnMut() + Send + 'static,
{
    fn wake(self: Arc<Self>) {
        if let Some(series) = self.0.upgrade() {
            series.stop();
        }
    }
}

/// One armed tick. Dropped unrun, by a shutdown or a closed runner, it ends the series.
struct Tick<R, F>
where
    R: Target + Send + Sync + 'static,
    F: FnMut() + Send + 'static,
{
    series: Arc<Repeating<R, F>>,
    has_run: bool,
}

impl<R, F> Tick<R, F>
where
    R: Target + Send + Sync + 'static,
    F: FnMut() + Send + 'static,
{
    fn run(mut self, due: Moment) {
        self.has_run = true;
        self.series.tick(due);
    }
}

impl<R, F> Drop for Tick<R, F>
where
    R: Target + Send + Sync + 'static,
    F: FnMut() + Send + 'static,
{
    fn drop(&mut self) {
        if !self.has_run {
            self.series.stop();
        }
    }
}

impl<R, F> Series for Repeating<R, F>
where
    R: Target + Send + Sync + 'static,
    F: FnMut() + Send + 'static,
{
    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn stop(&self) {
        self.counters.stop();
        // ORDER repeating.accepted: SeqCst; pairs with repeating.accept.
        let is_accepted = self.accepted.load(Ordering::SeqCst);
        let body = if is_accepted { self.body.lock().take() } else { None };
        let armed = self.armed.lock().take();
        let bound = self.bound.lock().take();
        drop_quietly(body);
        drop(bound);
        if let Some(armed) = armed {
            armed.cancel();
        }
    }
}

impl ThreadPool {
    /// Runs a closure again and again, on some worker each time.
    ///
    /// # Errors
    ///
    /// As [`post_task`](Self::post_task).
    #[track_caller]
    pub fn post_repeating_task<F>(
        &self,
        schedule: impl Into<Schedule>,
        f: F,
    ) -> Result<RepeatingTaskHandle, Rejected<F>>
    where
        F: FnMut() + Send + 'static,
    {
        Repeating::begin(self.anchor(), Spec::here(TaskTraits::default()), schedule.into(), None, f)
    }
}

impl SequencedTaskRunner {
    /// Runs a closure again and again, in its turn each time.
    ///
    /// ```
    /// use overstrand::{TaskTraits, ThreadPool};
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let pool = ThreadPool::builder().workers(1).build()?;
    /// let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    /// let (tell, ticks) = mpsc::channel();
    /// let ticker = strand.post_repeating_task(Duration::from_millis(1), move || _ = tell.send(()))?;
    /// assert_eq!(ticks.iter().take(3).count(), 3);
    /// ticker.stop();
    /// assert!(ticker.is_stopped() && ticker.runs() >= 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`post_task`](Self::post_task).
    #[track_caller]
    pub fn post_repeating_task<F>(
        &self,
        schedule: impl Into<Schedule>,
        f: F,
    ) -> Result<RepeatingTaskHandle, Rejected<F>>
    where
        F: FnMut() + Send + 'static,
    {
        Repeating::begin(self.anchor(), self.task().spec(), schedule.into(), None, f)
    }
}

impl<R: Target> TaskBuilder<'_, R> {
    /// Runs the closure again and again; a [`delay`](Self::delay) is the delay of the first tick.
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the closure back.
    #[track_caller]
    pub fn repeat<F>(mut self, schedule: impl Into<Schedule>, f: F) -> Result<RepeatingTaskHandle, Rejected<F>>
    where
        F: FnMut() + Send + 'static,
    {
        let spec = self.spec();
        let schedule = schedule.into();
        let schedule = self.first_delay().map_or(schedule.clone(), |delay| schedule.initial_delay(delay));
        let token = self.token();
        Repeating::begin(self.target().anchor(), spec, schedule, token, f)
    }
}
