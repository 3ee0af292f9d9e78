//! Timers: a closure that is kept, and armed and taken back as often as one likes.
//!
//! Words: a *plan* says when the closure is due; a *firing* is the delayed task that carries it out, once. Whatever changes the plan begins a new
//! *generation*, and so does a firing that starts: one of another generation does nothing. So it does not matter that a firing may start on one thread
//! while another takes it back, or before the thread that armed it has put its handle down.
//!
//! | state | plan | closure | left by |
//! |---|---|---|---|
//! | *stopped* | – | there | a start |
//! | *armed* | there | there | a firing, a stop, another start |
//! | *last firing* | – | lent | its end; a start arms beside it |
//! | *firing* of a repeating one | there | lent | its end, which arms the next one; a stop, another start |
//! | *gone* | – | dropped, or by the firing that has it | nobody |
//!
//! A firing that finds the closure lent, which only a runner that runs tasks at the same time can bring about, is held back: the firing that has the closure arms
//! it again at its end. User code, posts and drops stay outside of the lock.
//!
//! Witnessed by `tests/env/timers.rs`.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use crate::error::Rejected;
use crate::pool::task_builder::{Due, Spec, Target};
use crate::pool::{DelayedTaskHandle, TaskBuilder};
use crate::sync::Mutex;
use crate::task::panic::{catch, drop_quietly};
use crate::time::{Course, Moment, Reading, Schedule};

/// A timer for the wall clock looks at it at least this often, since nobody tells when it jumps.
const WALL_CLOCK_LOOK: Duration = Duration::from_secs(60);

/// Calls one closure, which it keeps, whenever it is due: after a delay, at a time of day, again and again.
///
/// A start replaces what was armed before, so restarting it on each event calls the closure once after the last of them (*debounce*), and resetting it
/// while all is well calls it only when something no longer does (*dead man's switch*). Dropping the timer cancels it.
///
/// # Guarantees
///
/// - The closure runs in tasks of the timer's runner, never inside a call of these methods (POST-1) and never beside itself.
/// - Never early (DLY-1). After [`stop`](Self::stop), a start or the drop no older firing starts; one that runs just then is not waited for.
/// - What is armed and taken back leaves nothing behind: no timer, no wake-up, no queued task (DLY-2).
/// - All methods, and the drop, may be called from inside the closure and from any thread.
/// - A panic in the closure is reported like any other, and the timer goes on.
/// - The closure is dropped on its runner, or by who drops the timer if the runner takes no tasks any more.
/// - An armed timer keeps no shutdown waiting (DLY-5); when its firing is dropped by a shutdown or a closed runner, it is stopped.
///
/// # Not guaranteed
///
/// A closure that owns its own timer keeps it alive: let it hold a [`Weak`].
///
/// # Examples
///
/// Saves once the typing pauses:
///
/// ```
/// use overstrand::{TaskTraits, ThreadPool, Timer};
/// use std::sync::mpsc;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let pool = ThreadPool::builder().workers(1).build()?;
/// let strand = pool.create_sequenced_task_runner(TaskTraits::default());
/// let (tell, saved) = mpsc::channel();
/// let save = Timer::new(&strand, move || _ = tell.send("saved"));
/// for _key in "hello".chars() {
///     save.start(Duration::from_millis(20))?; // replaces the one before
/// }
/// assert_eq!(saved.recv()?, "saved");
/// assert!(!save.is_running() && saved.try_recv().is_err());
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping a timer cancels it"]
pub struct Timer(Arc<dyn Control>);

impl Timer {
    /// A timer that is stopped. Its firings have the traits of the runner; [`TaskBuilder::timer`] says more.
    #[track_caller]
    pub fn new<R, F>(runner: &R, f: F) -> Self
    where
        R: Target,
        F: FnMut() + Send + 'static,
    {
        Self::of(runner, Spec::here(runner.default_traits()), f)
    }

    fn of<R, F>(runner: &R, spec: Spec, f: F) -> Self
    where
        R: Target,
        F: FnMut() + Send + 'static,
    {
        let state = State {
            body: Some(f),
            plan: None,
            last: None,
            generation: 0,
            armed: None,
            held_back: None,
            is_gone: false,
        };
        Self(Arc::new(Shared { runner: runner.anchor(), spec, state: Mutex::new(state) }))
    }

