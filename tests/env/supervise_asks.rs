//! What is asked of a supervisor: waits, searches, rows; and tokens that stop tasks (SUP-8, SUP-10, SUP-11).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{Faults, TestEnvironment, wait_until};
use overstrand::{
    Admission, CancelToken, Outcome, Strategy, SubmitError, Supervisor, TaskContext, TaskSpec, TaskStatus, WaitError,
};

use crate::supervise_runs::{Gauge, supervisor};
use crate::{AnyResult, figure};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn patient(name: impl Into<String>) -> TaskSpec {
    TaskSpec::future(name.into(), |cx: TaskContext| async move {
        cx.token().cancelled().await;
        Ok(())
    })
}

/// A token stops its tasks wherever they stand; of a group it stops one child.
#[test]
fn token_stops_its_tasks() {
    TestEnvironment::explore(0..60, |env| {
        let supervisor =
            Supervisor::builder(env.pool()).capacity(3).queue_when_full(9, SECOND * 60).build().expect("valid");
        let token = CancelToken::new();
        let child = patient("child").token(&token);
        let group = TaskSpec::group("group", Strategy::OneForOne, [child, patient("other")]);
        let group = supervisor.submit(group).expect("there is room");
        let runs = supervisor.submit(patient("runs").token(&token)).expect("there is room");
        let rests = supervisor.submit(patient("rests").start_delay(SECOND).token(&token)).expect("there is room");
        let waits = supervisor.submit(patient("waits").token(&token)).expect("there is room to wait");
        env.run_until_idle();
        token.cancel();
        for task in [runs, rests, waits] {
            assert!(matches!(task.outcome().join(), Ok(Outcome::Cancelled)), "{task:?}");
        }
        env.run_until_idle();
        assert_eq!((group.status(), supervisor.is_alive("other")), (TaskStatus::Running, true));
        assert!(!supervisor.is_alive("child"), "it has left its group");
        assert!(group.cancel());
        let refused = supervisor.submit(patient("late").token(&token)).expect_err("it is signalled");
        assert_eq!(refused.to_string(), "late was not taken: its token is signalled");
        let SubmitError::Cancelled(spec) = refused else { panic!("{refused}") };
        let again = supervisor.submit(spec.token(&CancelToken::new())).expect("that is another one");
        assert!(again.cancel());
    });
}

/// A token that is signalled while its task is submitted, and one that ends a task beside its own end: one outcome, nothing left.
#[test]
fn token_beside_a_submission() {
    let schedules = AtomicUsize::new(0);
    let faults = Faults::none().yields(0.3);
    TestEnvironment::builder().baton().faults(faults).explore(0..200, |env| {
        let (supervisor, token, gauge) = (supervisor(env), CancelToken::new(), Gauge::default());
        let signals = token.clone();
        let signals = env.pool().spawn(move || signals.cancel());
        let counted = gauge.clone();
        let spec = TaskSpec::blocking("one", move |_| counted.run(|| Ok(())));
        match supervisor.submit(spec.token(&token)) {
            Ok(task) => {
                let outcome = task.outcome().join().expect("it comes");
                assert!(matches!(outcome, Outcome::Cancelled | Outcome::Completed(())), "{outcome}");
            }
            Err(SubmitError::Cancelled(_)) => assert_eq!(gauge.runs(), 0),
            Err(other) => panic!("{other}"),
        }
        signals.join().expect("it runs");
        supervisor.wait_idle(SECOND).expect("nothing is left");
        schedules.fetch_add(1, Ordering::Relaxed);
    });
    figure("I46", format_args!("{schedules:?} schedules of a signal beside a submission"));
}

/// A token that outlives its tasks keeps nothing of them.
#[test]
fn token_forgets_what_has_ended() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let (supervisor, token, kept) = (supervisor(&env), CancelToken::new(), Arc::new(()));
    for number in 0..100 {
        let kept = Arc::clone(&kept);
        let spec = TaskSpec::blocking(number.to_string(), move |_| Ok(_ = Arc::strong_count(&kept)));
        supervisor.submit(spec.token(&token))?;
    }
    supervisor.wait_idle(SECOND)?;
    assert_eq!(Arc::strong_count(&kept), 1);
    token.cancel();
    Ok(())
}

/// A future body gives up what it waits for as soon as it is told to stop, and drops it.
#[test]
fn run_until_cancelled_gives_up() {
    TestEnvironment::explore(0..60, |env| {
        let (supervisor, gauge) = (supervisor(env), Gauge::default());
        let counted = gauge.clone();
        let spec = TaskSpec::future("waits", move |cx: TaskContext| {
            let gauge = counted.clone();
            async move {
                assert_eq!(cx.run_until_cancelled(async { 7 }).await, Ok(7));
                let held = gauge.hold();
                let never = async move {
                    std::future::pending::<()>().await;
                    drop(held);
                };
                let given_up = cx.run_until_cancelled(never).await;
                assert_eq!(gauge.live(), 0, "it is dropped");
                let no_more = async { panic!("it is not polled") };
                assert!(cx.run_until_cancelled(no_more).await.is_err());
                Ok(given_up?)
            }
        });
        let task = supervisor.submit(spec).expect("there is room");
        env.run_until_idle();
        assert_eq!(gauge.live(), 1);
        assert!(task.cancel());
        assert!(matches!(task.outcome().join(), Ok(Outcome::Cancelled)));
        assert_eq!((env.now(), supervisor.stats().running), (Duration::ZERO, 0), "it took no grace");
    });
}

