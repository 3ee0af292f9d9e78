//! SUP-7: the record of restarts against a list of all of them.

use std::time::Duration;

use proptest::prelude::*;

use super::{config, count, millis, secs};
use crate::supervise::intensity::{Exhausted, Intensity, Record};
use crate::supervise::restart::Next;
use crate::sync::unmodelled::AtomicU64;

const fn at_most(limit: u32, window: Duration) -> Intensity {
    Intensity { limit, window, then: Exhausted::Escalate }
}

/// Restarts at these times: for each, whether it was one too many.
fn exceeded(intensity: Intensity, times: &[Duration]) -> Vec<bool> {
    let mut record = Record::new();
    times.iter().map(|now| record.note(intensity, Next::RestartAfterBackoff, *now).is_some()).collect()
}

#[test]
fn default_is_ten_in_a_minute_and_then_slowly() {
    let (mut record, default) = (Record::new(), Intensity::default());
    for restart in 1..=10 {
        assert_eq!(record.note(default, Next::RestartAfterBackoff, secs(restart)), None);
    }
    let slowly = Some(Exhausted::SlowRestart(secs(30)));
    assert_eq!(
        record.note(default, Next::RestartAfterBackoff, millis(60_999)),
        slowly,
        "the first one was less than a minute ago"
    );
}

#[test]
fn first_restart_beyond_the_limit_is_one_too_many() {
    assert_eq!(exceeded(at_most(2, secs(10)), &[secs(1), secs(2), secs(3)]), [false, false, true]);
}

#[test]
fn limit_of_zero_makes_the_first_failure_one_too_many() {
    assert_eq!(exceeded(at_most(0, secs(10)), &[secs(0), secs(100)]), [true, true]);
}

#[test]
fn restart_exactly_one_window_ago_is_forgotten() {
    assert_eq!(exceeded(at_most(1, secs(10)), &[secs(1), secs(11)]), [false, false]);
    assert_eq!(exceeded(at_most(1, secs(10)), &[secs(1), millis(10_999)]), [false, true]);
}

#[test]
fn window_that_never_ends_forgets_nothing() {
    assert_eq!(exceeded(at_most(1, Duration::MAX), &[secs(1), Duration::MAX]), [false, true]);
}

#[test]
fn what_is_done_is_what_was_asked_for() {
    for then in [Exhausted::GiveUp, Exhausted::Escalate, Exhausted::SlowRestart(secs(7))] {
        let intensity = Intensity { then, ..at_most(0, secs(1)) };
        assert_eq!(Record::new().note(intensity, Next::RestartAfterBackoff, secs(1)), Some(then));
    }
}

#[test]
fn slow_restarts_make_room_in_the_window() {
    let times = [secs(0), secs(1), secs(2), secs(32), secs(62), secs(63)];
    assert_eq!(exceeded(at_most(2, secs(60)), &times), [false, false, true, true, false, true]);
}

#[test]
fn only_restarts_after_a_failure_count() {
    let (mut record, intensity) = (Record::new(), at_most(0, secs(1)));
    for next in [Next::RestartAfter(Duration::ZERO), Next::Finish, Next::Exhausted] {
        assert_eq!(record.note(intensity, next, secs(1)), None);
    }
    assert_eq!(record.note(intensity, Next::RestartAfterBackoff, secs(1)), Some(Exhausted::Escalate));
}

#[test]
fn time_that_goes_back_stands_still() {
    assert_eq!(exceeded(at_most(1, secs(10)), &[secs(100), secs(1), secs(109), secs(119)]), [false, true, true, false]);
}

#[test]
fn window_of_zero_is_refused() {
    let error = at_most(3, Duration::ZERO).validate().expect_err("nothing fits into it");
    assert_eq!((error.field(), error.value()), ("intensity", "0ns"));
    assert!(Intensity::default().validate().is_ok());
    assert!(at_most(0, Duration::from_nanos(1)).validate().is_ok());
}

/// The restarts that lie in `(now - window, now]`, counted in the list of all.
fn count_by_the_book(all: &[u64], now: u64, window: u64) -> usize {
    all.iter().filter(|at| **at + window > now).count()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn agrees_with_the_list_of_all_restarts(
        limit in 0_u32..6, window in 1_u64..40, pauses in proptest::collection::vec((0_u64..12, any::<bool>()), 0..24),
    ) {
        static CASES: AtomicU64 = AtomicU64::new(0);
        count(&CASES, "I37");
        let (mut record, intensity) = (Record::new(), at_most(limit, millis(window)));
        let (mut all, mut now) = (Vec::new(), 0);
        for (pause, failed) in pauses {
            now += pause;
            if !failed {
                prop_assert_eq!(record.note(intensity, Next::RestartAfter(secs(1)), millis(now)), None);
                continue;
            }
            all.push(now);
            let too_many = count_by_the_book(&all, now, window) > limit as usize;
            prop_assert_eq!(record.note(intensity, Next::RestartAfterBackoff, millis(now)).is_some(), too_many);
            prop_assert!(record.kept() <= limit as usize + 1);
        }
    }

    #[test]
    fn no_time_whatever_makes_it_panic(
        limit in 0_u32..3, window in any::<u64>(),
        times in proptest::collection::vec((any::<u64>(), 0_u32..1_000_000_000), 0..8),
    ) {
        let (mut record, intensity) = (Record::new(), at_most(limit, Duration::from_nanos(window)));
        for (secs, nanos) in times {
            let _ = record.note(intensity, Next::RestartAfterBackoff, Duration::new(secs, nanos));
            prop_assert!(record.kept() <= limit as usize + 1);
        }
    }
}
