//! Supervised tasks: how runs end, what comes next, what is delivered (SUP-1, SUP-4 to SUP-7).

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{
    Backoff, Exhausted, Fatal, Jitter, JoinError, Outcome, RestartPolicy, Schedule, SelfCancelled, SupervisedTask,
    Supervisor, TaskContext, TaskResult, TaskSpec, TaskStatus,
};

use crate::AnyResult;

const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn supervisor(env: &TestEnvironment) -> Supervisor {
    Supervisor::builder(env.pool()).grace(SECOND).build().expect("valid")
}

/// Counts the runs that are under way, and how many there were.
#[derive(Clone, Default)]
pub(crate) struct Gauge(Arc<(AtomicUsize, AtomicUsize, AtomicUsize)>);

impl Gauge {
    /// Runs `f` as one run.
    pub(crate) fn run<T>(&self, f: impl FnOnce() -> T) -> T {
        let now = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.1.fetch_add(1, Ordering::SeqCst);
        self.0.2.fetch_max(now, Ordering::SeqCst);
        let value = f();
        self.0.0.fetch_sub(1, Ordering::SeqCst);
        value
    }

    /// One run, until the answer is dropped.
    pub(crate) fn hold(&self) -> Held {
        self.run(|| ());
        let now = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.2.fetch_max(now, Ordering::SeqCst);
        Held(self.clone())
    }

    pub(crate) fn runs(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }

    pub(crate) fn live(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }

    /// The most that were under way at once.
    pub(crate) fn most(&self) -> usize {
        self.0.2.load(Ordering::SeqCst)
    }
}

