//! Synchronous calls into a sequence (SEQ-11).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{Faults, TestEnvironment, check_conservation, yield_point};
use overstrand::{CancelToken, Close, JoinError, RejectReason, SequenceBound, TaskTraits, sometimes};

use crate::notes::strand;

use crate::AnyResult;

const SECOND: Duration = Duration::from_secs(1);

/// An idle sequence is taken by the caller, which runs the closure itself; it may borrow, and is current inside.
#[test]
fn idle_sequence_is_taken_by_the_caller() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let (seq, here) = (strand(&env), std::thread::current().id());
    let mut text = String::from("one");
    let seen = seq.run_sync(|| {
        text.push_str(" two");
        (std::thread::current().id() == here, seq.is_current(), overstrand::current::runner().is_some())
    })?;
    assert_eq!((seen, text.as_str(), seq.is_current()), ((true, true, true), "one two", false));
    assert_eq!((seq.stats().posted, seq.stats().ran, seq.stats().queued), (1, 1, 0));
    assert_eq!(env.steps(), 0, "nobody else had to do anything");
    check_conservation(seq.stats())?;
    check_conservation(env.pool().stats())?;
    Ok(())
}

/// A busy one is waited for, in post order, beside posts and other callers; never two at once.
#[test]
fn busy_sequence_is_waited_for_in_order() {
    let faults = Faults::none().yields(0.5);
    TestEnvironment::builder().workers(2).faults(faults).baton().explore(0..300, |env| {
        let (seq, inside) = (strand(env), Arc::new(AtomicUsize::new(0)));
        let log = Arc::new(Mutex::new(Vec::new()));
        let enter = move |inside: &AtomicUsize| {
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
            inside.fetch_sub(1, Ordering::SeqCst);
        };
        let callers: Vec<_> = (0..3_usize)
            .map(|caller| {
                let (seq, inside, log) = (seq.clone(), Arc::clone(&inside), Arc::clone(&log));
                env.pool().spawn(move || {
                    let (posted_inside, posted_log) = (Arc::clone(&inside), Arc::clone(&log));
                    let post = move || {
                        enter(&posted_inside);
                        posted_log.lock().expect("no panic").push((caller, 1));
                    };
                    seq.post_task(post).expect("open");
                    yield_point("between post and call");
                    let called = seq.run_sync(|| {
                        enter(&inside);
                        log.lock().expect("no panic").push((caller, 2));
                    });
                    called.expect("open");
                })
            })
            .collect();
        callers.into_iter().for_each(|caller| caller.join().expect("it runs"));
        let log = log.lock().expect("no panic").clone();
        for caller in 0..3 {
            let of_caller: Vec<_> = log.iter().filter(|entry| entry.0 == caller).map(|entry| entry.1).collect();
            assert_eq!(of_caller, [1, 2], "in post order");
        }
        sometimes!(log[0].0 != log[1].0, "callers interleave");
        assert_eq!((log.len(), seq.stats().queued), (6, 0));
        check_conservation(seq.stats()).expect("it adds up");
    });
}

/// From inside, also through a chain a, b, a, it is an error; a chain without a cycle is fine.
#[test]
fn calling_oneself_is_an_error() {
    TestEnvironment::builder().workers(2).baton().explore(0..60, |env| {
        let (a, b) = (strand(env), strand(env));
        let (own, other) = (a.clone(), b.clone());
        let inside = a.spawn(move || {
            let direct = own.run_sync(|| ());
            let chain = other.run_sync(|| own.run_sync(|| ()));
            let fine = other.run_sync(|| (other.is_current(), own.is_current()));
            (direct, chain, fine, own.is_current())
        });
        let (direct, chain, fine, is_current) = inside.join().expect("it runs");
        assert!(matches!(direct, Err(JoinError::WouldDeadlock)));
        assert!(matches!(chain, Ok(Err(JoinError::WouldDeadlock))));
        assert!(matches!(fine, Ok((true, false))) && is_current);
        let fence = env.pool().fence();
        assert!(matches!(a.run_sync(|| ()), Err(JoinError::WouldDeadlock)));
        drop(fence);
    });
}

/// A panic comes back; a closed sequence refuses; one that is discarded while the caller waits says so.
#[test]
fn ends_of_a_call_are_typed() -> AnyResult {
    let env = TestEnvironment::builder().workers(2).baton().build();
    let seq = strand(&env);
    let Err(JoinError::Panicked(panicked)) = seq.run_sync(|| panic!("inside")) else { panic!("it panicked") };
    assert_eq!((panicked.message(), seq.stats().panicked), (Some("inside"), 1));
    assert_eq!(seq.run_sync(|| 7)?, 7);

    let go = CancelToken::new();
    let waits = go.clone();
    seq.post_task(move || waits.wait())?;
    env.run_until_idle();
    let closer = seq.clone();
    env.pool().post_delayed_task(SECOND, move || {
        closer.close(Close::Discard);
        go.cancel();
    })?;
    assert!(matches!(seq.run_sync(|| ()), Err(JoinError::Cancelled)));
    assert!(matches!(seq.run_sync(|| ()), Err(JoinError::Rejected(RejectReason::Closed))));
    Ok(())
}

/// SHUT: a call that waits for its turn is waited for by the shutdown; later ones are refused.
#[test]
fn shutdown_waits_for_a_call() {
    TestEnvironment::builder().workers(2).baton().explore(0..60, |env| {
        let (seq, go) = (strand(env), CancelToken::new());
        let (waits, caller) = (go.clone(), seq.clone());
        let busy = TaskTraits::default().block_shutdown();
        seq.task().traits(busy).post(move || waits.wait()).expect("open");
        let called = env.pool().task().traits(busy).spawn(move || caller.run_sync(|| 7));
        env.run_until_idle();
        env.pool().post_task_with(busy, move || go.cancel()).expect("open");
        let report = env.pool().shutdown().expect("outside");
        assert_eq!((called.join().expect("it runs").expect("it runs"), report.stragglers.len()), (7, 0));
        assert!(matches!(seq.run_sync(|| ()), Err(JoinError::Rejected(RejectReason::ShutDown))));
    });
}

/// Owned state is called directly, with borrowed arguments; a panic poisons it.
#[test]
fn owned_state_is_called_with_borrowed_arguments() -> AnyResult {
    let env = TestEnvironment::builder().baton().build();
    let list = SequenceBound::new(&strand(&env), vec![String::from("a")]);
    let key = String::from("b");
    list.call_sync(|list| list.push(key.clone()))?;
    let found = list.call_sync(|list| list.iter().position(|entry| *entry == key))?;
    assert_eq!(found, Some(1));
    assert!(matches!(list.call_sync(|_| panic!("inside")), Err::<(), _>(JoinError::Panicked(_))));
    assert!(matches!(list.call_sync(|list| list.len()), Err(JoinError::Poisoned(None))));
    Ok(())
}
