//! Time, waits, the global pool, what is left.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use overstrand::testing::TestEnvironment;
use overstrand::{CancelReason, CancelToken, JoinError, Priority, TaskTraits, WaitError};

use crate::{AnyResult, panic_text};

const SECOND: Duration = Duration::from_secs(1);

/// ENV-2: what falls due runs in its order, and time stands exactly at each due instant.
#[test]
fn advance_stops_at_each_due_instant() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let clock = CancelToken::with_timeout(Duration::from_millis(2_500));
    for milliseconds in [3_000, 1, 1_000, 2_000] {
        let (seen, clock) = (Arc::clone(&seen), clock.clone());
        let note = move || seen.lock().expect("no panic").push((milliseconds, clock.is_cancelled()));
        env.pool().post_delayed_task(Duration::from_millis(milliseconds), note)?;
    }
    assert_eq!(env.next_delay(), Some(Duration::from_millis(1)));
    env.advance(Duration::from_millis(2_999));
    assert_eq!(*seen.lock().expect("no panic"), [(1, false), (1_000, false), (2_000, false)]);
    assert_eq!(env.next_delay(), Some(Duration::from_millis(1)));
    env.advance(Duration::from_millis(1));
    assert_eq!(seen.lock().expect("no panic").last(), Some(&(3_000, true)));
    assert_eq!((env.next_delay(), env.now()), (None, SECOND * 3));
    Ok(())
}

/// ENV-2: nothing runs by itself, and a nanosecond is a nanosecond.
#[test]
fn nothing_runs_unasked() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let ran = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ran);
    env.pool().post_task(move || _ = counted.fetch_add(1, Ordering::SeqCst))?;
    let counted = Arc::clone(&ran);
    env.pool().post_delayed_task(SECOND, move || _ = counted.fetch_add(10, Ordering::SeqCst))?;
    assert_eq!(ran.load(Ordering::SeqCst), 0);
    let pending = env.pending();
    assert_eq!((pending.queued, pending.delayed), (1, 1));
    env.run_until_idle();
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    env.advance(SECOND - Duration::from_nanos(1));
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    env.advance(Duration::from_nanos(1));
    assert_eq!(
        (ran.load(Ordering::SeqCst), env.pending().to_string().as_str()),
        (11, "0 queued, 0 delayed, 0 running")
    );
    Ok(())
}

/// ENV-1: a wait of the test drives the environment, over delays too.
#[test]
fn joining_drives_the_environment() -> AnyResult {
    let env = TestEnvironment::with_seed(3);
    let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
    let token = CancelToken::new();
    let signal = token.clone();
    strand.post_delayed_task(SECOND * 60, move || signal.cancel())?;
    let waits = token.clone();
    let waiting = env.pool().spawn(move || {
        waits.wait();
        7
    });
    assert_eq!(waiting.join()?, 7);
    assert_eq!(env.now(), SECOND * 60);
    strand.flush()?;
    assert_eq!(strand.wait_idle(SECOND), Ok(()));
    env.pool().flush()?;
    Ok(())
}

/// ENV-1, HND-1: time limits are virtual.
#[test]
fn limits_are_virtual_time() {
    let env = TestEnvironment::with_seed(3);
    let never = CancelToken::new();
    assert!(!never.wait_timeout(SECOND * 3_600));
    assert_eq!(env.now(), SECOND * 3_600);
    let deadline = CancelToken::with_timeout(SECOND);
    deadline.wait();
    assert_eq!((deadline.reason(), env.now()), (Some(CancelReason::DeadlineExceeded), SECOND * 3_601));
    let inside = env.pool().spawn(move || never.wait_timeout(SECOND));
    assert!(matches!(inside.join(), Ok(false)));
    assert_eq!(env.now(), SECOND * 3_602);
    drop(env);
    let env = TestEnvironment::builder().baton().build();
    let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
    let slow = strand.spawn(|| CancelToken::new().wait_timeout(SECOND * 2));
    assert_eq!(strand.wait_idle(SECOND), Err(WaitError::TimedOut));
    assert!(matches!(slow.join(), Ok(false)));
    assert_eq!(env.now(), SECOND * 2);
}

/// ENV-1: a wait that nothing can end fails at once, and names who waits for what.
#[test]
fn deadlock_is_named() {
    let text = panic_text(|| {
        let env = TestEnvironment::with_seed(3);
        let never = CancelToken::new();
        let inner = never.clone();
        let stuck = env.pool().task().name("stuck").spawn(move || inner.wait());
        let _ = stuck.join();
    });
    assert!(text.starts_with("deadlock"), "{text}");
    assert!(text.contains("\"stuck\"") && text.contains("waits for a token"), "{text}");
    assert!(text.contains("the test waits for a task posted at tests/env/basics.rs"), "{text}");
    assert!(text.contains("seed 3"), "{text}");
}

