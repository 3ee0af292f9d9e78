//! What a user may do wrong with a runner, and the clear error, or the quiet end, that comes of it.

use std::sync::mpsc;
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{
    CancelToken, Close, EventBus, JoinError, ParallelTaskRunner, RejectReason, RejectionReport, SequenceBound,
    TaskTraits, ThreadPool,
};

use super::kinds::Own;
use super::notes::{Log, MILLI, OnDrop, SECOND};
use super::stage::{Stage, Trial};
use crate::panic_text;

/// F26: limits that are out of range have an error of their own, which names field and value; nothing changes.
#[test]
fn impossible_limits_are_named() {
    let env = TestEnvironment::with_seed(0);
    let limited = env.pool().create_parallel_task_runner(TaskTraits::default(), 3).expect("valid");
    for limit in [0, 8_388_608, usize::MAX] {
        let created = env.pool().create_parallel_task_runner(TaskTraits::default(), limit).map(|_| ());
        let built = ParallelTaskRunner::builder(env.pool()).max_concurrency(limit).build().map(|_| ());
        for error in [created, built, limited.set_max_concurrency(limit)] {
            let error = error.expect_err("out of range");
            assert_eq!((error.field(), error.value()), ("max_concurrency", limit.to_string().as_str()));
        }
    }
    assert_eq!((limited.max_concurrency(), env.pool().stats().posted), (3, 0));
}

/// Where a reply may go wrong, on each kind as the origin; the target is one of each kind.
fn with_targets(stage: &Stage<'_>, scenario: impl Fn(&'static str, &Own)) {
    for name in Trial::names() {
        scenario(name, &Trial::own(stage.env.pool(), name));
    }
}

/// HND-6: a task that panics, or is dropped unrun, has no reply; that is dropped on its origin.
#[test]
fn reply_that_is_not_due_dies_on_its_origin() {
    Trial::plain().own_type().with(|env| env.allow_panics()).run(|stage| {
        with_targets(stage, |name, target| {
            let log = Log::new();
            let reply = || {
                let (told, origin) = (log.clone(), stage.runner.clone());
                let end = OnDrop(move || told.push(origin.is_current()));
                move || panic!("never called: {:p}", &raw const end)
            };
            let (panics, dropped) = (reply(), reply());
            let posted = on!(target, to => on!(&stage.own, at => to.post_task_and_reply_on(at, || panic!("no reply"), panics).is_ok()));
            assert!(posted, "{name}");
            stage.settle();
            assert_eq!(log.seen(), [true], "{name}");
            if !matches!(target, Own::Pool(_)) {
                let posted = on!(target, to => on!(&stage.own, at => to.post_task_and_reply_on(at, || (), dropped).is_ok()));
                target.close(Close::Discard);
                stage.settle();
                assert_eq!((posted, log.seen()), (true, vec![true; 2]), "{name}");
            }
        });
    });
}

/// HND-6: a reply to a runner that takes no tasks any more: the task runs, the refusal is reported, and the reply is dropped.
#[test]
fn reply_to_a_dead_runner_is_reported() {
    let refusals = Log::new();
    let told = refusals.clone();
    let note = move |report: &RejectionReport| told.push(report.reason);
    let hooked = |env: overstrand::testing::TestEnvironmentBuilder| env.pool(|pool| pool.on_rejected(note));
    Trial::plain().own_type().of(|kind| kind.is_closable).with(hooked).run(|stage| {
        if stage.kind.is_pumped {
            stage.shut_down();
        } else {
            stage.own.close(Close::Drain);
        }
        with_targets(stage, |name, target| {
            let (log, before) = (Log::new(), refusals.len());
            let gone = log.clone();
            let end = OnDrop(move || gone.push("dropped"));
            let reply = move || panic!("never called: {:p}", &raw const end);
            let task = log.noting("task");
            let posted = on!(target, to => on!(&stage.own, at => to.post_task_and_reply_on(at, task, reply).is_ok()));
            stage.env.run_until_idle();
            assert_eq!((posted, log.seen()), (true, vec!["task", "dropped"]), "{name}");
            let told = refusals.seen().split_off(before);
            assert!(stage.kind.is_pumped || told == [RejectReason::Closed], "{name}: {told:?}");
        });
    });
}

/// HND-6, POST-2: a target that refuses gives both back.
#[test]
fn dead_target_gives_task_and_reply_back() {
    Trial::plain().own_type().run(|stage| {
        stage.shut_down();
        let origin = stage.env.pool();
        let log = Log::new();
        let (task, reply) = (log.noting("task"), log.noting("reply"));
        let refused = on!(&stage.own, to => to.post_task_and_reply_on(origin, task, reply));
        let refused = refused.map_err(|rejected| (rejected.reason(), rejected.into_task())).expect_err("shut down");
        let (reason, (task, reply)) = refused;
        assert_eq!((reason, log.len()), (RejectReason::ShutDown, 0));
        task();
        reply();
        assert_eq!(log.seen(), ["task", "reply"]);
    });
}

