//! What a dropped environment fails the test for.

use overstrand::testing::TestEnvironment;
use overstrand::{CancelToken, TaskTraits};

use crate::panic_text;

/// A failed assertion in a posted task fails the test.
#[test]
fn panic_that_nobody_was_told_of_fails_the_test() {
    for is_baton in [false, true] {
        let text = panic_text(|| {
            let builder = TestEnvironment::builder().seed(4);
            let env = if is_baton { builder.baton().build() } else { builder.build() };
            env.pool().post_task(|| panic!("inside")).expect("open");
            env.run_until_idle();
        });
        assert!(text.contains("panics that nobody was told of") && text.contains("inside"), "{text}");
        assert!(text.contains("seed 4"), "{text}");
    }
}

/// Who has the handle has been told; and one may say that panics are expected.
#[test]
fn panic_that_somebody_hears_of_is_fine() {
    let env = TestEnvironment::with_seed(4);
    assert!(env.pool().spawn(|| panic!("told")).join().is_err());
    drop(env);
    let env = TestEnvironment::builder().allow_panics().build();
    env.pool().post_task(|| panic!("allowed")).expect("open");
}

/// Runners and pools that live on are leaks, or were declared too early.
#[test]
fn handle_that_outlives_the_environment_is_reported() {
    let mut kept = None;
    let text = panic_text(|| {
        let env = TestEnvironment::with_seed(4);
        kept = Some(env.pool().create_sequenced_task_runner(TaskTraits::default()));
    });
    assert!(text.contains("0 handles of the pool and 1 runners outlive"), "{text}");
    let env = TestEnvironment::builder().allow_leaks().build();
    kept = Some(env.pool().create_sequenced_task_runner(TaskTraits::default()));
    drop(env);
    assert!(kept.expect("it was kept").post_task(|| ()).is_err());
}

/// SEQ-6: a runner that its own tasks hold is no leak: they are dropped at the end.
#[test]
fn runner_captured_by_its_tasks_is_no_leak() {
    for is_baton in [false, true] {
        let builder = TestEnvironment::builder();
        let env = if is_baton { builder.baton().build() } else { builder.build() };
        let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
        let own = strand.clone();
        strand.post_delayed_task(std::time::Duration::from_secs(1), move || drop(own)).expect("open");
        let own = strand.clone();
        strand.post_task(move || drop(own)).expect("open");
    }
}

/// ENV-3: the order is not the seed's alone when another thread posts.
#[test]
fn post_of_a_foreign_thread_is_reported() {
    let text = panic_text(|| {
        let env = TestEnvironment::with_seed(4);
        let pool = env.pool().clone();
        std::thread::spawn(move || pool.post_task(|| ()).expect("open")).join().expect("no panic");
    });
    assert!(text.contains("1 posts or wake-ups by threads that are not driven"), "{text}");
    let env = TestEnvironment::builder().allow_foreign_threads().build();
    let pool = env.pool().clone();
    std::thread::spawn(move || pool.post_task(|| ()).expect("open")).join().expect("no panic");
    env.run_until_idle();
    assert_eq!(env.pool().stats().ran, 1);
}

/// The same for a wake-up: here the test waits in real time for a thread of its own, which is what makes the order not the seed's.
#[test]
fn wake_up_by_a_foreign_thread_is_reported() {
    let text = panic_text(|| {
        let env = TestEnvironment::with_seed(4);
        let token = CancelToken::new();
        let (go, signal) = (std::sync::mpsc::channel::<()>(), token.clone());
        let (tell, told) = go;
        let (over, done) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            told.recv().expect("somebody tells");
            signal.cancel();
            drop(over);
        });
        let waits = token.clone();
        let waiting = env.pool().spawn(move || waits.wait());
        // While the task waits, another lets the foreign thread cancel.
        let helper = env.pool().spawn(move || {
            tell.send(()).expect("somebody listens");
            let _ = done.recv();
        });
        assert!(waiting.join().is_ok() && helper.join().is_ok());
        other.join().expect("no panic");
    });
    assert!(text.contains("1 posts or wake-ups by threads that are not driven"), "{text}");
}
