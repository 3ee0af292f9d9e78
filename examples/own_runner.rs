//! A runner of one's own, built on the public surface: it lets no more than so many tasks per second through, by delaying the others, and works wherever a `TaskRunner` is wanted.
//!
//! ```text
//! cargo run --release --example own_runner
//! ```
//!
//! Prints:
//!
//! ```text
//! 5 calls, the last one no sooner than 80 ms after the first
//! all on one strand, in order: [0, 1, 2, 3, 4]
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use overstrand::{BoxedTask, DelayedTaskHandle, Rejected, TaskRunner, TaskTraits, ThreadPool};

/// Lets one task through per interval.
struct Paced<R> {
    inner: R,
    interval: Duration,
    /// When the next one may start.
    next: Mutex<Instant>,
}

impl<R> Paced<R> {
    fn new(inner: R, interval: Duration) -> Self {
        Self { inner, interval, next: Mutex::new(Instant::now()) }
    }

    /// How long one more task has to wait, which is not before `delay` anyway.
    fn wait(&self, delay: Duration) -> Duration {
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*next).max(now + delay);
        *next = start + self.interval;
        start - now
    }
}

impl<R: TaskRunner> TaskRunner for Paced<R> {
    fn post_boxed(&self, task: BoxedTask) -> Result<(), Rejected<BoxedTask>> {
        self.post_boxed_delayed(Duration::ZERO, task).map(drop)
    }

    fn post_boxed_delayed(&self, delay: Duration, task: BoxedTask) -> Result<DelayedTaskHandle, Rejected<BoxedTask>> {
        self.inner.post_boxed_delayed(self.wait(delay), task)
    }

    fn is_current(&self) -> bool {
        self.inner.is_current()
    }
}

/// A component that takes any runner.
fn call_the_server(
    runner: &Arc<dyn TaskRunner>,
    calls: &Arc<Mutex<Vec<(u32, Instant)>>>,
) -> Result<(), overstrand::Error> {
    for call in 0..5 {
        let calls = Arc::clone(calls);
        let task = move || calls.lock().unwrap_or_else(PoisonError::into_inner).push((call, Instant::now()));
        runner.post_task(task)?;
    }
    // It has its turn behind them.
    runner.spawn(|| ()).join()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pool = ThreadPool::builder().workers(2).build()?;
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    let paced: Arc<dyn TaskRunner> = Arc::new(Paced::new(strand, Duration::from_millis(20)));
    let calls = Arc::new(Mutex::new(Vec::new()));
    call_the_server(&paced, &calls)?;

    let calls = calls.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (order, times): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
    assert!(times[4] - times[0] >= Duration::from_millis(79), "{:?}", times[4] - times[0]);
    println!("5 calls, the last one no sooner than 80 ms after the first");
    println!("all on one strand, in order: {order:?}");
    assert_eq!(order, [0, 1, 2, 3, 4]);
    Ok(())
}
