//! A global allocator that can count the bytes that live: the heap as the contender asked for it, without malloc's headers.
//!
//! Switched off, as in every timed cell, it costs one relaxed load per call, alike for everybody.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// The system's allocator, with a count.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Whether bytes are counted.
static COUNTS: AtomicBool = AtomicBool::new(false);

/// Bytes allocated minus bytes freed, while counting.
static LIVE: AtomicI64 = AtomicI64::new(0);

/// Starts to count.
pub(crate) fn count() {
    // Relaxed: a call of another thread that is counted late was not part of the measurement.
    COUNTS.store(true, Ordering::Relaxed);
}

/// Bytes allocated minus bytes freed since `count`. Negative when older memory was freed.
pub(crate) fn live() -> i64 {
    // Relaxed: a statistic; the callers measure while the workers are at rest.
    LIVE.load(Ordering::Relaxed)
}

/// Notes that so many bytes more live.
#[inline]
fn note(added: usize, removed: usize) {
    // Relaxed, both: a statistic.
    if COUNTS.load(Ordering::Relaxed) {
        LIVE.fetch_add(added as i64 - removed as i64, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on to `System` unchanged, and `note` neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note(0, layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`; the block is from `System`, as all blocks are.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size, layout.size());
        // SAFETY: the caller keeps the contract of `realloc`; the block is from `System`, as all blocks are.
        unsafe { System.realloc(block, layout, size) }
    }
}
