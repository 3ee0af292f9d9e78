//! Scopes and jobs: parallel work that the caller waits for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use overstrand::testing::{Faults, TestEnvironment, check_conservation, yield_point};
use overstrand::{CancelToken, JoinError, MainThreadTaskRunner, SequenceBound, TaskTraits, ThreadMode, sometimes};

use crate::AnyResult;

const SECOND: Duration = Duration::from_secs(1);

// ---- scopes ----------------------------------------------------------------------------------------------------------

/// All tasks are over when the call returns, those posted by tasks too; each ran once, in a context of its own.
#[test]
fn scope_ends_when_all_its_tasks_have() {
    TestEnvironment::builder().workers(3).faults(Faults::none().yields(0.3)).baton().explore(0..200, |env| {
        let mut parts = vec![vec![3, 1, 2]; 8];
        let (ran, elsewhere) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let here = std::thread::current().id();
        env.pool().scope(|s| {
            for part in &mut parts {
                let (ran, elsewhere) = (&ran, &elsewhere);
                s.post_task(move || {
                    part.sort();
                    yield_point("in a task of a scope");
                    assert!(overstrand::current::location().is_some_and(|site| site.file().ends_with("scopes.rs")));
                    assert!(overstrand::current::runner().is_none());
                    elsewhere.fetch_add(usize::from(std::thread::current().id() != here), Ordering::SeqCst);
                    s.post_task(move || _ = ran.fetch_add(1, Ordering::SeqCst));
                });
            }
        });
        assert!(parts.iter().all(|part| part == &[1, 2, 3]));
        assert_eq!(ran.load(Ordering::SeqCst), 8);
        let elsewhere = elsewhere.load(Ordering::SeqCst);
        sometimes!(elsewhere > 0 && elsewhere < 8, "workers and the caller share the work");
        check_conservation(env.pool().stats()).expect("it adds up");
    });
}

/// A scope needs no worker: inside the only one, behind a fence, after the shutdown.
#[test]
fn scope_ends_without_any_worker() -> AnyResult {
    let env = TestEnvironment::builder().workers(1).build();
    let pool = env.pool().clone();
    let inner = pool.clone();
    let sum = pool.spawn(move || {
        let (mut left, mut right) = (0, 0);
        inner.scope(|s| {
            s.post_task(|| left = 1);
            s.post_task(|| right = 2);
        });
        left + right
    });
    assert_eq!(sum.join()?, 3);
    let fence = pool.fence();
    assert_eq!(pool.scope(|s| s.spawn(|| 5).join())?, 5);
    drop(fence);
    pool.shutdown()?;
    let mut ran = false;
    pool.scope(|s| s.post_task(|| ran = true));
    assert!(ran);
    Ok(())
}

/// The first panic is the scope's, when all are over; a spawned task's panic is its handle's.
#[test]
fn panic_of_a_task_comes_out_of_the_scope() {
    TestEnvironment::builder().workers(2).baton().explore(0..50, |env| {
        let ran = AtomicUsize::new(0);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            env.pool().scope(|s| {
                s.post_task(|| panic!("one of them"));
                let ran = &ran;
                (0..4).for_each(|_| s.post_task(move || _ = ran.fetch_add(1, Ordering::SeqCst)));
            });
        }));
        assert_eq!(caught.expect_err("it panics").downcast_ref(), Some(&"one of them"));
        assert_eq!(ran.load(Ordering::SeqCst), 4);
        let joined = env.pool().scope(|s| s.spawn(|| panic!("mine")).join());
        assert!(matches!(joined, Err(JoinError::Panicked(panic)) if panic.message() == Some("mine")));
    });
}

/// A panic of the closure itself: what has not started is dropped, what runs is waited for.
#[test]
fn panic_of_the_closure_drops_what_has_not_started() {
    let env = TestEnvironment::builder().workers(1).build();
    let held = Arc::new(());
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        env.pool().scope(|s| {
            let held = Arc::clone(&held);
            s.post_task(move || drop(held));
            panic!("in the closure");
        });
    }));
    assert_eq!(caught.expect_err("it panics").downcast_ref(), Some(&"in the closure"));
    assert_eq!(Arc::strong_count(&held), 1);
}

