//! Many into one, and one to many: join_all, race, barriers, the event bus.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{Barrier, CancelToken, EventBus, JoinError, Subscription, TaskTraits, ThreadMode, join_all, race};

use crate::AnyResult;

const SECOND: Duration = Duration::from_secs(1);

/// All results in the order of the handles, errors among them.
#[test]
fn all_results_come_in_order() {
    TestEnvironment::explore(0..100, |env| {
        let handles = (0..6).map(|number| {
            let handle = env.pool().spawn(move || {
                assert!(number != 4, "four panics");
                number
            });
            if number == 2 {
                handle.cancel();
            }
            handle
        });
        let handles: Vec<_> = handles.collect();
        let results = join_all(handles).join().expect("it waits for all");
        for (number, result) in (0..).zip(results) {
            match (number, result) {
                (2, Err(JoinError::Cancelled)) | (4, Err(JoinError::Panicked(_))) => {}
                (number, Ok(answer)) => assert_eq!(number, answer),
                (number, Err(error)) => panic!("{number}: {error}"),
            }
        }
        assert_eq!(join_all(Vec::<overstrand::TaskHandle<i32>>::new()).join().expect("of none").len(), 0);
    });
}

/// HND-1, HND-4: it is a handle like any other: timed, cancellable, and an error where it would wait for itself.
#[test]
fn joined_handles_are_a_handle() -> AnyResult {
    let env = TestEnvironment::builder().baton().build();
    let never = CancelToken::new();
    let waits = never.clone();
    let mut all = join_all([env.pool().spawn(move || waits.wait()), env.pool().spawn(|| ())]);
    assert!(all.try_join().is_none());
    assert!(all.join_timeout(SECOND).is_none() && !all.is_finished());
    never.cancel();
    assert!(all.join_timeout(SECOND).is_some());
    let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
    let own = strand.clone();
    let inside = strand.spawn(move || matches!(join_all([own.spawn(|| ())]).join(), Err(JoinError::WouldDeadlock)));
    assert!(inside.join()?);
    Ok(())
}

/// The first result wins, and the others go on.
#[test]
fn first_result_wins() {
    TestEnvironment::builder().baton().explore(0..60, |env| {
        let ended = Arc::new(AtomicUsize::new(0));
        let handles = (1..=3_u32).map(|seconds| {
            let ended = Arc::clone(&ended);
            env.pool().spawn(move || {
                assert!(!CancelToken::new().wait_timeout(SECOND * (4 - seconds)));
                ended.fetch_add(1, Ordering::SeqCst);
                seconds
            })
        });
        assert_eq!(race(handles.collect::<Vec<_>>()).join().expect("one runs"), 3);
        assert_eq!(env.now(), SECOND);
        env.run_until_no_tasks();
        assert_eq!(ended.load(Ordering::SeqCst), 3);
        let none = race(Vec::<overstrand::TaskHandle<()>>::new());
        assert!(matches!(none.join(), Err(JoinError::Cancelled)));
    });
}

/// The closure is posted with the last hit, once, and sees what came before each.
#[test]
fn barrier_passes_with_its_last_hit() {
    TestEnvironment::builder().workers(3).explore(0..200, |env| {
        let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
        let (hits, passed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (seen, own, counted) = (Arc::clone(&hits), strand.clone(), Arc::clone(&passed));
        let barrier = Barrier::new(4, &strand, move || {
            assert!(own.is_current());
            counted.store(seen.load(Ordering::SeqCst), Ordering::SeqCst);
        });
        for _ in 0..4 {
            let (barrier, hits) = (barrier.clone(), Arc::clone(&hits));
            let hit = move || {
                hits.fetch_add(1, Ordering::SeqCst);
                barrier.hit();
            };
            env.pool().post_task(hit).expect("open");
        }
        env.run_until_idle();
        assert_eq!(passed.load(Ordering::SeqCst), 4);
        barrier.hit();
        let at_once = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&at_once);
        drop(Barrier::new(0, env.pool(), move || _ = counted.fetch_add(1, Ordering::SeqCst)));
        env.run_until_idle();
        assert_eq!(at_once.load(Ordering::SeqCst), 1);
    });
}

