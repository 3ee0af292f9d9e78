//! Bodies of two functions: one that runs, and one that is called when the run shall end (SUP-15); and a third, which is called while it goes on.
//!
//! The run is over when none of them runs any more. The second is called once for each run that is told to stop, whatever for: by a task of its own, or, when no worker has come to that by then, by the
//! run itself after the first has returned. So it is called while the pool shuts down, and when every worker is taken. A run that ends by itself does not call it.
//!
//! The third, a *reload*, is called by a task of its own too, once at a time, and never beside the second: whoever wants to call that waits until the reload, whose token is cancelled then, has returned.
//! A reload that no worker has come to by then is not waited for, and not called.
//!
//! | stage | left by | for |
//! |---|---|---|
//! | `Armed` | whoever calls the second function; the run, when nobody told it to stop; whoever asks for a reload | `Called`; `Over`; `Asked` |
//! | `Asked` | the same two; the task of the reload, when it begins, or is dropped | `Called`; `Over`; `Reloading`, `Armed` |
//! | `Reloading` | that task, when the function has returned | `Armed` |
//! | `Called` | the same caller, when it has returned | `Over` |
//!
//! Witnessed by `tests/env/services.rs`, `tests/env/service_reloads.rs`.
#![forbid(unsafe_code)]

use std::panic::Location;
use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use super::body::inside;
use super::context::{Run, TaskContext};
use super::outcome::{RunEnd, SharedError};
use crate::error::TaskResult;
use crate::park::{Bell, Patience, Wait, pause};
use crate::pool::target::Unbounded;
use crate::pool::task_builder::{Spec, Target};
use crate::sync::Mutex;
use crate::task::cancel::CancelToken;
use crate::task::panic::{Payload, catch, drop_quietly};
use crate::task::promise::Promise;
use crate::task::traits::TaskTraits;

type Half = Box<dyn FnMut(&TaskContext) -> TaskResult + Send>;
type Limit = Box<dyn Fn() -> Option<Duration> + Send + Sync>;

/// The functions, while no run has them.
pub(crate) struct Halves {
    start: Mutex<Option<Half>>,
    stop: Mutex<Option<Half>>,
    reload: Mutex<Third>,
    /// How long the second may take; the grace of the task if nothing is said.
    limit: Limit,
    /// What ends the run that goes on.
    present: Mutex<Option<Arc<Halt>>>,
}

/// The function for a reload.
enum Third {
    None,
    Away,
    Here(Half),
}

/// Why there was no reload, or none that is known to be over.
#[derive(Debug)]
pub(crate) enum ReloadError {
    /// Nothing runs, or it has been told to end.
    Over,
    /// The pool takes nothing any more.
    Refused,
    TimedOut,
    Failed(SharedError),
}