/// HND-4: what is an error in production is one here.
#[test]
fn joining_the_own_sequence_is_an_error() -> AnyResult {
    let env = TestEnvironment::with_seed(3);
    let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
    let own = strand.clone();
    let inside = strand.spawn(move || matches!(own.spawn(|| ()).join(), Err(JoinError::WouldDeadlock)));
    assert!(inside.join()?);
    Ok(())
}

/// HND-3: while a task waits, others go on; the contexts of both stay their own.
#[test]
fn tasks_that_wait_keep_their_context() -> AnyResult {
    let env = TestEnvironment::builder().workers(1).build();
    let strand = env.pool().create_sequenced_task_runner(TaskTraits::user_blocking());
    let pool = env.pool().clone();
    let own = strand.clone();
    let task = strand.task().name("outer").spawn(move || {
        let inner = pool.task().name("inner").spawn(|| {
            let strand = overstrand::SequencedTaskRunner::current();
            (overstrand::current::task_name(), overstrand::current::priority(), strand.is_some())
        });
        let inner = inner.join().expect("it runs");
        (inner, overstrand::current::task_name(), overstrand::current::priority(), own.is_current())
    });
    let (inner, name, priority, is_current) = task.join()?;
    assert_eq!((inner.0.as_deref(), inner.1, inner.2), (Some("inner"), Some(Priority::UserVisible), false));
    assert_eq!((name.as_deref(), priority, is_current), (Some("outer"), Some(Priority::UserBlocking), true));
    Ok(())
}

/// ENV-2: time does not move for a task that waits beyond the moment that the test advances to; plain mode says so.
#[test]
fn wait_beyond_the_horizon_asks_for_the_baton() {
    let text = panic_text(|| {
        let env = TestEnvironment::with_seed(0);
        let _waits = env.pool().spawn(|| CancelToken::new().wait_timeout(SECOND * 10));
        env.advance(SECOND);
    });
    assert!(text.contains("`.baton()`"), "{text}");
}

/// ENV-4: code that asks for the global pool gets the environment's, in its tasks too.
#[test]
fn global_pool_is_the_environments() -> AnyResult {
    let env = TestEnvironment::with_seed(7);
    let told = env.as_global(|| overstrand::global().spawn(|| overstrand::global().name().to_owned()));
    assert_eq!(told.join()?, "test");
    assert_eq!(env.pool().stats().ran, 1);
    drop(env);
    let second = TestEnvironment::builder().baton().build();
    let told = second.pool().spawn(|| overstrand::global().spawn(|| 1).join().expect("it runs"));
    assert_eq!(told.join()?, 1);
    Ok(())
}

/// The wall clock is apart from the time of delays.
#[test]
fn wall_clock_can_be_set() -> AnyResult {
    let env = TestEnvironment::with_seed(7);
    let later = env.pool().post_delayed_task(SECOND, || ())?;
    let noon = SystemTime::UNIX_EPOCH + SECOND * 43_200;
    env.set_wall(noon);
    env.suspend(SECOND * 3_600);
    assert!(later.is_pending());
    env.advance(SECOND);
    assert_eq!(env.wall(), noon + SECOND * 3_601);
    assert!(!later.is_pending());
    Ok(())
}

/// A jump is late for everything at once; the order is that of the due times all the same.
#[test]
fn jump_runs_late_tasks_in_order() -> AnyResult {
    let env = TestEnvironment::builder().workers(1).build();
    let seen = Arc::new(Mutex::new(Vec::new()));
    for seconds in [3_u32, 1, 2] {
        let seen = Arc::clone(&seen);
        env.pool().post_delayed_task(SECOND * seconds, move || seen.lock().expect("no panic").push(seconds))?;
    }
    env.jump(SECOND * 10);
    assert_eq!(*seen.lock().expect("no panic"), [1, 2, 3]);
    assert_eq!(env.now(), SECOND * 10);
    Ok(())
}

/// SHUT-3: shutdown is a state like any other.
#[test]
fn shutdown_has_virtual_deadlines() -> AnyResult {
    let env = TestEnvironment::builder().baton().build();
    let pool = env.pool();
    let never = CancelToken::new();
    let waits = never.clone();
    let traits = TaskTraits::default().block_shutdown();
    pool.post_task_with(traits, move || _ = waits.wait_timeout(SECOND * 20))?;
    env.run_until_idle();
    let report = pool.shutdown_timeout(SECOND * 5)?;
    assert_eq!((report.stragglers.len(), env.now()), (1, SECOND * 5));
    assert_eq!(report.stragglers[0].running_for, SECOND * 5);
    let report = pool.shutdown()?;
    assert_eq!((report.stragglers.len(), report.ran, env.now()), (0, 1, SECOND * 20));
    assert!(pool.post_task(|| ()).is_err());
    Ok(())
}

/// A thread has one environment at a time.
#[test]
fn second_environment_is_refused() {
    let text = panic_text(|| {
        let _first = TestEnvironment::with_seed(1);
        let _second = TestEnvironment::with_seed(2);
    });
    assert!(text.contains("has a test environment already"), "{text}");
    let _third = TestEnvironment::with_seed(3);
}
