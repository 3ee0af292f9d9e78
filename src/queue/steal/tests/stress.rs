//! Exactly once, with distinct numbers, under real threads: a lost item and an item taken twice do not cancel out.
//! Stress proves nothing about weak memory; that is the models' task. Under Miri it is small and run for many seeds.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::super::Steal;
use super::{Parcel, on_each_engine};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::thread::{JoinHandle, spawn_named, yield_now};

const ITEMS: usize = if cfg!(miri) { 60 } else { 200_000 };
const THIEVES: usize = if cfg!(miri) { 2 } else { 4 };

/// How often each number was taken, and how many are still to take.
struct Ledger {
    taken: Vec<AtomicUsize>,
    left: AtomicUsize,
}

impl Ledger {
    fn new() -> Arc<Self> {
        let taken = (0..ITEMS).map(|_| AtomicUsize::new(0)).collect();
        Arc::new(Self { taken, left: AtomicUsize::new(ITEMS) })
    }

    fn enter(&self, item: Parcel<usize>) -> usize {
        // Relaxed: read after the threads were joined.
        self.taken[*item.0].fetch_add(1, Ordering::Relaxed);
        // Relaxed: only says when to stop trying; the queues under test must not be helped.
        self.left.fetch_sub(1, Ordering::Relaxed);
        *item.0
    }

    fn is_open(&self) -> bool {
        // Relaxed: as above; a count taken twice wraps or ends the trying early, and `close` finds it.
        let left = self.left.load(Ordering::Relaxed);
        left > 0 && left <= ITEMS
    }

    fn close(&self) {
        for (number, taken) in self.taken.iter().enumerate() {
            // Relaxed: the threads were joined.
            assert_eq!(taken.load(Ordering::Relaxed), 1, "item {number} was taken so many times");
        }
    }
}

fn parcel(number: usize) -> Parcel<usize> {
    Parcel(Box::new(number))
}

/// Starts a thread that takes by `take` until nothing is left anywhere; each thread must see ascending numbers.
fn taker(ledger: &Arc<Ledger>, mut take: impl FnMut() -> Option<Parcel<usize>> + Send + 'static) -> JoinHandle<()> {
    let ledger = Arc::clone(ledger);
    let body = move || {
        let mut newest = None;
        while ledger.is_open() {
            match take() {
                Some(item) => {
                    let number = Some(ledger.enter(item));
                    assert!(newest < number, "{number:?} was taken after {newest:?}");
                    newest = number;
                }
                None => yield_now(),
            }
        }
    };
    spawn_named("taker".to_owned(), None, body).expect("a test may start threads")
}

fn success(tried: Steal<Parcel<usize>>) -> Option<Parcel<usize>> {
    match tried {
        Steal::Success(item) => Some(item),
        Steal::Empty | Steal::Retry => None,
    }
}

fn join(takers: Vec<JoinHandle<()>>) {
    for taker in takers {
        taker.join().expect("a taker panicked");
    }
}

on_each_engine! {
    #[test]
    fn every_item_is_popped_or_stolen_exactly_once() {
        let ledger = Ledger::new();
        let (owner, thief): (engine::Owner<_>, engine::Thief<_>) = engine::deque();
        let thieves = (0..THIEVES).map(|_| {
            let thief = thief.clone();
            taker(&ledger, move || success(thief.steal()))
        });
        let thieves: Vec<_> = thieves.collect();
        for number in 0..ITEMS {
            owner.push(parcel(number));
            // WHY this rhythm: the deque runs empty, wraps and grows in turns.
            if number % 7 < 3 && (number / 1000) % 2 == 0 {
                owner.pop().map(|item| ledger.enter(item));
            }
        }
        while let Some(item) = owner.pop() {
            ledger.enter(item);
        }
        join(thieves);
        ledger.close();
    }

    #[test]
    fn every_item_of_a_batch_arrives_exactly_once() {
        let ledger = Ledger::new();
        let (owner, thief): (engine::Owner<_>, engine::Thief<_>) = engine::deque();
        let thieves = (0..THIEVES).map(|_| {
            let thief = thief.clone();
            let (own, _) = engine::deque();
            taker(&ledger, move || own.pop().or_else(|| success(thief.steal_batch_and_pop(&own))))
        });
        let thieves: Vec<_> = thieves.collect();
        (0..ITEMS).map(parcel).for_each(|item| owner.push(item));
        while let Some(item) = owner.pop() {
            ledger.enter(item);
        }
        join(thieves);
        ledger.close();
    }

    #[test]
    fn every_injected_item_arrives_exactly_once() {
        let ledger = Ledger::new();
        let injector = Arc::new(engine::Injector::new());
        let thieves = (0..THIEVES).map(|thief| {
            let injector = Arc::clone(&injector);
            let (own, _) = engine::deque();
            let batches = thief % 2 == 0;
            taker(&ledger, move || {
                own.pop().or_else(|| success(if batches { injector.steal_batch_and_pop(&own) } else { injector.steal() }))
            })
        });
        let thieves: Vec<_> = thieves.collect();
        (0..ITEMS).map(parcel).for_each(|item| injector.push(item));
        join(thieves);
        ledger.close();
    }

    #[test]
    fn dropping_the_owner_under_thieves_drops_or_hands_out_each_item_once() {
        const ROUNDS: usize = if cfg!(miri) { 3 } else { 2_000 };
        let items = Arc::new(());
        for _ in 0..ROUNDS {
            let (owner, thief): (engine::Owner<_>, engine::Thief<_>) = engine::deque();
            (0..10).for_each(|_| owner.push(Parcel(Box::new(Arc::clone(&items)))));
            let body = move || (0..5).filter(|_| matches!(thief.steal(), Steal::Success(_))).for_each(drop);
            let robbing = spawn_named("thief".to_owned(), None, body).expect("a test may start threads");
            drop(owner);
            robbing.join().expect("the thief panicked");
            assert_eq!(Arc::strong_count(&items), 1);
        }
    }
}
