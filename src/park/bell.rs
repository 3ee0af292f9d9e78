//! A bell: whoever waits for a condition listens, whoever may have made it true rings, all listeners look again.
#![forbid(unsafe_code)]

use std::task::{Context, Poll, Waker};

use super::{Wait, wait_for};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Listeners are all woken by each ring, so none of them can use up another's wake-up.
#[derive(Debug)]
pub(crate) struct Bell {
    listened: AtomicBool,
    listeners: Mutex<Vec<Waker>>,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self { listened: AtomicBool::new(false), listeners: Mutex::new(Vec::new()) }
    }

    /// True while somebody listens; the caller brings the ordering with it.
    pub(crate) fn is_listened_racy(&self) -> bool {
        // Relaxed: see the name.
        self.listened.load(Ordering::Relaxed)
    }

    fn listen(&self, context: &Context<'_>) {
        let waker = context.waker().clone();
        let mut listeners = self.listeners.lock();
        listeners.push(waker);
        // Relaxed: the listener orders it against the condition by what it calls before it looks.
        self.listened.store(true, Ordering::Relaxed);
    }

    /// Wakes all listeners.
    pub(crate) fn ring(&self) {
        let listeners = {
            let mut listeners = self.listeners.lock();
            // Relaxed: as in `listen`.
            self.listened.store(false, Ordering::Relaxed);
            std::mem::take(&mut *listeners)
        };
        listeners.into_iter().for_each(Waker::wake);
    }

    /// Waits until `look` has an answer. It is asked after the bell is listened to; it must order its look against the ringer's change.
    pub(crate) fn wait_until<T>(&self, mut look: impl FnMut() -> Option<T>, wait: Wait) -> Option<T> {
        if let Some(answer) = look() {
            return Some(answer);
        }
        Self::wait_for_either([self], look, wait)
    }

    /// As [`wait_until`](Self::wait_until), for a condition that several ringers can make true.
    pub(crate) fn wait_for_either<T, const N: usize>(
        bells: [&Self; N],
        mut look: impl FnMut() -> Option<T>,
        wait: Wait,
    ) -> Option<T> {
        let poll = |context: &mut Context<'_>| {
            bells.iter().for_each(|bell| bell.listen(context));
            look().map_or(Poll::Pending, Poll::Ready)
        };
        wait_for(poll, wait)
    }
}