/// The first error ends the rest: what has not started never does, what runs is told, the error comes back.
#[test]
fn first_error_cancels_what_has_not_started() {
    TestEnvironment::builder().workers(2).faults(Faults::none().yields(0.5)).baton().explore(0..200, |env| {
        let (ran, told) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let failed: Result<(), String> = env.pool().try_scope(|s| {
            let (ran, told) = (&ran, &told);
            s.post_task(move || {
                yield_point("before the end");
                told.fetch_add(usize::from(overstrand::current::cancel_token().is_cancelled()), Ordering::SeqCst);
                Ok(())
            });
            s.post_task(|| Err(String::from("broken")));
            for _ in 0..6 {
                s.post_task(move || {
                    ran.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                });
            }
            Ok(())
        });
        assert_eq!(failed, Err(String::from("broken")));
        sometimes!(ran.load(Ordering::SeqCst) < 6, "some never started");
        sometimes!(told.load(Ordering::SeqCst) == 1, "one that ran was told");
        let early: Result<(), &str> = env.pool().try_scope(|s| {
            let handle = s.spawn(|| 1);
            let cancelled = s.spawn(|| 2);
            assert_eq!(handle.join().ok(), Some(1));
            drop(cancelled);
            Err("at once")
        });
        assert_eq!(early, Err("at once"));
        let fine: Result<i32, String> = env.pool().try_scope(|s| {
            s.post_task(|| Ok(()));
            Ok(7)
        });
        assert_eq!(fine, Ok(7));
    });
}

// ---- calls to a thread -----------------------------------------------------------------------------------------------

/// A synchronous call to a runner with a thread runs there, may borrow, and is over when it returns.
#[test]
fn call_to_a_thread_borrows() {
    TestEnvironment::builder().workers(2).baton().explore(0..50, |env| {
        let traits = TaskTraits::default();
        let ui = env.pool().create_single_thread_task_runner(traits, ThreadMode::Dedicated).expect("a thread");
        let mut text = String::from("one");
        let (there, length) = ui
            .run_sync(|| {
                text.push_str(" two");
                (std::thread::current().id(), ui.is_current().then_some(text.len()))
            })
            .expect("open");
        assert_ne!(there, std::thread::current().id());
        assert_eq!((length, text.as_str()), (Some(7), "one two"));
        let panicked = ui.run_sync(|| panic!("there"));
        assert!(matches!(panicked, Err(JoinError::Panicked(_))));
        let inner = ui.clone();
        let own = ui.run_sync(|| matches!(inner.run_sync(|| ()), Err(JoinError::WouldDeadlock)));
        assert_eq!(own.ok(), Some(true));
        env.pool().shutdown().expect("outside");
        assert!(matches!(ui.run_sync(|| text.clear()), Err(JoinError::Rejected(_))));
        assert_eq!(text, "one two");
    });
}

/// SEQ-11: a cycle through a thread is an error: strand, thread, strand.
#[test]
fn cycle_through_a_thread_is_an_error() {
    TestEnvironment::builder().workers(2).baton().explore(0..50, |env| {
        let traits = TaskTraits::default();
        let seq = env.pool().create_sequenced_task_runner(traits);
        let ui = env.pool().create_single_thread_task_runner(traits, ThreadMode::Dedicated).expect("a thread");
        let cycle = seq.run_sync(|| ui.run_sync(|| seq.run_sync(|| ()))).expect("open").expect("open");
        assert!(matches!(cycle, Err(JoinError::WouldDeadlock)));
        let joined = seq.run_sync(|| ui.run_sync(|| seq.spawn(|| ()).join())).expect("open").expect("open");
        assert!(matches!(joined, Err(JoinError::WouldDeadlock)));
    });
}

/// State on a single-thread runner may be called synchronously from anywhere.
#[test]
fn state_on_a_thread_is_called_there() {
    TestEnvironment::builder().workers(2).baton().explore(0..50, |env| {
        let ui = env.pool().create_single_thread_task_runner(TaskTraits::default(), ThreadMode::Dedicated);
        let names = SequenceBound::new(&ui.expect("a thread"), vec![String::from("ann")]);
        let key = String::from("ann");
        assert_eq!(names.call_sync(|names| names.contains(&key)).ok(), Some(true));
        assert_eq!(names.call(|names| names.len()).join().ok(), Some(1));
    });
}

/// A thread that pumps a runner cannot wait for it: nothing would run meanwhile.
#[test]
fn wait_for_the_pumped_thread_on_itself_is_an_error() {
    let main = MainThreadTaskRunner::new();
    let ui = main.runner();
    let handle = ui.spawn(|| 1);
    assert!(matches!(ui.run_sync(|| ()), Err(JoinError::WouldDeadlock)));
    assert_eq!(ui.flush(), Err(overstrand::WaitError::WouldDeadlock));
    assert!(matches!(handle.join(), Err(JoinError::WouldDeadlock)));
}

// ---- jobs ------------------------------------------------------------------------------------------------------------

struct Work {
    next: AtomicUsize,
    total: AtomicUsize,
    done: Mutex<Vec<usize>>,
    inside: AtomicUsize,
    most: AtomicUsize,
}

impl Work {
    fn new(total: usize) -> Arc<Self> {
        Arc::new(Self {
            next: AtomicUsize::new(0),
            total: AtomicUsize::new(total),
            done: Mutex::default(),
            inside: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        })
    }

