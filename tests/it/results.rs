//! HND: results and cancelling.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use overstrand::{CancelReason, CancelToken, JoinError, RejectReason, TaskTraits};

use crate::{Gate, pool, wait_until};

struct Unparks(Thread);

impl Wake for Unparks {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives a future on this thread, as any executor would.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unparks(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// HND-1: blocking, timed, polled and awaited; once.
#[test]
fn result_is_handed_out_once() {
    let pool = pool(1);
    let gate = Gate::close(&pool);
    let mut slow = pool.spawn(|| 7);
    assert!(slow.try_join().is_none() && !slow.is_finished());
    assert!(slow.join_timeout(Duration::from_millis(2)).is_none());
    assert!(slow.join_timeout(Duration::ZERO).is_none());
    gate.open();
    assert!(matches!(slow.join_timeout(Duration::MAX), Some(Ok(7))));
    assert!(slow.is_finished());
    assert!(matches!(slow.try_join(), Some(Err(JoinError::Taken))));
    assert!(matches!(slow.join(), Err(JoinError::Taken)));
    assert_eq!(block_on(pool.spawn(|| 8)).expect("runs"), 8);
    assert_eq!(block_on(async { pool.spawn(|| 9).await }).expect("runs"), 9);
}

/// HND-2: shut down, rejected, cancelled.
#[test]
fn each_reason_has_its_own_error() {
    let pool = pool(1);
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    let gate = Gate::close(&pool);
    let (cancelled, dropped, on_strand) = (pool.spawn(|| 1), pool.spawn(|| 2), strand.spawn(|| 3));
    assert!(cancelled.cancel() && !cancelled.cancel());
    assert!(matches!(cancelled.join(), Err(JoinError::Cancelled)));
    let ending = pool.clone();
    let ending = std::thread::spawn(move || ending.shutdown());
    wait_until(|| pool.post_task(|| ()).is_err());
    gate.open();
    ending.join().expect("no panic").expect("outside");
    assert!(matches!(dropped.join(), Err(JoinError::ShutDown)));
    assert!(matches!(on_strand.join(), Err(JoinError::ShutDown)));
    assert!(matches!(pool.spawn(|| 4).join(), Err(JoinError::Rejected(RejectReason::ShutDown))));
    assert!(matches!(strand.spawn(|| 5).join(), Err(JoinError::Rejected(RejectReason::ShutDown))));
}

/// HND-1: dropping detaches; `cancel_on_drop` cancels.
#[test]
fn dropped_handle_detaches() {
    let pool = pool(1);
    let (tell, told) = mpsc::channel();
    let gate = Gate::close(&pool);
    let second = tell.clone();
    drop(pool.spawn(move || tell.send("detached").expect("listening")));
    drop(pool.spawn(move || second.send("cancelled").expect("listening")).cancel_on_drop());
    gate.open();
    assert_eq!(told.iter().collect::<Vec<_>>(), ["detached"]);
}

/// DLY-2, HND-5: cancelling a running task signals its own token and says that it runs.
#[test]
fn running_task_hears_that_it_is_cancelled() {
    let pool = pool(1);
    let (tell, started) = mpsc::channel();
    let handle = pool.spawn(move || {
        tell.send(()).expect("listening");
        let token = overstrand::current::cancel_token();
        token.wait();
        token.reason()
    });
    started.recv().expect("it starts");
    assert!(!handle.cancel());
    assert_eq!(handle.join().expect("it ends by itself"), Some(CancelReason::Cancelled));
    assert!(!overstrand::current::cancel_token().is_cancelled());
}

/// HND-3: a worker that waits is replaced: a pool of one joins what it posted, many levels deep.
#[test]
fn waiting_worker_is_replaced() {
    fn nested(pool: &overstrand::ThreadPool, depth: u32) -> u32 {
        let inner = pool.clone();
        if depth == 0 { 0 } else { pool.spawn(move || nested(&inner, depth - 1) + 1).join().expect("runs") }
    }
    let pool = pool(1);
    for _ in 0..5 {
        assert_eq!(nested(&pool, 20), 20);
    }
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    let waits = strand.clone();
    assert_eq!(pool.spawn(move || waits.spawn(|| 7).join().expect("runs")).join().expect("runs"), 7);
}

/// HND-3: a thread that waits runs no foreign task.
#[test]
fn waiting_thread_runs_nothing_else() {
    let pool = pool(1);
    let outer = pool.clone();
    let ids = pool.spawn(move || {
        let own = std::thread::current().id();
        let others: Vec<_> = (0..20).map(|_| outer.spawn(|| std::thread::current().id())).collect();
        (own, others.into_iter().map(|handle| handle.join().expect("runs")).collect::<Vec<_>>())
    });
    let (own, others) = ids.join().expect("runs");
    assert!(others.iter().all(|id| *id != own));
}

/// HND-4: joining work of one's own sequence from inside it is an error, unless it is done.
#[test]
fn joining_ones_own_sequence_is_an_error() {
    let pool = pool(2);
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    let early = strand.spawn(|| 7);
    strand.flush().expect("quiet");
    let own = strand.clone();
    let inside = strand.spawn(move || {
        let late = own.spawn(|| 8);
        (early.join().ok(), matches!(late.join(), Err(JoinError::WouldDeadlock)))
    });
    assert_eq!(inside.join().expect("runs"), (Some(7), true));
}

/// HND-5: children, guards, deadlines, reasons, waits.
#[test]
fn tokens_form_a_tree() {
    let root = CancelToken::new();
    let (left, right) = (root.child(), root.child());
    let leaf = left.child();
    left.cancel();
    assert_eq!((root.reason(), right.reason()), (None, None));
    assert_eq!((left.reason(), leaf.reason()), (Some(CancelReason::Cancelled), Some(CancelReason::Cancelled)));
    assert!(!right.wait_timeout(Duration::from_millis(2)));
    let waiter = {
        let right = right.clone();
        std::thread::spawn(move || {
            right.wait();
            block_on(right.cancelled());
        })
    };
    drop(root.drop_guard());
    waiter.join().expect("it hears");
    assert!(root.child().is_cancelled());
    let _kept = CancelToken::new().drop_guard().disarm();
}

/// HND-5: a deadline signals, never early, and children hear of it.
#[test]
fn deadline_signals_the_token() {
    let begun = Instant::now();
    let token = CancelToken::with_timeout(Duration::from_millis(20));
    let child = token.child_with_timeout(Duration::from_secs(3600));
    child.wait();
    assert!(begun.elapsed() >= Duration::from_millis(20));
    assert_eq!(child.reason(), Some(CancelReason::DeadlineExceeded));
    assert!(CancelToken::with_deadline(begun).is_cancelled());
    assert!(CancelToken::with_timeout(Duration::ZERO).is_cancelled());
    assert!(!CancelToken::with_timeout(Duration::MAX).is_cancelled());
}

/// A deep chain of tokens neither signals nor ends by recursion.
#[test]
fn deep_chain_of_tokens_is_no_recursion() {
    let root = CancelToken::new();
    let leaf = (0..100_000).fold(root.clone(), |token, _| token.child());
    root.cancel();
    assert!(leaf.is_cancelled());
}
