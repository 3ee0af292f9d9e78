//! SEQ-1, SEQ-2, SEQ-6, SEQ-8 and PRI-4.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use overstrand::testing::{Faults, StrandHistory, TestEnvironment, yield_point};
use overstrand::{
    CancelToken, Priority, SequencedTaskRunner, SingleThreadTaskRunner, TaskTraits, ThreadMode, current, sometimes,
};

use super::kinds::Runner;
use super::notes::{Log, MILLI, OnDrop, SECOND};
use super::stage::{Stage, Trial};

/// SEQ-1, SEQ-2: never two at once, in the order of the posts of several posters; each sees all that the one before did, without a lock.
#[test]
fn tasks_of_a_sequence_run_one_at_a_time_in_order() {
    let faults = Faults::none().yields(0.5);
    Trial::baton().of(|kind| kind.is_fifo).with(|env| env.workers(3).faults(faults)).run(|stage| {
        let (history, last) = (StrandHistory::new(), Arc::new(AtomicUsize::new(0)));
        let broken = Log::new();
        for _ in 0..3 {
            let (runner, history) = (stage.runner.clone(), history.clone());
            let (last, broken) = (Arc::clone(&last), broken.clone());
            let poster = move || {
                for _ in 0..4 {
                    let (last, broken) = (Arc::clone(&last), broken.clone());
                    let (post, run) = history.post();
                    let count = move || {
                        // Relaxed on purpose: the sequence alone orders it.
                        let before = last.load(Ordering::Relaxed);
                        yield_point("between read and write");
                        if last.swap(before + 1, Ordering::Relaxed) != before {
                            broken.push(before);
                        }
                    };
                    runner.post(move || run.during(count)).expect("open");
                    post.accepted();
                    yield_point("between two posts");
                }
            };
            stage.env.pool().post_task(poster).expect("open");
        }
        stage.settle();
        history.check().expect("order and exclusion");
        assert_eq!((broken.len(), last.load(Ordering::SeqCst)), (0, 12));
    });
}

/// One task of the next trial: when it was posted, with which delay, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Posted {
    at: u64,
    delay: u64,
}

/// Demands SEQ-2 of two tasks of which the first was posted first, and SEQ-2's rule for those due at the same instant.
fn must_be_in_order(first: Posted, second: Posted) -> bool {
    let are_both_delayed = first.delay > 0 && second.delay > 0;
    second.delay >= first.delay || (are_both_delayed && first.at + first.delay == second.at + second.delay)
}

/// SEQ-2, DLY-5: with delays: no task overtakes one that was posted before with no longer a delay; ties are in post order.
#[test]
fn delays_do_not_break_the_order_of_a_sequence() {
    Trial::plain().of(|kind| kind.is_fifo).run(|stage| {
        let (log, mut posted) = (Log::new(), Vec::new());
        let mut lots = stage.env.seed().wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for at in 0..6 {
            for _ in 0..5 {
                lots = lots.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                let delay = (lots >> 40) % 4;
                let note = log.noting(posted.len());
                posted.push(Posted { at, delay });
                if delay == 0 && lots % 2 == 0 {
                    stage.runner.post(note).expect("open");
                } else {
                    stage.runner.post_delayed(MILLI * delay as u32, note).expect("open");
                }
            }
            if lots % 3 == 0 {
                stage.env.advance(MILLI);
            } else {
                stage.advance(MILLI);
            }
        }
        stage.advance(SECOND);
        let seen = log.seen();
        assert_eq!(seen.len(), posted.len());
        for (place, &later) in seen.iter().enumerate() {
            for &earlier in seen[place..].iter().filter(|&&other| other < later) {
                let (first, second) = (posted[earlier], posted[later]);
                assert!(!must_be_in_order(first, second), "{later} ran before {earlier}: {posted:?} {seen:?}");
            }
        }
    });
}

/// SEQ-2: posts of tasks of the sequence itself go behind what was posted before.
#[test]
fn self_posts_go_behind_what_was_posted_before() {
    Trial::plain().of(|kind| kind.is_fifo).run(|stage| {
        let (log, own) = (Log::new(), stage.runner.clone());
        let inner = log.clone();
        let first = move || {
            inner.push(1);
            own.post(inner.noting(3)).expect("open");
            drop(own.spawn(inner.noting(4)));
        };
        stage.runner.post(first).expect("open");
        stage.runner.post(log.noting(2)).expect("open");
        stage.settle();
        assert_eq!(log.seen(), [1, 2, 3, 4]);
    });
}

