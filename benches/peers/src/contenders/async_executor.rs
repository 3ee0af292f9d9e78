//! async-executor (the executor of smol): threads that run it, and a strand that is a task looping on an async-channel.

use std::sync::Arc;
use std::thread;

use async_channel::Sender;
use async_executor::Executor;
use futures_lite::future::{block_on, pending};

use crate::contender::{BoxedTask, Contender};

/// An executor and the threads that run it.
pub(crate) struct AsyncExecutor {
    executor: Arc<Executor<'static>>,
}

impl Contender for AsyncExecutor {
    const NAME: &'static str = "async-executor";
    const ABOUT: &'static str =
        "`Executor::spawn`, run by plain threads; strand: a task looping on `async_channel::unbounded`";

    type Strand = Sender<BoxedTask>;

    fn build(workers: usize) -> Self {
        let executor = Arc::new(Executor::new());
        for _ in 0..workers {
            let executor = Arc::clone(&executor);
            thread::spawn(move || block_on(executor.run(pending::<()>())));
        }
        Self { executor }
    }

    fn post<F: FnOnce() + Send + 'static>(&self, task: F) {
        self.executor.spawn(async move { task() }).detach();
    }

    fn strand(&self) -> Option<Sender<BoxedTask>> {
        let (sender, receiver) = async_channel::unbounded::<BoxedTask>();
        let looping = async move {
            while let Ok(task) = receiver.recv().await {
                task();
            }
        };
        self.executor.spawn(looping).detach();
        Some(sender)
    }

    fn post_strand<F: FnOnce() + Send + 'static>(strand: &Sender<BoxedTask>, task: F) {
        assert!(
            strand.try_send(Box::new(task)).is_ok(),
            "an unbounded channel with a living receiver takes everything"
        );
    }
}
