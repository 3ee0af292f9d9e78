//! The pool in ten lines: threads that receive boxed closures from one crossbeam channel. No strands.

use std::thread;

use crossbeam_channel::{Sender, unbounded};

use crate::cell::Cell;
use crate::contender::{BoxedTask, Contender, NoStrand};

/// Threads behind one channel.
pub(crate) struct ChannelPool {
    sender: Sender<BoxedTask>,
}

impl Contender for ChannelPool {
    const NAME: &'static str = "crossbeam-channel";
    const ABOUT: &'static str = "boxed closures over one unbounded channel; no strands";

    type Strand = NoStrand;

    fn supports(cell: &Cell) -> bool {
        !cell.uses_strands()
    }

    fn build(workers: usize) -> Self {
        let (sender, receiver) = unbounded::<BoxedTask>();
        for _ in 0..workers {
            let receiver = receiver.clone();
            thread::spawn(move || receiver.iter().for_each(|task| task()));
        }
        Self { sender }
    }

    fn post<F: FnOnce() + Send + 'static>(&self, task: F) {
        assert!(self.sender.send(Box::new(task)).is_ok(), "the workers are alive");
    }

    fn strand(&self) -> Option<NoStrand> {
        None
    }

    fn post_strand<F: FnOnce() + Send + 'static>(strand: &NoStrand, _task: F) {
        match *strand {}
    }
}
