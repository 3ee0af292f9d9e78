//! SHUT: the end of a pool.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use overstrand::{Close, JoinError, RejectReason, ShutdownBehavior, TaskTraits, ThreadPool, WaitError};

use crate::{Gate, pool, wait_until};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Queued,
    Running,
    Delayed,
    PostedDuring,
    PostedAfter,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Ran,
    Dropped,
    Rejected,
    /// Still running when the shutdown was over.
    Straggled,
}

/// SHUT-1, SHUT-2: the whole matrix, on the pool itself and on a sequence.
#[test]
fn shutdown_matrix() {
    use End::*;
    use ShutdownBehavior::*;
    use When::*;
    let table = [
        (
            ContinueOnShutdown,
            [
                (Queued, Dropped),
                (Running, Straggled),
                (Delayed, Dropped),
                (PostedDuring, Rejected),
                (PostedAfter, Rejected),
            ],
        ),
        (
            SkipOnShutdown,
            [(Queued, Dropped), (Running, Ran), (Delayed, Dropped), (PostedDuring, Rejected), (PostedAfter, Rejected)],
        ),
        (
            BlockShutdown,
            [(Queued, Ran), (Running, Ran), (Delayed, Dropped), (PostedDuring, Ran), (PostedAfter, Rejected)],
        ),
    ];
    for (behavior, row) in table {
        for (when, expected) in row {
            for on_sequence in [false, true] {
                assert_eq!(end_of(behavior, when, on_sequence), expected, "{behavior:?}, {when:?}, {on_sequence}");
            }
        }
    }
}

fn traits_of(behavior: ShutdownBehavior) -> TaskTraits {
    match behavior {
        ShutdownBehavior::ContinueOnShutdown => TaskTraits::default().continue_on_shutdown(),
        ShutdownBehavior::SkipOnShutdown => TaskTraits::default().skip_on_shutdown(),
        ShutdownBehavior::BlockShutdown => TaskTraits::default().block_shutdown(),
    }
}

