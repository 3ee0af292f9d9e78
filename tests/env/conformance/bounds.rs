//! POST-7 and POST-9: full queues, on every kind that can be given a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use overstrand::{CancelToken, Close, Overflow, ParallelTaskRunner, RejectReason, SequencedTaskRunner};
use overstrand::{SingleThreadTaskRunner, TaskTraits, ThreadMode};

use super::kinds::{Own, Runner};
use super::notes::{Log, OnDrop, SECOND};
use super::stage::{Stage, Trial};

const CAPACITY: usize = 3;

/// What every bounded kind offers; the other policy is for parallel runners only.
const POLICIES: [Overflow; 3] = [Overflow::Reject, Overflow::DropOldest, Overflow::Block];

fn bounded(policy: Overflow) -> Trial {
    Trial::plain().of(|kind| kind.is_boundable).bound(CAPACITY, policy)
}

/// Posts one task more than there is room for, of which none has started.
fn overfill(stage: &Stage<'_>, log: &Log<usize>) {
    for number in 0..CAPACITY {
        stage.runner.post(log.noting(number)).expect("there is room");
    }
    assert_eq!(stage.stats().queued, CAPACITY as u64, "the depth is visible");
}

/// POST-9: queues are unbounded by default, and their depth is visible.
#[test]
fn queue_is_unbounded_by_default() {
    Trial::plain().run(|stage| {
        for _ in 0..200 {
            stage.runner.post(|| ()).expect("unbounded");
        }
        assert_eq!((stage.stats().queued, stage.stats().posted), (200, 200));
        stage.settle();
        assert_eq!((stage.stats().queued, stage.stats().ran), (0, 200));
    });
}

/// POST-9, POST-2: `Reject` gives the task back, says why, counts it, and accepts again when there is room.
#[test]
fn full_queue_rejects() {
    bounded(Overflow::Reject).run(|stage| {
        let log = Log::new();
        overfill(stage, &log);
        let refused = stage.runner.post(log.noting(100)).expect_err("full");
        assert_eq!(refused.reason(), RejectReason::Full);
        let handle = stage.runner.spawn(log.noting(101));
        assert!(handle.is_finished() && handle.join().is_err());
        assert_eq!((stage.stats().rejected, stage.stats().posted), (2, CAPACITY as u64));
        stage.settle();
        assert_eq!(log.len(), CAPACITY);
        refused.into_task()();
        stage.runner.post(log.noting(102)).expect("there is room again");
        stage.settle();
        assert_eq!(log.seen()[CAPACITY..], [100, 102]);
    });
}

/// POST-9, POST-2: `DropOldest` drops the one that has waited longest, at once and on the posting thread, and accepts the new one.
#[test]
fn full_queue_drops_the_oldest() {
    bounded(Overflow::DropOldest).run(|stage| {
        let (ran, dropped) = (Log::new(), Log::new());
        let here = std::thread::current().id();
        for number in 0..CAPACITY + 2 {
            let (note, unrun, has_run) = (ran.clone(), dropped.clone(), Arc::new(AtomicBool::new(false)));
            let runs = Arc::clone(&has_run);
            let end = OnDrop(move || {
                if !has_run.load(Ordering::SeqCst) {
                    unrun.push((number, std::thread::current().id() == here));
                }
            });
            let task = move || {
                let _end = &end;
                runs.store(true, Ordering::SeqCst);
                note.push(number);
            };
            stage.runner.post(task).expect("accepted");
        }
        assert_eq!(dropped.seen(), [(0, true), (1, true)]);
        assert_eq!((stage.stats().queued, stage.stats().dropped), (CAPACITY as u64, 2));
        stage.settle();
        let mut ran = ran.seen();
        ran.sort_unstable();
        assert_eq!(ran, [2, 3, 4]);
        assert_eq!(stage.own.flush(), Ok(()), "what overflowed is over");
        assert_eq!((stage.stats().ran, stage.stats().posted), (3, 5));
    });
}

