//! POST: what a post promises.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use overstrand::{RejectReason, TaskTraits};

use crate::{Gate, pool, wait_until};

/// POST-1, POST-7: a task that posts to its own runner ends before what it posted begins.
#[test]
fn post_from_inside_never_runs_inside() {
    let pool = pool(1);
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    let (tell, order) = mpsc::channel();
    let again = strand.clone();
    let outer = move || {
        let inner = tell.clone();
        again.post_task(move || inner.send("inner").expect("listening")).expect("open");
        tell.send("outer").expect("listening");
    };
    strand.post_task(outer).expect("open");
    assert_eq!(order.iter().collect::<Vec<_>>(), ["outer", "inner"]);
}

/// POST-2, POST-8: a refused closure comes back whole, from pool and runner, plain and delayed.
#[test]
fn post_after_shutdown_returns_the_task() {
    let pool = pool(1);
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    pool.shutdown().expect("outside");
    let count = Arc::new(AtomicUsize::new(0));
    let task = || {
        let count = Arc::clone(&count);
        move || _ = count.fetch_add(1, Ordering::Relaxed)
    };
    let later = std::time::Duration::from_millis(1);
    let plain = [pool.post_task(task()), strand.post_task(task())];
    for refused in plain {
        let refused = refused.expect_err("shut down");
        assert_eq!(refused.reason(), RejectReason::ShutDown);
        refused.into_task()();
    }
    for refused in [pool.post_delayed_task(later, task()), strand.post_delayed_task(later, task())] {
        let refused = refused.expect_err("shut down");
        assert_eq!(refused.reason(), RejectReason::ShutDown);
        refused.into_task()();
    }
    assert_eq!(count.load(Ordering::Relaxed), 4);
    assert_eq!(Arc::strong_count(&count), 1);
    assert_eq!((pool.stats().rejected, strand.stats().rejected), (4, 2));
}

/// POST-3: a task knows its post site and the chain that it descends from, at most four.
#[test]
fn task_knows_where_it_comes_from() {
    let pool = pool(1);
    let inner_pool = pool.clone();
    let first = line!() + 1;
    let handle = pool.spawn(move || {
        let second = line!() + 1;
        let handle = inner_pool.spawn(|| overstrand::current::locations().map(|site| site.line()).collect::<Vec<_>>());
        (handle.join().expect("runs"), second)
    });
    let (lines, second) = handle.join().expect("runs");
    assert_eq!(lines, [second, first]);
    assert_eq!(overstrand::current::location(), None);
}

/// POST-3: sizes of closures on both sides of every limit, and strict alignments.
#[test]
fn closures_of_any_size_arrive_whole() {
    #[repr(align(64))]
    struct Aligned([u8; 64]);
    let pool = pool(1);
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    macro_rules! carry {
        ($($bytes:literal)+) => {$(
            let load = [7_u8; $bytes];
            let sum = strand.task().name("named").spawn(move || load.iter().map(|byte| usize::from(*byte)).sum::<usize>());
            assert_eq!(sum.join().expect("runs"), 7 * $bytes);
            let (tell, told) = mpsc::channel();
            strand.post_task(move || tell.send(load.len()).expect("listening")).expect("open");
            assert_eq!(told.recv(), Ok($bytes));
        )+};
    }
    carry!(0 1 8 16 23 24 25 31 32 33 64 100_000);
    let aligned = Aligned([3; 64]);
    let address = pool.spawn(move || {
        let whole = &aligned;
        std::ptr::from_ref(whole).addr() % 64 + usize::from(whole.0[63])
    });
    assert_eq!(address.join().expect("runs"), 3);
}

/// POST-4, SEQ-1: captures are gone when the next task of the sequence begins.
#[test]
fn captures_are_dropped_inside_the_turn() {
    let pool = pool(2);
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    let alive = Arc::new(());
    for _ in 0..1000 {
        let captured = Arc::clone(&alive);
        strand.post_task(move || _ = std::hint::black_box(&captured)).expect("open");
        let weak = Arc::downgrade(&alive);
        let seen = strand.spawn(move || weak.strong_count());
        assert_eq!(seen.join().expect("runs"), 1);
    }
}

/// POST-5, SHUT-1: what shutdown drops may call back into the pool from its destructor.
#[test]
fn discarded_closure_may_use_the_pool() {
    struct Uses(overstrand::ThreadPool, Arc<AtomicUsize>);
    impl Drop for Uses {
        fn drop(&mut self) {
            let refused = self.0.post_task(|| ()).is_err();
            let _ = self.0.stats();
            self.1.fetch_add(usize::from(refused), Ordering::Relaxed);
        }
    }
    let pool = pool(1);
    let refused = Arc::new(AtomicUsize::new(0));
    let gate = Gate::close(&pool);
    for _ in 0..3 {
        let uses = Uses(pool.clone(), Arc::clone(&refused));
        pool.post_task(move || drop(uses)).expect("open");
    }
    let uses = Uses(pool.clone(), Arc::clone(&refused));
    let _detached = pool.post_delayed_task(std::time::Duration::MAX, move || drop(uses)).expect("open");
    let ending = pool.clone();
    let report = std::thread::spawn(move || ending.shutdown());
    wait_until(|| pool.post_task(|| ()).is_err());
    gate.open();
    report.join().expect("no panic").expect("outside");
    assert_eq!(refused.load(Ordering::Relaxed), 4);
}

/// A worker that posts once and then blocks, by means that the pool knows nothing of, does not keep what it posted.
#[test]
fn ticket_of_a_blocked_worker_is_taken_by_another() {
    let pool = pool(2);
    for _ in 0..20 {
        let (tell, told) = mpsc::channel();
        let inner = pool.clone();
        let outer = pool.spawn(move || {
            inner.post_task(move || tell.send(()).expect("listening")).expect("open");
            told.recv().is_ok()
        });
        assert!(outer.join().expect("runs"));
    }
}
