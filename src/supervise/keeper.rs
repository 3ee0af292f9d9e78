//! The house under its lock, and what is carried out after it.
//!
//! A change of the house only decides: what it wants done (posting a run, cancelling a token, delivering an outcome, dropping a user's value) it notes as an [`Effect`], and the thread that made the change
//! carries it out when the lock is free. So no user code runs, nothing of the user is dropped and no thread is woken under the lock, and no order between effects of
//! two changes is relied on: each acts on an object of its own run or task. What others wait for comes first: a destructor of the user's may take its time. In it, waiting for a task of this supervisor would be
//! waiting for what comes after it, so that counts as being inside of a run of each.
//!
//! # The end of a task
//!
//! Its outcome and its removal may belong to two changes, and two threads carry them out: one finds the grace of a run over, the other is the run, which returns just then. Whoever sees that the task
//! has ended must find its outcome. So each of the two leaves its mark in the task's view, and the one that finds the other's there shows the end. The keeper counts outcomes that are decided and not yet delivered, for who
//! asks about all tasks: counted up under the lock of the house, down after the delivery, before the bell.
//!
//! Witnessed by `ended_task_has_its_outcome` in `tests/env/supervise_races.rs` and `tests/it/supervision.rs`.
//!
//! There is one timer, armed for the earliest date in the house's calendar.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::SystemTime;

use super::body;
use super::context::Run;
use super::event::Event;
use super::house::{Entry, House};
use super::outcome::{Outcome, Settle, SharedError};
use super::report::SupervisorReport;
use super::spec::{TaskId, Work};
use super::subscriber::Subscriber;
use super::task::{Task, TaskStatus, View};
use crate::park::{Bell, yield_at};
use crate::pool::DelayedTaskHandle;
use crate::pool::endings::Ending;
use crate::pool::target::PoolAnchor;
use crate::pool::task_builder::{Due, Spec, Target};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::task::cancel::CancelToken;
use crate::task::current::{self, Name, Owner};
use crate::task::panic::drop_quietly;
use crate::task::traits::TaskTraits;
use crate::time::{Moment, Reading};

/// What is done after the lock.
pub(super) enum Effect {
    Start(Arc<Run>, TaskTraits),
    Cancel(CancelToken),
    Abort(Arc<Run>),
    Settle(Arc<Task>, Arc<dyn Settle>, Outcome),
    /// Something changed that somebody may wait for.
    Ring(Arc<Task>),
    /// It is out of the house: its handles may see that it has ended, once its outcome has been delivered.
    Ended(Arc<Task>),
    Serve(Arc<Subscriber>),
    Drop(Leftover),
    AbortProcess(Name),
}

/// The effects of one change, and when it is made.
pub(super) struct Fx {
    pub(super) now: Moment,
    wall: SystemTime,
    effects: Vec<Effect>,
    outcomes: usize,
}

impl Fx {
    /// When, for schedules.
    pub(super) fn reading(&self) -> Reading {
        Reading { moment: self.now, wall: self.wall }
    }

    pub(super) fn settle(&mut self, task: &Arc<Task>, answer: Arc<dyn Settle>, outcome: Outcome) {
        self.outcomes += 1;
        self.push(Effect::Settle(Arc::clone(task), answer, outcome));
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn drop_later(&mut self, value: impl Into<Leftover>) {
        match value.into() {
            Leftover::Nothing => {}
            leftover => self.push(Effect::Drop(leftover)),
        }
    }
}

/// What may be the user's, and is dropped after the lock.
#[expect(dead_code, reason = "what is in it is there to be dropped")]
pub(super) enum Leftover {
    Nothing,
    Run(Arc<Run>),
    Work(Work),
    Outcome(Outcome),
    Error(SharedError),
    Event(Box<Event>),
    Task(Box<Entry>),
}

macro_rules! leftovers {
    ($($variant:ident($what:ty)),*) => {$(
        impl From<$what> for Leftover {
            fn from(value: $what) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}
leftovers!(Run(Arc<Run>), Work(Work), Error(SharedError), Task(Box<Entry>));

impl From<Outcome> for Leftover {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Failed(_) | Outcome::Fatal(_) | Outcome::Panicked(_) => Self::Outcome(outcome),
            _ => Self::Nothing,
        }
    }
}

impl From<Event> for Leftover {
    fn from(event: Event) -> Self {
        Self::Event(Box::new(event))
    }
}

impl<T: Into<Self>> From<Option<T>> for Leftover {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }
}

impl Effect {
    /// It comes after those that nobody can hold up. Between these the order stays: what a task had is dropped before the next one starts.
    fn is_late(&self) -> bool {
        matches!(self, Self::Start(..) | Self::Ended(_) | Self::Drop(_) | Self::AbortProcess(_))
    }
}

/// Whose code a destructor is that is run here: nobody's, and everybody's of this supervisor who might be waited for.
struct Disposal(usize);

impl Owner for Disposal {
    fn cancel_token(&self) -> CancelToken {
        CancelToken::new()
    }

