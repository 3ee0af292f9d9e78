//! The result of a task: [`TaskHandle`], and the packet that the task and its handle share.
//!
//! # The packet
//!
//! One allocation holds the closure until it starts, then the result until it is taken. Its phase lives inside the lock; a copy of it in
//! an atomic answers questions without the lock.
//!
//! | phase | closure | result | who may leave it |
//! |---|---|---|---|
//! | `Waiting` | there | – | the runner (to `Running`), a canceller or a discard (to `Done`) |
//! | `Running` | on the runner's stack | – | the runner (to `Done`) |
//! | `Done` | – | there until taken | – |
//!
//! Exactly one of runner, canceller and discard takes the closure out under the lock, so it runs or is dropped once. The result is stored
//! and the waiter's waker taken in one critical section: a waiter either sees the result or has its waker found.
//! Closures, results and wakers are dropped and woken after the lock.
//!
//! Witnessed by `tests::loom_waiter_gets_the_result`, `tests::loom_cancel_or_run_but_not_both`.
#![forbid(unsafe_code)]

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::cancel::{CancelToken, Cancelled};
use super::current::{self, Owner};
use super::panic::{Panicked, catch, drop_payload, drop_quietly};
use super::raw::{Body, Deliver, Discard, Verdict};
use super::traits::Priority;
use crate::error::{JoinError, RejectReason, Rejected};
use crate::park::{self, Wait};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::zoo;

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const DONE: u8 = 2;

/// What task and handle share.
pub struct Packet<F, T> {
    /// A copy of the phase, for questions.
    phase: AtomicU8,
    slot: Mutex<Slot<F, T>>,
    /// The sequence that the task runs on.
    runner: Option<Arc<dyn Waited>>,
    location: &'static Location<'static>,
}

/// The runner of a task, as who waits for the task sees it.
pub trait Waited: Send + Sync {
    /// True on a thread that would wait for itself (HND-4).
    fn would_deadlock(&self) -> bool;
    /// Somebody of this class waits (PRI-5); false when that changes nothing, and nothing is to be taken back.
    fn lend(self: Arc<Self>, class: Priority) -> bool;
    /// That wait is over.
    fn take_back(self: Arc<Self>, class: Priority);
}

/// A priority that is lent until this is dropped.
pub(crate) struct Lent {
    to: Arc<dyn Waited>,
    class: Priority,
}

impl Lent {
    /// Lends the priority of the task that waits here, if there is one.
    pub(crate) fn to(runner: &Arc<dyn Waited>) -> Option<Self> {
        let class = current::priority()?;
        Arc::clone(runner).lend(class).then(|| Self { to: Arc::clone(runner), class })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        Arc::clone(&self.to).take_back(self.class);
    }
}

struct Slot<F, T> {
    phase: u8,
    closure: Option<F>,
    result: Option<Result<T, JoinError>>,
    waker: Option<Waker>,
    token: Option<CancelToken>,
    /// The token that cancels the task from outside.
    bound: Option<Cancelled>,
    /// What is taken back when the task is cancelled.
    timer: Option<Box<dyn Disarm>>,
    /// Nobody will ask for the result.
    detached: bool,
}

