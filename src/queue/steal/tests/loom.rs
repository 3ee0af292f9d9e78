//! The deque under the model checker: an item that went in comes out once, and what its pusher wrote before is visible to its taker.

use std::collections::BTreeSet;
use std::ptr::NonNull;

use loom::model::Builder;
use loom::thread;

use crate::queue::steal::{Owner, Steal, Thief, Word, deque};
use crate::sync::UnsafeCell;

/// A box that the model checker watches: whoever reads it without the pusher's writes having become visible is caught.
struct Parcel(NonNull<UnsafeCell<usize>>);

// SAFETY: the box is owned and has one user at a time.
unsafe impl Send for Parcel {}

impl Parcel {
    fn new(number: usize) -> Self {
        let parcel = Self(NonNull::from(Box::leak(Box::new(UnsafeCell::new(0)))));
        // SAFETY: the box is owned.
        let cell = unsafe { parcel.0.as_ref() };
        // SAFETY: nobody else knows it yet.
        cell.with_mut(|slot| unsafe { *slot = number });
        parcel
    }

    fn open(self) -> usize {
        // SAFETY: the box is owned; freed here, once.
        let cell = unsafe { Box::from_raw(self.0.as_ptr()) };
        // SAFETY: owned.
        cell.with(|slot| unsafe { *slot })
    }
}

// SAFETY: the word is the box's own address.
unsafe impl Word for Parcel {
    fn into_word(self) -> NonNull<()> {
        self.0.cast()
    }

    unsafe fn from_word(word: NonNull<()>) -> Self {
        Self(word.cast())
    }
}

fn check(preemption_bound: Option<usize>, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = preemption_bound;
    builder.max_branches = 50_000;
    builder.check(f);
}

fn steal_twice(thief: &Thief<Parcel>) -> Vec<usize> {
    (0..2).filter_map(|_| thief.steal().success()).map(Parcel::open).collect()
}

/// What is left, oldest first.
fn drain(owner: &Owner<Parcel>) -> Vec<usize> {
    std::iter::from_fn(|| owner.pop()).map(Parcel::open).collect()
}

fn assert_each_once(parts: &[Vec<usize>], pushed: usize) {
    let all: Vec<_> = parts.concat();
    let distinct: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!((all.len(), distinct), (pushed, (1..=pushed).collect()), "{parts:?}");
    assert!(parts.iter().all(|part| part.is_sorted()), "oldest first: {parts:?}");
}

/// One thief, all interleavings; the third push makes the ring grow. Model of defects Z5 and Z6.
#[test]
fn loom_pushed_items_are_taken_once() {
    check(None, || {
        let (owner, thief) = deque();
        let stealing = thread::spawn(move || steal_twice(&thief));
        let mut own = Vec::new();
        owner.push(Parcel::new(1));
        owner.push(Parcel::new(2));
        own.extend(owner.pop().map(Parcel::open));
        owner.push(Parcel::new(3));
        own.extend(drain(&owner));
        assert_each_once(&[own, stealing.join().expect("no panic")], 3);
    });
}

/// Two thieves and an owner that pops while its ring grows.
#[test]
fn loom_two_thieves_and_a_growing_ring() {
    check(Some(3), || {
        let (owner, thief) = deque();
        owner.push(Parcel::new(1));
        let thieves = [thief.clone(), thief].map(|thief| {
            thread::spawn(move || thief.steal().success().map(Parcel::open).into_iter().collect::<Vec<_>>())
        });
        owner.push(Parcel::new(2));
        owner.push(Parcel::new(3));
        let own = drain(&owner);
        let [left, right] = thieves.map(|thief| thief.join().expect("no panic"));
        assert_each_once(&[own, left, right], 3);
    });
}

/// A batch moves into the thief's own deque while the owner pops.
#[test]
fn loom_batch_is_taken_once() {
    check(Some(3), || {
        let (owner, thief) = deque();
        (1..=3).for_each(|number| owner.push(Parcel::new(number)));
        let stealing = thread::spawn(move || {
            let (mine, _) = deque();
            let first = match thief.steal_batch_and_pop(&mine) {
                Steal::Success(parcel) => Some(parcel.open()),
                Steal::Empty | Steal::Retry => None,
            };
            first.into_iter().chain(drain(&mine)).collect::<Vec<_>>()
        });
        let own = drain(&owner);
        assert_each_once(&[own, stealing.join().expect("no panic")], 3);
    });
}
