//! Groups of supervised tasks: order, strategies, escalation, the end (SUP-14).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{TestEnvironment, wait_until};
use overstrand::{
    Backoff, Exhausted, Outcome, RunError, Strategy, SubmitError, Supervisor, TaskContext, TaskSpec, TaskStatus,
};

use crate::supervise_runs::supervisor;
use crate::{AnyResult, figure};

const SECOND: Duration = Duration::from_secs(1);

/// What children did, in order: `+a` started, `-a` stopped.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, what: &str, name: &str) {
        self.0.lock().expect("no panic").push(format!("{what}{name}"));
    }

    /// What was noted since the last call.
    fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().expect("no panic")).join(" ")
    }

    /// A child that is ready after a second, and takes a second to stop; it fails when `fails` is set.
    fn child(&self, name: &'static str, fails: &Arc<AtomicBool>) -> TaskSpec {
        let (diary, fails) = (self.clone(), Arc::clone(fails));
        TaskSpec::future(name, move |cx: TaskContext| {
            let (diary, fails) = (diary.clone(), Arc::clone(&fails));
            async move {
                diary.note("+", name);
                if cx.sleep_async(SECOND).await {
                    cx.ready();
                }
                while cx.sleep_async(SECOND).await {
                    if fails.swap(false, Ordering::SeqCst) {
                        diary.note("!", name);
                        return Err("broken".into());
                    }
                }
                overstrand::sleep(SECOND).await;
                diary.note("-", name);
                Ok(())
            }
        })
        .backoff(Backoff::constant(SECOND))
    }
}

fn flag() -> Arc<AtomicBool> {
    Arc::default()
}

fn three(env: &TestEnvironment, strategy: Strategy) -> (Supervisor, Diary, [Arc<AtomicBool>; 3]) {
    let supervisor = Supervisor::builder(env.pool()).capacity(1).grace(SECOND * 60).build().expect("valid");
    let (diary, fails) = (Diary::default(), [flag(), flag(), flag()]);
    let children = ["a", "b", "c"].into_iter().zip(&fails).map(|(name, fails)| diary.child(name, fails));
    let group = supervisor.submit(TaskSpec::group("group", strategy, children)).expect("a group has one place");
    env.run_until_idle();
    assert_eq!(diary.take(), "+a", "the next waits for it");
    group.wait_ready(SECOND * 60).expect("it starts up");
    env.run_until_idle();
    assert_eq!((diary.take(), env.now()), ("+b +c".into(), SECOND * 3));
    (supervisor, diary, fails)
}

/// SUP-14, I38: who is restarted, in which order; the end in reverse.
#[test]
fn strategies_restart_the_right_ones() {
    let failures = AtomicUsize::new(0);
    for (strategy, expected) in [
        (Strategy::OneForOne, "!b +b"),
        (Strategy::RestForOne, "!b -c +b +c"),
        (Strategy::OneForAll, "!b -c -a +a +b +c"),
    ] {
        TestEnvironment::explore(0..40, |env| {
            let (supervisor, diary, fails) = three(env, strategy);
            fails[1].store(true, Ordering::SeqCst);
            failures.fetch_add(1, Ordering::Relaxed);
            env.advance(SECOND * 20);
            assert_eq!(diary.take(), expected, "{strategy:?}");
            assert_eq!(supervisor.stats().running, 3);
            let group = supervisor.find("group").expect("it is there");
            assert_eq!(group.status(), TaskStatus::Running);
            assert!(group.cancel());
            assert_eq!(diary.take(), "-c -b -a", "one after the other, in reverse");
            let stats = supervisor.stats();
            assert_eq!((stats.places, stats.running, supervisor.tasks().len()), (0, 0, 0));
            assert!(!supervisor.is_alive("b"));
        });
    }
    figure("I38", format_args!("{failures:?} trees with a failure, restarted and stopped in the right order"));
}

/// I38: a child that fails while others are being stopped makes the procedure begin anew from the earlier one.
#[test]
fn failure_during_a_restart_is_part_of_it() {
    TestEnvironment::explore(0..40, |env| {
        let (supervisor, diary, fails) = three(env, Strategy::RestForOne);
        fails[1].store(true, Ordering::SeqCst);
        env.advance(SECOND);
        assert_eq!(diary.take(), "!b");
        fails[0].store(true, Ordering::SeqCst);
        env.advance(SECOND * 20);
        assert_eq!(diary.take().split(' ').filter(|word| word.starts_with('+')).collect::<String>(), "+a+b+c");
        supervisor.shutdown().expect("from outside");
        assert_eq!(diary.take(), "-c -b -a");
    });
}

