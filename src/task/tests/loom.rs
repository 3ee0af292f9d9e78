//! Handles and tokens under the model checker.

use std::future::Future;
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use loom::model::Builder;
use loom::thread;

use crate::error::JoinError;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::task::cancel::CancelToken;
use crate::task::handle::{Packet, PacketBody, TaskHandle};
use crate::task::raw::{Task, Verdict};
use crate::task::site::Site;
use crate::task::traits::{Meta, TaskTraits};

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// A task with a handle, and how often it ran.
fn scene() -> (Task, TaskHandle<usize>, Arc<AtomicUsize>) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let packet = Packet::new(move || counted.fetch_add(1, Ordering::Relaxed) + 7, None, std::panic::Location::caller());
    let site = Site::intern(None, Location::caller());
    let task = Task::new(PacketBody(Arc::clone(&packet)), site, Meta::new(TaskTraits::default()));
    (task, TaskHandle::new(packet), runs)
}

fn run(task: Task) {
    if let Verdict::Deliver(result) = task.run() {
        result.deliver();
    }
}

/// HND-1: a waiter gets the result, whenever it comes. Model of defect Z15.
#[test]
fn loom_waiter_gets_the_result() {
    model(|| {
        let (task, handle, _) = scene();
        let runner = thread::spawn(move || run(task));
        assert_eq!(handle.join().expect("it runs"), 7);
        runner.join().expect("no panic");
    });
}

/// HND-1: polled before, then waited for: the last waker is the one that is woken.
#[test]
fn loom_poll_then_wait_gets_the_result() {
    model(|| {
        let (task, mut handle, _) = scene();
        let runner = thread::spawn(move || run(task));
        let polled = std::pin::Pin::new(&mut handle).poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_pending() {
            assert_eq!(handle.join().expect("it runs"), 7);
        }
        runner.join().expect("no panic");
    });
}

/// DLY-2: cancelled or run, never both, and the handle says which.
#[test]
fn loom_cancel_or_run_but_not_both() {
    model(|| {
        let (task, handle, runs) = scene();
        let runner = thread::spawn(move || run(task));
        let was_cancelled = handle.cancel();
        match handle.join() {
            Ok(_) => assert!(!was_cancelled),
            Err(JoinError::Cancelled) => assert!(was_cancelled),
            Err(other) => panic!("{other}"),
        }
        runner.join().expect("no panic");
        assert_eq!(runs.load(Ordering::Relaxed), usize::from(!was_cancelled));
    });
}

/// HND-1: a handle dropped at any moment leaks and loses nothing; the model checker counts what is left.
#[test]
fn loom_dropped_handle_leaves_nothing_behind() {
    model(|| {
        let (task, handle, runs) = scene();
        let runner = thread::spawn(move || run(task));
        drop(handle);
        runner.join().expect("no panic");
        assert_eq!((runs.load(Ordering::Relaxed), Arc::strong_count(&runs)), (1, 1));
    });
}

/// HND-5: a child made and a wait begun while the parent is cancelled both hear of it.
#[test]
fn loom_child_and_waiter_hear_of_a_cancel() {
    model(|| {
        let parent = CancelToken::new();
        let canceller = thread::spawn({
            let parent = parent.clone();
            move || parent.cancel()
        });
        let child = parent.child();
        child.wait();
        assert!(parent.is_cancelled());
        canceller.join().expect("no panic");
    });
}

/// HND-5: a waiter that registers while the last handle goes is not kept.
#[test]
fn loom_last_handle_and_waiter() {
    struct Wakes;
    impl std::task::Wake for Wakes {
        fn wake(self: Arc<Self>) {}
    }
    model(|| {
        let (parent, kept) = (CancelToken::new(), Arc::new(Wakes));
        let token = parent.child();
        let mut signal = token.cancelled();
        let dropper = thread::spawn(move || drop(parent));
        let _ = pin!(&mut signal).poll(&mut Context::from_waker(&Waker::from(Arc::clone(&kept))));
        drop(token);
        dropper.join().expect("no panic");
        assert_eq!(Arc::strong_count(&kept), 1);
    });
}

/// HND-5: a waiter that gives up takes its entry along and eats nobody's signal.
#[test]
fn loom_waiter_that_gives_up_leaves_the_other_its_signal() {
    model(|| {
        let token = CancelToken::new();
        let waiter = thread::spawn({
            let token = token.clone();
            move || token.wait()
        });
        {
            let signal = pin!(token.cancelled());
            let _ = signal.poll(&mut Context::from_waker(Waker::noop()));
        }
        token.cancel();
        waiter.join().expect("no panic");
    });
}

/// What a loan did is there, and its captures are gone, when `lend` returns, whatever the order.
#[test]
fn loom_a_loan_is_back_before_lend_returns() {
    model(|| {
        let (done, held) = (AtomicUsize::new(0), Arc::new(()));
        let helper = crate::task::loan::lend(
            (),
            |()| {},
            |lender| {
                let (done, mine) = (&done, Arc::clone(&held));
                let loan = lender.give(Box::new(move || {
                    // Relaxed: what `lend` orders.
                    done.store(7, Ordering::Relaxed);
                    drop(mine);
                }));
                thread::spawn(move || loan.call())
            },
        );
        // Relaxed: as above.
        assert_eq!((done.load(Ordering::Relaxed), Arc::strong_count(&held)), (7, 1));
        helper.join().expect("no panic");
    });
}
