//! What is written down of tasks that have ended.

use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{
    CancelToken, ParallelTaskRunner, Priority, RecentTask, SequencedTaskRunner, SingleThreadTaskRunner, TaskTraits,
};

use crate::AnyResult;

fn names(tasks: &[RecentTask]) -> Vec<&str> {
    tasks.iter().map(|task| task.name.as_deref().unwrap_or("-")).collect()
}

/// Name, runner, place, priority, start, length and end of each task are told, the newest first, and the oldest are forgotten.
#[test]
fn ended_tasks_are_told_the_newest_first() -> AnyResult {
    let env = TestEnvironment::builder().workers(1).pool(|pool| pool.recent_tasks(3)).allow_panics().build();
    let strand = SequencedTaskRunner::builder(env.pool()).name("import").build()?;
    env.pool().post_task(|| ())?;
    env.run_until_idle();
    env.advance(Duration::from_secs(7));
    let line = line!() + 1;
    strand.task().name("slow").priority(Priority::UserBlocking).post(|| {
        assert!(!CancelToken::new().wait_timeout(Duration::from_secs(5)));
    })?;
    strand.task().name("bad").post(|| panic!("on purpose"))?;
    env.pool().post_task(|| ())?;
    env.advance(Duration::from_secs(10));
    let recent = env.pool().recent_tasks();
    assert_eq!(recent.len(), 3);
    let slow = recent.iter().find(|task| task.name.as_deref() == Some("slow")).expect("it ended");
    assert_eq!((slow.runner.as_deref(), slow.priority), (Some("import"), Priority::UserBlocking));
    assert_eq!((slow.location.line(), slow.chain[0].line()), (line, line));
    assert_eq!((slow.started, slow.duration), (Duration::from_secs(7), Duration::from_secs(5)));
    assert!(!slow.panicked);
    let bad = recent.iter().find(|task| task.name.as_deref() == Some("bad")).expect("it ended");
    assert_eq!((bad.started, bad.duration, bad.panicked), (Duration::from_secs(12), Duration::ZERO, true));
    Ok(())
}

/// Each kind of runner has a ring of its own, whether or not the pool has one; without one nothing is told.
#[test]
fn runners_have_rings_of_their_own() {
    for of_pool in [0, 100] {
        let builder = TestEnvironment::builder().workers(2).pool(move |pool| pool.recent_tasks(of_pool));
        builder.explore(0..40, |env| {
            let pool = env.pool();
            let strand = SequencedTaskRunner::builder(pool).recent_tasks(2).build().expect("valid");
            let thread = SingleThreadTaskRunner::builder(pool).name("ui").recent_tasks(9).build().expect("a thread");
            let limited = ParallelTaskRunner::builder(pool).max_concurrency(2).recent_tasks(9).build().expect("valid");
            let silent = pool.create_sequenced_task_runner(TaskTraits::default());
            for name in ["1", "2", "3"] {
                strand.task().name(name).post(|| ()).expect("open");
                thread.task().name(name).post(|| ()).expect("open");
                limited.task().name(name).post(|| ()).expect("open");
                silent.task().name(name).post(|| ()).expect("open");
                pool.task().name(name).post(|| ()).expect("open");
            }
            env.run_until_idle();
            assert_eq!(names(&strand.recent_tasks()), ["3", "2"]);
            assert_eq!(names(&thread.recent_tasks()), ["3", "2", "1"]);
            assert!(thread.recent_tasks().iter().all(|task| task.runner.as_deref() == Some("ui")));
            assert_eq!(limited.recent_tasks().len(), 3);
            assert!(silent.recent_tasks().is_empty());
            assert_eq!(pool.recent_tasks().len(), if of_pool == 0 { 0 } else { 15 });
        });
    }
}

/// Who has a result finds its task in the ring, whoever ran it; what was cancelled did not run.
#[test]
fn result_comes_after_the_task_is_written_down() {
    for is_baton in [false, true] {
        let builder = TestEnvironment::builder().workers(2).pool(|pool| pool.recent_tasks(100));
        let builder = if is_baton { builder.baton() } else { builder };
        builder.explore(0..60, |env| {
            let strand = SequencedTaskRunner::builder(env.pool()).recent_tasks(9).build().expect("valid");
            strand.task().name("value").spawn(|| 7).join().expect("it runs");
            assert_eq!(names(&strand.recent_tasks()), ["value"]);
            let line = line!() + 1;
            strand.run_sync(|| ()).expect("it runs");
            assert_eq!(strand.recent_tasks()[0].location.line(), line);
            let failed = strand.task().name("failed").spawn(|| panic!("on purpose")).join();
            assert!(failed.is_err() && strand.recent_tasks()[0].panicked);
            let fence = env.pool().fence();
            assert!(strand.task().name("cancelled").spawn(|| ()).cancel());
            drop(fence);
            strand.flush().expect("open");
            assert_eq!(names(&strand.recent_tasks()), ["failed", "-", "value"]);
            assert_eq!(env.pool().recent_tasks().len(), 3);
        });
    }
}
