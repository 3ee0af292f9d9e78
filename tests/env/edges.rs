//! Edges of the promises: calls into sequences, runners behind a trait, parallel runners.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use overstrand::testing::{TestEnvironment, check_conservation};
use overstrand::{
    BoxedTask, CancelToken, DelayedTaskHandle, JoinError, Overflow, ParallelTaskRunner, Priority, RejectReason,
    Rejected, SequencedTaskRunner, TaskRunner, TaskTraits, WaitError, current,
};

use crate::notes::{Log, note, seen, strand};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

fn bounded_parallel(env: &TestEnvironment, capacity: usize, policy: Overflow) -> ParallelTaskRunner {
    let builder = ParallelTaskRunner::builder(env.pool()).max_concurrency(1).capacity(capacity, policy);
    builder.build().expect("valid")
}

// ---- calls into a sequence: what the thread is inside of is forgotten --------------------------------------------------

/// SEQ-9, SEQ-11: a task of `a` that calls into `b` and flushes `a` there waits for itself: `WouldDeadlock`, never a hang.
#[test]
fn flush_through_a_call_is_an_error() {
    let env = TestEnvironment::builder().baton().build();
    let (a, b) = (strand(&env), strand(&env));
    let own = a.clone();
    let inside = a.spawn(move || b.run_sync(|| own.flush()));
    assert_eq!(inside.join().expect("it runs").expect("open"), Err(WaitError::WouldDeadlock));
}

/// HND-4: so does one that joins a task of `a` there.
#[test]
fn join_through_a_call_is_an_error() {
    let env = TestEnvironment::builder().baton().build();
    let (a, b) = (strand(&env), strand(&env));
    let own = a.clone();
    let inside = a.spawn(move || b.run_sync(|| own.spawn(|| ()).join().map_err(|error| error.to_string())));
    assert!(inside.join().expect("it runs").expect("open").is_err());
}

/// SEQ-9 for parallel runners: "`WouldDeadlock` inside a task of the runner".
#[test]
fn flush_of_a_parallel_runner_through_a_call_is_an_error() {
    let env = TestEnvironment::builder().baton().build();
    let (limited, strand) =
        (env.pool().create_parallel_task_runner(TaskTraits::default(), 2).expect("valid"), strand(&env));
    let own = limited.clone();
    let inside = limited.spawn(move || strand.run_sync(|| own.flush()));
    assert_eq!(inside.join().expect("it runs").expect("open"), Err(WaitError::WouldDeadlock));
}

/// CTL-2: a call that a foreign thread makes is a task of the pool, so a flush of the pool in it waits for itself.
#[test]
fn pool_flush_inside_a_call_of_a_foreign_thread_is_an_error() {
    let env = TestEnvironment::builder().baton().build();
    let (strand, pool) = (strand(&env), env.pool());
    assert_eq!(strand.run_sync(|| pool.flush()).expect("open"), Err(WaitError::WouldDeadlock));
}

/// SHUT-4: and a shutdown, which waits for the call.
#[test]
fn shutdown_inside_a_call_of_a_foreign_thread_is_an_error() {
    let env = TestEnvironment::builder().baton().build();
    let (strand, pool) = (strand(&env), env.pool());
    assert!(strand.run_sync(|| pool.shutdown().map(drop)).expect("open").is_err());
}

/// SEQ-8: "True inside the tasks of this pool, those of its runners included".
#[test]
fn pool_is_current_inside_a_call_of_a_foreign_thread() {
    let env = TestEnvironment::with_seed(0);
    let pool = env.pool();
    assert!(strand(&env).run_sync(|| pool.is_current()).expect("open"));
}

/// POST-7: a post to the own full queue never blocks, on any queue policy.
#[test]
fn self_post_inside_a_call_never_blocks() {
    let env = TestEnvironment::builder().baton().build();
    let bounded = SequencedTaskRunner::builder(env.pool()).capacity(1, Overflow::Block).build().expect("valid");
    let answers = bounded.run_sync(|| [(); 2].map(|()| bounded.post_task(|| ()).is_ok()));
    assert_eq!(answers.expect("open"), [true, false]);
}

