//! All that one supervisor knows: its tasks, who has which place, slot, permit and name, and the calendar of what is due.
//!
//! Plain data under one lock; see `keeper` for what is done outside of it. The methods are spread by subject:
//!
//! | file | subject |
//! |---|---|
//! | `house` | the data, the calendar, events |
//! | `admission` | names, places, eviction, waiting, slots |
//! | `life` | runs: permits, begin, end, what comes next, the end of a task |
//! | `stopping` | cancel, grace, stuck runs, restart, pause, shutdown |
//! | `watchdog` | signs of life |
//! | `group` | tasks that belong together |
//!
//! # A task
//!
//! | phase | has a place | who leaves it |
//! |---|---|---|
//! | `Slot` | no | the one before it in its slot, when it is removed |
//! | `Place` | no | whoever frees a place |
//! | `Permit` | yes | whoever frees a permit |
//! | `Pause` | yes | a resume |
//! | `Rest` | yes | its date in the calendar: a backoff, an interval, a start delay |
//! | `Live` | yes | the end of the run |
//! | `Dormant` | no | its group: by starting it, or when it is over |
//! | `Over` | yes | the physical end of the last run; its outcome has been delivered |
//!
//! In every phase but `Live` and `Over` a stop ends the task at once. INVARIANT: a task has a live run in `Live` only, so there are never two (SUP-2); runs that were
//! fenced off are not live.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::admission::Slot;
use super::choice::{Rooms, TieBreak};
use super::context::Run;
use super::event::{Event, EventKind, StopReason};
use super::group::{Group, Step};
use super::intensity::Record;
use super::keeper::{Effect, Fx, Keeper};
use super::outcome::{ErrorRecord, Outcome, Settle, SharedError};
use super::roll::Roll;
use super::settings::{Settings, Wishes};
use super::spec::{TaskId, Work};
use super::subscriber::Subscriber;
use super::task::{ERRORS_MAX, Task, TaskStatus};
use super::watchdog::Watch;
use crate::task::cancel::Cancelled;
use crate::task::current::Name;
use crate::time::{Course, Dice, Moment, Schedule};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Slot,
    Place,
    Permit,
    Pause,
    Rest,
    Live,
    /// A child of a group that has no run and shall have none.
    Dormant,
    Over,
}

/// What is in the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// The next run may start, or its schedule is to be looked at.
    Start,
    AttemptTimeout,
    MaxRuntime,
    Grace,
    QueueTimeout,
    /// Of nobody: the watchdog looks around.
    Sweep,
}

/// The run that goes on.
pub(super) struct Live {
    pub(super) run: Arc<Run>,
    /// `None` while it waits for a worker.
    pub(super) began: Option<Moment>,
    /// Why this run, not the task, is stopped.
    pub(super) stop: Option<StopReason>,
    /// That is a failure after which there is no further try.
    pub(super) is_last: bool,
    pub(super) is_cancelled: bool,
    pub(super) is_future: bool,
    pub(super) is_aborted: bool,
    pub(super) is_stuck: bool,
}

/// One task.
pub(super) struct Entry {
    pub(super) task: Arc<Task>,
    /// Its own, or those of all that say nothing.
    pub(super) settings: Arc<Settings>,
    pub(super) priority: i32,
    /// Grows from submission to submission.
    pub(super) order: u64,
    /// Who came first, of those of one priority that wait for the same: as `order`, until it waits for a permit.
    pub(super) turn: u64,
    pub(super) slot: Option<Name>,
    pub(super) schedule: Option<Box<Schedule>>,
    /// How far it has come in its schedule, since its life began.
    pub(super) course: Option<Box<Course>>,
    /// The next run repeats one that failed.
    pub(super) is_retry: bool,
    pub(super) start_delay: Duration,
    pub(super) phase: Phase,
    pub(super) has_place: bool,
    pub(super) is_paused: bool,
    /// Away during a run, unless another one may be needed before it has returned.
    pub(super) work: Option<Work>,
    /// Who waits for the outcome, until it is delivered.
    pub(super) answer: Option<Arc<dyn Settle>>,
    /// Why the task is stopped; the first cause stays.
    pub(super) stop: Option<StopReason>,
    pub(super) live: Option<Live>,
    /// Runs that are stuck and have been replaced.
    pub(super) fenced: Vec<u64>,
    pub(super) generation: u64,
    pub(super) attempt: u32,
    /// Failures in a row.
    pub(super) failures: u32,
    pub(super) last_delay: Option<Duration>,
    /// Its restarts; `None` before the first.
    pub(super) record: Option<Box<Record>>,
    pub(super) has_begun: bool,
    /// The present run has said that it has started up.
    pub(super) is_ready: bool,
    /// The group that it is a child of; what it is as a group; how it ended, while its group goes on.
    pub(super) parent: Option<TaskId>,
    pub(super) group: Option<Box<Group>>,
    pub(super) ended: Option<Box<Outcome>>,
    /// Stops it when a token of the user is signalled.
    pub(super) bound: Option<Box<Cancelled>>,
    dates: Vec<(Timer, (Moment, u64))>,
}

