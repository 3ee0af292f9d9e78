//! rayon: a pool of its own with `spawn`, and the strand that people build on it: a mutex around a queue and a flag.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::contender::{BoxedTask, Contender};

/// Tasks that a strand runs before it lets others have the worker.
const BUDGET: usize = 64;

/// A rayon pool.
pub(crate) struct Rayon {
    pool: Arc<ThreadPool>,
}

/// A queue behind a mutex, drained by at most one job of the pool at a time.
pub(crate) struct MutexStrand {
    pool: Arc<ThreadPool>,
    state: Mutex<State>,
}

/// What the mutex of a strand protects.
#[derive(Default)]
struct State {
    tasks: VecDeque<BoxedTask>,
    /// INVARIANT: true exactly while a drain job is queued or running.
    scheduled: bool,
}

impl Contender for Rayon {
    const NAME: &'static str = "rayon";
    const ABOUT: &'static str = "`ThreadPool::spawn`; strand: mutex, queue and flag, a drain job of at most 64 tasks";

    type Strand = Arc<MutexStrand>;

    fn build(workers: usize) -> Self {
        let pool = ThreadPoolBuilder::new().num_threads(workers).build().expect("threads can be started");
        Self { pool: Arc::new(pool) }
    }

    fn post<F: FnOnce() + Send + 'static>(&self, task: F) {
        self.pool.spawn(task);
    }

    fn strand(&self) -> Option<Arc<MutexStrand>> {
        Some(Arc::new(MutexStrand { pool: Arc::clone(&self.pool), state: Mutex::default() }))
    }

    fn post_strand<F: FnOnce() + Send + 'static>(strand: &Arc<MutexStrand>, task: F) {
        if strand.push(Box::new(task)) {
            strand.schedule();
        }
    }
}

impl MutexStrand {
    /// Queues the task; true when the caller has to schedule a drain job.
    fn push(&self, task: BoxedTask) -> bool {
        let mut state = self.state.lock().expect("no task panics");
        state.tasks.push_back(task);
        !std::mem::replace(&mut state.scheduled, true)
    }

    /// The next task; without one the strand is idle from here on.
    fn pop(&self) -> Option<BoxedTask> {
        let mut state = self.state.lock().expect("no task panics");
        let task = state.tasks.pop_front();
        state.scheduled = task.is_some();
        task
    }

    /// Spawns the drain job.
    fn schedule(self: &Arc<Self>) {
        let strand = Arc::clone(self);
        self.pool.spawn(move || strand.drain());
    }

    /// Runs tasks until the strand is empty or the budget is spent.
    fn drain(self: &Arc<Self>) {
        for _ in 0..BUDGET {
            let Some(task) = self.pop() else { return };
            task();
        }
        self.schedule();
    }
}
