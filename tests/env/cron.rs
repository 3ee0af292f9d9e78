//! Cron schedules in virtual time, with a wall clock that is set (SUP-16).

use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use overstrand::testing::{Clock, TestEnvironment};
use overstrand::{RepeatingTaskHandle, Schedule, TaskTraits, ThreadPool, Timer};

use crate::AnyResult;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn wall(text: &str) -> SystemTime {
    text.parse::<Timestamp>().expect("a time").into()
}

fn cron(pattern: &str, zone: &str) -> Schedule {
    let schedule = Schedule::cron(pattern).and_then(|schedule| schedule.in_time_zone(zone));
    schedule.unwrap_or_else(|error| panic!("{error}"))
}

/// Lets time go on, and tells at which wall times there were ticks.
fn ticks(env: &TestEnvironment, ticker: &RepeatingTaskHandle, time: Duration) -> Vec<String> {
    let end = env.now() + time;
    let mut ticks = Vec::new();
    while let Some(next) = env.next_delay().filter(|next| env.now() + *next <= end) {
        let before = ticker.runs();
        env.advance(next);
        let now = Timestamp::try_from(env.wall()).expect("in range");
        ticks.extend((before..ticker.runs()).map(|_| now.to_string()));
    }
    env.advance(end - env.now());
    ticks
}

/// An environment in which it is that time, and a ticker with that schedule.
fn world(at: &str, schedule: Schedule) -> AnyResult<(TestEnvironment, RepeatingTaskHandle)> {
    let env = TestEnvironment::with_seed(1);
    env.set_wall(wall(at));
    let ticker = env.pool().post_repeating_task(schedule, || ())?;
    Ok((env, ticker))
}

/// To the nanosecond, by the wall.
#[test]
fn ticks_come_at_their_wall_time() -> AnyResult {
    let (env, ticker) = world("2026-01-01T00:02:30.25Z", cron("0 */5 * * * *", "Europe/Berlin"))?;
    env.advance(Duration::from_millis(149_750) - Duration::from_nanos(1));
    assert_eq!(ticker.runs(), 0);
    env.advance(Duration::from_nanos(1));
    assert_eq!((ticker.runs(), env.wall()), (1, wall("2026-01-01T00:05:00Z")));
    env.advance(HOUR * 24);
    assert_eq!(ticker.runs(), 1 + 24 * 12);
    Ok(())
}

/// The ticks in a world of their own.
fn ticks_from(at: &str, schedule: Schedule, time: Duration) -> AnyResult<Vec<String>> {
    let (env, ticker) = world(at, schedule)?;
    Ok(ticks(&env, &ticker, time))
}