/// Notes that it was dropped.
struct Noted(Arc<AtomicUsize>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What becomes of one task of that behaviour in that state when its pool is shut down.
fn end_of(behavior: ShutdownBehavior, when: When, on_sequence: bool) -> End {
    let pool = pool(2);
    let sequence = pool.create_sequenced_task_runner(traits_of(behavior));
    let (ran, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (open, opened) = mpsc::channel::<()>();
    let (tell, started) = mpsc::channel();
    let (noted, counted) = (Noted(Arc::clone(&dropped)), Arc::clone(&ran));
    let task = move || {
        let _noted = noted;
        let _ = tell.send(());
        if when == When::Running {
            let _ = opened.recv();
        }
        counted.fetch_add(1, Ordering::SeqCst);
    };
    let post = |task: Box<dyn FnOnce() + Send>| match (on_sequence, when) {
        (true, When::Delayed) => sequence.post_delayed_task(Duration::from_secs(3600), task).is_ok(),
        (true, _) => sequence.post_task(task).is_ok(),
        (false, When::Delayed) => {
            pool.task().traits(traits_of(behavior)).delay(Duration::from_secs(3600)).post(task).is_ok()
        }
        (false, _) => pool.post_task_with(traits_of(behavior), task).is_ok(),
    };
    // Both workers are held by tasks that are waited for, so that what is queued stays queued; one only when the task shall run.
    let held = if when == When::Running { 1 } else { 2 };
    let gates: Vec<_> =
        (0..held).map(|_| Gate::close_with(&pool, TaskTraits::user_blocking().block_shutdown())).collect();
    let mut accepted = true;
    if matches!(when, When::Queued | When::Running | When::Delayed) {
        accepted = post(Box::new(task));
        if when == When::Running {
            started.recv().expect("it starts");
        }
        shut_down(&pool, gates, open, when == When::Running && behavior == ShutdownBehavior::ContinueOnShutdown, || ());
    } else if when == When::PostedDuring {
        let mut slot = Some(task);
        shut_down(&pool, gates, open, false, || accepted = post(Box::new(slot.take().expect("once"))));
    } else {
        shut_down(&pool, gates, open, false, || ());
        accepted = post(Box::new(task));
    }
    let (ran, dropped) = (ran.load(Ordering::SeqCst), dropped.load(Ordering::SeqCst));
    match (accepted, ran, dropped) {
        (false, 0, 1) => End::Rejected,
        (true, 1, 1) => End::Ran,
        (true, 0, 1) => End::Dropped,
        (true, 0, 0) => End::Straggled,
        other => panic!("{other:?}"),
    }
}

/// Shuts down, runs `during` once it has started, then opens the gates; `keeps_running` leaves the task itself in its gate.
fn shut_down(pool: &ThreadPool, gates: Vec<Gate>, open: mpsc::Sender<()>, keeps_running: bool, during: impl FnOnce()) {
    let ending = pool.clone();
    let ending = std::thread::spawn(move || ending.shutdown().expect("outside"));
    wait_until(|| pool.post_task(|| ()).is_err());
    during();
    gates.into_iter().for_each(Gate::open);
    if !keeps_running {
        drop(open);
        let report = ending.join().expect("no panic");
        assert!(report.stragglers.is_empty(), "{report:?}");
        return;
    }
    let report = ending.join().expect("no panic");
    assert_eq!(report.stragglers.len(), 1, "{report:?}");
    std::mem::forget(open);
}

/// SHUT-3: with a deadline it ends by then and names who still runs; the shutdown goes on and gives its final report.
#[test]
fn deadline_names_the_stragglers() {
    let pool = pool(2);
    let (open, opened) = mpsc::channel::<()>();
    let (tell, started) = mpsc::channel();
    let line = line!() + 5;
    let hold = move || {
        tell.send(()).expect("listening");
        let _ = opened.recv();
    };
    pool.task().name("stubborn").post(hold).expect("open");
    started.recv().expect("it starts");
    let begun = Instant::now();
    let report = pool.shutdown_timeout(Duration::from_millis(30)).expect("outside");
    assert!(begun.elapsed() >= Duration::from_millis(30));
    let [straggler] = &report.stragglers[..] else { panic!("{report:?}") };
    assert_eq!((straggler.name.as_deref(), straggler.location.line()), (Some("stubborn"), line));
    assert!(straggler.running_for >= Duration::from_millis(30));
    drop(open);
    let last = pool.shutdown().expect("outside");
    assert_eq!((last.ran, last.dropped, last.stragglers.len()), (1, 0, 0));
}

/// SHUT-3: every caller gets the same report, at once and later.
#[test]
fn concurrent_callers_get_the_same_report() {
    let pool = pool(2);
    for _ in 0..100 {
        pool.post_task(|| ()).expect("open");
    }
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let pool = pool.clone();
            std::thread::spawn(move || pool.shutdown().expect("outside"))
        })
        .collect();
    let reports: Vec<_> = callers.into_iter().map(|caller| caller.join().expect("no panic")).collect();
    let again = pool.shutdown().expect("outside");
    assert!(reports.iter().all(|report| (report.ran, report.dropped) == (again.ran, again.dropped)));
    assert_eq!(again.ran + again.dropped, 100);
}

/// SHUT-4, CTL-2: from inside a task it is an error, and the pool goes on.
#[test]
fn shutdown_from_inside_is_an_error() {
    let pool = pool(1);
    let own = pool.clone();
    let inside = pool.spawn(move || {
        let timed = own.shutdown_timeout(Duration::ZERO).map(|_| ());
        (own.shutdown().map(|_| ()), timed, own.flush())
    });
    let refused = Err(WaitError::WouldDeadlock);
    assert_eq!(inside.join().expect("runs"), (refused, refused, refused));
    assert!(pool.post_task(|| ()).is_ok());
}

/// SHUT-5: dropping the last handle waits, and joins the threads.
#[test]
fn last_handle_waits_and_joins() {
    let stopped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&stopped);
    let hook = move |_: &str| _ = count.fetch_add(1, Ordering::SeqCst);
    let pool = ThreadPool::builder().workers(3).on_thread_stop(hook).build().expect("threads");
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    let task = move || _ = count.fetch_add(1, Ordering::SeqCst);
    pool.post_task_with(TaskTraits::default().block_shutdown(), task).expect("open");
    drop(pool);
    assert_eq!((ran.load(Ordering::SeqCst), stopped.load(Ordering::SeqCst)), (1, 3));
    assert_eq!(Arc::strong_count(&ran), 1);
}

