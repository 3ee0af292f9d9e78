//! A runner for a thread that somebody else owns: the caller's, which pumps it.
//!
//! It is a pool of its own with no threads but the caller's: the same worker, inbox and timers, and its loop is whichever of the calls here the owner likes. See
//! `pool::pump`.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::single::SingleThreadTaskRunner;
use crate::error::{BuildError, JoinError};
use crate::park::Parker;
use crate::pool::core::Settings;
use crate::pool::home::Home;
use crate::pool::observe::{Hook, Hooks, STALL_THRESHOLD};
use crate::pool::pump::Pump;
use crate::pool::worker::Step;
use crate::pool::{Dump, PanicReport, RejectionReport};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::task::current::{Name, name_of};
use crate::task::handle::TaskHandle;
use crate::task::traits::TaskTraits;

/// Lets a thread that you own, the main thread of a program say, run tasks that are posted to it.
///
/// It belongs to its thread. Runners to post with are made by [`runner`](Self::runner) and may go anywhere. When it is dropped, what has not run is dropped, on this thread, and
/// later posts are refused.
///
/// | call | pumps until |
/// |---|---|
/// | [`run_until_idle`](Self::run_until_idle) | nothing is left to run now |
/// | [`run_for`](Self::run_for) | that time is over |
/// | [`run_until`](Self::run_until) | that result is there |
/// | [`run_until_quit`](Self::run_until_quit) | somebody says so |
///
/// # Guarantees
///
/// - Tasks run only inside these calls, on the thread that makes them. In a test environment that was made on this thread its calls run them, too.
/// - All runners made here are one sequence each; their tasks take turns by their priorities, as on a worker of a pool.
/// - Inside one of its own tasks none of the calls runs anything: a task never runs inside another.
///
/// # Not guaranteed
///
/// While the thread does something else nothing runs, and a wait on it for a task of its own is an error. With a loop of another kind, a window system's say,
/// have that pump when [`on_work`](MainThreadTaskRunnerBuilder::on_work) tells it to.
///
/// # Examples
///
/// ```
/// use overstrand::MainThreadTaskRunner;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let main = MainThreadTaskRunner::new();
/// let (ui, quit) = (main.runner(), main.quit_handle());
/// let background = std::thread::spawn(move || {
///     ui.post_task(move || {
///         println!("on the main thread");
///         quit.quit();
///     })
///     .is_ok()
/// });
/// main.run_until_quit();
/// assert!(background.join().is_ok());
/// # Ok(())
/// # }
/// ```
pub struct MainThreadTaskRunner {
    pump: Rc<Pump>,
    runner: SingleThreadTaskRunner,
    quit: Arc<Quit>,
}

#[derive(Debug)]
struct Quit {
    asked: AtomicBool,
    home: Arc<Home>,
    parker: Arc<Parker>,
}

/// Ends [`MainThreadTaskRunner::run_until_quit`], from any thread.
#[derive(Clone, Debug)]
pub struct QuitHandle(Arc<Quit>);

impl QuitHandle {
    /// The pump returns after the task that it runs. If it does not run, its next run returns at once.
    pub fn quit(&self) {
        // ORDER main.quit: Release; what came before is visible to who returns from the pump; pairs with main.asked.
        self.0.asked.store(true, Ordering::Release);
        self.0.home.inbox.hurry();
        self.0.parker.unpark();
    }
}

/// Configures a [`MainThreadTaskRunner`]; made by [`MainThreadTaskRunner::builder`].
///
/// | setting | default |
/// |---|---|
/// | `name` | `"main"`, and none for its first runner |
/// | `on_panic`, `on_rejected` | reported through `tracing` alone |
/// | `on_work` | none |
#[derive(Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct MainThreadTaskRunnerBuilder {
    name: Option<Name>,
    hooks: Hooks,
    on_work: Hook<()>,
}

