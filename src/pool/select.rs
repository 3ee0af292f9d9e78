//! In which order a worker asks its sources for work. Pure: starts no thread, takes no lock, knows no queue.
//!
//! A pick asks the classes from the most urgent down (PRI-1), but one pick in every [`STARVATION_PERIOD`] asks them from the lowest up (PRI-2).
//! So while a best-effort task waits and a worker is allowed to run it, at most 60 picks of that worker go elsewhere first.
//!
//! Within the default class a worker asks its own deque before the injector, but one pick in every [`INJECTOR_PERIOD`] the other way round. So
//! at most 30 tickets of its own start before one that was posted from outside earlier.
//!
//! Witnessed by `tests::*`.
#![forbid(unsafe_code)]

use crate::task::traits::Priority;

/// One pick in this many asks the lowest class first.
pub(crate) const STARVATION_PERIOD: u32 = 61;

/// One pick in this many asks the injector before the worker's own deque.
pub(crate) const INJECTOR_PERIOD: u32 = 31;

/// What one pick asks, in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) classes: [Priority; 3],
    pub(crate) injector_first: bool,
}

/// The order of a worker's `pick`-th pick.
#[inline]
pub(crate) fn order(pick: u32) -> Order {
    let mut classes = Priority::DESCENDING;
    if pick % STARVATION_PERIOD == STARVATION_PERIOD - 1 {
        classes.reverse();
    }
    Order { classes, injector_first: pick % INJECTOR_PERIOD == INJECTOR_PERIOD - 1 }
}

#[cfg(all(test, not(any(overstrand_loom, overstrand_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn highest_class_is_asked_first_but_once_in_61() {
        let lowest_first = (0..6100).filter(|&pick| order(pick).classes[0] == Priority::BestEffort).count();
        assert_eq!(lowest_first, 100);
        assert_eq!(order(0).classes, [Priority::UserBlocking, Priority::UserVisible, Priority::BestEffort]);
        assert_eq!(order(60).classes, [Priority::BestEffort, Priority::UserVisible, Priority::UserBlocking]);
    }

    #[test]
    fn no_61_picks_in_a_row_ignore_the_lowest_class() {
        let mut since = 0;
        for pick in 0..100_000 {
            since = if order(pick).classes[0] == Priority::BestEffort { 0 } else { since + 1 };
            assert!(since < STARVATION_PERIOD);
        }
    }

    #[test]
    fn injector_is_asked_first_once_in_31() {
        assert_eq!((0..3100).filter(|&pick| order(pick).injector_first).count(), 100);
    }
}
