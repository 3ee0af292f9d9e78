//! Later calls of bound state, which keep nothing alive.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{Close, RejectReason, SequenceBound, ThreadMode};

use crate::AnyResult;
use crate::owned::{Grave, named};

const SECOND: Duration = Duration::from_secs(1);

/// A delayed call comes in time, in its turn; one that outlives the last handle is dropped with it, and so is the state.
#[test]
fn delayed_call_keeps_no_state_alive() {
    TestEnvironment::explore(0..100, |env| {
        let (home, grave, closures) = (named(env, "home"), Grave::new(), Grave::new());
        let mortal = grave.mortal();
        let state = SequenceBound::with(&home, move || (Vec::new(), mortal));
        for number in [2, 1] {
            state.post_delayed(SECOND * number, move |(list, _)| list.push(number)).expect("open");
        }
        let last = closures.mortal();
        let late = state.post_delayed(SECOND * 3, move |_| panic!("too late: {:?}", last.0.places())).expect("open");
        env.advance(SECOND * 2);
        assert_eq!(state.call(|(list, _)| list.clone()).join().expect("it runs"), [1, 2]);
        let weak = state.downgrade();
        assert!(weak.upgrade().is_some_and(|again| again.runner().name() == Some("home")) && late.is_pending());
        drop(state);
        assert!(!late.is_pending() && weak.clone().upgrade().is_none());
        assert_eq!(closures.places(), [None], "dropped with the last handle");
        env.run_until_idle();
        assert_eq!(grave.places(), [Some("home".to_owned())]);
    });
}

/// DLY-6: repeated calls go on through panics that the state survives, and end with the state.
#[test]
fn repeated_call_ends_with_its_state() -> AnyResult {
    let env = TestEnvironment::builder().allow_panics().build();
    let (home, count) = (named(&env, "home"), Arc::new(AtomicUsize::new(0)));
    let counts = |panics_at: u32| {
        let counted = Arc::clone(&count);
        move |number: &mut u32| {
            counted.fetch_add(1, Ordering::SeqCst);
            *number += 1;
            assert!(*number != panics_at, "once in a while");
        }
    };
    let state = SequenceBound::new(&home, 0);
    let series = state.post_repeating(SECOND, counts(0))?;
    env.advance(SECOND * 3);
    assert_eq!((count.swap(0, Ordering::SeqCst), state.call(|number| *number).join()?), (3, 3));
    drop(state);
    assert!(series.is_stopped());
    env.advance(SECOND * 3);
    assert_eq!(count.swap(0, Ordering::SeqCst), 0);

    let poisoned = SequenceBound::new(&home, 0);
    let series = poisoned.post_repeating(SECOND, counts(2))?;
    env.advance(SECOND * 5);
    assert!(series.is_stopped(), "the state is gone");
    assert_eq!((count.swap(0, Ordering::SeqCst), series.panics()), (2, 1));
    let refused = poisoned.post_repeating(SECOND, |_| ()).map_err(|rejected| rejected.reason());
    assert!(matches!(refused, Err(RejectReason::Poisoned)));
    assert!(poisoned.post_delayed(SECOND, |_| ()).is_err());

    let rebuilt = SequenceBound::rebuilding(&home, || 0);
    let series = rebuilt.post_repeating(SECOND, counts(2))?;
    env.advance(SECOND * 5);
    assert_eq!((count.load(Ordering::SeqCst), series.panics(), series.is_stopped()), (5, 2, false));
    series.stop();
    assert_eq!(Arc::strong_count(&count), 1);
    Ok(())
}

/// A closed runner gives the closures back; state that only its thread may touch has later calls as well.
#[test]
fn later_calls_are_refused_whole() -> AnyResult {
    let env = TestEnvironment::builder().baton().build();
    let thread = env.pool().create_single_thread_task_runner(Default::default(), ThreadMode::Dedicated)?;
    let state = SequenceBound::with(&thread, || std::rc::Rc::new(std::cell::Cell::new(1)));
    let told = Arc::new(Mutex::new(0));
    let noted = Arc::clone(&told);
    state.post_delayed(SECOND, move |state| *noted.lock().expect("no panic") = state.get())?;
    env.advance(SECOND);
    assert_eq!(*told.lock().expect("no panic"), 1);

    let grave = Grave::new();
    let (once, often) = (grave.mortal(), grave.mortal());
    thread.close(Close::Drain);
    let once = state.post_delayed(SECOND, move |_| drop(once)).expect_err("it is closed");
    let often = state.post_repeating(SECOND, move |_| _ = &often).expect_err("it is closed");
    assert_eq!((once.reason(), often.reason(), grave.places().len()), (RejectReason::Closed, RejectReason::Closed, 0));
    drop((once, often));
    assert_eq!(grave.places().len(), 2);
    Ok(())
}
