//! Baton mode: code that blocks, one thread at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use overstrand::testing::{Faults, TestEnvironment, wait_until, yield_point};
use overstrand::{BlockingType, CancelToken, Overflow, SequencedTaskRunner, TaskTraits, blocking};

use crate::{AnyResult, panic_text};

const SECOND: Duration = Duration::from_secs(1);

/// ENV-1: tasks that wait for one another, overlapping, in an order that one stack could not give.
#[test]
fn overlapping_waits_end() {
    TestEnvironment::builder().workers(2).baton().explore(0..100, |env| {
        let (left, right) = (CancelToken::new(), CancelToken::new());
        let (tell_left, hear_right) = (left.clone(), right.clone());
        let first = env.pool().spawn(move || {
            tell_left.cancel();
            hear_right.wait();
            1
        });
        let second = env.pool().spawn(move || {
            left.wait();
            right.cancel();
            2
        });
        assert_eq!((first.join().expect("it runs"), second.join().expect("it runs")), (1, 2));
    });
}

/// A user's channel, with a wait that is declared: `recv_timeout` in virtual time.
#[test]
fn declared_wait_is_virtual() -> AnyResult {
    let env = TestEnvironment::builder().seed(7).workers(2).baton().build();
    let (tell, told) = mpsc::channel();
    let consumer = env.pool().spawn(move || {
        let mut heard = Vec::new();
        while let Some(number) = wait_until(SECOND * 2, || told.try_recv().ok()) {
            heard.push(number);
        }
        heard
    });
    for number in 1..=3_u32 {
        let tell = tell.clone();
        env.pool().post_delayed_task(SECOND * number, move || _ = tell.send(number))?;
    }
    assert_eq!(consumer.join()?, [1, 2, 3]);
    assert_eq!(env.now(), SECOND * 5, "three messages, then two seconds of silence");
    assert_eq!(wait_until(SECOND, || None::<()>), None);
    assert_eq!(env.now(), SECOND * 6);
    Ok(())
}

/// ENV-2: an advance ends in time though a task waits for longer.
#[test]
fn advance_leaves_waiting_tasks_alone() {
    let env = TestEnvironment::builder().baton().build();
    let waiting = env.pool().spawn(|| CancelToken::new().wait_timeout(SECOND * 10));
    env.advance(SECOND);
    assert_eq!((env.now(), env.pending().running, waiting.is_finished()), (SECOND, 1, false));
    env.run_until_no_tasks();
    assert_eq!((env.now(), waiting.is_finished()), (SECOND * 10, true));
}

/// HND-3: more tasks wait than there are workers; others stand in, and everything ends.
#[test]
fn standins_take_the_places_of_those_who_wait() {
    TestEnvironment::builder().workers(1).baton().explore(0..50, |env| {
        let go = CancelToken::new();
        let waiting: Vec<_> = (0..5)
            .map(|number| {
                let go = go.clone();
                env.pool().spawn(move || {
                    go.wait();
                    number
                })
            })
            .collect();
        env.run_until_idle();
        assert_eq!(env.pending().running, 5);
        env.pool().post_delayed_task(SECOND, move || go.cancel()).expect("open");
        let numbers: Vec<_> = waiting.into_iter().map(|handle| handle.join().expect("it runs")).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
    });
}

/// POST-9: posters that wait for room.
#[test]
fn full_queue_blocks_a_poster() {
    TestEnvironment::builder().workers(2).baton().explore(0..50, |env| {
        let bounded = SequencedTaskRunner::builder(env.pool()).capacity(1, Overflow::Block).build().expect("valid");
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..4 {
            let ran = Arc::clone(&ran);
            bounded.post_task(move || _ = ran.fetch_add(1, Ordering::SeqCst)).expect("there will be room");
        }
        bounded.flush().expect("open");
        assert_eq!(ran.load(Ordering::SeqCst), 4);
    });
}

/// ENV-1: a cycle of waits is a deadlock, and each wait is named.
#[test]
fn cycle_of_waits_is_named() {
    let text = panic_text(|| {
        let env = TestEnvironment::builder().baton().build();
        let (left, right) = (CancelToken::new(), CancelToken::new());
        let (a, b) = (left.clone(), right.clone());
        let first = env.pool().task().name("left").spawn(move || {
            a.wait();
            b.cancel();
        });
        let _second = env.pool().task().name("right").spawn(move || {
            right.wait();
            left.cancel();
        });
        let _ = first.join();
    });
    assert!(text.starts_with("deadlock"), "{text}");
    assert!(
        text.contains("\"left\"") && text.contains("\"right\"") && text.contains("the test waits for a task")
            || text.contains("test waits for a task"),
        "{text}"
    );
}

