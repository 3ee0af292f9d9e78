//! SUP: supervised tasks on real threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use overstrand::{Admission, Backoff, CancelToken, Outcome, Supervisor, TaskContext, TaskSpec, WaitError};

use crate::{pool, wait_until};

const MILLISECOND: Duration = Duration::from_millis(1);

/// SUP-4, SUP-9, I34, I40: threads that submit, evict and cancel at will: an outcome for each that was accepted, never more runs than places, and nothing is left.
#[test]
fn every_accepted_task_has_one_outcome_whatever_happens() {
    let pool = pool(2);
    let supervisor =
        Supervisor::builder(&pool).capacity(8).queue_when_full(4, MILLISECOND * 50).build().expect("valid");
    let (live, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (heard, counted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&heard);
    let events = supervisor.subscribe(move |_: &overstrand::Event| _ = count.fetch_add(1, Ordering::Relaxed));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (supervisor, live, most, counted) = (&supervisor, &live, &most, &counted);
            scope.spawn(move || {
                let mut tasks = Vec::new();
                for number in 0..150 {
                    let (live, most) = (Arc::clone(live), Arc::clone(most));
                    let spec = TaskSpec::blocking(format!("{thread} {number}"), move |cx: &TaskContext| {
                        most.fetch_max(live.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        if number % 5 == 0 {
                            cx.token().wait();
                        }
                        live.fetch_sub(1, Ordering::SeqCst);
                        if number % 7 == 0 && cx.attempt() < 3 { Err("again".into()) } else { Ok(number) }
                    });
                    let spec = spec.priority(number % 3).backoff(Backoff::constant(MILLISECOND));
                    let spec = if number % 4 == 0 {
                        spec.slot(format!("key {}", number % 8), Admission::Replace)
                    } else {
                        spec
                    };
                    if let Ok(task) = supervisor.submit(spec) {
                        if number % 5 == 0 && number % 2 == 0 {
                            task.remove();
                        }
                        tasks.push((number, task));
                    }
                }
                for (number, task) in tasks {
                    task.remove();
                    match task.outcome().join().expect("it comes") {
                        Outcome::Completed(value) => assert_eq!(value, number),
                        Outcome::Cancelled | Outcome::Evicted | Outcome::Rejected(_) => {}
                        other => panic!("{other}"),
                    }
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    let report = supervisor.shutdown().expect("from outside");
    assert!(report.stuck.is_empty() && most.load(Ordering::SeqCst) <= 8);
    let stats = supervisor.stats();
    assert_eq!(stats.submitted, counted.load(Ordering::SeqCst) as u64);
    assert_eq!((stats.places, stats.running, stats.stuck, stats.waiting, stats.slots), (0, 0, 0, 0, 0));
    wait_until(|| heard.load(Ordering::Relaxed) > 0);
    drop(events);
}

/// SUP-4: who sees that a task has ended finds its outcome, whichever thread ended it.
#[test]
fn ended_task_has_its_outcome() {
    let pool = pool(2);
    for _ in 0..20 {
        let supervisor = Supervisor::builder(&pool).grace(MILLISECOND).build().expect("valid");
        let tasks = (0..20).map(|number| {
            let deaf = TaskSpec::blocking(number.to_string(), |cx: &TaskContext| {
                cx.token().wait();
                // It returns just when its grace is over.
                CancelToken::with_timeout(MILLISECOND).wait();
                Ok(())
            });
            supervisor.submit(deaf).expect("there is room")
        });
        let tasks: Vec<_> = tasks.collect();
        wait_until(|| supervisor.stats().running == tasks.len());
        tasks.iter().for_each(|task| _ = task.remove());
        for task in tasks {
            let mut outcome = task.outcome();
            wait_until(|| !task.is_alive());
            assert!(outcome.try_join().is_some(), "it was not delivered");
        }
    }
}

/// A fence of the pool stops nobody from asking, and a cancel under it does not wait for itself.
#[test]
fn fenced_pool_still_has_a_supervisor() {
    let pool = pool(1);
    let supervisor = Supervisor::builder(&pool).build().expect("valid");
    let fence = pool.fence();
    let task = supervisor.submit(TaskSpec::blocking("waits", |_| Ok(7))).expect("there is room");
    assert_eq!((supervisor.tasks().len(), supervisor.shutdown().map(drop)), (1, Err(WaitError::WouldDeadlock)));
    let other = supervisor.submit(TaskSpec::blocking("other", |_| Ok(7))).expect("there is room");
    assert!(other.cancel(), "it returns at once");
    drop(fence);
    assert_eq!(task.outcome().join().expect("it runs").completed(), Some(7));
    assert!(matches!(other.outcome().join(), Ok(Outcome::Cancelled)));
}

/// SUP-8: real time: a silent run is noticed, and not before its period is over.
#[test]
fn silence_is_noticed_on_real_threads() {
    let pool = pool(2);
    let supervisor = Supervisor::builder(&pool).watchdog(MILLISECOND * 100).max_retries(0).build().expect("valid");
    let began = std::time::Instant::now();
    let silent = supervisor.submit(TaskSpec::blocking("silent", |cx: &TaskContext| {
        cx.heartbeat();
        cx.token().wait();
        Ok(())
    }));
    let outcome = silent.expect("there is room").outcome().join();
    assert!(matches!(outcome, Ok(Outcome::HeartbeatLost)) && began.elapsed() >= MILLISECOND * 100);
}
