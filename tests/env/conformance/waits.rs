//! SEQ-9, SEQ-10 and HND-4: waits for a runner, from outside and from inside, and closing it.

use std::time::Duration;

use overstrand::testing::wait_until;
use overstrand::{
    CancelToken, Close, JoinError, RejectReason, SequenceBound, TaskHandle, TaskTraits, WaitError, join_all, race,
};

use super::kinds::Own;
use super::notes::{Log, MILLI, OnDrop, SECOND};
use super::stage::{Stage, Trial};

/// Waits for the runner where it can be waited for: on the test's thread, unless that has to pump it.
fn waited(
    stage: &Stage<'_>,
    wait: impl FnOnce(&Own) -> Result<(), WaitError> + Send + 'static,
) -> Result<(), WaitError> {
    if !stage.kind.is_pumped {
        return wait(&stage.own);
    }
    let own = stage.own.clone();
    stage.joined(stage.env.pool().spawn(move || wait(&own)))
}

/// Keeps the runner busy until the token is signalled.
fn hold(stage: &Stage<'_>) -> (CancelToken, Vec<TaskHandle<()>>) {
    let go = CancelToken::new();
    let places = if stage.kind.is_fifo { 1 } else { 2 };
    let hold = |_| {
        let go = go.clone();
        stage.runner.spawn(move || go.wait())
    };
    let held = (0..places).map(hold).collect();
    stage.env.run_until_idle();
    (go, held)
}

/// SEQ-9, CTL-2: a flush returns when everything posted before has run; delayed tasks count once they are due.
#[test]
fn flush_waits_for_what_was_posted_before() {
    Trial::baton().run(|stage| {
        let log = Log::new();
        for number in 0..4 {
            let note = log.noting(number);
            let task = move || {
                let _ = CancelToken::new().wait_timeout(MILLI);
                note();
            };
            stage.runner.post(task).expect("open");
        }
        stage.runner.post_delayed(SECOND, log.noting(9)).expect("open");
        let (own, before) = (stage.own.clone(), log.clone());
        let flush = move |_: &Own| own.flush().map(|()| assert_eq!(before.len(), 4));
        assert_eq!(waited(stage, flush), Ok(()));
        assert_eq!(log.len(), 4);
        stage.env.advance(SECOND);
        assert_eq!(waited(stage, |own| own.wait_idle(SECOND)), Ok(()));
        assert_eq!(log.seen().last(), Some(&9));
        assert_eq!(waited(stage, |own| own.flush()), Ok(()), "of an idle one it returns at once");
    });
}

/// SEQ-9: a wait with a limit ends with it, in virtual time to the nanosecond.
#[test]
fn wait_ends_with_its_limit() {
    Trial::baton().own_type().of(|kind| kind.is_closable && !kind.is_pumped).run(|stage| {
        let (go, held) = hold(stage);
        assert_eq!(stage.own.wait_idle(SECOND), Err(WaitError::TimedOut));
        assert_eq!(stage.own.wait_idle(Duration::ZERO), Err(WaitError::TimedOut));
        assert_eq!(stage.env.now(), SECOND);
        go.cancel();
        held.into_iter().for_each(|held| held.join().expect("it runs"));
        assert_eq!(stage.own.wait_idle(Duration::MAX), Ok(()));
    });
}

/// SEQ-9, CTL-2: from inside, in the end of a capture too, it is an error and never a hang; so is a flush of the pool from any task of its runners.
#[test]
fn flush_from_inside_is_an_error() {
    Trial::plain().run(|stage| {
        let log = Log::new();
        let look = {
            let (own, pool, log) = (stage.own.clone(), stage.env.pool().clone(), log.clone());
            let is_of_the_pool = !stage.kind.is_pumped;
            move || {
                log.push(own.flush());
                log.push(own.wait_idle(SECOND));
                if is_of_the_pool {
                    log.push(pool.flush());
                }
            }
        };
        let at_the_end = OnDrop(look.clone());
        let task = move || {
            let _end = &at_the_end;
            look();
        };
        stage.runner.post(task).expect("open");
        stage.settle();
        let seen = log.seen();
        assert_eq!(seen.len(), if stage.kind.is_pumped { 4 } else { 6 });
        assert!(seen.iter().all(|answer| *answer == Err(WaitError::WouldDeadlock)), "{seen:?}");
    });
}