    fn supervised(&self) -> Option<(usize, u64)> {
        Some((self.0, 0))
    }

    fn is_run_of(&self, supervisor: usize, _task: u64) -> bool {
        supervisor == self.0
    }
}

/// What all handles of one supervisor share.
pub(super) struct Keeper {
    pub(super) pool: PoolAnchor,
    house: Mutex<House>,
    alarm: Mutex<Alarm>,
    /// Rings when a task has ended, or is stuck.
    pub(super) ends: Bell,
    pub(super) report: Mutex<Option<SupervisorReport>>,
    disposal: Arc<Disposal>,
    /// Outcomes that are decided, and not yet delivered.
    undelivered: AtomicUsize,
}

/// The one timer.
#[derive(Default)]
struct Alarm {
    /// Grows from change to change of the house.
    version: u64,
    armed: Option<Moment>,
    /// Grows with each arming.
    epoch: u64,
    handle: Option<DelayedTaskHandle>,
}

impl Keeper {
    pub(super) fn new(pool: PoolAnchor, house: House) -> Self {
        let disposal = Arc::new(Disposal(house.keeper.as_ptr() as usize));
        let (house, alarm, report) = (Mutex::new(house), Mutex::default(), Mutex::new(None));
        Self { pool, house, alarm, ends: Bell::new(), report, disposal, undelivered: AtomicUsize::new(0) }
    }

    /// Changes or asks the house, then carries out what that calls for.
    pub(super) fn act<R>(self: &Arc<Self>, f: impl FnOnce(&mut House, &mut Fx) -> R) -> R {
        self.act_but(f, Some)
    }

    /// The same in a run that is over. A further run of its task is given back, and not posted; it has begun, and that is the answer beside it, if it may begin now.
    pub(super) fn act_in_run(
        self: &Arc<Self>,
        task: TaskId,
        may_begin: impl FnOnce(Moment) -> bool,
        f: impl FnOnce(&mut House, &mut Fx),
    ) -> Option<(Arc<Run>, bool)> {
        let change = |house: &mut House, fx: &mut Fx| {
            f(house, fx);
            let next = fx.effects.iter().find_map(|effect| match effect {
                Effect::Start(run, ..) if run.task == task => Some(run.generation),
                _ => None,
            });
            next.is_some_and(|next| may_begin(fx.now) && house.began(fx, task, next))
        };
        let mut next = None;
        let has_begun = self.act_but(change, |effect| match effect {
            Effect::Start(run, _) if run.task == task => {
                next = Some(run);
                None
            }
            effect => Some(effect),
        });
        next.map(|run| (run, has_begun))
    }

