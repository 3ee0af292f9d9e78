//! Runs, as tasks of the pool.
//!
//! A run reports its begin and its end to the house, the end exactly once, whatever happens to it: returned, panicked, dropped by the pool. The body moves into the run and comes back with
//! the report, so that there is never a second run beside it (SUP-2). A run that is told to stop before it begins is withdrawn: the house takes its body back, and what a worker finds of it later does nothing.
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::context::{Run, TaskContext};
use super::house::House;
use super::keeper::{Fx, Keeper};
use super::outcome::RunEnd;
use super::spec::{FutureWork, Work};
use crate::pool::target::Unbounded;
use crate::pool::task_builder::{Spec, Target};
use crate::pool::worker::should_yield;
use crate::runner::polled;
use crate::task::current;
use crate::task::panic::{catch, drop_quietly};
use crate::task::traits::TaskTraits;
use crate::time::Moment;

/// A future that restarts at once is polled again in its place, so often and for so long, unless something more urgent waits; then others have their turn.
const TURN_RUNS: usize = 8;
const TURN_TIME: Duration = Duration::from_micros(20);

/// Reports the end of a run, at the latest when it is dropped.
struct Report {
    keeper: Arc<Keeper>,
    run: Arc<Run>,
    work: Option<Work>,
    is_told: bool,
}

impl Report {
    /// The run begins; false when it shall not.
    fn begin(&mut self) -> bool {
        let begins = self.keeper.act(|house, fx| house.began(fx, self.run.task, self.run.generation));
        if begins {
            self.work = self.run.take_work();
        }
        begins
    }

    fn tell(&mut self, end: RunEnd) {
        if !std::mem::replace(&mut self.is_told, true) {
            let work = self.work.take().or_else(|| self.run.take_work());
            self.keeper.act(|house, fx| house.returned(fx, self.run.task, self.run.generation, end, work));
        }
    }

    /// As [`tell`](Self::tell). When the next run of the task comes at once it is this one's now; the answer is whether it has begun, if it may.
    fn tell_and_go_on(&mut self, end: RunEnd, may_begin: impl FnOnce(Moment) -> bool) -> Option<bool> {
        self.is_told = true;
        let work = self.work.take().or_else(|| self.run.take_work());
        let (id, generation) = (self.run.task, self.run.generation);
        let change = |house: &mut House, fx: &mut Fx| house.returned(fx, id, generation, end, work);
        let (run, has_begun) = self.keeper.act_in_run(id, may_begin, change)?;
        (self.run, self.is_told) = (run, false);
        if has_begun {
            self.work = self.run.take_work();
        }
        Some(has_begun)
    }

    /// True while this thread need not turn to something else: the same that ends the turn of a sequence, but for its length.
    fn has_turn(&self) -> bool {
        let is_fenced = current::priority().is_none_or(|class| self.keeper.pool.0.is_fenced(class));
        !is_fenced && !should_yield()
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.tell(RunEnd::Dropped);
    }
}

/// Calls `f` as code of this run.
pub(super) fn inside<T>(run: &Arc<Run>, f: impl FnOnce() -> T) -> T {
    let before = current::set_owner(Some(Arc::clone(run) as Arc<dyn current::Owner>));
    let answer = f();
    drop(current::set_owner(before));
    answer
}

/// Posts a run.
pub(super) fn start(keeper: &Arc<Keeper>, run: Arc<Run>, traits: TaskTraits) {
    // Not in a bounded queue: a run would be refused there as if it had failed, or its poster held up.
    let pool = Unbounded(keeper.pool.clone());
    let traits = traits.block_shutdown();
    let name = Some(Arc::clone(&run.name));
    let is_future = run.is_future();
    let report = Report { keeper: Arc::clone(keeper), run, work: None, is_told: false };
    if is_future {
        let spec = Spec { name, ..Spec::here(traits) };
        let future = RunFuture { report, future: None, has_begun: false };
        return drop(polled::spawn(pool, None, spec, future));
    }
    let spec = Spec { name, ..Spec::here(traits.long_running()) };
    // A refusal drops the run, which reports that.
    let refused = pool.post_with(spec, report, |report| move || run_blocking(report)).err();
    drop(refused);
}

