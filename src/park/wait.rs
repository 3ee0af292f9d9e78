//! Waiting for a result: drives anything that can be polled to its end, on the thread that asks.
//!
//! A thread may have somebody's *attention*: a worker of a pool tells its pool before it waits and after, so that another thread
//! takes its place. A waiting thread never runs anything but the poll itself.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::Parker;
#[cfg(feature = "testing")]
use super::driver;
use crate::sync::{Deadline, local};

/// Told when the thread it is installed on is about to wait, and when the wait is over.
pub(crate) trait Attention {
    fn wait_begins(&self);
    fn wait_ends(&self);
    /// The thread may be about to wait, by other means; ends as a wait does.
    fn may_wait_begins(&self);
}

local! {
    static ATTENTION: RefCell<Option<Rc<dyn Attention>>> = RefCell::new(None);
}

/// Installs (or with `None` removes) the attention of this thread; gives back the one before.
pub(crate) fn attend(attention: Option<Rc<dyn Attention>>) -> Option<Rc<dyn Attention>> {
    ATTENTION.with(|slot| slot.replace(attention))
}

/// Ends the wait even when the poll unwinds.
pub(crate) struct Waiting(Option<Rc<dyn Attention>>);

/// The attention of this thread.
pub(crate) fn attention() -> Option<Rc<dyn Attention>> {
    ATTENTION.try_with(|slot| slot.borrow().clone()).ok().flatten()
}

/// This thread waits, by whatever means, until the answer is dropped.
#[must_use = "the wait is over when this is dropped"]
pub(crate) fn waiting() -> Waiting {
    Waiting::begin()
}

impl Waiting {
    fn begin() -> Self {
        let attention = attention();
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

/// What a thread waits for, and for how long at most.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "only a driver tells what a wait is for"))]
pub(crate) struct Wait {
    pub(crate) limit: Option<Duration>,
    pub(crate) what: &'static str,
    /// Where that was posted.
    pub(crate) location: Option<&'static Location<'static>>,
}

impl Wait {
    pub(crate) const fn on(what: &'static str) -> Self {
        Self { limit: None, what, location: None }
    }

    pub(crate) const fn at_most(self, limit: Option<Duration>) -> Self {
        Self { limit, ..self }
    }

    pub(crate) const fn posted_at(self, location: &'static Location<'static>) -> Self {
        Self { location: Some(location), ..self }
    }
}

/// Polls until ready; `None` when the time is over first.
pub(crate) fn wait_for<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>, wait: Wait) -> Option<T> {
    let parker = Arc::new(Parker::new());
    let waker = Waker::from(Arc::clone(&parker));
    let mut context = Context::from_waker(&waker);
    if let Poll::Ready(value) = poll(&mut context) {
        return Some(value);
    }
    let _waiting = Waiting::begin();
    let parking = Parking::begin(&wait);
    loop {
        let is_over = parking.park(&parker, &wait);
        if let Poll::Ready(value) = poll(&mut context) {
            return Some(value);
        }
        if is_over {
            return None;
        }
    }
}

/// Parks the thread for once, in the way that it parks; true when a permit was consumed. May return early when a limit is given.
pub(crate) fn park(parker: &Arc<Parker>, wait: &Wait) -> bool {
    #[cfg(feature = "testing")]
    if let Some(driver) = driver::current() {
        let until = wait.limit.map(|limit| driver.now().saturating_add(limit));
        return driver.park(parker, until, wait);
    }
    parker.park_until_permit(wait.limit)
}

/// A point between two steps of a thread: where time is virtual, something else may go on first.
#[inline]
pub(crate) fn pause() {
    #[cfg(feature = "testing")]
    if let Some(driver) = driver::current() {
        driver.pause();
    }
}

/// How long several waits may take together, by the time that they go by.
pub(crate) struct Patience(Parking);

impl Patience {
    pub(crate) fn of(limit: impl Into<Option<Duration>>) -> Self {
        Self(Parking::begin(&Wait::on("several waits").at_most(limit.into())))
    }

    /// How much is left; `None` when there is no limit.
    pub(crate) fn left(&self) -> Option<Duration> {
        match &self.0 {
            Parking::Thread(deadline) => deadline.remaining(),
            #[cfg(feature = "testing")]
            Parking::Driven(driver, until) => until.map(|until| until.saturating_sub(driver.now())),
        }
    }
}

/// A point at which a test environment lets something else go on first, if it is asked to.
#[inline]
#[cfg_attr(not(feature = "testing"), expect(unused_variables, reason = "only a driver asks where it is"))]
pub(crate) fn yield_at(name: &'static str) {
    #[cfg(feature = "testing")]
    if let Some(driver) = driver::current() {
        driver.yield_at(name);
    }
}

/// When a wait ends, by the clock that it is measured with.
enum Parking {
    Thread(Deadline),
    #[cfg(feature = "testing")]
    Driven(Rc<dyn driver::Driver>, Option<Duration>),
}

impl Parking {
    fn begin(wait: &Wait) -> Self {
        #[cfg(feature = "testing")]
        if let Some(driver) = driver::current() {
            let until = wait.limit.map(|limit| driver.now().saturating_add(limit));
            return Self::Driven(driver, until);
        }
        Self::Thread(Deadline::after(wait.limit))
    }

    /// Parks once; true when the time is over.
    #[cfg_attr(not(feature = "testing"), expect(unused_variables, reason = "only a driver asks what the wait is for"))]
    fn park(&self, parker: &Arc<Parker>, wait: &Wait) -> bool {
        match self {
            Self::Thread(deadline) => match deadline.remaining() {
                None => !parker.park_until_permit(None),
                Some(Duration::ZERO) => true,
                Some(left) => !parker.park_until_permit(Some(left)) && deadline.remaining() == Some(Duration::ZERO),
            },
            #[cfg(feature = "testing")]
            Self::Driven(driver, until) => {
                !driver.park(parker, *until, wait) && until.is_some_and(|until| until <= driver.now())
            }
        }
    }
}
