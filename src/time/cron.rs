//! Which instants a cron pattern names in a time zone.
//!
//! Words: a *civil time* is what a clock on the wall shows, without a zone; a *gap* are the civil times that are left out when clocks are put forward, a *fold* those
//! that come twice when they are put back.
//!
//! The pattern is searched in civil times, where there are neither gaps nor folds; then each civil time has one instant: in a fold its first one, in a gap the first
//! instant after the gap. This never goes back when civil times go on, so the next instant is that of the next civil time. The one exception is the second
//! pass through a fold, all of whose instants are over: there the search goes on from the end of the fold.
//!
//! Witnessed by the test binary `env`, module `cron_zones`: every zone, every transition of twenty years, against a model that looks at each second.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::SystemTime;

use croner::parser::{CronParser, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::error::BuildError;

/// A pattern and a zone.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Cron {
    pattern: croner::Cron,
    zone: TimeZone,
}

/// The zone of that name in the system's database.
pub(super) fn zone(name: &str) -> Result<TimeZone, BuildError> {
    TimeZone::get(name).map_err(|source| {
        BuildError::new("in_time_zone", name, "the time zone is not in the database of this system").caused_by(source)
    })
}

impl Cron {
    /// In UTC.
    pub(super) fn parse(pattern: &str) -> Result<Self, BuildError> {
        let refuse = |problem, source| BuildError::new("cron", pattern, problem).caused_by(source);
        let parser = CronParser::builder().year(Year::Disallowed).build();
        let parsed = parser.parse(pattern).map_err(|source| refuse("not a cron pattern", source))?;
        let any_time = DateTime::constant(2000, 1, 1, 0, 0, 0, 0);
        parsed.find_next_occurrence(&any_time, true).map_err(|source| refuse("there is no such day", source))?;
        Ok(Self { pattern: parsed, zone: TimeZone::UTC })
    }

    pub(super) fn in_zone(&self, zone: &TimeZone) -> Self {
        Self { pattern: self.pattern.clone(), zone: zone.clone() }
    }

    /// The first instant after that.
    pub(super) fn after(&self, time: SystemTime) -> Option<SystemTime> {
        let now = whole_seconds(time)?;
        let mut civil = self.passed(now)?;
        loop {
            civil = self.pattern.find_next_occurrence(&civil, false).ok()?;
            let instant = self.instant(civil)?;
            if instant > now {
                return Some(instant.into());
            }
        }
    }

    /// The last instants within `after < instant <= until`, at most `most` of them, the earliest first.
    pub(super) fn latest(&self, after: SystemTime, until: SystemTime, most: usize) -> Vec<SystemTime> {
        let mut found = Vec::new();
        let mut search = whole_seconds(until).and_then(|until| self.passed(until));
        let mut is_first = true;
        while let Some(civil) = search.filter(|_| found.len() < most) {
            let earlier = self.pattern.find_previous_occurrence(&civil, is_first).ok();
            let instant = earlier.and_then(|civil| self.instant(civil)).map(SystemTime::from);
            match instant {
                Some(instant) if instant <= after => break,
                // All the times of a gap have one instant.
                Some(instant) if found.last() == Some(&instant) => {}
                Some(instant) => found.push(instant),
                None => break,
            }
            search = earlier;
            is_first = false;
        }
        found.reverse();
        found
    }

    /// The last civil time whose instant has come.
    fn passed(&self, now: Timestamp) -> Option<DateTime> {
        let offset = self.zone.to_offset(now);
        let civil = offset.to_datetime(now);
        let AmbiguousOffset::Fold { before, after } = self.zone.to_ambiguous_timestamp(civil).offset() else {
            return Some(civil);
        };
        if offset != after {
            return Some(civil);
        }
        let second = SignedDuration::from_secs(1);
        let until_now = now.checked_add(second).ok()?;
        let put_back = self.zone.preceding(until_now).find(|transition| transition.offset() == after)?;
        before.to_datetime(put_back.timestamp()).checked_sub(second).ok()
    }

    /// The instant of a civil time.
    fn instant(&self, civil: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(civil).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(civil).ok(),
            AmbiguousOffset::Gap { after, .. } => {
                // By the later offset the civil times of a gap lie before it.
                let earlier = after.to_timestamp(civil).ok()?;
                let put_forward = self.zone.following(earlier).find(|transition| transition.offset() == after)?;
                Some(put_forward.timestamp())
            }
        }
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {}", self.pattern.as_str(), self.zone.iana_name().unwrap_or("UTC"))
    }
}

/// The second that has begun; `None` for what no calendar has.
fn whole_seconds(time: SystemTime) -> Option<Timestamp> {
    let nanos = Timestamp::try_from(time).ok()?.as_nanosecond();
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
    Timestamp::from_second(seconds).ok()
}
