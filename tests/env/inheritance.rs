//! PRI-5: who waits lends its priority.

use std::sync::{Arc, Mutex};

use overstrand::testing::TestEnvironment;
use overstrand::{CancelToken, Priority, SequencedTaskRunner, TaskHandle, TaskTraits};

/// The order in which a best-effort strand's task and an ordinary one run, in a pool of one worker, while an urgent task waits by `wait`.
fn order(wait: fn(&SequencedTaskRunner, TaskHandle<()>)) -> Vec<&'static str> {
    let env = TestEnvironment::builder().workers(1).baton().build();
    let (log, go) = (Arc::new(Mutex::new(Vec::new())), CancelToken::new());
    let note = |name: &'static str| {
        let log = Arc::clone(&log);
        move || log.lock().expect("no panic").push(name)
    };
    let slow = env.pool().create_sequenced_task_runner(TaskTraits::best_effort());
    let began = go.clone();
    env.pool().post_task(move || began.wait()).expect("open");
    env.run_until_idle();
    let awaited = slow.spawn(note("awaited"));
    for _ in 0..3 {
        env.pool().post_task(note("other")).expect("open");
    }
    let waits_on = slow.clone();
    let waiter = env.pool().task().priority(Priority::UserBlocking).spawn(move || wait(&waits_on, awaited));
    go.cancel();
    waiter.join().expect("it runs");
    env.run_until_idle();
    assert_eq!(slow.stats().queued, 0);
    std::mem::take(&mut *log.lock().expect("no panic"))
}

/// A task that joins lifts the strand it waits for above what is less urgent than itself.
#[test]
fn joining_task_lends_its_priority() {
    let joined = order(|_, awaited| awaited.join().expect("it runs"));
    assert_eq!(joined, ["awaited", "other", "other", "other"]);
    let called = order(|slow, _| slow.run_sync(|| ()).expect("open"));
    assert_eq!(called, ["awaited", "other", "other", "other"]);
    let several = order(|_, awaited| _ = overstrand::join_all([awaited]).join().expect("it runs"));
    assert_eq!(several, ["awaited", "other", "other", "other"]);
    let ignored = order(|_, awaited| drop(awaited));
    assert_eq!(ignored, ["other", "other", "other", "awaited"]);
}
