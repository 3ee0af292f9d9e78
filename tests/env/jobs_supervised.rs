//! Resumable bodies under a supervisor: preempted, resumed, restarted, and one outcome (RES-1, RES-4, SUP-1).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{
    Fatal, OnStuck, Outcome, Step, SubmitError, TaskContext, TaskResult, TaskSpec, TaskStatus, TaskTraits,
};

use crate::AnyResult;
use crate::jobs_classes::{Log, explore, note, noted};
use crate::supervise_runs::{Gauge, supervisor};

const SECOND: Duration = Duration::from_secs(1);

/// Urgent work is done between two steps, work of the same class that waits too; the state is what it was.
#[test]
fn resumable_body_makes_room_and_goes_on() {
    TestEnvironment::builder().workers(1).explore(0..60, |env| {
        let (supervisor, log, pool) = (supervisor(env), Log::default(), env.pool().clone());
        let own = Arc::clone(&log);
        let step = move |row: &mut u32, cx: &TaskContext| {
            *row += 1;
            note(&own, format!("row {row}"));
            if *row == 2 {
                for (name, traits) in [("same", TaskTraits::best_effort()), ("urgent", TaskTraits::user_blocking())] {
                    let log = Arc::clone(&own);
                    drop(pool.post_task_with(traits, move || note(&log, name)));
                }
                assert!(cx.should_yield());
            }
            if *row == 4 {
                return Ok(Step::Done(*row));
            }
            Ok(if cx.should_yield() { Step::Yield } else { Step::Again })
        };
        let spec = TaskSpec::resumable("rows", 0, step).traits(TaskTraits::best_effort());
        let task = supervisor.submit(spec).expect("there is room");
        assert_eq!(task.outcome().join().expect("it ends").completed(), Some(4));
        assert_eq!(noted(&log), ["row 1", "row 2", "urgent", "same", "row 3", "row 4"]);
    });
}

/// The next run goes on where a failed one was, be it by an error, a panic or a time limit; never two runs at once.
#[test]
fn restarted_body_goes_on_where_it_was() {
    explore(40, |env| {
        let (supervisor, gauge, rows) = (supervisor(env), Gauge::default(), Arc::new(Mutex::new(Vec::new())));
        let (counted, noted) = (gauge.clone(), Arc::clone(&rows));
        let step = move |row: &mut u64, cx: &TaskContext| -> TaskResult<Step<u64>> {
            *row += 1;
            noted.lock().expect("no panic inside").push((*row, cx.generation()));
            counted.run(|| overstrand::testing::yield_point("inside"));
            match *row {
                2 => Err("the line was cut".into()),
                4 => panic!("out of paper"),
                6 => Ok(Step::Done(*row)),
                _ => Ok(Step::Yield),
            }
        };
        let task = supervisor.submit(TaskSpec::resumable("rows", 0, step)).expect("there is room");
        assert_eq!(task.outcome().join().expect("it ends").completed(), Some(6));
        assert_eq!(*rows.lock().expect("no panic inside"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3)]);
        assert_eq!((gauge.most(), supervisor.stats().retried), (1, 2));
    });
}

/// Cancelled anywhere, it is over after its step, its state is dropped once, and before the outcome is seen.
#[test]
fn cancelled_body_ends_after_its_step() {
    explore(60, |env| {
        let (supervisor, gauge) = (supervisor(env), Gauge::default());
        let (state, seen) = (gauge.hold(), Arc::new(AtomicUsize::new(0)));
        let (steps, pool, own) = (Arc::clone(&seen), env.pool().clone(), supervisor.clone());
        let step = move |_: &mut _, _: &TaskContext| {
            let step = steps.fetch_add(1, Ordering::SeqCst);
            if step == 3 {
                let own = own.clone();
                drop(pool.post_task(move || assert!(own.find("endless").is_some_and(|task| task.remove()))));
            }
            Ok(if step % 2 == 0 { Step::<()>::Yield } else { Step::Again })
        };
        let task = supervisor.submit(TaskSpec::resumable("endless", state, step)).expect("there is room");
        assert!(matches!(task.outcome().join(), Ok(Outcome::Cancelled)));
        let steps = seen.load(Ordering::SeqCst);
        env.run_until_idle();
        assert_eq!((gauge.live(), seen.load(Ordering::SeqCst), task.status()), (0, steps, TaskStatus::Ended));
    });
}

/// A fatal error ends it, as any body.
#[test]
fn fatal_step_is_not_tried_again() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let step = |_: &mut (), _: &TaskContext| -> TaskResult<Step<()>> { Err(Fatal::new("no such file").into()) };
    let supervisor = supervisor(&env);
    let task = supervisor.submit(TaskSpec::resumable("index", (), step))?;
    assert!(matches!(task.outcome().join()?, Outcome::Fatal(error) if error.to_string() == "no such file"));
    Ok(())
}

/// There is one state: nothing can take the place of a run that has it.
#[test]
fn stuck_body_is_not_replaced() {
    let env = TestEnvironment::with_seed(2);
    let spec = TaskSpec::resumable("index", (), |_, _| Ok(Step::Done(())));
    let refused = supervisor(&env).submit(spec.on_stuck(OnStuck::Replace { at_most: 1 }));
    assert!(matches!(refused, Err(SubmitError::Invalid(_, error)) if error.field() == "on_stuck"));
}

/// SUP-8: who waits for a worker cannot beat, and is not silent; who has one and does not beat, is.
#[test]
fn wait_for_a_worker_is_no_silence() -> AnyResult {
    let env = TestEnvironment::with_seed(3);
    let (supervisor, pool) = (supervisor(&env), env.pool().clone());
    let fence = Arc::new(Mutex::new(None));
    let shared = Arc::clone(&fence);
    let step = move |step: &mut u32, _: &TaskContext| {
        *step += 1;
        if *step == 1 {
            *shared.lock().expect("no panic inside") = Some(pool.fence_best_effort());
            return Ok(Step::Yield);
        }
        Ok(Step::Done(*step))
    };
    let spec = TaskSpec::resumable("index", 0, step).traits(TaskTraits::best_effort());
    let task = supervisor.submit(spec.watchdog(SECOND))?;
    env.advance(SECOND * 10);
    assert_eq!((task.status(), task.errors().len()), (TaskStatus::Running, 0));
    drop(fence.lock().expect("no panic inside").take());
    assert_eq!(task.outcome().join()?.completed(), Some(2));
    Ok(())
}