/// SUP-7, SUP-14: too many restarts are the problem of the whole, and then of the whole of wholes; the cause is told.
#[test]
fn escalation_climbs_and_tells_the_cause() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let supervisor = supervisor(&env);
    let fails = || {
        let spec = TaskSpec::<()>::blocking("disk", |_| Err("no disk".into()));
        spec.backoff(Backoff::constant(Duration::ZERO))
    };
    let storage = TaskSpec::group("storage", Strategy::OneForOne, [fails()])
        .intensity(2, SECOND * 60, Exhausted::Escalate)
        .backoff(Backoff::constant(SECOND));
    let app = TaskSpec::group("app", Strategy::OneForAll, [storage]).intensity(1, SECOND * 60, Exhausted::GiveUp);
    let app = supervisor.submit(app)?;
    let Outcome::Failed(error) = app.outcome().join()? else { panic!("it could not be kept alive") };
    let mut chain = vec![error.to_string()];
    let mut next = std::error::Error::source(&*error);
    while let Some(error) = next {
        chain.push(error.to_string());
        next = error.source();
    }
    let expected = ["storage of the group did not complete", "disk of the group did not complete", "no disk"];
    assert_eq!(chain, expected);
    assert!(error.downcast_ref::<RunError>().is_some());
    assert_eq!((env.now(), supervisor.tasks().len()), (SECOND, 0), "storage was restarted once");
    Ok(())
}

/// A group completes when its children have; one that gave up is told, and the others go on.
#[test]
fn group_ends_with_its_children() -> AnyResult {
    let env = TestEnvironment::with_seed(2);
    let supervisor = supervisor(&env);
    let ok = |name: &'static str| {
        TaskSpec::future(name, |_| async {
            overstrand::sleep(SECOND).await;
            Ok(())
        })
    };
    let group = supervisor.submit(TaskSpec::group("good", Strategy::OneForAll, [ok("a"), ok("b")]))?;
    assert!(group.outcome().join()?.is_completed());
    assert_eq!(env.now(), SECOND * 2, "the second starts when the first is over");
    let bad = TaskSpec::<()>::blocking("bad", |_| Err("no".into())).max_retries(0);
    let group = supervisor.submit(TaskSpec::group("some", Strategy::OneForAll, [bad, ok("c")]))?;
    let Outcome::Failed(error) = group.outcome().join()? else { panic!("one has failed") };
    assert_eq!((error.to_string().as_str(), env.now()), ("bad of the group did not complete", SECOND * 3));
    let empty = supervisor.submit(TaskSpec::group("empty", Strategy::OneForOne, []))?;
    assert!(empty.outcome().join()?.is_completed());
    let same = TaskSpec::group("twice", Strategy::OneForOne, [ok("x"), ok("x")]);
    assert!(matches!(supervisor.submit(same), Err(SubmitError::AlreadyExists(_))));
    Ok(())
}

/// SUP-2: a child that does not stop is stuck; the group's outcome does not wait for it, its place does.
#[test]
fn stuck_child_keeps_the_place_of_its_group() {
    TestEnvironment::builder().baton().explore(0..30, |env| {
        let supervisor = supervisor(env);
        let gate = flag();
        let deaf = Arc::clone(&gate);
        let child = TaskSpec::blocking("deaf", move |cx: &TaskContext| {
            cx.ready();
            wait_until(Duration::MAX, || deaf.load(Ordering::SeqCst).then_some(()));
            Ok(())
        });
        let other = TaskSpec::blocking("other", |cx: &TaskContext| {
            cx.token().wait();
            Ok(())
        });
        let group = supervisor.submit(TaskSpec::group("group", Strategy::OneForAll, [child, other]));
        let group = group.expect("there is room");
        env.run_until_idle();
        let report = supervisor.shutdown().expect("from outside");
        assert_eq!(report.stuck, ["group".into(), "deaf".into()]);
        assert!(matches!(group.outcome().join(), Ok(Outcome::ForceAborted)));
        assert_eq!((supervisor.stats().places, supervisor.stats().running), (1, 1));
        gate.store(true, Ordering::SeqCst);
        group.wait_ended(SECOND).expect("it returns");
        assert_eq!(supervisor.stats().places, 0);
    });
}

/// F62: a deep tree is stopped from its leaves, without a deep stack.
#[test]
fn deep_tree_stops() -> AnyResult {
    let env = TestEnvironment::with_seed(3);
    let (supervisor, diary) = (supervisor(&env), Diary::default());
    let mut tree = diary.child("leaf", &flag());
    for depth in 0..50 {
        tree = TaskSpec::group(format!("level {depth}"), Strategy::OneForAll, [tree]);
    }
    let root = supervisor.submit(tree)?;
    root.wait_ready(SECOND * 60)?;
    assert_eq!(supervisor.tasks().len(), 51);
    assert!(root.restart());
    root.wait_ended(SECOND * 10).expect_err("it goes on");
    assert!(root.cancel());
    assert_eq!((diary.take(), supervisor.tasks().len()), ("+leaf -leaf +leaf -leaf".into(), 0));
    Ok(())
}

/// SUP-13: the pool ends under a group; every outcome comes.
#[test]
fn group_ends_with_the_pool() {
    TestEnvironment::explore(0..40, |env| {
        let (supervisor, _, _) = three(env, Strategy::OneForAll);
        let group = supervisor.find("group").expect("it is there");
        env.pool().shutdown().expect("from outside");
        assert_eq!((group.status(), supervisor.tasks().len()), (TaskStatus::Ended, 0));
    });
}
