//! Who gets in, who runs when: capacity, eviction, waiting, permits, slots, names (SUP-9 to SUP-11).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{TestEnvironment, wait_until};
use overstrand::{
    Admission, Outcome, Rejection, SubmitError, SupervisedTask, Supervisor, TaskContext, TaskResult, TaskSpec,
    TaskStatus,
};

use crate::AnyResult;
use crate::supervise_runs::Gauge;

const SECOND: Duration = Duration::from_secs(1);

fn house(env: &TestEnvironment, capacity: usize) -> Supervisor {
    Supervisor::builder(env.pool()).capacity(capacity).grace(SECOND * 60).build().expect("valid")
}

/// A task that takes a second to stop, and is measured.
fn slow_to_stop(name: impl Into<String>, gauge: &Gauge) -> TaskSpec {
    let gauge = gauge.clone();
    TaskSpec::future(name.into(), move |cx: TaskContext| {
        let gauge = gauge.clone();
        async move {
            let held = gauge.hold();
            cx.token().cancelled().await;
            overstrand::sleep(SECOND).await;
            drop(held);
            Ok(())
        }
    })
}

fn status_of(task: &SupervisedTask) -> TaskStatus {
    task.status()
}

/// SUP-9, I40, I41: the lowest priority goes, the latest started first, and the newcomer starts when its place is physically free.
#[test]
fn newcomer_starts_when_its_victim_has_gone() {
    TestEnvironment::explore(0..100, |env| {
        let (supervisor, gauge) = (house(env, 3), Gauge::default());
        let submit = |name: &'static str, priority| supervisor.submit(slow_to_stop(name, &gauge).priority(priority));
        let low = submit("low", 1).expect("there is room");
        let old = submit("old", 0).expect("there is room");
        let young = submit("young", 0).expect("there is room");
        env.run_until_idle();
        assert!(matches!(submit("equal", 0), Err(SubmitError::Full(_))), "not for one that is as important");
        let newcomer = submit("newcomer", 1).expect("it is more important");
        env.run_until_idle();
        assert_eq!((status_of(&young), status_of(&newcomer)), (TaskStatus::Stopping, TaskStatus::Queued));
        assert_eq!((status_of(&old), status_of(&low)), (TaskStatus::Running, TaskStatus::Running));
        assert!(matches!(young.outcome().join(), Ok(Outcome::Evicted)));
        env.run_until_idle();
        assert_eq!((status_of(&newcomer), env.now(), gauge.most()), (TaskStatus::Running, SECOND, 3));
        let stats = supervisor.stats();
        assert_eq!((stats.places, stats.evicted, stats.submitted), (3, 1, 4));
        supervisor.shutdown().expect("from outside");
    });
}

/// I42: one victim for each need; who waits for a place can be evicted in turn, and never by an equal.
#[test]
fn reserved_place_is_taken_over_by_the_more_important() {
    TestEnvironment::explore(0..50, |env| {
        let (supervisor, gauge) = (house(env, 1), Gauge::default());
        let submit = |name: &'static str, priority| supervisor.submit(slow_to_stop(name, &gauge).priority(priority));
        let first = submit("first", 0).expect("there is room");
        env.run_until_idle();
        let second = submit("second", 1).expect("it evicts");
        assert!(matches!(submit("equal", 1), Err(SubmitError::Full(_))));
        let third = submit("third", 2).expect("it evicts");
        assert!(matches!(second.outcome().join(), Ok(Outcome::Evicted)));
        assert_eq!(env.now(), Duration::ZERO, "it had nothing to stop");
        assert!(matches!(first.outcome().join(), Ok(Outcome::Evicted)));
        env.run_until_idle();
        assert_eq!((status_of(&third), gauge.most(), gauge.runs()), (TaskStatus::Running, 1, 2));
        assert!(third.cancel());
    });
}

/// F58: the newcomer goes away while its victim dies: the victim is evicted all the same, and the place is free.
#[test]
fn place_of_a_newcomer_that_left_is_free() {
    TestEnvironment::explore(0..50, |env| {
        let (supervisor, gauge) = (house(env, 1), Gauge::default());
        let victim = supervisor.submit(slow_to_stop("victim", &gauge)).expect("there is room");
        env.run_until_idle();
        let newcomer = supervisor.submit(slow_to_stop("newcomer", &gauge).priority(1)).expect("it evicts");
        assert!(newcomer.cancel());
        assert!(matches!(newcomer.outcome().join(), Ok(Outcome::Cancelled)));
        assert!(matches!(victim.outcome().join(), Ok(Outcome::Evicted)));
        let next = supervisor.submit(slow_to_stop("next", &gauge)).expect("there is room");
        env.run_until_idle();
        assert_eq!((status_of(&next), gauge.most()), (TaskStatus::Running, 1));
        assert!(next.cancel());
    });
}