/// A run that is under way.
pub(crate) struct Held(Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// SUP-4: a result is delivered once; who asks again is told that it is taken.
#[test]
fn outcome_is_delivered_once() {
    TestEnvironment::explore(0..100, |env| {
        let supervisor = supervisor(env);
        let task = supervisor.submit(TaskSpec::blocking("seven", |_| Ok(7))).expect("there is room");
        assert_eq!((task.id().to_string().as_str(), task.name()), ("#1", "seven"));
        let outcome = task.outcome();
        assert!(matches!(task.outcome().join(), Err(JoinError::Taken)));
        assert_eq!(outcome.join().expect("it ends").completed(), Some(7));
        task.wait_ended(SECOND).expect("it has");
        assert_eq!((task.status(), task.uptime(), supervisor.is_alive("seven")), (TaskStatus::Ended, None, false));
        let stats = supervisor.stats();
        assert_eq!((stats.submitted, stats.completed, stats.places, stats.running), (1, 1, 0, 0));
    });
}

/// SUP-5, SUP-6: attempts = retries + 1, the delays are exact, and the last error downcasts.
#[test]
fn retries_follow_the_backoff() -> AnyResult {
    let env = TestEnvironment::with_seed(1);
    let supervisor = supervisor(&env);
    let began = Arc::new(Mutex::new(Vec::new()));
    let (clock, noted) = (env.now(), Arc::clone(&began));
    assert_eq!(clock, Duration::ZERO);
    let spec = TaskSpec::<()>::blocking("fails", move |cx: &TaskContext| {
        noted.lock().expect("no panic").push((cx.attempt(), cx.generation()));
        Err(io::Error::from(io::ErrorKind::NotFound).into())
    });
    let spec = spec.max_retries(3).backoff(Backoff::exponential(SECOND).max(SECOND * 3));
    let task = supervisor.submit(spec)?;
    let Outcome::Failed(error) = task.outcome().join()? else { panic!("it failed") };
    assert_eq!(error.downcast_ref::<io::Error>().map(io::Error::kind), Some(io::ErrorKind::NotFound));
    assert_eq!(env.now(), SECOND * 6, "1 s, 2 s, 3 s");
    assert_eq!(*began.lock().expect("no panic"), [(1, 1), (2, 2), (3, 3), (4, 4)]);
    assert_eq!(task.errors().iter().map(|record| record.attempt).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!((supervisor.stats().failed, supervisor.stats().retried), (1, 3));
    Ok(())
}

/// SUP-5: what is fatal, and what ends itself, is not tried again; a panic is.
#[test]
fn fatal_and_own_ends_are_final_a_panic_is_not() -> AnyResult {
    let env = TestEnvironment::with_seed(2);
    let supervisor = supervisor(&env);
    let fatal = supervisor.submit(TaskSpec::<()>::blocking("fatal", |_| Err(Fatal::new("no such port").into())))?;
    let Outcome::Fatal(error) = fatal.outcome().join()? else { panic!("it is fatal") };
    assert_eq!(error.to_string(), "no such port");
    let own = supervisor.submit(TaskSpec::<()>::blocking("own", |_| Err(SelfCancelled.into())))?;
    assert!(matches!(own.outcome().join()?, Outcome::Cancelled));
    assert_eq!(env.now(), Duration::ZERO);
    let gauge = Gauge::default();
    let counted = gauge.clone();
    let panics = TaskSpec::<()>::blocking("panics", move |_| counted.run(|| panic!("out of paper"))).max_retries(1);
    let panics = supervisor.submit(panics)?;
    let Outcome::Panicked(panicked) = panics.outcome().join()? else { panic!("it panicked") };
    assert_eq!((panicked.message(), gauge.runs()), (Some("out of paper"), 2));
    assert_eq!(panics.last_error().map(|error| error.to_string()).as_deref(), Some("the run panicked: out of paper"));
    Ok(())
}

/// SUP-1: an explicit word beats the default, also `None`.
#[test]
fn explicit_beats_inherited() -> AnyResult {
    let env = TestEnvironment::with_seed(3);
    let supervisor = Supervisor::builder(env.pool()).max_retries(0).restart(RestartPolicy::OnFailure).build()?;
    let fails = || TaskSpec::<()>::blocking("fails", |_| Err("no".into()));
    supervisor.submit(fails())?.outcome().join()?;
    assert_eq!(env.now(), Duration::ZERO, "the default allows no retry");
    let task = supervisor.submit(fails().max_retries(None).max_runtime(SECOND))?;
    assert!(matches!(task.outcome().join()?, Outcome::TimedOut));
    assert_eq!((env.now(), supervisor.stats().retried), (SECOND, 10), "one each 100 ms");
    Ok(())
}

/// SUP-6: success and a healthy run end a streak.
#[test]
fn healthy_run_ends_the_streak() -> AnyResult {
    let env = TestEnvironment::builder().seed(4).baton().build();
    let supervisor = supervisor(&env);
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&attempts);
    let spec = TaskSpec::<()>::blocking("flaps", move |cx| {
        noted.lock().expect("no panic").push(cx.attempt());
        if cx.generation() == 3 {
            cx.sleep(SECOND * 10);
        }
        Err("again".into())
    });
    let task = supervisor.submit(spec.healthy_after(SECOND * 10).max_retries(2))?;
    task.outcome().join()?;
    assert_eq!(
        *attempts.lock().expect("no panic"),
        [1, 2, 3, 2, 3],
        "the third was healthy, and its failure the first of a streak"
    );
    Ok(())
}

/// SUP-4a, SUP-5: `Always` waits its interval after success only.
#[test]
fn always_waits_after_success_only() -> AnyResult {
    let env = TestEnvironment::with_seed(5);
    let supervisor = supervisor(&env);
    let times = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&times);
    let spec = TaskSpec::blocking("sync", move |_| {
        let mut times = counted.lock().expect("no panic");
        *times += 1;
        if *times == 2 { Err("once".into()) } else { Ok(()) }
    });
    let task = supervisor.submit(spec.restart(RestartPolicy::Always { interval: SECOND * 60 }))?;
    env.advance(SECOND * 60);
    assert_eq!(*times.lock().expect("no panic"), 2);
    env.advance(Duration::from_millis(100));
    assert_eq!((*times.lock().expect("no panic"), task.status()), (3, TaskStatus::Waiting));
    env.advance(SECOND * 59);
    assert_eq!(*times.lock().expect("no panic"), 3);
    assert!(task.cancel());
    assert!(matches!(task.outcome().join()?, Outcome::Cancelled));
    Ok(())
}

/// SUP-1: ticks of a schedule, each at its instant, whatever failed in between.
#[test]
fn periodic_task_ticks() -> AnyResult {
    let env = TestEnvironment::with_seed(6);
    let supervisor = supervisor(&env);
    let gauge = Gauge::default();
    let counted = gauge.clone();
    let task = supervisor.submit(TaskSpec::periodic("flush", Schedule::every(SECOND * 10), move |_| {
        counted.run(|| if counted.runs() == 2 { Err("once".into()) } else { Ok(()) })
    }))?;
    env.advance(SECOND * 9);
    assert_eq!(gauge.runs(), 0);
    env.advance(SECOND);
    assert_eq!(gauge.runs(), 1);
    env.advance(SECOND * 10);
    assert_eq!(gauge.runs(), 2);
    env.advance(SECOND);
    assert_eq!(gauge.runs(), 3, "the retry after the backoff");
    env.advance(SECOND * 9);
    assert_eq!(gauge.runs(), 4, "on the grid");
    assert!(task.remove() && !task.remove());
    assert_eq!(env.next_delay(), None, "nothing is left behind");
    Ok(())
}

