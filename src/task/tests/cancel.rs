//! Tokens that nobody can signal any more keep nobody who waits.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::task::cancel::{CancelToken, Cancelled};

/// Counts its wake-ups.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls once; the answer tells whether the waker is still kept by anybody.
fn wait_once(signal: &mut Cancelled) -> Weak<Woken> {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    assert!(Pin::new(signal).poll(&mut Context::from_waker(&waker)).is_pending());
    Arc::downgrade(&woken)
}

fn poll(signal: &mut Cancelled) -> Poll<()> {
    pin!(signal).poll(&mut Context::from_waker(Waker::noop()))
}

/// HND-5: the last handle takes the waiters along; a wait that begins later keeps nothing either.
#[test]
fn token_without_handles_lets_go_of_its_waiters() {
    let token = CancelToken::new();
    let other = token.clone();
    let mut signal = token.cancelled();
    let kept = wait_once(&mut signal);
    drop(token);
    assert_eq!(kept.strong_count(), 1);
    drop(other);
    assert_eq!(kept.strong_count(), 0);
    assert_eq!(wait_once(&mut signal).strong_count(), 0);
    assert!(poll(&mut signal).is_pending());
}

/// A token above can signal it; a token below cannot.
#[test]
fn token_lives_by_those_above_it() {
    let root = CancelToken::new();
    let (mut below, mut above) = {
        let middle = root.child();
        (middle.child().cancelled(), root.cancelled())
    };
    let (kept_below, kept_above) = (wait_once(&mut below), wait_once(&mut above));
    assert_eq!((kept_below.strong_count(), kept_above.strong_count()), (1, 1));
    let lowest = root.child();
    drop(root);
    assert_eq!((kept_below.strong_count(), kept_above.strong_count()), (0, 0));
    let mut signal = lowest.cancelled();
    let kept = wait_once(&mut signal);
    assert_eq!(kept.strong_count(), 1);
    lowest.cancel();
    assert!(poll(&mut signal).is_ready());
}

/// A signal finds its way through tokens that nobody holds.
#[test]
fn signal_reaches_tokens_without_handles() {
    let root = CancelToken::new();
    let mut below = root.child().child().cancelled();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    assert!(Pin::new(&mut below).poll(&mut Context::from_waker(&waker)).is_pending());
    root.cancel();
    drop(root);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(poll(&mut below).is_ready());
}

/// An armed deadline is one who can signal, until it is dropped.
#[test]
fn deadline_keeps_those_who_wait_for_it() {
    let token = CancelToken::new();
    let (deadline, mut signal) = (token.signaller(), token.cancelled());
    let kept = wait_once(&mut signal);
    drop(token);
    assert_eq!(kept.strong_count(), 1);
    drop(deadline);
    assert_eq!(kept.strong_count(), 0);
    let token = CancelToken::new();
    let (deadline, mut signal) = (token.signaller(), token.cancelled());
    drop(token);
    deadline.expire();
    assert!(poll(&mut signal).is_ready());
}

/// A future that owns its wait and is owned by its waker is freed with the last handle.
#[test]
fn future_that_awaits_its_token_does_not_keep_itself() {
    struct Task(crate::sync::Mutex<Option<Cancelled>>);
    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }
    let token = CancelToken::new();
    let task = Arc::new(Task(crate::sync::Mutex::new(None)));
    let mut signal = token.cancelled();
    let waker = Waker::from(Arc::clone(&task));
    assert!(Pin::new(&mut signal).poll(&mut Context::from_waker(&waker)).is_pending());
    *task.0.lock() = Some(signal);
    drop(waker);
    let weak = Arc::downgrade(&task);
    drop(task);
    assert!(weak.upgrade().is_some());
    drop(token);
    assert!(weak.upgrade().is_none());
}

/// The end of a deep tree does not overflow the stack.
#[test]
fn deep_tree_is_let_go() {
    let root = CancelToken::new();
    let depth = if cfg!(miri) { 100 } else { 100_000 };
    let lowest = (0..depth).fold(root.child(), |token, _| token.child());
    let mut signal = lowest.cancelled();
    let kept = wait_once(&mut signal);
    drop(lowest);
    assert_eq!(kept.strong_count(), 1);
    drop(root);
    assert_eq!(kept.strong_count(), 0);
}