fn run_blocking(mut report: Report) {
    if !report.begin() {
        return report.tell(RunEnd::SelfCancelled);
    }
    let cx = TaskContext(Arc::clone(&report.run));
    let result = match report.work.take() {
        Some(Work::Blocking(mut body)) => {
            let result = inside(&report.run, || catch(|| body(&cx)));
            report.work = Some(Work::Blocking(body));
            result
        }
        Some(Work::Rebuilding(mut build)) => {
            let built = inside(&report.run, || catch(&mut build));
            let run = &report.run;
            // WHY: given back before the run, so that another one can be built while this one is stuck.
            report.keeper.act(|house, fx| house.give_back(fx, run.task, run.generation, Work::Rebuilding(build)));
            built.and_then(|mut body| {
                let result = inside(&report.run, || catch(|| body(&cx)));
                inside(run, || drop_quietly(body));
                result
            })
        }
        _ => unreachable!("a future is not run here"),
    };
    drop(cx);
    report.tell(RunEnd::of(result));
}

/// The future of a run: reports when it ends, or is dropped.
struct RunFuture {
    report: Report,
    future: Option<FutureWork>,
    has_begun: bool,
}

impl RunFuture {
    /// Makes the future of this run.
    fn make(&mut self) -> Result<FutureWork, RunEnd> {
        let cx = TaskContext(Arc::clone(&self.report.run));
        let Some(Work::Future(make)) = &mut self.report.work else { return Err(RunEnd::Dropped) };
        let made = inside(&self.report.run, || catch(|| make(cx)));
        // The maker is not stuck, whatever becomes of what it made.
        let run = &self.report.run;
        let work = if run.may_be_replaced { self.report.work.take() } else { None };
        if let Some(work) = work {
            self.report.keeper.act(|house, fx| house.give_back(fx, run.task, run.generation, work));
        }
        made.map_err(|payload| RunEnd::of(Err(payload)))
    }

    /// The run is over. If the next one comes at once, in its place: whether it has begun.
    fn end(&mut self, end: RunEnd, may_begin: impl FnOnce(Moment) -> bool) -> Option<bool> {
        if let Some(future) = self.future.take() {
            let run = Arc::clone(&self.report.run);
            inside(&run, || drop_quietly(future));
        }
        self.has_begun = false;
        self.report.tell_and_go_on(end, may_begin)
    }

    /// One run, or what is left of it; `None` while it goes on.
    fn poll_run(&mut self, context: &mut Context<'_>, is_begun: bool) -> Option<RunEnd> {
        if !self.has_begun {
            self.has_begun = true;
            if !is_begun && !self.report.begin() {
                return Some(RunEnd::SelfCancelled);
            }
            match self.make() {
                Ok(future) => self.future = Some(future),
                Err(end) => return Some(end),
            }
        }
        #[cfg(overstrand_zoo)]
        if let Some(future) = self.report.run.future.lock().take() {
            self.future = Some(future);
        }
        #[cfg(overstrand_zoo)]
        if crate::zoo::has("Z16") && self.future.is_none() && self.report.run.is_aborted(context.waker()) {
            return Some(RunEnd::Aborted);
        }
        let future = self.future.as_mut()?;
        match inside(&self.report.run, || catch(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) if self.report.run.is_aborted(context.waker()) => Some(RunEnd::Aborted),
            Ok(Poll::Pending) => {
                #[cfg(overstrand_zoo)]
                if crate::zoo::has("Z16") {
                    *self.report.run.future.lock() = self.future.take();
                }
                None
            }
            Ok(Poll::Ready(result)) => Some(RunEnd::of(Ok(result))),
            Err(payload) => Some(RunEnd::of(Err(payload))),
        }
    }
}

impl Future for RunFuture {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let (mut first, mut runs, mut is_begun) = (None, 0, false);
        loop {
            let Some(end) = this.poll_run(context, is_begun) else { return Poll::Pending };
            runs += 1;
            let is_free = this.report.has_turn();
            let is_in_turn =
                |now: Moment| is_free && runs < TURN_RUNS && first.get_or_insert(now).until(now) < TURN_TIME;
            match this.end(end, is_in_turn) {
                None => return Poll::Ready(()),
                Some(false) => break,
                Some(true) => is_begun = true,
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for RunFuture {
    fn drop(&mut self) {
        if self.has_begun {
            if let Some(future) = self.future.take() {
                let run = Arc::clone(&self.report.run);
                inside(&run, || drop_quietly(future));
            }
            self.report.tell(RunEnd::Aborted);
        }
    }
}
