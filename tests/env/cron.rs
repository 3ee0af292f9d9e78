//! Cron schedules in virtual time, with a wall clock that is set (SUP-16).

use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use overstrand::testing::{Clock, TestEnvironment};
use overstrand::{
    MissedTicks, Overlap, RepeatingTaskHandle, Schedule, Supervisor, TaskSpec, TaskTraits, ThreadPool, TickContext,
    Ticker, Timer,
};

use crate::AnyResult;

const SECOND: Duration = Duration::from_secs(1);
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

/// At which wall times the ticks of a ticker come within a time.
fn ticks_of(env: &TestEnvironment, ticker: &Ticker, time: Duration) -> Vec<String> {
    env.run_until_idle();
    let end = env.now() + time;
    let mut ticks = Vec::new();
    while let Some(next) = env.next_delay().filter(|next| env.now() + *next <= end) {
        let before = ticker.ticks();
        env.advance(next);
        let now = Timestamp::try_from(env.wall()).expect("in range");
        ticks.extend((before..ticker.ticks()).map(|_| now.to_string()));
    }
    env.advance(end - env.now());
    ticks
}

/// Tickers follow the wall clock, one tick after the other or side by side, are restarted, and say when they come.
#[test]
fn ticker_follows_the_wall_clock() -> AnyResult {
    for overlap in [None, Some(Overlap::Replace)] {
        let env = TestEnvironment::with_seed(1);
        env.set_wall(wall("2026-03-28T12:00:00Z"));
        let nightly = cron("30 2 * * *", "Europe/Berlin");
        let foretold: Vec<_> = nightly.upcoming(env.wall()).take(3).collect();
        let mut ticker = Ticker::new(nightly, |_: &TickContext| Ok(())).on(env.pool());
        if let Some(overlap) = overlap {
            ticker = ticker.overlap(overlap);
        }
        ticker.start()?;
        let ticks = ticks_of(&env, &ticker, HOUR * 72);
        assert_eq!(ticks, ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"]);
        assert_eq!(foretold, ticks.iter().map(|tick| wall(tick)).collect::<Vec<_>>());
        // Forward over a tick, and back again: it comes once.
        env.set_wall(wall("2026-04-01T00:45:00Z"));
        assert_eq!(ticks_of(&env, &ticker, MINUTE * 2).len(), 1);
        env.set_wall(wall("2026-04-01T00:15:00Z"));
        assert!(ticks_of(&env, &ticker, HOUR).is_empty());
        ticker.restart(None)?;
        env.set_wall(wall("2026-04-01T00:15:00Z"));
        ticker.restart(None)?;
        assert_eq!(ticks_of(&env, &ticker, HOUR), ["2026-04-01T00:30:00Z"], "one that is started anew has no past");
        ticker.stop(None)?;
        assert_eq!(env.next_delay(), None, "nothing looks at the clock any more");
    }
    Ok(())
}

/// Several patterns beside a rate, an offset of all, an interval from inside, and the first tick at once.
#[test]
fn ticker_mixes_patterns_and_rates() -> AnyResult {
    let env = TestEnvironment::with_seed(2);
    env.set_wall(wall("2026-01-01T00:00:00Z"));
    let work = cron("0 9 * * MON-FRI", "Europe/Berlin");
    let rest = cron("0 11 * * SAT,SUN", "America/New_York");
    let both = Schedule::any([work, rest]).offset(SECOND);
    let ticker = Ticker::new(both, |cx: &TickContext| if cx.tick() == 5 { Ok(cx.set_interval(HOUR)?) } else { Ok(()) });
    let ticker = ticker.immediate().on(env.pool());
    ticker.start()?;
    let expected = [
        // Both are told to be there at once, which is one tick.
        "2026-01-01T00:00:01Z",
        "2026-01-01T08:00:01Z",
        "2026-01-02T08:00:01Z",
        "2026-01-03T16:00:01Z",
        "2026-01-04T16:00:01Z",
        "2026-01-04T17:00:01Z",
        "2026-01-04T18:00:01Z",
    ];
    assert_eq!(ticks_of(&env, &ticker, HOUR * 91), expected);
    ticker.stop(None)?;
    Ok(())
}

/// How many missed ticks are made up for is bounded, by the policy and for all of them.
#[test]
fn catching_up_is_bounded() -> AnyResult {
    for (missed, made_up) in [(MissedTicks::Skip, 0), (MissedTicks::Burst(3), 3), (MissedTicks::Burst(u32::MAX), 1_000)]
    {
        let env = TestEnvironment::with_seed(3);
        env.set_wall(wall("2026-01-01T00:00:30Z"));
        let schedule = cron("* * * * *", "UTC").missed(missed);
        let ticker = Ticker::new(schedule, |_: &TickContext| Ok(())).on(env.pool());
        ticker.start()?;
        env.suspend(HOUR * 48);
        env.advance(MINUTE);
        // One for the tick that was due when the machine fell asleep, and the one of this minute, which is among those that are made up for.
        let ticks = ticker.ticks();
        assert!((made_up + 1..=made_up + 2).contains(&ticks), "{missed:?}: {ticks}");
        ticker.stop(None)?;
    }
    Ok(())
}

/// Ticks of a pattern come late by chance, none is lost or doubled, also when the clock is set back while one is held.
#[test]
fn jitter_of_a_pattern_loses_nothing() -> AnyResult {
    for seed in 0..20 {
        let env = TestEnvironment::with_seed(seed);
        env.set_wall(wall("2026-01-01T00:00:30Z"));
        let schedule = cron("*/5 * * * *", "UTC").jitter(MINUTE * 4);
        let ticker = Ticker::new(schedule, |_: &TickContext| Ok(())).on(env.pool());
        ticker.start()?;
        let ticks = ticks_of(&env, &ticker, HOUR);
        let late: Vec<_> = ticks.iter().map(|tick| wall(tick)).collect();
        let instants = cron("*/5 * * * *", "UTC").upcoming(wall("2026-01-01T00:00:30Z"));
        let ends = late.len();
        assert!((11..=12).contains(&ends), "{ticks:?}");
        assert!(
            instants.zip(&late).all(|(instant, tick)| instant <= *tick && *tick < instant + MINUTE * 4),
            "{ticks:?}"
        );
        // Past the instant of a tick that may be held back still, and back to before it.
        env.advance(MINUTE * 11 + SECOND);
        env.set_wall(wall("2026-01-01T01:08:31Z"));
        env.advance(MINUTE * 10 + SECOND * 30);
        assert_eq!(ticker.ticks(), 15, "seed {seed}");
        ticker.stop(None)?;
    }
    Ok(())
}

/// A periodic task of a supervisor follows patterns; a failed tick is tried again by the backoff, and the next one comes by the pattern.
#[test]
fn periodic_task_follows_the_wall_clock() -> AnyResult {
    let env = TestEnvironment::with_seed(4);
    env.set_wall(wall("2026-01-01T00:30:00Z"));
    let supervisor = Supervisor::builder(env.pool()).build()?;
    let (tell, told) = mpsc::channel();
    let mut runs = 0;
    let task = supervisor.submit(TaskSpec::periodic("report", cron("0 * * * *", "UTC"), move |_| {
        runs += 1;
        tell.send(runs)?;
        if runs == 2 { Err("no paper".into()) } else { Ok(()) }
    }))?;
    let mut seen = Vec::new();
    let begin = env.now();
    while env.now() - begin < HOUR * 4 {
        env.advance(env.next_delay().expect("there is a next look"));
        let now = Timestamp::try_from(env.wall()).expect("in range");
        seen.extend(told.try_iter().map(|_| now.to_string()));
    }
    let hours = ["2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z", "2026-01-01T02:00:00.1Z"];
    assert_eq!(seen[..3], hours);
    assert_eq!(seen[3..], ["2026-01-01T03:00:00Z", "2026-01-01T04:00:00Z"]);
    assert!(task.restart() && task.control().cancel());
    supervisor.shutdown()?;
    Ok(())
}
