//! Tasks that repeat, in virtual time (DLY-6).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use overstrand::testing::{Faults, TestEnvironment};
use overstrand::{
    CancelToken, Close, JoinError, MissedTicks, Overflow, RejectReason, RepeatingTaskHandle, Schedule,
    SequencedTaskRunner, TaskHandle, TaskTraits, ThreadMode,
};

use crate::AnyResult;

const SECOND: Duration = Duration::from_secs(1);

/// A day of minutes: each tick at its instant, none more.
#[test]
fn ticker_ticks_at_its_rate() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let strand = env.pool().create_sequenced_task_runner(TaskTraits::best_effort());
    let beat = strand.post_repeating_task(SECOND * 60, || ())?;
    env.advance(SECOND * 60 - Duration::from_nanos(1));
    assert_eq!(beat.runs(), 0);
    env.advance(Duration::from_nanos(1));
    assert_eq!(beat.runs(), 1);
    env.advance(SECOND * 60 * 60 * 24 - SECOND * 60);
    assert_eq!((beat.runs(), beat.panics(), beat.is_stopped()), (24 * 60, 0, false));
    beat.stop();
    env.run_until_no_tasks();
    assert_eq!((beat.runs(), beat.is_stopped(), env.next_delay()), (24 * 60, true, None));
    Ok(())
}

/// A body that takes 25 ms of a rate of 10 ms: when it runs, by the policy for missed ticks.
#[test]
fn missed_ticks_follow_their_policy() -> AnyResult {
    let starts = |schedule: Schedule| -> AnyResult<Vec<u128>> {
        let env = TestEnvironment::builder().baton().build();
        let begun = Arc::new(Mutex::new(Vec::new()));
        let (noted, clock) = (Arc::clone(&begun), env.pool().clone());
        let never = CancelToken::new();
        let mut is_first = true;
        let body = move || {
            noted.lock().expect("no panic").push(clock.stats().ran);
            if std::mem::take(&mut is_first) {
                assert!(!never.wait_timeout(Duration::from_millis(25)));
            }
        };
        let ticker = env.pool().post_repeating_task(schedule, body)?;
        let mut at = Vec::new();
        for millis in 1..=60 {
            let before = begun.lock().expect("no panic").len();
            env.advance(Duration::from_millis(1));
            let after = begun.lock().expect("no panic").len();
            at.extend((before..after).map(|_| millis));
        }
        ticker.stop();
        Ok(at)
    };
    let every = Schedule::every(Duration::from_millis(10));
    assert_eq!(starts(every.clone())?, [10, 40, 50, 60]);
    assert_eq!(starts(every.clone().missed(MissedTicks::Delay))?, [10, 45, 55]);
    assert_eq!(starts(every.clone().missed(MissedTicks::Burst(5)))?, [10, 35, 35, 40, 50, 60]);
    assert_eq!(starts(every.clone().missed(MissedTicks::Burst(1)))?, [10, 35, 40, 50, 60]);
    assert_eq!(starts(Schedule::fixed_delay(Duration::from_millis(10)))?, [10, 45, 55]);
    assert_eq!(starts(every.initial_delay(Duration::from_millis(3)))?[0], 3);
    Ok(())
}

/// A panic is reported and counted, and the task goes on.
#[test]
fn panic_does_not_end_the_series() -> AnyResult {
    let env = TestEnvironment::builder().allow_panics().build();
    let mut ticks = 0;
    let body = move || {
        ticks += 1;
        assert!(ticks % 2 == 0, "odd ticks panic");
    };
    let ticker = env.pool().post_repeating_task(SECOND, body)?;
    env.advance(SECOND * 10);
    assert_eq!((ticker.runs(), ticker.panics(), env.pool().stats().panicked), (10, 5, 5));
    Ok(())
}