/// SEQ-9, SEQ-10: a close while somebody waits: with `Drain` the wait ends well, with `Discard` it says that something was dropped.
#[test]
fn close_ends_a_wait_with_the_truth() {
    for how in [Close::Drain, Close::Discard] {
        Trial::baton().own_type().of(|kind| kind.is_closable && !kind.is_pumped).run(|stage| {
            let (go, held) = hold(stage);
            let log = Log::new();
            stage.runner.post(log.noting(())).expect("open");
            let own = stage.own.clone();
            let flush = stage.env.pool().spawn(move || own.flush());
            stage.env.run_until_idle();
            assert!(!flush.is_finished());
            stage.own.close(how);
            go.cancel();
            let flushed = flush.join().expect("it runs");
            held.into_iter().for_each(|held| held.join().expect("what runs is finished"));
            match how {
                Close::Drain => assert_eq!((flushed, log.len()), (Ok(()), 1)),
                Close::Discard => assert_eq!((flushed, log.len()), (Err(WaitError::Closed), 0)),
            }
        });
    }
}

/// SEQ-9: a shutdown while somebody waits ends the wait with an error of its own.
#[test]
fn shutdown_ends_a_wait() {
    Trial::baton().of(|kind| kind.is_closable && !kind.is_pumped).run(|stage| {
        let (own, log) = (stage.own.clone(), Log::new());
        let (go, _held) = hold(stage);
        stage.runner.post(log.noting(())).expect("open");
        let flush = stage.env.pool().spawn(move || own.flush());
        stage.env.run_until_idle();
        assert!(!flush.is_finished());
        let report = stage.env.pool().shutdown_timeout(SECOND).expect("outside");
        assert!(!report.stragglers.is_empty(), "it waits for what runs");
        go.cancel();
        stage.shut_down();
        assert_eq!((flush.join().expect("it runs"), log.len()), (Err(WaitError::ShutDown), 0));
    });
}

/// SEQ-10: `Drain` runs what was accepted, delayed tasks too; later posts are refused and come back.
#[test]
fn drained_runner_runs_what_it_accepted() {
    Trial::plain().of(|kind| kind.is_closable).run(|stage| {
        let log = Log::new();
        stage.runner.post(log.noting("posted")).expect("open");
        stage.runner.post_delayed(SECOND, log.noting("delayed")).expect("open");
        let handle = stage.runner.spawn(|| 7);
        stage.own.close(Close::Drain);
        refuses(stage, &log);
        assert_eq!(stage.joined(handle), 7);
        stage.advance(SECOND);
        assert_eq!(log.seen(), ["posted", "delayed"]);
        stage.own.close(Close::Drain);
        assert_eq!((stage.stats().ran, stage.stats().dropped, stage.stats().rejected), (3, 0, 3));
    });
}

/// Every way to post is refused, since it is closed, and nothing of it runs.
fn refuses(stage: &Stage<'_>, log: &Log<&'static str>) {
    let posted = stage.runner.post(log.noting("refused")).map_err(|rejected| rejected.reason());
    assert_eq!(posted, Err(RejectReason::Closed));
    let delayed = stage.runner.post_delayed(SECOND, log.noting("refused")).map_err(|rejected| rejected.reason());
    assert_eq!(delayed.map(drop), Err(RejectReason::Closed));
    let spawned = stage.runner.spawn(log.noting("refused"));
    assert!(matches!(spawned.join(), Err(JoinError::Rejected(RejectReason::Closed))));
}

/// SEQ-10: `Discard` drops what has not started, delayed tasks when they are due at the latest; what runs is finished.
#[test]
fn discarded_runner_drops_what_it_accepted() {
    Trial::plain().of(|kind| kind.is_closable).run(|stage| {
        let (log, dropped) = (Log::new(), Log::new());
        let task = |what: &'static str| {
            let (ran, gone) = (log.noting(what), dropped.clone());
            let end = OnDrop(move || gone.push(what));
            move || {
                let _end = end;
                ran();
            }
        };
        let (own, closes) = (stage.own.clone(), task("closes"));
        let close = move || {
            own.close(Close::Discard);
            closes();
        };
        stage.runner.post(close).expect("open");
        stage.settle();
        assert_eq!(log.seen(), ["closes"]);
        refuses(stage, &log);

        let fresh = stage.again();
        fresh.runner.post(task("posted")).expect("open");
        let handle = fresh.runner.spawn(task("spawned"));
        fresh.runner.post_delayed(SECOND, task("delayed")).expect("open");
        fresh.own.close(Close::Discard);
        fresh.settle();
        assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
        fresh.advance(SECOND);
        let mut gone = dropped.seen();
        gone.sort_unstable();
        assert_eq!((log.seen(), gone), (vec!["closes"], vec!["closes", "delayed", "posted", "spawned"]));
        let stats = fresh.stats();
        assert_eq!((stats.ran, stats.dropped, stats.queued, stats.delayed), (0, 3, 0, 0), "{stats:?}");
    });
}

