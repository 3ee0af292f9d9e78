//! The textbook pool: one queue behind a mutex, one condition variable, a notification for each post. No strands.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::cell::Cell;
use crate::contender::{BoxedTask, Contender, NoStrand};

/// Threads behind one queue.
pub(crate) struct MutexPool {
    shared: Arc<Shared>,
}

/// What the pool and its threads share.
#[derive(Default)]
struct Shared {
    tasks: Mutex<VecDeque<BoxedTask>>,
    posted: Condvar,
}

impl Contender for MutexPool {
    const NAME: &'static str = "mutex-pool";
    const ABOUT: &'static str =
        "`Mutex<VecDeque<Box<dyn FnOnce()>>>` and a `Condvar`, notified for each post; no strands";

    type Strand = NoStrand;

    fn supports(cell: &Cell) -> bool {
        !cell.uses_strands()
    }

    fn build(workers: usize) -> Self {
        let shared = Arc::<Shared>::default();
        for _ in 0..workers {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                loop {
                    let task = shared.pop();
                    task();
                }
            });
        }
        Self { shared }
    }

    fn post<F: FnOnce() + Send + 'static>(&self, task: F) {
        let task: BoxedTask = Box::new(task);
        self.shared.tasks.lock().expect("no task runs under the lock").push_back(task);
        self.shared.posted.notify_one();
    }

    fn strand(&self) -> Option<NoStrand> {
        None
    }

    fn post_strand<F: FnOnce() + Send + 'static>(strand: &NoStrand, _task: F) {
        match *strand {}
    }
}

impl Shared {
    /// Waits for a task and takes it.
    fn pop(&self) -> BoxedTask {
        let mut tasks = self.tasks.lock().expect("no task runs under the lock");
        loop {
            match tasks.pop_front() {
                Some(task) => return task,
                None => tasks = self.posted.wait(tasks).expect("no task runs under the lock"),
            }
        }
    }
}
