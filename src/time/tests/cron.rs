//! Cron schedules, and wall clocks that people set.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use proptest::prelude::*;

use crate::time::cron::{Cron, zone};
use crate::time::{Course, MissedTicks, Moment, Reading, Schedule};

const MINUTE: Duration = Duration::from_secs(60);

fn wall(text: &str) -> SystemTime {
    text.parse::<Timestamp>().expect("a time").into()
}

fn text(time: SystemTime) -> String {
    Timestamp::try_from(time).expect("in range").to_string()
}

fn cron(pattern: &str) -> Schedule {
    Schedule::cron(pattern).expect("a pattern")
}

/// A series in a world where time goes on and clocks are set.
struct World {
    now: Reading,
    course: Course,
    armed: Moment,
    /// How long a tick takes.
    each: Duration,
    /// The wall times of the ticks.
    ticks: Vec<String>,
    looks: u32,
}

impl World {
    fn begin(schedule: &Schedule, at: &str) -> Self {
        let now = Reading { moment: Moment::ORIGIN, wall: wall(at) };
        let course = Course::begin(schedule, &now);
        let armed = course.next_look(&now);
        Self { now, course, armed, each: Duration::ZERO, ticks: Vec::new(), looks: 0 }
    }

    fn go_on(&mut self, time: Duration) {
        self.now = Reading { moment: self.now.moment.saturating_add(time), wall: self.now.wall + time };
    }

    fn look(&mut self) {
        self.looks += 1;
        if self.course.is_due(&self.now) {
            self.ticks.push(text(self.now.wall));
            self.go_on(self.each);
            self.course.tick_is_over(&self.now);
        }
        self.armed = self.course.next_look(&self.now);
    }

    /// Lets time go on, and tells the ticks that there were.
    fn pass(&mut self, time: Duration) -> Vec<String> {
        let end = self.now.moment.saturating_add(time);
        while self.armed <= end {
            self.go_on(self.now.moment.until(self.armed));
            self.look();
        }
        self.go_on(self.now.moment.until(end));
        std::mem::take(&mut self.ticks)
    }

    /// Sets the wall clock.
    fn set(&mut self, at: &str) -> &mut Self {
        self.now.wall = wall(at);
        self
    }
}

