//! Posts against shutdown: whatever was accepted has one end.

use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use crate::pool::idle::Idle;
use crate::pool::shutdown::{Completion, Tracker};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::task::traits::{Meta, TaskTraits};

/// A pool of one queue that holds tasks of one kind.
struct Pool {
    tracker: Tracker,
    meta: Meta,
    queued: AtomicUsize,
    ran: AtomicUsize,
    dropped: AtomicUsize,
}

impl Pool {
    fn new(traits: TaskTraits) -> Arc<Self> {
        Arc::new(Self {
            tracker: Tracker::default(),
            meta: Meta::new(traits),
            queued: AtomicUsize::new(0),
            ran: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
        })
    }

    fn post(&self) -> bool {
        if !self.tracker.admit(self.meta) {
            return false;
        }
        self.queued.fetch_add(1, Ordering::Release);
        Idle::order_looks();
        if self.tracker.is_complete() {
            self.sweep();
        }
        true
    }

    fn take(&self) -> bool {
        self.queued.fetch_update(Ordering::AcqRel, Ordering::Acquire, |queued| queued.checked_sub(1)).is_ok()
    }

    fn sweep(&self) {
        while self.take() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            assert_eq!(self.tracker.ended(self.meta, false), Completion::NotMine);
        }
    }

    fn work(&self) {
        loop {
            if self.take() {
                let may_run = self.tracker.may_start(self.meta);
                let count = if may_run { &self.ran } else { &self.dropped };
                count.fetch_add(1, Ordering::Relaxed);
                let _ = self.tracker.ended(self.meta, may_run);
            } else if self.tracker.is_complete() {
                break;
            } else {
                thread::yield_now();
            }
        }
        Idle::order_looks();
        self.sweep();
    }
}

fn check(traits: TaskTraits) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 50_000;
    builder.check(move || {
        let pool = Pool::new(traits);
        let threads = [
            thread::spawn({
                let pool = Arc::clone(&pool);
                move || {
                    pool.work();
                    false
                }
            }),
            thread::spawn({
                let pool = Arc::clone(&pool);
                move || pool.post()
            }),
        ];
        let _ = pool.tracker.start();
        let accepted =
            threads.into_iter().filter(|_| true).map(|thread| thread.join().expect("no panic")).filter(|&yes| yes);
        let accepted = accepted.count();
        let (ran, dropped) = (pool.ran.load(Ordering::Relaxed), pool.dropped.load(Ordering::Relaxed));
        assert_eq!(ran + dropped, accepted);
        assert!(!pool.meta.blocks_shutdown() || ran == accepted, "an accepted one blocks the shutdown");
        assert!(pool.tracker.is_complete());
    });
}

#[test]
fn loom_skipping_task_runs_or_is_dropped() {
    check(TaskTraits::default());
}

#[test]
fn loom_blocking_task_runs_if_accepted() {
    check(TaskTraits::default().block_shutdown());
}

#[test]
fn loom_continuing_task_runs_or_is_dropped() {
    check(TaskTraits::default().continue_on_shutdown());
}
