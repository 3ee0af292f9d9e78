//! The pool of the process: built on first use, or set up at the top of `main`; taken down by [`shutdown_global`], built anew after.
//!
//! The lock is held to look and to exchange, never while a pool is started or joined.
#![forbid(unsafe_code)]

use super::{ShutdownReport, ThreadPool, ThreadPoolBuilder};
use crate::error::{BuildError, WaitError};
use crate::sync::unmodelled::{Mutex, OnceCell};

/// One generation of the global pool. Cells are leaked: there are as many as there were global pools.
type Generation = &'static OnceCell<ThreadPool>;

static CURRENT: Mutex<Option<Generation>> = Mutex::new(None);

/// The current generation's cell, empty until its pool is built.
fn generation() -> Generation {
    CURRENT.lock().get_or_insert_with(|| Box::leak(Box::new(OnceCell::new())))
}

/// The pool of the process. The first call starts it with the default settings, unless
/// [`init_global`](ThreadPoolBuilder::init_global) was called before; after [`shutdown_global`] a call starts a new one.
///
/// # Panics
///
/// When no thread can be started, or `OVERSTRAND_WORKERS` is not a number; see [`try_global`].
#[must_use]
pub fn global() -> &'static ThreadPool {
    match try_global() {
        Ok(pool) => pool,
        Err(error) => panic!("the global pool cannot be started: {error}"),
    }
}

/// As [`global`], where threads may be refused.
///
/// # Errors
///
/// As [`ThreadPoolBuilder::build`].
pub fn try_global() -> Result<&'static ThreadPool, BuildError> {
    #[cfg(feature = "testing")]
    if let Some(pool) = super::driven::global() {
        return Ok(pool);
    }
    generation().get_or_try_init(|| ThreadPool::builder().build())
}

pub(crate) fn init(builder: ThreadPoolBuilder) -> Result<(), BuildError> {
    let mut builder = Some(builder);
    let built = generation().get_or_try_init(|| match builder.take() {
        Some(builder) => builder.build(),
        None => Err(exists()),
    });
    match (built, builder) {
        (Err(error), _) => Err(error),
        (Ok(_), None) => Ok(()),
        (Ok(_), Some(_)) => Err(exists()),
    }
}

fn exists() -> BuildError {
    BuildError::new("global", "a second pool", "the global pool exists already")
}

/// Shuts the global pool down and waits, as [`ThreadPool::shutdown`]; a later [`global`] starts a new one. Without a global pool there is
/// nothing to do, and the report is empty.
///
/// # Errors
///
/// [`WaitError::WouldDeadlock`] inside a task of the global pool; it stays then.
pub fn shutdown_global() -> Result<ShutdownReport, WaitError> {
    let Some(cell) = *CURRENT.lock() else { return Ok(ShutdownReport::default()) };
    let Some(pool) = cell.get() else { return Ok(ShutdownReport::default()) };
    if pool.core().is_own_thread() {
        return Err(WaitError::WouldDeadlock);
    }
    {
        let mut current = CURRENT.lock();
        if current.is_some_and(|now| std::ptr::eq(now, cell)) {
            *current = None;
        }
    }
    pool.shutdown()
}
