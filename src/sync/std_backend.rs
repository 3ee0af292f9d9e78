//! The production backend: std atomics and threads, parking_lot locks.
#![forbid(unsafe_code)]

use std::io;
use std::time::Duration;

#[cfg(miri)]
pub(crate) use super::miri_locks::{Condvar, Mutex, MutexGuard};
#[cfg(not(miri))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
pub(crate) use std::hint::spin_loop;

pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

/// An `UnsafeCell` whose accesses a model can follow.
#[derive(Debug, Default)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// A condition variable whose waits take the guard and give it back.
#[cfg(not(miri))]
#[derive(Debug, Default)]
pub(crate) struct Condvar(parking_lot::Condvar);

#[cfg(not(miri))]
impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(parking_lot::Condvar::new())
    }

    pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(&mut guard);
        guard
    }

    /// Waits for at most `limit`; the flag is true when the time is over.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> (MutexGuard<'a, T>, bool) {
        let timed_out = self.0.wait_for(&mut guard, limit).timed_out();
        (guard, timed_out)
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }
}

/// The end of a wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<std::time::Instant>);

impl Deadline {
    /// What lies `limit` from now; beyond what the clock can tell, and without a limit, it never comes.
    #[expect(clippy::disallowed_methods, reason = "a wait measures its own length; the clock of timers is another")]
    pub(crate) fn after(limit: Option<Duration>) -> Self {
        Self(limit.and_then(|limit| std::time::Instant::now().checked_add(limit)))
    }

    /// How much is left; `None` when there is no limit.
    #[expect(clippy::disallowed_methods, reason = "a wait measures its own length; the clock of timers is another")]
    pub(crate) fn remaining(self) -> Option<Duration> {
        self.0.map(|end| end.saturating_duration_since(std::time::Instant::now()))
    }
}

pub(crate) mod thread {
    use super::io;

    pub(crate) use std::thread::{JoinHandle, yield_now};

    /// The name of this thread, if it has one.
    #[cfg(feature = "testing")]
    pub(crate) fn current_name() -> Option<String> {
        std::thread::current().name().map(str::to_owned)
    }

    /// Starts a named thread; refusal by the system is an error, not a panic.
    pub(crate) fn spawn_named<F>(name: String, stack_size: Option<usize>, body: F) -> io::Result<JoinHandle<()>>
    where
        F: FnOnce() + Send + 'static,
    {
        #[cfg(test)]
        if super::fault::spawn_is_refused() {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        let mut builder = std::thread::Builder::new().name(name);
        if let Some(bytes) = stack_size {
            builder = builder.stack_size(bytes);
        }
        builder.spawn(body)
    }
}

/// Thread-local statics; the initialiser must be a constant expression.
macro_rules! local {
    ($($(#[$meta:meta])* $vis:vis static $name:ident: $ty:ty = $init:expr;)+) => {
        std::thread_local! { $($(#[$meta])* $vis static $name: $ty = const { $init };)+ }
    };
}
pub(crate) use local;

/// Faults that tests inject.
#[cfg(test)]
pub(crate) mod fault {
    use std::cell::Cell;

    std::thread_local! {
        static SPAWNS_LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// The next `allowed` thread starts of this thread succeed, all later ones are refused. `None` lifts the limit.
    pub(crate) fn limit_spawns(allowed: Option<usize>) {
        SPAWNS_LEFT.set(allowed);
    }

    pub(super) fn spawn_is_refused() -> bool {
        match SPAWNS_LEFT.get() {
            None => false,
            Some(0) => true,
            Some(left) => {
                SPAWNS_LEFT.set(Some(left - 1));
                false
            }
        }
    }
}
