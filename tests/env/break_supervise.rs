//! Supervised tasks at their limits: causes that come one after the other, stuck runs, calls at awkward moments, destructors, extreme values.

use std::error::Error as StdError;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{TestEnvironment, wait_until};
use overstrand::{
    Admission, Backoff, Event, EventKind, Exhausted, OutcomeKind, Overflow, RestartPolicy, Schedule, SubmitError,
    Subscription, Supervisor, TaskContext, TaskControl, TaskSpec, TaskStatus, TaskTraits,
};

use crate::supervise_runs::supervisor;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Opened by whoever likes; hears of no cancel.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<AtomicBool>);

impl Gate {
    pub(crate) fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn wait(&self) {
        wait_until(Duration::MAX, || self.0.load(Ordering::SeqCst).then_some(()));
    }

    /// True once for each time it was opened.
    pub(crate) fn pass(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

/// How many runs have begun.
#[derive(Clone, Default)]
pub(crate) struct Runs(Arc<AtomicUsize>);

impl Runs {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Says that it is ready, and ends so much later than it is told to.
pub(crate) fn slow(name: &'static str, stops_in: Duration, runs: &Runs) -> TaskSpec {
    let runs = runs.clone();
    TaskSpec::future(name, move |cx: TaskContext| {
        runs.add();
        async move {
            cx.ready();
            cx.token().cancelled().await;
            overstrand::sleep(stops_in).await;
            Ok(())
        }
    })
}

/// Says that it is ready, and does not hear what it is told.
pub(crate) fn deaf(name: &'static str, gate: &Gate) -> TaskSpec {
    let gate = gate.clone();
    TaskSpec::blocking(name, move |cx: &TaskContext| {
        cx.ready();
        gate.wait();
        Ok(())
    })
}

pub(crate) type Heard = Arc<Mutex<Vec<Event>>>;

pub(crate) fn listen(supervisor: &Supervisor) -> (Heard, Subscription) {
    let heard = Heard::default();
    let noted = Arc::clone(&heard);
    let subscription = supervisor.subscribe(move |event: &Event| noted.lock().expect("no panic").push(event.clone()));
    (heard, subscription)
}

pub(crate) fn lines(heard: &Heard) -> Vec<String> {
    heard.lock().expect("no panic").iter().map(|event| format!("{:?} {event}", event.at)).collect()
}

/// Calls a function when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn kind_of(task: &overstrand::SupervisedTask<impl Send + 'static>) -> OutcomeKind {
    task.outcome().join().expect("there is one").kind()
}

/// I34, SUP-4: the last run was too late, or silent, before somebody did not want the task any more; so that is how it ended. With a retry to come the cancel ends it.
#[test]
fn later_cancel_is_not_the_cause() {
    TestEnvironment::explore(0..20, |env| {
        for (retries, expected) in [(Some(0), OutcomeKind::TimedOut), (None, OutcomeKind::Cancelled)] {
            let supervisor = supervisor(env);
            let late = slow("late", MILLISECOND * 500, &Runs::default()).attempt_timeout(SECOND).max_retries(retries);
            let late = supervisor.submit(late).expect("there is room");
            env.advance(SECOND + MILLISECOND * 100);
            assert_eq!(late.cancel(), retries.is_none(), "its end is decided unless it may try again");
            assert_eq!(kind_of(&late), expected);
        }
    });
}

/// I34, SUP-2: as before, when the late run is stuck.
#[test]
fn later_cancel_of_a_stuck_run_is_not_the_cause() {
    TestEnvironment::builder().baton().explore(0..20, |env| {
        let (supervisor, gate) = (supervisor(env), Gate::default());
        let late = deaf("late", &gate).attempt_timeout(SECOND).restart(RestartPolicy::Never).grace(SECOND * 2);
        let late = supervisor.submit(late).expect("there is room");
        env.advance(SECOND * 2);
        assert!(!late.remove(), "its end is decided");
        env.advance(SECOND * 2);
        assert_eq!((kind_of(&late), late.status()), (OutcomeKind::TimedOut, TaskStatus::Stuck));
        gate.open();
        late.wait_ended(SECOND * 9).expect("it returns");
    });
}

/// SUP-6: a run that lasted long enough ends its streak, also when it is stuck; so there is another try.
#[test]
fn stuck_run_was_healthy() {
    TestEnvironment::builder().baton().explore(0..20, |env| {
        let (supervisor, gate) = (supervisor(env), Gate::default());
        let (opens, mut runs) = (gate.clone(), 0);
        let spec = TaskSpec::blocking("healthy", move |_: &TaskContext| {
            runs += 1;
            match runs {
                1 => Err("not yet".into()),
                2 => {
                    opens.wait();
                    Ok(2)
                }
                _ => Ok(runs),
            }
        });
        let spec = spec.max_retries(1).healthy_after(SECOND).attempt_timeout(SECOND * 5);
        let task = supervisor.submit(spec).expect("there is room");
        env.advance(SECOND * 20);
        gate.open();
        env.advance(SECOND * 20);
        assert_eq!(task.outcome().join().expect("there is one").completed(), Some(3));
    });
}

/// SUP-4, SUP-13: what waits for a worker, and will not begin, is over when its grace is, whatever it was told before.
#[test]
fn run_without_a_worker_ends_in_its_grace() {
    TestEnvironment::explore(0..20, |env| {
        let (supervisor, runs) = (supervisor(env), Runs::default());
        let fence = env.pool().fence_best_effort();
        let task = slow("waits", SECOND, &runs).traits(TaskTraits::best_effort());
        let task = supervisor.submit(task).expect("there is room");
        env.advance(SECOND);
        assert!(task.restart());
        env.advance(SECOND * 5);
        assert!(task.remove());
        env.advance(SECOND * 5);
        assert!(task.outcome().is_finished());
        drop(fence);
        task.wait_ended(SECOND * 5).expect("it is dropped");
        assert_eq!(runs.count(), 0);
    });
}

/// SUP-11: a restart by hand begins a new streak, also of a task that is paused.
#[test]
fn restart_of_a_paused_task_begins_a_new_streak() {
    TestEnvironment::explore(0..20, |env| {
        let (supervisor, last) = (supervisor(env), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&last);
        let spec = TaskSpec::<()>::blocking("fails", move |cx: &TaskContext| {
            seen.store(cx.attempt() as usize, Ordering::SeqCst);
            Err("broken".into())
        });
        let task = supervisor.submit(spec.backoff(Backoff::constant(SECOND))).expect("there is room");
        env.advance(MILLISECOND * 1500);
        assert!(task.pause());
        env.advance(SECOND * 2);
        assert_eq!((task.status(), last.load(Ordering::SeqCst)), (TaskStatus::Paused, 2));
        assert!(task.restart() && task.resume());
        env.run_until_idle();
        assert_eq!(last.load(Ordering::SeqCst), 1);
        task.cancel();
    });
}

/// SUP-11: a restart that says yes is followed by a run, also when the present one was about to be the last.
#[test]
fn restart_of_a_late_run_is_followed_by_another() {
    TestEnvironment::explore(0..20, |env| {
        let (supervisor, runs) = (supervisor(env), Runs::default());
        let late = slow("late", MILLISECOND * 500, &runs).attempt_timeout(SECOND).max_retries(0);
        let late = supervisor.submit(late).expect("there is room");
        env.advance(MILLISECOND * 1100);
        assert_eq!(late.status(), TaskStatus::Stopping);
        assert!(late.restart());
        env.advance(MILLISECOND * 500);
        assert_eq!((late.status(), runs.count(), late.errors().len()), (TaskStatus::Running, 2, 1));
        late.cancel();
    });
}

/// SUP-1, I24: a restart by hand between two ticks takes none away.
#[test]
fn restart_by_hand_leaves_the_ticks() {
    let env = TestEnvironment::with_seed(1);
    let supervisor = supervisor(&env);
    let (heard, subscription) = listen(&supervisor);
    let ticks = TaskSpec::periodic("ticks", Schedule::every(SECOND * 10), |_| Ok(()));
    let ticks = supervisor.submit(ticks).expect("there is room");
    env.advance(SECOND * 13);
    assert!(ticks.restart());
    env.advance(SECOND * 30);
    ticks.cancel();
    let started = lines(&heard).into_iter().filter(|line| line.ends_with("started")).collect::<Vec<_>>();
    let expected = [10, 13, 20, 30, 40].map(|second| format!("{second}s ticks started"));
    assert_eq!(started, expected);
    drop(subscription);
}

/// SUP-11: a destructor of a body that cancels its own task, or another that comes next, does not wait for what comes after it.
#[test]
fn destructor_may_cancel() {
    TestEnvironment::builder().baton().explore(0..20, |env| {
        for cancels_itself in [true, false] {
            let (supervisor, victim) = (supervisor(env), Arc::new(Mutex::new(None::<TaskControl>)));
            let told = Arc::clone(&victim);
            let guard = OnDrop(move || {
                let victim = told.lock().expect("no panic").take();
                assert!(victim.is_none_or(|victim| victim.cancel() != cancels_itself));
            });
            let first = TaskSpec::future("first", move |_| {
                let _guard = &guard;
                async {
                    overstrand::sleep(SECOND).await;
                    Ok(())
                }
            });
            let first = supervisor.submit(first.slot("slot", Admission::Queue)).expect("there is room");
            let next = slow("next", SECOND, &Runs::default()).slot("slot", Admission::Queue);
            let next = supervisor.submit(next).expect("there is room");
            let named = if cancels_itself { first.control() } else { next.control() };
            *victim.lock().expect("no panic") = Some(named);
            env.advance(SECOND * 5);
            assert_eq!((first.status(), next.is_alive()), (TaskStatus::Ended, cancels_itself));
            supervisor.shutdown().expect("from outside");
        }
    });
}

/// SUP-11: as before, of a body that is built anew for each run.
#[test]
fn destructor_of_a_rebuilt_body_may_cancel() {
    TestEnvironment::builder().baton().explore(0..20, |env| {
        let supervisor = supervisor(env);
        let find = supervisor.clone();
        let spec = TaskSpec::rebuilding("rebuilt", move || {
            let find = find.clone();
            let guard = OnDrop(move || assert!(find.find("rebuilt").is_none_or(|own| own.cancel())));
            move |_: &TaskContext| {
                let _guard = &guard;
                Ok(())
            }
        });
        let task = supervisor.submit(spec).expect("there is room");
        env.advance(SECOND * 5);
        assert_eq!((task.status(), kind_of(&task)), (TaskStatus::Ended, OutcomeKind::Cancelled));
    });
}

/// POST-6, SUP-8: a destructor that takes its time holds up no date of others.
#[test]
fn slow_destructor_holds_up_no_date() {
    TestEnvironment::builder().baton().explore(0..20, |env| {
        let (supervisor, gate, runs) = (supervisor(env), Gate::default(), Runs::default());
        let opens = gate.clone();
        let guard = OnDrop(move || opens.wait());
        let slow = TaskSpec::<()>::blocking("slow", move |_| {
            let _guard = &guard;
            Ok(())
        });
        let slow = slow.restart(RestartPolicy::Always { interval: SECOND * 100 }).max_runtime(SECOND);
        let slow = supervisor.submit(slow).expect("there is room");
        let counted = runs.clone();
        let other = TaskSpec::<()>::blocking("other", move |_| {
            counted.add();
            Ok(())
        });
        let other = other.restart(RestartPolicy::Always { interval: SECOND * 2 });
        let other = supervisor.submit(other).expect("there is room");
        env.advance(SECOND * 9);
        assert_eq!(runs.count(), 5);
        gate.open();
        slow.wait_ended(SECOND * 60).expect("it is dropped");
        other.cancel();
    });
}

/// POST-6: a result whose destructor panics makes no failure of the run that replaces it.
#[test]
fn result_whose_destructor_panics_is_no_failure() {
    let env = TestEnvironment::builder().seed(1).allow_panics().build();
    let supervisor = supervisor(&env);
    let (heard, subscription) = listen(&supervisor);
    let spec = TaskSpec::blocking("panics", |_| Ok(OnDrop(|| panic!("dropped"))));
    let task = supervisor.submit(spec.restart(RestartPolicy::Always { interval: SECOND })).expect("there is room");
    env.advance(SECOND * 3);
    task.cancel();
    env.run_until_idle();
    assert!(lines(&heard).iter().any(|line| line.contains("succeeded")), "{:#?}", lines(&heard));
    assert!(!lines(&heard).iter().any(|line| line.contains("failed")), "{:#?}", lines(&heard));
    drop(subscription);
}

/// An error that panics when it is dropped, and when it is shown.
#[derive(Debug)]
struct Hostile;

impl fmt::Display for Hostile {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("shown")
    }
}

impl StdError for Hostile {}

impl Drop for Hostile {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

/// POST-6, SUP-12: errors whose destructors panic are dropped one after the other, whoever has them last; a subscriber that cannot show them goes on hearing.
#[test]
fn hostile_errors_end_nothing() {
    let env = TestEnvironment::builder().seed(1).allow_panics().build();
    let (supervisor, shown) = (supervisor(&env), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&shown);
    let subscription = supervisor.subscribe(move |event: &Event| {
        counted.fetch_add(1, Ordering::SeqCst);
        drop(event.to_string());
    });
    let task = TaskSpec::<()>::blocking("hostile", |_| Err(Hostile.into())).max_retries(3);
    let task = supervisor.submit(task).expect("there is room");
    env.advance(SECOND * 3);
    assert_eq!((task.status(), task.errors().len()), (TaskStatus::Ended, 4));
    env.run_until_idle();
    let heard = shown.load(Ordering::SeqCst);
    assert!(heard > 15, "{heard}");
    // What the handle has is its owner's to drop.
    std::mem::forget(task.outcome());
    drop((task, subscription));
    supervisor.shutdown().expect("from outside");
}

/// SUP-11: who waits in the slot, and is not replaced, keeps its name for itself.
#[test]
fn name_of_one_that_queues_is_its_own() {
    let env = TestEnvironment::with_seed(1);
    let (supervisor, runs) = (supervisor(&env), Runs::default());
    let spec = |name, admission| slow(name, Duration::ZERO, &runs).slot("slot", admission);
    supervisor.submit(spec("first", Admission::Queue)).expect("there is room");
    supervisor.submit(spec("second", Admission::Queue)).expect("there is room");
    let same = supervisor.submit(spec("second", Admission::Replace));
    assert!(matches!(same, Err(SubmitError::AlreadyExists(_))), "{same:?}");
    supervisor.submit(spec("first", Admission::Replace)).expect("it replaces its namesake");
    supervisor.submit(spec("first", Admission::Replace)).expect("and is replaced in turn");
    supervisor.shutdown().expect("from outside");
}

/// SUP-4, F59: the one that has a slot, and waits for a place, never ran when it is replaced; it is told as those behind it are.
#[test]
fn replaced_one_that_never_ran_is_superseded() {
    let env = TestEnvironment::with_seed(1);
    let supervisor = Supervisor::builder(env.pool()).capacity(1).queue_when_full(9, SECOND * 100).build();
    let (supervisor, runs) = (supervisor.expect("valid"), Runs::default());
    supervisor.submit(slow("has the place", Duration::ZERO, &runs)).expect("there is room");
    let spec = |name| slow(name, Duration::ZERO, &runs).slot("slot", Admission::Replace);
    let old = supervisor.submit(spec("old")).expect("it waits");
    supervisor.submit(spec("new")).expect("it waits");
    assert_eq!(old.outcome().join().expect("there is one").to_string(), "rejected: a newer one took its turn");
    supervisor.shutdown().expect("from outside");
}

/// POST-9: a bound of the pool's own queue is for what is posted to it: a run is not refused by it, nor run by who submits it.
#[test]
fn bounded_pool_refuses_no_run() {
    for overflow in [Overflow::Reject, Overflow::Block, Overflow::CallerRuns] {
        let env = TestEnvironment::builder().seed(1).workers(1).pool(|pool| pool.capacity(1, overflow)).build();
        let (supervisor, runs) = (supervisor(&env), Runs::default());
        for name in ["a", "b", "c", "d", "e", "f"] {
            let counted = runs.clone();
            let quick = move || {
                counted.add();
                Ok(())
            };
            let spec = if name < "d" {
                TaskSpec::blocking(name, move |_| quick())
            } else {
                TaskSpec::future(name, move |_| std::future::ready(quick()))
            };
            let at_once = spec.backoff(Backoff::constant(Duration::ZERO));
            supervisor.submit(at_once.intensity(u32::MAX, SECOND, Exhausted::GiveUp)).expect("there is room");
        }
        assert_eq!(runs.count(), 0, "{overflow:?}: submit runs nothing");
        env.run_until_idle();
        assert_eq!((runs.count(), supervisor.stats().completed, supervisor.stats().retried), (6, 6, 0));
    }
}

/// I22: the largest values mean never, and nothing else.
#[test]
fn largest_values_mean_never() {
    let (env, never, runs) = (TestEnvironment::with_seed(1), Duration::MAX, Runs::default());
    let builder = Supervisor::builder(env.pool()).capacity(usize::MAX).event_capacity(usize::MAX);
    let builder = builder.max_concurrent(usize::MAX).queue_when_full(usize::MAX, never).grace(never).watchdog(never);
    let builder = builder.attempt_timeout(never).max_runtime(never).healthy_after(never).max_retries(u32::MAX);
    let builder = builder.intensity(u32::MAX, never, Exhausted::SlowRestart(never)).backoff(Backoff::constant(never));
    let supervisor = builder.build().expect("valid");
    let submit = |spec| supervisor.submit(spec).expect("there is room");
    let runs_on = submit(slow("runs on", SECOND, &runs));
    let silent = submit(slow("silent", SECOND, &runs).watchdog(SECOND).max_retries(0));
    let late = submit(slow("late", SECOND, &runs).start_delay(never));
    let fails = submit(TaskSpec::<()>::blocking("fails", |_| Err("broken".into())));
    let once = TaskSpec::<()>::blocking("once", |_| Ok(()));
    let once = submit(once.restart(RestartPolicy::Always { interval: never }));
    let ticks = submit(TaskSpec::periodic("ticks", Schedule::every(never), |_| Ok(())));
    env.advance(SECOND * 1000);
    assert_eq!([&runs_on, &silent].map(|task| task.status()), [TaskStatus::Running, TaskStatus::Ended]);
    assert_eq!([&late, &fails, &once, &ticks].map(|task| task.status()), [TaskStatus::Waiting; 4]);
    assert!(late.restart());
    env.run_until_idle();
    assert_eq!(late.status(), TaskStatus::Running);
    for task in [runs_on, late, fails, once, ticks] {
        assert_eq!(task.cancel_timeout(never), Ok(true));
    }
    assert!(supervisor.shutdown().expect("from outside").stuck.is_empty());
}

/// SUP-13, CTL-2: who holds a fence of the pool waits for nothing that it keeps from starting.
#[test]
fn batch_is_not_waited_for_behind_a_fence() {
    let env = TestEnvironment::with_seed(1);
    let supervisor = supervisor(&env);
    let fence = env.pool().fence();
    let refused = supervisor.run([TaskSpec::blocking("one", |_| Ok(()))]);
    assert!(matches!(refused, Err(overstrand::Error::Wait(overstrand::WaitError::WouldDeadlock))), "{refused:?}");
    drop(fence);
    assert_eq!(supervisor.stats().submitted, 0);
}

/// SUP-12, SUP-13: a subscriber may shut everything down, and waits for it.
#[test]
fn subscriber_may_shut_down() {
    TestEnvironment::builder().baton().explore(0..20, |env| {
        let (supervisor, told) = (supervisor(env), Arc::new(Mutex::new(None)));
        let (shuts_down, answer) = (supervisor.clone(), Arc::clone(&told));
        let subscription = supervisor.subscribe(move |event: &Event| {
            if let EventKind::Started = event.kind {
                *answer.lock().expect("no panic") = Some(shuts_down.shutdown().map(|report| report.stuck.len()));
            }
        });
        let task = supervisor.submit(slow("task", SECOND / 2, &Runs::default())).expect("there is room");
        env.advance(SECOND * 10);
        assert_eq!((task.status(), *told.lock().expect("no panic")), (TaskStatus::Ended, Some(Ok(0))));
        drop(subscription);
    });
}

/// SHUT-5, SUP-13: the last handle may be dropped inside of a run: everything is cancelled, and nobody waits.
#[test]
fn last_handle_may_be_dropped_inside() {
    TestEnvironment::builder().baton().explore(0..20, |env| {
        let (supervisor, last) = (supervisor(env), Arc::new(Mutex::new(None)));
        let other = supervisor.submit(slow("other", SECOND / 2, &Runs::default())).expect("there is room");
        let taken = Arc::clone(&last);
        let drops = TaskSpec::blocking("drops", move |cx: &TaskContext| {
            cx.sleep(SECOND);
            drop(taken.lock().expect("no panic").take());
            cx.token().wait();
            Ok(())
        });
        let drops = supervisor.submit(drops).expect("there is room");
        *last.lock().expect("no panic") = Some(supervisor);
        env.advance(SECOND * 3);
        assert_eq!((drops.status(), other.status()), (TaskStatus::Ended, TaskStatus::Ended));
    });
}