    fn left(&self) -> usize {
        self.total.load(Ordering::SeqCst).saturating_sub(self.next.load(Ordering::SeqCst))
    }

    fn take(&self) -> Option<usize> {
        let less = |next: usize| (next < self.total.load(Ordering::SeqCst)).then_some(next + 1);
        self.next.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).ok()
    }

    /// One item per call of the body.
    fn step(&self, worker: usize) {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(worker < 3, "numbers are dense");
        self.most.fetch_max(inside, Ordering::SeqCst);
        yield_point("inside the job");
        if let Some(item) = self.take() {
            self.done.lock().expect("no panic").push(item);
        }
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Every item is done once, by at most as many as are wanted and the pool has, and the joiner helps.
#[test]
fn job_does_every_item_once() {
    TestEnvironment::builder().workers(2).faults(Faults::none().yields(0.5)).baton().explore(0..300, |env| {
        let work = Work::new(9);
        let (asked, body) = (Arc::clone(&work), Arc::clone(&work));
        let job = env.pool().post_job(
            TaskTraits::default(),
            move |workers| asked.left().min(2 - workers.min(2)) + workers,
            move |delegate| body.step(delegate.worker_id()),
        );
        assert!(job.join().is_ok());
        let mut done = work.done.lock().expect("no panic").clone();
        done.sort_unstable();
        assert_eq!(done, (0..9).collect::<Vec<_>>());
        sometimes!(work.most.load(Ordering::SeqCst) > 1, "two at once");
    });
}

/// Work that is added later is done after a call, with nobody waiting; none is left behind.
#[test]
fn added_work_is_done_after_a_call() {
    TestEnvironment::builder().workers(2).baton().faults(Faults::none().yields(0.5)).explore(0..300, |env| {
        let work = Work::new(1);
        let (asked, body) = (Arc::clone(&work), Arc::clone(&work));
        let job = env.pool().post_job(
            TaskTraits::default(),
            move |workers| asked.left() + workers,
            move |delegate| body.step(delegate.worker_id()),
        );
        for _ in 0..4 {
            work.total.fetch_add(1, Ordering::SeqCst);
            job.notify();
            yield_point("between calls");
        }
        env.run_until_idle();
        assert_eq!(work.done.lock().expect("no panic").len(), 5);
        assert!(job.is_finished());
    });
}

/// Cancelling keeps the body from being called again and tells who is in it; a panic cancels and is told; a wait inside is an error.
#[test]
fn job_ends_by_cancel_or_panic() {
    TestEnvironment::builder().workers(2).baton().explore(0..100, |env| {
        let seen = CancelToken::new();
        let tell = seen.clone();
        let endless = env.pool().post_job(
            TaskTraits::default(),
            |_| 1,
            move |delegate| {
                while !delegate.should_yield() {
                    assert!(!CancelToken::new().wait_timeout(SECOND));
                }
                tell.cancel();
            },
        );
        env.advance(SECOND * 3);
        endless.cancel();
        assert!(matches!(endless.join(), Err(JoinError::Cancelled)) && seen.is_cancelled());
        let panics = env.pool().post_job(TaskTraits::default(), |_| 1, |_| panic!("a bug"));
        assert!(matches!(panics.join(), Err(JoinError::Panicked(panic)) if panic.message() == Some("a bug")));
        let asks = env.pool().post_job(TaskTraits::default(), |_| panic!("no answer"), |_| ());
        assert!(matches!(asks.join(), Err(JoinError::Panicked(_))));
    });
}

/// A job inside the only worker, and after a shutdown, is done by who joins it; a job can be awaited, and timed.
#[test]
fn joiner_needs_no_worker() -> AnyResult {
    let env = TestEnvironment::builder().workers(1).build();
    let pool = env.pool().clone();
    let count = |pool: &overstrand::ThreadPool| {
        let work = Work::new(3);
        let (asked, body) = (Arc::clone(&work), Arc::clone(&work));
        let wanted = move |workers| asked.left() + workers;
        let job = pool.post_job(TaskTraits::default(), wanted, move |delegate| body.step(delegate.worker_id()));
        (job, work)
    };
    let inner = pool.clone();
    let done = pool.spawn(move || {
        let (job, work) = count(&inner);
        job.join().map(|()| work.done.lock().expect("no panic").len())
    });
    assert_eq!(done.join()??, 3);
    let (mut timed, _) = count(&pool);
    assert!(matches!(timed.join_timeout(SECOND), Some(Ok(()))));
    let (awaited, _) = count(&pool);
    assert!(pool.spawn_future(awaited).join()?.is_ok());
    pool.shutdown()?;
    let (late, work) = count(&pool);
    late.join()?;
    assert_eq!(work.done.lock().expect("no panic").len(), 3);
    Ok(())
}
