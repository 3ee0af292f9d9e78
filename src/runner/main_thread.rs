//! A runner for a thread that somebody else owns: the caller's, which pumps it.
//!
//! It is a pool of its own with no threads but the caller's: the same worker, inbox and timers, with `run_until_idle` and `run_until_quit` as its loop.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use super::single::SingleThreadTaskRunner;
use crate::park::{Parker, Wait, park};
use crate::pool::core::{Core, Settings};
use crate::pool::home::{Home, Inbox};
use crate::pool::observe::{Hooks, STALL_THRESHOLD};
use crate::pool::worker::{Step, Worker};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::task::current::name_of;
use crate::task::traits::TaskTraits;
use crate::time::{Clock, SystemClock};

/// Lets a thread that you own, the main thread of a program say, run tasks that are posted to it.
///
/// It belongs to its thread. Runners to post with are made by [`runner`](Self::runner) and may go anywhere. When it is dropped, what has not run is dropped, on this thread, and
/// later posts are refused.
///
/// # Guarantees
///
/// - Tasks run only inside [`run_until_idle`](Self::run_until_idle) and [`run_until_quit`](Self::run_until_quit), on the thread that calls these.
/// - All runners made here are one sequence each; their tasks take turns.
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
    worker: RefCell<Option<Worker>>,
    core: Arc<Core>,
    home: Arc<Home>,
    runner: SingleThreadTaskRunner,
    quit: Arc<Quit>,
}

#[derive(Debug)]
struct Quit {
    asked: AtomicBool,
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
        self.0.parker.unpark();
    }
}

impl MainThreadTaskRunner {
    /// A runner for this thread.
    #[must_use]
    pub fn new() -> Self {
        let settings = Settings {
            name: name_of("main"),
            workers: 1,
            best_effort_max: 1,
            threads_max: 1,
            stack_size: None,
            stall_threshold: STALL_THRESHOLD,
            may_block_threshold: STALL_THRESHOLD,
            bound: None,
            hooks: Hooks::default(),
        };
        let core = Core::new(settings, clock()).share();
        let inbox = Inbox::pumped_here(Arc::clone(&core.slots[0].parker));
        *core.slots[0].home.lock() = Some(Arc::clone(&inbox));
        let slot = core.staff.enlist_owner();
        debug_assert_eq!(slot, Some(0), "nobody else is there");
        let worker = Worker::enter(&core, 0);
        let home = Home::of(&core, inbox);
        let runner = SingleThreadTaskRunner::on(Arc::clone(&home), &core, TaskTraits::default(), None);
        let quit = Arc::new(Quit { asked: AtomicBool::new(false), parker: Arc::clone(&core.slots[0].parker) });
        Self { worker: RefCell::new(worker), core, home, runner, quit }
    }

    /// A handle to post with, from anywhere. Each call gives the same runner.
    #[must_use]
    pub fn runner(&self) -> SingleThreadTaskRunner {
        self.runner.clone()
    }

    /// A runner of its own on this thread, with a name and traits; its tasks take turns with those of others.
    #[must_use]
    pub fn create_runner(
        &self,
        name: impl Into<std::borrow::Cow<'static, str>>,
        traits: TaskTraits,
    ) -> SingleThreadTaskRunner {
        SingleThreadTaskRunner::on(Arc::clone(&self.home), &self.core, traits, Some(name_of(name)))
    }

    /// What ends [`run_until_quit`](Self::run_until_quit).
    #[must_use]
    pub fn quit_handle(&self) -> QuitHandle {
        QuitHandle(Arc::clone(&self.quit))
    }

    /// Runs what there is to run, what that posts included, and returns when nothing is left; delayed tasks run if they are due.
    ///
    /// Inside one of its own tasks it does nothing: a task never runs inside another.
    pub fn run_until_idle(&self) {
        self.pump(|step| matches!(step, Step::Wait(_)));
    }

    /// Runs tasks, and waits for more, until [`QuitHandle::quit`] is called. Inside one of its own tasks it does nothing.
    pub fn run_until_quit(&self) {
        let parker = &self.core.slots[0].parker;
        self.pump(|step| {
            // ORDER main.asked: AcqRel; see main.quit; a swap, so that each call to quit ends one run; pairs with main.quit.
            let is_asked = self.quit.asked.swap(false, Ordering::AcqRel);
            if let (false, Step::Wait(limit)) = (is_asked, step) {
                park(parker, &Wait::on("tasks for this thread").at_most(limit));
            }
            is_asked
        });
    }

    /// Makes steps until one `is_last`.
    fn pump(&self, mut is_last: impl FnMut(Step) -> bool) {
        let Some(mut worker) = self.worker.borrow_mut().take() else { return };
        let outside = worker.come();
        loop {
            let step = worker.step(true);
            if step == Step::Leave || is_last(step) {
                break;
            }
        }
        drop(outside);
        *self.worker.borrow_mut() = Some(worker);
    }
}

/// The clock of delays: the system's, unless this thread's time is virtual.
fn clock() -> Arc<dyn Clock> {
    #[cfg(feature = "testing")]
    if let Some(core) = crate::pool::driven::core() {
        return Arc::clone(&core.clock);
    }
    Arc::new(SystemClock::new())
}

impl Default for MainThreadTaskRunner {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for MainThreadTaskRunner {
    fn drop(&mut self) {
        self.core.start_shutdown();
        self.pump(|_| false);
        if let Some(worker) = self.worker.borrow_mut().take() {
            worker.exit();
        }
        self.core.sweep();
    }
}

impl fmt::Debug for MainThreadTaskRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MainThreadTaskRunner").field("stats", &self.runner.stats()).finish_non_exhaustive()
    }
}
