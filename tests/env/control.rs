//! Control over a pool: fences (CTL-1, CTL-2, SHUT-6).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{Faults, TestEnvironment, yield_point};
use overstrand::{Priority, TaskTraits, ThreadMode, WaitError, sometimes};

use crate::AnyResult;

/// While a fence is held nothing starts, on any kind of runner; fences nest; lifting the last one starts everything.
#[test]
fn nothing_starts_behind_a_fence() {
    for is_baton in [false, true] {
        let builder = TestEnvironment::builder().workers(2);
        let builder = if is_baton { builder.baton() } else { builder };
        builder.explore(0..60, |env| {
            let pool = env.pool();
            let strand = pool.create_sequenced_task_runner(TaskTraits::default());
            let thread = pool.create_single_thread_task_runner(TaskTraits::default(), ThreadMode::Dedicated);
            let limited = pool.create_parallel_task_runner(TaskTraits::default(), 2).expect("valid");
            let thread = thread.expect("a thread");
            let ran = Arc::new(AtomicUsize::new(0));
            let count = || {
                let ran = Arc::clone(&ran);
                move || _ = ran.fetch_add(1, Ordering::SeqCst)
            };
            let (outer, inner) = (pool.fence(), pool.fence());
            pool.post_task(count()).expect("open");
            pool.post_task_with(Priority::UserBlocking.into(), count()).expect("open");
            strand.post_task(count()).expect("open");
            thread.post_task(count()).expect("open");
            limited.post_task(count()).expect("open");
            pool.post_delayed_task(Duration::from_secs(1), count()).expect("open");
            env.advance(Duration::from_secs(2));
            drop(inner);
            env.run_until_idle();
            assert_eq!(ran.load(Ordering::SeqCst), 0);
            let waits = [pool.flush(), strand.flush(), limited.flush()];
            assert_eq!(waits, [Err(WaitError::WouldDeadlock); 3]);
            drop(outer);
            pool.flush().expect("open");
            assert_eq!(ran.load(Ordering::SeqCst), 6);
        });
    }
}

/// A best-effort fence holds back best-effort work alone, whatever runner it is on.
#[test]
fn best_effort_fence_holds_best_effort_work() {
    TestEnvironment::builder().workers(2).explore(0..60, |env| {
        let slow = env.pool().create_sequenced_task_runner(TaskTraits::best_effort());
        let order = Arc::new(Mutex::new(Vec::new()));
        let fence = env.pool().fence_best_effort();
        let (late, soon) = (Arc::clone(&order), Arc::clone(&order));
        slow.post_task(move || late.lock().expect("no panic").push("slow")).expect("open");
        env.pool().post_task(move || soon.lock().expect("no panic").push("soon")).expect("open");
        env.run_until_idle();
        assert_eq!(*order.lock().expect("no panic"), ["soon"]);
        // Another thread of control may lift it.
        env.pool().post_task(move || drop(fence)).expect("open");
        env.run_until_idle();
        assert_eq!(*order.lock().expect("no panic"), ["soon", "slow"]);
    });
}

/// So it does on runners with a thread, shared ones too; who lifts it wakes the thread, and so does who raises the runner's priority.
#[test]
fn best_effort_fence_holds_threads() {
    for is_baton in [false, true] {
        let builder = TestEnvironment::builder().workers(1);
        let builder = if is_baton { builder.baton() } else { builder };
        builder.explore(0..60, |env| {
            let on =
                |traits: TaskTraits, mode| env.pool().create_single_thread_task_runner(traits, mode).expect("a thread");
            let slow = [ThreadMode::Dedicated, ThreadMode::Shared].map(|mode| on(TaskTraits::best_effort(), mode));
            let (raised, usual) =
                (on(TaskTraits::best_effort(), ThreadMode::Shared), on(TaskTraits::default(), ThreadMode::Dedicated));
            env.run_until_idle();
            let fence = env.pool().fence_best_effort();
            for runner in slow.iter().chain([&raised, &usual]) {
                runner.post_task(|| ()).expect("open");
            }
            slow[0].post_delayed_task(Duration::from_secs(1), || ()).expect("open");
            env.advance(Duration::from_secs(2));
            assert_eq!([&slow[0], &slow[1], &raised, &usual].map(|runner| runner.stats().ran), [0, 0, 0, 1]);
            raised.set_priority(Priority::UserVisible);
            env.run_until_idle();
            assert_eq!([&slow[0], &slow[1], &raised].map(|runner| runner.stats().ran), [0, 0, 1]);
            drop(fence);
            env.run_until_idle();
            assert_eq!([&slow[0], &slow[1]].map(|runner| runner.stats().ran), [2, 1]);
        });
    }
}

