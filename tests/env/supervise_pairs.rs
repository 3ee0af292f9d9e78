//! Each two causes of the end of a task, in both orders and at once (I34); each end of a run by each policy, left alone and stopped (I35).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use overstrand::testing::{TestEnvironment, wait_until};
use overstrand::{
    Backoff, Event, EventKind, Fatal, OutcomeKind, RestartPolicy, SelfCancelled, Supervisor, TaskContext, TaskResult,
    TaskSpec,
};

use crate::figure;
use crate::supervise_runs::Gauge;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cause {
    Finish,
    Panic,
    Cancel,
    /// The whole time is over.
    Timeout,
    /// The time of its only attempt is.
    AttemptTimeout,
    Silence,
    Evict,
    Shutdown,
}

impl Cause {
    const ALL: [Self; 8] = [
        Self::Finish,
        Self::Panic,
        Self::Cancel,
        Self::Timeout,
        Self::AttemptTimeout,
        Self::Silence,
        Self::Evict,
        Self::Shutdown,
    ];

    fn outcome(self) -> OutcomeKind {
        match self {
            Self::Finish => OutcomeKind::Completed,
            Self::Panic => OutcomeKind::Panicked,
            Self::Cancel | Self::Shutdown => OutcomeKind::Cancelled,
            Self::Timeout | Self::AttemptTimeout => OutcomeKind::TimedOut,
            Self::Silence => OutcomeKind::HeartbeatLost,
            Self::Evict => OutcomeKind::Evicted,
        }
    }

    /// What must be said of the task so that this happens then.
    fn prepare(self, spec: TaskSpec, at: Duration) -> TaskSpec {
        match self {
            Self::Timeout => spec.max_runtime(at),
            Self::AttemptTimeout => spec.attempt_timeout(at),
            // A run has a period to start up, and is found silent up to a tenth late.
            Self::Silence => spec.watchdog(at * 10 / 21),
            _ => spec,
        }
    }

    /// What must be done so that this happens now.
    fn act(self, supervisor: &Supervisor) {
        match self {
            Self::Cancel => _ = supervisor.find("one").map(|task| task.remove()),
            Self::Evict => drop(supervisor.submit(TaskSpec::blocking("important", patient).priority(1))),
            Self::Shutdown => drop(supervisor.shutdown()),
            _ => {}
        }
    }
}

fn patient(cx: &TaskContext) -> TaskResult {
    cx.token().wait();
    Ok(())
}

/// Ends by itself at the moment of its cause, if that is one of its own; when it is told to stop before, it takes until then, or a second.
fn body(own: Option<(Cause, Duration)>) -> impl FnMut(&TaskContext) -> TaskResult + Send + 'static {
    move |cx| {
        match own {
            Some((_, at)) => _ = wait_until(at, || None::<()>),
            None => {
                cx.token().wait();
                wait_until(SECOND, || None::<()>);
            }
        }
        match own {
            Some((Cause::Panic, _)) => panic!("by itself"),
            _ => Ok(()),
        }
    }
}

