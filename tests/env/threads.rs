//! Runners with a real thread, and the pump of a thread that somebody owns.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{
    CancelToken, Close, JoinError, MainThreadTaskRunner, Overflow, Priority, RejectReason, SequenceBound,
    SequencedTaskRunner, SingleThreadTaskRunner, TaskTraits, ThreadMode, WaitError,
};

use crate::AnyResult;

const SECOND: Duration = Duration::from_secs(1);

fn dedicated(env: &TestEnvironment) -> SingleThreadTaskRunner {
    env.pool().create_single_thread_task_runner(TaskTraits::default(), ThreadMode::Dedicated).expect("a thread")
}

/// In order, one at a time, delays included, and all on one thread which is no worker's.
#[test]
fn tasks_run_in_order_on_one_thread() {
    for is_baton in [false, true] {
        let builder = TestEnvironment::builder().workers(2);
        let builder = if is_baton { builder.baton() } else { builder };
        builder.explore(0..60, |env| {
            let (one, seen) = (dedicated(env), Arc::new(Mutex::new(Vec::new())));
            for number in 0..100 {
                let seen = Arc::clone(&seen);
                let note = move || seen.lock().expect("no panic").push((number, std::thread::current().id()));
                one.post_task(note).expect("open");
            }
            let late = Arc::clone(&seen);
            let note = move || late.lock().expect("no panic").push((100, std::thread::current().id()));
            one.post_delayed_task(SECOND, note).expect("open");
            one.flush().expect("open");
            assert_eq!(one.stats().ran, 100);
            env.advance(SECOND);
            let seen = seen.lock().expect("no panic").clone();
            assert!(seen.iter().map(|(number, _)| *number).eq(0..=100));
            assert_eq!(seen.iter().map(|(_, thread)| *thread).collect::<HashSet<_>>().len(), 1);
            assert!(
                one.spawn(|| SingleThreadTaskRunner::current().is_some_and(|own| own.is_current()))
                    .join()
                    .expect("runs")
            );
            assert!(SingleThreadTaskRunner::current().is_none());
            assert_eq!(env.pool().stats().ran, 102);
        });
    }
}

/// A blocked thread of a runner delays nobody else, and nobody stands in for it.
#[test]
fn blocked_home_delays_nobody() {
    TestEnvironment::builder().workers(1).baton().explore(0..60, |env| {
        let (one, go) = (dedicated(env), CancelToken::new());
        let waits = go.clone();
        let held = one.spawn(move || waits.wait());
        let behind = one.spawn(|| 1);
        assert_eq!(env.pool().spawn(|| 2).join().expect("it runs"), 2);
        assert!(!behind.is_finished());
        go.cancel();
        assert_eq!(held.join().and(behind.join()).expect("they run"), 1);
        let own = one.clone();
        let inside = one.spawn(move || (own.flush(), matches!(own.spawn(|| ()).join(), Err(JoinError::WouldDeadlock))));
        assert_eq!(inside.join().expect("it runs"), (Err(WaitError::WouldDeadlock), true));
    });
}

/// The thread ends with its last runner, and the pool has room for another.
#[test]
fn thread_ends_with_its_runner() -> AnyResult {
    let env = TestEnvironment::builder().workers(1).baton().build();
    for round in 0..200 {
        let one = dedicated(&env);
        let own = one.clone();
        one.post_task(move || drop(own))?;
        assert_eq!(one.spawn(move || round).join()?, round);
        drop(one);
        env.run_until_idle();
    }
    Ok(())
}

/// Shared threads: one for equal traits, another for others.
#[test]
fn shared_thread_is_shared_by_traits() -> AnyResult {
    let env = TestEnvironment::builder().workers(1).baton().build();
    let on = |traits| -> AnyResult<_> {
        let shared = env.pool().create_single_thread_task_runner(traits, ThreadMode::Shared)?;
        let thread = shared.spawn(|| std::thread::current().id()).join()?;
        Ok((shared, thread))
    };
    let (_first, a) = on(TaskTraits::default())?;
    let (_second, b) = on(TaskTraits::default())?;
    let (_third, c) = on(TaskTraits::best_effort())?;
    assert_eq!(a, b);
    assert_ne!(a, c);
    Ok(())
}

