//! What both engines must show ([`unit`], [`model`], [`stress`]) and what every interleaving of the twin shows ([`loom`]).

#[cfg(overstrand_loom)]
mod loom;
#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
mod model;
#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
mod stress;
#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
mod unit;

use std::ptr::{self, NonNull};

use super::Word;

/// Compiles the same tests once per engine; in them `engine` is its module of queues.
#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
macro_rules! on_each_engine {
    ($($item:item)*) => {
        mod twin {
            mod engine {
                pub(super) use crate::queue::steal::twin::{Owner, Thief, deque};
                pub(super) use crate::queue::steal::twin_injector::Injector;
            }
            use super::*;
            $($item)*
        }

        #[cfg(not(any(miri, overstrand_tsan)))]
        mod shipped {
            mod engine {
                pub(super) use crate::queue::steal::{Injector, Owner, Thief, deque};
            }
            use super::*;
            $($item)*
        }
    };
}
#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
use on_each_engine;

/// A number that travels as the word itself: taking it twice is an observation, not a double free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
struct Ticket(usize);

// SAFETY: contract 1: the address is the number plus one, and back; contract 2: neither function panics (the tests'
// numbers are small) or calls a queue.
unsafe impl Word for Ticket {
    fn into_word(self) -> NonNull<()> {
        NonNull::new(ptr::without_provenance_mut(self.0 + 1)).expect("one more than a small number is not zero")
    }

    unsafe fn from_word(word: NonNull<()>) -> Self {
        Self(word.as_ptr().addr() - 1)
    }
}

/// A value on the heap: Miri sees it leaked, freed twice, or read before it was written.
#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
#[derive(Debug)]
struct Parcel<T>(Box<T>);

// SAFETY: contract 1: `Box::into_raw` and `Box::from_raw` are inverse, and `T: Send`; contract 2: neither panics or calls a queue.
#[cfg(not(any(overstrand_loom, overstrand_shuttle)))]
unsafe impl<T: Send> Word for Parcel<T> {
    fn into_word(self) -> NonNull<()> {
        NonNull::from(Box::leak(self.0)).cast()
    }

    unsafe fn from_word(word: NonNull<()>) -> Self {
        // SAFETY: the caller's contract: `word` came from `Box::leak` of a `T`, and is given back once.
        Self(unsafe { Box::from_raw(word.as_ptr().cast()) })
    }
}
