//! Bodies of two functions: one that runs, and one that is called when the run shall end (SUP-15).
//!
//! The run is over when both have returned. The second is called once for each run that is told to stop, whatever for: by a task of its own, or, when no worker has come to that by then, by the
//! run itself after the first has returned. So it is called while the pool shuts down, and when every worker is taken. A run that ends by itself does not call it.
//!
//! | stage | left by | for |
//! |---|---|---|
//! | `Armed` | whoever calls the second function; the run, when nobody told it to stop | `Called`; `Over` |
//! | `Called` | the same caller, when it has returned | `Over` |
//!
//! Witnessed by `tests/env/services.rs`.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use super::body::inside;
use super::context::{Run, TaskContext};
use super::outcome::RunEnd;
use crate::error::TaskResult;
use crate::park::{Bell, Wait};
use crate::pool::target::Unbounded;
use crate::pool::task_builder::{Spec, Target};
use crate::sync::Mutex;
use crate::task::panic::catch;
use crate::task::traits::TaskTraits;

type Half = Box<dyn FnMut(&TaskContext) -> TaskResult + Send>;
type Limit = Box<dyn Fn() -> Option<Duration> + Send + Sync>;

/// The two functions, while no run has them.
pub(crate) struct Halves {
    start: Mutex<Option<Half>>,
    stop: Mutex<Option<Half>>,
    /// How long the second may take; the grace of the task if nothing is said.
    limit: Limit,
}

impl Halves {
    pub(crate) fn new<S, E>(start: S, stop: E, limit: impl Fn() -> Option<Duration> + Send + Sync + 'static) -> Self
    where
        S: FnMut(&TaskContext) -> TaskResult + Send + 'static,
        E: FnMut(&TaskContext) -> TaskResult + Send + 'static,
    {
        let (start, stop) = (Box::new(start) as Half, Box::new(stop) as Half);
        Self { start: Mutex::new(Some(start)), stop: Mutex::new(Some(stop)), limit: Box::new(limit) }
    }

    /// One run of the first function, and the second if it is told to stop.
    pub(crate) fn run(self: &Arc<Self>, cx: &TaskContext) -> TaskResult {
        let Some(mut start) = self.start.lock().take() else { return Ok(()) };
        let run = Arc::clone(&cx.0);
        let halt = Arc::new(Halt { run, halves: Arc::clone(self), stage: Mutex::new(Stage::Armed), over: Bell::new() });
        let bound = cx.token().bind(Arc::clone(&halt));
        if bound.is_none() {
            halt.post();
        }
        let result = catch(|| start(cx));
        drop(bound);
        *self.start.lock() = Some(start);
        halt.end();
        match result {
            Ok(result) => result,
            Err(payload) => {
                // What a run returns after it was told to stop does not count, and is not kept. A panic is.
                if cx.is_cancelled() {
                    let text = crate::task::panic::message_of(&*payload).unwrap_or("with no text").to_owned();
                    cx.note(Arc::new(super::outcome::RunError::Panicked(text)));
                }
                std::panic::resume_unwind(payload)
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Armed,
    Called,
    Over,
}

/// Calls the second function of one run.
struct Halt {
    run: Arc<Run>,
    halves: Arc<Halves>,
    stage: Mutex<Stage>,
    over: Bell,
}

impl Wake for Halt {
    fn wake(self: Arc<Self>) {
        self.post();
    }
}

impl Halt {
    /// Has a task call it.
    fn post(self: &Arc<Self>) {
        let Some(keeper) = self.run.keeper.upgrade() else { return };
        let traits = TaskTraits::default().block_shutdown().long_running();
        let spec = Spec { name: Some(Arc::clone(&self.run.name)), ..Spec::here(traits) };
        let this = Arc::clone(self);
        // Refused, it is called when the first function has returned.
        drop(Unbounded(keeper.pool.clone()).post(spec, move || this.call()).err());
    }

    /// Calls it, unless that has been done or need not be.
    fn call(&self) {
        {
            let mut stage = self.stage.lock();
            if *stage != Stage::Armed {
                return;
            }
            *stage = Stage::Called;
        }
        let stop = self.halves.stop.lock().take();
        if let Some(mut stop) = stop {
            let run = Arc::new(self.run.for_stop((self.halves.limit)()));
            let cx = TaskContext(Arc::clone(&run));
            let result = inside(&run, || catch(|| stop(&cx)));
            *self.halves.stop.lock() = Some(stop);
            if let Some(error) = RunEnd::of(result).error() {
                cx.note(error);
            }
        }
        *self.stage.lock() = Stage::Over;
        self.over.ring();
    }

    /// The first function has returned: comes back when nothing of the second will run any more.
    fn end(&self) {
        if self.run.token.is_cancelled() {
            self.call();
        } else {
            let mut stage = self.stage.lock();
            if *stage == Stage::Armed {
                *stage = Stage::Over;
            }
        }
        let look = || (*self.stage.lock() == Stage::Over).then_some(());
        self.over.wait_until(look, Wait::on("the stop function of a service"));
    }
}
