//! How what a run returns is read, and the dice.

use std::io;
use std::sync::Arc;

use crate::supervise::outcome::{Fatal, Outcome, OutcomeKind, RunEnd, SelfCancelled};
use crate::supervise::restart::Exit;
use crate::time::Dice;

#[test]
fn what_a_body_returns_is_read_by_its_type() {
    let of = |result| RunEnd::of(result);
    assert_eq!(of(Ok(Ok(()))).exit(), Exit::Success);
    assert_eq!(of(Ok(Err(SelfCancelled.into()))).exit(), Exit::Cancelled);
    assert_eq!(of(Ok(Err("plain".into()))).exit(), Exit::Failed);
    let panicked = of(Err(Box::new("out of paper")));
    assert_eq!(panicked.error().map(|error| error.to_string()).as_deref(), Some("the run panicked: out of paper"));
    assert_eq!(panicked.exit(), Exit::Panicked);
    let fatal = of(Ok(Err(Fatal::new(io::Error::from(io::ErrorKind::AddrInUse)).into())));
    assert_eq!(fatal.exit(), Exit::Fatal);
    let Outcome::Fatal(error) = fatal.into_outcome() else { panic!("it stays fatal") };
    assert_eq!(error.downcast_ref::<io::Error>().map(io::Error::kind), Some(io::ErrorKind::AddrInUse));
}

#[test]
fn outcomes_say_what_they_are() {
    let failed: Outcome<u8> = Outcome::Failed(Arc::new(SelfCancelled));
    assert_eq!(failed.to_string(), "failed: the task ended itself");
    assert!(failed.kind().is_failure() && !OutcomeKind::Evicted.is_failure());
    assert_eq!(Outcome::Completed(7).completed(), Some(7));
    assert_eq!(Outcome::<u8>::Evicted.completed(), None);
}

#[test]
fn dice_show_a_number_below_one() {
    let mut dice = Dice(7);
    let thrown: Vec<f64> = (0..10_000).map(|_| dice.throw()).collect();
    assert!(thrown.iter().all(|share| (0.0..1.0).contains(share)));
    let mean = thrown.iter().sum::<f64>() / 10_000.0;
    assert!((0.48..0.52).contains(&mean), "{mean}");
}
