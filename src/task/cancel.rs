//! Cancelling: a tree of tokens, checked with one load.
//!
//! Words: a token is *signalled* when it or an ancestor was cancelled. Each token has its own state byte, written once; signalling a token
//! signals its children, each under its own lock and never two locks at once, and wakes its waiters after the locks.
//!
//! # Who can signal
//!
//! A token's *signallers* are counted under its lock: its handles (as one), the token above it while that can be signalled, and its deadline while that is armed. A [`Cancelled`] is none
//! of them. When the last one is gone nothing can signal the token any more: it lets go of its waiters, and is no signaller of the tokens below. So a future
//! that awaits a token does not keep itself alive through its own waker.
//!
//! # The bad interleavings
//!
//! A child or waiter is registered just after the parent went through its list. Excluded because
//! registering looks at the state again under the list's lock, and signalling sets the state before it takes that lock. The same holds for waiters and the loss of the last signaller, which
//! is one step under the lock.
//!
//! A signal on its way down meets a token that loses its signallers: the token above is one until it has lost its own, and one that is signalled loses none.
//!
//! | operation | progress |
//! |---|---|
//! | `is_cancelled`, `reason` | wait-free, one load |
//! | `cancel` | takes the lock of each token below |
//! | `child`, waits | take the token's lock for a few instructions |
//! | the drop of the last handle | takes the lock of each token below that cannot be signalled any more |
//!
//! Witnessed by `tests::loom_child_and_waiter_hear_of_a_cancel`, `tests::loom_last_handle_and_waiter`, `tests::cancel`.
#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::panic::{catch, drop_payload, drop_quietly};
use crate::park::{self, Wait};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::unmodelled::OnceCell;

/// Why a token is signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelReason {
    /// Somebody called [`CancelToken::cancel`] on it or on an ancestor.
    Cancelled,
    /// Its deadline, or an ancestor's, has passed.
    DeadlineExceeded,
}

const LIVE: u8 = 0;
const CANCELLED: u8 = 1;
const EXPIRED: u8 = 2;

/// Asks work to stop: cloned into the work, checked there, signalled from anywhere (HND-5).
///
/// # Guarantees
///
/// Checking is one atomic load. A signal is final, reaches all children, and is delivered to each waiter. What the canceller did before is visible
/// to whoever sees the signal.
///
/// # Not guaranteed
///
/// Nothing is stopped by force: code that does not look goes on.
///
/// # Examples
///
/// ```
/// use overstrand::CancelToken;
///
/// let all = CancelToken::new();
/// let one = all.child();
/// all.cancel();
/// assert!(one.is_cancelled());
/// ```
#[derive(Clone)]
pub struct CancelToken {
    inner: Arc<Inner>,
    /// Shared by the handles of this token, so that its drop is that of the last one.
    _handles: Arc<Signaller>,
}

struct Inner {
    state: AtomicU8,
    listeners: Mutex<Listeners>,
    /// Keeps the chain upwards alive, so that a signal finds its way through tokens that nobody holds.
    parent: Option<Arc<Inner>>,
    /// Something that lives as long as the token.
    kept: OnceCell<Box<dyn Any + Send + Sync>>,
}

#[derive(Default)]
struct Listeners {
    children: Vec<Weak<Inner>>,
    /// Waiters by number; a waiter that gives up takes its entry along.
    waiters: Vec<(u64, Waker)>,
    next_waiter: u64,
    /// See the page above.
    signallers: usize,
}

/// One of those who can signal a token; no more after its drop.
pub(crate) struct Signaller(Weak<Inner>);

impl Signaller {
    /// Signals that the deadline has passed.
    pub(crate) fn expire(&self) {
        if let Some(inner) = self.0.upgrade() {
            inner.signal(EXPIRED);
        }
    }
}

impl Drop for Signaller {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.lose_signaller();
        }
    }
}

impl CancelToken {
    /// A token of its own, not signalled.
    #[must_use]
    pub fn new() -> Self {
        Self::with_parent(None)
    }

    fn with_parent(parent: Option<Arc<Inner>>) -> Self {
        let signallers = 1 + usize::from(parent.is_some());
        let inner = Arc::new(Inner {
            state: AtomicU8::new(LIVE),
            listeners: Mutex::new(Listeners { signallers, ..Listeners::default() }),
            parent,
            kept: OnceCell::new(),
        });
        Self { _handles: Arc::new(Signaller(Arc::downgrade(&inner))), inner }
    }

