//! A runner of one's own, built on the public surface: what the first runner has no room for goes to the second. It works wherever a `TaskRunner` is wanted, and loses nothing, since a
//! refused task comes back.
//!
//! ```text
//! cargo run --release --example own_runner
//! ```
//!
//! Prints:
//!
//! ```text
//! 5 lines: 2 by the near strand, 3 by the far one
//! after the near strand is closed the far one has written 4
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use overstrand::{
    BoxedTask, Close, DelayedTaskHandle, Overflow, Rejected, SequencedTaskRunner, TaskRunner, TaskTraits, ThreadPool,
};

/// Posts to the first runner, and to the second what the first refuses.
struct Fallback<A, B> {
    first: A,
    second: B,
    refused: AtomicU64,
}

impl<A: TaskRunner, B: TaskRunner> TaskRunner for Fallback<A, B> {
    fn post_boxed(&self, task: BoxedTask) -> Result<(), Rejected<BoxedTask>> {
        self.first.post_boxed(task).or_else(|rejected| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            self.second.post_boxed(rejected.into_task())
        })
    }

    fn post_boxed_delayed(&self, delay: Duration, task: BoxedTask) -> Result<DelayedTaskHandle, Rejected<BoxedTask>> {
        self.first.post_boxed_delayed(delay, task).or_else(|rejected| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            self.second.post_boxed_delayed(delay, rejected.into_task())
        })
    }

    fn is_current(&self) -> bool {
        self.first.is_current() || self.second.is_current()
    }
}

/// A component that takes any runner.
fn write_lines(runner: &dyn TaskRunner, lines: u32) -> Result<(), overstrand::Error> {
    for line in 0..lines {
        runner.post_task(move || _ = std::hint::black_box(format!("line {line}")))?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pool = ThreadPool::builder().workers(2).build()?;
    let near = SequencedTaskRunner::builder(&pool).name("near").capacity(2, Overflow::Reject).build()?;
    let far = pool.create_sequenced_task_runner(TaskTraits::best_effort());
    let writer = Fallback { first: near.clone(), second: far.clone(), refused: AtomicU64::new(0) };

    // While the near strand stands still its queue is soon full.
    let pause = near.pause();
    write_lines(&writer, 5)?;
    pause.resume();
    near.flush()?;
    far.flush()?;
    println!("5 lines: {} by the near strand, {} by the far one", near.stats().ran, far.stats().ran);
    assert_eq!((near.stats().ran, far.stats().ran, writer.refused.load(Ordering::Relaxed)), (2, 3, 3));

    near.close(Close::Drain);
    write_lines(&writer, 1)?;
    far.flush()?;
    println!("after the near strand is closed the far one has written {}", far.stats().ran);
    assert_eq!(far.stats().ran, 4);
    Ok(())
}