/// Nothing is held any more when the wait ends, what was submitted meanwhile included; it stops nothing, and says where it would wait for itself.
#[test]
fn wait_idle_waits_for_all() {
    TestEnvironment::builder().baton().explore(0..60, |env| {
        let (supervisor, gauge) = (supervisor(env), Gauge::default());
        supervisor.wait_idle(Duration::ZERO).expect("it is idle");
        let (adds, counted, told) = (supervisor.clone(), gauge.clone(), Arc::new(Mutex::new(None)));
        let answers = Arc::clone(&told);
        let first = TaskSpec::blocking("first", move |_| {
            *answers.lock().expect("no panic") = Some(adds.wait_idle(SECOND));
            wait_until(SECOND, || None::<()>);
            let gauge = counted.clone();
            adds.submit(TaskSpec::blocking("next", move |_| {
                gauge.run(|| wait_until(SECOND, || None::<()>));
                Ok(())
            }))?;
            Ok(())
        });
        let first = supervisor.submit(first).expect("there is room");
        assert_eq!(supervisor.wait_idle(MILLISECOND * 500), Err(WaitError::TimedOut));
        supervisor.wait_idle(SECOND * 60).expect("all end");
        assert_eq!((env.now(), gauge.runs(), gauge.live()), (SECOND * 2, 1, 0));
        assert!(supervisor.tasks().is_empty() && first.outcome().try_join().is_some());
        assert_eq!(*told.lock().expect("no panic"), Some(Err(WaitError::WouldDeadlock)));
        let fence = env.pool().fence();
        assert_eq!(supervisor.wait_idle(Duration::ZERO), Err(WaitError::WouldDeadlock));
        drop(fence);
    });
}

/// A number finds its task, also when another one carries its name by now; the rows tell the slots.
#[test]
fn numbers_find_what_names_do_not() {
    TestEnvironment::builder().baton().explore(0..40, |env| {
        let supervisor = supervisor(env);
        let sync = || {
            let slow = TaskSpec::blocking("sync", |cx: &TaskContext| {
                cx.token().wait();
                wait_until(MILLISECOND * 100, || None::<()>);
                Ok(())
            });
            supervisor.submit(slow.slot("tenant", Admission::Replace)).expect("there is room")
        };
        let old = sync();
        env.run_until_idle();
        let new = sync();
        let plain = supervisor.submit(patient("plain")).expect("there is room");
        env.run_until_idle();
        assert_eq!(supervisor.find("sync").map(|task| task.id()), Some(new.id()));
        let found = supervisor.find_id(old.id()).expect("it has not returned");
        assert_eq!((found.id(), found.status()), (old.id(), TaskStatus::Stopping));
        let rows = supervisor.tasks();
        let slots: Vec<_> = rows.iter().map(|row| (row.slot.as_deref(), row.status)).collect();
        let expected =
            [(Some("tenant"), TaskStatus::Stopping), (Some("tenant"), TaskStatus::Queued), (None, TaskStatus::Running)];
        assert_eq!(slots, expected);
        found.wait_ended(SECOND).expect("it returns");
        assert!(supervisor.find_id(old.id()).is_none());
        assert!(new.cancel() && plain.cancel());
    });
}

/// SUP-10: as many wait in a slot as is said.
#[test]
fn slot_capacity_is_what_was_said() -> AnyResult {
    let env = TestEnvironment::with_seed(2);
    let supervisor = Supervisor::builder(env.pool()).slot_capacity(2).build()?;
    let submit = |name: &'static str| supervisor.submit(patient(name).slot("reports", Admission::Queue));
    let tasks = [submit("has it")?, submit("waits")?, submit("waits too")?];
    assert!(matches!(submit("is too many"), Err(SubmitError::Limit(_))));
    supervisor.submit(patient("of another slot").slot("other", Admission::Queue))?;
    assert!(tasks[1].cancel());
    submit("fits")?;
    supervisor.shutdown()?;
    let refused = Supervisor::builder(env.pool()).slot_capacity(0).build().expect_err("nobody could wait");
    assert_eq!((refused.field(), refused.value()), ("slot_capacity", "0"));
    Ok(())
}

/// SUP-8: how long a watched run has been silent, exact to a sweep, zero in its start-up time and after a sign.
#[test]
fn silence_is_shown() -> AnyResult {
    let env = TestEnvironment::with_seed(3);
    let supervisor = supervisor(&env);
    let silent = |supervisor: &Supervisor| supervisor.tasks()[0].silent;
    let spec = TaskSpec::future("beats", |cx: TaskContext| async move {
        cx.sleep_async(SECOND * 15).await;
        cx.heartbeat();
        cx.token().cancelled().await;
        Ok(())
    });
    let task = supervisor.submit(spec.watchdog(SECOND * 10).max_retries(0).start_delay(SECOND))?;
    assert_eq!(silent(&supervisor), None, "it does not run yet");
    env.advance(SECOND * 10);
    assert_eq!(silent(&supervisor), Some(Duration::ZERO), "the first sign may come a period later");
    env.advance(SECOND * 5);
    let shown = silent(&supervisor).expect("it is watched");
    assert!(shown > SECOND * 3 && shown <= SECOND * 4, "{shown:?}");
    env.advance(SECOND);
    assert!(silent(&supervisor) <= Some(SECOND / 2), "it has given a sign");
    env.advance(SECOND * 8);
    let shown = silent(&supervisor).expect("it is watched");
    assert!(shown >= SECOND * 7 && shown <= SECOND * 8, "{shown:?}");
    assert!(task.is_alive());
    env.advance(SECOND * 4);
    assert!(matches!(task.outcome().join()?, Outcome::HeartbeatLost));
    Ok(())
}