#[test]
fn patterns_have_five_fields_or_six() {
    for good in
        ["* * * * *", "0 */5 * * * *", "0 12 1-7 * MON", "0 0 L * *", "0 0 * JAN,jun FRI#2", "@daily", " 5 4 * * 0 "]
    {
        assert!(Schedule::cron(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "*",
        "* * * *",
        "0 0 0 1 1 * 2030",
        "60 * * * *",
        "* 24 * * *",
        "0 0 32 * *",
        "5-1 * * * *",
        "*/0 * * * *",
        "@reboot",
        "a b c d e",
    ] {
        let error = Schedule::cron(bad).expect_err(bad);
        assert_eq!((error.field(), error.value()), ("cron", bad));
        assert!(std::error::Error::source(&error).is_some());
    }
    let never = Schedule::cron("0 0 30 2 *").expect_err("no such day");
    assert_eq!(never.to_string(), "cron = 0 0 30 2 *: there is no such day");
    assert!(Schedule::cron("0 0 29 2 *").is_ok());
}

#[test]
fn only_cron_schedules_have_time_zones() {
    let unknown = cron("@daily").in_time_zone("Mars/Olympus").expect_err("unknown");
    assert_eq!((unknown.field(), unknown.value()), ("in_time_zone", "Mars/Olympus"));
    let rate = Schedule::every(MINUTE);
    let refused = rate.clone().in_time_zone("Europe/Berlin").expect_err("no cron");
    assert_eq!(refused.field(), "in_time_zone");
    assert!(Schedule::any([rate.clone()]).in_time_zone("Europe/Berlin").is_err());
    let both =
        Schedule::any([rate.clone(), cron("@daily")]).in_time_zone("Europe/Berlin").expect("one of them is cron");
    assert_eq!(both, Schedule::any([rate, cron("@daily").in_time_zone("Europe/Berlin").expect("known")]));
    assert_ne!(cron("@daily"), cron("@daily").in_time_zone("Europe/Berlin").expect("known"));
    assert_eq!(
        format!("{:?}", Cron::parse("@daily").expect("valid").in_zone(&zone("Asia/Tokyo").expect("known"))),
        "\"0 0 * * *\" in Asia/Tokyo"
    );
}

#[test]
fn foretold_are_all_kinds_of_schedules() {
    let upcoming = |schedule: Schedule| -> Vec<String> {
        schedule.upcoming(wall("2026-03-28T23:59:30.5Z")).take(3).map(text).collect()
    };
    let berlin = cron("30 2 * * *").in_time_zone("Europe/Berlin").expect("known");
    assert_eq!(upcoming(berlin.clone()), ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"]);
    assert_eq!(upcoming(Schedule::every(MINUTE))[1], "2026-03-29T00:01:30.5Z");
    let any = Schedule::any([berlin.clone(), cron("0 1 29 * *"), cron("0 2 * * *")]);
    assert_eq!(upcoming(any), ["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z", "2026-03-30T00:30:00Z"]);
    let soon = berlin.initial_delay(MINUTE);
    assert_eq!(upcoming(soon)[..2], ["2026-03-29T00:00:30.5Z", "2026-03-29T01:00:00Z"]);
    assert_eq!(Schedule::any([]).upcoming(SystemTime::UNIX_EPOCH).next(), None);
    assert_eq!(
        cron("* * * * *").upcoming(SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40)).next(),
        None,
        "the year 36812"
    );
}

#[test]
fn wall_clock_is_looked_at_once_a_minute() {
    let mut world = World::begin(&cron("0 12 * * *"), "2026-01-01T00:00:00Z");
    assert_eq!(world.pass(MINUTE * 60 * 24), ["2026-01-01T12:00:00Z"]);
    assert_eq!(world.looks, 60 * 24);
}

#[test]
fn clock_that_is_set_forward_has_one_late_tick() {
    let mut world = World::begin(&cron("0 * * * *"), "2026-01-01T00:30:00Z");
    world.pass(MINUTE * 10);
    let late = world.set("2027-01-01T05:40:00Z").pass(MINUTE * 30);
    assert_eq!(late, ["2027-01-01T05:41:00Z", "2027-01-01T06:00:00Z"], "seen at the next look");
    let mut bursting = World::begin(&cron("0 * * * *").missed(MissedTicks::Burst(2)), "2026-01-01T00:30:00Z");
    let made_up = bursting.set("2027-01-01T05:40:00Z").pass(MINUTE * 30);
    let at_once = "2027-01-01T05:41:00Z";
    assert_eq!(made_up, [at_once, at_once, at_once, "2027-01-01T06:00:00Z"]);
}

#[test]
fn clock_that_is_set_back_fires_nothing_twice() {
    let mut world = World::begin(&cron("0 * * * *"), "2026-01-01T00:30:00Z");
    assert_eq!(world.pass(MINUTE * 60 * 3).len(), 3);
    let again = world.set("2026-01-01T01:15:00Z").pass(MINUTE * 60 * 4);
    assert_eq!(again, ["2026-01-01T04:00:00Z", "2026-01-01T05:00:00Z"]);
    let year_before = world.set("2025-01-01T01:15:00Z").pass(MINUTE * 60);
    assert_eq!(year_before, ["2025-01-01T02:00:00Z"], "a year ago it did not run yet");
}

/// Who is asked for a tick twice before it is over has taken it the first time.
#[test]
fn taken_tick_is_due_until_it_is_over() {
    let at =
        |time: &str, minutes| Reading { moment: Moment::ORIGIN.saturating_add(MINUTE * minutes), wall: wall(time) };
    let mut course = Course::begin(&cron("0 * * * *"), &at("2026-01-01T00:59:00Z", 0));
    assert!(!course.is_due(&at("2026-01-01T00:59:30Z", 0)) && course.is_due(&at("2026-01-01T01:00:00Z", 1)));
    let set_back = at("2026-01-01T00:30:00Z", 2);
    assert!(course.is_due(&set_back));
    course.tick_is_over(&set_back);
    assert_eq!(course.due_in(&set_back), Some(MINUTE * 90), "01:00 has been");
}

/// A mark at the latest instant would make it wait for ten years.
#[test]
fn clock_that_was_wrong_for_a_while_silences_nothing() {
    let mut world = World::begin(&cron("0 * * * *"), "2026-01-01T00:30:00Z");
    world.set("2036-01-01T00:30:00Z").pass(MINUTE * 60);
    let after = world.set("2026-01-01T01:30:00Z").pass(MINUTE * 60);
    assert_eq!(after, ["2026-01-01T02:00:00Z"]);
    let ten_years_later = world.set("2036-01-01T00:15:00Z").pass(MINUTE * 120);
    assert_eq!(
        ten_years_later,
        ["2036-01-01T00:16:00Z", "2036-01-01T02:00:00Z"],
        "03:00 of 2026, late; 01:00 was then"
    );
}

#[test]
fn missed_instants_are_skipped_or_made_up_for() {
    let ticks = |missed: MissedTicks| {
        let mut world = World::begin(&cron("*/10 * * * *").missed(missed), "2026-01-01T00:00:00Z");
        world.each = MINUTE * 35;
        let first = world.pass(MINUTE * 46);
        world.each = Duration::ZERO;
        (first.len(), world.pass(MINUTE * 20).len())
    };
    assert_eq!(ticks(MissedTicks::Skip), (1, 2), "50 and 60");
    assert_eq!(ticks(MissedTicks::Delay), (1, 2));
    let mut world = World::begin(&cron("*/10 * * * *").missed(MissedTicks::Burst(2)), "2026-01-01T00:00:00Z");
    world.each = MINUTE * 35;
    world.go_on(MINUTE * 10);
    world.look();
    world.each = Duration::ZERO;
    let made_up = world.pass(MINUTE * 20);
    assert_eq!(
        made_up[1..],
        ["2026-01-01T00:45:00Z", "2026-01-01T00:45:00Z", "2026-01-01T00:50:00Z", "2026-01-01T01:00:00Z"]
    );
}

#[test]
fn instants_backwards_are_those_forwards() {
    for name in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia", "UTC"]
    {
        let zone = zone(name).expect("known");
        for pattern in ["*/10 * * * *", "30 2 * * *", "15 0,1,2 * * *", "*/7 */10 1-3 * * *"] {
            let cron = Cron::parse(pattern).expect("valid").in_zone(&zone);
            for begin in [
                "2025-10-25T12:00:00Z",
                // It ends in the second pass.
                "2025-10-25T01:10:00Z",
                "2026-03-28T12:00:00Z",
                "2026-04-04T12:00:00Z",
                "2011-12-29T00:00:00Z",
            ] {
                let (begin, end) = (wall(begin), wall(begin) + MINUTE * 60 * 24);
                let forwards: Vec<_> = std::iter::successors(cron.after(begin), |last| cron.after(*last))
                    .take_while(|instant| *instant <= end)
                    .collect();
                assert_eq!(cron.latest(begin, end, usize::MAX), forwards, "{pattern} in {name}");
                let most = forwards.len() / 2;
                assert_eq!(cron.latest(begin, end, most), forwards[forwards.len() - most..], "{pattern} in {name}");
            }
        }
    }
}

proptest! {
    /// Whatever is written there: an error or a schedule, and no panic.
    #[test]
    fn any_text_is_a_pattern_or_an_error(text in r"[*/,0-9LW#?a-zA-Z@+ -]{0,24}", wild in ".{0,16}") {
        for pattern in [text, wild] {
            if let Ok(schedule) = Schedule::cron(&pattern) {
                prop_assert!(schedule.upcoming(SystemTime::UNIX_EPOCH).next().is_some());
            }
        }
    }
}
