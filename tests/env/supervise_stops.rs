//! Stopping supervised tasks: cancel, grace, stuck runs, time limits, the watchdog, shutdown (SUP-2, SUP-3, SUP-8, SUP-11, SUP-13).

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{TestEnvironment, wait_until};
use overstrand::{
    Backoff, JoinError, OnStuck, Outcome, Rejection, RestartPolicy, Supervisor, TaskContext, TaskControl, TaskSpec,
    TaskStatus, WaitError,
};

use crate::supervise_runs::{Gauge, supervisor};
use crate::{AnyResult, figure};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// A gate that deaf bodies wait at: they hear of no cancel.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicBool>);

impl Gate {
    fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn wait(&self) {
        wait_until(Duration::MAX, || self.0.load(Ordering::SeqCst).then_some(()));
    }
}

fn baton(seed: u64) -> TestEnvironment {
    TestEnvironment::builder().seed(seed).baton().build()
}

/// A body that waits for its cancel.
fn patient(name: &'static str) -> TaskSpec {
    TaskSpec::blocking(name, |cx: &TaskContext| {
        cx.token().wait();
        Ok(())
    })
}

/// SUP-11: exactly one caller wins, and `cancel` returns after the physical end.
#[test]
fn one_cancel_wins_and_waits() {
    TestEnvironment::builder().baton().explore(0..60, |env| {
        let supervisor = supervisor(env);
        let gauge = Gauge::default();
        let counted = gauge.clone();
        let task = supervisor.submit(TaskSpec::blocking("one", move |cx: &TaskContext| {
            counted.run(|| {
                cx.token().wait();
                wait_until(Duration::from_millis(10), || None::<()>);
                Ok(())
            })
        }));
        let task = task.expect("there is room");
        let others: Vec<_> = (0..3)
            .map(|_| {
                let (task, gauge) = (task.control(), gauge.clone());
                env.pool().spawn(move || (task.cancel(), gauge.live()))
            })
            .collect();
        let mine = (task.cancel(), gauge.live());
        let ends: Vec<_> = others.into_iter().map(|other| other.join().expect("it runs")).chain([mine]).collect();
        assert_eq!(ends.iter().filter(|(won, _)| *won).count(), 1);
        assert!(ends.iter().all(|(_, live)| *live == 0), "{ends:?}");
        assert!(matches!(task.outcome().join(), Ok(Outcome::Cancelled)));
    });
}

/// SUP-2, SUP-4, F54, F55: a deaf run is stuck: the outcome comes at its grace, all that it has stays its own until it returns.
#[test]
fn deaf_run_is_stuck() {
    TestEnvironment::builder().baton().explore(0..40, |env| {
        let supervisor = Supervisor::builder(env.pool()).grace(SECOND).capacity(1).build().expect("valid");
        let gate = Gate::default();
        let deaf = gate.clone();
        let task = supervisor.submit(TaskSpec::blocking("deaf", move |_| {
            deaf.wait();
            Ok(7)
        }));
        let task = task.expect("there is room");
        env.run_until_idle();
        assert!(task.remove());
        let outcome = task.outcome().join().expect("it comes");
        assert!(matches!(outcome, Outcome::ForceAborted), "{outcome}");
        assert_eq!((env.now(), task.status(), supervisor.stats().stuck), (SECOND, TaskStatus::Stuck, 1));
        assert!(supervisor.is_alive("deaf") && supervisor.submit(patient("deaf")).is_err());
        assert!(matches!(supervisor.submit(patient("other")), Err(overstrand::SubmitError::Full(_))));
        assert_eq!(task.wait_ended(SECOND), Err(WaitError::TimedOut));
        gate.open();
        task.wait_ended(SECOND).expect("it returns");
        let stats = supervisor.stats();
        assert_eq!((stats.stuck, stats.running, stats.places, stats.completed), (0, 0, 0, 0));
    });
}

