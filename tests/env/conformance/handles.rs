//! HND-1 and HND-2: results, and the reasons why there is none, on every kind of runner.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use overstrand::{CancelToken, Close, JoinError, Overflow, RejectReason, TaskHandle, current};

use super::notes::{Log, SECOND};
use super::stage::Trial;

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// HND-1: joined, tried, with a limit, and asked whether it is over; the result is handed out once.
#[test]
fn result_is_had_in_every_way_and_once() {
    Trial::plain().run(|stage| {
        let mut handle = stage.runner.spawn(|| 7);
        assert!(handle.try_join().is_none() && !handle.is_finished());
        stage.settle();
        assert!(handle.is_finished());
        assert!(matches!(handle.try_join(), Some(Ok(7))));
        assert!(matches!(handle.try_join(), Some(Err(JoinError::Taken))));
        assert!(matches!(handle.join_timeout(SECOND), Some(Err(JoinError::Taken))));
        assert!(handle.is_finished() && matches!(handle.join(), Err(JoinError::Taken)));
        let mut late = stage.runner.spawn(|| 8);
        stage.settle();
        assert!(matches!(late.join_timeout(SECOND), Some(Ok(8))));
    });
}

/// HND-1: the joiner sees all that the task did, and waits no longer than it says.
#[test]
fn joiner_waits_as_long_as_it_says() {
    Trial::baton().of(|kind| !kind.is_pumped).run(|stage| {
        let done = Arc::new(AtomicUsize::new(0));
        let does = Arc::clone(&done);
        let mut handle = stage.runner.spawn(move || {
            let _ = CancelToken::new().wait_timeout(SECOND * 2);
            // Relaxed on purpose: the handle alone orders it.
            does.store(7, Ordering::Relaxed);
        });
        assert!(handle.join_timeout(SECOND).is_none());
        assert_eq!(stage.env.now(), SECOND);
        assert!(handle.join_timeout(SECOND * 60).is_some_and(|answer| answer.is_ok()));
        assert_eq!((stage.env.now(), done.load(Ordering::Relaxed)), (SECOND * 2, 7));
    });
}

/// HND-1: a handle is a future of any executor's, woken once when the result is there.
#[test]
fn handle_is_a_future() {
    Trial::plain().run(|stage| {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let mut handle = pin!(stage.runner.spawn(|| 7));
        assert!(handle.as_mut().poll(&mut context).is_pending());
        assert!(handle.as_mut().poll(&mut context).is_pending());
        stage.settle();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(matches!(handle.as_mut().poll(&mut context), Poll::Ready(Ok(7))));
        assert!(matches!(handle.as_mut().poll(&mut context), Poll::Ready(Err(JoinError::Taken))));
    });
}

/// HND-1: a dropped handle detaches; one that cancels on drop cancels what has not started, and signals what runs.
#[test]
fn dropped_handle_detaches_unless_it_cancels() {
    Trial::plain().run(|stage| {
        let log = Log::new();
        drop(stage.runner.spawn(log.noting("detached")));
        drop(stage.runner.spawn(log.noting("cancelled")).cancel_on_drop());
        let kept = stage.runner.spawn(log.noting("taken")).cancel_on_drop();
        stage.settle();
        kept.join().expect("it has run");
        assert_eq!(log.len(), 2);
        assert!(!log.seen().contains(&"cancelled"));
    });
}

/// HND-1, DLY-2: a cancel before the start is final, twice is once; after the start it signals the task's own token and says that the task runs.
#[test]
fn cancel_says_whether_it_came_in_time() {
    Trial::baton().of(|kind| !kind.is_pumped).run(|stage| {
        let early = stage.runner.spawn(|| 7);
        assert!(early.cancel() && !early.cancel() && early.is_finished());
        assert!(matches!(early.join(), Err(JoinError::Cancelled)));
        let hears = stage.runner.spawn(|| {
            let token = current::cancel_token();
            token.wait();
            token.is_cancelled()
        });
        stage.env.run_until_idle();
        assert!(!hears.cancel() && !hears.cancel(), "it runs");
        assert!(hears.join().expect("its result counts as ever"));
        let over = stage.runner.spawn(|| 8);
        stage.env.run_until_idle();
        assert!(!over.cancel(), "it is over");
        assert_eq!(over.join().expect("it has run"), 8);
    });
}

/// What a handle says about its end.
fn outcome<T>(handle: TaskHandle<T>) -> &'static str {
    assert!(handle.is_finished(), "it has ended");
    match handle.join() {
        Ok(_) => "ok",
        Err(JoinError::Panicked(_)) => "panicked",
        Err(JoinError::Cancelled) => "cancelled",
        Err(JoinError::ShutDown) => "shut down",
        Err(JoinError::Rejected(RejectReason::ShutDown)) => "rejected: shut down",
        Err(JoinError::Rejected(RejectReason::Closed)) => "rejected: closed",
        Err(JoinError::Rejected(RejectReason::Full)) => "rejected: full",
        Err(_) => "something else",
    }
}

/// HND-2: panic, cancel, a token, and a refusal after the shutdown are told apart.
#[test]
fn reasons_are_told_apart() {
    Trial::plain().with(|env| env.allow_panics()).run(|stage| {
        let (fine, panics) = (stage.runner.spawn(|| 7), stage.runner.spawn(|| panic!("text")));
        let cancelled = stage.runner.spawn(|| 7);
        cancelled.cancel();
        let token = CancelToken::new();
        let bound = on!(&stage.own, it => it.task().cancel_with(&token).spawn(|| 7));
        token.cancel();
        stage.settle();
        stage.shut_down();
        let refused = stage.runner.spawn(|| 7);
        assert_eq!([outcome(fine), outcome(panics)], ["ok", "panicked"]);
        assert_eq!([outcome(cancelled), outcome(bound)], ["cancelled"; 2]);
        assert_eq!(outcome(refused), "rejected: shut down");
    });
}

/// HND-2: a task that the shutdown dropped says so; reached by its own type.
#[test]
fn task_dropped_by_the_shutdown_says_so() {
    Trial::plain().own_type().run(|stage| {
        let (queued, named) = (stage.runner.spawn(|| 7), on!(&stage.own, it => it.task().name("b").spawn(|| 7)));
        stage.shut_down();
        assert_eq!([outcome(queued), outcome(named)], ["shut down"; 2]);
    });
}

/// HND-2: dropped by a close and by an overflow is cancelled; refused by a close and by a full queue is a rejection.
#[test]
fn refused_and_dropped_are_told_apart() {
    Trial::plain().of(|kind| kind.is_closable).run(|stage| {
        let dropped = stage.runner.spawn(|| 7);
        stage.own.close(Close::Discard);
        let refused = stage.runner.spawn(|| 7);
        stage.settle();
        assert_eq!([outcome(dropped), outcome(refused)], ["cancelled", "rejected: closed"]);
    });
    let full = |policy| Trial::plain().of(|kind| kind.is_boundable).bound(1, policy);
    full(Overflow::Reject).run(|stage| {
        let (first, refused) = (stage.runner.spawn(|| 7), stage.runner.spawn(|| 7));
        stage.settle();
        assert_eq!([outcome(first), outcome(refused)], ["ok", "rejected: full"]);
    });
    full(Overflow::DropOldest).run(|stage| {
        let (first, second) = (stage.runner.spawn(|| 7), stage.runner.spawn(|| 7));
        stage.settle();
        assert_eq!([outcome(first), outcome(second)], ["cancelled", "ok"]);
    });
}