/// SUP-9: who may wait is served by priority, then in order; who waits too long is told.
#[test]
fn waiting_ones_are_served_by_priority() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let supervisor = Supervisor::builder(env.pool()).capacity(1).queue_when_full(3, SECOND * 5).build()?;
    let order = Arc::new(Mutex::new(Vec::new()));
    let spec = |name: &'static str| {
        let order = Arc::clone(&order);
        TaskSpec::future(name, move |_| {
            order.lock().expect("no panic").push(name);
            async {
                overstrand::sleep(SECOND * 2).await;
                Ok(())
            }
        })
    };
    supervisor.submit(spec("a").priority(9))?;
    let (late, _) = (supervisor.submit(spec("b"))?, supervisor.submit(spec("c").priority(2))?);
    supervisor.submit(spec("d").priority(2))?;
    assert!(matches!(supervisor.submit(spec("e")), Err(SubmitError::Full(_))));
    assert_eq!(supervisor.stats().waiting, 3);
    assert!(matches!(late.outcome().join()?, Outcome::Rejected(Rejection::QueueTimeout)));
    assert_eq!(env.now(), SECOND * 5);
    env.run_until_no_tasks();
    assert_eq!(*order.lock().expect("no panic"), ["a", "c", "d"]);
    Ok(())
}

/// SUP-9: the capacity can be changed in both directions.
#[test]
fn capacity_can_be_changed() -> AnyResult {
    let env = TestEnvironment::with_seed(2);
    let supervisor = Supervisor::builder(env.pool()).capacity(1).queue_when_full(9, SECOND * 60).build()?;
    let gauge = Gauge::default();
    let tasks: Vec<_> =
        (0..4).map(|n| supervisor.submit(slow_to_stop(n.to_string(), &gauge))).collect::<Result<_, _>>()?;
    env.run_until_idle();
    assert_eq!(gauge.live(), 1);
    supervisor.set_capacity(3);
    env.run_until_idle();
    assert_eq!(gauge.live(), 3);
    supervisor.set_capacity(1);
    assert!(tasks[0].cancel());
    env.run_until_idle();
    assert_eq!((gauge.live(), supervisor.stats().places), (2, 2), "none loses its place, none gets one");
    assert!(tasks[1].cancel() && tasks[2].cancel());
    env.run_until_idle();
    assert_eq!((gauge.live(), status_of(&tasks[3])), (1, TaskStatus::Running));
    supervisor.shutdown()?;
    Ok(())
}

/// SUP-9a: permits limit runs, not tasks; they go by priority, are not held in a pause, and a stuck run keeps its own.
#[test]
fn permits_limit_runs() {
    TestEnvironment::builder().baton().explore(0..40, |env| {
        let supervisor = Supervisor::builder(env.pool()).max_concurrent(2).grace(SECOND).build().expect("valid");
        let (gauge, order) = (Gauge::default(), Arc::new(Mutex::new(Vec::new())));
        let spec = |name: &'static str| {
            let (gauge, order) = (gauge.clone(), Arc::clone(&order));
            TaskSpec::blocking(name, move |cx: &TaskContext| {
                order.lock().expect("no panic").push(name);
                // It hears of no cancel.
                gauge.run(|| wait_until(SECOND * 10, || None::<()>));
                if cx.generation() == 1 && name == "b" { Err("once".into()) } else { Ok(()) }
            })
        };
        let a = supervisor.submit(spec("a")).expect("there is room");
        let _b = supervisor.submit(spec("b")).expect("there is room");
        env.run_until_idle();
        let _low = supervisor.submit(spec("low")).expect("there is room");
        let _high = supervisor.submit(spec("high").priority(1)).expect("there is room");
        env.run_until_idle();
        assert_eq!((gauge.live(), supervisor.stats().running, supervisor.stats().places), (2, 2, 4));
        assert!(a.remove());
        env.advance(SECOND * 9);
        assert_eq!((a.status(), gauge.live()), (TaskStatus::Stuck, 2), "a stuck run keeps its permit");
        env.run_until_no_tasks();
        assert_eq!(gauge.most(), 2);
        let mut order = order.lock().expect("no panic").clone();
        order[..2].sort_unstable();
        order[2..4].sort_unstable();
        assert_eq!(order, ["a", "b", "high", "low", "b"], "nobody waited for a pause of another");
    });
}