/// SUP-2, I32: the next run starts when the one before has returned, however late; what that one returns changes nothing (SUP-3).
#[test]
fn attempts_never_overlap() {
    TestEnvironment::builder().baton().explore(0..60, |env| {
        let supervisor = supervisor(env);
        let gauge = Gauge::default();
        let counted = gauge.clone();
        let spec = TaskSpec::blocking("hangs", move |cx: &TaskContext| {
            counted.run(|| {
                if cx.generation() < 3 {
                    // It is deaf, and late.
                    wait_until(SECOND * 10, || None::<()>);
                    cx.ready();
                }
                Ok(cx.generation())
            })
        });
        let task = supervisor.submit(spec.attempt_timeout(SECOND)).expect("there is room");
        let outcome = task.outcome().join().expect("it ends");
        assert!(matches!(outcome, Outcome::Completed(3)), "{outcome}");
        assert_eq!((gauge.most(), gauge.runs()), (1, 3));
        assert_eq!(env.now(), SECOND * 20 + MILLISECOND * 200);
        let errors: Vec<_> = task.errors().iter().map(|record| record.error.to_string()).collect();
        assert_eq!(errors, ["the run took longer than 1s"; 2]);
    });
}

/// SUP-2a: a frozen run is replaced; it is fenced off, and keeps its thread until it returns.
#[test]
fn frozen_run_is_replaced() {
    TestEnvironment::builder().baton().explore(0..40, |env| {
        let supervisor = supervisor(env);
        let gate = Gate::default();
        let frozen = gate.clone();
        let spec = TaskSpec::rebuilding("frozen", move || {
            let frozen = frozen.clone();
            move |cx: &TaskContext| {
                if cx.generation() == 1 {
                    frozen.wait();
                }
                Ok(cx.generation())
            }
        });
        let spec = spec.attempt_timeout(SECOND).on_stuck(OnStuck::Replace { at_most: 1 });
        let task = supervisor.submit(spec).expect("there is room");
        assert!(matches!(task.outcome().join(), Ok(Outcome::Completed(2))));
        assert_eq!((env.now(), supervisor.stats().stuck), (SECOND * 2 + MILLISECOND * 100, 1));
        assert!(supervisor.is_alive("frozen"));
        gate.open();
        task.wait_ended(SECOND).expect("it returns");
        assert_eq!((supervisor.stats().stuck, supervisor.stats().running), (0, 0));
    });
}

/// SUP-2, SUP-4: a future that ignores its cancel is dropped when its grace is over.
#[test]
fn deaf_future_is_dropped() {
    TestEnvironment::explore(0..60, |env| {
        let supervisor = supervisor(env);
        let task = supervisor.submit(TaskSpec::<()>::future("deaf", |_| std::future::pending()));
        let task = task.expect("there is room");
        env.run_until_idle();
        assert!(task.cancel());
        assert!(matches!(task.outcome().join(), Ok(Outcome::ForceAborted)));
        assert_eq!((env.now(), supervisor.stats().running), (SECOND, 0));
        let late = TaskSpec::<()>::future("late", |_| std::future::pending()).attempt_timeout(SECOND).max_retries(1);
        let late = supervisor.submit(late).expect("there is room");
        assert!(matches!(late.outcome().join(), Ok(Outcome::TimedOut)));
        assert_eq!(env.now(), SECOND * 5 + MILLISECOND * 100);
    });
}

/// SUP-4a, I44: the whole time is limited over all runs, and nothing comes after.
#[test]
fn max_runtime_ends_the_task() -> AnyResult {
    let env = baton(3);
    let supervisor = supervisor(&env);
    let gauge = Gauge::default();
    let counted = gauge.clone();
    let spec = TaskSpec::blocking("long", move |cx: &TaskContext| {
        counted.run(|| {
            cx.sleep(SECOND * 3);
            Ok(())
        })
    });
    let spec = spec.restart(RestartPolicy::Always { interval: SECOND }).max_runtime(SECOND * 10);
    let task = supervisor.submit(spec)?;
    assert!(matches!(task.outcome().join()?, Outcome::TimedOut));
    figure("I44", format_args!("max overrun {:?} of {:?}", env.now() - SECOND * 10, SECOND * 10));
    assert_eq!((env.now(), gauge.runs()), (SECOND * 10, 3));
    Ok(())
}