/// POST-3: the chain of sites goes through a call, whether the sequence was idle or busy.
#[test]
fn chain_goes_through_a_call() {
    let env = TestEnvironment::builder().workers(2).baton().build();
    let seq = strand(&env);
    for is_busy in [false, true] {
        let go = CancelToken::new();
        let waits = go.clone();
        if is_busy {
            seq.post_task(move || waits.wait()).expect("open");
            env.run_until_idle();
        }
        let called = seq.clone();
        let sites = env.pool().spawn(move || called.run_sync(|| current::locations().count()));
        env.run_until_idle();
        go.cancel();
        assert_eq!(sites.join().expect("it runs").expect("open"), 2, "busy: {is_busy}");
    }
}

// ---- `dyn TaskRunner` ----------------------------------------------------------------------------------------------------

fn any(runner: &SequencedTaskRunner) -> Arc<dyn TaskRunner> {
    Arc::new(runner.clone())
}

/// HND-2: a task that the shutdown dropped says so, whichever way it was posted.
#[test]
fn task_spawned_on_any_runner_says_that_it_was_shut_down() {
    let env = TestEnvironment::with_seed(0);
    let queued = any(&strand(&env)).spawn(|| ());
    env.pool().shutdown().expect("outside");
    assert!(matches!(queued.join(), Err(JoinError::ShutDown)));
}

/// POST-6, CTL-3: its panic is counted and reported, too.
#[test]
fn panic_of_a_task_spawned_on_any_runner_is_counted() {
    let told = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&told);
    let hook = move |_: &overstrand::PanicReport| _ = counted.fetch_add(1, Ordering::SeqCst);
    let env = TestEnvironment::builder().allow_panics().pool(|pool| pool.on_panic(hook)).build();
    let seq = strand(&env);
    assert!(any(&seq).spawn(|| panic!("text")).join().is_err());
    assert_eq!((seq.stats().panicked, told.load(Ordering::SeqCst)), (1, 1));
}

/// POST-2: one that is cancelled before it starts counts as dropped, not as run.
#[test]
fn cancelled_task_of_any_runner_counts_as_dropped() {
    let env = TestEnvironment::with_seed(0);
    let seq = strand(&env);
    assert!(any(&seq).spawn(|| ()).cancel());
    env.run_until_idle();
    assert_eq!((seq.stats().ran, seq.stats().dropped), (0, 1));
}

/// Counted before the result is seen, so that who has the result finds it counted.
#[test]
fn task_of_any_runner_is_counted_before_its_result_is_seen() {
    struct Looks(SequencedTaskRunner, AtomicUsize);
    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            self.1.store(self.0.stats().ran as usize, Ordering::SeqCst);
        }
    }
    let env = TestEnvironment::with_seed(0);
    let seq = strand(&env);
    for is_any in [false, true] {
        let before = seq.stats().ran as usize;
        let looks = Arc::new(Looks(seq.clone(), AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&looks));
        let mut handle = if is_any { any(&seq).spawn(|| ()) } else { seq.spawn(|| ()) };
        assert!(std::pin::Pin::new(&mut handle).poll(&mut Context::from_waker(&waker)).is_pending());
        env.run_until_idle();
        assert_eq!(looks.1.load(Ordering::SeqCst), before + 1, "any: {is_any}");
    }
}

struct Passes(Arc<dyn TaskRunner>);

impl TaskRunner for Passes {
    fn post_boxed(&self, task: BoxedTask) -> Result<(), Rejected<BoxedTask>> {
        self.0.post_boxed(task)
    }

    fn post_boxed_delayed(&self, delay: Duration, task: BoxedTask) -> Result<DelayedTaskHandle, Rejected<BoxedTask>> {
        self.0.post_boxed_delayed(delay, task)
    }