/// SEQ-1, POST-2: a runner without an order runs all of it, too, and never more at once than its limit.
#[test]
fn unordered_runner_runs_everything_within_its_limit() {
    Trial::baton().of(|kind| !kind.is_fifo).with(|env| env.workers(4)).run(|stage| {
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..8 {
            let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
            let task = move || {
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let _ = CancelToken::new().wait_timeout(SECOND);
                inside.fetch_sub(1, Ordering::SeqCst);
            };
            stage.runner.post(task).expect("open");
        }
        assert_eq!(stage.own.flush(), Ok(()));
        let most = most.load(Ordering::SeqCst);
        assert_eq!((most, stage.stats().ran), (if stage.kind.is_pool { 8 } else { 2 }, 8));
    });
}

/// SEQ-6: without handles a runner runs what it has accepted, delayed tasks too, and frees itself, though its tasks own it and what they capture.
#[test]
fn runner_without_handles_runs_what_it_accepted_and_leaks_nothing() {
    Trial::plain().run(|stage| {
        let (owned, log) = (Arc::new(()), Log::new());
        let task = |what| {
            let (owned, own, note) = (Arc::clone(&owned), stage.runner.clone(), log.noting(what));
            move || {
                note();
                drop((owned, own));
            }
        };
        stage.runner.post(task("posted")).expect("open");
        drop(stage.runner.spawn(task("spawned")));
        stage.runner.post_delayed(SECOND, task("delayed")).expect("open");
        let (own, never) = (stage.runner.clone(), task("never"));
        let again = move || drop(own.post_delayed(Duration::MAX, never));
        stage.runner.post(again).expect("open");
        assert_eq!(Arc::strong_count(&owned), 5);
        stage.advance(SECOND);
        let mut seen = log.seen();
        seen.sort_unstable();
        assert_eq!(seen, ["delayed", "posted", "spawned"]);
        assert_eq!(Arc::strong_count(&owned), 2, "only the timer is left");
        stage.shut_down();
        assert_eq!(Arc::strong_count(&owned), 1);
        // That no runner is left behind is what every environment demands at its end.
    });
}

/// SEQ-6: really without handles: all of them are dropped before anything has run.
#[test]
fn dropped_runner_still_runs() {
    let env = TestEnvironment::with_seed(5);
    let (log, owned) = (Log::new(), Arc::new(()));
    for (name, runner) in Trial::runners_of(&env).into_iter().filter(|(name, _)| *name != "MainThreadTaskRunner") {
        let (kept, note, own) = (Arc::clone(&owned), log.noting(name), runner.clone());
        let task = move || {
            note();
            drop((kept, own));
        };
        runner.post(task).expect("open");
        runner.post_delayed(SECOND, log.noting(name)).expect("open");
    }
    env.advance(SECOND);
    assert_eq!((log.len(), Arc::strong_count(&owned)), (5 * 3 * 2, 1));
}

/// What a task can learn about where it runs: whether the runner is current, and the sequence that it is told of, in both ways.
fn place(runner: &Runner) -> impl Fn() -> [bool; 3] + Send + Clone + 'static {
    let runner = runner.clone();
    move || {
        let any = current::runner().is_some_and(|told| told.is_current());
        [runner.is_current(), any, SequencedTaskRunner::current().is_some_and(|told| told.is_current())]
    }
}

/// SEQ-8: current inside its own tasks, in the end of their captures too, and nowhere else; the runner is told inside sequences only.
#[test]
fn runner_is_current_inside_its_tasks_only() {
    Trial::plain().run(|stage| {
        let (log, look) = (Log::new(), place(&stage.runner));
        let task = |what: &'static str| {
            let (log, look) = (log.clone(), look.clone());
            let (dies, sees) = (log.clone(), look.clone());
            let end = OnDrop(move || dies.push((what, sees())));
            move || {
                let _end = &end;
                log.push((what, look()));
            }
        };
        stage.runner.post(task("posted")).expect("open");
        stage.runner.post_delayed(SECOND, task("delayed")).expect("open");
        drop(stage.runner.spawn(task("spawned")));
        stage.advance(SECOND);
        let inside = [true, stage.kind.is_fifo, stage.kind.is_fifo];
        let seen = log.seen();
        assert!(seen.len() == 6 && seen.iter().all(|(_, place)| *place == inside), "{seen:?}");
        assert_eq!(look(), [false; 3], "nowhere else");
        drop(task("dropped outside"));
        assert_eq!(log.seen().last(), Some(&("dropped outside", [false; 3])));
    });
}

/// SEQ-8: not current inside the tasks of any other runner, of the same kind or another. A pool's tasks are those of its runners, too.
#[test]
fn runner_is_not_current_in_tasks_of_others() {
    Trial::plain().run(|stage| {
        let look = place(&stage.runner);
        let is_pool = stage.kind.is_pool;
        for (name, other) in Trial::runners_of(stage.env) {
            if name == "MainThreadTaskRunner" || (is_pool && name == "ThreadPool") {
                continue;
            }
            let [is_current, ..] = {
                let (look, told) = (look.clone(), Log::new());
                let tell = told.clone();
                other.post(move || tell.push(look())).expect("open");
                stage.settle();
                told.seen()[0]
            };
            assert_eq!(is_current, is_pool, "{name}");
        }
    });
}

