//! The house under its lock, and what is carried out after it.
//!
//! A change of the house only decides: what it wants done (posting a run, cancelling a token, delivering an outcome, dropping a user's value) it notes as an [`Effect`], and the thread that made the change
//! carries it out when the lock is free. So no user code runs, nothing of the user is dropped and no thread is woken under the lock, and no order between effects of
//! two changes is relied on: each acts on an object of its own run or task. What others wait for comes first: a destructor of the user's may take its time. In it, waiting for a task of this supervisor would be
//! waiting for what comes after it, so that counts as being inside of a run of each.
//!
//! There is one timer, armed for the earliest date in the house's calendar.
#![forbid(unsafe_code)]

use std::any::Any;
use std::sync::Arc;

use super::body;
use super::context::Run;
use super::house::House;
use super::outcome::{Outcome, Settle};
use super::spec::Work;
use super::subscriber::Subscriber;
use super::supervisor::SupervisorReport;
use super::task::{Task, TaskStatus};
use crate::park::Bell;
use crate::pool::DelayedTaskHandle;
use crate::pool::endings::Ending;
use crate::pool::target::PoolAnchor;
use crate::pool::task_builder::{Due, Spec, Target};
use crate::sync::Mutex;
use crate::task::cancel::CancelToken;
use crate::task::current::{self, Name, Owner};
use crate::task::panic::drop_quietly;
use crate::task::traits::TaskTraits;
use crate::time::Moment;

/// What is done after the lock.
pub(super) enum Effect {
    Start(Arc<Run>, Work, TaskTraits),
    Cancel(CancelToken),
    Abort(Arc<Run>),
    Settle(Arc<dyn Settle>, Outcome),
    /// Something changed that somebody may wait for.
    Ring(Arc<Task>),
    /// Its handles may see that it has ended: its outcome has been delivered before.
    Ended(Arc<Task>),
    Serve(Arc<Subscriber>),
    Drop(Box<dyn Any + Send>),
    AbortProcess(Name),
}

/// The effects of one change, and when it is made.
pub(super) struct Fx {
    pub(super) now: Moment,
    effects: Vec<Effect>,
}

impl Fx {
    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn drop_later<T: Send + 'static>(&mut self, value: T) {
        self.push(Effect::Drop(Box::new(value)));
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
        Self { pool, house, alarm, ends: Bell::new(), report, disposal }
    }

    /// Changes or asks the house, then carries out what that calls for.
    pub(super) fn act<R>(self: &Arc<Self>, f: impl FnOnce(&mut House, &mut Fx) -> R) -> R {
        let (answer, mut effects, wanted) = {
            let mut house = self.house.lock();
            let mut fx = Fx { now: self.pool.now(), effects: Vec::new() };
            let answer = f(&mut house, &mut fx);
            house.work_off(&mut fx);
            (answer, fx.effects, house.wanted_alarm())
        };
        if let Some((version, wanted)) = wanted {
            self.arm(version, wanted);
        }
        effects.sort_by_key(Effect::is_late);
        for effect in effects {
            self.carry_out(effect);
        }
        answer
    }

    fn carry_out(self: &Arc<Self>, effect: Effect) {
        match effect {
            Effect::Start(run, work, traits) => body::start(self, run, work, traits),
            Effect::Cancel(token) => token.cancel(),
            Effect::Abort(run) => run.abort(),
            Effect::Settle(settle, outcome) => settle.settle(outcome),
            Effect::Ring(task) => {
                task.bell.ring();
                self.ends.ring();
            }
            Effect::Ended(task) => {
                {
                    let mut view = task.view.lock();
                    view.status = TaskStatus::Ended;
                    view.began = None;
                }
                task.bell.ring();
                self.ends.ring();
            }
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
