//! A bell: whoever waits for a condition listens, whoever may have made it true rings, all listeners look again.
#![forbid(unsafe_code)]

use std::task::{Context, Poll, Waker};

use super::{Wait, wait_for};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, unmodelled};

/// Listeners are all woken by each ring, so none of them can use up another's wake-up.
#[derive(Debug)]
pub(crate) struct Bell {
    listened: AtomicBool,
    /// By the number of who listens: two waits of one task have the same waker.
    listeners: Mutex<Vec<(u64, Waker)>>,
}

/// One wait for bells. Whoever drops it before its end must have it [leave](Self::leave) them: a bell that rings once in the life of a pool would keep its waker.
#[derive(Debug)]
pub(crate) struct Listener {
    number: u64,
    listens: bool,
}

impl Listener {
    pub(crate) fn new() -> Self {
        static NUMBERS: unmodelled::AtomicU64 = unmodelled::AtomicU64::new(0);
        // Relaxed: a number of its own, nothing more.
        Self { number: NUMBERS.fetch_add(1, unmodelled::Ordering::Relaxed), listens: false }
    }

    /// Looks once, after it listens to the bells; what `look` asks must be ordered against the ringers' changes.
    pub(crate) fn poll<T, const N: usize>(
        &mut self,
        context: &Context<'_>,
        bells: [&Bell; N],
        look: impl FnOnce() -> Option<T>,
    ) -> Poll<T> {
        self.listens = true;
        bells.iter().for_each(|bell| bell.listen(self.number, context.waker()));
        match look() {
            Some(answer) => {
                self.leave(bells);
                Poll::Ready(answer)
            }
            None => Poll::Pending,
        }
    }

    /// Need not be woken any more.
    pub(crate) fn leave<const N: usize>(&mut self, bells: [&Bell; N]) {
        if std::mem::take(&mut self.listens) {
            bells.iter().for_each(|bell| bell.forget(self.number));
        }
    }
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

    /// Has the waker woken by the next ring, instead of an earlier one of that number.
    fn listen(&self, number: u64, waker: &Waker) {
        let mut waker = waker.clone();
        let before = {
            let mut listeners = self.listeners.lock();
            // Relaxed: the listener orders it against the condition by what it calls before it looks.
            self.listened.store(true, Ordering::Relaxed);
            // WHY once: who waits by several bells comes back to each whenever one of them rings.
            match listeners.iter_mut().find(|(other, _)| *other == number) {
                Some((_, kept)) => {
                    std::mem::swap(kept, &mut waker);
                    Some(waker)
                }
                None => {
                    listeners.push((number, waker));
                    None
                }
            }
        };
        drop(before);
    }

    /// Wakes all listeners.
    pub(crate) fn ring(&self) {
        let listeners = {
            let mut listeners = self.listeners.lock();
            // Relaxed: as in `listen`.
            self.listened.store(false, Ordering::Relaxed);
            std::mem::take(&mut *listeners)
        };
        listeners.into_iter().for_each(|(_, waker)| waker.wake());
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
        let mut listener = Listener::new();
        let answer = wait_for(|context| listener.poll(context, bells, &mut look), wait);
        listener.leave(bells);
        answer
    }

    /// How many listen.
    #[cfg(test)]
    pub(super) fn listeners(&self) -> usize {
        self.listeners.lock().len()
    }

    fn forget(&self, number: u64) {
        let forgotten = {
            let mut listeners = self.listeners.lock();
            let at = listeners.iter().position(|(other, _)| *other == number);
            at.map(|at| listeners.remove(at))
        };
        drop(forgotten);
    }
}
