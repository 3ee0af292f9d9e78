//! Ticks that do not wait for one another ([`Overlap::Replace`](super::Overlap::Replace), [`Overlap::Allow`](super::Overlap::Allow)).
//!
//! The task of the ticker is one run then, a future that lasts from the start to the stop, and the ticks are parts of it: tasks of the pool that a series of its own starts. So a tick may keep
//! an error, is cancelled, and is known as code of the ticker like a run; and the run ends when the last tick has physically returned, and no sooner.
//!
//! | state | when a tick is due | when a tick is over |
//! |---|---|---|
//! | fewer than `at_most` live | it starts | |
//! | as many, *Allow* | it is left out | |
//! | one, *Replace* | the live one is cancelled, and the new one waits; one that has not begun, or waits already, stands for both | the one that waits starts |
//! | closed | nothing | the last one lets the run end |
//!
//! Who closes, starts or counts holds the lock, so after the close no tick begins. Posts, cancels and wakes come after the lock.
//!
//! Witnessed by the test binary `env`, module `tickers_beside`.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::ticker::{Beat, CALLED, TickContext};
use super::unit::Lease;
use crate::error::TaskResult;
use crate::pool::target::PoolAnchor;
use crate::pool::task_builder::{Spec, Target};
use crate::runner::{RepeatingTaskHandle, repeat_until};
use crate::supervise::{SelfCancelled, TaskContext};
use crate::sync::Mutex;
use crate::task::cancel::CancelToken;
use crate::task::current::name_of;
use crate::task::panic::drop_quietly;
use crate::task::traits::TaskTraits;
use crate::time::Schedule;

/// What happens when a tick is due and no more may run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Full {
    /// The one that runs is cancelled, and followed by the new one.
    Replace,
    /// The new one is left out.
    LeaveOut { at_most: usize },
}

/// The ticks of one life of a ticker.
pub(super) struct Beside {
    beat: Arc<Beat>,
    full: Full,
    schedule: Schedule,
    /// The run that the ticks are parts of.
    cx: TaskContext,
    /// Signalled when no tick shall begin any more.
    life: CancelToken,
    pool: PoolAnchor,
    state: Mutex<State>,
}

struct State {
    /// Ticks hold it as well as the run does: a run that is dropped by force may leave some behind. `None` once closed.
    lease: Option<Arc<Lease>>,
    /// The ticks that have not returned, by number, with what cancels each and whether its function has been called.
    live: BTreeMap<u64, (CancelToken, bool)>,
    last: u64,
    /// A tick waits for the one that it replaces.
    is_due: bool,
    series: Option<RepeatingTaskHandle>,
    /// Who waits for the end of the last tick.
    waker: Option<Waker>,
}

impl State {
    /// Notes a tick that is about to start; `None` when none shall.
    fn begin(&mut self, token: CancelToken) -> Option<(u64, Arc<Lease>)> {
        let lease = self.lease.clone()?;
        self.last += 1;
        self.is_due = false;
        self.live.insert(self.last, (token, false));
        Some((self.last, lease))
    }
}

/// The run of a ticker: lasts until it is stopped or a tick ends it, and all ticks have returned.
pub(super) async fn run(
    cx: TaskContext,
    beat: Arc<Beat>,
    lease: Arc<Lease>,
    full: Full,
    schedule: Schedule,
) -> TaskResult {
    let life = cx.token().child();
    // Without a pool there is nothing left to do, and nobody to tell.
    let Some(pool) = cx.pool() else { return Err(SelfCancelled.into()) };
    let state = State { lease: Some(lease), live: BTreeMap::new(), last: 0, is_due: false, series: None, waker: None };
    let beside = Arc::new(Beside { beat, full, schedule, cx, life, pool, state: Mutex::new(state) });
    let closing = Closing(Arc::clone(&beside));
    beside.follow(&beside.schedule);
    beside.life.cancelled().await;
    drop(closing);
    poll_fn(|context| beside.poll_empty(context.waker())).await;
    if beside.cx.is_cancelled() { Ok(()) } else { Err(SelfCancelled.into()) }
}

/// No tick begins when this is dropped, with the run or before its end.
struct Closing(Arc<Beside>);

impl Drop for Closing {
    fn drop(&mut self) {
        let (lease, series) = {
            let mut state = self.0.state.lock();
            (state.lease.take(), state.series.take())
        };
        self.0.life.cancel();
        stop(series);
        drop(lease);
    }
}

