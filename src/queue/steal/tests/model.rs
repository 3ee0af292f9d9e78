//! Random operations on two deques and an injector, compared with three `VecDeque`s.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use proptest::prelude::*;

use super::super::Steal;
use super::{Ticket, on_each_engine};

/// One operation; `true` means the second deque (and stealing from the first), `false` the reverse.
#[derive(Clone, Copy, Debug)]
enum Op {
    Push(bool, u8),
    Pop(bool),
    Steal(bool),
    Batch(bool),
    Inject(u8),
    StealInjected,
    BatchInjected(bool),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (any::<bool>(), 1..70_u8).prop_map(|(second, count)| Op::Push(second, count)),
        4 => any::<bool>().prop_map(Op::Pop),
        4 => any::<bool>().prop_map(Op::Steal),
        3 => any::<bool>().prop_map(Op::Batch),
        2 => (1..70_u8).prop_map(Op::Inject),
        3 => Just(Op::StealInjected),
        3 => any::<bool>().prop_map(Op::BatchInjected),
    ];
    prop::collection::vec(op, 0..if cfg!(miri) { 20 } else { 200 })
}

/// Cases: 256, few under Miri; regressions are pinned as tests of their own, not in a file.
fn config() -> ProptestConfig {
    ProptestConfig { cases: if cfg!(miri) { 4 } else { 256 }, failure_persistence: None, ..ProptestConfig::default() }
}

fn settle(mut attempt: impl FnMut() -> Steal<Ticket>) -> Option<Ticket> {
    loop {
        match attempt() {
            Steal::Success(item) => return Some(item),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}

/// Moves `count` items, as a batch did that was seen to bring so many.
fn follow(count: usize, from: &mut VecDeque<Ticket>, into: &mut VecDeque<Ticket>) {
    assert!(count < 32 && count <= from.len(), "a batch of {count} and one more from {} and one more", from.len());
    into.extend(from.drain(..count));
}

on_each_engine! {
    /// The queues under test beside their models.
    struct Pair {
        ends: [(engine::Owner<Ticket>, engine::Thief<Ticket>); 2],
        injector: engine::Injector<Ticket>,
        models: [VecDeque<Ticket>; 2],
        injected: VecDeque<Ticket>,
        pushed: usize,
    }

    impl Pair {
        fn new() -> Self {
            Self {
                ends: [engine::deque(), engine::deque()],
                injector: engine::Injector::new(),
                models: [VecDeque::new(), VecDeque::new()],
                injected: VecDeque::new(),
                pushed: 0,
            }
        }

        fn next(&mut self) -> Ticket {
            self.pushed += 1;
            Ticket(self.pushed)
        }

        fn apply(&mut self, op: Op) {
            match op {
                Op::Push(second, count) => {
                    for _ in 0..count {
                        let ticket = self.next();
                        self.ends[usize::from(second)].0.push(ticket);
                        self.models[usize::from(second)].push_back(ticket);
                    }
                }
                Op::Pop(second) => {
                    let own = usize::from(second);
                    assert_eq!(self.ends[own].0.pop(), self.models[own].pop_front());
                }
                Op::Steal(second) => {
                    let victim = usize::from(!second);
                    assert_eq!(settle(|| self.ends[victim].1.steal()), self.models[victim].pop_front());
                }
                Op::Batch(second) => {
                    let [own, victim] = [usize::from(second), usize::from(!second)];
                    let into = &self.ends[own].0;
                    let half = self.models[victim].len().div_ceil(2);
                    let taken = settle(|| self.ends[victim].1.steal_batch_and_pop(into));
                    assert_eq!(taken, self.models[victim].pop_front());
                    let moved = into.len() - self.models[own].len();
                    assert!(moved + usize::from(taken.is_some()) <= half);
                    let [first, last] = &mut self.models;
                    if second { follow(moved, first, last) } else { follow(moved, last, first) }
                }
                Op::Inject(count) => {
                    for _ in 0..count {
                        let ticket = self.next();
                        self.injector.push(ticket);
                        self.injected.push_back(ticket);
                    }
                }
                Op::StealInjected => assert_eq!(settle(|| self.injector.steal()), self.injected.pop_front()),
                Op::BatchInjected(second) => {
                    let own = usize::from(second);
                    let into = &self.ends[own].0;
                    let taken = settle(|| self.injector.steal_batch_and_pop(into));
                    assert_eq!(taken, self.injected.pop_front());
                    let moved = into.len() - self.models[own].len();
                    follow(moved, &mut self.injected, &mut self.models[own]);
                }
            }
        }

        fn compare(&self) {
            for ((owner, thief), model) in self.ends.iter().zip(&self.models) {
                assert_eq!((owner.len(), thief.len()), (model.len(), model.len()));
                assert_eq!((owner.is_empty(), thief.is_empty()), (model.is_empty(), model.is_empty()));
            }
            assert_eq!(self.injector.len(), self.injected.len());
            assert_eq!(self.injector.is_empty(), self.injected.is_empty());
        }
    }

    proptest! {
        #![proptest_config(config())]
        #[test]
        fn queues_do_what_a_vec_deque_does(ops in ops()) {
            let mut pair = Pair::new();
            for op in ops {
                pair.apply(op);
                pair.compare();
            }
            for ((owner, _), model) in pair.ends.iter().zip(&pair.models) {
                assert_eq!(&std::iter::from_fn(|| owner.pop()).collect::<VecDeque<_>>(), model);
            }
        }
    }
}
