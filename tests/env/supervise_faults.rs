//! Faults of supervised tasks, and what comes together at a bad moment (F51 to F62).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{TestEnvironment, wait_until};
use overstrand::{
    Backoff, Event, EventKind, Exhausted, Jitter, OnStuck, Outcome, RestartPolicy, Strategy, Supervisor, TaskContext,
    TaskSpec, TaskStatus, WaitError,
};

use crate::supervise_runs::{Gauge, supervisor};
use crate::{AnyResult, figure};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Opened once.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicBool>);

impl Gate {
    fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Hears of no cancel.
    fn wait(&self) {
        wait_until(Duration::MAX, || self.0.load(Ordering::SeqCst).then_some(()));
    }
}

/// A body that waits for its cancel, takes a while to stop, and is measured.
fn slow(name: impl Into<String>, stops_in: Duration, gauge: &Gauge) -> TaskSpec {
    let gauge = gauge.clone();
    TaskSpec::future(name.into(), move |cx: TaskContext| {
        let held = gauge.hold();
        async move {
            cx.ready();
            cx.token().cancelled().await;
            overstrand::sleep(stops_in).await;
            drop(held);
            Ok(())
        }
    })
}

fn failing(name: &'static str) -> TaskSpec {
    TaskSpec::blocking(name, |_| Err("broken".into()))
}

/// F51: what fails at once and for ever does so at the pace of its backoff, and is given up by its intensity.
#[test]
fn instant_failure_keeps_the_pace() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let supervisor = supervisor(&env);
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let spec = TaskSpec::<()>::blocking("fails", move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Err("at once".into())
    });
    let steady = spec.backoff(Backoff::constant(SECOND)).intensity(100, SECOND * 10, Exhausted::GiveUp);
    let steady = supervisor.submit(steady)?;
    env.advance(SECOND * 1000);
    assert_eq!((runs.load(Ordering::SeqCst), steady.errors().len()), (1001, 16));
    assert!(steady.cancel());
    let hasty = failing("hasty").backoff(Backoff::constant(MILLISECOND)).intensity(3, SECOND, Exhausted::GiveUp);
    let before = env.now();
    assert!(matches!(supervisor.submit(hasty)?.outcome().join()?, Outcome::Failed(_)));
    assert_eq!(env.now() - before, MILLISECOND * 3, "the fourth restart is one too many");
    Ok(())
}

/// F51: between its failures a task costs nothing, however many rest; a failure costs some steps of the scheduler, and no more than it did at first.
#[test]
fn resting_tasks_cost_nothing() -> AnyResult {
    let env = TestEnvironment::with_seed(6);
    let supervisor = supervisor(&env);
    let runs = Arc::new(AtomicUsize::new(0));
    for number in 0..500 {
        let counted = Arc::clone(&runs);
        let spec = TaskSpec::<()>::blocking(format!("task {number}"), move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Err("at once".into())
        });
        let for_ever = spec.backoff(Backoff::constant(SECOND)).intensity(u32::MAX, SECOND, Exhausted::GiveUp);
        supervisor.submit(for_ever)?;
    }
    env.run_until_idle();
    let steps_in = |time| {
        let before = (env.steps(), runs.load(Ordering::SeqCst));
        env.advance(time);
        (env.steps() - before.0, runs.load(Ordering::SeqCst) - before.1)
    };
    let (resting, none) = steps_in(MILLISECOND * 999);
    assert!(none == 0 && resting <= 10, "{resting} steps for {none} runs");
    let (first, all) = steps_in(MILLISECOND);
    let (later, as_many) = steps_in(SECOND * 100);
    assert_eq!((all, as_many), (500, 50_000));
    assert!(first <= 500 * 8 && later <= 50_000 * 8, "{first}, then {later} steps");
    figure(
        "F51",
        format_args!("{resting} steps while 500 tasks rest for 999 ms, {later} steps for {as_many} failures"),
    );
    supervisor.shutdown()?;
    Ok(())
}

