//! Injected faults, coverage, convergence.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use overstrand::testing::{Faults, TestEnvironment};
use overstrand::{JoinError, TaskTraits, sometimes};

use crate::panic_text;

const SECOND: Duration = Duration::from_secs(1);

/// POST-6: injected panics end their task and nothing else; a body that panicked has not run, one that was cancelled neither.
#[test]
fn injected_panics_and_cancels_are_told_apart() {
    let faults = Faults::none().panics(0.2).cancels(0.2);
    TestEnvironment::builder().faults(faults).explore(0..200, |env| {
        let ran = Arc::new(AtomicUsize::new(0));
        let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
        let handles: Vec<_> = (0..8)
            .map(|_| {
                let ran = Arc::clone(&ran);
                strand.spawn(move || _ = ran.fetch_add(1, Ordering::SeqCst))
            })
            .collect();
        let results: Vec<_> = handles.into_iter().map(overstrand::TaskHandle::join).collect();
        let panicked = results.iter().filter(|result| matches!(result, Err(JoinError::Panicked(_)))).count();
        let cancelled = results.iter().filter(|result| matches!(result, Err(JoinError::Cancelled))).count();
        sometimes!(panicked > 0 && cancelled > 0, "both faults in one run");
        sometimes!(panicked == 0 && cancelled == 0, "no fault in one run");
        assert_eq!(ran.load(Ordering::SeqCst) + panicked + cancelled, 8);
        let stats = strand.stats();
        assert_eq!((stats.ran + stats.dropped, stats.panicked), (8, panicked as u64));
    });
}

/// The system refuses threads: waiting workers are not replaced, and what can go on goes on.
#[test]
fn refused_standins_lose_nothing() {
    let faults = Faults::none().refused_threads(0.5);
    TestEnvironment::builder().workers(2).faults(faults).baton().explore(0..100, |env| {
        let pool = env.pool().clone();
        let outer = env.pool().spawn(move || pool.spawn(|| 20).join().map(|inner| inner + 1));
        let other = env.pool().spawn(|| 21);
        assert_eq!(outer.join().expect("it runs").expect("it runs") + other.join().expect("it runs"), 42);
    });
}

/// An exploration that never saw what it must see fails.
#[test]
fn state_that_is_never_reached_fails_the_exploration() {
    let text = panic_text(|| {
        TestEnvironment::explore(0..20, |env| {
            env.run_until_idle();
            sometimes!(env.pool().stats().ran > 0, "something has run");
        });
    });
    assert!(text.contains("no seed ever reached: [\"something has run\"]"), "{text}");
}

/// Chaos, then healing, then everything converges; what never ends is found.
#[test]
fn healed_environment_converges() {
    TestEnvironment::builder().faults(Faults::none().panics(0.3)).explore(0..50, |env| {
        fn again(strand: &overstrand::SequencedTaskRunner, left: u32) {
            let own = strand.clone();
            let retry = strand.spawn(move || {
                if left > 0 {
                    again(&own, left - 1);
                }
            });
            drop(retry);
        }
        let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
        again(&strand, 20);
        env.pool().post_delayed_task(SECOND, || ()).expect("open");
        env.assert_converges(SECOND * 2);
    });
    let text = panic_text(|| {
        let env = TestEnvironment::with_seed(1);
        env.pool().post_delayed_task(SECOND * 10, || ()).expect("open");
        env.assert_converges(SECOND);
    });
    assert!(text.contains("no convergence within 1s: 0 queued, 1 delayed, 0 running"), "{text}");
}