fn stop(series: Option<RepeatingTaskHandle>) {
    if let Some(series) = series {
        series.stop();
    }
}

impl Beside {
    /// Ticks come by this schedule from now on.
    fn follow(self: &Arc<Self>, schedule: &Schedule) {
        let this = Arc::downgrade(self);
        let due = move || {
            if let Some(this) = this.upgrade() {
                this.due();
            }
        };
        // Refused, the pool is ending, and so is the run.
        let Ok(series) = repeat_until(self.pool.clone(), schedule.clone(), self.life.clone(), due) else { return };
        let unused = {
            let mut state = self.state.lock();
            if state.lease.is_none() { Some(series) } else { state.series.replace(series) }
        };
        stop(unused);
    }

    /// The tick of that number says how often ticks come.
    pub(super) fn change_interval(self: &Arc<Self>, tick: u64, interval: Duration) {
        if self.state.lock().live.contains_key(&tick) {
            self.follow(&self.schedule.at_rate(interval));
        }
    }

    fn due(self: &Arc<Self>) {
        let token = self.life.child();
        let (starts, replaced) = {
            let mut state = self.state.lock();
            let at_most = match self.full {
                Full::Replace => 1,
                Full::LeaveOut { at_most } => at_most,
            };
            if state.live.len() < at_most {
                (state.begin(token.clone()), None)
            } else {
                // WHY not one that has not begun: where threads are late, each tick would be replaced before it is one.
                let begun = state.live.values().find(|(_, has_begun)| *has_begun);
                let replaced = begun.filter(|_| matches!(self.full, Full::Replace)).map(|(token, _)| token.clone());
                state.is_due = replaced.is_some();
                (None, replaced)
            }
        };
        if let Some(replaced) = replaced {
            replaced.cancel();
        }
        if let Some(tick) = starts {
            self.start(tick, token);
        }
    }

    fn start(self: &Arc<Self>, (number, lease): (u64, Arc<Lease>), token: CancelToken) {
        let name = Some(name_of(lease.name(CALLED)));
        let tick = LiveTick { beside: Arc::clone(self), number, lease: Some(lease) };
        let cx = self.cx.part(token);
        let spec = Spec::here(TaskTraits::default().block_shutdown().long_running());
        let spec = Spec { name, ..spec };
        let run = move |(tick, cx): (LiveTick, TaskContext)| move || tick.run(&cx);
        // Refused, it is over.
        drop(self.pool.post_with(spec, (tick, cx), run));
    }

    /// The tick of that number begins; false when it shall not.
    fn begins(&self, number: u64) -> bool {
        let mut state = self.state.lock();
        let is_open = state.lease.is_some();
        state.live.get_mut(&number).is_some_and(|(_, has_begun)| {
            *has_begun = is_open;
            is_open
        })
    }

    /// The tick of that number has returned.
    fn over(self: &Arc<Self>, number: u64) {
        let token = self.life.child();
        let (ended, next, waker) = {
            let mut state = self.state.lock();
            let ended = state.live.remove(&number);
            let next = if state.is_due { state.begin(token.clone()) } else { None };
            let waker = if state.live.is_empty() { state.waker.take() } else { None };
            (ended, next, waker)
        };
        drop(ended);
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some(next) = next {
            self.start(next, token);
        }
    }

    fn poll_empty(&self, waker: &Waker) -> Poll<()> {
        let waker = waker.clone();
        let before = {
            let mut state = self.state.lock();
            if state.live.is_empty() {
                return Poll::Ready(());
            }
            state.waker.replace(waker)
        };
        drop(before);
        Poll::Pending
    }
}

/// A tick that has not returned; over when it is dropped.
struct LiveTick {
    beside: Arc<Beside>,
    number: u64,
    lease: Option<Arc<Lease>>,
}

impl LiveTick {
    fn run(self, cx: &TaskContext) {
        let beside = &self.beside;
        if !beside.begins(self.number) {
            return;
        }
        if let Some(lease) = &self.lease {
            lease.begin();
        }
        let context = |tick| TickContext::beside(cx.clone(), tick, (Arc::downgrade(beside), self.number));
        let ended = cx.call(|| beside.beat.tick(cx, context));
        // Only a tick that ends the ticker returns an error.
        if let Err(error) = ended {
            beside.life.cancel();
            drop_quietly(error);
        }
    }
}

impl Drop for LiveTick {
    fn drop(&mut self) {
        // WHY first: who sees the run end sees that nothing of it runs.
        drop(self.lease.take());
        self.beside.over(self.number);
    }
}
