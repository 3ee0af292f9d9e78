//! What dumps tell of runners.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{
    CancelToken, Close, Dump, MainThreadTaskRunner, Overflow, ParallelTaskRunner, Priority, RunnerKind,
    SequencedTaskRunner, SingleThreadTaskRunner, TaskTraits,
};

use crate::AnyResult;

const SECOND: Duration = Duration::from_secs(1);

/// Runners with something to do are told, with their kind, queue and settings; idle, anonymous and forgotten ones are not.
#[test]
fn runners_that_wait_are_told() {
    TestEnvironment::builder().workers(2).explore(0..40, |env| {
        let pool = env.pool();
        let import = SequencedTaskRunner::builder(pool).name("import").capacity(8, Overflow::Reject).build();
        let fetch = ParallelTaskRunner::builder(pool).name("fetch").traits(TaskTraits::best_effort()).build();
        let (import, fetch) = (import.expect("valid"), fetch.expect("valid"));
        let ui = SingleThreadTaskRunner::builder(pool).build().expect("a thread");
        let idle = SequencedTaskRunner::builder(pool).name("idle").build().expect("valid");
        let gone = SequencedTaskRunner::builder(pool).name("gone").build().expect("valid");
        let anonymous = pool.create_sequenced_task_runner(TaskTraits::default());
        let fence = pool.fence();
        import.post_task(|| ()).expect("open");
        import.task().priority(Priority::UserBlocking).post(|| ()).expect("open");
        import.post_delayed_task(SECOND, || ()).expect("open");
        import.close(Close::Drain);
        fetch.post_task(|| ()).expect("open");
        ui.post_task(|| ()).expect("open");
        anonymous.post_task(|| ()).expect("open");
        drop(gone);
        let told = pool.dump().runners;
        let rows: Vec<_> = told.iter().map(|runner| (runner.name.as_deref(), runner.kind, runner.queued)).collect();
        let expected = [
            (Some("import"), RunnerKind::Sequenced, 2),
            (Some("fetch"), RunnerKind::Parallel, 1),
            (None, RunnerKind::SingleThread, 1),
        ];
        assert_eq!(rows, expected);
        assert_eq!((told[0].delayed, told[0].running, told[0].is_closed), (1, 0, true));
        assert_eq!((told[0].capacity, told[0].priority), (Some(8), Priority::UserBlocking));
        assert_eq!((told[1].capacity, told[1].priority, told[1].is_closed), (None, Priority::BestEffort, false));
        assert_eq!(told[1].no_progress_for, Some(Duration::ZERO));
        drop(fence);
        env.advance(SECOND);
        assert!(pool.dump().runners.is_empty());
        drop(idle);
    });
}

/// The age of a runner that does not get on: never more than the truth, counted from the first look that saw it so, and anew after each task.
#[test]
fn runner_without_progress_has_an_age() {
    TestEnvironment::builder().workers(2).explore(0..40, |env| {
        let import = SequencedTaskRunner::builder(env.pool()).name("import").build().expect("valid");
        let dumps = Arc::new(Mutex::new(Vec::<Dump>::new()));
        for _ in 0..2 {
            import.post_task(|| assert!(!CancelToken::new().wait_timeout(60 * SECOND))).expect("open");
        }
        for seconds in [10, 40, 70, 80] {
            let (pool, dumps) = (env.pool().clone(), Arc::clone(&dumps));
            let look = move || dumps.lock().expect("no panic").push(pool.dump());
            env.pool().post_delayed_task(seconds * SECOND, look).expect("open");
        }
        import.post_delayed_task(65 * SECOND, || ()).expect("open");
        env.advance(120 * SECOND);
        let dumps = dumps.lock().expect("no panic");
        let ages: Vec<_> = dumps.iter().map(|dump| dump.runners[0].no_progress_for.expect("one is queued")).collect();
        assert!(ages[0] <= 10 * SECOND && ages[1] >= 30 * SECOND && ages[1] <= 40 * SECOND, "{ages:?}");
        assert!(ages[2] <= 5 * SECOND && ages[3] >= 10 * SECOND && ages[3] <= 15 * SECOND, "{ages:?}");
        let text = dumps[1].to_string();
        assert!(
            text.contains(
                "sequenced runner \"import\" (UserVisible): 1 queued, 1 delayed, 1 running, no progress for "
            ),
            "{text}"
        );
        drop(dumps);
    });
}

/// The delayed tasks that are due first are told one by one, on whatever they wait; what the crate waits for itself is not.
#[test]
fn next_delayed_tasks_are_told() -> AnyResult {
    let env = TestEnvironment::builder().workers(1).build();
    let pool = env.pool();
    let import = SequencedTaskRunner::builder(pool).name("import").build()?;
    let fetch = ParallelTaskRunner::builder(pool).name("fetch").build()?;
    let _token = CancelToken::with_timeout(SECOND);
    for hours in 3..40 {
        pool.post_delayed_task(hours * 3600 * SECOND, || ())?;
    }
    let cancelled = pool.post_delayed_task(SECOND, || ())?;
    fetch.post_delayed_task(20 * SECOND, || ())?;
    let line = line!() + 1;
    import.task().name("rows").delay(10 * SECOND).post(|| ())?;
    assert!(cancelled.cancel());
    env.advance(4 * SECOND);
    let dump = pool.dump();
    assert_eq!((dump.stats.delayed, dump.delayed.len()), (39, 16));
    let rows = &dump.delayed[0];
    assert_eq!((rows.name.as_deref(), rows.runner.as_deref()), (Some("rows"), Some("import")));
    assert_eq!((rows.due_in, rows.chain[0].line()), (6 * SECOND, line));
    assert_eq!((dump.delayed[1].runner.as_deref(), dump.delayed[1].due_in), (Some("fetch"), 16 * SECOND));
    assert!(dump.delayed.is_sorted_by_key(|task| task.due_in));
    let text = dump.to_string();
    assert!(text.contains("due in 6s: \"rows\" of \"import\", posted at ") && text.contains("dump.rs"), "{text}");
    Ok(())
}

/// The thread of a main-thread runner is told about in the same way.
#[test]
fn main_thread_has_a_dump() -> AnyResult {
    let main = MainThreadTaskRunner::new();
    let ui = main.create_runner("ui", TaskTraits::user_blocking());
    ui.post_task(|| ())?;
    ui.post_delayed_task(3600 * SECOND, || ())?;
    let dump = main.dump();
    assert_eq!((&*dump.pool, dump.runners.len(), dump.stats.queued, dump.stats.delayed), ("main", 1, 1, 1));
    assert_eq!((dump.runners[0].name.as_deref(), dump.runners[0].kind), (Some("ui"), RunnerKind::SingleThread));
    main.run_until_idle();
    assert_eq!((main.dump().runners[0].queued, main.dump().runners[0].delayed), (0, 1));
    Ok(())
}
