//! Futures that are not over: who hears it when their runner or their pool ends.
//!
//! A future that nobody polls lies in no queue. Only its wakers know it, and they may never be woken. So the pool keeps a weak list of all its futures, by runner: a place is taken when
//! one is spawned and given back when it is over, each by a few instructions under a lock.
//!
//! Who ends a runner or the pool asks each of them to end: that is queued on its runner like a task, behind what waits there, and drops the future in its turn.
//!
//! | end | which futures | when |
//! |---|---|---|
//! | `close(Discard)` | those of the runner | after the door was closed: a later one is refused by its first post |
//! | shutdown starts | all but those that block shutdown, whose polls are accepted until it is complete | before it starts, so that workers are there to drop them |
//! | shutdown is complete | the rest | after; where nobody runs tasks any more, on the thread that completed it |
//!
//! The bad interleaving: a future is spawned while the list is gone through. Excluded since each end first sets what refuses a newcomer, and the list's lock orders that: a
//! place is taken before the first post, so either the end finds it in the list, or it finds the door closed.
//!
//! Witnessed by `tests/env/endings.rs`.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::core::Core;
use super::task_builder::Target;
use crate::sync::Mutex;
use crate::task::raw::{Discard, Task};
use crate::task::traits::{Meta, TaskTraits};

/// A future that is not over.
pub(crate) trait Dormant: Send + Sync {
    /// Has it dropped on its runner; a poll that runs is finished first.
    fn end_soon(self: Arc<Self>, why: Discard);
}

/// A runner as its futures see it.
pub(crate) trait Host: Target + Clone + Send + Sync + 'static {
    fn core(&self) -> &Arc<Core>;
    /// Tells runners apart; 0 for the pool itself.
    fn number(&self) -> u64;
    fn meta(&self, traits: TaskTraits) -> Meta;
    /// Queues a task that belongs to what was accepted before: no closed door and no full queue refuses it. It was admitted, or does not block shutdown.
    fn push_accepted(&self, task: Task);
}

/// How far the pool is on its way to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Open,
    Started,
    Complete,
}

struct Entry {
    future: Weak<dyn Dormant>,
    blocks_shutdown: bool,
}

/// The futures of one runner.
#[derive(Default)]
struct Places {
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
}

#[derive(Default)]
struct State {
    stage: Stage,
    runners: HashMap<u64, Places>,
}

/// The futures of a pool that are not over.
#[derive(Default)]
pub(crate) struct Dormants(Mutex<State>);

/// A place in the list, to be given back.
#[derive(Debug)]
pub(crate) struct Place {
    runner: u64,
    index: usize,
}

impl Dormants {
    /// Takes a place; `None` when the pool ends none too soon for this future to be heard of.
    pub(crate) fn add(&self, runner: u64, future: Weak<dyn Dormant>, blocks_shutdown: bool) -> Option<Place> {
        let mut state = self.0.lock();
        let closed_from = if blocks_shutdown { Stage::Complete } else { Stage::Started };
        if state.stage >= closed_from {
            return None;
        }
        let places = state.runners.entry(runner).or_default();
        let entry = Some(Entry { future, blocks_shutdown });
        let index = places.free.pop().unwrap_or(places.entries.len());
        if index == places.entries.len() {
            places.entries.push(entry);
        } else {
            places.entries[index] = entry;
        }
        Some(Place { runner, index })
    }

    /// Gives a place back.
    pub(crate) fn remove(&self, place: Place) {
        let (entry, emptied);
        {
            let mut state = self.0.lock();
            let Some(places) = state.runners.get_mut(&place.runner) else { return };
            entry = places.entries[place.index].take();
            places.free.push(place.index);
            let is_empty = places.free.len() == places.entries.len();
            emptied = is_empty.then(|| state.runners.remove(&place.runner));
        }
        drop((entry, emptied));
    }

    /// Ends the futures of one runner, which refuses new ones by now.
    pub(crate) fn end_of(&self, runner: u64) {
        let ended = match self.0.lock().runners.get(&runner) {
            Some(places) => places.living(|_| true),
            None => return,
        };
        ended.into_iter().for_each(|future| future.end_soon(Discard::Closed));
    }

    /// Shutdown is about to start: ends all whose polls it would refuse.
    pub(crate) fn end_all_but_blocking(&self) {
        self.end_all(Stage::Started, |entry| !entry.blocks_shutdown);
    }

    /// Shutdown is complete: ends the rest.
    pub(crate) fn end_rest(&self) {
        self.end_all(Stage::Complete, |_| true);
    }

    fn end_all(&self, stage: Stage, is_meant: impl Fn(&Entry) -> bool) {
        let mut ended: Vec<(u64, Vec<Arc<dyn Dormant>>)> = {
            let mut state = self.0.lock();
            state.stage = state.stage.max(stage);
            state.runners.iter().map(|(runner, places)| (*runner, places.living(&is_meant))).collect()
        };
        // WHY: the same seed is to give the same order.
        ended.sort_unstable_by_key(|(runner, _)| *runner);
        ended.into_iter().flat_map(|(_, futures)| futures).for_each(|future| future.end_soon(Discard::ShutDown));
    }
}

impl Places {
    fn living(&self, is_meant: impl Fn(&Entry) -> bool) -> Vec<Arc<dyn Dormant>> {
        let meant = self.entries.iter().flatten().filter(|entry| is_meant(entry));
        meant.filter_map(|entry| entry.future.upgrade()).collect()
    }
}