/// SUP-8, I45: silence is noticed after the period, within a tenth; who beats in time is never bothered.
#[test]
fn silence_is_noticed() {
    let (found, most, alarms) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicUsize::new(0));
    TestEnvironment::builder().baton().explore(0..30, |env| {
        let supervisor = supervisor(env);
        let lively = supervisor.submit(
            TaskSpec::blocking("lively", |cx: &TaskContext| {
                while cx.sleep(MILLISECOND * 999) {
                    cx.heartbeat();
                }
                Ok(())
            })
            .watchdog(SECOND),
        );
        let silent = TaskSpec::blocking("silent", |cx: &TaskContext| {
            cx.heartbeat();
            cx.token().wait();
            Ok(())
        });
        let silent = supervisor.submit(silent.watchdog(SECOND).max_retries(0)).expect("there is room");
        assert!(matches!(silent.outcome().join(), Ok(Outcome::HeartbeatLost)));
        assert!(env.now() > SECOND && env.now() <= MILLISECOND * 1100, "{:?}", env.now());
        found.fetch_add(1, Ordering::Relaxed);
        most.fetch_max(env.now().as_micros().try_into().expect("it fits"), Ordering::Relaxed);
        env.advance(SECOND * 60);
        let lively = lively.expect("there is room");
        alarms.fetch_add(lively.errors().len(), Ordering::Relaxed);
        assert_eq!((lively.status(), lively.errors().len()), (TaskStatus::Running, 0));
        assert!(lively.cancel());
        assert_eq!(env.next_delay(), None, "the watchdog sleeps");
    });
    let late = Duration::from_micros(most.into_inner()) - SECOND;
    figure("I45", format_args!("{found:?} detections, at most {late:?} after a period of 1s, {alarms:?} false alarms"));
}

/// SUP-8, Z24: the first heartbeat may come late, and time in which nobody could look does not count.
#[test]
fn watchdog_forgives_its_own_lateness() -> AnyResult {
    let env = baton(4);
    let supervisor = supervisor(&env);
    let spec = TaskSpec::<()>::future("beats", |cx: TaskContext| async move {
        cx.sleep_async(MILLISECOND * 1900).await;
        cx.heartbeat();
        while cx.sleep_async(MILLISECOND * 900).await {
            cx.heartbeat();
        }
        Ok(())
    });
    let task = supervisor.submit(spec.watchdog(SECOND).max_retries(0))?;
    env.advance(SECOND * 10);
    for _ in 0..20 {
        env.jump(SECOND * 10);
        env.suspend(SECOND * 100);
        env.advance(MILLISECOND * 100);
    }
    assert_eq!((task.status(), task.errors().len()), (TaskStatus::Running, 0));
    assert!(task.cancel());
    Ok(())
}

/// SUP-11: from inside of its own run a cancel does not wait, and other waits say why they would not end.
#[test]
fn run_cancels_itself() {
    TestEnvironment::builder().baton().explore(0..40, |env| {
        let supervisor = supervisor(env);
        let (tell, told) = (supervisor.clone(), Arc::new(Mutex::new(None)));
        let answers = Arc::clone(&told);
        let task = supervisor.submit(TaskSpec::blocking("own", move |_| {
            let own = tell.find("own").expect("it runs");
            let shutdown = tell.shutdown().map(drop);
            *answers.lock().expect("no panic") = Some((own.wait_ended(SECOND), shutdown, own.cancel()));
            Ok(())
        }));
        let task = task.expect("there is room");
        assert!(matches!(task.outcome().join(), Ok(Outcome::Cancelled)));
        let deadlock = WaitError::WouldDeadlock;
        assert_eq!(*told.lock().expect("no panic"), Some((Err(deadlock), Err(deadlock), true)));
        task.wait_ended(SECOND).expect("it has");
    });
}

/// A restart by hand: another run as soon as the present one has returned, and no failure.
#[test]
fn restart_by_hand() {
    TestEnvironment::builder().baton().explore(0..40, |env| {
        let supervisor = supervisor(env);
        let task = supervisor.submit(patient("one").backoff(Backoff::constant(SECOND * 60))).expect("there is room");
        env.run_until_idle();
        assert!(task.restart());
        env.run_until_idle();
        let info = &supervisor.tasks()[0];
        assert_eq!(
            (info.generation, info.failures, info.status, env.now()),
            (2, 0, TaskStatus::Running, Duration::ZERO)
        );
        assert!(task.pause() && task.restart());
        env.run_until_idle();
        assert_eq!(task.status(), TaskStatus::Paused);
        assert!(task.resume());
        env.run_until_idle();
        assert_eq!(supervisor.tasks()[0].generation, 3);
        assert!(task.cancel() && !task.restart() && !task.pause());
    });
}

