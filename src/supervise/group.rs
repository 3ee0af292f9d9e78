//! Groups: children that are started in order, restarted together, and stopped in reverse (SUP-14).
//!
//! A group is an entry of the house whose run is that of its children. It is looked at whenever something about a child has changed, and does what its stage calls for:
//!
//! | stage | what it does | who leaves it |
//! |---|---|---|
//! | `Idle` | nothing: its run has not begun, or is over | the begin of its run |
//! | `Starting` | starts the next child, once the one before is ready or over | the last child: to `Up` |
//! | `Up` | waits; when all children are over the run has ended | a failure that restarts several, or too many of them: to `Stopping` |
//! | `Stopping` | tells the last child that is active to stop, one after the other | the first child's end: to `Pausing`, or the end of the run |
//! | `Pausing` | waits for the backoff | the calendar: to `Starting` |
//!
//! A child that has no run and shall have none is *dormant*. It stays in the house with its name until the group is over, so that it can be started anew.
//!
//! Looks are noted in an agenda and worked off one after the other, so that nesting costs no stack.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use super::event::{EventKind, StopReason};
use super::house::{House, Phase, Timer};
use super::intensity::{Exhausted, Record};
use super::keeper::{Effect, Fx};
use super::life::{Ended, stopped_for};
use super::outcome::{Outcome, RunError, SharedError};
use super::restart::{Exit, Next};
use super::spec::{Strategy, TaskId};
use crate::time::Moment;

/// What is worked off after a change.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Something about a child of this group has changed.
    Look(TaskId),
    /// The group of this child is over.
    End(TaskId),
}

pub(super) struct Group {
    pub(super) strategy: Strategy,
    pub(super) children: Vec<TaskId>,
    /// Leaves the result of a run that succeeded.
    pub(super) done: Box<dyn FnMut() + Send>,
    /// The restarts of its children.
    pub(super) record: Record,
    pub(super) stage: Stage,
    /// It is told to stop, and waits for nothing but children that are stuck.
    pub(super) is_stuck: bool,
}

pub(super) enum Stage {
    Idle,
    /// The child that is started next.
    Starting(usize),
    Up,
    Stopping {
        from: usize,
        then: Then,
    },
    /// From which child on they are started when the pause is over.
    Pausing(usize),
}

/// What comes when the children are stopped.
pub(super) enum Then {
    /// They are started again, not before that moment.
    Restart(Moment),
    /// The group is stopped with its own group, and is dormant.
    Sleep,
    /// The group's run has ended: because it is stopped, or with this failure, which may be one of its own group.
    End(Option<(SharedError, bool)>),
}

/// What a group sees of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Child {
    /// It was stopped by hand, and is gone for good.
    Gone,
    /// It has no run and shall have none; true if it is over by itself.
    Dormant(bool),
    Stuck,
    /// True when the next one may start.
    Active(bool),
}

impl Group {
    /// Some of its children run, and others are about to be started again.
    pub(super) fn is_pausing(&self) -> bool {
        matches!(self.stage, Stage::Pausing(_))
    }

    /// Its run is about to end, whatever is asked for meanwhile.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Stopping { then: Then::Sleep | Then::End(_), .. })
    }
}

impl House {
    fn child(&self, id: TaskId) -> Child {
        let Some(entry) = self.entries.get(&id).filter(|entry| entry.answer.is_some()) else { return Child::Gone };
        match entry.phase {
            Phase::Dormant => Child::Dormant(entry.ended.is_some()),
            _ if entry.live.as_ref().is_some_and(|live| live.is_stuck) => Child::Stuck,
            _ if entry.group.as_ref().is_some_and(|group| group.is_stuck) => Child::Stuck,
            _ => Child::Active(entry.is_ready),
        }
    }

    fn children(&self, id: TaskId) -> Vec<TaskId> {
        self.entries.get(&id).and_then(|entry| entry.group.as_ref()).map(|g| g.children.clone()).unwrap_or_default()
    }

    /// The groups that a task is in, from the inside.
    pub(super) fn groups_of(&self, id: TaskId) -> Vec<TaskId> {
        let parent = |id: &TaskId| self.entries.get(id)?.parent;
        std::iter::successors(parent(&id), parent).collect()
    }

    /// A group that it is in is stopping its children, it among them.
    pub(super) fn is_being_stopped(&self, id: TaskId) -> bool {
        let mut child = id;
        while let Some(parent) = self.entries.get(&child).and_then(|entry| entry.parent) {
            let group = self.entries.get(&parent).and_then(|entry| entry.group.as_deref());
            if let Some(Group { children, stage: Stage::Stopping { from, .. }, .. }) = group {
                if *from == 0 || children.iter().skip(*from).any(|other| *other == child) {
                    return true;
                }
            }
            child = parent;
        }
        false
    }

