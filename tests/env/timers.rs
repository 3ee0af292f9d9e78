//! Delayed tasks that are taken back, and timers, in virtual time (DLY-1 to DLY-5, SEQ-10).

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use overstrand::testing::TestEnvironment;
use overstrand::{
    CancelToken, Close, JoinError, RejectReason, Schedule, SequencedTaskRunner, TaskTraits, ThreadMode, Timer,
};

use crate::notes::strand;

use crate::AnyResult;

const SECOND: Duration = Duration::from_secs(1);

/// SEQ-10: a discarding close takes its runner's delayed tasks out of the wheel at once, and nobody else's; what is dropped may post and close again.
#[test]
fn discarding_close_takes_delayed_tasks_out() {
    /// Uses the runner while it is dropped.
    struct Posts(overstrand::SequencedTaskRunner, Arc<AtomicUsize>);
    impl Drop for Posts {
        fn drop(&mut self) {
            let refused = self.0.post_delayed_task(SECOND, || ()).map_err(|rejected| rejected.reason());
            assert!(matches!(refused, Err(RejectReason::Closed)));
            self.0.close(Close::Discard);
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
    TestEnvironment::explore(0..10, |env| {
        let pool = env.pool();
        let strand = pool.create_sequenced_task_runner(TaskTraits::default());
        let other = pool.create_sequenced_task_runner(TaskTraits::default());
        let limited = pool.create_parallel_task_runner(TaskTraits::default(), 1).expect("valid");
        let (kept, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut handles = Vec::new();
        for seconds in 1..=1_500 {
            let (posts, counted) = (Posts(strand.clone(), Arc::clone(&dropped)), Arc::clone(&kept));
            strand.post_delayed_task(SECOND * seconds, move || drop(posts)).expect("open");
            other.post_delayed_task(SECOND * 7, move || _ = counted.fetch_add(1, Ordering::SeqCst)).expect("open");
            handles.push(limited.task().delay(SECOND * seconds).spawn(|| ()));
        }
        let beat = strand.post_repeating_task(SECOND, || ()).expect("open");
        strand.close(Close::Discard);
        limited.close(Close::Discard);
        assert_eq!((dropped.load(Ordering::SeqCst), beat.is_stopped()), (1_500, true));
        assert_eq!((strand.stats().delayed, strand.stats().dropped), (0, 1_501));
        assert_eq!((limited.stats().delayed, pool.stats().delayed, env.next_delay()), (0, 1_500, Some(SECOND * 7)));
        assert!(handles.into_iter().all(|task| matches!(task.join(), Err(JoinError::Cancelled))));
        env.run_until_no_tasks();
        assert_eq!((kept.load(Ordering::SeqCst), env.now()), (1_500, SECOND * 7));
    });
}

/// A counter and a closure that adds to it.
fn counting() -> (Arc<AtomicU64>, impl FnMut() + Send + 'static) {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    (count, move || _ = counted.fetch_add(1, Ordering::SeqCst))
}

/// Restarting replaces what is armed, on every kind of runner; the closure is kept and fires again.
#[test]
fn restarted_timer_fires_once() {
    TestEnvironment::explore(0..50, |env| {
        let pool = env.pool();
        let thread = pool.create_single_thread_task_runner(TaskTraits::default(), ThreadMode::Dedicated);
        let limited = pool.create_parallel_task_runner(TaskTraits::default(), 2).expect("valid");
        let ((first, a), (second, b), (third, c), (fourth, d)) = (counting(), counting(), counting(), counting());
        let timers = [
            Timer::new(&strand(env), a),
            Timer::new(&thread.expect("a thread"), b),
            Timer::new(pool, c),
            limited.task().name("t").timer(d),
        ];
        for _ in 0..5 {
            timers.iter().for_each(|timer| timer.start(SECOND).expect("open"));
            assert_eq!((pool.stats().delayed, env.next_delay()), (4, Some(SECOND)));
            env.advance(SECOND / 2);
        }
        let counts = || [&first, &second, &third, &fourth].map(|count| count.load(Ordering::SeqCst));
        assert!(timers.iter().all(Timer::is_running) && counts() == [0; 4]);
        env.advance(SECOND / 2);
        assert!(!timers.iter().any(Timer::is_running) && counts() == [1; 4]);
        timers.iter().for_each(|timer| timer.reset().expect("open"));
        env.advance(SECOND);
        assert_eq!(counts(), [2; 4], "with the same delay again");
        timers.iter().for_each(|timer| timer.start(Duration::ZERO).expect("open"));
        env.run_until_idle();
        assert_eq!(counts(), [3; 4]);
    });
}

/// Stopped, or dropped, it leaves nothing behind; the closure goes on its runner.
#[test]
fn stopped_timer_leaves_nothing_armed() {
    struct DroppedOn(SequencedTaskRunner, Arc<AtomicBool>);
    impl Drop for DroppedOn {
        fn drop(&mut self) {
            self.1.store(self.0.is_current(), Ordering::SeqCst);
        }
    }
    TestEnvironment::explore(0..50, |env| {
        let (strand, was_home) = (strand(env), Arc::new(AtomicBool::new(false)));
        let held = DroppedOn(strand.clone(), Arc::clone(&was_home));
        let timer = Timer::new(&strand, move || _ = &held);
        assert!(!timer.stop() && !timer.is_running() && !timer.fire_now().expect("open"));
        timer.reset().expect("never started");
        timer.start(SECOND).expect("open");
        assert!(timer.stop() && !timer.is_running() && !timer.stop());
        assert_eq!((env.next_delay(), strand.stats().delayed), (None, 0));
        timer.start_repeating(SECOND).expect("open");
        assert!(timer.fire_now().expect("open") && timer.is_running());
        env.run_until_idle();
        assert_eq!((strand.stats().ran, env.next_delay()), (1, Some(SECOND)), "besides its rhythm");
        drop(timer);
        assert_eq!((env.next_delay(), strand.stats().delayed), (None, 0));
        env.run_until_idle();
        assert!(was_home.load(Ordering::SeqCst));
    });
}

#[expect(clippy::disallowed_methods, reason = "a user's deadline is an instant of the system's clock")]
fn deadline_in(time: Duration) -> Instant {
    Instant::now() + time
}

type Slot = Mutex<Option<Arc<Timer>>>;

/// A timer whose closure does something with it; started by `begin`. Its slot, and how often it has run.
fn handled(
    env: &TestEnvironment,
    begin: impl FnOnce(&Timer),
    act: impl Fn(&Slot, Arc<Timer>) + Send + 'static,
) -> (Arc<Slot>, Arc<AtomicU64>) {
    let (slot, runs) = (Arc::new(Slot::default()), Arc::new(AtomicU64::new(0)));
    let (own, counted) = (Arc::downgrade(&slot), Arc::clone(&runs));
    let timer = Timer::new(&strand(env), move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let slot = own.upgrade().expect("the test has it");
        let timer = slot.lock().expect("no panic").clone().expect("there");
        act(&slot, timer);
    });
    begin(&timer);
    *slot.lock().expect("no panic") = Some(Arc::new(timer));
    (slot, runs)
}

/// All that can be done to a timer can be done by its own closure.
#[test]
fn closure_handles_its_own_timer() {
    type Act = fn(&Slot, Arc<Timer>);
    let repeating: [(Act, u64, bool); 7] = [
        (|_, timer| assert!(timer.is_running()), 10, true),
        (|_, timer| assert!(timer.stop()), 1, false),
        (|_, timer| timer.start(SECOND * 2).expect("open"), 5, true),
        (|_, timer| timer.start_repeating(SECOND * 3).expect("open"), 4, true),
        (|_, timer| timer.reset().expect("open"), 10, true),
        (|_, timer| assert!(timer.stop() && timer.start(SECOND * 60).is_ok()), 1, true),
        (|slot, _| drop(slot.lock().expect("no panic").take()), 1, false),
    ];
    let once: [(Act, u64, bool); 4] = [
        (|_, timer| assert!(!timer.is_running() && !timer.stop()), 1, false),
        (|_, timer| assert!(!timer.fire_now().expect("open")), 1, false),
        (|_, timer| timer.reset().expect("open"), 10, true),
        (|slot, _| drop(slot.lock().expect("no panic").take()), 1, false),
    ];
    let cases = repeating.map(|case| (true, case)).into_iter().chain(once.map(|case| (false, case)));
    for (repeats, (act, expected, goes_on)) in cases {
        TestEnvironment::explore(0..10, |env| {
            let begin = |timer: &Timer| {
                let begun = if repeats { timer.start_repeating(SECOND) } else { timer.start(SECOND) };
                begun.expect("open");
            };
            let (slot, runs) = handled(env, begin, act);
            env.advance(SECOND * 10 + SECOND / 2);
            assert_eq!(runs.load(Ordering::SeqCst), expected);
            let is_running = slot.lock().expect("no panic").as_ref().is_some_and(|timer| timer.is_running());
            assert_eq!(is_running, goes_on);
        });
    }
}

/// A firing by request is the tick that runs, or is due; else it comes besides the rhythm.
#[test]
fn firing_now_keeps_the_rhythm() {
    TestEnvironment::explore(0..20, |env| {
        let has_fired = AtomicBool::new(false);
        let act = move |_: &Slot, timer: Arc<Timer>| {
            if !has_fired.swap(true, Ordering::SeqCst) {
                assert!(timer.fire_now().expect("open"));
            }
        };
        let (slot, runs) = handled(env, |timer| timer.start_repeating(SECOND).expect("open"), act);
        env.advance(SECOND);
        assert_eq!((runs.load(Ordering::SeqCst), env.next_delay()), (2, Some(SECOND)));
        env.advance(SECOND / 2);
        let fire = || slot.lock().expect("no panic").as_ref().is_some_and(|timer| timer.fire_now().expect("open"));
        assert!(fire() && fire());
        env.run_until_idle();
        assert_eq!((runs.load(Ordering::SeqCst), env.next_delay()), (3, Some(SECOND / 2)));
    });
}

/// A closure that panics is reported, and called again.
#[test]
fn panic_leaves_the_timer_usable() -> AnyResult {
    let env = TestEnvironment::builder().allow_panics().build();
    let (count, mut body) = counting();
    let timer = Timer::new(&strand(&env), move || {
        body();
        panic!("each time");
    });
    timer.start(SECOND)?;
    env.advance(SECOND);
    timer.start_repeating(Schedule::fixed_delay(SECOND))?;
    env.advance(SECOND * 3);
    assert_eq!((count.load(Ordering::SeqCst), env.pool().stats().panicked, timer.is_running()), (4, 4, true));
    Ok(())
}

/// The wall clock may jump either way, and go on while the machine sleeps: never early by it, at most a minute late.
#[test]
fn wall_clock_timer_follows_the_wall_clock() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let (count, body) = counting();
    let timer = Timer::new(&strand(&env), body);
    let runs = || count.load(Ordering::SeqCst);
    let hour = SECOND * 3_600;
    timer.start_at_wall_clock(env.wall() + hour)?;
    env.advance(hour - SECOND);
    assert_eq!((runs(), env.next_delay(), timer.is_running()), (0, Some(SECOND), true));
    env.advance(SECOND);
    assert_eq!((runs(), env.next_delay(), timer.is_running()), (1, None, false));

    let noon = env.wall() + hour * 2;
    timer.start_at_wall_clock(noon)?;
    env.set_wall(noon - hour * 5);
    env.advance(hour * 5 - SECOND);
    assert_eq!(runs(), 1, "set back");
    env.advance(SECOND);
    assert_eq!(runs(), 2);
    timer.reset()?;
    env.run_until_idle();
    assert_eq!(runs(), 3, "it is past that");

    timer.start_at_wall_clock(env.wall() + hour)?;
    env.suspend(hour * 2);
    assert!(env.next_delay() <= Some(SECOND * 60));
    env.advance(SECOND * 60);
    assert_eq!(runs(), 4, "a sleep is noticed within a minute");
    timer.start_at_wall_clock(env.wall() + hour)?;
    assert!(timer.fire_now()?);
    env.run_until_idle();
    assert_eq!((runs(), env.next_delay()), (5, None), "whatever the clock shows");
    timer.start_at(deadline_in(hour))?;
    env.advance(hour);
    assert_eq!((runs(), timer.is_running()), (6, false));
    timer.start_at_wall_clock(env.wall() + hour)?;
    assert!(timer.stop());
    env.run_until_no_tasks();
    assert_eq!(runs(), 6);
    Ok(())
}

/// DLY-5: a timer keeps no shutdown waiting; what ends its runner stops it, and a start says so.
#[test]
fn end_of_the_runner_stops_the_timer() {
    TestEnvironment::explore(0..20, |env| {
        let owned = Arc::new(());
        let held = || {
            let kept = Arc::clone(&owned);
            move || _ = &kept
        };
        let (strand, other) = (strand(env), strand(env));
        let (closed, shut) = (Timer::new(&strand, held()), Timer::new(&other, held()));
        closed.start_repeating(SECOND).expect("open");
        shut.start(SECOND * 60).expect("open");
        env.advance(SECOND * 2);
        strand.close(Close::Discard);
        assert!(!closed.is_running() && shut.is_running());
        assert_eq!(closed.start(SECOND).map_err(|rejected| rejected.reason()), Err(RejectReason::Closed));
        assert_eq!(closed.start(Duration::ZERO).map_err(|rejected| rejected.reason()), Err(RejectReason::Closed));
        assert!(!closed.is_running());
        env.pool().shutdown().expect("outside of tasks");
        assert!(!shut.is_running());
        assert_eq!(shut.reset().map_err(|rejected| rejected.reason()), Err(RejectReason::ShutDown));
        drop((closed, shut));
        assert_eq!(Arc::strong_count(&owned), 1);
    });
}

/// Whatever threads do to it: it never runs beside itself, after a stop no older firing starts, and what is armed in the end fires once.
#[test]
fn timer_in_many_hands() {
    fn hands(env: &TestEnvironment, timer: &Arc<Timer>) {
        let (home, never) = (strand(env), CancelToken::new());
        for round in 0..6_u32 {
            let (timer, never) = (Arc::clone(timer), never.clone());
            let act = move || {
                match round % 6 {
                    0 | 3 => timer.start(SECOND).expect("open"),
                    1 => timer
                        .start_repeating(Schedule::any([SECOND.into(), Schedule::fixed_delay(SECOND / 3)]))
                        .expect("open"),
                    2 => drop(timer.stop()),
                    4 => drop(timer.fire_now()),
                    _ => timer.reset().expect("open"),
                }
                assert!(!never.wait_timeout(SECOND / 4));
            };
            if round % 2 == 0 { env.pool().post_task(act).expect("open") } else { home.post_task(act).expect("open") }
        }
    }
    TestEnvironment::builder().workers(3).baton().explore(0..150, |env| {
        let (runs, mut count) = counting();
        let (inside, never) = (AtomicBool::new(false), CancelToken::new());
        let body = move || {
            assert!(!inside.swap(true, Ordering::SeqCst), "beside itself");
            count();
            assert!(!never.wait_timeout(SECOND / 2));
            inside.store(false, Ordering::SeqCst);
        };
        let timer = Arc::new(Timer::new(env.pool(), body));
        hands(env, &timer);
        env.advance(SECOND * 3);
        timer.stop();
        env.run_until_no_tasks();
        let before = runs.load(Ordering::SeqCst);
        env.advance(SECOND * 5);
        assert_eq!((runs.load(Ordering::SeqCst), env.next_delay()), (before, None), "stopped");
        timer.start(SECOND).expect("open");
        timer.start(SECOND * 2).expect("open");
        env.advance(SECOND * 2);
        env.run_until_no_tasks();
        assert_eq!((runs.load(Ordering::SeqCst), timer.is_running()), (before + 1, false));
    });
}

/// A start that is due while the closure runs is not lost: it comes after.
#[test]
fn start_during_a_long_run_comes_after_it() {
    TestEnvironment::builder().workers(3).baton().explore(0..50, |env| {
        let (runs, mut count) = counting();
        let never = CancelToken::new();
        let body = move || {
            count();
            assert!(!never.wait_timeout(SECOND * 3));
        };
        let timer = Timer::new(env.pool(), body);
        timer.start(SECOND).expect("open");
        env.advance(SECOND);
        timer.start(SECOND).expect("open");
        env.advance(SECOND * 2);
        assert_eq!((runs.load(Ordering::SeqCst), timer.is_running()), (1, true), "held back");
        env.advance(SECOND);
        assert_eq!((runs.load(Ordering::SeqCst), timer.is_running()), (2, false));
        env.run_until_no_tasks();
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    });
}
