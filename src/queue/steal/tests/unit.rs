//! Each promise of the room's page, on one thread.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::super::Steal;
use super::super::twin::deque_from;
use super::{Parcel, Ticket, on_each_engine};
use crate::sync::atomic::{AtomicUsize, Ordering};

/// Counts its drops in the ledger under its number; the one number that `panics` names panics as well.
#[derive(Debug)]
struct Counted {
    number: usize,
    ledger: Arc<Vec<AtomicUsize>>,
    panics: Option<usize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        // Relaxed: one thread.
        self.ledger[self.number].fetch_add(1, Ordering::Relaxed);
        assert_ne!(Some(self.number), self.panics, "the drop that the test wants to panic");
    }
}

fn ledger(numbers: usize) -> Arc<Vec<AtomicUsize>> {
    Arc::new((0..numbers).map(|_| AtomicUsize::new(0)).collect())
}

fn counted(ledger: &Arc<Vec<AtomicUsize>>, panics: Option<usize>) -> impl Iterator<Item = Parcel<Counted>> {
    (0..ledger.len()).map(move |number| Parcel(Box::new(Counted { number, ledger: Arc::clone(ledger), panics })))
}

fn counts(ledger: &[AtomicUsize]) -> Vec<usize> {
    // Relaxed: one thread.
    ledger.iter().map(|count| count.load(Ordering::Relaxed)).collect()
}

fn tickets(left: impl FnMut() -> Option<Ticket>) -> Vec<usize> {
    std::iter::from_fn(left).map(|ticket| ticket.0).collect()
}

