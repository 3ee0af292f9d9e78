//! Real primitives in every backend, for process-wide tables that no protocol depends on.
#![forbid(unsafe_code)]

#[cfg(miri)]
pub(crate) use super::miri_locks::Mutex;
pub(crate) use once_cell::race::OnceBox;
pub(crate) use once_cell::sync::OnceCell;
#[cfg(not(miri))]
pub(crate) use parking_lot::Mutex;
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