/// PRI-1, PRI-4: runners that share a thread take turns by their priorities; a raised one goes first, a lowered one last, and urgent work lifts the queue before it.
#[test]
fn shared_thread_asks_the_highest_class_first() {
    for is_baton in [false, true] {
        let builder = TestEnvironment::builder().workers(1);
        let builder = if is_baton { builder.baton() } else { builder };
        builder.explore(0..60, |env| {
            let order = Arc::new(Mutex::new(Vec::new()));
            let runners = ["usual", "lowered", "raised", "lifted"].map(|name| {
                let builder = SingleThreadTaskRunner::builder(env.pool()).name(name).mode(ThreadMode::Shared);
                (name, builder.build().expect("a thread"))
            });
            let note = |name: &'static str| {
                let order = Arc::clone(&order);
                move || order.lock().expect("no panic").push(name)
            };
            for &(name, ref runner) in &runners {
                runner.post_task(note(name)).expect("open");
            }
            runners[1].1.set_priority(Priority::BestEffort);
            runners[2].1.set_priority(Priority::UserBlocking);
            runners[3].1.task().priority(Priority::UserBlocking).post(note("urgent")).expect("open");
            env.run_until_idle();
            assert_eq!(*order.lock().expect("no panic"), ["raised", "lifted", "urgent", "usual", "lowered"]);
        });
    }
}

/// PRI-2: a thread that has urgent work without end starts the least urgent within 61 picks.
#[test]
fn thread_starts_the_lowest_class_within_61_picks() -> AnyResult {
    let main = MainThreadTaskRunner::new();
    let ran = Arc::new(Mutex::new(Vec::new()));
    let runner = |traits| main.create_runner("one of many", traits);
    let slow = runner(TaskTraits::best_effort());
    let urgent: Vec<_> = (0..200).map(|_| runner(TaskTraits::user_blocking())).collect();
    for (runner, note) in std::iter::once((&slow, "slow")).chain(urgent.iter().map(|runner| (runner, "urgent"))) {
        let ran = Arc::clone(&ran);
        runner.post_task(move || ran.lock().expect("no panic").push(note))?;
    }
    main.run_until_idle();
    let ran = ran.lock().expect("no panic");
    assert_eq!((ran.len(), ran.iter().position(|note| *note == "slow")), (201, Some(60)));
    Ok(())
}

/// SEQ-5, PRI-6: a turn on a thread ends for more urgent work on that thread, which a long task is told of; that of the pool does not count.
#[test]
fn turn_on_a_thread_ends_for_more_urgent_work_there() -> AnyResult {
    use overstrand::current::should_yield;
    let env = TestEnvironment::builder().workers(1).build();
    let main = MainThreadTaskRunner::new();
    let slow = main.create_runner("slow", TaskTraits::default());
    let urgent = main.create_runner("urgent", TaskTraits::user_blocking());
    let (pool, order) = (env.pool().clone(), Arc::new(Mutex::new(Vec::new())));
    let note = |name| {
        let order = Arc::clone(&order);
        move || order.lock().expect("no panic").push(name)
    };
    let (first, second) = (note("first"), note("urgent"));
    let looks = slow.spawn(move || {
        first();
        let before = should_yield();
        pool.post_task_with(Priority::UserBlocking.into(), || ()).expect("open");
        let elsewhere = should_yield();
        urgent.post_task(second).expect("open");
        [before, elsewhere, should_yield()]
    });
    slow.post_task(note("last"))?;
    main.run_until_idle();
    assert_eq!(looks.join()?, [false, false, true]);
    assert_eq!(*order.lock().expect("no panic"), ["first", "urgent", "last"]);
    env.run_until_idle();
    Ok(())
}

/// SHUT-1, SHUT-5: the thread is joined, what blocks the shutdown runs, the rest is dropped; later posts and runners are refused.
#[test]
fn shutdown_joins_the_thread() {
    for is_baton in [false, true] {
        let builder = TestEnvironment::builder().workers(2);
        let builder = if is_baton { builder.baton() } else { builder };
        builder.explore(0..60, |env| {
            let one = dedicated(env);
            let must = one.task().traits(TaskTraits::default().block_shutdown()).spawn(|| 7);
            let may = one.spawn(|| 8);
            let report = env.pool().shutdown().expect("outside");
            assert_eq!(must.join().expect("it must run"), 7);
            let ran = may.join().is_ok();
            assert_eq!((report.ran, report.dropped), if ran { (2, 0) } else { (1, 1) });
            assert_eq!(one.post_task(|| ()).map_err(|rejected| rejected.reason()), Err(RejectReason::ShutDown));
            let refused = env.pool().create_single_thread_task_runner(TaskTraits::default(), ThreadMode::Dedicated);
            assert_eq!(refused.map(|_| ()).map_err(|error| error.field()), Err("mode"));
        });
    }
}

