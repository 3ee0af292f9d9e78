//! A result that somebody owes: completed once, from anywhere, for a [`TaskHandle`].
//!
//! There is no closure behind it: cancelling the handle signals the token of who owes it, if there is one, and changes nothing else. A promise that is dropped is kept as [`JoinError::ShutDown`].
//!
//! Witnessed by `tests::promise_is_kept_once`, `tests::promise_is_cancelled_by_its_token`.
#![forbid(unsafe_code)]

use std::panic::Location;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::answer::Answer;
use super::cancel::CancelToken;
use super::handle::{Pending, TaskHandle, Waited};
use super::panic::{catch, drop_payload};
use crate::error::{JoinError, RejectReason};
use crate::sync::Mutex;

/// Who owes the result.
pub(crate) struct Promise<T: Send + 'static>(Arc<Promised<T>>);

/// What promise and handle share.
struct Promised<T> {
    answer: Mutex<Answer<T>>,
    waited: Option<Arc<dyn Waited>>,
    wanted: Option<CancelToken>,
    location: &'static Location<'static>,
}

impl<T: Send + 'static> Promise<T> {
    /// A promise, and the handle of who waits for it; `waited` knows who would wait for himself.
    pub(crate) fn new(waited: Option<Arc<dyn Waited>>, location: &'static Location<'static>) -> (Self, TaskHandle<T>) {
        Self::made(waited, None, location)
    }

    /// A promise that is wanted until the token is cancelled, which the handle can do.
    pub(crate) fn while_wanted(
        waited: Option<Arc<dyn Waited>>,
        wanted: CancelToken,
        location: &'static Location<'static>,
    ) -> (Self, TaskHandle<T>) {
        Self::made(waited, Some(wanted), location)
    }

    fn made(
        waited: Option<Arc<dyn Waited>>,
        wanted: Option<CancelToken>,
        location: &'static Location<'static>,
    ) -> (Self, TaskHandle<T>) {
        let promised = Arc::new(Promised { answer: Mutex::default(), waited, wanted, location });
        (Self(Arc::clone(&promised)), TaskHandle::new(promised))
    }

    /// Keeps it; the first call counts.
    pub(crate) fn complete(&self, result: Result<T, JoinError>) {
        self.0.complete(result);
    }
}

impl<T: Send + 'static> Drop for Promise<T> {
    fn drop(&mut self) {
        // Nothing, if it has been kept.
        self.0.complete(Err(JoinError::ShutDown));
    }
}

impl<T> Promised<T> {
    fn complete(&self, result: Result<T, JoinError>) {
        let left = self.answer.lock().complete(result);
        if let Some(waker) = left.waker {
            catch(|| waker.wake()).unwrap_or_else(drop_payload);
        }
        super::panic::drop_quietly(left.unwanted);
    }
}

impl<T: Send + 'static> Pending<T> for Promised<T> {
    fn poll_result(&self, waker: Option<&Waker>) -> Poll<Result<T, JoinError>> {
        let waker = waker.cloned();
        let (answer, before) = self.answer.lock().poll(waker);
        drop(before);
        answer
    }

    fn is_done(&self) -> bool {
        self.answer.lock().is_done()
    }

    fn is_waiting(&self) -> bool {
        false
    }

    fn cancel(&self) -> bool {
        let is_late = |wanted: &&CancelToken| self.is_done() || wanted.is_cancelled();
        let Some(wanted) = self.wanted.as_ref().filter(|wanted| !is_late(wanted)) else { return false };
        wanted.cancel();
        true
    }

    fn cancel_waiting(&self) -> bool {
        false
    }

    fn reject(&self, reason: RejectReason) {
        self.complete(Err(JoinError::Rejected(reason)));
    }

    fn detach(&self) {
        let left = self.answer.lock().detach();
        drop(left);
    }

    fn would_deadlock(&self) -> bool {
        !self.is_done() && self.waited.as_ref().is_some_and(|waited| waited.would_deadlock())
    }

    fn waits_on(&self, _runners: &mut Vec<Arc<dyn Waited>>) {}

    fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// What is owed cannot be cancelled here.
    fn bind(self: Arc<Self>, _token: &CancelToken) {}
}

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn promise_is_kept_once() {
        let (promise, mut handle) = Promise::new(None, Location::caller());
        assert!(handle.try_join().is_none() && !handle.cancel());
        promise.complete(Ok(7));
        assert!(matches!(handle.try_join(), Some(Ok(7))));
        assert!(matches!(handle.try_join(), Some(Err(JoinError::Taken))));
        let (promise, handle) = Promise::<u32>::new(None, Location::caller());
        drop(promise);
        assert!(matches!(handle.join(), Err(JoinError::ShutDown)));
    }

    #[test]
    fn promise_is_cancelled_by_its_token() {
        let wanted = CancelToken::new();
        let (promise, handle) = Promise::<u32>::while_wanted(None, wanted.clone(), Location::caller());
        assert!(handle.cancel() && wanted.is_cancelled() && !handle.cancel(), "once");
        promise.complete(Ok(7));
        assert!(matches!(handle.join(), Ok(7)), "what is kept counts");
        let wanted = CancelToken::new();
        let (promise, handle) = Promise::while_wanted(None, wanted.clone(), Location::caller());
        promise.complete(Ok(7));
        assert!(!handle.cancel() && !wanted.is_cancelled(), "there is nothing to cancel");
    }
}
