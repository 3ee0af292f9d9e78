//! The FIFO under the model checker.

use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use super::{Numbered, pop, push};
use crate::queue::fifo::Fifo;

/// Two producers with two pushes each, and a consumer at the same time: each producer's order is kept, nothing is lost.
#[test]
fn loom_two_producers_keep_their_order() {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let queue = Arc::new(Fifo::<Numbered>::new());
        let producers = [10, 20].map(|first| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                push(&queue, first);
                push(&queue, first + 1);
            })
        });
        let mut seen: Vec<usize> = (0..2).filter_map(|_| pop(&queue).ok().flatten()).collect();
        producers.into_iter().for_each(|producer| producer.join().expect("no panic"));
        while let Some(number) = pop(&queue).expect("all pushes are complete") {
            seen.push(number);
        }
        for first in [10, 20] {
            let own: Vec<_> = seen.iter().filter(|number| **number / 10 == first / 10).collect();
            assert_eq!(own, [&first, &(first + 1)]);
        }
    });
}
