//! Stopping: a task for good, a run to be followed by another, everything.
//!
//! A stop is a cause that is noted, once, and a signal to the run if there is one. What the run returns after that does not count (SUP-4a). When its grace is over, a future is dropped where it
//! is polled; a blocking run cannot be stopped, and is *stuck*.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::event::{EventKind, StopReason};
use super::group::{Group, Then};
use super::house::{House, Phase, Timer};
use super::keeper::{Effect, Fx};
use super::life::{Ended, stopped_for};
use super::outcome::{Outcome, Rejection};
use super::settings::OnStuck;
use super::spec::TaskId;
use crate::zoo;

/// How long a future that is dropped by force has to be polled: one that blocks inside its poll is stuck like any other.
const ABORT_PATIENCE: Duration = Duration::from_secs(1);

impl House {
    /// Stops a task for good; true when nothing else had.
    pub(super) fn stop(&mut self, fx: &mut Fx, id: TaskId, why: StopReason) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        if entry.stop.is_some() || entry.answer.is_none() {
            return false;
        }
        entry.stop = Some(why);
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
        let Some(live) = entry.live.as_mut().filter(|live| live.stop.is_none()) else { return };
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

    /// The live run has not returned within its grace.
    pub(super) fn grace_is_over(&mut self, fx: &mut Fx, id: TaskId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let (grace, stop) = (entry.settings.grace, entry.stop);
        let Some(live) = entry.live.as_mut() else { return };
        if live.began.is_none() {
            // It waits for a worker, and will not begin: nothing is stuck.
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
        if let Some(stop) = entry.stop {
            let outcome = self.end_of_stuck(fx, id).unwrap_or(stopped_for(stop, true));
            return self.finish(fx, id, outcome);
        }
        let on_stuck = entry.settings.on_stuck;
        if on_stuck == OnStuck::Abort {
            return fx.push(Effect::AbortProcess(Arc::clone(&entry.task.name)));
        }
        let can_go_on = match on_stuck {
            OnStuck::Replace { at_most } => entry.fenced.len() < at_most && entry.work.is_some(),
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
        if self.entries.get(&id).is_none_or(|entry| entry.parent.is_some()) {
            return;
        }
        if let Some(outcome) = self.end_of_stuck(fx, id) {
            self.finish(fx, id, outcome);
        }
    }

    /// As `end_of_last`, of the run that is stuck.
    fn end_of_stuck(&mut self, fx: &mut Fx, id: TaskId) -> Option<Outcome> {
        let live = self.entries.get(&id)?.live.as_ref()?;
        let (stop, began) = (live.stop?, live.began);
        self.end_of_last(fx, id, stop, began)
    }

    // ---- by hand ----------------------------------------------------------------------------------------------------

    pub(super) fn restart(&mut self, fx: &mut Fx, id: TaskId) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        if entry.stop.is_some() || entry.answer.is_none() || !(entry.has_place || entry.parent.is_some()) {
            return false;
        }
        match entry.phase {
            Phase::Live if entry.group.as_ref().is_some_and(Group::is_ending) => return false,
            Phase::Live if entry.group.is_some() => {
                self.begin_streaks(id);
                self.stop_group(id, Then::Restart(fx.now));
            }
            Phase::Live => self.restart_run(fx, id),
            Phase::Rest | Phase::Pause | Phase::Permit => {
                entry.failures = 0;
                entry.last_delay = None;
                if entry.phase == Phase::Rest {
                    self.want_run(fx, id);
                }
            }
            Phase::Slot | Phase::Place | Phase::Dormant | Phase::Over => return false,
        }
        true
    }

    /// Stops the live run, which is followed by another. One that is stopped already, for being late or silent, would be followed by none, or not at once.
    fn restart_run(&mut self, fx: &mut Fx, id: TaskId) {
        let before = self.entry(id).and_then(|entry| entry.live.as_mut()).and_then(|live| live.stop);
        let Some(before @ (StopReason::AttemptTimeout | StopReason::HeartbeatLost)) = before else {
            return self.stop_run(fx, id, StopReason::Restart);
        };
        let ended = self.overdue(fx, id, before);
        fx.drop_later(ended.outcome);
        if let Some(live) = self.entry(id).and_then(|entry| entry.live.as_mut()) {
            live.stop = Some(StopReason::Restart);
        }
    }

    pub(super) fn set_paused(&mut self, fx: &mut Fx, id: TaskId, is_paused: bool) -> bool {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.answer.is_some()) else { return false };
        entry.is_paused = is_paused;
        match (entry.phase, is_paused) {
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
        for entry in self.entries.values_mut() {
            let future = entry.live.as_mut().filter(|live| live.is_future);
            if let Some(live) = future {
                fx.push(Effect::Abort(Arc::clone(&live.run)));
            }
        }
    }

    /// The names of tasks whose outcome is delivered and that have not returned; `None` while one may still end in time.
    pub(super) fn stuck_names(&self) -> Option<Vec<Arc<str>>> {
        let is_settled = self.entries.values().all(|entry| entry.answer.is_none());
        is_settled.then(|| self.entries.values().map(|entry| Arc::clone(&entry.task.name)).collect())
    }
}
