//! The work-stealing pool of the `executors` crate: crossbeam deques below an injector. No strands.

use executors::Executor as _;
use executors::crossbeam_workstealing_pool::{ThreadPool, small_pool};
use executors::parker::{SmallThreadData, StaticParker};

use crate::cell::Cell;
use crate::contender::{Contender, NoStrand};

/// A pool of the `executors` crate.
pub(crate) struct WorkStealing {
    pool: ThreadPool<StaticParker<SmallThreadData>>,
}

impl Contender for WorkStealing {
    const NAME: &'static str = "executors";
    const ABOUT: &'static str = "`crossbeam_workstealing_pool::small_pool`; no strands";

    type Strand = NoStrand;

    fn supports(cell: &Cell) -> bool {
        !cell.uses_strands()
    }

    fn build(workers: usize) -> Self {
        Self { pool: small_pool(workers) }
    }

    fn post<F: FnOnce() + Send + 'static>(&self, task: F) {
        self.pool.execute(task);
    }

    fn strand(&self) -> Option<NoStrand> {
        None
    }

    fn post_strand<F: FnOnce() + Send + 'static>(strand: &NoStrand, _task: F) {
        match *strand {}
    }
}
