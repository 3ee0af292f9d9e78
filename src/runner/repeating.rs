//! Tasks that repeat: each tick is a delayed task that arms the next one when it is over. When is the affair of a [`Course`], which may ask for a look at the clock
//! in between: a task that finds nothing due and arms the next one.
//!
//! The body lies in a slot that the running tick takes it out of, so there is never a second run beside it, and who stops it from outside finds it there and
//! drops it at once. A tick that finds no body ends the series.
#![forbid(unsafe_code)]

use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Weak};
use std::task::Wake;

use super::arming::Arming;
use crate::error::{BoxError, RejectReason, Rejected};
use crate::pool::task_builder::{Due, Spec, Target};
use crate::pool::{DelayedTaskHandle, TaskBuilder, ThreadPool};
use crate::runner::{ParallelTaskRunner, SequencedTaskRunner};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::task::cancel::{CancelToken, Cancelled};
use crate::task::panic::{Payload, catch, drop_quietly};
use crate::task::traits::TaskTraits;
use crate::time::{Course, Moment, Schedule};

/// A task that repeats until it is stopped.
///
/// Dropping the handle detaches: the task goes on until its runner is closed or the pool shuts down, which it never keeps waiting.
///
/// # Guarantees (DLY-6)
///
/// - It never overlaps itself: the next tick is armed when the one before is over.
/// - A panic is reported like any other and counted; the task goes on, unless [`end_on_panic`](TaskBuilder::end_on_panic) was said.
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

impl RepeatingTaskHandle {
    /// Ticks of a [`try_repeat`](TaskBuilder::try_repeat) that returned an error.
    #[must_use]
    pub fn errors(&self) -> u64 {
        // Relaxed: a count.
        self.0.counters().errors.load(Ordering::Relaxed)
    }

    /// The last of those errors; the ones before are gone.
    #[must_use]
    pub fn last_error(&self) -> Option<Arc<dyn StdError + Send + Sync>> {
        self.0.counters().last_error.lock().clone()
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
    errors: AtomicU64,
    last_error: Mutex<Option<Arc<dyn StdError + Send + Sync>>>,
}

impl Counters {
    fn is_stopped(&self) -> bool {
        // ORDER repeating.stopped: SeqCst; what the stopper did before is visible; pairs with repeating.stop.
        self.stopped.load(Ordering::SeqCst)
    }

    fn stop(&self) {
        // ORDER repeating.stop: SeqCst; pairs with repeating.stopped.
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Counts a run, and keeps its error.
    fn count(&self, result: Result<Option<BoxError>, Payload>) -> Result<(), Payload> {
        match &result {
            // Relaxed: counts.
            Err(_) => _ = self.panics.fetch_add(1, Ordering::Relaxed),
            Ok(Some(_)) => _ = self.errors.fetch_add(1, Ordering::Relaxed),
            Ok(None) => {}
        }
        // Relaxed: as above.
        self.runs.fetch_add(1, Ordering::Relaxed);
        result.map(|error| {
            if let Some(error) = error {
                let before = self.last_error.lock().replace(error.into());
                drop_quietly(before);
            }
        })
    }
}

/// What a handle asks of a series, whatever its body and runner.
trait Series: Send + Sync {
    fn counters(&self) -> &Counters;
    fn stop(&self);
    fn look(self: Arc<Self>, look: Moment);
    /// The armed look was dropped: by a queue that overflowed, then the next one is armed; or by the end of the runner, which ends the series.
    fn miss(self: Arc<Self>, look: Moment);
}

/// What ends a series besides a stop.
#[derive(Clone, Copy, Debug, Default)]
struct EndsOn {
    panic: bool,
    error: bool,
}

/// How a task repeats.
pub(super) struct Rules {
    schedule: Schedule,
    token: Option<CancelToken>,
    ends_on: EndsOn,
}

impl Rules {
    /// Until the token is signalled; nothing else ends it.
    pub(super) fn until(schedule: Schedule, token: CancelToken) -> Self {
        Self { token: Some(token), ..Self::plain(schedule) }
    }

