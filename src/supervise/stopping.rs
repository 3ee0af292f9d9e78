//! Stopping: a task for good, a run to be followed by another, everything.
//!
//! A stop is a cause that is noted, once, and a signal to the run if there is one. What the run returns after that does not count (SUP-4a). When its grace is over, a future is dropped where it
//! is polled; a blocking run cannot be stopped, and is *stuck*.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::sync::{Arc, Weak};
use std::task::Wake;
use std::time::Duration;

use super::event::{EventKind, StopReason};
use super::group::{Group, Then};
use super::house::{Entry, House, Live, Phase, Timer};
use super::keeper::{Effect, Fx, Keeper};
use super::life::{Ended, stopped_for};
use super::outcome::Rejection;
use super::restart::{Exit, RestartPolicy, decide};
use super::settings::OnStuck;
use super::spec::TaskId;
use crate::task::cancel::CancelToken;
use crate::zoo;

/// How long a future that is dropped by force has to be polled: one that blocks inside its poll is stuck like any other.
const ABORT_PATIENCE: Duration = Duration::from_secs(1);

/// What a run that is stopped for this counts as, if that is a failure.
fn exit_of(stop: StopReason) -> Option<Exit> {
    match stop {
        StopReason::AttemptTimeout => Some(Exit::TimedOut),
        StopReason::HeartbeatLost => Some(Exit::HeartbeatLost),
        _ => None,
    }
}

/// Stops a task for good when its token is signalled.
struct Stops {
    keeper: Weak<Keeper>,
    id: TaskId,
}

impl Wake for Stops {
    fn wake(self: Arc<Self>) {
        if let Some(keeper) = self.keeper.upgrade() {
            keeper.act(|house, fx| house.stop(fx, self.id, StopReason::Cancelled));
        }
    }
}

/// Has a task stopped when that token is signalled, from now on.
pub(super) fn stop_with(keeper: &Arc<Keeper>, id: TaskId, token: &CancelToken) {
    let stops = Arc::new(Stops { keeper: Arc::downgrade(keeper), id });
    let Some(bound) = token.bind(Arc::clone(&stops)) else { return stops.wake() };
    let mut bound = Some(Box::new(bound));
    keeper.act(|house, _| {
        if let Some(entry) = house.entry(id) {
            entry.bound = bound.take();
        }
    });
    // One that has ended meanwhile has no use for it.
    drop(bound);
}

