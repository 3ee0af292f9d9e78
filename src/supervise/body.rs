//! Runs, as tasks of the pool.
//!
//! A run reports its begin and its end to the house, the end exactly once, whatever happens to it: returned, panicked, dropped by the pool. The body moves into the run and comes back with
//! the report, so that there is never a second run beside it (SUP-2).
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::context::{Run, TaskContext};
use super::keeper::Keeper;
use super::outcome::RunEnd;
use super::spec::{FutureWork, Work};
use crate::pool::target::Unbounded;
use crate::pool::task_builder::{Spec, Target};
use crate::runner::polled;
use crate::task::current;
use crate::task::panic::{catch, drop_quietly};
use crate::task::traits::TaskTraits;

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
        self.keeper.act(|house, fx| house.began(fx, self.run.task, self.run.generation))
    }

    fn tell(&mut self, end: RunEnd) {
        if !std::mem::replace(&mut self.is_told, true) {
            let work = self.work.take();
            self.keeper.act(|house, fx| house.returned(fx, self.run.task, self.run.generation, end, work));
        }
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
pub(super) fn start(keeper: &Arc<Keeper>, run: Arc<Run>, work: Work, traits: TaskTraits) {
    // Not in a bounded queue: a run would be refused there as if it had failed, or its poster held up.
    let pool = Unbounded(keeper.pool.clone());
    let traits = traits.block_shutdown();
    let name = Some(Arc::clone(&run.name));
    let report = Report { keeper: Arc::clone(keeper), run, work: Some(work), is_told: false };
    if matches!(report.work, Some(Work::Future(_))) {
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
        let (work, run) = (self.report.work.take(), &self.report.run);
        if let Some(work) = work {
            self.report.keeper.act(|house, fx| house.give_back(fx, run.task, run.generation, work));
        }
        made.map_err(|payload| RunEnd::of(Err(payload)))
    }

    fn end(&mut self, end: RunEnd) -> Poll<()> {
        if let Some(future) = self.future.take() {
            let run = Arc::clone(&self.report.run);
            inside(&run, || drop_quietly(future));
        }
        self.report.tell(end);
        Poll::Ready(())
    }
}

impl Future for RunFuture {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if !this.has_begun {
            this.has_begun = true;
            if !this.report.begin() {
                return this.end(RunEnd::SelfCancelled);
            }
            match this.make() {
                Ok(future) => this.future = Some(future),
                Err(end) => return this.end(end),
            }
        }
        #[cfg(overstrand_zoo)]
        if let Some(future) = this.report.run.future.lock().take() {
            this.future = Some(future);
        }
        let is_aborted = this.report.run.is_aborted(context.waker());
        #[cfg(overstrand_zoo)]
        if crate::zoo::has("Z16") && is_aborted && this.future.is_none() {
            return this.end(RunEnd::Aborted);
        }
        let Some(future) = &mut this.future else { return Poll::Ready(()) };
        let polled = inside(&this.report.run, || catch(|| future.as_mut().poll(context)));
        match polled {
            Ok(Poll::Pending) if is_aborted => this.end(RunEnd::Aborted),
            Ok(Poll::Pending) => {
                #[cfg(overstrand_zoo)]
                if crate::zoo::has("Z16") {
                    *this.report.run.future.lock() = this.future.take();
                }
                Poll::Pending
            }
            Ok(Poll::Ready(result)) => this.end(RunEnd::of(Ok(result))),
            Err(payload) => this.end(RunEnd::of(Err(payload))),
        }
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
