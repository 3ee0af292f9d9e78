//! Counters and threads survive user values that panic when they are dropped.

use std::sync::mpsc;

use crate::{Close, TaskTraits, ThreadPool, WaitError};

struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

/// POST-6: the discard of tasks whose captures panic leaves no task uncounted and no worker dead. Test of defect Z14.
#[test]
fn discarded_captures_that_panic_spoil_nothing() {
    let pool = ThreadPool::builder().workers(1).build().expect("a thread");
    let runner = pool.create_sequenced_task_runner(TaskTraits::default());
    let (open, gate) = mpsc::channel::<()>();
    let (tell, started) = mpsc::channel();
    let hold = move || {
        tell.send(()).expect("somebody listens");
        gate.recv().expect("it is opened");
    };
    runner.post_task(hold).expect("open");
    started.recv().expect("it starts");
    for _ in 0..3 {
        let panics = PanicsOnDrop;
        runner.post_task(move || drop(panics)).expect("open");
    }
    runner.close(Close::Discard);
    open.send(()).expect("somebody waits");
    assert_eq!(runner.flush(), Err(WaitError::Closed));
    let stats = runner.stats();
    assert_eq!((stats.ran, stats.dropped, stats.queued, stats.running), (1, 3, 0, 0));
    assert_eq!(pool.spawn(|| 7).join().expect("the worker lives"), 7);
}
