//! Blocks of one cache line, cached per thread and exchanged between threads in batches.
//!
//! A task is allocated where it is posted and freed where it ran. Handing each block back to the system allocator from the other thread
//! costs more than the queue it travelled through, so blocks are collected: every thread holds two *magazines* of up to 64
//! blocks, and trades full ones for empty ones through a *depot* that all threads share.
//!
//! | operation | progress | cost |
//! |---|---|---|
//! | `take` | wait-free while the thread has blocks; else one swap on the depot, or one allocation of 64 blocks | a load and a store |
//! | `give` | wait-free while the thread has room; else one compare-and-swap loop on the depot | two stores |
//!
//! The depot is a stack that is only pushed one by one and only emptied whole: an element is never popped from the middle of a race,
//! so the pointer that a push compares with cannot be stale in a way that matters (no ABA).
//!
//! Limits: blocks are not given back to the system; the cache keeps the peak number of blocks that were in use at once, 64 bytes each.
//! Under a model checker and under Miri every block is a plain allocation, so that a leak or a use after free of one is seen.
//!
//! Witnessed by `tests::blocks_are_distinct_while_in_use`, `tests::blocks_travel_between_threads`.

use std::alloc::{Layout, alloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};

use super::prefetch::prefetch;
use crate::sync::unmodelled::{AtomicPtr, Ordering};

/// Bytes per block, and the alignment of each.
pub(crate) const BLOCK_BYTES: usize = 64;

/// Blocks per magazine, and per allocation.
const BATCH: usize = 64;

/// How many blocks ahead the next ones are fetched into the cache.
const PREFETCH_DISTANCE: usize = 6;

/// One block of memory.
#[repr(C, align(64))]
pub(crate) struct Block([u8; BLOCK_BYTES]);

struct Magazine {
    blocks: [*mut Block; BATCH],
    count: usize,
    next: *mut Magazine,
}

impl Magazine {
    fn empty() -> Box<Self> {
        Box::new(Self { blocks: [ptr::null_mut(); BATCH], count: 0, next: ptr::null_mut() })
    }
}

static DEPOT: AtomicPtr<Magazine> = AtomicPtr::new(ptr::null_mut());

/// Adds a magazine that holds blocks.
fn deposit(magazine: Box<Magazine>) {
    let magazine = Box::into_raw(magazine);
    // Relaxed: only compared and linked, not looked into.
    let mut top = DEPOT.load(Ordering::Relaxed);
    loop {
        // SAFETY: the magazine is ours until the exchange below succeeds.
        unsafe { (*magazine).next = top };
        // ORDER slab.deposit: Release; the magazine's content becomes visible to the taker; pairs with slab.take_all.
        match DEPOT.compare_exchange_weak(top, magazine, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(current) => top = current,
        }
    }
}

/// Takes every magazine of the depot, as a list.
fn take_all() -> *mut Magazine {
    // Relaxed: an empty depot is the common case and needs no exclusive access to its line.
    if DEPOT.load(Ordering::Relaxed).is_null() {
        return ptr::null_mut();
    }
    // ORDER slab.take_all: Acquire; sees the content of every magazine in the list; pairs with slab.deposit.
    DEPOT.swap(ptr::null_mut(), Ordering::Acquire)
}

/// A full magazine of new blocks.
#[cold]
fn allocate() -> Box<Magazine> {
    let layout = Layout::new::<[Block; BATCH]>();
    // SAFETY: the layout is not of size zero.
    let chunk = unsafe { alloc(layout) }.cast::<Block>();
    if chunk.is_null() {
        handle_alloc_error(layout);
    }
    let mut magazine = Magazine::empty();
    for (index, slot) in magazine.blocks.iter_mut().enumerate() {
        *slot = chunk.wrapping_add(BATCH - 1 - index);
    }
    magazine.count = BATCH;
    magazine
}

/// What one thread holds. The pointers are null or own a magazine.
struct Cache {
    loaded: Cell<*mut Magazine>,
    spare: Cell<*mut Magazine>,
    /// Magazines taken from the depot and not used yet.
    stash: Cell<*mut Magazine>,
}

thread_local! {
    static CACHE: Cache = const {
        Cache { loaded: Cell::new(ptr::null_mut()), spare: Cell::new(ptr::null_mut()), stash: Cell::new(ptr::null_mut()) }
    };
}

impl Cache {
    #[inline]
    fn take(&self) -> NonNull<Block> {
        let loaded = self.loaded.get();
        if !loaded.is_null() {
            // SAFETY: a loaded magazine is owned by this cache and used by its thread only.
            let magazine = unsafe { &mut *loaded };
            if let Some(block) = magazine.pop() {
                return block;
            }
        }
        self.refill()
    }

    #[cold]
    fn refill(&self) -> NonNull<Block> {
        let empty = self.loaded.replace(self.spare.replace(ptr::null_mut()));
        if !empty.is_null() {
            // SAFETY: the empty magazine was owned by this cache.
            drop(unsafe { Box::from_raw(empty) });
        }
        if self.loaded.get().is_null() {
            self.loaded.set(self.next_full());
        }
        // SAFETY: `loaded` was just set to an owned magazine.
        let magazine = unsafe { &mut *self.loaded.get() };
        magazine.pop().unwrap_or_else(|| self.refill())
    }

