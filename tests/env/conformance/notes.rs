//! What tasks note for the test to judge, and values that note their end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MILLI: Duration = Duration::from_millis(1);
/// What tasks have noted, in order.
#[derive(Debug)]
pub(super) struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Log<T> {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    pub(super) fn push(&self, entry: T) {
        self.0.lock().expect("no panic").push(entry);
    }

    /// A task that notes this.
    pub(super) fn noting(&self, entry: T) -> impl FnOnce() + Send + 'static
    where
        T: Send + 'static,
    {
        let log = self.clone();
        move || log.push(entry)
    }

    pub(super) fn seen(&self) -> Vec<T> {
        self.0.lock().expect("no panic").clone()
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }
}

/// Does something when it is dropped, as a captured value may.
pub(super) struct OnDrop<F: FnMut()>(pub(super) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
