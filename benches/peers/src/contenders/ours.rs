//! overstrand: its pool and its sequenced task runners, as a user without special wishes makes them.

use overstrand::{SequencedTaskRunner, TaskTraits, ThreadPool};

use crate::contender::Contender;

/// A pool of overstrand.
pub(crate) struct Overstrand {
    pool: ThreadPool,
}

impl Contender for Overstrand {
    const NAME: &'static str = super::OURS;
    const ABOUT: &'static str = "`ThreadPool::post_task`; strand: `SequencedTaskRunner`";

    type Strand = SequencedTaskRunner;

    fn build(workers: usize) -> Self {
        Self { pool: ThreadPool::builder().workers(workers).build().expect("threads can be started") }
    }

    fn post<F: FnOnce() + Send + 'static>(&self, task: F) {
        assert!(self.pool.post_task(task).is_ok(), "the pool is open");
    }

    fn strand(&self) -> Option<SequencedTaskRunner> {
        Some(self.pool.create_sequenced_task_runner(TaskTraits::default()))
    }

    fn post_strand<F: FnOnce() + Send + 'static>(strand: &SequencedTaskRunner, task: F) {
        assert!(strand.post_task(task).is_ok(), "the strand is open");
    }
}