/// What a submission brings along.
pub(super) struct NewTask {
    pub(super) task: Arc<Task>,
    pub(super) settings: Arc<Settings>,
    pub(super) priority: i32,
    pub(super) slot: Option<Name>,
    pub(super) schedule: Option<Box<Schedule>>,
    pub(super) start_delay: Duration,
    pub(super) work: Option<Work>,
    pub(super) parent: Option<TaskId>,
    pub(super) group: Option<Box<Group>>,
    pub(super) answer: Arc<dyn Settle>,
}

/// The limits of a supervisor.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) capacity: usize,
    pub(super) runs_max: Option<usize>,
    /// How many may wait for a place, and how long.
    pub(super) queue: Option<(usize, Duration)>,
    pub(super) events_max: usize,
    /// How many may wait behind the one that has a slot.
    pub(super) slot_max: usize,
    pub(super) ties: TieBreak,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) places: usize,
    /// Runs that hold a permit: those that go on, and those that are stuck.
    pub(super) runs: usize,
    pub(super) stuck: usize,
    pub(super) submitted: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) evicted: u64,
    pub(super) retried: u64,
}

pub(super) struct House {
    pub(super) keeper: Weak<Keeper>,
    pub(super) name: Name,
    pub(super) defaults: Wishes,
    /// What holds for a task that says nothing, and what held for the latest that said something: alike tasks share one.
    pub(super) settings: [Arc<Settings>; 2],
    pub(super) limits: Limits,
    pub(super) entries: Roll,
    pub(super) names: HashMap<Name, TaskId>,
    pub(super) slots: BTreeMap<Name, Slot>,
    pub(super) rooms: Rooms<TaskId>,
    /// Who waits for a place, in the order in which it is given: by priority, then by order.
    pub(super) waiting: BTreeSet<(Reverse<i32>, u64, TaskId)>,
    /// Who waits for a permit, likewise.
    pub(super) permits: BTreeSet<(Reverse<i32>, u64, TaskId)>,
    pub(super) counts: Counts,
    pub(super) watch: Watch,
    pub(super) dice: Dice,
    /// What a change has left to do.
    pub(super) agenda: VecDeque<Step>,
    pub(super) is_closing: bool,
    /// No date will come any more.
    pub(super) is_pool_over: bool,
    pub(super) last_order: u64,
    pub(super) last_id: u64,
    pub(super) subscribers: Vec<Arc<Subscriber>>,
    last_seq: u64,
    origin: Moment,
    calendar: BTreeMap<(Moment, u64), (TaskId, Timer)>,
    last_date: u64,
    alarm: Option<Moment>,
    version: u64,
}

impl Entry {
    pub(super) fn new(new: NewTask, order: u64) -> Self {
        Self {
            task: new.task,
            settings: new.settings,
            priority: new.priority,
            order,
            turn: order,
            slot: new.slot,
            schedule: new.schedule,
            course: None,
            is_retry: false,
            start_delay: new.start_delay,
            phase: Phase::Place,
            has_place: false,
            is_paused: false,
            work: new.work,
            answer: Some(new.answer),
            stop: None,
            live: None,
            fenced: Vec::new(),
            generation: 0,
            attempt: 0,
            failures: 0,
            last_delay: None,
            record: None,
            has_begun: false,
            is_ready: false,
            parent: new.parent,
            group: new.group,
            ended: None,
            bound: None,
            dates: Vec::new(),
        }
    }

