//! SEQ: order, exclusion, waiting, closing.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use overstrand::{Close, RejectReason, SequencedTaskRunner, TaskTraits, WaitError};

use crate::{Gate, pool, wait_until};

/// What one strand saw: exact, not a sum.
struct Ledger {
    inside: AtomicBool,
    /// The next number expected of each poster.
    next: Vec<AtomicU64>,
}

/// SEQ-1, SEQ-2, POST-2: a million tasks over 10,000 strands from 8 threads; each runs once, in the order of its poster on its strand, never two
/// of a strand at once.
#[test]
fn million_tasks_over_ten_thousand_strands_keep_their_order() {
    const POSTERS: usize = 8;
    const STRANDS: usize = 10_000;
    const TASKS: usize = 1_000_000;
    let pool = pool(2);
    let strands: Vec<_> = (0..STRANDS)
        .map(|_| {
            let next = (0..POSTERS).map(|_| AtomicU64::new(0)).collect();
            let ledger = Arc::new(Ledger { inside: AtomicBool::new(false), next });
            (pool.create_sequenced_task_runner(TaskTraits::default()), ledger)
        })
        .collect();
    let broken = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|threads| {
        for poster in 0..POSTERS {
            let (strands, broken) = (&strands, &broken);
            threads.spawn(move || {
                for number in 0..TASKS / POSTERS {
                    let (strand, ledger) = &strands[(number * 7 + poster * 13) % STRANDS];
                    let expected = (number / STRANDS) as u64;
                    let (ledger, broken) = (Arc::clone(ledger), Arc::clone(broken));
                    let task = move || {
                        let was_alone = !ledger.inside.swap(true, Ordering::Relaxed);
                        let was_next = ledger.next[poster].swap(expected + 1, Ordering::Relaxed) == expected;
                        ledger.inside.store(false, Ordering::Relaxed);
                        broken.fetch_add(usize::from(!was_alone || !was_next), Ordering::Relaxed);
                    };
                    strand.post_task(task).expect("open");
                }
            });
        }
    });
    pool.flush().expect("nothing is dropped");
    assert_eq!(broken.load(Ordering::Relaxed), 0);
    let total: u64 = strands.iter().flat_map(|(_, ledger)| &ledger.next).map(|next| next.load(Ordering::Relaxed)).sum();
    assert_eq!(total, TASKS as u64);
    assert_eq!(strands.iter().map(|(strand, _)| strand.stats().ran).sum::<u64>(), TASKS as u64);
}

/// SEQ-4: strands that block for ever delay no other, as long as a worker is free.
#[test]
fn blocked_strands_delay_no_other() {
    let pool = pool(3);
    let (open, opened) = mpsc::channel::<()>();
    let opened = Arc::new(Mutex::new(opened));
    for _ in 0..2 {
        let opened = Arc::clone(&opened);
        let strand = pool.create_sequenced_task_runner(TaskTraits::default());
        strand.post_task(move || drop(opened.lock().map(|gate| gate.recv()))).expect("open");
    }
    for _ in 0..100 {
        let strand = pool.create_sequenced_task_runner(TaskTraits::default());
        assert_eq!(strand.spawn(|| 7).join().expect("runs"), 7);
    }
    drop(open);
}

/// SEQ-5: a sequence with much to do lets others in between.
#[test]
fn busy_sequence_yields_to_others() {
    let pool = pool(1);
    let (busy, other) = (
        pool.create_sequenced_task_runner(TaskTraits::default()),
        pool.create_sequenced_task_runner(TaskTraits::default()),
    );
    let gate = Gate::close(&pool);
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..1000 {
        let done = Arc::clone(&done);
        busy.post_task(move || _ = done.fetch_add(1, Ordering::Relaxed)).expect("open");
    }
    let seen = Arc::clone(&done);
    let before = other.spawn(move || seen.load(Ordering::Relaxed));
    gate.open();
    let before = before.join().expect("runs");
    assert!(before <= 64, "{before} tasks of one sequence ran first");
}

