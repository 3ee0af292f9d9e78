//! Later, in order, and not at all: delayed tasks.
//!
//! ```text
//! cargo run --release --example delayed
//! ```
//!
//! Prints:
//!
//! ```text
//! after 10 ms, as asked
//! after 30 ms, as asked
//! the draft was saved at once instead: true
//! tick 1
//! tick 2
//! tick 3
//! ```

use std::sync::mpsc;
use std::time::{Duration, Instant};

use overstrand::{Rejected, SequencedTaskRunner, TaskTraits, ThreadPool};

#[expect(clippy::disallowed_methods, reason = "a program may ask for the time")]
fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pool = ThreadPool::builder().workers(2).build()?;
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    let (done, finished) = mpsc::channel::<()>();

    let posted = Instant::now();
    for millis in [30, 10] {
        let (wanted, done) = (Duration::from_millis(millis), done.clone());
        let _detached = strand.post_delayed_task(wanted, move || {
            assert!(posted.elapsed() >= wanted, "never early");
            println!("after {millis} ms, as asked");
            drop(done);
        })?;
    }
    drop(done);
    let _ = finished.recv();

    let autosave = strand.post_delayed_task(Duration::from_secs(3600), || println!("saved"))?;
    println!("the draft was saved at once instead: {}", autosave.cancel());

    let (done, finished) = mpsc::channel::<()>();
    tick(&strand, 1, done).map_err(|rejected| rejected.map(drop))?;
    let _ = finished.recv();
    Ok(())
}

/// A task that repeats posts itself again.
fn tick(strand: &SequencedTaskRunner, number: u32, done: mpsc::Sender<()>) -> Result<(), Rejected<()>> {
    let again = strand.clone();
    let task = move || {
        println!("tick {number}");
        if number < 3 {
            tick(&again, number + 1, done).expect("the pool is up");
        } else {
            drop(done);
        }
    };
    strand.post_delayed_task(Duration::from_millis(5), task).map(drop).map_err(|rejected| rejected.map(drop))
}