/// A restart by hand is a run more, and takes no tick away; while the start is delayed it is the start.
#[test]
fn restart_by_hand_is_a_run_more() -> AnyResult {
    let env = TestEnvironment::with_seed(6);
    let supervisor = supervisor(&env);
    let gauge = Gauge::default();
    let counted = gauge.clone();
    let spec = TaskSpec::periodic("flush", Schedule::every(SECOND * 10), move |_| counted.run(|| Ok(())));
    let task = supervisor.submit(spec.start_delay(SECOND * 100))?;
    env.advance(SECOND);
    for (wait, runs) in [(0, 1), (9, 1), (1, 2), (3, 2)] {
        if wait == 0 {
            assert!(task.restart());
        }
        env.advance(SECOND * wait);
        assert_eq!(gauge.runs(), runs);
    }
    assert!(task.restart());
    for (wait, runs) in [(6, 3), (1, 4), (9, 4), (1, 5)] {
        env.advance(SECOND * wait);
        assert_eq!(gauge.runs(), runs);
    }
    assert!(task.remove());
    Ok(())
}

/// SUP-7: too many restarts are slowed down, or given up.
#[test]
fn too_many_restarts_are_too_many() -> AnyResult {
    let env = TestEnvironment::with_seed(7);
    let supervisor = supervisor(&env);
    let fails = |name: &'static str| {
        let spec = TaskSpec::<()>::blocking(name, |_| Err("no".into()));
        spec.backoff(Backoff::constant(SECOND))
    };
    let gives_up = supervisor.submit(fails("a").intensity(3, SECOND * 60, Exhausted::GiveUp))?;
    assert!(matches!(gives_up.outcome().join()?, Outcome::Failed(_)));
    assert_eq!(env.now(), SECOND * 3, "the fourth restart is one too many");
    let slow = supervisor.submit(fails("b").intensity(3, SECOND * 60, Exhausted::SlowRestart(SECOND * 30)))?;
    env.advance(SECOND * 32);
    let generation = |supervisor: &Supervisor| supervisor.tasks()[0].generation;
    assert_eq!(generation(&supervisor), 4);
    env.advance(SECOND);
    assert_eq!(generation(&supervisor), 5);
    assert!(slow.cancel());
    Ok(())
}

/// SUP-1: a future is polled on the pool; its result, its retries and its cancel are those of any task.
#[test]
fn future_is_a_body() {
    TestEnvironment::explore(0..100, |env| {
        let supervisor = supervisor(env);
        let spec = TaskSpec::future("poll", |cx: TaskContext| async move {
            let mut seen = 0_u64;
            while seen < cx.generation() {
                assert!(cx.sleep_async(SECOND).await);
                seen += 1;
            }
            if seen < 3 { Err("again".into()) } else { Ok(seen) }
        });
        let task = supervisor.submit(spec.backoff(Backoff::constant(SECOND))).expect("there is room");
        assert_eq!(task.outcome().join().expect("it ends").completed(), Some(3));
        assert_eq!(env.now(), SECOND * 8);
        let sleeps = TaskSpec::<()>::future("sleeps", |cx| async move {
            while cx.sleep_async(SECOND).await {}
            Ok(())
        });
        let sleeps = supervisor.submit(sleeps).expect("there is room");
        env.run_until_idle();
        assert_eq!(sleeps.status(), TaskStatus::Running);
        assert!(sleeps.cancel());
        assert!(matches!(sleeps.outcome().join(), Ok(Outcome::Cancelled)));
        assert_eq!(env.now(), SECOND * 8);
    });
}

/// SUP-6: the same seed throws the same dice.
#[test]
fn jitter_is_the_seeds() {
    let delays = |seed| {
        let env = TestEnvironment::with_seed(seed);
        let supervisor = supervisor(&env);
        let spec = TaskSpec::<()>::blocking("fails", |_| Err("no".into())).max_retries(5);
        let task = supervisor.submit(spec.backoff(Backoff::exponential(SECOND).jitter(Jitter::Full))).expect("room");
        task.outcome().join().expect("it ends");
        env.now()
    };
    assert_eq!(delays(1), delays(1));
    assert!((0..20).any(|seed| delays(seed) != delays(1)));
}

/// SUP-11: names are unique while held, numbers are never given twice.
#[test]
fn names_are_free_again_numbers_are_not() {
    TestEnvironment::explore(0..50, |env| {
        let supervisor = supervisor(env);
        let waits =
            || -> TaskSpec { TaskSpec::future("one", |cx| async move { Ok(_ = cx.sleep_async(SECOND * 9).await) }) };
        let first = supervisor.submit(waits()).expect("there is room");
        let refused = supervisor.submit(waits()).expect_err("the name is taken");
        assert_eq!(refused.to_string(), "one was not taken: a task of that name is there");
        assert_eq!(refused.into_spec().name(), "one");
        assert!(supervisor.find("one").expect("it is there").cancel());
        let second = supervisor.submit(waits()).expect("the name is free");
        assert_eq!((first.id().to_string(), second.id().to_string()), ("#1".into(), "#2".into()));
        assert!(second.cancel() && !first.cancel());
    });
}