/// SEQ-6: without handles a sequence runs what it accepted and leaves nothing behind, even if its tasks hold handles of it.
#[test]
fn sequence_without_handles_runs_and_frees_itself() {
    let pool = pool(2);
    let alive = Arc::new(());
    let (tell, told) = mpsc::channel();
    {
        let strand = pool.create_sequenced_task_runner(TaskTraits::default());
        for _ in 0..10 {
            let (own, alive, tell) = (strand.clone(), Arc::clone(&alive), tell.clone());
            let task = move || {
                assert!(own.is_current());
                drop(alive);
                tell.send(()).expect("listening");
            };
            strand.post_task(task).expect("open");
        }
    }
    assert_eq!(told.iter().take(10).count(), 10);
    pool.flush().expect("nothing is dropped");
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// SEQ-8: the current sequence inside its tasks, none in parallel tasks and none outside.
#[test]
fn current_is_known_inside_and_nowhere_else() {
    let pool = pool(1);
    let (one, two) = (
        pool.create_sequenced_task_runner(TaskTraits::default()),
        pool.create_sequenced_task_runner(TaskTraits::default()),
    );
    let (own, other) = (one.clone(), two.clone());
    let inside = move || (own.is_current(), other.is_current(), SequencedTaskRunner::current().is_some());
    assert_eq!(one.spawn(inside.clone()).join().expect("runs"), (true, false, true));
    assert_eq!(two.spawn(inside.clone()).join().expect("runs"), (false, true, true));
    assert_eq!(pool.spawn(inside.clone()).join().expect("runs"), (false, false, false));
    assert_eq!(inside(), (false, false, false));
}

/// SEQ-9: waits for what was posted before; from inside it is an error.
#[test]
fn flush_waits_and_never_for_itself() {
    let pool = pool(2);
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    let ran = Arc::new(AtomicUsize::new(0));
    for round in 1..=200 {
        for _ in 0..10 {
            let ran = Arc::clone(&ran);
            strand.post_task(move || _ = ran.fetch_add(1, Ordering::Relaxed)).expect("open");
        }
        strand.flush().expect("nothing is dropped");
        assert_eq!(ran.load(Ordering::Relaxed), round * 10);
    }
    let own = strand.clone();
    let inside = strand.spawn(move || (own.flush(), own.wait_idle(Duration::ZERO)));
    assert_eq!(inside.join().expect("runs"), (Err(WaitError::WouldDeadlock), Err(WaitError::WouldDeadlock)));
}

/// SEQ-9: a wait with a limit ends with it.
#[test]
fn wait_idle_ends_with_its_limit() {
    let pool = pool(1);
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    let gate = Gate::close(&pool);
    strand.post_task(|| ()).expect("open");
    assert_eq!(strand.wait_idle(Duration::from_millis(5)), Err(WaitError::TimedOut));
    gate.open();
    assert_eq!(strand.flush(), Ok(()));
}

/// SEQ-10: `Drain` runs what was accepted.
#[test]
fn drained_sequence_runs_what_it_accepted() {
    let pool = pool(1);
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    let gate = Gate::close(&pool);
    let last = strand.spawn(|| 7);
    strand.close(Close::Drain);
    assert_eq!(strand.post_task(|| ()).expect_err("closed").reason(), RejectReason::Closed);
    gate.open();
    assert_eq!(strand.flush(), Ok(()));
    assert_eq!(last.join().expect("it was accepted"), 7);
}

/// SEQ-9, SEQ-10: `Discard` drops what was accepted, and who waits is told.
#[test]
fn discarded_sequence_drops_what_it_accepted() {
    let pool = pool(2);
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    let (open, opened) = mpsc::channel::<()>();
    let (tell, started) = mpsc::channel();
    let hold = move || {
        tell.send(()).expect("listening");
        let _ = opened.recv();
    };
    strand.post_task(hold).expect("open");
    started.recv().expect("it starts");
    let never = strand.spawn(|| 7);
    let (waiting, is_waiting) = (strand.clone(), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&is_waiting);
    let waiter = std::thread::spawn(move || {
        told.store(true, Ordering::Relaxed);
        waiting.flush()
    });
    wait_until(|| is_waiting.load(Ordering::Relaxed));
    assert_eq!(strand.wait_idle(Duration::from_millis(20)), Err(WaitError::TimedOut));
    strand.close(Close::Discard);
    drop(open);
    assert_eq!(waiter.join().expect("no panic"), Err(WaitError::Closed));
    assert!(matches!(never.join(), Err(overstrand::JoinError::Cancelled)));
}

/// SEQ-9: shutdown ends a wait with its own error.
#[test]
fn shutdown_ends_the_wait_for_a_sequence() {
    let pool = pool(1);
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    let gate = Gate::close(&pool);
    strand.post_task(|| ()).expect("open");
    let waiting = strand.clone();
    let waiter = std::thread::spawn(move || waiting.flush());
    assert_eq!(strand.wait_idle(Duration::from_millis(20)), Err(WaitError::TimedOut));
    let ending = pool.clone();
    let ending = std::thread::spawn(move || ending.shutdown());
    wait_until(|| pool.post_task(|| ()).is_err());
    gate.open();
    ending.join().expect("no panic").expect("outside");
    assert!(matches!(waiter.join().expect("no panic"), Err(WaitError::ShutDown) | Ok(())));
    assert_eq!(strand.stats().dropped, 1);
}
