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

    /// Has the waker woken by the next ring.
    pub(crate) fn listen(&self, context: &Context<'_>) {
        let waker = context.waker().clone();
        let mut listeners = self.listeners.lock();
        // WHY once: who waits by several bells comes back to each whenever one of them rings.
        if !listeners.iter().any(|listener| listener.will_wake(&waker)) {
            listeners.push(waker);
        }
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
        let mut waker = None;
        let poll = |context: &mut Context<'_>| {
            waker.get_or_insert_with(|| context.waker().clone());
            bells.iter().for_each(|bell| bell.listen(context));
            look().map_or(Poll::Pending, Poll::Ready)
        };
        let answer = wait_for(poll, wait);
        // WHY: a bell that rings once in the life of a pool would keep them all.
        if let Some(waker) = waker {
            bells.iter().for_each(|bell| bell.forget(&waker));
        }
        answer
    }

    /// How many listen.
    #[cfg(test)]
    pub(super) fn listeners(&self) -> usize {
        self.listeners.lock().len()
    }

    /// The waker need not be woken any more.
    fn forget(&self, waker: &Waker) {
        let forgotten: Vec<Waker> = {
            let mut listeners = self.listeners.lock();
            let (mine, others) = listeners.drain(..).partition(|listener| listener.will_wake(waker));
            *listeners = others;
            mine
        };
        drop(forgotten);
    }
}
