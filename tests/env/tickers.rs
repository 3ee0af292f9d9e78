//! Tickers: when ticks come, what goes wrong in them, how they are stopped (SUP-16).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{CancelToken, MissedTicks, Overlap, Schedule, SelfCancelled, ServiceError, TickContext, Ticker};

use crate::AnyResult;
use crate::supervise_runs::Gauge;

const SECOND: Duration = Duration::from_secs(1);

/// A ticker that counts, in an environment.
fn counting(env: &TestEnvironment, schedule: impl Into<Schedule>) -> (Ticker, Gauge) {
    let gauge = Gauge::default();
    let counted = gauge.clone();
    (Ticker::new(schedule, move |_| counted.run(|| Ok(()))).on(env.pool()), gauge)
}

/// The default interval is 30 s, and the first tick comes after one interval, or at once.
#[test]
fn first_tick_comes_after_one_interval_unless_immediate() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let (ticker, gauge) = counting(&env, Schedule::default());
    ticker.start()?;
    assert!(ticker.is_running());
    env.advance(SECOND * 30 - Duration::from_nanos(1));
    assert_eq!((gauge.runs(), ticker.ticks()), (0, 0));
    env.advance(SECOND);
    assert_eq!((gauge.runs(), ticker.ticks()), (1, 1));
    env.advance(SECOND * 60);
    assert_eq!((gauge.runs(), ticker.uptime()), (3, Some(SECOND * 91 - Duration::from_nanos(1))));
    ticker.stop(SECOND)?;
    env.advance(SECOND * 60);
    assert_eq!((gauge.runs(), ticker.is_running()), (3, false));

    let (ticker, gauge) = counting(&env, SECOND * 10);
    let ticker = ticker.immediate().offset(SECOND);
    ticker.start()?;
    env.run_until_idle();
    assert_eq!(gauge.runs(), 0);
    env.advance(SECOND);
    assert_eq!(gauge.runs(), 1);
    env.advance(SECOND * 10);
    assert_eq!(gauge.runs(), 2);
    ticker.stop(SECOND)?;
    Ok(())
}

/// Less than a millisecond is refused at the start, and from inside.
#[test]
fn interval_below_a_millisecond_is_refused() -> AnyResult {
    let env = TestEnvironment::with_seed(2);
    for interval in [Duration::ZERO, Duration::from_micros(999)] {
        let (ticker, _) = counting(&env, interval);
        let Err(ServiceError::Invalid(error)) = ticker.start() else { panic!("it is too short") };
        assert_eq!(error.field(), "interval");
        assert!(matches!(ticker.restart(None), Err(ServiceError::Invalid(_))) && !ticker.is_running());
    }
    let (several, _) = counting(&env, Schedule::any([Schedule::every(SECOND), Schedule::every(SECOND / 10_000)]));
    assert!(matches!(several.start(), Err(ServiceError::Invalid(error)) if error.field() == "interval"));
    let ticker = Ticker::new(Duration::from_millis(1), |cx| Ok(cx.set_interval(Duration::from_micros(999))?));
    let ticker = ticker.on(env.pool());
    ticker.start()?;
    env.advance(Duration::from_millis(2));
    assert_eq!((ticker.ticks(), ticker.errors().len()), (2, 2));
    ticker.stop(SECOND)?;
    Ok(())
}

/// A tick says when the next one comes; a start begins with the first interval and tick again.
#[test]
fn interval_is_changed_from_inside() -> AnyResult {
    let env = TestEnvironment::with_seed(3);
    let ticker = Ticker::new(SECOND * 30, |cx: &TickContext| {
        let healthy = cx.tick() % 2 == 0;
        cx.set_interval(SECOND * if healthy { 30 } else { 5 })?;
        if healthy { Ok(()) } else { Err("the disk is full".into()) }
    });
    let ticker = ticker.immediate().on(env.pool());
    for _ in 0..2 {
        ticker.start()?;
        env.run_until_idle();
        assert_eq!((ticker.ticks(), ticker.errors().len()), (1, 1));
        env.advance(SECOND * 5);
        assert_eq!(ticker.ticks(), 2);
        env.advance(SECOND * 29);
        assert_eq!(ticker.ticks(), 2);
        env.advance(SECOND);
        assert_eq!((ticker.ticks(), ticker.errors().len()), (3, 2));
    }
    ticker.stop(SECOND)?;
    Ok(())
}

