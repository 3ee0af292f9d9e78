//! The idle protocol with two workers and a poster; the queue is a counter.

use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use crate::park::Parker;
use crate::pool::idle::Idle;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::zoo;

struct Pool {
    idle: Idle,
    parkers: [Parker; 2],
    queued: AtomicUsize,
    /// Tasks that have started.
    started: AtomicUsize,
    stop: AtomicBool,
}

impl Pool {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            idle: Idle::new(2),
            parkers: [Parker::new(), Parker::new()],
            queued: AtomicUsize::new(0),
            started: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        })
    }

    fn notify(&self) {
        if let Some(worker) = self.idle.claim() {
            self.parkers[worker].unpark();
        }
    }

    fn post(&self) {
        if zoo::has("Z2") {
            self.notify();
        }
        self.queued.fetch_add(1, Ordering::Release);
        if !zoo::has("Z2") {
            self.notify();
        }
    }

    fn take(&self) -> bool {
        let one_less = |queued: usize| queued.checked_sub(1);
        self.queued.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less).is_ok()
    }

    /// Runs `tasks` tasks, each of which waits until `together` have started; then leaves.
    fn work(&self, worker: usize, tasks: usize, together: usize) {
        let mut is_searching = false;
        let mut ran = 0;
        while ran < tasks && !self.stop.load(Ordering::Acquire) {
            if self.take() {
                if is_searching && self.idle.found() && self.queued.load(Ordering::Relaxed) > 0 {
                    self.notify();
                }
                is_searching = false;
                self.started.fetch_add(1, Ordering::AcqRel);
                while self.started.load(Ordering::Acquire) < together {
                    thread::yield_now();
                }
                ran += 1;
                continue;
            }
            if !is_searching {
                self.idle.begin_search();
            }
            is_searching = true;
            self.idle.prepare_sleep(worker);
            let must_look = !zoo::has("Z3") && self.queued.load(Ordering::Relaxed) > 0;
            if !must_look && !self.stop.load(Ordering::Relaxed) {
                self.parkers[worker].park();
            }
            self.idle.wake_up(worker);
        }
        if is_searching {
            self.idle.leave();
        }
    }
}

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 50_000;
    builder.check(f);
}

/// One worker, one post: whichever of the two is first at its fence, the task runs. Model of defects Z2, Z3, Z4.
#[test]
fn loom_post_and_sleep_do_not_miss_each_other() {
    model(|| {
        let pool = Pool::new();
        let worker = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.work(0, 1, 0))
        };
        pool.post();
        worker.join().expect("no panic");
    });
}

/// Two workers, two posts, and both tasks must be running at once: the last searcher looks once more. Model of defect Z8.
#[test]
fn loom_two_posts_get_two_workers() {
    model(|| {
        let pool = Pool::new();
        let workers = [0, 1].map(|worker| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.work(worker, 1, 2))
        });
        pool.post();
        pool.post();
        workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
    });
}

/// Shutdown while a worker goes to sleep; the count of searchers stays right. Model of defect Z11.
#[test]
fn loom_shutdown_finds_every_worker() {
    model(|| {
        let pool = Pool::new();
        let workers = [0, 1].map(|worker| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.work(worker, 1, 0))
        });
        pool.stop.store(true, Ordering::Release);
        Idle::order_looks();
        pool.parkers.iter().for_each(Parker::unpark);
        workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
        assert!(!pool.idle.has_free_worker_racy(), "somebody is still counted");
    });
}