/// Stopping drops the body at once, from outside; from inside when its tick is over; and twice is once.
#[test]
fn stopped_body_is_dropped() -> AnyResult {
    TestEnvironment::explore(0..50, |env| {
        let owned = Arc::new(());
        let kept = Arc::clone(&owned);
        let ticker = env.pool().post_repeating_task(SECOND, move || drop(Arc::clone(&kept))).expect("open");
        env.advance(SECOND * 3);
        ticker.stop();
        assert_eq!(Arc::strong_count(&owned), 1, "dropped by the stop");
        ticker.stop();
        env.advance(SECOND * 3);
        assert_eq!((ticker.runs(), env.next_delay()), (3, None));

        let handle: Arc<Mutex<Option<RepeatingTaskHandle>>> = Arc::default();
        let (own, kept) = (Arc::clone(&handle), Arc::clone(&owned));
        let body = move || {
            let _kept = &kept;
            own.lock().expect("no panic").take().expect("the first tick").stop();
        };
        let ticker = env.pool().post_repeating_task(SECOND, body).expect("open");
        *handle.lock().expect("no panic") = Some(ticker.clone());
        env.advance(SECOND * 3);
        assert_eq!((ticker.runs(), ticker.is_stopped(), Arc::strong_count(&owned)), (1, true, 1));
    });
    Ok(())
}

/// A token ends it, whenever it comes; and one that is signalled already refuses it, with the body.
#[test]
fn token_ends_the_series() -> AnyResult {
    TestEnvironment::builder().faults(Faults::none()).explore(0..50, |env| {
        let (token, owned) = (CancelToken::new(), Arc::new(()));
        let kept = Arc::clone(&owned);
        let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
        let beat = strand.task().name("beat").cancel_with(&token).repeat(SECOND, move || drop(Arc::clone(&kept)));
        let beat = beat.expect("open");
        env.advance(SECOND * 2);
        token.cancel();
        env.advance(SECOND * 2);
        assert_eq!((beat.runs(), beat.is_stopped(), Arc::strong_count(&owned)), (2, true, 1));
        let refused = strand.task().cancel_with(&token).repeat(SECOND, || ());
        assert_eq!(refused.map(|_| ()).map_err(|rejected| rejected.reason()), Err(RejectReason::Cancelled));
    });
    Ok(())
}

/// DLY-5: it never keeps the shutdown waiting, and is dropped with it.
#[test]
fn shutdown_ends_the_series() -> AnyResult {
    for is_baton in [false, true] {
        let builder = TestEnvironment::builder();
        let env = if is_baton { builder.baton().build() } else { builder.build() };
        let (tell, told) = mpsc::channel::<()>();
        let ticker = env.pool().post_repeating_task(SECOND, move || _ = tell.send(()))?;
        env.advance(SECOND);
        env.pool().shutdown()?;
        assert_eq!((told.try_recv(), told.try_recv()), (Ok(()), Err(mpsc::TryRecvError::Disconnected)));
        assert!(ticker.is_stopped());
        let refused = env.pool().post_repeating_task(SECOND, || ());
        assert!(refused.is_err());
    }
    Ok(())
}

/// It never overlaps itself, though the pool runs its tasks anywhere.
#[test]
fn ticks_do_not_overlap() -> AnyResult {
    TestEnvironment::builder().workers(3).baton().explore(0..30, |env| {
        let inside = Arc::new(AtomicUsize::new(0));
        let never = CancelToken::new();
        let body = move || {
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            assert!(!never.wait_timeout(SECOND * 3));
            inside.fetch_sub(1, Ordering::SeqCst);
        };
        let schedule = Schedule::every(SECOND).missed(MissedTicks::Burst(2));
        let ticker = env.pool().post_repeating_task(schedule, body).expect("open");
        env.advance(SECOND * 20);
        assert_eq!((ticker.runs(), ticker.panics()), (6, 0));
        ticker.stop();
        env.run_until_no_tasks();
    });
    Ok(())
}

