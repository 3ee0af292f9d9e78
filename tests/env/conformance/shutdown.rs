//! SHUT-1 and SHUT-2: what a shutdown makes of each kind's tasks, by their behaviour and by how far they had come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use overstrand::testing::check_conservation;
use overstrand::{CancelToken, MainThreadTaskRunner, RejectReason, ShutdownBehavior, TaskTraits, WaitError};

use super::kinds::{Runner, Way};
use super::notes::{Log, OnDrop, SECOND};
use super::stage::{Stage, Trial};

const BEHAVIORS: [ShutdownBehavior; 3] =
    [ShutdownBehavior::ContinueOnShutdown, ShutdownBehavior::SkipOnShutdown, ShutdownBehavior::BlockShutdown];

fn traits_of(behavior: ShutdownBehavior) -> TaskTraits {
    let traits = TaskTraits::default();
    match behavior {
        ShutdownBehavior::ContinueOnShutdown => traits.continue_on_shutdown(),
        ShutdownBehavior::SkipOnShutdown => traits.skip_on_shutdown(),
        ShutdownBehavior::BlockShutdown => traits.block_shutdown(),
    }
}

/// Tasks of one behaviour, and what became of each.
struct Tasks<'a, 'b> {
    stage: &'a Stage<'b>,
    traits: TaskTraits,
    ends: Log<(&'static str, &'static str)>,
}

impl<'a, 'b> Tasks<'a, 'b> {
    fn new(stage: &'a Stage<'b>, behavior: ShutdownBehavior) -> Self {
        Self { stage, traits: traits_of(behavior), ends: Log::new() }
    }

    /// A task that does something, and tells whether it ran or was dropped.
    fn task(&self, what: &'static str, f: impl FnOnce() + Send + 'static) -> impl FnOnce() + Send + 'static {
        let (ends, ran) = (self.ends.clone(), Arc::new(AtomicBool::new(false)));
        let runs = Arc::clone(&ran);
        let end = OnDrop(move || ends.push((what, if ran.load(Ordering::SeqCst) { "ran" } else { "dropped" })));
        move || {
            let _end = &end;
            f();
            runs.store(true, Ordering::SeqCst);
        }
    }

    /// Posts it with its traits: said with the task, or those of the runner.
    fn post(&self, delay: Duration, task: impl FnOnce() + Send + 'static) -> Result<(), RejectReason> {
        match &self.stage.runner {
            Runner::Own(own) => {
                on!(own, it => it.task().traits(self.traits).delay(delay).post(task).map_err(|r| r.reason()))
            }
            any => any.post_delayed(delay, task).map(drop).map_err(|rejected| rejected.reason()),
        }
    }

    fn end_of(&self, what: &'static str) -> Vec<&'static str> {
        self.ends.seen().into_iter().filter(|end| end.0 == what).map(|end| end.1).collect()
    }
}

/// A trial of all that can be given traits.
fn trial(behavior: ShutdownBehavior) -> Trial {
    Trial::baton().traits(traits_of(behavior))
}

/// Those that the trait alone does not reach are left out: a pool has no traits of its own.
fn has_traits(stage: &Stage<'_>) -> bool {
    stage.way == Way::Own || !stage.kind.is_pool
}

