//! State with one owner, callbacks and replies.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{Close, JoinError, RejectReason, SequenceBound, SequencedTaskRunner};

use crate::notes::strand;

use crate::AnyResult;

const SECOND: Duration = Duration::from_secs(1);

/// Where something was dropped: on which strand, or nowhere.
#[derive(Clone)]
pub(crate) struct Grave(Arc<Mutex<Vec<Option<String>>>>);

pub(crate) struct Mortal(pub(crate) Grave);

impl Grave {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn mortal(&self) -> Mortal {
        Mortal(self.clone())
    }

    pub(crate) fn places(&self) -> Vec<Option<String>> {
        self.0.lock().expect("no panic inside").clone()
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        let place = SequencedTaskRunner::current().and_then(|runner| runner.name().map(str::to_owned));
        self.0.0.lock().expect("no panic inside").push(place);
    }
}

pub(crate) fn named(env: &TestEnvironment, name: &'static str) -> SequencedTaskRunner {
    SequencedTaskRunner::builder(env.pool()).name(name).build().expect("valid")
}

/// Calls queue behind the construction, in order; the state is dropped on its sequence, after them.
#[test]
fn calls_run_in_order_and_the_state_dies_at_home() {
    TestEnvironment::explore(0..200, |env| {
        let (home, grave) = (named(env, "home"), Grave::new());
        let mortal = grave.mortal();
        let list = SequenceBound::with(&home, move || (Vec::new(), mortal));
        let shared = list.clone();
        for number in 0..5 {
            list.post(move |(list, _)| list.push(number)).expect("open");
        }
        drop(list);
        let seen = shared.call(|(list, _)| list.clone());
        drop(shared);
        assert_eq!(seen.join().expect("it runs"), [0, 1, 2, 3, 4]);
        env.run_until_idle();
        assert_eq!(grave.places(), [Some("home".to_owned())]);
    });
}

#[derive(Debug)]
struct NoFile;

impl fmt::Display for NoFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such file")
    }
}

impl std::error::Error for NoFile {}

/// A construction that fails, and a call that panics, poison; the source can be had.
#[test]
fn failed_state_is_poisoned_with_its_source() -> AnyResult {
    let env = TestEnvironment::builder().allow_panics().build();
    let seq = strand(&env);
    let broken: SequenceBound<u32> = SequenceBound::try_with(&seq, || Err(NoFile));
    let Err(JoinError::Poisoned(Some(source))) = broken.call(|n| *n).join() else { panic!("it has a source") };
    assert!(source.downcast_ref::<NoFile>().is_some(), "{source}");
    let refused = broken.post(|_| ()).map_err(|rejected| rejected.reason());
    assert_eq!(refused, Err(RejectReason::Poisoned));

    let number = SequenceBound::new(&seq, 1);
    assert!(matches!(number.call(|_| panic!("inside")).join(), Err::<(), _>(JoinError::Panicked(_))));
    assert!(matches!(number.call(|n| *n).join(), Err(JoinError::Poisoned(None))));

    let unbuilt: SequenceBound<u32> = SequenceBound::with(&seq, || panic!("in the builder"));
    assert!(matches!(unbuilt.call(|n| *n).join(), Err(JoinError::Poisoned(None))));
    Ok(())
}

/// A rebuilding one is built anew by the next call.
#[test]
fn state_is_rebuilt_after_a_panic() -> AnyResult {
    let env = TestEnvironment::builder().allow_panics().build();
    let mut built = 0;
    let state = SequenceBound::rebuilding(&strand(&env), move || {
        built += 1;
        vec![built]
    });
    state.post(|list| list.push(10))?;
    assert_eq!(state.call(|list| list.clone()).join()?, [1, 10]);
    state.post(|_| panic!("once"))?;
    assert_eq!(state.call(|list| list.clone()).join()?, [2]);
    assert_eq!(state.call(|list| list.len()).join()?, 1);
    Ok(())
}

/// A sequence that is closed, or shut down, refuses calls, and the state is dropped all the same.
#[test]
fn state_of_a_closed_sequence_is_dropped() -> AnyResult {
    let env = TestEnvironment::with_seed(3);
    let (home, grave) = (named(&env, "home"), Grave::new());
    let state = SequenceBound::new(&home, grave.mortal());
    let queued = state.call(|_| ());
    home.close(Close::Discard);
    assert!(matches!(queued.join(), Err(JoinError::Cancelled)));
    assert!(matches!(state.call(|_| ()).join(), Err(JoinError::Rejected(RejectReason::Closed))));
    drop(state);
    assert_eq!(grave.places().len(), 1);
    Ok(())
}

