//! Runs: how one begins, how it ends, what comes next, and how a task is over.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::context::Run;
use super::event::{EventKind, StopReason};
use super::group::{Group, Step};
use super::house::{Entry, House, Live, Phase, Timer};
use super::intensity::{Exhausted, Record};
use super::keeper::{Effect, Fx};
use super::outcome::{Outcome, OutcomeKind, RunEnd, RunError, SharedError};
use super::restart::{Exit, Next, decide};
use super::settings::OnStuck;
use super::spec::{TaskId, Work};
use crate::time::{Course, Moment, Reading};

/// How a run is taken to have ended: by itself, or by what it was stopped for.
pub(super) struct Ended {
    pub(super) exit: Exit,
    pub(super) outcome: Outcome,
    pub(super) error: Option<SharedError>,
}

impl Ended {
    pub(super) fn cancelled() -> Self {
        Self { exit: Exit::Cancelled, outcome: Outcome::Cancelled, error: None }
    }
}

impl House {
    // ---- before a run -----------------------------------------------------------------------------------------------

    /// A task has its place: its first run comes now, or when its time has come.
    pub(super) fn begin_life(&mut self, fx: &mut Fx, id: TaskId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.course = None;
        entry.is_retry = false;
        // Its group may begin its life anew.
        let is_first = entry.generation == 0;
        let due = if is_first { fx.now.saturating_add(entry.start_delay) } else { fx.now };
        self.rest_until(fx, id, due);
    }

    /// The next run comes then.
    fn rest_until(&mut self, fx: &mut Fx, id: TaskId, due: Moment) {
        if due <= fx.now {
            return self.rest_is_over(fx, id);
        }
        self.rest(id, due);
    }

