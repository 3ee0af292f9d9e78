//! Waiting for a result: drives anything that can be polled to its end, on the thread that asks.
//!
//! A thread may have somebody's *attention*: a worker of a pool tells its pool before it waits and after, so that another thread
//! takes its place. A waiting thread never runs anything but the poll itself.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::Parker;
use crate::sync::{Limit, local};

/// Told when the thread it is installed on is about to wait, and when the wait is over.
pub(crate) trait Attention {
    fn wait_begins(&self);
    fn wait_ends(&self);
}

local! {
    static ATTENTION: RefCell<Option<Rc<dyn Attention>>> = RefCell::new(None);
}

/// Installs (or with `None` removes) the attention of this thread.
pub(crate) fn attend(attention: Option<Rc<dyn Attention>>) {
    let previous = ATTENTION.with(|slot| slot.replace(attention));
    drop(previous);
}

/// Ends the wait even when the poll unwinds.
struct Waiting(Option<Rc<dyn Attention>>);

impl Waiting {
    fn begin() -> Self {
        let attention = ATTENTION.try_with(|slot| slot.borrow().clone()).ok().flatten();
        if let Some(attention) = &attention {
            attention.wait_begins();
        }
        Self(attention)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(attention) = &self.0 {
            attention.wait_ends();
        }
    }
}

/// Polls until ready; `None` when the time is over first.
pub(crate) fn wait_for<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>, limit: Limit) -> Option<T> {
    let parker = Arc::new(Parker::new());
    let waker = Waker::from(Arc::clone(&parker));
    let mut context = Context::from_waker(&waker);
    if let Poll::Ready(value) = poll(&mut context) {
        return Some(value);
    }
    let _waiting = Waiting::begin();
    loop {
        match limit.remaining() {
            None => parker.park(),
            Some(Duration::ZERO) => return None,
            Some(limit) => _ = parker.park_timeout(limit),
        }
        if let Poll::Ready(value) = poll(&mut context) {
            return Some(value);
        }
    }
}
