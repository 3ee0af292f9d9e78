//! Waits in all their forms: blocking, timed, async.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use overstrand::testing::TestEnvironment;
use overstrand::{Close, EventBus, ShutdownReport, TaskTraits, ThreadMode, WaitError};

use crate::AnyResult;

const SECOND: Duration = Duration::from_secs(1);

/// Counts wake-ups; its share count tells who keeps the waker.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

type Waits<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Flushed = Result<(), WaitError>;

fn poll<T>(future: &mut Waits<T>, woken: &Arc<Woken>) -> Poll<T> {
    future.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(woken))))
}

fn explore(f: impl Fn(&TestEnvironment)) {
    for is_baton in [false, true] {
        let builder = TestEnvironment::builder().workers(2);
        let builder = if is_baton { builder.baton() } else { builder };
        builder.explore(0..60, &f);
    }
}

/// SEQ-9, CTL-2: pending while work remains, woken when it is over, and nothing left behind.
#[test]
fn flush_can_be_awaited() {
    explore(|env| {
        let pool = env.pool();
        let strand = pool.create_sequenced_task_runner(TaskTraits::default());
        let thread = pool.create_single_thread_task_runner(TaskTraits::default(), ThreadMode::Dedicated);
        let (thread, limited) =
            (thread.expect("a thread"), pool.create_parallel_task_runner(TaskTraits::default(), 1).expect("valid"));
        let bus = EventBus::new(&strand);
        let ran = Arc::new(AtomicUsize::new(0));
        let count = || {
            let ran = Arc::clone(&ran);
            move || _ = ran.fetch_add(1, Ordering::SeqCst)
        };
        strand.post_task(count()).expect("open");
        thread.post_task(count()).expect("open");
        limited.post_task(count()).expect("open");
        let mut flushes: Vec<Waits<Flushed>> = vec![
            Box::pin(pool.flush_async()),
            Box::pin(strand.flush_async()),
            Box::pin(thread.flush_async()),
            Box::pin(limited.flush_async()),
            Box::pin(bus.flush_async()),
        ];
        let woken = Arc::new(Woken::default());
        assert!(flushes.iter_mut().all(|flush| poll(flush, &woken).is_pending()));
        limited.post_task(count()).expect("open");
        env.run_until_idle();
        assert_eq!(ran.load(Ordering::SeqCst), 3);
        assert!(woken.0.load(Ordering::SeqCst) >= flushes.len());
        let limited_flush = flushes.swap_remove(3);
        drop(limited_flush);
        env.run_until_idle();
        assert_eq!(ran.load(Ordering::SeqCst), 4);
        assert!(flushes.iter_mut().all(|flush| poll(flush, &woken) == Poll::Ready(Ok(()))));
        assert_eq!(Arc::strong_count(&woken), 1);
        let awaited = [pool.spawn_future(strand.flush_async()), pool.spawn_future(limited.flush_async())];
        assert!(awaited.into_iter().all(|flush| matches!(flush.join(), Ok(Ok(())))));
        bus.flush().expect("open");
    });
}

/// A wait that is dropped takes its waker along, and no other wait of the same task.
#[test]
fn dropped_flush_leaves_nothing_behind() {
    explore(|env| {
        let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
        let pause = strand.pause();
        strand.post_task(|| ()).expect("open");
        let woken = Arc::new(Woken::default());
        let mut flushes: [Waits<Flushed>; 4] = [
            Box::pin(strand.flush_async()),
            Box::pin(env.pool().flush_async()),
            Box::pin(strand.flush_async()),
            Box::pin(env.pool().flush_async()),
        ];
        assert!(flushes.iter_mut().all(|flush| poll(flush, &woken).is_pending()));
        let [first, second, mut third, mut fourth] = flushes;
        drop((first, second));
        pause.resume();
        env.run_until_idle();
        assert!(woken.0.load(Ordering::SeqCst) >= 2);
        assert_eq!(poll(&mut third, &woken), Poll::Ready(Ok(())));
        assert_eq!(poll(&mut fourth, &woken), Poll::Ready(Ok(())));
        assert_eq!(Arc::strong_count(&woken), 1);
        let _pause = strand.pause();
        strand.post_task(|| ()).expect("open");
        let mut last: Waits<Flushed> = Box::pin(strand.flush_async());
        assert!(poll(&mut last, &woken).is_pending());
        drop(last);
        assert_eq!(Arc::strong_count(&woken), 1);
    });
}

