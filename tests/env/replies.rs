//! Replies that are built, go to any runner, or follow a result.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{
    Barrier, BoxedTask, CancelToken, Close, DelayedTaskHandle, JoinError, RejectReason, Rejected, SequencedTaskRunner,
    TaskRunner, TaskTraits,
};

use crate::AnyResult;
use crate::owned::{Grave, named};

const SECOND: Duration = Duration::from_secs(1);

/// HND-6: a name, a delay and a token are the task's; the reply comes right after it.
#[test]
fn built_reply_waits_for_its_task_only() {
    TestEnvironment::explore(0..100, |env| {
        let (home, away) = (named(env, "home"), named(env, "away"));
        let (tasks, replies) = (Grave::new(), Grave::new());
        let (task, reply, told) = (tasks.mortal(), replies.mortal(), Arc::new(Mutex::new(None)));
        let (answer, target) = (Arc::clone(&told), away.clone());
        let ask = move || {
            let work = move || {
                drop(task);
                overstrand::current::task_name()
            };
            let go_on = move |name: Option<Arc<str>>| {
                drop(reply);
                *answer.lock().expect("no panic") = name;
            };
            target.task().name("x").delay(SECOND).post_and_reply_with_result(work, go_on).expect("open");
        };
        home.spawn(ask).join().expect("it runs");
        env.run_until_idle();
        assert!(tasks.places().is_empty());
        env.advance(SECOND);
        assert_eq!(told.lock().expect("no panic").as_deref(), Some("x"));
        assert_eq!(tasks.places(), [Some("away".to_owned())]);
        assert_eq!(replies.places(), [Some("home".to_owned())]);
    });
}

/// HND-6: a token that is signalled drops the task at once and the reply on the origin; one that was signalled before gives both back, as a closed runner does.
#[test]
fn cancelled_reply_dies_on_the_origin() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let (home, away, token) = (named(&env, "home"), named(&env, "away"), CancelToken::new());
    let (tasks, replies) = (Grave::new(), Grave::new());
    let post = |token: &CancelToken| {
        let (task, reply) = (tasks.mortal(), replies.mortal());
        let built = away.task().delay(SECOND).cancel_with(token);
        built.post_and_reply_on(&home, move || drop(task), move || drop(reply)).map_err(|rejected| {
            let reason = rejected.reason();
            let before = (tasks.places().len(), replies.places().len());
            drop(rejected.into_task());
            assert_eq!((tasks.places().len(), replies.places().len()), (before.0 + 1, before.1 + 1), "both came back");
            reason
        })
    };
    assert_eq!(post(&token), Ok(()));
    token.cancel();
    assert_eq!((tasks.places(), replies.places()), (vec![None], vec![]));
    env.run_until_idle();
    assert_eq!(replies.places(), [Some("home".to_owned())]);
    assert_eq!(post(&token), Err(RejectReason::Cancelled));

    let (token, reply) = (CancelToken::new(), replies.mortal());
    let signal = token.clone();
    let late = move || panic!("called off: {:?}", reply.0.places());
    away.task().cancel_with(&token).post_and_reply_on(&home, move || signal.cancel(), late)?;
    env.run_until_idle();
    assert_eq!(replies.places().last(), Some(&Some("home".to_owned())));

    let token = CancelToken::new();
    assert_eq!(post(&token), Ok(()));
    away.close(Close::Discard);
    env.advance(SECOND);
    assert_eq!(replies.places().last(), Some(&Some("home".to_owned())));
    assert_eq!(post(&token), Err(RejectReason::Closed));
    let nowhere = away.task().post_and_reply(|| (), || ());
    assert_eq!(nowhere.map_err(|rejected| rejected.reason()), Err(RejectReason::NoOrigin));
    Ok(())
}

/// A runner of somebody else's, which counts and sometimes refuses.
struct Counting(SequencedTaskRunner, AtomicUsize);

impl TaskRunner for Counting {
    fn post_boxed(&self, task: BoxedTask) -> Result<(), Rejected<BoxedTask>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        TaskRunner::post_boxed(&self.0, task)
    }

    fn post_boxed_delayed(&self, delay: Duration, task: BoxedTask) -> Result<DelayedTaskHandle, Rejected<BoxedTask>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.post_boxed_delayed(delay, task)
    }

    fn is_current(&self) -> bool {
        self.0.is_current()
    }
}

