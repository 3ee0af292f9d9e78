//! What happens once: the end of a value on its runner, an event.

use std::sync::{Arc, Mutex};

use overstrand::testing::TestEnvironment;
use overstrand::{Close, DropOn, OneShotEvent, Overflow, ParallelTaskRunner, RejectReason, SequencedTaskRunner};

use crate::AnyResult;
use crate::owned::{Grave, named};

/// The value is dropped on its runner, whoever lets go of it, and where it is if the runner refuses.
#[test]
fn value_is_dropped_on_its_runner() {
    TestEnvironment::explore(0..50, |env| {
        let (home, grave) = (named(env, "home"), Grave::new());
        let shared = Arc::new(DropOn::new(&home, grave.mortal()));
        let other = Arc::clone(&shared);
        env.pool().post_task(move || assert!(other.0.places().is_empty())).expect("open");
        drop(shared);
        let inside = DropOn::new(&home, grave.mortal());
        let seen = grave.clone();
        let dropped = home.spawn(move || {
            let before = seen.places().len();
            drop(inside);
            seen.places().len() - before
        });
        assert_eq!(dropped.join().expect("it runs"), 0, "a task of its own");
        env.run_until_idle();
        assert_eq!(grave.places(), vec![Some("home".to_owned()); 2]);
        let (mut kept, refused) = (DropOn::new(&home, 1), DropOn::new(&home, grave.mortal()));
        *kept += 1;
        assert_eq!((*kept, kept.into_inner()), (2, 2));
        home.close(Close::Drain);
        drop(refused);
        assert_eq!(grave.places().last(), Some(&None));
    });
}

/// What was posted before the signal comes in order, what is posted later behind it, also from two threads at once.
#[test]
fn event_posts_in_order() {
    TestEnvironment::builder().baton().explore(0..100, |env| {
        let (home, event, seen) = (named(env, "home"), OneShotEvent::new(), Arc::new(Mutex::new(Vec::new())));
        let post = move |event: &OneShotEvent, number: u32| {
            let noted = Arc::clone(&seen);
            event.post(&home, move || noted.lock().expect("no panic").push(number)).expect("open");
            Arc::clone(&seen)
        };
        (0..3).for_each(|number| drop(post(&event, number)));
        env.run_until_idle();
        assert!(!event.is_signalled());
        let signals: Vec<_> =
            (0..2).map(|_| event.clone()).map(|event| env.pool().spawn(move || event.signal())).collect();
        let (again, later) = (post.clone(), event.clone());
        let posts = env.pool().spawn(move || (3..6).for_each(|number| drop(again(&later, number))));
        for handle in signals.into_iter().chain([posts]) {
            handle.join().expect("it runs");
        }
        let seen = post(&event, 6);
        env.run_until_idle();
        assert_eq!(*seen.lock().expect("no panic"), (0..7).collect::<Vec<_>>());
        assert!(event.is_signalled());
    });
}

/// What is posted while the event is being signalled stays behind what was kept, and a panic inside of a post keeps nothing back.
#[test]
fn event_is_overtaken_by_nobody() -> AnyResult {
    let env = TestEnvironment::builder().allow_panics().build();
    let (home, event, seen) = (named(&env, "home"), OneShotEvent::new(), Arc::new(Mutex::new(Vec::new())));
    let full = ParallelTaskRunner::builder(env.pool()).capacity(1, Overflow::CallerRuns).build()?;
    let pause = full.pause();
    full.post_task(|| ())?;
    let post = |event: &OneShotEvent, home: &SequencedTaskRunner, seen: &Arc<Mutex<Vec<u32>>>, number| {
        let noted = Arc::clone(seen);
        event.post(home, move || noted.lock().expect("no panic").push(number)).expect("open");
    };
    let (again, there, noted) = (event.clone(), home.clone(), Arc::clone(&seen));
    // It runs inside of the signal, since its runner is full.
    let inside = move || {
        post(&again, &there, &noted, 2);
        panic!("inside of the signal");
    };
    event.post(&full, inside)?;
    post(&event, &home, &seen, 1);
    let signals = event.clone();
    assert!(env.pool().spawn(move || signals.signal()).join().is_ok(), "the panic stays with its task");
    post(&event, &home, &seen, 3);
    drop(pause);
    env.run_until_idle();
    assert_eq!(*seen.lock().expect("no panic"), [1, 2, 3]);
    Ok(())
}

/// An event that never happens drops what waits for it; a closed runner refuses after the signal, and gives back.
#[test]
fn event_that_never_happens_drops_its_posts() -> AnyResult {
    let env = TestEnvironment::with_seed(4);
    let (home, grave) = (named(&env, "home"), Grave::new());
    let (never, late) = (OneShotEvent::new(), OneShotEvent::default());
    for event in [&never, &late] {
        let mortal = grave.mortal();
        event.post(&home, move || panic!("never: {:?}", mortal.0.places()))?;
    }
    drop(never);
    assert_eq!(grave.places(), [None]);
    home.close(Close::Drain);
    late.signal();
    assert_eq!(grave.places(), [None, None]);
    let mortal = grave.mortal();
    let refused = late.post(&home, move || drop(mortal)).expect_err("it is closed");
    assert_eq!((refused.reason(), grave.places().len()), (RejectReason::Closed, 2));
    Ok(())
}
