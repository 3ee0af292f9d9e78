//! POST-1 to POST-5, POST-7 and POST-8 on every kind of runner.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use overstrand::testing::{OnceLedger, TestEnvironment};
use overstrand::{CancelToken, Close, JoinError, RejectReason, current};

use super::kinds::{Own, Runner};
use super::notes::{Log, OnDrop, SECOND};
use super::stage::Trial;

/// POST-1: not inside a post from outside, from a task of the runner itself or from one of another; with a delay of zero neither.
#[test]
fn post_never_runs_the_task_inside_the_call() {
    Trial::plain().run(|stage| {
        let (calling, inside_call) = (Arc::new(AtomicBool::new(false)), Log::new());
        let post_all = {
            let (runner, calling, log) = (stage.runner.clone(), Arc::clone(&calling), inside_call.clone());
            move || {
                let look = || {
                    let (calling, log) = (Arc::clone(&calling), log.clone());
                    move || log.push(calling.load(Ordering::SeqCst))
                };
                calling.store(true, Ordering::SeqCst);
                runner.post(look()).expect("open");
                runner.post_delayed(Duration::ZERO, look()).expect("open");
                let detached = runner.spawn(look());
                calling.store(false, Ordering::SeqCst);
                drop(detached);
            }
        };
        post_all();
        stage.runner.post(post_all.clone()).expect("open");
        stage.env.pool().post_task(post_all).expect("open");
        stage.settle();
        assert_eq!(inside_call.seen(), [false; 9]);
    });
}

/// POST-1: what happened before the post is visible to the task, whichever way it comes.
#[test]
fn task_sees_what_came_before_its_post() {
    Trial::baton().run(|stage| {
        let (written, seen) = (Arc::new(AtomicUsize::new(0)), Log::new());
        let read = |expected: usize| {
            let (written, seen) = (Arc::clone(&written), seen.clone());
            // Relaxed on purpose: the post alone orders it.
            move || seen.push(written.load(Ordering::Relaxed) >= expected)
        };
        written.store(1, Ordering::Relaxed);
        stage.runner.post(read(1)).expect("open");
        written.store(2, Ordering::Relaxed);
        stage.runner.post_delayed(SECOND, read(2)).expect("open");
        written.store(3, Ordering::Relaxed);
        let (runner, last, writes) = (stage.runner.clone(), read(4), Arc::clone(&written));
        let from_a_task = move || {
            writes.store(4, Ordering::Relaxed);
            runner.post(last).expect("open");
        };
        stage.env.pool().post_task(from_a_task).expect("open");
        stage.advance(SECOND);
        assert_eq!(seen.seen(), [true; 3]);
    });
}

/// POST-2: what was accepted runs once, or is dropped once; never both, never neither: with cancels, and a shutdown in the middle.
#[test]
fn accepted_task_ends_once() {
    Trial::plain().run(|stage| {
        let (ends, runs) = (OnceLedger::new(), Log::new());
        let task = || {
            let (id, ends, runs) = (ends.issue(), ends.clone(), runs.clone());
            let end = OnDrop(move || ends.mark(id));
            move || {
                let _end = end;
                runs.push(id);
            }
        };
        for round in 0..4_u32 {
            stage.runner.post(task()).expect("open");
            let late = stage.runner.post_delayed(SECOND * round, task()).expect("open");
            let handle = stage.runner.spawn(task());
            if round == 1 {
                assert!(late.cancel() && handle.cancel(), "neither has started");
            }
        }
        if stage.env.seed() % 2 == 0 {
            stage.advance(SECOND * 2);
        }
        stage.shut_down();
        ends.check().expect("each has ended once");
        let mut ran = runs.seen();
        ran.sort_unstable();
        let all = ran.len();
        ran.dedup();
        assert_eq!(ran.len(), all, "none ran twice");
        let stats = stage.stats();
        assert_eq!((stats.posted, stats.queued, stats.delayed, stats.running), (12, 0, 0, 0), "{stats:?}");
        assert_eq!(stats.ran + stats.dropped, 12);
    });
}

