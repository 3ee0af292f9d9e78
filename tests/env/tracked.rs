//! Tasks that are called off together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{CancelToken, TaskTracker};

use crate::AnyResult;
use crate::owned::{Grave, named};

const SECOND: Duration = Duration::from_secs(1);

/// Tracked tasks are called off together, replies too; what runs counts until it is over.
#[test]
fn tracked_tasks_are_called_off_together() {
    TestEnvironment::explore(0..100, |env| {
        let (home, away) = (named(env, "home"), named(env, "away"));
        let tracker = Arc::new(TaskTracker::new());
        let (grave, replies) = (Grave::new(), Arc::new(AtomicUsize::new(0)));
        let ask = |name: &'static str| {
            let (mortal, replied) = (grave.mortal(), Arc::clone(&replies));
            let reply = move || _ = replied.fetch_add(1, Ordering::SeqCst);
            tracker.task(&away).name(name).post_and_reply_on(&home, move || drop(mortal), reply).expect("open");
        };
        let pause = home.pause();
        ask("first");
        env.run_until_idle();
        assert_eq!((replies.load(Ordering::SeqCst), tracker.len()), (0, 1), "its reply is not over");
        pause.resume();
        env.run_until_idle();
        assert_eq!((replies.load(Ordering::SeqCst), tracker.len()), (1, 0));

        // Called off on the origin, no reply comes after that, however far the task is.
        ask("second");
        tracker.task(&away).delay(SECOND).post(|| panic!("called off")).expect("open");
        let ticks = tracker.task(&away).repeat(SECOND, || panic!("called off")).expect("open");
        let (calls_off, replied) = (Arc::clone(&tracker), Arc::clone(&replies));
        let seen = home.spawn(move || {
            calls_off.cancel_all();
            replied.load(Ordering::SeqCst)
        });
        let seen = seen.join().expect("it runs");
        env.run_until_idle();
        assert_eq!((replies.load(Ordering::SeqCst), tracker.is_empty()), (seen, true));
        assert!(ticks.is_stopped());

        let (runs, own) = (tracker.task(&away).spawn(overstrand::current::cancel_token), away.clone());
        let token = runs.join().expect("it runs");
        let later = tracker.task(&own).delay(SECOND).post_delayed(|| ()).expect("open");
        assert_eq!((tracker.len(), later.is_pending(), token.is_cancelled()), (1, true, false));
        drop(tracker);
        assert!(!later.is_pending());
        env.advance(SECOND * 2);
        assert_eq!(grave.places().len(), 2);
    });
}

/// A running tracked task sees the signal, and counts until it is over.
#[test]
fn running_tracked_task_sees_the_signal() -> AnyResult {
    let env = TestEnvironment::builder().baton().build();
    let tracker = TaskTracker::new();
    let starts = CancelToken::new();
    let told = starts.clone();
    let runs = tracker.task(env.pool()).spawn(move || {
        told.cancel();
        overstrand::current::cancel_token().wait();
    });
    starts.wait();
    assert_eq!(tracker.len(), 1);
    tracker.cancel_all();
    runs.join()?;
    env.run_until_idle();
    assert!(tracker.is_empty());
    Ok(())
}