/// A callback runs on its sequence wherever it is called.
#[test]
fn wrapped_callback_runs_at_home() {
    TestEnvironment::explore(0..50, |env| {
        let home = named(env, "home");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (noted, own) = (Arc::clone(&seen), home.clone());
        let callback = home.wrap(move |number: u32| {
            assert!(own.is_current());
            noted.lock().expect("no panic").push(number);
        });
        let other = callback.clone();
        callback(1);
        env.pool().spawn(move || other(2)).join().expect("it runs");
        drop(callback);
        env.run_until_idle();
        assert_eq!(*seen.lock().expect("no panic"), [1, 2]);
    });
}

/// HND-6: the task is dropped where it ran, the reply where it was posted from, in that order.
#[test]
fn reply_runs_and_dies_on_the_origin() {
    TestEnvironment::explore(0..200, |env| {
        let (home, away) = (named(env, "home"), named(env, "away"));
        let (tasks, replies) = (Grave::new(), Grave::new());
        let (task, reply, target) = (tasks.mortal(), replies.mortal(), away.clone());
        let done = Arc::new(Mutex::new(None));
        let (answer, tasks_seen) = (Arc::clone(&done), tasks.clone());
        home.spawn(move || {
            let work = move || {
                let _owned = &task;
                42
            };
            let go_on = move |value| {
                let _owned = &reply;
                *answer.lock().expect("no panic") = Some((value, tasks_seen.places().len()));
            };
            target.post_task_and_reply_with_result(work, go_on).expect("open");
        })
        .join()
        .expect("it runs");
        env.run_until_idle();
        assert_eq!(*done.lock().expect("no panic"), Some((42, 1)), "the task is gone when the reply runs");
        assert_eq!(tasks.places(), [Some("away".to_owned())]);
        assert_eq!(replies.places(), [Some("home".to_owned())]);
    });
}

/// HND-6: a panic means no reply, which is dropped on the origin; so is one whose task is dropped unrun.
#[test]
fn reply_that_is_not_due_dies_on_the_origin() -> AnyResult {
    let env = TestEnvironment::builder().allow_panics().build();
    let (home, away) = (named(&env, "home"), named(&env, "away"));
    let grave = Grave::new();
    let reply = grave.mortal();
    away.post_task_and_reply_on(&home, || panic!("no reply"), move || drop(reply))?;
    env.run_until_idle();
    assert_eq!(grave.places(), [Some("home".to_owned())]);

    let reply = grave.mortal();
    away.post_task_and_reply_on(&home, || (), move || panic!("never run: {:?}", reply.0.places()))?;
    away.close(Close::Discard);
    env.run_until_idle();
    assert_eq!(grave.places(), vec![Some("home".to_owned()); 2]);

    let (task, reply) = (grave.mortal(), grave.mortal());
    let refused = away.post_task_and_reply_on(&home, move || drop(task), move || drop(reply));
    let (task, reply) = refused.expect_err("it is closed").into_task();
    assert_eq!(grave.places().len(), 2, "both came back");
    drop((task, reply));
    Ok(())
}

/// HND-6: a reply that cannot be delivered is reported; without a sequence to reply on, both come back.
#[test]
fn undeliverable_reply_is_reported() -> AnyResult {
    let refused = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&refused);
    let note = move |report: &overstrand::RejectionReport| told.lock().expect("no panic").push(report.runner.clone());
    let env = TestEnvironment::builder().pool(|pool| pool.on_rejected(note)).build();
    let (home, away) = (named(&env, "home"), named(&env, "away"));
    home.close(Close::Drain);
    away.post_task_and_reply_on(&home, || (), || panic!("never"))?;
    env.advance(SECOND);
    assert_eq!(*refused.lock().expect("no panic"), [Some("home".into())]);

    let nowhere = env.pool().post_task_and_reply(|| (), || ());
    assert_eq!(nowhere.map_err(|rejected| rejected.reason()), Err(RejectReason::NoOrigin));
    env.pool().post_task_and_reply_with_result_on(&away, || 1, |one| assert_eq!(one, 1))?;
    away.post_task_and_reply_on(env.pool(), || (), || ())?;
    env.run_until_idle();
    assert_eq!(env.pool().stats().ran, 5);
    Ok(())
}
