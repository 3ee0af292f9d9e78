//! A result that is in itself one: the handle of both as one.
#![forbid(unsafe_code)]

use std::panic::Location;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::cancel::CancelToken;
use super::handle::{Pending, TaskHandle, Waited};
use crate::error::{JoinError, RejectReason};

/// A packet whose result may be an error of joining itself.
struct Flat<T>(Arc<dyn Pending<Result<T, JoinError>>>);

impl<T> Pending<T> for Flat<T> {
    fn poll_result(&self, waker: Option<&Waker>) -> Poll<Result<T, JoinError>> {
        self.0.poll_result(waker).map(|result| result.and_then(|inner| inner))
    }

    fn is_done(&self) -> bool {
        self.0.is_done()
    }

    fn is_waiting(&self) -> bool {
        self.0.is_waiting()
    }

    fn cancel(&self) -> bool {
        self.0.cancel()
    }

    fn cancel_waiting(&self) -> bool {
        self.0.cancel_waiting()
    }

    fn reject(&self, reason: RejectReason) {
        self.0.reject(reason);
    }

    fn detach(&self) {
        self.0.detach();
    }

    fn would_deadlock(&self) -> bool {
        self.0.would_deadlock()
    }

    fn waits_on(&self, runners: &mut Vec<Arc<dyn Waited>>) {
        self.0.waits_on(runners);
    }

    fn location(&self) -> &'static Location<'static> {
        self.0.location()
    }

    fn bind(self: Arc<Self>, token: &CancelToken) {
        Arc::clone(&self.0).bind(token);
    }
}

impl<T: 'static> TaskHandle<Result<T, JoinError>> {
    /// The handle of a task that may itself say why there is no result.
    pub(crate) fn flatten(mut self) -> TaskHandle<T> {
        let packet = self.packet.take().map(|packet| Arc::new(Flat(packet)) as Arc<dyn Pending<T>>);
        TaskHandle { packet, cancels_on_drop: self.cancels_on_drop }
    }
}
