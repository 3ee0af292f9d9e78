//! Courses without a wall clock: what is combined, and what is said of the whole.

use std::time::Duration;

use crate::time::{Clock, Course, ManualClock, MissedTicks, Moment, Schedule};

const SECOND: Duration = Duration::from_secs(1);

/// When the ticks begin, in seconds from the beginning, if each takes so long.
fn ticks(schedule: &Schedule, each: Duration, until: u64) -> Vec<u64> {
    let clock = ManualClock::new(Moment::ORIGIN);
    let mut course = Course::begin(schedule, &clock.reading());
    let mut ticks = Vec::new();
    loop {
        clock.advance_to(course.next_look(&clock.reading()));
        let seconds = clock.now().as_nanos() / 1_000_000_000;
        if seconds > until {
            return ticks;
        }
        if course.is_due(&clock.reading()) {
            ticks.push(seconds);
            clock.advance_by(each);
            course.tick_is_over(&clock.reading());
        }
    }
}

#[test]
fn combined_schedules_tick_whenever_one_does() {
    let any = Schedule::any([Schedule::every(SECOND * 4), Schedule::every(SECOND * 6)]);
    assert_eq!(ticks(&any, Duration::ZERO, 24), [4, 6, 8, 12, 16, 18, 20, 24]);
    let pause = Schedule::any([Schedule::every(SECOND * 10), Schedule::fixed_delay(SECOND * 3)]);
    assert_eq!(
        ticks(&pause, SECOND, 20),
        [3, 7, 10, 11, 15, 19, 20],
        "a pause is counted from the end of its own tick"
    );
    assert_eq!(ticks(&Schedule::any([]), Duration::ZERO, 100), [0; 0]);
}

#[test]
fn ticks_that_are_due_together_are_one() {
    let every = |seconds: u32| Schedule::every(SECOND * seconds);
    let any = Schedule::any([every(4), Schedule::any([every(5), every(6)])]);
    assert_eq!(
        ticks(&any, SECOND * 3, 21),
        [4, 7, 10, 13, 16, 19],
        "5 and 6 share the tick at 7, 15 and 16 the one at 16"
    );
}

#[test]
fn what_is_said_of_the_whole_holds_for_all_of_it() {
    let every = Schedule::every(SECOND * 10);
    let soon = Schedule::any([every.clone().initial_delay(SECOND), Schedule::every(SECOND * 100)]);
    assert_eq!(ticks(&soon, Duration::ZERO, 30), [1, 11, 21]);
    assert_eq!(ticks(&soon.initial_delay(Duration::ZERO), Duration::ZERO, 30), [0, 10, 20, 30]);
    let delayed = Schedule::any([every.missed(MissedTicks::Burst(5))]);
    assert_eq!(ticks(&delayed, SECOND * 25, 100), [10, 35, 60, 85]);
    assert_eq!(ticks(&delayed.missed(MissedTicks::Delay), SECOND * 25, 100), [10, 45, 80]);
}

#[test]
fn each_part_treats_its_missed_ticks_its_own_way() {
    let every = |seconds: u32| Schedule::every(SECOND * seconds);
    let skipping = Schedule::any([every(10), every(1_000)]);
    assert_eq!(ticks(&skipping, SECOND * 25, 90), [10, 40, 70]);
    let making_up = Schedule::any([every(10).missed(MissedTicks::Burst(1)), every(1_000)]);
    assert_eq!(ticks(&making_up, SECOND * 25, 90), [10, 35, 60, 85]);
    let pausing = Schedule::any([every(100), Schedule::fixed_delay(SECOND * 10)]);
    assert_eq!(ticks(&pausing, SECOND * 25, 90), [10, 45, 80]);
}

#[test]
fn clock_at_the_end_of_time_can_be_read() {
    let clock = ManualClock::new(Moment::NEVER);
    let mut course = Course::begin(&Schedule::every(SECOND), &clock.reading());
    assert_eq!(course.next_look(&clock.reading()), Moment::NEVER);
    assert!(course.is_due(&clock.reading()));
    course.tick_is_over(&clock.reading());
}

#[test]
fn schedule_without_a_wall_clock_needs_no_look_in_between() {
    let clock = ManualClock::new(Moment::ORIGIN);
    let course = |period| Course::begin(&Schedule::every(period), &clock.reading());
    let day = SECOND * 86_400;
    assert_eq!(course(day).next_look(&clock.reading()), Moment::ORIGIN.saturating_add(day));
    assert_eq!(course(Duration::MAX).next_look(&clock.reading()), Moment::NEVER);
}

/// An offset moves all ticks and keeps pauses as they are; jitter moves each, and keeps the rhythm.
#[test]
fn ticks_are_moved_without_changing_the_rhythm() {
    let rate = Schedule::every(SECOND * 10);
    assert_eq!(ticks(&rate.clone().offset(SECOND * 3), SECOND, 40), [13, 23, 33]);
    assert_eq!(ticks(&rate.clone().offset(SECOND * 3).initial_delay(Duration::ZERO), SECOND, 30), [3, 13, 23]);
    let pause = Schedule::fixed_delay(SECOND * 10).offset(SECOND * 3);
    assert_eq!(ticks(&pause, SECOND, 40), [13, 24, 35]);
    let late = ticks(&rate.clone().jitter(SECOND * 8), Duration::ZERO, 1_000);
    assert!(late.len() >= 99 && (1..).zip(&late).all(|(number, tick)| (number * 10..number * 10 + 8).contains(tick)));
    assert!((0..8).all(|second| late.iter().any(|tick| tick % 10 == second)), "{late:?}");
    let whole = Schedule::any([rate.clone().jitter(SECOND * 8), rate]).jitter(Duration::ZERO).offset(SECOND);
    assert_eq!(ticks(&whole, Duration::ZERO, 31), [11, 21, 31], "what is said of the whole");
}

/// A tick that is late by chance for longer than its period has missed the next one.
#[test]
fn jitter_beyond_the_period_misses_ticks() {
    let late = ticks(&Schedule::every(SECOND * 10).jitter(SECOND * 35), Duration::ZERO, 10_000);
    assert!(late.windows(2).all(|two| two[0] < two[1]), "{late:?}");
    assert!((400..800).contains(&late.len()), "{}", late.len());
}

/// A new period counts from the tick that is taken, whatever the schedule was.
#[test]
fn period_can_be_changed_in_a_tick() {
    for (schedule, next) in [
        (Schedule::every(SECOND * 10), 2),
        (Schedule::fixed_delay(SECOND * 10), 3),
        (Schedule::any([Schedule::every(SECOND * 10), Schedule::fixed_delay(SECOND * 50)]), 2),
    ] {
        let clock = ManualClock::new(Moment::ORIGIN);
        let mut course = Course::begin(&schedule, &clock.reading());
        clock.advance_by(SECOND * 10);
        assert!(course.is_due(&clock.reading()));
        course.change_period(SECOND * 3);
        clock.advance_by(SECOND);
        course.tick_is_over(&clock.reading());
        assert_eq!(course.due_in(&clock.reading()), Some(SECOND * next), "{schedule:?}");
    }
}
