//! Runners that are paused.

use std::sync::{Arc, Mutex};

use overstrand::testing::{Faults, TestEnvironment, check_conservation, yield_point};
use overstrand::{Close, JoinError, Pause, RunnerStats, TaskHandle, TaskTraits, ThreadMode, sometimes};

type Body = Box<dyn FnOnce() + Send>;

/// What the kinds of runners have in common here.
struct Kind {
    post: Box<dyn Fn(Body) -> TaskHandle<()> + Send>,
    pause: Box<dyn Fn() -> Pause + Send>,
    stats: Box<dyn Fn() -> RunnerStats>,
    close: Box<dyn Fn(Close)>,
}

macro_rules! kind {
    ($runner:expr) => {{
        let runner = $runner;
        let [post, pause, stats, close] = [0; 4].map(|_| runner.clone());
        Kind {
            post: Box::new(move |task| post.spawn(task)),
            pause: Box::new(move || pause.pause()),
            stats: Box::new(move || stats.stats()),
            close: Box::new(move |how| close.close(how)),
        }
    }};
}

fn kinds(env: &TestEnvironment) -> [Kind; 3] {
    let (pool, traits) = (env.pool(), TaskTraits::default());
    [
        kind!(pool.create_sequenced_task_runner(traits)),
        kind!(pool.create_parallel_task_runner(traits, 1).expect("valid")),
        kind!(pool.create_single_thread_task_runner(traits, ThreadMode::Dedicated).expect("a thread")),
    ]
}

/// While it is paused nothing starts; after the last resume all that was posted runs, in order.
#[test]
fn paused_runner_starts_nothing() {
    TestEnvironment::builder().workers(2).explore(0..200, |env| {
        for kind in kinds(env) {
            let log = Arc::new(Mutex::new(Vec::new()));
            let note = |number: u32| {
                let log = Arc::clone(&log);
                (kind.post)(Box::new(move || log.lock().expect("no panic").push(number)))
            };
            drop(note(1));
            env.run_until_idle();
            let (outer, inner) = ((kind.pause)(), (kind.pause)());
            let held = [note(2), note(3)];
            env.run_until_idle();
            drop(inner);
            env.run_until_idle();
            assert_eq!((log.lock().expect("no panic").len(), (kind.stats)().queued), (1, 2));
            outer.resume();
            held.into_iter().for_each(|held| held.join().expect("it runs"));
            assert_eq!(*log.lock().expect("no panic"), [1, 2, 3]);
            check_conservation((kind.stats)()).expect("it adds up");
        }
    });
}

/// Pauses that come and go beside posters and workers strand nothing, and keep the order.
#[test]
fn pauses_beside_posts_strand_nothing() {
    TestEnvironment::builder().workers(3).faults(Faults::none().yields(0.5)).baton().explore(0..300, |env| {
        for kind in kinds(env) {
            let log = Arc::new(Mutex::new(Vec::new()));
            let pause = kind.pause;
            let pauser = env.pool().spawn(move || {
                for _ in 0..3 {
                    let held = pause();
                    yield_point("paused");
                    drop(held);
                    yield_point("not paused");
                }
            });
            let posted: Vec<_> = (0..6)
                .map(|number| {
                    let log = Arc::clone(&log);
                    yield_point("between posts");
                    (kind.post)(Box::new(move || log.lock().expect("no panic").push(number)))
                })
                .collect();
            pauser.join().expect("it runs");
            posted.into_iter().for_each(|posted| posted.join().expect("it runs"));
            assert_eq!(*log.lock().expect("no panic"), [0, 1, 2, 3, 4, 5]);
        }
    });
}

/// Shutdown and `close(Discard)` end every pause: what must run runs, the rest is dropped and told.
#[test]
fn shutdown_and_discard_end_a_pause() {
    TestEnvironment::builder().workers(2).explore(0..50, |env| {
        for kind in kinds(env) {
            let held = (kind.pause)();
            let waits = (kind.post)(Box::new(|| ()));
            (kind.close)(Close::Discard);
            assert!(matches!(waits.join(), Err(JoinError::Cancelled)));
            drop(held);
        }
        let must = env.pool().create_sequenced_task_runner(TaskTraits::default().block_shutdown());
        let may = env.pool().create_sequenced_task_runner(TaskTraits::default());
        let pauses = [must.pause(), may.pause()];
        let (runs, dropped) = (must.spawn(|| 1), may.spawn(|| 2));
        let report = env.pool().shutdown().expect("outside");
        assert_eq!(runs.join().ok(), Some(1));
        assert!(matches!(dropped.join(), Err(JoinError::ShutDown)));
        sometimes!(report.dropped > 0, "dropped at shutdown");
        drop(pauses);
        drop(must.pause());
    });
}

/// A pause that outlives the runner's handles keeps what was accepted; resumed, it runs (SEQ-6).
#[test]
fn paused_runner_without_handles_runs_when_resumed() {
    let env = TestEnvironment::with_seed(1);
    let seq = env.pool().create_sequenced_task_runner(TaskTraits::default());
    let (pause, waits) = (seq.pause(), seq.spawn(|| 7));
    drop(seq);
    env.run_until_idle();
    assert!(!waits.is_finished());
    drop(pause);
    assert_eq!(waits.join().ok(), Some(7));
}
