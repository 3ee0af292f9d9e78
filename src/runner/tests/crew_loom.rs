//! The word of a job under the model checker.

use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use crate::runner::crew::Crew;
use crate::sync::atomic::{AtomicUsize, Ordering};

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// A job whose items are a number, and whose tickets are counted instead of queued.
#[derive(Default)]
struct Scene {
    crew: Crew,
    left: AtomicUsize,
    done: AtomicUsize,
    tickets: AtomicUsize,
}

impl Scene {
    fn wanted(&self) -> impl Fn(usize) -> usize + '_ {
        // Relaxed, like a user's counter: the word orders it.
        |workers| (self.left.load(Ordering::Relaxed) + workers).min(2)
    }

    fn invite(&self) {
        while self.crew.invite(self.wanted()) {
            self.tickets.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn add(&self) {
        // Relaxed: as above.
        self.left.fetch_add(1, Ordering::Relaxed);
        self.crew.call();
        self.invite();
    }

    fn take_item(&self) {
        // Relaxed: as above.
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        // Relaxed: a count.
        self.done.fetch_add(usize::from(taken.is_ok()), Ordering::Relaxed);
    }

    /// Runs tickets until there is none; each takes one item per turn.
    fn run_tickets(&self) {
        let take = |tickets: usize| tickets.checked_sub(1);
        while self.tickets.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok() {
            if self.crew.begin(self.wanted()) {
                self.take_item();
                if self.crew.leave(self.wanted()) {
                    self.tickets.fetch_add(1, Ordering::AcqRel);
                }
            }
        }
    }
}

/// Work that is added while the last worker leaves is taken by it or by whoever is invited. Model of defect Z29.
#[test]
fn loom_added_work_is_not_left_behind() {
    model(|| {
        let scene = Arc::new(Scene::default());
        scene.add();
        let worker = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.run_tickets())
        };
        scene.add();
        worker.join().expect("no panic");
        scene.run_tickets();
        // Relaxed: everybody has been joined.
        assert_eq!((scene.left.load(Ordering::Relaxed), scene.done.load(Ordering::Relaxed)), (0, 2));
        assert!(scene.crew.is_over(scene.wanted()));
    });
}

/// A joiner and a ticket: never more inside than are wanted, and what is over is over for both.
#[test]
fn loom_joiner_and_ticket_share_the_work() {
    model(|| {
        let scene = Arc::new(Scene::default());
        scene.add();
        let worker = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.run_tickets())
        };
        while scene.crew.join(scene.wanted()) {
            assert!(scene.crew.workers() <= 2);
            scene.take_item();
            scene.crew.leave_joined();
        }
        worker.join().expect("no panic");
        // Relaxed: everybody has been joined.
        assert_eq!(scene.done.load(Ordering::Relaxed), 1);
        assert!(scene.crew.is_over(scene.wanted()));
    });
}
