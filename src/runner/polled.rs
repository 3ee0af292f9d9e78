//! What a future on a runner and its handle share.
//!
//! | life | future | who may leave it |
//! |---|---|---|
//! | `Resting` | there | who polls (to `Polled`), who ends it (to `Gone`) |
//! | `Polled` | on the stack of who polls | who polls: to `Resting`, or to `Gone` when it is ready, has panicked, or was to end meanwhile |
//! | `Gone` | dropped | – |
//!
//! Exactly one thread takes the future out under the lock; it is polled and dropped outside of it. After the future is dropped the handle is told.
//!
//! The task that polls owns a share of this and the task's memory is owned by wakers, so a future that no waker knows any more is dropped, too; the handle keeps the task only until
//! it is told. The pool's list of futures holds it weakly.
#![forbid(unsafe_code)]

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use crate::error::{JoinError, RejectReason};
use crate::pool::core::Core;
use crate::pool::dormant::{Dormant, Host, Place};
use crate::pool::task_builder::Spec;
use crate::sync::Mutex;
use crate::task::answer::Answer;
use crate::task::cancel::{CancelToken, Cancelled};
use crate::task::handle::{Pending, TaskHandle, Waited};
use crate::task::panic::{Panicked, catch, drop_payload, drop_quietly, message_of};
use crate::task::raw::{Body, Discard, Verdict};

struct Outcome<F: Future, H> {
    slot: Mutex<Slot<F, H>>,
    waited: Option<Arc<dyn Waited>>,
    spec: Spec,
}

enum Life<F> {
    Resting(Pin<Box<F>>),
    Polled,
    Gone,
}

struct Slot<F: Future, H> {
    life: Life<F>,
    /// It is to end, and why.
    ending: Option<Discard>,
    /// Its first poll was posted.
    was_posted: bool,
    answer: Answer<F::Output>,
    /// Dropping it cancels the future.
    task: Option<async_task::Task<()>>,
    bound: Option<Cancelled>,
    host: Option<H>,
    place: Option<Place>,
}