/// SUP-5: a restart that is asked for is no failure, also of a run that is late already; its lateness is kept as an error.
#[test]
fn restart_of_a_late_run_is_no_failure() {
    TestEnvironment::builder().baton().explore(0..40, |env| {
        let (supervisor, gauge) = (supervisor(env), Gauge::default());
        let counted = gauge.clone();
        let spec = TaskSpec::blocking("late", move |cx: &TaskContext| {
            counted.run(|| {
                cx.token().wait();
                wait_until(SECOND / 2, || None::<()>);
            });
            Ok(())
        });
        let spec = spec.attempt_timeout(SECOND).max_retries(0).backoff(Backoff::constant(SECOND * 60));
        let task = supervisor.submit(spec).expect("there is room");
        env.advance(SECOND + MILLISECOND * 100);
        assert!(task.restart());
        env.advance(MILLISECOND * 400);
        let info = &supervisor.tasks()[0];
        assert_eq!((info.generation, info.failures, info.status), (2, 0, TaskStatus::Running));
        let errors: Vec<_> = task.errors().iter().map(|record| record.error.to_string()).collect();
        assert_eq!((errors, supervisor.stats().retried), (vec!["the run took longer than 1s".to_owned()], 0));
        assert!(matches!(task.outcome().join(), Ok(Outcome::TimedOut)), "the next is late for itself");
        assert_eq!((gauge.runs(), gauge.most()), (2, 1));
    });
}

/// SUP-2: a run that is told to stop before it has a worker is over at once, with all it had, and never begins.
#[test]
fn run_without_a_worker_is_withdrawn() {
    type Act = (fn(&Supervisor, &TaskControl), fn(&Outcome) -> bool);
    const ACTS: [Act; 3] = [
        (|_, task| assert!(task.remove()), |outcome| matches!(outcome, Outcome::Cancelled)),
        (
            |it, _| drop(it.submit(TaskSpec::<()>::blocking("other", |_| Ok(())).priority(1))),
            |outcome| matches!(outcome, Outcome::Evicted),
        ),
        (|it, _| assert!(it.shutdown().is_ok()), |outcome| matches!(outcome, Outcome::Cancelled)),
    ];
    for (stop, is_right) in ACTS {
        for is_future in [false, true] {
            let env = TestEnvironment::with_seed(5);
            let supervisor = Supervisor::builder(env.pool()).capacity(1).build().expect("valid");
            let (kept, runs) = (Arc::new(()), Gauge::default());
            let (held, counted) = (Arc::clone(&kept), runs.clone());
            let body = move || counted.run(|| Ok(_ = Arc::strong_count(&held)));
            let spec = match is_future {
                true => TaskSpec::future("one", move |_| std::future::ready(body())),
                false => TaskSpec::blocking("one", move |_| body()),
            };
            let task = supervisor.submit(spec).expect("there is room");
            assert!(task.restart() && task.status() == TaskStatus::Running);
            stop(&supervisor, &task);
            assert_eq!((task.status(), Arc::strong_count(&kept)), (TaskStatus::Ended, 1));
            let outcome = task.outcome().join().expect("it is there");
            assert!(is_right(&outcome), "{outcome}");
            env.run_until_idle();
            assert_eq!((runs.runs(), env.now(), supervisor.stats().stuck), (0, Duration::ZERO, 0));
            supervisor.shutdown().expect("from outside");
        }
    }
}

/// SUP-13: shutdown cancels all, names what is stuck, and gives everybody the same report.
#[test]
fn shutdown_names_what_is_stuck() {
    TestEnvironment::builder().baton().explore(0..40, |env| {
        let supervisor = supervisor(env);
        let gate = Gate::default();
        let deaf = gate.clone();
        let stuck = supervisor.submit(TaskSpec::blocking("deaf", move |_| {
            deaf.wait();
            Ok(())
        }));
        let stuck = stuck.expect("there is room");
        let good = supervisor.submit(patient("good")).expect("there is room");
        let future = supervisor.submit(TaskSpec::<()>::future("future", |_| std::future::pending())).expect("room");
        let late = supervisor.submit(patient("late").start_delay(SECOND * 60)).expect("there is room");
        env.run_until_idle();
        let other = supervisor.clone();
        let other = env.pool().spawn(move || other.shutdown());
        let report = supervisor.shutdown().expect("from outside");
        let same = other.join().expect("it runs").expect("from outside");
        assert_eq!((report.stuck.clone(), same.stuck), (vec!["deaf".into()], report.stuck));
        assert_eq!(env.now(), SECOND);
        assert!(matches!(stuck.outcome().join(), Ok(Outcome::ForceAborted)));
        assert!(matches!(good.outcome().join(), Ok(Outcome::Cancelled)));
        assert!(matches!(future.outcome().join(), Ok(Outcome::ForceAborted)));
        assert!(matches!(late.outcome().join(), Ok(Outcome::Cancelled)));
        assert!(matches!(supervisor.submit(patient("new")), Err(overstrand::SubmitError::ShutDown(_))));
        gate.open();
        stuck.wait_ended(SECOND).expect("it returns");
    });
}

