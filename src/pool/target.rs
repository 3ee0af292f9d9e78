//! The pool as a target of posts.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::ThreadPool;
use super::bound::{Bound, Room};
use super::core::Core;
use super::delayed::Armed;
use super::dormant::Host;
use super::ledger::Count;
use super::observe::Running;
use super::task_builder::{Due, Refused, Spec, Target};
use super::timer::Receiver;
use crate::error::{RejectReason, Rejected};
use crate::sync::atomic::AtomicU64;
use crate::task::current as task_current;
use crate::task::handle::{Packet, Waited};
use crate::task::panic::{drop_payload, message_of};
use crate::task::raw::{Body, Tally, Task, Verdict};
use crate::task::traits::{Meta, TaskTraits};
use crate::time::{Moment, Reading};

/// Where an accepted task goes.
enum Entrance {
    Queue,
    /// The queue is full, and the poster runs it.
    Caller,
}

impl Core {
    /// Accepts a task posted to the pool itself, with a place in its queue if that is bounded, or says why not.
    #[inline]
    fn enter(&self, meta: Meta) -> Result<Entrance, RejectReason> {
        match &self.bound {
            None => self.admit(meta).map(|()| Entrance::Queue),
            Some(bound) => self.enter_bounded(bound, meta),
        }
    }

    #[cold]
    fn enter_bounded(&self, bound: &Bound, meta: Meta) -> Result<Entrance, RejectReason> {
        let is_over = || self.tracker.is_started();
        match bound.reserve(!self.is_own_thread(), is_over, &self.ended) {
            Room::CallerRuns => return self.admit(meta).map(|()| Entrance::Caller),
            Room::Reserved => {}
            _ if is_over() && !meta.blocks_shutdown() => return Err(RejectReason::ShutDown),
            _ => return Err(RejectReason::Full),
        }
        let admitted = self.admit(meta);
        if admitted.is_err() {
            bound.release();
        }
        admitted.map(|()| Entrance::Queue)
    }
}

impl Core {
    /// Queues an admitted task, or runs it here where there is no room for it.
    #[inline]
    fn take(&self, entrance: Entrance, task: Task) {
        match entrance {
            Entrance::Queue => {
                let class = task.meta().priority();
                self.submit_task(task, class, Count::Posted);
            }
            Entrance::Caller => self.run_by_caller(task, None, || ()),
        }
    }

    /// Runs an admitted task on the poster's own thread, in a context of its own, and counts it.
    #[cold]
    pub(crate) fn run_by_caller<G>(&self, task: Task, tally: Option<&Tally>, enter: impl FnOnce() -> G) {
        let (meta, site) = (task.meta(), task.site());
        let name = task.extension().and_then(|extension| extension.name.clone());
        let count = |what, of: fn(&Tally) -> &AtomicU64| {
            self.ledger.count(self.worker_index(), what);
            if let Some(tally) = tally {
                tally.count(of(tally));
            }
        };
        self.ledger.count(self.worker_index(), Count::Posted);
        count(Count::Started, |tally| &tally.started);
        let panicked = |text: Option<&str>| {
            count(Count::Panicked, |tally| &tally.panicked);
            let running = Running { site, name: name.clone(), runner: None };
            self.settings.hooks.tell_panic(running, text);
        };
        let verdict = {
            let _outer = task_current::suspend();
            let _inside = enter();
            task_current::enter(site, meta);
            drop(task_current::set_name(name.clone()));
            task.run()
        };
        match verdict {
            Verdict::Ran => count(Count::Ran, |tally| &tally.ran),
            Verdict::Void => count(Count::Dropped, |tally| &tally.dropped),
            Verdict::Panicked(payload) => {
                panicked(message_of(&*payload));
                drop_payload(payload);
                count(Count::Ran, |tally| &tally.ran);
            }
            Verdict::Deliver(result) => {
                if let Some(text) = result.panic_text() {
                    panicked(text.as_deref());
                }
                count(Count::Ran, |tally| &tally.ran);
                if result.deliver() {
                    panicked(Some("the result panicked when it was dropped"));
                }
            }
        }
        self.ended(meta, true);
    }
}

/// A pool as one of its own tasks holds it: without keeping its threads alive.
#[derive(Clone, Debug)]
pub struct PoolAnchor(pub(crate) Arc<Core>);

impl Target for PoolAnchor {
    #[inline]
    fn post_with<P, F, W>(&self, spec: Spec, parts: P, wrap: W) -> Result<(), Rejected<P>>
    where
        P: Send + 'static,
        F: FnOnce() + Send + 'static,
        W: FnOnce(P) -> F + Send + 'static,
    {
        let core = &self.0;
        let meta = Meta::new(spec.traits);
        match core.enter(meta) {
            Err(reason) => Err(core.reject(parts, spec.name, spec.location, None, reason)),
            Ok(entrance) => {
                core.take(entrance, Core::wrap(wrap(parts), spec.location, meta, spec.name));
                Ok(())
            }
        }
    }