/// Errors and panics are kept, the latest 16, and do not stop it; a tick may end it.
#[test]
fn errors_and_panics_do_not_stop_it() -> AnyResult {
    let env = TestEnvironment::with_seed(4);
    let ticker = Ticker::new(SECOND, |cx: &TickContext| match cx.tick() {
        40 => Err(SelfCancelled.into()),
        tick if tick % 2 == 0 => panic!("tick {tick}"),
        tick => Err(format!("tick {tick}").into()),
    });
    let ticker = ticker.on(env.pool());
    ticker.start()?;
    env.advance(SECOND * 20);
    assert_eq!((ticker.ticks(), ticker.errors().len(), ticker.is_running()), (20, 16, true));
    let texts: Vec<_> = ticker.errors().iter().map(|error| error.error.to_string()).collect();
    assert_eq!((texts[0].as_str(), texts[15].as_str()), ("tick 5", "the run panicked: tick 20"));
    env.advance(SECOND * 30);
    assert_eq!((ticker.ticks(), ticker.is_running()), (40, false));
    Ok(())
}

/// It never overlaps itself: ticks that fall due meanwhile are left out, or made up for.
#[test]
fn ticks_never_overlap() {
    for (overlap, ticks) in [(Overlap::Skip, 4), (Overlap::Queue, 4)] {
        TestEnvironment::builder().workers(2).baton().explore(0..30, |env| {
            let gauge = Gauge::default();
            let counted = gauge.clone();
            let slow = move |cx: &TickContext| {
                // The first tick takes three and a half intervals.
                counted.run(|| if cx.tick() == 1 { cx.sleep(SECOND * 7 / 2) } else { true });
                Ok(())
            };
            let ticker = Ticker::new(SECOND, slow).overlap(overlap).on(env.pool());
            ticker.start().expect("it starts");
            env.advance(SECOND * 4);
            assert_eq!(gauge.runs(), 1);
            env.advance(SECOND / 2);
            assert_eq!(gauge.runs(), if overlap == Overlap::Skip { 1 } else { ticks });
            env.advance(SECOND * 2);
            assert_eq!(gauge.most(), 1);
            ticker.stop(SECOND).expect("it stops");
        });
    }
}

/// From inside a tick a stop is an error, never a hang; from outside it cancels the tick, and none comes after.
#[test]
fn stop_cancels_the_tick_and_is_refused_inside() {
    TestEnvironment::builder().workers(2).baton().explore(0..40, |env| {
        let own: Arc<Mutex<Option<Ticker>>> = Arc::default();
        let (inside, gauge) = (Arc::clone(&own), Gauge::default());
        let counted = gauge.clone();
        let ticker = Ticker::new(SECOND, move |cx| {
            let ticker = inside.lock().expect("no panic").clone().expect("it was put there");
            assert!(matches!(ticker.stop(SECOND), Err(ServiceError::WouldDeadlock)));
            counted.run(|| cx.token().wait());
            Ok(())
        });
        let ticker = ticker.immediate().on(env.pool());
        *own.lock().expect("no panic") = Some(ticker.clone());
        ticker.start().expect("it starts");
        ticker.wait_started(SECOND).expect("it ticks");
        ticker.stop(SECOND).expect("it stops");
        assert_eq!((gauge.live(), ticker.is_running(), ticker.errors().len()), (0, false, 0));
        own.lock().expect("no panic").take();
    });
}