/// F56: any number of signs of life, from any thread, also after the end and of an earlier run: they cost nobody anything, and only the live run's count.
#[test]
fn storm_of_heartbeats_is_nothing() -> AnyResult {
    let env = TestEnvironment::with_seed(7);
    let (supervisor, contexts) = (supervisor(&env), Arc::new(Mutex::new(Vec::new())));
    let kept = Arc::clone(&contexts);
    let spec = TaskSpec::<()>::future("beats", move |cx: TaskContext| {
        kept.lock().expect("no panic").push(cx.clone());
        async move {
            for _ in 0..100_000 {
                cx.heartbeat();
            }
            std::future::pending().await
        }
    });
    let spec = spec.watchdog(SECOND).max_retries(1).grace(Duration::ZERO).backoff(Backoff::constant(SECOND));
    let task = supervisor.submit(spec)?;
    let mut beats = 0;
    while task.is_alive() {
        let contexts: Vec<_> = contexts.lock().expect("no panic").clone();
        for _ in 0..1000 {
            // The live run is silent from its begin on; the one before it is not.
            contexts.iter().rev().skip(1).for_each(TaskContext::heartbeat);
            beats += 1;
        }
        env.advance(SECOND / 10);
    }
    assert!(matches!(task.outcome().join()?, Outcome::HeartbeatLost));
    assert_eq!((task.errors().len(), env.pending().delayed), (2, 0), "{beats} beats");
    contexts.lock().expect("no panic").iter().for_each(TaskContext::heartbeat);
    figure("I33", format_args!("{beats} heartbeats of earlier runs ignored"));
    Ok(())
}

/// F52, I36: a thousand that fail together come back spread out; events that a subscriber lost are counted exactly.
#[test]
fn thousand_failures_spread_out() -> AnyResult {
    let env = TestEnvironment::with_seed(2);
    let supervisor = Supervisor::builder(env.pool()).event_capacity(5000).build()?;
    let (delays, lost) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let (noted, missed, mut last) = (Arc::clone(&delays), Arc::clone(&lost), 0);
    let _subscription = supervisor.subscribe(move |event: &Event| {
        if let EventKind::SubscriberOverflow { lost } = event.kind {
            last += lost;
            missed.fetch_add(1, Ordering::SeqCst);
        } else {
            last += 1;
        }
        assert_eq!(event.seq, last, "gaps are exact");
        if let EventKind::Retrying { delay, .. } = event.kind {
            noted.lock().expect("no panic").push(delay);
        }
    });
    for number in 0..1000 {
        let spec = TaskSpec::blocking(format!("task {number}"), move |cx: &TaskContext| match cx.generation() {
            1 => Err("all at once".into()),
            _ => Ok(()),
        });
        supervisor.submit(spec.backoff(Backoff::constant(SECOND).jitter(Jitter::Full)))?;
    }
    env.run_until_no_tasks();
    assert_eq!((supervisor.stats().completed, supervisor.stats().retried), (1000, 1000));
    let delays = delays.lock().expect("no panic");
    let mut windows = [0_u32; 101];
    for delay in &*delays {
        windows[usize::try_from(delay.as_millis() / 10)?] += 1;
    }
    let most = windows.iter().max().copied().unwrap_or_default();
    figure("I36", format_args!("{} tasks that failed at once, max cluster {most} in 1 % of the time", delays.len()));
    assert!(delays.len() > 900 && windows.iter().all(|count| *count <= 30), "{windows:?}");
    Ok(())
}

/// SUP-6, Z23: jitter never makes a pause longer than the longest.
#[test]
fn jitter_keeps_below_the_longest_pause() -> AnyResult {
    let env = TestEnvironment::with_seed(3);
    let supervisor = supervisor(&env);
    for number in 0..50 {
        let spec = TaskSpec::<()>::blocking(format!("task {number}"), |_| Err("broken".into()));
        let backoff = Backoff::constant(SECOND).max(SECOND * 2).jitter(Jitter::Decorrelated);
        supervisor.submit(spec.backoff(backoff).max_retries(4))?;
    }
    env.run_until_no_tasks();
    assert!(env.now() <= SECOND * 8, "{:?}", env.now());
    assert_eq!(supervisor.stats().failed, 50);
    Ok(())
}

/// F53: a child that never says that it is ready holds up those after it, and nobody else; it counts when it is late.
#[test]
fn start_that_hangs_can_be_asked_and_ended() {
    TestEnvironment::explore(0..40, |env| {
        let (supervisor, gauge) = (supervisor(env), Gauge::default());
        let hangs = TaskSpec::<()>::future("hangs", |_| std::future::pending()).attempt_timeout(SECOND);
        let children = [hangs.backoff(Backoff::constant(SECOND)), slow("next", Duration::ZERO, &gauge)];
        let group = TaskSpec::group("group", Strategy::OneForAll, children);
        let group = supervisor.submit(group.intensity(2, SECOND * 60, Exhausted::GiveUp)).expect("there is room");
        env.advance(SECOND);
        assert_eq!((group.status(), gauge.runs(), supervisor.tasks().len()), (TaskStatus::Running, 0, 3));
        assert!(matches!(group.outcome().join(), Ok(Outcome::Failed(_))));
        assert_eq!((gauge.runs(), supervisor.tasks().len()), (0, 0));
    });
}