/// POST-7, POST-9: bounded queues; a post from inside never blocks.
#[test]
fn bounded_runner_never_blocks_itself() -> AnyResult {
    let env = TestEnvironment::builder().workers(1).baton().build();
    let builder = SingleThreadTaskRunner::builder(env.pool()).name("audio").capacity(1, Overflow::Block);
    let audio = builder.build()?;
    let own = audio.clone();
    let inside = audio.spawn(move || {
        let first = own.post_task(|| ()).is_ok();
        (first, own.post_task(|| ()).map_err(|rejected| rejected.reason()))
    });
    assert_eq!(inside.join()?, (true, Err(RejectReason::Full)));
    for _ in 0..5 {
        audio.post_task(|| ())?;
    }
    audio.flush()?;
    assert_eq!(audio.stats().ran, 7);
    audio.close(Close::Drain);
    assert!(audio.post_task(|| ()).is_err());
    assert_eq!(audio.name(), Some("audio"));
    Ok(())
}

/// State that is not `Send` lives on the thread, and is dropped there.
#[test]
fn state_on_a_thread_need_not_be_send() {
    struct Widget(Rc<RefCell<Vec<&'static str>>>, Arc<Mutex<Vec<bool>>>, SingleThreadTaskRunner);
    impl Drop for Widget {
        fn drop(&mut self) {
            self.1.lock().expect("no panic").push(self.2.is_current());
        }
    }
    for is_baton in [false, true] {
        let builder = TestEnvironment::builder();
        let builder = if is_baton { builder.baton() } else { builder };
        builder.explore(0..40, |env| {
            let (ui, graves) = (dedicated(env), Arc::new(Mutex::new(Vec::new())));
            let (own, grave) = (ui.clone(), Arc::clone(&graves));
            let window = SequenceBound::with(&ui, move || Widget(Rc::default(), grave, own));
            window.post(|window| window.0.borrow_mut().push("title")).expect("open");
            let shared = window.clone();
            assert_eq!(shared.call(|window| window.0.borrow().len()).join().expect("it runs"), 1);
            drop((window, shared));
            env.run_until_idle();
            assert_eq!(*graves.lock().expect("no panic"), [true]);
        });
    }
}

/// The pump runs what is posted to it, delays included, and leaves when it is asked to.
#[test]
fn main_thread_is_pumped() -> AnyResult {
    for is_baton in [false, true] {
        let builder = TestEnvironment::builder();
        let env = if is_baton { builder.baton().build() } else { builder.build() };
        let main = MainThreadTaskRunner::new();
        let (ui, quit) = (main.runner(), main.quit_handle());
        let background = env.pool().create_sequenced_task_runner(TaskTraits::best_effort());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (first, last, inner) = (Arc::clone(&seen), Arc::clone(&seen), ui.clone());
        ui.post_task(move || {
            first.lock().expect("no panic").push(1);
            assert!(inner.is_current());
            let show = move |answer| {
                last.lock().expect("no panic").push(answer);
                let _ = inner.post_delayed_task(SECOND * 5, move || quit.quit());
            };
            background.post_task_and_reply_with_result(|| 42, show).expect("open");
        })?;
        assert!(seen.lock().expect("no panic").is_empty());
        main.run_until_idle();
        assert_eq!(*seen.lock().expect("no panic"), [1]);
        main.run_until_quit();
        assert_eq!((seen.lock().expect("no panic").clone(), env.now()), (vec![1, 42], SECOND * 5));
        let never = ui.spawn(|| ());
        drop(main);
        assert!(matches!(never.join(), Err(JoinError::ShutDown)));
        assert_eq!(ui.post_task(|| ()).map_err(|rejected| rejected.reason()), Err(RejectReason::ShutDown));
        assert!(SequencedTaskRunner::current().is_none());
    }
    Ok(())
}
