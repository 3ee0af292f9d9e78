//! Cancelling: a tree of tokens, checked with one load.
//!
//! Words: a token is *signalled* when it or an ancestor was cancelled. Each token has its own state byte, written once; signalling a token
//! signals its children, each under its own lock and never two locks at once, and wakes its waiters after the locks.
//!
//! The bad interleaving: a child or waiter is registered just after the parent went through its list. Excluded because
//! registering looks at the state again under the list's lock, and signalling sets the state before it takes that lock.
//!
//! | operation | progress |
//! |---|---|
//! | `is_cancelled`, `reason` | wait-free, one load |
//! | `cancel` | takes the lock of each token below |
//! | `child`, waits | take the token's lock for a few instructions |
//!
//! Witnessed by `tests::loom_child_and_waiter_hear_of_a_cancel`.
#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::panic::{catch, drop_payload};
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
pub struct CancelToken(Arc<Inner>);

struct Inner {
    state: AtomicU8,
    listeners: Mutex<Listeners>,
    /// Keeps the chain upwards alive, so that a signal finds its way through tokens that nobody holds.
    parent: Option<CancelToken>,
    /// Something that lives as long as the token.
    kept: OnceCell<Box<dyn Any + Send + Sync>>,
}

#[derive(Default)]
struct Listeners {
    children: Vec<Weak<Inner>>,
    /// Waiters by number; a waiter that gives up takes its entry along.
    waiters: Vec<(u64, Waker)>,
    next_waiter: u64,
}

impl CancelToken {
    /// A token of its own, not signalled.
    #[must_use]
    pub fn new() -> Self {
        Self::with_parent(None)
    }

    fn with_parent(parent: Option<Self>) -> Self {
        Self(Arc::new(Inner {
            state: AtomicU8::new(LIVE),
            listeners: Mutex::new(Listeners::default()),
            parent,
            kept: OnceCell::new(),
        }))
    }

    /// A token that is signalled with this one, and can be cancelled alone.
    #[must_use]
    pub fn child(&self) -> Self {
        let child = Self::with_parent(Some(self.clone()));
        let state = {
            let mut listeners = self.0.listeners.lock();
            // WHY: looked at under the lock, see the page above.
            let state = self.0.state();
            if state == LIVE {
                listeners.forget_dead_children();
                listeners.children.push(Arc::downgrade(&child.0));
            }
            state
        };
        if state != LIVE {
            child.0.signal(state);
        }
        child
    }

    /// Signals this token and all below it; the first call wins, later ones do nothing.
    pub fn cancel(&self) {
        self.0.signal(CANCELLED);
    }

    /// Signals that the deadline has passed.
    pub(crate) fn expire(&self) {
        self.0.signal(EXPIRED);
    }

    /// Keeps a value for as long as the token lives; one per token.
    pub(crate) fn keep(&self, value: Box<dyn Any + Send + Sync>) {
        let refused = self.0.kept.set(value);
        debug_assert!(refused.is_ok(), "a token has one deadline");
    }

    pub(crate) fn downgrade(&self) -> WeakToken {
        WeakToken(Arc::downgrade(&self.0))
    }

    /// True once signalled. One atomic load.
    #[inline]
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.state() != LIVE
    }

    /// Why the token is signalled; `None` while it is not.
    #[must_use]
    pub fn reason(&self) -> Option<CancelReason> {
        match self.0.state() {
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
    pub fn cancelled(&self) -> Cancelled {
        Cancelled { token: self.clone(), waiter: None }
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

/// A token that is not kept alive.
#[derive(Clone)]
pub(crate) struct WeakToken(Weak<Inner>);

impl WeakToken {
    pub(crate) fn upgrade(&self) -> Option<CancelToken> {
        self.0.upgrade().map(CancelToken)
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

    /// Registers a waiter, or says that the signal has come.
    fn register(&self, waiter: &mut Option<u64>, waker: &Waker) -> Poll<()> {
        let mut waker = waker.clone();
        let mut listeners = self.listeners.lock();
        // WHY: looked at under the lock, see the page above.
        if self.state() != LIVE {
            return Poll::Ready(());
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
        while let Some(mut inner) = parent.and_then(|token| Arc::into_inner(token.0)) {
            parent = inner.parent.take();
        }
    }
}

impl Listeners {
    fn add(&mut self, waker: Waker) -> u64 {
        let number = self.next_waiter;
        self.next_waiter += 1;
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
#[derive(Debug)]
pub struct Cancelled {
    token: CancelToken,
    waiter: Option<u64>,
}

impl Future for Cancelled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.token.is_cancelled() {
            return Poll::Ready(());
        }
        let this = &mut *self;
        this.token.0.register(&mut this.waiter, context.waker())
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(number) = self.waiter {
            self.token.0.forget(number);
        }
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