    fn set_stage(&mut self, id: TaskId, stage: Stage) {
        if let Some(group) = self.entries.get_mut(&id).and_then(|entry| entry.group.as_mut()) {
            group.stage = stage;
            group.is_stuck = false;
        }
        self.agenda.push_back(Step::Look(id));
    }

    /// Has the group of this task look at it.
    pub(super) fn tell_parent(&mut self, id: TaskId) {
        if let Some(parent) = self.entries.get(&id).and_then(|entry| entry.parent) {
            self.agenda.push_back(Step::Look(parent));
        }
    }

    /// Works off what a change has left to do.
    pub(super) fn work_off(&mut self, fx: &mut Fx) {
        while let Some(step) = self.agenda.pop_front() {
            match step {
                Step::Look(id) => self.look(fx, id),
                Step::End(id) => self.end_child(fx, id),
            }
        }
    }

    /// The run of a group begins.
    pub(super) fn begin_group(&mut self, fx: &mut Fx, id: TaskId) {
        let now = fx.now;
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Some(Group { stage: Stage::Pausing(from), .. }) = entry.group.as_deref() {
            let from = *from;
            return self.set_stage(id, Stage::Starting(from));
        }
        entry.generation += 1;
        entry.attempt = entry.failures.saturating_add(1);
        entry.phase = Phase::Live;
        entry.is_ready = false;
        entry.show_group(now);
        let limit = entry.settings.max_runtime.filter(|_| !entry.has_begun);
        entry.has_begun = true;
        if let Some(limit) = limit {
            self.at(id, Timer::MaxRuntime, now.saturating_add(limit));
        }
        self.emit(fx, id, |_| EventKind::Started);
        for child in self.children(id) {
            if let Some(child) = self.entries.get_mut(&child) {
                fx.drop_later(child.ended.take().map(|ended| *ended));
                (child.failures, child.last_delay) = (0, None);
            }
        }
        self.set_stage(id, Stage::Starting(0));
    }

    /// A group that is restarted by hand forgets the failures before, its own and those of its children.
    pub(super) fn begin_streaks(&mut self, id: TaskId) {
        for id in self.children(id).into_iter().chain([id]) {
            if let Some(entry) = self.entries.get_mut(&id) {
                (entry.failures, entry.last_delay) = (0, None);
            }
        }
    }

    /// Does what the stage of a group calls for.
    fn look(&mut self, fx: &mut Fx, id: TaskId) {
        let Some(entry) = self.entries.get(&id) else { return };
        if entry.answer.is_none() {
            return self.remove_if_returned(fx, id);
        }
        match entry.group.as_ref().map(|group| &group.stage) {
            Some(Stage::Starting(next)) => {
                let next = *next;
                self.start_children(fx, id, next);
            }
            Some(Stage::Up) => self.look_for_the_end(fx, id),
            Some(Stage::Stopping { from, .. }) => {
                let from = *from;
                self.stop_children(fx, id, from);
            }
            Some(Stage::Idle | Stage::Pausing(_)) | None => {}
        }
    }

