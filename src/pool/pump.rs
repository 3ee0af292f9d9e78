//! The thread of a pool that belongs to somebody else: its owner *pumps* it, and it runs what was sent to it only meanwhile.
//!
//! # Being told
//!
//! An owner that does something else between two pumps, a foreign event loop say, is told when there is something to do. Who sends: (A) puts its ticket into the inbox, (B)
//! fences, (C) tells the owner unless it pumps. The owner: (D) says that it pumps no more, (E) fences, (F) looks at the inbox once more, and tells itself if
//! something is there.
//!
//! The bad interleaving: the sender sees a pump that is about to end, and the pump ends without seeing the ticket. Of the fences (B) and (E) one is first. If (B), the owner sees the
//! ticket at (F); if (E), the sender sees at (C) what the owner said at (D). Both may tell: once too often is no harm.
//!
//! Delays end by the owner's pump. Only if it is to be told of them they end by a service thread, as in other pools; in a test's virtual time by whoever moves it.
//!
//! Witnessed by `tests/it/main_thread.rs`, and in virtual time by `tests/env/pumps.rs`.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Settings};
#[cfg(feature = "testing")]
use super::driven;
use super::home::{Home, Inbox};
use super::observe::Hook;
use super::staff;
use super::worker::{Step, Worker};
use crate::park::{Parker, Wait, park};
use crate::time::{Clock, SystemClock};

/// The owner's end of such a thread.
pub(crate) struct Pump {
    /// Away while the owner pumps.
    worker: RefCell<Option<Worker>>,
    home: Arc<Home>,
}

impl Pump {
    /// The pump of this thread; `on_work` is called when there is something to do while it does not run.
    ///
    /// # Errors
    ///
    /// The system refuses the thread that ends delays, which is needed for `on_work` only.
    pub(crate) fn start(settings: Settings, on_work: Hook<()>) -> io::Result<Rc<Self>> {
        let needs_service = on_work.is_some();
        let core = new_core(settings);
        let inbox = Inbox::pumped_here(Arc::clone(&core.slots[0].parker), on_work);
        *core.slots[0].home.lock() = Some(Arc::clone(&inbox));
        staff::enlist_owner(&core, needs_service)?;
        let worker = RefCell::new(Worker::enter(&core, 0));
        let pump = Rc::new(Self { worker, home: Home::of(&core, inbox) });
        #[cfg(feature = "testing")]
        driven::adopt(&pump);
        Ok(pump)
    }

    /// What sends to this thread.
    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.home.core
    }

    /// What wakes the pump while it waits.
    pub(crate) fn parker(&self) -> &Arc<Parker> {
        &self.core().slots[0].parker
    }

    /// Makes steps until one `is_last`. Does nothing while it runs already, further down on the stack.
    pub(crate) fn run(&self, mut is_last: impl FnMut(Step) -> bool) {
        let Some(mut worker) = self.worker.borrow_mut().take() else { return };
        let outside = worker.come();
        #[cfg(feature = "testing")]
        let _global = driven::AsGlobal::begin();
        self.home.inbox.begin_pump();
        loop {
            let step = worker.step(true);
            if step == Step::Leave {
                break;
            }
            if is_last(step) {
                worker.rest_at_home();
                break;
            }
        }
        drop(outside);
        *self.worker.borrow_mut() = Some(worker);
        self.home.inbox.end_pump(self.core());
    }

    /// Waits for something to do, for as long as a step asks for, and at most so long.
    pub(crate) fn wait(&self, step: Step, limit: Option<Duration>) {
        if let Step::Wait(asked) = step {
            let limit = [asked, limit].into_iter().flatten().min();
            park(self.parker(), &Wait::on("tasks for this thread").at_most(limit));
        }
    }

    /// Drops what is left, on this thread, and refuses what comes.
    pub(crate) fn end(&self) {
        let core = self.core();
        core.start_shutdown();
        self.run(|_| false);
        let worker = self.worker.borrow_mut().take();
        if let Some(worker) = worker {
            worker.exit();
            core.staff.join_service();
        }
        core.sweep();
    }
}

/// For who drives the thread that the pump belongs to.
#[cfg(feature = "testing")]
impl Pump {
    /// True when a step would run something, or end a delay, and the pump does not run already.
    pub(crate) fn is_ready(&self) -> bool {
        self.worker.borrow().is_some() && self.home.has_work()
    }

    /// Makes one step, as the pump's own thread.
    pub(crate) fn step(&self, (random, turn_tasks_max): (u32, u32)) {
        let _itself = self.home.inbox.play_owner();
        if let Some(worker) = &mut *self.worker.borrow_mut() {
            worker.vary(random, turn_tasks_max);
        }
        self.run(|_| true);
    }
}

/// A pool without threads. Its time is the system's, unless this thread's is virtual; then whoever drives that hears of what happens.
fn new_core(settings: Settings) -> Arc<Core> {
    #[cfg(feature = "testing")]
    if let Some(driven) = driven::core() {
        let mut core = Core::new(settings, Arc::clone(&driven.clock));
        if let Some(observer) = driven.observer() {
            core.observe(Arc::clone(observer));
        }
        return core.share();
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    Core::new(settings, clock).share()
}