/// POST-2, POST-8: what is refused after a shutdown never runs, comes back whole, and can be called by who has it.
#[test]
fn post_after_shutdown_gives_the_closure_back() {
    Trial::plain().run(|stage| {
        stage.runner.post(|| ()).expect("open");
        stage.shut_down();
        let calls = Log::new();
        let refused = stage.runner.post(calls.noting("post")).expect_err("it is shut down");
        assert_eq!((refused.reason(), calls.len()), (RejectReason::ShutDown, 0));
        refused.into_task()();
        let refused = stage.runner.post_delayed(SECOND, calls.noting("delayed")).expect_err("it is shut down");
        assert_eq!((refused.reason(), calls.len()), (RejectReason::ShutDown, 1));
        refused.into_task()();
        let refused = stage.runner.post_delayed(Duration::ZERO, calls.noting("zero")).expect_err("it is shut down");
        refused.into_task()();
        let handle = stage.runner.spawn(|| ());
        assert!(matches!(handle.join(), Err(JoinError::Rejected(RejectReason::ShutDown))));
        assert_eq!(calls.seen(), ["post", "delayed", "zero"]);
        assert_eq!(stage.stats().rejected, 4);
    });
}

/// POST-8: a runner that outlives its pool refuses; it does not crash.
#[test]
fn runner_that_outlives_its_pool_refuses() {
    for is_baton in [false, true] {
        let builder = TestEnvironment::builder().allow_leaks();
        let env = if is_baton { builder.baton().build() } else { builder.build() };
        let left = Trial::runners_of(&env);
        drop(env);
        for (name, runner) in left {
            assert!(runner.post(|| ()).is_err(), "{name}");
            assert!(runner.post_delayed(SECOND, || ()).is_err(), "{name}");
            assert!(runner.spawn(|| ()).join().is_err() && !runner.is_current(), "{name}");
        }
    }
}

/// POST-3: the post site is that of the call, its name is told, and the chain of sites goes back to four at most, its own first.
#[test]
fn task_knows_its_site_name_and_ancestors() {
    Trial::plain().run(|stage| {
        let told = Log::new();
        let tell = || {
            let told = told.clone();
            move || told.push((current::location().map(|site| (site.file(), site.line())), current::task_name()))
        };
        let mut lines = Vec::new();
        lines.push(line!() + 1);
        stage.runner.post(tell()).expect("open");
        lines.push(line!() + 1);
        stage.runner.post_delayed(SECOND, tell()).expect("open");
        lines.push(line!() + 1);
        drop(stage.runner.spawn(tell()));
        lines.push(line!() + 1);
        stage.runner.post_named("by name", tell());
        stage.advance(SECOND);
        let mut told = told.seen();
        told.sort_by_key(|(site, _)| *site);
        let sites: Vec<_> = told.iter().map(|(site, _)| *site).collect();
        assert_eq!(sites, lines.iter().map(|line| Some((file!(), *line))).collect::<Vec<_>>());
        let names: Vec<_> = told.iter().map(|(_, name)| name.as_deref()).collect();
        assert_eq!(names, [None, None, None, Some("by name")]);
        assert!(current::location().is_none() && current::task_name().is_none());
    });
}

/// POST-3: ancestors, through the runner itself.
#[test]
fn chain_of_sites_has_four_at_most() {
    fn descend(runner: &Runner, left: u32, chains: Log<Vec<u32>>) {
        let own = runner.clone();
        let task = move || {
            chains.push(current::locations().map(|site| site.line()).collect());
            if left > 0 {
                descend(&own, left - 1, chains);
            }
        };
        runner.post(task).expect("open");
    }
    Trial::plain().run(|stage| {
        let chains = Log::new();
        let first = line!() + 1;
        stage.runner.post(begin(&stage.runner, &chains)).expect("open");
        stage.settle();
        let chains = chains.seen();
        let lengths: Vec<_> = chains.iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 3, 4, 4, 4]);
        assert_eq!(chains[0][1], first);
        assert!(chains.iter().all(|chain| chain[0] == chains[0][0]), "its own site comes first: {chains:?}");
    });

    fn begin(runner: &Runner, chains: &Log<Vec<u32>>) -> impl FnOnce() + Send + 'static {
        let (runner, chains) = (runner.clone(), chains.clone());
        move || descend(&runner, 4, chains)
    }
}