/// SHUT-1, SHUT-2: {Continue, Skip, Block} × {running, queued, delayed, posted during, posted after}.
#[test]
fn shutdown_treats_each_task_by_its_behaviour() {
    for behavior in BEHAVIORS {
        trial(behavior).of(|kind| !kind.is_pumped).run(|stage| {
            if !has_traits(stage) {
                return;
            }
            let (tasks, go) = (Tasks::new(stage, behavior), CancelToken::new());
            let (waits, blocks) = (go.clone(), behavior == ShutdownBehavior::BlockShutdown);
            tasks.post(Duration::ZERO, tasks.task("running", move || waits.wait())).expect("open");
            stage.env.run_until_idle();
            tasks.post(Duration::ZERO, tasks.task("queued", || ())).expect("open");
            tasks.post(SECOND, tasks.task("delayed", || ())).expect("open");
            let report = stage.env.pool().shutdown_timeout(SECOND * 2).expect("outside");
            assert_eq!(report.stragglers.len(), 1, "{report:?}");
            let continues = behavior == ShutdownBehavior::ContinueOnShutdown;
            assert_eq!(stage.env.now() < SECOND * 2, continues, "nobody waits for those that continue");
            assert_eq!(tasks.end_of("delayed"), ["dropped"]);
            let during = tasks.post(Duration::ZERO, tasks.task("during", || ()));
            assert_eq!(during, if blocks { Ok(()) } else { Err(RejectReason::ShutDown) });
            let late = tasks.post(SECOND, tasks.task("delayed during", || ()));
            assert_eq!(late, Err(RejectReason::ShutDown), "no delay can end before the shutdown does");
            go.cancel();
            let report = stage.env.pool().shutdown().expect("outside");
            stage.env.run_until_idle();
            assert!(continues || report.stragglers.is_empty(), "{report:?}");
            let after = tasks.post(Duration::ZERO, tasks.task("after", || ()));
            assert_eq!(after, Err(RejectReason::ShutDown));
            let end = if blocks { "ran" } else { "dropped" };
            assert_eq!((tasks.end_of("running"), tasks.end_of("queued")), (vec!["ran"], vec![end]));
            assert_eq!((tasks.end_of("during"), tasks.end_of("after")), (vec![end], vec!["dropped"]));
            let stats = stage.stats();
            assert_eq!((stats.queued, stats.delayed, stats.running), (0, 0, 0), "{stats:?}");
            assert_eq!((stats.ran, stats.dropped), if blocks { (3, 1) } else { (1, 2) });
            check_conservation(stage.env.pool().stats()).expect("it adds up");
        });
    }
}

/// SHUT-1, SHUT-2 where the owner of the thread ends it: what blocks the shutdown runs in the drop, and what that posts; the rest is dropped, on that thread.
#[test]
fn end_of_a_main_thread_treats_each_task_by_its_behaviour() {
    for behavior in BEHAVIORS {
        trial(behavior).of(|kind| kind.is_pumped).run(|stage| {
            let (tasks, blocks) = (Tasks::new(stage, behavior), behavior == ShutdownBehavior::BlockShutdown);
            let (inner, own) = (tasks.task("during", || ()), stage.runner.clone());
            let answer = Log::new();
            let told = answer.clone();
            let post = move || told.push(own.post(inner).map_err(|rejected| rejected.reason()));
            tasks.post(Duration::ZERO, tasks.task("queued", post)).expect("open");
            tasks.post(SECOND, tasks.task("delayed", || ())).expect("open");
            stage.shut_down();
            assert_eq!(stage.env.now(), Duration::ZERO);
            let end = if blocks { "ran" } else { "dropped" };
            assert_eq!((tasks.end_of("queued"), tasks.end_of("delayed")), (vec![end], vec!["dropped"]));
            assert_eq!(tasks.end_of("during"), [end]);
            assert!(answer.seen().iter().all(Result::is_ok));
            let after = tasks.post(Duration::ZERO, || ());
            assert_eq!(after, Err(RejectReason::ShutDown));
        });
    }
}

/// SHUT-1: work that blocks the shutdown runs though it is queued behind work that does not, and in its order.
#[test]
fn queue_is_drained_up_to_what_blocks_the_shutdown() {
    Trial::baton().own_type().run(|stage| {
        let log = Log::new();
        for number in 0..6 {
            let behavior =
                if number % 2 == 0 { ShutdownBehavior::SkipOnShutdown } else { ShutdownBehavior::BlockShutdown };
            let (traits, note) = (traits_of(behavior), log.noting(number));
            on!(&stage.own, it => it.task().traits(traits).post(note).expect("open"));
        }
        stage.shut_down();
        let mut seen = log.seen();
        assert!(!stage.kind.is_fifo || seen.is_sorted(), "{seen:?}");
        seen.retain(|number| number % 2 == 1);
        seen.sort_unstable();
        assert_eq!(seen, [1, 3, 5]);
    });
}