    fn plain(schedule: Schedule) -> Self {
        Self { schedule, token: None, ends_on: EndsOn::default() }
    }
}

/// What a body returns.
pub(super) trait Outcome: 'static {
    /// The error, if it is one.
    fn failure(self) -> Option<BoxError>;
}

impl Outcome for () {
    fn failure(self) -> Option<BoxError> {
        None
    }
}

impl Outcome for Result<(), BoxError> {
    fn failure(self) -> Option<BoxError> {
        self.err()
    }
}

/// A task that repeats.
pub(super) struct Repeating<R, F> {
    runner: R,
    spec: Spec,
    ends_on: EndsOn,
    course: Mutex<Course>,
    /// The body, while no tick runs.
    body: Mutex<Option<F>>,
    /// The first tick was accepted. Until then the body is the poster's.
    accepted: AtomicBool,
    /// The token that ends it.
    bound: Mutex<Option<Cancelled>>,
    arming: Arming,
    /// The tick that is armed.
    armed: Mutex<Option<DelayedTaskHandle>>,
    counters: Counters,
}

impl<R, F, O> Repeating<R, F>
where
    R: Target + Send + Sync + 'static,
    F: FnMut() -> O + Send + 'static,
    O: Outcome,
{
    pub(super) fn begin(runner: R, spec: Spec, rules: Rules, body: F) -> Result<RepeatingTaskHandle, Rejected<F>> {
        let Rules { schedule, token, ends_on } = rules;
        if token.as_ref().is_some_and(CancelToken::is_cancelled) {
            return Err(runner.refuse(spec, RejectReason::Cancelled).map(|()| body));
        }
        let now = runner.reading();
        let course = Course::begin(&schedule, &now);
        let first = course.next_look(&now);
        let this = Arc::new(Self {
            runner,
            spec,
            ends_on,
            course: Mutex::new(course),
            body: Mutex::new(Some(body)),
            accepted: AtomicBool::new(false),
            bound: Mutex::new(None),
            arming: Arming::default(),
            armed: Mutex::new(None),
            counters: Counters::default(),
        });
        let due = if first <= now.moment { Due::Now } else { Due::At(first) };
        match this.arm(due, first) {
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
        let this = Arc::clone(self) as Arc<dyn Series>;
        match token.bind(Arc::new(Stops(Arc::downgrade(&this)))) {
            None => self.stop(),
            Some(bound) => *self.bound.lock() = Some(bound),
        }
        if self.counters.is_stopped() {
            let unused = self.bound.lock().take();
            drop(unused);
        }
    }

    /// Arms the next look at the course.
    fn arm(self: &Arc<Self>, due: Due, look: Moment) -> Result<(), RejectReason> {
        let (mut due, mut look) = (due, look);
        loop {
            let tick = Tick { series: Arc::clone(self) as _, look, has_run: false };
            self.arming.begin();
            let armed = self.runner.post_at(self.spec.clone(), due, move || tick.run());
            // A tick that is refused is dropped here.
            let armed = armed.map_err(|rejected| rejected.map(drop));
            let was_dropped = self.arming.end();
            let armed = armed.map_err(|rejected| rejected.reason())?;
            let before = self.armed.lock().replace(armed);
            drop(before);
            if !was_dropped {
                return Ok(());
            }
            // Accepted, and dropped at once by a queue that overflowed.
            look = self.leave_out(look);
            due = Due::At(look);
        }
    }

    /// The look that was armed for then was dropped, and the tick with it, if it was due; when the next one is.
    fn leave_out(&self, look: Moment) -> Moment {
        let now = self.runner.reading().not_before(look);
        let mut course = self.course.lock();
        if course.is_due(&now) {
            course.tick_is_over(&now);
        }
        course.next_look(&now)
    }

    /// Arms the next look, unless the series has ended.
    fn go_on(self: &Arc<Self>, is_last: bool) {
        let now = self.runner.reading();
        let look = self.course.lock().next_look(&now);
        // WHY by the wheel, though it may be due: a queue that is full then does not end the series, and no caller runs it in here.
        // WHY looked at after the body is back: who stops it from now on finds it there.
        if is_last || self.counters.is_stopped() || self.arm(Due::At(look), look).is_err() || self.counters.is_stopped()
        {
            self.stop();
        }
    }
}

/// Ends a series when it is woken.
struct Stops(Weak<dyn Series>);

impl Wake for Stops {
    fn wake(self: Arc<Self>) {
        if let Some(series) = self.0.upgrade() {
            series.stop();
        }
    }
}

/// One armed look. Dropped unrun, by a shutdown or a closed runner, it ends the series.
struct Tick {
    series: Arc<dyn Series>,
    /// What it was armed for.
    look: Moment,
    has_run: bool,
}

impl Tick {
    fn run(mut self) {
        self.has_run = true;
        Arc::clone(&self.series).look(self.look);
    }
}

impl Drop for Tick {
    fn drop(&mut self) {
        if !self.has_run {
            Arc::clone(&self.series).miss(self.look);
        }
    }
}

impl<R, F, O> Series for Repeating<R, F>
where
    R: Target + Send + Sync + 'static,
    F: FnMut() -> O + Send + 'static,
    O: Outcome,
{
    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn miss(self: Arc<Self>, look: Moment) {
        if !self.arming.dropped() {
            return;
        }
        let look = self.leave_out(look);
        if self.counters.is_stopped() || self.arm(Due::At(look), look).is_err() || self.counters.is_stopped() {
            self.stop();
        }
    }

    fn look(self: Arc<Self>, look: Moment) {
        // WHY not before: a runner of somebody else's may go by a clock of its own, and what was armed has come.
        let now = self.runner.reading().not_before(look);
        if !self.course.lock().is_due(&now) {
            return self.go_on(false);
        }
        let Some(mut body) = self.body.lock().take() else { return };
        if self.counters.is_stopped() {
            return drop(body);
        }
        let result = catch(&mut body).map(O::failure);
        let is_last = match &result {
            Err(_) => self.ends_on.panic,
            Ok(failure) => self.ends_on.error && failure.is_some(),
        };
        let result = self.counters.count(result);
        *self.body.lock() = Some(body);
        self.course.lock().tick_is_over(&self.runner.reading());
        self.go_on(is_last);
        if let Err(payload) = result {
            // To the boundary of the task, which reports it.
            std::panic::resume_unwind(payload);
        }
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

/// Runs a closure again and again until the token is signalled.
#[track_caller]
pub(crate) fn repeat_until<R, F>(
    runner: R,
    schedule: Schedule,
    token: CancelToken,
    f: F,
) -> Result<RepeatingTaskHandle, Rejected<F>>
where
    R: Target + Send + Sync + 'static,
    F: FnMut() + Send + 'static,
{
    Repeating::begin(runner, Spec::here(TaskTraits::default()), Rules::until(schedule, token), f)
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
        Repeating::begin(self.anchor(), Spec::here(TaskTraits::default()), Rules::plain(schedule.into()), f)
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
        Repeating::begin(self.anchor(), self.task().spec(), Rules::plain(schedule.into()), f)
    }
}

impl ParallelTaskRunner {
    /// Runs a closure again and again, in a free place each time.
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
        Repeating::begin(self.anchor(), self.task().spec(), Rules::plain(schedule.into()), f)
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
        Repeating::begin(self.target().anchor(), spec, self.rules(schedule.into()), f)
    }

    /// As [`repeat`](Self::repeat), for a closure that may fail. An error is counted, the last one kept, and the task goes on, unless
    /// [`end_on_error`](Self::end_on_error) was said (DLY-6).
    ///
    /// ```
    /// use overstrand::ThreadPool;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let pool = ThreadPool::builder().workers(1).build()?;
    /// let (tell, told) = std::sync::mpsc::sync_channel(0);
    /// let poll = pool.task().end_on_error().try_repeat(Duration::from_millis(1), move || {
    ///     tell.send("polled")?;
    ///     Ok("not a number".parse::<u32>().map(drop)?)
    /// })?;
    /// assert_eq!(told.iter().collect::<Vec<_>>(), ["polled"], "the first error was the end");
    /// assert!(poll.is_stopped());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Rejected`] gives the closure back.
    #[track_caller]
    pub fn try_repeat<F>(mut self, schedule: impl Into<Schedule>, f: F) -> Result<RepeatingTaskHandle, Rejected<F>>
    where
        F: FnMut() -> Result<(), BoxError> + Send + 'static,
    {
        let spec = self.spec();
        Repeating::begin(self.target().anchor(), spec, self.rules(schedule.into()), f)
    }

    fn rules(mut self, schedule: Schedule) -> Rules {
        let (panic, error) = self.ends_on();
        let token = self.token();
        let schedule = match self.first_delay() {
            Some(delay) => schedule.initial_delay(delay),
            None => schedule,
        };
        Rules { schedule, token, ends_on: EndsOn { panic, error } }
    }
}