    fn next_full(&self) -> *mut Magazine {
        if self.stash.get().is_null() {
            self.stash.set(take_all());
        }
        let full = self.stash.get();
        if full.is_null() {
            return Box::into_raw(allocate());
        }
        // SAFETY: the stash owns its list.
        self.stash.set(unsafe { (*full).next });
        full
    }

    #[inline]
    fn give(&self, block: NonNull<Block>) {
        let loaded = self.loaded.get();
        if !loaded.is_null() {
            // SAFETY: a loaded magazine is owned by this cache and used by its thread only.
            let magazine = unsafe { &mut *loaded };
            if magazine.push(block) {
                return;
            }
        }
        self.make_room(block);
    }

    #[cold]
    fn make_room(&self, block: NonNull<Block>) {
        let mut fresh = Magazine::empty();
        let had_room = fresh.push(block);
        debug_assert!(had_room);
        let full = self.spare.replace(self.loaded.replace(Box::into_raw(fresh)));
        if !full.is_null() {
            // SAFETY: the spare magazine was owned by this cache.
            deposit(unsafe { Box::from_raw(full) });
        }
    }
}

impl Magazine {
    #[inline]
    fn pop(&mut self) -> Option<NonNull<Block>> {
        self.count = self.count.checked_sub(1)?;
        if let Some(ahead) = self.count.checked_sub(PREFETCH_DISTANCE) {
            prefetch(self.blocks[ahead].cast());
        }
        NonNull::new(self.blocks[self.count])
    }

    #[inline]
    fn push(&mut self, block: NonNull<Block>) -> bool {
        let Some(slot) = self.blocks.get_mut(self.count) else { return false };
        *slot = block.as_ptr();
        self.count += 1;
        true
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        for slot in [&self.loaded, &self.spare] {
            give_back(slot.replace(ptr::null_mut()));
        }
        let mut stash = self.stash.replace(ptr::null_mut());
        while !stash.is_null() {
            // SAFETY: the stash owns its list.
            let next = unsafe { (*stash).next };
            give_back(stash);
            stash = next;
        }
    }
}

/// Hands a thread's magazine on when the thread ends.
fn give_back(magazine: *mut Magazine) {
    if magazine.is_null() {
        return;
    }
    // SAFETY: the caller owned it.
    let magazine = unsafe { Box::from_raw(magazine) };
    if magazine.count > 0 {
        deposit(magazine);
    }
}

/// A block of uninitialised memory.
#[inline]
pub(crate) fn take() -> NonNull<Block> {
    if cfg!(any(miri, overstrand_loom, overstrand_shuttle)) {
        return take_plain();
    }
    CACHE.try_with(Cache::take).unwrap_or_else(|_| take_without_cache())
}

/// Takes a block back.
///
/// # Safety
///
/// The block came from [`take`] and is not used any more.
#[inline]
pub(crate) unsafe fn give(block: NonNull<Block>) {
    if cfg!(any(miri, overstrand_loom, overstrand_shuttle)) {
        // SAFETY: in these builds every block is a box of its own.
        drop(unsafe { Box::from_raw(block.as_ptr()) });
        return;
    }
    if CACHE.try_with(|cache| cache.give(block)).is_err() {
        give_without_cache(block);
    }
}

fn take_plain() -> NonNull<Block> {
    NonNull::from(Box::leak(Box::new(Block([0; BLOCK_BYTES]))))
}

/// For threads whose cache is gone already (destructors of thread-locals).
#[cold]
fn take_without_cache() -> NonNull<Block> {
    let mut magazine = allocate();
    let block = magazine.pop().unwrap_or_else(take_plain);
    deposit(magazine);
    block
}

#[cold]
fn give_without_cache(block: NonNull<Block>) {
    let mut magazine = Magazine::empty();
    let had_room = magazine.push(block);
    debug_assert!(had_room);
    deposit(magazine);
}

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Blocks on their way to another thread.
    struct Taken(Vec<NonNull<Block>>);

    // SAFETY: the blocks are used by nobody else.
    unsafe impl Send for Taken {}

    impl Taken {
        fn give_all(self) {
            for block in self.0 {
                // SAFETY: taken by the test, used by nobody else.
                unsafe { give(block) };
            }
        }
    }

    fn fresh_cache() -> Cache {
        Cache {
            loaded: Cell::new(ptr::null_mut()),
            spare: Cell::new(ptr::null_mut()),
            stash: Cell::new(ptr::null_mut()),
        }
    }

    #[test]
    fn blocks_are_distinct_while_in_use() {
        let cache = fresh_cache();
        let taken: Vec<_> = (0..BATCH * 5 + 7).map(|_| cache.take()).collect();
        let distinct: HashSet<_> = taken.iter().copied().collect();
        assert_eq!(distinct.len(), taken.len());
        assert!(taken.iter().all(|block| block.as_ptr().addr() % BLOCK_BYTES == 0));
        taken.into_iter().for_each(|block| cache.give(block));
    }

    #[test]
    fn blocks_travel_between_threads() {
        let taken = Taken((0..BATCH * 4).map(|_| take()).collect());
        std::thread::spawn(move || taken.give_all()).join().expect("no panic");
        let again: Vec<_> = (0..BATCH * 4).map(|_| take()).collect();
        let distinct: HashSet<_> = again.iter().copied().collect();
        assert_eq!(distinct.len(), again.len());
        Taken(again).give_all();
    }

    #[test]
    fn a_block_given_last_is_taken_first() {
        let cache = fresh_cache();
        let block = cache.take();
        cache.give(block);
        assert_eq!(cache.take(), block);
        cache.give(block);
    }
}
