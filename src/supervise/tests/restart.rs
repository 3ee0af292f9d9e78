//! SUP-4a, SUP-5: the table of `RestartPolicy`, cell by cell, and whole lives of tasks against counting.

use std::time::Duration;

use proptest::prelude::*;

use super::{config, secs};
use crate::supervise::restart::{Exit, Next, RestartPolicy, decide};

const HOURLY: RestartPolicy = RestartPolicy::Always { interval: secs(3600) };

const EXITS: [Exit; 7] =
    [Exit::Success, Exit::Failed, Exit::Fatal, Exit::Cancelled, Exit::Panicked, Exit::TimedOut, Exit::HeartbeatLost];

/// What the three policies say, in the order of the table, to the first exit of a streak.
fn row(exit: Exit, max_retries: Option<u32>) -> [Next; 3] {
    [RestartPolicy::Never, RestartPolicy::OnFailure, HOURLY].map(|policy| decide(policy, exit, 0, max_retries))
}

/// Asserts a row that does not depend on how many retries there may be.
#[track_caller]
fn assert_row(exit: Exit, expected: [Next; 3]) {
    for max_retries in [None, Some(0), Some(1), Some(u32::MAX)] {
        assert_eq!(row(exit, max_retries), expected, "{max_retries:?}");
    }
}

/// Asserts the row of a failure: with a retry left, and without.
#[track_caller]
fn assert_row_of_failure(exit: Exit) {
    let again = [Next::Finish, Next::RestartAfterBackoff, Next::RestartAfterBackoff];
    assert_eq!(row(exit, None), again);
    assert_eq!(row(exit, Some(1)), again);
    assert_eq!(row(exit, Some(0)), [Next::Finish, Next::Exhausted, Next::Exhausted]);
}

// ---- the table -------------------------------------------------------------------------------------------------------

#[test]
fn success_is_repeated_only_by_always() {
    assert_row(Exit::Success, [Next::Finish, Next::Finish, Next::RestartAfter(secs(3600))]);
}

#[test]
fn error_is_retried_unless_never() {
    assert_row_of_failure(Exit::Failed);
}

#[test]
fn panic_is_a_failure() {
    assert_row_of_failure(Exit::Panicked);
}

#[test]
fn timeout_is_a_failure() {
    assert_row_of_failure(Exit::TimedOut);
}

#[test]
fn lost_heartbeat_is_a_failure() {
    assert_row_of_failure(Exit::HeartbeatLost);
}

#[test]
fn fatal_error_is_never_retried() {
    assert_row(Exit::Fatal, [Next::Finish; 3]);
}

#[test]
fn cancelled_run_is_never_followed() {
    assert_row(Exit::Cancelled, [Next::Finish; 3]);
}

// ---- counting --------------------------------------------------------------------------------------------------------

#[test]
fn default_is_on_failure() {
    assert_eq!(RestartPolicy::default(), RestartPolicy::OnFailure);
}

#[test]
fn last_retry_is_made_and_no_more() {
    let after = |failures_before| decide(RestartPolicy::OnFailure, Exit::Failed, failures_before, Some(3));
    assert_eq!([0, 1, 2].map(after), [Next::RestartAfterBackoff; 3]);
    assert_eq!([3, 4, u32::MAX].map(after), [Next::Exhausted; 3]);
}

#[test]
fn retries_without_limit_never_end() {
    for policy in [RestartPolicy::OnFailure, HOURLY] {
        assert_eq!(decide(policy, Exit::Failed, u32::MAX, None), Next::RestartAfterBackoff);
    }
}

#[test]
fn interval_of_zero_is_an_interval() {
    let at_once = RestartPolicy::Always { interval: Duration::ZERO };
    assert_eq!(decide(at_once, Exit::Success, 0, None), Next::RestartAfter(Duration::ZERO));
}

// ---- properties ------------------------------------------------------------------------------------------------------

fn policy() -> impl Strategy<Value = RestartPolicy> {
    prop_oneof![
        Just(RestartPolicy::Never),
        Just(RestartPolicy::OnFailure),
        any::<u64>().prop_map(|interval| RestartPolicy::Always { interval: Duration::from_nanos(interval) }),
    ]
}

/// Lives a task whose runs end like this one after the other: how many runs there were, and what came after the last.
fn live(policy: RestartPolicy, max_retries: Option<u32>, exits: &[Exit]) -> (usize, Option<Next>) {
    let mut streak = 0;
    for (run, exit) in exits.iter().enumerate() {
        match decide(policy, *exit, streak, max_retries) {
            Next::RestartAfterBackoff => streak += 1,
            Next::RestartAfter(_) => streak = 0,
            last => return (run + 1, Some(last)),
        }
    }
    (exits.len(), None)
}

/// The same, told by looking at the whole life: it ends with the first final exit, or with a streak that is one failure too long.
fn life_by_the_book(policy: RestartPolicy, max_retries: Option<u32>, exits: &[Exit]) -> (usize, Option<Next>) {
    let fails = |exit: &Exit| !matches!(exit, Exit::Success | Exit::Fatal | Exit::Cancelled);
    let is_final = |exit: &Exit| match policy {
        RestartPolicy::Never => true,
        RestartPolicy::OnFailure => !fails(exit),
        RestartPolicy::Always { .. } => matches!(exit, Exit::Fatal | Exit::Cancelled),
    };
    let finish = exits.iter().position(is_final).map(|at| (at + 1, Some(Next::Finish)));
    let streak = max_retries.map_or(usize::MAX, |most| most as usize + 1);
    let exhausted = (streak <= exits.len())
        .then(|| exits.windows(streak).position(|runs| runs.iter().all(fails)))
        .flatten()
        .map(|at| (at + streak, Some(Next::Exhausted)));
    [finish, exhausted].into_iter().flatten().min_by_key(|(runs, _)| *runs).unwrap_or((exits.len(), None))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn life_ends_where_the_book_says(
        policy in policy(), max_retries in proptest::option::of(0_u32..4),
        exits in proptest::collection::vec(proptest::sample::select(&EXITS[..]), 0..12),
    ) {
        prop_assert_eq!(live(policy, max_retries, &exits), life_by_the_book(policy, max_retries, &exits));
    }

    #[test]
    fn attempts_are_retries_and_one(policy in policy(), max_retries in 0_u32..20) {
        let forever = [Exit::Failed; 21];
        let expected = match policy {
            RestartPolicy::Never => (1, Some(Next::Finish)),
            _ => (max_retries as usize + 1, Some(Next::Exhausted)),
        };
        prop_assert_eq!(live(policy, Some(max_retries), &forever), expected);
    }
}
