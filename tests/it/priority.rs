//! PRI: who goes first, and that nobody starves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use overstrand::{Priority, TaskTraits, ThreadPool};

use crate::{Gate, pool, wait_until};

/// Notes what ran, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u32>>>);

impl Log {
    fn note(&self, number: u32) -> impl FnOnce() + Send + use<> {
        let log = Arc::clone(&self.0);
        move || log.lock().expect("no panic").push(number)
    }

    fn read(&self) -> Vec<u32> {
        self.0.lock().expect("no panic").clone()
    }
}

/// PRI-1: one worker starts tasks by class, and within a class in the order in which they became ready, whoever posted them.
#[test]
fn one_worker_keeps_the_order_of_readiness() {
    let pool = pool(1);
    let log = Log::default();
    let (open, opened) = mpsc::channel::<()>();
    let (tell, entered) = mpsc::channel();
    let (inner, noted) = (pool.clone(), log.clone());
    let hold = move || {
        for number in 0..50 {
            inner.post_task(noted.note(number)).expect("open");
        }
        tell.send(()).expect("listening");
        let _ = opened.recv();
        for number in 100..150 {
            inner.post_task(noted.note(number)).expect("open");
        }
    };
    pool.post_task_with(TaskTraits::user_blocking(), hold).expect("open");
    entered.recv().expect("it starts");
    for number in 50..100 {
        pool.post_task(log.note(number)).expect("open");
    }
    pool.post_task_with(TaskTraits::user_blocking(), log.note(1000)).expect("open");
    drop(open);
    pool.flush().expect("nothing is dropped");
    let ran = log.read();
    assert_eq!(ran[0], 1000);
    assert!(ran[1..].iter().copied().eq(0..150), "{ran:?}");
}

/// PRI-2: under a saturating urgent load a best-effort task starts within 61 picks.
#[test]
fn best_effort_starts_within_61_picks() {
    let pool = pool(1);
    let urgent = Arc::new(AtomicUsize::new(0));
    for round in 0..20 {
        let gate = Gate::close(&pool);
        let before = urgent.load(Ordering::Relaxed);
        let seen = Arc::clone(&urgent);
        let (tell, told) = mpsc::channel();
        let note = move || tell.send(seen.load(Ordering::Relaxed)).expect("listening");
        pool.post_task_with(TaskTraits::best_effort(), note).expect("open");
        for _ in 0..500 {
            let urgent = Arc::clone(&urgent);
            let count = move || _ = urgent.fetch_add(1, Ordering::Relaxed);
            pool.post_task_with(TaskTraits::user_blocking(), count).expect("open");
        }
        gate.open();
        let waited = told.recv().expect("it runs") - before;
        assert!(waited <= 60, "round {round}: {waited} urgent tasks went first");
        pool.flush().expect("nothing is dropped");
    }
}

/// PRI-3: best-effort work never holds more workers than it may, and gets as many.
#[test]
fn best_effort_never_holds_all_workers() {
    let pool = ThreadPool::builder().workers(3).max_best_effort(2).build().expect("threads");
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let open = Arc::new(AtomicUsize::new(0));
    for _ in 0..12 {
        let (inside, most, open) = (Arc::clone(&inside), Arc::clone(&most), Arc::clone(&open));
        let task = move || {
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            wait_until(|| open.load(Ordering::SeqCst) > 0);
            inside.fetch_sub(1, Ordering::SeqCst);
        };
        pool.post_task_with(TaskTraits::best_effort(), task).expect("open");
    }
    wait_until(|| inside.load(Ordering::SeqCst) == 2);
    assert_eq!(pool.spawn(|| 7).join().expect("a worker is left"), 7);
    open.store(1, Ordering::SeqCst);
    pool.flush().expect("nothing is dropped");
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

/// PRI-4: urgent work lifts the queue that it is in, and never overtakes it.
#[test]
fn urgent_task_lifts_its_sequence() {
    let pool = pool(1);
    let log = Log::default();
    let (slow, other) = (
        pool.create_sequenced_task_runner(TaskTraits::best_effort()),
        pool.create_sequenced_task_runner(TaskTraits::default()),
    );
    let gate = Gate::close(&pool);
    slow.post_task(log.note(1)).expect("open");
    other.post_task(log.note(10)).expect("open");
    slow.task().priority(Priority::UserBlocking).post(log.note(2)).expect("open");
    slow.post_task(log.note(3)).expect("open");
    gate.open();
    pool.flush().expect("nothing is dropped");
    let ran = log.read();
    assert_eq!(ran[..2], [1, 2], "{ran:?}");
    assert_eq!(ran.iter().filter(|number| **number < 10).copied().collect::<Vec<_>>(), [1, 2, 3]);
}

/// PRI-4: a new priority acts on what has not started.
#[test]
fn new_priority_acts_on_what_is_queued() {
    let pool = pool(1);
    let log = Log::default();
    let (raised, lowered, plain) = (
        pool.create_sequenced_task_runner(TaskTraits::best_effort()),
        pool.create_sequenced_task_runner(TaskTraits::user_blocking()),
        pool.create_sequenced_task_runner(TaskTraits::default()),
    );
    let gate = Gate::close(&pool);
    lowered.post_task(log.note(3)).expect("open");
    plain.post_task(log.note(2)).expect("open");
    raised.post_task(log.note(1)).expect("open");
    raised.set_priority(Priority::UserBlocking);
    lowered.set_priority(Priority::BestEffort);
    gate.open();
    pool.flush().expect("nothing is dropped");
    assert_eq!(log.read(), [1, 2, 3]);
}

/// PRI-6: a long task is asked to yield when more urgent work waits and nobody is free for it.
#[test]
fn long_task_is_asked_to_yield() {
    let pool = pool(1);
    assert!(!overstrand::current::should_yield());
    let (tell, started) = mpsc::channel();
    let long = pool.spawn(move || {
        assert!(!overstrand::current::should_yield());
        tell.send(()).expect("listening");
        wait_until(overstrand::current::should_yield);
    });
    started.recv().expect("it starts");
    pool.post_task_with(TaskTraits::user_blocking(), || ()).expect("open");
    long.join().expect("it is asked");
}