struct Number(u32);
struct Text(&'static str);

/// Each subscriber hears the events of its type in order; panics, re-entrant publishes and unsubscribes disturb nobody.
#[test]
fn subscribers_hear_in_order() {
    TestEnvironment::builder().allow_panics().explore(0..100, |env| {
        let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
        let (bus, heard) = (EventBus::new(&strand), Arc::new(Mutex::new(Vec::new())));
        let faulty = bus.subscribe(|number: &Number| assert!(number.0 != 2, "two is too much"));
        let (noted, again) = (Arc::clone(&heard), bus.clone());
        let numbers = bus.subscribe(move |number: &Number| {
            noted.lock().expect("no panic").push(number.0.to_string());
            if number.0 == 1 {
                again.publish(Text("one")).expect("open");
            }
        });
        let once: Arc<Mutex<Option<Subscription>>> = Arc::default();
        let (own, noted) = (Arc::clone(&once), Arc::clone(&heard));
        let texts = bus.subscribe(move |text: &Text| {
            noted.lock().expect("no panic").push(text.0.to_owned());
            drop(own.lock().expect("no panic").take());
        });
        *once.lock().expect("no panic") = Some(texts);
        for number in 1..=3 {
            bus.publish(Number(number)).expect("open");
        }
        bus.wait_idle(SECOND).expect("all is delivered");
        drop(numbers);
        bus.publish(Number(4)).expect("open");
        bus.publish(Text("nobody")).expect("open");
        env.run_until_idle();
        let heard = heard.lock().expect("no panic").join(" ");
        assert_eq!(heard, "1 2 3 one");
        assert_eq!(env.pool().stats().panicked, 1);
        drop(faulty);
    });
}

/// Detached subscriptions live as long as the bus; a closed sequence gives the event back.
#[test]
fn detached_subscription_and_refused_event() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
    let (bus, heard) = (EventBus::new(&strand), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&heard);
    bus.subscribe(move |number: &Number| _ = counted.fetch_add(number.0 as usize, Ordering::SeqCst)).detach();
    bus.publish(Number(7))?;
    bus.wait_idle(SECOND)?;
    assert_eq!((heard.load(Ordering::SeqCst), Arc::strong_count(&heard)), (7, 2));
    strand.close(overstrand::Close::Drain);
    let refused = bus.publish(Number(8)).expect_err("it is closed");
    assert_eq!(refused.into_task().0, 8);
    drop(bus);
    assert_eq!(Arc::strong_count(&heard), 1);
    Ok(())
}

/// Handlers of a bus on a runner with a thread run on that thread, which is the sequence that its runner says it is.
#[test]
fn bus_lives_on_a_thread() -> AnyResult {
    let env = TestEnvironment::builder().baton().build();
    let thread = env.pool().create_single_thread_task_runner(TaskTraits::default(), ThreadMode::Dedicated)?;
    let (bus, heard) = (EventBus::new(&thread), Arc::new(Mutex::new(Vec::new())));
    let (noted, own) = (Arc::clone(&heard), thread.clone());
    let subscription = bus.subscribe(move |_: &Number| {
        let is_home = own.is_current() && own.as_sequenced().is_current();
        noted.lock().expect("no panic").push((std::thread::current().id(), is_home));
    });
    bus.publish(Number(1))?;
    env.pool().spawn(move || bus.publish(Number(2)).is_ok()).join()?;
    let there = thread.spawn(|| std::thread::current().id()).join()?;
    assert_eq!(*heard.lock().expect("no panic"), [(there, true); 2]);
    drop(subscription);
    Ok(())
}