/// A start while it runs begins anew, with nothing left of the life before; a stop of what is stopped is fine; a token ends it.
#[test]
fn each_start_begins_anew() -> AnyResult {
    let env = TestEnvironment::with_seed(6);
    let (ticker, gauge) = counting(&env, SECOND * 10);
    ticker.stop(None)?;
    ticker.start()?;
    env.advance(SECOND * 9);
    ticker.start()?;
    assert_eq!((ticker.uptime(), ticker.ticks()), (Some(Duration::ZERO), 0));
    env.advance(SECOND * 9);
    assert_eq!(gauge.runs(), 0, "the tick of the first life does not come");
    env.advance(SECOND);
    assert_eq!((gauge.runs(), ticker.ticks(), ticker.uptime()), (1, 1, Some(SECOND * 10)));
    let token = CancelToken::new();
    ticker.start_with(&token)?;
    env.advance(SECOND * 10);
    token.cancel();
    env.run_until_idle();
    assert_eq!((ticker.ticks(), ticker.is_running(), ticker.uptime()), (1, false, None));
    assert!(matches!(ticker.start_with(&token), Err(ServiceError::Cancelled)) && !ticker.is_running());
    env.advance(SECOND * 100);
    assert_eq!(gauge.runs(), 2);
    ticker.stop(None)?;
    Ok(())
}

/// Of ticks that fall due while one runs no more than 1,000 are made up for, unless the schedule says another number.
#[test]
fn queue_of_ticks_is_bounded() {
    for (missed, made_up) in [(None, 1_000), (Some(5_000), 5_000), (Some(7), 7)] {
        TestEnvironment::builder().workers(2).baton().explore(0..2, |env| {
            let slow = |cx: &TickContext| Ok(_ = cx.tick() == 1 && cx.sleep(SECOND * 9));
            let every = Schedule::every(Duration::from_millis(1));
            let ticker = match missed {
                None => Ticker::new(every, slow).overlap(Overlap::Queue),
                Some(missed) => Ticker::new(every.missed(MissedTicks::Burst(missed)), slow),
            };
            let ticker = ticker.on(env.pool());
            ticker.start().expect("it starts");
            env.advance(SECOND * 9 + Duration::from_millis(1));
            assert_eq!(ticker.ticks(), made_up + 1);
            ticker.stop(SECOND).expect("it stops");
        });
    }
}

/// A ticker costs a fixed number of tasks for each tick, and between ticks nothing, however many there are.
#[test]
fn many_tickers_cost_their_ticks_only() -> AnyResult {
    // Unoptimised, some thousands are enough to see it.
    let many = if cfg!(debug_assertions) { 3_000 } else { 100_000 };
    let hour = SECOND * 3600;
    let env = TestEnvironment::with_seed(7);
    let ticks = Arc::new(AtomicUsize::new(0));
    let tickers: Vec<_> = (0..many)
        .map(|number| {
            let counted = Arc::clone(&ticks);
            let tick = move |_: &TickContext| Ok(_ = counted.fetch_add(1, Ordering::Relaxed));
            Ticker::new(hour, tick).offset(Duration::from_micros(number)).on(env.pool())
        })
        .collect();
    for ticker in &tickers {
        ticker.start()?;
    }
    env.run_until_idle();
    let costs = || (env.steps(), env.pool().stats().ran);
    let before = costs();
    env.advance(hour - SECOND);
    assert_eq!(costs(), before, "no tick, no step");
    for hours in 1..=2 {
        env.advance(hour);
        assert_eq!(ticks.load(Ordering::Relaxed) as u64, many * hours);
    }
    let (steps, tasks) = costs();
    println!("{} steps, {} tasks for {} ticks", steps - before.0, tasks - before.1, 2 * many);
    // The timer of the ticker, and the tick.
    assert_eq!(tasks - before.1, 2 * 2 * many);
    assert!(steps - before.0 <= 2 * 8 * many, "{}", steps - before.0);
    for ticker in &tickers {
        ticker.stop(None)?;
    }
    assert_eq!(env.next_delay(), None);
    Ok(())
}