/// Any runner is an origin and a target, for replies, barriers and continuations.
#[test]
fn any_runner_takes_part() {
    TestEnvironment::explore(0..50, |env| {
        let (home, away) = (named(env, "home"), named(env, "away"));
        let counting = Arc::new(Counting(home.clone(), AtomicUsize::new(0)));
        let any: Arc<dyn TaskRunner> = Arc::clone(&counting) as Arc<dyn TaskRunner>;
        let (grave, steps) = (Grave::new(), Arc::new(AtomicUsize::new(0)));
        let step = || {
            let (mortal, steps, own) = (grave.mortal(), Arc::clone(&steps), home.clone());
            move || {
                let _owned = &mortal;
                assert!(own.is_current());
                steps.fetch_add(1, Ordering::SeqCst);
            }
        };
        away.post_task_and_reply_on(&any, || (), step()).expect("open");
        any.post_task_and_reply_with_result_on(&away, || 7, |seven| assert_eq!(seven, 7)).expect("open");
        Barrier::new(1, &any, step()).hit();
        let followed = env.pool().spawn(|| 1).then_on(&any, |one| one.map(|one| one + 1));
        assert_eq!(followed.join().expect("it runs").expect("it ran"), 2);
        env.run_until_idle();
        assert_eq!((steps.load(Ordering::SeqCst), counting.1.load(Ordering::SeqCst)), (2, 4));
        assert_eq!(grave.places(), vec![Some("home".to_owned()); 2]);

        home.close(Close::Drain);
        let refused = any.post_task_and_reply_on(&away, step(), step()).expect_err("it is closed");
        assert_eq!((refused.reason(), grave.places().len()), (RejectReason::Closed, 2));
        drop(refused.into_task());
        assert_eq!(grave.places().len(), 4);
        let refused = env.pool().spawn(|| 1).then_on(&any, |_| ());
        assert!(matches!(refused.join(), Err(JoinError::Rejected(RejectReason::Closed))));
    });
}

/// HND-1: a continuation runs on its runner with the result, be it an error, and its handle is one like any other.
#[test]
fn continuation_runs_where_it_should() {
    TestEnvironment::builder().allow_panics().explore(0..200, |env| {
        let (home, away) = (named(env, "home"), named(env, "away"));
        let own = home.clone();
        let value = away.spawn(|| 20).then_on(&home, move |value| (value.ok(), own.is_current()));
        let chain = value.then_on(&away, |seen| seen.map(|(value, is_home)| value.filter(|_| is_home)));
        assert_eq!(chain.join().expect("it runs").expect("it ran"), Some(20));

        let failed = away.spawn(|| panic!("no value")).then_on(&home, |value: Result<(), _>| value.is_err());
        assert!(failed.join().expect("it runs"));
        let panics = env.pool().spawn(|| ()).then_on(&home, |_| panic!("in the continuation"));
        assert!(matches!(panics.join(), Err::<(), _>(JoinError::Panicked(_))));

        let (grave, late) = (Grave::new(), away.pause());
        let (mortal, first) = (grave.mortal(), away.spawn(|| ()));
        let second = first.then_on(&home, move |_| drop(mortal));
        assert!(!second.is_finished() && second.cancel());
        assert_eq!(grave.places().len(), 1, "dropped at once");
        assert!(matches!(second.join(), Err(JoinError::Cancelled)));
        drop(late);
        env.run_until_idle();
        assert_eq!(away.stats().ran, 3, "what it would have followed is cancelled, too");
        assert_eq!(home.stats().ran, 3);
    });
}

/// HND-1, HND-4: dropping the handle detaches both, unless it cancels on drop; joining it from inside either sequence is an error.
#[test]
fn continuation_is_detached_and_sees_deadlocks() -> AnyResult {
    let env = TestEnvironment::with_seed(2);
    let (home, away) = (named(&env, "home"), named(&env, "away"));
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    drop(away.spawn(|| ()).then_on(&home, move |_| _ = counted.fetch_add(1, Ordering::SeqCst)));
    let counted = Arc::clone(&count);
    drop(away.spawn(|| ()).cancel_on_drop().then_on(&home, move |_| _ = counted.fetch_add(1, Ordering::SeqCst)));
    env.run_until_idle();
    assert_eq!(count.load(Ordering::SeqCst), 1);
    for inside in [&home, &away] {
        let (home, away) = (home.clone(), away.clone());
        let joined = inside.spawn(move || away.spawn(|| ()).then_on(&home, |_| ()).join());
        assert!(matches!(joined.join()?, Err(JoinError::WouldDeadlock)));
    }
    let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
    let mut taken = strand.spawn(|| ());
    env.run_until_idle();
    assert!(matches!(taken.try_join(), Some(Ok(()))));
    assert!(taken.then_on(&strand, |result| matches!(result, Err(JoinError::Taken))).join()?);
    Ok(())
}