impl House {
    /// Stops a task for good; true when nothing else had: another stop, or a failure of its run after which there is no further try.
    pub(super) fn stop(&mut self, fx: &mut Fx, id: TaskId, why: StopReason) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        if entry.stop.is_some() || entry.answer.is_none() {
            return false;
        }
        entry.stop = Some(why);
        if let Some(is_stuck) = entry.live.as_ref().filter(|live| live.is_last).map(|live| live.is_stuck) {
            // It is on its way out, and is told so already; all that changes is that no restart by hand follows.
            self.rooms.leave(id);
            if is_stuck {
                self.is_stuck(fx, id);
            }
            return false;
        }
        let (is_live, is_group) = (entry.phase == Phase::Live, entry.group.is_some());
        let has_place = entry.has_place || entry.parent.is_some();
        self.rooms.leave(id);
        self.strike(id, Timer::MaxRuntime);
        self.emit(fx, id, |_| EventKind::Stopping { reason: why });
        if is_live && is_group {
            if let Some(entry) = self.entries.get(&id) {
                entry.show();
            }
            self.stop_group(id, Then::End(None));
        } else if is_live {
            self.cancel_live(fx, id);
        } else if !has_place && why == StopReason::ShutDown {
            self.reject(fx, id, Rejection::ShutDown);
        } else if !has_place && why == StopReason::Replaced {
            self.reject(fx, id, Rejection::Superseded);
        } else {
            self.finish(fx, id, stopped_for(why, false));
        }
        true
    }

    /// Stops the live run, and not its task.
    pub(super) fn stop_run(&mut self, fx: &mut Fx, id: TaskId, why: StopReason) {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.stop.is_none()) else { return };
        let (limit, period) = (entry.settings.attempt_timeout, entry.settings.watchdog);
        let (policy, failures, most) = (entry.settings.restart, entry.failures, entry.settings.max_retries);
        let healthy_after = entry.settings.healthy_after;
        let Some(live) = entry.live.as_mut().filter(|live| live.stop.is_none()) else { return };
        let lasted = live.began.map_or(Duration::ZERO, |began| began.until(fx.now));
        let failures = if healthy_after.is_some_and(|time| lasted >= time) { 0 } else { failures };
        live.is_last = exit_of(why).is_some_and(|exit| !decide(policy, exit, failures, most).is_restart());
        live.stop = Some(why);
        self.emit(fx, id, |_| match why {
            StopReason::AttemptTimeout => EventKind::TimedOut { limit: limit.unwrap_or_default() },
            StopReason::HeartbeatLost => EventKind::HeartbeatLost { period: period.unwrap_or_default() },
            reason => EventKind::Stopping { reason },
        });
        self.cancel_live(fx, id);
    }

    /// Signals the live run, unless it has been signalled.
    fn cancel_live(&mut self, fx: &mut Fx, id: TaskId) {
        let is_pool_over = self.is_pool_over;
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let grace = entry.settings.grace;
        let Some(live) = entry.live.as_mut() else { return };
        if live.began.is_none() && live.run.has_work() {
            return self.withdraw(fx, id);
        }
        if std::mem::replace(&mut live.is_cancelled, true) {
            // A run that is stuck already is not waited for again.
            let (is_stuck, has_begun) = (live.is_stuck, live.began.is_some());
            if is_stuck {
                self.is_stuck(fx, id);
            } else if !has_begun {
                // Its grace may be over already, and nothing have come of it.
                self.at(id, Timer::Grace, fx.now.saturating_add(grace));
            }
            return;
        }
        fx.push(Effect::Cancel(live.run.token.clone()));
        if is_pool_over && live.is_future {
            fx.push(Effect::Abort(Arc::clone(&live.run)));
        }
        entry.show();
        self.strike(id, Timer::AttemptTimeout);
        self.forget_watch(id);
        self.at(id, Timer::Grace, fx.now.saturating_add(grace));
    }

    /// The live run has not begun, and is told to stop: it never will, and nothing of it has to return.
    fn withdraw(&mut self, fx: &mut Fx, id: TaskId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(live) = entry.live.take() else { return };
        entry.work = live.run.take_work();
        self.counts.runs -= 1;
        match (entry.stop, live.stop) {
            (Some(stop), _) => self.finish(fx, id, stopped_for(stop, false)),
            (None, run_stop) => self.go_on(fx, id, run_stop, None, Ended::cancelled()),
        }
        fx.drop_later(live.run);
        self.serve_permits(fx);
    }

    /// The live run has not returned within its grace.
    pub(super) fn grace_is_over(&mut self, fx: &mut Fx, id: TaskId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let (grace, stop) = (entry.settings.grace, entry.stop);
        let Some(live) = entry.live.as_mut() else { return };
        if live.began.is_none() {
            // The pool has dropped it, and it is on its way back: nothing is stuck.
            if let Some(stop) = stop {
                self.finish(fx, id, stopped_for(stop, false));
            }
            return;
        }
        if live.is_future && !live.is_aborted {
            live.is_aborted = true;
            fx.push(Effect::Abort(Arc::clone(&live.run)));
            self.emit(fx, id, |_| EventKind::ForceAborted);
            return self.at(id, Timer::Grace, fx.now.saturating_add(ABORT_PATIENCE));
        }
        live.is_stuck = true;
        self.counts.stuck += 1;
        self.emit(fx, id, |_| EventKind::Stuck { grace });
        self.is_stuck(fx, id);
        if let Some(entry) = self.entries.get(&id) {
            entry.show();
            fx.push(Effect::Ring(Arc::clone(&entry.task)));
        }
        self.tell_parent(id);
    }

    /// What becomes of a task whose live run is stuck.
    fn is_stuck(&mut self, fx: &mut Fx, id: TaskId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let is_last = entry.live.as_ref().is_some_and(|live| live.is_last);
        if let Some(stop) = entry.stop.filter(|_| !is_last) {
            return self.finish(fx, id, stopped_for(stop, true));
        }
        let on_stuck = entry.settings.on_stuck;
        if on_stuck == OnStuck::Abort && entry.stop.is_none() {
            return fx.push(Effect::AbortProcess(Arc::clone(&entry.task.name)));
        }
        let can_go_on = match on_stuck {
            OnStuck::Replace { at_most } => {
                entry.fenced.len() < at_most && entry.work.is_some() && entry.stop.is_none()
            }
            OnStuck::Wait | OnStuck::Abort => zoo::has("Z19") && entry.work.is_some(),
        };
        let Some(live) = entry.live.take_if(|_| can_go_on) else { return self.settle_if_last(fx, id) };
        entry.fenced.push(live.run.generation);
        self.strike(id, Timer::Grace);
        let stop = live.stop;
        let ended = match stop {
            Some(stop @ (StopReason::AttemptTimeout | StopReason::HeartbeatLost)) => self.overdue(fx, id, stop),
            _ => Ended::cancelled(),
        };
        self.go_on(fx, id, stop, live.began, ended);
        fx.drop_later(live.run);
    }

    /// If no other run would follow the stuck one, the task is over.
    fn settle_if_last(&mut self, fx: &mut Fx, id: TaskId) {
        // A child is over for its group when its run has returned, and not before: it may be started anew then.
        let has_group = |entry: &Entry| entry.parent.is_some() && entry.stop.is_none();
        let Some(entry) = self.entries.get(&id).filter(|entry| !has_group(entry)) else { return };
        let last = entry.live.as_ref().filter(|live| live.is_last).and_then(|live| live.stop);
        if let Some(stop) = last {
            self.tell_exhausted(fx, id);
            let ended = self.overdue(fx, id, stop);
            self.finish(fx, id, ended.outcome);
        }
    }

    /// The last run is over, and no other follows it, though the policy would have one.
    pub(super) fn tell_exhausted(&mut self, fx: &mut Fx, id: TaskId) {
        let entry = self.entries.get(&id).filter(|entry| entry.settings.restart != RestartPolicy::Never);
        if let Some(retries) = entry.map(|entry| entry.failures) {
            self.emit(fx, id, |_| EventKind::Exhausted { retries });
        }
    }

    // ---- by hand ----------------------------------------------------------------------------------------------------

    pub(super) fn restart(&mut self, fx: &mut Fx, id: TaskId) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        if entry.stop.is_some() || entry.answer.is_none() || !(entry.has_place || entry.parent.is_some()) {
            return false;
        }
        match entry.phase {
            Phase::Live if entry.group.as_deref().is_some_and(Group::is_ending) => return false,
            Phase::Live if entry.group.is_some() => {
                self.begin_streaks(id);
                self.stop_group(id, Then::Restart(fx.now));
            }
            Phase::Live => {
                self.excuse(fx, id);
                self.stop_run(fx, id, StopReason::Restart);
            }
            Phase::Rest | Phase::Pause | Phase::Permit => {
                entry.failures = 0;
                entry.last_delay = None;
                // Its ticks stay where they are.
                if entry.phase == Phase::Rest {
                    self.want_run(fx, id);
                }
            }
            Phase::Slot | Phase::Place | Phase::Dormant | Phase::Over => return false,
        }
        true
    }

    /// A run that is being stopped for being late or silent is to be followed by another in any case: that is an error of the task, and no failure of the streak.
    fn excuse(&mut self, fx: &mut Fx, id: TaskId) {
        let live = self.entries.get_mut(&id).and_then(|entry| entry.live.as_mut());
        let is_late =
            |live: &&mut Live| matches!(live.stop, Some(StopReason::AttemptTimeout | StopReason::HeartbeatLost));
        let Some(live) = live.filter(is_late) else { return };
        live.is_last = false;
        let stop = live.stop.replace(StopReason::Restart);
        if let Some(stop) = stop {
            let ended = self.overdue(fx, id, stop);
            fx.drop_later(ended.outcome);
        }
        self.emit(fx, id, |_| EventKind::Stopping { reason: StopReason::Restart });
    }

    pub(super) fn set_paused(&mut self, fx: &mut Fx, id: TaskId, is_paused: bool) -> bool {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.answer.is_some()) else { return false };
        let phase = entry.phase;
        if std::mem::replace(&mut entry.is_paused, is_paused) != is_paused {
            self.emit(fx, id, |_| if is_paused { EventKind::Paused } else { EventKind::Resumed });
        }
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        match (phase, is_paused) {
            (Phase::Pause, false) => self.want_run(fx, id),
            (Phase::Permit, true) => {
                let rank = entry.rank();
                entry.phase = Phase::Pause;
                entry.show();
                self.permits.remove(&rank);
            }
            _ => entry.show(),
        }
        true
    }

    // ---- everything -------------------------------------------------------------------------------------------------

    /// Accepts nothing any more, and stops all tasks, the latest first; true for the first call.
    pub(super) fn close(&mut self, fx: &mut Fx) -> bool {
        if std::mem::replace(&mut self.is_closing, true) {
            return false;
        }
        self.tell(fx, || EventKind::ShutdownRequested);
        // Children are stopped by their groups.
        let tops = self.entries.values().filter(|entry| entry.parent.is_none());
        let mut latest_first: Vec<_> = tops.map(|entry| (entry.order, entry.task.id)).collect();
        latest_first.sort_unstable_by(|a, b| b.cmp(a));
        // Those without a place first, so that none of them gets one that becomes free.
        let (with, without): (Vec<_>, Vec<_>) =
            latest_first.into_iter().partition(|(_, id)| self.entries.get(id).is_some_and(|entry| entry.has_place));
        for (_, id) in without.into_iter().chain(with) {
            self.stop(fx, id, StopReason::ShutDown);
        }
        true
    }

    /// The pool is about to end: no date will come any more, so futures are dropped when they have been polled once more.
    pub(super) fn pool_ends(&mut self, fx: &mut Fx) {
        self.is_pool_over = true;
        self.close(fx);
        let mut latest_first: Vec<_> = self.entries.values_mut().collect();
        latest_first.sort_unstable_by_key(|entry| Reverse(entry.task.id));
        for entry in latest_first {
            let future = entry.live.as_mut().filter(|live| live.is_future);
            if let Some(live) = future {
                fx.push(Effect::Abort(Arc::clone(&live.run)));
            }
        }
    }

    /// The names of tasks whose outcome is delivered and that have not returned; `None` while one may still end in time.
    pub(super) fn stuck_names(&self) -> Option<Vec<Arc<str>>> {
        let is_settled = self.entries.values().all(|entry| entry.answer.is_none());
        is_settled.then(|| {
            let mut stuck: Vec<_> = self.entries.values().map(|entry| &entry.task).collect();
            stuck.sort_unstable_by_key(|task| task.id);
            stuck.into_iter().map(|task| Arc::clone(&task.name)).collect()
        })
    }
}