/// Slow tasks: what a task costs keeps its worker, and its sequence, but not the others.
#[test]
fn tasks_may_take_time() {
    let faults = Faults::none().cost(SECOND, SECOND);
    let env = TestEnvironment::builder().workers(2).faults(faults).baton().build();
    let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
    for _ in 0..4 {
        strand.post_task(|| ()).expect("open");
    }
    strand.flush().expect("open");
    assert_eq!(env.now(), SECOND * 4, "a strand runs one at a time");
    for _ in 0..4 {
        env.pool().post_task(|| ()).expect("open");
    }
    env.pool().flush().expect("open");
    assert_eq!(env.now(), SECOND * 6, "two workers run two at a time");
}

/// An early yield at a named place shows a race that no wait would.
#[test]
fn yield_points_show_a_race() {
    let text = panic_text(|| {
        let faults = Faults::none().yields(0.5);
        TestEnvironment::builder().workers(2).faults(faults).baton().explore(0..200, |env| {
            let counter = Arc::new(AtomicUsize::new(0));
            for _ in 0..2 {
                let counter = Arc::clone(&counter);
                let count = move || {
                    let seen = counter.load(Ordering::SeqCst);
                    yield_point("between read and write");
                    counter.store(seen + 1, Ordering::SeqCst);
                };
                env.pool().post_task(count).expect("open");
            }
            env.run_until_no_tasks();
            assert_eq!(counter.load(Ordering::SeqCst), 2, "a count was lost");
        });
    });
    assert!(text.contains("a count was lost"), "{text}");
}

/// A long task is reported as a stall, in virtual time.
#[test]
fn stall_is_reported_in_virtual_time() {
    let (tell, told) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let env = TestEnvironment::builder()
        .baton()
        .pool(|pool| {
            pool.on_stall(SECOND * 10, move |report| _ = tell.lock().expect("no panic").send(report.running_for))
        })
        .build();
    let slow = env.pool().spawn(|| CancelToken::new().wait_timeout(SECOND * 60));
    assert!(slow.join().is_ok());
    let running_for = told.try_recv().expect("it was reported");
    assert!((SECOND * 10..SECOND * 15).contains(&running_for), "{running_for:?}");
    assert!(told.try_recv().is_err(), "once");
}

/// BLK-1: who will block is replaced at once, who may block after the threshold, if work waits; nested scopes count once.
#[test]
fn blocking_scopes_are_compensated() {
    let started = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&started);
    let counts = move |_: &str| _ = counted.fetch_add(1, Ordering::SeqCst);
    let env = TestEnvironment::builder().workers(1).baton().pool(|pool| pool.on_thread_start(counts)).build();
    let hold = |how: [BlockingType; 2]| {
        let flag = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&flag);
        let look = move || (seen.load(Ordering::SeqCst) > 0).then_some(());
        let held = env.pool().spawn(move || blocking(how[0], || blocking(how[1], || wait_until(SECOND * 60, look))));
        env.run_until_idle();
        let began = env.now();
        let other = env.pool().spawn(move || flag.store(1, Ordering::SeqCst));
        assert!(other.join().is_ok());
        let waited = env.now() - began;
        assert_eq!(held.join().expect("it runs"), Some(()));
        waited
    };
    use BlockingType::{MayBlock, WillBlock};
    assert_eq!(hold([WillBlock, MayBlock]), Duration::ZERO);
    assert_eq!(hold([MayBlock, WillBlock]), Duration::ZERO);
    let waited = hold([MayBlock, MayBlock]);
    assert!((Duration::from_millis(10)..=Duration::from_millis(25)).contains(&waited), "{waited:?}");
    assert_eq!(started.load(Ordering::SeqCst), 2, "one stand-in did for all of them");
    assert_eq!(blocking(WillBlock, || 7), 7, "outside of tasks it is a call");
}

/// BLK-2: a long-running task never reduces the pool's capacity.
#[test]
fn long_running_task_leaves_the_pool_its_workers() {
    TestEnvironment::builder().workers(1).baton().explore(0..40, |env| {
        let flag = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&flag);
        let look = move || (seen.load(Ordering::SeqCst) > 0).then_some(());
        let traits = overstrand::TaskTraits::default().long_running();
        let long = env.pool().task().traits(traits).spawn(move || wait_until(SECOND * 60, look));
        env.run_until_idle();
        for number in 0..10 {
            assert_eq!(env.pool().spawn(move || number).join().expect("it runs"), number);
        }
        assert_eq!(env.now(), Duration::ZERO);
        flag.store(1, Ordering::SeqCst);
        assert_eq!(long.join().expect("it runs"), Some(()));
    });
}

/// The cap holds: what cannot be replaced is not, and everything goes on when somebody comes back.
#[test]
fn cap_of_threads_holds() {
    TestEnvironment::builder().workers(1).faults(Faults::none().refused_threads(1.0)).baton().explore(0..40, |env| {
        let held = env.pool().spawn(|| blocking(BlockingType::WillBlock, || wait_until(SECOND, || None::<()>)));
        let behind = env.pool().spawn(|| 7);
        assert_eq!(behind.join().expect("it runs"), 7);
        assert!(held.is_finished() && env.now() == SECOND);
    });
}