/// POST-9: `Block` keeps the poster waiting until there is room, and all of its posts are accepted.
#[test]
fn full_queue_blocks_the_poster() {
    bounded(Overflow::Block).with(|env| env.baton()).run(|stage| {
        let log = Log::new();
        for number in 0..CAPACITY * 3 {
            stage.runner.post(log.noting(number)).expect("there will be room");
            assert!(stage.stats().queued <= CAPACITY as u64);
        }
        stage.settle();
        let mut seen = log.seen();
        if stage.kind.is_fifo {
            assert!(seen.is_sorted());
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..CAPACITY * 3));
    });
}

/// POST-9: a poster that waits for room hears of the close, and gets its task back.
#[test]
fn close_ends_the_wait_for_room() {
    bounded(Overflow::Block).with(|env| env.baton()).run(|stage| {
        let go = CancelToken::new();
        let busy: Vec<_> = (0..2)
            .map(|_| {
                let go = go.clone();
                let busy = stage.runner.spawn(move || go.wait());
                stage.env.run_until_idle();
                busy
            })
            .collect();
        let log = Log::new();
        let queued = if stage.kind.is_fifo { CAPACITY - 1 } else { CAPACITY };
        (0..queued).for_each(|number| stage.runner.post(log.noting(number)).expect("there is room"));
        let own = stage.own.clone();
        stage.env.pool().post_delayed_task(SECOND, move || own.close(Close::Drain)).expect("open");
        let refused = stage.runner.post(|| ()).map_err(|rejected| rejected.reason());
        assert_eq!((refused, stage.env.now()), (Err(RejectReason::Closed), SECOND));
        go.cancel();
        busy.into_iter().for_each(|busy| busy.join().expect("it runs"));
        stage.settle();
        assert_eq!(log.len(), queued, "what was accepted runs");
    });
}

/// POST-7: a task that posts to its own full queue is never kept waiting: it is refused, or the oldest goes, whatever the policy.
#[test]
fn self_post_to_a_full_queue_never_blocks() {
    for policy in POLICIES {
        bounded(policy).run(|stage| {
            let (log, answers, own) = (Log::new(), Log::new(), stage.runner.clone());
            let (inner, told) = (log.clone(), answers.clone());
            let task = move || {
                for number in 0..CAPACITY * 2 {
                    told.push(own.post(inner.noting(number)).map_err(|rejected| rejected.reason()));
                }
                let answer = own.post_delayed(SECOND, inner.noting(100));
                told.push(answer.map(drop).map_err(|rejected| rejected.reason()));
            };
            stage.runner.post(task).expect("there is room");
            stage.advance(SECOND);
            let mut answers = answers.seen();
            assert_eq!(answers.pop(), Some(Ok(())), "a delayed task needs no room yet");
            let (first, rest) = answers.split_at(CAPACITY);
            assert!(first.iter().all(Result::is_ok));
            let expected = if policy == Overflow::DropOldest { Ok(()) } else { Err(RejectReason::Full) };
            assert!(rest.iter().all(|answer| *answer == expected), "{policy:?}: {rest:?}");
            assert_eq!(log.len(), CAPACITY + 1);
        });
    }
}

/// POST-7: nor is a task of another runner of the pool, which holds a worker.
#[test]
fn post_from_a_worker_to_a_full_queue_never_blocks() {
    bounded(Overflow::Block).run(|stage| {
        overfill(stage, &Log::new());
        let runner = stage.runner.clone();
        // Urgent, so that it comes before what is queued.
        let outcome = Log::new();
        let told = outcome.clone();
        let first = move || told.push(runner.post(|| ()).map_err(|rejected| rejected.reason()));
        stage.env.pool().task().traits(TaskTraits::user_blocking()).post(first).expect("open");
        stage.settle();
        let outcome = outcome.seen();
        assert!(matches!(outcome[..], [Ok(()) | Err(RejectReason::Full)]), "{outcome:?}");
    });
}

