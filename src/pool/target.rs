//! The pool as a target of posts.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::bound::{Bound, Room};
use super::core::Core;
use super::ledger::Count;
use super::task_builder::{Due, Spec, Target};
use super::timer::Receiver;
use super::{DelayedTaskHandle, ThreadPool};
use crate::error::{RejectReason, Rejected};
use crate::task::handle::{Packet, PacketBody, Pending, TaskHandle};
use crate::task::raw::Task;
use crate::task::traits::{Meta, TaskTraits};
use crate::time::Moment;

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
        match bound.reserve(!self.is_own_thread(), is_over) {
            Room::CallerRuns if !is_over() => return Ok(Entrance::Caller),
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

/// A pool as one of its own tasks holds it: without keeping its threads alive.
#[derive(Clone, Debug)]
pub struct PoolAnchor(pub(super) Arc<Core>);

impl Target for PoolAnchor {
    #[inline]
    fn post_with<P, F>(&self, spec: Spec, parts: P, wrap: impl FnOnce(P) -> F) -> Result<(), Rejected<P>>
    where
        F: FnOnce() + Send + 'static,
    {
        let core = &self.0;
        let meta = Meta::new(spec.traits);
        match core.enter(meta) {
            Err(reason) => Err(core.reject(parts, spec.name, spec.location, None, reason)),
            Ok(Entrance::Queue) => {
                let task = Core::wrap(wrap(parts), spec.location, meta, spec.name);
                core.submit_task(task, meta.priority(), Count::Posted);
                Ok(())
            }
            Ok(Entrance::Caller) => {
                wrap(parts)();
                Ok(())
            }
        }
    }

    fn spawn<F, T>(&self, spec: Spec, f: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let core = &self.0;
        let meta = Meta::new(spec.traits);
        let packet = Packet::new(f, None, spec.location);
        match core.enter(meta) {
            Ok(Entrance::Caller) => Arc::clone(&packet).run_here(),
            Ok(Entrance::Queue) => {
                let body = PacketBody(Arc::clone(&packet));
                let task = Core::wrap_body(body, spec.location, meta, spec.name);
                core.submit_task(task, meta.priority(), Count::Posted);
            }
            Err(reason) => {
                packet.reject(reason);
                let _ = core.reject((), spec.name, spec.location, None, reason);
            }
        }
        TaskHandle::new(packet)
    }

    fn post_at<F>(&self, spec: Spec, due: Due, f: F) -> Result<DelayedTaskHandle, Rejected<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        let core = &self.0;
        let meta = Meta::new(spec.traits);
        let packet = Packet::new(f, None, spec.location);
        let body = PacketBody(Arc::clone(&packet));
        let task = Core::wrap_body(body, spec.location, meta, spec.name.clone());
        let refused = |task: Task, reason| {
            drop(task);
            core.reject((), spec.name, spec.location, None, reason)
        };
        let Due::At(due) = due else {
            match core.enter(meta) {
                Err(reason) => return Err(packet.take_back(|| refused(task, reason))),
                Ok(Entrance::Queue) => core.submit_task(task, meta.priority(), Count::Posted),
                Ok(Entrance::Caller) => Arc::clone(&packet).run_here(),
            }
            return Ok(DelayedTaskHandle::immediate(packet));
        };
        let receiver = Arc::clone(core) as Arc<dyn Receiver>;
        let accepted = || core.ledger.count(core.worker_index(), Count::PostedDelayed);
        match core.insert_timer(due, task, Arc::clone(&receiver), accepted) {
            Ok(inserted) => Ok(DelayedTaskHandle::timed(packet, core, receiver, inserted.key)),
            Err(task) => Err(packet.take_back(|| refused(task, RejectReason::ShutDown))),
        }
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
}

impl Target for ThreadPool {
    #[inline]
    fn post_with<P, F>(&self, spec: Spec, parts: P, wrap: impl FnOnce(P) -> F) -> Result<(), Rejected<P>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.0.anchor.post_with(spec, parts, wrap)
    }

    fn spawn<F, T>(&self, spec: Spec, f: F) -> TaskHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Target::spawn(&self.0.anchor, spec, f)
    }

    fn post_at<F>(&self, spec: Spec, due: Due, f: F) -> Result<DelayedTaskHandle, Rejected<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        self.0.anchor.post_at(spec, due, f)
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
}