impl MainThreadTaskRunnerBuilder {
    /// A name, shown in reports, dumps and spans; that of the first [`runner`](MainThreadTaskRunner::runner), too.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = Some(name_of(name));
        self
    }

    /// Called for each task that panics, on the thread that pumps.
    pub fn on_panic(mut self, hook: impl Fn(&PanicReport) + Send + Sync + 'static) -> Self {
        self.hooks.panic = Some(Arc::new(hook));
        self
    }

    /// Called for each post that is refused, on the thread that posted.
    pub fn on_rejected(mut self, hook: impl Fn(&RejectionReport) + Send + Sync + 'static) -> Self {
        self.hooks.rejected = Some(Arc::new(hook));
        self
    }

    /// Called when there is something to run and nobody pumps: after a post, when a delay ends, and at the end of a pump that leaves something behind. So the thread may
    /// sit in another loop, and pump when it is told to.
    ///
    /// # Guarantees
    ///
    /// - Whatever is accepted after the end of a pump, or ripens after it, is told of at least once before the next pump. It may be told of more often; a second
    ///   post to a runner that waits for the pump already is not told of again.
    /// - It is called outside of every lock, on the thread that posts, the one that pumps, or one that ends delays and is started for this. A panic in it is contained.
    ///
    /// It should do no more than wake the loop.
    ///
    /// # Examples
    ///
    /// ```
    /// use overstrand::MainThreadTaskRunner;
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// // The foreign loop: it waits for events of its own.
    /// let (wake, events) = mpsc::channel();
    /// let main = MainThreadTaskRunner::builder().on_work(move || _ = wake.send("work")).build()?;
    /// let (tell, told) = mpsc::channel();
    /// main.runner().post_delayed_task(Duration::from_millis(5), move || _ = tell.send("ripe"))?;
    /// while told.try_recv().is_err() {
    ///     assert_eq!(events.recv()?, "work");
    ///     main.run_until_idle();
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_work(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_work = Some(Arc::new(move |()| hook()));
        self
    }

    /// Makes the runner, for the calling thread.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: a `name` that is empty or contains NUL; `on_work` when the system refuses the thread that ends delays.
    pub fn build(self) -> Result<MainThreadTaskRunner, BuildError> {
        if let Some(name) = self.name.as_ref().filter(|name| name.is_empty() || name.contains('\0')) {
            return Err(BuildError::new("name", format!("{name:?}"), "must be a text without NUL, and not empty"));
        }
        let settings = Settings {
            name: self.name.clone().unwrap_or_else(|| name_of("main")),
            workers: 1,
            best_effort_max: 1,
            threads_max: 1,
            stack_size: None,
            stall_threshold: STALL_THRESHOLD,
            may_block_threshold: STALL_THRESHOLD,
            bound: None,
            recent_tasks: 0,
            hooks: self.hooks,
        };
        let refused = |error| BuildError::new("on_work", "a hook", "its thread could not be started").caused_by(error);
        let pump = Pump::start(settings, self.on_work).map_err(refused)?;
        let runner = SingleThreadTaskRunner::on(Arc::clone(pump.home()), pump.core(), TaskTraits::default(), self.name);
        let quit = Arc::new(Quit {
            asked: AtomicBool::new(false),
            home: Arc::clone(pump.home()),
            parker: Arc::clone(pump.parker()),
        });
        Ok(MainThreadTaskRunner { pump, runner, quit })
    }
}

impl fmt::Debug for MainThreadTaskRunnerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MainThreadTaskRunnerBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl MainThreadTaskRunner {
    /// A runner for this thread.
    #[must_use]
    pub fn new() -> Self {
        match Self::builder().build() {
            Ok(main) => main,
            Err(error) => unreachable!("no thread is started and no setting is given: {error}"),
        }
    }

    /// Configures a runner for this thread.
    pub fn builder() -> MainThreadTaskRunnerBuilder {
        MainThreadTaskRunnerBuilder::default()
    }

    /// A handle to post with, from anywhere. Each call gives the same runner.
    #[must_use]
    pub fn runner(&self) -> SingleThreadTaskRunner {
        self.runner.clone()
    }