/// SUP-2, SUP-14: a group that is stopped in a pause does not begin anew when the pause would be over.
#[test]
fn stop_ends_the_pause_of_a_group() {
    TestEnvironment::explore(0..40, |env| {
        let (supervisor, gauge) = (supervisor(env), Gauge::default());
        let fails = failing("fails").backoff(Backoff::constant(SECOND));
        let children = [slow("slow", MILLISECOND * 900, &gauge), fails];
        let group = supervisor.submit(TaskSpec::group("group", Strategy::RestForOne, children));
        let group = group.expect("there is room");
        env.advance(MILLISECOND * 500);
        assert!(group.remove());
        env.advance(MILLISECOND * 600);
        assert_eq!((group.status(), gauge.live(), gauge.runs()), (TaskStatus::Stopping, 1, 1));
        env.advance(SECOND);
        assert_eq!((group.status(), gauge.live(), gauge.runs()), (TaskStatus::Ended, 0, 1));
        assert_eq!(supervisor.stats().running, 0);
    });
}

/// SUP-2: a stuck child that has no further try is over for its group when it has returned.
#[test]
fn stuck_child_is_not_started_again() {
    TestEnvironment::builder().baton().explore(0..40, |env| {
        let (supervisor, gauge, gate) = (supervisor(env), Gauge::default(), Gate::default());
        let (counted, deaf) = (gauge.clone(), gate.clone());
        let child = TaskSpec::rebuilding("deaf", move || {
            let (gauge, deaf) = (counted.clone(), deaf.clone());
            move |_: &TaskContext| {
                gauge.run(|| deaf.wait());
                Ok(())
            }
        });
        let child = child.attempt_timeout(SECOND).max_retries(0);
        let group = TaskSpec::group("group", Strategy::OneForOne, [child]);
        let group = supervisor.submit(group.restart(RestartPolicy::Always { interval: SECOND }));
        let group = group.expect("there is room");
        env.advance(SECOND * 3);
        assert!(group.restart());
        env.advance(SECOND * 10);
        assert_eq!((gauge.live(), gauge.runs(), supervisor.stats().stuck), (1, 1, 1));
        gate.open();
        env.advance(SECOND * 60);
        assert_eq!((gauge.most(), supervisor.stats().stuck), (1, 0));
        group.cancel();
        assert_eq!((gauge.live(), supervisor.stats().running), (0, 0));
    });
}

/// A group without children is over, however often it is to be repeated.
#[test]
fn empty_group_is_not_repeated() -> AnyResult {
    let env = TestEnvironment::with_seed(4);
    let supervisor = supervisor(&env);
    let always = RestartPolicy::Always { interval: Duration::ZERO };
    let empty = supervisor.submit(TaskSpec::group("empty", Strategy::OneForOne, []).restart(always))?;
    assert!(empty.outcome().join()?.is_completed());
    Ok(())
}

/// SUP-11: a child that waits for the end of its group would wait for itself.
#[test]
fn child_ends_its_group() {
    TestEnvironment::builder().baton().explore(0..40, |env| {
        let supervisor = supervisor(env);
        let (tell, told) = (supervisor.clone(), Arc::new(Mutex::new(None)));
        let answers = Arc::clone(&told);
        let child = TaskSpec::blocking("child", move |_| {
            let group = tell.find("outer").expect("it runs");
            let waited = group.wait_ended(SECOND);
            *answers.lock().expect("no panic") = Some((waited, group.cancel()));
            Ok(())
        });
        let inner = TaskSpec::group("inner", Strategy::OneForOne, [child]);
        let outer = supervisor.submit(TaskSpec::group("outer", Strategy::OneForOne, [inner]));
        assert!(matches!(outer.expect("there is room").outcome().join(), Ok(Outcome::Cancelled)));
        assert_eq!(*told.lock().expect("no panic"), Some((Err(WaitError::WouldDeadlock), true)));
        assert_eq!(env.now(), Duration::ZERO);
    });
}

/// SUP-9a: who wants its permit back at once waits behind those that wait already.
#[test]
fn permit_is_not_kept_by_coming_back_at_once() {
    TestEnvironment::explore(0..40, |env| {
        let supervisor = Supervisor::builder(env.pool()).max_concurrent(1).build().expect("valid");
        let order = Arc::new(Mutex::new(Vec::new()));
        let spec = |name: &'static str| {
            let order = Arc::clone(&order);
            let spec = TaskSpec::future(name, move |_| {
                order.lock().expect("no panic").push(name);
                async {
                    overstrand::sleep(SECOND).await;
                    Ok(())
                }
            });
            spec.restart(RestartPolicy::Always { interval: Duration::ZERO })
        };
        supervisor.submit(spec("a")).expect("there is room");
        env.run_until_idle();
        supervisor.submit(spec("b")).expect("there is room");
        supervisor.submit(spec("high").priority(1).restart(RestartPolicy::Never)).expect("there is room");
        env.advance(SECOND * 5);
        assert_eq!(*order.lock().expect("no panic"), ["a", "high", "b", "a", "b", "a"]);
        supervisor.shutdown().expect("from outside");
    });
}