    /// A token that is signalled with this one, and can be cancelled alone.
    #[must_use]
    pub fn child(&self) -> Self {
        let child = Self::with_parent(Some(Arc::clone(&self.inner)));
        let state = {
            let mut listeners = self.inner.listeners.lock();
            // WHY: looked at under the lock, see the page above.
            let state = self.inner.state();
            if state == LIVE {
                listeners.forget_dead_children();
                listeners.children.push(Arc::downgrade(&child.inner));
            }
            state
        };
        if state != LIVE {
            child.inner.signal(state);
        }
        child
    }

    /// Signals this token and all below it; the first call wins, later ones do nothing.
    pub fn cancel(&self) {
        self.inner.signal(CANCELLED);
    }

    /// Signals that the deadline has passed.
    pub(crate) fn expire(&self) {
        self.inner.signal(EXPIRED);
    }

    /// Keeps a value for as long as the token lives; one per token.
    pub(crate) fn keep(&self, value: Box<dyn Any + Send + Sync>) {
        let refused = self.inner.kept.set(value);
        debug_assert!(refused.is_ok(), "a token has one deadline");
    }

    /// One more that can signal the token, without keeping it alive.
    pub(crate) fn signaller(&self) -> Signaller {
        self.inner.listeners.lock().signallers += 1;
        Signaller(Arc::downgrade(&self.inner))
    }

    /// True once signalled. One atomic load.
    #[inline]
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.inner.state() != LIVE
    }

    /// Why the token is signalled; `None` while it is not.
    #[must_use]
    pub fn reason(&self) -> Option<CancelReason> {
        match self.inner.state() {
            LIVE => None,
            CANCELLED => Some(CancelReason::Cancelled),
            _ => Some(CancelReason::DeadlineExceeded),
        }
    }

    /// Blocks until signalled. On a pool worker another thread takes its place meanwhile (HND-3).
    pub fn wait(&self) {
        self.wait_at_most(None);
    }

    /// Blocks until signalled, for at most `limit`; true when signalled.
    ///
    /// `limit` is monotonic time; zero only looks.
    #[must_use]
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        if self.is_cancelled() || limit.is_zero() {
            return self.is_cancelled();
        }
        self.wait_at_most(Some(limit))
    }

    fn wait_at_most(&self, limit: Option<Duration>) -> bool {
        let mut signal = self.cancelled();
        park::wait_for(|context| Pin::new(&mut signal).poll(context), Wait::on("a token").at_most(limit));
        self.is_cancelled()
    }

    /// Resolves once signalled, in any executor.
    ///
    /// It is no handle of the token. When all handles of the token and of those above it are gone, and no deadline is armed, nobody can signal it any more: the token forgets its
    /// waiters, and a future that awaits it stays pending until it is dropped. On a runner that is at once when nothing else can wake it and its handle is gone, and with the
    /// runner's or the pool's end in any case. A future that owns a handle of the very token that it awaits counts among those who can signal it.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled { token: Arc::clone(&self.inner), waiter: None }
    }

    /// Wakes `action` once, when the token is signalled, until the answer is dropped; `None` if it is signalled already.
    pub(crate) fn bind(&self, action: Arc<impl Wake + Send + Sync + 'static>) -> Option<Cancelled> {
        let mut signal = self.cancelled();
        let waker = Waker::from(action);
        let polled = Pin::new(&mut signal).poll(&mut Context::from_waker(&waker));
        polled.is_pending().then_some(signal)
    }

    /// Cancels this token when the guard is dropped.
    pub fn drop_guard(&self) -> CancelGuard {
        CancelGuard(Some(self.clone()))
    }
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("reason", &self.reason()).finish()
    }
}

impl Inner {
    #[inline]
    fn state(&self) -> u8 {
        // ORDER cancel.seen: Acquire; sees what the canceller did before; pairs with cancel.signal.
        self.state.load(Ordering::Acquire)
    }

    fn signal(&self, state: u8) {
        let mut below = Vec::new();
        self.signal_self(state, &mut below);
        // WHY: a list and not recursion, so that a deep tree does not overflow the stack.
        while let Some(inner) = below.pop() {
            inner.signal_self(state, &mut below);
        }
    }