/// SUP-1: nonsense is refused with the field, and the spec comes back.
#[test]
fn nonsense_is_refused() {
    fn work(_: &TaskContext) -> TaskResult {
        Ok(())
    }
    let env = TestEnvironment::with_seed(8);
    let supervisor = supervisor(&env);
    let spec = TaskSpec::blocking("x", work);
    let error = supervisor.submit(spec.backoff(Backoff::constant(SECOND).factor(0.5))).expect_err("it shrinks");
    let overstrand::SubmitError::Invalid(spec, error) = error else { panic!("{error}") };
    assert_eq!((error.field(), error.value()), ("factor", "0.5"));
    let error = supervisor.submit(spec.backoff(Backoff::default()).watchdog(Duration::ZERO)).expect_err("no time");
    assert_eq!(
        error.to_string(),
        "x was not taken: watchdog = 0ns: must be longer than zero; without a limit it is `None`"
    );
    for schedule in
        [Schedule::fixed_delay(Duration::ZERO), Schedule::any([SECOND.into(), Schedule::every(Duration::ZERO)])]
    {
        let refused = supervisor.submit(TaskSpec::periodic("y", schedule, work)).expect_err("no rhythm");
        let overstrand::SubmitError::Invalid(_, refused) = refused else { panic!("{refused}") };
        assert_eq!((refused.field(), refused.value()), ("schedule", "0ns"));
    }
    assert!(Supervisor::builder(env.pool()).capacity(0).build().is_err());
    let error: overstrand::Error = error.into();
    assert!(matches!(error, overstrand::Error::Build(_)));
}

/// All of a batch, more than there is room for.
#[test]
fn batch_runs_to_its_end() {
    TestEnvironment::explore(0..50, |env| {
        let supervisor = Supervisor::builder(env.pool()).capacity(2).build().expect("valid");
        let gauge = Gauge::default();
        let specs = (0..10).map(|number| {
            let gauge = gauge.clone();
            TaskSpec::blocking(format!("convert {number}"), move |_| gauge.run(|| Ok(())))
        });
        let outcomes = supervisor.run(specs).expect("it runs");
        assert!(outcomes.len() == 10 && outcomes.iter().all(Outcome::is_completed));
        assert!(gauge.runs() == 10 && gauge.most() <= 2);
    });
}

/// A future that fails again and again, at once, until it may succeed; it counts its runs.
fn failing(
    gauge: &Gauge,
    env: &TestEnvironment,
    mut is_over: impl FnMut() -> bool + Send + 'static,
) -> (Supervisor, SupervisedTask) {
    let builder = Supervisor::builder(env.pool()).backoff(Backoff::constant(Duration::ZERO));
    let builder = builder.intensity(0, SECOND, Exhausted::SlowRestart(Duration::ZERO));
    let gauge = gauge.clone();
    let spec = TaskSpec::future("again", move |_| {
        let result = if gauge.run(&mut is_over) { Ok(()) } else { Err("again".into()) };
        async move { result }
    });
    let supervisor = builder.build().expect("valid");
    let task = supervisor.submit(spec).expect("there is room");
    (supervisor, task)
}

/// SEQ-4, SUP-6: runs that follow at once are a few in one turn, and then others have theirs.
#[test]
fn future_that_restarts_at_once_takes_turns() {
    TestEnvironment::builder().workers(1).explore(0..20, |env| {
        let (gauge, had_turn) = (Gauge::default(), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&had_turn);
        let (_supervisor, task) = failing(&gauge, env, move || seen.load(Ordering::SeqCst) > 0);
        env.pool().post_task(move || _ = had_turn.fetch_add(1, Ordering::SeqCst)).expect("it is accepted");
        assert!(task.outcome().join().expect("it ends").is_completed());
        assert!((2..=16).contains(&gauge.runs()), "{} runs before somebody else", gauge.runs());
    });
}

/// CTL-1: a run that would follow at once does not start while a fence is held.
#[test]
fn fence_comes_between_runs() {
    TestEnvironment::explore(0..20, |env| {
        let (gauge, pool, fence) = (Gauge::default(), env.pool().clone(), Arc::new(Mutex::new(None)));
        let (held, mut runs) = (Arc::clone(&fence), 0);
        let (_supervisor, task) = failing(&gauge, env, move || {
            runs += 1;
            if runs == 3 {
                *held.lock().expect("no panic") = Some(pool.fence());
            }
            runs == 5
        });
        env.run_until_idle();
        assert_eq!((gauge.runs(), task.status()), (3, TaskStatus::Running));
        drop(fence.lock().expect("no panic").take());
        env.run_until_idle();
        assert_eq!((gauge.runs(), task.status()), (5, TaskStatus::Ended));
    });
}
