//! Groups at awkward moments: stuck children, restarts by hand, failures and escalations while they are stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{
    Admission, Backoff, Exhausted, OutcomeKind, RestartPolicy, SelfCancelled, Strategy, SupervisedTask, Supervisor,
    TaskContext, TaskSpec, TaskStatus,
};

use crate::break_supervise::{Gate, Runs, deaf, lines, listen, slow};
use crate::supervise_runs::supervisor;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Says that it is ready, and fails when it is told to.
fn fails_on(name: &'static str, gate: &Gate, runs: &Runs) -> TaskSpec {
    let (gate, runs) = (gate.clone(), runs.clone());
    TaskSpec::future(name, move |cx: TaskContext| {
        let gate = gate.clone();
        runs.add();
        async move {
            cx.ready();
            while cx.sleep_async(MILLISECOND * 10).await {
                if gate.pass() {
                    return Err("broken".into());
                }
            }
            Ok(())
        }
    })
}

fn one_for_one(name: &'static str, specs: impl IntoIterator<Item = TaskSpec>) -> TaskSpec {
    TaskSpec::group(name, Strategy::OneForOne, specs)
}

fn one_for_all(name: &'static str, specs: impl IntoIterator<Item = TaskSpec>) -> TaskSpec {
    TaskSpec::group(name, Strategy::OneForAll, specs)
}

fn submit(supervisor: &Supervisor, spec: TaskSpec) -> SupervisedTask {
    supervisor.submit(spec).expect("there is room")
}

fn kind_of(task: &SupervisedTask) -> Option<OutcomeKind> {
    task.outcome().try_join().map(|outcome| outcome.expect("it is delivered").kind())
}

/// SUP-2, SUP-13: a child of a child that does not stop holds up no outcome and no shutdown.
#[test]
fn stuck_grandchild_holds_up_no_shutdown() {
    TestEnvironment::builder().baton().explore(0..20, |env| {
        let (supervisor, gate) = (supervisor(env), Gate::default());
        let outer = submit(&supervisor, one_for_one("outer", [one_for_one("inner", [deaf("deaf", &gate)])]));
        env.run_until_idle();
        let report = supervisor.shutdown().expect("from outside");
        assert_eq!(report.stuck, ["outer".into(), "inner".into(), "deaf".into()]);
        assert_eq!((kind_of(&outer), env.now()), (Some(OutcomeKind::ForceAborted), SECOND));
        assert!(supervisor.tasks().iter().all(|task| task.status == TaskStatus::Stuck), "{:?}", supervisor.tasks());
        gate.open();
        outer.wait_ended(SECOND * 60).expect("it returns");
    });
}

/// SUP-4a, SUP-14: what is stopped with its group is not started again by hand.
#[test]
fn group_that_is_being_stopped_is_not_restarted() {
    TestEnvironment::explore(0..20, |env| {
        let (supervisor, runs) = (supervisor(env), Runs::default());
        let leaf = slow("leaf", MILLISECOND * 500, &runs);
        let outer = submit(&supervisor, one_for_one("outer", [one_for_one("inner", [leaf])]));
        env.run_until_idle();
        let inner = supervisor.find("inner").expect("it is there");
        assert!(outer.remove() && !inner.restart());
        env.advance(SECOND * 60);
        assert_eq!((outer.status(), runs.count()), (TaskStatus::Ended, 1));
    });
}

/// SUP-4a, SUP-7: a child that escalates while its group is being stopped starts nothing.
#[test]
fn escalation_does_not_outlive_a_stop() {
    TestEnvironment::explore(0..20, |env| {
        let (supervisor, runs, gate) = (supervisor(env), Runs::default(), Gate::default());
        let children = [fails_on("first", &gate, &runs), slow("second", MILLISECOND * 500, &Runs::default())];
        let inner = one_for_one("inner", children).intensity(0, SECOND, Exhausted::Escalate);
        let outer = submit(&supervisor, one_for_one("outer", [inner]));
        env.run_until_idle();
        assert!(outer.remove());
        gate.open();
        env.advance(SECOND * 60);
        assert_eq!((outer.status(), runs.count()), (TaskStatus::Ended, 1));
    });
}

