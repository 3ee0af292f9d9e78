//! Async code without a runtime: futures that are polled on their strand, so that what they share needs no lock.
//!
//! ```text
//! cargo run --release --example futures_on_a_strand
//! ```
//!
//! Prints:
//!
//! ```text
//! slow and fast wait at the same time, on one strand
//! fast is done
//! slow is done
//! futures that ended: 2
//! ```

use std::time::Duration;

use overstrand::{SequencedTaskRunner, TaskHandle, TaskTraits, ThreadPool, join_all, sleep};

fn worker(strand: &SequencedTaskRunner, name: &'static str, millis: u64) -> TaskHandle<()> {
    let own = strand.clone();
    strand.spawn_future(async move {
        sleep(Duration::from_millis(millis)).await;
        assert!(own.is_current(), "polled on its strand and nowhere else");
        println!("{name} is done");
    })
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let pool = ThreadPool::builder().workers(2).build()?;
    let strand = pool.create_sequenced_task_runner(TaskTraits::default());
    println!("slow and fast wait at the same time, on one strand");
    let both = join_all([worker(&strand, "slow", 60), worker(&strand, "fast", 10)]);
    let results = strand.spawn_future(async { both.await.map(|results| results.len()) });
    println!("futures that ended: {}", results.join()??);
    Ok(())
}
