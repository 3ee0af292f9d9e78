//! A result on its way to its handle, as data: it stands under the lock of its owner, who wakes and drops what it gives back once the lock is open.
#![forbid(unsafe_code)]

use std::task::{Poll, Waker};

use crate::error::JoinError;

/// Nothing, then a result, then nothing again.
pub(crate) struct Answer<T> {
    is_done: bool,
    is_detached: bool,
    result: Option<Result<T, JoinError>>,
    waker: Option<Waker>,
}

/// What nobody needs any more, and who waits.
#[must_use = "to be woken and dropped outside of the lock"]
pub(crate) struct Left<T> {
    pub(crate) unwanted: Option<Result<T, JoinError>>,
    pub(crate) waker: Option<Waker>,
}

impl<T> Default for Answer<T> {
    fn default() -> Self {
        Self { is_done: false, is_detached: false, result: None, waker: None }
    }
}

impl<T> Answer<T> {
    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    /// The first result is kept, unless nobody wants it.
    pub(crate) fn complete(&mut self, result: Result<T, JoinError>) -> Left<T> {
        let unwanted = if self.is_done || self.is_detached { Some(result) } else { self.result.replace(result) };
        self.is_done = true;
        Left { unwanted, waker: self.waker.take() }
    }

    /// Takes the result, or leaves `waker` for it; the second value is the waker that stood there.
    pub(crate) fn poll(&mut self, waker: Option<Waker>) -> (Poll<Result<T, JoinError>>, Option<Waker>) {
        if self.is_done {
            return (Poll::Ready(self.result.take().unwrap_or(Err(JoinError::Taken))), waker);
        }
        (Poll::Pending, waker.and_then(|waker| self.waker.replace(waker)))
    }

    /// The handle is gone.
    pub(crate) fn detach(&mut self) -> Left<T> {
        self.is_detached = true;
        Left { unwanted: self.result.take(), waker: self.waker.take() }
    }
}