/// SHUT-6 for threads: what blocks the shutdown runs there though fences of both kinds are held.
#[test]
fn shutdown_ignores_fences_at_threads() {
    for is_baton in [false, true] {
        let builder = TestEnvironment::builder().workers(1);
        let builder = if is_baton { builder.baton() } else { builder };
        builder.explore(0..60, |env| {
            let traits = TaskTraits::best_effort().block_shutdown();
            let slow = env.pool().create_single_thread_task_runner(traits, ThreadMode::Dedicated).expect("a thread");
            let fences = (env.pool().fence_best_effort(), env.pool().fence());
            slow.post_task(|| ()).expect("open");
            env.run_until_idle();
            assert_eq!(slow.stats().ran, 0);
            assert_eq!(env.pool().shutdown().expect("outside").ran, 1);
            drop(fences);
        });
    }
}

/// A sequence stops before its next task; once shutdown starts fences are ignored.
#[test]
fn fence_stops_a_sequence_and_no_shutdown() -> AnyResult {
    let env = TestEnvironment::builder().workers(1).build();
    let strand = env.pool().create_sequenced_task_runner(TaskTraits::default().block_shutdown());
    let (pool, held) = (env.pool().clone(), Arc::new(Mutex::new(None)));
    let kept = Arc::clone(&held);
    strand.post_task(move || *kept.lock().expect("no panic") = Some(pool.fence()))?;
    strand.post_task(|| ())?;
    env.run_until_idle();
    assert_eq!(strand.stats().ran, 1);
    let report = env.pool().shutdown()?;
    assert_eq!((report.ran, report.dropped), (2, 0));
    drop(held.lock().expect("no panic").take());
    Ok(())
}

/// Restricted, the pool runs on fewer workers, the lowest of several limits; the end of the restriction brings them back.
#[test]
fn restricted_pool_runs_on_fewer_workers() {
    TestEnvironment::builder().workers(4).faults(Faults::none().yields(0.5)).baton().explore(0..100, |env| {
        let widest = || {
            let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let tasks: Vec<_> = (0..8)
                .map(|_| {
                    let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
                    env.pool().spawn(move || {
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        for _ in 0..4 {
                            yield_point("inside a task");
                        }
                        inside.fetch_sub(1, Ordering::SeqCst);
                    })
                })
                .collect();
            tasks.into_iter().for_each(|task| task.join().expect("it runs"));
            most.load(Ordering::SeqCst)
        };
        let two = env.pool().restrict(2).expect("valid");
        let one = env.pool().restrict(1).expect("valid");
        env.run_until_idle();
        assert_eq!(widest(), 1);
        drop(one);
        env.run_until_idle();
        assert!(widest() <= 2);
        drop(two);
        env.run_until_idle();
        sometimes!(widest() > 2, "all of them");
        assert_eq!(env.pool().restrict(0).expect_err("none").field(), "workers");
    });
}

/// POST-9: a bounded pool refuses, blocks or runs here what is too much; its own tasks are never blocked; what it refuses comes back.
#[test]
fn bounded_pool_follows_its_policy() -> AnyResult {
    use overstrand::{Overflow, RejectReason, ThreadPool};
    for overflow in [Overflow::Reject, Overflow::Block, Overflow::CallerRuns] {
        let env = TestEnvironment::builder().workers(1).pool(|pool| pool.capacity(2, overflow)).build();
        let (pool, ran) = (env.pool().clone(), Arc::new(AtomicUsize::new(0)));
        let inner = (pool.clone(), Arc::clone(&ran));
        let count = |ran: &Arc<AtomicUsize>| {
            let ran = Arc::clone(ran);
            move || _ = ran.fetch_add(1, Ordering::SeqCst)
        };
        let refused = pool.spawn(move || {
            let posted = (0..4).map(|_| inner.0.post_task(count(&inner.1)).map_err(|rejected| rejected.reason()));
            posted.filter(|posted| posted == &Err(RejectReason::Full)).count()
        });
        let expected = if overflow == Overflow::CallerRuns { 0 } else { 2 };
        assert_eq!(refused.join()?, expected, "{overflow:?}");
        env.run_until_idle();
        assert_eq!(ran.load(Ordering::SeqCst), 4 - expected);
        for _ in 0..3 {
            let posted = pool.post_task(count(&ran));
            assert!(posted.is_ok() || overflow == Overflow::Reject, "outside, room is waited for, or it runs here");
        }
        assert_eq!(pool.scope(|s| s.spawn(|| 7).join())?, 7, "a scope's tasks are never refused");
        env.run_until_idle();
        overstrand::testing::check_conservation(pool.stats())?;
    }
    let none = ThreadPool::builder().capacity(1, Overflow::DropOldest).build();
    assert_eq!(none.expect_err("there is no oldest").field(), "capacity");
    Ok(())
}