    fn rest(&mut self, id: TaskId, until: Moment) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.phase = Phase::Rest;
        entry.show();
        self.at(id, Timer::Start, until);
    }

    /// What a task has rested for has come: a run, or a look at its schedule, which may find that no tick is due yet.
    pub(super) fn rest_is_over(&mut self, fx: &mut Fx, id: TaskId) {
        let now = fx.reading();
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Some(schedule) = entry.schedule.as_ref().filter(|_| !entry.is_retry) {
            let course = entry.course.get_or_insert_with(|| Box::new(Course::begin(schedule, &now)));
            if !course.is_due(&now) {
                let look = course.next_look(&now);
                return self.rest(id, look);
            }
        }
        self.want_run(fx, id);
    }

    /// The next run may come now: if the task is not paused, and there is a permit.
    pub(super) fn want_run(&mut self, fx: &mut Fx, id: TaskId) {
        self.strike(id, Timer::Start);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let is_restarting = entry.group.as_deref().is_some_and(Group::is_pausing);
        if self.is_being_stopped(id) {
            // One that has children that run is told as they are.
            if !is_restarting {
                self.sleep(fx, id);
            }
            return;
        }
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.is_paused && !is_restarting {
            entry.phase = Phase::Pause;
            return entry.show();
        }
        if entry.group.is_some() {
            return self.begin_group(fx, id);
        }
        if self.limits.runs_max.is_none() {
            return self.start_run(fx, id);
        }
        // Behind those of its priority that wait, also when it has just given its permit back.
        self.last_order += 1;
        entry.turn = self.last_order;
        entry.phase = Phase::Permit;
        self.permits.insert(entry.rank());
        entry.show();
        self.serve_permits(fx);
    }

    /// Gives free permits to those who wait.
    pub(super) fn serve_permits(&mut self, fx: &mut Fx) {
        while self.limits.runs_max.is_none_or(|most| self.counts.runs < most) {
            let Some((.., id)) = self.permits.pop_first() else { return };
            if self.is_being_stopped(id) {
                self.sleep(fx, id);
            } else {
                self.start_run(fx, id);
            }
        }
    }

    fn start_run(&mut self, fx: &mut Fx, id: TaskId) {
        let (keeper, above) = (self.keeper.clone(), self.groups_of(id));
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(work) = entry.work.take() else { return };
        entry.generation += 1;
        entry.attempt = entry.failures.saturating_add(1);
        entry.phase = Phase::Live;
        entry.is_ready = false;
        let name = Arc::clone(&entry.task.name);
        let is_future = matches!(work, Work::Future(_));
        let may_be_replaced = matches!(entry.settings.on_stuck, OnStuck::Replace { .. });
        let mut run = Run::new(keeper, (id, above), name, entry.generation, entry.attempt).with_work(work);
        run.may_be_replaced = may_be_replaced;
        let run = Arc::new(run);
        fx.push(Effect::Start(Arc::clone(&run), entry.settings.traits));
        entry.live = Some(Live {
            run,
            began: None,
            stop: None,
            is_last: false,
            is_cancelled: false,
            is_future,
            is_aborted: false,
            is_stuck: false,
        });
        entry.show();
        self.counts.runs += 1;
    }

    // ---- during a run -----------------------------------------------------------------------------------------------

    /// The live run, if it is of that generation.
    pub(super) fn live(&mut self, id: TaskId, generation: u64) -> Option<&mut Live> {
        let live = self.entries.get_mut(&id)?.live.as_mut()?;
        (live.run.generation == generation).then_some(live)
    }

    /// A run has come to a worker; false when it shall not begin.
    pub(super) fn began(&mut self, fx: &mut Fx, id: TaskId, generation: u64) -> bool {
        let now = fx.now;
        let Some(live) = self.live(id, generation).filter(|live| !live.is_cancelled) else { return false };
        live.began = Some(now);
        let run = Arc::clone(&live.run);
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        let (attempt_timeout, watchdog) = (entry.settings.attempt_timeout, entry.settings.watchdog);
        let max_runtime = entry.settings.max_runtime.filter(|_| !entry.has_begun);
        entry.has_begun = true;
        entry.show();
        self.emit(fx, id, |_| EventKind::Started);
        if let Some(limit) = attempt_timeout {
            self.at(id, Timer::AttemptTimeout, now.saturating_add(limit));
        }
        if let Some(limit) = max_runtime {
            self.at(id, Timer::MaxRuntime, now.saturating_add(limit));
        }
        if let Some(period) = watchdog {
            self.watch_over(now, id, run, period);
        }
        true
    }

    /// A run says that it has started up.
    pub(super) fn ready(&mut self, fx: &mut Fx, id: TaskId, generation: u64) {
        let is_over = self.entries.get(&id).is_none_or(|entry| entry.answer.is_none());
        if is_over || self.live(id, generation).is_none() {
            return;
        }
        self.emit(fx, id, |_| EventKind::Ready);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.is_ready = true;
            entry.task.view.lock().is_ready = true;
            fx.push(Effect::Ring(Arc::clone(&entry.task)));
        }
        self.tell_parent(id);
    }

    /// What makes bodies comes back before the run has ended.
    pub(super) fn give_back(&mut self, fx: &mut Fx, id: TaskId, generation: u64, work: Work) {
        match self
            .entries
            .get_mut(&id)
            .filter(|entry| entry.live.as_ref().is_some_and(|l| l.run.generation == generation))
        {
            Some(entry) => entry.work = Some(work),
            None => fx.drop_later(work),
        }
    }

    // ---- after a run ------------------------------------------------------------------------------------------------

    /// A run has physically returned.
    pub(super) fn returned(&mut self, fx: &mut Fx, id: TaskId, generation: u64, end: RunEnd, work: Option<Work>) {
        if self.live(id, generation).is_none() {
            fx.drop_later(end.into_outcome());
            fx.drop_later(work);
            return self.fenced_returned(fx, id, generation);
        }
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(live) = entry.live.take() else { return };
        match work {
            Some(work) if entry.answer.is_some() => entry.work = Some(work),
            work => fx.drop_later(work),
        }
        // `live.run` is dropped here, under the lock: the caller has the run, too.
        self.strike(id, Timer::AttemptTimeout);
        self.strike(id, Timer::Grace);
        self.forget_watch(id);
        self.counts.runs -= 1;
        if live.is_stuck {
            self.counts.stuck -= 1;
            self.emit(fx, id, |_| EventKind::ReturnedLate);
        }
        let is_over = self.entries.get(&id).is_some_and(|entry| entry.answer.is_none());
        if is_over {
            fx.drop_later(end.into_outcome());
            self.remove_if_returned(fx, id);
            return self.serve_permits(fx);
        }
        let ended = self.judge(fx, id, &live, end);
        match self.entries.get(&id).and_then(|entry| entry.stop) {
            // The first cause was the run's own.
            Some(_) if live.is_last => {
                self.tell_exhausted(fx, id);
                self.finish(fx, id, ended.outcome);
            }
            Some(stop) => {
                let outcome = stopped_for(stop, live.is_aborted);
                fx.drop_later(ended.outcome);
                self.finish(fx, id, outcome);
            }
            None => self.go_on(fx, id, live.stop, live.began, ended),
        }
        self.serve_permits(fx);
    }

    fn fenced_returned(&mut self, fx: &mut Fx, id: TaskId, generation: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(found) = entry.fenced.iter().position(|fenced| *fenced == generation) else { return };
        entry.fenced.swap_remove(found);
        self.counts.runs -= 1;
        self.counts.stuck -= 1;
        self.emit(fx, id, |_| EventKind::ReturnedLate);
        self.remove_if_returned(fx, id);
        self.serve_permits(fx);
    }

    /// What the end of a run counts as (SUP-4a), told and noted.
    pub(super) fn judge(&mut self, fx: &mut Fx, id: TaskId, live: &Live, end: RunEnd) -> Ended {
        let task_stop = self.entries.get(&id).and_then(|entry| entry.stop).filter(|_| !live.is_last);
        let duration = live.began.map_or(Duration::ZERO, |began| began.until(fx.now));
        if task_stop.is_some() || matches!(live.stop, Some(StopReason::Restart | StopReason::Group)) {
            if live.began.is_some() {
                self.emit(fx, id, |_| EventKind::Cancelled { duration });
            }
            fx.drop_later(end.into_outcome());
            return Ended::cancelled();
        }
        if let Some(stop) = live.stop {
            fx.drop_later(end.into_outcome());
            return self.overdue(fx, id, stop);
        }
        let (exit, error) = (end.exit(), end.error());
        match &error {
            Some(error) => {
                let (is_fatal, is_panic) = (exit == Exit::Fatal, exit == Exit::Panicked);
                let error = Arc::clone(error);
                self.emit(fx, id, |_| EventKind::Failed { duration, error, is_fatal, is_panic });
            }
            None if exit == Exit::Success => self.emit(fx, id, |_| EventKind::Succeeded { duration }),
            None => self.emit(fx, id, |_| EventKind::Cancelled { duration }),
        }
        self.note(fx, id, error.as_ref());
        Ended { exit, outcome: end.into_outcome(), error }
    }

    /// The end of a run that was stopped for being late or silent.
    pub(super) fn overdue(&mut self, fx: &mut Fx, id: TaskId, stop: StopReason) -> Ended {
        let settings = self.entries.get(&id).map(|entry| (entry.settings.attempt_timeout, entry.settings.watchdog));
        let (limit, period) = settings.unwrap_or_default();
        let (exit, outcome, error) = match stop {
            StopReason::HeartbeatLost => {
                (Exit::HeartbeatLost, Outcome::HeartbeatLost, RunError::HeartbeatLost(period.unwrap_or_default()))
            }
            _ => (Exit::TimedOut, Outcome::TimedOut, RunError::TimedOut(limit.unwrap_or_default())),
        };
        let error: SharedError = Arc::new(error);
        self.note(fx, id, Some(&error));
        Ended { exit, outcome, error: Some(error) }
    }

    fn note(&mut self, fx: &mut Fx, id: TaskId, error: Option<&SharedError>) {
        let at = self.since_origin(fx.now);
        if let (Some(error), Some(entry)) = (error, self.entries.get(&id)) {
            entry.note(fx, at, Arc::clone(error));
        }
    }

    /// Keeps an error that is not the end of the live run.
    pub(super) fn note_beside(&mut self, fx: &mut Fx, id: TaskId, generation: u64, error: &SharedError) {
        if self.live(id, generation).is_some() {
            self.note(fx, id, Some(error));
        }
    }

    /// The live run says how often its task shall run.
    pub(super) fn change_period(&mut self, id: TaskId, generation: u64, period: Duration) {
        if self.live(id, generation).is_none() {
            return;
        }
        let course = self.entries.get_mut(&id).and_then(|entry| entry.course.as_mut());
        if let Some(course) = course {
            course.change_period(period);
        }
    }

    /// What comes after a run of a task that nobody has stopped.
    pub(super) fn go_on(
        &mut self,
        fx: &mut Fx,
        id: TaskId,
        run_stop: Option<StopReason>,
        began: Option<Moment>,
        ended: Ended,
    ) {
        let now = fx.now;
        // A group that is stopping its children may have taken it for stuck.
        self.tell_parent(id);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if run_stop == Some(StopReason::Group) {
            return self.sleep(fx, id);
        }
        if run_stop == Some(StopReason::Restart) {
            entry.failures = 0;
            entry.last_delay = None;
            return self.want_run(fx, id);
        }
        if ended.exit == Exit::Success || entry.was_healthy(began, now) {
            entry.failures = 0;
            entry.last_delay = None;
        }
        entry.is_retry = false;
        match entry.next(&fx.reading(), ended.exit) {
            Next::Finish => self.finish(fx, id, ended.outcome),
            Next::Exhausted => {
                let retries = entry.failures;
                self.emit(fx, id, |_| EventKind::Exhausted { retries });
                self.finish(fx, id, ended.outcome);
            }
            Next::RestartAfter(delay) => {
                fx.drop_later(ended.outcome);
                // WHY for a tick only now: what is to come by the wall clock may be further away than the next look at it.
                let until = if entry.course.is_some() { now } else { now.saturating_add(delay) };
                self.emit(fx, id, |_| EventKind::Waiting { delay });
                self.rest_until(fx, id, until);
            }
            next @ Next::RestartAfterBackoff => self.retry(fx, id, next, ended),
        }
    }

    fn retry(&mut self, fx: &mut Fx, id: TaskId, next: Next, ended: Ended) {
        let now = self.since_origin(fx.now);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let parent = entry.parent;
        // WHY not for a group: its intensity is that of its children.
        let own = if entry.group.is_none() { entry.count_restart(next, now) } else { None };
        let is_restarted = matches!(own, None | Some(Exhausted::SlowRestart(_)));
        let of_group = parent.filter(|_| is_restarted).and_then(|parent| self.count_in_group(parent, now));
        let verdict = match (own, of_group) {
            (Some(Exhausted::SlowRestart(one)), Some(Exhausted::SlowRestart(other))) => {
                Some(Exhausted::SlowRestart(one.max(other)))
            }
            (own, of_group) => of_group.or(own),
        };
        match (verdict, parent) {
            (Some(Exhausted::SlowRestart(_)) | None, _) => {}
            (Some(verdict), Some(parent)) if of_group.is_some() || verdict == Exhausted::Escalate => {
                fx.drop_later(ended.outcome);
                return self.fail_group(fx, parent, id, ended.error, verdict == Exhausted::Escalate);
            }
            (Some(_), _) => {
                self.emit(fx, id, |_| EventKind::GaveUp);
                return self.finish(fx, id, ended.outcome);
            }
        }
        let slow = match verdict {
            Some(Exhausted::SlowRestart(slow)) => Some(slow),
            _ => None,
        };
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let dice = &mut self.dice;
        let delay = entry.settings.backoff.delay(entry.failures, entry.last_delay, &mut || dice.throw());
        entry.last_delay = Some(delay);
        entry.is_retry = true;
        entry.failures = entry.failures.saturating_add(1);
        let (delay, retry) = (delay.max(slow.unwrap_or_default()), entry.failures);
        self.counts.retried += 1;
        let (error, is_slowed) = (ended.error, slow.is_some());
        fx.drop_later(ended.outcome);
        self.emit(fx, id, |_| EventKind::Retrying { delay, retry, error, is_slowed });
        let due = fx.now.saturating_add(delay);
        if !parent.is_some_and(|parent| self.restart_in_group(fx, parent, id, due)) {
            self.rest_until(fx, id, due);
        }
    }

    // ---- the end of a task ------------------------------------------------------------------------------------------

    /// The task is over: delivers its outcome, once, and removes it when nothing of it runs any more.
    pub(super) fn finish(&mut self, fx: &mut Fx, id: TaskId, outcome: Outcome) {
        let kind = outcome.kind();
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.parent.is_some() && entry.stop.is_none() {
            fx.drop_later(entry.ended.replace(Box::new(outcome)).map(|ended| *ended));
            return self.sleep(fx, id);
        }
        let Some(answer) = entry.answer.take() else { return fx.drop_later(outcome) };
        // Its group goes on without it, also while it has not returned.
        self.agenda.extend(entry.parent.map(Step::Look));
        entry.phase = Phase::Over;
        let (task, rank) = (Arc::clone(&entry.task), entry.rank());
        // It waits for nothing any more, also if some of it has not returned.
        self.waiting.remove(&rank);
        self.permits.remove(&rank);
        for timer in [Timer::Start, Timer::MaxRuntime, Timer::QueueTimeout] {
            self.strike(id, timer);
        }
        fx.settle(&task, answer, outcome);
        self.counts.completed += u64::from(kind == OutcomeKind::Completed);
        self.counts.failed += u64::from(kind.is_failure());
        self.counts.evicted += u64::from(kind == OutcomeKind::Evicted);
        self.rooms.leave(id);
        self.emit(fx, id, |_| EventKind::Finished { outcome: kind });
        let group = self.entries.get(&id).and_then(|entry| entry.group.as_ref());
        self.agenda
            .extend(group.into_iter().flat_map(|group| group.children.iter().rev()).map(|child| Step::End(*child)));
        self.remove_if_returned(fx, id);
    }

    pub(super) fn remove_if_returned(&mut self, fx: &mut Fx, id: TaskId) {
        let Some(entry) = self.entries.get(&id) else { return };
        let children = entry.group.as_ref().map(|group| group.children.as_slice()).unwrap_or_default();
        if entry.answer.is_some() {
            return;
        }
        if children.iter().any(|child| self.entries.contains_key(child)) {
            if entry.group.as_ref().is_some_and(|group| group.is_stuck) {
                entry.show();
                fx.push(Effect::Ring(Arc::clone(&entry.task)));
            }
            return;
        }
        if entry.live.is_none() && entry.fenced.is_empty() {
            return self.remove(fx, id);
        }
        entry.show();
        fx.push(Effect::Ring(Arc::clone(&entry.task)));
        // What is removed takes it along.
        let work = self.entry(id).and_then(|entry| entry.work.take());
        fx.drop_later(work);
    }
}