/// SEQ-8: the runner of a thread is told as such, and only where there is one.
#[test]
fn current_single_thread_runner_is_told() {
    Trial::plain().run(|stage| {
        let told = stage.runner.spawn(|| SingleThreadTaskRunner::current().is_some_and(|own| own.is_current()));
        let has_a_thread = stage.kind.is_fifo && !stage.kind.is_lifted;
        assert_eq!(stage.joined(told), has_a_thread);
        assert!(SingleThreadTaskRunner::current().is_none() && current::runner().is_none());
    });
}

/// SEQ-4: one that blocks delays no other, whatever its kind. Runners that share a thread share its fate.
#[test]
fn blocked_runner_delays_no_other() {
    Trial::baton().of(|kind| !kind.is_pumped).run(|stage| {
        let go = CancelToken::new();
        let waits = go.clone();
        let held = stage.runner.spawn(move || waits.wait());
        stage.env.run_until_idle();
        for (name, other) in Trial::runners_of(stage.env) {
            let shares = stage.kind.name == name && name.ends_with("shared");
            if name != "MainThreadTaskRunner" && !shares {
                assert_eq!(other.spawn(|| 7).join().expect("it runs"), 7, "{name}");
            }
        }
        assert!(!held.is_finished());
        go.cancel();
        held.join().expect("it runs");
    });
}

/// Posts best-effort work to the runner and to others, then something urgent to the runner; the order in which the one worker ran it.
fn order_with_urgent_work(stage: &Stage<'_>, lift: impl FnOnce(&Log<&'static str>)) -> Vec<&'static str> {
    let log = Log::new();
    let other = stage.env.pool().create_sequenced_task_runner(TaskTraits::default());
    stage.runner.post(log.noting("own")).expect("open");
    other.post_task(log.noting("other")).expect("open");
    lift(&log);
    stage.settle();
    log.seen()
}

/// PRI-4: urgent work queued behind other work lifts the queue that it is in, and overtakes nothing there.
#[test]
fn urgent_task_lifts_its_queue() {
    let one_worker = |env: overstrand::testing::TestEnvironmentBuilder| env.workers(1);
    let trial = || Trial::plain().of(|kind| kind.is_lifted).traits(TaskTraits::best_effort()).with(one_worker);
    trial().run(|stage| assert_eq!(order_with_urgent_work(stage, |_| ()), ["other", "own"]));
    trial().run(|stage| {
        let order = order_with_urgent_work(stage, |log| {
            let note = log.noting("urgent");
            on!(&stage.own, it => it.task().priority(Priority::UserBlocking).post(note).expect("open"));
        });
        // The turn may be over after the task that was in front, if the schedule says so; then the lifted queue goes on first all the same.
        assert_eq!(order, ["own", "urgent", "other"]);
        sometimes!(order[0] == "own", "it was lifted");
    });
}

/// PRI-4: a new priority acts on what has not started.
#[test]
fn new_priority_acts_on_what_is_queued() {
    let one_worker = |env: overstrand::testing::TestEnvironmentBuilder| env.workers(1);
    Trial::plain().of(|kind| kind.is_lifted).traits(TaskTraits::best_effort()).with(one_worker).run(|stage| {
        let order = order_with_urgent_work(stage, |_| stage.own.set_priority(Priority::UserBlocking));
        assert_eq!(order, ["own", "other"]);
        let log = Log::new();
        stage.own.set_priority(Priority::BestEffort);
        stage.runner.post(log.noting("own")).expect("open");
        stage.env.pool().post_task(log.noting("other")).expect("open");
        stage.settle();
        assert_eq!(log.seen(), ["other", "own"]);
    });
}

/// Runners that share a thread keep their own orders, and take turns.
#[test]
fn runners_that_share_a_thread_keep_their_orders() {
    TestEnvironment::explore(0..20, |env| {
        let create = || env.pool().create_single_thread_task_runner(TaskTraits::default(), ThreadMode::Shared);
        let runners = [create().expect("a thread"), create().expect("the same")];
        let (log, threads) = (Log::new(), Log::new());
        for number in 0..100 {
            for (which, runner) in runners.iter().enumerate() {
                let (log, threads) = (log.clone(), threads.clone());
                let note = move || {
                    threads.push(std::thread::current().id());
                    log.push((which, number));
                };
                runner.post_task(note).expect("open");
            }
        }
        env.run_until_idle();
        let seen = log.seen();
        for which in 0..2 {
            assert!(seen.iter().filter(|entry| entry.0 == which).map(|entry| entry.1).eq(0..100));
        }
        sometimes!(seen[..100].iter().any(|entry| entry.0 == 1), "they take turns");
        let threads = threads.seen();
        assert!(threads.iter().all(|thread| *thread == threads[0]));
    });
}