impl<F, H> Outcome<F, H>
where
    F: Future,
    H: Host,
{
    fn poll_once(&self, context: &mut Context<'_>) -> Poll<()> {
        let taken = {
            let mut slot = self.slot.lock();
            match std::mem::replace(&mut slot.life, Life::Polled) {
                Life::Resting(future) => Some(future),
                other => {
                    slot.life = other;
                    None
                }
            }
        };
        let Some(mut future) = taken else { return Poll::Ready(()) };
        match catch(|| future.as_mut().poll(context)) {
            Ok(Poll::Pending) => self.put_back(future),
            Ok(Poll::Ready(value)) => {
                drop_quietly(future);
                self.complete(Ok(value));
                Poll::Ready(())
            }
            Err(payload) => {
                let text = message_of(&*payload).unwrap_or("<non-string payload>").to_owned();
                drop_quietly(future);
                self.complete(Err(JoinError::Panicked(Panicked::new(payload))));
                // The payload is the handle's; its text goes to the boundary of the task, which reports it.
                std::panic::resume_unwind(Box::new(text))
            }
        }
    }

    /// After a poll that left it pending.
    fn put_back(&self, future: Pin<Box<F>>) -> Poll<()> {
        let ending = {
            let mut slot = self.slot.lock();
            if slot.ending.is_none() && !slot.answer.is_done() {
                slot.life = Life::Resting(future);
                return Poll::Pending;
            }
            slot.ending
        };
        drop_quietly(future);
        self.complete(Err(error_of(ending)));
        Poll::Ready(())
    }

    /// Drops the future, unless it is being polled: then who polls does, if it is still pending after that.
    fn end(&self, why: Discard) {
        let (future, ending) = {
            let mut slot = self.slot.lock();
            let ending = *slot.ending.get_or_insert(why);
            match std::mem::replace(&mut slot.life, Life::Gone) {
                Life::Resting(future) => (future, ending),
                other => {
                    slot.life = other;
                    return;
                }
            }
        };
        drop_quietly(future);
        self.complete(Err(error_of(Some(ending))));
    }

    /// The task that polls it is dropped.
    fn end_with_task(&self) {
        let host = self.slot.lock().host.clone();
        let is_shut_down = host.is_some_and(|host| host.core().tracker.is_started());
        self.end(if is_shut_down { Discard::ShutDown } else { Discard::Closed });
    }

    /// Tells the handle; the future is gone.
    fn complete(&self, result: Result<F::Output, JoinError>) {
        let mut slot = self.slot.lock();
        slot.life = Life::Gone;
        let left = slot.answer.complete(result);
        let (task, bound) = (slot.task.take(), slot.bound.take());
        let (host, place) = (slot.host.take(), slot.place.take());
        drop(slot);
        if let (Some(host), Some(place)) = (&host, place) {
            host.core().dormants.remove(place);
        }
        if let Some(task) = task {
            task.detach();
        }
        drop((bound, host));
        drop_quietly(left.unwanted);
        if let Some(waker) = left.waker {
            catch(|| waker.wake()).unwrap_or_else(drop_payload);
        }
    }

    /// A poll is due. The first is an ordinary post; the others belong to what was accepted then.
    fn schedule(&self, runnable: async_task::Runnable) {
        let (host, is_first) = {
            let mut slot = self.slot.lock();
            (slot.host.clone(), !std::mem::replace(&mut slot.was_posted, true))
        };
        let Some(host) = host else {
            runnable.run();
            return;
        };
        let poll = move || _ = runnable.run();
        if is_first {
            if let Err(refused) = host.post(self.spec.clone(), poll) {
                self.refuse(refused.reason());
                drop(refused);
            }
            return;
        }
        let meta = host.meta(self.spec.traits);
        if host.core().tracker.admit(meta) {
            host.push_accepted(Core::wrap(poll, self.spec.location, meta, self.spec.name.clone()));
        } else {
            self.end(Discard::ShutDown);
        }
    }

    fn refuse(&self, reason: RejectReason) {
        let life = std::mem::replace(&mut self.slot.lock().life, Life::Gone);
        drop_quietly(life);
        self.complete(Err(JoinError::Rejected(reason)));
    }

    /// True when this call ended it: the future is dropped where it is polled.
    fn abandon(&self) -> bool {
        let task = {
            let mut slot = self.slot.lock();
            let task = slot.task.take();
            if task.is_some() {
                slot.ending.get_or_insert(Discard::Closed);
            }
            task
        };
        let was_pending = task.is_some();
        drop(task);
        was_pending
    }
}

fn error_of(ending: Option<Discard>) -> JoinError {
    match ending {
        Some(Discard::ShutDown) => JoinError::ShutDown,
        _ => JoinError::Cancelled,
    }
}

impl<F, H> Dormant for Outcome<F, H>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    H: Host,
{
    fn end_soon(self: Arc<Self>, why: Discard) {
        let host = {
            let mut slot = self.slot.lock();
            if slot.answer.is_done() || slot.ending.is_some() {
                return;
            }
            slot.ending = Some(why);
            slot.host.clone()
        };
        if let Some(host) = host {
            // It blocks no shutdown, so it needs no admission.
            let meta = host.meta(self.spec.traits.skip_on_shutdown());
            let location = self.spec.location;
            host.push_accepted(Core::wrap_body(End(self, why), location, meta, None));
        }
    }
}

/// Drops the future in its runner's turn, whether that runs its tasks or drops them. It counts as a dropped task.
struct End<F: Future, H>(Arc<Outcome<F, H>>, Discard);

impl<F, H> Body for End<F, H>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    H: Host,
{
    fn run(self) -> Verdict {
        self.0.end(self.1);
        Verdict::Void
    }

    fn discard(self, _why: Discard) {
        self.0.end(self.1);
    }
}

