//! Bounded concurrency: the promises of parallel runners.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{TestEnvironment, check_conservation};
use overstrand::{
    CancelToken, Close, JoinError, Overflow, ParallelTaskRunner, Priority, RejectReason, TaskTraits, WaitError,
};

use crate::AnyResult;

const SECOND: Duration = Duration::from_secs(1);

fn runner(env: &TestEnvironment, limit: usize) -> ParallelTaskRunner {
    env.pool().create_parallel_task_runner(TaskTraits::default(), limit).expect("valid")
}

/// Never more than the limit at once, and the limit is used.
#[test]
fn limit_is_kept_and_used() {
    TestEnvironment::builder().workers(4).baton().explore(0..100, |env| {
        let limited = runner(env, 2);
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..8 {
            let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
            let task = move || {
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                assert!(!CancelToken::new().wait_timeout(SECOND));
                inside.fetch_sub(1, Ordering::SeqCst);
            };
            limited.post_task(task).expect("open");
        }
        limited.flush().expect("open");
        assert_eq!((most.load(Ordering::SeqCst), env.now()), (2, SECOND * 4));
        check_conservation(limited.stats()).expect("it adds up");
        assert_eq!(limited.stats().ran, 8);
    });
}

/// Tasks of one priority start in the order of posting; the more urgent ones first.
#[test]
fn tasks_start_in_order_within_a_priority() {
    TestEnvironment::builder().workers(3).explore(0..200, |env| {
        let limited = runner(env, 1);
        let started = Arc::new(Mutex::new(Vec::new()));
        for number in 0..12 {
            let started = Arc::clone(&started);
            let priority = if number % 3 == 0 { Priority::UserBlocking } else { Priority::UserVisible };
            let note = move || started.lock().expect("no panic").push(number);
            limited.task().priority(priority).post(note).expect("open");
        }
        limited.flush().expect("open");
        let started = started.lock().expect("no panic").clone();
        for is_urgent in [false, true] {
            let of_class: Vec<_> = started.iter().copied().filter(|number| (number % 3 == 0) == is_urgent).collect();
            assert!(of_class.is_sorted(), "{started:?}");
        }
        assert_eq!(started.len(), 12);
    });
}

/// CTL-4: a lifted limit takes effect at once, a lowered one as tasks end.
#[test]
fn limit_can_be_changed_while_tasks_run() {
    TestEnvironment::builder().workers(6).baton().explore(0..60, |env| {
        let limited = runner(env, 1);
        let go = CancelToken::new();
        for _ in 0..6 {
            let go = go.clone();
            limited.post_task(move || go.wait()).expect("open");
        }
        env.run_until_idle();
        assert_eq!(limited.stats().running, 1);
        limited.set_max_concurrency(4).expect("valid");
        env.run_until_idle();
        assert_eq!(limited.stats().running, 4);
        limited.set_max_concurrency(1).expect("valid");
        assert_eq!(limited.max_concurrency(), 1);
        let refused = limited.set_max_concurrency(0).expect_err("zero");
        assert_eq!(refused.field(), "max_concurrency");
        go.cancel();
        limited.flush().expect("open");
        assert_eq!(limited.stats().ran, 6);
    });
}

/// The flush is a barrier: what is posted after it began does not start before it is over.
#[test]
fn flush_is_a_barrier() {
    TestEnvironment::builder().workers(4).baton().explore(0..100, |env| {
        let limited = runner(env, 4);
        let log = Arc::new(Mutex::new(Vec::new()));
        let go = CancelToken::new();
        let (hears, first) = (go.clone(), Arc::clone(&log));
        let early = move || {
            hears.wait();
            first.lock().expect("no panic").push("early");
        };
        limited.post_task(early).expect("open");
        let (flusher, flushed) = (limited.clone(), Arc::clone(&log));
        let flush = env.pool().spawn(move || {
            let answer = flusher.flush();
            flushed.lock().expect("no panic").push("flushed");
            answer
        });
        env.run_until_idle();
        let late = Arc::clone(&log);
        limited.post_task(move || late.lock().expect("no panic").push("late")).expect("open");
        env.run_until_idle();
        assert!(log.lock().expect("no panic").is_empty());
        go.cancel();
        assert_eq!(flush.join().expect("it runs"), Ok(()));
        env.run_until_idle();
        let log = log.lock().expect("no panic").clone();
        assert_eq!(log[0], "early");
        assert_eq!(log.len(), 3);
    });
}