    fn is_current(&self) -> bool {
        self.0.is_current()
    }
}

/// HND-4: through a user's wrapper, too, joining work of one's own sequence is an error and no hang.
#[test]
fn joining_the_own_sequence_through_a_wrapper_is_an_error() {
    let env = TestEnvironment::builder().baton().build();
    let own: Arc<dyn TaskRunner> = Arc::new(Passes(any(&strand(&env))));
    let again = Arc::clone(&own);
    let inside = own.spawn(move || matches!(again.spawn(|| ()).join(), Err(JoinError::WouldDeadlock)));
    assert!(inside.join().expect("it runs"));
}

// ---- parallel runners: `CallerRuns`, `DropOldest`, priorities, limits of waits ------------------------------------------------

/// SEQ-8: a task of a parallel runner is one, though the caller runs it: the caller's sequence is not current in it.
#[test]
fn caller_runs_in_the_context_of_the_runner() {
    let env = TestEnvironment::with_seed(0);
    let (seq, limited) = (strand(&env), bounded_parallel(&env, 1, Overflow::CallerRuns));
    let (own, target) = (seq.clone(), limited.clone());
    let inside = seq.spawn(move || {
        target.post_task(|| ()).expect("there is room");
        let (own, runner) = (own.clone(), target.clone());
        target.spawn(move || (runner.is_current(), own.is_current(), current::runner().is_some())).join()
    });
    assert_eq!(inside.join().expect("it runs").expect("it runs"), (true, false, false));
}

/// POST-3, POST-9: it has a site, and is counted.
#[test]
fn caller_runs_a_task_that_is_counted_and_has_a_site() {
    let env = TestEnvironment::with_seed(0);
    let limited = bounded_parallel(&env, 1, Overflow::CallerRuns);
    limited.post_task(|| ()).expect("there is room");
    let has_site = limited.spawn(|| current::location().is_some()).join().expect("run here");
    env.run_until_idle();
    check_conservation(limited.stats()).expect("it adds up");
    assert_eq!((has_site, limited.stats().posted, limited.stats().ran), (true, 2, 2));
}

/// POST-6: its panic does not go through the poster.
#[test]
fn panic_of_a_task_that_the_caller_runs_spares_the_caller() {
    let env = TestEnvironment::builder().allow_panics().build();
    let limited = bounded_parallel(&env, 1, Overflow::CallerRuns);
    limited.post_task(|| ()).expect("there is room");
    let posted =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| limited.post_task(|| panic!("text")).is_ok()));
    assert!(posted.is_ok_and(|is_accepted| is_accepted));
}

/// SHUT-2: during a shutdown what does not block it is refused, and not run by the caller.
#[test]
fn caller_runs_nothing_during_a_shutdown() {
    let env = TestEnvironment::builder().baton().build();
    let (limited, go) = (bounded_parallel(&env, 1, Overflow::CallerRuns), CancelToken::new());
    let waits = go.clone();
    limited.post_task(move || waits.wait()).expect("open");
    env.run_until_idle();
    limited.post_task(|| ()).expect("there is room");
    env.pool().shutdown_timeout(SECOND).expect("outside");
    let posted = limited.post_task(|| ()).map_err(|rejected| rejected.reason());
    go.cancel();
    assert_eq!(posted, Err(RejectReason::ShutDown));
}

/// POST-9: "Drops the task that has waited longest".
#[test]
fn drop_oldest_drops_the_one_that_has_waited_longest() {
    let env = TestEnvironment::with_seed(0);
    let (limited, log) = (bounded_parallel(&env, 2, Overflow::DropOldest), Log::default());
    limited.task().priority(Priority::BestEffort).post(note(&log, "oldest")).expect("there is room");
    limited.task().priority(Priority::UserBlocking).post(note(&log, "urgent")).expect("there is room");
    limited.post_task(note(&log, "newest")).expect("accepted");
    env.run_until_idle();
    assert_eq!(seen(&log), ["urgent", "newest"]);
}

