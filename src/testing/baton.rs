//! Baton mode: every worker has a thread of its own, and exactly one thread, which holds the *baton*, runs at a time.
//!
//! The pool is the real one with its real loops; only its waits are ours. A thread that waits, ends or comes to a yield point hands the baton to one that can
//! go on, chosen by the schedule. When nobody can, time moves to the next end of a wait (the service thread's wait for timers is one); when there
//! is none either, that is a deadlock.
//!
//! | a thread's state | can go on |
//! |---|---|
//! | *ready* | always |
//! | *parked* | when its parker has a permit, or its time has come |
//! | *polling* | when somebody else has gone on since its last look, or its time has come |
//! | *last* (the test, while it advances) | when nobody else can, and its time has come; before that for a step of a pump of its own that has work |
//!
//! A thread is blocked at its *gate* while it has no baton. Since one thread runs at a time, what the threads share needs no more order than the
//! gates give.
//!
//! When the environment fails, the test's thread is told, and *collapses* the others: each that gets the baton unwinds.
#![forbid(unsafe_code)]

use std::io;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::faults::{merge_coverage, take_coverage};
use super::shared::{Actor, Shared, Waiter, deadlock};
use crate::park::driver::{self, Driver};
use crate::park::{Parker, Wait};
use crate::pool::ThreadPool;
use crate::pool::core::Core;
use crate::pool::driven;
use crate::pool::home::Home;
use crate::sync::Mutex;
use crate::sync::thread::{JoinHandle, spawn_named};
use crate::task::panic::{catch, drop_payload};

/// What a thread waits for.
#[derive(Debug)]
enum State {
    Ready,
    Parked { parker: Arc<Parker>, until: Option<Duration> },
    Polling { seen: u64, until: Option<Duration> },
    Last { until: Duration, pumps: Vec<Arc<Home>> },
    Gone,
}

#[derive(Debug)]
struct Member {
    number: u32,
    gate: Arc<Parker>,
    state: State,
    waiter: Option<Waiter>,
}

#[derive(Debug, Default)]
struct Members {
    list: Vec<Member>,
    /// How often somebody has gone on who was not polling.
    progress: u64,
    is_collapsing: bool,
    core: Option<Weak<Core>>,
    pool: Option<ThreadPool>,
}

/// What all threads of one environment share.
#[derive(Debug)]
pub(super) struct Hub {
    shared: Arc<Shared>,
    members: Mutex<Members>,
}

/// The payload with which a thread of a failed environment unwinds.
struct Collapsed;

