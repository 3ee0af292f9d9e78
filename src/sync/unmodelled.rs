//! Real primitives in every backend, for process-wide tables that no protocol depends on.
#![forbid(unsafe_code)]

pub(crate) use once_cell::sync::OnceCell;
pub(crate) use parking_lot::Mutex;
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
