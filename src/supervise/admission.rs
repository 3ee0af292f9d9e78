//! Who is accepted, and who may run: names, places, eviction, waiting, slots (SUP-9, SUP-10, SUP-11).
//!
//! A *place* is held from admission until the last run has physically returned. Who finds none free may *evict*: the newcomer is noted as waiting first, and then the victim is told
//! (never the other way round: the freed place would go to somebody else); it starts when a place is physically free. One victim per submission. A newcomer that waits for its victim's place is itself among
//! those who can be evicted by somebody still more important.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::Arc;

use super::choice::Holder;
use super::event::{EventKind, StopReason};
use super::group::Step;
use super::house::{Entry, House, NewTask, Pending, Phase, Timer};
use super::keeper::{Effect, Fx};
use super::outcome::{Outcome, Rejection};
use super::spec::{Admission, TaskId};
use crate::error::SubmitReason;
use crate::task::current::Name;
use crate::zoo;

/// A key that is in use.
pub(super) struct Slot {
    pub(super) owner: TaskId,
    /// Who comes next; true for one that replaces.
    pub(super) pending: Pending,
}

/// What a submission asks for.
pub(super) struct Request<'a> {
    pub(super) name: &'a Name,
    pub(super) priority: i32,
    pub(super) slot: Option<&'a (Name, Admission)>,
    /// It waits for a place as long as it takes.
    pub(super) is_patient: bool,
    /// The names of all that it consists of.
    pub(super) below: &'a [Name],
}

/// How a submission is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    /// There is a place.
    Place,
    /// It waits for the place of this one.
    Evicting(TaskId),
    /// It waits for a place.
    Waiting,
    /// It waits for its turn in its slot.
    Slot,
}

impl House {
    /// Whether a submission is accepted, and how; changes nothing.
    pub(super) fn examine(&self, request: &Request<'_>) -> Result<Accepted, SubmitReason> {
        if self.is_closing {
            return Err(SubmitReason::ShutDown);
        }
        let slot = request.slot.and_then(|(key, admission)| Some((self.slots.get(key)?, *admission)));
        if let Some(holder) = self.names.get(request.name) {
            let replaces = slot.is_some_and(|(slot, admission)| {
                let is_replaced = slot.owner == *holder || slot.pending.front() == Some(&(*holder, true));
                admission == Admission::Replace && is_replaced
            });
            if !replaces {
                return Err(SubmitReason::AlreadyExists);
            }
        }
        if !request.below.is_empty() {
            let mut below: BTreeSet<_> = [request.name].into();
            if request.below.iter().any(|name| self.names.contains_key(name) || !below.insert(name)) {
                return Err(SubmitReason::AlreadyExists);
            }
        }
        if let Some((slot, admission)) = slot {
            return match admission {
                Admission::DropIfRunning => Err(SubmitReason::SlotBusy),
                Admission::Queue if slot.pending.len() >= self.limits.slot_max => Err(SubmitReason::Limit),
                Admission::Queue | Admission::Replace => Ok(Accepted::Slot),
            };
        }
        if self.counts.places < self.limits.capacity {
            return Ok(Accepted::Place);
        }
        if let Some(victim) = self.rooms.victim(request.priority) {
            return Ok(Accepted::Evicting(victim));
        }
        let has_room = self.limits.queue.is_some_and(|(most, _)| self.waiting.len() < most);
        if has_room || request.is_patient { Ok(Accepted::Waiting) } else { Err(SubmitReason::Full) }
    }

    pub(super) fn next_id(&mut self) -> TaskId {
        self.last_id += 1;
        TaskId(self.last_id)
    }

