//! Two things that happen to a supervised task at once, in both orders, and what must not be mixed up then (I33, I34, I41, F57, F60, F61).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{Faults, TestEnvironment, wait_until};
use overstrand::{
    Admission, CancelToken, Event, EventKind, Outcome, Strategy, SubmitError, SupervisedTask, Supervisor, TaskContext,
    TaskControl, TaskSpec, TaskStatus, WaitError,
};

use crate::supervise_runs::{Gauge, supervisor};
use crate::{AnyResult, figure};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn patient(name: impl Into<String>) -> TaskSpec {
    TaskSpec::blocking(name.into(), |cx: &TaskContext| {
        cx.token().wait();
        Ok(())
    })
}

/// A run of one second that is told to stop for each of two reasons at that very moment: the outcome is that of one of them, it comes once, nothing is left.
#[test]
fn one_cause_of_two_wins() {
    type Act = (&'static str, fn(&Supervisor, &TaskControl), fn(&Outcome) -> bool);
    const ACTS: [Act; 6] = [
        ("nothing", |_, _| (), |_| false),
        ("cancel", |_, task| _ = task.cancel(), |outcome| matches!(outcome, Outcome::Cancelled)),
        (
            "evict",
            |supervisor, _| drop(supervisor.submit(patient("important").priority(1))),
            |outcome| matches!(outcome, Outcome::Evicted),
        ),
        ("shutdown", |supervisor, _| drop(supervisor.shutdown()), |outcome| matches!(outcome, Outcome::Cancelled)),
        ("restart", |_, task| _ = task.restart(), |_| false),
        ("pause", |_, task| _ = (task.pause(), task.resume()), |_| false),
    ];
    for fails in [false, true] {
        for (first, second) in (0..ACTS.len()).flat_map(|a| (0..ACTS.len()).map(move |b| (ACTS[a], ACTS[b]))) {
            TestEnvironment::builder().baton().explore(0..12, |env| {
                let supervisor = Supervisor::builder(env.pool()).capacity(1).grace(SECOND).build().expect("valid");
                let gauge = Gauge::default();
                let counted = gauge.clone();
                let task = supervisor.submit(TaskSpec::blocking("one", move |_| {
                    counted.run(|| wait_until(MILLISECOND * 100, || None::<()>));
                    if fails { panic!("by itself") } else { Ok(()) }
                }));
                let task = task.expect("there is room");
                env.run_until_idle();
                let acts = [first, second].map(|act| {
                    let (supervisor, task) = (supervisor.clone(), task.control());
                    env.pool().spawn(move || {
                        wait_until(MILLISECOND * 100, || None::<()>);
                        act.1(&supervisor, &task);
                    })
                });
                env.advance(MILLISECOND * 100);
                env.advance(MILLISECOND * 350);
                let outcome = task.outcome();
                task.cancel();
                let outcome = outcome.join().expect("there is one");
                let by_itself = |outcome: &Outcome| {
                    matches!(outcome, Outcome::Completed(()) | Outcome::Panicked(_) | Outcome::Cancelled)
                };
                let names = (first.0, second.0);
                assert!(first.2(&outcome) || second.2(&outcome) || by_itself(&outcome), "{names:?}: {outcome}");
                supervisor.shutdown().expect("from outside");
                for act in acts {
                    act.join().expect("it returns");
                }
                let stats = supervisor.stats();
                assert_eq!((stats.places, stats.running, stats.stuck, gauge.most()), (0, 0, 0, 1), "{names:?}");
            });
        }
    }
}

/// SUP-4, I34: a run returns when its grace is over. Whoever sees that the task has ended finds its outcome.
#[test]
fn ended_task_has_its_outcome() {
    let faults = Faults::none().yields(0.5);
    TestEnvironment::builder().baton().faults(faults).explore(0..400, |env| {
        let supervisor = Supervisor::builder(env.pool()).grace(SECOND).build().expect("valid");
        let deaf = TaskSpec::blocking("deaf", |_| {
            wait_until(SECOND, || None::<()>);
            Ok(())
        });
        let task = supervisor.submit(deaf).expect("there is room");
        env.run_until_idle();
        assert!(task.remove());
        let (mut outcome, control) = (task.outcome(), task.control());
        let sees = env.pool().spawn(move || {
            control.wait_ended(SECOND * 60).expect("it ends");
            matches!(outcome.try_join(), Some(Ok(Outcome::Cancelled | Outcome::ForceAborted)))
        });
        assert!(sees.join().expect("it runs"), "it was not delivered");
        let other = supervisor.submit(TaskSpec::blocking("other", |_| {
            wait_until(SECOND, || None::<()>);
            Ok(())
        }));
        let mut outcome = other.expect("there is room").outcome();
        let again = supervisor.clone();
        let sees = env.pool().spawn(move || {
            wait_until(SECOND, || None::<()>);
            again.shutdown().expect("from outside");
            outcome.try_join().is_some()
        });
        env.run_until_idle();
        supervisor.shutdown().expect("from outside");
        assert!(sees.join().expect("it runs"), "it was not delivered");
    });
}

/// I33, Z18: the end of a task leaves its name to the one that has replaced it.
#[test]
fn name_stays_with_the_replacement() {
    TestEnvironment::explore(0..40, |env| {
        let supervisor = supervisor(env);
        let spec = || {
            let spec = TaskSpec::future("sync", |cx: TaskContext| async move {
                cx.token().cancelled().await;
                overstrand::sleep(MILLISECOND * 10).await;
                Ok(())
            });
            spec.slot("sync", Admission::Replace)
        };
        let old = supervisor.submit(spec()).expect("there is room");
        env.run_until_idle();
        let new = supervisor.submit(spec()).expect("it replaces");
        old.wait_ended(SECOND).expect("it returns");
        env.run_until_idle();
        assert_eq!(supervisor.find("sync").map(|task| task.id()), Some(new.id()));
        assert!(matches!(supervisor.submit(patient("sync")), Err(SubmitError::AlreadyExists(_))));
        assert_eq!(new.status(), TaskStatus::Running);
        assert!(new.cancel() && !supervisor.is_alive("sync"));
    });
}

/// I32, Z19: a run that does not return is not followed by another, even if there could be one.
#[test]
fn stuck_run_is_waited_for() {
    TestEnvironment::builder().baton().explore(0..40, |env| {
        let (supervisor, gauge) = (supervisor(env), Gauge::default());
        let counted = gauge.clone();
        let spec = TaskSpec::rebuilding("slow", move || {
            let gauge = counted.clone();
            move |cx: &TaskContext| {
                gauge.run(|| wait_until(SECOND * 10, || (cx.generation() > 1).then_some(())));
                Ok(cx.generation())
            }
        });
        let task = supervisor.submit(spec.attempt_timeout(SECOND)).expect("there is room");
        assert!(matches!(task.outcome().join(), Ok(Outcome::Completed(2))));
        assert_eq!((gauge.most(), gauge.runs()), (1, 2));
    });
}

/// I41, Z20: the place of a victim that has no run goes to who evicted it, and to nobody else who waits.
#[test]
fn place_of_a_resting_victim_goes_to_its_evictor() {
    TestEnvironment::builder().baton().explore(0..40, |env| {
        let supervisor =
            Supervisor::builder(env.pool()).capacity(1).queue_when_full(9, SECOND * 60).build().expect("valid");
        let submit = |name: &'static str, priority| supervisor.submit(patient(name).priority(priority));
        let victim = supervisor.submit(patient("rests").start_delay(SECOND * 60)).expect("there is room");
        let waiter = submit("waits", 0).expect("there is room to wait");
        let newcomer = submit("newcomer", 1).expect("it evicts");
        assert!(matches!(victim.outcome().join(), Ok(Outcome::Evicted)));
        env.run_until_idle();
        let status = |task: &SupervisedTask| task.status();
        assert_eq!((status(&newcomer), status(&waiter)), (TaskStatus::Running, TaskStatus::Queued));
        supervisor.shutdown().expect("from outside");
    });
}

/// I40, Z21: of many that come at once as many are let in as there are places.
#[test]
fn places_are_taken_in_one_step() {
    TestEnvironment::builder().baton().explore(0..200, |env| {
        let supervisor = Supervisor::builder(env.pool()).capacity(2).build().expect("valid");
        let submits = (0..6).map(|number| {
            let supervisor = supervisor.clone();
            env.pool().spawn(move || supervisor.submit(patient(format!("task {number}"))).is_ok())
        });
        let submits: Vec<_> = submits.collect();
        let taken = submits.into_iter().map(|submit| submit.join().expect("it returns"));
        assert_eq!(taken.filter(|is_in| *is_in).count(), 2);
        assert_eq!(supervisor.stats().places, 2);
        supervisor.shutdown().expect("from outside");
    });
}

/// Asks in its end whether that is inside of its own run.
struct Asks(TaskControl, Arc<Mutex<Option<Result<(), WaitError>>>>);

impl Drop for Asks {
    fn drop(&mut self) {
        *self.1.lock().expect("no panic") = Some(self.0.wait_ended(Duration::ZERO));
    }
}

/// SUP-13, Z16: a future that is aborted is dropped where it runs, and not by who aborts it.
#[test]
fn aborted_future_is_dropped_inside_its_run() {
    TestEnvironment::explore(0..40, |env| {
        let (supervisor, told) = (supervisor(env), Arc::new(Mutex::new(None)));
        let (find, answer) = (supervisor.clone(), Arc::clone(&told));
        let task = supervisor.submit(TaskSpec::<()>::future("deaf", move |_| {
            let asks = Asks(find.find("deaf").expect("it runs"), Arc::clone(&answer));
            async move {
                std::future::pending::<()>().await;
                drop(asks);
                Ok(())
            }
        }));
        let task = task.expect("there is room");
        env.run_until_idle();
        assert!(task.cancel());
        assert_eq!(*told.lock().expect("no panic"), Some(Err(WaitError::WouldDeadlock)));
    });
}

/// F57: a victim that ends, panics or is cancelled just then has one outcome; the newcomer starts once.
#[test]
fn eviction_of_a_victim_that_is_ending() {
    for how in 0..3 {
        TestEnvironment::builder().baton().explore(0..40, |env| {
            let supervisor = Supervisor::builder(env.pool()).capacity(1).grace(SECOND).build().expect("valid");
            let victim = supervisor.submit(TaskSpec::blocking("victim", move |cx: &TaskContext| {
                cx.sleep(MILLISECOND * 100);
                if how == 1 { panic!("just then") } else { Ok(()) }
            }));
            let victim = victim.expect("there is room");
            env.advance(MILLISECOND * 99);
            let (control, gauge) = (victim.control(), Gauge::default());
            let cancels = env.pool().spawn(move || how == 2 && control.cancel());
            let (evicts, counted) = (supervisor.clone(), gauge.clone());
            let newcomer = env.pool().spawn(move || {
                wait_until(MILLISECOND, || None::<()>);
                let spec = TaskSpec::blocking("newcomer", move |cx: &TaskContext| {
                    counted.run(|| cx.token().wait());
                    Ok(())
                });
                evicts.submit(spec.priority(1))
            });
            let newcomer = newcomer.join().expect("it runs").expect("there is or will be room");
            env.run_until_idle();
            let (won, outcome) = (cancels.join().expect("it runs"), victim.outcome().join().expect("it ends"));
            assert!(!won || matches!(outcome, Outcome::Cancelled), "{outcome}");
            assert_eq!((newcomer.status(), gauge.runs(), supervisor.stats().places), (TaskStatus::Running, 1, 1));
            assert!(newcomer.cancel());
        });
    }
}

/// F60, I43: distinct names and slots are bounded by the capacity, and nothing of them is kept: a million of them in a release build.
#[test]
fn names_and_slots_are_not_kept() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let supervisor = Supervisor::builder(env.pool()).capacity(100).build()?;
    let rounds = if cfg!(debug_assertions) { 50 } else { 10_000 };
    for round in 0..rounds {
        let spec = |number| {
            let key = format!("{round}/{number}");
            TaskSpec::<()>::future(key.clone(), |_| async { Ok(()) }).slot(key, Admission::Queue)
        };
        for number in 0..100 {
            supervisor.submit(spec(number))?;
        }
        assert!(matches!(supervisor.submit(spec(100)), Err(SubmitError::Full(_))));
        assert_eq!(supervisor.stats().slots, 100);
        env.run_until_idle();
        assert_eq!((supervisor.stats().slots, supervisor.tasks().len()), (0, 0));
    }
    assert_eq!(supervisor.stats().completed, rounds * 100);
    figure("I43", format_args!("{} keys and names, {} left", rounds * 100, supervisor.stats().slots));
    Ok(())
}

