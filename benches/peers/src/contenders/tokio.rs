//! tokio: the multi-thread runtime without its drivers, and a strand that is a task looping on an mpsc channel.

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::contender::{BoxedTask, Contender};

/// A tokio runtime.
pub(crate) struct Tokio {
    runtime: Runtime,
}

impl Contender for Tokio {
    const NAME: &'static str = "tokio";
    const ABOUT: &'static str = "multi-thread runtime, `spawn`; strand: a task looping on `mpsc::unbounded_channel`";

    type Strand = UnboundedSender<BoxedTask>;

    fn build(workers: usize) -> Self {
        // WHY no `enable_all`: without I/O and timers its workers park on a condition variable, which is faster.
        let runtime = Builder::new_multi_thread().worker_threads(workers).build().expect("threads can be started");
        Self { runtime }
    }

    fn post<F: FnOnce() + Send + 'static>(&self, task: F) {
        self.runtime.spawn(async move { task() });
    }

    fn strand(&self) -> Option<UnboundedSender<BoxedTask>> {
        let (sender, mut receiver) = unbounded_channel::<BoxedTask>();
        self.runtime.spawn(async move {
            while let Some(task) = receiver.recv().await {
                task();
            }
        });
        Some(sender)
    }

    fn post_strand<F: FnOnce() + Send + 'static>(strand: &UnboundedSender<BoxedTask>, task: F) {
        assert!(strand.send(Box::new(task)).is_ok(), "the strand's task is alive");
    }
}
