//! The instants of cron schedules around every change of the clocks from 2020 to 2040, against a model that looks at each minute.
//!
//! All zones in release builds, some in others. The model knows nothing of gaps and folds: it walks through the instants, and a civil time that it sees for the first
//! time, or has just left out, is due.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, SystemTime};

use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneTransition};
use jiff::{SignedDuration, Timestamp};
use overstrand::Schedule;

use crate::AnyResult;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const AROUND: SignedDuration = SignedDuration::from_mins(200);

/// Different hemispheres; half an hour, two hours, Ramadan, changes at midnight.
const SOME: &[&str] = &[
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "Antarctica/Troll",
    "Australia/Lord_Howe",
    "Europe/Berlin",
];

/// A pattern, and what it means.
struct Pattern {
    text: &'static str,
    second: i64,
    names: fn(DateTime) -> bool,
}

const PATTERNS: &[Pattern] = &[
    Pattern { text: "*/5 * * * *", second: 0, names: |time| time.minute() % 5 == 0 },
    Pattern { text: "17 */20 * * * *", second: 17, names: |time| time.minute() % 20 == 0 },
    Pattern { text: "30 2 * * *", second: 0, names: |time| (time.hour(), time.minute()) == (2, 30) },
    Pattern { text: "0 0 * * *", second: 0, names: |time| (time.hour(), time.minute()) == (0, 0) },
    Pattern {
        text: "15,45 0-3 * * SUN,MON,FRI",
        second: 0,
        names: |time| {
            let is_day = matches!(time.weekday().to_sunday_zero_offset(), 0 | 1 | 5);
            is_day && time.hour() <= 3 && matches!(time.minute(), 15 | 45)
        },
    },
];

/// The instants of a pattern in `begin < instant <= end`, minute by minute.
fn model(zone: &TimeZone, pattern: &Pattern, begin: Timestamp, end: Timestamp) -> BTreeSet<Timestamp> {
    let mut instants = BTreeSet::new();
    let mut seen = HashSet::new();
    let mut last: Option<DateTime> = None;
    // It begins early, so that it has seen the first pass through a fold that is under way.
    let mut now = begin - AROUND;
    while now <= end {
        let civil = zone.to_datetime(now);
        let mut skipped = last.map_or(civil, |last| last + MINUTE);
        while skipped < civil {
            if seen.insert(skipped) && (pattern.names)(skipped) {
                instants.insert(now);
            }
            skipped += MINUTE;
        }
        if seen.insert(civil) && (pattern.names)(civil) {
            instants.insert(now + SignedDuration::from_secs(pattern.second));
        }
        last = Some(last.map_or(civil, |last| last.max(civil)));
        now += MINUTE;
    }
    instants.retain(|instant| begin < *instant && *instant <= end);
    instants
}

/// When the clocks of a zone change from 2020 to 2040.
fn changes(zone: &TimeZone) -> impl Iterator<Item = TimeZoneTransition<'_>> {
    let begin = DateTime::constant(2020, 1, 1, 0, 0, 0, 0).to_zoned(TimeZone::UTC).expect("in range").timestamp();
    let all = zone.following(begin).take_while(|change| zone.to_datetime(change.timestamp()).year() <= 2040);
    all.filter(|change| zone.to_offset(change.timestamp() - SignedDuration::from_secs(1)) != change.offset())
}

/// Compares schedule and model around each change; gives the number of changes.
fn check(name: &str) -> AnyResult<usize> {
    let zone = TimeZone::get(name)?;
    let mut count = 0;
    for change in changes(&zone) {
        count += 1;
        let at = change.timestamp();
        assert_eq!(at.as_second() % 60, 0, "the model knows minutes");
        for pattern in PATTERNS {
            let schedule = Schedule::cron(pattern.text)?.in_time_zone(name)?;
            let (begin, end) = (at - AROUND, at + AROUND);
            let expected: Vec<SystemTime> = model(&zone, pattern, begin, end).into_iter().map(Into::into).collect();
            let until = |end: Timestamp| move |instant: &SystemTime| *instant <= SystemTime::from(end);
            let told: Vec<_> = schedule.upcoming(begin.into()).take_while(until(end)).collect();
            assert_eq!(told, expected, "{} in {name} around {at}", pattern.text);
            // From anywhere in between the rest is the same.
            for minutes in [-61, -30, -1, 0, 1, 29, 60, 61] {
                let from = SystemTime::from(at + MINUTE * minutes) + Duration::from_millis(500);
                let rest = expected.iter().copied().find(|instant| *instant > from);
                let next = schedule.upcoming(from).next().filter(until(end));
                assert_eq!(next, rest, "{} in {name}, {minutes} minutes from {at}", pattern.text);
            }
        }
    }
    Ok(count)
}

#[test]
fn every_zone_agrees_with_the_model_around_every_change() -> AnyResult {
    let all: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    assert!(all.len() > 300, "there is a database");
    let zones = if cfg!(debug_assertions) { SOME.iter().map(ToString::to_string).collect() } else { all };
    let mut changes = 0;
    for zone in &zones {
        changes += check(zone)?;
    }
    println!("{} zones, {changes} changes, {} patterns", zones.len(), PATTERNS.len());
    assert!(changes > 200);
    Ok(())
}
