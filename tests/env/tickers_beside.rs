//! Tickers whose ticks do not wait for one another: replaced, or side by side (SUP-16).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{TestEnvironment, TestEnvironmentBuilder};
use overstrand::{CancelToken, Overlap, Schedule, SelfCancelled, ServiceError, TaskResult, TickContext, Ticker};

use crate::AnyResult;
use crate::supervise_runs::Gauge;

const SECOND: Duration = Duration::from_secs(1);

fn world() -> TestEnvironmentBuilder {
    TestEnvironment::builder().workers(2).baton()
}

/// Takes so long, and does not hear of its token.
fn deaf(time: Duration) -> TaskResult {
    assert!(!CancelToken::new().wait_timeout(time));
    Ok(())
}

/// Takes until it is told to end.
fn waits(cx: &TickContext) -> TaskResult {
    cx.token().wait();
    Ok(())
}

/// The tick that runs is cancelled when the next one is due, which starts when it has returned. What it returns does not count.
#[test]
fn replaced_tick_is_cancelled_and_followed() {
    world().explore(0..60, |env| {
        let gauge = Gauge::default();
        let counted = gauge.clone();
        let ticker = Ticker::new(SECOND, move |cx: &TickContext| {
            counted.run(|| cx.token().wait());
            Err(format!("tick {} was disturbed", cx.tick()).into())
        });
        let ticker = ticker.overlap(Overlap::Replace).on(env.pool());
        ticker.start().expect("it starts");
        for tick in 1..5 {
            env.advance(SECOND);
            assert_eq!((gauge.runs(), gauge.live(), ticker.ticks()), (tick, 1, tick as u64));
        }
        ticker.stop(SECOND).expect("it stops");
        assert_eq!((gauge.live(), gauge.most(), ticker.is_running()), (0, 1, false));
        assert!(ticker.errors().is_empty());
        env.advance(SECOND * 3);
        assert_eq!(gauge.runs(), 4);
    });
}

/// A tick that does not hear is never beside the one that replaces it, and several that fall due meanwhile are one.
#[test]
fn deaf_tick_is_waited_for() {
    world().explore(0..60, |env| {
        let gauge = Gauge::default();
        let counted = gauge.clone();
        let slow = move |_: &TickContext| counted.run(|| deaf(SECOND * 7 / 2));
        let ticker = Ticker::new(SECOND, slow).overlap(Overlap::Replace).on(env.pool());
        ticker.start().expect("it starts");
        env.advance(SECOND * 4);
        assert_eq!(gauge.runs(), 1, "it began at 1, and does not hear at 2, 3, 4");
        env.advance(SECOND / 2);
        assert_eq!((gauge.runs(), gauge.live()), (2, 1));
        env.advance(SECOND * 3);
        assert_eq!(gauge.runs(), 2);
        assert!(matches!(ticker.stop(SECOND / 10), Err(ServiceError::TimedOut)), "it is told that it goes on");
        assert!(ticker.is_running() && matches!(ticker.start(), Ok(())), "which waits for it");
        assert_eq!((gauge.live(), gauge.most()), (0, 1));
        ticker.stop(SECOND).expect("it stops");
    });
}

/// Ticks may overlap, as many as are allowed; what is too many is left out.
#[test]
fn allowed_ticks_run_side_by_side_up_to_their_limit() {
    for (at_most, runs) in [(1, [1, 2]), (2, [2, 4]), (9, [6, 7])] {
        world().explore(0..40, |env| {
            let gauge = Gauge::default();
            let counted = gauge.clone();
            let slow = move |_: &TickContext| counted.run(|| deaf(SECOND * 11 / 2));
            let ticker = Ticker::concurrent(SECOND, slow).overlap(Overlap::Allow { at_most }).on(env.pool());
            ticker.start().expect("it starts");
            env.advance(SECOND * 6);
            assert_eq!(gauge.runs(), runs[0]);
            env.advance(SECOND * if at_most == 2 { 2 } else { 1 });
            assert_eq!(gauge.runs(), runs[1]);
            assert!(gauge.most() <= at_most);
            assert!(ticker.stop(SECOND * 9).is_ok() && gauge.live() == 0);
        });
    }
}

