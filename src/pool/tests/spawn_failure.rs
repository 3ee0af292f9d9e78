//! A system that refuses threads: the pool runs with those that it gets, at least one. And tasks that take too long.

use std::sync::mpsc;
use std::time::Duration;

use crate::sync::fault::limit_spawns;
use crate::{TaskTraits, ThreadPool};

/// A pool of four for which the system grants so many threads.
fn pool_with(threads: usize) -> Result<ThreadPool, crate::BuildError> {
    limit_spawns(Some(threads));
    let pool = ThreadPool::builder().workers(4).build();
    limit_spawns(None);
    pool
}

#[test]
fn no_thread_at_all_is_an_error() {
    let error = pool_with(0).expect_err("not one thread");
    assert_eq!((error.field(), error.value()), ("workers", "4"));
    assert!(std::error::Error::source(&error).is_some());
}

/// With one thread there is no service thread: the worker drives the timers, too.
#[test]
fn one_thread_does_everything() {
    let pool = pool_with(1).expect("one is enough");
    assert_eq!(pool.workers(), 1);
    let (tell, told) = mpsc::channel();
    let runner = pool.create_sequenced_task_runner(TaskTraits::default());
    for millis in [20, 1, 5] {
        let tell = tell.clone();
        let note = move || tell.send(millis).expect("listening");
        let _detached = runner.post_delayed_task(Duration::from_millis(millis), note).expect("open");
    }
    drop(tell);
    assert_eq!(told.iter().collect::<Vec<_>>(), [1, 5, 20]);
    assert_eq!(pool.spawn(|| 7).join().expect("runs"), 7);
    assert_eq!(pool.shutdown().expect("outside").ran, 4);
}

#[test]
fn three_threads_are_two_workers_and_the_service() {
    let pool = pool_with(3).expect("enough");
    assert_eq!(pool.workers(), 2);
    let handles: Vec<_> = (0..100).map(|number| pool.spawn(move || number)).collect();
    assert!(handles.into_iter().enumerate().all(|(number, handle)| handle.join().expect("runs") == number));
}

/// A stall is reported once, with name, place, runner and age.
#[test]
fn stalled_task_is_reported_once() {
    let threshold = Duration::from_millis(40);
    let (tell, reports) = mpsc::channel();
    let hook = move |report: &crate::StallReport| drop(tell.send(report.clone()));
    let pool = ThreadPool::builder().workers(2).on_stall(threshold, hook).build().expect("threads");
    let runner = crate::SequencedTaskRunner::builder(&pool).name("slow lane").build().expect("valid");
    let (open, opened) = mpsc::channel::<()>();
    let line = line!() + 1;
    runner.task().name("stubborn").post(move || _ = opened.recv()).expect("open");
    let long = TaskTraits::default().long_running();
    let (finish, finished) = mpsc::channel::<()>();
    pool.post_task_with(long, move || _ = finished.recv()).expect("open");
    let report = reports.recv().expect("it is reported");
    assert_eq!((report.name.as_deref(), report.runner.as_deref()), (Some("stubborn"), Some("slow lane")));
    assert_eq!(report.location.line(), line);
    assert!(report.running_for >= threshold);
    assert!(reports.recv_timeout(threshold * 4).is_err(), "once, and never for long-running tasks");
    drop((open, finish));
    pool.shutdown().expect("outside");
}
