//! The last hit of a barrier, under the model checker.

use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use crate::runner::fan_in::Countdown;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// The last of two hits passes, once, and sees what came before the other.
#[test]
fn loom_last_hit_sees_what_came_before_the_others() {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let (left, written) = (Arc::new(Countdown::new(2)), Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]));
        let hit = |index: usize, left: &Countdown, written: &[AtomicUsize; 2]| {
            // Relaxed: the hits order it.
            written[index].store(1, Ordering::Relaxed);
            let is_last = left.hit();
            if is_last {
                // Relaxed: as above.
                assert_eq!(written.iter().map(|one| one.load(Ordering::Relaxed)).sum::<usize>(), 2);
            }
            usize::from(is_last)
        };
        let other = {
            let (left, written) = (Arc::clone(&left), Arc::clone(&written));
            thread::spawn(move || hit(1, &left, &written))
        };
        let passes = hit(0, &left, &written) + other.join().expect("no panic");
        assert_eq!((passes, left.hit()), (1, false), "one too many does nothing");
    });
}