    /// A runner of its own on this thread, with a name and traits; its tasks take turns with those of others.
    #[must_use]
    pub fn create_runner(&self, name: impl Into<Cow<'static, str>>, traits: TaskTraits) -> SingleThreadTaskRunner {
        SingleThreadTaskRunner::on(Arc::clone(self.pump.home()), self.pump.core(), traits, Some(name_of(name)))
    }
    /// What ends [`run_until_quit`](Self::run_until_quit).
    #[must_use]
    pub fn quit_handle(&self) -> QuitHandle {
        QuitHandle(Arc::clone(&self.quit))
    }

    /// Runs what there is to run, what that posts included, and returns when nothing is left; delayed tasks run if they are due.
    pub fn run_until_idle(&self) {
        self.pump.run(|step| matches!(step, Step::Wait(_)));
    }

    /// Runs tasks, and waits for more, until [`QuitHandle::quit`] is called.
    pub fn run_until_quit(&self) {
        self.pump.run(|step| {
            // ORDER main.asked: AcqRel; see main.quit; a swap, so that each call to quit ends one run; pairs with main.quit.
            let is_asked = self.quit.asked.swap(false, Ordering::AcqRel);
            if !is_asked {
                self.pump.wait(step, None);
            }
            is_asked
        });
    }

    /// Runs tasks, and waits for more, until that time is over. A turn that has begun is finished first, and if something is ready one turn is given in any case. A
    /// [quit](QuitHandle::quit) does not end it; it is kept for the next [`run_until_quit`](Self::run_until_quit).
    pub fn run_for(&self, time: Duration) {
        let clock = &self.pump.core().clock;
        let end = clock.now().saturating_add(time);
        self.pump.run(|step| {
            if step == Step::Moved {
                return false;
            }
            let left = clock.now().until(end);
            if !left.is_zero() {
                self.pump.wait(step, Some(left));
            }
            left.is_zero()
        });
    }

    /// Runs tasks, and waits for more, until the handle's task is over; gives its result. The task may be one of this thread or of anybody else. A quit is kept, as in
    /// [`run_for`](Self::run_for).
    ///
    /// # Errors
    ///
    /// As [`TaskHandle::join`]. Inside one of this thread's own tasks [`JoinError::WouldDeadlock`], unless the result is there.
    pub fn run_until<T>(&self, handle: &mut TaskHandle<T>) -> Result<T, JoinError> {
        if let Some(result) = handle.try_join() {
            return result;
        }
        let waker = Waker::from(Arc::clone(self.pump.parker()));
        let mut context = Context::from_waker(&waker);
        let mut result = None;
        self.pump.run(|step| {
            // WHY a poll before each wait: it leaves the waker that ends the wait.
            if handle.is_finished() || matches!(step, Step::Wait(_)) {
                if let Poll::Ready(ready) = Pin::new(&mut *handle).poll(&mut context) {
                    result = Some(ready);
                    return true;
                }
            }
            self.pump.wait(step, None);
            false
        });
        result.unwrap_or(Err(JoinError::WouldDeadlock))
    }

    /// How long it is until the next delayed task is due: zero if one is. `None` when none is left.
    ///
    /// A loop that pumps by itself may wait for so long, or until [`on_work`](MainThreadTaskRunnerBuilder::on_work) wakes it.
    #[must_use]
    pub fn next_delay(&self) -> Option<Duration> {
        self.pump.home().next_delay()
    }

    /// A picture of what waits and runs here, as [`ThreadPool::dump`](crate::ThreadPool::dump) gives of a pool.
    #[must_use]
    pub fn dump(&self) -> Dump {
        self.pump.core().dump()
    }
}

impl Default for MainThreadTaskRunner {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for MainThreadTaskRunner {
    fn drop(&mut self) {
        self.pump.end();
    }
}

impl fmt::Debug for MainThreadTaskRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MainThreadTaskRunner").field("stats", &self.runner.stats()).finish_non_exhaustive()
    }
}
