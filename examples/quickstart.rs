//! The first steps: a pool, a task with a result, a strand, a delay, an orderly end.
//!
//! ```text
//! cargo run --release --example quickstart
//! ```
//!
//! Prints:
//!
//! ```text
//! 6 * 7 = 42
//! one
//! two
//! three
//! four, a little later
//! 6 ran, 0 dropped
//! ```

use std::time::Duration;

use overstrand::{TaskTraits, ThreadPool};

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pool = ThreadPool::builder().name("app").workers(2).build()?;

    // A task with a result: block for it here, or await it in async code.
    let answer = pool.spawn(|| 6 * 7);
    println!("6 * 7 = {}", answer.join()?);

    // A strand runs its tasks one after the other, in the order of posting.
    let log = pool.create_sequenced_task_runner(TaskTraits::default());
    for line in ["one", "two", "three"] {
        log.post_task(move || println!("{line}"))?;
    }

    // Later, on the same strand. The handle could cancel it.
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let four = log.post_delayed_task(Duration::from_millis(20), move || {
        println!("four, a little later");
        drop(done);
    })?;
    assert!(four.is_pending());
    let _ = is_done.recv();

    // What was accepted and must run, runs; the report says what happened.
    log.spawn(|| ()).join()?;
    let report = pool.shutdown()?;
    println!("{} ran, {} dropped", report.ran, report.dropped);
    Ok(())
}