/// Two causes, the second so much later: the kind of the outcome. Needs workers enough for both and for the timer.
fn race(env: &TestEnvironment, causes: [Cause; 2], gap: Duration) -> OutcomeKind {
    let times = [SECOND, SECOND + gap];
    let supervisor = Supervisor::builder(env.pool()).capacity(1).grace(SECOND * 5).build().expect("valid");
    let finished = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&finished);
    let log = supervisor.subscribe(move |event: &Event| {
        if matches!(event.kind, EventKind::Finished { .. }) && &*event.task == "one" {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let timed = || causes.into_iter().zip(times);
    let own = timed().find(|(cause, _)| matches!(cause, Cause::Finish | Cause::Panic));
    let spec = TaskSpec::blocking("one", body(own)).max_retries(0);
    let spec = timed().fold(spec, |spec, (cause, at)| cause.prepare(spec, at));
    let task = supervisor.submit(spec).expect("there is room");
    env.run_until_idle();
    let acts: Vec<_> = timed()
        .map(|(cause, at)| {
            let supervisor = supervisor.clone();
            env.pool().spawn(move || {
                wait_until(at, || None::<()>);
                cause.act(&supervisor);
            })
        })
        .collect();
    let outcome = task.outcome().join().expect("there is one").kind();
    env.advance(SECOND * 3);
    supervisor.shutdown().expect("from outside");
    acts.into_iter().for_each(|act| act.join().expect("it returns"));
    env.run_until_idle();
    assert_eq!((finished.load(Ordering::SeqCst), supervisor.stats().running), (1, 0), "{causes:?}");
    drop(log);
    outcome
}

/// I34: of two causes the first is told, once, whatever comes while the task is on its way out; of two at one moment it is one of them.
#[test]
fn first_cause_of_two_is_told() {
    let (mut pairs, schedules) = (0, AtomicUsize::new(0));
    for (a, b) in Cause::ALL.into_iter().flat_map(|a| Cause::ALL.map(|b| (a, b))) {
        let are_own = [a, b].iter().all(|cause| matches!(cause, Cause::Finish | Cause::Panic));
        if a == b || are_own {
            continue;
        }
        pairs += 1;
        TestEnvironment::builder().workers(5).baton().allow_panics().explore(0..4, |env| {
            schedules.fetch_add(1, Ordering::Relaxed);
            let kind = race(env, [a, b], SECOND / 4);
            assert_eq!(kind, a.outcome(), "{a:?}, then {b:?}");
        });
        // The watchdog looks up to a tenth late, so it is never exactly beside another.
        if [a, b].contains(&Cause::Silence) {
            continue;
        }
        TestEnvironment::builder().workers(5).baton().allow_panics().explore(0..8, |env| {
            schedules.fetch_add(1, Ordering::Relaxed);
            let kind = race(env, [a, b], Duration::ZERO);
            assert!(kind == a.outcome() || kind == b.outcome(), "{a:?} beside {b:?}: {kind:?}");
        });
    }
    figure(
        "I34",
        format_args!("{pairs} pairs of causes in order, {schedules:?} schedules, each one outcome and the first cause"),
    );
}

/// How a run ends at one second.
const EXITS: [(&str, OutcomeKind); 8] = [
    ("success", OutcomeKind::Completed),
    ("error", OutcomeKind::Failed),
    ("fatal", OutcomeKind::Fatal),
    ("own end", OutcomeKind::Cancelled),
    ("panic", OutcomeKind::Panicked),
    ("attempt timeout", OutcomeKind::TimedOut),
    ("silence", OutcomeKind::HeartbeatLost),
    ("max runtime", OutcomeKind::TimedOut),
];

fn ending(how: &'static str, gauge: &Gauge) -> TaskSpec {
    let gauge = gauge.clone();
    let spec = TaskSpec::blocking("one", move |cx: &TaskContext| {
        gauge.run(|| match how {
            "attempt timeout" | "silence" | "max runtime" => cx.token().wait(),
            _ => _ = wait_until(SECOND, || None::<()>),
        });
        match how {
            "error" => Err("no".into()),
            "fatal" => Err(Fatal::new("never").into()),
            "own end" => Err(SelfCancelled.into()),
            "panic" => panic!("by itself"),
            _ => Ok(()),
        }
    });
    let spec = spec.backoff(Backoff::constant(MILLISECOND * 10));
    match how {
        "attempt timeout" => spec.attempt_timeout(SECOND),
        "silence" => spec.watchdog(SECOND / 2),
        "max runtime" => spec.max_runtime(SECOND),
        _ => spec,
    }
}

/// I35: eight ends by three policies, left alone and stopped before: who stops a task ends it, whatever its run does then.
#[test]
fn table_of_ends_and_policies() {
    let policies =
        [RestartPolicy::Never, RestartPolicy::OnFailure, RestartPolicy::Always { interval: MILLISECOND * 10 }];
    let mut cells = 0;
    for ((how, kind), policy) in EXITS.into_iter().flat_map(|exit| policies.map(|policy| (exit, policy))) {
        for is_stopped in [false, true] {
            cells += 1;
            TestEnvironment::builder().workers(5).baton().allow_panics().explore(0..4, |env| {
                let supervisor = Supervisor::builder(env.pool()).grace(SECOND * 5).build().expect("valid");
                let gauge = Gauge::default();
                let task = supervisor.submit(ending(how, &gauge).restart(policy)).expect("there is room");
                env.advance(SECOND / 2);
                if is_stopped {
                    assert!(task.remove());
                }
                env.advance(MILLISECOND * 700);
                let fails = matches!(how, "error" | "panic" | "attempt timeout" | "silence");
                let again = match policy {
                    RestartPolicy::Never => false,
                    RestartPolicy::OnFailure => fails,
                    _ => fails || how == "success",
                };
                let goes_on = again && !is_stopped;
                let cell = format!("{how}, {policy:?}, stopped: {is_stopped}");
                assert_eq!((gauge.runs(), task.is_alive()), (1 + usize::from(goes_on), goes_on), "{cell}");
                if !goes_on {
                    let told = task.outcome().join().expect("there is one").kind();
                    assert_eq!(told, if is_stopped { OutcomeKind::Cancelled } else { kind }, "{cell}");
                }
                supervisor.shutdown().expect("from outside");
            });
        }
    }
    figure("I35", format_args!("{cells} cells"));
}