    fn act_but<R>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut House, &mut Fx) -> R,
        mut but: impl FnMut(Effect) -> Option<Effect>,
    ) -> R {
        let (answer, mut effects, wanted) = {
            let mut house = self.house.lock();
            let Reading { moment: now, wall } = self.pool.reading();
            let mut fx = Fx { now, wall, effects: Vec::new(), outcomes: 0 };
            let answer = f(&mut house, &mut fx);
            house.work_off(&mut fx);
            if fx.outcomes > 0 {
                // Relaxed: the lock of the house orders it against who asks.
                self.undelivered.fetch_add(fx.outcomes, Ordering::Relaxed);
            }
            (answer, fx.effects, house.wanted_alarm())
        };
        if let Some((version, wanted)) = wanted {
            self.arm(version, wanted);
        }
        effects.sort_by_key(Effect::is_late);
        for effect in effects {
            if let Some(effect) = but(effect) {
                self.carry_out(effect);
            }
        }
        answer
    }

    fn carry_out(self: &Arc<Self>, effect: Effect) {
        match effect {
            Effect::Start(run, traits) => body::start(self, run, traits),
            Effect::Cancel(token) => token.cancel(),
            Effect::Abort(run) => run.abort(),
            Effect::Settle(task, answer, outcome) => {
                yield_at("before an outcome");
                answer.settle(outcome);
                // ORDER keeper.delivered: Release; who finds nothing undelivered finds the outcome; pairs with keeper.looks.
                self.undelivered.fetch_sub(1, Ordering::Release);
                self.mark(&task, |view| view.is_settled = true);
            }
            Effect::Ring(task) => {
                task.bell.ring();
                self.ends.ring();
            }
            Effect::Ended(task) => self.mark(&task, |view| view.is_removed = true),
            Effect::Serve(subscriber) => subscriber.serve(),
            Effect::Drop(value) => {
                let before = current::set_owner(Some(Arc::clone(&self.disposal) as Arc<dyn Owner>));
                drop_quietly(value);
                drop(current::set_owner(before));
            }
            Effect::AbortProcess(name) => {
                tracing::error!(task = &*name, "is stuck, and was to abort the process then");
                std::process::abort();
            }
        }
    }

    /// One of the two marks of the end of a task; the second shows the end.
    fn mark(&self, task: &Task, mark: impl FnOnce(&mut View)) {
        {
            let mut view = task.view.lock();
            mark(&mut view);
            if !(view.is_settled && view.is_removed) {
                return;
            }
            view.status = TaskStatus::Ended;
            view.began = None;
        }
        task.bell.ring();
        self.ends.ring();
    }

    /// True when every outcome that was decided has been delivered; asked under the lock of the house.
    pub(super) fn has_delivered(&self) -> bool {
        // ORDER keeper.looks: Acquire; pairs with keeper.delivered.
        self.undelivered.load(Ordering::Acquire) == 0
    }

    /// Has the house look at its calendar at that moment, and at no other.
    fn arm(self: &Arc<Self>, version: u64, wanted: Option<Moment>) {
        let (epoch, before) = {
            let mut alarm = self.alarm.lock();
            if version < alarm.version || wanted == alarm.armed {
                alarm.version = alarm.version.max(version);
                return;
            }
            alarm.version = version;
            alarm.armed = wanted;
            alarm.epoch += 1;
            (alarm.epoch, alarm.handle.take())
        };
        if let Some(before) = before {
            before.cancel();
        }
        let Some(wanted) = wanted else { return };
        let keeper = Arc::downgrade(self);
        let tick = move || {
            if let Some(keeper) = keeper.upgrade() {
                keeper.tick(epoch);
            }
        };
        let spec = Spec::here(TaskTraits::user_blocking());
        // Refused, the pool is ending, and the house has been told.
        let Ok(handle) = self.pool.post_at(spec, Due::At(wanted), tick) else { return };
        let mut alarm = self.alarm.lock();
        let unused = if alarm.epoch == epoch { alarm.handle.replace(handle) } else { Some(handle) };
        drop(alarm);
        if let Some(unused) = unused {
            unused.cancel();
        }
    }

    fn tick(self: &Arc<Self>, epoch: u64) {
        let spent = {
            let mut alarm = self.alarm.lock();
            if alarm.epoch == epoch {
                alarm.armed = None;
                alarm.handle.take()
            } else {
                None
            }
        };
        drop(spent);
        self.act(|house, fx| house.look_at_calendar(fx));
    }
}

impl Ending for Keeper {
    fn pool_ends(self: Arc<Self>) {
        self.act(|house, fx| house.pool_ends(fx));
    }
}