impl<F, T> Packet<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    /// A packet whose task has not started.
    pub(crate) fn new(closure: F, runner: Option<Arc<dyn Waited>>, location: &'static Location<'static>) -> Arc<Self> {
        let slot = Slot {
            phase: WAITING,
            closure: Some(closure),
            result: None,
            waker: None,
            token: None,
            bound: None,
            timer: None,
            detached: false,
        };
        Arc::new(Self { phase: AtomicU8::new(WAITING), slot: Mutex::new(slot), runner, location })
    }

    /// Takes the closure out, if nobody has yet.
    fn claim(&self, next: u8) -> Option<F> {
        let mut slot = self.slot.lock();
        if slot.phase != WAITING {
            return None;
        }
        if next == RUNNING {
            slot.phase = RUNNING;
            // Relaxed: a hint; whoever acts on the phase reads it under the lock.
            self.phase.store(RUNNING, Ordering::Relaxed);
        } else {
            // WHY: only the phase `Done` with a result ends a wait; until then nobody else may take what is gone.
            slot.phase = RUNNING;
        }
        slot.closure.take()
    }

    /// Takes the closure of a task that was never accepted back; `refused` drops the task and tells.
    pub(crate) fn take_back(&self, refused: impl FnOnce() -> Rejected<()>) -> Rejected<F> {
        let closure = self.claim(DONE);
        let rejected = refused();
        match closure {
            Some(closure) => rejected.map(|()| closure),
            None => unreachable!("a task that was never accepted is not claimed by anybody else"),
        }
    }

    fn run(self: Arc<Self>) -> Verdict {
        #[cfg(feature = "testing")]
        if super::fault::is_cancelled() {
            self.abandon(JoinError::Cancelled);
            return Verdict::Void;
        }
        let Some(closure) = self.claim(RUNNING) else { return Verdict::Void };
        let before = current::set_owner(Some(Arc::clone(&self) as Arc<dyn Owner>));
        let body = || {
            #[cfg(feature = "testing")]
            super::fault::trip();
            closure()
        };
        let result = catch(body).map_err(|payload| JoinError::Panicked(Panicked::new(payload)));
        drop(current::set_owner(before));
        self.slot.lock().result = Some(result);
        Verdict::Deliver(self)
    }

    /// Ends the packet without running it; true when this call did.
    fn abandon(&self, why: JoinError) -> bool {
        let Some(closure) = self.claim(DONE) else { return false };
        drop_quietly(closure);
        let timer = self.slot.lock().timer.take();
        if let Some(timer) = timer {
            timer.disarm();
        }
        self.complete(Some(Err(why)));
        true
    }

    /// Ends the packet with its result, or with the one that is stored already, and wakes the waiter; true when the result was
    /// dropped and panicked.
    fn complete(&self, result: Option<Result<T, JoinError>>) -> bool {
        let mut waker = None;
        if zoo::has("Z15") {
            waker = self.slot.lock().waker.take();
        }
        let (token, bound, timer, unwanted);
        {
            let mut slot = self.slot.lock();
            if result.is_some() {
                slot.result = result;
            }
            slot.phase = DONE;
            // ORDER handle.done: Release; whoever sees it may take the result; pairs with handle.finished.
            self.phase.store(DONE, Ordering::Release);
            unwanted = if slot.detached { slot.result.take() } else { None };
            if !zoo::has("Z15") {
                waker = slot.waker.take();
            }
            token = slot.token.take();
            bound = slot.bound.take();
            timer = slot.timer.take();
        }
        drop((token, bound, timer));
        if let Some(waker) = waker {
            catch(|| waker.wake()).unwrap_or_else(drop_payload);
        }
        unwanted.is_some_and(drop_quietly)
    }
}

impl<F, T> Deliver for Packet<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn panic_text(&self) -> Option<Option<Box<str>>> {
        match &self.slot.lock().result {
            Some(Err(JoinError::Panicked(panicked))) => Some(panicked.message().map(Into::into)),
            _ => None,
        }
    }

    fn deliver(&self) -> bool {
        self.complete(None)
    }
}

impl<F, T> fmt::Debug for Packet<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet").field("location", &self.location).finish_non_exhaustive()
    }
}

/// What a node carries for a task with a handle.
pub(crate) struct PacketBody<F, T>(pub(crate) Arc<Packet<F, T>>)
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static;

impl<F, T> Body for PacketBody<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn run(self) -> Verdict {
        self.0.run()
    }

    fn discard(self, why: Discard) {
        self.0.abandon(match why {
            Discard::ShutDown => JoinError::ShutDown,
            Discard::Closed | Discard::Overflow => JoinError::Cancelled,
        });
    }
}

impl<F, T> Owner for Packet<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn cancel_token(&self) -> CancelToken {
        self.slot.lock().token.get_or_insert_with(CancelToken::new).clone()
    }
}

/// What a handle asks of its packet, whatever the closure.
pub(crate) trait Pending<T>: Send + Sync {
    fn poll_result(&self, waker: Option<&Waker>) -> Poll<Result<T, JoinError>>;
    fn is_done(&self) -> bool;
    /// True while the closure has not been taken.
    fn is_waiting(&self) -> bool;
    /// True when this call ended it before it started; a running one is signalled.
    fn cancel(&self) -> bool;
    /// As `cancel`, but a running task is left alone.
    fn cancel_waiting(&self) -> bool;
    fn reject(&self, reason: RejectReason);
    fn detach(&self);
    /// True on a thread that would wait for itself.
    fn would_deadlock(&self) -> bool;
    /// Adds the sequences that are waited for.
    fn waits_on(&self, runners: &mut Vec<Arc<dyn Waited>>);
    /// Where the task was posted.
    fn location(&self) -> &'static Location<'static>;
    /// Cancels the task when the token is signalled.
    fn bind(self: Arc<Self>, token: &CancelToken);
    /// Whoever cancels the task before it starts takes this back, too. Only a task of its own waits for a timer.
    fn arm(&self, timer: Box<dyn Disarm>) {
        drop(timer);
    }
}