/// HND-6: without a sequence to reply on, outside and in tasks without an order, both come back.
#[test]
fn reply_needs_an_origin() {
    Trial::plain().own_type().run(|stage| {
        let (pool, log) = (stage.env.pool().clone(), Log::new());
        let told = log.clone();
        let ask = move || told.push(pool.post_task_and_reply(|| (), || ()).map_err(|rejected| rejected.reason()));
        ask();
        stage.runner.post(ask).expect("open");
        stage.settle();
        let inside = if stage.kind.is_fifo { Ok(()) } else { Err(RejectReason::NoOrigin) };
        assert_eq!(log.seen(), [Err(RejectReason::NoOrigin), inside]);
    });
}

/// A callback of the runner, if it can make one: it counts its calls, and says where it is dropped.
fn callback(stage: &Stage<'_>, log: &Log<(&'static str, bool)>) -> Box<dyn Fn(u32) + Send> {
    let (calls, gone, runner) = (log.clone(), log.clone(), stage.runner.clone());
    let at = stage.runner.clone();
    let end = OnDrop(move || gone.push(("dropped", at.is_current())));
    let f = move |number: u32| {
        let _end = &end;
        calls.push(("called", runner.is_current()));
        assert!(number != 13, "thirteen");
    };
    match &stage.own {
        Own::Sequenced(strand) => Box::new(strand.wrap(f)),
        Own::Single(single) => Box::new(single.wrap(f)),
        Own::Pool(_) | Own::Parallel(_) => panic!("it has no order to call back in"),
    }
}

/// A wrapped callback runs and dies on its runner, wherever it is called and dropped: here, in a task of another's, in its own.
#[test]
fn wrapped_callback_dies_at_home() {
    for place in 0..3 {
        Trial::plain().own_type().of(|kind| kind.is_fifo).run(|stage| {
            let log = Log::new();
            let callback = callback(stage, &log);
            callback(1);
            let last_call = move || {
                callback(2);
                drop(callback);
            };
            match place {
                0 => last_call(),
                1 => stage.env.pool().post_task(last_call).expect("open"),
                _ => stage.runner.post(last_call).expect("open"),
            }
            stage.settle();
            assert_eq!(log.seen(), [("called", true), ("called", true), ("dropped", true)]);
        });
    }
}

/// POST-6: after a panic in it a wrapped callback is gone, at home, and calls do nothing.
#[test]
fn wrapped_callback_that_panicked_is_gone() {
    Trial::plain().own_type().of(|kind| kind.is_fifo).with(|env| env.allow_panics()).run(|stage| {
        let log = Log::new();
        let callback = callback(stage, &log);
        (12..16).for_each(callback);
        stage.settle();
        assert_eq!(log.seen(), [("called", true), ("called", true), ("dropped", true)]);
        assert_eq!(stage.stats().panicked, 1);
    });
}

/// POST-8: calling a callback of a runner that has ended does nothing, and its end is quiet.
#[test]
fn wrapped_callback_of_a_dead_runner_is_quiet() {
    Trial::plain().own_type().of(|kind| kind.is_fifo).run(|stage| {
        let log = Log::new();
        let callback = callback(stage, &log);
        if stage.env.seed() % 2 == 0 {
            stage.own.close(Close::Discard);
        }
        stage.shut_down();
        callback(1);
        drop(callback);
        assert_eq!(log.seen(), [("dropped", false)]);
    });
}

/// POST-6: a handler that panics keeps no event from the others, nor from itself.
#[test]
fn panicking_handler_keeps_nothing_from_others() {
    Trial::plain().own_type().of(|kind| kind.is_lifted).with(|env| env.allow_panics()).run(|stage| {
        let Own::Sequenced(strand) = &stage.own else { return };
        let (bus, log) = (EventBus::new(strand), Log::new());
        let handler = |name: &'static str| {
            let log = log.clone();
            move |event: &u32| {
                log.push((name, *event));
                assert!(name != "panics", "{event}");
            }
        };
        let kept = ["first", "panics", "last"].map(|name| bus.subscribe(handler(name)));
        (1..3).for_each(|event: u32| bus.publish(event).expect("open"));
        stage.settle();
        let expected = [1, 2].map(|event| [("first", event), ("panics", event), ("last", event)]);
        assert_eq!(log.seen(), expected.concat());
        assert_eq!((stage.stats().panicked, stage.stats().ran), (2, 2));
        drop(kept);
        let own = bus.clone();
        let inside = bus.subscribe(move |_: &&str| log.push(("waits", u32::from(own.wait_idle(SECOND).is_err()))));
        bus.publish("event").expect("open");
        stage.settle();
        drop(inside);
    });
}

