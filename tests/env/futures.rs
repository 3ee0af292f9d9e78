//! Futures on runners.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{CancelToken, Close, JoinError, RejectReason, TaskTraits, ThreadMode};

use crate::AnyResult;

const SECOND: Duration = Duration::from_secs(1);

/// Polled on its sequence and nowhere else, between other tasks, in virtual time.
#[test]
fn future_is_polled_on_its_sequence() {
    for is_baton in [false, true] {
        let builder = TestEnvironment::builder();
        let builder = if is_baton { builder.baton() } else { builder };
        builder.explore(0..60, |env| {
            let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
            let thread = env.pool().create_single_thread_task_runner(TaskTraits::default(), ThreadMode::Dedicated);
            let (thread, own) = (thread.expect("a thread"), strand.clone());
            let there = thread.clone();
            let answer = strand.spawn_future(async move {
                let mut sum = 0;
                for number in 1..=3 {
                    overstrand::sleep(SECOND).await;
                    assert!(own.is_current());
                    let there = there.clone();
                    sum += there
                        .clone()
                        .spawn_future(async move { number * usize::from(there.is_current()) })
                        .await
                        .expect("runs");
                    assert!(own.is_current());
                }
                sum
            });
            assert_eq!(answer.join().expect("it runs"), 6);
            assert_eq!(env.now(), SECOND * 3);
            assert_eq!(env.pool().spawn_future(async { 2 }).join().expect("it runs"), 2);
        });
    }
}

/// A cancelled, discarded or refused future is dropped, and its handle told; the waker may live on.
#[test]
fn dropped_future_tells_its_handle() {
    TestEnvironment::explore(0..60, |env| {
        let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
        let (owned, kept) = (Arc::new(()), Arc::new(Mutex::new(None::<Waker>)));
        let never = |owned: &Arc<()>| {
            let (owned, kept) = (Arc::clone(owned), Arc::clone(&kept));
            poll_fn(move |context| {
                let _owned = &owned;
                *kept.lock().expect("no panic") = Some(context.waker().clone());
                Poll::<()>::Pending
            })
        };
        let cancelled = strand.spawn_future(never(&owned));
        env.run_until_idle();
        assert!(cancelled.cancel());
        env.run_until_idle();
        assert_eq!(Arc::strong_count(&owned), 1);
        assert!(matches!(cancelled.join(), Err(JoinError::Cancelled)));

        let closed = strand.spawn_future(never(&owned));
        env.run_until_idle();
        strand.close(Close::Discard);
        kept.lock().expect("no panic").take().expect("it was polled").wake();
        env.run_until_idle();
        assert!(matches!(closed.join(), Err(JoinError::Cancelled)));
        assert_eq!(Arc::strong_count(&owned), 1);

        let left = env.pool().spawn_future(never(&owned));
        env.run_until_idle();
        env.pool().shutdown().expect("outside");
        kept.lock().expect("no panic").take().expect("it was polled").wake();
        assert!(matches!(left.join(), Err(JoinError::ShutDown)));
        let late = env.pool().spawn_future(never(&owned));
        assert!(matches!(late.join(), Err(JoinError::Rejected(RejectReason::ShutDown))));
        assert_eq!(Arc::strong_count(&owned), 1);
    });
}

/// POST-6: a panic reaches the handle, is reported, and ends nothing else.
#[test]
fn panicking_future_is_contained() -> AnyResult {
    let env = TestEnvironment::builder().allow_panics().build();
    let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
    let bad = strand.spawn_future(async {
        overstrand::sleep(SECOND).await;
        panic!("in a future");
    });
    let Err::<(), _>(JoinError::Panicked(panicked)) = bad.join() else { panic!("it panicked") };
    assert_eq!(panicked.message(), Some("in a future"));
    assert_eq!(strand.spawn(|| 7).join()?, 7);
    assert_eq!(strand.stats().panicked, 1);
    Ok(())
}

/// Handles and tokens can be awaited; a detached future goes on; a wait for oneself is an error.
#[test]
fn handles_and_tokens_are_awaited() -> AnyResult {
    let env = TestEnvironment::with_seed(3);
    let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
    let (pool, token) = (env.pool().clone(), CancelToken::with_timeout(SECOND));
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    drop(strand.spawn_future(async move {
        token.cancelled().await;
        counted.store(pool.spawn(|| 7).await.expect("it runs"), Ordering::SeqCst);
    }));
    env.advance(SECOND);
    assert_eq!(seen.load(Ordering::SeqCst), 7);
    let own = strand.clone();
    let inside = strand.spawn(move || matches!(own.spawn_future(async {}).join(), Err(JoinError::WouldDeadlock)));
    assert!(inside.join()?);
    Ok(())
}