/// POST-9: `DropOldest` accepts at once, also while a flush waits, which holds back what is posted. It spins instead until the flush is over.
#[test]
fn drop_oldest_does_not_wait_for_a_flush() {
    let env = TestEnvironment::builder().workers(2).baton().allow_foreign_threads().build();
    let (limited, go) = (bounded_parallel(&env, 1, Overflow::DropOldest), CancelToken::new());
    let waits = go.clone();
    limited.post_task(move || waits.wait()).expect("open");
    let flusher = limited.clone();
    let flush = env.pool().spawn(move || flusher.flush());
    env.run_until_idle();
    let (tell, told) = mpsc::channel();
    let poster = std::thread::spawn(move || {
        limited.post_task(|| ()).expect("there is room, behind the flush");
        limited.post_task(|| ()).expect("accepted");
        let _ = tell.send(());
    });
    let came_back = told.recv_timeout(SECOND * 2);
    go.cancel();
    env.run_until_idle();
    poster.join().expect("it does not panic");
    let _ = flush.join();
    assert!(came_back.is_ok(), "the post has waited for the flush");
}

/// POST-9, SHUT-1: for a post that is refused nothing is dropped: least of all a task that blocks the shutdown.
#[test]
fn refused_post_drops_nothing_for_its_room() {
    let env = TestEnvironment::builder().workers(2).baton().build();
    let bounded = SequencedTaskRunner::builder(env.pool()).capacity(1, Overflow::DropOldest).build().expect("valid");
    let (go, log, blocks) = (CancelToken::new(), Log::default(), TaskTraits::default().block_shutdown());
    let waits = go.clone();
    bounded.task().traits(blocks).post(move || waits.wait()).expect("open");
    env.run_until_idle();
    bounded.task().traits(blocks).post(note(&log, "blocks the shutdown")).expect("there is room");
    env.pool().shutdown_timeout(SECOND).expect("outside");
    assert_eq!(bounded.post_task(|| ()).map_err(|rejected| rejected.reason()), Err(RejectReason::ShutDown));
    go.cancel();
    env.pool().shutdown().expect("outside");
    assert_eq!(seen(&log), ["blocks the shutdown"]);
}

/// "For at most `limit` of monotonic time": also when another flush has to end first.
#[test]
fn wait_for_a_parallel_runner_ends_with_its_limit() {
    let env = TestEnvironment::builder().workers(3).baton().build();
    let limited = env.pool().create_parallel_task_runner(TaskTraits::default(), 1).expect("valid");
    limited.post_task(|| _ = CancelToken::new().wait_timeout(SECOND * 10)).expect("open");
    env.run_until_idle();
    let other = limited.clone();
    let first = env.pool().spawn(move || other.wait_idle(MILLI * 900));
    env.run_until_idle();
    assert_eq!((limited.wait_idle(SECOND), env.now()), (Err(WaitError::TimedOut), SECOND));
    assert!(first.join().is_ok());
}

/// PRI-1, PRI-3: a place that was taken for an urgent task runs no less urgent ones before others' more urgent work.
#[test]
fn place_of_an_urgent_task_is_not_urgent_for_others() {
    let env = TestEnvironment::builder().workers(1).build();
    let limited = env.pool().create_parallel_task_runner(TaskTraits::best_effort(), 1).expect("valid");
    let log = Log::default();
    limited.task().priority(Priority::UserBlocking).post(note(&log, "urgent")).expect("open");
    (0..3).for_each(|_| limited.post_task(note(&log, "own")).expect("open"));
    env.pool().post_task(note(&log, "other")).expect("open");
    env.run_until_idle();
    assert_eq!(seen(&log), ["urgent", "other", "own", "own", "own"]);
}