    /// Calls the closure once, after `delay`; replaces what was armed.
    ///
    /// # Errors
    ///
    /// [`Rejected`]: the runner takes no tasks any more. The timer is stopped then.
    pub fn start(&self, delay: Duration) -> Result<(), Rejected<()>> {
        self.begin(How::After(delay))
    }

    /// Calls the closure once, at a deadline of the monotonic clock; at once if it has passed. Replaces what was armed.
    ///
    /// In a test environment the time that is left counts, in virtual time.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_at(&self, deadline: Instant) -> Result<(), Rejected<()>> {
        self.start(crate::sync::until(deadline))
    }

    /// Calls the closure once, when the wall clock shows `time` or later; replaces what was armed.
    ///
    /// It is not early by the wall clock, wherever that is set meanwhile. It looks at it at least once a minute, so it is at most a minute late after a jump
    /// forward or a sleep of the machine.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_at_wall_clock(&self, time: SystemTime) -> Result<(), Rejected<()>> {
        self.begin(How::AtWallClock(time))
    }

    /// Calls the closure again and again; replaces what was armed. The next call is armed when one is over, so it never overlaps itself (DLY-6).
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_repeating(&self, schedule: impl Into<Schedule>) -> Result<(), Rejected<()>> {
        self.begin(How::Repeating(schedule.into()))
    }

    /// Starts it anew as it was started last, counted from now; does nothing if it never was.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn reset(&self) -> Result<(), Rejected<()>> {
        match self.0.last() {
            Some(how) => self.begin(how),
            None => Ok(()),
        }
    }

    /// Lets a timer that is running fire as soon as its runner comes to it, instead of waiting; one that repeats keeps its rhythm besides. False when it was
    /// stopped: it does not fire then.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn fire_now(&self) -> Result<bool, Rejected<()>> {
        Arc::clone(&self.0).fire_now()
    }

    /// Takes back what is armed; true when something was. The closure stays.
    pub fn stop(&self) -> bool {
        self.0.stop()
    }

    /// True while a firing is to come: while one that repeats fires, too, but not while the closure runs for the last time.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.0.is_running()
    }

    fn begin(&self, how: How) -> Result<(), Rejected<()>> {
        Arc::clone(&self.0).begin(how)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("is_running", &self.is_running()).finish_non_exhaustive()
    }
}

impl<R: Target> TaskBuilder<'_, R> {
    /// A [`Timer`] whose firings are tasks as described here; a delay and a token do not apply.
    #[track_caller]
    pub fn timer<F: FnMut() + Send + 'static>(mut self, f: F) -> Timer {
        let spec = self.spec();
        Timer::of(self.target(), spec, f)
    }
}

/// What a start was asked for.
#[derive(Clone)]
enum How {
    After(Duration),
    AtWallClock(SystemTime),
    Repeating(Schedule),
}

/// When the closure is due.
enum Plan {
    Once,
    AtWallClock(SystemTime),
    /// When a tick is due; with the flag once besides, whatever is due.
    Repeating(Course, bool),
}

/// What a timer asks of itself, whatever its closure and runner.
trait Control: Send + Sync {
    fn begin(self: Arc<Self>, how: How) -> Result<(), Rejected<()>>;
    fn fire_now(self: Arc<Self>) -> Result<bool, Rejected<()>>;
    fn last(&self) -> Option<How>;
    fn stop(&self) -> bool;
    fn is_running(&self) -> bool;
    fn end(&self);
}

/// What a timer and its firings share.
struct Shared<R, F> {
    runner: R,
    spec: Spec,
    state: Mutex<State<F>>,
}

struct State<F> {
    /// The closure, while it does not run.
    body: Option<F>,
    plan: Option<Plan>,
    last: Option<How>,
    generation: u64,
    /// The firing of this generation, once its handle is there.
    armed: Option<DelayedTaskHandle>,
    /// The firing of that generation found the closure running.
    held_back: Option<u64>,
    /// The timer was dropped.
    is_gone: bool,
}