/// DLY-2 and the builder: a delayed task, and one with a handle, that a token cancels.
#[test]
fn token_cancels_what_has_not_started() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let token = CancelToken::new();
    let owned = Arc::new(());
    let (first, second, third) = (Arc::clone(&owned), Arc::clone(&owned), Arc::clone(&owned));
    let pool = env.pool();
    let delayed = pool.task().delay(SECOND).precise().cancel_with(&token).post_delayed(move || drop(first))?;
    let spawned = pool.task().cancel_with(&token).spawn(move || drop(second));
    pool.task().cancel_with(&token).post(move || drop(third))?;
    token.cancel();
    assert_eq!(Arc::strong_count(&owned), 1, "all three closures are gone at once");
    assert!(!delayed.is_pending() && spawned.join().is_err());
    let refused = pool.task().cancel_with(&token).post(|| ()).map_err(|rejected| rejected.reason());
    assert_eq!(refused, Err(RejectReason::Cancelled));
    let running = CancelToken::new();
    let seen = pool.task().cancel_with(&running).spawn(|| {
        let own = overstrand::current::cancel_token();
        own.wait();
        own.is_cancelled()
    });
    pool.post_delayed_task(SECOND, move || running.cancel())?;
    assert!(seen.join()?);
    Ok(())
}

/// DLY-2: a token takes a delayed task out of the wheel as its handle does: nothing is armed, counted or woken for any more.
#[test]
fn token_takes_the_timer_out_at_once() {
    TestEnvironment::explore(0..50, |env| {
        let pool = env.pool();
        let strand = pool.create_sequenced_task_runner(TaskTraits::default());
        let limited = pool.create_parallel_task_runner(TaskTraits::default(), 1).expect("valid");
        let (token, owned) = (CancelToken::new(), Arc::new(()));
        let held = || {
            let kept = Arc::clone(&owned);
            move || drop(kept)
        };
        pool.task().delay(SECOND).cancel_with(&token).post(held()).expect("open");
        strand.task().delay(SECOND).cancel_with(&token).post(held()).expect("open");
        limited.task().delay(SECOND).cancel_with(&token).post(held()).expect("open");
        let kept = strand.task().delay(SECOND * 2).cancel_with(&token).post_delayed(held()).expect("open");
        assert_eq!((pool.stats().delayed, strand.stats().delayed, limited.stats().delayed), (4, 2, 1));
        token.cancel();
        assert_eq!((pool.stats().delayed, strand.stats().delayed, limited.stats().delayed), (0, 0, 0));
        assert_eq!((pool.stats().dropped, strand.stats().dropped, limited.stats().dropped), (4, 2, 1));
        assert_eq!((env.next_delay(), Arc::strong_count(&owned), kept.cancel()), (None, 1, false));
        env.run_until_no_tasks();
        assert_eq!((env.now(), pool.stats().ran), (Duration::ZERO, 0));
    });
}

/// A spawned task honours its delay; cancelled before, by its handle or a token, it leaves nothing behind; refused, its handle says so.
#[test]
fn spawned_task_waits_for_its_time() {
    TestEnvironment::explore(0..50, |env| {
        let pool = env.pool();
        let strand = pool.create_sequenced_task_runner(TaskTraits::default());
        let thread = pool.create_single_thread_task_runner(TaskTraits::default(), ThreadMode::Dedicated);
        let (thread, token, owned) = (thread.expect("a thread"), CancelToken::new(), Arc::new(()));
        let held = || {
            let kept = Arc::clone(&owned);
            move || drop(kept)
        };
        let mut later = strand.task().delay(SECOND).spawn(|| 7);
        env.advance(SECOND - Duration::from_nanos(1));
        assert!(later.try_join().is_none());
        env.advance(Duration::from_nanos(1));
        assert!(matches!(later.try_join(), Some(Ok(7))));

        let cancelled = [
            pool.task().delay(SECOND).spawn(held()),
            strand.task().delay(SECOND).spawn(held()),
            thread.task().delay(SECOND).spawn(held()),
        ];
        assert!(cancelled.iter().all(TaskHandle::cancel));
        let bound = strand.task().delay(SECOND).cancel_with(&token).spawn(held());
        token.cancel();
        let dropped = thread.task().delay(SECOND).spawn(held()).cancel_on_drop();
        drop(dropped);
        assert_eq!((env.next_delay(), pool.stats().delayed, Arc::strong_count(&owned)), (None, 0, 1));
        assert!(cancelled.into_iter().chain([bound]).all(|task| matches!(task.join(), Err(JoinError::Cancelled))));

        strand.close(Close::Drain);
        let refused = strand.task().delay(SECOND).spawn(held()).join();
        assert!(matches!(refused, Err(JoinError::Rejected(RejectReason::Closed))));
        let waiting = pool.task().delay(SECOND).spawn(held());
        pool.shutdown().expect("outside of tasks");
        assert!(matches!(waiting.join(), Err(JoinError::ShutDown)));
        let refused = pool.task().delay(SECOND).spawn(held()).join();
        assert!(matches!(refused, Err(JoinError::Rejected(RejectReason::ShutDown))));
        assert_eq!((Arc::strong_count(&owned), pool.stats().rejected), (1, 2));
    });
}