/// DLY-3, POST-9: a task whose delay is over was accepted long ago, so a full queue does not refuse it.
#[test]
fn ripe_task_finds_room_in_a_full_queue() {
    for policy in POLICIES {
        bounded(policy).run(|stage| {
            let (log, go) = (Log::new(), stage.env.pool().fence());
            for number in 0..CAPACITY {
                stage.runner.post_delayed(SECOND, log.noting(number)).expect("a delayed task needs no room yet");
            }
            for number in 0..CAPACITY {
                stage.runner.post(log.noting(10 + number)).expect("there is room");
            }
            stage.env.advance(SECOND);
            assert_eq!((log.len(), stage.stats().queued), (0, 2 * CAPACITY as u64));
            drop(go);
            stage.settle();
            assert_eq!((log.len(), stage.stats().dropped), (2 * CAPACITY, 0), "{policy:?}");
        });
    }
}

/// POST-9, POST-1: `CallerRuns`, the one named exception, runs the task inside the call, for parallel runners only.
#[test]
fn full_queue_of_a_parallel_runner_lets_the_caller_run() {
    bounded(Overflow::CallerRuns).of(|kind| kind.is_boundable && !kind.is_fifo).run(|stage| {
        let log = Log::new();
        overfill(stage, &log);
        stage.runner.post(log.noting(100)).expect("run here");
        assert_eq!(log.seen(), [100]);
        assert_eq!(stage.runner.spawn(|| 7).join().expect("run here"), 7);
        stage.settle();
        assert_eq!(log.len(), CAPACITY + 1);
    });
}

/// POST-9: a bound of zero is refused by every builder, and `CallerRuns` by those whose order it would break.
#[test]
fn impossible_bounds_are_refused() {
    let env = overstrand::testing::TestEnvironment::with_seed(0);
    let pool = env.pool();
    for policy in [Overflow::Reject, Overflow::DropOldest, Overflow::Block, Overflow::CallerRuns] {
        let errors = [
            SequencedTaskRunner::builder(pool).capacity(0, policy).build().map(|_| ()),
            ParallelTaskRunner::builder(pool).capacity(0, policy).build().map(|_| ()),
            SingleThreadTaskRunner::builder(pool).capacity(0, policy).build().map(|_| ()),
        ];
        for error in errors {
            let error = error.expect_err("no room at all");
            assert_eq!((error.field(), error.value()), ("capacity", "0"));
        }
    }
    let sequence = SequencedTaskRunner::builder(pool).capacity(1, Overflow::CallerRuns).build().map(|_| ());
    let single = SingleThreadTaskRunner::builder(pool).mode(ThreadMode::Shared).capacity(1, Overflow::CallerRuns);
    for error in [sequence, single.build().map(|_| ())] {
        assert_eq!(error.expect_err("it would break the order").value(), "CallerRuns");
    }
    assert!(ParallelTaskRunner::builder(pool).capacity(1, Overflow::CallerRuns).build().is_ok());
}

/// POST-5: the end of a task that overflows may use its runner, and may overflow it again.
#[test]
fn overflowed_task_may_post_again() {
    fn stubborn(runner: &Runner, own: &Own, log: &Log<u32>, left: u32) -> impl FnOnce() + Send + 'static {
        let (runner, own, log) = (runner.clone(), own.clone(), log.clone());
        let capture = OnDrop(move || {
            let _ = own.stats();
            log.push(left);
            if left > 0 {
                runner.post(stubborn(&runner, &own, &log, left - 1)).expect("accepted");
            }
        });
        move || drop(capture)
    }
    bounded(Overflow::DropOldest).bound(1, Overflow::DropOldest).run(|stage| {
        let log = Log::new();
        stage.runner.post(stubborn(&stage.runner, &stage.own, &log, 3)).expect("there is room");
        stage.runner.post(|| ()).expect("accepted");
        stage.settle();
        assert_eq!(log.seen(), [3, 2, 1, 0]);
        assert_eq!(stage.stats().queued, 0);
    });
}