/// SHUT-2: a chain of tasks that block the shutdown, each posted by the one before, runs to its end.
#[test]
fn chain_that_blocks_the_shutdown_runs_to_its_end() {
    fn link(runner: Runner, log: Log<u32>, left: u32) -> impl FnOnce() + Send + 'static {
        move || {
            log.push(left);
            if left > 0 {
                let next = link(runner.clone(), log, left - 1);
                runner
                    .post(next)
                    .map_err(|rejected| rejected.reason())
                    .expect("it is not complete before this task ends");
            }
        }
    }
    trial(ShutdownBehavior::BlockShutdown).of(|kind| !kind.is_pool).run(|stage| {
        let log = Log::new();
        stage.runner.post(link(stage.runner.clone(), log.clone(), 5)).expect("open");
        stage.shut_down();
        assert_eq!(log.seen(), [5, 4, 3, 2, 1, 0]);
    });
}

/// SHUT-4, F22: from inside any task of the pool a shutdown is an error, and nothing has been started by it.
#[test]
fn shutdown_from_inside_is_an_error() {
    Trial::plain().of(|kind| !kind.is_pumped).run(|stage| {
        let (pool, log) = (stage.env.pool().clone(), Log::new());
        let told = log.clone();
        let at_the_end = OnDrop(move || {
            told.push(pool.shutdown().map(drop));
            told.push(pool.shutdown_timeout(SECOND).map(drop));
        });
        stage.runner.post(move || drop(at_the_end)).expect("open");
        stage.settle();
        assert_eq!(log.seen(), [Err(WaitError::WouldDeadlock); 2]);
        let alive = stage.runner.spawn(|| 7);
        assert_eq!(stage.joined(alive), 7);
    });
}

/// SHUT-3, F22: twice is once: the second caller gets the same report.
#[test]
fn second_shutdown_gives_the_same_report() {
    Trial::plain().of(|kind| !kind.is_pumped).run(|stage| {
        stage.runner.post(|| ()).expect("open");
        stage.settle();
        stage.runner.post(|| ()).expect("open");
        let first = stage.env.pool().shutdown().expect("outside");
        assert!(stage.runner.post(|| ()).is_err());
        let second = stage.env.pool().shutdown().expect("outside");
        assert_eq!((first.ran, first.dropped), (second.ran, second.dropped));
        assert_eq!((first.ran, first.dropped), (stage.stats().ran, stage.stats().dropped));
    });
}

/// SHUT-6: a fence that is held keeps no shutdown waiting, whatever kind of runner is behind it.
#[test]
fn shutdown_ignores_fences() {
    trial(ShutdownBehavior::BlockShutdown).of(|kind| !kind.is_pumped && !kind.is_pool).run(|stage| {
        let fence = stage.env.pool().fence();
        let log = Log::new();
        stage.runner.post(log.noting(())).expect("open");
        stage.env.run_until_idle();
        assert_eq!(log.len(), 0);
        stage.shut_down();
        assert_eq!(log.len(), 1);
        drop(fence);
    });
}

/// SHUT-5: the drop of a main thread's runner inside a task of somebody else's is a drop like any other.
#[test]
fn main_thread_may_end_inside_a_task_of_a_pool() {
    Trial::baton().own_type().of(|kind| kind.is_pool).run(|stage| {
        let (log, told) = (Log::new(), Log::new());
        let (note, tell) = (log.noting("ran"), told.clone());
        let task = move || {
            let main = MainThreadTaskRunner::new();
            let ui = main.runner();
            ui.post_task(note).expect("open");
            main.run_until_idle();
            let dropped = ui.spawn(|| ());
            drop(main);
            tell.push(dropped.join().is_err() && ui.post_task(|| ()).is_err());
        };
        stage.runner.post(task).expect("open");
        stage.settle();
        assert_eq!((log.seen(), told.seen()), (vec!["ran"], vec![true]));
    });
}