impl<F, H> Pending<F::Output> for Outcome<F, H>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    H: Host,
{
    fn poll_result(&self, waker: Option<&Waker>) -> Poll<Result<F::Output, JoinError>> {
        let waker = waker.cloned();
        let (answer, before) = self.slot.lock().answer.poll(waker);
        drop(before);
        answer
    }

    fn is_done(&self) -> bool {
        self.slot.lock().answer.is_done()
    }

    fn is_waiting(&self) -> bool {
        !self.is_done()
    }

    fn cancel(&self) -> bool {
        self.abandon()
    }

    fn cancel_waiting(&self) -> bool {
        self.abandon()
    }

    fn reject(&self, reason: RejectReason) {
        self.refuse(reason);
    }

    fn detach(&self) {
        let mut slot = self.slot.lock();
        let (task, left) = (slot.task.take(), slot.answer.detach());
        drop(slot);
        if let Some(task) = task {
            task.detach();
        }
        drop(left);
    }

    fn would_deadlock(&self) -> bool {
        !self.is_done() && self.waited.as_ref().is_some_and(|runner| runner.would_deadlock())
    }

    fn waits_on(&self, runners: &mut Vec<Arc<dyn Waited>>) {
        runners.extend(self.waited.clone().filter(|_| !self.is_done()));
    }

    fn location(&self) -> &'static Location<'static> {
        self.spec.location
    }

    fn bind(self: Arc<Self>, token: &CancelToken) {
        let weak = Arc::downgrade(&self);
        let cancels = Cancels(Box::new(move || {
            if let Some(outcome) = weak.upgrade() {
                outcome.abandon();
            }
        }));
        let Some(bound) = token.bind(Arc::new(cancels)) else {
            self.abandon();
            return;
        };
        let mut slot = self.slot.lock();
        let unused = if slot.answer.is_done() { Some(bound) } else { slot.bound.replace(bound) };
        drop(slot);
        drop(unused);
    }
}

/// Calls back when it is woken.
struct Cancels(Box<dyn Fn() + Send + Sync>);

impl std::task::Wake for Cancels {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// What the task polls: tells the handle, whatever happens to it.
struct Told<F: Future, H: Host>(Arc<Outcome<F, H>>);

impl<F, H> Future for Told<F, H>
where
    F: Future,
    H: Host,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll_once(context)
    }
}

impl<F, H> Drop for Told<F, H>
where
    F: Future,
    H: Host,
{
    fn drop(&mut self) {
        // Nothing, if it has been told.
        self.0.end_with_task();
    }
}

/// Posts the first poll of a future, and gives its handle.
pub(crate) fn spawn<F, H>(host: H, waited: Option<Arc<dyn Waited>>, spec: Spec, future: F) -> TaskHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
    H: Host,
{
    let blocks_shutdown = host.meta(spec.traits).blocks_shutdown();
    let (core, number) = (Arc::clone(host.core()), host.number());
    let slot = Slot {
        life: Life::Resting(Box::pin(future)),
        ending: None,
        was_posted: false,
        answer: Answer::default(),
        task: None,
        bound: None,
        host: Some(host),
        place: None,
    };
    let outcome = Arc::new(Outcome { slot: Mutex::new(slot), waited, spec });
    let weak = Arc::downgrade(&outcome);
    let schedule = move |runnable: async_task::Runnable| match weak.upgrade() {
        Some(outcome) => outcome.schedule(runnable),
        None => _ = runnable.run(),
    };
    let (runnable, task) = async_task::spawn(Told(Arc::clone(&outcome)), schedule);
    {
        let mut slot = outcome.slot.lock();
        slot.task = Some(task);
        let weak: Weak<dyn Dormant> = Arc::downgrade(&outcome) as Weak<dyn Dormant>;
        slot.place = core.dormants.add(number, weak, blocks_shutdown);
        if slot.place.is_none() {
            // WHY: a shutdown that is about to start, and has not closed the door yet, would not find it.
            slot.ending = Some(Discard::ShutDown);
        }
    }
    runnable.schedule();
    TaskHandle::new(outcome)
}