impl Entry {
    /// Counts a restart, and says what is done when that is one too many.
    fn count_restart(&mut self, next: Next, now: Duration) -> Option<Exhausted> {
        let intensity = self.settings.intensity;
        self.record.get_or_insert_with(|| Box::new(Record::new())).note(intensity, next, now)
    }

    /// What comes after a run that ended like this; a tick of a schedule is followed by the next.
    fn next(&mut self, now: &Reading, exit: Exit) -> Next {
        match &self.schedule {
            Some(schedule) if exit == Exit::Success => {
                // WHY perhaps not there: a run that was asked for may come before the start delay is over.
                let course = self.course.get_or_insert_with(|| Box::new(Course::begin(schedule, now)));
                course.tick_is_over(now);
                Next::RestartAfter(course.due_in(now).unwrap_or(Duration::MAX))
            }
            _ => decide(self.settings.restart, exit, self.failures, self.settings.max_retries),
        }
    }

    /// A run that began then has lasted long enough to end a streak.
    pub(super) fn was_healthy(&self, began: Option<Moment>, now: Moment) -> bool {
        let lasted = began.map_or(Duration::ZERO, |began| began.until(now));
        self.settings.healthy_after.is_some_and(|time| lasted >= time)
    }
}

/// The outcome of a task that was stopped for this; by force when it did not end within its grace and nothing else is to be said.
pub(super) fn stopped_for(stop: StopReason, by_force: bool) -> Outcome {
    match stop {
        StopReason::Evicted => Outcome::Evicted,
        StopReason::MaxRuntime => Outcome::TimedOut,
        _ if by_force => Outcome::ForceAborted,
        _ => Outcome::Cancelled,
    }
}