impl Hub {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared, members: Mutex::default() })
    }

    pub(super) fn attach(&self, pool: &ThreadPool) {
        let mut members = self.members.lock();
        members.core = Some(Arc::downgrade(pool.core()));
        members.pool = Some(pool.clone());
    }

    /// Lets go of the pool.
    pub(super) fn detach(&self) {
        let pool = self.members.lock().pool.take();
        drop(pool);
    }

    fn pool(&self) -> Option<ThreadPool> {
        self.members.lock().pool.clone()
    }

    /// Adds a thread; it must wait for its gate before it does anything.
    fn add(&self, number: u32) -> Arc<Parker> {
        let gate = Arc::new(Parker::new());
        let member = Member { number, gate: Arc::clone(&gate), state: State::Ready, waiter: None };
        let mut members = self.members.lock();
        members.list.retain(|member| !matches!(member.state, State::Gone));
        let at = members.list.partition_point(|member| member.number < number);
        members.list.insert(at, member);
        gate
    }

    /// The thread waits: hands the baton on; back when it is its turn. False when the environment collapses.
    fn hand_over(&self, number: u32, gate: &Parker, state: State, waiter: Option<Waiter>) -> bool {
        {
            let mut members = self.members.lock();
            if members.is_collapsing && number != Actor::TEST {
                return false;
            }
            if let Some(me) = members.find(number) {
                (me.state, me.waiter) = (state, waiter);
            }
        }
        let next = self.choose();
        if next != number {
            self.give(next);
            gate.park();
        }
        let mut members = self.members.lock();
        if let Some(me) = members.find(number) {
            (me.state, me.waiter) = (State::Ready, None);
        }
        !members.is_collapsing || number == Actor::TEST
    }

    fn give(&self, number: u32) {
        let gate = self.members.lock().find(number).map(|member| Arc::clone(&member.gate));
        if let Some(gate) = gate {
            gate.unpark();
        }
    }

    /// Who goes on; moves time if nobody can. The test's thread, if the environment has failed.
    fn choose(&self) -> u32 {
        loop {
            if self.shared.has_failed() {
                return Actor::TEST;
            }
            let now = self.shared.now();
            let ready = self.members.lock().ready(now);
            if !ready.is_empty() {
                let chosen = self.shared.choose(&ready);
                self.members.lock().count_progress(chosen);
                return chosen;
            }
            let members = self.members.lock();
            if members.last_is_due(now) {
                return Actor::TEST;
            }
            let core = members.core.as_ref().and_then(Weak::upgrade);
            let is_lost = core.as_ref().is_some_and(|core| core.has_lost_a_wake_up());
            let has_timers = core.is_some_and(|core| core.timers.next_due().is_some());
            // WHY: the service also wakes to look for stalls. That ends nobody's wait, so it is no reason for time to move.
            let next = members.next_end(now).filter(|_| has_timers || members.has_end_of_a_wait());
            let problem = match next {
                _ if is_lost => Some("lost wake-up: work is queued, and a worker sleeps\n".to_owned()),
                None => Some(deadlock(members.list.iter().filter_map(|member| member.waiter.as_ref()))),
                Some(_) => None,
            };
            drop(members);
            match (problem, next) {
                (None, Some(next)) => {
                    self.shared.clock.move_to(next);
                }
                (problem, _) => self.shared.fail(problem.unwrap_or_default()),
            }
        }
    }

    /// A thread ends.
    fn leave(&self, number: u32) {
        let mut coverage = take_coverage();
        merge_coverage(&mut self.shared.coverage.lock(), std::mem::take(&mut coverage));
        if let Some(me) = self.members.lock().find(number) {
            (me.state, me.waiter) = (State::Gone, None);
        }
        let is_collapsing = self.members.lock().is_collapsing;
        let next = if is_collapsing { Actor::TEST } else { self.choose() };
        self.give(next);
    }

    /// Unwinds every thread but the test's own, one after the other.
    pub(super) fn collapse(&self) {
        self.shared.collapse();
        self.members.lock().is_collapsing = true;
        loop {
            let next = {
                let members = self.members.lock();
                let others = |member: &&Member| member.number != Actor::TEST && !matches!(member.state, State::Gone);
                let next = members.list.iter().find(others);
                let me = members.list.iter().find(|member| member.number == Actor::TEST);
                next.zip(me).map(|(next, me)| (next.number, Arc::clone(&next.gate), Arc::clone(&me.gate)))
            };
            let Some((number, gate, own)) = next else { return };
            gate.unpark();
            own.park();
            // WHY: a thread that cannot unwind, since it does already, has given the baton back without leaving. It stays where it is.
            if let Some(member) = self.members.lock().find(number) {
                member.state = State::Gone;
            }
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.shared.now()
    }

    /// When a wait ends next without anybody's doing.
    pub(super) fn next_end(&self) -> Option<Duration> {
        self.members.lock().next_end(self.now())
    }
}

impl Members {
    fn find(&mut self, number: u32) -> Option<&mut Member> {
        self.list.iter_mut().find(|member| member.number == number && !matches!(member.state, State::Gone))
    }

    fn ready(&self, now: Duration) -> Vec<u32> {
        let is_past = |until: &Option<Duration>| until.is_some_and(|until| until <= now);
        let is_ready = |member: &&Member| match &member.state {
            State::Ready => true,
            State::Parked { parker, until } => parker.has_permit() || is_past(until),
            State::Polling { seen, until } => *seen < self.progress || is_past(until),
            State::Last { pumps, .. } => pumps.iter().any(|pump| pump.has_work()),
            State::Gone => false,
        };
        self.list.iter().filter(is_ready).map(|member| member.number).collect()
    }

    fn last_is_due(&self, now: Duration) -> bool {
        self.list.iter().any(|member| matches!(member.state, State::Last { until, .. } if until <= now))
    }

    fn next_end(&self, now: Duration) -> Option<Duration> {
        let end = |member: &Member| match &member.state {
            State::Parked { until, .. } | State::Polling { until, .. } => *until,
            State::Last { until, pumps } => {
                let delays = pumps.iter().filter_map(|pump| pump.next_delay());
                delays.map(|delay| now.saturating_add(delay)).chain([*until]).min()
            }
            State::Ready | State::Gone => None,
        };
        self.list.iter().filter_map(end).min()
    }

    /// True when somebody other than the service waits for a time.
    fn has_end_of_a_wait(&self) -> bool {
        self.list.iter().filter(|member| member.number != Actor::TIMERS).any(|member| match &member.state {
            State::Parked { until, .. } | State::Polling { until, .. } => until.is_some(),
            State::Last { .. } => true,
            State::Ready | State::Gone => false,
        })
    }

    fn count_progress(&mut self, chosen: u32) {
        let is_polling = self.find(chosen).is_some_and(|member| matches!(member.state, State::Polling { .. }));
        if !is_polling {
            self.progress += 1;
        }
    }
}

/// The driver of one thread.
pub(super) struct Baton {
    hub: Arc<Hub>,
    number: u32,
    gate: Arc<Parker>,
}

impl Baton {
    /// The driver of the test's own thread, which has the baton.
    pub(super) fn of_the_test(hub: &Arc<Hub>) -> Self {
        Self { hub: Arc::clone(hub), number: Actor::TEST, gate: hub.add(Actor::TEST) }
    }

