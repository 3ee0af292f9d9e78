//! The state word of a parallel runner: posters, slots, a limit that changes, a flush.

use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use crate::runner::slots::Slots;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

struct Scene {
    slots: Slots,
    queue: Mutex<usize>,
    tickets: AtomicUsize,
    running: AtomicUsize,
    ran: AtomicUsize,
    limit_max: usize,
}

impl Scene {
    fn new(limit: usize, limit_max: usize) -> Arc<Self> {
        Arc::new(Self {
            slots: Slots::new(limit),
            queue: Mutex::new(0),
            tickets: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            ran: AtomicUsize::new(0),
            limit_max,
        })
    }

    fn post(&self) {
        self.slots.count_always();
        *self.queue.lock() += 1;
        self.fill();
    }

    fn fill(&self) {
        if self.slots.take_slot() {
            self.tickets.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The turn of one ticket, if there is one.
    fn step(&self) -> bool {
        let take = |tickets: usize| tickets.checked_sub(1);
        if self.tickets.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_err() {
            return false;
        }
        loop {
            if !self.slots.claim() {
                if self.slots.end_slot() {
                    self.fill();
                    return true;
                }
                continue;
            }
            while !self.pop() {
                thread::yield_now();
            }
            let beside = self.running.fetch_add(1, Ordering::AcqRel);
            assert!(beside < self.limit_max, "more than the limit at once");
            self.ran.fetch_add(1, Ordering::AcqRel);
            self.running.fetch_sub(1, Ordering::AcqRel);
            if self.slots.is_over_limit() && self.slots.end_slot() {
                self.fill();
                return true;
            }
        }
    }

    fn pop(&self) -> bool {
        let mut queue = self.queue.lock();
        let is_there = *queue > 0;
        *queue -= usize::from(is_there);
        is_there
    }

    fn run_to_the_end(&self) -> usize {
        while self.step() {}
        self.ran.load(Ordering::Acquire)
    }
}

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 50_000;
    builder.check(f);
}

fn spawn(scene: &Arc<Scene>, f: impl Fn(&Scene) + Send + 'static) -> thread::JoinHandle<()> {
    let scene = Arc::clone(scene);
    thread::spawn(move || f(&scene))
}

/// A slot that ends while a post comes strands nothing, and one place is one place.
#[test]
fn loom_post_beside_an_ending_slot_is_not_stranded() {
    model(|| {
        let scene = Scene::new(1, 1);
        scene.post();
        let slot = spawn(&scene, |scene| _ = scene.step());
        scene.post();
        slot.join().expect("no panic");
        assert_eq!(scene.run_to_the_end(), 2);
        assert!(scene.slots.is_quiet());
    });
}

/// CTL-4: a limit that is lifted while slots end gets its slots, and nothing is stranded.
#[test]
fn loom_lifted_limit_takes_its_slots() {
    model(|| {
        let scene = Scene::new(1, 2);
        scene.post();
        scene.post();
        let slot = spawn(&scene, |scene| _ = scene.step());
        scene.slots.set_limit(2);
        scene.fill();
        scene.step();
        slot.join().expect("no panic");
        assert_eq!(scene.run_to_the_end(), 2);
        assert!(scene.slots.is_quiet());
    });
}

/// When nothing is queued and nothing runs, the own post has run.
#[test]
fn loom_quiet_runner_has_run_the_own_post() {
    model(|| {
        let scene = Scene::new(1, 1);
        let other = spawn(&scene, |scene| scene.post());
        let drainer = spawn(&scene, |scene| _ = scene.step());
        scene.post();
        if scene.slots.is_quiet() {
            assert!(scene.ran.load(Ordering::Acquire) >= 1, "quiet, and the own task has not run");
        }
        other.join().expect("no panic");
        drainer.join().expect("no panic");
        assert_eq!(scene.run_to_the_end(), 2);
    });
}

/// A pause that ends while the only slot ends for it: what is queued runs. Model of defect Z27.
#[test]
fn loom_resume_beside_an_ending_slot_strands_nothing() {
    model(|| {
        let scene = Scene::new(1, 1);
        scene.post();
        scene.post();
        scene.slots.pause();
        let slot = spawn(&scene, |scene| _ = scene.step());
        scene.slots.resume();
        scene.fill();
        slot.join().expect("no panic");
        assert_eq!(scene.run_to_the_end(), 2);
        assert!(scene.slots.is_quiet());
    });
}
