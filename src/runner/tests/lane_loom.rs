//! The sequence's state word: posters, drainers and tickets.

use std::panic::Location;
use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use crate::queue::tests::Watched;
use crate::runner::lane::Lane;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::task::raw::Task;
use crate::task::site::Site;
use crate::task::traits::{Meta, Priority, TaskTraits};

/// In the place of a class.
const PAUSED: usize = 9;

struct Scene {
    lane: Lane,
    tickets: Mutex<Vec<Priority>>,
    popped: AtomicUsize,
    /// The class that the lane should be in.
    class: AtomicUsize,
    /// What the tasks of the lane own.
    log: Arc<Watched>,
}

impl Scene {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            lane: Lane::default(),
            tickets: Mutex::new(Vec::new()),
            popped: AtomicUsize::new(0),
            class: AtomicUsize::new(Priority::UserVisible as usize),
            log: Arc::new(Watched::new()),
        })
    }

    fn queue(&self, ticket: Option<Priority>) {
        if let Some(class) = ticket {
            self.tickets.lock().push(class);
        }
    }

    /// `None` while it is paused.
    fn class(&self) -> Option<Priority> {
        let class = self.class.load(Ordering::Relaxed);
        (class != PAUSED).then(|| Priority::from_bits(class as u32))
    }

    fn set_class(&self, class: Priority) {
        self.class.store(class as usize, Ordering::Relaxed);
        self.queue(self.lane.reclass(|| self.class()));
    }

    fn pause(&self) {
        self.class.store(PAUSED, Ordering::Relaxed);
        self.queue(self.lane.reclass(|| self.class()));
    }

    /// True when the lane is ready in the class that it should be in.
    fn is_in_its_class(&self) -> bool {
        let class = self.class().expect("not paused");
        self.tickets.lock().contains(&class) && self.lane.take(class)
    }

    fn post(&self, number: usize) {
        let log = Arc::clone(&self.log);
        let site = Site::intern(None, Location::caller());
        let task = Task::plain(move || log.push(number), site, Meta::new(TaskTraits::default()));
        self.queue(self.lane.push(task, || self.class()));
    }

    /// Takes one ticket, if there is one, and gives the lane a turn of at most `turn_max` tasks.
    fn step(&self, turn_max: usize) -> bool {
        let Some(class) = self.tickets.lock().pop() else { return false };
        if !self.lane.take(class) {
            return true;
        }
        let mut popped = self.popped.load(Ordering::Relaxed);
        for _ in 0..turn_max {
            let Some(task) = self.lane.pop() else { break };
            drop(task.run());
            popped += 1;
        }
        self.popped.store(popped, Ordering::Relaxed);
        let finished = self.lane.finish(popped as u64, || self.class());
        self.queue(finished.ticket);
        if finished.ticket.is_some() {
            thread::yield_now();
        }
        true
    }

    fn run_to_the_end(&self) -> Vec<usize> {
        while self.step(9) {}
        self.log.read()
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

/// SEQ-1, SEQ-2: two producers; nothing is lost, stranded or out of order. Model of defect Z1.
#[test]
fn loom_pushes_are_run_in_order_and_not_stranded() {
    model(|| {
        let scene = Scene::new();
        let producer = spawn(&scene, |scene| {
            scene.post(10);
            scene.post(11);
        });
        let drainer = spawn(&scene, |scene| _ = scene.step(9));
        scene.post(20);
        producer.join().expect("no panic");
        drainer.join().expect("no panic");
        let log = scene.run_to_the_end();
        assert_eq!(log.len(), 3, "{log:?}");
        let of_producer: Vec<_> = log.into_iter().filter(|number| *number < 20).collect();
        assert_eq!(of_producer, [10, 11]);
    });
}

/// SEQ-1: two workers with tickets of one lane never run it at once, and each turn sees the one before.
#[test]
fn loom_two_drainers_exclude_each_other() {
    model(|| {
        let scene = Scene::new();
        scene.post(1);
        scene.post(2);
        let drainers = [(), ()].map(|()| {
            spawn(&scene, |scene| {
                scene.step(1);
                scene.step(1);
            })
        });
        drainers.into_iter().for_each(|drainer| drainer.join().expect("no panic"));
        assert_eq!(scene.run_to_the_end(), [1, 2]);
    });
}

/// PRI-4: a class that changes while a worker takes the ticket leaves a stale ticket at most, and strands nothing.
#[test]
fn loom_lifted_lane_is_run_once() {
    model(|| {
        let scene = Scene::new();
        scene.post(1);
        let lifter = spawn(&scene, |scene| scene.set_class(Priority::UserBlocking));
        let drainer = spawn(&scene, |scene| _ = scene.step(9));
        scene.post(2);
        lifter.join().expect("no panic");
        drainer.join().expect("no panic");
        assert_eq!(scene.run_to_the_end(), [1, 2]);
    });
}

/// PRI-4: a class set while a turn ends is the one that the lane is ready in then. Model of defect Z25.
#[test]
fn loom_class_set_during_a_turn_is_kept() {
    model(|| {
        let scene = Scene::new();
        scene.post(1);
        scene.post(2);
        let drainer = spawn(&scene, |scene| _ = scene.step(1));
        scene.set_class(Priority::UserBlocking);
        drainer.join().expect("no panic");
        assert!(scene.is_in_its_class(), "the turn ended in the old class");
    });
}

/// PRI-4: the same for a class set while a post makes the lane ready, and of two that set one the last counts.
#[test]
fn loom_class_set_during_a_post_is_kept() {
    model(|| {
        let scene = Scene::new();
        let poster = spawn(&scene, |scene| scene.post(1));
        let other = spawn(&scene, |scene| scene.set_class(Priority::BestEffort));
        scene.set_class(Priority::UserBlocking);
        poster.join().expect("no panic");
        other.join().expect("no panic");
        assert!(scene.is_in_its_class(), "the post went into the old class");
    });
}

/// SEQ-11: a thread that takes the idle lane for its own task excludes drainers, and leaves nothing stranded.
#[test]
fn loom_taken_idle_lane_excludes_drainers() {
    model(|| {
        let scene = Scene::new();
        let poster = spawn(&scene, |scene| {
            scene.post(1);
            scene.step(9);
        });
        if scene.lane.take_idle() {
            scene.log.push(2);
            let popped = scene.popped.load(Ordering::Relaxed) + 1;
            scene.popped.store(popped, Ordering::Relaxed);
            scene.queue(scene.lane.finish(popped as u64, || scene.class()).ticket);
        }
        poster.join().expect("no panic");
        assert!(scene.run_to_the_end().contains(&1));
    });
}

/// SEQ-9: who listens hears of the end of a turn, or sees its effects.
#[test]
fn loom_listener_hears_or_sees() {
    model(|| {
        let scene = Scene::new();
        scene.post(1);
        let heard = Arc::new(AtomicUsize::new(0));
        let drainer = spawn(&scene, {
            let heard = Arc::clone(&heard);
            move |scene| {
                let class = scene.tickets.lock().pop().expect("posted before");
                assert!(scene.lane.take(class));
                let task = scene.lane.pop().expect("posted before");
                drop(task.run());
                scene.popped.store(1, Ordering::Relaxed);
                if scene.lane.finish(1, || Some(class)).is_listened {
                    heard.store(1, Ordering::Relaxed);
                }
            }
        });
        scene.lane.listen();
        let sees = scene.popped.load(Ordering::Relaxed) == 1;
        drainer.join().expect("no panic");
        assert!(sees || heard.load(Ordering::Relaxed) == 1);
    });
}

/// SEQ-9: when as many tasks are over as pushes were counted after a post, that post's task is among them. Model of defect Z26.
#[test]
fn loom_count_covers_the_own_post() {
    model(|| {
        let scene = Scene::new();
        let over = Arc::new(Mutex::new(0));
        let poster = spawn(&scene, {
            let over = Arc::clone(&over);
            move |scene| {
                let ran = Arc::new(AtomicUsize::new(0));
                let set = Arc::clone(&ran);
                let site = Site::intern(None, Location::caller());
                // Relaxed: the lock of `over` orders it.
                let task = Task::plain(move || set.store(1, Ordering::Relaxed), site, Meta::new(TaskTraits::default()));
                scene.queue(scene.lane.push(task, || scene.class()));
                let target = scene.lane.pushed();
                if *over.lock() >= target {
                    assert_eq!(ran.load(Ordering::Relaxed), 1, "other tasks were taken for the own one");
                }
            }
        });
        let drainer = spawn(&scene, move |scene| {
            let Some(class) = scene.tickets.lock().pop() else { return };
            assert!(scene.lane.take(class), "nobody else takes tickets");
            while let Some(task) = scene.lane.pop() {
                drop(task.run());
                *over.lock() += 1;
            }
        });
        scene.post(1);
        poster.join().expect("no panic");
        drainer.join().expect("no panic");
    });
}

/// A pause and a resume around a post and a turn: nothing is stranded, and nothing starts that was posted in the pause.
#[test]
fn loom_resumed_lane_runs_what_was_held() {
    model(|| {
        let scene = Scene::new();
        scene.post(1);
        let drainer = spawn(&scene, |scene| _ = scene.step(1));
        scene.pause();
        scene.post(2);
        scene.set_class(Priority::UserVisible);
        drainer.join().expect("no panic");
        assert_eq!(scene.run_to_the_end(), [1, 2]);
    });
}

/// Who pauses and resumes beside a poster that makes the lane ready strands nothing.
#[test]
fn loom_resume_beside_a_post_strands_nothing() {
    model(|| {
        let scene = Scene::new();
        scene.pause();
        let poster = spawn(&scene, |scene| scene.post(1));
        scene.set_class(Priority::UserVisible);
        poster.join().expect("no panic");
        assert_eq!(scene.run_to_the_end(), [1]);
    });
}