/// SUP-10, I43: each waits for its turn, first come, first served, and the key is forgotten.
#[test]
fn slot_is_a_queue() {
    TestEnvironment::explore(0..50, |env| {
        let (supervisor, order) = (house(env, 100), Arc::new(Mutex::new(Vec::new())));
        let tasks: Vec<_> = (0..5)
            .map(|number| {
                let order = Arc::clone(&order);
                let report = TaskSpec::blocking(format!("report {number}"), move |_| {
                    order.lock().expect("no panic").push(number);
                    Ok(())
                });
                supervisor.submit(report.slot("reports", Admission::Queue)).expect("there is room")
            })
            .collect();
        assert!(tasks[3].cancel());
        for task in tasks {
            task.wait_ended(SECOND).expect("it ends");
        }
        assert_eq!(*order.lock().expect("no panic"), [0, 1, 2, 4]);
        assert_eq!((supervisor.stats().slots, supervisor.stats().places), (0, 0));
    });
}

/// SUP-10, F59: the newest wins, the others are told so, and the old one has really ended before the new one starts. Names may be the same.
#[test]
fn newest_replaces() {
    TestEnvironment::explore(0..30, |env| {
        let (supervisor, gauge) = (house(env, 1), Gauge::default());
        let submit = || supervisor.submit(slow_to_stop("sync", &gauge).slot("tenant", Admission::Replace));
        let owner = submit().expect("there is room");
        env.run_until_idle();
        let tasks: Vec<_> = (0..100).map(|_| submit().expect("it replaces")).collect();
        let newest = tasks.last().expect("there are some");
        assert_eq!(supervisor.find("sync").map(|task| task.id()), Some(newest.id()));
        let superseded = tasks
            .iter()
            .filter(|task| matches!(task.outcome().try_join(), Some(Ok(Outcome::Rejected(Rejection::Superseded)))));
        assert_eq!(superseded.count(), 99);
        assert!(matches!(owner.outcome().join(), Ok(Outcome::Cancelled)));
        env.run_until_idle();
        assert_eq!((newest.status(), gauge.most(), gauge.runs(), env.now()), (TaskStatus::Running, 1, 2, SECOND));
        assert!(newest.cancel());
        assert_eq!((supervisor.stats().slots, supervisor.is_alive("sync")), (0, false));
    });
}

/// SUP-10: one is enough, and a slot is bounded.
#[test]
fn slot_may_refuse() -> AnyResult {
    fn work(_: &TaskContext) -> TaskResult {
        Ok(())
    }
    let env = TestEnvironment::with_seed(3);
    let supervisor = house(&env, 1000);
    let import = |name: &'static str, how| TaskSpec::blocking(name, work).slot("import", how);
    let first = supervisor.submit(import("first", Admission::DropIfRunning))?;
    let Err(SubmitError::SlotBusy(spec)) = supervisor.submit(import("again", Admission::DropIfRunning)) else {
        panic!("one is enough")
    };
    for number in 0..100 {
        supervisor.submit(TaskSpec::blocking(number.to_string(), work).slot("import", Admission::Queue))?;
    }
    assert!(matches!(supervisor.submit(import("last", Admission::Queue)), Err(SubmitError::Limit(_))));
    assert!(first.outcome().join()?.is_completed());
    env.run_until_idle();
    assert!(supervisor.submit(spec)?.outcome().join()?.is_completed());
    Ok(())
}

/// SUP-9: another priority counts for what comes.
#[test]
fn priority_can_be_changed() -> AnyResult {
    let env = TestEnvironment::with_seed(4);
    let (supervisor, gauge) = (house(&env, 2), Gauge::default());
    let one = supervisor.submit(slow_to_stop("one", &gauge))?;
    let two = supervisor.submit(slow_to_stop("two", &gauge))?;
    env.run_until_idle();
    assert!(two.set_priority(5));
    let three = supervisor.submit(slow_to_stop("three", &gauge).priority(3))?;
    assert!(matches!(one.outcome().join()?, Outcome::Evicted));
    assert!(two.cancel() && three.cancel() && !three.set_priority(1));
    Ok(())
}