    /// Takes in what was accepted.
    pub(super) fn take_in(
        &mut self,
        fx: &mut Fx,
        new: NewTask,
        admission: Option<Admission>,
        accepted: Accepted,
        is_patient: bool,
    ) {
        let (id, name, slot) = (new.task.id, Arc::clone(&new.task.name), new.slot.clone());
        self.last_order += 1;
        self.counts.submitted += 1;
        self.entries.insert(id, Box::new(Entry::new(new, self.last_order)));
        self.names.insert(name, id);
        self.emit(fx, id, |_| EventKind::Submitted);
        if let (Some(key), true) = (&slot, accepted != Accepted::Slot) {
            self.slots.insert(Arc::clone(key), Slot { owner: id, pending: Pending::new() });
        }
        match accepted {
            Accepted::Place => self.give_place(fx, id),
            Accepted::Evicting(victim) => {
                let is_late = zoo::has("Z20");
                if !is_late {
                    self.wait_for_place(id);
                    self.enter_rooms(id);
                }
                self.emit(fx, victim, |_| EventKind::Evicted { by: id });
                self.stop(fx, victim, StopReason::Evicted);
                if is_late {
                    self.wait_for_place(id);
                    self.enter_rooms(id);
                }
            }
            Accepted::Waiting => {
                self.wait_for_place(id);
                let limit = self.limits.queue.filter(|_| !is_patient).map(|(_, limit)| limit);
                if let Some(limit) = limit {
                    self.at(id, Timer::QueueTimeout, fx.now.saturating_add(limit));
                }
            }
            Accepted::Slot => {
                if let Some(entry) = self.entry(id) {
                    entry.phase = Phase::Slot;
                    entry.show();
                }
                if let Some(key) = slot {
                    self.queue_in_slot(fx, id, &key, admission == Some(Admission::Replace));
                }
            }
        }
    }

