//! The circuit as data, and the helpers without time.

use std::time::Duration;

use super::breaker::CircuitState;
use super::breaker_state::{Circuit, Settings};
use super::{CircuitBreaker, retry, retry_n};
use crate::error::RejectReason;
use crate::supervise::Backoff;
use crate::time::Moment;

fn at(seconds: u64) -> Moment {
    Moment::ORIGIN.saturating_add(Duration::from_secs(seconds))
}

/// Opens after three failures in ten seconds, for a minute.
fn circuit() -> Circuit {
    let (window, open_for) = (Duration::from_secs(10), Duration::from_secs(60));
    Circuit::new(Settings { failures: 3, window, open_for })
}

/// A call that takes no time.
fn call(circuit: &mut Circuit, has_succeeded: bool, seconds: u64) -> bool {
    let admission = circuit.admit(at(seconds));
    if let Some(admission) = admission {
        circuit.settle(admission, has_succeeded, at(seconds));
    }
    admission.is_some()
}

#[test]
fn looks_are_one_more_than_the_steps_between_them() {
    for max in [0, 1, 5] {
        let (mut looks, mut steps) = (0, 0);
        let check = || {
            looks += 1;
            false
        };
        assert!(!retry_n(max, check, || steps += 1));
        assert_eq!((looks, steps), (max + 1, max));
    }
}

#[test]
fn errors_that_do_not_pass_are_not_tried_again() {
    for (max, lasting, expected) in [(0, false, 1), (4, false, 5), (4, true, 1)] {
        let mut calls = 0;
        let op = || {
            calls += 1;
            Err::<(), _>(calls)
        };
        let error = retry(Backoff::constant(Duration::ZERO), max, |_| !lasting, op);
        assert_eq!((error, calls), (Err(expected), expected));
    }
}

#[test]
fn circuit_opens_when_enough_has_failed_within_the_window() {
    let mut circuit = circuit();
    for seconds in [0, 1, 11, 12] {
        assert!(call(&mut circuit, false, seconds));
        assert!(call(&mut circuit, true, seconds), "a success closes nothing and opens nothing");
    }
    assert_eq!(circuit.state(at(12)), CircuitState::Closed);
    assert!(call(&mut circuit, false, 21), "11, 12 and 21 lie within ten seconds");
    assert_eq!((circuit.state(at(21)), circuit.refuses_for(at(21))), (CircuitState::Open, Duration::from_secs(60)));
    assert!(!call(&mut circuit, true, 80));
}

#[test]
fn probe_decides_and_is_alone() {
    let mut circuit = circuit();
    assert!((0..3).all(|_| call(&mut circuit, false, 0)));
    assert_eq!(circuit.state(at(60)), CircuitState::HalfOpen);
    let probe = circuit.admit(at(60)).expect("the pause is over");
    assert!(!call(&mut circuit, true, 61), "one probe at a time");
    circuit.settle(probe, false, at(70));
    assert_eq!((circuit.state(at(129)), circuit.state(at(130))), (CircuitState::Open, CircuitState::HalfOpen));
    assert!(call(&mut circuit, true, 130));
    assert_eq!(circuit.state(at(130)), CircuitState::Closed);
    assert!(call(&mut circuit, false, 130) && call(&mut circuit, false, 130), "it begins with no failures");
    assert_eq!(circuit.state(at(130)), CircuitState::Closed);
}

#[test]
fn call_that_comes_back_late_has_no_say() {
    let mut circuit = circuit();
    let old = [circuit.admit(at(0)), circuit.admit(at(0))].map(|admission| admission.expect("it is closed"));
    assert!((0..3).all(|_| call(&mut circuit, false, 1)));
    circuit.settle(old[0], true, at(2));
    assert_eq!(circuit.state(at(2)), CircuitState::Open, "an old success does not close it");
    assert!(call(&mut circuit, true, 61));
    circuit.settle(old[1], false, at(62));
    assert!(call(&mut circuit, false, 62) && call(&mut circuit, false, 62));
    assert_eq!(circuit.state(at(62)), CircuitState::Closed, "an old failure does not count");
}

#[test]
fn refused_closure_comes_back_and_a_panic_is_a_failure() {
    let breaker = CircuitBreaker::builder().failures(1).build().expect("valid");
    let text = String::from("kept");
    let length = move || Ok::<_, ()>(text.len());
    let panics = || -> Result<(), ()> { panic!("at its first call") };
    assert!(crate::task::panic::catch(|| breaker.call(panics)).is_err());
    let refused = breaker.clone().call(length).expect_err("clones share the circuit");
    assert_eq!(refused.reason(), RejectReason::CircuitOpen);
    assert_eq!(refused.into_task()(), Ok(4));
}

#[test]
fn settings_without_meaning_are_refused() {
    let fields = [CircuitBreaker::builder().failures(0), CircuitBreaker::builder().window(Duration::ZERO)]
        .map(|builder| builder.build().expect_err("invalid").field());
    assert_eq!(fields, ["failures", "window"]);
}