impl<F> State<F> {
    /// Makes firings stale; gives back the one that is armed, to be cancelled outside of the lock.
    #[must_use = "the firing is still armed"]
    fn retire(&mut self, plan: Option<Plan>) -> Option<DelayedTaskHandle> {
        self.generation += 1;
        self.plan = plan;
        self.armed.take()
    }

    /// What is due after a firing: a generation, and when.
    fn next(&mut self, fired: u64, now: &Reading) -> Option<(u64, Moment)> {
        let held_back = self.held_back.take().filter(|generation| *generation == self.generation);
        if let Some(generation) = held_back {
            return Some((generation, now.moment));
        }
        match &mut self.plan {
            Some(Plan::Repeating(course, _)) if self.generation == fired => {
                course.tick_is_over(now);
                Some((fired, course.next_look(now)))
            }
            _ => None,
        }
    }

    /// When to look again, if the closure is not due.
    fn look_again(&mut self, now: &Reading) -> Option<Moment> {
        match &mut self.plan {
            Some(Plan::AtWallClock(time)) => {
                let left = left_by_wall_clock(*time, now);
                (!left.is_zero()).then(|| now.moment.saturating_add(left))
            }
            Some(Plan::Repeating(course, is_asked)) => {
                // WHY both: a call that was asked for is the tick that is due, if one is.
                let is_due = course.is_due(now);
                let is_wanted = std::mem::take(is_asked) || is_due;
                (!is_wanted).then(|| course.next_look(now))
            }
            Some(Plan::Once) | None => None,
        }
    }
}

/// How long it is at most until the wall clock has to be looked at; zero when it shows that time.
fn left_by_wall_clock(time: SystemTime, now: &Reading) -> Duration {
    time.duration_since(now.wall).unwrap_or_default().min(WALL_CLOCK_LOOK)
}

/// What a firing has to do.
enum Turn<F> {
    /// Nothing: it is stale, or held back.
    Nothing,
    /// Wait on, since nothing is due by the wall clock yet.
    Wait(u64, Moment),
    Call(u64, F),
}

impl<R, F> Shared<R, F>
where
    R: Target + Send + Sync + 'static,
    F: FnMut() + Send + 'static,
{
    /// Posts the firing of a generation.
    fn arm(self: &Arc<Self>, generation: u64, due: Due) -> Result<(), Rejected<()>> {
        let look = match due {
            Due::Now => Moment::ORIGIN,
            Due::At(look) => look,
        };
        let firing = Firing { timer: Arc::downgrade(self), generation, look, has_begun: false };
        let armed = self.runner.post_at(self.spec.clone(), due, move || firing.run());
        let armed = armed.map_err(|rejected| rejected.map(drop))?;
        let unused = {
            let mut state = self.state.lock();
            if state.generation == generation { state.armed.replace(armed) } else { Some(armed) }
        };
        take_back(unused);
        Ok(())
    }

    fn begin_turn(&self, generation: u64, look: Moment) -> Turn<F> {
        // WHY not before: a runner of somebody else's may go by a clock of its own, and what was armed has come.
        let now = self.runner.reading().not_before(look);
        let mut state = self.state.lock();
        if state.generation != generation {
            return Turn::Nothing;
        }
        let Some(body) = state.body.take() else {
            state.held_back = Some(generation);
            return Turn::Nothing;
        };
        state.generation += 1;
        if let Some(look) = state.look_again(&now) {
            state.body = Some(body);
            return Turn::Wait(state.generation, look);
        }
        if !matches!(state.plan, Some(Plan::Repeating(..))) {
            state.plan = None;
        }
        Turn::Call(state.generation, body)
    }

    fn fire(self: &Arc<Self>, generation: u64, look: Moment) {
        let (generation, mut body) = match self.begin_turn(generation, look) {
            Turn::Nothing => return,
            // A refusal stops the timer and has been reported.
            Turn::Wait(generation, look) => return drop(self.arm(generation, Due::At(look))),
            Turn::Call(generation, body) => (generation, body),
        };
        let result = catch(&mut body);
        let now = self.runner.reading();
        let (next, unwanted) = {
            let mut state = self.state.lock();
            let unwanted = if state.is_gone { Some(body) } else { state.body.replace(body) };
            (state.next(generation, &now), unwanted)
        };
        drop_quietly(unwanted);
        if let Some((generation, due)) = next {
            // WHY by the wheel, though it may be due: a queue that is full then does not refuse it, and no caller runs it in here.
            drop(self.arm(generation, Due::At(due)));
        }
        if let Err(payload) = result {
            // To the boundary of the task, which reports it.
            std::panic::resume_unwind(payload);
        }
    }

    /// The firing of that generation will not come.
    fn abandon(&self, generation: u64) {
        let mut state = self.state.lock();
        if state.generation == generation {
            state.plan = None;
        }
    }
}

