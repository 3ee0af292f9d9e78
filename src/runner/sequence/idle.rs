//! Waits for what was posted to a sequence (SEQ-9): one condition, waited for by a thread or by a future.
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{Sequence, read};
use crate::error::WaitError;
use crate::park::{Bell, Listener, Wait};
use crate::task::raw::Erased;

impl Sequence {
    /// Waits until everything that was pushed before has run.
    pub(crate) fn wait_idle(&self, wait: Wait) -> Result<(), WaitError> {
        let target = self.idle_target()?;
        let is_done = Bell::wait_for_either(self.idle_bells(), || self.look_idle(target), wait);
        is_done.map_or(Err(WaitError::TimedOut), |is_done| self.idle_result(target, is_done))
    }

    /// So many pushes are waited for.
    fn idle_target(&self) -> Result<u64, WaitError> {
        if self.would_deadlock() || self.core.is_fenced_by_this_thread() {
            return Err(WaitError::WouldDeadlock);
        }
        Ok(self.lane.pushed())
    }

    fn idle_bells(&self) -> [&Bell; 2] {
        [&self.turn_ended, &self.core.ended]
    }

    /// `Some` when the wait is over: whether so many tasks are.
    fn look_idle(&self, target: u64) -> Option<bool> {
        self.lane.listen();
        let is_done = self.over() >= target;
        (is_done || self.core.tracker.is_complete()).then_some(is_done)
    }

    fn idle_result(&self, target: u64, is_done: bool) -> Result<(), WaitError> {
        let is_complete = !(1..=target).contains(&read(&self.shared.first_discarded));
        match is_done {
            true if is_complete => Ok(()),
            _ if self.core.tracker.is_started() => Err(WaitError::ShutDown),
            _ => Err(WaitError::Closed),
        }
    }
}

/// The same wait as a future. What it waits for is settled when it is made.
pub(crate) struct Flush {
    sequence: Arc<Erased<Sequence>>,
    target: Result<u64, WaitError>,
    listener: Listener,
}

impl Flush {
    pub(crate) fn of(sequence: &Arc<Erased<Sequence>>) -> Self {
        Self { target: sequence.object.idle_target(), sequence: Arc::clone(sequence), listener: Listener::new() }
    }
}

impl Future for Flush {
    type Output = Result<(), WaitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { sequence, target, listener } = &mut *self;
        let (sequence, target) = (&sequence.object, (*target)?);
        let is_done = listener.poll(context, sequence.idle_bells(), || sequence.look_idle(target));
        is_done.map(|is_done| sequence.idle_result(target, is_done))
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.listener.leave(self.sequence.object.idle_bells());
    }
}
