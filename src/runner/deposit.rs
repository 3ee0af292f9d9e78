//! What a poster gets back if it is refused, though it has gone out of sight in a closure on the way.
//!
//! Poster and closure share a slot. The closure empties it when it runs, and when it is dropped unrun, so that what lies there is dropped where the closure is; the poster of a refused
//! closure empties it before it lets go of the closure.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::error::Rejected;
use crate::sync::Mutex;

/// The poster's share.
pub(super) struct Deposit<P>(Arc<Mutex<Option<P>>>);

impl<P: Send + 'static> Deposit<P> {
    /// A deposit, and the closure that does what `wrap` makes of it.
    pub(super) fn new<F, W>(parts: P, wrap: W) -> (Self, impl FnOnce() + Send + 'static)
    where
        F: FnOnce() + Send + 'static,
        W: FnOnce(P) -> F + Send + 'static,
    {
        let slot = Arc::new(Mutex::new(Some(parts)));
        let claim = Claim { slot: Arc::clone(&slot), wrap: Some(wrap) };
        let run = move || {
            if let Some(f) = claim.take() {
                f();
            }
        };
        (Self(slot), run)
    }

    /// The deposit of a closure that was refused.
    pub(super) fn back<X>(self, rejected: Rejected<X>) -> Rejected<P> {
        let parts = self.0.lock().take();
        let Some(parts) = parts else { unreachable!("a runner that refuses a task has neither run nor dropped it") };
        rejected.map(|closure| {
            drop(closure);
            parts
        })
    }
}

/// The closure's share.
struct Claim<P, F, W>
where
    W: FnOnce(P) -> F,
{
    slot: Arc<Mutex<Option<P>>>,
    wrap: Option<W>,
}

impl<P, F, W> Claim<P, F, W>
where
    W: FnOnce(P) -> F,
{
    fn take(mut self) -> Option<F> {
        self.empty()
    }

    fn empty(&mut self) -> Option<F> {
        let parts = self.slot.lock().take();
        Some(self.wrap.take()?(parts?))
    }
}

impl<P, F, W> Drop for Claim<P, F, W>
where
    W: FnOnce(P) -> F,
{
    fn drop(&mut self) {
        // As a closure is dropped: what it would have done is up to `wrap`.
        drop(self.empty());
    }
}