/// F21: two sequences that wait for each other are a deadlock, which the environment names: both tasks, and what each waits for.
#[test]
fn cycle_of_waiting_sequences_is_named() {
    for kind in ["SequencedTaskRunner", "SingleThreadTaskRunner, dedicated"] {
        let text = panic_text(|| {
            let env = TestEnvironment::builder().baton().build();
            let (left, right, met) = (Trial::own(env.pool(), kind), Trial::own(env.pool(), kind), CancelToken::new());
            let waits_for = |name: &'static str, own: &Own, other: &Own| {
                let (other, begins) = (other.clone(), met.clone());
                let task = move || {
                    begins.wait();
                    on!(&other, it => drop(it.spawn(|| ()).join()));
                };
                on!(own, it => it.task().name(name).spawn(task))
            };
            let both = (waits_for("left", &left, &right), waits_for("right", &right, &left));
            env.run_until_idle();
            met.cancel();
            let _ = (both.0.join(), both.1.join());
        });
        assert!(text.starts_with("deadlock"), "{kind}: {text}");
        let parts = ["\"left\"", "\"right\"", "waits for a task posted at tests/env/conformance/misuse.rs"];
        assert!(parts.iter().all(|part| text.contains(part)), "{kind}: {text}");
    }
}

/// SHUT-5, F20: the last handle of a pool that is dropped in a task, of whatever runner, waits for nobody; posts are refused from then on.
#[test]
fn last_handle_dropped_on_a_worker_ends_the_pool() {
    for name in Trial::names() {
        let pool = ThreadPool::builder().workers(2).build().expect("threads");
        let own = Trial::own(&pool, name);
        let (go, (tell, told)) = (CancelToken::new(), mpsc::channel());
        let (waits, last) = (go.clone(), pool.clone());
        let kept = pool.create_sequenced_task_runner(TaskTraits::default());
        let task = move || {
            waits.wait();
            drop(last);
            let _ = tell.send(());
        };
        on!(&own, it => it.post_task(task).expect("open"));
        drop((pool, own));
        go.cancel();
        told.recv().expect("it goes on");
        let refused = kept.post_task(|| ()).map_err(|rejected| rejected.reason());
        assert_eq!(refused, Err(RejectReason::ShutDown), "{name}");
        assert!(matches!(kept.spawn(|| ()).join(), Err(JoinError::Rejected(RejectReason::ShutDown))), "{name}");
    }
}

/// SHUT-5, F19, F20: the last handle lies in a task that is dropped unrun, by a close: one that was queued, and one whose delay was not over.
#[test]
fn last_handle_in_a_discarded_task_ends_the_pool() {
    for name in Trial::names().filter(|name| *name != "ThreadPool") {
        for delay in [Duration::ZERO, MILLI] {
            let pool = ThreadPool::builder().workers(2).build().expect("threads");
            let (own, (tell, told)) = (Trial::own(&pool, name), mpsc::channel());
            let kept = pool.create_sequenced_task_runner(TaskTraits::default());
            let fence = pool.fence();
            let mut last = Some(pool.clone());
            let end = OnDrop(move || {
                drop(last.take());
                let _ = tell.send(());
            });
            drop(on!(&own, it => it.post_delayed_task(delay, move || drop(end)).expect("open")));
            drop(pool);
            own.close(Close::Discard);
            drop(fence);
            told.recv().expect("it is dropped");
            assert_eq!(
                kept.post_task(|| ()).map_err(|rejected| rejected.reason()),
                Err(RejectReason::ShutDown),
                "{name}"
            );
            assert_eq!(own.stats().ran, 0, "{name}");
        }
    }
}

/// F19: owned state that owns its runner, and a callback that owns itself through it, keep nothing alive after the end.
#[test]
fn cycles_through_owned_state_end_with_the_pool() {
    Trial::plain().own_type().of(|kind| kind.is_fifo).run(|stage| {
        let gone = Log::new();
        let (told, own) = (gone.clone(), stage.own.clone());
        let end = OnDrop(move || told.push(()));
        let owned = match &stage.own {
            Own::Sequenced(strand) => SequenceBound::new(strand, (own, end)),
            Own::Single(single) => SequenceBound::new(single, (own, end)),
            Own::Pool(_) | Own::Parallel(_) => return,
        };
        let again = owned.clone();
        owned.post(move |_| drop(again.post(|_| ()))).expect("open");
        drop(owned);
        stage.settle();
        assert_eq!(gone.len(), 1);
        let (told, own) = (gone.clone(), stage.own.clone());
        let end = OnDrop(move || told.push(()));
        drop(stage.runner.post_delayed(SECOND, move || drop((own, end))).expect("open"));
        stage.shut_down();
        assert_eq!(gone.len(), 2);
    });
}