/// SEQ-9: the typed errors are those of the blocking form.
#[test]
fn awaited_flush_ends_with_the_same_errors() -> AnyResult {
    let env = TestEnvironment::builder().workers(2).build();
    let (pool, strand) = (env.pool().clone(), env.pool().create_sequenced_task_runner(TaskTraits::default()));
    let limited = env.pool().create_parallel_task_runner(TaskTraits::default(), 2)?;
    let own = strand.clone();
    let inside = strand.spawn(move || own.flush_async());
    assert_eq!(pool.spawn_future(inside.join()?).join()?, Err(WaitError::WouldDeadlock));
    assert_eq!(pool.spawn_future(pool.flush_async()).join()?, Err(WaitError::WouldDeadlock));
    assert_eq!(limited.spawn_future(limited.flush_async()).join()?, Err(WaitError::WouldDeadlock));
    // The turn is over between two polls, so this is no wait for oneself.
    assert_eq!(strand.spawn_future(strand.flush_async()).join()?, Ok(()));

    let woken = Arc::new(Woken::default());
    let pause = strand.pause();
    strand.post_task(|| ())?;
    let mut closed: Waits<Flushed> = Box::pin(strand.flush_async());
    assert!(poll(&mut closed, &woken).is_pending());
    strand.close(Close::Discard);
    env.run_until_idle();
    assert_eq!(poll(&mut closed, &woken), Poll::Ready(Err(WaitError::Closed)));
    drop(pause);

    let pause = limited.pause();
    limited.post_task(|| ())?;
    let mut shut: [Waits<Flushed>; 2] = [Box::pin(limited.flush_async()), Box::pin(pool.flush_async())];
    assert!(shut.iter_mut().all(|flush| poll(flush, &woken).is_pending()));
    pool.shutdown()?;
    assert!(shut.iter_mut().all(|flush| poll(flush, &woken) == Poll::Ready(Err(WaitError::ShutDown))));
    drop((shut, pause));
    assert_eq!(Arc::strong_count(&woken), 1);
    Ok(())
}

/// CTL-2: the timed form, in virtual time.
#[test]
fn pool_is_waited_for_so_long() {
    explore(|env| {
        let strand = env.pool().create_sequenced_task_runner(TaskTraits::default());
        let pause = strand.pause();
        strand.post_task(|| ()).expect("open");
        assert_eq!(env.pool().wait_idle(SECOND), Err(WaitError::TimedOut));
        assert_eq!(env.now(), SECOND);
        pause.resume();
        assert_eq!(env.pool().wait_idle(SECOND), Ok(()));
        let fence = env.pool().fence();
        assert_eq!(env.pool().wait_idle(SECOND), Err(WaitError::WouldDeadlock));
        drop(fence);
    });
}

/// SHUT-3, SHUT-4: the shutdown starts with the call; all get one report; inside a task nothing is started.
#[test]
fn shutdown_can_be_awaited() {
    explore(|env| {
        let (pool, strand) = (env.pool().clone(), env.pool().create_sequenced_task_runner(TaskTraits::default()));
        let inside = env.pool().spawn(move || pool.shutdown_async()).join().expect("it runs");
        let mut inside: Waits<Result<ShutdownReport, WaitError>> = Box::pin(inside);
        let woken = Arc::new(Woken::default());
        assert!(matches!(poll(&mut inside, &woken), Poll::Ready(Err(WaitError::WouldDeadlock))));
        drop(inside);
        assert!(!env.pool().is_shutting_down());

        strand.post_task(|| ()).expect("open");
        drop(env.pool().shutdown_async());
        assert!(env.pool().is_shutting_down());
        let mut ends: Waits<Result<ShutdownReport, WaitError>> = Box::pin(env.pool().shutdown_async());
        let report = loop {
            match poll(&mut ends, &woken) {
                Poll::Ready(report) => break report.expect("outside"),
                Poll::Pending => env.run_until_idle(),
            }
        };
        let again = env.pool().shutdown().expect("outside");
        assert_eq!((report.ran, report.dropped), (again.ran, again.dropped));
        assert_eq!(report.ran + report.dropped, 2);
        drop(ends);
        assert_eq!(Arc::strong_count(&woken), 1);
    });
}
