//! The FIFO against a `VecDeque`, and across threads.

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Numbered, pop, push};
use crate::queue::fifo::Fifo;

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 256 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_vecdeque(steps in proptest::collection::vec(any::<Option<usize>>(), 0..200)) {
        let (queue, mut model) = (Fifo::<Numbered>::new(), VecDeque::new());
        for step in steps {
            match step {
                Some(number) => {
                    push(&queue, number);
                    model.push_back(number);
                }
                None => prop_assert_eq!(pop(&queue), Ok(model.pop_front())),
            }
        }
        while let Some(number) = model.pop_front() {
            prop_assert_eq!(pop(&queue), Ok(Some(number)));
        }
        prop_assert_eq!(pop(&queue), Ok(None));
    }
}

#[test]
fn order_of_each_producer_survives_a_crowd() {
    let each = if cfg!(miri) { 50 } else { 20_000 };
    let queue = Arc::new(Fifo::<Numbered>::new());
    let producers: Vec<_> = (0..3)
        .map(|producer| {
            let queue = Arc::clone(&queue);
            std::thread::spawn(move || (0..each).for_each(|number| push(&queue, producer * each + number)))
        })
        .collect();
    let mut next = [0; 3];
    let mut seen = 0;
    while seen < 3 * each {
        let Ok(Some(number)) = pop(&queue) else {
            std::thread::yield_now();
            continue;
        };
        assert_eq!(number % each, next[number / each]);
        next[number / each] += 1;
        seen += 1;
    }
    producers.into_iter().for_each(|producer| producer.join().expect("no panic"));
}