/// Cancels a firing, outside of the lock.
fn take_back(armed: Option<DelayedTaskHandle>) {
    if let Some(armed) = armed {
        armed.cancel();
    }
}

impl<R, F> Control for Shared<R, F>
where
    R: Target + Send + Sync + 'static,
    F: FnMut() + Send + 'static,
{
    fn begin(self: Arc<Self>, how: How) -> Result<(), Rejected<()>> {
        let now = self.runner.reading();
        let (plan, due) = match &how {
            How::After(delay) => (Plan::Once, self.runner.due_after(*delay)),
            How::AtWallClock(time) => {
                (Plan::AtWallClock(*time), self.runner.due_after(left_by_wall_clock(*time, &now)))
            }
            How::Repeating(schedule) => {
                let course = Course::begin(schedule, &now);
                let look = course.next_look(&now);
                let due = if look <= now.moment { Due::Now } else { Due::At(look) };
                (Plan::Repeating(course, false), due)
            }
        };
        let (generation, before) = {
            let mut state = self.state.lock();
            state.last = Some(how);
            let before = state.retire(Some(plan));
            (state.generation, before)
        };
        take_back(before);
        self.arm(generation, due)
    }

    fn fire_now(self: Arc<Self>) -> Result<bool, Rejected<()>> {
        let (generation, before) = {
            let mut state = self.state.lock();
            let plan = match state.plan.take() {
                None => return Ok(false),
                // One that is due already, or runs, is that tick.
                Some(Plan::Repeating(course, _)) => Plan::Repeating(course, true),
                Some(Plan::Once | Plan::AtWallClock(_)) => Plan::Once,
            };
            let before = state.retire(Some(plan));
            (state.generation, before)
        };
        take_back(before);
        self.arm(generation, Due::Now).map(|()| true)
    }

    fn last(&self) -> Option<How> {
        self.state.lock().last.clone()
    }

    fn stop(&self) -> bool {
        let (was_running, armed) = {
            let mut state = self.state.lock();
            (state.plan.is_some(), state.retire(None))
        };
        take_back(armed);
        was_running
    }

    fn is_running(&self) -> bool {
        self.state.lock().plan.is_some()
    }

    fn end(&self) {
        let (armed, body) = {
            let mut state = self.state.lock();
            state.is_gone = true;
            (state.retire(None), state.body.take())
        };
        take_back(armed);
        if std::mem::needs_drop::<F>() {
            if let Some(body) = body {
                let refused = self.runner.post(self.spec.clone(), move || drop(body)).err();
                drop_quietly(refused);
            }
        }
    }
}

/// One firing. Dropped unrun, by a shutdown or a closed runner, it stops its timer.
struct Firing<R, F>
where
    R: Target + Send + Sync + 'static,
    F: FnMut() + Send + 'static,
{
    timer: Weak<Shared<R, F>>,
    generation: u64,
    /// What it was armed for.
    look: Moment,
    has_begun: bool,
}

impl<R, F> Firing<R, F>
where
    R: Target + Send + Sync + 'static,
    F: FnMut() + Send + 'static,
{
    fn run(mut self) {
        self.has_begun = true;
        if let Some(timer) = self.timer.upgrade() {
            timer.fire(self.generation, self.look);
        }
    }
}

impl<R, F> Drop for Firing<R, F>
where
    R: Target + Send + Sync + 'static,
    F: FnMut() + Send + 'static,
{
    fn drop(&mut self) {
        if !self.has_begun {
            if let Some(timer) = self.timer.upgrade() {
                timer.abandon(self.generation);
            }
        }
    }
}
