//! DLY: later, never early, in order, and not at all.

use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use overstrand::TaskTraits;

use crate::{Gate, pool, wait_until};

/// DLY-1: never early, by the monotonic clock.
#[test]
fn delayed_task_is_never_early() {
    let pool = pool(2);
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    let (tell, told) = mpsc::channel();
    for micros in (0..200).map(|number| number * 97 % 5000) {
        let delay = Duration::from_micros(micros);
        let posted = Instant::now();
        let tell = tell.clone();
        let task = move || tell.send(posted.elapsed() >= delay).expect("listening");
        let _detached = strand.post_delayed_task(delay, task).expect("open");
    }
    assert!(told.iter().take(200).all(|in_time| in_time));
}

/// SEQ-2, DLY-5: of two posts the one with the shorter delay, or the earlier of two with the same, runs first.
#[test]
fn equal_delays_run_in_the_order_of_posting() {
    let pool = pool(2);
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    let order = Arc::new(Mutex::new(Vec::new()));
    for number in 0..500 {
        let order = Arc::clone(&order);
        let note = move || order.lock().expect("no panic").push(number);
        let _detached = strand.post_delayed_task(Duration::from_millis(3), note).expect("open");
    }
    wait_until(|| strand.stats().ran == 500);
    assert!(order.lock().expect("no panic").iter().copied().eq(0..500));
}

/// DLY-2: a cancelled task never starts, and its closure is gone at once; a second cancel, or one after the start, says so.
#[test]
fn cancelled_timer_frees_its_closure_at_once() {
    let pool = pool(1);
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    let captured = Arc::new(());
    let held = Arc::clone(&captured);
    let timer = strand.post_delayed_task(Duration::from_secs(3600), move || drop(held)).expect("open");
    assert!(timer.is_pending());
    assert_eq!((strand.stats().delayed, pool.stats().delayed), (1, 1));
    assert!(timer.cancel());
    assert_eq!(Arc::strong_count(&captured), 1);
    assert!(!timer.cancel() && !timer.is_pending());
    assert_eq!((strand.stats().delayed, strand.stats().dropped, pool.stats().dropped), (0, 1, 1));
    let done = pool.post_delayed_task(Duration::ZERO, || ()).expect("open");
    pool.flush().expect("nothing is dropped");
    assert!(!done.cancel());
}

/// DLY-2: between the end of its delay and its start a task can still be cancelled.
#[test]
fn ripe_task_that_waits_can_be_cancelled() {
    let pool = pool(1);
    let gate = Gate::close(&pool);
    let timer = pool.post_delayed_task(Duration::from_millis(1), || panic!("it was cancelled")).expect("open");
    wait_until(|| pool.stats().queued == 1);
    assert!(timer.cancel());
    gate.open();
    pool.flush().expect("quiet");
    let stats = pool.stats();
    assert_eq!((stats.panicked, stats.dropped, stats.ran), (0, 1, 1));
}

/// DLY-4: any duration is legal, and a far timer neither fires nor keeps anything waiting.
#[test]
fn any_duration_is_legal() {
    let pool = pool(1);
    let edges = [1, u64::from(u32::MAX), 1 << 31, 1 << 63, u64::MAX].map(Duration::from_nanos);
    let far = [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(1 << 40)];
    let timers: Vec<_> =
        edges.into_iter().chain(far).map(|delay| pool.post_delayed_task(delay, || ()).expect("open")).collect();
    wait_until(|| pool.stats().ran >= 1);
    assert!(timers.iter().filter(|timer| timer.is_pending()).count() >= 4);
    let report = pool.shutdown().expect("outside");
    assert_eq!(report.ran + report.dropped, timers.len() as u64);
}

/// DLY-3: a runner that is stuck delays no other's timers.
#[test]
fn stuck_runner_delays_no_other_timer() {
    let pool = pool(2);
    let stuck = pool.create_sequenced_task_runner(TaskTraits::default());
    let gate = Gate::close(&pool);
    for _ in 0..100 {
        let _detached = stuck.post_delayed_task(Duration::from_millis(1), || ()).expect("open");
    }
    let (tell, told) = mpsc::channel();
    let _detached =
        pool.post_delayed_task(Duration::from_millis(2), move || tell.send(()).expect("listening")).expect("open");
    told.recv().expect("it fires");
    gate.open();
}

/// DLY-4: arming and cancelling a hundred thousand timers leaves nothing behind.
#[test]
fn many_cancelled_timers_leave_nothing() {
    let pool = pool(1);
    let day = Duration::from_secs(24 * 3600);
    let timers: Vec<_> = (0..100_000).map(|_| pool.post_delayed_task(day, || ()).expect("open")).collect();
    assert_eq!(pool.stats().delayed, 100_000);
    assert!(timers.iter().all(|timer| timer.cancel()));
    let stats = pool.stats();
    assert_eq!((stats.delayed, stats.dropped), (0, 100_000));
}