/// 02:30 does not come on that night; the tick does, at 03:00, which is 01:00 UTC.
#[test]
fn time_in_a_gap_fires_right_after_it() -> AnyResult {
    let nightly = ticks_from("2026-03-28T00:00:00Z", cron("30 2 * * *", "Europe/Berlin"), HOUR * 72)?;
    assert_eq!(nightly, ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    let often = ticks_from("2026-03-29T00:40:00Z", cron("*/10 * * * *", "Europe/Berlin"), MINUTE * 35)?;
    let expected = ["2026-03-29T00:50:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:10:00Z"];
    assert_eq!(often, expected, "six in the gap and the one after it are one");
    Ok(())
}

/// 02:30 comes twice on that night, at 00:30 and 01:30 UTC; the tick comes once.
#[test]
fn time_in_an_overlap_fires_once() -> AnyResult {
    let nightly = ticks_from("2026-10-24T12:00:00Z", cron("30 2 * * *", "Europe/Berlin"), HOUR * 48)?;
    assert_eq!(nightly, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    let half_hours = cron("0,30 * * * *", "Europe/Berlin");
    let often = ticks_from("2026-10-25T00:15:00Z", half_hours.clone(), HOUR * 5 / 2)?;
    assert_eq!(often, ["2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z", "2026-10-25T02:30:00Z"]);
    let late = ticks_from("2026-10-25T01:15:00Z", half_hours, HOUR)?;
    assert_eq!(late, ["2026-10-25T02:00:00Z"], "also if it begins in the second pass");
    Ok(())
}

/// The clock is followed within a minute when it is set forward; set back, it fires nothing twice; a rate does not care.
#[test]
fn clock_that_is_set_is_followed() -> AnyResult {
    let (env, ticker) = world("2026-01-01T00:30:00Z", cron("0 * * * *", "UTC"))?;
    let rate = env.pool().post_repeating_task(HOUR, || ())?;
    env.advance(MINUTE * 10);
    env.set_wall(wall("2026-01-01T06:59:30Z"));
    assert_eq!(ticks(&env, &ticker, MINUTE * 30), ["2026-01-01T07:00:30Z"], "for all it leapt over");
    env.set_wall(wall("2026-01-01T06:50:00Z"));
    assert_eq!(ticks(&env, &ticker, HOUR * 2), ["2026-01-01T08:00:00Z"]);
    env.suspend(HOUR * 8);
    let after = ticks(&env, &ticker, MINUTE * 20);
    assert_eq!(after, ["2026-01-01T16:51:00Z", "2026-01-01T17:00:00Z"]);
    assert_eq!(rate.runs(), 3);
    Ok(())
}

/// There is a look at the clock at least each minute, and none when no such schedule is left. It is a task, and no tick.
#[test]
fn clock_is_looked_at_only_while_it_matters() -> AnyResult {
    let (env, yearly) = world("2026-01-01T12:00:00Z", cron("@yearly", "UTC"))?;
    for _ in 0..60 {
        assert_eq!(env.next_delay(), Some(MINUTE));
        env.advance(MINUTE);
    }
    assert_eq!((yearly.runs(), env.pool().stats().ran), (0, 60));
    yearly.stop();
    assert_eq!(env.next_delay(), None);
    let daily = env.pool().post_repeating_task(HOUR * 24, || ())?;
    assert_eq!(env.next_delay(), Some(HOUR * 24));
    daily.stop();
    Ok(())
}

/// Several schedules in one series; a delay of the builder is that of the first tick.
#[test]
fn schedules_combine() -> AnyResult {
    let any = Schedule::any([cron("0 8 * * MON-FRI", "UTC"), cron("0 10 * * *", "UTC"), Schedule::every(HOUR * 24)]);
    let (env, ticker) = world("2026-01-02T12:00:00Z", any)?;
    let expected = [
        "2026-01-03T10:00:00Z",
        "2026-01-03T12:00:00Z",
        "2026-01-04T10:00:00Z",
        "2026-01-04T12:00:00Z",
        "2026-01-05T08:00:00Z",
    ];
    assert_eq!(ticks(&env, &ticker, HOUR * 69), expected);
    ticker.stop();
    let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
    let soon = strand.task().delay(MINUTE * 90).repeat(cron("0 10 * * *", "UTC"), || ())?;
    assert_eq!(ticks(&env, &soon, HOUR * 2), ["2026-01-05T10:30:00Z"]);
    Ok(())
}

/// A timer follows the wall clock too; called by request it keeps to its schedule.
#[test]
fn timer_goes_by_a_cron_schedule() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    env.set_wall(wall("2026-01-01T00:30:00Z"));
    let (tell, told) = mpsc::channel();
    let timer = Timer::new(env.pool(), move || _ = tell.send(()));
    let calls = || told.try_iter().count();
    timer.start_repeating(cron("0 * * * *", "UTC"))?;
    env.advance(MINUTE * 30 - Duration::from_nanos(1));
    assert_eq!((calls(), timer.is_running()), (0, true));
    env.advance(Duration::from_nanos(1));
    assert_eq!(calls(), 1);
    env.set_wall(wall("2026-01-01T00:50:00Z"));
    env.advance(HOUR);
    assert_eq!(calls(), 0, "01:00 has been");
    assert!(timer.fire_now()?);
    env.run_until_idle();
    assert_eq!((calls(), env.next_delay()), (1, Some(MINUTE)));
    env.advance(MINUTE * 10);
    assert_eq!(calls(), 1, "02:00");
    timer.stop();
    assert_eq!(env.next_delay(), None);
    Ok(())
}

/// In every order of workers and timers.
#[test]
fn ticks_and_looks_are_the_same_under_every_seed() {
    TestEnvironment::builder().workers(3).explore(0..50, |env| {
        let strand = env.pool().create_sequenced_task_runner(TaskTraits::best_effort());
        let schedules = [cron("*/2 * * * *", "Asia/Kolkata"), cron("*/3 * * * *", "UTC"), Schedule::every(MINUTE)];
        let tickers = schedules.map(|schedule| strand.post_repeating_task(schedule, || ()).expect("open"));
        env.advance(MINUTE * 30);
        assert_eq!(tickers.each_ref().map(RepeatingTaskHandle::runs), [15, 10, 30]);
        tickers[0].stop();
        env.set_wall(env.wall() + HOUR);
        env.advance(MINUTE * 30);
        let runs = tickers.each_ref().map(RepeatingTaskHandle::runs);
        assert_eq!(runs, [15, 21, 60], "one late, ten in time");
    });
}

/// With threads of its own, a pool goes by the wall of the clock that it was built with.
#[test]
fn manual_clock_has_a_wall() -> AnyResult {
    let clock = Clock::manual();
    let pool = ThreadPool::builder().workers(1).clock(&clock).build()?;
    let (tell, told) = mpsc::channel();
    let ticker = pool.post_repeating_task(cron("0 1 * * *", "Europe/Berlin"), move || _ = tell.send(()))?;
    clock.advance(HOUR * 24);
    told.recv()?;
    assert!(!ticker.is_stopped());
    Ok(())
}
