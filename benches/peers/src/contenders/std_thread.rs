//! One thread and the standard library's channel: what a program does without any pool. All strands are that thread.

use std::sync::mpsc::{Sender, channel};
use std::thread;

use crate::cell::{Cell, Workload};
use crate::contender::{BoxedTask, Contender};

/// A thread that runs what it receives.
pub(crate) struct StdThread {
    sender: Sender<BoxedTask>,
}

impl Contender for StdThread {
    const NAME: &'static str = "std-thread";
    const ABOUT: &'static str = "one thread on `std::sync::mpsc`, which is every strand too; cells of 1 worker, and W3";

    type Strand = Sender<BoxedTask>;

    /// One strand keeps one thread busy at most, so W3 is fair with any number of workers. The memory of a strand
    /// is not: here it owns nothing.
    fn supports(cell: &Cell) -> bool {
        match cell.workload {
            Workload::OneStrand => true,
            Workload::IdleStrand | Workload::UsedStrand => false,
            _ => cell.workers == 1,
        }
    }

    fn build(_workers: usize) -> Self {
        let (sender, receiver) = channel::<BoxedTask>();
        thread::spawn(move || receiver.iter().for_each(|task| task()));
        Self { sender }
    }

    fn post<F: FnOnce() + Send + 'static>(&self, task: F) {
        Self::post_strand(&self.sender, task);
    }

    fn strand(&self) -> Option<Sender<BoxedTask>> {
        Some(self.sender.clone())
    }

    fn post_strand<F: FnOnce() + Send + 'static>(strand: &Sender<BoxedTask>, task: F) {
        assert!(strand.send(Box::new(task)).is_ok(), "the thread is alive");
    }
}