/// F61: a shutdown at any moment of a busy supervisor: one outcome for all that was accepted, nothing left, no event after the end of a task.
#[test]
fn shutdown_at_a_bad_moment() {
    TestEnvironment::builder().baton().explore(0..80, |env| {
        let supervisor = Supervisor::builder(env.pool())
            .capacity(3)
            .queue_when_full(2, SECOND)
            .grace(SECOND)
            .build()
            .expect("valid");
        let gone = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
        let noted = Arc::clone(&gone);
        let subscription = supervisor.subscribe(move |event: &Event| {
            let mut gone = noted.lock().expect("no panic");
            assert!(!gone.contains(&event.id), "{event}");
            if matches!(event.kind, EventKind::Removed) {
                gone.insert(event.id);
            }
        });
        let submits = supervisor.clone();
        let submits = env.pool().spawn(move || {
            let specs = (0..8).map(|number: i32| {
                let spec = TaskSpec::<()>::blocking(format!("task {number}"), |cx: &TaskContext| {
                    cx.sleep(MILLISECOND * 50);
                    Err("again".into())
                });
                let children = ["a", "b"].map(|name| patient(format!("{name} of {number}")));
                match number % 3 {
                    0 => TaskSpec::group(format!("task {number}"), Strategy::OneForAll, children),
                    1 => spec.slot("slot", Admission::Replace).priority(number),
                    _ => spec.priority(number),
                }
            });
            specs.filter_map(|spec| submits.submit(spec).ok()).collect::<Vec<_>>()
        });
        if env.seed() % 2 == 0 {
            env.advance(MILLISECOND * (env.seed() as u32 * 5));
        }
        assert!(supervisor.shutdown().expect("from outside").stuck.is_empty());
        for task in submits.join().expect("it runs") {
            task.outcome().join().expect("there is one");
            task.wait_ended(Duration::ZERO).expect("it has");
        }
        env.run_until_idle();
        let stats = supervisor.stats();
        assert_eq!((stats.places, stats.running, stats.waiting, stats.slots), (0, 0, 0, 0));
        drop(subscription);
    });
}