    fn start_children(&mut self, fx: &mut Fx, id: TaskId, next: usize) {
        let children = self.children(id);
        let before = next.checked_sub(1).and_then(|before| children.get(before));
        let may_go_on = before.is_none_or(|before| {
            matches!(self.child(*before), Child::Gone | Child::Dormant(true) | Child::Active(true))
        });
        if !may_go_on {
            return;
        }
        let Some(child) = children.get(next).copied() else {
            self.set_stage(id, Stage::Up);
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.is_ready = true;
                entry.task.view.lock().is_ready = true;
                fx.push(Effect::Ring(Arc::clone(&entry.task)));
            }
            self.emit(fx, id, |_| EventKind::Ready);
            return self.tell_parent(id);
        };
        self.set_stage(id, Stage::Starting(next + 1));
        // WHY: one that was stopped by hand may be there, and not have returned.
        if self.child(child) == Child::Gone {
            return;
        }
        if let Some(entry) = self.entries.get_mut(&child) {
            entry.is_ready = false;
            fx.drop_later(entry.ended.take().map(|ended| *ended));
            self.begin_life(fx, child);
        }
    }

    fn look_for_the_end(&mut self, fx: &mut Fx, id: TaskId) {
        let children = self.children(id);
        if !children.iter().all(|child| matches!(self.child(*child), Child::Gone | Child::Dormant(true))) {
            return;
        }
        let is_empty = children.iter().all(|child| self.child(*child) == Child::Gone);
        let failed = children.iter().find_map(|child| {
            let entry = self.entries.get(child)?;
            let ended = entry.ended.as_ref().filter(|ended| ended.kind().is_failure())?;
            Some(RunError::Child(entry.task.name.to_string(), ended.error().cloned()))
        });
        self.set_stage(id, Stage::Idle);
        let duration = self.group_lasted(fx, id);
        match failed {
            Some(error) => {
                let error: SharedError = Arc::new(error);
                self.tell_failure(fx, id, &error);
                self.finish(fx, id, Outcome::Failed(error));
            }
            None => {
                self.emit(fx, id, |_| EventKind::Succeeded { duration });
                let Some(entry) = self.entries.get_mut(&id) else { return };
                if let Some(group) = &mut entry.group {
                    (group.done)();
                }
                // Nothing would run in a further run of it, which would be over at once.
                if is_empty {
                    return self.finish(fx, id, Outcome::Completed(()));
                }
                self.go_on(
                    fx,
                    id,
                    None,
                    None,
                    Ended { exit: Exit::Success, outcome: Outcome::Completed(()), error: None },
                );
            }
        }
    }

    fn group_lasted(&self, fx: &Fx, id: TaskId) -> Duration {
        let began = self.entries.get(&id).and_then(|entry| entry.task.view.lock().began);
        began.map_or(Duration::ZERO, |began| began.until(fx.now))
    }

    /// Notes and tells the error that a group's run ended with.
    fn tell_failure(&mut self, fx: &mut Fx, id: TaskId, error: &SharedError) {
        let (at, duration) = (self.since_origin(fx.now), self.group_lasted(fx, id));
        if let Some(entry) = self.entries.get(&id) {
            entry.note(fx, at, Arc::clone(error));
        }
        let error = Arc::clone(error);
        self.emit(fx, id, |_| EventKind::Failed { duration, error, is_fatal: false, is_panic: false });
    }

    // ---- stopping ---------------------------------------------------------------------------------------------------

    /// Stops the children of a group that has a run, and then ends it.
    pub(super) fn stop_group(&mut self, id: TaskId, then: Then) {
        // A pause that this ends must not begin a run later.
        self.strike(id, Timer::Start);
        self.set_stage(id, Stage::Stopping { from: 0, then });
    }

    fn stop_children(&mut self, fx: &mut Fx, id: TaskId, from: usize) {
        let children = self.children(id);
        let last = children.iter().skip(from).rev().find(|child| matches!(self.child(**child), Child::Active(_)));
        if let Some(last) = last {
            return self.stop_child(fx, *last);
        }
        let is_stuck = children.iter().skip(from).any(|child| self.child(*child) == Child::Stuck);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let (stop, has_parent) = (entry.stop, entry.parent.is_some());
        let Some(group) = &mut entry.group else { return };
        let Stage::Stopping { then, .. } = std::mem::replace(&mut group.stage, Stage::Idle) else { return };
        group.is_stuck = is_stuck && !matches!(then, Then::Restart(_));
        match (then, stop) {
            (_, Some(stop)) => self.finish(fx, id, stopped_for(stop, is_stuck)),
            // It may be started again, and must not be while anything of it runs.
            (then, None) if is_stuck && (has_parent || matches!(then, Then::Restart(_))) => {
                group.stage = Stage::Stopping { from, then };
                self.tell_parent(id);
            }
            (Then::Restart(due), None) => {
                group.stage = Stage::Pausing(from);
                if due <= fx.now {
                    return self.begin_group(fx, id);
                }
                self.at(id, Timer::Start, due);
            }
            (Then::Sleep, None) => {
                self.sleep(fx, id);
            }
            (Then::End(None), None) => self.finish(fx, id, Outcome::Cancelled),
            (Then::End(Some((error, escalates))), None) => self.group_failed(fx, id, error, escalates && has_parent),
        }
    }

    /// The children of a group could not be kept alive.
    fn group_failed(&mut self, fx: &mut Fx, id: TaskId, error: SharedError, escalates: bool) {
        self.tell_failure(fx, id, &error);
        let outcome = Outcome::Failed(Arc::clone(&error));
        if escalates {
            let began = self.entries.get(&id).and_then(|entry| entry.task.view.lock().began);
            return self.go_on(fx, id, None, began, Ended { exit: Exit::Failed, outcome, error: Some(error) });
        }
        self.emit(fx, id, |_| EventKind::GaveUp);
        self.finish(fx, id, outcome);
    }

    /// Tells an active child to stop, unless it has been told.
    fn stop_child(&mut self, fx: &mut Fx, id: TaskId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.stop.is_some() {
            return;
        }
        if let (Some(group), Phase::Live) = (&entry.group, entry.phase) {
            if !group.is_ending() {
                self.emit(fx, id, |_| EventKind::Stopping { reason: StopReason::Group });
                self.stop_group(id, Then::Sleep);
            }
            return;
        }
        match &mut entry.live {
            Some(live) if live.stop.is_some() => (live.stop, live.is_last) = (Some(StopReason::Group), false),
            Some(_) => self.stop_run(fx, id, StopReason::Group),
            None => self.sleep(fx, id),
        }
    }

    /// The task has no run, and shall have none until its group starts it.
    pub(super) fn sleep(&mut self, fx: &mut Fx, id: TaskId) {
        self.strike(id, Timer::Start);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let rank = entry.rank();
        entry.phase = Phase::Dormant;
        entry.show();
        fx.push(Effect::Ring(Arc::clone(&entry.task)));
        self.permits.remove(&rank);
        self.tell_parent(id);
    }

    /// Ends a child whose group is over.
    fn end_child(&mut self, fx: &mut Fx, id: TaskId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.stop.get_or_insert(StopReason::Group);
        let is_stuck = entry.live.as_ref().is_some_and(|live| live.is_stuck)
            || entry.group.as_ref().is_some_and(|group| group.is_stuck);
        let ended = entry.ended.take().map(|ended| *ended);
        let outcome = ended.unwrap_or(if is_stuck { Outcome::ForceAborted } else { Outcome::Cancelled });
        self.finish(fx, id, outcome);
    }

    // ---- failures of children ---------------------------------------------------------------------------------------

    /// A child of a group is to be restarted: counts that for the group. `Err`: the group cannot go on with it.
    pub(super) fn count_in_group(&mut self, parent: TaskId, now: Duration) -> Option<Exhausted> {
        let entry = self.entries.get_mut(&parent)?;
        entry.group.as_mut()?.record.note(entry.settings.intensity, Next::RestartAfterBackoff, now)
    }

    /// Too many restarts of this child, or of all: the group's run ends as a failure, which may be one of its own group.
    pub(super) fn fail_group(
        &mut self,
        fx: &mut Fx,
        parent: TaskId,
        id: TaskId,
        error: Option<SharedError>,
        escalates: bool,
    ) {
        let name = self.entries.get(&id).map_or_else(String::new, |entry| entry.task.name.to_string());
        let error: SharedError = Arc::new(RunError::Child(name, error));
        self.sleep(fx, id);
        if escalates {
            self.emit(fx, parent, |_| EventKind::Escalated);
        }
        let parent_is_up = self.entries.get(&parent).is_some_and(|entry| {
            let is_ending = entry.group.as_deref().is_some_and(Group::is_ending);
            entry.stop.is_none() && entry.phase == Phase::Live && !is_ending
        });
        if parent_is_up {
            self.stop_group(parent, Then::End(Some((error, escalates))));
        }
    }

    /// Restarts what the strategy of the group says, a child's failure given; false when that is the child alone.
    pub(super) fn restart_in_group(&mut self, fx: &mut Fx, parent: TaskId, id: TaskId, due: Moment) -> bool {
        let Some(group) = self.entries.get_mut(&parent).and_then(|entry| entry.group.as_mut()) else { return false };
        let from = match group.strategy {
            Strategy::OneForOne => return false,
            Strategy::OneForAll => 0,
            Strategy::RestForOne => group.children.iter().position(|child| *child == id).unwrap_or_default(),
        };
        let stage = match group.stage {
            Stage::Stopping { from: before, then: Then::Restart(before_due) } => {
                Some(Stage::Stopping { from: from.min(before), then: Then::Restart(due.max(before_due)) })
            }
            Stage::Stopping { .. } => None,
            Stage::Pausing(before) => Some(Stage::Stopping { from: from.min(before), then: Then::Restart(due) }),
            _ => Some(Stage::Stopping { from, then: Then::Restart(due) }),
        };
        if let Some(stage) = stage {
            self.strike(parent, Timer::Start);
            self.set_stage(parent, stage);
        }
        self.sleep(fx, id);
        true
    }
}