    pub(super) fn rank(&self) -> (Reverse<i32>, u64, TaskId) {
        (Reverse(self.priority), self.turn, self.task.id)
    }

    /// Brings what handles see up to date.
    pub(super) fn show(&self) {
        let live = self.live.as_ref();
        let status = match self.phase {
            Phase::Slot | Phase::Place | Phase::Permit => TaskStatus::Queued,
            Phase::Pause => TaskStatus::Paused,
            Phase::Rest if self.is_paused => TaskStatus::Paused,
            Phase::Rest => TaskStatus::Waiting,
            Phase::Dormant => TaskStatus::Waiting,
            Phase::Live if live.is_some_and(|live| live.is_stuck) => TaskStatus::Stuck,
            Phase::Live if live.is_some_and(|live| live.is_cancelled) => TaskStatus::Stopping,
            Phase::Live if self.group.is_some() && self.stop.is_some() => TaskStatus::Stopping,
            Phase::Live => TaskStatus::Running,
            Phase::Over => TaskStatus::Stuck,
        };
        let mut view = self.task.view.lock();
        view.status = status;
        if self.group.is_none() || self.phase != Phase::Live {
            view.began = live.and_then(|live| live.began);
        }
    }

    /// The same for a group whose run begins.
    pub(super) fn show_group(&self, began: Moment) {
        self.show();
        self.task.view.lock().began = Some(began);
    }

    /// Keeps an error of a run; the one that there is no room for any more is dropped later.
    pub(super) fn note(&self, fx: &mut Fx, at: Duration, error: SharedError) {
        let record = ErrorRecord { attempt: self.attempt, generation: self.generation, at, error };
        let mut view = self.task.view.lock();
        let oldest = if view.errors.len() == ERRORS_MAX { view.errors.pop_front() } else { None };
        // WHY exact: most tasks that fail have failed once.
        if view.errors.is_empty() {
            view.errors.reserve_exact(1);
        }
        view.errors.push_back(record);
        drop(view);
        fx.drop_later(oldest.map(|oldest| oldest.error));
    }
}

impl House {
    pub(super) fn new(
        keeper: Weak<Keeper>,
        name: Name,
        defaults: Wishes,
        limits: Limits,
        origin: Moment,
        dice: Dice,
    ) -> Self {
        let rooms = Rooms::new(limits.ties);
        let inherited = Arc::new(Wishes::default().over(&defaults));
        Self {
            keeper,
            name,
            settings: [Arc::clone(&inherited), inherited],
            defaults,
            limits,
            entries: Roll::default(),
            names: HashMap::new(),
            slots: BTreeMap::new(),
            rooms,
            waiting: BTreeSet::new(),
            permits: BTreeSet::new(),
            counts: Counts::default(),
            watch: Watch::default(),
            dice,
            agenda: VecDeque::new(),
            is_closing: false,
            is_pool_over: false,
            last_order: 0,
            last_id: 0,
            subscribers: Vec::new(),
            last_seq: 0,
            origin,
            calendar: BTreeMap::new(),
            last_date: 0,
            alarm: None,
            version: 0,
        }
    }

    /// What holds for a task that says this.
    pub(super) fn settings_of(&mut self, wishes: Option<&Wishes>) -> Arc<Settings> {
        let [inherited, latest] = &mut self.settings;
        let Some(wishes) = wishes else { return Arc::clone(inherited) };
        let settings = wishes.over(&self.defaults);
        if **latest != settings {
            *latest = Arc::new(settings);
        }
        Arc::clone(latest)
    }

    pub(super) fn entry(&mut self, id: TaskId) -> Option<&mut Entry> {
        self.entries.get_mut(&id).map(Box::as_mut)
    }

    /// The time since the supervisor was built.
    pub(super) fn since_origin(&self, now: Moment) -> Duration {
        self.origin.until(now)
    }

    // ---- the calendar -----------------------------------------------------------------------------------------------

    /// Notes a date of a task; it has one of each sort at most.
    pub(super) fn at(&mut self, id: TaskId, timer: Timer, due: Moment) {
        self.strike(id, timer);
        if due == Moment::NEVER {
            return;
        }
        self.last_date += 1;
        let key = (due, self.last_date);
        if let Some(entry) = self.entries.get_mut(&id) {
            // WHY exact: most tasks have one date, or none, for most of their life.
            entry.dates.reserve_exact(1);
            entry.dates.push((timer, key));
            self.calendar.insert(key, (id, timer));
        }
    }