/// F61: the pool is shut down under the supervisor: every outcome comes.
#[test]
fn every_outcome_comes_when_the_pool_ends() {
    TestEnvironment::builder().baton().explore(0..60, |env| {
        let supervisor =
            Supervisor::builder(env.pool()).capacity(4).queue_when_full(9, SECOND * 60).build().expect("valid");
        let blocking = supervisor.submit(patient("blocking")).expect("there is room");
        let deaf = supervisor.submit(TaskSpec::<()>::future("future", |_| std::future::pending())).expect("room");
        let resting = supervisor.submit(patient("resting").start_delay(SECOND)).expect("there is room");
        let fails = supervisor.submit(TaskSpec::<()>::blocking("fails", |_| Err("no".into()))).expect("there is room");
        let waits = supervisor.submit(patient("waits")).expect("there is room to wait");
        if env.seed() % 2 == 0 {
            env.run_until_idle();
        }
        env.pool().shutdown().expect("from outside");
        for task in [blocking, resting, fails] {
            let outcome = task.outcome().join();
            assert!(matches!(outcome, Ok(Outcome::Cancelled)), "{outcome:?}");
        }
        assert!(matches!(deaf.outcome().join(), Ok(Outcome::Cancelled | Outcome::ForceAborted)));
        assert!(matches!(waits.outcome().join(), Ok(Outcome::Rejected(Rejection::ShutDown))));
        assert_eq!(supervisor.stats().places, 0);
        assert!(matches!(supervisor.submit(patient("new")), Err(overstrand::SubmitError::ShutDown(_))));
        assert!(supervisor.shutdown().expect("from outside").stuck.is_empty());
    });
}

/// SUP-13: dropping the last handle cancels all, and waits for nobody.
#[test]
fn dropping_the_supervisor_cancels_all() -> AnyResult {
    let env = baton(5);
    let supervisor = supervisor(&env);
    let task = supervisor.submit(patient("one"))?;
    let copy = supervisor.clone();
    drop(supervisor);
    env.run_until_idle();
    assert_eq!(task.status(), TaskStatus::Running);
    drop(copy);
    assert!(matches!(task.outcome().join()?, Outcome::Cancelled));
    Ok(())
}

/// HND-2: a run that asks for its own outcome is told.
#[test]
fn run_that_joins_itself_is_told() -> AnyResult {
    let env = baton(6);
    let supervisor = supervisor(&env);
    let handle = Arc::new(Mutex::new(None));
    let own = Arc::clone(&handle);
    let task = supervisor.submit(
        TaskSpec::blocking("own", move |_| {
            let handle = own.lock().expect("no panic").take();
            Ok(handle
                .map(|handle: overstrand::TaskHandle<Outcome<bool>>| handle.join())
                .is_some_and(|joined| matches!(joined, Err(JoinError::WouldDeadlock))))
        })
        .start_delay(SECOND),
    )?;
    *handle.lock().expect("no panic") = Some(task.outcome());
    env.advance(SECOND);
    task.wait_ended(SECOND)?;
    assert_eq!(supervisor.stats().completed, 1);
    Ok(())
}

/// SUP-3: a heartbeat of a run that is over, and one from another thread, do no harm.
#[test]
fn stale_heartbeats_are_ignored() -> AnyResult {
    let env = baton(7);
    let supervisor = supervisor(&env);
    let kept = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&kept);
    let spec = TaskSpec::blocking("keeps", move |cx: &TaskContext| {
        if cx.generation() == 1 {
            *slot.lock().expect("no panic") = Some(cx.clone());
            return Err("once".into());
        }
        cx.token().wait();
        Ok(())
    });
    let task = supervisor.submit(spec.watchdog(SECOND).max_retries(1))?;
    for _ in 0..40 {
        env.advance(MILLISECOND * 100);
        let stale = kept.lock().expect("no panic").clone();
        if let Some(stale) = stale {
            stale.heartbeat();
            stale.ready();
        }
    }
    assert!(matches!(task.outcome().join()?, Outcome::HeartbeatLost));
    assert_eq!(task.wait_ready(SECOND), Err(WaitError::Closed));
    drop(kept.lock().expect("no panic").take());
    Ok(())
}
