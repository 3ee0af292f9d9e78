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

    /// Runs one task; the first of all posts a second one before it waits until both have started.
    fn work_and_post(&self, worker: usize) {
        self.work_with(worker, 1, || {
            if self.started.load(Ordering::Acquire) == 1 {
                self.post();
            }
            while self.started.load(Ordering::Acquire) < 2 {
                thread::yield_now();
            }
        });
    }

    /// Runs `tasks` tasks, each of which waits until `together` have started; then leaves.
    fn work(&self, worker: usize, tasks: usize, together: usize) {
        self.work_with(worker, tasks, || {
            while self.started.load(Ordering::Acquire) < together {
                thread::yield_now();
            }
        });
    }

    fn work_with(&self, worker: usize, tasks: usize, task: impl Fn()) {
        let mut is_searching = false;
        let mut ran = 0;
        while ran < tasks && !self.stop.load(Ordering::Acquire) {
            if self.take() {
                if is_searching && self.idle.found() && self.queued.load(Ordering::Relaxed) > 0 {
                    self.notify();
                }
                is_searching = false;
                self.started.fetch_add(1, Ordering::AcqRel);
                task();
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

/// A task posts, and waits until its post has been started: a worker that was claimed and not counted yet must not hide the other from it. Model of
/// defect Z28.
#[test]
fn loom_post_of_a_task_finds_the_other_worker() {
    model(|| {
        let pool = Pool::new();
        let workers = [0, 1].map(|worker| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.work_and_post(worker))
        });
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
        assert_eq!(pool.idle.searchers_racy(), 0, "somebody is still counted, or was counted out twice");
    });
}
