//! POST-7, POST-9: bounded queues.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use overstrand::{Close, Overflow, RejectReason, SequencedTaskRunner, ThreadPool};

use crate::{Gate, pool, wait_until};

fn bounded(pool: &ThreadPool, capacity: usize, overflow: Overflow) -> SequencedTaskRunner {
    SequencedTaskRunner::builder(pool).name("bounded").capacity(capacity, overflow).build().expect("valid")
}

#[test]
fn full_queue_gives_the_task_back() {
    let pool = pool(1);
    let strand = bounded(&pool, 2, Overflow::Reject);
    let gate = Gate::close(&pool);
    assert!((0..2).all(|_| strand.post_task(|| ()).is_ok()));
    let refused = strand.post_task(|| ()).expect_err("full");
    assert_eq!(refused.reason(), RejectReason::Full);
    refused.into_task()();
    gate.open();
    strand.flush().expect("nothing is dropped");
    assert!(strand.post_task(|| ()).is_ok(), "there is room again");
    assert_eq!(strand.stats().rejected, 1);
}

#[test]
fn oldest_task_makes_room() {
    let pool = pool(1);
    let strand = bounded(&pool, 3, Overflow::DropOldest);
    let gate = Gate::close(&pool);
    let (tell, told) = mpsc::channel();
    for number in 0..10 {
        let tell = tell.clone();
        strand.post_task(move || tell.send(number).expect("listening")).expect("room is made");
    }
    drop(tell);
    assert_eq!((strand.stats().queued, strand.stats().dropped), (3, 7));
    gate.open();
    assert_eq!(told.iter().collect::<Vec<_>>(), [7, 8, 9]);
    strand.flush().expect("quiet");
    let stats = strand.stats();
    assert_eq!((stats.posted, stats.ran, stats.dropped, stats.queued), (10, 3, 7, 0));
    pool.flush().expect("quiet");
    let stats = pool.stats();
    assert_eq!(stats.posted, stats.ran + stats.dropped);
}

#[test]
fn blocked_poster_goes_on_when_there_is_room() {
    let pool = pool(1);
    let strand = bounded(&pool, 1, Overflow::Block);
    let gate = Gate::close(&pool);
    let posted = Arc::new(AtomicUsize::new(0));
    let (poster, count) = (strand.clone(), Arc::clone(&posted));
    let poster = std::thread::spawn(move || {
        for _ in 0..100 {
            poster.post_task(|| ()).expect("it waits for room");
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    wait_until(|| posted.load(Ordering::Relaxed) == 1);
    gate.open();
    poster.join().expect("no panic");
    strand.flush().expect("nothing is dropped");
    assert_eq!(strand.stats().ran, 100);
}

/// POST-7: where waiting could deadlock, `Block` refuses.
#[test]
fn block_refuses_on_a_worker() {
    let pool = pool(1);
    let strand = bounded(&pool, 1, Overflow::Block);
    let own = strand.clone();
    let inside = strand.spawn(move || {
        let first = own.post_task(|| ()).map_err(|refused| refused.reason());
        (first, own.post_task(|| ()).map_err(|refused| refused.reason()))
    });
    assert_eq!(inside.join().expect("runs"), (Ok(()), Err(RejectReason::Full)));
}

#[test]
fn close_ends_the_wait_for_room() {
    let pool = pool(1);
    let strand = bounded(&pool, 1, Overflow::Block);
    let gate = Gate::close(&pool);
    strand.post_task(|| ()).expect("room");
    let waiting = strand.clone();
    let poster = std::thread::spawn(move || waiting.post_task(|| ()).map_err(|refused| refused.reason()));
    strand.close(Close::Drain);
    assert_eq!(poster.join().expect("no panic"), Err(RejectReason::Closed));
    gate.open();
}

#[test]
fn bad_bounds_are_named() {
    let pool = pool(1);
    for (capacity, overflow, value) in [(0, Overflow::Reject, "0"), (5, Overflow::CallerRuns, "CallerRuns")] {
        let error = SequencedTaskRunner::builder(&pool).capacity(capacity, overflow).build().expect_err("invalid");
        assert_eq!((error.field(), error.value()), ("capacity", value));
    }
}