    fn queue_at<F, T>(&self, spec: &Spec, due: Due, packet: &Arc<Packet<F, T>>) -> Result<Option<Armed>, Refused>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let core = &self.0;
        let meta = Meta::new(spec.traits);
        let wrap = || Core::wrap_packet(packet, spec, meta);
        let Due::At(due) = due else {
            let entrance = core.enter(meta)?;
            core.take(entrance, wrap());
            return Ok(None);
        };
        let receiver = Arc::clone(core) as Arc<dyn Receiver>;
        let accepted = || core.ledger.count(core.worker_index(), Count::PostedDelayed);
        core.arm(due, wrap(), receiver, accepted).map(Some)
    }

    fn refuse(&self, spec: Spec, reason: RejectReason) -> Rejected<()> {
        self.0.reject((), spec.name, spec.location, None, reason)
    }

    fn own_sequence(&self) -> Option<Arc<dyn Waited>> {
        None
    }

    type Anchor = Self;

    fn anchor(&self) -> Self {
        self.clone()
    }

    fn default_traits(&self) -> TaskTraits {
        TaskTraits::default()
    }

    fn now(&self) -> Moment {
        self.0.clock.now()
    }

    fn reading(&self) -> Reading {
        self.0.clock.reading()
    }
}

/// A pool whose queue has room for whatever comes: for what was accepted elsewhere, under bounds of its own.
#[derive(Clone)]
pub(crate) struct Unbounded(pub(crate) PoolAnchor);

impl Target for Unbounded {
    fn post_with<P, F, W>(&self, spec: Spec, parts: P, wrap: W) -> Result<(), Rejected<P>>
    where
        P: Send + 'static,
        F: FnOnce() + Send + 'static,
        W: FnOnce(P) -> F + Send + 'static,
    {
        let core = &self.0.0;
        let meta = Meta::new(spec.traits);
        match core.admit(meta) {
            Err(reason) => Err(core.reject(parts, spec.name, spec.location, None, reason)),
            Ok(()) => {
                self.push_accepted(Core::wrap(wrap(parts), spec.location, meta, spec.name));
                Ok(())
            }
        }
    }

    fn queue_at<F, T>(&self, spec: &Spec, due: Due, packet: &Arc<Packet<F, T>>) -> Result<Option<Armed>, Refused>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.queue_at(spec, due, packet)
    }

    fn refuse(&self, spec: Spec, reason: RejectReason) -> Rejected<()> {
        self.0.refuse(spec, reason)
    }

    fn own_sequence(&self) -> Option<Arc<dyn Waited>> {
        None
    }

    type Anchor = Self;

    fn anchor(&self) -> Self {
        self.clone()
    }

    fn default_traits(&self) -> TaskTraits {
        self.0.default_traits()
    }

    fn now(&self) -> Moment {
        self.0.now()
    }

    fn reading(&self) -> Reading {
        self.0.reading()
    }
}

impl Host for Unbounded {
    fn core(&self) -> &Arc<Core> {
        &self.0.0
    }

    fn number(&self) -> u64 {
        0
    }

    fn meta(&self, traits: TaskTraits) -> Meta {
        Meta::new(traits)
    }

    fn push_accepted(&self, task: Task) {
        self.0.push_accepted(task);
    }
}

impl Target for ThreadPool {
    #[inline]
    fn post_with<P, F, W>(&self, spec: Spec, parts: P, wrap: W) -> Result<(), Rejected<P>>
    where
        P: Send + 'static,
        F: FnOnce() + Send + 'static,
        W: FnOnce(P) -> F + Send + 'static,
    {
        self.0.anchor.post_with(spec, parts, wrap)
    }

    fn queue_at<F, T>(&self, spec: &Spec, due: Due, packet: &Arc<Packet<F, T>>) -> Result<Option<Armed>, Refused>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.anchor.queue_at(spec, due, packet)
    }

    fn refuse(&self, spec: Spec, reason: RejectReason) -> Rejected<()> {
        self.0.anchor.refuse(spec, reason)
    }

    fn own_sequence(&self) -> Option<Arc<dyn Waited>> {
        None
    }

    type Anchor = PoolAnchor;

    fn anchor(&self) -> PoolAnchor {
        self.0.anchor.clone()
    }

    fn default_traits(&self) -> TaskTraits {
        TaskTraits::default()
    }

    fn now(&self) -> Moment {
        self.core().clock.now()
    }

    fn reading(&self) -> Reading {
        self.core().clock.reading()
    }
}

impl Host for PoolAnchor {
    fn core(&self) -> &Arc<Core> {
        &self.0
    }

    fn number(&self) -> u64 {
        0
    }

    fn meta(&self, traits: TaskTraits) -> Meta {
        Meta::new(traits)
    }

    fn push_accepted(&self, task: Task) {
        let class = task.meta().priority();
        self.0.submit_unbounded(task, class, Count::Posted);
    }
}

impl ThreadPool {
    /// Posts a body of any kind.
    pub(crate) fn post_body<B: Body>(&self, spec: Spec, body: B) -> Result<(), Rejected<B>> {
        let (core, meta) = (self.core(), Meta::new(spec.traits));
        match core.enter(meta) {
            Err(reason) => Err(core.reject(body, spec.name, spec.location, None, reason)),
            Ok(entrance) => {
                core.take(entrance, Core::wrap_body(body, spec.location, meta, spec.name));
                Ok(())
            }
        }
    }
}