/// F62: a thousand children under one root end in reverse order.
#[test]
fn wide_group_stops_in_reverse() -> AnyResult {
    let env = TestEnvironment::with_seed(2);
    let (supervisor, order) = (supervisor(&env), Arc::new(Mutex::new(Vec::new())));
    let children: Vec<_> = (0..1000)
        .map(|number| {
            let order = Arc::clone(&order);
            TaskSpec::future(format!("child {number}"), move |cx: TaskContext| {
                let order = Arc::clone(&order);
                async move {
                    cx.ready();
                    cx.token().cancelled().await;
                    order.lock().expect("no panic").push(number);
                    Ok(())
                }
            })
        })
        .collect();
    let root = supervisor.submit(TaskSpec::group("root", Strategy::OneForOne, children))?;
    root.wait_ready(SECOND)?;
    assert!(root.cancel());
    assert!(order.lock().expect("no panic").iter().copied().eq((0..1000).rev()));
    Ok(())
}

/// Takes its time to be dropped, and says when it has been.
struct Slow(Arc<AtomicBool>);

impl Drop for Slow {
    fn drop(&mut self) {
        CancelToken::with_timeout(MILLISECOND).wait();
        self.0.store(true, Ordering::SeqCst);
    }
}

/// SUP-11: who has waited for the end of a task finds its body dropped.
#[test]
fn end_comes_after_the_body() {
    TestEnvironment::builder().workers(2).baton().explore(0..40, |env| {
        let (supervisor, is_dropped) = (supervisor(env), Arc::new(AtomicBool::new(false)));
        let slow = Slow(Arc::clone(&is_dropped));
        let task = supervisor.submit(TaskSpec::blocking("held", move |cx| {
            let _held = &slow;
            cx.ready();
            cx.token().wait();
            Ok(())
        }));
        let task = task.expect("there is room");
        task.control().wait_ready(SECOND).expect("it begins");
        task.control().remove();
        task.wait_ended(SECOND * 9).expect("it returns");
        assert!(is_dropped.load(Ordering::SeqCst));
    });
}