/// SUP-4a, I38: no run begins in a group that is stopping, also of a child that has not been told yet.
#[test]
fn no_run_begins_in_a_group_that_is_stopping() {
    for always in [false, true] {
        TestEnvironment::explore(0..20, |env| {
            let supervisor = Supervisor::builder(env.pool()).grace(SECOND).max_concurrent(always.then_some(9));
            let (supervisor, runs, gate) = (supervisor.build().expect("valid"), Runs::default(), Gate::default());
            let first = fails_on("first", &gate, &runs).backoff(Backoff::constant(MILLISECOND * 100));
            let children = [first, slow("second", MILLISECOND * 900, &Runs::default())];
            let outer = submit(&supervisor, one_for_one("outer", children));
            env.run_until_idle();
            gate.open();
            env.advance(MILLISECOND * 20);
            assert!(outer.remove());
            env.advance(SECOND * 60);
            assert_eq!((outer.status(), runs.count()), (TaskStatus::Ended, 1));
        });
    }
}

/// SUP-2, I32: a stuck child of a group that gave up is waited for before its group is started anew, if it could be built anew or not.
#[test]
fn stuck_child_of_a_group_that_gave_up_is_not_doubled() {
    TestEnvironment::builder().baton().explore(0..20, |env| {
        let supervisor = supervisor(env);
        let (gate, fails, breaks, runs) = (Gate::default(), Gate::default(), Gate::default(), Runs::default());
        let (live, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (opens, counted, seen) = (gate.clone(), Arc::clone(&live), Arc::clone(&most));
        let stuck = TaskSpec::rebuilding("stuck", move || {
            let (gate, live, most) = (opens.clone(), Arc::clone(&counted), Arc::clone(&seen));
            move |cx: &TaskContext| {
                cx.ready();
                most.fetch_max(live.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                gate.wait();
                live.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        });
        let inner = one_for_one("inner", [stuck, fails_on("fails", &fails, &runs)]);
        let inner = inner.intensity(0, SECOND, Exhausted::GiveUp);
        let outer = submit(&supervisor, one_for_all("outer", [inner, fails_on("breaks", &breaks, &runs)]));
        env.advance(SECOND);
        fails.open();
        env.advance(SECOND * 5);
        breaks.open();
        env.advance(SECOND * 5);
        assert_eq!(most.load(Ordering::SeqCst), 1);
        gate.open();
        assert!(outer.remove());
        env.advance(SECOND * 60);
        let stats = supervisor.stats();
        assert_eq!((live.load(Ordering::SeqCst), stats.running, stats.stuck), (0, 0, 0));
    });
}

/// SUP-4a, SUP-2: a stuck child that returns when its group is over, or stopping, is not started again.
#[test]
fn stuck_child_returns_into_a_group_that_is_stopping() {
    TestEnvironment::builder().baton().explore(0..20, |env| {
        let (supervisor, gate, mut runs) = (supervisor(env), Gate::default(), 0);
        let opens = gate.clone();
        let child = TaskSpec::blocking("child", move |cx: &TaskContext| {
            runs += 1;
            if runs == 1 {
                cx.ready();
                opens.wait();
            } else {
                cx.token().wait();
            }
            Ok(())
        });
        let inner = one_for_one("inner", [child.attempt_timeout(SECOND * 3)]);
        let breaks = fails_on("breaks", &Gate::default(), &Runs::default());
        let outer = submit(&supervisor, one_for_all("outer", [breaks, inner]));
        env.advance(SECOND * 5);
        assert_eq!(supervisor.stats().stuck, 1);
        assert!(outer.remove());
        env.advance(SECOND);
        assert_eq!(kind_of(&outer), Some(OutcomeKind::ForceAborted));
        gate.open();
        env.advance(SECOND * 20);
        assert_eq!((outer.status(), supervisor.tasks().len()), (TaskStatus::Ended, 0));
    });
}

/// SUP-12: nothing of a nested group that was cancelled by hand begins when its group is restarted, while it has not returned.
#[test]
fn nothing_begins_after_the_end_of_a_nested_group() {
    TestEnvironment::builder().baton().explore(0..20, |env| {
        let supervisor = supervisor(env);
        let (heard, subscription) = listen(&supervisor);
        let (gate, breaks, runs) = (Gate::default(), Gate::default(), Runs::default());
        let inner = one_for_one("inner", [deaf("deaf", &gate)]);
        let outer = submit(&supervisor, one_for_all("outer", [inner, fails_on("breaks", &breaks, &runs)]));
        env.advance(SECOND);
        let inner = supervisor.find("inner").expect("it is there");
        assert!(inner.remove());
        env.advance(SECOND * 5);
        breaks.open();
        env.advance(SECOND * 5);
        assert_eq!((inner.status(), runs.count()), (TaskStatus::Stuck, 2));
        gate.open();
        env.advance(SECOND * 5);
        outer.cancel();
        let lines = lines(&heard);
        let end = lines.iter().position(|line| line.contains("inner finished")).expect("it is over");
        assert!(!lines[end..].iter().any(|line| line.contains("inner started")), "{lines:#?}");
        drop(subscription);
    });
}

/// SUP-14: a stuck child that is cancelled by hand leaves its group, which goes on without it.
#[test]
fn group_goes_on_without_a_stuck_child_that_was_cancelled() {
    TestEnvironment::builder().baton().explore(0..20, |env| {
        let supervisor = supervisor(env);
        let (gate, breaks, runs) = (Gate::default(), Gate::default(), Runs::default());
        let children = [deaf("deaf", &gate), fails_on("breaks", &breaks, &runs)];
        let outer = submit(&supervisor, one_for_all("outer", children));
        env.advance(SECOND);
        breaks.open();
        env.advance(SECOND * 5);
        let deaf = supervisor.find("deaf").expect("it is there");
        assert_eq!((deaf.status(), runs.count()), (TaskStatus::Stuck, 1));
        assert!(deaf.remove());
        env.advance(SECOND * 5);
        assert_eq!((deaf.status(), runs.count()), (TaskStatus::Stuck, 2));
        gate.open();
        assert!(outer.cancel());
        assert_eq!(supervisor.tasks().len(), 0);
    });
}

/// SUP-4a, SUP-14: a child that ends itself as cancelled has not failed, and its group has not for that.
#[test]
fn child_that_ends_itself_is_no_failure_of_its_group() {
    let env = TestEnvironment::with_seed(1);
    let supervisor = supervisor(&env);
    let ends = TaskSpec::<()>::blocking("ends itself", |_| Err(SelfCancelled.into()));
    let fine = TaskSpec::<()>::blocking("fine", |_| Ok(()));
    let group = submit(&supervisor, one_for_one("group", [ends, fine]));
    env.run_until_idle();
    assert_eq!(kind_of(&group), Some(OutcomeKind::Completed));
}

/// SUP-7: the restarts of a child that is slowed down count for its group like any other.
#[test]
fn group_counts_the_restarts_of_slow_children() {
    let env = TestEnvironment::with_seed(1);
    let supervisor = supervisor(&env);
    let slow = TaskSpec::<()>::blocking("slow", |_| Err("broken".into())).backoff(Backoff::constant(SECOND));
    let slow = slow.intensity(1, SECOND * 1000, Exhausted::SlowRestart(SECOND * 2));
    let group = one_for_one("group", [slow]).intensity(5, SECOND * 1000, Exhausted::GiveUp);
    let group = submit(&supervisor, group);
    assert!(matches!(group.outcome().join(), Ok(overstrand::Outcome::Failed(_))));
    assert_eq!((supervisor.stats().retried, env.now()), (5, SECOND * 9), "the sixth restart is one too many");
}

/// SUP-6: a group that has run for long enough begins a new streak when it fails.
#[test]
fn healthy_group_begins_a_new_streak() {
    let env = TestEnvironment::with_seed(1);
    let supervisor = supervisor(&env);
    let fails = TaskSpec::<()>::future("fails", |_| async {
        overstrand::sleep(SECOND * 20).await;
        Err("broken".into())
    });
    let inner = one_for_one("inner", [fails]).intensity(0, SECOND, Exhausted::Escalate);
    let inner = inner.healthy_after(SECOND * 10).max_retries(1);
    let outer = one_for_one("outer", [inner]).intensity(100, SECOND, Exhausted::GiveUp);
    let outer = submit(&supervisor, outer);
    env.advance(SECOND * 200);
    assert_eq!(outer.status(), TaskStatus::Running);
    outer.cancel();
}

/// SUP-4: a child that was started anew after it had completed is not told to have completed when that run is cancelled.
#[test]
fn child_that_ran_again_did_not_complete() {
    let env = TestEnvironment::with_seed(1);
    let supervisor = supervisor(&env);
    let (heard, subscription) = listen(&supervisor);
    let breaks = Gate::default();
    let once = TaskSpec::future("once", |cx: TaskContext| async move {
        if cx.generation() > 1 {
            cx.ready();
            cx.token().cancelled().await;
        }
        Ok(())
    });
    let outer = submit(&supervisor, one_for_all("outer", [once, fails_on("breaks", &breaks, &Runs::default())]));
    env.advance(SECOND);
    breaks.open();
    env.advance(SECOND);
    outer.cancel();
    env.run_until_idle();
    let lines = lines(&heard);
    assert!(lines.iter().any(|line| line.contains("once finished: cancelled")), "{lines:#?}");
    assert_eq!(supervisor.stats().completed, 0);
    drop(subscription);
}

/// SUP-1: a start delay is that of the first run, and not of those after a restart of the group.
#[test]
fn start_delay_is_that_of_the_first_run() {
    let env = TestEnvironment::with_seed(1);
    let (supervisor, breaks, runs) = (supervisor(&env), Gate::default(), Runs::default());
    let late = slow("late", Duration::ZERO, &runs).start_delay(SECOND * 10);
    let outer = submit(&supervisor, one_for_all("outer", [fails_on("breaks", &breaks, &Runs::default()), late]));
    env.advance(SECOND * 11);
    assert_eq!(runs.count(), 1);
    breaks.open();
    env.advance(SECOND);
    assert_eq!(runs.count(), 2);
    outer.cancel();
}

/// SUP-6: a group that is restarted by hand begins new streaks.
#[test]
fn restart_of_a_group_by_hand_begins_new_streaks() {
    let env = TestEnvironment::with_seed(1);
    let (supervisor, breaks, runs) = (supervisor(&env), Gate::default(), Runs::default());
    let outer = submit(&supervisor, one_for_one("outer", [fails_on("breaks", &breaks, &runs).max_retries(1)]));
    env.advance(SECOND);
    breaks.open();
    env.advance(SECOND);
    assert!(outer.restart());
    env.advance(SECOND);
    breaks.open();
    env.advance(SECOND);
    assert_eq!((outer.status(), runs.count()), (TaskStatus::Running, 4));
    outer.cancel();
}

/// SUP-11: a child that is over, or has not been started yet, is not restarted, and that is said.
#[test]
fn restart_of_a_child_without_a_run_is_refused() {
    let env = TestEnvironment::with_seed(1);
    let supervisor = supervisor(&env);
    let done = TaskSpec::<()>::blocking("done", |_| Ok(()));
    let never_ready = TaskSpec::<()>::future("never ready", |_| std::future::pending());
    let next = slow("next", Duration::ZERO, &Runs::default());
    let outer = submit(&supervisor, one_for_one("outer", [done, never_ready.grace(Duration::ZERO), next]));
    env.run_until_idle();
    let restart = |name| supervisor.find(name).expect("it is there").restart();
    assert_eq!(["done", "never ready", "next"].map(restart), [false, true, false]);
    outer.cancel();
}

/// SUP-9, SUP-10, SUP-2: a group with a stuck child of a child is evicted, and keeps its place; who waits for it is replaced in its slot, and starts when the place is free.
#[test]
fn place_of_a_group_is_free_when_all_of_it_has_returned() {
    TestEnvironment::builder().baton().explore(0..20, |env| {
        let supervisor = Supervisor::builder(env.pool()).grace(SECOND).capacity(1).build().expect("valid");
        let (gate, runs) = (Gate::default(), Runs::default());
        let outer = submit(&supervisor, one_for_one("outer", [one_for_all("inner", [deaf("deaf", &gate)])]));
        env.run_until_idle();
        let first = slow("first", Duration::ZERO, &runs).priority(1).slot("slot", Admission::Replace);
        let first = submit(&supervisor, first);
        env.advance(SECOND * 10);
        assert_eq!((kind_of(&outer), outer.status()), (Some(OutcomeKind::Evicted), TaskStatus::Stuck));
        let second = TaskSpec::<()>::blocking("second", |_| Ok(())).restart(RestartPolicy::Never);
        let second = submit(&supervisor, second.slot("slot", Admission::Replace));
        assert_eq!((kind_of(&first), runs.count()), (Some(OutcomeKind::Rejected), 0));
        env.advance(SECOND * 10);
        assert_eq!(second.status(), TaskStatus::Queued);
        gate.open();
        env.advance(SECOND * 10);
        assert_eq!((kind_of(&second), supervisor.stats().places), (Some(OutcomeKind::Completed), 0));
    });
}
