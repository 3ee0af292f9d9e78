//! What the public surface promises, a file per guarantee heading.
#![expect(clippy::disallowed_methods, reason = "tests measure time and drive futures")]

mod bounds;
mod delay;
mod dump;
mod jobs;
mod main_thread;
mod ordering;
mod panics;
mod posting;
mod priority;
mod results;
mod send_sync;
mod services;
mod shutdown;
mod stats;
mod supervision;

use std::sync::mpsc;

use overstrand::{TaskTraits, ThreadPool};

/// A pool of so many workers.
fn pool(workers: usize) -> ThreadPool {
    ThreadPool::builder().name("test").workers(workers).build().expect("threads can be started")
}

/// Keeps one worker busy until it is opened.
struct Gate(Option<mpsc::Sender<()>>);

impl Gate {
    /// Closed, and the worker is in it.
    fn close(pool: &ThreadPool) -> Self {
        Self::close_with(pool, TaskTraits::user_blocking())
    }

    fn close_with(pool: &ThreadPool, traits: TaskTraits) -> Self {
        let (open, opened) = mpsc::channel::<()>();
        let (tell, entered) = mpsc::channel();
        let hold = move || {
            tell.send(()).expect("the test waits");
            let _ = opened.recv();
        };
        pool.post_task_with(traits, hold).expect("the pool is up");
        entered.recv().expect("the task starts");
        Self(Some(open))
    }

    fn open(mut self) {
        self.0 = None;
    }
}

/// Waits for a state; the test hangs, visibly, if it never comes.
fn wait_until(mut is_there: impl FnMut() -> bool) {
    while !is_there() {
        std::thread::yield_now();
    }
}