    fn queue_in_slot(&mut self, fx: &mut Fx, id: TaskId, key: &Name, replaces: bool) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if !replaces {
            return slot.pending.push_back((id, false));
        }
        let owner = slot.owner;
        let superseded = slot.pending.front().filter(|(_, replaces)| *replaces).map(|(id, _)| *id);
        if superseded.is_some() {
            slot.pending.pop_front();
        }
        slot.pending.push_front((id, true));
        if let Some(superseded) = superseded {
            self.emit(fx, superseded, |_| EventKind::Superseded { by: id });
            self.reject(fx, superseded, Rejection::Superseded);
        }
        // Told first: an owner without a run is gone when it is stopped.
        if self.entries.get(&owner).is_some_and(|entry| entry.stop.is_none() && entry.answer.is_some()) {
            self.emit(fx, owner, |_| EventKind::Superseded { by: id });
            self.stop(fx, owner, StopReason::Replaced);
        }
    }

    /// Takes in a child of a group; it has no place of its own, and sleeps until it is started.
    pub(super) fn take_in_child(&mut self, fx: &mut Fx, new: NewTask) {
        let (id, name) = (new.task.id, Arc::clone(&new.task.name));
        self.last_order += 1;
        let mut entry = Entry::new(new, self.last_order);
        entry.phase = Phase::Dormant;
        self.entries.insert(id, Box::new(entry));
        self.names.insert(name, id);
        self.emit(fx, id, |_| EventKind::Submitted);
    }

    // ---- places -----------------------------------------------------------------------------------------------------

    fn wait_for_place(&mut self, id: TaskId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.phase = Phase::Place;
        self.waiting.insert(entry.rank());
        entry.show();
    }

    fn enter_rooms(&mut self, id: TaskId) {
        self.last_order += 1;
        let started = self.last_order;
        if let Some(entry) = self.entries.get(&id) {
            self.rooms.enter(Holder { id, priority: entry.priority, started });
        }
    }

    fn give_place(&mut self, fx: &mut Fx, id: TaskId) {
        self.strike(id, Timer::QueueTimeout);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.has_place = true;
        self.counts.places += 1;
        self.enter_rooms(id);
        self.emit(fx, id, |_| EventKind::Admitted);
        self.begin_life(fx, id);
    }

    /// Gives free places to those who wait.
    pub(super) fn serve_places(&mut self, fx: &mut Fx) {
        while self.counts.places < self.limits.capacity {
            let Some((.., id)) = self.waiting.pop_first() else { return };
            self.give_place(fx, id);
        }
    }

    /// Takes effect at once: more get a place now; whoever has one keeps it.
    pub(super) fn set_capacity(&mut self, fx: &mut Fx, capacity: usize) {
        self.limits.capacity = capacity;
        self.serve_places(fx);
    }

    // ---- the end ----------------------------------------------------------------------------------------------------

    /// Ends a task that never ran.
    pub(super) fn reject(&mut self, fx: &mut Fx, id: TaskId, why: Rejection) {
        let never_ran = self.entry(id).is_some_and(|entry| !entry.has_place);
        if never_ran {
            self.emit(fx, id, |_| EventKind::Rejected { reason: why });
            self.finish(fx, id, Outcome::Rejected(why));
        }
    }

    /// The task has physically ended: frees what it had, and gives it to whoever waits for it.
    pub(super) fn remove(&mut self, fx: &mut Fx, id: TaskId) {
        self.emit(fx, id, |_| EventKind::Removed);
        let Some(mut entry) = self.entries.remove(&id) else { return };
        self.strike_all(&mut entry);
        self.rooms.leave(id);
        self.waiting.remove(&entry.rank());
        self.permits.remove(&entry.rank());
        if entry.has_place {
            self.counts.places -= 1;
        }
        let next = entry.slot.as_ref().and_then(|key| self.leave_slot(key, id));
        self.release_name(&entry, id);
        // WHY first: who has waited for the end finds the body dropped.
        fx.drop_later(entry.work.take());
        fx.push(Effect::Ended(Arc::clone(&entry.task)));
        self.agenda.extend(entry.parent.map(Step::Look));
        fx.drop_later(entry);
        // One that is over, and about to be removed, passes its turn on then.
        let next = next.filter(|next| self.entries.get(next).is_some_and(|entry| entry.answer.is_some()));
        if let Some(next) = next {
            self.wait_for_place(next);
        }
        self.serve_places(fx);
        self.serve_permits(fx);
    }

    /// Takes a task out of its slot; the one whose turn it is then.
    fn leave_slot(&mut self, key: &Name, id: TaskId) -> Option<TaskId> {
        let slot = self.slots.get_mut(key)?;
        if slot.owner != id {
            slot.pending.retain(|(pending, _)| *pending != id);
            return None;
        }
        if let Some((next, _)) = slot.pending.pop_front() {
            slot.owner = next;
            return Some(next);
        }
        self.slots.remove(key);
        None
    }

    /// The name is free, unless somebody of the same slot carries it too.
    fn release_name(&mut self, entry: &Entry, id: TaskId) {
        let name = &entry.task.name;
        if zoo::has("Z18") {
            self.names.remove(name);
            return;
        }
        if self.names.get(name) != Some(&id) {
            return;
        }
        let slot = entry.slot.as_ref().and_then(|key| self.slots.get(key));
        let others = slot.into_iter().flat_map(|slot| slot.pending.iter().map(|(id, _)| *id).chain([slot.owner]));
        let namesake = others.into_iter().find(|other| {
            let other = self.entries.get(other);
            other.is_some_and(|other| other.task.name == *name)
        });
        match namesake {
            Some(other) => _ = self.names.insert(Arc::clone(name), other),
            None => _ = self.names.remove(name),
        }
    }

    pub(super) fn set_priority(&mut self, fx: &mut Fx, id: TaskId, priority: i32) -> bool {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.phase != Phase::Over) else { return false };
        let before = entry.rank();
        entry.priority = priority;
        let after = entry.rank();
        for queue in [&mut self.waiting, &mut self.permits] {
            if queue.remove(&before) {
                queue.insert(after);
            }
        }
        self.rooms.set_priority(id, priority);
        if before != after {
            self.emit(fx, id, |_| EventKind::PriorityChanged { priority });
        }
        true
    }
}