/// Waits in its end until the gate's other side is through.
struct AtTheEnd(Option<Gate>, Gate);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            gate.open();
            self.1.wait();
        }
    }
}

/// SUP-3, F55: the result of a run that was fenced off is nobody's.
#[test]
fn result_of_a_fenced_run_is_ignored() {
    let stale = AtomicUsize::new(0);
    TestEnvironment::builder().baton().explore(0..40, |env| {
        let (supervisor, gate, returned) = (supervisor(env), Gate::default(), Gate::default());
        let (opens, waits) = (gate.clone(), returned.clone());
        let subscription = supervisor.subscribe(move |event: &Event| {
            if matches!(event.kind, EventKind::ReturnedLate) {
                returned.open();
            }
        });
        let mut runs = 0;
        let spec = TaskSpec::rebuilding("frozen", move || {
            runs += 1;
            let (frozen, end) = (opens.clone(), AtTheEnd((runs == 2).then(|| opens.clone()), waits.clone()));
            move |cx: &TaskContext| {
                let _end = &end;
                if cx.generation() == 1 {
                    frozen.wait();
                }
                Ok(cx.generation())
            }
        });
        let spec = spec.attempt_timeout(SECOND).grace(SECOND).on_stuck(OnStuck::Replace { at_most: 1 });
        let task = supervisor.submit(spec).expect("there is room");
        let outcome = task.outcome().join().expect("it ends");
        assert!(matches!(outcome, Outcome::Completed(2)), "{outcome:?}");
        task.wait_ended(SECOND).expect("both have returned");
        stale.fetch_add(1, Ordering::Relaxed);
        drop(subscription);
    });
    figure("I33", format_args!("{stale:?} results of fenced runs ignored"));
}

/// SUP-2a: what was fenced off outlives its task, and no date of the task begins anything then.
#[test]
fn cancelled_task_with_a_fenced_run_stays_over() {
    TestEnvironment::builder().baton().explore(0..40, |env| {
        let (supervisor, gate) = (supervisor(env), Gate::default());
        let frozen = gate.clone();
        let spec = TaskSpec::rebuilding("frozen", move || {
            let frozen = frozen.clone();
            move |cx: &TaskContext| {
                frozen.wait();
                // It is told too late.
                cx.ready();
                Ok(())
            }
        });
        let spec = spec.attempt_timeout(SECOND).backoff(Backoff::constant(SECOND * 9));
        let task = supervisor.submit(spec.on_stuck(OnStuck::Replace { at_most: 1 })).expect("there is room");
        env.advance(SECOND * 3);
        assert!(task.remove() && task.pause() == task.resume());
        assert!(matches!(task.outcome().join(), Ok(Outcome::Cancelled)));
        env.advance(SECOND * 20);
        assert_eq!((task.status(), supervisor.stats().running), (TaskStatus::Stuck, 1));
        gate.open();
        task.wait_ended(SECOND * 60).expect("it returns");
        assert_eq!((supervisor.stats().running, task.wait_ready(SECOND)), (0, Err(WaitError::Closed)));
    });
}

/// SUP-8, I45: silence is noticed in time, whoever else comes and goes.
#[test]
fn watched_time_is_not_lost_to_others() -> AnyResult {
    let env = TestEnvironment::with_seed(5);
    let supervisor = supervisor(&env);
    let silent = TaskSpec::<()>::future("silent", |_| std::future::pending());
    let silent = supervisor.submit(silent.watchdog(SECOND * 60).max_retries(0).grace(Duration::ZERO))?;
    for number in 0..130 {
        let short = TaskSpec::future(format!("short {number}"), |_| async {
            overstrand::sleep(MILLISECOND * 20).await;
            Ok(())
        });
        supervisor.submit(short.watchdog(MILLISECOND * 100))?;
        env.advance(SECOND);
    }
    assert_eq!((silent.status(), silent.errors().len()), (TaskStatus::Ended, 1));
    let at = silent.errors()[0].at;
    assert!(at > SECOND * 60 && at <= SECOND * 127, "{at:?}");
    Ok(())
}