/// The timer of a task whose delay is not over.
pub(crate) trait Disarm: Send {
    /// Takes it back.
    fn disarm(self: Box<Self>);
}

/// Cancels a task when it is woken.
struct CancelsTask<P>(Weak<P>);

impl<F, T> Wake for CancelsTask<Packet<F, T>>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn wake(self: Arc<Self>) {
        if let Some(packet) = self.0.upgrade() {
            packet.cancel();
        }
    }
}

impl<F, T> Pending<T> for Packet<F, T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    fn poll_result(&self, waker: Option<&Waker>) -> Poll<Result<T, JoinError>> {
        let waker = waker.cloned();
        let mut slot = self.slot.lock();
        if slot.phase == DONE {
            return Poll::Ready(slot.result.take().unwrap_or(Err(JoinError::Taken)));
        }
        let previous = waker.and_then(|waker| slot.waker.replace(waker));
        drop(slot);
        drop(previous);
        Poll::Pending
    }

    fn is_done(&self) -> bool {
        // ORDER handle.finished: Acquire; what the task did is visible to whoever sees its end; pairs with handle.done.
        self.phase.load(Ordering::Acquire) == DONE
    }

    fn is_waiting(&self) -> bool {
        self.slot.lock().phase == WAITING
    }

    fn cancel(&self) -> bool {
        if self.abandon(JoinError::Cancelled) {
            return true;
        }
        let token = {
            let mut slot = self.slot.lock();
            (slot.phase == RUNNING).then(|| slot.token.get_or_insert_with(CancelToken::new).clone())
        };
        if let Some(token) = token {
            token.cancel();
        }
        false
    }

    fn cancel_waiting(&self) -> bool {
        self.abandon(JoinError::Cancelled)
    }

    fn reject(&self, reason: RejectReason) {
        self.abandon(JoinError::Rejected(reason));
    }

    fn detach(&self) {
        let mut slot = self.slot.lock();
        slot.detached = true;
        // WHY: a result that is stored but not delivered yet is dropped by the runner, inside the task's turn.
        let result = if slot.phase == DONE { slot.result.take() } else { None };
        let left = (result, slot.waker.take());
        drop(slot);
        drop(left);
    }

    fn would_deadlock(&self) -> bool {
        let is_own = || current::is_owned_by(std::ptr::from_ref(self).addr());
        let waits_for_itself = || is_own() || self.runner.as_ref().is_some_and(|runner| runner.would_deadlock());
        !self.is_done() && waits_for_itself()
    }

    fn waits_on(&self, runners: &mut Vec<Arc<dyn Waited>>) {
        runners.extend(self.runner.clone().filter(|_| !self.is_done()));
    }

    fn location(&self) -> &'static Location<'static> {
        self.location
    }

    fn bind(self: Arc<Self>, token: &CancelToken) {
        let Some(bound) = token.bind(Arc::new(CancelsTask(Arc::downgrade(&self)))) else {
            self.cancel();
            return;
        };
        let mut slot = self.slot.lock();
        let unused = if slot.phase == DONE { Some(bound) } else { slot.bound.replace(bound) };
        drop(slot);
        drop(unused);
    }

    fn arm(&self, timer: Box<dyn Disarm>) {
        let mut slot = self.slot.lock();
        let unused = if slot.phase == WAITING { slot.timer.replace(timer) } else { Some(timer) };
        drop(slot);
        drop(unused);
    }
}

/// The result of a task, now or later: block for it, poll it, await it (HND-1).
///
/// # Guarantees
///
/// - The result is handed out once; who asks again gets [`JoinError::Taken`].
/// - What the task did is visible to whoever has its result.
/// - A thread that waits runs no other task; on a pool worker another thread takes its place meanwhile (HND-3).
/// - Joining work of one's own sequence from inside it is [`JoinError::WouldDeadlock`] (HND-4), also through a chain of synchronous calls.
/// - A task that waits lends its priority to the sequence it waits for (PRI-5), and that alone: a sequence that waits in turn passes on its own task's. A thread
///   outside of tasks has none to lend.
/// - Dropping the handle detaches the task, it never cancels it; see [`cancel_on_drop`](Self::cancel_on_drop).
///
/// # Not guaranteed
///
/// A wait for something that in turn waits for the caller by other means (a channel, a lock) is not detected.
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # let pool = overstrand::ThreadPool::builder().workers(1).build()?;
/// let answer = pool.spawn(|| 6 * 7);
/// assert_eq!(answer.join()?, 42);
/// # Ok(())
/// # }
/// ```
pub struct TaskHandle<T> {
    pub(super) packet: Option<Arc<dyn Pending<T>>>,
    pub(super) cancels_on_drop: bool,
}