/// SEQ-10: what is discarded is dropped in a turn of its runner, so that it may touch what the runner's tasks own.
#[test]
fn discarded_task_is_dropped_in_a_turn_of_its_runner() {
    Trial::plain().of(|kind| kind.is_closable).run(|stage| {
        let (log, runner) = (Log::new(), stage.runner.clone());
        let note = log.clone();
        let end = OnDrop(move || note.push(runner.is_current()));
        stage.runner.post(move || drop(end)).expect("open");
        stage.own.close(Close::Discard);
        stage.settle();
        assert_eq!(log.seen(), [true]);
    });
}

/// HND-4: a task of a sequence that waits for another of the same, by whatever handle, is told; one that is over is had.
#[test]
fn joining_the_own_sequence_is_an_error() {
    Trial::plain().of(|kind| kind.is_fifo).run(|stage| {
        if stage.way == super::kinds::Way::Wrapped {
            return;
        }
        let (own, log) = (stage.runner.clone(), Log::new());
        let told = log.clone();
        let would_deadlock = |error: JoinError| matches!(error, JoinError::WouldDeadlock);
        let before = stage.runner.spawn(|| 7);
        let task = move || {
            told.push(own.spawn(|| ()).join().is_err_and(would_deadlock));
            let limited = own.spawn(|| ()).join_timeout(SECOND);
            told.push(limited.is_some_and(|answer| answer.is_err_and(would_deadlock)));
            told.push(before.join().is_ok_and(|seven| seven == 7));
            told.push(join_all([own.spawn(|| ()), own.spawn(|| ())]).join().is_err_and(would_deadlock));
            told.push(race([own.spawn(|| ()), own.spawn(|| ())]).join().is_err_and(would_deadlock));
        };
        stage.runner.post(task).expect("open");
        stage.settle();
        assert_eq!(log.seen(), [true; 5]);
        assert_eq!(stage.stats().ran, 8, "they run all the same");
    });
}

/// HND-4: the same for futures, owned state and tasks with a builder.
#[test]
fn joining_the_own_sequence_through_its_tools_is_an_error() {
    Trial::plain().own_type().of(|kind| kind.is_fifo).run(|stage| {
        let (own, log) = (stage.own.clone(), Log::new());
        let told = log.clone();
        let owned = match &stage.own {
            Own::Sequenced(strand) => SequenceBound::new(strand, 7),
            Own::Single(single) => SequenceBound::new(single, 7),
            Own::Pool(_) | Own::Parallel(_) => return,
        };
        let task = move || {
            let future = on!(&own, it => it.spawn_future(async { 7 }));
            told.push(matches!(future.join(), Err(JoinError::WouldDeadlock)));
            let urgent = on!(&own, it => it.task().name("own").spawn(|| 7));
            told.push(matches!(urgent.join(), Err(JoinError::WouldDeadlock)));
            told.push(matches!(owned.call(|seven| *seven).join(), Err(JoinError::WouldDeadlock)));
        };
        stage.runner.post(task).expect("open");
        stage.settle();
        assert_eq!(log.seen(), [true; 3]);
    });
}

/// HND-3: tasks of a runner without an order may wait for their siblings, as many as there are places for.
#[test]
fn unordered_tasks_may_wait_for_their_siblings() {
    Trial::baton().of(|kind| !kind.is_fifo).run(|stage| {
        let own = stage.runner.clone();
        let outer = stage.runner.spawn(move || own.spawn(|| 7).join());
        assert_eq!(outer.join().expect("it runs").expect("it runs"), 7);
    });
}

/// HND-3, SEQ-9: a task may wait for any other runner of its pool, by join, flush or its own looks.
#[test]
fn task_may_wait_for_another_runner() {
    Trial::baton().of(|kind| !kind.is_pumped).run(|stage| {
        let other = stage.env.pool().create_sequenced_task_runner(TaskTraits::default());
        let log = Log::new();
        let (strand, seen) = (other.clone(), log.clone());
        let task = move || {
            let handle = strand.spawn(seen.noting("joined"));
            let joined = handle.join().is_ok();
            strand.post_task(seen.noting("flushed")).expect("open");
            let flushed = strand.flush() == Ok(());
            let looked = wait_until(SECOND, || (seen.len() == 2).then_some(())).is_some();
            (joined, flushed, looked)
        };
        assert_eq!(stage.runner.spawn(task).join().expect("it runs"), (true, true, true));
    });
}