/// Repeats while the engine asks for it: one thread alone may be told `Retry` by a weak exchange or a replaced buffer.
fn settle<T>(mut attempt: impl FnMut() -> Steal<T>) -> Option<T> {
    loop {
        match attempt() {
            Steal::Success(item) => return Some(item),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}

#[test]
fn indices_may_wrap_around() {
    let (owner, thief) = deque_from(usize::MAX - 5);
    for number in 0..20 {
        owner.push(Ticket(number));
        owner.push(Ticket(number + 100));
        assert_eq!(owner.len(), 2);
        assert_eq!(thief.steal(), Steal::Success(Ticket(number)));
        assert_eq!(owner.pop(), Some(Ticket(number + 100)));
        assert!(thief.is_empty());
    }
}

#[test]
fn a_ring_grows_across_the_wrap_of_its_indices() {
    let (owner, thief) = deque_from(usize::MAX - 100);
    (0..300).map(Ticket).for_each(|ticket| owner.push(ticket));
    assert_eq!(thief.len(), 300);
    assert_eq!(tickets(|| owner.pop()), (0..300).collect::<Vec<_>>());
}

on_each_engine! {
    #[test]
    fn owner_pops_oldest_first() {
        let (owner, _thief) = engine::deque();
        (0..5).map(Ticket).for_each(|ticket| owner.push(ticket));
        assert_eq!(tickets(|| owner.pop()), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn thief_steals_oldest_first() {
        let (owner, thief) = engine::deque();
        (0..5).map(Ticket).for_each(|ticket| owner.push(ticket));
        assert_eq!(tickets(|| settle(|| thief.clone().steal())), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn empty_deque_yields_nothing() {
        let (owner, thief) = engine::deque::<Ticket>();
        let (into, _) = engine::deque();
        assert_eq!(owner.pop(), None);
        assert_eq!(thief.steal(), Steal::Empty);
        assert_eq!(thief.steal_batch_and_pop(&into), Steal::Empty);
        assert!(owner.is_empty() && thief.is_empty() && into.is_empty());
    }

    #[test]
    fn length_counts_what_is_inside() {
        let (owner, thief) = engine::deque();
        for number in 0..100 {
            assert_eq!((owner.len(), thief.len()), (number, number));
            assert_eq!((owner.is_empty(), thief.is_empty()), (number == 0, number == 0));
            owner.push(Ticket(number));
        }
    }

    #[test]
    fn growth_keeps_items_and_order() {
        let (owner, thief) = engine::deque();
        (0..700).map(Ticket).for_each(|ticket| owner.push(ticket));
        for number in 0..300 {
            assert_eq!(owner.pop(), Some(Ticket(number)));
        }
        (700..1000).map(Ticket).for_each(|ticket| owner.push(ticket));
        assert_eq!(tickets(|| settle(|| thief.steal())), (300..1000).collect::<Vec<_>>());
    }

    #[test]
    fn batch_returns_the_oldest_and_moves_the_next_of_the_older_half() {
        let (owner, thief) = engine::deque();
        let (into, _) = engine::deque();
        into.push(Ticket(100));
        (0..10).map(Ticket).for_each(|ticket| owner.push(ticket));
        assert_eq!(settle(|| thief.steal_batch_and_pop(&into)), Some(Ticket(0)));
        assert_eq!(tickets(|| into.pop()), [100, 1, 2, 3, 4]);
        assert_eq!(tickets(|| owner.pop()), [5, 6, 7, 8, 9]);
    }

    #[test]
    fn batch_has_at_most_32_items() {
        let (owner, thief) = engine::deque();
        let (into, _) = engine::deque();
        (0..1000).map(Ticket).for_each(|ticket| owner.push(ticket));
        assert_eq!(settle(|| thief.steal_batch_and_pop(&into)), Some(Ticket(0)));
        assert_eq!(tickets(|| into.pop()), (1..32).collect::<Vec<_>>());
        assert_eq!(owner.len(), 1000 - 32);
    }

    #[test]
    fn batch_of_a_single_item_moves_nothing() {
        let (owner, thief) = engine::deque();
        let (into, _) = engine::deque();
        owner.push(Ticket(7));
        assert_eq!(settle(|| thief.steal_batch_and_pop(&into)), Some(Ticket(7)));
        assert!(owner.is_empty() && into.is_empty());
    }

    #[test]
    fn batch_into_its_own_deque_is_a_pop() {
        let (owner, thief) = engine::deque();
        (0..4).map(Ticket).for_each(|ticket| owner.push(ticket));
        assert_eq!(thief.steal_batch_and_pop(&owner), Steal::Success(Ticket(0)));
        assert_eq!(tickets(|| owner.pop()), [1, 2, 3]);
        assert_eq!(thief.steal_batch_and_pop(&owner), Steal::Empty);
    }

    #[test]
    fn batches_grow_the_deque_that_takes_them() {
        let (owner, thief) = engine::deque();
        let (into, _) = engine::deque();
        (0..300).map(Ticket).for_each(|ticket| owner.push(ticket));
        let mut oldest = Vec::new();
        while let Some(ticket) = settle(|| thief.steal_batch_and_pop(&into)) {
            oldest.push(ticket.0);
        }
        let moved = tickets(|| into.pop());
        assert!(oldest.is_sorted() && moved.is_sorted());
        let mut all = [oldest, moved].concat();
        all.sort_unstable();
        assert_eq!(all, (0..300).collect::<Vec<_>>());
    }

    #[test]
    fn dropped_owner_drops_each_item_once_though_thieves_live() {
        let ledger = ledger(150);
        let (owner, thief) = engine::deque();
        counted(&ledger, None).for_each(|item| owner.push(item));
        let stolen = settle(|| thief.steal()).expect("150 items are inside");
        drop(owner);
        assert_eq!(counts(&ledger), [&[0][..], &[1; 149]].concat());
        assert!(matches!(thief.steal(), Steal::Empty) && thief.is_empty());
        drop(stolen);
        drop(thief);
        assert_eq!(counts(&ledger), [1; 150]);
    }

    #[test]
    fn panicking_drop_in_a_deque_runs_once_and_spares_no_other() {
        let ledger = ledger(10);
        let (owner, thief) = engine::deque();
        counted(&ledger, Some(3)).for_each(|item| owner.push(item));
        assert!(catch_unwind(AssertUnwindSafe(|| drop(owner))).is_err());
        drop(thief);
        assert_eq!(counts(&ledger), [1; 10]);
    }

    #[test]
    fn injector_is_first_in_first_out() {
        let injector = engine::Injector::new();
        (0..200).map(Ticket).for_each(|ticket| injector.push(ticket));
        assert_eq!(injector.len(), 200);
        assert_eq!(tickets(|| settle(|| injector.steal())), (0..200).collect::<Vec<_>>());
        assert!(injector.is_empty());
    }

    #[test]
    fn empty_injector_yields_nothing() {
        let injector = engine::Injector::<Ticket>::new();
        let (into, _) = engine::deque();
        assert_eq!(injector.steal(), Steal::Empty);
        assert_eq!(injector.steal_batch_and_pop(&into), Steal::Empty);
        assert!(injector.is_empty() && into.is_empty());
        assert_eq!(injector.len(), 0);
    }

    #[test]
    fn injector_batch_returns_the_oldest_and_moves_its_successors() {
        let injector = engine::Injector::new();
        let (into, _) = engine::deque();
        (0..10).map(Ticket).for_each(|ticket| injector.push(ticket));
        assert_eq!(settle(|| injector.steal_batch_and_pop(&into)), Some(Ticket(0)));
        assert_eq!(tickets(|| into.pop()), [1, 2, 3, 4]);
        assert_eq!(tickets(|| settle(|| injector.steal())), [5, 6, 7, 8, 9]);
    }

    #[test]
    fn dropped_injector_drops_each_item_once() {
        let ledger = ledger(150);
        let injector = engine::Injector::new();
        counted(&ledger, None).for_each(|item| injector.push(item));
        drop(settle(|| injector.steal()));
        drop(injector);
        assert_eq!(counts(&ledger), [1; 150]);
    }

    #[test]
    fn panicking_drop_in_an_injector_runs_once_and_spares_no_other() {
        let ledger = ledger(10);
        let injector = engine::Injector::new();
        counted(&ledger, Some(3)).for_each(|item| injector.push(item));
        assert!(catch_unwind(AssertUnwindSafe(|| drop(injector))).is_err());
        assert_eq!(counts(&ledger), [1; 10]);
    }

    #[test]
    fn ends_cross_threads_as_promised() {
        /// Has one `probe` for types that are not `Sync`, two for those that are: then the call below is ambiguous.
        trait NotSync<Marker> {
            fn probe() {}
        }
        impl<T: ?Sized> NotSync<()> for T {}
        impl<T: ?Sized + Sync> NotSync<u8> for T {}
        fn send<T: Send>() {}
        fn thief<T: Clone + Send + Sync>() {}
        fn shared<T: Send + Sync>() {}

        send::<engine::Owner<Ticket>>();
        <engine::Owner<Ticket> as NotSync<_>>::probe();
        thief::<engine::Thief<Ticket>>();
        shared::<engine::Injector<Ticket>>();
    }
}