    fn signal_self(&self, state: u8, below: &mut Vec<Arc<Self>>) {
        // ORDER cancel.signal: AcqRel; Release publishes what the canceller did, Acquire orders it after an earlier canceller; pairs with cancel.seen.
        let swap = self.state.compare_exchange(LIVE, state, Ordering::AcqRel, Ordering::Acquire);
        if swap.is_err() {
            return;
        }
        let listeners = std::mem::take(&mut *self.listeners.lock());
        below.extend(listeners.children.iter().filter_map(Weak::upgrade));
        for (_, waker) in listeners.waiters {
            // WHY: a waker that panics must not keep the others from hearing.
            catch(|| waker.wake()).unwrap_or_else(drop_payload);
        }
    }

    /// One signaller less; without any, nobody waits here any more, nor below.
    fn lose_signaller(&self) {
        let mut below = Vec::new();
        self.lose_one(&mut below);
        // WHY: a list, as in `signal`.
        while let Some(inner) = below.pop() {
            inner.lose_one(&mut below);
        }
    }

    fn lose_one(&self, below: &mut Vec<Arc<Self>>) {
        let orphaned = {
            let mut listeners = self.listeners.lock();
            listeners.signallers = listeners.signallers.saturating_sub(1);
            // WHY: who has signalled takes the listeners itself.
            if listeners.signallers > 0 || self.state() != LIVE {
                return;
            }
            std::mem::take(&mut *listeners)
        };
        below.extend(orphaned.children.iter().filter_map(Weak::upgrade));
        for (_, waker) in orphaned.waiters {
            drop_quietly(waker);
        }
    }

    /// Registers a waiter, or says that the signal has come. One that cannot come is not waited for.
    fn register(&self, waiter: &mut Option<u64>, waker: &Waker) -> Poll<()> {
        let mut waker = waker.clone();
        let mut listeners = self.listeners.lock();
        // WHY: looked at under the lock, see the page above.
        if self.state() != LIVE {
            return Poll::Ready(());
        }
        if listeners.signallers == 0 {
            return Poll::Pending;
        }
        let known = waiter.and_then(|number| listeners.waiters.iter_mut().find(|entry| entry.0 == number));
        if let Some(entry) = known {
            std::mem::swap(&mut entry.1, &mut waker);
        } else {
            *waiter = Some(listeners.add(waker));
            return Poll::Pending;
        }
        drop(listeners);
        drop(waker);
        Poll::Pending
    }

    fn forget(&self, number: u64) {
        let mut listeners = self.listeners.lock();
        let found = listeners.waiters.iter().position(|entry| entry.0 == number);
        let gone = found.map(|index| listeners.waiters.swap_remove(index));
        drop(listeners);
        drop(gone);
    }
}

impl Drop for Inner {
    /// Lets go of the chain upwards one by one, so that a deep one does not overflow the stack.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut inner) = parent.and_then(Arc::into_inner) {
            parent = inner.parent.take();
        }
    }
}

impl Listeners {
    fn add(&mut self, waker: Waker) -> u64 {
        let number = self.next_waiter;
        self.next_waiter += 1;
        // WHY exact: most tokens have one waiter, or none.
        self.waiters.reserve_exact(usize::from(self.waiters.is_empty()));
        self.waiters.push((number, waker));
        number
    }

    /// Keeps the list of children within twice the number of those alive.
    fn forget_dead_children(&mut self) {
        if self.children.len() == self.children.capacity() {
            self.children.retain(|child| child.strong_count() > 0);
        }
    }
}

/// Resolves when its token is signalled; made by [`CancelToken::cancelled`].
#[must_use = "futures do nothing unless polled"]
pub struct Cancelled {
    token: Arc<Inner>,
    waiter: Option<u64>,
}

impl Future for Cancelled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.token.state() != LIVE {
            return Poll::Ready(());
        }
        let this = &mut *self;
        this.token.register(&mut this.waiter, context.waker())
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(number) = self.waiter {
            self.token.forget(number);
        }
    }
}

impl fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancelled").field("is_cancelled", &(self.token.state() != LIVE)).finish_non_exhaustive()
    }
}

/// Cancels its token when dropped; made by [`CancelToken::drop_guard`].
#[must_use = "the token is cancelled when the guard is dropped"]
#[derive(Debug)]
pub struct CancelGuard(Option<CancelToken>);

impl CancelGuard {
    /// Gives the token back without cancelling it.
    #[must_use]
    pub fn disarm(mut self) -> CancelToken {
        self.0.take().unwrap_or_default()
    }
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        if let Some(token) = self.0.take() {
            token.cancel();
        }
    }
}