impl Halves {
    pub(crate) fn new<S, E>(start: S, stop: E, limit: impl Fn() -> Option<Duration> + Send + Sync + 'static) -> Self
    where
        S: FnMut(&TaskContext) -> TaskResult + Send + 'static,
        E: FnMut(&TaskContext) -> TaskResult + Send + 'static,
    {
        let (start, stop) = (Box::new(start) as Half, Box::new(stop) as Half);
        Self {
            start: Mutex::new(Some(start)),
            stop: Mutex::new(Some(stop)),
            reload: Mutex::new(Third::None),
            limit: Box::new(limit),
            present: Mutex::new(None),
        }
    }

    /// Has this function called by reloads, instead of the one before.
    pub(crate) fn set_reload(&self, reload: impl FnMut(&TaskContext) -> TaskResult + Send + 'static) {
        let before = std::mem::replace(&mut *self.reload.lock(), Third::Here(Box::new(reload)));
        drop(before);
    }

    pub(crate) fn can_reload(&self) -> bool {
        !matches!(*self.reload.lock(), Third::None)
    }

    /// Calls the third function for the run that goes on, and waits until it has returned.
    pub(crate) fn reload(&self, patience: &Patience) -> Result<(), ReloadError> {
        let Some(halt) = self.present.lock().clone() else { return Err(ReloadError::Over) };
        halt.reload(patience)
    }

    /// One run as the body of a task: what the first function says is what the task ends with.
    pub(crate) fn run(self: &Arc<Self>, cx: &TaskContext) -> TaskResult {
        let (result, is_told) = self.run_once(cx, || ());
        result.unwrap_or_else(|payload| {
            // What a run returns after it was told to stop does not count, and is not kept. A panic is.
            if is_told {
                cx.note_panic(&payload);
            }
            std::panic::resume_unwind(payload)
        })
    }

    /// One run whose errors are kept here, so that none is lost to a stop that comes when it has just returned.
    pub(crate) fn run_apart(self: &Arc<Self>, cx: &TaskContext, begin: impl FnOnce()) {
        let (result, is_told) = self.run_once(cx, begin);
        match result {
            Ok(_) if is_told => {}
            result => cx.note_failure(result),
        }
    }

    /// Calls the first function, and the second if it is told to stop, which is in the answer. Reloads are possible from `begin` on.
    fn run_once(self: &Arc<Self>, cx: &TaskContext, begin: impl FnOnce()) -> (Result<TaskResult, Payload>, bool) {
        let Some(mut start) = self.start.lock().take() else { return (Ok(Ok(())), false) };
        let halt = Arc::new(Halt {
            run: Arc::clone(&cx.0),
            halves: Arc::clone(self),
            stage: Mutex::new(Stage::Armed),
            changed: Bell::new(),
            ends: cx.token().child(),
        });
        *self.present.lock() = Some(Arc::clone(&halt));
        begin();
        let bound = cx.token().bind(Arc::clone(&halt));
        if bound.is_none() {
            halt.post();
        }
        let result = catch(|| start(cx));
        drop(bound);
        *self.start.lock() = Some(start);
        let is_told = halt.end();
        // A stop may come right here, and is too late for this run.
        pause();
        let spent = self.present.lock().take();
        drop(spent);
        (result, is_told)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Armed,
    Asked,
    Reloading,
    Called,
    Over,
}

/// Calls the second function of one run.
struct Halt {
    run: Arc<Run>,
    halves: Arc<Halves>,
    stage: Mutex<Stage>,
    /// Rings when the stage has changed.
    changed: Bell,
    /// Told to end, or ended by itself: no reload begins any more, and one that goes on shall end.
    ends: CancelToken,
}

impl Wake for Halt {
    fn wake(self: Arc<Self>) {
        self.post();
    }
}

impl Halt {
    /// A task that calls one of the functions.
    fn spec(&self) -> Spec {
        let traits = TaskTraits::default().block_shutdown().long_running();
        Spec { name: Some(Arc::clone(&self.run.name)), ..Spec::here(traits) }
    }

    /// Has a task call it.
    fn post(self: &Arc<Self>) {
        let Some(keeper) = self.run.keeper.upgrade() else { return };
        let (spec, this) = (self.spec(), Arc::clone(self));
        // Refused, it is called when the first function has returned.
        drop(Unbounded(keeper.pool.clone()).post(spec, move || this.call()).err());
    }

    /// Goes on to that stage, after a reload that has begun; false when another has done that.
    fn go_on_to(&self, next: Stage) -> bool {
        let look = || {
            let mut stage = self.stage.lock();
            match *stage {
                Stage::Armed | Stage::Asked => {
                    *stage = next;
                    Some(true)
                }
                Stage::Reloading => None,
                Stage::Called | Stage::Over => Some(false),
            }
        };
        self.changed.wait_until(look, Wait::on("the reload of a service")).unwrap_or(false)
    }

    /// Calls it, unless that has been done or need not be.
    fn call(&self) {
        if !self.go_on_to(Stage::Called) {
            return;
        }
        let stop = self.halves.stop.lock().take();
        if let Some(mut stop) = stop {
            let run = Arc::new(self.run.for_stop((self.halves.limit)()));
            let cx = TaskContext(Arc::clone(&run));
            let result = inside(&run, || catch(|| stop(&cx)));
            *self.halves.stop.lock() = Some(stop);
            cx.note_failure(result);
        }
        *self.stage.lock() = Stage::Over;
        self.changed.ring();
    }

    /// The first function has returned: comes back when nothing of the others will run any more. True when it was told to stop.
    fn end(&self) -> bool {
        let is_told = self.run.token.is_cancelled();
        if is_told {
            self.call();
        } else {
            self.ends.cancel();
            self.go_on_to(Stage::Over);
        }
        let look = || (*self.stage.lock() == Stage::Over).then_some(());
        self.changed.wait_until(look, Wait::on("the stop function of a service"));
        is_told
    }

    // ---- reloads ----------------------------------------------------------------------------------------------------

    fn reload(self: &Arc<Self>, patience: &Patience) -> Result<(), ReloadError> {
        let Some(keeper) = self.run.keeper.upgrade() else { return Err(ReloadError::Over) };
        let look = || {
            let mut stage = self.stage.lock();
            match *stage {
                _ if self.ends.is_cancelled() => Some(false),
                Stage::Armed => {
                    *stage = Stage::Asked;
                    Some(true)
                }
                Stage::Asked | Stage::Reloading => None,
                Stage::Called | Stage::Over => Some(false),
            }
        };
        let wait = Wait::on("the reload before").at_most(patience.left());
        match self.changed.wait_until(look, wait) {
            Some(true) => {}
            Some(false) => return Err(ReloadError::Over),
            None => return Err(ReloadError::TimedOut),
        }
        let token = self.ends.child_with_timeout(patience.left().unwrap_or(Duration::MAX));
        let run = Arc::new(self.run.part(token));
        let (promise, mut answer) = Promise::new(None, Location::caller());
        let reload = Reload { halt: Arc::clone(self), run, promise: Some(promise) };
        drop(keeper.pool.post(self.spec(), move || reload.call()).err());
        match answer.join_timeout(patience.left().unwrap_or(Duration::MAX)) {
            None => Err(ReloadError::TimedOut),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(ReloadError::Refused),
        }
    }
}

impl Halt {
    /// The function for a reload that was asked for, unless the run has gone on meanwhile.
    fn begin_reload(&self) -> Result<Half, ReloadError> {
        {
            let mut stage = self.stage.lock();
            if *stage != Stage::Asked || self.ends.is_cancelled() {
                return Err(ReloadError::Over);
            }
            *stage = Stage::Reloading;
        }
        match std::mem::replace(&mut *self.halves.reload.lock(), Third::Away) {
            Third::Here(reload) => Ok(reload),
            Third::Away | Third::None => Err(ReloadError::Over),
        }
    }
}

/// One reload: it is over when this is dropped.
struct Reload {
    halt: Arc<Halt>,
    run: Arc<Run>,
    promise: Option<Promise<Result<(), ReloadError>>>,
}

impl Reload {
    fn call(mut self) {
        let result = self.halt.begin_reload().and_then(|reload| self.call_it(reload));
        let promise = self.promise.take();
        // WHY before the answer: who has it may ask for the next, and finds that possible.
        drop(self);
        if let Some(promise) = promise {
            promise.complete(Ok(result));
        }
    }

    fn call_it(&self, mut reload: Half) -> Result<(), ReloadError> {
        let cx = TaskContext(Arc::clone(&self.run));
        let error = RunEnd::of(inside(&self.run, || catch(|| reload(&cx)))).error();
        let unwanted = {
            let mut slot = self.halt.halves.reload.lock();
            match *slot {
                Third::Away => {
                    *slot = Third::Here(reload);
                    None
                }
                _ => Some(reload),
            }
        };
        drop_quietly(unwanted);
        match error {
            None => Ok(()),
            Some(error) => {
                cx.note(Arc::clone(&error));
                Err(ReloadError::Failed(error))
            }
        }
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        {
            let mut stage = self.halt.stage.lock();
            if matches!(*stage, Stage::Asked | Stage::Reloading) {
                *stage = Stage::Armed;
            }
        }
        self.halt.changed.ring();
    }
}