/// A stop cancels all ticks, and is over when the last has returned; a start during that waits, too, and begins anew.
#[test]
fn stop_waits_for_all_ticks() {
    world().explore(0..60, |env| {
        let gauge = Gauge::default();
        let counted = gauge.clone();
        let ticker = Ticker::concurrent(SECOND, move |cx: &TickContext| {
            counted.run(|| {
                cx.token().wait();
                deaf(SECOND / 5 * cx.tick() as u32)
            })
        });
        let ticker = ticker.overlap(Overlap::Allow { at_most: 4 }).on(env.pool());
        ticker.start().expect("it starts");
        env.advance(SECOND * 3);
        assert_eq!((gauge.live(), ticker.is_running()), (3, true));
        ticker.start().expect("it starts anew");
        assert_eq!((gauge.live(), ticker.ticks(), ticker.is_running()), (0, 0, true));
        env.advance(SECOND * 2);
        assert_eq!((gauge.live(), ticker.ticks()), (2, 2));
        ticker.stop(SECOND).expect("it stops");
        assert_eq!((gauge.live(), ticker.is_running()), (0, false));
    });
}

/// Ticks are code of the ticker: they cannot wait for its end, keep their errors and panics, and one of them may end it.
#[test]
fn tick_beside_others_is_code_of_the_ticker() {
    world().explore(0..40, |env| {
        let own: Arc<Mutex<Option<Ticker>>> = Arc::default();
        let inside = Arc::clone(&own);
        let ticker = Ticker::concurrent(SECOND, move |cx: &TickContext| {
            let ticker = inside.lock().expect("no panic").clone().expect("it was put there");
            assert!(matches!(ticker.stop(SECOND), Err(ServiceError::WouldDeadlock)));
            match cx.tick() {
                1 => Err("the disk is full".into()),
                2 => panic!("no disk"),
                3 => waits(cx),
                _ => Err(SelfCancelled.into()),
            }
        });
        let ticker = ticker.overlap(Overlap::Allow { at_most: 2 }).on(env.pool());
        *own.lock().expect("no panic") = Some(ticker.clone());
        ticker.start().expect("it starts");
        env.advance(SECOND * 3);
        let errors: Vec<_> = ticker.errors().iter().map(|error| error.error.to_string()).collect();
        assert_eq!(errors, ["the disk is full", "the run panicked: no disk"]);
        assert!(ticker.is_running());
        env.advance(SECOND);
        assert_eq!((ticker.ticks(), ticker.is_running()), (4, false), "the third was told to end");
        own.lock().expect("no panic").take();
    });
}

/// A tick changes the interval while it runs; one that is over does not.
#[test]
fn tick_beside_others_changes_the_interval() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let kept: Arc<Mutex<Option<TickContext>>> = Arc::default();
    let keeps = Arc::clone(&kept);
    let ticker = Ticker::new(SECOND, move |cx: &TickContext| {
        if cx.tick() == 1 {
            cx.set_interval(SECOND * 10)?;
        }
        *keeps.lock().expect("no panic") = Some(cx.clone());
        Ok(())
    });
    let ticker = ticker.overlap(Overlap::Replace).on(env.pool());
    ticker.start()?;
    env.advance(SECOND);
    kept.lock().expect("no panic").take().expect("it ticked").set_interval(SECOND)?;
    env.advance(SECOND * 10 - Duration::from_nanos(1));
    assert_eq!(ticker.ticks(), 1);
    env.advance(SECOND * 10);
    assert_eq!(ticker.ticks(), 2);
    ticker.stop(SECOND)?;
    assert!(!ticker.is_running(), "though a context is kept");
    ticker.start()?;
    env.advance(SECOND);
    assert_eq!(ticker.ticks(), 1, "a start begins with the first interval");
    ticker.stop(SECOND)?;
    Ok(())
}