/// SHUT-5: inside a task the last handle starts the shutdown and does not wait.
#[test]
fn last_handle_inside_a_task_does_not_wait() {
    for workers in [1, 2] {
        let (tell, told) = mpsc::channel();
        let hook = move |_: &str| _ = tell.send(());
        let pool = ThreadPool::builder().workers(workers).on_thread_stop(hook).build().expect("threads");
        let (hand_over, handed_over) = mpsc::channel::<ThreadPool>();
        pool.post_task(move || drop(handed_over.recv())).expect("open");
        hand_over.send(pool).expect("the task waits");
        assert_eq!(told.iter().count(), workers, "all threads end by themselves");
    }
}

/// CTL-2: flush waits for what is posted meanwhile, and ends when shutdown takes it away.
#[test]
fn flush_waits_for_what_is_posted_meanwhile() {
    let pool = pool(2);
    let ran = Arc::new(AtomicUsize::new(0));
    fn fan_out(pool: &ThreadPool, ran: &Arc<AtomicUsize>, depth: u32) {
        ran.fetch_add(1, Ordering::Relaxed);
        for _ in 0..if depth == 0 { 0 } else { 2 } {
            let (inner, counted) = (pool.clone(), Arc::clone(ran));
            let _ = pool.post_task(move || fan_out(&inner, &counted, depth - 1));
        }
    }
    for round in 1..=20 {
        let (inner, counted) = (pool.clone(), Arc::clone(&ran));
        pool.post_task(move || fan_out(&inner, &counted, 8)).expect("open");
        pool.flush().expect("nothing is dropped");
        assert_eq!(ran.load(Ordering::Relaxed), round * 511);
    }
}

/// A future that is spawned while its runner or its pool ends is told and dropped, though nobody wakes it.
#[test]
fn future_spawned_while_its_runner_ends_is_told() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    for round in 0..100 {
        let pool = ThreadPool::builder().workers(2).build()?;
        let strand = pool.create_sequenced_task_runner(TaskTraits::default());
        let (owned, is_closing) = (Arc::new(()), round % 2 == 0);
        let spawner = std::thread::spawn({
            let (pool, strand, owned) = (pool.clone(), strand.clone(), Arc::clone(&owned));
            move || {
                let never = || {
                    let owned = Arc::clone(&owned);
                    async move {
                        let _owned = owned;
                        std::future::pending::<()>().await;
                    }
                };
                let mut handles = Vec::new();
                while !pool.is_shutting_down() && !strand.is_closed() && handles.len() < 500 {
                    handles.push(strand.spawn_future(never()));
                    if !is_closing {
                        handles.push(pool.spawn_future(never()));
                    }
                }
                handles.push(strand.spawn_future(never()));
                handles
            }
        });
        if is_closing {
            strand.close(Close::Discard);
        } else {
            pool.shutdown()?;
        }
        for handle in spawner.join().expect("no panic") {
            let error = handle.join().expect_err("it is never ready");
            let is_expected = match error {
                JoinError::Cancelled => is_closing,
                JoinError::ShutDown => !is_closing,
                JoinError::Rejected(RejectReason::Closed) => is_closing,
                JoinError::Rejected(RejectReason::ShutDown) => !is_closing,
                _ => false,
            };
            assert!(is_expected, "{error:?}");
        }
        pool.shutdown()?;
        assert_eq!(Arc::strong_count(&owned), 1);
        let stats = pool.stats();
        assert_eq!(stats.posted, stats.ran + stats.dropped);
    }
    Ok(())
}

/// SHUT-3: a thread that polls is never blocked, and gets the report that all get.
#[test]
fn shutdown_is_awaited_by_another_pool() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (pool, other) = (ThreadPool::builder().workers(2).build()?, ThreadPool::builder().workers(1).build()?);
    for _ in 0..100 {
        pool.post_task(|| ())?;
    }
    pool.wait_idle(Duration::from_secs(60))?;
    let report = other.spawn_future(pool.shutdown_async()).join()??;
    assert_eq!((report.ran, report.dropped, report.stragglers.len()), (100, 0, 0));
    assert_eq!(pool.shutdown()?.ran, 100);
    Ok(())
}