impl<T> TaskHandle<T> {
    pub(crate) fn new(packet: Arc<dyn Pending<T>>) -> Self {
        Self { packet: Some(packet), cancels_on_drop: false }
    }

    /// The handle of a result that somebody has already.
    pub(crate) const fn taken() -> Self {
        Self { packet: None, cancels_on_drop: false }
    }

    /// Blocks for the result.
    ///
    /// # Errors
    ///
    /// See [`JoinError`].
    pub fn join(mut self) -> Result<T, JoinError> {
        self.wait(None).unwrap_or(Err(JoinError::Taken))
    }

    /// Blocks for the result for at most `limit` of monotonic time. `None`: not yet. After `Some`, the next answer is
    /// `Some(Err(JoinError::Taken))`.
    pub fn join_timeout(&mut self, limit: Duration) -> Option<Result<T, JoinError>> {
        match self.try_join() {
            None if !limit.is_zero() => self.wait(Some(limit)),
            answer => answer,
        }
    }

    /// The result if it is there; never blocks.
    pub fn try_join(&mut self) -> Option<Result<T, JoinError>> {
        let Some(packet) = &self.packet else { return Some(Err(JoinError::Taken)) };
        let answer = packet.poll_result(None);
        self.settle(answer)
    }

    /// True when the task has ended, whichever way.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.packet.as_ref().is_none_or(|packet| packet.is_done())
    }

    /// True when this call keeps the task from running: its closure is dropped at once, on this thread, and the result is
    /// [`JoinError::Cancelled`]. False when it has started or ended: a running task finds the signal in
    /// [`crate::current::cancel_token`], and its result counts as ever (DLY-2).
    pub fn cancel(&self) -> bool {
        self.packet.as_ref().is_some_and(|packet| packet.cancel())
    }

    /// The same handle, but one that cancels when it is dropped before the result was taken.
    pub fn cancel_on_drop(mut self) -> Self {
        self.cancels_on_drop = true;
        self
    }

    /// Its packet, unless the result was taken, for who goes on with it; and whether the handle cancels when it is dropped.
    pub(crate) fn into_parts(mut self) -> (Option<Arc<dyn Pending<T>>>, bool) {
        (self.packet.take(), self.cancels_on_drop)
    }

    /// True on a thread that would wait for itself.
    pub(crate) fn would_deadlock(&self) -> bool {
        self.packet.as_ref().is_some_and(|packet| packet.would_deadlock())
    }

    /// The sequences that its task waits on, or those of several tasks.
    pub(crate) fn waits_on(&self, runners: &mut Vec<Arc<dyn Waited>>) {
        if let Some(packet) = &self.packet {
            packet.waits_on(runners);
        }
    }

    /// Cancels the task when the token is signalled.
    pub(crate) fn bind(&self, token: &CancelToken) {
        if let Some(packet) = &self.packet {
            Arc::clone(packet).bind(token);
        }
    }

    fn wait(&mut self, limit: Option<Duration>) -> Option<Result<T, JoinError>> {
        let Some(packet) = self.packet.clone() else { return Some(Err(JoinError::Taken)) };
        if packet.would_deadlock() {
            return Some(Err(JoinError::WouldDeadlock));
        }
        let mut runners = Vec::new();
        if current::priority().is_some() {
            packet.waits_on(&mut runners);
        }
        let _lent: Vec<Lent> = runners.iter().filter_map(Lent::to).collect();
        let wait = Wait::on("a task").posted_at(packet.location()).at_most(limit);
        let answer = park::wait_for(|context| packet.poll_result(Some(context.waker())), wait);
        self.settle(answer.map_or(Poll::Pending, Poll::Ready))
    }

    /// Gives the packet up once its result is taken.
    fn settle(&mut self, answer: Poll<Result<T, JoinError>>) -> Option<Result<T, JoinError>> {
        match answer {
            Poll::Pending => None,
            Poll::Ready(result) => {
                self.packet = None;
                Some(result)
            }
        }
    }
}

impl<T> Future for TaskHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(packet) = &self.packet else { return Poll::Ready(Err(JoinError::Taken)) };
        let answer = packet.poll_result(Some(context.waker()));
        self.settle(answer).map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T> Drop for TaskHandle<T> {
    fn drop(&mut self) {
        let Some(packet) = self.packet.take() else { return };
        if self.cancels_on_drop {
            packet.cancel();
        }
        packet.detach();
    }
}

impl<T> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle").field("is_finished", &self.is_finished()).finish_non_exhaustive()
    }
}