/// POST-4: captures are dropped inside the task's own turn, those of tasks with a handle and with a delay too; the next task of a sequence sees that.
#[test]
fn captures_die_in_the_turn_of_their_task() {
    Trial::plain().run(|stage| {
        let log = Log::new();
        let task = |number: u32| {
            let (own, dies) = (stage.runner.clone(), log.clone());
            let capture = OnDrop(move || dies.push((number, "capture", own.is_current())));
            let (own, runs) = (stage.runner.clone(), log.clone());
            move || {
                let _owned = &capture;
                runs.push((number, "body", own.is_current()));
            }
        };
        stage.runner.post(task(0)).expect("open");
        let handle = stage.runner.spawn(task(1));
        stage.runner.post_delayed(Duration::ZERO, task(2)).expect("open");
        stage.runner.post_delayed(SECOND, task(3)).expect("open");
        stage.advance(SECOND);
        handle.join().expect("it has run");
        let seen = log.seen();
        assert!(seen.iter().all(|(_, _, is_current)| *is_current), "{seen:?}");
        for number in 0..4 {
            let of_task: Vec<_> = seen.iter().filter(|entry| entry.0 == number).map(|entry| entry.1).collect();
            assert_eq!(of_task, ["body", "capture"]);
        }
        if stage.kind.is_fifo {
            let numbers: Vec<_> = seen.iter().map(|entry| entry.0).collect();
            assert_eq!(numbers, [0, 0, 1, 1, 2, 2, 3, 3]);
        }
    });
}

/// A capture whose end uses its runner in every way, and notes that it came back from all of it.
fn nosy(runner: &Runner, own: &Own, ended: &Log<&'static str>, how: &'static str) -> impl FnOnce() + Send + 'static {
    let (runner, own, ended) = (runner.clone(), own.clone(), ended.clone());
    let capture = OnDrop(move || {
        let _ = (runner.post(|| ()), runner.post_delayed(SECOND, || ()), runner.is_current());
        runner.spawn(|| ()).cancel();
        let _ = (own.stats(), own.wait_idle(Duration::ZERO), format!("{own:?}"));
        if let Own::Sequenced(strand) = &own {
            strand.set_priority(overstrand::Priority::UserVisible);
        }
        if let Own::Parallel(parallel) = &own {
            parallel.set_max_concurrency(2).expect("valid");
        }
        ended.push(how);
    });
    move || drop(capture)
}

/// POST-5, F23: what is discarded unrun is dropped outside of every lock: its end may use the runner as it likes.
#[test]
fn discarded_closure_may_use_its_runner() {
    Trial::plain().run(|stage| {
        let ended = Log::new();
        let task = |how| nosy(&stage.runner, &stage.own, &ended, how);
        let delayed = stage.runner.post_delayed(SECOND, task("cancelled timer")).expect("open");
        assert!(delayed.cancel());
        let handle = stage.runner.spawn(task("cancelled handle"));
        assert!(handle.cancel());
        drop(stage.runner.spawn(task("cancelled on drop")).cancel_on_drop());
        let token = CancelToken::new();
        on!(&stage.own, it => it.task().cancel_with(&token).post(task("cancelled token")).expect("open"));
        token.cancel();
        assert_eq!(ended.len(), 4, "{:?}", ended.seen());
        stage.runner.post_delayed(SECOND, task("timer at the end")).expect("open");
        stage.settle();
        stage.runner.post(task("queued at the end")).expect("open");
        if stage.kind.is_closable && stage.env.seed() % 2 == 0 {
            stage.own.close(Close::Discard);
            stage.settle();
        }
        stage.shut_down();
        let mut ended = ended.seen();
        ended.sort_unstable();
        let (last, at_the_end) = (["queued at the end", "timer at the end"], &ended[4..]);
        assert_eq!(at_the_end, last, "{ended:?}");
    });
}

/// POST-7: a task that posts to its own runner, in every way and many at once, goes on at once, and ends before what it posted begins where one runs at a time.
#[test]
fn self_post_never_blocks() {
    Trial::plain().run(|stage| {
        let (log, own, seen) = (Log::new(), stage.runner.clone(), Log::new());
        let inner = log.clone();
        let task = move || {
            for _ in 0..100 {
                let results = [
                    own.post(inner.noting("posted")).is_ok(),
                    own.post_delayed(SECOND, inner.noting("delayed")).is_ok(),
                    own.spawn(inner.noting("spawned")).is_finished(),
                ];
                seen.push(results);
            }
            inner.push("over");
        };
        stage.runner.post(task).expect("open");
        stage.advance(SECOND);
        let log = log.seen();
        assert_eq!(log.len(), 301);
        if stage.kind.is_fifo {
            assert_eq!(log[0], "over");
        }
        assert_eq!(log.iter().filter(|entry| **entry == "delayed").count(), 100);
    });
}