/// A task that waits for what it posts is not held up by a flush that waits for the task.
#[test]
fn barrier_does_not_hold_back_what_running_tasks_post() {
    TestEnvironment::builder().workers(3).baton().explore(0..60, |env| {
        let limited = runner(env, 2);
        let (own, go) = (limited.clone(), CancelToken::new());
        let hears = go.clone();
        let outer = limited.spawn(move || {
            hears.wait();
            own.spawn(|| 7).join()
        });
        let flusher = limited.clone();
        let flush = env.pool().spawn(move || flusher.flush());
        env.run_until_idle();
        go.cancel();
        assert_eq!(outer.join().expect("it runs").expect("it runs"), 7);
        assert_eq!(flush.join().expect("it runs"), Ok(()));
    });
}

/// Misuse and ends: typed errors, and the counters add up.
#[test]
fn closing_and_misuse_are_typed() -> AnyResult {
    let env = TestEnvironment::builder().workers(2).baton().build();
    let limited = runner(&env, 1);
    let own = limited.clone();
    assert_eq!(limited.spawn(move || (own.is_current(), own.flush())).join()?, (true, Err(WaitError::WouldDeadlock)));
    assert!(!limited.is_current() && overstrand::SequencedTaskRunner::current().is_none());
    let go = CancelToken::new();
    let waits = go.clone();
    limited.post_task(move || waits.wait())?;
    env.run_until_idle();
    assert_eq!(limited.wait_idle(SECOND), Err(WaitError::TimedOut));
    let queued = limited.spawn(|| ());
    limited.close(Close::Discard);
    assert_eq!(limited.post_task(|| ()).map_err(|rejected| rejected.reason()), Err(RejectReason::Closed));
    go.cancel();
    assert!(matches!(queued.join(), Err(JoinError::Cancelled)));
    assert_eq!(limited.flush(), Err(WaitError::Closed));
    check_conservation(limited.stats())?;
    assert_eq!((limited.stats().dropped, limited.stats().rejected), (1, 1));

    let draining = runner(&env, 1);
    let answer = draining.spawn(|| 7);
    let later = draining.post_delayed_task(SECOND, || ())?;
    draining.close(Close::Drain);
    assert_eq!(answer.join()?, 7);
    env.advance(SECOND);
    assert!(!later.is_pending() && draining.stats().ran == 2);
    Ok(())
}

/// POST-9: each overflow policy.
#[test]
fn full_queue_follows_its_policy() -> AnyResult {
    for (policy, ran, dropped) in
        [(Overflow::Reject, 2, 0), (Overflow::DropOldest, 2, 2), (Overflow::CallerRuns, 4, 0), (Overflow::Block, 4, 0)]
    {
        let env = TestEnvironment::builder().workers(2).baton().build();
        let builder = ParallelTaskRunner::builder(env.pool()).name("small").max_concurrency(1);
        let small = builder.capacity(1, policy).build()?;
        let go = CancelToken::new();
        let waits = go.clone();
        small.post_task(move || waits.wait())?;
        env.run_until_idle();
        env.pool().post_delayed_task(SECOND, move || go.cancel())?;
        let here = Arc::new(AtomicUsize::new(0));
        let mut refused = 0;
        for _ in 0..3 {
            let here = Arc::clone(&here);
            let poster = std::thread::current().id();
            let note = move || _ = here.fetch_add(usize::from(std::thread::current().id() == poster), Ordering::SeqCst);
            refused += usize::from(small.post_task(note).is_err());
        }
        small.flush()?;
        let stats = small.stats();
        assert_eq!((stats.ran, stats.dropped), (ran, dropped), "{policy:?} {stats:?}");
        assert_eq!(refused, if policy == Overflow::Reject { 2 } else { 0 });
        assert_eq!(here.load(Ordering::SeqCst), if policy == Overflow::CallerRuns { 2 } else { 0 });
        check_conservation(stats)?;
    }
    Ok(())
}

/// Many posters, many limits, panics: everything runs once.
#[test]
fn everything_runs_once() {
    TestEnvironment::builder().workers(3).allow_panics().explore(0..300, |env| {
        let limited = runner(env, 1 + (env.seed() % 3) as usize);
        let ran = Arc::new(AtomicUsize::new(0));
        for number in 0..20 {
            let (ran, own) = (Arc::clone(&ran), limited.clone());
            let task = move || {
                ran.fetch_add(1, Ordering::SeqCst);
                if number % 5 == 0 {
                    let ran = Arc::clone(&ran);
                    own.post_task(move || _ = ran.fetch_add(1, Ordering::SeqCst)).expect("open");
                }
                assert!(number % 7 != 0, "some panic");
            };
            env.pool()
                .post_task({
                    let own = limited.clone();
                    move || own.post_task(task).expect("open")
                })
                .expect("open");
        }
        env.run_until_no_tasks();
        assert_eq!(ran.load(Ordering::SeqCst), 24);
        assert_eq!((limited.stats().ran, limited.stats().panicked), (24, 3));
        check_conservation(limited.stats()).expect("it adds up");
    });
}
