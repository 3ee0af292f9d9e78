//! Who wants to know that a pool is about to end, before it refuses anything.
#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};

use crate::sync::Mutex;

/// Told once, by the thread that starts the shutdown, while the pool still takes tasks.
pub(crate) trait Ending: Send + Sync {
    fn pool_ends(self: Arc<Self>);
}

/// Who is told.
#[derive(Default)]
pub(crate) struct Endings(Mutex<Told>);

#[derive(Default)]
struct Told {
    is_over: bool,
    listeners: Vec<Weak<dyn Ending>>,
}

impl Endings {
    /// Has the listener told; false when the end has begun already.
    pub(crate) fn listen(&self, listener: &Arc<impl Ending + 'static>) -> bool {
        let mut told = self.0.lock();
        if told.is_over {
            return false;
        }
        if told.listeners.len() == told.listeners.capacity() {
            told.listeners.retain(|listener| listener.strong_count() > 0);
        }
        let listener: Weak<dyn Ending> = Arc::downgrade(&(Arc::clone(listener) as Arc<dyn Ending>));
        told.listeners.push(listener);
        true
    }

    /// Tells all, the first time.
    pub(crate) fn tell(&self) {
        let listeners = {
            let mut told = self.0.lock();
            told.is_over = true;
            std::mem::take(&mut told.listeners)
        };
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            listener.pool_ends();
        }
    }
}