    /// The watchdog looks around then, at the latest.
    pub(super) fn sweep_at(&mut self, due: Moment) {
        if let Some(before) = self.watch.date.replace((due, self.last_date + 1)) {
            self.calendar.remove(&before);
        }
        self.last_date += 1;
        self.calendar.insert((due, self.last_date), (TaskId(0), Timer::Sweep));
    }

    /// There is nobody to look after.
    pub(super) fn cancel_sweep(&mut self) {
        if let Some(before) = self.watch.date.take() {
            self.calendar.remove(&before);
        }
    }

    pub(super) fn strike(&mut self, id: TaskId, timer: Timer) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(found) = entry.dates.iter().position(|(sort, _)| *sort == timer) else { return };
        let (_, key) = entry.dates.swap_remove(found);
        self.calendar.remove(&key);
    }

    pub(super) fn strike_all(&mut self, entry: &mut Entry) {
        for (_, key) in entry.dates.drain(..) {
            self.calendar.remove(&key);
        }
    }

    /// Does what is due.
    pub(super) fn look_at_calendar(&mut self, fx: &mut Fx) {
        while let Some(first) = self.calendar.first_entry().filter(|first| first.key().0 <= fx.now) {
            let (key, (id, timer)) = first.remove_entry();
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.dates.retain(|(_, date)| *date != key);
            }
            match timer {
                Timer::Start => self.rest_is_over(fx, id),
                Timer::AttemptTimeout => self.stop_run(fx, id, StopReason::AttemptTimeout),
                Timer::MaxRuntime => _ = self.stop(fx, id, StopReason::MaxRuntime),
                Timer::Grace => self.grace_is_over(fx, id),
                Timer::QueueTimeout => self.reject(fx, id, super::outcome::Rejection::QueueTimeout),
                Timer::Sweep => self.sweep(fx),
            }
        }
    }

    /// The moment at which the calendar is to be looked at, with a number that grows, if that has changed.
    pub(super) fn wanted_alarm(&mut self) -> Option<(u64, Option<Moment>)> {
        let first = self.calendar.first_key_value().map(|(key, _)| key.0);
        // WHY also when it is the same: an alarm that has just rung is not armed any more, which is known outside only.
        if first == self.alarm && first.is_none() {
            return None;
        }
        self.alarm = first;
        self.version += 1;
        Some((self.version, first))
    }

    // ---- events -----------------------------------------------------------------------------------------------------

    /// Tells what happened to a task, if anybody listens.
    pub(super) fn emit(&mut self, fx: &mut Fx, id: TaskId, kind: impl FnOnce(&Self) -> EventKind) {
        if self.subscribers.is_empty() {
            return;
        }
        let Some(entry) = self.entries.get(&id) else { return };
        let (task, generation, attempt) = (Arc::clone(&entry.task.name), entry.generation, entry.attempt);
        let event = Event { seq: 0, at: Duration::ZERO, task, id, generation, attempt, kind: kind(self) };
        self.send(fx, event);
    }

    /// Tells what happened to the supervisor.
    pub(super) fn tell(&mut self, fx: &mut Fx, kind: impl FnOnce() -> EventKind) {
        if self.subscribers.is_empty() {
            return;
        }
        let (task, id) = (Arc::clone(&self.name), TaskId(0));
        self.send(fx, Event { seq: 0, at: Duration::ZERO, task, id, generation: 0, attempt: 0, kind: kind() });
    }

    fn send(&mut self, fx: &mut Fx, mut event: Event) {
        self.last_seq += 1;
        event.seq = self.last_seq;
        event.at = self.since_origin(fx.now);
        for subscriber in &self.subscribers {
            let (lost, must_serve) = subscriber.take_in(event.clone());
            fx.drop_later(lost);
            if must_serve {
                fx.push(Effect::Serve(Arc::clone(subscriber)));
            }
        }
        fx.drop_later(event);
    }
}

/// A queue of a slot.
pub(super) type Pending = VecDeque<(TaskId, bool)>;