/// At a fixed number of steps per seed nobody waits for the end of a pool in which ticks run side by side.
#[test]
fn pool_ends_with_ticks_under_way() {
    world().explore(0..40, |env| {
        let gauge = Gauge::default();
        let counted = gauge.clone();
        let ticker = Ticker::concurrent(SECOND, move |cx: &TickContext| counted.run(|| waits(cx)));
        let ticker = ticker.overlap(Overlap::Allow { at_most: 3 }).on(env.pool());
        ticker.start().expect("it starts");
        env.advance(SECOND * 2);
        assert_eq!(gauge.live(), 2);
        env.pool().shutdown().expect("outside of tasks");
        assert_eq!((gauge.live(), ticker.is_running()), (0, false));
        assert!(matches!(ticker.start(), Err(ServiceError::ShutDown)));
    });
}

/// What cannot overlap is refused at the start.
#[test]
fn function_that_cannot_be_shared_is_refused() {
    let env = TestEnvironment::with_seed(2);
    let allow = |at_most| Overlap::Allow { at_most };
    let alone = Ticker::new(SECOND, |_| Ok(())).overlap(allow(2)).on(env.pool());
    let none = Ticker::concurrent(SECOND, |_| Ok(())).overlap(allow(0)).on(env.pool());
    for ticker in [alone, none] {
        let Err(ServiceError::Invalid(error)) = ticker.start() else { panic!("it makes no sense") };
        assert_eq!(error.field(), "overlap");
        assert!(!ticker.is_running());
    }
    let shared = Ticker::concurrent(SECOND, |_| Ok(())).on(env.pool());
    shared.start().expect("it may be called one after the other, too");
    env.advance(SECOND * 2);
    assert_eq!(shared.ticks(), 2);
    shared.stop(SECOND).expect("it stops");
}

/// Several schedules in one ticker, each with its own first tick; those that fall together are one.
#[test]
fn ticker_follows_several_schedules() -> AnyResult {
    for overlap in [Overlap::Skip, Overlap::Replace] {
        let env = TestEnvironment::with_seed(3);
        let late = Schedule::every(SECOND * 5).initial_delay(SECOND * 2);
        let several = Schedule::any([Schedule::every(SECOND * 3), late]);
        let ticker = Ticker::new(
            several,
            |cx: &TickContext| {
                if cx.tick() == 5 { Ok(cx.set_interval(SECOND * 7)?) } else { Ok(()) }
            },
        );
        let ticker = ticker.overlap(overlap).on(env.pool());
        for _ in 0..2 {
            ticker.start()?;
            let began = env.now();
            let mut ticks = Vec::new();
            while ticks.len() < 7 {
                env.advance(SECOND);
                ticks.extend((ticks.len() as u64..ticker.ticks()).map(|_| (env.now() - began).as_secs()));
            }
            assert_eq!(ticks, [2, 3, 6, 7, 9, 16, 23]);
        }
        ticker.stop(SECOND)?;
    }
    Ok(())
}

/// Each tick comes late by chance, the rhythm stays, and the same seed says the same.
#[test]
fn jitter_spreads_ticks_and_is_the_seeds() -> AnyResult {
    let ticks = |seed| -> AnyResult<Vec<Duration>> {
        let env = TestEnvironment::with_seed(seed);
        let ticker = Ticker::new(SECOND * 10, |_| Ok(())).offset(SECOND).jitter(SECOND * 2).on(env.pool());
        ticker.start()?;
        let mut ticks = Vec::new();
        while ticks.len() < 50 {
            env.advance(env.next_delay().expect("there is a next tick"));
            ticks.extend((ticks.len() as u64..ticker.ticks()).map(|_| env.now()));
        }
        ticker.stop(SECOND)?;
        Ok(ticks)
    };
    let first = ticks(7)?;
    let late: Vec<_> = (1..).zip(&first).map(|(number, tick)| *tick - SECOND * 10 * number - SECOND).collect();
    assert!(late.iter().all(|late| *late < SECOND * 2), "{late:?}");
    let (low, high) = (late.iter().min(), late.iter().max());
    assert!(low < Some(&(SECOND / 4)) && high > Some(&(SECOND * 7 / 4)), "{low:?} to {high:?}");
    assert!(first == ticks(7)? && first != ticks(8)?);
    Ok(())
}