    /// The test lets everything else go on up to that moment, then goes on itself.
    pub(super) fn advance_to(&self, until: Duration) {
        loop {
            let waiter = Waiter::here(self.who(), &Wait::on("the end of an advance"), Some(until));
            let pumps = driven::pumps().iter().map(|pump| Arc::clone(pump.home())).collect();
            self.wait(State::Last { until, pumps }, Some(waiter));
            let ready = driven::pumps().into_iter().find(|pump| pump.is_ready());
            let Some(pump) = ready else { return };
            pump.step(self.hub.shared.lots());
        }
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    fn who(&self) -> String {
        Actor(self.number).to_string()
    }

    fn wait(&self, state: State, waiter: Option<Waiter>) {
        let goes_on = self.hub.hand_over(self.number, &self.gate, state, waiter);
        if self.number == Actor::TEST {
            return self.raise_failure();
        }
        if !goes_on {
            if std::thread::panicking() {
                // Back to the test's thread, for good: a second panic would end the process.
                self.hub.give(Actor::TEST);
                self.gate.park();
            }
            std::panic::resume_unwind(Box::new(Collapsed));
        }
    }

    /// Panics with the reason, if the environment has failed.
    fn raise_failure(&self) {
        let shared = &self.hub.shared;
        if let Some(failure) = shared.failure().filter(|_| !std::thread::panicking()) {
            panic!("{failure}\n{}\n{}", shared.position(), shared.recent());
        }
    }
}

impl Driver for Baton {
    fn id(&self) -> u64 {
        self.hub.shared.id
    }

    fn now(&self) -> Duration {
        self.hub.shared.now()
    }

    fn park(&self, parker: &Arc<Parker>, until: Option<Duration>, wait: &Wait) -> bool {
        parker.driven.begin(self.hub.shared.id);
        if parker.try_park() {
            return true;
        }
        let waiter = Waiter::here(self.who(), wait, until);
        self.wait(State::Parked { parker: Arc::clone(parker), until }, Some(waiter));
        self.hub.shared.note_wake(parker);
        parker.try_park()
    }

    fn poll(&self, look: &mut dyn FnMut() -> bool, until: Option<Duration>, wait: &Wait) -> bool {
        loop {
            if look() {
                self.hub.members.lock().progress += 1;
                return true;
            }
            if until.is_some_and(|until| until <= self.now()) {
                return false;
            }
            let seen = self.hub.members.lock().progress;
            let waiter = Waiter::here(self.who(), wait, until);
            self.wait(State::Polling { seen, until }, Some(waiter));
            if self.number == Actor::TEST && self.hub.shared.has_failed() {
                return false;
            }
        }
    }

    fn lots(&self) -> (u32, u32) {
        self.hub.shared.lots()
    }

    fn pause(&self) {
        self.wait(State::Ready, None);
    }

    fn yield_at(&self, name: &'static str) {
        let yields = self.hub.shared.dice.lock().yields();
        if yields {
            self.wait(State::Ready, Some(Waiter::here(self.who(), &Wait::on(name), None)));
        }
    }

    fn spend(&self, time: Duration) {
        let until = self.now().saturating_add(time);
        let nobody = Arc::new(Parker::new());
        while self.now() < until {
            self.park(&nobody, Some(until), &Wait::on("the cost of its task"));
        }
    }

    fn start(
        &self,
        worker: Option<usize>,
        name: String,
        body: Box<dyn FnOnce() + Send>,
    ) -> io::Result<Option<JoinHandle<()>>> {
        let is_standin = worker.is_some() && self.hub.members.lock().core.is_some();
        if is_standin && self.hub.shared.dice.lock().refuses_thread() {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        let number = worker.map_or(Actor::TIMERS, |worker| worker as u32);
        let gate = self.hub.add(number);
        let hub = Arc::clone(&self.hub);
        let run = move || {
            gate.park();
            let leaving = Leaving(Arc::clone(&hub), number);
            driver::install(Some(Rc::new(Baton { hub: Arc::clone(&hub), number, gate })));
            let pool = hub.pool();
            driven::enter_environment(pool.as_ref());
            drop(pool);
            let as_global = driven::AsGlobal::begin();
            let is_collapsing = hub.members.lock().is_collapsing;
            if !is_collapsing {
                catch(body).unwrap_or_else(drop_payload);
            }
            drop(as_global);
            driven::enter_environment(None);
            driver::install(None);
            drop(leaving);
        };
        match spawn_named(name, None, run) {
            Ok(handle) => Ok(Some(handle)),
            Err(error) => {
                if let Some(member) = self.hub.members.lock().find(number) {
                    member.state = State::Gone;
                }
                Err(error)
            }
        }
    }
}

/// Hands the baton on when its thread ends, whichever way.
struct Leaving(Arc<Hub>, u32);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}