/// DLY-6: a panic or an error ends the series if that was said; else it is counted, and the last error kept.
#[test]
fn failures_end_the_series_if_said() -> AnyResult {
    let env = TestEnvironment::builder().allow_panics().build();
    let limited = env.pool().create_parallel_task_runner(TaskTraits::default(), 1)?;
    let owned = Arc::new(());
    let (kept, mut ticks) = (Arc::clone(&owned), 0);
    let fails = move || {
        let _kept = &kept;
        ticks += 1;
        if ticks % 2 == 0 { Err(format!("tick {ticks}").into()) } else { Ok(()) }
    };
    let panics = || panic!("each time");
    let goes_on = env.pool().task().end_on_panic().try_repeat(SECOND, fails.clone())?;
    let ends = env.pool().task().end_on_error().try_repeat(SECOND, fails)?;
    let panicking = limited.task().end_on_panic().repeat(SECOND, panics)?;
    let bold = limited.post_repeating_task(SECOND, panics)?;
    env.advance(SECOND * 5);
    assert_eq!((goes_on.runs(), goes_on.errors(), goes_on.panics(), goes_on.is_stopped()), (5, 2, 0, false));
    assert_eq!(goes_on.last_error().map(|error| error.to_string()).as_deref(), Some("tick 4"));
    assert_eq!((ends.runs(), ends.errors(), ends.is_stopped()), (2, 1, true));
    assert_eq!((panicking.runs(), panicking.panics(), panicking.is_stopped()), (1, 1, true));
    assert_eq!((bold.runs(), bold.panics(), bold.errors(), bold.is_stopped()), (5, 5, 0, false));
    assert_eq!((Arc::strong_count(&owned), env.pool().stats().delayed), (2, 2), "an ended one leaves nothing behind");
    goes_on.stop();
    bold.stop();
    assert_eq!((Arc::strong_count(&owned), env.next_delay()), (1, None));
    Ok(())
}

/// The earliest of several schedules; ticks that fall together are one.
#[test]
fn schedules_are_combined() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let beat =
        env.pool().post_repeating_task(Schedule::any([Schedule::every(SECOND * 3), (SECOND * 5).into()]), || ())?;
    let at: Vec<u64> = (0..15).filter(|_| (env.advance(SECOND), beat.runs()).1 > 0).map(|_| beat.runs()).collect();
    assert_eq!(at, [1, 1, 2, 3, 3, 3, 4, 5, 5, 6, 6, 6, 7]);
    beat.stop();
    Ok(())
}

/// A tick that is late needs no room in a full queue.
#[test]
fn full_queue_refuses_no_late_tick() -> AnyResult {
    let env = TestEnvironment::builder().baton().build();
    let strand = SequencedTaskRunner::builder(env.pool()).capacity(1, Overflow::Reject).build()?;
    let (own, never) = (strand.clone(), CancelToken::new());
    let body = move || {
        assert!(!never.wait_timeout(SECOND * 2));
        let _ = own.post_task(|| ());
    };
    let late = strand.post_repeating_task(Schedule::every(SECOND).missed(MissedTicks::Burst(9)), body)?;
    env.advance(SECOND * 20);
    assert!(!late.is_stopped() && late.runs() == 9, "{late:?}");
    late.stop();
    env.run_until_no_tasks();
    Ok(())
}
